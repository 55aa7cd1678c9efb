//! A block, unpacked: records in order of their keys, found by binary search.
//!
//! ```text
//! body   0   records u32           at least one
//!        4   prefix length u16     what all keys of the block begin with
//!        6   widths u8             of a place (2 or 4) and, in the high half, of a length (1 or 2)
//!        7   seq width u8          1 to 8
//!        8   base u64              the smallest sequence of the block
//!        16  prefix
//!            marks                 a byte of each record's key hash: where to look for a whole key
//!            places                records + 1 of them: where each record begins, where the last ends
//!            records               suffix length | suffix | (seq - base) * 2 + kind | value to the end
//! ```
//!
//! **Everything is checked once, when the bytes come in**: places ascend, every part lies inside its
//! record, kinds exist, keys ascend strictly. From then on a block only answers.
//!
//! A whole key is found by its mark: all marks of a block lie in a line or two of cache, eight are
//! compared at once, and seldom does one lead to another key. Only a place between keys is found by
//! binary search, whose every probe is a cache miss of its own.

use alloc::boxed::Box;
use alloc::vec;
use core::cell::Cell;
use core::cmp::Ordering;

use crate::effect::TableNumber;
use crate::record::{KEY_BYTES_MAX, Kind, Seq, VALUE_BYTES_MAX};
use crate::table::Corrupt;
use crate::table::format::{
    BLOCK_HEADER_BYTES, BODY_BYTES_MAX, PAGE_BYTES, UNIT_BYTES, checksum, eight_bytes, number_at,
    units_for,
};

/// What a body says before its prefix.
pub const BODY_HEADER_BYTES: usize = 16;

/// How the body of a block is packed.
pub const PACKING_RAW: u8 = 0;
/// See [`PACKING_RAW`].
pub const PACKING_LZ4: u8 = 1;

/// What a block notes of a key's hash: bits that pick neither the filter's line nor bits in it.
#[inline]
pub fn mark_of(hash: u64) -> u8 {
    (hash >> 32) as u8
}

/// A block in memory.
#[derive(Debug)]
pub struct Block {
    body: Box<[u8]>,
    count: u32,
    /// Where the marks begin, which is where the prefix ends.
    marks: u32,
    /// Where the places begin.
    places: u32,
    place_width: u8,
    length_width: u8,
    seq_width: u8,
    base: Seq,
    number: u32,
    /// How often it was used lately; the cache's own.
    pub(crate) uses: Cell<u8>,
    /// Whether it stands in the cache's small queue; the cache's own.
    pub(crate) is_new: Cell<bool>,
}

/// A record inside a block, by places.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entry {
    /// Where its suffix begins.
    pub suffix: u32,
    /// Where its sequence begins, which is where its suffix ends.
    pub seq: u32,
    /// Where its value begins.
    pub value: u32,
    /// Where it ends.
    pub end: u32,
}

/// What the header of a stored block says, once its checksum is right.
pub(crate) struct Stored<'bytes> {
    packed: &'bytes [u8],
    raw_bytes: usize,
    lz4: bool,
}

impl Stored<'_> {
    /// Whether it is compressed.
    pub(crate) fn is_packed(&self) -> bool {
        self.lz4
    }
}

/// Checks a stored block; `bytes` are all that it occupies in the file.
pub(crate) fn check_stored<'bytes>(
    table: TableNumber,
    offset: u64,
    bytes: &'bytes [u8],
) -> Result<Stored<'bytes>, Corrupt> {
    let corrupt = |why| Corrupt { table, offset, why };
    if bytes.len() < BLOCK_HEADER_BYTES || !bytes.len().is_multiple_of(UNIT_BYTES) {
        return Err(corrupt("the file ends inside a block"));
    }
    let crc = number_at(bytes, 0, 4) as u32;
    if checksum(table, offset, &[&bytes[4..]]) != crc {
        return Err(corrupt("checksum of a block"));
    }
    let stored = number_at(bytes, 8, 4) as usize;
    let raw_bytes = number_at(bytes, 12, 4) as usize;
    let lz4 = match bytes[4] {
        PACKING_RAW => false,
        PACKING_LZ4 => true,
        _ => return Err(corrupt("a packing that does not exist")),
    };
    let needed = units_for(BLOCK_HEADER_BYTES.saturating_add(stored)).saturating_mul(UNIT_BYTES);
    if !(needed..needed.saturating_add(PAGE_BYTES)).contains(&bytes.len()) {
        return Err(corrupt("a block of another length than the index says"));
    }
    if raw_bytes > BODY_BYTES_MAX || (!lz4 && raw_bytes != stored) {
        return Err(corrupt("a body of an impossible length"));
    }
    Ok(Stored {
        packed: &bytes[BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + stored],
        raw_bytes,
        lz4,
    })
}

