//! From the directory of a shard to its running brain.

use coracle_engine as engine;
use coracle_engine::effect::TableNumber;
use coracle_engine::recover::{Identity, OpenError, Opening};
use coracle_engine::store::Store;
use coracle_wal as wal;

use super::clock::Clock;
use super::disk::{
    DiskError, Durability, Failure as DiskFailure, LogDisk, RecoveryError, ShardDirectory,
    StoreDisk, StoreQueues, leftover, probe,
};
use super::failure::{Exit, Failure};
use crate::shard::Shard;
use crate::shard::options::ShardOptions;

/// How a shard's files are laid out and bounded.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// The bounds of the log.
    pub log: wal::Limits,
    /// What may be chosen about the state store.
    pub store: engine::options::Options,
}

/// A shard and what carries its effects.
pub struct Opened {
    /// The brain; it replays first.
    pub shard: Shard,
    /// Whether there was nothing before.
    pub is_new: bool,
    /// Its log files.
    pub log: LogDisk,
    /// Its tables and manifest.
    pub store: StoreDisk,
    /// How log writes become durable.
    pub durability: Durability,
}

/// Opens what the directory holds; creates what it does not.
pub async fn open(
    directory: ShardDirectory,
    options: ShardOptions,
    files: FileOptions,
    queues: StoreQueues,
    clock: &Clock,
) -> Result<Opened, Failure> {
    directory.create().map_err(disk_failure)?;
    leftover::wait(&directory).await.map_err(disk_failure)?;
    probe::settle_polling(&directory.log())
        .await
        .map_err(disk_failure)?;
    let durability = durability(&directory).await.map_err(disk_failure)?;
    let log_disk = LogDisk::open(directory.clone(), durability)
        .await
        .map_err(disk_failure)?;
    let store_disk = StoreDisk::open(directory.clone(), durability, queues)
        .await
        .map_err(disk_failure)?;
    let id = wal::LogId(options.store.0);
    let is_new = directory.list_segments().map_err(disk_failure)?.is_empty();
    let log = match is_new {
        true => wal::Log::create(id, files.log),
        false => recover_log(&log_disk, id, files.log).await?,
    };
    let store = open_store(
        &directory,
        &store_disk,
        Identity(options.store.0),
        files.store,
    )
    .await?;
    Ok(Opened {
        shard: Shard::open(options, clock.now(), log, store),
        is_new,
        log: log_disk,
        store: store_disk,
        durability,
    })
}

/// As measured when the shard was made, and kept since: log and manifest of one life are written one way.
async fn durability(directory: &ShardDirectory) -> Result<Durability, DiskError> {
    if let Some(kept) = directory.durability()? {
        return Ok(kept);
    }
    let measured = probe::durability(&directory.log()).await?;
    directory.keep_durability(measured)?;
    Ok(measured)
}

async fn recover_log(
    disk: &LogDisk,
    id: wal::LogId,
    limits: wal::Limits,
) -> Result<wal::Log, Failure> {
    match disk.recover(id, limits).await {
        Ok((log, verdict)) => {
            let torn_at = verdict.torn_at.map(|at| format!("{at:?}"));
            tracing::info!(
                lsn = verdict.accepted.0,
                discarded = verdict.discarded,
                torn_at,
                "log recovered"
            );
            Ok(log)
        }
        Err(RecoveryError::Disk(error)) => Err(disk_failure(error)),
        Err(RecoveryError::Corrupt(corrupt)) => {
            let why = format!(
                "the log of store {} is damaged: {corrupt}; what was acknowledged may be missing, so the shard does \
                 not open",
                id.0
            );
            Err(Failure::new(Exit::Corruption, why))
        }
    }
}

async fn open_store(
    directory: &ShardDirectory,
    disk: &StoreDisk,
    identity: Identity,
    options: engine::options::Options,
) -> Result<Store, Failure> {
    let manifest = disk.read_manifest().await.map_err(disk_failure)?;
    let tables: Vec<(TableNumber, u64)> = disk.list_tables().map_err(disk_failure)?;
    let corrupt = |error: OpenError| {
        let why = format!("{}: {error}", directory.root().display());
        Failure::new(Exit::Corruption, why)
    };
    let recovered = match &manifest {
        None => Ok(Opening::create(identity, options)),
        Some(bytes) => match Opening::recover(identity, options.clone(), bytes, &tables) {
            Err(OpenError::NotCreated) => Ok(Opening::create(identity, options)),
            other => other,
        },
    };
    let mut opening = recovered.map_err(corrupt)?;
    let mut effects = Vec::new();
    loop {
        opening.flush_effects(&mut effects);
        for effect in effects.drain(..) {
            disk.start(effect);
        }
        if opening.is_over() {
            break;
        }
        disk.wait().await;
        while let Some(finished) = disk.pop() {
            opening.complete(finished.completion());
        }
    }
    while disk.under_way() > 0 {
        disk.wait().await;
        while disk.pop().is_some() {}
    }
    opening.finish().map_err(|error| match error {
        OpenError::Failed(engine::effect::Failure::NoSpace) => {
            let why = format!(
                "{}: no space left for the manifest",
                directory.root().display()
            );
            Failure::new(Exit::NoSpace, why)
        }
        OpenError::Failed(_) => Failure::new(Exit::FailedWrite, corrupt(error).message),
        error => corrupt(error),
    })
}

/// What a failing disk means for a start.
pub fn disk_failure(error: DiskError) -> Failure {
    let exit = match error.failure {
        DiskFailure::NoSpace => Exit::NoSpace,
        _ => Exit::FailedWrite,
    };
    Failure::new(exit, error)
}
