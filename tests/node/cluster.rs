//! Several nodes: they join, regions gain replicas, any of them answers for all.

use std::path::Path;

use serde_json::Value;

use crate::client::Reply;
use crate::process::{Node, refused, wait_for};

/// Three nodes whose regions have three replicas each.
fn three(directory: &Path) -> [Node; 3] {
    // Whoever evens out leaders as well takes back what is handed over here.
    let still = [("CORACLE_PLACEMENT__BALANCE", "false")];
    let one = Node::start_with(&directory.join("one"), &[], &still);
    let join = one.address();
    let two = Node::start_with(&directory.join("two"), &["--join", &join], &still);
    let three = Node::start_with(&directory.join("three"), &["--join", &join], &still);
    wait_for("three replicas each", || replicas(&one) == Some(3));
    [one, two, three]
}

/// How many voters the region with the fewest has; none if that is not known.
fn replicas(node: &Node) -> Option<usize> {
    let (code, text, _) = node.command(&["region", "list", "--json"]);
    let value: Value = serde_json::from_str(&text).ok().filter(|_| code == 0)?;
    let voters = value["regions"].as_array()?.iter().map(|region| {
        let peers = region["peers"].as_array().into_iter().flatten();
        let votes = |peer: &&Value| peer["part"] == "voter" || peer["part"] == "leader";
        peers.filter(votes).count()
    });
    voters.min()
}

#[test]
fn three_nodes_join_and_answer_alike() {
    let directory = tempfile::tempdir().expect("a directory");
    let nodes = three(directory.path());
    for (number, node) in nodes.iter().enumerate() {
        let mut client = node.client();
        for count in 0..50 {
            assert!(client.set(&format!("from-{number}-{count}"), b"value"));
            client.ask(&["INCR", "all"]);
        }
    }
    // What reads before it writes does so wherever the leader is.
    for node in &nodes {
        let mut client = node.client();
        assert!(client.set("brief", b"value"));
        assert_eq!(client.ask(&["DEL", "brief", "never"]), Reply::Number(1));
    }
    let told: Vec<String> = nodes
        .iter()
        .map(|node| {
            let (code, text, told) = node.command(&["scan", "--json"]);
            assert_eq!(code, 0, "{told}");
            assert_eq!(node.client().get("all"), Some(b"150".to_vec()));
            text
        })
        .collect();
    assert_eq!(told[0].lines().count(), 151);
    assert!(told.iter().all(|text| *text == told[0]));

    // One of them is killed: the others go on, and it finds its way back.
    let [one, two, three] = nodes;
    let data = three.data.clone();
    let (node, cluster) = (three.word("node"), three.word("cluster"));
    three.kill();
    for number in 0..20 {
        assert!(two.client().set(&format!("without-{number}"), b"value"));
    }
    // At other ports, and with a word that it does not need any more.
    let three = Node::start(&data, &["--join", "127.0.0.1:1"]);
    assert_eq!(
        (three.word("node"), three.word("cluster")),
        (node.clone(), cluster)
    );
    wait_for("its new address is known", || {
        let (_, text, _) = one.command(&["node", "list", "--json"]);
        text.contains(&three.address()) && !text.contains("silent")
    });
    assert_eq!(three.client().get("without-19"), Some(b"value".to_vec()));
    let (_, text, _) = one.command(&["node", "list"]);
    assert_eq!(text.lines().count(), 4, "{text}");

    // All of them end well, one after another.
    assert_eq!(three.stop(), 0);
    assert_eq!(two.stop(), 0);
    assert_eq!(one.stop(), 0);
}

#[test]
fn what_no_frame_holds_comes_in_several() {
    let directory = tempfile::tempdir().expect("a directory");
    let nodes = three(directory.path());
    let keys: Vec<String> = (0..12).map(|number| format!("long-{number}")).collect();
    for (number, key) in keys.iter().enumerate() {
        let value = vec![b'a' + number as u8; 600_000];
        assert!(nodes[0].client().set(key, &value));
    }
    let words: Vec<&str> = keys.iter().map(String::as_str).collect();
    for node in &nodes {
        let mut client = node.client();
        let Reply::List(values) = client.ask(&[&["MGET", "never"], &words[..]].concat()) else {
            panic!("no list");
        };
        assert_eq!((values.len(), &values[0]), (13, &Reply::Bytes(None)));
        for (number, value) in values[1..].iter().enumerate() {
            let expected = vec![b'a' + number as u8; 600_000];
            assert!(*value == Reply::Bytes(Some(expected)), "{number}");
        }
        let counted = client.ask(&[&["EXISTS", "never"], &words[..]].concat());
        assert_eq!(counted, Reply::Number(12));
    }
}

