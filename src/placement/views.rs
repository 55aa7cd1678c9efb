//! The stores as placement sees them: as they are now, and as they will be when what is under way has been done.

use std::collections::BTreeMap;

use super::balance::Shift;
use super::placement::Placement;
use super::replica_checker::StoreView;
use crate::shard::ids::{PeerId, StoreId};
use crate::shard::region::{Region, Role};
use crate::shard::time::{MILLISECOND, Time};

impl Placement {
    /// Whether a store was heard of just now.
    pub(super) fn is_heard(&self, now: Time, store: StoreId) -> bool {
        let patience = self.options.fit_ms * MILLISECOND;
        let heard = self.heard.get(&store);
        heard.is_some_and(|heard| now.mono.saturating_sub(heard.at) <= patience)
    }

    /// All stores as they are now, and as they will be when what is under way has been done.
    pub(super) fn views(&self, now: Time) -> BTreeMap<StoreId, StoreView> {
        let patience = self.options.down_ms * MILLISECOND;
        let copies = self.copies.by_store();
        let mut views = BTreeMap::new();
        for (store, node) in &self.state.stores {
            let (heard, load) = (self.heard.get(store), self.state.regions.load(*store));
            let coming = copies.get(store).copied().unwrap_or_default();
            let last = heard.map_or(self.begun, |heard| heard.at);
            let drains = self.state.drains(*store);
            let takes_more = heard.is_some_and(|heard| heard.takes_more);
            let view = StoreView {
                node: *node,
                fit: takes_more && self.is_heard(now, *store) && !drains,
                room: coming.to < self.options.copies_in,
                lost: now.mono.saturating_sub(last) > patience,
                load: load.peers + coming.unseen,
                drains,
                leaders: load.leaders,
                requests: load.weight,
                place: self.places.get(node).copied().unwrap_or_default(),
            };
            views.insert(*store, view);
        }
        for (region, errand) in self.errands.iter() {
            let weight = self.state.regions.rate(*region).weight();
            let leader = self.state.regions.leader(*region).map(|info| info.peer);
            // What was done already, and was not told of yet as an end, is counted where it is.
            let goes = match errand.shift {
                Shift::Lead(to) => leader != Some(to),
                Shift::Leave(peer, _) => leader == Some(peer),
                Shift::Fill(..) => false,
            };
            if goes {
                if let Some(from) = errand.from.and_then(|from| views.get_mut(&from)) {
                    from.requests = from.requests.saturating_sub(weight);
                }
                if let Some(to) = views.get_mut(&errand.to) {
                    to.requests += weight;
                }
            }
            let from = errand.from.and_then(|from| views.get_mut(&from));
            match errand.shift {
                Shift::Lead(_) => {
                    if let Some(from) = from {
                        from.leaders = from.leaders.saturating_sub(1);
                    }
                    if let Some(to) = views.get_mut(&errand.to) {
                        to.leaders += 1;
                    }
                }
                // Where it goes it is counted as the copy that is under way.
                Shift::Leave(..) => {
                    if let Some(from) = from {
                        from.load = from.load.saturating_sub(1);
                    }
                }
                Shift::Fill(..) => {}
            }
        }
        views
    }

    /// A voter that makes room, and for whom: one whose node is to be emptied before one that is moved.
    pub(super) fn leaving(&self, region: &Region) -> Option<(PeerId, Option<StoreId>)> {
        let mut voters = region.peers.iter().filter(|info| info.role == Role::Voter);
        if let Some(info) = voters.find(|info| self.state.drains(info.store)) {
            return Some((info.peer, None));
        }
        match self.errands.get(region.id)?.shift {
            Shift::Leave(peer, to) => Some((peer, Some(to))),
            Shift::Lead(_) | Shift::Fill(..) => None,
        }
    }
}
