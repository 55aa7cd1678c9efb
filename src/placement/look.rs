//! What placement does by itself, now and then: it calls stores that are silent, and looks at regions that need not
//! wait for their next heartbeats.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::balance::{DIFFERENCE, Scale, uneven_from};
use super::errands::Cause;
use super::message::RegionStats;
use super::placement::Placement;
use super::replica_checker::StoreView;
use super::spread::is_labelled;
use crate::shard::ids::{NodeId, RegionId, StoreId};
use crate::shard::region::{PeerInfo, Role};
use crate::shard::time::{MILLISECOND, Time};

/// Regions that are looked at together, and the pause between two looks.
const LOOKS: usize = 256;
pub(super) const LOOK_MS: u64 = 200;

/// The pause where nothing was found.
const IDLE_MS: u64 = 1000;

/// Regions of one look that would lie better elsewhere: each changes where the next one lies well.
const SHIFTS: usize = 16;

/// Silent stores that are called at once.
const CALLS: usize = 16;

impl Placement {
    /// Tells some stores that have been silent where all nodes are: perhaps they look for placement where
    /// it was, and nobody else speaks to them.
    pub(super) fn call(&mut self, now: Time) {
        let patience = self.options.fit_ms * MILLISECOND;
        if now.mono < self.calls_at.max(self.begun + patience) {
            return;
        }
        self.calls_at = now.mono + patience;
        let silent = |store: &&StoreId| {
            let heard = self.heard.get(store);
            heard.is_none_or(|heard| now.mono.saturating_sub(heard.at) > patience)
        };
        let behind = (Bound::Excluded(self.called), Bound::Unbounded);
        let stores = self.state.stores.range(behind).map(|(store, _)| store);
        let stores: Vec<StoreId> = stores.filter(silent).take(CALLS).copied().collect();
        self.called = match stores.last() {
            Some(last) if stores.len() == CALLS => *last,
            _ => StoreId(0),
        };
        for store in stores {
            let nodes = self.state.list();
            self.answer(store, nodes);
        }
    }

    /// Looks at some regions that have fewer voters than there are nodes for, lie where nothing should lie, or
    /// could lie better: they need not wait for their next heartbeats.
    pub(super) fn look(&mut self, now: Time) {
        if now.mono < self.looks_at || self.state.paused {
            return;
        }
        self.looks_at = now.mono + LOOK_MS * MILLISECOND;
        let views = self.views(now);
        let fit = || views.values().filter(|view| view.fit);
        let nodes: BTreeSet<NodeId> = fit().map(|view| view.node).collect();
        let wanted = self.options.replicas.min(nodes.len());
        let apart = |count: fn(&StoreView) -> u64| {
            let most = views.values().map(count).max().unwrap_or_default();
            most.saturating_sub(fit().map(count).min().unwrap_or(most))
        };
        let floor = self.options.load_floor * 1000;
        let counts = apart(|view| view.load.into()).max(apart(|view| view.leaders.into()));
        let uneven = counts >= u64::from(DIFFERENCE)
            || apart(|view| view.requests) > uneven_from(&views, floor);
        let lies_badly = is_labelled(&views) || (uneven && self.options.balances);
        let nobody = BTreeSet::new();
        let (mut chosen, mut seen, mut shifts) = (Vec::new(), 0, 0);
        let mut last = RegionId(0);
        for region in self.state.regions.behind(self.looked).take(LOOKS) {
            (seen, last) = (seen + 1, region.id);
            let settled = region.peers.iter().all(|info| info.role == Role::Voter);
            let leader = self.state.regions.leader(region.id);
            let leader = leader.and_then(|info| region.peer(info.peer));
            let under_way =
                self.moves.contains_key(&region.id) || self.errands.get(region.id).is_some();
            let Some(leader) = leader.filter(|_| settled && !under_way) else {
                continue;
            };
            let drains = |info: &PeerInfo| views.get(&info.store).is_some_and(|view| view.drains);
            let short = region.peers.len() < wanted || region.peers.iter().any(drains);
            let rate = self.state.regions.rate(region.id);
            let scale = Scale {
                region,
                leader: leader.peer,
                pending: &nobody,
                silent: &nobody,
                stores: &views,
                weight: rate.weight(),
                weighed: rate.is_known(),
                floor,
            };
            let lies_better = || {
                let rests = self.errands.rests(region.id, now.mono);
                let room = |cause| self.errands.have_room(cause, &self.options);
                let shift = scale.shift();
                shift.is_some_and(|(cause, _)| room(cause) && (cause == Cause::Spread || !rests))
            };
            let shifted = !short && lies_badly && shifts < SHIFTS && lies_better();
            shifts += usize::from(shifted);
            if short || shifted {
                chosen.push((region.clone(), *leader));
            }
        }
        if chosen.is_empty() {
            self.looks_at = now.mono + IDLE_MS * MILLISECOND;
        }
        self.looked = match seen == LOOKS {
            true => last,
            false => RegionId(0),
        };
        for (region, leader) in chosen {
            let to = leader.store;
            let stats = RegionStats::of(region, leader);
            if let Some(operator) = self.region(now, to, &stats) {
                self.answer(to, operator);
            }
        }
    }
}
