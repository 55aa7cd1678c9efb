//! Clients that break every rule: the node cuts them off, stays up, and serves the others.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use coracle::shard::error::Error;
use coracle::shard::request::{Answer, Body, Freshness};
use coracle::wire::native::answer::Answered;
use coracle::wire::native::ask::{self, Ask};
use coracle::wire::native::greet::{WELCOME_BYTES, hello};
use coracle::wire::native::{Arena, frame};

use crate::client::{Client, Reply};
use crate::process::{Node, coracle_with_files, wait_for};

/// What a node may hold beside what it held before.
const MEMORY_MORE: u64 = 256 << 20;

fn connect(node: &Node) -> TcpStream {
    let stream = TcpStream::connect(node.address()).expect("it listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    stream
        .set_write_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    stream
}

/// Sends bytes and nothing more; what comes back until the end.
fn answered(node: &Node, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(node);
    // It may have had enough before all of it was sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        let reset = error.kind() == std::io::ErrorKind::ConnectionReset;
        assert!(
            reset,
            "{error} after {:?}",
            bytes.get(..64).unwrap_or(bytes).escape_ascii().to_string()
        );
    }
    answer
}

fn serves(node: &Node) {
    let mut client = node.client();
    assert!(client.set("still", b"here"));
    assert_eq!(client.get("still"), Some(b"here".to_vec()));
}

#[test]
fn garbage_of_every_protocol_is_cut_off() {
    let directory = tempfile::tempdir().expect("a directory");
    let node = Node::start(&directory.path().join("data"), &[]);
    let native = b"\xC0RACLE\0N\x01\0\0\0";
    let peer = b"\xC0RACLE\0P\x01\0\0\0";
    let behind = |greeting: &[u8], rest: &[u8]| [greeting, rest].concat();
    let broken: Vec<Vec<u8>> = vec![
        b"\0\0\0\0".to_vec(),
        vec![0xff; 100_000],
        b"*1000000000\r\n".to_vec(),
        b"*-5\r\n*0\r\n*1\r\n$-1\r\n".to_vec(),
        b"*2\r\n$99999999999999\r\n".to_vec(),
        b"*2\r\n$3\r\nGET\r\n$536870912\r\n".to_vec(),
        b"*1\r\n$4\r\nPINGxx".to_vec(),
        b"*1\r\n:4\r\n".to_vec(),
        b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\nhal".to_vec(),
        vec![b'a'; 1 << 20],
        behind(b"GET \"", &vec![b'x'; 70_000]),
        b"\x16\x03\x01\x02\x00\x01\x00".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"\xC0RACLE\0".to_vec(),
        b"\xC0RACLE\0X\x01\0\0\0".to_vec(),
        behind(native, &[0xff; 64]),
        behind(native, &[0xff, 0xff, 0xff, 0x7f]),
        behind(native, &[12, 0, 0, 0, 1, 2, 3]),
        behind(
            native,
            &[[60, 0, 0, 0, 1, 1, 0, 0].as_slice(), &[7; 56]].concat(),
        ),
        behind(b"\xC0RACLE\0N\x09\0\0\0", &[0; 10]),
        behind(peer, &[0xff; 200]),
        behind(peer, &[0; 200]),
    ];
    for bytes in &broken {
        answered(&node, bytes);
        // The same, one byte after the other, as far as it is short.
        if bytes.len() < 100 {
            let mut stream = connect(&node);
            let sent = bytes.iter().try_for_each(|byte| stream.write_all(&[*byte]));
            drop((sent, stream));
        }
    }
    serves(&node);
    // Bytes by chance, some of them behind a greeting that is understood.
    let mut state = 7u64;
    let mut next = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as u8
    };
    for round in 0..300 {
        let greeting: &[u8] = match round % 4 {
            0 => b"",
            1 => native,
            2 => b"*3\r\n$3\r\nSET\r\n",
            _ => b"GET / HTTP/1.1\r\n",
        };
        let length = usize::from(next()) * 8;
        let noise: Vec<u8> = (0..length).map(|_| next()).collect();
        answered(&node, &behind(greeting, &noise));
    }
    serves(&node);
    assert_eq!(node.stop(), 0);
}

