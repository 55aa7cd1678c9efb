//! What arrives from other stores: to whom it goes, and what becomes of a message for a peer that is not here.

use coracle_engine::record::KeyRange;
use raft::eraftpb::HardState;

use super::brain::Shard;
use super::ids::{Index, RegionId, StoreId};
use super::machine::Machine;
use super::message::{PeerMessage, RaftMessage, StreamId};
use super::meta::conf_state;
use super::peer::{Peer, Stage};
use super::region::{PeerInfo, Region, Role};
use super::replicate::is_initial;
use super::restore::Receiving;

impl Shard {
    pub(super) fn peer_message(&mut self, from: StoreId, message: PeerMessage) {
        if self.core.stopped || self.replay.is_some() {
            return;
        }
        match message {
            PeerMessage::Raft(message) => self.raft_message(from, message),
            PeerMessage::Gone { region, from, to } => {
                let id = region.id;
                self.with(id, |peer, core| {
                    if peer.id == to {
                        peer.told_gone(core, from, region);
                    }
                });
            }
            PeerMessage::AmIGone { region, from, .. } => self.asked_whether_gone(region, from),
            PeerMessage::ReadIndex {
                region,
                from,
                to,
                attempt,
            } => {
                self.with(region, |peer, core| {
                    if peer.id == to {
                        peer.ask_for_peer(core, from, attempt);
                    }
                });
            }
            PeerMessage::ReadIndexAnswer {
                region,
                to,
                attempt,
                index,
            } => {
                self.with(region, |peer, core| match index {
                    _ if peer.id != to => {}
                    Some(index) => peer.attempt_confirmed(core, attempt, index),
                    None => peer.attempt_refused(attempt),
                });
            }
            PeerMessage::SnapshotOffer {
                stream,
                region,
                clock,
                message,
                ..
            } => {
                self.offered(from, stream, region, clock, message);
            }
            PeerMessage::SnapshotPull {
                stream,
                piece,
                numbers,
            } => {
                let now = self.core.now.mono;
                if let Some(sending) = self.core.sending.get_mut(&stream) {
                    sending.pull(now, piece, &numbers);
                }
            }
            PeerMessage::SnapshotPiece {
                stream,
                piece,
                content,
            } => {
                let found = self
                    .core
                    .receiving
                    .iter()
                    .find(|(_, known)| known.stream == stream);
                let Some(region) = found.map(|(region, _)| *region) else {
                    return;
                };
                let mut receiving = self.core.receiving.remove(&region).expect("just seen");
                match receiving.take(&mut self.core, piece, content) {
                    true => drop(self.core.receiving.insert(region, receiving)),
                    false => receiving.abandon(&mut self.core),
                }
                self.check_received();
            }
            PeerMessage::Placement(message) => self.placement_message(from, message),
            PeerMessage::Beats(beats) => self.heard_beats(from, beats),
        }
    }

    /// A peer elsewhere wants to know whether it is still in its region.
    pub(super) fn asked_whether_gone(&mut self, region: RegionId, from: PeerInfo) {
        let here = self.with(region, |peer, core| {
            // Whoever asks has no leader, as far as it knows.
            peer.wake(core);
            peer.tell_gone(core, from);
        });
        // Who has gone itself knows who stayed.
        if let (None, Some((peer, last))) = (here, self.graves.get(&region)) {
            let info = PeerInfo {
                peer: *peer,
                store: self.core.me(),
                role: Role::Learner,
            };
            let message = PeerMessage::Gone {
                region: last.clone(),
                from: info,
                to: from.peer,
            };
            self.core.send(from.store, message);
        }
    }

    pub(super) fn raft_message(&mut self, from: StoreId, message: RaftMessage) {
        if message.to.store != self.core.me() || message.from.store != from {
            return;
        }
        let region = message.region;
        let sound =
            message.message.from == message.from.peer.0 && message.message.to == message.to.peer.0;
        if !sound {
            return;
        }
        match self.peers.get(&region).map(|peer| peer.id) {
            Some(here) if here == message.to.peer => {
                self.with(region, |peer, core| peer.receive(core, message));
            }
            // A later peer of the region is wanted here: this one asks whether it is gone.
            Some(here) if here < message.to.peer => {
                self.with(region, |peer, core| {
                    if matches!(peer.stage, Stage::Uninitialized) {
                        peer.destroy(core);
                    } else {
                        peer.meet(message.from);
                        peer.ask_whether_gone(core);
                    }
                });
            }
            Some(_) => {
                let sender = message.from;
                self.with(region, |peer, core| peer.tell_gone(core, sender));
            }
            None => self.create(from, message),
        }
    }

