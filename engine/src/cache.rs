//! Unpacked blocks in memory, within a budget of bytes.
//!
//! Every open table has a vector with a place per block, so a hit costs two loads and no hashing.
//! Eviction is S3-FIFO: a block enters a small queue; used again before it reaches the end there, it
//! moves to the main queue, else it goes and leaves a mark; a block that comes back while its mark is
//! remembered goes to the main queue at once. So a scan passes through the small queue and does not
//! wash out what is used again and again.
//!
//! **A block that somebody holds is never evicted**, even if the budget is exceeded: an operation
//! that waits for several blocks keeps those that have come, and will find them when it goes on,
//! however small the cache is. What is held is bounded by the holders' budgets.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;

use crate::effect::TableNumber;
use crate::table::{Block, BlockRef, Corrupt, Table};

/// The small queue's share of the budget is one in so many.
const SMALL_SHARE: usize = 10;

/// A block is used at most so often in the main queue's eyes.
const USES_MAX: u8 = 3;

/// One eviction looks at so many blocks at most.
const LOOKS_MAX: usize = 1024;

/// So many blocks of tables that are gone are freed at once.
const LEAVE_AT_ONCE: usize = 128;

#[derive(Debug, Default)]
enum Held {
    #[default]
    Nothing,
    /// Was evicted from the small queue not long ago.
    Mark,
    Block(Rc<Block>),
}

#[derive(Debug)]
struct Blocks {
    table: TableNumber,
    held: Vec<Held>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    slot: u32,
    /// Tells an entry from that of an earlier table in the same slot.
    table: TableNumber,
    block: u32,
}

/// What a cache has done and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Lookups that found their block.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
    /// Blocks that came in.
    pub fills: u64,
    /// Blocks that had to go.
    pub evictions: u64,
    /// Bytes of memory of the blocks that are in.
    pub bytes: usize,
    /// How many blocks those are.
    pub blocks: usize,
}

/// The blocks of all tables of a store.
#[derive(Debug)]
pub struct BlockCache {
    budget: usize,
    slots: Vec<Option<Blocks>>,
    free: Vec<u32>,
    small: VecDeque<Entry>,
    small_bytes: usize,
    main: VecDeque<Entry>,
    marks: VecDeque<Entry>,
    /// Blocks of tables that are gone, freed a few at a time.
    leaving: Vec<Vec<Held>>,
    stats: CacheStats,
}

impl BlockCache {
    /// An empty cache that holds about `budget` bytes.
    pub fn new(budget: usize) -> BlockCache {
        BlockCache {
            budget,
            slots: Vec::new(),
            free: Vec::new(),
            small: VecDeque::new(),
            small_bytes: 0,
            main: VecDeque::new(),
            marks: VecDeque::new(),
            leaving: Vec::new(),
            stats: CacheStats::default(),
        }
    }

    /// What it has done and holds.
    pub fn stats(&self) -> CacheStats {
        self.stats
    }

    /// The budget in bytes.
    pub fn budget(&self) -> usize {
        self.budget
    }

