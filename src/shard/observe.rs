//! What a checker may see of a shard: kept only where it is asked for.

use super::ids::{Index, PeerId, RegionId, Term};
use super::region::Region;

/// Something that a checker wants to know, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// A peer leads from now on.
    Leads {
        /// The region.
        region: RegionId,
        /// The peer.
        peer: PeerId,
        /// Since this term.
        term: Term,
    },
    /// A peer has applied an entry.
    Applied {
        /// The region.
        region: RegionId,
        /// The peer.
        peer: PeerId,
        /// Which entry.
        index: Index,
        /// Of which term.
        term: Term,
        /// A checksum of what it holds.
        checksum: u32,
    },
    /// A peer's content was replaced by a snapshot.
    Restored {
        /// The region.
        region: RegionId,
        /// The peer.
        peer: PeerId,
        /// As of this entry.
        index: Index,
        /// Of this term.
        term: Term,
    },
    /// A peer is there again, and is about to apply once more what its tables lack.
    Replays {
        /// The region.
        region: RegionId,
        /// The peer.
        peer: PeerId,
        /// Up to here its tables hold it.
        index: Index,
    },
    /// A region was split here.
    Split {
        /// The region.
        region: RegionId,
        /// Its version from then on.
        version: u64,
    },
    /// A region is about to be split, since it is too large or too busy.
    SplitsItself {
        /// The region.
        region: RegionId,
        /// The version that it has then.
        version: u64,
    },
    /// A peer is quiet from now on.
    Quiet {
        /// The region.
        region: RegionId,
        /// The peer.
        peer: PeerId,
    },
    /// A peer is not quiet any more.
    Woken {
        /// The region.
        region: RegionId,
        /// The peer.
        peer: PeerId,
    },
    /// A peer is gone from this store, durably.
    Destroyed {
        /// The region.
        region: RegionId,
        /// The peer.
        peer: PeerId,
    },
}

/// How a peer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The region, without peers and range while the peer waits for its first snapshot.
    pub region: Region,
    /// The peer.
    pub peer: PeerId,
    /// Whether it has a range.
    /// … and serves it: it neither comes, nor goes, nor has given up.
    pub initialized: bool,
    /// Its term.
    pub term: Term,
    /// Whether it leads.
    pub leads: bool,
    /// Whom it follows.
    pub leader: Option<PeerId>,
    /// The region's clock, in Unix milliseconds.
    pub clock: u64,
    /// Up to here the log is cut off, for all replicas.
    pub truncated: Index,
    /// Up to here the tables hold it.
    pub checkpointed: Index,
    /// Up to here it is applied.
    pub applied: Index,
    /// Up to here it is known to be committed.
    pub committed: Index,
    /// Up to here it is durable here.
    pub persisted: Index,
    /// The last entry.
    pub last: Index,
    /// What the log certainly says of it after a power cut.
    pub durable: Durable,
}

impl PeerStatus {
    /// Where its log stands, from the first entry to the last.
    pub fn log(&self) -> String {
        format!(
            "truncated {}, checkpointed {}, applied {}, committed {}, persisted {}, last {}",
            self.truncated,
            self.checkpointed,
            self.applied,
            self.committed,
            self.persisted,
            self.last
        )
    }
}

/// What the log certainly says of a peer after a power cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    /// Its term.
    pub term: Term,
    /// Up to here it is known to be committed.
    pub committed: Index,
}