#[test]
fn many_commands_at_once_are_answered_in_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let node = Node::start(&directory.path().join("data"), &[]);
    let mut client = node.client();
    let mut bytes = Vec::new();
    for number in 0..10_000 {
        let (key, value) = (format!("key-{}", number % 100), number.to_string());
        match number % 2 {
            0 => bytes.extend(Client::encode(&[b"SET", key.as_bytes(), value.as_bytes()])),
            _ => bytes.extend(Client::encode(&[b"ECHO", value.as_bytes()])),
        }
    }
    let copy = client.stream.get_ref().try_clone().expect("a socket");
    let sender = std::thread::spawn(move || {
        let mut copy = copy;
        copy.write_all(&bytes)
    });
    for number in 0..10_000 {
        let expected = match number % 2 {
            0 => Reply::Line("OK".into()),
            _ => Reply::Bytes(Some(number.to_string().into_bytes())),
        };
        assert_eq!(client.read().expect("an answer"), expected);
    }
    sender.join().expect("no panic").expect("all was sent");
    assert_eq!(client.get("key-98"), Some(b"9998".to_vec()));
}

/// Bytes of commands stay until all that are under way together are answered: so of a client that never lets
/// them come to an end only so many are taken at once.
#[test]
fn long_commands_without_end_are_all_answered() {
    let directory = tempfile::tempdir().expect("a directory");
    let node = Node::start(&directory.path().join("data"), &[]);
    let mut client = node.client();
    // After many short replies, more commands may be under way at once.
    let short = Client::encode(&[b"SET", b"a", b"1"]).repeat(1000);
    for _ in 0..8 {
        client.send(&short).expect("it listens");
        for _ in 0..1000 {
            assert_eq!(client.read().expect("an answer"), Reply::Line("OK".into()));
        }
    }
    let before = node.memory();
    let long = Client::encode(&[b"SET", b"b", &[b'x'; 8000]]);
    let count = (24 << 20) / long.len();
    let mut copy = client.stream.get_ref().try_clone().expect("a socket");
    let sender = std::thread::spawn(move || copy.write_all(&long.repeat(count)));
    for _ in 0..count {
        assert_eq!(client.read().expect("an answer"), Reply::Line("OK".into()));
    }
    sender.join().expect("no panic").expect("all was sent");
    serves(&node);
    let more = node.memory().saturating_sub(before);
    assert!(more < MEMORY_MORE, "{} MiB more", more >> 20);
}

/// A client that says that it sends no more, as `nc` does at the end of a file, gets all of its answers.
#[test]
fn what_came_before_the_end_of_a_connection_is_done_and_answered() {
    let directory = tempfile::tempdir().expect("a directory");
    for driver in ["auto", "glommio"] {
        let settings = [
            ("CORACLE_IO__DRIVER", driver),
            ("CORACLE_CLIENT__OUTPUT_MIB", "4"),
        ];
        let node = Node::start_with(&directory.path().join(driver), &[], &settings);
        let commands = (0..5000)
            .flat_map(|number| {
                let key = format!("key-{number}");
                Client::encode(&[b"SET", key.as_bytes(), b"1"])
            })
            .collect::<Vec<u8>>();
        assert_eq!(
            answered(&node, &commands),
            b"+OK\r\n".repeat(5000),
            "{driver}"
        );
        assert_eq!(node.client().get("key-4999"), Some(b"1".to_vec()));
        assert!(node.client().set("large", &vec![b'x'; 100_000]));
        let reads = Client::encode(&[b"GET", b"large"]).repeat(200);
        assert_eq!(answered(&node, &reads).len(), 200 * 100_011, "{driver}");
        // More pages than may wait for one client.
        let pages = b"GET /metrics HTTP/1.1\r\n\r\n".repeat(2000);
        let answer = String::from_utf8(answered(&node, &pages)).expect("text");
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 2000, "{driver}");
    }
}

#[test]
fn whoever_never_reads_is_cut_off_and_costs_little() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = [
        ("CORACLE_CLIENT__STALLED_SECONDS", "2"),
        ("CORACLE_CLIENT__OUTPUT_MIB", "8"),
    ];
    let node = Node::start_with(&directory.path().join("data"), &[], &settings);
    assert!(node.client().set("large", &vec![b'x'; 1 << 20]));
    let before = node.memory();
    let mut deaf: Vec<TcpStream> = (0..4).map(|_| connect(&node)).collect();
    let asked = Client::encode(&[b"GET", b"large"]).repeat(2000);
    let begun = Instant::now();
    let mut most = 0;
    for stream in &mut deaf {
        stream.set_nonblocking(true).expect("it can be");
    }
    let mut sent = vec![0; deaf.len()];
    let mut over = vec![false; deaf.len()];
    while over.iter().any(|over| !over) && begun.elapsed() < Duration::from_secs(30) {
        for (place, stream) in deaf.iter_mut().enumerate() {
            match stream.write(&asked[sent[place] % asked.len()..]) {
                Ok(bytes) => sent[place] += bytes,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => over[place] = true,
            }
        }
        most = most.max(node.memory());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(
        over.iter().all(|over| *over),
        "all of them were cut off: {over:?}"
    );
    assert!(
        most < before + MEMORY_MORE,
        "{} MiB more",
        (most - before) >> 20
    );
    serves(&node);
}

