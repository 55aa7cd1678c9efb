//! Stored bytes of the brain: what was encoded is decoded, and mutated bytes are refused or read as
//! something, never a panic, a hang or a large allocation.

use coracle::shard::entry::{self, Gathered, Said};
use coracle::shard::ids::{Index, PeerId, RegionId, StoreId, Term};
use coracle::shard::membership::Change;
use coracle::shard::meta::{Meta, State, decode_hard_state, encode_hard_state};
use coracle::shard::region::{Epoch, PeerInfo, Region, Role};
use coracle::shard::request::{PeerChange, Write};
use coracle::sim::disk::Chance;
use coracle_engine::record::KeyRange;

const ROUNDS: u64 = 200_000;

/// Changes, cuts or lengthens bytes.
fn mutate(bytes: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=chance.below(3) {
        let place = chance.below(bytes.len().max(1) as u64) as usize;
        match chance.below(5) {
            0 => bytes.truncate(place),
            1 => bytes.extend_from_slice(&chance.next_u64().to_le_bytes()),
            2 if place + 4 <= bytes.len() => bytes[place..place + 4].fill(0xFF),
            _ if place < bytes.len() => bytes[place] ^= 1 << chance.below(8),
            _ => {}
        }
    }
    bytes
}

fn region() -> Region {
    let roles = [
        Role::Voter,
        Role::Learner,
        Role::Incoming,
        Role::Outgoing,
        Role::Demoting,
    ];
    Region {
        id: RegionId(7),
        epoch: Epoch {
            version: 3,
            conf_ver: 9,
        },
        range: KeyRange::new(b"\x01abc", b"\x01xyz"),
        peers: (1..)
            .zip(roles)
            .map(|(peer, role)| PeerInfo {
                peer: PeerId(peer),
                store: StoreId(10 + peer),
                role,
            })
            .collect(),
    }
}

#[test]
fn metas_and_hard_states_survive_and_damage_is_refused() {
    let mut chance = Chance::new(0xE7A);
    for state in [
        State::Normal,
        State::Tombstone,
        State::Applying {
            tables: vec![4, 5, 6],
        },
    ] {
        let meta = Meta {
            peer: PeerId(5),
            applied: Index(77),
            clock: 1_700_000_000_000,
            region: region(),
            state,
        };
        let bytes = meta.encode();
        assert_eq!(Meta::decode(&bytes), Ok(meta));
        for _ in 0..ROUNDS / 4 {
            if let Ok(meta) = Meta::decode(&mutate(&bytes, &mut chance)) {
                assert_eq!(Meta::decode(&meta.encode()), Ok(meta));
            }
        }
    }
    let hard = raft::eraftpb::HardState {
        term: 9,
        vote: 5,
        commit: 70,
        ..Default::default()
    };
    let bytes = encode_hard_state(PeerId(5), &hard);
    assert_eq!(decode_hard_state(&bytes), Ok((PeerId(5), hard)));
    for _ in 0..ROUNDS / 4 {
        let _ = decode_hard_state(&mutate(&bytes, &mut chance));
    }
}

#[test]
fn commands_survive_and_damage_is_refused() {
    let writes = [
        Write::Put {
            key: b"\x01k",
            value: b"value",
            expiry_ms: Some(77),
        },
        Write::Delete { key: b"\x01k" },
        Write::DeleteRange {
            start: b"\x01a",
            limit: b"",
        },
        Write::CompareAndPut {
            key: b"\x01k",
            expected: Some(b"old"),
            value: None,
        },
        Write::Add {
            key: b"\x01n",
            delta: -5,
        },
    ];
    let mut gathered = Gathered::default();
    gathered.push(1, 2, &writes[..2]);
    gathered.push(3, 4, &writes[2..]);
    let epoch = Epoch {
        version: 3,
        conf_ver: 9,
    };
    let bytes = gathered.take(epoch, 1234);
    let parsed = entry::parse(&bytes).expect("it was just made");
    assert_eq!((parsed.epoch, parsed.time_ms), (epoch, 1234));
    let Said::Commands { reading, groups } = parsed.said else {
        panic!("commands");
    };
    assert!(reading, "a comparison must know what is there");
    let (mut requests, mut keys) = (Vec::new(), 0);
    groups
        .visit(
            |group| requests.push((group.client, group.writes)),
            |_| keys += 1,
        )
        .expect("sound");
    assert_eq!((requests, keys), (vec![(1, 2), (3, 3)], 5));
    let others = [
        entry::truncate(epoch, 1, Index(5), Term(6)),
        entry::compute_hash(epoch, 1),
        entry::verify_hash(epoch, 1, Index(5), 0xABCD),
        bytes,
    ];
    let mut chance = Chance::new(0xC0DE);
    for round in 0..ROUNDS {
        let mutated = mutate(&others[round as usize % others.len()], &mut chance);
        if let Ok(parsed) = entry::parse(&mutated)
            && let Said::Commands { groups, .. } = parsed.said
        {
            let mut visited = 0;
            let _ = groups.visit(|_| {}, |_| visited += 1);
            assert!(visited <= mutated.len(), "no more writes than bytes");
        }
    }
}

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
