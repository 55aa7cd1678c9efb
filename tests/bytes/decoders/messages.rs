//! Messages between shards, in frames, and how they greet.

use bytes::Bytes;
use coracle::shard::ids::{ClusterId, Edition, StoreId};
use coracle::shard::message::{PeerMessage, SnapshotContent, StreamId};
use coracle::sim::disk::Chance;
use coracle::wire::peer::frame::{self, Encoder, FRAME_BYTES_MAX, HEAD_BYTES};
use coracle::wire::peer::greet;

use super::samples::{append, peer_messages};
use super::{ROUNDS, mutate};

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
