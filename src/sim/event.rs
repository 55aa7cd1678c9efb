//! What happens in a simulated world, and in which order.

use std::cmp::Ordering;

use super::files::Work;
use super::trouble::Fault;
use crate::shard::ids::{Edition, RequestId, StoreId};
use crate::shard::message::PeerMessage;
use crate::shard::request::Response;

/// A shard, in one life of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) node: usize,
    pub(super) shard: usize,
    pub(super) life: u64,
}

#[derive(Debug)]
pub(super) enum Event {
    Tick(At),
    Turn(At),
    Done(At, Work),
    Peer {
        from: StoreId,
        to: StoreId,
        /// Which edition of the sender's address the link was opened with.
        edition: Edition,
        message: Box<PeerMessage>,
    },
    Arrives {
        request: RequestId,
        client: usize,
        store: StoreId,
    },
    Answer {
        request: RequestId,
        client: usize,
        response: Box<Response>,
    },
    Client(usize),
    GiveUp(usize, RequestId),
    Start(usize),
    Look,
    Operate,
    Crash,
    CrashSoon(At),
    Pause,
    Part,
    Join,
    Fill,
    Empty(usize),
    Fail,
    /// A process outside asks.
    Ask(usize, u64),
    /// Its question arrives.
    Question(RequestId, StoreId),
    /// The answer to its question arrives.
    Told(RequestId, Box<Response>),
    Wipe,
    /// A fault of the later kinds.
    Trouble(Fault),
    /// A region is split.
    Split,
    /// Something is asked of placement.
    Upkeep,
}

pub(super) struct Scheduled {
    pub(super) at: u64,
    pub(super) sequence: u64,
    pub(super) event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}
