//! Beats: what is short, of all regions that two shards have in common, in one message.
//!
//! ```text
//! raft's heartbeats and their answers ─┐                                   ┌─▶ made raft's again, checked, stepped
//! may we be quiet? yes. wake up.       ┴▶ Beats { boot, one line each } ───┴─▶ to the peers
//! ```
//!
//! Ten thousand regions send as many heartbeats in one turn, all of them alike: as messages of their own they would
//! be longer than what they say, and more than a link takes.

use super::brain::Shard;
use super::core::Core;
use super::ids::{Index, StoreId, Term};
use super::message::{Beat, BeatKind, Beats, PeerMessage, RaftMessage};
use super::peer::Peer;
use super::region::{PeerInfo, Role};

use raft::eraftpb::{Message, MessageType};

/// Beats in one message, at the most.
const BEATS_MAX: usize = 4096;

/// Longer contexts of heartbeats go by themselves.
const CONTEXT_BYTES_MAX: usize = 64;

impl Core {
    /// Puts what raft has to say among what is short, if it is; else it is given back.
    pub fn shorten(&mut self, message: RaftMessage) -> Option<RaftMessage> {
        let raft = &message.message;
        let kind = match raft.get_msg_type() {
            // It may create its receiver, and names a range for that.
            MessageType::MsgHeartbeat if raft.commit == 0 => return Some(message),
            MessageType::MsgHeartbeat => BeatKind::Heartbeat,
            MessageType::MsgHeartbeatResponse => BeatKind::HeartbeatAnswer,
            _ => return Some(message),
        };
        if raft.context.len() > CONTEXT_BYTES_MAX {
            return Some(message);
        }
        let beat = Beat {
            region: message.region,
            from: message.from.peer,
            to: message.to.peer,
            epoch: message.epoch,
            term: Term(raft.term),
            kind,
            index: Index(raft.commit),
            context: raft.context.clone(),
        };
        self.say(message.to.store, beat);
        None
    }

    /// Says something short, at the end of the turn.
    pub fn say(&mut self, to: StoreId, beat: Beat) {
        self.beats.entry(to).or_default().push(beat);
    }

    /// What is short leaves, in one message to each store.
    pub fn send_beats(&mut self) {
        let boot = self.options.boot;
        while let Some((to, mut beats)) = self.beats.pop_first() {
            loop {
                let rest = beats.split_off(beats.len().min(BEATS_MAX));
                self.send(to, PeerMessage::Beats(Beats { boot, beats }));
                if rest.is_empty() {
                    break;
                }
                beats = rest;
            }
        }
    }
}

/// What a beat says as raft knows it.
fn in_raft(beat: Beat, from: StoreId, me: StoreId) -> RaftMessage {
    // What they are in the region is not asked of those who say something.
    let info = |peer, store| PeerInfo {
        peer,
        store,
        role: Role::Learner,
    };
    let mut message = Message {
        from: beat.from.0,
        to: beat.to.0,
        term: beat.term.0,
        commit: beat.index.0,
        context: beat.context,
        ..Message::default()
    };
    message.set_msg_type(match beat.kind {
        BeatKind::HeartbeatAnswer => MessageType::MsgHeartbeatResponse,
        _ => MessageType::MsgHeartbeat,
    });
    RaftMessage {
        region: beat.region,
        from: info(beat.from, from),
        to: info(beat.to, me),
        epoch: beat.epoch,
        range: None,
        message,
    }
}

impl Shard {
    /// Another shard says something short of many regions.
    pub(super) fn heard_beats(&mut self, from: StoreId, beats: Beats) {
        let Beats { boot, beats } = beats;
        if self.core.neighbours.is_another_life(from, boot) {
            self.alarm(from);
        }
        let (tick, now) = (self.core.ticks, self.core.now.mono);
        self.core.neighbours.heard(from, boot, tick, now);
        let me = self.core.me();
        for beat in beats {
            match beat.kind {
                BeatKind::Heartbeat | BeatKind::HeartbeatAnswer => {
                    self.raft_message(from, in_raft(beat, from, me));
                }
                BeatKind::MayRest => self.give(&beat, |peer, core| {
                    peer.asked_to_rest(core, &beat);
                }),
                BeatKind::Wake => self.give(&beat, |peer, core| peer.wake(core)),
                BeatKind::Rests if self.is_of(&beat) => self.give(&beat, |peer, core| {
                    peer.relied_on(core, from, &beat);
                }),
                BeatKind::Rests => {
                    // Its leader is not here any more. Perhaps it is itself no longer of the region.
                    let info = PeerInfo {
                        peer: beat.from,
                        store: from,
                        role: Role::Learner,
                    };
                    self.asked_whether_gone(beat.region, info);
                    let answer = Beat {
                        from: beat.to,
                        to: beat.from,
                        kind: BeatKind::Wake,
                        ..beat
                    };
                    self.core.say(from, answer);
                }
            }
        }
    }

    fn is_of(&self, beat: &Beat) -> bool {
        let peer = self.peers.get(&beat.region);
        peer.is_some_and(|peer| peer.id == beat.to)
    }

    fn give(&mut self, beat: &Beat, act: impl FnOnce(&mut Peer, &mut Core)) {
        if self.is_of(beat) {
            self.with(beat.region, act);
        }
    }
}