#[test]
fn oddities_of_http_are_answered() {
    let directory = tempfile::tempdir().expect("a directory");
    let node = Node::start(&directory.path().join("data"), &[]);
    let long = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(100_000));
    for (request, expected) in [
        (
            "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 200",
        ),
        ("GET /metrics HTTP/1.0\r\n\r\n", " 200"),
        ("HEAD /status HTTP/1.1\r\nConnection: close\r\n\r\n", " 200"),
        ("GET /nope HTTP/1.1\r\nConnection: close\r\n\r\n", " 404"),
        (
            "POST /status HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            " 405",
        ),
        ("DELETE / HTTP/1.1\r\nConnection: close\r\n\r\n", " 405"),
        ("GET  / HTTP/1.1\r\n\r\n", " 400"),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", " 400"),
        (&long, " 431"),
    ] {
        let answer = String::from_utf8_lossy(&answered(&node, request.as_bytes())).into_owned();
        let first = answer.lines().next().unwrap_or_default();
        let shown = &request[..request.len().min(60)];
        assert!(
            first.starts_with("HTTP/1.") && first.contains(expected),
            "{shown:?}: {first:?}"
        );
    }
    // Two in one, on a connection that goes on; the rest of a third never comes.
    let two = "GET /healthz HTTP/1.1\r\n\r\nGET /healthz HTTP/1.1\r\n\r\nGET /hea";
    let answer = String::from_utf8_lossy(&answered(&node, two.as_bytes())).into_owned();
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
    serves(&node);
}

#[test]
fn there_are_only_so_many_connections() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = [("CORACLE_CLIENT__CONNECTIONS_MAX", "10")];
    let node = Node::start_with(&directory.path().join("data"), &[], &settings);
    let mut clients: Vec<Client> = (0..10).map(|_| node.client()).collect();
    for client in &mut clients {
        assert_eq!(client.ask(&["PING"]), Reply::Line("PONG".into()));
    }
    let mut more = node.client();
    match more.read() {
        Ok(Reply::Error(why)) => assert_eq!(why, "ERR max number of clients reached"),
        other => panic!("{other:?}"),
    }
    // Those that are there go on, and whoever leaves makes room.
    assert!(clients[3].set("a", b"1"));
    clients.truncate(5);
    wait_for("there is room", || {
        node.client()
            .try_ask(&[b"PING"])
            .is_ok_and(|reply| reply == Reply::Line("PONG".into()))
    });
}

/// Where a process may open no more files, connections wait, and whoever is there is served on; the log is not
/// filled with the same line.
#[test]
fn without_files_left_connections_wait_quietly() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let node = Node::start_by(coracle_with_files(64), &data, &[], &[]);
    let mut client = node.client();
    assert!(client.set("a", b"1"));
    let many: Vec<TcpStream> = (0..80).map(|_| connect(&node)).collect();
    let refused = || node.told().matches("could not be accepted").count();
    wait_for("an accept has failed", || refused() > 0);
    let before = refused();
    let begun = Instant::now();
    for number in 0..2000 {
        assert!(client.set(&format!("key-{number}"), b"1"));
    }
    let (more, tenths) = (
        refused() - before,
        begun.elapsed().as_millis() as usize / 100,
    );
    assert!(
        more <= 2 * (tenths + 2),
        "{more} lines in {tenths} tenths of a second"
    );
    drop(many);
    wait_for("connections are accepted again", || {
        let reply = node.client().try_ask(&[b"PING"]);
        reply.is_ok_and(|reply| reply == Reply::Line("PONG".into()))
    });
}

#[test]
fn whoever_says_nothing_is_not_waited_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let node = Node::start(&directory.path().join("data"), &[]);
    let mut silent: Vec<TcpStream> = (0..200).map(|_| connect(&node)).collect();
    let begun = Instant::now();
    for stream in &mut silent {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    serves(&node);
}

/// Waits until a node sends nothing more.
fn is_quiet(node: &Node) {
    let sent = || {
        let page =
            String::from_utf8_lossy(&answered(node, b"GET /metrics HTTP/1.0\r\n\r\n")).into_owned();
        let number = |name: &str| {
            let line = page.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        };
        let turns = number("coracle_turn_seconds_count").expect("it turns");
        (
            turns,
            number("coracle_requests_under_way").expect("it is counted"),
        )
    };
    // What is counted is told now and then.
    let mut before = sent();
    let mut same = 0;
    wait_for("nothing is under way", || {
        let now = sent();
        same = match (now.0 > before.0, now.1 == before.1) {
            (true, true) => same + 1,
            (true, false) => 0,
            _ => same,
        };
        before = now;
        same >= 3
    });
}

