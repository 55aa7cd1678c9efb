//! Many regions: whoever asks any node finds them all, and requests over several of them are done whole, also while
//! regions are split and led elsewhere.

use std::collections::BTreeMap;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use coracle::placement::Message;
use coracle::placement::message::{Regions, Source};
use coracle::runtime::address::Address;
use coracle::runtime::caller::Caller;
use coracle::shard::request::{Answer, Body, Freshness, Write, Written};
use serde_json::Value;

use crate::client::Reply;
use crate::process::{Node, wait_for};

/// One replica of everything, so that most nodes do not hold most regions.
const ALONE: [(&str, &str); 1] = [("CORACLE_NODE__REPLICAS", "1")];

fn caller(node: &Node) -> Caller {
    let address = Address::parse(&node.address()).expect("an address");
    Caller::connect(&address, Duration::from_secs(30)).expect("it answers")
}

fn list(caller: &mut Caller, question: &Message) -> Regions {
    match caller.ask_placement(question).expect("an answer") {
        Message::Regions(regions) => regions,
        other => panic!("{other:?}"),
    }
}

/// All regions as a node tells of them to whoever asks it.
fn told(node: &Node) -> Regions {
    let (start, count) = (Vec::new(), 256);
    list(&mut caller(node), &Message::ListRegions { start, count })
}

/// Whether these are all regions there are, one beginning where the other ends.
fn are_whole(regions: &Regions) -> bool {
    let ranges = || regions.told.iter().map(|told| &told.region.range);
    let begins = ranges().next().is_some_and(|range| range.start.is_empty());
    let ends = ranges()
        .next_back()
        .is_some_and(|range| range.limit.is_empty());
    let mut pairs = ranges().zip(ranges().skip(1));
    begins && ends && pairs.all(|(one, next)| one.limit == next.start)
}

/// The region that holds a key of users, and the store that leads it.
fn led(node: &Node, key: &str) -> Option<(u64, u64)> {
    let stored = [&[1], key.as_bytes()].concat();
    let all = told(node).told;
    let holds = all
        .iter()
        .find(|told| told.region.range.contains(&stored))?;
    Some((holds.region.id.0, holds.leader?.store.0))
}

/// A number of a node's metrics, over all labels.
fn counted(node: &Node, name: &str) -> u64 {
    let mut stream = TcpStream::connect(node.address()).expect("it listens");
    let request = b"GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n";
    stream.write_all(request).expect("it goes out");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("a page");
    let lines = page
        .lines()
        .filter(|line| line.starts_with(&format!("{name}{{")));
    let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
    lines.filter_map(value).sum::<f64>() as u64
}

fn region(node: &Node, arguments: &[&str]) {
    let (code, text, told) = node.command(&[&["region"], arguments].concat());
    assert_eq!(code, 0, "{arguments:?}: {text}{told}");
}

