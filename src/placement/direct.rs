//! What the leader of a region is told when it has told of the region: the next step of it, if there is one.
//!
//! ```text
//! paused      → leave a joint configuration, and nothing else
//! a step that it was told and that has not been made → the same again
//! something lacks (`replica_checker.rs`)             → the step towards it
//! nothing lacks                                      → what is under way with it, or what would lie better
//! ```

use std::collections::BTreeSet;
use std::fmt;

use super::balance::{Scale, Shift};
use super::errands::{Cause, Errand};
use super::message::{Message, Operator, RegionStats};
use super::placement::Placement;
use super::registry::Put;
use super::replica_checker::{Picture, Step, is_crowded};
use crate::shard::ids::{PeerId, RegionId, StoreId, Term};
use crate::shard::limits::KEY_BYTES_MAX;
use crate::shard::membership::Change;
use crate::shard::meta::PEERS_MAX;
use crate::shard::region::{Epoch, PeerInfo, Region, Role};
use crate::shard::request::PeerChange;
use crate::shard::time::{MILLISECOND, Time};

/// A change of peers that a leader was told to make.
#[derive(Debug)]
pub(super) struct Move {
    /// Under which epoch.
    pub(super) epoch: Epoch,
    /// Since when.
    pub(super) since: u64,
    changes: Vec<PeerChange>,
}

impl fmt::Display for Move {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes.is_empty() {
            return out.write_str("the joint configuration is left");
        }
        for (place, change) in self.changes.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            match change {
                PeerChange::Remove(peer) => write!(out, "{comma}peer {peer} goes")?,
                PeerChange::Put(info) if info.role == Role::Learner => {
                    write!(
                        out,
                        "{comma}peer {} on store {} learns",
                        info.peer, info.store
                    )?;
                }
                PeerChange::Put(info) => {
                    write!(
                        out,
                        "{comma}peer {} on store {} votes",
                        info.peer, info.store
                    )?;
                }
            }
        }
        Ok(())
    }
}

impl Placement {
    /// A region is told of: what its leader should do.
    pub(super) fn region(
        &mut self,
        now: Time,
        from: StoreId,
        stats: &RegionStats,
    ) -> Option<Message> {
        let (region, leader) = (&stats.region, &stats.leader);
        let known = region.peer(leader.peer);
        let leads = known.is_some_and(|info| info.store == from);
        if !leads || !is_sound(region) || self.state.put_region(region) == Put::Stale {
            return None;
        }
        self.state.regions.set_leader(region.id, *leader);
        let (asked, light) = (stats.requests, self.options.light());
        self.state
            .regions
            .asked(region.id, asked, stats.interval_ms, light);
        // Who only looks at what is known tells no figures.
        if stats.term > Term(0) {
            self.state.regions.told(now.mono, stats);
        }
        self.copies.told(now.mono, region, leader);
        self.errands
            .told(now.mono, &self.options, region, leader.peer);
        if self.state.paused && !region.is_joint() {
            return None;
        }
        let silent = |ms: u64| move |since: u64| now.mono.saturating_sub(since) > ms * MILLISECOND;
        let timed_out = silent(self.options.operator_ms);
        if let Some(step) = self.moves.get(&region.id) {
            if step.epoch == region.epoch && !timed_out(step.since) {
                return Some(change(region, step.changes.clone()));
            }
            self.moves.remove(&region.id);
        }
        let stores = self.views(now);
        let down = stats.down_peers.iter();
        let down = down.filter(|(_, ms)| *ms > self.options.down_ms);
        let slow = silent(self.options.learner_ms);
        let late = |peer: &&PeerId| self.copies.since(**peer).is_some_and(slow);
        let overdue = stats.pending_peers.iter().filter(late).copied().collect();
        let (down, pending) = (
            down.map(|(peer, _)| *peer).collect(),
            stats.pending_peers.iter().copied().collect(),
        );
        let mut picture = Picture {
            region,
            leader: leader.peer,
            down: &down,
            pending: &pending,
            overdue: &overdue,
            stores: &stores,
            wanted: self.options.replicas,
            leaving: self.leaving(region),
        };
        let step = match picture.step() {
            Some(step) => step,
            None => {
                let silent = stats.down_peers.iter().map(|(peer, _)| *peer).collect();
                let rate = self.state.regions.rate(region.id);
                let scale = Scale {
                    region,
                    leader: leader.peer,
                    pending: &pending,
                    silent: &silent,
                    stores: &stores,
                    weight: rate.weight(),
                    weighed: rate.is_known(),
                    floor: self.options.load_floor * 1000,
                };
                let shift = match self.errands.get(region.id) {
                    Some(errand) => Some(errand.shift),
                    None => self.shift(now, &scale),
                };
                match (scale.abdicate(), shift) {
                    (Some(to), _) | (None, Some(Shift::Lead(to))) => Step::Transfer(to),
                    (None, _) => {
                        picture.leaving = self.leaving(region);
                        picture.step()?
                    }
                }
            }
        };
        let changes = match step {
            Step::Transfer(to) => {
                return Some(Message::Operator(Operator::TransferLeader {
                    region: region.id,
                    epoch: region.epoch,
                    to,
                }));
            }
            Step::Change(changes) => changes,
            Step::AddLearner(store) => {
                let gone = picture.gone();
                vec![self.copy(now, region, leader, store, gone)?]
            }
        };
        let proposed = Change {
            epoch: region.epoch,
            changes: changes.clone(),
        };
        let node = |store: StoreId| self.state.stores.get(&store).copied();
        let after = proposed.apply(region).ok()?;
        assert!(
            is_crowded(region, node) || !is_crowded(&after, node),
            "a step put two voters of {region} on one node: {changes:?}"
        );
        self.moves.insert(
            region.id,
            Move {
                epoch: region.epoch,
                since: now.mono,
                changes: changes.clone(),
            },
        );
        Some(change(region, changes))
    }

