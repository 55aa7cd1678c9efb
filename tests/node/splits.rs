//! A region is split while clients write to all of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{Node, wait_for};

/// How many regions a node knows of, and whether each is led.
fn regions(node: &Node) -> Option<(usize, bool)> {
    let (code, text, _) = node.command(&["region", "list", "--json"]);
    let value: Value = serde_json::from_str(&text).ok().filter(|_| code == 0)?;
    let regions = value["regions"].as_array()?;
    let led = regions.iter().all(|region| region["leader"].is_u64());
    Some((regions.len(), led))
}

/// Writes until it is told to stop: how many were acknowledged, and the longest wait for one.
fn write(node: &Node, name: &str, over: &AtomicBool) -> (u32, Duration) {
    let mut client = node.client();
    let (mut written, mut longest) = (0, Duration::ZERO);
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let key = format!(
            "{}{name}-{written}",
            char::from(b'a' + (written % 26) as u8)
        );
        assert!(
            client.set(&key, key.as_bytes()),
            "{key} is not acknowledged"
        );
        longest = longest.max(begun.elapsed());
        written += 1;
    }
    (written, longest)
}

#[test]
fn regions_are_split_under_load() {
    let directory = tempfile::tempdir().expect("a directory");
    let one = Node::start(&directory.path().join("one"), &[]);
    let join = one.address();
    let two = Node::start(&directory.path().join("two"), &["--join", &join]);
    let three = Node::start(&directory.path().join("three"), &["--join", &join]);
    let nodes = [one, two, three];
    wait_for("there are two regions", || {
        regions(&nodes[0]) == Some((2, true))
    });
    let over = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let over = &over;
        let mut writers = Vec::new();
        for (place, node) in nodes.iter().enumerate() {
            writers.push(scope.spawn(move || write(node, &place.to_string(), over)));
        }
        wait_for("something is written", || {
            nodes[0].client().get("z0-25").is_some()
        });
        let split = |node: &Node, arguments: &[&str]| {
            let (code, _, told) = node.command(&[&["region", "split"], arguments].concat());
            assert_eq!(code, 0, "{told}");
        };
        split(&nodes[1], &["2", "--at", "m", "--at", "t"]);
        wait_for("there are four", || regions(&nodes[0]) == Some((4, true)));
        split(&nodes[2], &["2", "--at", "f"]);
        wait_for("there are five", || regions(&nodes[0]) == Some((5, true)));
        over.store(true, Ordering::Relaxed);
        let joined = writers
            .into_iter()
            .map(|writer| writer.join().expect("it writes"));
        joined.collect::<Vec<_>>()
    });
    println!("written, and the longest wait: {written:?}");
    let (code, _, told) = nodes[0].command(&["region", "split", "2", "--at", "x"]);
    assert_eq!(code, 1, "{told}");
    for (place, (count, _)) in written.iter().enumerate() {
        let mut client = nodes[(place + 1) % 3].client();
        for number in 0..*count {
            let key = format!("{}{place}-{number}", char::from(b'a' + (number % 26) as u8));
            assert_eq!(client.get(&key), Some(key.clone().into_bytes()));
        }
    }
    let all: u32 = written.iter().map(|(count, _)| count).sum();
    let (code, text, told) = nodes[0].command(&["scan", "--keys"]);
    assert_eq!((code, text.lines().count()), (0, all as usize), "{told}");
    for node in nodes {
        assert_eq!(node.stop(), 0);
    }
}
