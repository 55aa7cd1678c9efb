//! May this table hold the key? A bloom filter of one cache line per key.
//!
//! A key's hash picks a line of 512 bits and six bits in it. At ten bits per key about one absent key
//! in a hundred is answered "maybe". A question costs one cache miss, an answer "no" needs neither
//! index nor block.
//!
//! ```text
//! payload   lines × 64 bytes; bit b of a line is bit b % 64 of its word b / 64
//! ```

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use xxhash_rust::xxh3::xxh3_64;

/// Bits of filter per key.
const BITS_PER_KEY: u64 = 10;
/// Bits that one key sets in its line.
const PROBES: usize = 6;
/// Bytes of a line.
pub const LINE_BYTES: usize = 64;

/// A cache line of the filter.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line([u64; 8]);

/// What a filter knows of a key.
#[inline]
pub fn key_hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

#[inline]
fn line_of(hash: u64, lines: usize) -> usize {
    ((u128::from(hash) * lines as u128) >> 64) as usize
}

/// The bits of a key in its line, six of them, from the low half of its hash.
#[inline]
fn bits_of(hash: u64) -> [u32; PROBES] {
    let mut low = hash as u32;
    core::array::from_fn(|_| {
        let bit = low >> (32 - 9);
        low = low.wrapping_mul(0x9e37_79b9);
        bit
    })
}

/// The filter of a table in memory.
#[derive(Clone, Debug)]
pub struct Filter {
    lines: Vec<Line>,
}

impl Filter {
    /// The filter of no keys.
    pub fn empty() -> Filter {
        Filter { lines: Vec::new() }
    }

    /// Room for a filter whose payload has so many bytes.
    pub fn with_capacity(bytes: usize) -> Filter {
        Filter {
            lines: Vec::with_capacity(bytes / LINE_BYTES),
        }
    }

    /// Takes whole lines of the payload, in order.
    pub fn extend(&mut self, payload: &[u8]) {
        let (lines, rest) = payload.as_chunks::<LINE_BYTES>();
        assert!(rest.is_empty(), "a filter grows by whole lines");
        self.lines.extend(lines.iter().map(|line| {
            let (words, _) = line.as_chunks::<8>();
            Line(core::array::from_fn(|word| u64::from_le_bytes(words[word])))
        }));
    }

    /// Whether a key of this hash may be in the table; `false` is certain.
    #[inline]
    pub fn may_contain(&self, hash: u64) -> bool {
        if self.lines.is_empty() {
            return false;
        }
        let line = &self.lines[line_of(hash, self.lines.len())].0;
        let mut all = 1;
        for bit in bits_of(hash) {
            all &= line[(bit / 64) as usize & 7] >> (bit % 64);
        }
        all & 1 == 1
    }

    /// How many bytes of memory it occupies.
    pub fn memory_bytes(&self) -> usize {
        self.lines.capacity() * LINE_BYTES
    }
}

/// How many hashes are kept in one piece, so that none is ever moved.
const PIECE_HASHES: usize = 4096;

/// How much of the filter is cleared in one call.
const ZEROS_AT_ONCE: usize = 128 << 10;

/// Collects hashes; the lines are made when their number is known, a bounded number at a time.
#[derive(Debug, Default)]
pub struct FilterBuilder {
    pieces: VecDeque<Vec<u64>>,
    keys: u64,
    payload: Vec<u8>,
}

impl FilterBuilder {
    /// A key is in the table.
    #[inline]
    pub fn add(&mut self, hash: u64) {
        match self.pieces.back_mut() {
            Some(piece) if piece.len() < PIECE_HASHES => piece.push(hash),
            _ => {
                let mut piece = Vec::with_capacity(PIECE_HASHES);
                piece.push(hash);
                self.pieces.push_back(piece);
            }
        }
        self.keys += 1;
    }

    /// How long the payload will be.
    pub fn payload_bytes(&self) -> usize {
        ((self.keys * BITS_PER_KEY).div_ceil(8 * LINE_BYTES as u64)) as usize * LINE_BYTES
    }

    /// Sets the bits of some more keys, after the last one was added. Returns whether all are set.
    pub fn set_some(&mut self) -> bool {
        // Memory that was never touched costs a page fault per page: not all in one call.
        let whole = self.payload_bytes();
        if self.payload.len() < whole {
            self.payload.reserve_exact(whole - self.payload.len());
            let more = (self.payload.len() + ZEROS_AT_ONCE).min(whole);
            self.payload.resize(more, 0);
            return false;
        }
        let lines = self.payload.len() / LINE_BYTES;
        if let Some(piece) = self.pieces.pop_front() {
            for hash in piece {
                let line = line_of(hash, lines) * LINE_BYTES;
                let line: &mut [u8; LINE_BYTES] =
                    self.payload[line..].first_chunk_mut().expect("whole lines");
                for bit in bits_of(hash) {
                    line[bit as usize / 8 % LINE_BYTES] |= 1 << (bit % 8);
                }
            }
        }
        self.pieces.is_empty()
    }

    /// The payload, once all bits are set.
    pub fn take_payload(&mut self) -> Vec<u8> {
        assert!(self.pieces.is_empty(), "bits are missing");
        core::mem::take(&mut self.payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter_of(keys: impl Iterator<Item = u64>) -> Filter {
        let mut builder = FilterBuilder::default();
        for key in keys {
            builder.add(key_hash(&key.to_be_bytes()));
        }
        while !builder.set_some() {}
        let payload = builder.take_payload();
        let mut filter = Filter::with_capacity(payload.len());
        filter.extend(&payload);
        filter
    }

    #[test]
    fn every_key_is_found_and_about_one_absent_key_in_a_hundred_is_not_excluded() {
        let keys = 100_000;
        let filter = filter_of(0..keys);
        assert!((0..keys).all(|key| filter.may_contain(key_hash(&key.to_be_bytes()))));
        let absent = (keys..2 * keys)
            .filter(|key| filter.may_contain(key_hash(&key.to_be_bytes())))
            .count();
        assert!(absent < 1_500, "{absent} of {keys}");
    }

    #[test]
    fn the_filter_of_no_keys_excludes_every_key() {
        assert!(!filter_of(0..0).may_contain(key_hash(b"")));
        assert!(!Filter::empty().may_contain(0));
    }
}