    /// Begins a copy to a store, if there is room for one more: at the leader, which sends it, and in what is
    /// done at once for its cause. `gone` is the store of a voter that is lost.
    fn copy(
        &mut self,
        now: Time,
        region: &Region,
        leader: &PeerInfo,
        store: StoreId,
        gone: Option<StoreId>,
    ) -> Option<PeerChange> {
        if self.copies.on(leader.store).from >= self.options.copies_out {
            return None;
        }
        let peers = &region.peers;
        let drains = peers.iter().find(|info| self.state.drains(info.store));
        let cause = match (gone, drains) {
            (None, Some(_)) => Cause::Drain,
            _ => Cause::Replace,
        };
        let moves = self.errands.get(region.id).is_some();
        if !moves && !self.errands.have_room(cause, &self.options) {
            return None;
        }
        let peer = PeerId(self.state.allocate(1));
        self.copies
            .begin(now.mono, region.id, leader.store, peer, store);
        if !moves {
            let errand = Errand {
                cause,
                shift: Shift::Fill(peer, store),
                from: gone.or(drains.map(|info| info.store)),
                to: store,
                since: now.mono,
                seen: false,
            };
            self.errands.begin(region.id, errand);
        }
        Some(PeerChange::Put(PeerInfo {
            peer,
            store,
            role: Role::Learner,
        }))
    }

    /// Begins to even out what a region lies heavy on, if that helps.
    fn shift(&mut self, now: Time, scale: &Scale<'_>) -> Option<Shift> {
        let region = scale.region;
        let (cause, shift) = scale.shift()?;
        let evens = self.options.balances && !self.errands.rests(region.id, now.mono);
        if (cause != Cause::Spread && !evens) || !self.errands.have_room(cause, &self.options) {
            return None;
        }
        self.begin(now, cause, region.id, shift, scale.leader)?;
        Some(shift)
    }

    /// Begins an errand with a region, if its peers are there.
    pub(super) fn begin(
        &mut self,
        now: Time,
        cause: Cause,
        region: RegionId,
        shift: Shift,
        leader: PeerId,
    ) -> Option<()> {
        let peers = self.state.regions.get(region)?;
        let store = |peer: PeerId| peers.peer(peer).map(|info| info.store);
        let (from, to) = match shift {
            Shift::Lead(peer) => (store(leader)?, store(peer)?),
            Shift::Leave(peer, to) | Shift::Fill(peer, to) => (store(peer)?, to),
        };
        let errand = Errand {
            cause,
            shift,
            from: Some(from),
            to,
            since: now.mono,
            seen: false,
        };
        self.errands.begin(region, errand);
        Some(())
    }
}

/// Whether a region is one that can be kept: no leader tells of others.
fn is_sound(region: &Region) -> bool {
    let range = &region.range;
    let keys = [&range.start, &range.limit];
    let peers = region.peers.iter();
    let stores: BTreeSet<StoreId> = peers.map(|info| info.store).collect();
    region.peers.len() <= PEERS_MAX
        && stores.len() == region.peers.len()
        && keys.iter().all(|key| key.len() <= KEY_BYTES_MAX)
        && (range.limit.is_empty() || range.start < range.limit)
}

fn change(region: &Region, changes: Vec<PeerChange>) -> Message {
    Message::Operator(Operator::ChangePeers {
        region: region.id,
        epoch: region.epoch,
        changes,
    })
}
