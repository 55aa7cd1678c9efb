//! Stored bytes of the brain: what was encoded is decoded, and mutated bytes are refused or read as
//! something, never a panic, a hang or a large allocation.

use bytes::Bytes;
use coracle::placement::errands::{Cause, Outcome};
use coracle::placement::message::{
    NodeInfo, Operator, RegionFigures, RegionInfo, RegionStats, Regions, Source, StoreStats,
    Verdict,
};
use coracle::placement::overview::{Ended, Going, StoreSight};
use coracle::placement::{self, Options, Overview};
use coracle::shard::entry::{self, Gathered, Said};
use coracle::shard::error::Error;
use coracle::shard::ids::{ClusterId, Edition, Index, NodeId, PeerId, RegionId, StoreId, Term};
use coracle::shard::membership::Change;
use coracle::shard::message::{
    Beat, BeatKind, Beats, PeerMessage, RaftMessage, SnapshotContent, StreamId,
};
use coracle::shard::meta::{Meta, State, decode_hard_state, encode_hard_state};
use coracle::shard::region::{Epoch, PeerInfo, Region, Role};
use coracle::shard::request::{
    Answer, Body, Freshness, PeerChange, Request, Response, Write, Written,
};
use coracle::sim::disk::Chance;
use coracle::wire::native::answer::{self, Answered};
use coracle::wire::native::ask::{self, Ask, Asked};
use coracle::wire::native::failure::Failure;
use coracle::wire::native::greet as native_greet;
use coracle::wire::peer::frame::{self, Encoder, FRAME_BYTES_MAX, HEAD_BYTES};
use coracle::wire::peer::greet;
use coracle::wire::resp::cursor::Cursors;
use coracle::wire::resp::parse::{Parsed, Parser};
use coracle::wire::resp::session::{Facts, Session, Told};
use coracle::wire::resp::write::{Version, Writer};
use coracle::wire::{http, native, sniff};
use coracle_engine::record::KeyRange;
use raft::eraftpb::{self, MessageType};

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

/// An append as a leader sends it.
fn append(entries: u64, bytes: usize) -> RaftMessage {
    let peers = region().peers;
    let mut message = eraftpb::Message {
        to: 2,
        from: 1,
        term: 5,
        log_term: 4,
        index: 70,
        commit: 69,
        commit_term: 4,
        ..Default::default()
    };
    message.set_msg_type(MessageType::MsgAppend);
    let entry = |index| eraftpb::Entry {
        term: 5,
        index,
        data: vec![index as u8; bytes].into(),
        ..Default::default()
    };
    message.entries = (71..71 + entries).map(entry).collect::<Vec<_>>().into();
    RaftMessage {
        region: RegionId(7),
        from: peers[0],
        to: peers[1],
        epoch: region().epoch,
        range: None,
        message,
    }
}

/// A snapshot's message, with every field of its own.
fn snapshot_message() -> RaftMessage {
    let mut told = append(1, 3);
    told.range = Some(region().range);
    let message = &mut told.message;
    message.set_msg_type(MessageType::MsgSnapshot);
    message.context = Bytes::from_static(b"context");
    (message.reject, message.reject_hint) = (true, 8);
    (message.request_snapshot, message.priority) = (9, -3);
    message.deprecated_priority = 4;
    message.entries[0].set_entry_type(eraftpb::EntryType::EntryConfChangeV2);
    message.entries[0].context = Bytes::from_static(b"change");
    let snapshot = message.mut_snapshot();
    snapshot.data = Bytes::from_static(b"data");
    let metadata = snapshot.mut_metadata();
    (metadata.index, metadata.term) = (80, 5);
    let conf_state = metadata.mut_conf_state();
    conf_state.voters = vec![1, 2, 3];
    conf_state.learners = vec![4];
    conf_state.voters_outgoing = vec![1, 5];
    conf_state.learners_next = vec![5];
    conf_state.auto_leave = true;
    told
}

