//! What was acknowledged outlives the process, however it ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::client::Client;
use crate::process::{Node, wait_for};

/// Writes until told to stop or until nobody answers; how many were acknowledged, in order.
fn write(address: &str, writer: usize, stop: &AtomicBool) -> usize {
    let mut client = Client::connect(address);
    let mut acknowledged = 0;
    while !stop.load(Ordering::Relaxed) {
        let value = format!("{writer}-{acknowledged}");
        if !client.set(&format!("w{writer}-{acknowledged}"), value.as_bytes()) {
            break;
        }
        acknowledged += 1;
    }
    acknowledged
}

/// Runs four writers while something happens to the node; how many each had acknowledged.
fn under_load(node: Node, happens: impl FnOnce(Node)) -> Vec<usize> {
    let (stop, address) = (AtomicBool::new(false), node.address());
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (address, stop) = (&address, &stop);
                scope.spawn(move || write(address, writer, stop))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(1500));
        happens(node);
        stop.store(true, Ordering::Relaxed);
        writers
            .into_iter()
            .map(|writer| writer.join().expect("no panic"))
            .collect()
    })
}

fn check(node: &Node, acknowledged: &[usize]) {
    let mut client = node.client();
    for (writer, count) in acknowledged.iter().enumerate() {
        assert!(*count > 10, "writer {writer} has written {count}");
        for number in 0..*count {
            let value = client.get(&format!("w{writer}-{number}"));
            assert_eq!(value, Some(format!("{writer}-{number}").into_bytes()));
        }
    }
}

#[test]
fn sigterm_under_load_ends_well_and_loses_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let acknowledged = under_load(Node::start(&data, &[]), |node| assert_eq!(node.stop(), 0));
    check(&Node::start(&data, &[]), &acknowledged);
}

#[test]
fn a_kill_under_load_loses_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let acknowledged = under_load(Node::start(&data, &[]), Node::kill);
    let node = Node::start(&data, &[]);
    check(&node, &acknowledged);
    // And once more, without a word in between.
    node.kill();
    check(&Node::start(&data, &[]), &acknowledged);
}

#[test]
fn time_to_live_and_counters_outlive_a_kill() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let node = Node::start(&data, &[]);
    let mut client = node.client();
    for _ in 0..50 {
        client.ask(&["INCR", "count"]);
    }
    client.ask(&["SET", "short", "1", "PX", "300"]);
    client.ask(&["SET", "long", "1", "EX", "1000"]);
    node.kill();
    let node = Node::start(&data, &[]);
    let mut client = node.client();
    assert_eq!(client.get("count"), Some(b"50".to_vec()));
    assert_eq!(client.get("long"), Some(b"1".to_vec()));
    wait_for("the short one is gone", || client.get("short").is_none());
}
