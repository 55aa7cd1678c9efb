//! `coracle dump` as a person runs it: what it prints, and how it says that a file is damaged.
#![expect(clippy::disallowed_methods, reason = "tests of files write files")]

use std::path::Path;
use std::process::{Command, Output};

use coracle_engine::edit::{Flush, VersionEdit};
use coracle_engine::effect::TableNumber;
use coracle_engine::manifest::Manifest;
use coracle_engine::progress::{Applied, Clock, Index, PeerId, RegionId as RegionNumber, Rotation};
use coracle_engine::record::{Kind, Record, Seq};
use coracle_engine::table::{BuilderOptions, TableBuilder};
use coracle_wal::{Effect, Entry, Limits, Log, LogId, MetaRecord, RegionId};

fn coracle(arguments: &[&str], path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_coracle"))
        .args(arguments)
        .arg(path)
        .output()
        .expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// A segment with an opening, a meta, a hard state and entries.
fn segment() -> Vec<u8> {
    let mut log = Log::create(LogId(0xC0FFEE), Limits::SMALL);
    let mut file = vec![0; Limits::SMALL.segment_bytes as usize];
    let mut effects = Vec::new();
    for turn in 0..6u64 {
        if turn >= 2 {
            let region = RegionId(2);
            if turn == 2 {
                let payload = b"range a..m".to_vec().into();
                let meta = MetaRecord {
                    truncated: (5, 5),
                    reset: true,
                    tombstone: false,
                    payload,
                };
                log.set_meta(region, meta).expect("room");
            }
            let payload = format!("command {turn}").into_bytes().into();
            log.append(
                region,
                &[Entry {
                    index: 4 + turn,
                    term: 7,
                    payload,
                }],
            )
            .expect("room");
            log.set_hard_state(region, b"vote".to_vec().into())
                .expect("room");
        }
        log.flush(&mut effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Create { slot, .. } => log.created(slot),
                Effect::Write(write) => {
                    let range = write.offset as usize..(write.offset + write.len) as usize;
                    log.encode(&write, &mut file[range]);
                    log.durable(write.lsn);
                }
                _ => {}
            }
        }
    }
    file
}

fn table() -> Vec<u8> {
    let mut builder = TableBuilder::new(TableNumber(7), BuilderOptions::default());
    let mut file = Vec::new();
    for number in 0..500u64 {
        let key = format!("key-{number:05}");
        let kind = if number % 10 == 0 {
            Kind::Delete
        } else {
            Kind::Put
        };
        let value = if kind == Kind::Put {
            vec![b'v'; 50]
        } else {
            Vec::new()
        };
        let record = Record {
            key: key.as_bytes(),
            seq: Seq(number + 1),
            kind,
            value: &value,
        };
        builder.add(&record);
    }
    builder.add_tombstone(b"a", b"b", Seq(900));
    let mut done = false;
    while !done {
        done = builder.finish().is_some();
        while let Some(chunk) = builder.take_chunk() {
            file.extend_from_slice(&chunk.bytes);
        }
    }
    file
}

/// A manifest with a flush of one region.
fn manifest() -> Vec<u8> {
    let mut manifest = Manifest::create(3, 64 << 10);
    let mut file = vec![0; 64 << 10];
    for rotation in 1..=4u64 {
        let applied = Applied {
            region: RegionNumber(2),
            peer: PeerId(9),
            index: Index(rotation * 10),
            clock: Clock(77),
        };
        let flush = Flush {
            rotation: Rotation(rotation),
            last_seq: Seq(rotation * 100),
            tables: Vec::new(),
            applied: vec![applied],
        };
        manifest
            .append(&VersionEdit::Flush(flush))
            .expect("it fits");
        while let Some((write, offset, bytes)) = manifest.next_write() {
            file[offset as usize..offset as usize + bytes.len()].copy_from_slice(&bytes);
            manifest.written(write);
        }
    }
    file
}

