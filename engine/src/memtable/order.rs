//! The order of a memtable's keys, made only as far as somebody asks for it.
//!
//! New keys gather unsorted. A full chunk of them, or whatever there is when a scan comes, is sorted
//! into a run; runs of like size are merged, a bounded number of keys at a time, so that few are left
//! to look through. So a write pays a few tens of nanoseconds for order, a scan sorts only what came
//! since the last one, and nothing ever sorts everything. Runs never change: a cursor holds its own and
//! does not notice later ones.
//!
//! ```text
//! runs     [ 64 k ][ 64 k ][ 8 k ][ 8 k ][ 2 k ] [fresh]
//! merges    └──── 1 ─────┘  └─── 2 ───┘            the newest, which is the shortest, goes on first
//! ```

use alloc::rc::Rc;
use alloc::vec::Vec;

use crate::memtable::arena::{Arena, Ref};

/// The first sixteen bytes of a key as two numbers.
pub(crate) type Prefix = (u64, u64);

/// A key in a run: its first bytes, which order most keys without a look at them, and its slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub prefix: Prefix,
    pub slot: Ref,
}

/// Keys in order.
pub(crate) type Run = Rc<Vec<Key>>;

/// So many new keys are sorted at once at the most.
const CHUNK_KEYS: usize = 2048;
/// Each sorted chunk moves so many keys on in merges: what all levels of merges need per chunk.
const MERGE_KEYS_PER_CHUNK: usize = 8 * CHUNK_KEYS;
/// A scan moves no more than this.
const MERGE_KEYS_PER_SCAN: usize = 1024;

/// Two neighbours that are becoming one.
#[derive(Debug)]
struct Merging {
    /// Which run the first of them is.
    place: usize,
    /// How far each has been taken.
    taken: (usize, usize),
    merged: Vec<Key>,
}

#[derive(Debug, Default)]
pub(crate) struct Order {
    runs: Vec<Run>,
    /// In order of their places; only the last one moves.
    merges: Vec<Merging>,
    fresh: Vec<Key>,
    keys: usize,
}

impl Order {
    pub fn clear(&mut self) {
        self.runs.clear();
        self.merges.clear();
        self.fresh.clear();
        self.keys = 0;
    }

    pub fn bytes(&self) -> u64 {
        let merging: usize = self
            .merges
            .iter()
            .map(|merging| merging.merged.capacity())
            .sum();
        ((self.keys + merging + self.fresh.capacity()) * size_of::<Key>()) as u64
    }

    pub fn add(&mut self, arena: &Arena, slot: Ref) {
        self.fresh.push(Key {
            prefix: prefix_of(arena.key(slot)),
            slot,
        });
        if self.fresh.len() >= CHUNK_KEYS {
            self.sort_fresh(arena);
            self.merge_some(arena, MERGE_KEYS_PER_CHUNK);
        }
    }

    fn sort_fresh(&mut self, arena: &Arena) {
        if self.fresh.is_empty() {
            return;
        }
        // By their first bytes alone, which takes no branch and no look at the arena; few tie.
        self.fresh
            .sort_unstable_by_key(|key| u128::from(key.prefix.0) << 64 | u128::from(key.prefix.1));
        for tied in self
            .fresh
            .chunk_by_mut(|one, next| one.prefix == next.prefix)
        {
            if tied.len() > 1 {
                tied.sort_unstable_by(|left, right| compare(arena, left, right));
            }
        }
        self.keys += self.fresh.len();
        self.runs.push(Rc::new(self.fresh.clone()));
        self.fresh.clear();
    }

    /// All keys in sorted runs, as they are now.
    pub fn runs(&mut self, arena: &Arena) -> &[Run] {
        if !self.fresh.is_empty() {
            self.sort_fresh(arena);
            self.merge_some(arena, MERGE_KEYS_PER_SCAN);
        }
        &self.runs
    }

