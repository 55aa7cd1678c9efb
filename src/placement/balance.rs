//! Where a region lies worse than it need, and what would help. Pure: the same scale, the same shift.
//!
//! ```text
//! its voters could be spread over more zones, racks       → one of them leaves for such a store
//! its leader's store leads two regions more than a voter's → that voter leads: nothing is copied
//! a voter's store has two peers more than one that fits    → the voter leaves for that store
//! its leader's store is asked for more than a voter's      → that voter leads
//!                                     … than one that fits → the leader leaves for that store, and leads there
//! ```
//!
//! A difference of one is no reason: what moved would come back. A store fits if it may be given more, and
//! if its node has no other voter of the region; so a peer moves between the cores of a node, too. Only
//! regions that lack nothing are moved, and placement's own only to spread it.
//!
//! **These do not undo each other.** Whatever is moved stays as widely spread as it was. What is moved to even out
//! numbers brings loads closer together, too, or weighs nothing; what is moved to even out loads may make numbers
//! less even, and what weighs nothing makes up for that. So of spread, loads and numbers, in this order, each
//! shift makes one better and none before it worse: under loads that stay, this comes to an end.

use std::collections::{BTreeMap, BTreeSet};

use super::errands::Cause;
use super::replica_checker::StoreView;
use super::spread::{Isolation, is_labelled, isolation};
use crate::shard::ids::{NodeId, PeerId, RegionId, StoreId};
use crate::shard::region::{PeerInfo, Region, Role};

/// From here on a difference of numbers is worth a move.
pub const DIFFERENCE: u32 = 2;

/// A difference of loads is worth a move from this part of what a store has on average on …
const UNEVEN_PART: u64 = 5;

/// … and if what is moved helps by this part of it.
const GAIN_PART: u64 = 32;

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
    /// How much is asked of it, in thousandths of a request per second; 0: it does not matter.
    pub weight: u64,
    /// Whether that is known well enough to move it for that.
    pub weighed: bool,
    /// What stores have to be asked for before it matters that others are asked for less.
    pub floor: u64,
}

/// What helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// This peer leads.
    Lead(PeerId),
    /// This peer leaves for that store.
    Leave(PeerId, StoreId),
    /// This new peer on that store takes a place that is free, or is to be.
    Fill(PeerId, StoreId),
}

/// From which difference of loads on something is to be moved.
pub fn uneven_from(stores: &BTreeMap<StoreId, StoreView>, floor: u64) -> u64 {
    let fit = stores.values().filter(|view| view.fit).count() as u64;
    let all: u64 = stores.values().map(|view| view.requests).sum();
    (all / fit.max(1) / UNEVEN_PART).max(floor)
}