#[test]
fn a_manifest_is_printed_edit_by_edit() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("manifest");
    std::fs::write(&path, manifest()).expect("written");
    let output = coracle(&["dump", "manifest"], &path);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    for line in [
        "record 1 at 32768: state of generation 1",
        "record 4 at 57344: edits of generation 1",
        "flush rotation=4 last_seq=400 region=2 peer=9 index=40 clock=77",
    ] {
        assert!(printed.contains(line), "no line {line:?} in\n{printed}");
    }
    let mut damaged = manifest();
    // Both copies of the second record.
    damaged[32768 + 8192 + 100] ^= 1;
    damaged[32768 + 8192 + 30] ^= 1;
    damaged[32768 + 8192 + 4096 + 30] ^= 1;
    std::fs::write(&path, damaged).expect("written");
    let output = coracle(&["dump", "manifest", "--json"], &path);
    assert_eq!(output.status.code(), Some(14));
    assert!(
        text(&output.stderr).contains("damaged at offset 40960"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_segment_is_printed_record_by_record() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("0000000001.segment");
    std::fs::write(&path, segment()).expect("written");
    let output = coracle(&["dump", "wal"], &path);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    for line in [
        "segment 1 of log 0000000000c0ffee: opening 1",
        "region 2 meta: truncated at 5 term 5, reset: 10 bytes \"range a..m\"",
        "region 2 entry 6 term 7: 9 bytes \"command 2\"",
        "region 2 hard state: 4 bytes \"vote\"",
    ] {
        assert!(printed.contains(line), "no line {line:?} in\n{printed}");
    }
    let output = coracle(&["dump", "wal", "--json"], &path);
    let lines = text(&output.stdout);
    let entries = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .filter(|line| line["kind"] == "entry")
        .count();
    assert_eq!(entries, 4);
}

#[test]
fn damage_has_a_place_and_an_exit_code() {
    let directory = tempfile::tempdir().expect("a directory");
    for (kind, name, bytes, offset) in [
        ("wal", "a.segment", segment(), 4096 + 4096 + 80),
        ("wal", "b.segment", segment(), 40),
        ("table", "7.table", table(), 300),
    ] {
        let path = directory.path().join(name);
        let mut damaged = bytes.clone();
        damaged[offset] ^= 0x10;
        std::fs::write(&path, damaged).expect("written");
        let output = coracle(&["dump", kind], &path);
        assert_eq!(output.status.code(), Some(14), "{kind}");
        let said = text(&output.stderr);
        assert!(
            said.contains("damaged at offset ") && said.contains(name),
            "{said}"
        );
    }
}

#[test]
fn a_table_is_printed_record_by_record() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("7.table");
    std::fs::write(&path, table()).expect("written");
    let output = coracle(&["dump", "table"], &path);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    for line in [
        "table 7: 500 records, 50 of them deletes, 1 range tombstones",
        "deleted a to b at seq 900",
        "key-00010 seq 11: deleted",
        "key-00011 seq 12: 50 bytes",
    ] {
        assert!(printed.contains(line), "no line {line:?} in\n{printed}");
    }
    let brief = text(&coracle(&["dump", "table", "--brief"], &path).stdout);
    assert!(
        brief.contains("block 0 at 0") && !brief.contains("key-00011"),
        "{brief}"
    );
}

#[test]
fn a_segment_that_waits_to_be_used_is_not_damaged() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("0000000002.segment");
    std::fs::write(&path, vec![0; 64 << 10]).expect("it can be written");
    let out = coracle(&["dump", "wal"], &path);
    assert_eq!(out.status.code(), Some(0));
    assert!(text(&out.stdout).contains("never written to"));
    std::fs::write(&path, b"").expect("it can be written");
    assert_eq!(coracle(&["dump", "wal"], &path).status.code(), Some(14));
}

#[test]
fn wrong_input_is_refused_with_what_was_wrong() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = coracle(&["dump", "wal"], &directory.path().join("missing"));
    assert_eq!(missing.status.code(), Some(2));
    assert!(
        text(&missing.stderr).contains("No such file"),
        "{}",
        text(&missing.stderr)
    );
    let folder = coracle(&["dump", "table"], directory.path());
    assert_eq!(folder.status.code(), Some(2));
    let empty = directory.path().join("empty");
    std::fs::write(&empty, b"").expect("written");
    assert_eq!(coracle(&["dump", "table"], &empty).status.code(), Some(14));
    assert_eq!(coracle(&["dump", "wal"], &empty).status.code(), Some(14));
    let flag = coracle(&["dump", "wal", "--colour"], &empty);
    assert_eq!(flag.status.code(), Some(2));
    let regions = coracle(
        &["bench", "--regions", "0", "--directory"],
        directory.path(),
    );
    assert_eq!(regions.status.code(), Some(2), "{}", text(&regions.stderr));
}