#[test]
fn a_cached_route_that_has_become_wrong_is_corrected_in_a_step_or_two() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    // Whoever evens out leaders as well takes back what is handed over here.
    let still = [("CORACLE_PLACEMENT__BALANCE", "false")];
    let one = Node::start_with(&at("one"), &[], &still);
    let join = one.address();
    let two = Node::start_with(&at("two"), &["--join", &join], &still);
    let three = Node::start_with(&at("three"), &["--join", &join], &still);
    let voters = |node: &Node| {
        let regions = told(node).told;
        regions.iter().map(|told| told.region.peers.len()).min()
    };
    wait_for("three replicas each", || voters(&one) == Some(3));
    // It holds nothing: all that it knows of regions it was told.
    let four = Node::start_with(&at("four"), &["--join", &join], &still);
    let (mut native, mut client) = (caller(&four), four.client());
    let keys = ["a", "h", "p", "w"];
    for key in keys {
        assert!(client.set(key, key.as_bytes()));
    }
    let stores: Vec<u64> = [&one, &two, &three]
        .iter()
        .map(|node| caller(node).store.0)
        .collect();
    let mut ask = |what: &str| {
        let before = counted(&four, "coracle_requests_misled_total");
        for key in keys {
            assert_eq!(client.get(key), Some(key.as_bytes().to_vec()), "{what}");
            let stored = [&[1], key.as_bytes()].concat();
            let body = Body::Get {
                key: &stored,
                freshness: Freshness::Linearizable,
            };
            let expected = Answer::Value(Some(key.as_bytes().to_vec().into()));
            assert_eq!(native.ask(&body).expect("an answer"), expected, "{what}");
        }
        let told = || counted(&four, "coracle_turn_seconds_count");
        // What is counted is told now and then: here, and here again.
        for _ in 0..2 {
            let now = told();
            wait_for("it is told again", || told() > now);
        }
        counted(&four, "coracle_requests_misled_total") - before
    };
    let mut steps = vec![ask("before")];
    region(&one, &["split", "2", "--at", "h", "--at", "p", "--at", "w"]);
    wait_for("there are five", || told(&one).told.len() == 5);
    steps.push(ask("split"));
    for (place, key) in keys.iter().enumerate() {
        let (id, leader) = led(&one, key).expect("it is led");
        let others = stores.iter().filter(|store| **store != leader);
        let to = others.cycle().nth(place).expect("three stores").to_string();
        region(&two, &["transfer-leader", &id.to_string(), &to]);
    }
    steps.push(ask("led elsewhere"));
    println!("steps too many, of 8 requests to 4 regions each: {steps:?}");
    assert!(steps.iter().all(|steps| *steps <= 2 * 4), "{steps:?}");
    // And what was learned is not lost again.
    assert_eq!(ask("learned"), 0);
}

#[test]
fn every_node_tells_of_all_regions_also_when_placement_is_gone() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let one = Node::start_with(&at("one"), &[], &ALONE);
    let join = one.address();
    let two = Node::start_with(&at("two"), &["--join", &join], &ALONE);
    let three = Node::start_with(&at("three"), &["--join", &join], &ALONE);
    region(&one, &["split", "2", "--at", "h", "--at", "p"]);
    for node in [&one, &two, &three] {
        wait_for("placement tells of four regions", || {
            let regions = told(node);
            regions.by == Source::Placement && regions.told.len() == 4 && are_whole(&regions)
        });
    }
    // A shard that is asked for what it knows itself says so at once.
    let (start, count) = (b"\x01i".to_vec(), 1);
    let known = Message::ListKnown { start, count };
    let own = list(&mut caller(&three), &known);
    assert!(matches!(own.by, Source::Table { .. }), "{own:?}");
    assert_eq!(own.told.len(), 1);
    assert!(own.told[0].region.range.contains(b"\x01i"));
    for node in [&one, &two, &three] {
        let (start, count) = (Vec::new(), 256);
        let known = Message::ListKnown { start, count };
        wait_for("it has read all of them", || {
            let own = list(&mut caller(node), &known);
            matches!(
                own.by,
                Source::Table {
                    age_ms: Some(_),
                    ..
                }
            ) && are_whole(&own)
        });
    }
    // The only replica of the system region goes.
    let system = told(&one).told[0].leader.expect("it is led").store;
    let mut nodes = vec![one, two, three];
    let place = nodes.iter().position(|node| caller(node).store == system);
    nodes.remove(place.expect("one of them")).kill();
    for node in &nodes {
        let regions = told(node);
        let Source::Table { age_ms, .. } = regions.by else {
            panic!("{regions:?}");
        };
        assert!(age_ms.is_some(), "it has read all of them before");
        assert_eq!(regions.told.len(), 4, "{regions:?}");
        assert!(are_whole(&regions), "{regions:?}");
        assert!(regions.told.iter().all(|told| told.leader.is_some()));
        let (code, text, told) = node.command(&["region", "list"]);
        assert_eq!((code, text.lines().count()), (0, 5), "{text}{told}");
        assert!(told.contains("placement does not answer"), "{told}");
    }
}