impl Block {
    /// Checks and unpacks what was read; `bytes` are all that the block occupies in the file.
    pub fn decode(
        table: TableNumber,
        number: u32,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Block, Corrupt> {
        let stored = check_stored(table, offset, bytes)?;
        let corrupt = |why| Corrupt { table, offset, why };
        let body: Box<[u8]> = match stored.lz4 {
            false => stored.packed.into(),
            true => {
                let mut body = vec![0; stored.raw_bytes];
                match lz4_flex::block::decompress_into(stored.packed, &mut body) {
                    Ok(length) if length == body.len() => body.into_boxed_slice(),
                    _ => return Err(corrupt("a block that cannot be unpacked")),
                }
            }
        };
        Block::from_body(number, body).map_err(corrupt)
    }

    fn from_body(number: u32, body: Box<[u8]>) -> Result<Block, &'static str> {
        if body.len() < BODY_HEADER_BYTES {
            return Err("a body without a header");
        }
        let count = number_at(&body, 0, 4) as u32;
        let prefix = number_at(&body, 4, 2) as usize;
        let (place_width, length_width) = (body[6] & 0xf, body[6] >> 4);
        let seq_width = body[7];
        let marks = BODY_HEADER_BYTES + prefix;
        if !matches!(place_width, 2 | 4) || !matches!(length_width, 1 | 2) {
            return Err("a width that does not exist");
        }
        if !(1..=8).contains(&seq_width) {
            return Err("a width that does not exist");
        }
        // In u64: a count from the file times five overflows nothing.
        let places = marks as u64 + u64::from(count);
        let records = places + (u64::from(count) + 1) * u64::from(place_width);
        if count == 0 || records > body.len() as u64 {
            return Err("more records than a body has room for");
        }
        let block = Block {
            count,
            marks: marks as u32,
            places: places as u32,
            place_width,
            length_width,
            seq_width,
            base: Seq(number_at(&body, 8, 8)),
            number,
            uses: Cell::new(0),
            is_new: Cell::new(false),
            body,
        };
        block.check(records as usize)?;
        Ok(block)
    }

