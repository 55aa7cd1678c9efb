//! Raft's messages, field by field. What raft never sends is not carried.

use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, EntryType, Message, MessageType, Snapshot};
use rkyv::{Archive, Serialize};

use crate::shard::codec::Malformed;
use crate::shard::ids::RegionId;
use crate::shard::limits::ENTRY_BYTES_MAX;
use crate::shard::message::RaftMessage;
use crate::wire::form::{EpochForm, Octets, PeerForm, RangeForm, Source};

/// An entry.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(crate) struct EntryForm<'a> {
    kind: u8,
    term: u64,
    index: u64,
    data: Octets<'a>,
    context: Octets<'a>,
}

/// A snapshot's configuration: what its message says beside the region that travels with it.
#[derive(Clone, Debug, Archive, Serialize)]
pub(crate) struct SnapshotForm<'a> {
    index: u64,
    term: u64,
    voters: Vec<u64>,
    learners: Vec<u64>,
    voters_outgoing: Vec<u64>,
    learners_next: Vec<u64>,
    auto_leave: bool,
    data: Octets<'a>,
}

/// One message of a region's raft group.
#[derive(Clone, Debug, Archive, Serialize)]
pub(crate) struct RaftForm<'a> {
    region: u64,
    from: PeerForm,
    to: PeerForm,
    epoch: EpochForm,
    range: Option<RangeForm<'a>>,
    kind: u8,
    raft_to: u64,
    raft_from: u64,
    term: u64,
    log_term: u64,
    index: u64,
    commit: u64,
    commit_term: u64,
    request_snapshot: u64,
    reject: bool,
    reject_hint: u64,
    deprecated_priority: u64,
    priority: i64,
    context: Octets<'a>,
    entries: Vec<EntryForm<'a>>,
    snapshot: Option<SnapshotForm<'a>>,
}

/// All kinds of messages; their places are their numbers.
const KINDS: [MessageType; 19] = [
    MessageType::MsgHup,
    MessageType::MsgBeat,
    MessageType::MsgPropose,
    MessageType::MsgAppend,
    MessageType::MsgAppendResponse,
    MessageType::MsgRequestVote,
    MessageType::MsgRequestVoteResponse,
    MessageType::MsgSnapshot,
    MessageType::MsgHeartbeat,
    MessageType::MsgHeartbeatResponse,
    MessageType::MsgUnreachable,
    MessageType::MsgSnapStatus,
    MessageType::MsgCheckQuorum,
    MessageType::MsgTransferLeader,
    MessageType::MsgTimeoutNow,
    MessageType::MsgReadIndex,
    MessageType::MsgReadIndexResp,
    MessageType::MsgRequestPreVote,
    MessageType::MsgRequestPreVoteResponse,
];

impl<'a> From<&'a Entry> for EntryForm<'a> {
    fn from(entry: &'a Entry) -> EntryForm<'a> {
        EntryForm {
            kind: match entry.get_entry_type() {
                EntryType::EntryNormal => 0,
                EntryType::EntryConfChange => 1,
                EntryType::EntryConfChangeV2 => 2,
            },
            term: entry.term,
            index: entry.index,
            data: Octets(&entry.data),
            context: Octets(&entry.context),
        }
    }
}

impl ArchivedEntryForm<'_> {
    fn get(&self, source: &Source<'_>) -> Result<Entry, Malformed> {
        let (data, context) = (source.bytes(&self.data)?, source.bytes(&self.context)?);
        if data.len() + context.len() > ENTRY_BYTES_MAX {
            return Err(Malformed("an entry that is too long"));
        }
        let mut entry = Entry {
            term: self.term.to_native(),
            index: self.index.to_native(),
            data,
            context,
            ..Entry::default()
        };
        match self.kind {
            0 => {}
            1 => entry.set_entry_type(EntryType::EntryConfChange),
            2 => entry.set_entry_type(EntryType::EntryConfChangeV2),
            _ => return Err(Malformed("an entry of an unknown kind")),
        }
        Ok(entry)
    }
}

impl<'a> From<&'a Snapshot> for SnapshotForm<'a> {
    fn from(snapshot: &'a Snapshot) -> SnapshotForm<'a> {
        let metadata = snapshot.get_metadata();
        let conf_state = metadata.get_conf_state();
        SnapshotForm {
            index: metadata.index,
            term: metadata.term,
            voters: conf_state.voters.clone(),
            learners: conf_state.learners.clone(),
            voters_outgoing: conf_state.voters_outgoing.clone(),
            learners_next: conf_state.learners_next.clone(),
            auto_leave: conf_state.auto_leave,
            data: Octets(&snapshot.data),
        }
    }
}

