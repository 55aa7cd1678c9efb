//! Walks a memtable in order, either way, as of a sequence.
//!
//! The cursor holds the runs it was made with and merges them by a small heap; the memtable may change
//! between two steps, since runs never do and versions are found by sequence.

use alloc::vec::Vec;

use crate::memtable::Memtable;
use crate::memtable::arena::Arena;
use crate::memtable::order::{Key, Run, before, compare, prefix_of};
use crate::record::{Record, Seq};

/// One run and where the cursor stands in it.
#[derive(Debug)]
struct Lane {
    run: Run,
    /// Forward: the next key. Reverse: one behind the next key.
    at: usize,
}

impl Lane {
    /// Has the processor fetch what its next records begin with, all at once.
    fn touch(&self, arena: &Arena) {
        let next = &self.run[self.at..self.run.len().min(self.at + TOUCHED_KEYS)];
        let heads = next.iter().map(|key| arena.head(key.slot));
        core::hint::black_box(heads.fold(0, core::ops::BitXor::bitxor));
    }
}

/// A position in a memtable.
#[derive(Debug)]
pub struct MemtableCursor {
    lanes: Vec<Lane>,
    /// Lanes that are not used up, as a heap: the next key's lane first.
    heap: Vec<u32>,
    at: Seq,
    reverse: bool,
    touches: bool,
}

/// A cursor that reads everything touches so many keys at once.
const TOUCHED_KEYS: usize = 16;

impl MemtableCursor {
    pub(crate) fn new(runs: &[Run], at: Seq) -> MemtableCursor {
        let lanes = runs
            .iter()
            .map(|run| Lane {
                run: run.clone(),
                at: 0,
            })
            .collect();
        MemtableCursor {
            lanes,
            heap: Vec::new(),
            at,
            reverse: false,
            touches: false,
        }
    }

    /// The same, for reading everything forward: in the order of keys, records lie anywhere, and each would be
    /// waited for by itself. Some are looked at together before they are needed.
    pub fn touching(mut self) -> MemtableCursor {
        self.touches = true;
        self
    }

    /// Goes to the first key at or behind `key`, walking forward from there.
    pub fn seek(&mut self, memtable: &Memtable, key: &[u8]) {
        self.place(memtable, key, false);
    }

    /// Goes to the last key before `limit`, walking backward from there; an empty limit is the end.
    pub fn seek_before(&mut self, memtable: &Memtable, limit: &[u8]) {
        self.place(memtable, limit, true);
    }

    fn place(&mut self, memtable: &Memtable, bound: &[u8], reverse: bool) {
        self.reverse = reverse;
        self.heap.clear();
        let prefix = prefix_of(bound);
        let arena = &memtable.arena;
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            lane.at = if reverse && bound.is_empty() {
                lane.run.len()
            } else {
                lane.run
                    .partition_point(|key| before(arena, key, prefix, bound))
            };
            let used_up = if reverse {
                lane.at == 0
            } else {
                lane.at == lane.run.len()
            };
            if !used_up {
                self.heap.push(number as u32);
            }
        }
        if self.touches {
            self.lanes.iter().for_each(|lane| lane.touch(arena));
        }
        for node in (0..self.heap.len() / 2).rev() {
            self.sink(memtable, node);
        }
        self.skip_unseen(memtable);
    }

    /// The record the cursor stands at: the newest version of its key at or below the sequence.
    #[inline]
    pub fn record<'a>(&self, memtable: &'a Memtable) -> Option<Record<'a>> {
        let key = self.key(*self.heap.first()?);
        memtable.version_at(key.slot, self.at)
    }

    /// Goes one key on, in the direction of the last seek.
    pub fn step(&mut self, memtable: &Memtable) {
        self.drop_first(memtable);
        self.skip_unseen(memtable);
    }

    /// Keys that appeared after the sequence are not there.
    fn skip_unseen(&mut self, memtable: &Memtable) {
        while let Some(lane) = self.heap.first() {
            if memtable.version_at(self.key(*lane).slot, self.at).is_some() {
                return;
            }
            self.drop_first(memtable);
        }
    }

    fn drop_first(&mut self, memtable: &Memtable) {
        let Some(&number) = self.heap.first() else {
            return;
        };
        let lane = &mut self.lanes[number as usize];
        let used_up = if self.reverse {
            lane.at -= 1;
            lane.at == 0
        } else {
            lane.at += 1;
            if self.touches && lane.at.is_multiple_of(TOUCHED_KEYS) {
                lane.touch(&memtable.arena);
            }
            lane.at == lane.run.len()
        };
        if used_up {
            let last = self.heap.pop().expect("not empty");
            if let Some(first) = self.heap.first_mut() {
                *first = last;
            }
        }
        self.sink(memtable, 0);
    }

    #[inline]
    fn key(&self, lane: u32) -> &Key {
        let lane = &self.lanes[lane as usize];
        &lane.run[if self.reverse { lane.at - 1 } else { lane.at }]
    }

    fn sink(&mut self, memtable: &Memtable, mut node: usize) {
        loop {
            let left = 2 * node + 1;
            if left >= self.heap.len() {
                return;
            }
            let right = left + 1;
            let child = if right < self.heap.len() && self.comes_first(memtable, right, left) {
                right
            } else {
                left
            };
            if !self.comes_first(memtable, child, node) {
                return;
            }
            self.heap.swap(child, node);
            node = child;
        }
    }

    /// Keys are in one run each, so no two are equal.
    #[inline]
    fn comes_first(&self, memtable: &Memtable, one: usize, other: usize) -> bool {
        let order = compare(
            &memtable.arena,
            self.key(self.heap[one]),
            self.key(self.heap[other]),
        );
        if self.reverse {
            order.is_gt()
        } else {
            order.is_lt()
        }
    }
}
