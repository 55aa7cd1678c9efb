//! Leaving: how a peer that was removed goes, and what stays of it.
//!
//! A peer that applies its own removal goes on answering its group until enough of the others know: if
//! it went at once, and the one that knows lost its power, nobody could elect anybody any more. So it
//! asks, and goes when a quorum of the new configuration has said, each for itself and durably, that
//! this peer is not in it. A peer that never learned of its removal asks the same after a while
//! without a leader.
//!
//! ```text
//! asked ─▶ rotated: what it applied is in tables ─▶ tombstone durable ─▶ content cut ─▶ over
//! ```

use std::collections::BTreeMap;

use coracle_engine::store::Refusal;

use super::core::{Core, Release};
use super::error::Error;
use super::ids::PeerId;
use super::message::PeerMessage;
use super::meta::State;
use super::mutant::Mutant;
use super::observe::Observation;
use super::peer::{Changing, Destroying, Peer, Stage};
use super::region::{PeerInfo, Region};
use crate::placement;

/// Who has said that this peer is no longer in the region.
#[derive(Debug, Default)]
pub struct Farewell {
    /// The newest region that was told of.
    region: Option<Region>,
    /// Who has told, as of which change of the peers.
    told: BTreeMap<PeerId, u64>,
}

impl Farewell {
    /// Notes what a peer says; whether a quorum has said so now.
    fn note(&mut self, from: PeerId, region: Region) -> bool {
        self.told.insert(from, region.epoch.conf_ver);
        let newer = self
            .region
            .as_ref()
            .is_none_or(|known| known.epoch.conf_ver < region.epoch.conf_ver);
        if newer {
            self.region = Some(region);
        }
        let newest = self.region.as_ref().expect("just set");
        let voters = |votes: fn(&PeerInfo) -> bool| {
            let all: Vec<_> = newest.peers.iter().filter(|info| votes(info)).collect();
            let told = all
                .iter()
                .filter(|info| self.told.contains_key(&info.peer))
                .count();
            all.is_empty() || told * 2 > all.len()
        };
        let joint = newest.is_joint();
        voters(|info| info.role.votes_after())
            && (!joint || voters(|info| info.role.votes_before()))
    }
}

impl Peer {
    /// It has applied its own removal.
    pub fn removed(&mut self, core: &mut Core) {
        self.stage = Stage::Leaving;
        if self.leads() {
            self.node.raft.become_follower(self.node.raft.term, 0);
            self.lease.reset();
        }
        let error = Error::RegionMoved(self.region_id());
        self.reads_over(core, &error);
        self.leaderless = 0;
        self.ask_whether_gone(core);
    }

    /// Asks everyone it knows whether it is still in the region.
    pub fn ask_whether_gone(&mut self, core: &mut Core) {
        let region = self.region_id();
        let (from, epoch) = (self.info(core), self.region().epoch);
        let mut known: BTreeMap<PeerId, _> = self.contacts.clone();
        known.extend(
            self.region()
                .peers
                .iter()
                .map(|info| (info.peer, info.store)),
        );
        if let Some(newest) = &self.farewell.region {
            known.extend(newest.peers.iter().map(|info| (info.peer, info.store)));
        }
        let me = core.me();
        let stores: std::collections::BTreeSet<_> =
            known.into_values().filter(|store| *store != me).collect();
        for store in stores {
            core.send(
                store,
                PeerMessage::AmIGone {
                    region,
                    from,
                    epoch,
                },
            );
        }
    }

    /// Tells a peer that it is not in the region, if that is so here, durably.
    pub fn tell_gone(&mut self, core: &mut Core, to: PeerInfo) {
        let here = self.region();
        let serves = matches!(self.stage, Stage::Normal | Stage::Leaving);
        if !self.is_initialized() || !serves || here.peer(to.peer).is_some() {
            return;
        }
        let message = PeerMessage::Gone {
            region: here.clone(),
            from: self.info(core),
            to: to.peer,
        };
        core.send(to.store, message);
    }

    /// Another peer says that this one is not in the region any more.
    pub fn told_gone(&mut self, core: &mut Core, from: PeerInfo, region: Region) {
        let stale = self.is_initialized()
            && region.epoch.conf_ver <= self.region().epoch.conf_ver
            && !matches!(self.stage, Stage::Leaving);
        // Whoever answers knows others, and one of them knows best: also where its own word counts for
        // nothing, since it has gone itself, or left before this peer did.
        let before = self.contacts.len();
        self.meet(from);
        region.peers.iter().for_each(|info| self.meet(*info));
        if self.contacts.len() > before {
            self.ask_whether_gone(core);
        }
        if stale || region.peer(self.id).is_some() || region.peer(from.peer).is_none() {
            return;
        }
        let known = self.farewell.told.len();
        if self.farewell.note(from.peer, region) {
            self.destroy(core);
        } else if self.farewell.told.len() > known {
            self.ask_whether_gone(core);
        }
    }