    /// Everything that searching and reading takes for granted.
    fn check(&self, records: usize) -> Result<(), &'static str> {
        let fixed = usize::from(self.length_width) + usize::from(self.seq_width);
        let mut begin = self.place(0);
        if begin != records || self.place(self.count) != self.body.len() {
            return Err("records do not fill the body");
        }
        let mut before: &[u8] = &[];
        for position in 0..self.count {
            let end = self.place(position + 1);
            if end < begin + fixed || end > self.body.len() {
                return Err("a record's place");
            }
            let suffix = number_at(&self.body, begin, self.length_width.into()) as usize;
            let prefix = self.prefix().len();
            if end - begin < fixed + suffix || prefix + suffix > KEY_BYTES_MAX {
                return Err("a key's length");
            }
            let entry = self.entry(position);
            if (entry.end - entry.value) as usize > VALUE_BYTES_MAX {
                return Err("a value's length");
            }
            let word = number_at(&self.body, entry.seq as usize, self.seq_width.into());
            if self.base.0.checked_add(word >> 1).is_none() {
                return Err("a sequence beyond all sequences");
            }
            if word & 1 == 0 && entry.value != entry.end {
                return Err("a delete with a value");
            }
            let suffix = self.suffix(&entry);
            if position > 0 && suffix <= before {
                return Err("keys are out of order");
            }
            before = suffix;
            begin = end;
        }
        Ok(())
    }

    /// Its number in its table.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// How many records it holds.
    #[inline]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How many bytes of memory it occupies.
    pub fn memory_bytes(&self) -> usize {
        // Its own fields and the two counters of an `Rc` stand beside the body.
        self.body.len() + size_of::<Block>() + 16
    }

    /// What all its keys begin with.
    #[inline]
    pub fn prefix(&self) -> &[u8] {
        &self.body[BODY_HEADER_BYTES..self.marks as usize]
    }

    #[inline]
    fn place(&self, position: u32) -> usize {
        let width = usize::from(self.place_width);
        let at = self.places as usize + position as usize * width;
        match width {
            2 => {
                let pair = self.body[at..].first_chunk().expect("checked");
                u16::from_le_bytes(*pair).into()
            }
            _ => {
                let four = self.body[at..].first_chunk().expect("checked");
                u32::from_le_bytes(*four) as usize
            }
        }
    }

    /// Where the suffix of a record that begins at `begin` lies.
    #[inline]
    fn suffix_of(&self, begin: usize) -> (usize, usize) {
        match self.length_width {
            1 => (begin + 1, begin + 1 + usize::from(self.body[begin])),
            _ => {
                let pair = self.body[begin..].first_chunk().expect("checked");
                let length = usize::from(u16::from_le_bytes(*pair));
                (begin + 2, begin + 2 + length)
            }
        }
    }

    /// Where the parts of a record lie.
    #[inline]
    pub fn entry(&self, position: u32) -> Entry {
        let begin = self.place(position);
        let (suffix, seq) = self.suffix_of(begin);
        Entry {
            suffix: suffix as u32,
            seq: seq as u32,
            value: seq as u32 + u32::from(self.seq_width),
            end: self.place(position + 1) as u32,
        }
    }

    /// A record's key without the prefix.
    #[inline]
    pub fn suffix(&self, entry: &Entry) -> &[u8] {
        &self.body[entry.suffix as usize..entry.seq as usize]
    }

    /// When a record was written, and what it says.
    #[inline]
    pub fn seq_and_kind(&self, entry: &Entry) -> (Seq, Kind) {
        let word = number_at(&self.body, entry.seq as usize, self.seq_width.into());
        let kind = match word & 1 {
            0 => Kind::Delete,
            _ => Kind::Put,
        };
        (Seq(self.base.0 + (word >> 1)), kind)
    }

    /// A record's value.
    #[inline]
    pub fn value(&self, entry: &Entry) -> &[u8] {
        &self.body[entry.value as usize..entry.end as usize]
    }

    /// What the block notes of the hash of a record's key.
    pub fn mark(&self, position: u32) -> u8 {
        self.body[(self.marks + position) as usize]
    }

    /// Whether the record at a position has this key.
    #[inline]
    fn is_key(&self, position: u32, key: &[u8]) -> bool {
        let (begin, end) = self.suffix_of(self.place(position));
        let prefix = self.prefix();
        key.len() == prefix.len() + (end - begin)
            && key[prefix.len()..] == self.body[begin..end]
            && key[..prefix.len()] == *prefix
    }

    /// The position of the record with this key, whose hash is `hash`.
    #[inline]
    pub fn find_key(&self, key: &[u8], hash: u64) -> Option<u32> {
        const LOW: u64 = 0x0101_0101_0101_0101;
        const HIGH: u64 = 0x8080_8080_8080_8080;
        let mark = mark_of(hash);
        let marks = &self.body[self.marks as usize..self.places as usize];
        let (eights, rest) = marks.as_chunks::<8>();
        for (at, eight) in eights.iter().enumerate() {
            let differs = u64::from_le_bytes(*eight) ^ (LOW * u64::from(mark));
            // The lowest bit set belongs to a byte that is zero; a borrow can set higher ones.
            let mut zeros = differs.wrapping_sub(LOW) & !differs & HIGH;
            while zeros != 0 {
                let position = (at * 8) as u32 + zeros.trailing_zeros() / 8;
                if self.is_key(position, key) {
                    return Some(position);
                }
                zeros &= zeros - 1;
            }
        }
        let begin = (eights.len() * 8) as u32;
        let mut rest = (begin..).zip(rest);
        rest.find(|(position, other)| **other == mark && self.is_key(*position, key))
            .map(|(position, _)| position)
    }

    /// The position of the first record whose key is not below `key`, and whether it is that key.
    #[inline]
    pub fn find(&self, key: &[u8]) -> (u32, bool) {
        let prefix = self.prefix();
        let rest = match key.get(..prefix.len()) {
            Some(begin) => match begin.cmp(prefix) {
                Ordering::Less => return (0, false),
                Ordering::Greater => return (self.count, false),
                Ordering::Equal => &key[prefix.len()..],
            },
            None if key < prefix => return (0, false),
            None => return (self.count, false),
        };
        let head = eight_bytes(rest);
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            let (begin, end) = self.suffix_of(self.place(middle));
            let suffix = &self.body[begin..end];
            // Eight bytes decide most comparisons without a call.
            let order = match eight_bytes(suffix).cmp(&head) {
                Ordering::Equal => suffix.cmp(rest),
                order => order,
            };
            match order {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return (middle, true),
            }
        }
        (low, false)
    }
}
