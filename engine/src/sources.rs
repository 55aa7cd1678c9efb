//! What a scan or a compaction reads in order: memtables, and runs of slices of tables.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;

use crate::cache::BlockCache;
use crate::memtable::{Memtable, MemtableCursor};
use crate::merge::Direction;
use crate::record::{KeyRange, Record, Seq, below_limit};
use crate::table::{Block, BlockRef, Step, TableCursor};
use crate::tables::Tables;
use crate::version::Slice;
use crate::view::MemoryId;

/// The memtables of a store, oldest first; the last one takes the writes.
#[derive(Debug)]
pub(crate) struct Memories {
    pub list: VecDeque<Memtable>,
    /// The id of the first one.
    pub base: MemoryId,
}

impl Memories {
    #[inline]
    pub fn get(&self, id: MemoryId) -> &Memtable {
        &self.list[(id.0 - self.base.0) as usize]
    }

    pub fn get_mut(&mut self, id: MemoryId) -> &mut Memtable {
        &mut self.list[(id.0 - self.base.0) as usize]
    }

    #[inline]
    pub fn limit(&self) -> MemoryId {
        MemoryId(self.base.0 + self.list.len() as u64)
    }

    pub fn active(&mut self) -> &mut Memtable {
        self.list
            .back_mut()
            .expect("there is always an active memtable")
    }
}

/// A place in a run: in one slice after the other.
#[derive(Debug)]
pub(crate) struct RunCursor {
    slices: Vec<Rc<Slice>>,
    range: KeyRange,
    direction: Direction,
    /// Reads everything once, and leaves no trace in the cache.
    passing: bool,
    /// The slice in which it stands, and the place in it; none before the start and behind the end.
    place: usize,
    cursor: Option<TableCursor>,
}

impl RunCursor {
    /// Over the slices, which are in order, as far as they lie in the range.
    pub fn new(slices: Vec<Rc<Slice>>, range: KeyRange, direction: Direction) -> RunCursor {
        RunCursor {
            slices,
            range,
            direction,
            passing: false,
            place: 0,
            cursor: None,
        }
    }

    /// The same, except that it leaves no trace in the cache.
    pub fn passing(mut self) -> RunCursor {
        self.passing = true;
        self
    }

    /// To the first record in its direction.
    pub fn start(&mut self, tables: &Tables, cache: &mut BlockCache) -> Step {
        match self.direction {
            Direction::Forward => self.enter(0, tables, cache),
            Direction::Reverse => match self.slices.len().checked_sub(1) {
                Some(last) => self.enter(last, tables, cache),
                None => Step::End,
            },
        }
    }

    /// To the next record in its direction.
    #[inline]
    pub fn advance(&mut self, tables: &Tables, cache: &mut BlockCache) -> Step {
        let cursor = self.cursor.as_mut().expect("it stands at a record");
        let step = match self.direction {
            Direction::Forward => cursor.next(cache),
            Direction::Reverse => cursor.previous(cache),
        };
        match step {
            Step::End => self.next_slice(tables, cache),
            step => step,
        }
    }

    /// Goes on with the move that lacked a block.
    pub fn resume(&mut self, tables: &Tables, cache: &mut BlockCache) -> Step {
        let cursor = self.cursor.as_mut().expect("it waits for a block");
        match cursor.resume(cache) {
            Step::End => self.next_slice(tables, cache),
            step => step,
        }
    }

    /// Hands over the block for which it waits, past the cache.
    pub fn provide(&mut self, block: Rc<Block>) {
        self.cursor
            .as_mut()
            .expect("it waits for a block")
            .provide(block);
    }

