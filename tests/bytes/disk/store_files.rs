//! Tables, manifest and reserve: what is written is there, under its name, also for the next process.

use super::{carry_out, on_executor, one, pattern, shard, store};
use coracle::runtime::disk::{Durability, probe};
use coracle_engine::effect::{
    Completion, Effect, Failure, ManifestWrite, ReadToken, Share, TableNumber,
};
use std::os::unix::fs::MetadataExt;

const MODES: [Durability; 2] = [Durability::WriteThrough, Durability::WriteThenSync];

fn read(token: u64, table: u64, offset: u64, length: u32) -> Effect {
    Effect::ReadTable {
        token: ReadToken(token),
        table: TableNumber(table),
        offset,
        length,
        share: Share::Foreground,
    }
}

fn write(table: u64, offset: u64, bytes: &[u8]) -> Effect {
    Effect::WriteTable {
        table: TableNumber(table),
        offset,
        bytes: bytes.to_vec(),
        share: Share::Background,
    }
}

#[test]
fn a_table_is_read_as_it_was_written() {
    let data = tempfile::tempdir().expect("a directory");
    let directory = shard(data.path());
    let content = pattern(1, 3 << 20);
    on_executor(async {
        let disk = store(&directory, Durability::WriteThrough).await;
        let table = TableNumber(9);
        one(&disk, Effect::CreateTable { table }, |completion| {
            let outcome = Ok(());
            assert_eq!(completion, Completion::TableCreated { table, outcome });
        })
        .await;
        // All parts at once: more than the background's bound, in no order.
        let parts = content.chunks(256 << 10).enumerate();
        let writes = parts.map(|(part, bytes)| write(9, part as u64 * (256 << 10), bytes));
        for finished in carry_out(&disk, writes.rev()).await {
            let Completion::TableWritten { outcome, .. } = finished.completion() else {
                panic!("not the answer to a write: {:?}", finished.completion());
            };
            assert_eq!(outcome, Ok(()));
        }
        let share = Share::Foreground;
        one(&disk, Effect::SyncTable { table, share }, |completion| {
            let outcome = Ok(());
            assert_eq!(completion, Completion::TableSynced { table, outcome });
        })
        .await;
    });
    let file = directory.table(9);
    assert!(
        std::fs::read(file).expect("it is there") == content,
        "other bytes"
    );
    // Another process, on another thread, reads it back: pieces, all of it, and beyond its end.
    let expected = content.clone();
    let again = directory.clone();
    let reader = std::thread::Builder::new().spawn(move || {
        on_executor(async {
            let disk = store(&again, Durability::WriteThrough).await;
            let tables = disk.list_tables().expect("it lists");
            assert_eq!(tables, [(TableNumber(9), 3 << 20)]);
            let reads = [
                (0, 4096),
                (4096 * 77, 4096 * 9),
                (0, 3 << 20),
                ((3 << 20) - 8192, 65536),
            ];
            let effects = (0..)
                .zip(reads)
                .map(|(token, (offset, length))| read(token, 9, offset, length));
            for finished in carry_out(&disk, effects).await {
                let Completion::TableRead { token, outcome } = finished.completion() else {
                    panic!("not the answer to a read");
                };
                let (offset, length) = reads[token.0 as usize];
                let (from, to) = (
                    offset as usize,
                    (offset as usize + length as usize).min(3 << 20),
                );
                assert!(outcome == Ok(&expected[from..to]), "read {token:?} differs");
            }
            one(&disk, read(9, 9, 3 << 20, 4096), |completion| {
                let (token, outcome) = (ReadToken(9), Ok(&[][..]));
                assert_eq!(completion, Completion::TableRead { token, outcome });
            })
            .await;
        });
    });
    reader.expect("a thread").join().expect("the reader agrees");
}

#[test]
fn removing_is_done_when_the_name_is_gone() {
    let data = tempfile::tempdir().expect("a directory");
    let directory = shard(data.path());
    on_executor(async {
        let disk = store(&directory, Durability::WriteThrough).await;
        let table = TableNumber(4);
        carry_out(&disk, [Effect::CreateTable { table }]).await;
        carry_out(&disk, [write(4, 0, &pattern(2, 8192))]).await;
        for _ in 0..2 {
            one(&disk, Effect::RemoveTable { table }, |completion| {
                let outcome = Ok(());
                assert_eq!(completion, Completion::TableRemoved { table, outcome });
            })
            .await;
            assert!(!directory.table(4).exists());
        }
        one(&disk, read(1, 4, 0, 4096), |completion| {
            let (token, outcome) = (ReadToken(1), Err(Failure::Missing));
            assert_eq!(completion, Completion::TableRead { token, outcome });
        })
        .await;
        // A number that was used is emptied, not read.
        carry_out(&disk, [Effect::CreateTable { table }]).await;
        one(&disk, read(2, 4, 0, 4096), |completion| {
            let (token, outcome) = (ReadToken(2), Ok(&[][..]));
            assert_eq!(completion, Completion::TableRead { token, outcome });
        })
        .await;
    });
}

