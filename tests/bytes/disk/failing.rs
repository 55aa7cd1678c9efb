//! What fails says so once and for all where it must, and only here and now where it may.

use super::log_files::Opened;
use super::{carry_out, on_executor, one, pattern, shard, store};
use coracle::runtime::disk::{Durability, Failure as DiskFailure, ShardDirectory};
use coracle_engine::effect::{Completion, Effect, Failure, ManifestWrite, Share, TableNumber};
use coracle_wal::log::Entry;
use coracle_wal::{Log, Refused, RegionId};
use std::path::Path;
use std::process::Command;

/// Set in the processes that run with a limit on file sizes, to the directory they work in.
const LIMITED_IN: &str = "CORACLE_TEST_LIMITED_IN";
/// That limit.
const LIMIT_BYTES: u64 = 64 << 10;

fn write_manifest(write: u64, offset: u64) -> Effect {
    Effect::WriteManifest {
        write: ManifestWrite(write),
        offset,
        bytes: pattern(write, 4096),
    }
}

fn write_table(table: u64, offset: u64, bytes: usize) -> Effect {
    Effect::WriteTable {
        table: TableNumber(table),
        offset,
        bytes: pattern(table, bytes),
        share: Share::Background,
    }
}

/// Runs one test of this binary again, in a process whose files may not grow beyond the limit, and
/// where that is an error instead of a signal.
fn run_limited(test: &str, directory: &Path) {
    let program = std::env::current_exe().expect("this test has a program");
    let blocks = LIMIT_BYTES / 512;
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\""
        ))
        .arg(program)
        .args(["--exact", test, "--nocapture"])
        .env(LIMITED_IN, directory)
        .output()
        .expect("a shell runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "the limited process failed:\n{text}\n{errors}"
    );
    assert!(text.contains("1 passed"), "no such test: {test}\n{text}");
}

#[test]
fn a_failed_manifest_write_is_final() {
    let Some(data) = std::env::var_os(LIMITED_IN) else {
        let data = tempfile::tempdir().expect("a directory");
        let directory = shard(data.path());
        on_executor(async {
            let disk = store(&directory, Durability::WriteThrough).await;
            let create = Effect::CreateManifest { bytes: 1 << 20 };
            one(&disk, create, |completion| {
                assert_eq!(completion, Completion::ManifestCreated(Ok(())));
            })
            .await;
        });
        run_limited(
            "disk::failing::a_failed_manifest_write_is_final",
            data.path(),
        );
        return;
    };
    let directory = ShardDirectory::of(Path::new(&data), 0);
    on_executor(async {
        let disk = store(&directory, Durability::WriteThrough).await;
        let outcome_of = async |write, offset| {
            one(
                &disk,
                write_manifest(write, offset),
                |completion| match completion {
                    Completion::ManifestWritten { write: of, outcome } => {
                        assert_eq!(of, ManifestWrite(write));
                        outcome
                    }
                    other => panic!("not the answer to a write: {other:?}"),
                },
            )
            .await
        };
        let too_large = Failure::Device { code: libc::EFBIG };
        assert_eq!(outcome_of(1, 0).await, Ok(()));
        assert_eq!(disk.manifest_failure(), None);
        assert_eq!(outcome_of(2, LIMIT_BYTES).await, Err(too_large));
        // The same write as the first one: it would succeed, and is refused.
        assert_eq!(outcome_of(3, 0).await, Err(too_large));
        let failure = disk.manifest_failure().expect("it is remembered");
        assert_eq!(failure.path, directory.manifest());
        one(&disk, Effect::SyncManifest, |completion| {
            assert_eq!(completion, Completion::ManifestSynced(Err(too_large)));
        })
        .await;
    });
}

