//! The bytes of a table file: constants, checksums, and fields read from bytes that nobody trusts.
//!
//! ```text
//! 0             data blocks        one behind the other; the last one ends a page
//! tail_offset   range tombstones   a section; none: no pages
//!               filter             a section; no records: no pages
//!               index              a section; begins with the table's range
//!               footer             the last page
//!
//! section   chunks of 32 KiB, the last one cut to whole pages:
//!           payload … zeros … | crc u32          the last four bytes of each chunk;
//!                                                a whole chunk has 60 zeros before its crc
//!
//! block     0   crc u32         of everything behind it up to the block's end
//!           4   packing u8      0 raw, 1 LZ4
//!           5   zeros [3]
//!           8   stored u32      bytes that follow at 16
//!           12  raw u32         how many they are once unpacked
//!           16  body, packed; zeros up to a multiple of 8, or up to the next page
//!                                                             (the body: see `block`)
//! ```
//!
//! A block is read with the pages that it touches. One that leaves little of its last page is padded, so
//! that the next one begins a page: small records fill blocks of exactly one page. Large ones go on
//! where the last block ended, or a good part of the file would be padding.
//!
//! Pages are 4 KiB. Numbers are little-endian. Every checksum also covers the table's number and the
//! place in the file, so what a disk reads from the wrong place never verifies; and every byte of
//! the file, padding included, lies under exactly one checksum.

use crate::effect::TableNumber;
use crate::table::Corrupt;

/// What direct I/O reads and writes.
pub const PAGE_BYTES: usize = 4096;

/// A builder hands out no chunk larger than this.
pub const CHUNK_BYTES_MAX: usize = 256 << 10;

/// Chunks may be chosen this small: any block that is not a single large record fits into one.
pub const CHUNK_BYTES_MIN: usize = 128 << 10;

/// A data block grows no further than this unless a single record is larger.
pub const BLOCK_BYTES_MAX: usize = 32 << 10;

/// What a block says before its body.
pub const BLOCK_HEADER_BYTES: usize = 16;

/// No body is longer: the largest record and what a body needs besides.
pub const BODY_BYTES_MAX: usize =
    crate::record::KEY_BYTES_MAX + crate::record::VALUE_BYTES_MAX + (1 << 10);

/// A section's checksums stand this far apart.
pub const SECTION_CHUNK_BYTES: usize = 32 << 10;

/// What of a section's chunk is payload: a multiple of a filter's line, so that none is cut in two.
pub const SECTION_CHUNK_PAYLOAD: usize = SECTION_CHUNK_BYTES - 64;

const _: () = {
    assert!(SECTION_CHUNK_BYTES.is_multiple_of(PAGE_BYTES));
    assert!(CHUNK_BYTES_MAX.is_multiple_of(SECTION_CHUNK_BYTES));
    assert!(PAGE_BYTES.is_multiple_of(UNIT_BYTES));
    assert!(BLOCK_BYTES_MAX + 2 * PAGE_BYTES <= CHUNK_BYTES_MIN);
};

/// Blocks begin and end at multiples of so many bytes.
pub const UNIT_BYTES: usize = 8;

/// No block occupies more of the file: the largest body, and padding up to the next page.
pub const BLOCK_STORED_MAX: usize = BLOCK_HEADER_BYTES + BODY_BYTES_MAX + PAGE_BYTES;

/// How many units hold so many bytes.
pub fn units_for(bytes: usize) -> usize {
    bytes.div_ceil(UNIT_BYTES)
}

/// How many whole pages hold so many bytes.
pub fn pages_for(bytes: usize) -> usize {
    bytes.div_ceil(PAGE_BYTES)
}

/// How many bytes of the file a section's payload occupies.
pub fn section_stored_bytes(payload: u64) -> u64 {
    let whole = payload / SECTION_CHUNK_PAYLOAD as u64;
    let rest = payload % SECTION_CHUNK_PAYLOAD as u64;
    let last = match rest {
        0 => 0,
        rest => pages_for(rest as usize + 4) * PAGE_BYTES,
    };
    whole * SECTION_CHUNK_BYTES as u64 + last as u64
}

/// The checksum of bytes that stand at `offset` of a table's file.
pub fn checksum(table: TableNumber, offset: u64, parts: &[&[u8]]) -> u32 {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&table.0.to_le_bytes());
    place[8..].copy_from_slice(&offset.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&place);
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

