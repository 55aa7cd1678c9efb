//! What a new user does wrong, what the node says then, and how it ends.

use std::path::Path;

use crate::process::{Node, coracle, coracle_with_files, refused, run, tool};

fn text(path: &Path) -> &str {
    path.to_str().expect("a path")
}

/// The code, and that it says so.
#[track_caller]
fn expect(refused: (i32, String), code: i32, words: &[&str]) {
    assert_eq!(refused.0, code, "{}", refused.1);
    for word in words {
        assert!(
            refused.1.contains(word),
            "'{word}' is missing: {}",
            refused.1
        );
    }
    assert!(!refused.1.contains("panicked"), "{}", refused.1);
}

#[test]
fn flags_and_settings_that_cannot_be() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = text(directory.path());
    expect(refused(&["--bogus"]), 2, &["--bogus", "--help"]);
    expect(
        refused(&["--data", data, "--shards", "0"]),
        2,
        &["invalid value '0'", "from 1 to 256"],
    );
    expect(refused(&["--data", data, "--shards", "many"]), 2, &["many"]);
    expect(
        refused(&["--data", data, "--shards", "250"]),
        2,
        &["250 shards", "cores"],
    );
    expect(
        refused(&["--data", data, "--cores", "9999"]),
        2,
        &["core 9999 is not there"],
    );
    expect(
        refused(&["--data", data, "--cores", "0,0"]),
        2,
        &["core 0 is named twice"],
    );
    expect(
        refused(&["--data", data, "--listen", "7400"]),
        2,
        &["'7400' is not HOST:PORT"],
    );
    expect(
        refused(&["--data", data, "--listen", "192.0.2.1:7400"]),
        2,
        &["192.0.2.1 is no address"],
    );
    expect(
        refused(&["--data", data, "--listen", "0.0.0.0:0"]),
        2,
        &["--advertise"],
    );
    expect(
        refused(&["--data", data, "--join", "nowhere"]),
        2,
        &["nowhere"],
    );
    expect(
        refused(&["--data", data, "--replicas", "0"]),
        2,
        &["invalid value '0'", "from 1 to 7"],
    );
    expect(
        refused(&["--data", data, "--level", "=,="]),
        2,
        &["telling.level"],
    );
    expect(
        refused(&["--data", data, "--level", "loud"]),
        2,
        &["telling.level is 'loud'", "debug"],
    );
    expect(
        refused(&["--data", data, "--cores", "0-3"]),
        2,
        &["0-3", "as in 0,2,3"],
    );
    expect(
        refused(&["--data", "/dev/null"]),
        2,
        &["/dev/null", "not a directory"],
    );
    expect(
        refused(&["--config", "/no/such/file"]),
        2,
        &["/no/such/file"],
    );
    let file = directory.path().join("coracle.toml");
    std::fs::write(&file, "[node]\nlisen = \"x\"\n").expect("it can be written");
    expect(
        refused(&["--config", text(&file)]),
        2,
        &["line 2", "lisen", "listen"],
    );
    for (name, value, word) in [
        ("CORACLE_NODE__SHARD", "1", "CORACLE_NODE__SHARD"),
        ("CORACLE_NODE__SHARDS", "two", "CORACLE_NODE__SHARDS=two"),
        ("CORACLE_NODE_SHARDS", "1", "CORACLE_NODE__SHARDS does"),
        ("CORACLE_RAFT__TICK_MS", "1", "raft.tick_ms is 1"),
        ("CORACLE_RAFT__LEASE_MS", "100000", "from 0 to 902"),
    ] {
        let (code, _, told) = run(coracle(&["start", "--data", data]).env(name, value));
        expect((code, told), 2, &[word]);
    }
    let left: Vec<_> = std::fs::read_dir(directory.path())
        .expect("it is there")
        .flatten()
        .collect();
    let names: Vec<_> = left.iter().map(|entry| entry.file_name()).collect();
    assert!(
        !names.iter().any(|name| name == "node"),
        "nothing was begun: {names:?}"
    );
}

#[test]
fn a_directory_and_a_port_have_one_node() {
    let directory = tempfile::tempdir().expect("a directory");
    let (one, two) = (directory.path().join("one"), directory.path().join("two"));
    let node = Node::start(&one, &[]);
    let pid = format!("process {}", node.pid());
    let again = refused(&[
        "--data",
        text(&one),
        "--listen",
        "127.0.0.1:0",
        "--shards",
        "1",
    ]);
    expect(again, 10, &["is in use", &pid, "--data"]);
    // The port that the shards share, below the port that is the first shard's own.
    let own: u16 = node
        .word("shards")
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port");
    let at = format!("127.0.0.1:{}", own - 1);
    let second = refused(&["--data", text(&two), "--listen", &at, "--shards", "1"]);
    expect(second, 13, &["in use", "--listen"]);
    let mut client = node.client();
    assert!(client.set("still", b"here"));
    assert_eq!(node.stop(), 0);
}

#[test]
fn two_nodes_at_one_address_are_noticed() {
    let directory = tempfile::tempdir().expect("a directory");
    let (one, two) = (directory.path().join("one"), directory.path().join("two"));
    // A port that is free, and the next one too, as far as anybody knows.
    let (node, address) = (0..20)
        .find_map(|_| {
            let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = free.local_addr().expect("an address");
            drop(free);
            let above = (address.ip(), address.port().checked_add(1)?);
            std::net::TcpListener::bind(above).ok()?;
            let address = address.to_string();
            Some((Node::start(&one, &["--listen", &address]), address))
        })
        .expect("two free ports");
    let second = refused(&["--data", text(&two), "--listen", &address, "--shards", "1"]);
    expect(second, 13, &["in use", "--listen"]);
    assert!(node.client().set("still", b"here"));
}

