//! How far each region's log is contained in the tables: where its replay begins.
//!
//! The raft log is the only log. After a crash a region applies its entries again from the index that
//! stands here, starting from the clock that stands here; so an entry is as weighty as the tables
//! themselves, and it changes only in the edit that brings the tables in. Three stories shape the rules
//! by which edits are folded in:
//!
//! * **The checkpoint goes back.** A rotation taken before an ingest lands after it: what it says of
//!   the region is of a time before the ingest, and is ignored. No flush ever lowers an index.
//! * **The peer of another life.** A region that was destroyed and came back has a greater peer id;
//!   what a flush says of a smaller one is ignored.
//! * **Ingest repeated.** The edit is durable and more has been applied and checkpointed since, but the
//!   log does not know; the repeat must not cut what is live. So the index of the last ingest stays
//!   in the entry, and an ingest that has it is recognised.

use alloc::collections::BTreeMap;

use crate::record::Seq;

/// Names a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(pub u64);

/// Names a region's replica; a later replica of the same region on the same store has a greater id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// The place of an entry in a region's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(pub u64);

/// A region's replicated clock, in Unix milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Clock(pub u64);

/// Counts the rotations of the memtable over the life of a store; each is flushed by one edit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rotation(pub u64);

/// What an edit says of one region: up to here its entries are in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The region.
    pub region: RegionId,
    /// Its replica here.
    pub peer: PeerId,
    /// The last entry contained.
    pub index: Index,
    /// The region's clock as of that entry.
    pub clock: Clock,
}

/// Where one region stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The replica of which all this is true.
    pub peer: PeerId,
    /// The last entry that the tables contain.
    pub index: Index,
    /// The region's clock as of that entry.
    pub clock: Clock,
    /// The index of the last ingest by this peer, if there was one.
    pub ingested: Option<Index>,
    /// The sequence number of that ingest: what was written before it says nothing of this peer.
    pub since: Seq,
}

/// What became of an ingest that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IngestVerdict {
    /// It has not happened yet.
    New,
    /// Exactly this one is in the manifest: nothing may be cut again.
    AlreadyPresent,
    /// It would take the region back, or belongs to a peer that a later one has replaced.
    Outdated,
}

/// The checkpoints of all regions of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    regions: BTreeMap<RegionId, Checkpoint>,
}

impl Progress {
    /// Where `peer` of `region` stands; none if nothing of it is in the tables, or what is there
    /// belongs to another peer. Such a region starts at its meta's initial index.
    pub fn of(&self, region: RegionId, peer: PeerId) -> Option<Checkpoint> {
        self.get(region)
            .filter(|checkpoint| checkpoint.peer == peer)
    }

    /// What is known of a region, whichever peer it is of.
    pub fn get(&self, region: RegionId) -> Option<Checkpoint> {
        self.regions.get(&region).copied()
    }

    /// All regions in order.
    pub fn iter(&self) -> impl Iterator<Item = (RegionId, Checkpoint)> + '_ {
        self.regions
            .iter()
            .map(|(region, checkpoint)| (*region, *checkpoint))
    }

    /// How many regions have an entry.
    pub fn len(&self) -> usize {
        self.regions.len()
    }

    /// Whether no region has one.
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// Folds in what a flush says, whose rotation holds nothing later than `last_seq`.
    pub fn fold_flush(&mut self, applied: Applied, last_seq: Seq) {
        let fresh = Checkpoint {
            peer: applied.peer,
            index: applied.index,
            clock: applied.clock,
            ingested: None,
            since: Seq(0),
        };
        let known = self.regions.entry(applied.region).or_insert(fresh);
        if applied.peer > known.peer {
            *known = fresh;
        }
        if applied.peer == known.peer && last_seq >= known.since && applied.index >= known.index {
            known.index = applied.index;
            known.clock = known.clock.max(applied.clock);
        }
    }

    /// What an ingest at `index` by `peer` would be.
    pub fn judge_ingest(&self, region: RegionId, peer: PeerId, index: Index) -> IngestVerdict {
        match self.get(region) {
            Some(known) if known.peer > peer => IngestVerdict::Outdated,
            Some(known) if known.peer < peer => IngestVerdict::New,
            Some(known) if known.ingested == Some(index) => IngestVerdict::AlreadyPresent,
            Some(known) if known.index > index => IngestVerdict::Outdated,
            Some(_) | None => IngestVerdict::New,
        }
    }

    /// Folds in an ingest that was judged new.
    pub fn fold_ingest(&mut self, applied: Applied, seq: Seq) {
        let checkpoint = Checkpoint {
            peer: applied.peer,
            index: applied.index,
            clock: applied.clock,
            ingested: Some(applied.index),
            since: seq,
        };
        self.regions.insert(applied.region, checkpoint);
    }

    /// Forgets a region unless a later peer than `peer` is here by now.
    pub fn forget(&mut self, region: RegionId, peer: PeerId) {
        if self.get(region).is_some_and(|known| known.peer <= peer) {
            self.regions.remove(&region);
        }
    }

    /// Puts back what a snapshot of the state holds. Returns whether the region was not there yet.
    pub(crate) fn restore(&mut self, region: RegionId, checkpoint: Checkpoint) -> bool {
        self.regions.insert(region, checkpoint).is_none()
    }
}
