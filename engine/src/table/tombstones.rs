//! The range tombstones of a table: disjoint, in order, in one piece of memory.
//!
//! ```text
//! payload   count u32, then each:
//!           start length u16 | limit length u16 | seq u64 | start | limit     no limit: to the end
//! ```

use alloc::vec::Vec;

use crate::effect::TableNumber;
use crate::record::{KEY_BYTES_MAX, Seq, below_limit};
use crate::table::Corrupt;
use crate::table::format::Fields;

/// Hides every record of its range that has a smaller sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone<'bytes> {
    /// The first key that it covers.
    pub start: &'bytes [u8],
    /// The first key beyond; empty: it has no end.
    pub limit: &'bytes [u8],
    /// When it was written.
    pub seq: Seq,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    seq: Seq,
    start: u32,
    limit: u32,
    end: u32,
}

/// Disjoint range tombstones in order.
#[derive(Clone, Debug, Default)]
pub struct TableTombstones {
    places: Vec<Place>,
    keys: Vec<u8>,
}

impl TableTombstones {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The tombstone at a position of their order.
    pub fn get(&self, position: usize) -> Tombstone<'_> {
        let place = &self.places[position];
        Tombstone {
            start: &self.keys[place.start as usize..place.limit as usize],
            limit: &self.keys[place.limit as usize..place.end as usize],
            seq: place.seq,
        }
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Tombstone<'_>> {
        (0..self.places.len()).map(|position| self.get(position))
    }

    /// The position of the first whose range ends above a key: it covers the key or comes after it.
    pub fn position(&self, key: &[u8]) -> usize {
        self.places.partition_point(|place| {
            let limit = &self.keys[place.limit as usize..place.end as usize];
            !below_limit(key, limit)
        })
    }

    /// The sequence of the one that covers a key, zero if none does.
    pub fn covering(&self, key: &[u8]) -> Seq {
        if self.places.is_empty() {
            return Seq::ZERO;
        }
        match self.position(key) {
            position if position == self.len() => Seq::ZERO,
            position => match self.get(position) {
                tombstone if tombstone.start <= key => tombstone.seq,
                _ => Seq::ZERO,
            },
        }
    }

    /// How many bytes of memory they occupy.
    pub fn memory_bytes(&self) -> usize {
        self.places.capacity() * size_of::<Place>() + self.keys.capacity()
    }

    fn push(&mut self, tombstone: Tombstone<'_>) {
        let start = self.keys.len() as u32;
        self.keys.extend_from_slice(tombstone.start);
        let limit = self.keys.len() as u32;
        self.keys.extend_from_slice(tombstone.limit);
        self.places.push(Place {
            seq: tombstone.seq,
            start,
            limit,
            end: u32::try_from(self.keys.len()).expect("tombstones of less than 4 GiB"),
        });
    }

    /// Whether one may come behind all others: it covers something and nothing that they cover.
    fn follows(&self, next: &Tombstone<'_>) -> bool {
        below_limit(next.start, next.limit)
            && self.places.len().checked_sub(1).is_none_or(|last| {
                let last = self.get(last);
                !last.limit.is_empty() && last.limit <= next.start
            })
    }
}

/// What the payload is too short for.
const CUT_OFF: &str = "range tombstones are cut off";

/// So many range tombstones are read in one call.
const READ_AT_ONCE: u32 = 2048;

/// Reads a payload back, a bounded number of range tombstones at a time.
#[derive(Debug)]
pub struct TombstonesOpening {
    payload: Vec<u8>,
    table: TableNumber,
    offset: u64,
    global_seq: Option<Seq>,
    at: usize,
    left: u32,
    tombstones: TableTombstones,
}

impl TombstonesOpening {
    /// Over a payload whose section begins at `offset` of the file; a global sequence replaces those
    /// that are written there.
    pub fn new(
        payload: Vec<u8>,
        table: TableNumber,
        offset: u64,
        global_seq: Option<Seq>,
    ) -> Result<TombstonesOpening, Corrupt> {
        let left = Fields::new(&payload, table, offset).u32(CUT_OFF)?;
        Ok(TombstonesOpening {
            payload,
            table,
            offset,
            global_seq,
            at: 4,
            left,
            tombstones: TableTombstones::default(),
        })
    }