/// How many leading bytes two keys share.
pub fn shared_bytes(left: &[u8], right: &[u8]) -> usize {
    let mut shared = 0;
    let words = left.chunks_exact(8).zip(right.chunks_exact(8));
    for (one, other) in words {
        let one = u64::from_le_bytes(*one.first_chunk().expect("eight bytes"));
        let other = u64::from_le_bytes(*other.first_chunk().expect("eight bytes"));
        if one != other {
            return shared + ((one ^ other).trailing_zeros() / 8) as usize;
        }
        shared += 8;
    }
    let rest = left[shared..].iter().zip(&right[shared..]);
    shared + rest.take_while(|(one, other)| one == other).count()
}

/// The first eight bytes of a key, zeros where it is shorter: ordered like the key as far as they go.
#[inline]
pub fn eight_bytes(key: &[u8]) -> u64 {
    if let Some(first) = key.first_chunk::<8>() {
        return u64::from_be_bytes(*first);
    }
    let mut padded = [0; 8];
    padded[..key.len()].copy_from_slice(key);
    u64::from_be_bytes(padded)
}

/// A number of `width` (1 to 8) bytes at `at`; the caller has checked that it lies inside.
#[inline]
pub fn number_at(bytes: &[u8], at: usize, width: usize) -> u64 {
    if let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        return u64::from_le_bytes(*eight) & (u64::MAX >> (64 - 8 * width));
    }
    let mut padded = [0; 8];
    padded[..width].copy_from_slice(&bytes[at..at + width]);
    u64::from_le_bytes(padded)
}

/// How many bytes (1 to 8) a number needs.
pub fn width_of(number: u64) -> usize {
    ((u64::BITS - number.leading_zeros()) as usize)
        .div_ceil(8)
        .max(1)
}

/// Reads fields one after another; what is missing is corruption at its place.
#[derive(Clone, Debug)]
pub struct Fields<'bytes> {
    bytes: &'bytes [u8],
    at: usize,
    table: TableNumber,
    /// Where in the file the bytes come from, for the report.
    offset: u64,
}

impl<'bytes> Fields<'bytes> {
    /// Over bytes that were read at `offset`.
    pub fn new(bytes: &'bytes [u8], table: TableNumber, offset: u64) -> Fields<'bytes> {
        Fields {
            bytes,
            at: 0,
            table,
            offset,
        }
    }

    /// An error at the place where reading has come to.
    pub fn corrupt(&self, why: &'static str) -> Corrupt {
        Corrupt {
            table: self.table,
            offset: self.offset + self.at as u64,
            why,
        }
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize, why: &'static str) -> Result<&'bytes [u8], Corrupt> {
        if count > self.left() {
            return Err(self.corrupt(why));
        }
        let taken = &self.bytes[self.at..self.at + count];
        self.at += count;
        Ok(taken)
    }

    /// The next number of two bytes.
    pub fn u16(&mut self, why: &'static str) -> Result<u16, Corrupt> {
        Ok(number_at(self.take(2, why)?, 0, 2) as u16)
    }

    /// The next number of four bytes.
    pub fn u32(&mut self, why: &'static str) -> Result<u32, Corrupt> {
        Ok(number_at(self.take(4, why)?, 0, 4) as u32)
    }

    /// The next number of eight bytes.
    pub fn u64(&mut self, why: &'static str) -> Result<u64, Corrupt> {
        Ok(number_at(self.take(8, why)?, 0, 8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_share_what_they_share() {
        let key = b"0123456789abcdefghij";
        for length in 0..key.len() {
            for other_length in 0..key.len() {
                let shared = length.min(other_length);
                assert_eq!(shared_bytes(&key[..length], &key[..other_length]), shared);
            }
            let mut other = *key;
            other[length] ^= 0x40;
            assert_eq!(shared_bytes(key, &other), length);
        }
    }

    #[test]
    fn numbers_need_the_bytes_that_they_need() {
        for bits in 0..64 {
            let number = 1u64 << bits;
            let width = width_of(number);
            assert_eq!(width, bits / 8 + 1);
            let bytes = number.to_le_bytes();
            assert_eq!(number_at(&bytes, 0, width), number);
            assert_eq!(number_at(&bytes[..width], 0, width), number);
        }
        assert_eq!(width_of(0), 1);
    }

    #[test]
    fn a_section_occupies_whole_pages() {
        assert_eq!(section_stored_bytes(0), 0);
        assert_eq!(section_stored_bytes(1), 4096);
        assert_eq!(section_stored_bytes(4092), 4096);
        assert_eq!(section_stored_bytes(4093), 8192);
        assert_eq!(section_stored_bytes(SECTION_CHUNK_PAYLOAD as u64), 32 << 10);
        assert_eq!(
            section_stored_bytes(SECTION_CHUNK_PAYLOAD as u64 + 1),
            36 << 10
        );
    }
}
