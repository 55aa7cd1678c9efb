//! Many commands on one connection without waiting: every answer in its place, every read behind every write
//! that came before it, every one counted once.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::net::Shutdown;

use crate::client::{Client, Reply};
use crate::process::Node;

const SEED: u64 = 0x51_6E_A1;

/// Numbers that follow from the seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit
    }
}

/// Commands, what each is answered, and how many of them ask the store.
fn conversation(numbers: &mut Numbers) -> (Vec<u8>, Vec<Reply>, u64) {
    let mut known: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let (mut bytes, mut replies, mut counted) = (Vec::new(), Vec::new(), 0);
    for round in 0..6000 {
        let key = format!("key-{}", numbers.below(40));
        let stored = known.get(&key).cloned();
        // Long rows of one kind as well as changes from one to the next.
        let kind = match round % 1000 < 500 {
            true => numbers.below(10),
            false => 4 + numbers.below(6),
        };
        let key = key.as_bytes();
        let reply = match kind {
            0..=2 => {
                let length = match numbers.below(50) {
                    0 => 200_000,
                    _ => numbers.below(300),
                };
                let value = vec![b'a' + (round % 26) as u8; length];
                bytes.extend(Client::encode(&[b"SET", key, &value]));
                known.insert(String::from_utf8_lossy(key).into(), value);
                Reply::Line("OK".into())
            }
            3 => {
                bytes.extend(Client::encode(&[b"DEL", key]));
                known.remove(&*String::from_utf8_lossy(key));
                // It reads, and deletes if there is something.
                counted += u64::from(stored.is_some());
                Reply::Number(i64::from(stored.is_some()))
            }
            4 => {
                bytes.extend(Client::encode(&[b"MGET", key, b"never"]));
                Reply::List(vec![Reply::Bytes(stored), Reply::Bytes(None)])
            }
            5 => {
                bytes.extend(Client::encode(&[b"gEt", key]));
                Reply::Bytes(stored)
            }
            6 => {
                bytes.extend([b"GET ", key, b"\r\n"].concat());
                Reply::Bytes(stored)
            }
            7 => {
                bytes.extend(Client::encode(&[b"ECHO", key]));
                counted -= 1;
                Reply::Bytes(Some(key.to_vec()))
            }
            _ => {
                bytes.extend(Client::encode(&[b"GET", key]));
                Reply::Bytes(stored)
            }
        };
        counted += 1;
        replies.push(reply);
    }
    (bytes, replies, counted)
}

fn commands_processed(client: &mut Client) -> u64 {
    client
        .send(&Client::encode(&[b"INFO", b"stats"]))
        .expect("it goes out");
    let Ok(Reply::Bytes(Some(text))) = client.read() else {
        panic!("INFO is answered by a text");
    };
    let text = String::from_utf8(text).expect("a text");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("total_commands_processed:"));
    line.and_then(|number| number.trim().parse().ok())
        .expect("a number of commands")
}

fn converses(driver: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = [("CORACLE_IO__DRIVER", driver)];
    let node = Node::start_with(&directory.path().join("data"), &[], &settings);
    let mut numbers = Numbers(SEED);
    let (bytes, replies, counted) = conversation(&mut numbers);
    let mut client = node.client();
    let mut pieces = Vec::new();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let longest = match numbers.below(3) {
            0 => 60,
            1 => 3000,
            _ => 100_000,
        };
        let (piece, behind) = rest.split_at(rest.len().min(1 + numbers.below(longest)));
        pieces.push(piece.to_vec());
        rest = behind;
    }
    let before = commands_processed(&mut client);
    let mut copy = client.stream.get_ref().try_clone().expect("a socket");
    let sender =
        std::thread::spawn(move || pieces.iter().try_for_each(|piece| copy.write_all(piece)));
    for (place, expected) in replies.iter().enumerate() {
        let reply = client.read().expect("an answer");
        assert!(
            reply == *expected,
            "{driver}, seed {SEED}, command {place}: {reply:.60?} instead of {expected:.60?}"
        );
    }
    sender.join().expect("no panic").expect("all was sent");
    let after = commands_processed(&mut client);
    assert_eq!(after - before, counted, "{driver}, seed {SEED}");
}

