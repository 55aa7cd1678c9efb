//! The order of a memtable's keys, made only as far as somebody asks for it.
//!
//! New keys gather unsorted. A full chunk of them, or whatever there is when a scan comes, is sorted
//! into a run; runs of like size are merged, a bounded number of keys at a time. So a write pays a few
//! tens of nanoseconds for order, a scan sorts only what came since the last one, and nothing ever
//! sorts everything. Runs never change: a cursor holds its own and does not notice later ones.

use alloc::rc::Rc;
use alloc::vec::Vec;

use crate::memtable::arena::{Arena, Ref};

/// A key in a run: its first eight bytes as a number, and its slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub prefix: u64,
    pub slot: Ref,
}

/// So many new keys are sorted at once at the most.
const CHUNK_KEYS: usize = 2048;
/// No merge makes a longer run.
const RUN_KEYS_MAX: usize = 32 * 1024;
/// So many keys are merged in one call at the most.
const MERGE_KEYS_MAX: usize = 8 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Order {
    runs: Vec<Rc<[Key]>>,
    fresh: Vec<Key>,
    keys: usize,
}

impl Order {
    pub fn clear(&mut self) {
        self.runs.clear();
        self.fresh.clear();
        self.keys = 0;
    }

    pub fn bytes(&self) -> u64 {
        ((self.keys + self.fresh.capacity()) * size_of::<Key>()) as u64
    }

    pub fn add(&mut self, arena: &Arena, slot: Ref) {
        self.fresh.push(Key {
            prefix: prefix_of(arena.key(slot)),
            slot,
        });
        if self.fresh.len() >= CHUNK_KEYS {
            self.sort_fresh(arena);
        }
    }

    fn sort_fresh(&mut self, arena: &Arena) {
        if self.fresh.is_empty() {
            return;
        }
        self.fresh
            .sort_unstable_by(|left, right| compare(arena, left, right));
        self.keys += self.fresh.len();
        self.runs.push(Rc::from(self.fresh.as_slice()));
        self.fresh.clear();
    }

    /// All keys in sorted runs, as they are now.
    pub fn runs(&mut self, arena: &Arena) -> &[Rc<[Key]>] {
        self.sort_fresh(arena);
        let mut left = MERGE_KEYS_MAX;
        while let Some(position) = self.mergeable(left) {
            let (first, second) = (&self.runs[position], &self.runs[position + 1]);
            left -= first.len() + second.len();
            let merged = merge(arena, first, second);
            self.runs[position] = merged.into();
            self.runs.remove(position + 1);
        }
        &self.runs
    }

    /// The newest pair of neighbours of like size that may be merged.
    fn mergeable(&self, keys_max: usize) -> Option<usize> {
        (1..self.runs.len()).rev().find_map(|second| {
            let (left, right) = (self.runs[second - 1].len(), self.runs[second].len());
            let alike = left <= 2 * right;
            (alike && left + right <= keys_max.min(RUN_KEYS_MAX)).then_some(second - 1)
        })
    }
}

fn merge(arena: &Arena, first: &[Key], second: &[Key]) -> Vec<Key> {
    let mut merged = Vec::with_capacity(first.len() + second.len());
    let (mut left, mut right) = (first, second);
    while let (Some(one), Some(other)) = (left.first(), right.first()) {
        if compare(arena, one, other).is_lt() {
            merged.push(*one);
            left = &left[1..];
        } else {
            merged.push(*other);
            right = &right[1..];
        }
    }
    merged.extend_from_slice(left);
    merged.extend_from_slice(right);
    merged
}

#[inline]
pub(crate) fn compare(arena: &Arena, left: &Key, right: &Key) -> core::cmp::Ordering {
    left.prefix
        .cmp(&right.prefix)
        .then_with(|| arena.key(left.slot).cmp(arena.key(right.slot)))
}

/// Whether a key in a run lies before a bound.
#[inline]
pub(crate) fn before(arena: &Arena, key: &Key, prefix: u64, bound: &[u8]) -> bool {
    key.prefix < prefix || (key.prefix == prefix && arena.key(key.slot) < bound)
}

/// The first eight bytes as a big-endian number, shorter keys filled with zeros: where two differ,
/// they order as the keys do.
#[inline]
pub(crate) fn prefix_of(key: &[u8]) -> u64 {
    match key.first_chunk::<8>() {
        Some(first) => u64::from_be_bytes(*first),
        None => {
            let mut first = [0; 8];
            first[..key.len()].copy_from_slice(key);
            u64::from_be_bytes(first)
        }
    }
}