    /// Makes places for the blocks of a table that was opened; before its first lookup.
    pub fn attach(&mut self, table: &Table) {
        assert!(table.cache_slot().is_none(), "a table is attached once");
        let mut held = Vec::new();
        held.resize_with(table.blocks() as usize, Held::default);
        let blocks = Some(Blocks {
            table: table.number(),
            held,
        });
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = blocks;
                slot
            }
            None => {
                self.slots.push(blocks);
                self.slots.len() as u32 - 1
            }
        };
        table.set_cache_slot(Some(slot));
    }

    /// Forgets the blocks of a table that is no longer read.
    pub fn detach(&mut self, table: &Table) {
        let slot = table.cache_slot().expect("a table that was attached");
        table.set_cache_slot(None);
        let blocks = self.slots[slot as usize].take().expect("an attached table");
        self.leaving.push(blocks.held);
        self.free.push(slot);
        self.leave();
    }

    /// Frees some of the blocks of tables that are gone. Their entries in the queues are passed over
    /// when they come up.
    fn leave(&mut self) {
        for _ in 0..LEAVE_AT_ONCE {
            let Some(held) = self.leaving.last_mut() else {
                return;
            };
            match held.pop() {
                None => {
                    self.leaving.pop();
                }
                Some(Held::Block(block)) => {
                    let bytes = block.memory_bytes();
                    self.stats.bytes -= bytes;
                    self.stats.blocks -= 1;
                    if block.is_new.get() {
                        self.small_bytes -= bytes;
                    }
                }
                Some(Held::Mark | Held::Nothing) => {}
            }
        }
    }

    /// The place that an entry names, unless its table is gone.
    fn held(slots: &mut [Option<Blocks>], entry: Entry) -> Option<&mut Held> {
        match &mut slots[entry.slot as usize] {
            Some(blocks) if blocks.table == entry.table => {
                Some(&mut blocks.held[entry.block as usize])
            }
            _ => None,
        }
    }

    /// Drops entries of tables that are gone from the queues, once they are more than half.
    fn sweep(&mut self) {
        let most = 2 * self.stats.blocks + 64;
        let slots = &self.slots;
        let lives = |entry: &Entry| {
            let blocks = slots[entry.slot as usize].as_ref();
            blocks.is_some_and(|blocks| blocks.table == entry.table)
        };
        for queue in [&mut self.small, &mut self.main, &mut self.marks] {
            if queue.len() > most {
                queue.retain(lives);
            }
        }
    }

    /// A block, if it is in memory.
    #[inline]
    pub fn get(&mut self, table: &Table, block: u32) -> Option<&Rc<Block>> {
        let slot = table.cache_slot().expect("a table that is attached");
        let blocks = self.slots[slot as usize].as_ref().expect("attached");
        match &blocks.held[block as usize] {
            Held::Block(block) => {
                self.stats.hits += 1;
                if block.uses.get() < USES_MAX {
                    block.uses.set(block.uses.get() + 1);
                }
                Some(block)
            }
            _ => {
                self.stats.misses += 1;
                None
            }
        }
    }

    /// A block, if it is in memory; neither counted nor taken for a use of it.
    pub fn peek(&self, table: &Table, block: u32) -> Option<&Rc<Block>> {
        let slot = table.cache_slot().expect("a table that is attached");
        let blocks = self.slots[slot as usize].as_ref().expect("attached");
        match &blocks.held[block as usize] {
            Held::Block(block) => Some(block),
            _ => None,
        }
    }

    /// Whether a block is in memory, without using it.
    pub fn contains(&self, table: &Table, block: u32) -> bool {
        self.peek(table, block).is_some()
    }

    /// Checks and unpacks a block that was read, and keeps it. **Whoever waits for it should hold
    /// what is returned until it has gone on**, or it might be evicted before. Of a table that is
    /// gone meanwhile nothing is kept.
    pub fn fill(&mut self, place: &BlockRef, bytes: &[u8]) -> Result<Rc<Block>, Corrupt> {
        if let Some(present) = self.present(place) {
            return Ok(present);
        }
        let block = Rc::new(place.decode(bytes)?);
        self.insert(place, &block);
        Ok(block)
    }

    fn present(&self, place: &BlockRef) -> Option<Rc<Block>> {
        let blocks = self.slots.get(place.cache_slot? as usize)?.as_ref()?;
        if blocks.table != place.table {
            return None;
        }
        match &blocks.held[place.number as usize] {
            Held::Block(block) => Some(block.clone()),
            _ => None,
        }
    }

    fn insert(&mut self, place: &BlockRef, block: &Rc<Block>) {
        let Some(slot) = place.cache_slot else {
            return;
        };
        let Some(Some(blocks)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        if blocks.table != place.table {
            return;
        }
        let entry = Entry {
            slot,
            table: place.table,
            block: place.number,
        };
        let held = &mut blocks.held[place.number as usize];
        let marked = matches!(held, Held::Mark);
        *held = Held::Block(block.clone());
        self.stats.fills += 1;
        self.stats.blocks += 1;
        self.stats.bytes += block.memory_bytes();
        block.is_new.set(!marked);
        match marked {
            true => self.main.push_back(entry),
            false => {
                self.small.push_back(entry);
                self.small_bytes += block.memory_bytes();
            }
        }
        self.leave();
        self.sweep();
        self.evict();
    }

    /// Lets blocks go until the budget holds, or all that were looked at are held by somebody.
    fn evict(&mut self) {
        for _ in 0..LOOKS_MAX {
            if self.stats.bytes <= self.budget {
                return;
            }
            let small = self.small_bytes > self.budget / SMALL_SHARE || self.main.is_empty();
            match small && !self.small.is_empty() {
                true => self.evict_small(),
                false => self.evict_main(),
            }
        }
    }

    fn evict_small(&mut self) {
        let Some(entry) = self.small.pop_front() else {
            return;
        };
        let Some(held) = Self::held(&mut self.slots, entry) else {
            return;
        };
        let Held::Block(block) = held else {
            unreachable!("a queue names a block that is not there");
        };
        let bytes = block.memory_bytes();
        self.small_bytes -= bytes;
        // Filled and used once: the first use is what it was read for.
        if Rc::strong_count(block) > 1 || block.uses.get() > 1 {
            block.uses.set(0);
            block.is_new.set(false);
            self.main.push_back(entry);
            return;
        }
        *held = Held::Mark;
        self.note_evicted(bytes);
        self.marks.push_back(entry);
        // As many marks as blocks.
        while self.marks.len() > self.stats.blocks.max(64) {
            self.forget_mark();
        }
    }

    fn forget_mark(&mut self) {
        if let Some(entry) = self.marks.pop_front()
            && let Some(held @ Held::Mark) = Self::held(&mut self.slots, entry)
        {
            *held = Held::Nothing;
        }
    }

    fn evict_main(&mut self) {
        let Some(entry) = self.main.pop_front() else {
            return;
        };
        let Some(held) = Self::held(&mut self.slots, entry) else {
            return;
        };
        let Held::Block(block) = held else {
            unreachable!("a queue names a block that is not there");
        };
        let uses = block.uses.get();
        if uses > 0 || Rc::strong_count(block) > 1 {
            block.uses.set(uses.saturating_sub(1));
            self.main.push_back(entry);
            return;
        }
        let bytes = block.memory_bytes();
        *held = Held::Nothing;
        self.note_evicted(bytes);
    }

    fn note_evicted(&mut self, bytes: usize) {
        self.stats.bytes -= bytes;
        self.stats.blocks -= 1;
        self.stats.evictions += 1;
    }
}