/// One of every message of placement.
fn placement_messages() -> Vec<placement::Message> {
    use placement::Message;
    let (region, epoch) = (region(), region().epoch);
    let peer = region.peers[0];
    let verdicts = [
        Verdict::Gone {
            region: region.clone(),
        },
        Verdict::Valid,
        Verdict::Unknown,
        Verdict::Older,
    ];
    let verdicts = verdicts.map(|verdict| Message::Verdict {
        peer: PeerId(3),
        region: RegionId(7),
        verdict,
    });
    let mut all = vec![
        Message::Join {
            nonce: 99,
            address: "a.example:7400".into(),
            edition: Edition(3),
            shards: 4,
            labels: vec![("zone".into(), "b".into()), ("rack".into(), "".into())],
        },
        Message::Joined {
            nonce: 99,
            cluster: ClusterId(1),
            node: NodeId(2),
            stores: vec![StoreId(3), StoreId(4)],
        },
        Message::JoinRefused {
            nonce: 99,
            why: "no".into(),
        },
        Message::StoreHeartbeat(StoreStats {
            store: StoreId(1),
            capacity_bytes: 2,
            used_bytes: 3,
            available_bytes: 4,
            regions: 5,
            leaders: 6,
            sending_snapshots: 7,
            receiving_snapshots: 8,
            applying_snapshots: 9,
            started_ms: 10,
            busy: true,
            interval_ms: 11,
            written_bytes: 12,
            written_keys: 13,
            read_bytes: 14,
            read_keys: 15,
        }),
        Message::StoreHeard { nodes: 9 },
        Message::ListNodes,
        Message::Nodes(
            3,
            vec![NodeInfo {
                node: NodeId(1),
                address: "127.0.0.1:7400".into(),
                edition: Edition(4),
                standing: coracle::placement::Standing::Draining,
                stores: vec![StoreId(2), StoreId(3)],
                labels: vec![("zone".into(), "a".into())],
            }],
        ),
        Message::RegionHeartbeat(Box::new(RegionStats {
            region: region.clone(),
            leader: peer,
            term: Term(6),
            down_peers: vec![(PeerId(2), 1000)],
            pending_peers: vec![PeerId(3)],
            written_bytes: 1,
            written_keys: 2,
            requests: 5,
            interval_ms: 6,
            approximate_bytes: 3,
            approximate_keys: 4,
            applied: Index(5),
        })),
        Message::Operator(Operator::ChangePeers {
            region: RegionId(7),
            epoch,
            changes: vec![PeerChange::Put(peer), PeerChange::Remove(PeerId(1))],
        }),
        Message::Operator(Operator::TransferLeader {
            region: RegionId(7),
            epoch,
            to: PeerId(2),
        }),
        Message::AllocateIds { count: 5, nonce: 6 },
        Message::Allocated {
            nonce: 6,
            first: 100,
            count: 5,
        },
        Message::ValidatePeer {
            region: RegionId(7),
            peer,
            epoch,
        },
        Message::LocateRegion {
            key: b"\x01key".to_vec(),
        },
        Message::ListRegions {
            start: Vec::new(),
            count: 10,
        },
        Message::ListKnown {
            start: b"\x01m".to_vec(),
            count: 7,
        },
        Message::Regions(Regions {
            told: vec![
                RegionInfo {
                    figures: Some(RegionFigures {
                        ago_ms: 1,
                        bytes: 2,
                        keys: 3,
                        requests: 4,
                        silent: vec![(peer.peer, 5)],
                        behind: vec![peer.peer],
                    }),
                    ..RegionInfo::of(region.clone(), Some(peer))
                },
                RegionInfo::of(region.clone(), None),
            ],
            by: Source::Placement,
        }),
        Message::Regions(Regions {
            told: vec![RegionInfo::of(region, None)],
            by: Source::Table {
                store: StoreId(5),
                age_ms: Some(17),
            },
        }),
        Message::NotPlacement {
            hint: Some(StoreId(3)),
        },
        Message::Removed { node: NodeId(4) },
        Message::MoveRegion {
            region: RegionId(2),
            peer: PeerId(3),
            to: StoreId(4),
        },
        Message::Moving {
            region: RegionId(2),
            peer: PeerId(3),
            to: StoreId(4),
        },
        Message::MoveRefused {
            region: RegionId(2),
            why: "there is no store 4".into(),
        },
        Message::Pause { paused: true },
        Message::Paused { paused: false },
        Message::ShowPlacement,
        Message::Overview(Box::new(overview())),
    ];
    all.extend(verdicts);
    all
}