    /// A message for a peer that is not here may create it.
    fn create(&mut self, from: StoreId, message: RaftMessage) {
        let buried = self
            .graves
            .get(&message.region)
            .map(|(peer, _)| *peer)
            .unwrap_or_default();
        let is_wanted = !self.herald.is_over() && message.to.peer > buried;
        if !is_wanted || !is_initial(&message.message) {
            return;
        }
        // What overlaps a region that is here waits until that one has made room, perhaps by a split.
        let Some(range) = &message.range else { return };
        if self.is_taken(message.region, range) {
            return self.early.keep(from, message);
        }
        let empty = Region {
            id: message.region,
            epoch: Default::default(),
            range: KeyRange::default(),
            peers: Vec::new(),
        };
        let promised = match self.promises.get(&message.region) {
            Some((peer, _)) if *peer > message.to.peer => return,
            Some((peer, hard)) if *peer == message.to.peer => hard.clone(),
            _ => HardState::default(),
        };
        let machine = Machine::new(empty, message.to.peer, Index(0), 0);
        let peer = Peer::new(&mut self.core, machine, promised, false);
        let region = message.region;
        self.enter(Box::new(peer));
        self.with(region, |peer, core| peer.receive(core, message));
    }

    fn offered(
        &mut self,
        from: StoreId,
        stream: StreamId,
        region: Region,
        clock: u64,
        message: RaftMessage,
    ) {
        let id = region.id;
        let known = self
            .core
            .receiving
            .get(&id)
            .map(|receiving| receiving.stream);
        if known == Some(stream) {
            let mut receiving = self.core.receiving.remove(&id).expect("just seen");
            receiving.pull(&mut self.core);
            self.core.receiving.insert(id, receiving);
            return;
        }
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let mine = region
            .on_store(self.core.me())
            .is_some_and(|info| info.peer == peer.id);
        let index = message.message.get_snapshot().get_metadata().index;
        let sound = message.to.peer == peer.id
            && message.message.from == message.from.peer.0
            && message.message.to == peer.id.0
            && message.from.store == from
            && message
                .message
                .get_snapshot()
                .get_metadata()
                .get_conf_state()
                == &conf_state(&region);
        let useful = index > peer.machine.applied.0 && message.message.term >= peer.term().0;
        let free = matches!(peer.stage, Stage::Normal | Stage::Uninitialized);
        let overlaps = self.is_taken(id, &region.range);
        let room =
            known.is_some() || self.core.receiving.len() < self.core.limits().snapshots_receiving;
        if !mine || !sound || !useful || !free || overlaps || !room || self.core.store.is_full() {
            return;
        }
        if let Some(older) = self.core.receiving.remove(&id) {
            older.abandon(&mut self.core);
        }
        let receiving = Receiving::new(&mut self.core, stream, from, region, clock, message);
        self.core.receiving.insert(id, receiving);
    }

    /// Snapshots whose content is all here go on to their peers.
    pub(super) fn check_received(&mut self) {
        let complete = |receiving: &Receiving| receiving.is_complete();
        let ready: Vec<_> = self
            .core
            .receiving
            .extract_if(.., |_, receiving| complete(receiving))
            .collect();
        for (region, receiving) in ready {
            let mut given = Some(receiving);
            self.with(region, |peer, core| {
                if let Some(receiving) = given.take() {
                    peer.restore(core, receiving);
                }
            });
            if let Some(receiving) = given {
                receiving.abandon(&mut self.core);
            }
        }
    }

    pub(super) fn unreachable(&mut self, store: StoreId) {
        // Nothing of a quiet region is on its way to anybody.
        for region in self.awake.clone() {
            self.with(region, |peer, _| {
                let there = peer.region().on_store(store).map(|info| info.peer.0);
                if let Some(there) = there
                    && peer.leads()
                {
                    peer.node.report_unreachable(there);
                }
            });
        }
    }
}