impl ArchivedSnapshotForm<'_> {
    fn get(&self, source: &Source<'_>) -> Result<Snapshot, Malformed> {
        let ids =
            |ids: &[rkyv::primitive::ArchivedU64]| ids.iter().map(|id| id.to_native()).collect();
        let conf_state = ConfState {
            voters: ids(&self.voters),
            learners: ids(&self.learners),
            voters_outgoing: ids(&self.voters_outgoing),
            learners_next: ids(&self.learners_next),
            auto_leave: self.auto_leave,
            ..ConfState::default()
        };
        let mut snapshot = Snapshot {
            data: source.bytes(&self.data)?,
            ..Snapshot::default()
        };
        let metadata = snapshot.mut_metadata();
        metadata.index = self.index.to_native();
        metadata.term = self.term.to_native();
        metadata.set_conf_state(conf_state);
        Ok(snapshot)
    }
}

impl<'a> From<&'a RaftMessage> for RaftForm<'a> {
    fn from(told: &'a RaftMessage) -> RaftForm<'a> {
        let message = &told.message;
        let kind = message.get_msg_type();
        RaftForm {
            region: told.region.0,
            from: (&told.from).into(),
            to: (&told.to).into(),
            epoch: told.epoch.into(),
            range: told.range.as_ref().map(RangeForm::from),
            kind: kind as u8,
            raft_to: message.to,
            raft_from: message.from,
            term: message.term,
            log_term: message.log_term,
            index: message.index,
            commit: message.commit,
            commit_term: message.commit_term,
            request_snapshot: message.request_snapshot,
            reject: message.reject,
            reject_hint: message.reject_hint,
            deprecated_priority: message.deprecated_priority,
            priority: message.priority,
            context: Octets(&message.context),
            entries: message.entries.iter().map(EntryForm::from).collect(),
            snapshot: message
                .has_snapshot()
                .then(|| message.get_snapshot().into()),
        }
    }
}

impl ArchivedRaftForm<'_> {
    /// The message.
    pub fn get(&self, source: &Source<'_>) -> Result<RaftMessage, Malformed> {
        let kind = KINDS.get(usize::from(self.kind));
        let mut message = Message {
            to: self.raft_to.to_native(),
            from: self.raft_from.to_native(),
            term: self.term.to_native(),
            log_term: self.log_term.to_native(),
            index: self.index.to_native(),
            commit: self.commit.to_native(),
            commit_term: self.commit_term.to_native(),
            request_snapshot: self.request_snapshot.to_native(),
            reject: self.reject,
            reject_hint: self.reject_hint.to_native(),
            deprecated_priority: self.deprecated_priority.to_native(),
            priority: self.priority.to_native(),
            context: source.bytes(&self.context)?,
            ..Message::default()
        };
        message.set_msg_type(*kind.ok_or(Malformed("a message of an unknown kind"))?);
        message.entries = self
            .entries
            .iter()
            .map(|entry| entry.get(source))
            .collect::<Result<Vec<_>, _>>()?
            .into();
        if let Some(snapshot) = self.snapshot.as_ref() {
            message.set_snapshot(snapshot.get(source)?);
        }
        Ok(RaftMessage {
            region: RegionId(self.region.to_native()),
            from: self.from.get()?,
            to: self.to.get()?,
            epoch: self.epoch.get(),
            range: match self.range.as_ref() {
                Some(range) => Some(range.get(source)?),
                None => None,
            },
            message,
        })
    }
}

/// About how many bytes a message has where it is archived; no fewer than it really has.
pub fn weight(told: &RaftMessage) -> usize {
    let bytes = |bytes: &Bytes| bytes.len() + 16;
    let message = &told.message;
    let range = told.range.as_ref();
    let entries = message
        .entries
        .iter()
        .map(|entry| 64 + bytes(&entry.data) + bytes(&entry.context));
    let conf_state = message.get_snapshot().get_metadata().get_conf_state();
    let ids = conf_state.voters.len()
        + conf_state.learners.len()
        + conf_state.voters_outgoing.len()
        + conf_state.learners_next.len();
    512 + range.map_or(0, |range| range.start.len() + range.limit.len())
        + bytes(&message.context)
        + bytes(&message.get_snapshot().data)
        + ids * 8
        + entries.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_numbered_as_raft_numbers_them() {
        for (place, kind) in KINDS.iter().enumerate() {
            assert_eq!(*kind as usize, place);
        }
    }
}
