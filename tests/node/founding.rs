//! Clusters that begin with several regions.

use serde_json::Value;

use crate::process::{Node, refused, wait_for};

/// The regions that a node tells of, with where each begins and the store that it is led on.
fn regions(node: &Node) -> Vec<(String, u64)> {
    let (code, text, told) = node.command(&["region", "list", "--json"]);
    assert_eq!(code, 0, "{told}");
    let value: Value = serde_json::from_str(&text).expect("JSON");
    let regions = value["regions"].as_array().expect("regions");
    let store = |region: &Value| {
        let leader = region["leader"].as_u64();
        let peers = region["peers"].as_array().into_iter().flatten();
        let mut stores = peers.filter(|peer| peer["peer"].as_u64() == leader);
        stores.next().and_then(|peer| peer["store"].as_u64())
    };
    let start = |region: &Value| region["start"].as_str().expect("a key").to_string();
    let led = regions
        .iter()
        .map(|region| Some((start(region), store(region)?)));
    led.collect::<Option<Vec<_>>>().unwrap_or_default()
}

#[test]
fn a_cluster_begins_with_the_regions_that_are_wanted() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("one");
    let shards = [("CORACLE_NODE__SHARE_CORES", "true")];
    let start = |more: &[&str]| Node::start_with(&data, more, &shards);
    let node = start(&["--shards", "2", "--regions", "5"]);
    wait_for("all are led", || regions(&node).len() == 6);
    let all = regions(&node);
    let starts: Vec<&str> = all.iter().map(|(start, _)| &start[..]).collect();
    assert_eq!(
        starts,
        [
            "",
            "\\x01",
            "\\x0133",
            "\\x01ff",
            "\\x01\\x99\\x99",
            "\\x01\\xcc\\xcc"
        ]
    );
    for store in [1, 2] {
        let led = all.iter().filter(|(_, on)| *on == store).count();
        assert_eq!(led, 3, "{all:?}");
    }
    let mut client = node.client();
    for key in ["", "a", "o", "\u{7f}"] {
        assert!(client.set(key, b"value"), "{key}");
    }
    assert!(!node.data.join("borders").exists());
    assert_eq!(node.stop(), 0);
    // What a node begins with is asked once.
    let node = start(&["--shards", "2", "--regions", "9"]);
    wait_for("all are led", || regions(&node).len() == 6);
    assert!(
        node.told().contains("belongs to a cluster already"),
        "{}",
        node.told()
    );
    let other = directory.path().join("two");
    let (code, told) = refused(&[
        "--data",
        other.to_str().expect("a path"),
        "--join",
        &node.address(),
        "--regions",
        "9",
    ]);
    assert_eq!(code, 2, "{told}");
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_file_says_where_regions_begin() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("keys");
    let path = file.to_str().expect("a path");
    let data = directory.path().join("one");
    let refused_with = |text: &str| {
        std::fs::write(&file, text).expect("a file");
        let arguments = [
            "--data",
            data.to_str().expect("a path"),
            "--regions-file",
            path,
        ];
        let (code, told) = refused(&arguments);
        assert_eq!(code, 2, "{told}");
        told
    };
    assert!(refused_with("m\nt\\q\n").contains("line 2 has a backslash"));
    assert!(refused_with("m\nt\nm\n").contains("the key 'm' is there twice"));
    let long = |number: usize| format!("{number:04000}\n");
    let many: String = (0..2000).map(long).collect();
    assert!(refused_with(&many).contains("begin with fewer, and split later"));
    std::fs::write(&file, "user:5\n\nuser:\\xff\nm\n").expect("a file");
    let node = Node::start(&data, &["--regions-file", path]);
    wait_for("all are led", || regions(&node).len() == 5);
    let starts: Vec<String> = regions(&node).into_iter().map(|(start, _)| start).collect();
    assert_eq!(
        starts,
        ["", "\\x01", "\\x01m", "\\x01user:5", "\\x01user:\\xff"]
    );
    assert_eq!(node.stop(), 0);
}