#[test]
fn a_failed_table_write_concerns_that_table_alone() {
    let Some(data) = std::env::var_os(LIMITED_IN) else {
        let data = tempfile::tempdir().expect("a directory");
        shard(data.path());
        run_limited(
            "disk::failing::a_failed_table_write_concerns_that_table_alone",
            data.path(),
        );
        return;
    };
    let directory = ShardDirectory::of(Path::new(&data), 0);
    on_executor(async {
        let disk = store(&directory, Durability::WriteThrough).await;
        for table in [1, 2] {
            let table = TableNumber(table);
            carry_out(&disk, [Effect::CreateTable { table }]).await;
        }
        // Half of this write is below the limit: what comes back short must not pass for success.
        let write = write_table(1, LIMIT_BYTES - 8192, 16384);
        one(&disk, write, |completion| {
            let Completion::TableWritten { outcome, .. } = completion else {
                panic!("not the answer to a write: {completion:?}");
            };
            assert_eq!(outcome, Err(Failure::Device { code: libc::EFBIG }));
        })
        .await;
        one(&disk, write_table(2, 0, 8192), |completion| {
            let Completion::TableWritten { outcome, .. } = completion else {
                panic!("not the answer to a write: {completion:?}");
            };
            assert_eq!(outcome, Ok(()));
        })
        .await;
    });
}

#[test]
fn a_failed_log_write_is_final() {
    let Some(data) = std::env::var_os(LIMITED_IN) else {
        let data = tempfile::tempdir().expect("a directory");
        let directory = shard(data.path());
        on_executor(async {
            let mut opened = Opened::create(&directory, Durability::WriteThrough).await;
            opened.append(1, 1000);
            opened.settle().await;
            opened.disk.close().await;
        });
        run_limited("disk::failing::a_failed_log_write_is_final", data.path());
        // What was acknowledged before the failure is there, and the log works again.
        on_executor(async {
            let mut opened = Opened::recover(&directory, Durability::WriteThrough).await;
            opened.settle().await;
            assert!(opened.log.last_index(RegionId(1)) >= Some(5));
            opened.append(1, 1000);
            opened.settle().await;
            assert!(!opened.log.is_failed());
        });
        return;
    };
    // Segments are longer than the limit: the beginning of one can be written, its end cannot.
    let directory = ShardDirectory::of(Path::new(&data), 0);
    on_executor(async {
        let mut opened = Opened::recover(&directory, Durability::WriteThrough).await;
        opened.settle().await;
        let mut acknowledged = 0;
        while !opened.log.is_failed() {
            opened.append(1, 3000);
            opened.settle().await;
            acknowledged += 1;
            assert!(acknowledged < 100, "nothing fails");
        }
        assert!(acknowledged > 5, "writes below the limit work");
        let failure = opened.disk.failure().expect("it is remembered");
        assert_eq!(failure.failure, DiskFailure::Device { code: libc::EFBIG });
        let name = failure.path.display().to_string();
        assert!(name.ends_with(".segment"), "{failure}");
        let durable = opened.log.durable_lsn();
        let refused = opened.log.append(RegionId(1), &[next_entry(&opened.log)]);
        assert_eq!(refused, Err(Refused::Failed));
        opened.settle().await;
        assert_eq!(opened.log.durable_lsn(), durable);
    });
}

fn next_entry(log: &Log) -> Entry {
    Entry {
        index: log.last_index(RegionId(1)).unwrap_or(0) + 1,
        term: 3,
        payload: pattern(1, 100).into(),
    }
}

/// A file system of its own, small enough to be filled.
struct SmallDisk {
    mount: tempfile::TempDir,
    _image: tempfile::NamedTempFile,
}

impl SmallDisk {
    /// Mounts one, which takes root and a loop device; elsewhere there is none.
    fn mount() -> Option<SmallDisk> {
        let image = tempfile::NamedTempFile::new().expect("a file");
        image.as_file().set_len(24 << 20).expect("it grows");
        let mount = tempfile::tempdir().expect("a directory");
        let run = |program: &str, arguments: &[&std::ffi::OsStr]| {
            let output = Command::new(program).args(arguments).output();
            output.is_ok_and(|output| output.status.success())
        };
        let made = run(
            "mkfs.ext4",
            &["-q".as_ref(), "-F".as_ref(), image.path().as_os_str()],
        );
        let mounted = made
            && run(
                "mount",
                &[
                    "-o".as_ref(),
                    "loop".as_ref(),
                    image.path().as_os_str(),
                    mount.path().as_os_str(),
                ],
            );
        mounted.then_some(SmallDisk {
            mount,
            _image: image,
        })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let mut command = Command::new("umount");
        if std::thread::panicking() {
            command.arg("-l");
        }
        let unmounted = command.arg(self.mount.path()).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "it stays mounted"
        );
    }
}