    /// Moves at most so many keys on in merges, the shortest first.
    fn merge_some(&mut self, arena: &Arena, mut keys: usize) {
        while keys > 0 {
            if let Some(place) = self.mergeable() {
                let both = self.runs[place].len() + self.runs[place + 1].len();
                self.merges.push(Merging {
                    place,
                    taken: (0, 0),
                    merged: Vec::with_capacity(both),
                });
            }
            let Some(merging) = self.merges.last_mut() else {
                return;
            };
            let (first, second) = (&self.runs[merging.place], &self.runs[merging.place + 1]);
            let moved = merging.go_on(arena, (first, second), keys);
            keys -= moved;
            if merging.merged.len() == first.len() + second.len() {
                let Merging { place, merged, .. } = self.merges.pop().expect("the last one");
                self.runs[place] = Rc::new(merged);
                self.runs.remove(place + 1);
            }
        }
    }

    /// The newest pair of neighbours of like size, behind all that are being merged.
    fn mergeable(&self) -> Option<usize> {
        let from = self.merges.last().map_or(0, |merging| merging.place + 2);
        (from + 1..self.runs.len()).rev().find_map(|second| {
            let alike = self.runs[second - 1].len() <= 2 * self.runs[second].len();
            alike.then_some(second - 1)
        })
    }
}

impl Merging {
    /// Takes at most so many keys. Returns how many it took.
    fn go_on(&mut self, arena: &Arena, (first, second): (&Run, &Run), keys: usize) -> usize {
        let (left, right) = (&first[self.taken.0..], &second[self.taken.1..]);
        let (mut one, mut other) = (0, 0);
        while one + other < keys && one < left.len() && other < right.len() {
            if compare(arena, &left[one], &right[other]).is_lt() {
                self.merged.push(left[one]);
                one += 1;
            } else {
                self.merged.push(right[other]);
                other += 1;
            }
        }
        if other == right.len() {
            let rest = (left.len() - one).min(keys - one - other);
            self.merged.extend_from_slice(&left[one..one + rest]);
            one += rest;
        }
        if one == left.len() {
            let rest = (right.len() - other).min(keys - one - other);
            self.merged.extend_from_slice(&right[other..other + rest]);
            other += rest;
        }
        self.taken.0 += one;
        self.taken.1 += other;
        one + other
    }
}

#[inline]
pub(crate) fn compare(arena: &Arena, left: &Key, right: &Key) -> core::cmp::Ordering {
    left.prefix
        .cmp(&right.prefix)
        .then_with(|| arena.key(left.slot).cmp(arena.key(right.slot)))
}

/// Whether a key in a run lies before a bound.
#[inline]
pub(crate) fn before(arena: &Arena, key: &Key, prefix: Prefix, bound: &[u8]) -> bool {
    key.prefix < prefix || (key.prefix == prefix && arena.key(key.slot) < bound)
}

/// The keys of a run that lie in a range; an empty limit is the end.
pub(crate) fn within<'run>(
    arena: &Arena,
    run: &'run Run,
    start: &[u8],
    limit: &[u8],
) -> &'run [Key] {
    let bound = |key: &[u8]| {
        let prefix = prefix_of(key);
        run.partition_point(|other| before(arena, other, prefix, key))
    };
    let from = bound(start);
    let to = match limit {
        [] => run.len(),
        limit => bound(limit).max(from),
    };
    &run[from..to]
}

/// The first sixteen bytes as two big-endian numbers, shorter keys filled with zeros: where two
/// differ, they order as the keys do.
#[inline]
pub(crate) fn prefix_of(key: &[u8]) -> Prefix {
    let first = match key.first_chunk::<16>() {
        Some(first) => u128::from_be_bytes(*first),
        None => {
            let mut first = [0; 16];
            first[..key.len()].copy_from_slice(key);
            u128::from_be_bytes(first)
        }
    };
    ((first >> 64) as u64, first as u64)
}
