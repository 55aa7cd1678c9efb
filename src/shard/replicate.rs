//! Replicate: messages from and to other peers of the region.
//!
//! Raft 0.7 takes for granted that whoever speaks to it runs the same code, and ends the process on what
//! cannot be. So every message is looked at before raft sees it, and what cannot be is dropped.

use raft::eraftpb::{Entry, Message, MessageType};

use super::core::Core;
use super::entry;
use super::ids::PeerId;
use super::limits::SEGMENTS_FOR_APPENDS;
use super::message::{PeerMessage, RaftMessage};
use super::peer::{Peer, Stage};
use super::region::{PeerInfo, Role};

/// What is left in the log's reserve, at the least, when commands go into it: bytes for the states of others.
const RESERVE_AHEAD: usize = 16 << 10;

/// Whether a message may create the peer that it is for.
pub fn is_initial(message: &Message) -> bool {
    match message.get_msg_type() {
        MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => true,
        MessageType::MsgHeartbeat => message.commit == 0,
        _ => false,
    }
}

impl Peer {
    /// Puts an address on what raft has to say.
    pub fn wrap(&mut self, core: &Core, message: Message) -> Option<PeerMessage> {
        let to = PeerId(message.to);
        let to = match self.region().peer(to) {
            Some(info) => *info,
            None => PeerInfo {
                peer: to,
                store: *self.contacts.get(&to)?,
                role: Role::Learner,
            },
        };
        let range = is_initial(&message).then(|| self.region().range.clone());
        Some(PeerMessage::Raft(RaftMessage {
            region: self.region_id(),
            from: self.info(core),
            to,
            epoch: self.region().epoch,
            range: range.filter(|_| self.is_initialized()),
            message,
        }))
    }

    /// Sends it, or begins to send a snapshot.
    pub fn post(&mut self, core: &mut Core, message: PeerMessage) {
        let PeerMessage::Raft(raft) = message else {
            return;
        };
        match raft.message.get_msg_type() {
            MessageType::MsgSnapshot => self.offer_snapshot(core, raft),
            _ => {
                let to = raft.to.store;
                if let Some(raft) = core.shorten(raft) {
                    core.send(to, PeerMessage::Raft(raft));
                }
            }
        }
    }

    /// A message from another peer of the region.
    pub fn receive(&mut self, core: &mut Core, message: RaftMessage) {
        if self.region().peer(message.from.peer).is_none()
            && self.is_initialized()
            && message.epoch.conf_ver < self.region().epoch.conf_ver
        {
            self.tell_gone(core, message.from);
            return;
        }
        if matches!(self.stage, Stage::Destroying(_) | Stage::Quarantined) {
            return;
        }
        self.meet(message.from);
        if self.leads() {
            self.pulse.heard(message.from.peer, core.now.mono);
        }
        let mut message = message.message;
        if !self.is_sound(core, &message) {
            return;
        }
        let kind = message.get_msg_type();
        if kind == MessageType::MsgAppend {
            self.cut_to_room(core, &mut message);
        }
        let votes = matches!(
            kind,
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote
        );
        if votes && core.now.mono < self.quiet_until {
            // Before it ended, this peer may have promised a leader to elect nobody else for a while.
            return;
        }
        if matches!(kind, MessageType::MsgAppend | MessageType::MsgHeartbeat)
            && !matches!(self.stage, Stage::Leaving)
        {
            self.leaderless = 0;
        }
        self.hear(core, &message);
        if kind == MessageType::MsgTimeoutNow {
            return self.summoned(core, message);
        }
        core.admitted += message.entries.iter().map(entry::payload_len).sum::<u64>();
        // What raft refuses is not worth more than being dropped: its sender tries again.
        let _ = self.node.step(message);
        self.draw(core);
        self.dirty = true;
    }

    /// Whether raft can be given a message.
    fn is_sound(&self, core: &Core, message: &Message) -> bool {
        let log = &self.node.raft.raft_log;
        let last = log.last_index();
        match message.get_msg_type() {
            MessageType::MsgAppend => {
                if self.machine.queue_bytes > core.limits().unapplied_bytes {
                    return false;
                }
                let mut before = (message.index, message.log_term);
                for entry in &message.entries {
                    let fits = entry.index == before.0 + 1
                        && entry.term >= before.1
                        && entry.term <= message.term
                        && entry::is_sound(entry);
                    if !fits {
                        return false;
                    }
                    // What is committed is never replaced.
                    if entry.index <= log.committed
                        && entry.index >= log.first_index()
                        && message.term >= self.node.raft.term
                        && log.term(entry.index).is_ok_and(|term| term != entry.term)
                    {
                        return false;
                    }
                    before = (entry.index, entry.term);
                }
                true
            }
            MessageType::MsgHeartbeat => {
                message.term < self.node.raft.term || message.commit <= last
            }
            MessageType::MsgAppendResponse => message.reject || message.index <= last,
            MessageType::MsgRequestVote
            | MessageType::MsgRequestPreVote
            | MessageType::MsgRequestVoteResponse
            | MessageType::MsgRequestPreVoteResponse
            | MessageType::MsgHeartbeatResponse
            | MessageType::MsgTimeoutNow => true,
            // Snapshots come as offers; the rest never crosses a network.
            _ => false,
        }
    }

    /// Where the log has no room, an append loses its commands and what comes behind them. What is left still
    /// says how far this log and the leader's agree, and what is committed: only so can what is here be
    /// applied, checkpointed and cut off, and the log not stay full for ever.
    ///
    /// What is here already needs no room, and what comes before commands, such as the entry that a term
    /// begins with, has some in the reserve. So have commands of earlier terms, where entries here wait for
    /// more than that: behind those commands lies what commits them, or takes their place.
    fn cut_to_room(&self, core: &Core, message: &mut Message) {
        if !message.entries.iter().any(entry::has_commands) {
            return;
        }
        let log = core.log.borrow();
        let bytes = message.entries.iter().map(entry::payload_len).sum::<u64>();
        let (bytes, count) = (core.admitted + bytes, message.entries.len() + 64);
        if log.segments_left() >= SEGMENTS_FOR_APPENDS && log.has_room(bytes, count) {
            return;
        }
        let here = &self.node.raft.raft_log;
        let is_new = |entry: &Entry| here.term(entry.index) != Ok(entry.term);
        let needs_room = |entry: &Entry| entry::has_commands(entry) && is_new(entry);
        let all = message.entries.len();
        let mut kept = message.entries.iter().position(needs_room).unwrap_or(all);
        let told = message.commit.min(message.index + kept as u64);
        let waits = told.max(here.committed) < here.last_index();
        if waits && log.has_room_in_reserve(bytes as usize + RESERVE_AHEAD, count) {
            let of_term = |entry: &Entry| needs_room(entry) && entry.term >= message.term;
            kept = message.entries.iter().position(of_term).unwrap_or(all);
        }
        message.entries.truncate(kept);
    }
}