#[test]
fn leaders_and_replicas_move_when_they_are_told_to() {
    let directory = tempfile::tempdir().expect("a directory");
    let nodes = three(directory.path());
    let json = |node: &Node, arguments: &[&str]| -> Value {
        let (code, text, told) =
            node.command(&[arguments, &["--json", "--timeout", "30"]].concat());
        assert_eq!(code, 0, "{arguments:?}: {told}");
        serde_json::from_str(&text).expect("JSON")
    };
    let list = json(&nodes[1], &["node", "list"]);
    let stores: Vec<String> = (0..3)
        .map(|node| list["nodes"][node]["stores"][0].to_string())
        .collect();
    for store in &stores {
        let moved = json(&nodes[0], &["region", "transfer-leader", "2", store]);
        assert_eq!(moved["part"], "leader");
        assert_eq!(moved["store"].to_string(), *store);
        assert!(nodes[0].client().set("leads", store.as_bytes()));
    }
    // Who leads goes first and leads last; then placement makes up for it.
    let gone = json(&nodes[2], &["region", "remove-peer", "2", &stores[2]]);
    assert_eq!(gone["part"], "removed");
    wait_for("three replicas again", || replicas(&nodes[0]) == Some(3));
    let there = json(&nodes[0], &["region", "add-peer", "2", &stores[2]]);
    assert_eq!(there["part"], "voter");
    assert_eq!(
        nodes[1].client().get("leads"),
        Some(stores[2].clone().into_bytes())
    );
    for (arguments, word) in [
        (["region", "add-peer", "2", "999"], "no store 999"),
        (["region", "remove-peer", "2", "999"], "no peer 999"),
        (["region", "transfer-leader", "2", "999"], "no peer 999"),
        (["region", "remove-peer", "999", "1"], "region 999"),
    ] {
        let (code, _, told) = nodes[0].command(&arguments);
        assert_eq!(code, 1, "{told}");
        assert!(told.contains(word), "{told}");
    }
}

#[test]
fn a_node_that_is_drained_holds_nothing_and_can_be_taken_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let [one, two, three] = three(directory.path());
    let spare = Node::start(&directory.path().join("spare"), &["--join", &two.address()]);
    for number in 0..50 {
        assert!(one.client().set(&format!("key-{number}"), b"value"));
    }
    let name = one.word("node");
    let (code, _, told) = two.command(&["node", "remove", &name]);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("drain it first"), "{told}");
    let (code, text, told) = two.command(&["node", "drain", &name, "--wait", "60"]);
    assert_eq!(code, 0, "{text}{told}");
    assert!(text.ends_with(&format!("node {name} holds 0 replicas\n")));
    wait_for("it is said to drain", || {
        let (_, text, _) = two.command(&["node", "list"]);
        text.contains("draining")
    });
    let (code, text, told) = two.command(&["node", "remove", &name]);
    assert_eq!(code, 0, "{text}{told}");
    // It is told so, also when it is started again.
    let data = one.data.clone();
    assert_eq!(one.end(), 17);
    let (code, told) = refused(&[
        "--data",
        data.to_str().expect("a path"),
        "--listen",
        "127.0.0.1:0",
    ]);
    assert_eq!(code, 17, "{told}");
    assert!(told.contains("was removed from its cluster"), "{told}");
    for node in [&two, &three, &spare] {
        assert_eq!(node.client().get("key-7"), Some(b"value".to_vec()));
        assert!(node.client().set("key-7", b"value"));
    }
    let (code, _, told) = two.command(&["node", "drain", "999"]);
    assert_eq!(code, 1);
    assert!(told.contains("there is no node 999"), "{told}");
    wait_for("nobody lists it", || {
        let (_, text, _) = two.command(&["node", "list", "--json"]);
        !text.contains(&one_address(&name))
    });
}

/// A node that was taken for lost comes back with what it had: that is looked through before its process ends.
#[test]
fn a_node_that_comes_back_after_it_was_taken_out_is_emptied_and_ends() {
    let directory = tempfile::tempdir().expect("a directory");
    let [one, two, three] = three(directory.path());
    let spare = Node::start(&directory.path().join("spare"), &["--join", &two.address()]);
    for number in 0..50 {
        assert!(one.client().set(&format!("key-{number}"), b"value"));
    }
    let list = || -> Value {
        let (_, text, _) = one.command(&["node", "list", "--json"]);
        serde_json::from_str(&text).expect("JSON")
    };
    let name = three.word("node");
    let nodes = list();
    let mut nodes = nodes["nodes"].as_array().expect("nodes").iter();
    let info = nodes.find(|info| info["node"].as_u64() == name.parse().ok());
    let from = info.expect("it is listed")["stores"][0].to_string();
    let data = three.data.clone();
    three.kill();
    for region in ["1", "2"] {
        wait_for("its replicas are given up", || {
            one.command(&["region", "remove-peer", region, &from]).0 == 0
        });
    }
    wait_for("it counts as lost", || {
        one.command(&["node", "remove", &name]).0 == 0
    });
    let three = Node::start(&data, &[]);
    wait_for("what it has is looked through", || {
        list()["nodes"].to_string().contains("leaving")
    });
    assert_eq!(three.end(), 17);
    for node in [&one, &two, &spare] {
        assert_eq!(node.client().get("key-7"), Some(b"value".to_vec()));
    }
    wait_for("nobody lists it", || {
        let (_, text, _) = two.command(&["node", "list", "--json"]);
        !text.contains(&one_address(&name))
    });
}

/// How a node is named in a list.
fn one_address(name: &str) -> String {
    format!("\"node\":{name},")
}
