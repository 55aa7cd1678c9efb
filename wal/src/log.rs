//! The log in one place: records are gathered, sealed into batches, encoded into the driver's buffers,
//! and released in order as they become durable.
//!
//! ```text
//! append, set_hard_state, set_meta      a turn's records gather in a batch         append.rs
//! flush                                 the batch gets its lsn and its place       seal.rs, settle.rs
//!                                       → Effect::Write
//! encode                                its bytes, into the driver's buffer        pending.rs
//! durable(lsn)                          in any order; durable_lsn() moves over the unbroken prefix
//! ```

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::cache::Cache;
use crate::effect::Effect;
use crate::fetch::Fetches;
use crate::ids::{LogId, Lsn, RegionId, Sequence, Slot};
use crate::limits::Limits;
use crate::mutant::Mutant;
use crate::pending::Pending;
use crate::pool::Pool;
use crate::purge::Purge;
use crate::region::Region;
use crate::regions::Regions;
use crate::seal::Sealed;

/// One entry of a region's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// From 1, without gaps.
    pub index: u64,
    /// Never falls within a region.
    pub term: u64,
    /// Opaque to the log.
    pub payload: Bytes,
}

/// A region's whole replicated record, with what the log itself must know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaRecord {
    /// Index and term before the region's first entry.
    pub truncated: (u64, u64),
    /// The region's log becomes empty at the truncated index, at both ends.
    pub reset: bool,
    /// The region is gone for ever.
    pub tombstone: bool,
    /// Opaque to the log.
    pub payload: Bytes,
}

/// A live segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub sequence: Sequence,
    pub opening: u64,
    pub slot: Slot,
    pub first: Lsn,
    /// The last batch given a place in it.
    pub last: Lsn,
    /// Records ever written into it; one without any is free to go.
    pub records: u64,
    /// Of these, entries, and metas that empty a log: what comes after them means something else
    /// without them, so segments that hold any go in order, from the oldest.
    pub ordered: u64,
    /// Reads of old entries that are under way in it.
    pub readers: u32,
}

/// A batch on its way to the medium.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub lsn: Lsn,
    pub durable: bool,
    /// What the batch says was durable before it.
    pub names: Lsn,
}

/// How far an opening has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// What recovery accepted is being made durable, file by file.
    Syncing(Vec<Slot>),
    /// The first header has no place yet.
    Waiting,
    /// The first header is on its way.
    Announced,
    /// The log takes batches.
    Open,
}

/// The log of one shard.
#[derive(Debug)]
pub struct Log {
    pub(crate) id: LogId,
    pub(crate) limits: Limits,
    pub(crate) mutant: Mutant,
    pub(crate) opening: u64,
    pub(crate) stage: Opening,
    pub(crate) regions: Regions,
    pub(crate) cache: Cache,
    pub(crate) fetches: Fetches,
    pub(crate) purge: Purge,
    pub(crate) pool: Pool,
    /// Live segments, oldest first; the last one grows.
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) next_sequence: Sequence,
    /// Where the next batch goes in the growing segment.
    pub(crate) active_offset: u32,
    pub(crate) pending: Pending,
    pub(crate) sealed: VecDeque<Sealed>,
    pub(crate) in_flight: VecDeque<InFlight>,
    pub(crate) spare: Vec<Pending>,
    pub(crate) next_lsn: Lsn,
    pub(crate) durable: Lsn,
    /// The greatest `durable_lsn` that a durable batch names.
    pub(crate) covered: Lsn,
    pub(crate) previous_checksum: u32,
    /// The last batch with records; a cover needs no cover.
    pub(crate) last_recorded: Lsn,
    pub(crate) cover_wanted: bool,
    pub(crate) rotate_wanted: bool,
    pub(crate) effects: Vec<Effect>,
    pub(crate) failed: bool,
}

impl Log {
    /// A log that does not exist yet. It takes records at once; they leave when its first segment is
    /// there.
    pub fn create(id: LogId, limits: Limits) -> Log {
        Log::assemble(id, limits, Pool::new(Vec::new(), []), Opening::Waiting, 1)
    }

    pub(crate) fn assemble(
        id: LogId,
        limits: Limits,
        pool: Pool,
        stage: Opening,
        opening: u64,
    ) -> Log {
        limits.check();
        Log {
            id,
            limits,
            mutant: Mutant::None,
            opening,
            stage,
            regions: Regions::new(id.0),
            cache: Cache::default(),
            fetches: Fetches::default(),
            purge: Purge::default(),
            pool,
            segments: VecDeque::new(),
            next_sequence: Sequence(1),
            active_offset: 0,
            pending: Pending::default(),
            sealed: VecDeque::new(),
            in_flight: VecDeque::new(),
            spare: Vec::new(),
            next_lsn: Lsn(1),
            durable: Lsn(0),
            covered: Lsn(0),
            last_recorded: Lsn(0),
            previous_checksum: 0,
            cover_wanted: false,
            rotate_wanted: false,
            effects: Vec::new(),
            failed: false,
        }
    }

    /// Plants a bug; for explorations only.
    pub fn set_mutant(&mut self, mutant: Mutant) {
        self.mutant = mutant;
    }

