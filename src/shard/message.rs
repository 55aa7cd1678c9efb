//! What shards say to each other. Whoever carries these may drop, delay, double and reorder them.

use bytes::Bytes;
use coracle_engine::record::KeyRange;
use raft::eraftpb;

use super::ids::{Index, PeerId, RegionId, Term};
use super::region::{Epoch, PeerInfo, Region};
use crate::placement;

/// Names a snapshot under way; chosen by its sender, used once between two starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// The sender's start, as it drew it.
    pub boot: u64,
    /// Counts its streams.
    pub count: u64,
}

/// A message from one shard to another.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerMessage {
    /// From one peer of a region to another.
    Raft(RaftMessage),
    /// The sender's region, whose configuration is durable there, no longer holds the receiver's peer.
    Gone {
        /// The region as the sender has it, durably.
        region: Region,
        /// The sender's peer.
        from: PeerInfo,
        /// The peer that is not in it.
        to: PeerId,
    },
    /// Is this peer still in the region? Answered with [`PeerMessage::Gone`] if not.
    AmIGone {
        /// The region.
        region: RegionId,
        /// Who asks.
        from: PeerInfo,
        /// The epoch as it knows it.
        epoch: Epoch,
    },
    /// Up to which index must a read be applied that begins now?
    ReadIndex {
        /// The region.
        region: RegionId,
        /// Who asks.
        from: PeerInfo,
        /// Whom it believes to lead.
        to: PeerId,
        /// Fresh for every attempt.
        attempt: u64,
    },
    /// The answer to [`PeerMessage::ReadIndex`].
    ReadIndexAnswer {
        /// The region.
        region: RegionId,
        /// Who asked.
        to: PeerId,
        /// The attempt.
        attempt: u64,
        /// The index; none if the asked one does not lead.
        index: Option<Index>,
    },
    /// A snapshot is ready: its content can be pulled.
    SnapshotOffer {
        /// Its name.
        stream: StreamId,
        /// The region as of the snapshot.
        region: Region,
        /// The region's clock as of the snapshot.
        clock: u64,
        /// About how many bytes it has.
        bytes: u64,
        /// Raft's message, to be stepped when the content is here durably.
        message: RaftMessage,
    },
    /// The receiver of a snapshot asks for its next piece.
    SnapshotPull {
        /// The snapshot.
        stream: StreamId,
        /// Counts the pieces from 0; asked again until it comes.
        piece: u64,
        /// Numbers that the receiver has set aside for tables, all so far.
        numbers: Vec<u64>,
    },
    /// A piece of a snapshot.
    SnapshotPiece {
        /// The snapshot.
        stream: StreamId,
        /// Which piece.
        piece: u64,
        /// What it is.
        content: SnapshotContent,
    },
    /// To, from and about placement.
    Placement(placement::Message),
    /// What is short, of all regions that the two have in common.
    Beats(Beats),
}

/// What two shards say to each other of many regions at once, in a few numbers each. Without any it still says
/// that its sender lives, and in which life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beats {
    /// The sender's start, as it drew it.
    pub boot: u64,
    /// What it says of regions.
    pub beats: Vec<Beat>,
}

/// What one peer of a region says to another in a few numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The region.
    pub region: RegionId,
    /// The sender.
    pub from: PeerId,
    /// The receiver.
    pub to: PeerId,
    /// The region's epoch at the sender.
    pub epoch: Epoch,
    /// The sender's term.
    pub term: Term,
    /// What it says.
    pub kind: BeatKind,
    /// The commit index of a heartbeat and its answer, else the last entry.
    pub index: Index,
    /// What a heartbeat asks to be sent back.
    pub context: Bytes,
}

/// What a peer says in a few numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeatKind {
    /// Raft's heartbeat.
    Heartbeat,
    /// Its answer.
    HeartbeatAnswer,
    /// The leader asks whether the region may be quiet.
    MayRest,
    /// The follower is quiet.
    Rests,
    /// It is not as the receiver believes: it is to be awake.
    Wake,
}

/// A piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotContent {
    /// The next bytes of a table.
    Chunk {
        /// The table, by the receiver's number.
        table: u64,
        /// Where in it.
        offset: u64,
        /// Whole blocks.
        bytes: Bytes,
    },
    /// A table is complete.
    TableEnd {
        /// The table, by the receiver's number.
        table: u64,
    },
    /// Another number is needed to go on.
    NeedNumber,
    /// That was all of it.
    Done,
    /// The sender cannot go on: the snapshot is void.
    Failed,
}

/// One message of a region's raft group.
#[derive(Clone, Debug, PartialEq)]
pub struct RaftMessage {
    /// The region.
    pub region: RegionId,
    /// The sender.
    pub from: PeerInfo,
    /// The receiver.
    pub to: PeerInfo,
    /// The region's epoch at the sender.
    pub epoch: Epoch,
    /// The region's range, in messages that may create the receiver.
    pub range: Option<KeyRange>,
    /// What raft has to say.
    pub message: eraftpb::Message,
}
