//! What clients ask and are told in our own protocol.

use bytes::Bytes;
use coracle::shard::error::Error;
use coracle::shard::ids::{ClusterId, PeerId, RegionId, StoreId};
use coracle::shard::request::{
    Answer, Body, Freshness, PeerChange, Request, Response, Write, Written,
};
use coracle::sim::disk::Chance;
use coracle::wire::native;
use coracle::wire::native::answer::{self, Answered};
use coracle::wire::native::ask::{self, Ask, Asked};
use coracle::wire::native::failure::Failure;
use coracle::wire::native::greet as native_greet;

use super::{ROUNDS, mutate, region};

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
pub fn responses() -> Vec<Response> {
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
