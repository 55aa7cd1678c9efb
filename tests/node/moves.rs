//! Replicas are moved by hand, and placement is held.

use serde_json::Value;

use crate::process::{Node, refused, wait_for};

/// What a command prints as JSON.
fn json(node: &Node, arguments: &[&str]) -> Value {
    let (code, text, told) = node.command(&[arguments, &["--json"]].concat());
    assert_eq!(code, 0, "{arguments:?}: {told}");
    serde_json::from_str(&text).expect("JSON")
}

/// Why a command fails.
fn refusal(node: &Node, arguments: &[&str]) -> String {
    let (code, _, told) = node.command(arguments);
    assert_eq!(code, 1, "{arguments:?}: {told}");
    told
}

#[test]
fn a_region_moves_between_the_cores_of_a_node_and_placement_is_held() {
    let directory = tempfile::tempdir().expect("a directory");
    let still = [("CORACLE_PLACEMENT__BALANCE", "false")];
    let data = directory.path().join("data");
    let node = Node::start_with(&data, &["--shards", "2"], &still);
    let mut client = node.client();
    for number in 0..200 {
        assert!(client.set(&format!("key-{number}"), b"value"));
    }
    wait_for("placement knows the region", || {
        json(&node, &["placement", "show"])["regions"] == 2
    });
    let peer = json(&node, &["region", "show", "2"])["peers"][0].clone();
    let from = peer["store"].as_u64().expect("a store");
    let stores = json(&node, &["placement", "show"])["stores"].clone();
    let stores = stores.as_array().expect("stores").iter();
    let mut others = stores.filter_map(|store| store["store"].as_u64());
    let to = others.find(|store| *store != from).expect("two stores");
    let (from, to) = (from.to_string(), to.to_string());
    let told = refusal(&node, &["region", "move", "2", &from, "99"]);
    assert!(told.contains("there is no store 99"), "{told}");
    let told = refusal(&node, &["region", "move", "2", &from, &from]);
    assert!(
        told.contains("holds a replica of region 2 already"),
        "{told}"
    );
    let told = refusal(&node, &["region", "move", "2", &to, &from]);
    assert!(told.contains("region 2 has no peer"), "{told}");

    let (code, text, told) = node.command(&["placement", "pause"]);
    assert_eq!(code, 0, "{text}{told}");
    let told = refusal(&node, &["region", "move", "2", &from, &to]);
    assert!(told.contains("placement is paused"), "{told}");
    assert_eq!(node.stop(), 0);

    let node = Node::start_with(&data, &["--shards", "2"], &still);
    wait_for("placement serves", || {
        node.command(&["placement", "show"]).0 == 0
    });
    let held = json(&node, &["placement", "show"]);
    assert_eq!(held["paused"], true, "it outlives the process: {held}");
    let (code, text, told) = node.command(&["placement", "resume"]);
    assert_eq!(code, 0, "{text}{told}");
    wait_for("the node tells of its regions, and is heard", || {
        let (code, _, told) = node.command(&["region", "move", "2", &from, &to]);
        let early = ["silent", "no node tells", "has no peer", "full"];
        assert!(
            code == 0 || early.iter().any(|word| told.contains(word)),
            "{told}"
        );
        code == 0
    });
    let (_, shown, _) = node.command(&["placement", "show"]);
    assert!(shown.contains("done"), "{shown}");
    wait_for("its page tells of it", || {
        let region = json(&node, &["region", "show", "2"]);
        let peers = region["peers"].as_array().expect("peers");
        peers.len() == 1 && peers[0]["store"].as_u64() == to.parse().ok()
    });
    let mut client = node.client();
    for number in 0..200 {
        let value = client.get(&format!("key-{number}"));
        assert_eq!(value.as_deref(), Some(&b"value"[..]), "key-{number}");
    }
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_node_says_where_it_stands_and_may_say_otherwise_when_it_starts_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    for (labels, shown) in [
        (
            &["--label", "zone=a", "--label", "rack=1"][..],
            "zone=a, rack=1",
        ),
        (&["--label", "zone=b"], "zone=b"),
        (&[], ""),
        (&["--label", "zone=a,rack=1"], "zone=a, rack=1"),
    ] {
        let node = Node::start(&data, labels);
        wait_for("it is told of where it stands", || {
            let (_, list, _) = node.command(&["node", "list"]);
            let row = list.lines().nth(1).unwrap_or_default().trim_end();
            match shown {
                "" => !row.is_empty() && !row.contains('='),
                shown => row.ends_with(shown),
            }
        });
        assert_eq!(node.stop(), 0);
    }
    for (label, words) in [("zone", "is no label"), ("zone=a,zone=b", "twice")] {
        let path = data.to_str().expect("a path");
        let (code, told) = refused(&["--data", path, "--label", label]);
        assert_eq!(code, 2, "{told}");
        assert!(told.contains(words), "{told}");
    }
}
