//! Protocols of text: RESP and HTTP.

use coracle::sim::disk::Chance;
use coracle::wire::resp::cursor::Cursors;
use coracle::wire::resp::parse::{Parsed, Parser};
use coracle::wire::resp::session::{Facts, Session, Told};
use coracle::wire::resp::write::{Version, Writer};
use coracle::wire::{http, sniff};

use super::requests::responses;
use super::{ROUNDS, mutate};

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
