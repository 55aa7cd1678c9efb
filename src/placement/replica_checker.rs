//! What a region's replicas lack, and the next step towards it. Pure: the same picture, the same step.
//!
//! ```text
//! joint            → leave it; if the leader goes, let a voter that stays lead first
//! too few voters   → a learner on a node that has no voter; when it has caught up: promote it,
//! a voter is bad   →   in the bad voter's place if there is one (one joint change)
//! learners else    → remove
//! too many voters  → remove one
//! ```
//!
//! A learner comes to where voters are kept apart best: in another zone, then rack, then node (`spread.rs`).
//! A voter is bad if it has been down for long, or shares its node with another. **No half of a
//! configuration gets two voters on one node.** A learner beside a voter counts for nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::spread::{Isolation, Place, isolation};
use crate::shard::ids::{NodeId, PeerId, StoreId};
use crate::shard::region::{PeerInfo, Region, Role};
use crate::shard::request::PeerChange;

/// A store as the checker sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreView {
    /// Its process.
    pub node: NodeId,
    /// Whether it has been heard of just now, and may be given more.
    pub fit: bool,
    /// Whether one more copy to it may begin.
    pub room: bool,
    /// Whether it has been silent for so long that its peers are given up.
    pub lost: bool,
    /// Whether it is to be emptied: then it is not fit.
    pub drains: bool,
    /// How many peers lie on it, or are about to.
    pub load: u32,
    /// How many of them lead, or are about to.
    pub leaders: u32,
    /// What those are asked for, in thousandths of a request per second.
    pub requests: u64,
    /// Where its node stands.
    pub place: Place,
}

/// A region as the checker sees it.
#[derive(Clone, Debug)]
pub struct Picture<'a> {
    /// Its range, epoch and peers.
    pub region: &'a Region,
    /// Who leads it.
    pub leader: PeerId,
    /// Peers that have been silent for long.
    pub down: &'a BTreeSet<PeerId>,
    /// Peers that cannot follow yet.
    pub pending: &'a BTreeSet<PeerId>,
    /// Learners that have had their time to catch up.
    pub overdue: &'a BTreeSet<PeerId>,
    /// Stores by id.
    pub stores: &'a BTreeMap<StoreId, StoreView>,
    /// How many voters it should have.
    pub wanted: usize,
    /// A voter that makes room on its store, and where its place is taken, if that is decided.
    pub leaving: Option<(PeerId, Option<StoreId>)>,
}

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A learner on this store, under an id that is yet to be given.
    AddLearner(StoreId),
    /// A change of the peers that are there; empty: leave the joint configuration.
    Change(Vec<PeerChange>),
    /// Another peer should lead.
    Transfer(PeerId),
}