#[test]
fn the_number_of_shards_is_kept() {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    assert_eq!(Node::start(&data, &["--shards", "1"]).stop(), 0);
    let other = refused(&[
        "--data",
        text(&data),
        "--listen",
        "127.0.0.1:0",
        "--shards",
        "2",
    ]);
    expect(other, 12, &["made with --shards 1", "with 2"]);
    // Without a word about it, it takes what there is.
    let node = Node::start(&data, &["--shards", "1"]);
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_directory_of_another_cluster_does_not_join() {
    let directory = tempfile::tempdir().expect("a directory");
    let (one, two) = (directory.path().join("one"), directory.path().join("two"));
    let first = Node::start(&one, &[]);
    let second = Node::start(&two, &[]);
    let (ours, theirs) = (second.word("cluster"), first.word("cluster"));
    assert_eq!(second.stop(), 0);
    let arguments = [
        "--data",
        text(&two),
        "--listen",
        "127.0.0.1:0",
        "--shards",
        "1",
        "--join",
        &first.address(),
    ];
    expect(refused(&arguments), 11, &[&ours, &theirs, "--join"]);
    // It is as it was.
    assert_eq!(Node::start(&two, &[]).word("cluster"), ours);
}

#[test]
fn an_address_at_which_another_node_answers_is_not_advertised() {
    let directory = tempfile::tempdir().expect("a directory");
    let (one, two) = (directory.path().join("one"), directory.path().join("two"));
    let first = Node::start(&one, &[]);
    let there = first.address();
    let data = [
        "--data",
        text(&two),
        "--listen",
        "127.0.0.1:0",
        "--shards",
        "1",
    ];
    let taken = ["--join", &there, "--advertise", &there];
    // Said again, it is refused again: nothing was kept of it.
    for _ in 0..2 {
        let words = ["another node answers", &there, "store 1 of cluster"];
        expect(refused(&[&data[..], &taken].concat()), 2, &words);
    }
    let (_, list, _) = first.command(&["node", "list"]);
    assert_eq!(list.lines().count(), 2, "{list}");
    // At an address of its own it joins.
    let second = Node::start(&two, &["--join", &there, "--advertise", "localhost:0"]);
    assert_eq!(second.word("cluster"), first.word("cluster"));
}

#[test]
fn a_full_disk_at_start_is_said_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    // Files may not grow beyond 20 MiB: one segment fits neither its zeros nor its header.
    let program = env!("CARGO_BIN_EXE_coracle");
    let mut shell = std::process::Command::new("sh");
    shell
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 40960; exec \"$0\" \"$@\"",
            program,
            "start",
        ])
        .args([
            "--data",
            text(&data),
            "--listen",
            "127.0.0.1:0",
            "--shards",
            "1",
        ]);
    let (code, _, told) = run(&mut shell);
    expect((code, told), 16, &["no space", "log"]);
    // Where there is space again, it begins.
    let node = Node::start_with(&data, &[], &[("CORACLE_LOG__SEGMENT_MIB", "64")]);
    assert!(node.client().set("a", b"1"));
}

#[test]
fn too_few_files_are_not_taken_for_a_full_disk() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let arguments = [
        "start",
        "--data",
        text(&data),
        "--listen",
        "127.0.0.1:0",
        "--shards",
        "1",
    ];
    let (code, _, told) = run(coracle_with_files(16).args(arguments));
    expect((code, told), 2, &["may open 16 files", "ulimit -n"]);
}

#[test]
fn a_copy_of_a_directory_does_not_run_beside_the_original() {
    let directory = tempfile::tempdir().expect("a directory");
    let (one, two) = (directory.path().join("one"), directory.path().join("two"));
    let node = Node::start(&one, &[]);
    assert!(node.client().set("a", b"1"));
    assert!(tool("cp", &["-r", text(&one), text(&two)]));
    let copy = [
        "--data",
        text(&two),
        "--listen",
        "127.0.0.1:0",
        "--shards",
        "1",
    ];
    let name = format!("node {} runs already", node.word("node"));
    expect(refused(&copy), 10, &[&name, &node.address(), "copy"]);
    // Where the original is gone, what was copied may take its place.
    assert_eq!(node.stop(), 0);
    let node = Node::start(&two, &[]);
    assert_eq!(node.client().get("a"), Some(b"1".to_vec()));
}

#[test]
fn a_node_that_waits_for_others_can_be_told_to_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let nobody = free.local_addr().expect("an address").to_string();
    drop(free);
    let arguments = [
        "start",
        "--data",
        text(&data),
        "--listen",
        "127.0.0.1:0",
        "--shards",
        "1",
        "--join",
        &nobody,
    ];
    let mut child = coracle(&arguments).spawn().expect("it starts");
    crate::process::wait_for("it has begun", || data.join("node").exists());
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(crate::process::tool(
        "kill",
        &["-TERM", &child.id().to_string()]
    ));
    let mut code = None;
    crate::process::wait_for("it ends", || {
        code = child.try_wait().expect("a child");
        code.is_some()
    });
    assert_eq!(code.and_then(|status| status.code()), Some(0));
}