    // -- what is known ---------------------------------------------------------------------------

    /// Everything up to this batch is durable.
    pub fn durable_lsn(&self) -> Lsn {
        self.durable
    }

    /// The batch that the records given so far leave in, or have left in.
    pub fn last_lsn(&self) -> Lsn {
        // The first batch of an opening carries no records.
        let first = u64::from(matches!(self.stage, Opening::Syncing(_) | Opening::Waiting));
        if self.pending.is_empty() {
            Lsn(self.next_lsn.0 - 1)
        } else {
            Lsn(self.next_lsn.0 + first)
        }
    }

    /// Batches sealed and not durable.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether the first header of this opening is durable, so that acknowledgements may leave.
    pub fn is_open(&self) -> bool {
        self.stage == Opening::Open
    }

    /// Whether a write has failed; then nothing leaves any more.
    pub fn is_failed(&self) -> bool {
        self.failed
    }

    /// The regions the log knows, tombstones included, in the order it came to know them.
    pub fn regions(&self) -> impl Iterator<Item = RegionId> + '_ {
        self.regions.iter().map(|region| region.id)
    }

    /// Memory held for regions and logged entries, cached payloads not counted.
    pub fn memory_bytes(&self) -> u64 {
        self.regions.iter().map(Region::memory_bytes).sum()
    }

    /// Payloads held in memory, with their overhead.
    pub fn cached_bytes(&self) -> u64 {
        self.cache.bytes
    }

    /// The region's last index, if the log knows the region.
    pub fn last_index(&self, region: RegionId) -> Option<u64> {
        Some(self.region(region)?.last())
    }

    /// Index and term before the region's first entry.
    pub fn truncated(&self, region: RegionId) -> Option<(u64, u64)> {
        Some(self.region(region)?.truncated)
    }

    /// The first index whose payload can still be had: behind the truncated or, for a replay, the
    /// checkpointed index, whichever is less.
    pub fn first_kept(&self, region: RegionId) -> Option<u64> {
        Some(self.region(region)?.floor + 1)
    }

    /// The term of an index, from memory; `None` outside the log.
    pub fn term(&self, region: RegionId, index: u64) -> Option<u64> {
        let known = self.region(region)?;
        let gathered = || self.gathered_term(region, index);
        known.term(index).or_else(gathered)
    }

    /// The region's newest hard state.
    pub fn hard_state(&self, region: RegionId) -> Option<&Bytes> {
        self.region(region)?
            .hard_state
            .as_ref()
            .map(|state| &state.payload)
    }

    /// The region's newest meta.
    pub fn meta(&self, region: RegionId) -> Option<&Bytes> {
        self.region(region)?
            .meta
            .as_ref()
            .map(|state| &state.payload)
    }

    /// Whether the region's newest meta is a tombstone.
    pub fn is_tombstone(&self, region: RegionId) -> bool {
        self.region(region).is_some_and(|region| region.tombstone)
    }

    #[inline]
    pub(crate) fn region(&self, id: RegionId) -> Option<&Region> {
        let place = self.regions.place(id)?;
        Some(&self.regions[place as usize])
    }

    // -- completions -----------------------------------------------------------------------------

    /// A write is durable. Reported in any order; [`Log::durable_lsn`] moves over the unbroken prefix.
    pub fn durable(&mut self, lsn: Lsn) {
        if self.failed {
            return;
        }
        let Some(position) = self
            .in_flight
            .front()
            .and_then(|front| lsn.0.checked_sub(front.lsn.0))
        else {
            assert!(self.mutant != Mutant::None, "lsn {lsn} is not in flight");
            return;
        };
        let Some(batch) = self.in_flight.get_mut(position as usize) else {
            assert!(self.mutant != Mutant::None, "lsn {lsn} is not in flight");
            return;
        };
        batch.durable = true;
        while let Some(front) = self.in_flight.front()
            && front.durable
        {
            self.durable = front.lsn;
            self.covered = self.covered.max(front.names);
            self.in_flight.pop_front();
            if self.stage == Opening::Announced {
                self.stage = Opening::Open;
            }
        }
        self.release();
    }

    /// A write or a sync failed, whatever the reason: the log is final.
    pub fn write_failed(&mut self) {
        self.failed = true;
        self.effects.clear();
    }

    /// The file of a slot is there: zeros, durable with its name.
    pub fn created(&mut self, slot: Slot) {
        self.pool.created(slot);
    }

    /// The file of a slot could not be made. The log goes on with what it has and asks again after
    /// [`Log::space`].
    pub fn create_failed(&mut self, slot: Slot) {
        self.pool.create_failed(slot);
    }

    /// The disk may have space again.
    pub fn space(&mut self) {
        self.pool.feed();
    }

    /// A file that recovery read from is durable.
    pub fn synced(&mut self, slot: Slot) {
        if let Opening::Syncing(slots) = &mut self.stage {
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                self.stage = Opening::Waiting;
            }
        }
    }
}

pub(crate) fn low_bits(sequence: Sequence) -> u32 {
    u32::try_from(sequence.0).expect("segments are numbered in 32 bits")
}