/// Numbers that follow from a seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit
    }

    fn key(&mut self) -> Vec<u8> {
        format!("\x01{:03}", self.below(1000)).into_bytes()
    }
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// All pairs of a range, page by page.
fn scan(caller: &mut Caller, from: &[u8], to: &[u8], page: usize, reverse: bool) -> Pairs {
    let (mut start, mut limit, mut found) = (from.to_vec(), to.to_vec(), Vec::new());
    loop {
        let body = Body::Scan {
            start: &start,
            limit: &limit,
            count: page,
            reverse,
            freshness: Freshness::Linearizable,
        };
        let Answer::Pairs { pairs, more } = caller.ask(&body).expect("an answer") else {
            panic!("no pairs");
        };
        assert!(pairs.len() <= page);
        let pairs = pairs
            .iter()
            .map(|(key, value)| (key.to_vec(), value.to_vec()));
        found.extend(pairs);
        let Some((last, _)) = found.last().filter(|_| more) else {
            return found;
        };
        match reverse {
            false => start = [&last[..], b"\0"].concat(),
            true => limit = last.clone(),
        }
    }
}

/// One request of a random kind, and what must come of it.
fn act(numbers: &mut Numbers, caller: &mut Caller, model: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    let (one, two) = (numbers.key(), numbers.key());
    let (from, to) = (one.clone().min(two.clone()), one.max(two));
    match numbers.below(6) {
        0 | 1 => {
            let value = format!("{:08}", numbers.below(1 << 30)).into_bytes();
            let keys: Vec<Vec<u8>> = (0..1 + numbers.below(60)).map(|_| numbers.key()).collect();
            let kinds: Vec<usize> = keys.iter().map(|_| numbers.below(8)).collect();
            let writes = keys.iter().zip(&kinds).map(|(key, kind)| match kind {
                0 => Write::Delete { key },
                _ => Write::Put {
                    key,
                    value: &value,
                    expiry_ms: None,
                },
            });
            let mut writes: Vec<Write<'_>> = writes.collect();
            // In the middle of others: those of one key keep their order.
            let limit = [&from[..], b"~"].concat();
            let middle = writes.len() / 2;
            let start = &from[..];
            writes.insert(
                middle,
                Write::DeleteRange {
                    start,
                    limit: &limit,
                },
            );
            let answer = caller.ask(&Body::Write(&writes)).expect("an answer");
            assert_eq!(
                answer,
                Answer::AllWritten(vec![Written::Done; writes.len()])
            );
            for write in writes {
                match write {
                    Write::Put { key, value, .. } => {
                        model.insert(key.to_vec(), value.to_vec());
                    }
                    Write::Delete { key } => drop(model.remove(key)),
                    _ => model.retain(|key, _| *key < from || *key >= limit),
                }
            }
        }
        2 => {
            let keys: Vec<Vec<u8>> = (0..1 + numbers.below(100)).map(|_| numbers.key()).collect();
            let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
            let body = Body::MultiGet {
                keys: &keys,
                freshness: Freshness::Linearizable,
            };
            let Answer::Values(values) = caller.ask(&body).expect("an answer") else {
                panic!("no values");
            };
            let values = values
                .iter()
                .map(|value| value.as_ref().map(|value| value.to_vec()));
            let expected = keys.iter().map(|key| model.get(*key).cloned());
            assert!(values.eq(expected));
        }
        3 if numbers.below(4) == 0 => {
            let limit = &to[..];
            let writes = [Write::DeleteRange {
                start: &from,
                limit,
            }];
            let answer = caller.ask(&Body::Write(&writes)).expect("an answer");
            assert_eq!(answer, Answer::Written(Written::Done));
            model.retain(|key, _| *key < from || *key >= to);
        }
        kind => {
            let page = [1000, 7, 100][numbers.below(3)];
            let found = scan(caller, &from, &to, page, kind == 4);
            let inside = model.range(from..to);
            let mut expected: Pairs = inside.map(|(k, v)| (k.clone(), v.clone())).collect();
            if kind == 4 {
                expected.reverse();
            }
            assert_eq!(found, expected);
        }
    }
}