/// What placement tells of itself.
fn overview() -> Overview {
    let went = Going {
        region: RegionId(2),
        cause: Some(Cause::Hand),
        what: "peer 3 leaves store 4 for store 5".into(),
        ms: 6,
    };
    Overview {
        serves_ms: 7,
        paused: true,
        options: Options::default(),
        regions: 8,
        stores: vec![StoreSight {
            store: StoreId(4),
            node: NodeId(1),
            state: "fit".into(),
            peers: 9,
            leaders: 10,
            requests: 12,
            copies_in: 1,
            copies_out: 2,
        }],
        under_way: vec![
            went.clone(),
            Going {
                cause: None,
                ..went.clone()
            },
        ],
        ended: Outcome::ALL
            .map(|outcome| Ended {
                went: went.clone(),
                outcome,
                ago_ms: 11,
            })
            .to_vec(),
    }
}

/// One of every message between shards.
/// So many beats of all kinds.
fn beats(count: u64) -> Beats {
    let kinds = [
        BeatKind::Heartbeat,
        BeatKind::HeartbeatAnswer,
        BeatKind::MayRest,
        BeatKind::Rests,
        BeatKind::Wake,
    ];
    let beat = |number: u64| Beat {
        region: RegionId(number),
        from: PeerId(number + 1),
        to: PeerId(number + 2),
        epoch: Epoch {
            version: number + 3,
            conf_ver: number + 4,
        },
        term: Term(number + 5),
        kind: kinds[number as usize % kinds.len()],
        index: Index(number + 6),
        context: vec![7; 8 * (number % 3) as usize].into(),
    };
    Beats {
        boot: 99,
        beats: (0..count).map(beat).collect(),
    }
}

fn peer_messages() -> Vec<PeerMessage> {
    let (region, from) = (region(), region().peers[2]);
    let (stream, epoch) = (StreamId { boot: 3, count: 4 }, region.epoch);
    let chunk = |len| SnapshotContent::Chunk {
        table: 5,
        offset: 4096,
        bytes: vec![7; len].into(),
    };
    let contents = [
        chunk(8192),
        SnapshotContent::TableEnd { table: 5 },
        SnapshotContent::NeedNumber,
        SnapshotContent::Done,
        SnapshotContent::Failed,
    ];
    let pieces = (0..).zip(contents);
    let pieces = pieces.map(|(piece, content)| PeerMessage::SnapshotPiece {
        stream,
        piece,
        content,
    });
    let mut all = vec![
        PeerMessage::Raft(append(0, 0)),
        PeerMessage::Raft(append(3, 100)),
        PeerMessage::Raft(snapshot_message()),
        PeerMessage::Gone {
            region: region.clone(),
            from,
            to: PeerId(9),
        },
        PeerMessage::AmIGone {
            region: region.id,
            from,
            epoch,
        },
        PeerMessage::ReadIndex {
            region: region.id,
            from,
            to: PeerId(1),
            attempt: 77,
        },
        PeerMessage::ReadIndexAnswer {
            region: region.id,
            to: PeerId(1),
            attempt: 77,
            index: Some(Index(5)),
        },
        PeerMessage::SnapshotOffer {
            stream,
            region,
            clock: 5,
            bytes: 6,
            message: snapshot_message(),
        },
        PeerMessage::SnapshotPull {
            stream,
            piece: 1,
            numbers: vec![10, 11, 12],
        },
    ];
    all.extend(pieces);
    all.push(PeerMessage::Beats(beats(0)));
    all.push(PeerMessage::Beats(beats(7)));
    all.extend(placement_messages().into_iter().map(PeerMessage::Placement));
    all
}

/// The messages of a frame.
fn decode_frame(bytes: &[u8]) -> Result<Vec<PeerMessage>, coracle::shard::codec::Malformed> {
    let (head, body) = bytes.split_first_chunk::<HEAD_BYTES>().expect("a head");
    frame::Head::decode(head)?.messages(Bytes::copy_from_slice(body))
}

