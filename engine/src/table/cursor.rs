//! A place in a table, moving either way inside a range of keys.
//!
//! The cursor holds the block in which it stands, so that block is never evicted. Where it lacks a
//! block it says which one and remembers what it was about; [`TableCursor::resume`] goes on from
//! there. Blocks come from the cache, or by [`TableCursor::provide`] past it.
//!
//! The range's ends are found once per block, not once per record; blocks that cannot hold a key of
//! the range are never asked for.

use alloc::rc::Rc;
use alloc::vec::Vec;

use crate::cache::BlockCache;
use crate::record::{KeyRange, Kind, Record, Seq, below_limit};
use crate::table::block::{Block, Entry};
use crate::table::reader::{BlockRef, Table};

/// How a cursor's move ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It stands at a record.
    At,
    /// There is no record there.
    End,
    /// It needs this block first.
    Need(BlockRef),
}

/// What a cursor is about while it lacks a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    /// To the first record of the block, inside the range.
    First,
    /// To the last one.
    Last,
    /// To the first record not below the key in `target`.
    NotBelow,
    /// To the last record below it.
    Below,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nowhere: not yet moved, or moved beyond an end.
    Nowhere,
    At,
    Waits {
        block: u32,
        about: Move,
    },
}

/// A place in a table.
#[derive(Clone, Debug)]
pub struct TableCursor {
    table: Rc<Table>,
    range: KeyRange,
    /// The only blocks that can hold keys of the range, if any can.
    first_block: u32,
    last_block: u32,
    state: State,
    block: Option<Rc<Block>>,
    /// Leaves no trace in the cache.
    passing: bool,
    /// Provided past the cache.
    provided: Option<Rc<Block>>,
    /// The records of the block that lie in the range.
    first: u32,
    limit: u32,
    /// The record where it stands.
    position: u32,
    entry: Entry,
    seq: Seq,
    kind: Kind,
    key: Vec<u8>,
    prefix_bytes: usize,
    target: Vec<u8>,
}

impl TableCursor {
    /// A cursor over the records of a table that lie in a range; it stands nowhere yet.
    pub fn new(table: Rc<Table>, range: KeyRange) -> TableCursor {
        let (first_block, last_block) = match table.blocks() {
            // Nothing to ask for: the first block lies behind the last.
            0 => (1, 0),
            _ if range.is_empty() => (1, 0),
            blocks => {
                let last = match range.limit.as_slice() {
                    [] => blocks - 1,
                    limit => table.index().find_below(limit),
                };
                (table.index().find(&range.start), last)
            }
        };
        TableCursor {
            table,
            range,
            first_block,
            last_block,
            state: State::Nowhere,
            block: None,
            passing: false,
            provided: None,
            first: 0,
            limit: 0,
            position: 0,
            entry: Entry::default(),
            seq: Seq::ZERO,
            kind: Kind::Put,
            key: Vec::new(),
            prefix_bytes: 0,
            target: Vec::new(),
        }
    }

    /// The same cursor, except that it passes through the cache without a trace: what it finds there
    /// is not taken for used. For compaction and export, which read everything once.
    #[must_use]
    pub fn passing(mut self) -> TableCursor {
        self.passing = true;
        self
    }

    /// The table.
    pub fn table(&self) -> &Rc<Table> {
        &self.table
    }

    /// The range to which it keeps.
    pub fn range(&self) -> &KeyRange {
        &self.range
    }

    /// Whether it stands at a record.
    #[inline]
    pub fn is_at(&self) -> bool {
        self.state == State::At
    }

    /// The key of the record where it stands.
    #[inline]
    pub fn key(&self) -> &[u8] {
        debug_assert!(self.is_at(), "the cursor stands nowhere");
        &self.key
    }