impl Scale<'_> {
    /// The shift that helps most, if one helps, and why.
    pub fn shift(&self) -> Option<(Cause, Shift)> {
        let all_vote = |info: &PeerInfo| info.role == Role::Voter;
        if !self.region.peers.iter().all(all_vote) {
            return None;
        }
        let count = || self.lead().or_else(|| self.leave());
        let spread = self.spread().map(|shift| (Cause::Spread, shift));
        if spread.is_some() || self.region.id < RegionId::FIRST_USER {
            return spread;
        }
        count()
            .map(|shift| (Cause::Count, shift))
            .or_else(|| self.relieve().map(|shift| (Cause::Load, shift)))
    }

    fn view(&self, info: &PeerInfo) -> Option<&StoreView> {
        self.stores.get(&info.store)
    }

    /// Who should lead instead, if the leader's store is to be emptied: it need not wait for the peer's turn.
    pub fn abdicate(&self) -> Option<PeerId> {
        let leader = self.region.peer(self.leader)?;
        let drains = self.view(leader).is_some_and(|view| view.drains);
        let heirs = self.heirs().filter(|_| drains);
        let least = heirs.min_by_key(|(peer, view)| (view.leaders, *peer));
        least.map(|(heir, _)| heir)
    }

    /// Whether loads are no further apart when so much has moved.
    fn allows(weight: u64, from: &StoreView, to: &StoreView) -> bool {
        weight == 0 || from.requests >= to.requests + weight
    }

    fn lead(&self) -> Option<Shift> {
        let from = self.view(self.region.peer(self.leader)?)?;
        let allowed = |(_, to): &(PeerId, &StoreView)| Self::allows(self.weight, from, to);
        let heirs = self.heirs().filter(allowed);
        let (heir, to) = heirs.min_by_key(|(peer, view)| (view.leaders, *peer))?;
        (from.leaders >= to.leaders + DIFFERENCE).then_some(Shift::Lead(heir))
    }

    /// Voters that might lead as well.
    fn heirs(&self) -> impl Iterator<Item = (PeerId, &StoreView)> {
        self.region.peers.iter().filter_map(|info| {
            let able = info.peer != self.leader
                && info.role == Role::Voter
                && !self.pending.contains(&info.peer)
                && !self.silent.contains(&info.peer);
            let view = self.view(info).filter(|view| able && view.fit)?;
            Some((info.peer, view))
        })
    }

    /// Stores to which a peer may leave, and how widely the region is spread then.
    fn targets(&self, leaves: PeerId) -> impl Iterator<Item = (StoreId, &StoreView, Isolation)> {
        let others = self.region.peers.iter().filter(move |o| o.peer != leaves);
        let others: Vec<&PeerInfo> = others.collect();
        let nodes = others.iter().filter_map(|o| self.view(o));
        let taken: BTreeSet<NodeId> = nodes.map(|view| view.node).collect();
        self.stores.iter().filter_map(move |(store, to)| {
            let fits = to.fit
                && to.room
                && !taken.contains(&to.node)
                && self.region.on_store(*store).is_none();
            let on = others.iter().map(|info| info.store);
            fits.then(|| (*store, to, isolation(self.stores, on.chain([*store]))))
        })
    }

    fn isolation(&self) -> Isolation {
        let on = self.region.peers.iter().map(|info| info.store);
        isolation(self.stores, on)
    }

    /// Spreads voters over more places.
    fn spread(&self) -> Option<Shift> {
        if !is_labelled(self.stores) {
            return None;
        }
        let now = self.isolation();
        let mut moves = Vec::new();
        for info in &self.region.peers {
            let follows = info.peer != self.leader;
            let better = self.targets(info.peer).filter(|(_, _, then)| *then > now);
            moves.extend(better.map(|(store, to, then)| {
                let rank = (
                    then,
                    follows,
                    std::cmp::Reverse((to.load, store, info.peer)),
                );
                (rank, info.peer, store)
            }));
        }
        let best = moves.into_iter().max_by_key(|(rank, ..)| *rank);
        best.map(|(_, peer, store)| Shift::Leave(peer, store))
    }

    fn leave(&self) -> Option<Shift> {
        let now = self.isolation();
        let mut moves: Vec<(u32, bool, PeerId, StoreId)> = Vec::new();
        for info in &self.region.peers {
            let Some(view) = self.view(info) else {
                continue;
            };
            let follows = info.peer != self.leader;
            let weight = if follows { 0 } else { self.weight };
            let targets = self
                .targets(info.peer)
                .filter(|(_, to, then)| *then >= now && Self::allows(weight, view, to));
            let Some((store, to, _)) = targets.min_by_key(|(store, to, _)| (to.load, *store))
            else {
                continue;
            };
            if view.load >= to.load + DIFFERENCE {
                moves.push((view.load - to.load, follows, info.peer, store));
            }
        }
        // The greatest difference; among equals a follower, whose going nobody notices.
        let best = moves
            .into_iter()
            .max_by_key(|(by, follows, peer, _)| (*by, *follows, std::cmp::Reverse(*peer)));
        best.map(|(_, _, peer, store)| Shift::Leave(peer, store))
    }

    /// Takes load from the leader's store.
    fn relieve(&self) -> Option<Shift> {
        if self.weight == 0 || !self.weighed {
            return None;
        }
        let leader = self.region.peer(self.leader)?;
        let from = self.view(leader)?;
        let uneven = uneven_from(self.stores, self.floor);
        let helps = |to: &StoreView| {
            let apart = from.requests.saturating_sub(to.requests);
            let gain = self.weight.min(apart.saturating_sub(self.weight));
            apart > uneven && gain >= (uneven * UNEVEN_PART / GAIN_PART).max(1)
        };
        let heirs = self.heirs().filter(|(_, to)| helps(to));
        if let Some((heir, _)) = heirs.min_by_key(|(peer, to)| (to.requests, *peer)) {
            return Some(Shift::Lead(heir));
        }
        let now = self.isolation();
        let targets = self.targets(self.leader);
        let targets = targets.filter(|(_, to, then)| *then >= now && helps(to));
        let least = targets.min_by_key(|(store, to, _)| (to.requests, *store));
        least.map(|(store, ..)| Shift::Leave(self.leader, store))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::spread::Place;
    use crate::shard::region::Epoch;
    use coracle_engine::record::KeyRange;

    /// Stores as `store:peers/leaders`, and perhaps `/requests`, store s on node s / 10 in zone s / 100, `-` behind it:
    /// gets no more, `x`: is to be emptied. Peers as `peer@store`, `?` behind one: pending, `!`: silent. The first
    /// leads, and is asked for `weight` requests.
    fn run(id: u64, stores: &str, peers: &str, weight: &str) -> String {
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
            let (load, rest) = counts.split_once('/').expect("peers/leaders");
            let (leaders, requests) = rest.split_once('/').unwrap_or((rest, "0"));
            let view = StoreView {
                requests: number(requests),
                place: Place([number(store) as u32 / 100, 0, 0, 0]),
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
            id: RegionId(id),
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
            weight: number(weight),
            weighed: true,
            floor: 10,
        };
        if let Some(heir) = scale.abdicate() {
            return format!("{heir} instead");
        }
        match scale.shift() {
            None => "nothing".into(),
            Some((cause, Shift::Lead(peer))) => format!("{peer} leads: {}", cause.word()),
            Some((cause, Shift::Leave(peer, store) | Shift::Fill(peer, store))) => {
                format!("{peer} to {store}: {}", cause.word())
            }
        }
    }

    #[test]
    fn transcript() {
        let script = "
            10:1/1 20:1/0 30:1/0 | 1@10 2@20 3@30 | nothing
            10:2/2 20:2/0 30:2/0 | 1@10 2@20 3@30 | 2 leads: count
            10:2/2 20:2/0 30:2/0 | 1@10 2@20? 3@30 | 3 leads: count
            10:2/2 20:2/0 30:2/0 | 1@10 2@20! 3@30? | nothing
            10:2/2 20:2/0- 30:2/1 | 1@10 2@20 3@30 | nothing
            10:1/1x 20:1/0 30:1/0 | 1@10 2@20 3@30 | 2 instead
            10:1/1x 20:1/0x 30:1/0- | 1@10 2@20 3@30 | nothing
            10:1/1 20:9/0x 30:1/0 40:0/0 | 1@10 2@20 3@30 | 2 to 40: count
            10:9/3 20:2/2 30:2/1 | 1@10 2@20 3@30 | 3 leads: count
            10:2/1 11:0/0 | 1@10 | 1 to 11: count
            10:1/1 11:0/0 | 1@10 | nothing
            10:2/1 11:0/0- | 1@10 | nothing
            10:2/1 20:2/1 30:2/0 11:0/0 | 1@10 2@20 3@30 | 1 to 11: count
            10:2/1 20:2/1 30:2/0 21:0/0 | 1@10 2@20 3@30 | 2 to 21: count
            10:2/1 20:2/1 30:2/0 40:0/0 | 1@10 2@20 3@30 | 2 to 40: count
            10:3/1 20:2/1 30:2/0 40:0/0 | 1@10 2@20 3@30 | 1 to 40: count
            10:2/1 20:2/1 30:2/0 40:1/0 | 1@10 2@20 3@30 | nothing
            10:5/1 20:5/1 30:1/0 31:4/0 | 1@10 2@20 3@31 | 3 to 30: count
            10:3/3/900 20:3/0/900 30:3/0/900 | 1@10 2@20 3@30 | nothing | 400
            10:3/3/900 20:3/0/400 30:3/0/900 | 1@10 2@20 3@30 | 2 leads: count | 400
            10:3/1/900 20:3/1/400 30:3/1/600 | 1@10 2@20 3@30 | 2 leads: load | 200
            10:3/1/900 20:3/1/400- 30:3/1/600 | 1@10 2@20 3@30 | 3 leads: load | 100
            10:3/1/900 20:3/1/800 30:3/1/780 | 1@10 2@20 3@30 | nothing | 50
            10:3/1/900 20:3/1/400 30:3/1/600 | 1@10 2@20 3@30 | nothing | 500
            10:3/1/900 20:3/3/400 30:3/1/600 | 1@10 2@20 3@30 | 2 leads: load | 200
            10:3/3/900 20:3/1/400 30:3/1/900 | 1@10 2@20 3@30 | nothing | 600
            10:3/3/900 20:3/1/400 30:3/1/900 | 1@10 2@20 3@30 | 2 leads: count | 0
            10:2/2/900 11:2/2/100 12:2/2/500 | 1@10 | 1 to 11: load | 300
            10:2/2/900 11:3/3/100 12:2/2/500 | 1@10 | 1 to 11: load | 300
            10:4/4/500 11:2/2/900 12:4/4/600 | 1@10 | nothing | 300
            10:4/4/500 11:2/2/900 12:4/4/600 | 1@10 | 1 to 11: count | 0
            10:2/1/900 20:2/1/900 30:2/1/900 31:2/0/100 | 1@10 2@20 3@30 | nothing | 300
            10:2/1/900 20:2/1/900 30:2/1/900 11:2/0/100 | 1@10 2@20 3@30 | 1 to 11: load | 300
            10:2/1/9 20:2/1/2 30:2/1/1 | 1@10 2@20 3@30 | nothing | 3
            110:3/1 120:3/0 210:3/0 310:9/9 | 1@110 2@120 3@210 | 2 to 310: spread
            110:3/1 120:3/0 210:3/0 310:9/9- | 1@110 2@120 3@210 | nothing
            110:3/1 120:3/0 210:3/0 220:0/0 | 1@110 2@120 3@210 | 2 to 220: count
            110:9/1 210:3/0 310:3/0 320:0/0 | 1@110 2@210 3@310 | 3 to 320: count
            110:9/1 210:3/0 310:1/0 320:0/0 | 1@110 2@210 3@310 | nothing
            110:2/1/900 120:2/0/0 210:2/0/900 310:2/0/900 | 1@110 2@210 3@310 | 1 to 120: load | 300
            110:2/1/900 220:2/0/0 210:2/0/900 310:2/0/900 | 1@110 2@210 3@310 | nothing | 300
            110:1/1 111:0/0 | 1@110 | nothing";
        for line in script.lines().filter(|line| !line.trim().is_empty()) {
            let parts: Vec<&str> = line.split('|').map(str::trim).collect();
            let weight = parts.get(3).copied().unwrap_or("0");
            assert_eq!(run(5, parts[0], parts[1], weight), parts[2], "{line}");
        }
    }

    #[test]
    fn placements_own_region_is_moved_only_to_spread_it() {
        let uneven = "10:9/9/900 20:9/0/0 30:9/0/0 40:0/0/0";
        assert_eq!(run(5, uneven, "1@10 2@20 3@30", "0"), "2 leads: count");
        assert_eq!(run(1, uneven, "1@10 2@20 3@30", "0"), "nothing");
        let zones = "110:3/1 120:3/0 210:3/0 310:9/9";
        assert_eq!(run(1, zones, "1@110 2@120 3@210", "0"), "2 to 310: spread");
    }
}
