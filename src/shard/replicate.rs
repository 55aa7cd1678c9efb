//! Replicate: messages from and to other peers of the region.
//!
//! Raft 0.7 takes for granted that whoever speaks to it runs the same code, and ends the process on what
//! cannot be. So every message is looked at before raft sees it, and what cannot be is dropped.

use raft::eraftpb::{Message, MessageType};

use super::core::Core;
use super::entry;
use super::ids::PeerId;
use super::limits::SEGMENTS_FOR_APPENDS;
use super::message::{PeerMessage, RaftMessage};
use super::peer::{Peer, Stage};
use super::region::{PeerInfo, Role};

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
            _ => core.send(raft.to.store, PeerMessage::Raft(raft)),
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
        let message = message.message;
        if !self.is_sound(core, &message) {
            return;
        }
        let kind = message.get_msg_type();
        let votes = matches!(
            kind,
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote
        );
        let hurries = kind == MessageType::MsgTimeoutNow;
        if (votes || hurries) && core.now.mono < self.quiet_until {
            // Before it ended, this peer may have promised a leader to elect nobody else for a while.
            return;
        }
        // A peer whose log has just been emptied by a snapshot cannot look through it for an election.
        if hurries && !matches!(self.stage, Stage::Normal) {
            return;
        }
        if matches!(kind, MessageType::MsgAppend | MessageType::MsgHeartbeat)
            && !matches!(self.stage, Stage::Leaving)
        {
            self.leaderless = 0;
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
                let few = core.log.borrow().segments_left() < SEGMENTS_FOR_APPENDS;
                if message.entries.iter().any(entry::has_commands) {
                    let bytes = message.entries.iter().map(entry::payload_len).sum::<u64>();
                    let ahead = core.admitted + bytes;
                    if few
                        || !core
                            .log
                            .borrow()
                            .has_room(ahead, message.entries.len() + 64)
                    {
                        return false;
                    }
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
}
