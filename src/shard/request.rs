//! What a client may ask of a shard, and what it is answered.
//!
//! Keys are stored keys: the first byte tells system keys from user keys. A request borrows from the
//! buffer that it arrived in; what must outlive the call is copied once, to where it stays.

use bytes::Bytes;

use super::error::Error;
use super::ids::{PeerId, RegionId};
use super::region::{Epoch, PeerInfo, Role};
use crate::placement;

/// A request to one region.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The region and its epoch as the client knows them; none: whichever holds the key.
    pub region: Option<(RegionId, Epoch)>,
    /// What to do.
    pub body: Body<'a>,
}

/// What to do.
#[derive(Clone, Debug)]
pub enum Body<'a> {
    /// All of these or, on an error, none; one after another.
    Write(&'a [Write<'a>]),
    /// The value of a key.
    Get {
        /// The key.
        key: &'a [u8],
        /// How fresh it must be.
        freshness: Freshness,
    },
    /// The values of keys, all as of one moment.
    MultiGet {
        /// The keys.
        keys: &'a [&'a [u8]],
        /// How fresh they must be.
        freshness: Freshness,
    },
    /// Keys and values in order, all as of one moment.
    Scan {
        /// The first key of the range.
        start: &'a [u8],
        /// The key behind the range; empty: the end of the region.
        limit: &'a [u8],
        /// At most so many.
        count: usize,
        /// From the end backwards.
        reverse: bool,
        /// How fresh they must be.
        freshness: Freshness,
    },
    /// Lets another peer lead. Always answered at once: it is advice.
    TransferLeader {
        /// The region.
        region: RegionId,
        /// Who should lead.
        to: PeerId,
    },
    /// Changes the peers of a region.
    ChangePeers {
        /// The region.
        region: RegionId,
        /// What changes; none: the joint configuration is left.
        changes: &'a [PeerChange],
    },
    /// Splits a region.
    Split {
        /// The region.
        region: RegionId,
        /// Where new regions begin; none: in the middle.
        keys: &'a [&'a [u8]],
        /// The first of the ids that they and their peers get; none: placement is asked for them.
        ids: Option<u64>,
    },
    /// A question to placement, by a process that has no store yet or by a tool: a join, ids, nodes,
    /// regions. Only where region 1 is led; answered when all that the answer says is durable. The list of
    /// nodes is told by every shard, as far as it knows it, so that whoever looks for placement finds it.
    Placement(&'a placement::Message),
}

impl<'a> Body<'a> {
    /// Whether it asks for what the replica that is asked holds, and for nothing else.
    pub fn is_of_this_replica(&self) -> bool {
        match self {
            Body::Get { freshness, .. }
            | Body::MultiGet { freshness, .. }
            | Body::Scan { freshness, .. } => *freshness == Freshness::Local,
            _ => false,
        }
    }

    /// The key by which it finds its region.
    pub fn key(&self) -> &'a [u8] {
        match self {
            Body::Write(writes) => writes.first().map_or(&[], |write| write.key()),
            Body::Get { key, .. } => key,
            Body::MultiGet { keys, .. } => keys.first().copied().unwrap_or_default(),
            Body::Scan { start, .. } => start,
            Body::TransferLeader { .. }
            | Body::ChangePeers { .. }
            | Body::Split { .. }
            | Body::Placement(_) => &[],
        }
    }

    /// The region, where it is known by its number alone.
    pub fn region(&self) -> Option<RegionId> {
        match self {
            Body::TransferLeader { region, .. }
            | Body::ChangePeers { region, .. }
            | Body::Split { region, .. } => Some(*region),
            _ => None,
        }
    }

    /// Whether it may leave something behind: then a lost answer leaves that open.
    pub fn writes(&self) -> bool {
        matches!(
            self,
            Body::Write(_) | Body::ChangePeers { .. } | Body::Split { .. }
        )
    }
}

/// One change of the peers of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerChange {
    /// This peer is there from now on, as voter or learner; a learner that is there is promoted, a voter
    /// demoted.
    Put(PeerInfo),
    /// This peer goes.
    Remove(PeerId),
}

impl PeerChange {
    /// The peer that changes.
    pub fn peer(&self) -> PeerId {
        match self {
            PeerChange::Put(info) => info.peer,
            PeerChange::Remove(peer) => *peer,
        }
    }

