//! What was written since the last rotation: a hash index over an arena, ordered lazily.
//!
//! A write is one probe and, for a key that is there already and that no view needs, a copy in place.
//! A get is one probe. Order is made when a scan or the flush asks for it, and only for what is new
//! ([`order`]). Versions that a live view sees are chained behind the newest one and freed when the
//! views are gone; everything is on one thread, so a view is just a sequence.

use alloc::collections::VecDeque;
use core::hash::BuildHasher;
use core::hint::black_box;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::record::{Kind, Record, Seq};
use crate::tombstones::RangeTombstones;

mod arena; // slots and versions
mod cursor; // in order, either way
mod order; // sorted runs

use arena::{Arena, NONE, Ref};
pub use cursor::MemtableCursor;
use order::Order;

/// One entry of the hash index: the slot, and enough of the hash to grow without reading keys.
#[derive(Clone, Copy, Debug)]
struct Probe {
    tag: u32,
    slot: Ref,
}

/// What was found of a key before it is written: the tag of its hash, and the slot of a key that has the
/// same tag, most likely its own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reached {
    tag: u32,
    slot: Ref,
}

/// A version that a view still sees, though a newer one is there.
#[derive(Clone, Copy, Debug)]
struct Superseded {
    by: Seq,
    slot: Ref,
    version: Ref,
}

/// A memtable.
#[derive(Debug)]
pub struct Memtable {
    hasher: FixedState,
    index: HashTable<Probe>,
    pub(crate) arena: Arena,
    order: Order,
    superseded: VecDeque<Superseded>,
    tombstones: RangeTombstones,
    last_seq: Seq,
}

impl Memtable {
    /// An empty one. The seed keeps hostile keys from colliding; `capacity` is reserved at once.
    pub fn new(seed: u64, capacity: usize) -> Memtable {
        Memtable {
            hasher: FixedState::with_seed(seed),
            index: HashTable::new(),
            arena: Arena::new(capacity),
            order: Order::default(),
            superseded: VecDeque::new(),
            tombstones: RangeTombstones::default(),
            last_seq: Seq::ZERO,
        }
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.index.clear();
        self.arena.clear();
        self.order.clear();
        self.superseded.clear();
        self.tombstones = RangeTombstones::default();
        self.last_seq = Seq::ZERO;
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty() && self.tombstones.is_empty()
    }

    /// How many keys there are, deleted ones included.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Memory in use: what decides about rotation.
    pub fn bytes(&self) -> u64 {
        let index = (self.index.capacity() * (size_of::<Probe>() + 1)) as u64;
        self.arena.len() + index + self.order.bytes() + self.tombstones.bytes()
    }

    /// Whether it must be rotated whatever its budget says.
    pub fn is_full(&self) -> bool {
        self.arena.is_full()
    }

    /// The sequence of the last write in it.
    pub fn last_seq(&self) -> Seq {
        self.last_seq
    }

    /// Sets a key. `keep` is the sequence of the newest live view, zero where there is none.
    pub fn put(&mut self, key: &[u8], value: &[u8], seq: Seq, keep: Seq) {
        self.write(key, Kind::Put, value, seq, keep);
    }

    /// Looks for keys that are about to be set, and has the memory that this will touch come near, for all
    /// of them at once: a step that waits for memory lets the same step of the next keys wait with it.
    pub(crate) fn reach(&self, puts: &[(&[u8], &[u8])], reached: &mut [Reached]) {
        for ((key, _), reached) in puts.iter().zip(&mut *reached) {
            reached.tag = self.tag(key);
        }
        for reached in &mut *reached {
            let found = self
                .index
                .find(spread(reached.tag), |probe| probe.tag == reached.tag);
            reached.slot = found.map_or(NONE, |probe| probe.slot);
        }
        let mut touched = 0;
        for ((key, value), reached) in puts.iter().zip(reached) {
            touched ^= self.arena.touch(reached.slot, key.len(), value.len());
        }
        black_box(touched);
    }

    /// Sets a key that was looked for just before. Keys that came in between are found all the same.
    pub(crate) fn put_reached(
        &mut self,
        key: &[u8],
        value: &[u8],
        seq: Seq,
        keep: Seq,
        Reached { tag, slot }: Reached,
    ) {
        self.come(seq);
        let slot = match slot != NONE && self.arena.key(slot) == key {
            true => Some(slot),
            false => self.find(tag, key),
        };
        self.write_at(slot, tag, key, Kind::Put, value, seq, keep);
    }

    /// Deletes a key.
    pub fn delete(&mut self, key: &[u8], seq: Seq, keep: Seq) {
        self.write(key, Kind::Delete, &[], seq, keep);
    }

    /// Deletes every key in `[start, limit)`.
    pub fn delete_range(&mut self, start: &[u8], limit: &[u8], seq: Seq, keep: Seq) {
        self.come(seq);
        self.tombstones.add(start, limit, seq, keep);
    }

    fn come(&mut self, seq: Seq) {
        assert!(seq > self.last_seq, "sequences rise");
        self.last_seq = seq;
    }

