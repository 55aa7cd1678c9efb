//! How long it takes; printed on demand.

use bytes::Bytes;
use coracle::shard::message::PeerMessage;
use coracle::shard::request::{Answer, Written};
use coracle::wire::peer::frame::{self, Encoder, HEAD_BYTES};
use coracle::wire::resp::cursor::Cursors;
use coracle::wire::resp::parse::{Parsed, Parser};
use coracle::wire::resp::session::{Facts, Session, Told};
use coracle::wire::resp::write::{Version, Writer};

use super::samples::append;

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
