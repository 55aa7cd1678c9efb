//! Where a region lies heavier than it need, and what would even it out. Pure: the same scale, the same shift.
//!
//! ```text
//! its leader's store leads two regions more than a voter's  → that voter leads: nothing is copied
//! a voter's store has two peers more than one that fits     → the voter leaves for that store
//! ```
//!
//! A difference of one is no reason: what moved would come back. A store fits if it may be given more, and
//! if its node has no other voter of the region; so a peer moves between the cores of a node, too. Only
//! regions that lack nothing are moved, and never placement's own.

use std::collections::{BTreeMap, BTreeSet};

use super::replica_checker::StoreView;
use crate::shard::ids::{NodeId, PeerId, RegionId, StoreId};
use crate::shard::region::{PeerInfo, Region, Role};

/// From here on a difference is worth a move.
pub const DIFFERENCE: u32 = 2;

/// A region that lacks nothing, on the stores that it may lie on.
#[derive(Clone, Debug)]
pub struct Scale<'a> {
    /// Its range, epoch and peers.
    pub region: &'a Region,
    /// Who leads it.
    pub leader: PeerId,
    /// Peers that cannot follow yet.
    pub pending: &'a BTreeSet<PeerId>,
    /// Peers that have been silent, for however short.
    pub silent: &'a BTreeSet<PeerId>,
    /// Stores by id.
    pub stores: &'a BTreeMap<StoreId, StoreView>,
}

/// What evens it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// This peer leads.
    Lead(PeerId),
    /// This peer leaves for that store.
    Leave(PeerId, StoreId),
    /// This new peer on that store takes a place that is free, or is to be.
    Fill(PeerId, StoreId),
}

