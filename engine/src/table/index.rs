//! Which block may hold the key? The fences of a table's blocks, in flat memory.
//!
//! A block's **fence** is the shortest key that is above every key of the block before and not above
//! its own first key. The first block's is empty. So a key is in the last block whose fence is not
//! above it, or nowhere.
//!
//! ```text
//! payload   start length u16 | limit length u16 | start | limit       the table's range
//!           blocks u32, then each: units of 8 bytes u32 | fence length u16 | fence
//! ```
//!
//! In memory the fences' common beginning is cut off and the eight bytes behind it stand in an array
//! of their own: a search touches that array alone unless eight bytes tie.

use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::effect::TableNumber;
use crate::record::{KEY_BYTES_MAX, KeyRange};
use crate::table::Corrupt;
use crate::table::format::{BLOCK_STORED_MAX, Fields, UNIT_BYTES, eight_bytes, shared_bytes};

/// The index of a table in memory.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// Where each block begins, in units, and where the last one ends.
    units: Vec<u32>,
    /// Bytes that all fences but the first begin with.
    common: Vec<u8>,
    /// Of each fence but the first: the eight bytes behind the common ones.
    heads: Vec<u64>,
    /// Where each fence but the first ends in `fences`.
    ends: Vec<u32>,
    fences: Vec<u8>,
}

impl Index {
    /// How many blocks there are.
    #[inline]
    pub fn blocks(&self) -> u32 {
        self.units.len().saturating_sub(1) as u32
    }

    /// Where in the file a block begins.
    #[inline]
    pub fn offset(&self, block: u32) -> u64 {
        u64::from(self.units[block as usize]) * UNIT_BYTES as u64
    }

    /// How many bytes of the file a block occupies.
    #[inline]
    pub fn stored_bytes(&self, block: u32) -> u32 {
        let block = block as usize;
        (self.units[block + 1] - self.units[block]) * UNIT_BYTES as u32
    }

    /// Where the data blocks end.
    pub fn data_bytes(&self) -> u64 {
        u64::from(self.units.last().copied().unwrap_or(0)) * UNIT_BYTES as u64
    }

    /// How many blocks from this one on end within so many bytes behind its beginning; at least one.
    pub fn blocks_within(&self, block: u32, bytes: u64) -> u32 {
        let limit = self.offset(block) + bytes;
        let ends = &self.units[block as usize + 1..];
        let within = ends.partition_point(|end| u64::from(*end) * UNIT_BYTES as u64 <= limit);
        within.max(1) as u32
    }

    /// A block's fence.
    pub fn fence(&self, block: u32) -> &[u8] {
        match block {
            0 => &[],
            block => self.fence_at(block as usize - 1),
        }
    }

    fn fence_at(&self, place: usize) -> &[u8] {
        let begin = match place {
            0 => 0,
            place => self.ends[place - 1] as usize,
        };
        &self.fences[begin..self.ends[place] as usize]
    }

    /// The block that may hold a key; there must be one.
    #[inline]
    pub fn find(&self, key: &[u8]) -> u32 {
        self.count_below(key, |fence, key| fence <= key)
    }

    /// The last block that may hold a key smaller than `limit`; there must be a block.
    pub fn find_below(&self, limit: &[u8]) -> u32 {
        self.count_below(limit, |fence, limit| fence < limit)
    }

    /// How many fences but the first pass the test, which all do up to some place.
    #[inline]
    fn count_below(&self, key: &[u8], passes: impl Fn(&[u8], &[u8]) -> bool) -> u32 {
        let common = self.common.len();
        let rest = match key.get(..common) {
            Some(begin) => match begin.cmp(&self.common) {
                Ordering::Less => return 0,
                Ordering::Greater => return self.heads.len() as u32,
                Ordering::Equal => &key[common..],
            },
            None if key < self.common.as_slice() => return 0,
            None => return self.heads.len() as u32,
        };
        let head = eight_bytes(rest);
        let count = self.heads.partition_point(|other| *other <= head);
        if count == 0 || self.heads[count - 1] != head || passes(self.fence_at(count - 1), key) {
            return count as u32;
        }
        // Eight bytes tie: ask whole fences.
        let tied = self.heads[..count].partition_point(|other| *other < head);
        let (mut low, mut high) = (tied, count - 1);
        while low < high {
            let middle = low.midpoint(high);
            match passes(self.fence_at(middle), key) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low as u32
    }

    /// How many bytes of memory it occupies.
    pub fn memory_bytes(&self) -> usize {
        self.units.capacity() * 4
            + self.heads.capacity() * 8
            + self.ends.capacity() * 4
            + self.fences.capacity()
            + self.common.capacity()
    }
}

/// What the payload is too short for.
const CUT_OFF: &str = "the index is cut off";

/// What the payload says of a block, at least.
const ENTRY_BYTES_MIN: usize = 4 + 2;

/// No block is longer.
const UNITS_MAX: u32 = (BLOCK_STORED_MAX / UNIT_BYTES) as u32;

/// So many blocks are read in one call.
const BLOCKS_AT_ONCE: usize = 4096;

/// Reads a payload back, a bounded number of blocks at a time.
#[derive(Debug)]
pub struct IndexOpening {
    payload: Vec<u8>,
    table: TableNumber,
    offset: u64,
    /// How far the payload has been read.
    at: usize,
    /// How many blocks there are, and how many of them have been read.
    blocks: usize,
    read: usize,
    range: KeyRange,
    index: Index,
}

impl IndexOpening {
    /// Over a payload whose section begins at `offset` of the file.
    pub fn new(payload: Vec<u8>, table: TableNumber, offset: u64) -> Result<Self, Corrupt> {
        let mut fields = Fields::new(&payload, table, offset);
        let start_bytes = usize::from(fields.u16(CUT_OFF)?);
        let limit_bytes = usize::from(fields.u16(CUT_OFF)?);
        if start_bytes.max(limit_bytes) > KEY_BYTES_MAX + 1 {
            return Err(fields.corrupt("the range's keys are too long"));
        }
        let start = fields.take(start_bytes, CUT_OFF)?;
        let range = KeyRange::new(start, fields.take(limit_bytes, CUT_OFF)?);
        if range.is_empty() {
            return Err(fields.corrupt("the range is empty"));
        }
        let blocks = fields.u32(CUT_OFF)? as usize;
        if blocks > fields.left() / ENTRY_BYTES_MIN {
            return Err(fields.corrupt("more blocks than the index has room for"));
        }
        let mut index = Index::default();
        index.units.reserve_exact(blocks + 1);
        index.units.push(0);
        index.heads.reserve_exact(blocks.saturating_sub(1));
        index.ends.reserve_exact(blocks.saturating_sub(1));
        index
            .fences
            .reserve_exact(fields.left() - ENTRY_BYTES_MIN * blocks);
        Ok(IndexOpening {
            at: payload.len() - fields.left(),
            payload,
            table,
            offset,
            blocks,
            read: 0,
            range,
            index,
        })
    }