    /// Whether it makes a voter.
    pub fn makes_voter(&self) -> bool {
        matches!(
            self,
            PeerChange::Put(PeerInfo {
                role: Role::Voter,
                ..
            })
        )
    }
}

/// How fresh an answer must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Freshness {
    /// Everything acknowledged before the request came, wherever.
    #[default]
    Linearizable,
    /// The same, from a replica that does not lead: it asks the leader how far it must have applied.
    AnyReplica,
    /// Whatever this peer has applied.
    Local,
}

/// One write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write<'a> {
    /// Sets a key.
    Put {
        /// The key.
        key: &'a [u8],
        /// The value.
        value: &'a [u8],
        /// Unix milliseconds from which on the value is gone.
        expiry_ms: Option<u64>,
    },
    /// Deletes a key.
    Delete {
        /// The key.
        key: &'a [u8],
    },
    /// Deletes all keys of a range.
    DeleteRange {
        /// The first key.
        start: &'a [u8],
        /// The key behind the range; empty: the end of the region.
        limit: &'a [u8],
    },
    /// Sets or deletes a key if it has an expected value.
    CompareAndPut {
        /// The key.
        key: &'a [u8],
        /// The expected value; none: the key must be absent.
        expected: Option<&'a [u8]>,
        /// The new value; none: the key is deleted.
        value: Option<&'a [u8]>,
    },
    /// Adds to a counter, which is decimal text; an absent one is zero.
    Add {
        /// The key.
        key: &'a [u8],
        /// How much, up or down.
        delta: i64,
    },
}

impl<'a> Write<'a> {
    /// The key that it names first.
    pub fn key(&self) -> &'a [u8] {
        match self {
            Write::Put { key, .. }
            | Write::Delete { key }
            | Write::CompareAndPut { key, .. }
            | Write::Add { key, .. } => key,
            Write::DeleteRange { start, .. } => start,
        }
    }
}

/// What became of one write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is done.
    Done,
    /// A comparison: whether it held, and what was there.
    Compared {
        /// Whether the value was set.
        held: bool,
        /// The value before.
        previous: Option<Bytes>,
    },
    /// A comparison: whether it held. What was there is more than one answer holds, and is not told.
    Held(bool),
    /// A counter's new value.
    Counter(i64),
    /// The value is no number, or the sum no longer one; nothing was changed.
    NotANumber,
}

/// What a request is answered when it was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The only write of a request.
    Written(Written),
    /// The writes of a request, in order.
    AllWritten(Vec<Written>),
    /// A value, or none.
    Value(Option<Bytes>),
    /// Values, or none, in the order of their keys.
    Values(Vec<Option<Bytes>>),
    /// Keys and values in the order of the scan.
    Pairs {
        /// What was found.
        pairs: Vec<(Bytes, Bytes)>,
        /// Where the scan goes on, if it stopped at a limit of its own: the last key seen.
        more: bool,
    },
    /// It is done, or was taken as advice.
    Done,
    /// What placement answers.
    Placement(placement::Message),
}

impl Answer {
    /// Bytes of keys and values in it.
    pub fn bytes(&self) -> usize {
        let value = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
        let written = |written: &Written| match written {
            Written::Compared { previous, .. } => value(previous),
            _ => 0,
        };
        match self {
            Answer::Written(one) => written(one),
            Answer::AllWritten(all) => all.iter().map(written).sum(),
            Answer::Value(one) => value(one),
            Answer::Values(values) => values.iter().map(value).sum(),
            Answer::Pairs { pairs, .. } => pairs.iter().map(|(k, v)| k.len() + v.len()).sum(),
            Answer::Done | Answer::Placement(_) => 0,
        }
    }

    /// Whether it only tells what is there: then it may be asked for again.
    pub fn is_read(&self) -> bool {
        matches!(
            self,
            Answer::Value(_) | Answer::Values(_) | Answer::Pairs { .. }
        )
    }

    /// The same without the values that were there before a write, if it tells any.
    pub fn without_previous(&self) -> Option<Answer> {
        let brief = |written: &Written| match written {
            Written::Compared { held, .. } => Written::Held(*held),
            other => other.clone(),
        };
        match self {
            Answer::Written(one @ Written::Compared { .. }) => Some(Answer::Written(brief(one))),
            Answer::AllWritten(all) if self.bytes() > 0 => {
                Some(Answer::AllWritten(all.iter().map(brief).collect()))
            }
            _ => None,
        }
    }
}

/// The answer to a request.
pub type Response = Result<Answer, Error>;