    fn write(&mut self, key: &[u8], kind: Kind, value: &[u8], seq: Seq, keep: Seq) {
        self.come(seq);
        let tag = self.tag(key);
        let slot = self.find(tag, key);
        self.write_at(slot, tag, key, kind, value, seq, keep);
    }

    #[inline]
    fn find(&self, tag: u32, key: &[u8]) -> Option<Ref> {
        let is = |probe: &Probe| probe.tag == tag && self.arena.key(probe.slot) == key;
        self.index.find(spread(tag), is).map(|probe| probe.slot)
    }

    #[expect(clippy::too_many_arguments, reason = "a record, and where it goes")]
    #[inline]
    fn write_at(
        &mut self,
        slot: Option<Ref>,
        tag: u32,
        key: &[u8],
        kind: Kind,
        value: &[u8],
        seq: Seq,
        keep: Seq,
    ) {
        let Some(slot) = slot else {
            let slot = self.arena.add_key(key, seq, kind, value);
            self.index
                .insert_unique(spread(tag), Probe { tag, slot }, |probe| spread(probe.tag));
            self.order.add(&self.arena, slot);
            return;
        };
        let newest = self.arena.head(slot);
        if self.arena.seq(newest) <= keep {
            let version = self.arena.add_version(newest, seq, kind, value);
            self.arena.set_head(slot, version);
            self.superseded.push_back(Superseded {
                by: seq,
                slot,
                version: newest,
            });
        } else if value.len() <= self.arena.capacity(newest) as usize {
            self.arena.overwrite(newest, seq, kind, value);
        } else {
            let previous = self.arena.previous(newest);
            let version = self.arena.add_version(previous, seq, kind, value);
            self.arena.set_head(slot, version);
            self.arena.give_up(newest);
        }
    }

    /// Views have ended: versions that none of those left can see are freed. `oldest` is the oldest
    /// live view's sequence, if there is one.
    pub fn release(&mut self, oldest: Option<Seq>) {
        while let Some(superseded) = self.superseded.front() {
            if oldest.is_some_and(|oldest| oldest < superseded.by) {
                return;
            }
            let Superseded { slot, version, .. } = *superseded;
            self.superseded.pop_front();
            let mut newer = self.arena.head(slot);
            while self.arena.previous(newer) != version {
                newer = self.arena.previous(newer);
            }
            debug_assert_eq!(self.arena.previous(version), NONE, "older ones went before");
            self.arena.set_previous(newer, NONE);
            self.arena.give_up(version);
        }
    }

    /// The newest record of a key at or below a sequence; range tombstones are not asked.
    #[inline]
    pub fn get(&self, key: &[u8], at: Seq) -> Option<Record<'_>> {
        let slot = self.find(self.tag(key), key)?;
        self.version_at(slot, at)
    }

    #[inline]
    pub(crate) fn version_at(&self, slot: Ref, at: Seq) -> Option<Record<'_>> {
        let mut version = self.arena.head(slot);
        let mut seq = self.arena.seq(version);
        while seq > at {
            version = self.arena.previous(version);
            if version == NONE {
                return None;
            }
            seq = self.arena.seq(version);
        }
        let (kind, value) = self.arena.value(version);
        Some(Record {
            key: self.arena.key(slot),
            seq,
            kind,
            value,
        })
    }

    /// The ranges deleted in it.
    pub fn tombstones(&self) -> &RangeTombstones {
        &self.tombstones
    }

    /// A cursor over everything written so far, as of a sequence. Sorts what is new since the last one.
    pub fn cursor(&mut self, at: Seq) -> MemtableCursor {
        MemtableCursor::new(self.order.runs(&self.arena), at)
    }

    /// About how many bytes a key takes with its value.
    pub fn bytes_each(&self) -> u64 {
        self.arena.len() / (self.index.len() as u64).max(1)
    }

    /// How many keys lie in a range, deleted ones included: counted off the sorted runs.
    pub fn keys_in(&mut self, start: &[u8], limit: &[u8]) -> u64 {
        let arena = &self.arena;
        let runs = self.order.runs(arena).iter();
        let inside = runs.map(|run| order::within(arena, run, start, limit).len() as u64);
        inside.sum()
    }

    /// Some keys of a range, about so many at the most, each with how many keys of its run come from it on
    /// to the next one that is told.
    pub fn marks(
        &mut self,
        start: &[u8],
        limit: &[u8],
        most: usize,
        mut mark: impl FnMut(&[u8], u64),
    ) {
        let inside = self.keys_in(start, limit) as usize;
        let each = inside.div_ceil(most).max(1);
        let arena = &self.arena;
        for run in self.order.runs(arena) {
            for keys in order::within(arena, run, start, limit).chunks(each) {
                mark(arena.key(keys[0].slot), keys.len() as u64);
            }
        }
    }

    #[inline]
    fn tag(&self, key: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(key);
        (hash ^ (hash >> 32)) as u32
    }
}

/// The hash that a tag stands for: both its high and its low bits count.
#[inline]
fn spread(tag: u32) -> u64 {
    u64::from(tag).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
