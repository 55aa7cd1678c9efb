//! The driver on real files: every effect does what its completion says, and what fails stays failed.

#![expect(
    clippy::disallowed_methods,
    reason = "these tests look at files behind the driver's back"
)]

mod store_files; // tables, manifest, reserve
mod log_files; // the log: round trips, recycling, damage
mod through_store; // a store that lives on these files
mod failing; // full disks, refused writes
mod places; // directories of all kinds
mod dump; // what a person sees of a file

use coracle::runtime::disk::{Durability, ShardDirectory, StoreDisk, StoreFinished, StoreQueues};
use coracle_engine::effect::{Completion, Effect};
use glommio::{LocalExecutorBuilder, Placement};
use std::future::Future;
use std::path::Path;

/// Runs a test on an executor of its own; the buffers are small, so that many fit a locked-memory
/// limit.
fn on_executor<Output>(work: impl Future<Output = Output>) -> Output {
    LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(1 << 20)
        .ring_depth(64)
        .make()
        .expect("an executor can be made")
        .run(work)
}

/// A shard directory under `data`, created.
fn shard(data: &Path) -> ShardDirectory {
    let directory = ShardDirectory::of(data, 0);
    directory.create().expect("the directory can be created");
    directory
}

/// The files of a store, opened.
async fn store(directory: &ShardDirectory, durability: Durability) -> StoreDisk {
    let disk = StoreDisk::open(directory.clone(), durability, StoreQueues::current()).await;
    disk.expect("the store's files open")
}

/// Starts effects all at once and returns their completions, in whatever order they come.
async fn carry_out(
    disk: &StoreDisk,
    effects: impl IntoIterator<Item = Effect>,
) -> Vec<StoreFinished> {
    let mut expected = 0;
    for effect in effects {
        disk.start(effect);
        expected += 1;
    }
    let mut finished = Vec::new();
    while finished.len() < expected {
        disk.wait().await;
        while let Some(one) = disk.pop() {
            finished.push(one);
        }
    }
    assert_eq!(disk.under_way(), 0);
    finished
}

/// Carries one effect out and hands its completion to `check`.
async fn one<Output>(
    disk: &StoreDisk,
    effect: Effect,
    check: impl FnOnce(Completion<'_>) -> Output,
) -> Output {
    let finished = carry_out(disk, [effect]).await;
    check(finished[0].completion())
}

/// Bytes that differ from place to place, and from seed to seed.
fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}