    /// The record where it stands.
    #[inline]
    pub fn record(&self) -> Record<'_> {
        assert!(self.is_at(), "the cursor stands nowhere");
        let block = self.block.as_ref().expect("a cursor holds its block");
        Record {
            key: &self.key,
            seq: self.seq,
            kind: self.kind,
            value: block.value(&self.entry),
        }
    }

    /// The block that it holds, if any.
    pub fn block(&self) -> Option<&Rc<Block>> {
        self.block.as_ref()
    }

    /// To the first record.
    pub fn first(&mut self, cache: &mut BlockCache) -> Step {
        self.load(self.first_block, Move::First, cache)
    }

    /// To the last record.
    pub fn last(&mut self, cache: &mut BlockCache) -> Step {
        self.load(self.last_block, Move::Last, cache)
    }

    /// To the first record whose key is not below `key`.
    pub fn seek(&mut self, key: &[u8], cache: &mut BlockCache) -> Step {
        if key <= self.range.start.as_slice() {
            return self.first(cache);
        }
        if self.first_block > self.last_block || !below_limit(key, &self.range.limit) {
            return self.end();
        }
        self.target.clear();
        self.target.extend_from_slice(key);
        self.load(self.table.index().find(key), Move::NotBelow, cache)
    }

    /// To the last record whose key is below `limit`; an empty limit is above every key.
    pub fn seek_below(&mut self, limit: &[u8], cache: &mut BlockCache) -> Step {
        if limit.is_empty() || !below_limit(limit, &self.range.limit) {
            return self.last(cache);
        }
        if self.first_block > self.last_block || limit <= self.range.start.as_slice() {
            return self.end();
        }
        self.target.clear();
        self.target.extend_from_slice(limit);
        self.load(self.table.index().find_below(limit), Move::Below, cache)
    }

    /// To the record behind the one where it stands.
    #[inline]
    pub fn next(&mut self, cache: &mut BlockCache) -> Step {
        assert!(self.is_at(), "the cursor stands nowhere");
        if self.position + 1 < self.limit {
            return self.stand(self.position + 1);
        }
        self.next_block(cache)
    }

    /// To the record before the one where it stands.
    #[inline]
    pub fn previous(&mut self, cache: &mut BlockCache) -> Step {
        assert!(self.is_at(), "the cursor stands nowhere");
        if self.position > self.first {
            return self.stand(self.position - 1);
        }
        self.previous_block(cache)
    }

    /// Goes on with the move that lacked a block; without one, says where the cursor stands.
    pub fn resume(&mut self, cache: &mut BlockCache) -> Step {
        match self.state {
            State::Nowhere => Step::End,
            State::At => Step::At,
            State::Waits { block, about } => self.load(block, about, cache),
        }
    }

    /// Hands over the block for which the cursor waits, past the cache; any other one is ignored.
    pub fn provide(&mut self, block: Rc<Block>) {
        if let State::Waits { block: number, .. } = self.state
            && number == block.number()
        {
            self.provided = Some(block);
        }
    }

    /// The blocks that it will need after the one that it has or waits for, in order of need, up to
    /// `bytes_max` bytes of file; those that are in memory already are passed over.
    pub fn read_ahead(
        &self,
        forward: bool,
        bytes_max: u64,
        cache: &BlockCache,
        ahead: &mut Vec<BlockRef>,
    ) {
        let here = match (self.state, &self.block) {
            (State::Waits { block, .. }, _) => block,
            (State::At, Some(block)) => block.number(),
            _ => return,
        };
        let mut bytes = 0;
        let mut offer = |block: u32| {
            let place = self.table.block_ref(block);
            bytes += u64::from(place.length);
            if bytes > bytes_max {
                return false;
            }
            if !cache.contains(&self.table, block) {
                ahead.push(place);
            }
            true
        };
        match forward {
            true => (here + 1..=self.last_block).all(&mut offer),
            false => (self.first_block..here).rev().all(&mut offer),
        };
    }

    fn end(&mut self) -> Step {
        self.state = State::Nowhere;
        self.block = None;
        Step::End
    }

    #[cold]
    fn next_block(&mut self, cache: &mut BlockCache) -> Step {
        let here = self.block.as_ref().expect("held").number();
        match here < self.last_block {
            true => self.load(here + 1, Move::First, cache),
            false => self.end(),
        }
    }

    #[cold]
    fn previous_block(&mut self, cache: &mut BlockCache) -> Step {
        let here = self.block.as_ref().expect("held").number();
        match here > self.first_block {
            true => self.load(here - 1, Move::Last, cache),
            false => self.end(),
        }
    }

    /// Takes a block and moves in it, and on to its neighbours where it has nothing to offer.
    fn load(&mut self, mut number: u32, about: Move, cache: &mut BlockCache) -> Step {
        let forward = matches!(about, Move::First | Move::NotBelow);
        let mut about = about;
        loop {
            if number < self.first_block || number > self.last_block {
                return self.end();
            }
            let Some(block) = self.take_block(number, cache) else {
                self.state = State::Waits {
                    block: number,
                    about,
                };
                return Step::Need(self.table.block_ref(number));
            };
            self.enter(block);
            let position = match about {
                Move::First => Some(self.first),
                Move::Last => self.limit.checked_sub(1),
                Move::NotBelow => Some(self.find(&self.target).max(self.first)),
                Move::Below => self.find(&self.target).min(self.limit).checked_sub(1),
            };
            if let Some(position) = position
                && (self.first..self.limit).contains(&position)
            {
                return self.stand(position);
            }
            // The fence let the key in, the records do not go so far.
            match forward {
                true => {
                    number += 1;
                    about = Move::First;
                }
                false => {
                    let Some(before) = number.checked_sub(1) else {
                        return self.end();
                    };
                    number = before;
                    about = Move::Last;
                }
            }
        }
    }

    fn find(&self, key: &[u8]) -> u32 {
        self.block.as_ref().expect("held").find(key).0
    }

    fn take_block(&mut self, number: u32, cache: &mut BlockCache) -> Option<Rc<Block>> {
        if let Some(block) = &self.block
            && block.number() == number
        {
            return Some(block.clone());
        }
        match self.provided.take() {
            Some(block) if block.number() == number => Some(block),
            _ if self.passing => cache.peek(&self.table, number).cloned(),
            _ => cache.get(&self.table, number).cloned(),
        }
    }

    fn enter(&mut self, block: Rc<Block>) {
        let number = block.number();
        self.first = match number == self.first_block && !self.range.start.is_empty() {
            true => block.find(&self.range.start).0,
            false => 0,
        };
        self.limit = match number == self.last_block && !self.range.limit.is_empty() {
            true => block.find(&self.range.limit).0,
            false => block.count(),
        };
        self.key.clear();
        self.key.extend_from_slice(block.prefix());
        self.prefix_bytes = block.prefix().len();
        self.block = Some(block);
    }

    #[inline]
    fn stand(&mut self, position: u32) -> Step {
        let block = self.block.as_ref().expect("a cursor holds its block");
        let entry = block.entry(position);
        self.key.truncate(self.prefix_bytes);
        self.key.extend_from_slice(block.suffix(&entry));
        (self.seq, self.kind) = self.table.seq_and_kind(block, &entry);
        self.position = position;
        self.entry = entry;
        self.state = State::At;
        Step::At
    }
}