impl Picture<'_> {
    fn node(&self, store: StoreId) -> Option<NodeId> {
        self.stores.get(&store).map(|view| view.node)
    }

    fn is_gone(&self, info: &PeerInfo) -> bool {
        let lost = self.stores.get(&info.store).is_some_and(|view| view.lost);
        info.peer != self.leader && (lost || self.down.contains(&info.peer))
    }

    /// The store of a voter that is given up, if there is one.
    pub fn gone(&self) -> Option<StoreId> {
        let mut voters = self.region.peers.iter();
        let gone = voters.find(|info| info.role == Role::Voter && self.is_gone(info));
        gone.map(|info| info.store)
    }

    /// The next step, if anything is to be done.
    pub fn step(&self) -> Option<Step> {
        let peers = &self.region.peers;
        if self.region.is_joint() {
            return Some(self.leave());
        }
        let voters: Vec<&PeerInfo> = peers.iter().filter(|i| i.role == Role::Voter).collect();
        // What is lost comes first: nobody leaves while another place is to be filled.
        let leaving = self
            .leaving
            .filter(|_| !voters.iter().any(|info| self.is_gone(info)));
        let (good, crowded) = self.sort(&voters, leaving);
        let bad: Vec<&PeerInfo> = voters
            .iter()
            .filter(|info| !good.contains_key(&info.peer))
            .copied()
            .collect();
        let taken: BTreeSet<NodeId> = good.values().flatten().copied().collect();
        let useful = self.useful_learner(&taken, good.len());
        let spare = peers
            .iter()
            .find(|info| info.role == Role::Learner && Some(info.peer) != useful.map(|u| u.peer));
        if let Some(info) = spare {
            return Some(Step::Change(vec![PeerChange::Remove(info.peer)]));
        }
        if let Some(learner) = useful {
            let caught_up = !self.pending.contains(&learner.peer);
            return caught_up.then(|| self.promote(learner, &bad));
        }
        if good.len() < self.wanted
            && let Some(store) = self.target(&good, &taken, leaving)
        {
            return Some(Step::AddLearner(store));
        }
        // Nothing can be put in its place: what is crowded goes all the same, what is down may return.
        let enough = good.len() >= self.wanted;
        let surplus = (good.len() > self.wanted)
            .then(|| self.surplus(&good))
            .flatten();
        let goes = match bad
            .iter()
            .find(|info| enough || crowded.contains(&info.peer))
        {
            Some(info) => info.peer,
            None => surplus?,
        };
        Some(Step::Change(vec![PeerChange::Remove(goes)]))
    }

    /// Voters that are up and alone on their nodes (the leader first), and those beside them.
    fn sort(
        &self,
        voters: &[&PeerInfo],
        leaving: Option<(PeerId, Option<StoreId>)>,
    ) -> (BTreeMap<PeerId, Option<NodeId>>, BTreeSet<PeerId>) {
        let mut order: Vec<&PeerInfo> = voters.to_vec();
        order.retain(|info| leaving.is_none_or(|(peer, _)| peer != info.peer));
        order.sort_by_key(|info| (info.peer != self.leader, info.peer));
        let (mut good, mut crowded) = (BTreeMap::new(), BTreeSet::new());
        let mut nodes = BTreeSet::new();
        for info in order.into_iter().filter(|info| !self.is_gone(info)) {
            let node = self.node(info.store);
            match node.is_none_or(|node| nodes.insert(node)) {
                true => drop(good.insert(info.peer, node)),
                false => drop(crowded.insert(info.peer)),
            }
        }
        (good, crowded)
    }

    fn useful_learner(&self, taken: &BTreeSet<NodeId>, good: usize) -> Option<&PeerInfo> {
        let useful = |info: &&PeerInfo| {
            info.role == Role::Learner
                && !self.is_gone(info)
                && !self.overdue.contains(&info.peer)
                && self
                    .node(info.store)
                    .is_some_and(|node| !taken.contains(&node))
        };
        let learners = self.region.peers.iter().filter(useful);
        let best = learners.min_by_key(|info| (self.pending.contains(&info.peer), info.peer));
        best.filter(|_| good < self.wanted)
    }

    fn promote(&self, learner: &PeerInfo, bad: &[&PeerInfo]) -> Step {
        let node = self.node(learner.store);
        let beside = |info: &&&PeerInfo| self.node(info.store) == node;
        let mut changes = vec![PeerChange::Put(PeerInfo {
            role: Role::Voter,
            ..*learner
        })];
        let mut go: Vec<PeerId> = bad.iter().filter(beside).map(|info| info.peer).collect();
        if go.is_empty() {
            go.extend(bad.first().map(|info| info.peer));
        }
        changes.extend(go.into_iter().map(PeerChange::Remove));
        Step::Change(changes)
    }

    /// The store on which one more voter is kept apart best from the others; among such the one with least on it.
    fn target(
        &self,
        good: &BTreeMap<PeerId, Option<NodeId>>,
        taken: &BTreeSet<NodeId>,
        leaving: Option<(PeerId, Option<StoreId>)>,
    ) -> Option<StoreId> {
        let free = |(store, view): &(&StoreId, &StoreView)| {
            view.fit
                && view.room
                && !taken.contains(&view.node)
                && self.region.on_store(**store).is_none()
                && leaving.is_none_or(|(_, to)| to.is_none_or(|to| to == **store))
        };
        let stores = self.stores.iter().filter(free);
        let apart = |store: StoreId| self.apart(good.keys().copied(), Some(store));
        stores
            .min_by_key(|(store, view)| (Reverse(apart(**store)), view.load, **store))
            .map(|(store, _)| *store)
    }

    /// How well these peers, and one more on a store, are kept apart.
    fn apart(&self, peers: impl Iterator<Item = PeerId>, more: Option<StoreId>) -> Isolation {
        let on = peers.filter_map(|peer| self.region.peer(peer));
        isolation(self.stores, on.map(|info| info.store).chain(more))
    }

    /// The voter without which the others are kept apart best.
    fn surplus(&self, good: &BTreeMap<PeerId, Option<NodeId>>) -> Option<PeerId> {
        let without = |goes: PeerId| {
            let stay = good.keys().copied().filter(|peer| *peer != goes);
            self.apart(stay, None)
        };
        let others = good.keys().copied().filter(|peer| *peer != self.leader);
        others.max_by_key(|peer| (without(*peer), *peer))
    }

    fn leave(&self) -> Step {
        let stays = |peer: PeerId| self.region.peer(peer).is_some_and(|i| i.role.votes_after());
        if stays(self.leader) {
            return Step::Change(Vec::new());
        }
        let heirs = self
            .region
            .peers
            .iter()
            .filter(|info| info.role.votes_after());
        // Where a leader leaves for a store, its leadership goes along.
        let goal = self.leaving.and_then(|(_, to)| to);
        let elsewhere = |info: &PeerInfo| Some(info.store) != goal;
        let heir = heirs.min_by_key(|info| {
            let able = (self.is_gone(info), self.pending.contains(&info.peer));
            (able, elsewhere(info), info.peer)
        });
        heir.map_or(Step::Change(Vec::new()), |info| Step::Transfer(info.peer))
    }
}

