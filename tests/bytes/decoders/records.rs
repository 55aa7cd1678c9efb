//! What lies in the log: records of peers, hard states, commands.

use coracle::shard::entry::{self, Gathered, Said};
use coracle::shard::ids::{Index, PeerId, Term};
use coracle::shard::meta::{Meta, State, decode_hard_state, encode_hard_state};
use coracle::shard::region::Epoch;
use coracle::shard::request::Write;
use coracle::sim::disk::Chance;

use super::{ROUNDS, mutate, region};

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
            born: 3,
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
