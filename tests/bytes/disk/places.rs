//! Directories of all kinds: those that work must work, the others must say what is wrong and where.

use super::{carry_out, on_executor, one, pattern, shard, store};
use coracle::runtime::disk::{Durability, Failure, ShardDirectory, StoreDisk, StoreQueues};
use coracle_engine::effect::{Completion, Effect, Share, TableNumber};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Writes a table and syncs it there.
fn works_in(data: &Path) {
    let directory = shard(data);
    on_executor(async {
        let disk = store(&directory, Durability::WriteThrough).await;
        let table = TableNumber(1);
        carry_out(&disk, [Effect::CreateTable { table }]).await;
        let write = Effect::WriteTable {
            table,
            offset: 0,
            bytes: pattern(1, 4096),
            share: Share::Background,
        };
        carry_out(&disk, [write]).await;
        let share = Share::Background;
        one(&disk, Effect::SyncTable { table, share }, |completion| {
            let outcome = Ok(());
            assert_eq!(completion, Completion::TableSynced { table, outcome });
        })
        .await;
    });
    let file = directory.table(1);
    assert_eq!(std::fs::metadata(file).expect("it is there").len(), 4096);
}

#[test]
fn names_need_not_be_plain() {
    let base = tempfile::tempdir().expect("a directory");
    let long = "x".repeat(200);
    let names = [
        OsStr::new("with space and 'quotes'"),
        OsStr::new("корабль ⛵"),
        OsStr::new("-rf"),
        OsStr::new(&long),
        OsStr::from_bytes(b"not \xff unicode"),
    ];
    for name in names {
        works_in(&base.path().join(name));
    }
}

#[test]
fn links_and_missing_parents_are_followed_and_made() {
    let base = tempfile::tempdir().expect("a directory");
    works_in(&base.path().join("a/b/c"));
    std::os::unix::fs::symlink(base.path().join("a/b"), base.path().join("link"))
        .expect("a link can be made");
    works_in(&base.path().join("link/d"));
    assert!(base.path().join("a/b/d/shard-000/tables").is_dir());
}

#[test]
fn a_file_in_the_way_is_named() {
    let base = tempfile::tempdir().expect("a directory");
    let file = base.path().join("shard-000");
    std::fs::write(&file, b"in the way").expect("it can be written");
    let error = ShardDirectory::of(base.path(), 0).create();
    let error = error.expect_err("a file is no directory");
    assert_eq!(error.path, file);
    assert!(error.to_string().contains("shard-000"), "{error}");
}

#[test]
fn a_directory_that_is_not_there_is_an_error() {
    let base = tempfile::tempdir().expect("a directory");
    let directory = ShardDirectory::of(base.path(), 3);
    on_executor(async {
        let queues = StoreQueues::current();
        let disk = StoreDisk::open(directory, Durability::WriteThrough, queues).await;
        let Err(error) = disk else {
            panic!("it opened");
        };
        assert_eq!(error.failure, Failure::Missing);
    });
}

#[test]
fn a_file_system_without_direct_io_is_refused_or_works() {
    // Memory file systems take direct I/O on newer kernels only. Neither answer may be a panic.
    let Ok(base) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("skipped: no /dev/shm");
        return;
    };
    let directory = shard(base.path());
    on_executor(async {
        let queues = StoreQueues::current();
        let disk = StoreDisk::open(directory.clone(), Durability::WriteThrough, queues).await;
        match disk {
            Ok(disk) => {
                let table = TableNumber(1);
                let created = carry_out(&disk, [Effect::CreateTable { table }]).await;
                eprintln!("in memory: {:?}", created[0].completion());
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
}