/// Splits regions at random keys, until it is told to stop or there are this many.
fn divide(node: &Node, seed: u64, most: usize, over: &AtomicBool) -> usize {
    let mut numbers = Numbers(seed);
    let mut regions = 0;
    while !over.load(Ordering::Relaxed) && regions < most {
        let key = format!("{:03}", numbers.below(1000));
        let Some((id, _)) = led(node, &key) else {
            continue;
        };
        // It may be split there already, or just now.
        node.command(&[
            "region",
            "split",
            &id.to_string(),
            "--at",
            &key,
            "--timeout",
            "5",
        ]);
        regions = told(node).told.len();
    }
    regions
}

#[test]
fn requests_over_many_regions_are_whole_while_these_are_split() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let one = Node::start_with(&at("one"), &["--shards", "2"], &ALONE);
    let join = one.address();
    let two = Node::start_with(&at("two"), &["--join", &join], &ALONE);
    let nodes = [one, two];
    let over = AtomicBool::new(false);
    let mut model = BTreeMap::new();
    let mut numbers = Numbers(7);
    std::thread::scope(|scope| {
        let (over, node) = (&over, &nodes[0]);
        let divider = scope.spawn(move || divide(node, 11, 24, over));
        let mut callers: Vec<Caller> = nodes.iter().map(caller).collect();
        let mut rounds = 0;
        while rounds < 300 || !divider.is_finished() && rounds < 20_000 {
            let place = numbers.below(callers.len());
            act(&mut numbers, &mut callers[place], &mut model);
            rounds += 1;
        }
        over.store(true, Ordering::Relaxed);
        let regions = divider.join().expect("it splits");
        println!("{rounds} requests, {regions} regions");
        assert!(regions >= 10, "{regions}");
    });
    for node in &nodes {
        let found = scan(&mut caller(node), b"", b"", 1000, false);
        let users = found.into_iter().filter(|(key, _)| key.first() == Some(&1));
        assert!(users.eq(model.clone()), "through {}", node.address());
        let mut client = node.client();
        assert_eq!(client.ask(&["DBSIZE"]), Reply::Number(model.len() as i64));
        let plain = |key: &Vec<u8>| String::from_utf8(key[1..].to_vec()).expect("text");
        let names: Vec<String> = model.keys().map(plain).collect();
        let words: Vec<&str> = names.iter().map(String::as_str).collect();
        let Reply::List(values) = client.ask(&[&["MGET"], &words[..]].concat()) else {
            panic!("no list");
        };
        let expected = model
            .values()
            .map(|value| Reply::Bytes(Some(value.clone())));
        assert!(values.into_iter().eq(expected));
        let (code, text, told) = node.command(&["scan", "--keys", "--reverse"]);
        assert_eq!(code, 0, "{told}");
        assert!(text.lines().rev().eq(words.iter().copied()));
    }
    let (code, text, _) = nodes[1].command(&["del-range", "2", "7"]);
    let inside = model.range(b"\x012".to_vec()..b"\x017".to_vec()).count();
    assert_eq!(code, 1);
    assert!(
        text.starts_with(&format!("{inside} keys, from '")),
        "{text}"
    );
    let (code, text, told) = nodes[1].command(&["del-range", "2", "7", "--yes", "--json"]);
    assert_eq!(code, 0, "{told}");
    let value: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(value["deleted"], true);
    let left = (model.len() - inside) as i64;
    assert_eq!(nodes[0].client().ask(&["DBSIZE"]), Reply::Number(left));
    for wrong in [
        &["del-range"][..],
        &["del-range", "a"],
        &["del-range", "b", "a"],
    ] {
        assert_eq!(nodes[0].command(wrong).0, 2, "{wrong:?}");
    }
    assert_eq!(
        nodes[0].command(&["del-range", "--prefix", "", "--yes"]).0,
        2
    );
    let (code, _, told) = nodes[0].command(&["del-range", "--all", "--yes"]);
    assert_eq!(code, 0, "{told}");
    assert_eq!(nodes[1].client().ask(&["DBSIZE"]), Reply::Number(0));
}