    /// Reads some more. Answers once, with the table's range and the index; before that it wants to
    /// be called again.
    pub fn step(&mut self) -> Result<Option<(KeyRange, Index)>, Corrupt> {
        match self.read < self.blocks {
            true => self.read_some()?,
            false => self.head_some(),
        }
        let whole = self.read == self.blocks && self.index.heads.len() == self.index.ends.len();
        Ok(whole.then(|| {
            let range = core::mem::take(&mut self.range);
            (range, core::mem::take(&mut self.index))
        }))
    }

    fn read_some(&mut self) -> Result<(), Corrupt> {
        let index = &mut self.index;
        let unread = self.offset + self.at as u64;
        let mut fields = Fields::new(&self.payload[self.at..], self.table, unread);
        let mut end = *index.units.last().expect("the first block's");
        for block in self.read..self.blocks.min(self.read + BLOCKS_AT_ONCE) {
            let units = fields.u32(CUT_OFF)?;
            let fence_bytes = usize::from(fields.u16(CUT_OFF)?);
            let fence = fields.take(fence_bytes, CUT_OFF)?;
            if fence_bytes > KEY_BYTES_MAX || (block == 0) != fence.is_empty() {
                return Err(fields.corrupt("a fence of an impossible length"));
            }
            if block > 0 && fence <= index.fence(block as u32 - 1) {
                return Err(fields.corrupt("fences are out of order"));
            }
            end = match end.checked_add(units) {
                Some(next) if (1..=UNITS_MAX).contains(&units) => next,
                _ => return Err(fields.corrupt("a block of an impossible length")),
            };
            index.units.push(end);
            if block > 0 {
                index.fences.extend_from_slice(fence);
                index.ends.push(index.fences.len() as u32);
            }
            self.read += 1;
        }
        self.at = self.payload.len() - fields.left();
        if self.read == self.blocks {
            if fields.left() > 0 {
                return Err(fields.corrupt("bytes follow the index"));
            }
            self.cut_common();
        }
        Ok(())
    }

    /// Fences ascend: what the first and the last share, all share.
    fn cut_common(&mut self) {
        let index = &mut self.index;
        if let Some(last @ 1..) = index.ends.len().checked_sub(1) {
            let common = shared_bytes(index.fence_at(0), index.fence_at(last));
            index.common = index.fence_at(0)[..common].to_vec();
        }
    }

    fn head_some(&mut self) {
        let index = &mut self.index;
        let (done, all) = (index.heads.len(), index.ends.len());
        let common = index.common.len();
        for place in done..all.min(done + BLOCKS_AT_ONCE) {
            let head = eight_bytes(&index.fence_at(place)[common..]);
            index.heads.push(head);
        }
    }
}

/// Makes the payload as blocks are written.
#[derive(Debug, Default)]
pub struct IndexBuilder {
    blocks: u32,
    entries: Vec<u8>,
}

impl IndexBuilder {
    /// A block was written; `before` is the last key of the one before, if any.
    pub fn add(&mut self, units: usize, before: Option<&[u8]>, first: &[u8]) {
        let fence = match before {
            None => &[],
            Some(before) => &first[..=shared_bytes(before, first)],
        };
        let units = u32::try_from(units).expect("a block is a MiB and a little");
        assert!((1..=UNITS_MAX).contains(&units), "a block's length");
        self.entries.extend_from_slice(&units.to_le_bytes());
        self.entries
            .extend_from_slice(&(fence.len() as u16).to_le_bytes());
        self.entries.extend_from_slice(fence);
        self.blocks += 1;
    }

    /// About how long the payload will be.
    pub fn payload_bytes(&self) -> usize {
        self.entries.len() + 8
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    fn head(&self, range: &KeyRange) -> Vec<u8> {
        let mut head = Vec::with_capacity(8 + range.start.len() + range.limit.len());
        head.extend_from_slice(&(range.start.len() as u16).to_le_bytes());
        head.extend_from_slice(&(range.limit.len() as u16).to_le_bytes());
        head.extend_from_slice(&range.start);
        head.extend_from_slice(&range.limit);
        head.extend_from_slice(&self.blocks.to_le_bytes());
        head
    }

    /// The payload of the section.
    pub fn take_payload(&mut self, range: &KeyRange) -> Vec<u8> {
        let mut payload = self.head(range);
        payload.append(&mut self.entries);
        payload
    }
}