    /// Reads some more. Answers once; before that it wants to be called again.
    pub fn step(&mut self) -> Result<Option<TableTombstones>, Corrupt> {
        let unread = self.offset + self.at as u64;
        let mut fields = Fields::new(&self.payload[self.at..], self.table, unread);
        for _ in 0..self.left.min(READ_AT_ONCE) {
            let start_bytes = usize::from(fields.u16(CUT_OFF)?);
            let limit_bytes = usize::from(fields.u16(CUT_OFF)?);
            if start_bytes.max(limit_bytes) > KEY_BYTES_MAX + 1 {
                return Err(fields.corrupt("a range tombstone's key is too long"));
            }
            let seq = Seq(fields.u64(CUT_OFF)?);
            let tombstone = Tombstone {
                start: fields.take(start_bytes, CUT_OFF)?,
                limit: fields.take(limit_bytes, CUT_OFF)?,
                seq: self.global_seq.unwrap_or(seq),
            };
            if !self.tombstones.follows(&tombstone) {
                return Err(fields.corrupt("range tombstones are out of order"));
            }
            self.tombstones.push(tombstone);
            self.left -= 1;
        }
        self.at = self.payload.len() - fields.left();
        if self.left > 0 {
            return Ok(None);
        }
        if fields.left() > 0 {
            return Err(fields.corrupt("bytes follow the range tombstones"));
        }
        Ok(Some(core::mem::take(&mut self.tombstones)))
    }
}

/// Makes the payload as tombstones are added.
#[derive(Clone, Debug, Default)]
pub struct TombstonesBuilder {
    payload: Vec<u8>,
    count: u32,
    /// Where the last one's limit begins in the payload.
    limit: usize,
    start: Vec<u8>,
}

impl TombstonesBuilder {
    /// How many there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How long the payload is.
    pub fn payload_bytes(&self) -> usize {
        self.payload.len()
    }

    /// Where the first one starts and the last one ends.
    pub fn ends(&self) -> Option<(&[u8], &[u8])> {
        (self.count > 0).then(|| (self.start.as_slice(), &self.payload[self.limit..]))
    }

    /// Adds one that lies behind all others.
    pub fn add(&mut self, next: Tombstone<'_>) {
        let follows = self
            .ends()
            .is_none_or(|(_, limit)| !limit.is_empty() && limit <= next.start);
        let covers = below_limit(next.start, next.limit);
        assert!(follows && covers, "range tombstones out of order");
        assert!(
            next.start.len().max(next.limit.len()) <= KEY_BYTES_MAX + 1,
            "a range tombstone's key is too long"
        );
        if self.count == 0 {
            self.payload.extend_from_slice(&[0; 4]);
            self.start = next.start.to_vec();
        }
        let (start_bytes, limit_bytes) = (next.start.len() as u16, next.limit.len() as u16);
        self.payload.extend_from_slice(&start_bytes.to_le_bytes());
        self.payload.extend_from_slice(&limit_bytes.to_le_bytes());
        self.payload.extend_from_slice(&next.seq.0.to_le_bytes());
        self.payload.extend_from_slice(next.start);
        self.limit = self.payload.len();
        self.payload.extend_from_slice(next.limit);
        self.count += 1;
        self.payload[..4].copy_from_slice(&self.count.to_le_bytes());
    }

    /// The payload of the section; none for no tombstones.
    pub fn take_payload(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_covered_by_the_tombstone_of_its_range_alone() {
        let mut builder = TombstonesBuilder::default();
        let written = [("b", "d", 3), ("d", "f", 9), ("x", "", 4)].map(|(start, limit, seq)| {
            let (start, limit) = (start.as_bytes(), limit.as_bytes());
            let seq = Seq(seq);
            Tombstone { start, limit, seq }
        });
        for tombstone in written {
            builder.add(tombstone);
        }
        assert_eq!(builder.ends(), Some((&b"b"[..], &b""[..])));
        let payload = builder.take_payload();
        let table = TableNumber(1);
        let read = |global_seq| {
            let payload = payload.clone();
            let mut opening = TombstonesOpening::new(payload, table, 0, global_seq).unwrap();
            opening.step().unwrap().unwrap()
        };
        let global = read(Some(Seq(7)));
        let read = read(None);
        assert!(read.iter().eq(written));
        for (key, seq) in [("a", 0), ("b", 3), ("c", 3), ("d", 9), ("f", 0), ("x", 4)] {
            assert_eq!(read.covering(key.as_bytes()), Seq(seq), "{key}");
        }
        assert_eq!(read.covering(&[0xff; 20]), Seq(4));
        assert_eq!(global.covering(b"c"), Seq(7));
    }

    #[test]
    #[should_panic(expected = "out of order")]
    fn overlapping_tombstones_are_a_bug() {
        let mut builder = TombstonesBuilder::default();
        for start in [b"a", b"b"] {
            let (limit, seq) = (&b"c"[..], Seq(1));
            builder.add(Tombstone { start, limit, seq });
        }
    }
}