/// More than is told at once, to a client that says nothing more.
fn answers_all_of_a_last_word(driver: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = [("CORACLE_IO__DRIVER", driver)];
    let node = Node::start_with(&directory.path().join("data"), &[], &settings);
    let value = vec![b'v'; 300_000];
    let mut client = node.client();
    assert!(client.set("large", &value));
    let asked = Client::encode(&[b"GET", b"large"]).repeat(60);
    client.send(&asked).expect("it goes out");
    let socket = client.stream.get_ref();
    socket.shutdown(Shutdown::Write).expect("it is open");
    for place in 0..60 {
        let reply = client.read();
        let is_whole = matches!(&reply, Ok(Reply::Bytes(Some(bytes))) if *bytes == value);
        assert!(is_whole, "{driver}, reply {place}: {reply:.60?}");
    }
    let end = client.read().map_err(|error| error.kind());
    assert_eq!(end, Err(ErrorKind::UnexpectedEof), "{driver}");
}

#[test]
fn a_last_word_is_answered_on_the_ring() {
    answers_all_of_a_last_word("auto");
}

#[test]
fn a_last_word_is_answered_without_a_ring() {
    answers_all_of_a_last_word("glommio");
}

#[test]
fn commands_in_a_row_are_answered_in_order_on_the_ring() {
    converses("auto");
}

#[test]
fn commands_in_a_row_are_answered_in_order_without_a_ring() {
    converses("glommio");
}

/// More writes than a region may have under way, of very different sizes, from clients that do not wait: whoever is
/// turned away waits for its turn, and nobody is told of it. `key` names what each client writes, in order.
fn takes_more_than_fits(driver: &str, more: &[&str], key: impl Fn(usize) -> String + Sync) {
    const CLIENTS: usize = 24;
    const WRITES: usize = 48;
    let directory = tempfile::tempdir().expect("a directory");
    let settings = [
        ("CORACLE_IO__DRIVER", driver),
        ("CORACLE_NODE__SHARE_CORES", "true"),
    ];
    let node = Node::start_with(&directory.path().join("data"), more, &settings);
    let key = &key;
    let clients: Vec<_> = (0..CLIENTS).map(|_| node.client()).collect();
    std::thread::scope(|scope| {
        for (number, mut client) in clients.into_iter().enumerate() {
            scope.spawn(move || {
                let mut row = Vec::new();
                for place in 0..WRITES {
                    let key = format!("{}-{number}", key(place));
                    let length = if place % 3 == 0 { 10 } else { 250_000 };
                    let value = vec![b'0' + (place % 10) as u8; length];
                    row.extend(Client::encode(&[b"SET", key.as_bytes(), &value]));
                }
                let mut copy = client.stream.get_ref().try_clone().expect("a socket");
                let sender = std::thread::spawn(move || copy.write_all(&row));
                for place in 0..WRITES {
                    let reply = client.read().expect("an answer");
                    let is_done = reply == Reply::Line("OK".into());
                    assert!(
                        is_done,
                        "{driver}, client {number}, write {place}: {reply:?}"
                    );
                }
                sender.join().expect("no panic").expect("all was sent");
                // The last write of a key is what it holds.
                for last in WRITES - 7..WRITES {
                    let value = client.get(&format!("{}-{number}", key(last)));
                    let first = value.expect("a value")[0];
                    assert_eq!(first, b'0' + (last % 10) as u8, "{driver}, client {number}");
                }
            });
        }
    });
}

#[test]
fn writes_beyond_all_bounds_wait_for_their_turn_on_the_ring() {
    takes_more_than_fits("auto", &[], |place| (place % 7).to_string());
}

#[test]
fn writes_beyond_all_bounds_wait_for_their_turn_without_a_ring() {
    takes_more_than_fits("glommio", &[], |place| (place % 7).to_string());
}

/// Every other write of a connection goes to another shard, which may have room where the one before it had none.
#[test]
fn writes_beyond_all_bounds_of_two_shards_wait_for_their_turn() {
    let more = ["--shards", "2", "--regions", "2"];
    takes_more_than_fits("auto", &more, |place| {
        let shard = if place % 2 == 0 { 'a' } else { 'ä' };
        format!("{shard}{}", place % 8)
    });
}
