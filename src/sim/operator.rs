//! An operator that changes regions' peers and leaders: mostly towards the wanted number of replicas on
//! different nodes, sometimes away from it.

use super::disk::Chance;
use crate::shard::ids::{PeerId, RegionId, StoreId};
use crate::shard::observe::PeerStatus;
use crate::shard::region::{PeerInfo, Role};
use crate::shard::request::PeerChange;

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
