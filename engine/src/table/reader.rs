//! An opened table: what it answers from memory, and which block it needs for the rest.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;

use crate::cache::BlockCache;
use crate::effect::TableNumber;
use crate::record::{KeyRange, Kind, Record, Seq, below_limit};
use crate::table::block::{Block, Entry};
use crate::table::filter::{Filter, key_hash};
use crate::table::index::Index;
use crate::table::opening::TableOpening;
use crate::table::tombstones::TableTombstones;
use crate::table::{Corrupt, TableMeta};

/// Names a block of a table and where to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockRef {
    /// Which table.
    pub table: TableNumber,
    /// Which of its blocks, from 0 on.
    pub number: u32,
    /// Where in the file.
    pub offset: u64,
    /// How many bytes.
    pub length: u32,
    /// Where the cache keeps the table's blocks.
    pub(crate) cache_slot: Option<u32>,
}

impl BlockRef {
    /// Checks and unpacks what was read, past the cache: for compaction and export.
    pub fn decode(&self, bytes: &[u8]) -> Result<Block, Corrupt> {
        if bytes.len() != self.length as usize {
            return Err(Corrupt {
                table: self.table,
                offset: self.offset,
                why: "the file ends inside a block",
            });
        }
        Block::decode(self.table, self.number, self.offset, bytes)
    }
}

/// A key to look for, with what every filter wants to know of it.
#[derive(Clone, Copy, Debug)]
pub struct Probe<'key> {
    key: &'key [u8],
    hash: u64,
}

impl<'key> Probe<'key> {
    /// To be made once per key, whatever the number of tables.
    #[inline]
    pub fn new(key: &'key [u8]) -> Probe<'key> {
        let hash = key_hash(key);
        Probe { key, hash }
    }

    /// The key.
    pub fn key(&self) -> &'key [u8] {
        self.key
    }

    /// Its hash.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

/// What a table knows of a key.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// It holds this record.
    Found(Hit),
    /// It holds none that the reader may see.
    Absent,
    /// It cannot say without this block.
    Need(BlockRef),
}

/// A record, in a block that it keeps alive.
#[derive(Clone, Debug)]
pub struct Hit {
    block: Rc<Block>,
    entry: Entry,
    seq: Seq,
    kind: Kind,
}

impl Hit {
    /// When the record was written.
    #[inline]
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// What it says.
    #[inline]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its value.
    #[inline]
    pub fn value(&self) -> &[u8] {
        self.block.value(&self.entry)
    }

    /// The block in which it lies.
    pub fn block(&self) -> &Rc<Block> {
        &self.block
    }
}

/// A table whose tail is in memory.
#[derive(Debug)]
pub struct Table {
    meta: TableMeta,
    index: Index,
    filter: Filter,
    tombstones: TableTombstones,
    cache_slot: Cell<Option<u32>>,
}

impl Table {
    /// Opens a table from its tail in one call: see [`TableOpening`] for the same in steps.
    pub fn open(
        number: Option<TableNumber>,
        file_bytes: u64,
        global_seq: Option<Seq>,
        tail: &[u8],
    ) -> Result<Table, Corrupt> {
        let mut opening = TableOpening::new(number, file_bytes, global_seq, tail)?;
        loop {
            if let Some(table) = opening.step(tail)? {
                return Ok(table);
            }
        }
    }

    pub(crate) fn of_parts(
        meta: TableMeta,
        index: Index,
        filter: Filter,
        tombstones: TableTombstones,
    ) -> Table {
        Table {
            meta,
            index,
            filter,
            tombstones,
            cache_slot: Cell::new(None),
        }
    }

    /// Its number.
    pub fn number(&self) -> TableNumber {
        self.meta.number
    }

    /// What is known of it.
    pub fn meta(&self) -> &TableMeta {
        &self.meta
    }

    /// Its range tombstones.
    #[inline]
    pub fn tombstones(&self) -> &TableTombstones {
        &self.tombstones
    }

    /// How many data blocks it has.
    #[inline]
    pub fn blocks(&self) -> u32 {
        self.index.blocks()
    }

    /// Its fences and where its blocks are.
    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    pub(crate) fn cache_slot(&self) -> Option<u32> {
        self.cache_slot.get()
    }

    pub(crate) fn set_cache_slot(&self, slot: Option<u32>) {
        self.cache_slot.set(slot);
    }

