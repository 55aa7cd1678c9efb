//! The two doors of the brain: what has happened comes in, what the world should do goes out.
//!
//! ```text
//!            Input ──▶ Shard::handle        changes memory only
//! the world                   │
//!           Effect ◀── Shard::flush         end of a turn
//! ```
//!
//! **A driver may carry out effects in any order and at any time.** What may only happen after
//! something else is withheld until the completion of that something has come in. The one rule it
//! keeps: the bytes of log writes are taken by [`super::Shard::encode`] in the order of their lsn.

use coracle_engine as engine;
use coracle_wal as wal;

use super::ids::{NodeId, RegionId, RequestId, StoreId};
use super::message::PeerMessage;
use super::request::{Request, Response};
use crate::placement;

/// Something that has happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// Time has passed, and perhaps nothing else.
    Clock,
    /// A client asks for something; answered once by [`Effect::Respond`].
    Request {
        /// Comes back with the answer.
        id: RequestId,
        /// What it asks for.
        request: Request<'a>,
    },
    /// Another shard has sent something.
    Peer {
        /// Which store it is, as its link has proven.
        from: StoreId,
        /// What it says.
        message: Box<PeerMessage>,
    },
    /// A store cannot be reached at the moment.
    Unreachable(StoreId),
    /// A batch of the log is durable; in any order.
    LogDurable(wal::Lsn),
    /// A segment file is there: zeros, durable with its name.
    LogCreated(wal::Slot),
    /// A segment file could not be made.
    LogCreateFailed(wal::Slot),
    /// A segment file that recovery read from is durable.
    LogSynced(wal::Slot),
    /// A write or sync of the log failed. Final.
    LogFailed,
    /// Bytes of the log were read.
    LogRead {
        /// Which read.
        token: wal::ReadToken,
        /// The bytes; none if they could not be read.
        bytes: Option<&'a [u8]>,
    },
    /// An effect of the state store is done, or has failed.
    Store(engine::effect::Completion<'a>),
    /// So many bytes are free on the disk.
    Space {
        /// How many.
        bytes_free: u64,
    },
    /// The nodes as the driver knows them from an earlier life, or from whoever let it join: whom to ask
    /// first. Given once, after the start.
    Nodes(Vec<placement::NodeInfo>),
    /// The process is about to end: leaderships are to be handed over.
    Drain,
}

/// Something the world should do.
#[derive(Debug)]
pub enum Effect {
    /// For the files of the log.
    Log(wal::Effect),
    /// For the files of the state store.
    Store(engine::effect::Effect),
    /// Send to another shard; may be lost.
    Send {
        /// Which store.
        to: StoreId,
        /// What.
        message: Box<PeerMessage>,
    },
    /// Answer a request.
    Respond {
        /// Which request.
        to: RequestId,
        /// The answer.
        response: Response,
    },
    /// All nodes, whenever what this shard knows of them has changed: where stores are reached. The
    /// driver keeps it for its next start.
    Nodes(Vec<placement::NodeInfo>),
    /// Something that whoever runs the node should know.
    Report(Report),
}

/// Something that whoever runs the node should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The shard has stopped for good; the process should end.
    Stopped(String),
    /// A region cannot be served here any more: it is rebuilt under a new peer id.
    Quarantined {
        /// The region.
        region: RegionId,
        /// Why.
        why: String,
    },
    /// A replica holds other bytes than its leader.
    Diverged {
        /// The region.
        region: RegionId,
        /// The entry as of which both were hashed.
        index: u64,
    },
    /// Placement says that this node was taken out of the cluster: the process should end.
    Removed(NodeId),
    /// What was said so does not hold any more: the node has turned up with something that must leave first.
    Kept(NodeId),
    /// The records of placement cannot be understood: nobody decides where regions are.
    PlacementUnreadable(String),
    /// A leader's clock is further ahead than clocks may be.
    ClockAhead {
        /// The region.
        region: RegionId,
        /// By how much, in milliseconds.
        by_ms: u64,
    },
}
