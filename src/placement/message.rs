//! What stores and placement say to each other. Any of these may be lost, doubled or late: a request
//! that makes something carries a nonce, and an instruction the epoch under which it was thought out.

use super::overview::Overview;
use super::standing::Standing;
use crate::shard::ids::{ClusterId, Edition, Index, NodeId, PeerId, RegionId, StoreId, Term};
use crate::shard::region::{Epoch, PeerInfo, Region};
use crate::shard::request::PeerChange;

/// To and from placement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A process wants to belong to the cluster; the same nonce until it is answered.
    Join {
        /// Drawn once by the process and kept: the same nonce is the same node.
        nonce: u64,
        /// Where it is reached.
        address: String,
        /// The edition of address and labels.
        edition: Edition,
        /// How many shards, hence stores, it has.
        shards: u16,
        /// Names and values that say where it stands.
        labels: Vec<(String, String)>,
    },
    /// The process belongs to the cluster. Durable.
    Joined {
        /// The nonce of the request.
        nonce: u64,
        /// The cluster.
        cluster: ClusterId,
        /// The process.
        node: NodeId,
        /// Its stores, one per shard in order.
        stores: Vec<StoreId>,
    },
    /// The join cannot be granted.
    JoinRefused {
        /// The nonce of the request.
        nonce: u64,
        /// Why not.
        why: String,
    },
    /// How a store is.
    StoreHeartbeat(StoreStats),
    /// The heartbeat was heard.
    StoreHeard {
        /// The version of the list of nodes: whoever knows another one asks for it.
        nodes: u64,
    },
    /// How a region is, by its leader.
    RegionHeartbeat(Box<RegionStats>),
    /// What the leader of a region should do.
    Operator(Operator),
    /// So many new ids, please.
    AllocateIds {
        /// How many.
        count: u32,
        /// Comes back with the answer; doubles of a request may be given other ids.
        nonce: u64,
    },
    /// Ids that nobody else has or will have: `first`, `first + 1`, …
    Allocated {
        /// The nonce of the request.
        nonce: u64,
        /// The first.
        first: u64,
        /// How many.
        count: u32,
    },
    /// Is this peer, which has had no leader for long, still in its region?
    ValidatePeer {
        /// The region.
        region: RegionId,
        /// The peer.
        peer: PeerInfo,
        /// The epoch as the peer knows it.
        epoch: Epoch,
    },
    /// What placement knows of that peer.
    Verdict {
        /// The peer.
        peer: PeerId,
        /// The region.
        region: RegionId,
        /// What of it.
        verdict: Verdict,
    },
    /// Which region holds this stored key?
    LocateRegion {
        /// The key.
        key: Vec<u8>,
    },
    /// Which regions are there, from this stored key on?
    ListRegions {
        /// The key.
        start: Vec<u8>,
        /// At most so many.
        count: u32,
    },
    /// Which regions does the shard that is asked know of, from this stored key on? Answered by any of them, at once.
    ListKnown {
        /// The key.
        start: Vec<u8>,
        /// At most so many.
        count: u32,
    },
    /// Which nodes are there?
    ListNodes,
    /// All nodes, and the version of the list.
    Nodes(u64, Vec<NodeInfo>),
    /// Regions in the order of their keys, as far as whoever tells of them knows.
    Regions(Regions),
    /// A node should stand otherwise to the cluster. Answered by all nodes, or by why not.
    Stand {
        /// The node.
        node: NodeId,
        /// How it should stand.
        standing: Standing,
    },
    /// It cannot.
    StandingRefused {
        /// The node.
        node: NodeId,
        /// Why not.
        why: String,
    },
    /// The node of whoever has told of a store was taken out of the cluster.
    Removed {
        /// The node.
        node: NodeId,
    },
    /// A peer should leave for that store. Answered by that it does, or by why not.
    MoveRegion {
        /// The region.
        region: RegionId,
        /// The peer.
        peer: PeerId,
        /// The store.
        to: StoreId,
    },
    /// Somebody is about to have this peer lead: it should stay so for a while. Answered like a move.
    LeadRegion {
        /// The region.
        region: RegionId,
        /// The peer.
        peer: PeerId,
    },
    /// The move is under way.
    Moving {
        /// The region.
        region: RegionId,
        /// The peer that leaves.
        peer: PeerId,
        /// The store that it leaves for.
        to: StoreId,
    },
    /// It cannot be.
    MoveRefused {
        /// The region.
        region: RegionId,
        /// Why not.
        why: String,
    },
    /// Nothing more should begin, or what waits may go on.
    Pause {
        /// Which of both.
        paused: bool,
    },
    /// It is so. Durable.
    Paused {
        /// Whether nothing begins.
        paused: bool,
    },
    /// What is placement about?
    ShowPlacement,
    /// All of it.
    Overview(Box<Overview>),
    /// The receiver does not lead region 1.
    NotPlacement {
        /// Who leads it, as far as known.
        hint: Option<StoreId>,
    },
}

impl Message {
    /// Whether it asks for regions: whoever is asked may know some.
    pub fn is_for_regions(&self) -> bool {
        matches!(
            self,
            Message::LocateRegion { .. } | Message::ListRegions { .. } | Message::ListKnown { .. }
        )
    }
}

