//! What the store holds: records, their order in time, and ranges of keys.
//!
//! A record is (key, sequence, kind, value). Keys and values are opaque bytes. Of two records of one
//! key the one with the greater sequence is newer; a read at a sequence sees the newest record at or
//! below it. A range tombstone hides the records of its range that have a smaller sequence.
//!
//! Ranges are half-open, `[start, limit)`. **An empty limit means "to the end"**: no key is smaller than
//! the empty one, so nothing else could be meant by it, and files need no second form.

use alloc::vec::Vec;
use core::cmp::Ordering;

/// The longest key: what a client may send (4 KiB), and room for what the layers above add to it.
pub const KEY_BYTES_MAX: usize = (4 << 10) + 64;

/// The longest value: what a client may send (1 MiB), and room for flags, expiry and the like.
pub const VALUE_BYTES_MAX: usize = (1 << 20) + 64;

/// When a record was written: every write operation of a store takes the next one, from 1 on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// Before every write; also "none".
    pub const ZERO: Seq = Seq(0);
    /// After every write: a read at it sees the newest of everything.
    pub const MAX: Seq = Seq(u64::MAX);

    /// The sequence of the next write operation.
    #[must_use]
    pub fn next(self) -> Seq {
        assert!(self < Seq::MAX, "sequences have run out");
        Seq(self.0 + 1)
    }
}

/// What a record says of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The key has no value; older ones are hidden. The record's value is empty.
    Delete = 0,
    /// The key has this value.
    Put = 1,
}

impl Kind {
    /// The byte that stands for it in files.
    #[must_use]
    pub fn to_byte(self) -> u8 {
        self as u8
    }

    /// The kind that a byte of a file stands for, if any.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Kind> {
        match byte {
            0 => Some(Kind::Delete),
            1 => Some(Kind::Put),
            _ => None,
        }
    }
}

/// One record, borrowed from where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'bytes> {
    /// Its key.
    pub key: &'bytes [u8],
    /// When it was written.
    pub seq: Seq,
    /// What it says.
    pub kind: Kind,
    /// Its value; empty for a delete.
    pub value: &'bytes [u8],
}

/// Whether a key lies below a limit, of which the empty one is above every key.
#[must_use]
pub fn below_limit(key: &[u8], limit: &[u8]) -> bool {
    limit.is_empty() || key < limit
}

/// Which of two limits comes first; the empty one is the last.
#[must_use]
pub fn compare_limits(left: &[u8], right: &[u8]) -> Ordering {
    match (left.is_empty(), right.is_empty()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => left.cmp(right),
    }
}

/// The lesser of two limits.
#[must_use]
pub fn lesser_limit<'bytes>(left: &'bytes [u8], right: &'bytes [u8]) -> &'bytes [u8] {
    if compare_limits(left, right) == Ordering::Greater {
        right
    } else {
        left
    }
}

/// A half-open range of keys that owns its ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// The first key that can lie in it.
    pub start: Vec<u8>,
    /// The first key beyond it; empty: it has no end.
    pub limit: Vec<u8>,
}

impl KeyRange {
    /// The range of all keys.
    #[must_use]
    pub fn all() -> KeyRange {
        KeyRange::default()
    }

    /// The range from `start` up to `limit`; an empty limit means to the end.
    #[must_use]
    pub fn new(start: &[u8], limit: &[u8]) -> KeyRange {
        KeyRange {
            start: start.to_vec(),
            limit: limit.to_vec(),
        }
    }

    /// Whether no key can lie in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !below_limit(&self.start, &self.limit)
    }

    /// Whether a key lies in it.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && below_limit(key, &self.limit)
    }

    /// Whether every key of `other` lies in it.
    #[must_use]
    pub fn covers(&self, other: &KeyRange) -> bool {
        other.is_empty()
            || (self.start <= other.start
                && compare_limits(&other.limit, &self.limit) != Ordering::Greater)
    }

    /// Whether some key can lie in both.
    #[must_use]
    pub fn overlaps(&self, other: &KeyRange) -> bool {
        !self.is_empty()
            && !other.is_empty()
            && below_limit(&self.start, &other.limit)
            && below_limit(&other.start, &self.limit)
    }

    /// The keys in both; possibly an empty range.
    #[must_use]
    pub fn intersection(&self, other: &KeyRange) -> KeyRange {
        KeyRange {
            start: self.start.as_slice().max(&other.start).to_vec(),
            limit: lesser_limit(&self.limit, &other.limit).to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: &str, limit: &str) -> KeyRange {
        KeyRange::new(start.as_bytes(), limit.as_bytes())
    }

    #[test]
    fn an_empty_limit_is_above_every_key() {
        assert!(below_limit(&[0xff; 9], b""));
        assert!(range("b", "").contains(&[0xff; 9]));
        assert!(!range("b", "").contains(b"a"));
        assert!(!range("b", "").is_empty());
        assert_eq!(compare_limits(b"", b"zzz"), Ordering::Greater);
        assert_eq!(lesser_limit(b"", b"a"), b"a");
        assert_eq!(lesser_limit(b"a", b"b"), b"a");
        assert!(KeyRange::all().contains(b""));
    }

    #[test]
    fn ranges_meet_only_where_a_key_can_lie_in_both() {
        // (left, right, what both hold if anything)
        let cases = [
            (("a", "c"), ("b", "d"), Some(("b", "c"))),
            (("a", "b"), ("b", "c"), None),
            (("a", ""), ("b", "c"), Some(("b", "c"))),
            (("b", ""), ("a", "b"), None),
            (("", ""), ("", ""), Some(("", ""))),
            (("a", "a"), ("a", "b"), None),
            (("c", "a"), ("a", "d"), None),
        ];
        for ((a, b), (c, d), both) in cases {
            let (left, right) = (range(a, b), range(c, d));
            assert_eq!(left.overlaps(&right), both.is_some(), "{left:?} {right:?}");
            assert_eq!(right.overlaps(&left), both.is_some(), "{left:?} {right:?}");
            match both {
                Some((start, limit)) => assert_eq!(left.intersection(&right), range(start, limit)),
                None => assert!(left.intersection(&right).is_empty()),
            }
        }
        assert!(range("a", "").covers(&range("b", "c")));
        assert!(range("a", "c").covers(&range("a", "c")));
        assert!(!range("a", "c").covers(&range("b", "")));
        assert!(
            range("x", "y").covers(&range("b", "a")),
            "an empty range is in every range"
        );
    }

    #[test]
    fn kinds_survive_their_byte() {
        for kind in [Kind::Delete, Kind::Put] {
            assert_eq!(Kind::from_byte(kind.to_byte()), Some(kind));
        }
        assert_eq!(Kind::from_byte(2), None);
    }
}