    /// Asks placement, which knows the region's peers where this one knows nobody that answers.
    pub fn ask_placement_whether_gone(&mut self, core: &mut Core) {
        if core.is_placed() {
            core.to_placement.push(placement::Message::ValidatePeer {
                region: self.region_id(),
                peer: self.info(core),
                epoch: self.region().epoch,
            });
        }
    }

    /// Placement knows the region without this peer. It has that from one leader only, so its word does
    /// not count for a quorum's: but it names those whose word does, and they are asked.
    pub fn told_by_placement(&mut self, core: &mut Core, region: Region) {
        let stale = self.is_initialized() && region.epoch.conf_ver <= self.region().epoch.conf_ver;
        if stale || region.id != self.region_id() || region.peer(self.id).is_some() {
            return;
        }
        let newer = self
            .farewell
            .region
            .as_ref()
            .is_none_or(|known| known.epoch.conf_ver < region.epoch.conf_ver);
        if newer {
            self.farewell.region = Some(region);
        }
        if core.breaks(Mutant::TrustVerdict) {
            return self.destroy(core);
        }
        self.ask_whether_gone(core);
    }

    /// The region as this peer knows it last, perhaps only from others: whoever asks its grave is told.
    pub fn last_known(&self) -> &Region {
        match &self.farewell.region {
            Some(newest) if newest.epoch.conf_ver > self.region().epoch.conf_ver => newest,
            _ => self.region(),
        }
    }

    /// Begins to go.
    pub fn destroy(&mut self, core: &mut Core) {
        self.stop_changing();
        // A split that is on its way into the log happens first; whoever says so says it again.
        let splits = matches!(self.changing, Some(Changing::Split(_)));
        if matches!(self.stage, Stage::Destroying(_)) || splits {
            return;
        }
        self.stage = Stage::Destroying(Destroying::Asked);
        self.machine.clear();
        let error = Error::RegionNotFound(self.region_id());
        self.proposals_over(core, &error);
        self.reads_over(core, &error);
        self.dirty = true;
    }

    /// Goes on going.
    pub fn go(&mut self, core: &mut Core) {
        let Stage::Destroying(mut step) = self.stage else {
            return;
        };
        let region = self.region_id();
        let before = step;
        if !core.has_room_for_state() {
            return;
        }
        match step {
            Destroying::Asked => {
                if self.is_initialized() && !core.breaks(Mutant::NoCheckpoint) {
                    core.rotation_wanted = true;
                } else {
                    step = Destroying::Tombstone(self.bury(core));
                }
            }
            Destroying::Checkpoint(rotation) if core.store.is_durable(rotation) => {
                step = Destroying::Tombstone(self.bury(core));
            }
            Destroying::Tombstone(lsn) if lsn <= core.durable() => {
                core.ownership_changed = true;
                let peer = self.id;
                core.observe(|| Observation::Destroyed { region, peer });
                step = match self.is_initialized() {
                    true => Destroying::Cut,
                    false => Destroying::Over,
                };
            }
            Destroying::Cut => {
                let ranges = vec![self.region().range.clone()];
                let forget = vec![(region.in_store(), self.id.in_store())];
                match core.store.destroy(ranges, forget) {
                    Ok(cut) => step = Destroying::Cutting(cut),
                    Err(Refusal::StillInMemory) => core.rotation_wanted = true,
                    Err(_) => {}
                }
            }
            _ => {}
        }
        self.stage = Stage::Destroying(step);
        core.burials |= step == Destroying::Over;
        self.dirty |= step != before && step != Destroying::Over;
    }

    /// The tombstone: written before anything of the peer's content goes.
    fn bury(&mut self, core: &mut Core) -> coracle_wal::Lsn {
        // The log begins at zero again: a later peer of the region must not take the old end for its own.
        let mut meta = self.meta(State::Tombstone);
        meta.region = self.last_known().clone();
        let lsn = core.write_meta(&meta, (0, 0), true);
        self.last_lsn = lsn;
        core.release(Release {
            lsn,
            region: self.region_id(),
            ready: None,
            messages: Vec::new(),
        });
        lsn
    }
}