#[test]
fn messages_between_shards_survive_and_damage_is_refused() {
    let mut encoder = Encoder::new();
    let messages: Vec<Box<PeerMessage>> = peer_messages().into_iter().map(Box::new).collect();
    // Each by itself, and behind something else.
    for message in &messages {
        let mut out = b"before".to_vec();
        assert_eq!(encoder.encode(std::slice::from_ref(message), &mut out), 1);
        assert_eq!(decode_frame(&out[6..]), Ok(vec![(**message).clone()]));
    }
    // All together.
    let mut out = Vec::new();
    assert_eq!(encoder.encode(&messages, &mut out), messages.len());
    let all: Vec<PeerMessage> = messages.iter().map(|message| (**message).clone()).collect();
    assert_eq!(decode_frame(&out), Ok(all));
    // With damage under a sum that fits, and without.
    let mut chance = Chance::new(0x9EE6);
    let mut frames = vec![out];
    for message in &messages {
        let mut out = Vec::new();
        encoder.encode(std::slice::from_ref(message), &mut out);
        frames.push(out);
    }
    let mut understood = 0;
    for round in 0..ROUNDS {
        let bytes = &frames[round as usize % frames.len()];
        let body = mutate(&bytes[HEAD_BYTES..], &mut chance);
        let mut damaged = bytes[..HEAD_BYTES].to_vec();
        damaged.extend_from_slice(&body);
        if damaged != *bytes {
            assert!(decode_frame(&damaged).is_err(), "round {round}");
        }
        damaged[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
        damaged[4..8].copy_from_slice(&crc32fast::hash(&body).to_le_bytes());
        if let Ok(messages) = decode_frame(&damaged) {
            understood += 1;
            let messages: Vec<_> = messages.into_iter().map(Box::new).collect();
            let mut again = Vec::new();
            encoder.encode(&messages, &mut again);
            assert!(again.len() <= 4 * damaged.len() + 4096, "round {round}");
        }
    }
    assert!(understood > 1000, "{understood}");
    for _ in 0..ROUNDS / 10 {
        let head = mutate(&frames[0][..HEAD_BYTES], &mut chance);
        if let Some(head) = head.first_chunk() {
            let head = frame::Head::decode(head);
            assert!(head.is_err() || head.is_ok_and(|head| head.length <= FRAME_BYTES_MAX));
        }
    }
}

#[test]
fn frames_are_bounded_and_long_bytes_are_shared() {
    let mut encoder = Encoder::new();
    let big: Vec<Box<PeerMessage>> = (0..20)
        .map(|_| Box::new(PeerMessage::Raft(append(1, 1 << 20))))
        .collect();
    let (mut rest, mut frames) = (&big[..], 0);
    while !rest.is_empty() {
        let mut out = Vec::new();
        let taken = encoder.encode(rest, &mut out);
        assert!(out.len() <= FRAME_BYTES_MAX);
        assert_eq!(decode_frame(&out).map(|messages| messages.len()), Ok(taken));
        rest = &rest[taken..];
        frames += 1;
    }
    assert_eq!(frames, 2);
    // What no frame holds is passed over.
    let piece = |len| {
        Box::new(PeerMessage::SnapshotPiece {
            stream: StreamId { boot: 1, count: 1 },
            piece: 0,
            content: SnapshotContent::Chunk {
                table: 1,
                offset: 0,
                bytes: vec![7; len].into(),
            },
        })
    };
    let mut out = Vec::new();
    assert_eq!(encoder.encode(&[piece(FRAME_BYTES_MAX)], &mut out), 1);
    assert_eq!(out, b"");
    assert_eq!(
        encoder.encode(&[piece(FRAME_BYTES_MAX), piece(1 << 20)], &mut out),
        2
    );
    let (head, body) = out.split_first_chunk::<HEAD_BYTES>().expect("a head");
    let body = Bytes::copy_from_slice(body);
    let messages = frame::Head::decode(head)
        .expect("a head")
        .messages(body.clone());
    let [PeerMessage::SnapshotPiece { content, .. }] = &messages.expect("sound")[..] else {
        panic!("the piece that fits");
    };
    let SnapshotContent::Chunk { bytes, .. } = content else {
        panic!("a chunk");
    };
    assert!(body.as_ptr_range().contains(&bytes.as_ptr()), "not copied");
}

#[test]
fn greetings_of_shards_survive_and_damage_is_refused() {
    let hello = greet::Hello::new(ClusterId(7), StoreId(3), StoreId(4)).at(
        1,
        "127.0.0.1:7400/1,2",
        Edition(2),
    );
    let answer = hello.judge(ClusterId(8), StoreId(4));
    let mut chance = Chance::new(0x6EE7);
    for _ in 0..ROUNDS {
        if let Ok(Some((decoded, length))) =
            greet::Hello::decode(&mutate(&hello.encode(), &mut chance))
        {
            assert_eq!((decoded, length), (hello.clone(), hello.encode().len()));
        }
        if let Ok(Some((decoded, length))) =
            greet::Answer::decode(&mutate(&answer.encode(), &mut chance))
        {
            assert_eq!((decoded, length), (answer.clone(), answer.encode().len()));
        }
    }
}

/// Hands out one of every body.
fn bodies(mut visit: impl FnMut(&Body<'_>)) {
    let writes = [
        Write::Put {
            key: b"\x01k",
            value: &[7; 300],
            expiry_ms: Some(77),
        },
        Write::Put {
            key: b"\x01k",
            value: b"",
            expiry_ms: None,
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
        Write::CompareAndPut {
            key: b"\x01k",
            expected: None,
            value: Some(b"new"),
        },
        Write::Add {
            key: b"\x01n",
            delta: -5,
        },
    ];
    writes
        .chunks(1)
        .chain([&writes[..], &[]])
        .for_each(|writes| visit(&Body::Write(writes)));
    for freshness in [
        Freshness::Linearizable,
        Freshness::AnyReplica,
        Freshness::Local,
    ] {
        visit(&Body::Get {
            key: b"\x01k",
            freshness,
        });
        visit(&Body::MultiGet {
            keys: &[b"\x01k", b"\x01l", b""],
            freshness,
        });
        visit(&Body::Scan {
            start: b"\x01a",
            limit: b"\x01b",
            count: 100,
            reverse: freshness == Freshness::Local,
            freshness,
        });
    }
    visit(&Body::TransferLeader {
        region: RegionId(7),
        to: PeerId(8),
    });
    visit(&Body::ChangePeers {
        region: RegionId(7),
        changes: &[
            PeerChange::Put(region().peers[1]),
            PeerChange::Remove(PeerId(3)),
        ],
    });
    visit(&Body::Split {
        region: RegionId(7),
        keys: &[b"\x01a", b"\x01m"],
        ids: None,
    });
}

/// One of every answer, and of every error.
fn responses() -> Vec<Response> {
    let value = Some(Bytes::from_static(b"value"));
    let written = [
        Written::Done,
        Written::Compared {
            held: false,
            previous: value.clone(),
        },
        Written::Compared {
            held: true,
            previous: None,
        },
        Written::Counter(-7),
        Written::NotANumber,
    ];
    let answers = vec![
        Answer::AllWritten(written.to_vec()),
        Answer::Value(value.clone()),
        Answer::Value(None),
        Answer::Values(vec![value.clone(), None, Some(Bytes::new())]),
        Answer::Pairs {
            pairs: vec![(Bytes::from_static(b"\x01k"), vec![7; 5000].into())],
            more: true,
        },
        Answer::Done,
    ];
    let errors = vec![
        Error::NotLeader {
            region: RegionId(7),
            leader: Some(region().peers[0]),
        },
        Error::NotLeader {
            region: RegionId(7),
            leader: None,
        },
        Error::EpochNotMatch {
            current: vec![region(), region()],
        },
        Error::RegionNotFound(RegionId(7)),
        Error::KeyNotInRegion {
            region: RegionId(7),
            key: b"\x01k\0\xFF".to_vec(),
        },
        Error::RegionMoved(RegionId(7)),
        Error::StoreNotMatch { store: StoreId(4) },
        Error::StaleCommand,
        Error::ServerIsBusy("too much to do"),
        Error::DiskFull,
        Error::TooLarge {
            what: "a key",
            bytes: 5000,
            limit: 4096,
        },
        Error::Undetermined,
        Error::SessionExpired,
        Error::Corrupt("a block".into()),
        Error::BadRequest("no sense"),
    ];
    let answers = answers
        .into_iter()
        .chain(written.map(Answer::Written))
        .map(Ok);
    answers.chain(errors.into_iter().map(Err)).collect()
}

#[test]
fn requests_of_clients_survive_and_damage_is_refused() {
    let mut arena = native::Arena::new();
    let ask = Ask {
        id: 1,
        client: 2,
        sequence: 3,
        region: Some((RegionId(7), region().epoch)),
        forward: true,
    };
    let mut frames = Vec::new();
    bodies(|body| {
        for ask in [ask, Ask::default()] {
            let mut out = b"before".to_vec();
            ask::encode(&ask, body, &mut arena, &mut out).expect("it is short");
            let frame = out.split_off(6);
            assert_eq!(native::frame::length(&frame), Ok(Some(frame.len())));
            let asked = Asked::decode(&frame).expect("sound");
            assert_eq!(asked.ask, ask);
            let expected = Request {
                region: ask.region,
                body: body.clone(),
            };
            let told = asked.request(|request| format!("{request:?}"));
            assert_eq!(told, Ok(format!("{expected:?}")));
            frames.push(frame);
        }
    });
    let too_long = Body::Get {
        key: &vec![7; native::frame::FRAME_BYTES_MAX],
        freshness: Freshness::Local,
    };
    assert!(ask::encode(&ask, &too_long, &mut arena, &mut Vec::new()).is_err());
    let (mut chance, mut understood) = (Chance::new(0xA5C), 0);
    for round in 0..ROUNDS {
        let frame = mutate(&frames[round as usize % frames.len()], &mut chance);
        let _ = native::frame::length(&frame);
        if let Ok(asked) = Asked::decode(&frame) {
            let _ = asked.request(|request| {
                understood += 1;
                if let Body::Write(writes) = request.body {
                    assert!(writes.len() <= frame.len(), "no more writes than bytes");
                }
            });
        }
    }
    assert!(understood > 1000, "{understood}");
}

#[test]
fn answers_to_clients_survive_and_damage_is_refused() {
    let mut arena = native::Arena::new();
    let mut frames = Vec::new();
    for response in responses() {
        let mut out = b"before".to_vec();
        answer::encode(77, &response, &mut arena, &mut out);
        let frame = out.split_off(6);
        assert_eq!(native::frame::length(&frame), Ok(Some(frame.len())));
        let answered = Answered::decode(&Bytes::from(frame.clone()));
        if let Err(error) = &response {
            // Passed on, however often, it is still the same error, in the same words.
            let again = Error::from(Failure::from(error));
            assert_eq!(again.number(), error.number());
            assert_eq!(again.leaves_open(), error.leaves_open());
            assert_eq!(Failure::from(&again), Failure::from(error));
        }
        let expected = Answered {
            id: 77,
            result: response.map_err(|error| Failure::from(&error)),
        };
        assert_eq!(answered, Ok(expected));
        frames.push(frame);
    }
    let too_long = Ok(Answer::Values(vec![Some(vec![7; 1 << 20].into()); 3]));
    let mut out = Vec::new();
    answer::encode(77, &too_long, &mut arena, &mut out);
    let failure = Answered::decode(&out.into())
        .map(|answered| answered.result.map_err(|failure| failure.number));
    assert_eq!(failure, Ok(Err(10)));
    let mut chance = Chance::new(0xA45);
    for round in 0..ROUNDS {
        let frame = mutate(&frames[round as usize % frames.len()], &mut chance);
        let _ = Answered::decode(&frame.into());
    }
    for _ in 0..ROUNDS / 10 {
        if let Some(hello) = mutate(&native_greet::hello(), &mut chance).first_chunk() {
            let _ = native_greet::Welcome::new(hello, ClusterId(1), StoreId(2));
        }
    }
}

#[test]
fn text_protocols_bear_anything() {
    let texts: [&[u8]; 8] = [
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\n123\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
        b"SET \"a\\x41\" 'b' EX 10 NX GET\r\n",
        b"SCAN 0 MATCH a[b-\\]*? COUNT 10\r\nSETRANGE k 5 x\r\n",
        b"HELLO 3 AUTH default x SETNAME y\r\nCLIENT SETINFO lib-name x\r\nCOMMAND INFO get\r\n",
        b"*5\r\n$4\r\nMSET\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n",
        b"GET /metrics?x=y HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"DEL a b c\r\nAPPEND a b\r\nGETRANGE a 0 -1\r\nINCRBY a 5\r\nCONFIG GET s*\r\n",
        b"\xC0RACLE\0N\x01\0\0\0",
    ];
    let (mut chance, cursors) = (Chance::new(0x7E47), Cursors::new());
    let facts = Facts {
        wall_ms: 1_700_000_000_000,
        cursors: &cursors,
        may_flush: true,
    };
    let (mut commands, mut plans) = (0, 0);
    for round in 0..ROUNDS {
        let mut bytes = mutate(texts[round as usize % texts.len()], &mut chance);
        if chance.below(4) == 0 {
            bytes.extend_from_slice(&mutate(texts[chance.below(8) as usize], &mut chance));
        }
        let _ = sniff::sniff(&bytes);
        if let Ok(Some((_, consumed))) = http::parse(&bytes) {
            assert!(consumed <= bytes.len());
        }
        let (mut parser, mut rest) = (Parser::new(), &bytes[..]);
        let mut session = Session::new(1, String::new());
        while let Ok(Parsed::Command { consumed }) = parser.parse(rest) {
            assert!(consumed > 0 && consumed <= rest.len());
            commands += 1;
            let mut out = Vec::new();
            let told = session.handle(parser.args(rest), facts, &mut out);
            assert!(out.len() <= 16 << 10);
            if let Told::Plan(mut plan) = told {
                plans += 1;
                plan.bound(|_| b"\x01z".to_vec());
                let response = responses().swap_remove(chance.below(20) as usize);
                let asked = plan.ask(|body| format!("{body:?}"));
                assert!(asked.is_some(), "a plan asks something");
                plan.take(response);
                plan.write(&mut Cursors::new(), &mut Writer::new(&mut out, Version::V3));
            }
            rest = &rest[consumed..];
        }
    }
    assert!(commands > 10_000 && plans > 10_000, "{commands} {plans}");
}

/// How long an append takes from a message to bytes and back; printed on demand.
#[test]
#[ignore = "a measurement"]
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn measure_appends() {
    let mut encoder = Encoder::new();
    for (count, entries, bytes) in [
        (1, 1, 128),
        (16, 1, 128),
        (16, 8, 128),
        (1, 1, 4096),
        (64, 0, 0),
    ] {
        let messages: Vec<Box<PeerMessage>> = (0..count)
            .map(|_| Box::new(PeerMessage::Raft(append(entries, bytes))))
            .collect();
        let (mut out, mut best) = (Vec::new(), [u128::MAX; 2]);
        for _ in 0..200 {
            let start = std::time::Instant::now();
            for _ in 0..20 {
                out.clear();
                encoder.encode(&messages, &mut out);
            }
            best[0] = best[0].min(start.elapsed().as_nanos() / 20 / count);
            let (head, body) = out.split_first_chunk::<HEAD_BYTES>().expect("a head");
            let body = Bytes::copy_from_slice(body);
            let head = frame::Head::decode(head).expect("a head");
            let start = std::time::Instant::now();
            for _ in 0..20 {
                let messages = head.messages(body.clone()).expect("sound");
                std::hint::black_box(messages);
            }
            best[1] = best[1].min(start.elapsed().as_nanos() / 20 / count);
        }
        println!(
            "{count} messages of {entries} entries of {bytes} bytes: {} bytes each, encode {} ns, decode {} ns",
            out.len() as u128 / count,
            best[0],
            best[1]
        );
    }
}

/// How long a simple command takes from bytes to the brain's door, and its answer to bytes.
#[test]
#[ignore = "a measurement"]
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn measure_commands() {
    let mut cursors = Cursors::new();
    for (text, answer) in [
        (
            &b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000001\r\n"[..],
            Answer::Value(Some(vec![7; 64].into())),
        ),
        (
            b"*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000001\r\n$8\r\nxxxxxxxx\r\n",
            Answer::Written(Written::Done),
        ),
        (
            b"*2\r\n$4\r\nINCR\r\n$16\r\nkey:000000000001\r\n",
            Answer::Written(Written::Counter(12345)),
        ),
        (b"*1\r\n$4\r\nPING\r\n", Answer::Done),
    ] {
        let bytes = text.repeat(16);
        let (mut parser, mut session) = (Parser::new(), Session::new(1, String::new()));
        let (mut out, mut best) = (Vec::new(), u128::MAX);
        for _ in 0..2000 {
            out.clear();
            let start = std::time::Instant::now();
            let mut rest = &bytes[..];
            while let Ok(Parsed::Command { consumed }) = parser.parse(rest) {
                let facts = Facts {
                    wall_ms: 1,
                    cursors: &cursors,
                    may_flush: false,
                };
                if let Told::Plan(plan) = session.handle(parser.args(rest), facts, &mut out) {
                    plan.ask(|body| {
                        std::hint::black_box(body);
                    });
                    let mut parked = std::hint::black_box(plan.park());
                    parked.take(Ok(answer.clone()));
                    parked.write(&mut cursors, &mut Writer::new(&mut out, Version::V2));
                }
                rest = &rest[consumed..];
            }
            best = best.min(start.elapsed().as_nanos() / 16);
        }
        println!("{}: {best} ns", text.escape_ascii());
    }
}
