//! A region is split while clients write to all of it, and by itself when it holds or bears too much.

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

/// Ends whoever writes, also where a test fails.
struct Ends<'over>(&'over AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
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
        let _ends = Ends(over);
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

/// Names of keys that all regions' clients use.
fn row(number: u32) -> String {
    format!("row{number:06}")
}

#[test]
fn regions_that_hold_too_much_are_split_by_themselves() {
    const ROWS: u32 = 6000;
    let directory = tempfile::tempdir().expect("a directory");
    let settings = [("CORACLE_SPLIT__SIZE_MIB", "1")];
    let node = Node::start_with(&directory.path().join("one"), &[], &settings);
    // What is stored counts, so values must not be such that they take less.
    let value = |number: u32| {
        let word = |place: u64| {
            let mixed = (u64::from(number) << 8 | place).wrapping_add(1);
            let mixed = mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            (mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9)
        };
        let words = (0..128).map(word);
        words.flat_map(u64::to_be_bytes).collect::<Vec<u8>>()
    };
    let mut client = node.client();
    // Ascending first, then anywhere: six MiB.
    for number in (0..ROWS).step_by(2) {
        assert!(client.set(&row(number), &value(number)), "{number}");
    }
    for number in (0..ROWS / 2).map(|number| number * 7919 % (ROWS / 2) * 2 + 1) {
        assert!(client.set(&row(number), &value(number)), "{number}");
    }
    // No part is larger than it may be, and none smaller than half of the half that it was cut to.
    wait_for("regions are split", || {
        regions(&node).is_some_and(|(count, led)| led && count > 6)
    });
    let (count, _) = regions(&node).expect("regions");
    assert!(count <= 1 + 24, "{count} regions");
    for number in 0..ROWS {
        assert_eq!(client.get(&row(number)), Some(value(number)), "{number}");
    }
    let (code, text, told) = node.command(&["scan", "--keys"]);
    assert_eq!(code, 0, "{told}");
    let rows: Vec<String> = (0..ROWS).map(row).collect();
    assert!(text.lines().eq(rows.iter().map(String::as_str)), "in order");
    let (code, text, told) = node.command(&["status"]);
    assert!(code == 0 && text.contains("\nsplits   "), "{text}{told}");
    assert_eq!(node.stop(), 0);
}

#[test]
fn regions_that_bear_too_much_are_split_by_themselves() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = [
        ("CORACLE_SPLIT__LOAD", "100"),
        ("CORACLE_SPLIT__LOAD_SECONDS", "1"),
        ("CORACLE_SPLIT__SIZE_MIB", "0"),
        ("CORACLE_SPLIT__KEYS", "0"),
    ];
    let data = directory.path().join("one");
    let node = Node::start_with(&data, &["--shards", "2"], &settings);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&over);
        for place in 0..4 {
            let (node, over) = (&node, &over);
            scope.spawn(move || {
                let mut client = node.client();
                let mut number = place;
                while !over.load(Ordering::Relaxed) {
                    number = (number * 61 + 17) % 1000;
                    let _ = client.get(&row(number));
                    assert!(client.set(&row(number), b"value"));
                }
            });
        }
        wait_for("the region of users' keys is split", || {
            regions(&node).is_some_and(|(count, led)| led && count >= 3)
        });
    });
    assert_eq!(node.stop(), 0);
}