    #[inline]
    pub fn record(&self) -> Record<'_> {
        self.cursor
            .as_ref()
            .expect("it stands at a record")
            .record()
    }

    #[inline]
    pub fn key(&self) -> &[u8] {
        self.cursor.as_ref().expect("it stands at a record").key()
    }

    /// The newest tombstone of its table over the key where it stands.
    #[inline]
    pub fn covering(&self, tables: &Tables, key: &[u8]) -> Seq {
        let after = self
            .slices
            .partition_point(|slice| slice.range.start.as_slice() <= key);
        let Some(slice) = after.checked_sub(1).map(|place| &self.slices[place]) else {
            return Seq::ZERO;
        };
        match slice.range.contains(key) {
            true => tables.of(&slice.table).tombstones().covering(key),
            false => Seq::ZERO,
        }
    }

    /// Whether some table of it has range tombstones.
    pub fn has_tombstones(&self) -> bool {
        let mut slices = self.slices.iter();
        slices.any(|slice| slice.table.meta.range_tombstones > 0)
    }

    /// Blocks that it will need next.
    pub fn read_ahead(&self, bytes_max: u64, cache: &BlockCache, ahead: &mut Vec<BlockRef>) {
        if let Some(cursor) = &self.cursor {
            let forward = self.direction == Direction::Forward;
            cursor.read_ahead(forward, bytes_max, cache, ahead);
        }
    }

    fn next_slice(&mut self, tables: &Tables, cache: &mut BlockCache) -> Step {
        let next = match self.direction {
            Direction::Forward => Some(self.place + 1),
            Direction::Reverse => self.place.checked_sub(1),
        };
        match next {
            Some(next) if next < self.slices.len() => self.enter(next, tables, cache),
            _ => {
                self.cursor = None;
                Step::End
            }
        }
    }

    fn enter(&mut self, place: usize, tables: &Tables, cache: &mut BlockCache) -> Step {
        let mut place = place;
        loop {
            let Some(slice) = self.slices.get(place) else {
                self.cursor = None;
                return Step::End;
            };
            self.place = place;
            let range = slice.range.intersection(&self.range);
            let table = tables.of(&slice.table).clone();
            let mut cursor = TableCursor::new(table, range);
            if self.passing {
                cursor = cursor.passing();
            }
            let step = match self.direction {
                Direction::Forward => cursor.first(cache),
                Direction::Reverse => cursor.last(cache),
            };
            self.cursor = Some(cursor);
            if step != Step::End {
                return step;
            }
            // A slice may hold range tombstones alone.
            match self.direction {
                Direction::Forward => place += 1,
                Direction::Reverse => match place.checked_sub(1) {
                    Some(before) => place = before,
                    None => {
                        self.cursor = None;
                        return Step::End;
                    }
                },
            }
        }
    }
}

/// A sorted source of a scan.
#[derive(Debug)]
pub(crate) enum Source {
    Memory {
        id: MemoryId,
        at: Seq,
        cursor: MemtableCursor,
        tombstones: bool,
    },
    Run {
        cursor: RunCursor,
        tombstones: bool,
    },
}

impl Source {
    /// To the first record of a range in a direction.
    pub fn start(
        &mut self,
        range: &KeyRange,
        direction: Direction,
        memories: &Memories,
        tables: &Tables,
        cache: &mut BlockCache,
    ) -> Step {
        match self {
            Source::Run { cursor, .. } => cursor.start(tables, cache),
            Source::Memory { id, cursor, .. } => {
                let memtable = memories.get(*id);
                match direction {
                    Direction::Forward => cursor.seek(memtable, &range.start),
                    Direction::Reverse => cursor.seek_before(memtable, &range.limit),
                }
                step_of(cursor, memtable, range, direction)
            }
        }
    }

    /// To the next record.
    #[inline]
    pub fn advance(
        &mut self,
        range: &KeyRange,
        direction: Direction,
        memories: &Memories,
        tables: &Tables,
        cache: &mut BlockCache,
    ) -> Step {
        match self {
            Source::Run { cursor, .. } => cursor.advance(tables, cache),
            Source::Memory { id, cursor, .. } => {
                let memtable = memories.get(*id);
                cursor.step(memtable);
                step_of(cursor, memtable, range, direction)
            }
        }
    }

    #[inline]
    pub fn key<'s>(&'s self, memories: &'s Memories) -> &'s [u8] {
        match self {
            Source::Run { cursor, .. } => cursor.key(),
            Source::Memory { id, cursor, .. } => memory_record(cursor, memories.get(*id)).key,
        }
    }

    #[inline]
    pub fn record<'s>(&'s self, memories: &'s Memories) -> Record<'s> {
        match self {
            Source::Run { cursor, .. } => cursor.record(),
            Source::Memory { id, cursor, .. } => memory_record(cursor, memories.get(*id)),
        }
    }

    pub fn has_tombstones(&self) -> bool {
        match self {
            Source::Memory { tombstones, .. } | Source::Run { tombstones, .. } => *tombstones,
        }
    }

    /// The newest range tombstone of this source over a key.
    pub fn covering(&self, key: &[u8], memories: &Memories, tables: &Tables) -> Seq {
        match self {
            Source::Memory { id, at, .. } => memories.get(*id).tombstones().covering(key, *at),
            Source::Run { cursor, .. } => cursor.covering(tables, key),
        }
    }
}

#[inline]
fn memory_record<'m>(cursor: &MemtableCursor, memtable: &'m Memtable) -> Record<'m> {
    cursor.record(memtable).expect("it stands at a record")
}

#[inline]
fn step_of(
    cursor: &MemtableCursor,
    memtable: &Memtable,
    range: &KeyRange,
    direction: Direction,
) -> Step {
    let inside = |record: Record<'_>| match direction {
        Direction::Forward => below_limit(record.key, &range.limit),
        Direction::Reverse => record.key >= range.start.as_slice(),
    };
    match cursor.record(memtable).is_some_and(inside) {
        true => Step::At,
        false => Step::End,
    }
}
