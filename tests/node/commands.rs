//! The commands as a person and a script run them: what they print, and how they end.

use std::net::TcpListener;

use serde_json::Value;

use crate::process::{Node, coracle, run};

#[test]
fn keys_are_read_and_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let node = Node::start(&directory.path().join("data"), &[]);
    for (line, code, printed) in [
        ("put a 1", 0, "ok\n"),
        ("get a", 0, "1\n"),
        ("get nope", 1, ""),
        ("get nope --json", 1, "{\"found\":false,\"key\":\"nope\"}\n"),
        ("put x\\xff v\\n\\\\", 0, "ok\n"),
        ("get x\\xff", 0, "v\\n\\\\\n"),
        (
            "get x\\xff --json",
            0,
            "{\"found\":true,\"key_hex\":\"78ff\",\"value\":\"v\\n\\\\\"}\n",
        ),
        ("put --raw r\\xff 2", 0, "ok\n"),
        ("get --raw r\\xff", 0, "2"),
        ("scan", 0, "a\t1\nr\\\\xff\t2\nx\\xff\tv\\n\\\\\n"),
        ("scan --reverse --count 1 --keys", 0, "x\\xff\n"),
        ("scan b x", 0, "r\\\\xff\t2\n"),
        (
            "scan --prefix a --json",
            0,
            "{\"key\":\"a\",\"value\":\"1\"}\n",
        ),
        ("scan --prefix \\xff", 0, ""),
        ("cas a --expect 2 3", 1, ""),
        (
            "cas a --expect 2 3 --json",
            1,
            "{\"ok\":false,\"previous\":\"1\"}\n",
        ),
        ("cas a --expect 1 3", 0, "ok\n"),
        ("cas a --absent 4", 1, ""),
        ("cas b --absent 4", 0, "ok\n"),
        ("cas b --expect 4 --delete", 0, "ok\n"),
        ("get b", 1, ""),
        ("incr count", 0, "1\n"),
        ("incr count -5", 0, "-4\n"),
        ("incr count 10 --json", 0, "{\"value\":6}\n"),
        ("incr x\\xff", 1, ""),
        ("del a count never", 0, "ok\n"),
        ("get a", 1, ""),
        ("put neg -- -5", 0, "ok\n"),
        ("put neg -6", 0, "ok\n"),
        ("get neg", 0, "-6\n"),
        ("cas neg --expect -6 -7", 0, "ok\n"),
        ("put -8 -9", 0, "ok\n"),
        ("get -8", 0, "-9\n"),
        ("scan -8 -9", 0, "-8\t-9\n"),
        ("get -x", 2, ""),
        ("put short 1 --ttl 1000", 0, "ok\n"),
        ("get short", 0, "1\n"),
        ("cas a", 2, ""),
        ("cas a --absent --delete", 2, ""),
        ("put a b\\q", 2, ""),
        ("put a", 2, ""),
        ("put a b --ttl 0", 2, ""),
        ("scan --prefix a b", 2, ""),
        ("get a --target nowhere", 2, ""),
        ("get a --target 127.0.0.1:1", 1, ""),
        ("region show 999", 1, ""),
        ("region show 2", 0, "region     2\n"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let (ended, out, told) = node.command(&words);
        assert_eq!(ended, code, "{line}: {out}{told}");
        match line.starts_with("region") {
            true => assert!(out.starts_with(printed), "{line}: {out}"),
            false => assert_eq!(out, printed, "{line}"),
        }
        assert_eq!(told.is_empty(), code == 0, "{line}: {told}");
    }
    assert_eq!(node.command(&["put", "brief", "1", "--ttl", "1"]).0, 0);
    crate::process::wait_for("it is gone", || node.command(&["get", "brief"]).0 == 1);
}

#[test]
fn long_scans_come_whole_and_stop_when_nobody_reads() {
    let directory = tempfile::tempdir().expect("a directory");
    let node = Node::start(&directory.path().join("data"), &[]);
    let mut client = node.client();
    let value = vec![b'v'; 100_000];
    for number in 0..100 {
        assert!(client.set(&format!("key-{number:04}"), &value));
    }
    let (code, out, told) = node.command(&["scan", "--keys"]);
    assert_eq!(code, 0, "{told}");
    let forwards: Vec<&str> = out.lines().collect();
    assert_eq!(forwards.len(), 100);
    let (_, out, _) = node.command(&["scan", "--keys", "--reverse"]);
    let mut backwards: Vec<&str> = out.lines().collect();
    backwards.reverse();
    assert_eq!(forwards, backwards);
    let line = format!(
        "{} scan | head -n 1 | cut -c 1-8",
        env!("CARGO_BIN_EXE_coracle")
    );
    let mut shell = std::process::Command::new("sh");
    let (code, out, told) = run(shell
        .args(["-c", &line])
        .env("CORACLE_TARGET", node.address()));
    assert_eq!((code, out.as_str(), told.as_str()), (0, "key-0000\n", ""));
}

