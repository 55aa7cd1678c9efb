//! An operator that changes regions' peers and leaders: mostly towards the wanted number of replicas on
//! different nodes, sometimes away from it.

use super::disk::Chance;
use super::event::At;
use super::world::{OPERATOR, World};
use crate::shard::door::Input;
use crate::shard::ids::{PeerId, RegionId, RequestId, StoreId};
use crate::shard::observe::PeerStatus;
use crate::shard::region::{PeerInfo, Role};
use crate::shard::request::{Body, PeerChange, Request};

/// What the operator wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Changes of the peers.
    Change(RegionId, Vec<PeerChange>),
    /// Another leader.
    Transfer(RegionId, PeerId),
}

/// What the operator sees of the cluster.
pub struct Sight<'a> {
    /// All stores, each with its node.
    pub stores: &'a [(StoreId, usize)],
    /// How the region's leader stands.
    pub leader: &'a PeerStatus,
    /// How all its peers stand.
    pub peers: &'a [(StoreId, PeerStatus)],
    /// Voters that it should have.
    pub wanted: usize,
}

/// What to do next with a region, if anything; `next_peer` is the id that a new peer would get.
pub fn decide(sight: &Sight<'_>, chance: &mut Chance, next_peer: PeerId) -> Option<Wish> {
    let region = &sight.leader.region;
    if region.is_joint() {
        return None;
    }
    let node_of = |store: StoreId| {
        sight
            .stores
            .iter()
            .find(|(other, _)| *other == store)
            .map(|(_, node)| *node)
    };
    let of_role = |role: Role| region.peers.iter().filter(move |info| info.role == role);
    let voters: Vec<&PeerInfo> = of_role(Role::Voter).collect();
    let learners: Vec<&PeerInfo> = of_role(Role::Learner).collect();
    let caught_up = |peer: PeerId| {
        sight.peers.iter().any(|(_, status)| {
            status.peer == peer
                && status.initialized
                && status.applied.0 + 100 > sight.leader.applied.0
        })
    };
    if let Some(learner) = learners.first() {
        if chance.below(8) == 0 {
            return Some(Wish::Change(
                region.id,
                vec![PeerChange::Remove(learner.peer)],
            ));
        }
        if !caught_up(learner.peer) {
            return None;
        }
        let promoted = PeerChange::Put(PeerInfo {
            role: Role::Voter,
            ..**learner
        });
        let same_node = voters
            .iter()
            .find(|voter| node_of(voter.store) == node_of(learner.store));
        let leaves = match same_node {
            Some(voter) => Some(voter.peer),
            None if voters.len() >= sight.wanted => {
                Some(voters[chance.below(voters.len() as u64) as usize].peer)
            }
            None => None,
        };
        return Some(Wish::Change(
            region.id,
            match leaves {
                Some(peer) => vec![promoted, PeerChange::Remove(peer)],
                None => vec![promoted],
            },
        ));
    }
    if voters.len() > sight.wanted {
        let others: Vec<_> = voters
            .iter()
            .filter(|voter| voter.peer != sight.leader.peer)
            .collect();
        let goes = others[chance.below(others.len() as u64) as usize];
        return Some(Wish::Change(region.id, vec![PeerChange::Remove(goes.peer)]));
    }
    let moves = voters.len() >= sight.wanted;
    if moves && chance.below(2) == 0 && voters.len() > 1 {
        let others: Vec<_> = voters
            .iter()
            .filter(|voter| voter.peer != sight.leader.peer)
            .collect();
        let to = others[chance.below(others.len() as u64) as usize];
        return Some(Wish::Transfer(region.id, to.peer));
    }
    // A learner on a store without a peer: on a new node, or, to move between cores, on the same one.
    let free: Vec<StoreId> = sight
        .stores
        .iter()
        .filter(|(store, node)| {
            let here = region.peers.iter().any(|info| info.store == *store);
            let node_taken = voters
                .iter()
                .any(|voter| node_of(voter.store) == Some(*node));
            !here && (moves || !node_taken)
        })
        .map(|(store, _)| *store)
        .collect();
    if free.is_empty() {
        return None;
    }
    let store = free[chance.below(free.len() as u64) as usize];
    Some(Wish::Change(
        region.id,
        vec![PeerChange::Put(PeerInfo {
            peer: next_peer,
            store,
            role: Role::Learner,
        })],
    ))
}

impl World {
    pub(super) fn operate(&mut self) {
        let statuses = self.statuses();
        let regions = self.known_regions();
        let region = regions[self.chance.below(regions.len() as u64) as usize];
        let leader = statuses
            .iter()
            .filter(|(_, status)| status.region.id == region && status.leads)
            .max_by_key(|(_, status)| status.term);
        let Some((store, leader)) = leader else {
            return;
        };
        let peers: Vec<_> = statuses
            .iter()
            .filter(|(_, status)| status.region.id == region)
            .cloned()
            .collect();
        let sight = Sight {
            stores: &self.stores,
            leader,
            peers: &peers,
            wanted: self.plan.replicas,
        };
        let next_peer = match self.plan.growth {
            None => PeerId(self.next_peer),
            // Where placement gives ids, the operator asks for one like everybody else.
            Some(_) => match self.growth.take_id(self.now) {
                Some(id) => PeerId(id),
                None => return self.ask_for_id(),
            },
        };
        let Some(wish) = decide(&sight, &mut self.chance, next_peer) else {
            return;
        };
        self.next_peer += 1;
        self.figures.operations += 1;
        self.tell(|| format!("the operator wants {wish:?}"));
        let Some(at) = self.at(*store) else { return };
        if !self.is_now(at) || self.is_paused(at.node) {
            return;
        }
        let id = RequestId(OPERATOR + self.figures.operations);
        self.given(id, at);
        let (region, epoch) = (leader.region.id, leader.region.epoch);
        let body = match &wish {
            Wish::Change(_, changes) => Body::ChangePeers { region, changes },
            Wish::Transfer(_, to) => Body::TransferLeader { region, to: *to },
        };
        self.input(
            at,
            Input::Request {
                id,
                request: Request {
                    region: Some((region, epoch)),
                    body,
                },
            },
        );
    }

    /// A shard is given a request.
    pub(super) fn given(&mut self, request: RequestId, at: At) {
        let given = self.callbacks.given(request, at.node, at.life, self.now);
        self.note(given);
    }
}