/// Whether some half of the configuration has two voters on one node.
pub fn is_crowded(region: &Region, node: impl Fn(StoreId) -> Option<NodeId>) -> bool {
    [Role::votes_after, Role::votes_before].iter().any(|votes| {
        let mut nodes = BTreeSet::new();
        let mut voters = region.peers.iter().filter(|info| votes(info.role));
        voters.any(|info| node(info.store).is_some_and(|node| !nodes.insert(node)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::ids::RegionId;
    use crate::shard::region::Epoch;
    use coracle_engine::record::KeyRange;

    /// Store s is on node s / 10, in zone s / 100. Peers: `v1@10` voter 1 on store 10; `l` learner, `i` incoming,
    /// `o` outgoing, `d` demoting; `!` behind it: down, `?`: pending, `~`: overdue, `>20`: leaves for store
    /// 20, `>?`: for any. The first leads.
    fn run(stores: &str, peers: &str) -> String {
        let (mut down, mut pending) = (BTreeSet::new(), BTreeSet::new());
        let (mut overdue, mut leaving) = (BTreeSet::new(), None);
        let infos: Vec<PeerInfo> = peers
            .split(' ')
            .map(|text| {
                let (text, to) = text.split_once('>').unwrap_or((text, ""));
                let plain = text.trim_end_matches(['!', '?', '~']);
                let (id, store) = plain[1..].split_once('@').unwrap();
                let peer = PeerId(id.parse().unwrap());
                if !to.is_empty() {
                    leaving = Some((peer, to.parse().ok().map(StoreId)));
                }
                text.ends_with('!').then(|| down.insert(peer));
                text.ends_with('?').then(|| pending.insert(peer));
                text.ends_with('~').then(|| overdue.insert(peer));
                let role = match &plain[..1] {
                    "v" => Role::Voter,
                    "l" => Role::Learner,
                    "i" => Role::Incoming,
                    "o" => Role::Outgoing,
                    _ => Role::Demoting,
                };
                let store = StoreId(store.parse().unwrap());
                PeerInfo { peer, store, role }
            })
            .collect();
        let views = stores.split(' ').map(|text| {
            let number: u64 = text.trim_end_matches(['!', '-']).parse().unwrap();
            let view = StoreView {
                node: NodeId(number / 10),
                fit: !text.ends_with(['!', '-']),
                room: true,
                lost: text.ends_with('!'),
                place: Place([number as u32 / 100, 0, 0, 0]),
                ..StoreView::default()
            };
            (StoreId(number), view)
        });
        let region = Region {
            id: RegionId(2),
            epoch: Epoch::default(),
            range: KeyRange::all(),
            peers: infos.clone(),
        };
        let picture = Picture {
            region: &region,
            leader: infos[0].peer,
            down: &down,
            pending: &pending,
            overdue: &overdue,
            stores: &views.collect(),
            wanted: 3,
            leaving,
        };
        match picture.step() {
            None => "nothing".into(),
            Some(Step::AddLearner(store)) => format!("learner @{store}"),
            Some(Step::Transfer(to)) => format!("lead {to}"),
            Some(Step::Change(changes)) if changes.is_empty() => "leave".into(),
            Some(Step::Change(changes)) => changes
                .iter()
                .map(|change| match change {
                    PeerChange::Put(info) => format!("+{}", info.peer),
                    PeerChange::Remove(peer) => format!("-{peer}"),
                })
                .collect::<Vec<_>>()
                .join(" "),
        }
    }

    #[test]
    fn transcript() {
        let script = "
            10 20 30 | v1@10 | learner @20
            10 11 | v1@10 | nothing
            10 20- 30 | v1@10 | learner @30
            10 20 30 | v1@10 l2@20? | nothing
            10 20 30 | v1@10 l2@20 | +2
            10 20 30 | v1@10 v2@20 | learner @30
            10 20 30 | v1@10 v2@20 v3@30 | nothing
            10 20 30 40 | v1@10 v2@20 v3@30! | learner @40
            10 20 30! 40 | v1@10 v2@20 v3@30 | learner @40
            10 20 30 | v1@10 v2@20 v3@30! | nothing
            10 20 30 40 | v1@10 v2@20 v3@30! l4@40? | nothing
            10 20 30 40 | v1@10 v2@20 v3@30! l4@40 | +4 -3
            10 20 30! 31 | v1@10 v2@20 v3@30 | learner @31
            10 20 30! 31 | v1@10 v2@20 v3@30 l4@31 | +4 -3
            10 20 30 40 | v1@10 v2@20 i4@40 o3@30! | leave
            10 20 30 40 | o1@10 v2@20 i4@40 v3@30 | lead 2
            10 20 30 40 | o1@10>40 v2@20 i4@40 v3@30 | lead 4
            10 20 30 40 | o1@10>40 v2@20 i4@40? v3@30 | lead 2
            110 120 210 220 310 | v1@110 | learner @210
            110 120 210 220 310 | v1@110 v2@210 | learner @310
            110 120 210 220 | v1@110 v2@210 | learner @120
            110 120 210 310! 320 | v1@110 v2@210 v3@310 | learner @320
            110 120 210 220 310! | v1@110 v2@210 v3@310 | learner @120
            110 120 210 310 | v1@110 v2@120 v3@210 v4@310 | -2
            110 210 220 310 | v1@110 v2@210 v3@310 v4@220 | -4
            10 20 30 40 | v1@10 v2@20 v3@30 l4@40 | -4
            10 20 30 11 | v1@10 v2@20 l3@11 | -3
            10 20 30 40 | v1@10 v2@20 l3@30? l4@40 | -3
            10 20 30 40 | v1@10 v2@20 l3@30~ | -3
            10 11 20 | v1@10 v2@11 v3@20 | -2
            10 11 20 30 | v1@10 v2@11 v3@20 | learner @30
            10 11 20 30 | v1@10 v2@11 v3@20 l4@30 | +4 -2
            10 20 30 40 | v1@10 v2@20 v3@30 v4@40 | -4
            10 20 30 40 | v1@10 v2@20! v3@30 v4@40 | -2
            10 20 30 40 | v1@10 v2@20>40 v3@30 | learner @40
            10 20 30 40- 50 | v1@10 v2@20>40 v3@30 | nothing
            10 20 30 40 | v1@10 v2@20>40 v3@30 l4@40? | nothing
            10 20 30 40 | v1@10 v2@20>40 v3@30 l4@40 | +4 -2
            10 20 30 21 | v1@10 v2@20>21 v3@30 | learner @21
            10 20- 21- 30 40 | v1@10 v2@20>? v3@30 | learner @40
            10 20- 21- 30 | v1@10 v2@20>? v3@30 | nothing
            10 20 30 21 | v1@10 v2@20>21 v3@30 l4@21 | +4 -2
            10 20 30 11 | v1@10>11 v2@20 v3@30 l4@11 | +4 -1
            10 11 | v1@10>11 | learner @11
            10 11 | v1@10>11 l2@11 | +2 -1
            10 20 30! 40 50 | v1@10 v2@20>50 v3@30 | learner @40
            10 20 30! 40 | v1@10 v2@20>40 v3@30 l4@40 | +4 -3";
        for line in script.lines().filter(|line| !line.trim().is_empty()) {
            let parts: Vec<&str> = line.split('|').map(str::trim).collect();
            assert_eq!(run(parts[0], parts[1]), parts[2], "{line}");
        }
    }
}
