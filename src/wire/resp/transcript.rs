//! Whole conversations: what is sent and what comes back, as text. The store is a map.
//!
//! In the files, a line that begins with `>` is sent, and the lines below it that begin with `|` come back.
//! `@regions a b` cuts the keys into regions there.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::cursor::Cursors;
use super::info::Info;
use super::parse::{Parsed, Parser};
use super::plan::{Plan, Step};
use super::session::{Facts, Session, Told};
use super::write::Writer;
use crate::shard::error::Error;
use crate::shard::request::{Answer, Body, Response, Write, Written};

/// As little of a brain as carries out requests.
#[derive(Default)]
struct Map {
    values: BTreeMap<Vec<u8>, (Bytes, Option<u64>)>,
    /// Where regions end.
    cuts: Vec<Vec<u8>>,
    /// Another writes this key after the next read of it.
    intruder: Option<Vec<u8>>,
    asked: Vec<String>,
}

impl Map {
    fn region_of(&self, key: &[u8]) -> u64 {
        self.cuts.iter().filter(|cut| &cut[..] <= key).count() as u64
    }

    fn region_limit(&self, key: &[u8]) -> Vec<u8> {
        let place = self.region_of(key) as usize;
        self.cuts.get(place).cloned().unwrap_or_default()
    }

    fn get(&mut self, key: &[u8]) -> Option<Bytes> {
        let value = self.values.get(key).map(|value| value.0.clone());
        if self.intruder.as_deref() == Some(key) {
            self.intruder = None;
            let between = Bytes::from_static(b"between");
            self.values.insert(key.to_vec(), (between, None));
        }
        value
    }

    fn write(&mut self, write: &Write<'_>) -> Written {
        match *write {
            Write::Put {
                key,
                value,
                expiry_ms,
            } => {
                let value = (Bytes::copy_from_slice(value), expiry_ms);
                self.values.insert(key.to_vec(), value);
            }
            Write::Delete { key } => {
                self.values.remove(key);
            }
            Write::DeleteRange { start, limit } => {
                assert_eq!(
                    self.region_of(start),
                    self.cuts.iter().filter(|cut| &cut[..] < limit).count() as u64
                );
                self.values
                    .retain(|key, _| &key[..] < start || &key[..] >= limit);
            }
            Write::CompareAndPut {
                key,
                expected,
                value,
            } => {
                let previous = self.values.get(key).map(|value| value.0.clone());
                let held = previous.as_deref() == expected;
                match value {
                    _ if !held => {}
                    Some(value) => {
                        let value = (Bytes::copy_from_slice(value), None);
                        self.values.insert(key.to_vec(), value);
                    }
                    None => {
                        self.values.remove(key);
                    }
                }
                return Written::Compared { held, previous };
            }
            Write::Add { key, delta } => {
                let before = self.values.get(key).map_or(Some(0), |value| {
                    std::str::from_utf8(&value.0).ok()?.parse::<i64>().ok()
                });
                return match before.and_then(|before| before.checked_add(delta)) {
                    Some(sum) => {
                        let value = (Bytes::from(sum.to_string()), None);
                        self.values.insert(key.to_vec(), value);
                        Written::Counter(sum)
                    }
                    None => Written::NotANumber,
                };
            }
        }
        Written::Done
    }

    fn answer(&mut self, body: Body<'_>) -> Response {
        let check = |keys: &mut dyn Iterator<Item = &[u8]>, map: &Map| {
            let mut regions: Vec<u64> = keys.map(|key| map.region_of(key)).collect();
            regions.dedup();
            assert_eq!(regions.len(), 1, "a request is for one region");
        };
        let shown = |key: &[u8]| key.escape_ascii().to_string();
        Ok(match body {
            Body::Write(writes) => {
                check(&mut writes.iter().map(|write| write.key()), self);
                self.asked.push(format!("write {}", writes.len()));
                if writes
                    .iter()
                    .any(|write| write.key() == b"\x01undetermined")
                {
                    return Err(Error::Undetermined);
                }
                let mut written: Vec<Written> =
                    writes.iter().map(|write| self.write(write)).collect();
                match written.len() {
                    1 => Answer::Written(written.remove(0)),
                    _ => Answer::AllWritten(written),
                }
            }
            Body::Get { key, .. } => {
                self.asked.push(format!("get {}", shown(key)));
                if key == b"\x01busy" {
                    return Err(Error::ServerIsBusy("too much to do"));
                }
                Answer::Value(self.get(key))
            }
            Body::MultiGet { keys, .. } => {
                check(&mut keys.iter().copied(), self);
                self.asked.push(format!("get {}", keys.len()));
                Answer::Values(keys.iter().map(|key| self.get(key)).collect())
            }
            Body::Scan {
                start,
                limit,
                count,
                ..
            } => {
                self.asked
                    .push(format!("scan {} {}", shown(start), shown(limit)));
                let found = self
                    .values
                    .iter()
                    .filter(|(key, _)| &key[..] >= start && (limit.is_empty() || &key[..] < limit));
                let mut pairs: Vec<(Bytes, Bytes)> = found
                    .map(|(key, value)| (Bytes::copy_from_slice(key), value.0.clone()))
                    .collect();
                let more = pairs.len() > count;
                pairs.truncate(count);
                Answer::Pairs { pairs, more }
            }
            other => panic!("{other:?}"),
        })
    }

