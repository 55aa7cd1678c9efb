//! Changes of peers: bytes, and what they make of a region.

use coracle::shard::ids::{PeerId, StoreId};
use coracle::shard::membership::Change;
use coracle::shard::region::{PeerInfo, Region, Role};
use coracle::shard::request::PeerChange;
use coracle::sim::disk::Chance;

use super::{ROUNDS, mutate, region};

#[test]
fn changes_of_peers_survive_and_damage_is_refused() {
    let change = Change {
        epoch: region().epoch,
        changes: vec![
            PeerChange::Remove(PeerId(1)),
            PeerChange::Put(PeerInfo {
                peer: PeerId(9),
                store: StoreId(3),
                role: Role::Learner,
            }),
        ],
    };
    let bytes = change.encode();
    assert_eq!(Change::decode(&bytes), Ok(change));
    let mut chance = Chance::new(0xC4A);
    for _ in 0..ROUNDS {
        if let Ok(change) = Change::decode(&mutate(&bytes, &mut chance)) {
            // Whatever it says, it makes a region of it or not.
            let _ = change.apply(&region());
        }
    }
}

/// What changes make of a region's peers, as text.
#[test]
fn changes_of_peers_are_simple_or_joint() {
    let show = |region: &Region| {
        let peers = region
            .peers
            .iter()
            .map(|info| format!("{}:{:?}", info.peer, info.role));
        peers.collect::<Vec<_>>().join(" ")
    };
    let put = |peer: u64, role| {
        PeerChange::Put(PeerInfo {
            peer: PeerId(peer),
            store: StoreId(peer),
            role,
        })
    };
    let mut region = region();
    region.peers.clear();
    let mut told = String::new();
    let mut step = |region: &mut Region, what: &str, changes: Vec<PeerChange>| {
        let change = Change {
            epoch: region.epoch,
            changes,
        };
        match change.apply(region) {
            Ok(after) => {
                *region = after;
                told.push_str(&format!("{what}: {}\n", show(region)));
            }
            Err(why) => told.push_str(&format!("{what}: refused, {why}\n")),
        }
    };
    step(&mut region, "first", vec![put(1, Role::Voter)]);
    step(&mut region, "learner", vec![put(2, Role::Learner)]);
    step(&mut region, "promote", vec![put(2, Role::Voter)]);
    step(&mut region, "again", vec![put(2, Role::Voter)]);
    step(&mut region, "learner", vec![put(3, Role::Learner)]);
    step(
        &mut region,
        "replace",
        vec![put(3, Role::Voter), PeerChange::Remove(PeerId(1))],
    );
    step(&mut region, "more", vec![put(4, Role::Learner)]);
    step(&mut region, "leave", vec![]);
    step(&mut region, "leave", vec![]);
    step(
        &mut region,
        "swap",
        vec![put(2, Role::Learner), put(5, Role::Voter)],
    );
    step(&mut region, "leave", vec![]);
    step(&mut region, "nobody", vec![PeerChange::Remove(PeerId(9))]);
    step(
        &mut region,
        "all",
        vec![PeerChange::Remove(PeerId(3)), PeerChange::Remove(PeerId(5))],
    );
    assert_eq!(
        told,
        "first: 1:Voter\n\
         learner: 1:Voter 2:Learner\n\
         promote: 1:Voter 2:Voter\n\
         again: refused, nothing changes\n\
         learner: 1:Voter 2:Voter 3:Learner\n\
         replace: 1:Outgoing 2:Voter 3:Incoming\n\
         more: refused, the configuration is joint: it must be left first\n\
         leave: 2:Voter 3:Voter\n\
         leave: refused, the configuration is not joint\n\
         swap: 2:Demoting 3:Voter 5:Incoming\n\
         leave: 2:Learner 3:Voter 5:Voter\n\
         nobody: refused, a peer to be removed is not there\n\
         all: refused, no voter would be left\n"
    );
}