/// Regions, and who tells of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regions {
    /// In the order of their keys. Where one does not begin where the last one ends, something is not known.
    pub told: Vec<RegionInfo>,
    /// Who says so.
    pub by: Source,
}

/// Who tells of regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Placement, to which leaders tell of every change.
    Placement,
    /// A shard, from its own table: of what it does not hold itself it has only heard.
    Table {
        /// The shard.
        store: StoreId,
        /// How long ago it last read all of it from placement, in milliseconds; none: not since it started.
        age_ms: Option<u64>,
    },
}

/// A region, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionInfo {
    /// The region.
    pub region: Region,
    /// Who leads it, as far as known.
    pub leader: Option<PeerInfo>,
    /// How it was when its leader last told of it; none: not since placement began, or told by others.
    pub figures: Option<RegionFigures>,
}

/// How a region was when its leader last told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegionFigures {
    /// How long ago that was, in milliseconds.
    pub ago_ms: u64,
    /// About how many bytes it has.
    pub bytes: u64,
    /// About how many keys it has.
    pub keys: u64,
    /// Keys that clients read or write in a second.
    pub requests: u64,
    /// Peers that are silent, and for how many milliseconds.
    pub silent: Vec<(PeerId, u64)>,
    /// Peers that cannot follow yet.
    pub behind: Vec<PeerId>,
}

impl RegionInfo {
    /// A region of which nothing more is known.
    pub fn of(region: Region, leader: Option<PeerInfo>) -> RegionInfo {
        RegionInfo {
            region,
            leader,
            figures: None,
        }
    }
}

/// A process that belongs to the cluster, and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// The process.
    pub node: NodeId,
    /// Where it is reached.
    pub address: String,
    /// The edition of address and labels.
    pub edition: Edition,
    /// Its stores, one per shard in order.
    pub stores: Vec<StoreId>,
    /// How it stands to the cluster.
    pub standing: Standing,
    /// Where it stands.
    pub labels: Vec<(String, String)>,
}

/// How a store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// The store.
    pub store: StoreId,
    /// Bytes that it may hold.
    pub capacity_bytes: u64,
    /// Bytes that it holds.
    pub used_bytes: u64,
    /// Bytes that are free.
    pub available_bytes: u64,
    /// Its peers.
    pub regions: u32,
    /// Its peers that lead.
    pub leaders: u32,
    /// Snapshots on their way out.
    pub sending_snapshots: u32,
    /// Snapshots on their way in.
    pub receiving_snapshots: u32,
    /// Snapshots being taken in.
    pub applying_snapshots: u32,
    /// When it started, in unix milliseconds.
    pub started_ms: u64,
    /// Whether it refuses work.
    pub busy: bool,
    /// The time that the figures below are about, in milliseconds.
    pub interval_ms: u64,
    /// Bytes written in that time.
    pub written_bytes: u64,
    /// Keys written in that time.
    pub written_keys: u64,
    /// Bytes read in that time.
    pub read_bytes: u64,
    /// Keys read in that time.
    pub read_keys: u64,
}

/// How a region is, as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionStats {
    /// The region.
    pub region: Region,
    /// Who leads it.
    pub leader: PeerInfo,
    /// The term in which it leads.
    pub term: Term,
    /// Peers that are silent, and for how many milliseconds.
    pub down_peers: Vec<(PeerId, u64)>,
    /// Peers that cannot follow yet: their match lies before the log's beginning.
    pub pending_peers: Vec<PeerId>,
    /// Bytes written since the last heartbeat.
    pub written_bytes: u64,
    /// Keys written since the last heartbeat.
    pub written_keys: u64,
    /// Keys read or written by clients since the last heartbeat.
    pub requests: u64,
    /// The time that these are about, in milliseconds: since the last heartbeat of this leader.
    pub interval_ms: u64,
    /// About how many bytes it has.
    pub approximate_bytes: u64,
    /// About how many keys it has.
    pub approximate_keys: u64,
    /// How far the leader has applied.
    pub applied: Index,
}

impl RegionStats {
    /// All that is known of a region between two heartbeats.
    pub fn of(region: Region, leader: PeerInfo) -> RegionStats {
        RegionStats {
            region,
            leader,
            term: Term(0),
            down_peers: Vec::new(),
            pending_peers: Vec::new(),
            written_bytes: 0,
            written_keys: 0,
            requests: 0,
            interval_ms: 0,
            approximate_bytes: 0,
            approximate_keys: 0,
            applied: Index(0),
        }
    }
}

/// What the leader of a region should do, under this epoch and no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Change the peers; no changes: leave the joint configuration.
    ChangePeers {
        /// The region.
        region: RegionId,
        /// The epoch under which it holds.
        epoch: Epoch,
        /// What changes.
        changes: Vec<PeerChange>,
    },
    /// Let another peer lead.
    TransferLeader {
        /// The region.
        region: RegionId,
        /// The epoch under which it holds.
        epoch: Epoch,
        /// Who should lead.
        to: PeerId,
    },
}

/// What placement knows of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is not in its region any more.
    Gone {
        /// The region as placement knows it.
        region: Region,
    },
    /// It belongs there.
    Valid,
    /// No such region is known; it may be too new.
    Unknown,
    /// The asker knows the region as of a later epoch.
    Older,
}