    /// As a driver carries a plan out.
    fn carry_out(&mut self, mut plan: Plan<'_>, cursors: &mut Cursors, writer: &mut Writer<'_>) {
        plan.bound(|key| self.region_limit(key));
        if plan.is_single() {
            let response = plan.ask(|body| self.answer(body)).expect("it is open");
            let mut parked = plan.park();
            let mut step = parked.take(response);
            while step == Step::Again {
                parked.bound(|key| self.region_limit(key));
                let response = parked.ask(|body| self.answer(body)).expect("it is open");
                step = parked.take(response);
            }
            return parked.write(cursors, writer);
        }
        let mut plan = plan.park();
        while plan.step() == Step::Again {
            plan.bound(|key| self.region_limit(key));
            for group in plan.split(|key| self.region_of(key)) {
                let response = plan.ask_some(&group, |body| self.answer(body));
                plan.take_some(&group, response.expect("it is open"));
            }
        }
        plan.write(cursors, writer);
    }
}

/// What comes back for a conversation, beside what was sent.
fn converse(conversation: &str) -> String {
    let (mut map, mut cursors, mut told) = (Map::default(), Cursors::new(), String::new());
    let mut session = Session::new(7, "client".to_string());
    let mut parser = Parser::new();
    for line in conversation.lines() {
        if let Some(cuts) = line.strip_prefix("@regions ") {
            let cuts = cuts
                .split(' ')
                .map(|cut| [b"\x01", cut.as_bytes()].concat());
            map.cuts = cuts.collect();
        } else if let Some(key) = line.strip_prefix("@intruder ") {
            map.intruder = Some([b"\x01", key.as_bytes()].concat());
        } else if line == "@asked" {
            told.push_str(&format!("{line}\n|{}\n", map.asked.join(", ")));
            map.asked.clear();
            continue;
        } else if line.starts_with('|') {
            continue;
        }
        told.push_str(line);
        told.push('\n');
        let Some(sent) = line.strip_prefix("> ") else {
            continue;
        };
        let sent = format!("{sent}\r\n");
        let mut out = Vec::new();
        match parser.parse(sent.as_bytes()) {
            Ok(Parsed::Command { consumed }) => assert_eq!(consumed, sent.len()),
            other => panic!("{line}: {other:?}"),
        }
        let facts = Facts {
            wall_ms: 1_700_000_000_123,
            cursors: &cursors,
            may_flush: sent.starts_with("FLUSH"),
        };
        let version = session.version();
        match session.handle(parser.args(sent.as_bytes()), facts, &mut out) {
            Told::Answered => {}
            Told::Closing => out.extend_from_slice(b"(closed)"),
            Told::Info(wanted) => Info::new().write(wanted, &mut Writer::new(&mut out, version)),
            Told::Plan(plan) => {
                // What can be kept must say the same.
                assert_eq!(plan.clone().into_owned(), plan);
                map.carry_out(plan, &mut cursors, &mut Writer::new(&mut out, version));
            }
        }
        for line in out.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r\n").unwrap_or(line);
            let line = line.escape_ascii().to_string();
            let line = line.replace("\\'", "'").replace("\\\"", "\"");
            told.push_str(&format!("|{line}\n"));
        }
    }
    told
}

#[test]
fn conversations_go_as_written_down() {
    let mut differ = Vec::new();
    for (name, conversation) in [
        ("session", include_str!("transcripts/session.txt")),
        ("strings", include_str!("transcripts/strings.txt")),
        ("regions", include_str!("transcripts/regions.txt")),
        ("scan", include_str!("transcripts/scan.txt")),
    ] {
        let told = converse(conversation);
        if told != conversation {
            println!("=== {name}\n{told}===");
            differ.push(name);
        }
    }
    assert_eq!(differ, [""; 0], "what came is printed above");
}

#[test]
fn many_keys_go_in_several_requests() {
    let (mut map, mut cursors, mut session) = (
        Map::default(),
        Cursors::new(),
        Session::new(1, String::new()),
    );
    let mut run = |line: String| {
        let (mut parser, mut out) = (Parser::new(), Vec::new());
        assert!(matches!(
            parser.parse(line.as_bytes()),
            Ok(Parsed::Command { .. })
        ));
        let facts = Facts {
            wall_ms: 1,
            cursors: &cursors,
            may_flush: false,
        };
        if let Told::Plan(plan) = session.handle(parser.args(line.as_bytes()), facts, &mut out) {
            let mut writer = Writer::new(&mut out, Default::default());
            map.carry_out(plan, &mut cursors, &mut writer);
        }
        (
            String::from_utf8(out).unwrap(),
            std::mem::take(&mut map.asked),
        )
    };
    let keys: Vec<String> = (0..5000).map(|key| key.to_string()).collect();
    let (told, asked) = run(format!("MSET {} x\r\n", keys.join(" x ")));
    assert_eq!(
        (&told[..], asked),
        ("+OK\r\n", vec!["write 4096".into(), "write 904".into()])
    );
    let (told, asked) = run(format!("EXISTS none {}\r\n", keys.join(" ")));
    assert_eq!(
        (&told[..], asked),
        (":5000\r\n", vec!["get 4096".into(), "get 905".into()])
    );
    let (told, asked) = run(format!("DEL {} none\r\n", keys[..100].join(" ")));
    assert_eq!(told, ":100\r\n");
    assert_eq!(asked, ["get 63", "write 63", "get 38", "write 37"]);
}
