//! One of every message that shards send each other.

use bytes::Bytes;
use coracle::placement::errands::{Cause, Outcome};
use coracle::placement::message::{
    NodeInfo, Operator, RegionFigures, RegionInfo, RegionStats, Regions, Source, StoreStats,
    Verdict,
};
use coracle::placement::overview::{Ended, Going, StoreSight};
use coracle::placement::{self, Options, Overview};
use coracle::shard::ids::{ClusterId, Edition, Index, NodeId, PeerId, RegionId, StoreId, Term};
use coracle::shard::message::{
    Beat, BeatKind, Beats, PeerMessage, RaftMessage, SnapshotContent, StreamId,
};
use coracle::shard::region::Epoch;
use coracle::shard::request::PeerChange;
use raft::eraftpb::{self, MessageType};

use super::region;

/// An append as a leader sends it.
pub fn append(entries: u64, bytes: usize) -> RaftMessage {
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
pub fn snapshot_message() -> RaftMessage {
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
pub fn placement_messages() -> Vec<placement::Message> {
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
        Message::LeadRegion {
            region: RegionId(2),
            peer: PeerId(3),
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
pub fn overview() -> Overview {
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

/// So many beats of all kinds.
pub fn beats(count: u64) -> Beats {
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

/// One of every message between shards.
pub fn peer_messages() -> Vec<PeerMessage> {
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