    /// How many bytes of memory it occupies, without cached blocks.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Table>()
            + self.index.memory_bytes()
            + self.filter.memory_bytes()
            + self.tombstones.memory_bytes()
            + self.meta.range.start.capacity()
            + self.meta.range.limit.capacity()
    }

    /// Names one of its blocks.
    #[inline]
    pub fn block_ref(&self, block: u32) -> BlockRef {
        BlockRef {
            table: self.meta.number,
            number: block,
            offset: self.index.offset(block),
            length: self.index.stored_bytes(block),
            cache_slot: self.cache_slot.get(),
        }
    }

    /// Whether it may hold a record of this key; `false` is certain. Asks the filter alone.
    #[inline]
    pub fn may_contain(&self, probe: &Probe<'_>) -> bool {
        self.filter.may_contain(probe.hash)
    }

    /// Looks for the record of a key with a sequence up to `at`. Range tombstones are not consulted.
    #[inline]
    pub fn get(&self, probe: &Probe<'_>, at: Seq, cache: &mut BlockCache) -> Lookup {
        if !self.filter.may_contain(probe.hash) {
            return Lookup::Absent;
        }
        let block = self.index.find(probe.key);
        match cache.get(self, block) {
            Some(block) => self.get_in(block, probe, at),
            None => Lookup::Need(self.block_ref(block)),
        }
    }

    #[inline]
    fn get_in(&self, block: &Rc<Block>, probe: &Probe<'_>, at: Seq) -> Lookup {
        let Some(position) = block.find_key(probe.key, probe.hash) else {
            return Lookup::Absent;
        };
        let entry = block.entry(position);
        let (seq, kind) = self.seq_and_kind(block, &entry);
        if seq > at {
            return Lookup::Absent;
        }
        Lookup::Found(Hit {
            block: block.clone(),
            entry,
            seq,
            kind,
        })
    }

    /// What the block says of a record, under the table's global sequence if it has one.
    #[inline]
    pub(crate) fn seq_and_kind(&self, block: &Block, entry: &Entry) -> (Seq, Kind) {
        let (seq, kind) = block.seq_and_kind(entry);
        (self.meta.global_seq.unwrap_or(seq), kind)
    }

    /// The record at a position of a block; its key is put together in `key`.
    pub fn record_in<'bytes>(
        &self,
        block: &'bytes Block,
        position: u32,
        key: &'bytes mut Vec<u8>,
    ) -> Record<'bytes> {
        let entry = block.entry(position);
        key.clear();
        key.extend_from_slice(block.prefix());
        key.extend_from_slice(block.suffix(&entry));
        let (seq, kind) = self.seq_and_kind(block, &entry);
        Record {
            key,
            seq,
            kind,
            value: block.value(&entry),
        }
    }

    /// Where in the file, about, the records from `key` on begin.
    pub(crate) fn position(&self, key: &[u8]) -> u64 {
        let own = &self.meta.range;
        if self.blocks() == 0 || key <= own.start.as_slice() {
            return 0;
        }
        if !own.limit.is_empty() && key >= own.limit.as_slice() {
            return self.index.data_bytes();
        }
        let block = self.index.find(key);
        let half = match key > self.index.fence(block) {
            true => u64::from(self.index.stored_bytes(block)) / 2,
            false => 0,
        };
        self.index.offset(block) + half
    }

    /// About how many bytes of the file the records of a range occupy, from the index alone: right
    /// to about a block at either end.
    pub fn approximate_bytes(&self, range: &KeyRange) -> u64 {
        let begin = self.position(&range.start);
        let end = match range.limit.as_slice() {
            [] => self.index.data_bytes(),
            limit => self.position(limit),
        };
        end.saturating_sub(begin)
    }

    /// The fences inside a range, ascending, each with its place in the file: what keys could cut
    /// the range, and how the bytes lie between them.
    pub fn fences<'table>(
        &'table self,
        range: &'table KeyRange,
    ) -> impl Iterator<Item = (&'table [u8], u64)> {
        let first = match self.blocks() {
            0 => 0,
            _ => self.index.find(&range.start) + 1,
        };
        (first..self.blocks())
            .map(|block| (self.index.fence(block), self.index.offset(block)))
            .take_while(|(fence, _)| below_limit(fence, &range.limit))
    }

    /// A key inside a range with about as many bytes of records before it as after it; none if the
    /// range's records lie in one block.
    pub fn middle_key(&self, range: &KeyRange) -> Option<Vec<u8>> {
        if self.blocks() < 2 || range.is_empty() {
            return None;
        }
        // The blocks whose fences lie inside.
        let first = self.index.find(&range.start) + 1;
        let last = match range.limit.as_slice() {
            [] => self.blocks() - 1,
            limit => self.index.find_below(limit),
        };
        if first > last {
            return None;
        }
        let middle = self.position(&range.start) + self.approximate_bytes(range) / 2;
        let (mut low, mut high) = (first, last);
        while low < high {
            let block = low.midpoint(high);
            match self.index.offset(block) < middle {
                true => low = block + 1,
                false => high = block,
            }
        }
        Some(self.index.fence(low).to_vec())
    }
}