impl Scale<'_> {
    /// The shift that helps most, if one helps.
    pub fn shift(&self) -> Option<Shift> {
        let all_vote = |info: &PeerInfo| info.role == Role::Voter;
        if self.region.id < RegionId::FIRST_USER || !self.region.peers.iter().all(all_vote) {
            return None;
        }
        self.lead().or_else(|| self.leave())
    }

    fn view(&self, info: &PeerInfo) -> Option<&StoreView> {
        self.stores.get(&info.store)
    }

    /// Who should lead instead, if the leader's store is to be emptied: it need not wait for the peer's turn.
    pub fn abdicate(&self) -> Option<PeerId> {
        let leader = self.region.peer(self.leader)?;
        let drains = self.view(leader).is_some_and(|view| view.drains);
        self.heir().filter(|_| drains).map(|(_, heir)| heir)
    }

    fn lead(&self) -> Option<Shift> {
        let leader = self.region.peer(self.leader)?;
        let leads = self.view(leader)?.leaders;
        let (least, heir) = self.heir()?;
        (leads >= least + DIFFERENCE).then_some(Shift::Lead(heir))
    }

    /// The voter on the store that leads least, and how many it leads.
    fn heir(&self) -> Option<(u32, PeerId)> {
        let heirs = self.region.peers.iter().filter_map(|info| {
            let able = info.peer != self.leader
                && info.role == Role::Voter
                && !self.pending.contains(&info.peer)
                && !self.silent.contains(&info.peer);
            let view = self.view(info).filter(|view| able && view.fit)?;
            Some((view.leaders, info.peer))
        });
        heirs.min()
    }

    fn leave(&self) -> Option<Shift> {
        let mut moves: Vec<(u32, bool, PeerId, StoreId)> = Vec::new();
        for info in &self.region.peers {
            let Some(view) = self.view(info) else {
                continue;
            };
            let others = self.region.peers.iter().filter(|o| o.peer != info.peer);
            let taken: BTreeSet<NodeId> = others
                .filter_map(|o| self.view(o))
                .map(|v| v.node)
                .collect();
            let fits = |(store, to): &(&StoreId, &StoreView)| {
                to.fit
                    && to.room
                    && !taken.contains(&to.node)
                    && self.region.on_store(**store).is_none()
            };
            let targets = self.stores.iter().filter(fits);
            let Some((store, to)) = targets.min_by_key(|(store, to)| (to.load, **store)) else {
                continue;
            };
            if view.load >= to.load + DIFFERENCE {
                let follows = info.peer != self.leader;
                moves.push((view.load - to.load, follows, info.peer, *store));
            }
        }
        // The greatest difference; among equals a follower, whose going nobody notices.
        let best = moves
            .into_iter()
            .max_by_key(|(by, follows, peer, _)| (*by, *follows, std::cmp::Reverse(*peer)));
        best.map(|(_, _, peer, store)| Shift::Leave(peer, store))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::region::Epoch;
    use coracle_engine::record::KeyRange;

    /// Stores as `store:peers/leaders`, store s on node s / 10, `-` behind it: gets no more, `x`: is to be emptied. Peers as
    /// `peer@store`, `?` behind one: pending, `!`: silent. The first leads.
    fn run(stores: &str, peers: &str) -> String {
        let (mut pending, mut silent) = (BTreeSet::new(), BTreeSet::new());
        let number = |text: &str| text.parse::<u64>().expect("a number");
        let infos = peers.split(' ').map(|text| {
            let (peer, store) = text
                .trim_end_matches(['?', '!'])
                .split_once('@')
                .expect("peer@store");
            let peer = PeerId(number(peer));
            text.ends_with('?').then(|| pending.insert(peer));
            text.ends_with('!').then(|| silent.insert(peer));
            PeerInfo {
                peer,
                store: StoreId(number(store)),
                role: Role::Voter,
            }
        });
        let infos: Vec<PeerInfo> = infos.collect();
        let views = stores.split(' ').map(|text| {
            let (store, counts) = text
                .trim_end_matches(['-', 'x'])
                .split_once(':')
                .expect("store:counts");
            let (load, leaders) = counts.split_once('/').expect("peers/leaders");
            let view = StoreView {
                node: NodeId(number(store) / 10),
                fit: !text.ends_with(['-', 'x']),
                room: true,
                lost: false,
                drains: text.ends_with('x'),
                load: number(load) as u32,
                leaders: number(leaders) as u32,
            };
            (StoreId(number(store)), view)
        });
        let region = Region {
            id: RegionId(5),
            epoch: Epoch::default(),
            range: KeyRange::all(),
            peers: infos.clone(),
        };
        let scale = Scale {
            region: &region,
            leader: infos[0].peer,
            pending: &pending,
            silent: &silent,
            stores: &views.collect(),
        };
        if let Some(heir) = scale.abdicate() {
            return format!("{heir} instead");
        }
        match scale.shift() {
            None => "nothing".into(),
            Some(Shift::Lead(peer)) => format!("{peer} leads"),
            Some(Shift::Leave(peer, store) | Shift::Fill(peer, store)) => {
                format!("{peer} to {store}")
            }
        }
    }

    #[test]
    fn transcript() {
        let script = "
            10:1/1 20:1/0 30:1/0 | 1@10 2@20 3@30 | nothing
            10:2/2 20:2/0 30:2/0 | 1@10 2@20 3@30 | 2 leads
            10:2/2 20:2/0 30:2/0 | 1@10 2@20? 3@30 | 3 leads
            10:2/2 20:2/0 30:2/0 | 1@10 2@20! 3@30? | nothing
            10:2/2 20:2/0- 30:2/1 | 1@10 2@20 3@30 | nothing
            10:1/1x 20:1/0 30:1/0 | 1@10 2@20 3@30 | 2 instead
            10:1/1x 20:1/0x 30:1/0- | 1@10 2@20 3@30 | nothing
            10:1/1 20:9/0x 30:1/0 40:0/0 | 1@10 2@20 3@30 | 2 to 40
            10:9/3 20:2/2 30:2/1 | 1@10 2@20 3@30 | 3 leads
            10:2/1 11:0/0 | 1@10 | 1 to 11
            10:1/1 11:0/0 | 1@10 | nothing
            10:2/1 11:0/0- | 1@10 | nothing
            10:2/1 20:2/1 30:2/0 11:0/0 | 1@10 2@20 3@30 | 1 to 11
            10:2/1 20:2/1 30:2/0 21:0/0 | 1@10 2@20 3@30 | 2 to 21
            10:2/1 20:2/1 30:2/0 40:0/0 | 1@10 2@20 3@30 | 2 to 40
            10:3/1 20:2/1 30:2/0 40:0/0 | 1@10 2@20 3@30 | 1 to 40
            10:2/1 20:2/1 30:2/0 40:1/0 | 1@10 2@20 3@30 | nothing
            10:5/1 20:5/1 30:1/0 31:4/0 | 1@10 2@20 3@31 | 3 to 30";
        for line in script.lines().filter(|line| !line.trim().is_empty()) {
            let parts: Vec<&str> = line.split('|').map(str::trim).collect();
            assert_eq!(run(parts[0], parts[1]), parts[2], "{line}");
        }
    }
}
