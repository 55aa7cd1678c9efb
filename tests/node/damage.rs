//! Files that were damaged while nobody looked: the node says which, and does not start.

use std::path::{Path, PathBuf};

use crate::process::{Node, refused};

/// A node's directory after a kill, with a hundred acknowledged batches in its log.
fn written(directory: &Path) -> PathBuf {
    let data = directory.join("data");
    let node = Node::start(&data, &[]);
    let mut client = node.client();
    for number in 0..100 {
        assert!(client.set(
            &format!("key-{number}"),
            format!("value-{number}-{}", "x".repeat(500)).as_bytes()
        ));
    }
    node.kill();
    data
}

fn start(data: &Path) -> (i32, String) {
    refused(&[
        "--data",
        data.to_str().expect("a path"),
        "--listen",
        "127.0.0.1:0",
        "--shards",
        "1",
    ])
}

/// The segment that holds a text, and where.
fn find(data: &Path, text: &str) -> (PathBuf, usize) {
    let log = data.join("shard-000/log");
    let files = std::fs::read_dir(log)
        .expect("a log")
        .flatten()
        .map(|entry| entry.path());
    let mut segments: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|end| end == "segment"))
        .collect();
    segments.sort();
    for path in segments {
        let bytes = std::fs::read(&path).expect("it reads");
        if let Some(at) = bytes
            .windows(text.len())
            .position(|window| window == text.as_bytes())
        {
            return (path, at);
        }
    }
    panic!("no segment holds {text}");
}

#[test]
fn a_flipped_byte_in_the_log_is_not_started_from() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = written(directory.path());
    let (segment, at) = find(&data, "value-20-");
    let mut bytes = std::fs::read(&segment).expect("it reads");
    bytes[at] ^= 1;
    std::fs::write(&segment, &bytes).expect("it can be written");
    let (code, told) = start(&data);
    assert_eq!(code, 14, "{told}");
    assert!(told.contains("log of store 1 is damaged"), "{told}");
    // It did not make anything worse.
    bytes[at] ^= 1;
    std::fs::write(&segment, &bytes).expect("it can be written");
    let node = Node::start(&data, &[]);
    assert!(node.client().get("key-99").is_some());
}

#[test]
fn a_log_with_a_hole_is_not_started_from() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = written(directory.path());
    let (segment, at) = find(&data, "value-20-");
    let mut bytes = std::fs::read(&segment).expect("it reads");
    let from = at & !4095;
    bytes[from..from + 8192].fill(0);
    std::fs::write(&segment, &bytes).expect("it can be written");
    let (code, told) = start(&data);
    assert_eq!(code, 14, "{told}");
    assert!(told.contains("damaged"), "{told}");
}

#[test]
fn a_log_that_is_gone_is_not_begun_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = written(directory.path());
    std::fs::remove_dir_all(data.join("shard-000/log")).expect("it was there");
    let (code, told) = start(&data);
    assert_eq!(code, 14, "{told}");
    assert!(told.contains("has no log"), "{told}");
}

#[test]
fn a_damaged_identity_is_not_guessed() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = written(directory.path());
    let path = data.join("node");
    let mut bytes = std::fs::read(&path).expect("it reads");
    bytes[30] ^= 1;
    std::fs::write(&path, &bytes).expect("it can be written");
    let (code, told) = start(&data);
    assert_eq!(code, 14, "{told}");
    std::fs::remove_file(&path).expect("it was there");
    let (code, told) = start(&data);
    assert_eq!(code, 14, "{told}");
    assert!(told.contains("no file 'node'"), "{told}");
}
