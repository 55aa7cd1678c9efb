//! Copies under way: learners that are to become voters, and the stores that they are sent from and to.

use std::collections::BTreeMap;

use crate::shard::ids::{PeerId, RegionId, StoreId};
use crate::shard::region::{PeerInfo, Region, Role};

/// Learners of all regions, as their leaders told of them or as they were told to make them.
#[derive(Debug, Default)]
pub struct Copies {
    learners: BTreeMap<PeerId, Copy>,
}

#[derive(Clone, Copy, Debug)]
struct Copy {
    region: RegionId,
    from: StoreId,
    to: StoreId,
    since: u64,
    /// Whether its region has told of it.
    seen: bool,
}

/// Copies on their way from and to a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From it.
    pub from: u32,
    /// To it.
    pub to: u32,
    /// Those to it that no region has told of yet.
    pub unseen: u32,
}

impl Copies {
    /// A leader on this store is told to make this learner.
    pub fn begin(&mut self, now: u64, region: RegionId, from: StoreId, peer: PeerId, to: StoreId) {
        let copy = Copy {
            region,
            from,
            to,
            since: now,
            seen: false,
        };
        self.learners.insert(peer, copy);
    }

    /// A region is told of, led by that peer.
    pub fn told(&mut self, now: u64, region: &Region, leader: &PeerInfo) {
        for info in &region.peers {
            if info.role != Role::Learner {
                continue;
            }
            let copy = self.learners.entry(info.peer).or_insert(Copy {
                region: region.id,
                from: leader.store,
                to: info.store,
                since: now,
                seen: true,
            });
            (copy.from, copy.seen) = (leader.store, true);
        }
    }

    /// Since when a learner has been there.
    pub fn since(&self, peer: PeerId) -> Option<u64> {
        self.learners.get(&peer).map(|copy| copy.since)
    }

    /// Forgets what is done, gone, or was asked for so long ago that it will not come.
    pub fn forget<'a>(&mut self, before: u64, region: impl Fn(RegionId) -> Option<&'a Region>) {
        self.learners.retain(|peer, copy| {
            let info = region(copy.region).and_then(|region| region.peer(*peer));
            match info {
                Some(info) => info.role == Role::Learner,
                None => !copy.seen && copy.since >= before,
            }
        });
    }

    /// What is on its way from and to each store.
    pub fn by_store(&self) -> BTreeMap<StoreId, Traffic> {
        let mut stores: BTreeMap<StoreId, Traffic> = BTreeMap::new();
        for copy in self.learners.values() {
            stores.entry(copy.from).or_default().from += 1;
            let to = stores.entry(copy.to).or_default();
            to.to += 1;
            to.unseen += u32::from(!copy.seen);
        }
        stores
    }

    /// What is on its way from and to one store.
    pub fn on(&self, store: StoreId) -> Traffic {
        self.by_store().get(&store).copied().unwrap_or_default()
    }
}