/// Requests that were taken in while answers were short, and whose answers are long and not read.
#[test]
fn long_answers_that_nobody_reads_are_not_kept() {
    const COUNT: u64 = 600;
    let directory = tempfile::tempdir().expect("a directory");
    let settings = [("CORACLE_CLIENT__OUTPUT_MIB", "8")];
    let node = Node::start_with(&directory.path().join("data"), &[], &settings);
    assert!(node.client().set("large", &vec![b'x'; 1 << 20]));
    let mut stream = connect(&node);
    stream.write_all(&hello()).expect("it listens");
    stream
        .read_exact(&mut [0; WELCOME_BYTES])
        .expect("a welcome");
    let (mut arena, mut number) = (Arena::default(), 0);
    let mut asked = |count: u64, key: &[u8]| {
        let mut bytes = Vec::new();
        for _ in 0..count {
            number += 1;
            let ask = Ask {
                id: number,
                ..Ask::default()
            };
            let body = Body::Get {
                key,
                freshness: Freshness::Linearizable,
            };
            ask::encode(&ask, &body, &mut arena, &mut bytes).expect("it is short");
        }
        bytes
    };
    let answer = |stream: &mut TcpStream| {
        let mut head = [0; 4];
        stream.read_exact(&mut head).expect("an answer");
        let length = frame::length(&head).expect("a length").expect("all of it");
        let mut bytes = vec![0; length];
        bytes[..4].copy_from_slice(&head);
        stream.read_exact(&mut bytes[4..]).expect("all of it");
        Answered::decode(&Bytes::from(bytes)).expect("an answer")
    };
    // After many short answers many may be under way.
    for _ in 0..50 {
        stream
            .write_all(&asked(100, b"\x01none"))
            .expect("it listens");
        for _ in 0..100 {
            assert_eq!(answer(&mut stream).result, Ok(Answer::Value(None)));
        }
    }
    let before = node.memory();
    stream
        .write_all(&asked(COUNT, b"\x01large"))
        .expect("it listens");
    is_quiet(&node);
    let more = node.memory().saturating_sub(before);
    assert!(more < MEMORY_MORE, "{} MiB more", more >> 20);
    serves(&node);
    let (mut values, mut seen) = (0, BTreeSet::new());
    for _ in 0..COUNT {
        let answered = answer(&mut stream);
        assert!(seen.insert(answered.id), "it is answered once");
        match answered.result {
            Ok(Answer::Value(Some(value))) => {
                assert_eq!(value.len(), 1 << 20);
                values += 1;
            }
            Ok(other) => panic!("{other:?}"),
            Err(failure) => assert_eq!(failure.number, Error::ServerIsBusy("").number()),
        }
    }
    println!(
        "{values} values, {} that may be asked for again, {} MiB more",
        COUNT - values,
        more >> 20
    );
    assert!(values >= 8, "{values}");
}

/// The same of a client of Redis: its commands are answered in order and whole, when it reads.
#[test]
fn long_replies_that_nobody_reads_are_not_kept_either() {
    const COUNT: usize = 600;
    let directory = tempfile::tempdir().expect("a directory");
    let settings = [("CORACLE_CLIENT__OUTPUT_MIB", "8")];
    let node = Node::start_with(&directory.path().join("data"), &[], &settings);
    let mut client = node.client();
    assert!(client.set("large", &vec![b'x'; 1 << 20]));
    let short = Client::encode(&[b"SET", b"a", b"1"]).repeat(1000);
    for _ in 0..8 {
        client.send(&short).expect("it listens");
        for _ in 0..1000 {
            assert_eq!(client.read().expect("an answer"), Reply::Line("OK".into()));
        }
    }
    let before = node.memory();
    let asked = (0..COUNT).flat_map(|number| {
        let from = number.to_string();
        Client::encode(&[b"GETRANGE", b"large", from.as_bytes(), b"-1"])
    });
    client
        .send(&asked.collect::<Vec<u8>>())
        .expect("it listens");
    is_quiet(&node);
    let more = node.memory().saturating_sub(before);
    assert!(more < MEMORY_MORE, "{} MiB more", more >> 20);
    serves(&node);
    for number in 0..COUNT {
        let Ok(Reply::Bytes(Some(piece))) = client.read() else {
            panic!("no piece {number}");
        };
        assert_eq!(piece.len(), (1 << 20) - number);
    }
    println!("{} MiB more", more >> 20);
}