#[test]
fn a_manifest_is_replaced_whole_and_written_in_place() {
    for durability in MODES {
        let data = tempfile::tempdir().expect("a directory");
        let directory = shard(data.path());
        let bytes = pattern(3, 12288);
        on_executor(async {
            let disk = store(&directory, durability).await;
            assert_eq!(disk.read_manifest().await.expect("it looks"), None);
            let create = Effect::CreateManifest { bytes: 1 << 20 };
            let created = |completion: Completion<'_>| {
                assert_eq!(completion, Completion::ManifestCreated(Ok(())));
            };
            one(&disk, create.clone(), created).await;
            let write = Effect::WriteManifest {
                write: ManifestWrite(1),
                offset: 4096,
                bytes: bytes.clone(),
            };
            one(&disk, write, |completion| {
                let (write, outcome) = (ManifestWrite(1), Ok(()));
                assert_eq!(completion, Completion::ManifestWritten { write, outcome });
            })
            .await;
            let read = disk
                .read_manifest()
                .await
                .expect("it reads")
                .expect("it is there");
            assert_eq!(read.len(), 1 << 20);
            assert!(read[4096..16384] == bytes, "other bytes");
            assert!(
                read[..4096]
                    .iter()
                    .chain(&read[16384..])
                    .all(|byte| *byte == 0)
            );
            one(&disk, create, created).await;
            one(&disk, Effect::SyncManifest, |completion| {
                assert_eq!(completion, Completion::ManifestSynced(Ok(())));
            })
            .await;
            let read = disk
                .read_manifest()
                .await
                .expect("it reads")
                .expect("it is there");
            assert!(
                read.iter().all(|byte| *byte == 0),
                "the old manifest shines through"
            );
            assert!(!directory.manifest_new().exists());
        });
    }
}

#[test]
fn the_reserve_occupies_what_it_says() {
    let data = tempfile::tempdir().expect("a directory");
    let directory = shard(data.path());
    on_executor(async {
        let disk = store(&directory, Durability::WriteThrough).await;
        for bytes in [1 << 20, 3 << 20, 8192, 0, 1 << 20] {
            one(&disk, Effect::SizeReserve { bytes }, |completion| {
                let outcome = Ok(());
                assert_eq!(completion, Completion::ReserveSized { bytes, outcome });
            })
            .await;
            let metadata = std::fs::metadata(directory.reserve()).expect("it is there");
            assert_eq!(metadata.len(), bytes);
            assert!(metadata.blocks() * 512 >= bytes, "a hole occupies nothing");
        }
    });
}

#[test]
fn reads_work_though_the_first_file_was_empty() {
    // glommio judges a device by the first file that a thread opens on it; this thread is new, and
    // without the driver's care an empty file would be that first one.
    let data = tempfile::tempdir().expect("a directory");
    let directory = shard(data.path());
    on_executor(async {
        let disk = store(&directory, Durability::WriteThrough).await;
        let table = TableNumber(1);
        carry_out(&disk, [Effect::CreateTable { table }]).await;
        let bytes = pattern(5, 4096);
        carry_out(&disk, [write(1, 0, &bytes)]).await;
        one(&disk, read(1, 1, 0, 4096), |completion| {
            let Completion::TableRead { outcome, .. } = completion else {
                panic!("not the answer to a read");
            };
            let read = outcome.expect("a polled read would fail here");
            assert!(read == bytes, "other bytes");
        })
        .await;
    });
}

#[test]
fn the_probe_of_durability_answers_and_leaves_nothing() {
    let data = tempfile::tempdir().expect("a directory");
    let directory = shard(data.path());
    on_executor(async {
        probe::settle_polling(directory.root())
            .await
            .expect("it settles");
        let answer = probe::durability(directory.root()).await;
        let answer = answer.expect("it measures");
        assert!(MODES.contains(&answer));
        let names = std::fs::read_dir(directory.root()).expect("it lists");
        let names: Vec<_> = names
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert!(
            !names.iter().any(|name| name == "probe-durability"),
            "{names:?}"
        );
    });
}