#[test]
fn a_full_disk_fails_the_table_and_space_comes_back() {
    let Some(small) = SmallDisk::mount() else {
        eprintln!("skipped: a file system to fill takes root, mkfs.ext4 and a loop device");
        return;
    };
    let directory = shard(small.mount.path());
    on_executor(async {
        let disk = store(&directory, Durability::WriteThrough).await;
        let create = Effect::CreateManifest { bytes: 1 << 20 };
        carry_out(&disk, [create]).await;
        let outcome_of = async |effect| {
            one(&disk, effect, |completion| match completion {
                Completion::TableWritten { outcome, .. }
                | Completion::ReserveSized { outcome, .. }
                | Completion::ManifestWritten { outcome, .. } => outcome,
                other => panic!("not the answer: {other:?}"),
            })
            .await
        };
        assert_eq!(
            outcome_of(Effect::SizeReserve { bytes: 2 << 20 }).await,
            Ok(())
        );
        let table = TableNumber(1);
        carry_out(&disk, [Effect::CreateTable { table }]).await;
        let mut offset = 0;
        let failure = loop {
            match outcome_of(write_table(1, offset, 256 << 10)).await {
                Ok(()) => offset += 256 << 10,
                Err(failure) => break failure,
            }
            assert!(offset < 24 << 20, "the disk takes more than it has");
        };
        assert_eq!(failure, Failure::NoSpace);
        // What was written in advance can be written on a full disk.
        assert_eq!(outcome_of(write_manifest(1, 8192)).await, Ok(()));
        assert_eq!(
            outcome_of(Effect::SizeReserve { bytes: 4 << 20 }).await,
            Err(Failure::NoSpace)
        );
        // The reserve gives its space to another table.
        assert_eq!(outcome_of(Effect::SizeReserve { bytes: 0 }).await, Ok(()));
        let table = TableNumber(2);
        carry_out(&disk, [Effect::CreateTable { table }]).await;
        assert_eq!(outcome_of(write_table(2, 0, 1 << 20)).await, Ok(()));
        // And so does a table that goes.
        carry_out(
            &disk,
            [Effect::RemoveTable {
                table: TableNumber(1),
            }],
        )
        .await;
        let table = TableNumber(3);
        carry_out(&disk, [Effect::CreateTable { table }]).await;
        assert_eq!(outcome_of(write_table(3, 0, 8 << 20)).await, Ok(()));
        // Closed files do not keep the file system busy.
        disk.close().await;
    });
}

#[test]
fn a_full_disk_stops_no_log_that_has_files() {
    let Some(small) = SmallDisk::mount() else {
        eprintln!("skipped: a file system to fill takes root, mkfs.ext4 and a loop device");
        return;
    };
    let directory = shard(small.mount.path());
    on_executor(async {
        let mut opened = Opened::create(&directory, Durability::WriteThrough).await;
        opened.settle().await;
        // Everything else on the disk is taken by a stranger.
        let stranger = small.mount.path().join("stranger");
        let mut fill = std::fs::File::create(&stranger).expect("it can be created");
        while std::io::Write::write_all(&mut fill, &[1; 4096]).is_ok() {}
        fill.sync_all().expect("what was written is written");
        let files = directory.list_segments().expect("it lists");
        let mut taken = 0;
        while opened
            .log
            .append(RegionId(1), &[next_entry(&opened.log)])
            .is_ok()
        {
            opened.settle().await;
            taken += 1;
            assert!(taken < 1000, "the log takes more than there is");
        }
        assert!(taken > 10, "files that were there can be written");
        assert!(opened.log.is_starved());
        assert!(!opened.log.is_failed());
        assert_eq!(
            directory.list_segments().expect("it lists"),
            files,
            "half a file is left"
        );
        std::fs::remove_file(&stranger).expect("it can be removed");
        drop(fill);
        opened.log.space();
        opened.settle().await;
        let entry = next_entry(&opened.log);
        assert_eq!(opened.log.append(RegionId(1), &[entry]), Ok(()));
        opened.settle().await;
        assert_eq!(opened.log.durable_lsn(), opened.log.last_lsn());
        opened.disk.close().await;
    });
}
