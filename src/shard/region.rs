//! What is replicated about a region: its range, its epoch, its peers.

use std::fmt;

use coracle_engine::record::KeyRange;

use super::ids::{PeerId, RegionId, StoreId};

/// Counts a region's changes: of its range, and of its peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// Grows with every change of the range.
    pub version: u64,
    /// Grows with every change of the peers.
    pub conf_ver: u64,
}

impl Epoch {
    /// Whether it is behind in either part.
    pub fn is_staler_than(self, other: Epoch) -> bool {
        self.version < other.version || self.conf_ver < other.conf_ver
    }
}

/// What part a peer has in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It votes.
    Voter,
    /// It receives everything and does not vote.
    Learner,
    /// It votes in the new half of a joint configuration only.
    Incoming,
    /// It votes in the old half of a joint configuration only, and leaves.
    Outgoing,
    /// It votes in the old half of a joint configuration only, and becomes a learner.
    Demoting,
}

impl Role {
    /// Whether it belongs to the half that decides once the joint configuration is left.
    pub fn votes_after(self) -> bool {
        matches!(self, Role::Voter | Role::Incoming)
    }

    /// Whether it belongs to the half that decided before.
    pub fn votes_before(self) -> bool {
        matches!(self, Role::Voter | Role::Outgoing | Role::Demoting)
    }

    /// Whether it is there only while the configuration is joint.
    pub fn is_joint(self) -> bool {
        matches!(self, Role::Incoming | Role::Outgoing | Role::Demoting)
    }
}

/// A replica, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerInfo {
    /// The replica.
    pub peer: PeerId,
    /// Its store.
    pub store: StoreId,
    /// Its part.
    pub role: Role,
}

/// A region as its peers agree on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its name, for ever.
    pub id: RegionId,
    /// How often it has changed.
    pub epoch: Epoch,
    /// Its keys.
    pub range: KeyRange,
    /// Its replicas, by peer id.
    pub peers: Vec<PeerInfo>,
}

impl Region {
    /// The replica of this id.
    pub fn peer(&self, peer: PeerId) -> Option<&PeerInfo> {
        self.peers.iter().find(|info| info.peer == peer)
    }

    /// The replica on this store.
    pub fn on_store(&self, store: StoreId) -> Option<&PeerInfo> {
        self.peers.iter().find(|info| info.store == store)
    }

    /// Whether its configuration is joint.
    pub fn is_joint(&self) -> bool {
        self.peers.iter().any(|info| info.role.is_joint())
    }
}

impl fmt::Display for Region {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{}@{}.{} [{}, {})",
            self.id,
            self.epoch.version,
            self.epoch.conf_ver,
            self.range.start.escape_ascii(),
            self.range.limit.escape_ascii()
        )
    }
}