/// A port that is free, and so is the next one.
fn free_port() -> u16 {
    loop {
        let one = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = one.local_addr().expect("an address").port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

#[test]
fn a_node_that_comes_back_to_an_address_is_found_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let first = format!("127.0.0.1:{}", free_port());
    for listen in [&first[..], "127.0.0.1:0", &first[..]] {
        let node = Node::start(&data, &["--listen", listen]);
        let address = node.address();
        crate::process::wait_for("it is told of where it is", || {
            let (_, list, _) = node.command(&["node", "list"]);
            list.contains(&address) && list.contains(" up ")
        });
        assert_eq!(node.stop(), 0);
    }
}

#[test]
fn what_does_not_answer_is_told_in_words() {
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = mute.local_addr().expect("an address").to_string();
    let (code, _, told) = run(&mut coracle(&[
        "get",
        "a",
        "--target",
        &at,
        "--timeout",
        "1",
    ]));
    assert_eq!(code, 1);
    assert!(told.contains("no answer within 1 s"), "{told}");
    for (value, words) in [
        ("1h", "from 1 to 10000000000"),
        ("-1", "from 1 to 10000000000"),
    ] {
        let (code, _, told) = run(&mut coracle(&["put", "a", "b", "--ttl", value]));
        assert_eq!(code, 2);
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn a_cluster_tells_how_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let node = Node::start(&directory.path().join("data"), &[]);
    let cluster = node.word("cluster");
    for command in [&["status"][..], &["node", "list"], &["region", "list"]] {
        crate::process::wait_for("all is told", || {
            let (code, text, told) = node.command(command);
            assert_eq!(code, 0, "{command:?}: {told}");
            let wanted = match command {
                ["status"] => {
                    text.contains(&cluster)
                        && text.contains("all of them led")
                        && text.contains("data  ")
                }
                ["node", ..] => text.contains("up") && text.contains(&node.address()),
                _ => text.lines().count() == 3 && text.contains("REGION"),
            };
            let (code, json, _) = node.command(&[command, &["--json"]].concat());
            wanted && code == 0 && serde_json::from_str::<Value>(&json).is_ok()
        });
    }
}

#[test]
fn help_and_settings_are_printed() {
    for command in [
        &["--help"][..],
        &["start", "--help"],
        &["status", "--help"],
        &["get", "--help"],
        &["put", "--help"],
        &["del", "--help"],
        &["scan", "--help"],
        &["cas", "--help"],
        &["incr", "--help"],
        &["region", "add-peer", "--help"],
        &["region", "remove-peer", "--help"],
        &["region", "transfer-leader", "--help"],
        &["region", "move", "--help"],
        &["region", "list", "--help"],
        &["placement", "show", "--help"],
        &["placement", "pause", "--help"],
        &["placement", "resume", "--help"],
        &["node", "list", "--help"],
        &["config", "check", "--help"],
        &["config", "print", "--help"],
    ] {
        let (code, text, _) = run(&mut coracle(command));
        assert_eq!(code, 0);
        let wanted = match command {
            ["--help"] => "Exit codes:",
            _ => "Examples:",
        };
        assert!(text.contains(wanted), "{command:?}: {text}");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("coracle.toml");
    let path = file.to_str().expect("a path");
    let (code, printed, _) =
        run(coracle(&["config", "print", "--shards", "1"]).env("CORACLE_IO__SPIN_US", "50"));
    assert_eq!(code, 0);
    assert!(printed.contains("spin_us = 50"), "{printed}");
    std::fs::write(&file, &printed).expect("it can be written");
    assert_eq!(run(&mut coracle(&["config", "check", path])).0, 0);
    let (_, again, _) = run(&mut coracle(&["config", "print", "--config", path]));
    assert_eq!(again, printed);
    let (code, json, _) = run(&mut coracle(&[
        "config", "print", "--config", path, "--json",
    ]));
    let value: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((code, &value["io"]["spin_us"]), (0, &Value::from(50)));
    for wrong in [
        "[node]\nlisten = \"7400\"\n",
        "[node]\nreplicas = 9\n",
        "[nod]\n",
    ] {
        std::fs::write(&file, wrong).expect("it can be written");
        let (code, _, told) = run(&mut coracle(&["config", "check", path]));
        assert_eq!(code, 2, "{told}");
    }
}
