//! What placement does by itself, now and then: it calls stores that are silent, and looks at regions that need not
//! wait for their next heartbeats.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::balance::DIFFERENCE;
use super::errands::Cause;
use super::message::RegionStats;
use super::placement::Placement;
use super::replica_checker::StoreView;
use crate::shard::ids::{NodeId, RegionId, StoreId};
use crate::shard::region::{PeerInfo, Role};
use crate::shard::time::{MILLISECOND, Time};

/// Regions that are looked at together, and the pause between two looks.
const LOOKS: usize = 256;
pub(super) const LOOK_MS: u64 = 200;

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
            heard.is_none_or(|(at, _)| now.mono.saturating_sub(*at) > patience)
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
        let spread = |count: fn(&StoreView) -> u32| {
            let most = views.values().map(count).max().unwrap_or_default();
            most.saturating_sub(fit().map(count).min().unwrap_or(most))
        };
        let uneven = spread(|view| view.load).max(spread(|view| view.leaders)) >= DIFFERENCE;
        let under_way = self.errands.count(Cause::Count);
        let room = self.options.moves_max.saturating_sub(under_way);
        let mut even_out = match uneven && self.options.balances {
            true => room,
            false => 0,
        };
        let (mut chosen, mut seen) = (Vec::new(), 0);
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
            if short || even_out > 0 {
                even_out = even_out.saturating_sub(usize::from(!short));
                chosen.push((region.clone(), *leader));
            }
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
