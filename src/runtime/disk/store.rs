//! The effects of the engine, carried out on the files of a shard: tables, manifest, reserve.

use crate::runtime::aside;
use crate::runtime::disk::file::{Opening, ReadBytes};
use crate::runtime::disk::layout::sync_names;
use crate::runtime::disk::{
    BLOCK_BYTES, DirectFile, DiskError, Durability, Failure, Finished, ShardDirectory, probe,
};
use coracle_engine::effect::{Completion, Effect, ManifestWrite, ReadToken, Share, TableNumber};
use glommio::TaskQueueHandle;
use glommio::sync::Semaphore;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::{Context, Poll};

/// What carries out work of each share: a queue of the executor, and how much at once.
#[derive(Clone, Copy)]
pub struct StoreQueues {
    /// For what somebody waits for.
    pub foreground: TaskQueueHandle,
    /// For what nobody waits for.
    pub background: TaskQueueHandle,
    /// So many operations of the foreground are with the kernel at once.
    pub foreground_at_once: u64,
    /// So many of the background.
    pub background_at_once: u64,
}

impl StoreQueues {
    /// Everything in the queue of the caller; the background is held back by its bound alone.
    pub fn current() -> StoreQueues {
        let queue = glommio::executor().current_task_queue();
        StoreQueues {
            foreground: queue,
            background: queue,
            foreground_at_once: 64,
            background_at_once: 4,
        }
    }
}

/// More table files than this are not kept open between operations: several shards share the usual
/// limit of a process.
const OPEN_TABLES_MAX: usize = 256;

/// The files of a store, and what is under way on them.
#[derive(Clone)]
pub struct StoreDisk {
    shared: Rc<Shared>,
    finished: Finished<StoreFinished>,
}

struct Shared {
    directory: ShardDirectory,
    durability: Durability,
    queues: StoreQueues,
    foreground: Semaphore,
    background: Semaphore,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    manifest: Option<Rc<DirectFile>>,
    /// The first failure of the manifest: it is final.
    manifest_failed: Option<DiskError>,
    tables: BTreeMap<u64, OpenTable>,
    /// Counts uses, so that the file that was not used for longest can be closed.
    uses: u64,
}

struct OpenTable {
    file: Rc<DirectFile>,
    used: u64,
}

/// What has been done, or failed: the answer to one effect, with the bytes of a read.
pub struct StoreFinished {
    answer: Answer,
}

enum Answer {
    ManifestCreated(Result<(), Failure>),
    ManifestSynced(Result<(), Failure>),
    ManifestWritten(ManifestWrite, Result<(), Failure>),
    TableCreated(TableNumber, Result<(), Failure>),
    TableWritten(TableNumber, u64, Result<(), Failure>),
    TableSynced(TableNumber, Result<(), Failure>),
    TableRemoved(TableNumber, Result<(), Failure>),
    TableRead(ReadToken, Result<ReadBytes, Failure>),
    ReserveSized(u64, Result<(), Failure>),
}

impl StoreFinished {
    /// As the store takes it.
    pub fn completion(&self) -> Completion<'_> {
        let outcome = |outcome: &Result<(), Failure>| outcome.map_err(Failure::into);
        match &self.answer {
            Answer::ManifestCreated(done) => Completion::ManifestCreated(outcome(done)),
            Answer::ManifestSynced(done) => Completion::ManifestSynced(outcome(done)),
            Answer::ManifestWritten(write, done) => Completion::ManifestWritten {
                write: *write,
                outcome: outcome(done),
            },
            Answer::TableCreated(table, done) => Completion::TableCreated {
                table: *table,
                outcome: outcome(done),
            },
            Answer::TableWritten(table, offset, done) => Completion::TableWritten {
                table: *table,
                offset: *offset,
                outcome: outcome(done),
            },
            Answer::TableSynced(table, done) => Completion::TableSynced {
                table: *table,
                outcome: outcome(done),
            },
            Answer::TableRemoved(table, done) => Completion::TableRemoved {
                table: *table,
                outcome: outcome(done),
            },
            Answer::TableRead(token, done) => Completion::TableRead {
                token: *token,
                outcome: match done {
                    Ok(bytes) => Ok(bytes),
                    Err(failure) => Err((*failure).into()),
                },
            },
            Answer::ReserveSized(bytes, done) => Completion::ReserveSized {
                bytes: *bytes,
                outcome: outcome(done),
            },
        }
    }
}

impl StoreDisk {
    /// Opens the directory of a shard, which exists.
    pub async fn open(
        directory: ShardDirectory,
        durability: Durability,
        queues: StoreQueues,
    ) -> Result<StoreDisk, DiskError> {
        probe::settle_polling(directory.root()).await?;
        probe::settle_polling(&directory.tables()).await?;
        let shared = Shared {
            directory,
            durability,
            queues,
            foreground: Semaphore::new(queues.foreground_at_once),
            background: Semaphore::new(queues.background_at_once),
            state: RefCell::default(),
        };
        Ok(StoreDisk {
            shared: Rc::new(shared),
            finished: Finished::default(),
        })
    }

    /// All bytes of the manifest, or nothing if there is none. For recovery, before any effect.
    pub async fn read_manifest(&self) -> Result<Option<Vec<u8>>, DiskError> {
        let path = self.shared.directory.manifest();
        if !path.exists() {
            return Ok(None);
        }
        let file = self.shared.manifest().await?;
        let failed = |failure| DiskError::new("read", &path, failure);
        let length = file.length().await.map_err(failed)?;
        let bytes = length.next_multiple_of(BLOCK_BYTES) as usize;
        let bytes = file.read(0, bytes).await.map_err(failed)?;
        Ok(Some(bytes.to_vec()))
    }

    /// All tables with their lengths. For recovery, before any effect.
    pub fn list_tables(&self) -> Result<Vec<(TableNumber, u64)>, DiskError> {
        let tables = self.shared.directory.list_tables()?;
        let named = tables.into_iter();
        Ok(named
            .map(|(number, bytes)| (TableNumber(number), bytes))
            .collect())
    }

    /// Begins to carry out an effect. Its completion comes through [`StoreDisk::pop`].
    pub fn start(&self, effect: Effect) {
        self.finished.expect_one();
        let (disk, finished) = (self.shared.clone(), self.finished.clone());
        let queues = self.shared.queues;
        let queue = match share(&effect) {
            Share::Foreground => queues.foreground,
            Share::Background => queues.background,
        };
        let work = async move {
            let answer = disk.carry_out(effect).await;
            finished.push(StoreFinished { answer });
        };
        glommio::spawn_local_into(work, queue)
            .expect("the queues live as long as the store")
            .detach();
    }

    /// The next completion, if there is one.
    pub fn pop(&self) -> Option<StoreFinished> {
        self.finished.pop()
    }

    /// Whether there is a completion to take; wakes the task when there is, if it says nothing yet.
    pub fn poll_item(&self, context: &mut Context<'_>) -> Poll<()> {
        self.finished.poll_item(context)
    }

    /// Waits until there is a completion to take, or nothing under way.
    pub async fn wait(&self) {
        self.finished.wait().await;
    }

    /// How many effects are under way.
    pub fn under_way(&self) -> usize {
        self.finished.under_way()
    }

    /// Closes all files. Nothing is under way.
    pub async fn close(self) {
        assert_eq!(self.under_way(), 0, "effects are under way");
        let state = self.shared.state.take();
        let tables = state.tables.into_values().map(|open| open.file);
        for file in tables.chain(state.manifest) {
            if let Some(file) = Rc::into_inner(file) {
                // What was to be durable was synced before: a failure to close loses nothing.
                let _ = file.close().await;
            }
        }
    }

    /// Why the manifest is final, if it is.
    pub fn manifest_failure(&self) -> Option<DiskError> {
        self.shared.state.borrow().manifest_failed.clone()
    }
}

/// Whose work an effect is. What says nothing is small, and something waits for it.
fn share(effect: &Effect) -> Share {
    match effect {
        Effect::WriteTable { share, .. }
        | Effect::SyncTable { share, .. }
        | Effect::ReadTable { share, .. } => *share,
        Effect::RemoveTable { .. } | Effect::SizeReserve { .. } => Share::Background,
        _ => Share::Foreground,
    }
}

impl Shared {
    async fn carry_out(&self, effect: Effect) -> Answer {
        let gate = match share(&effect) {
            Share::Foreground => &self.foreground,
            Share::Background => &self.background,
        };
        let _permit = gate.acquire_permit(1).await.expect("never closed");
        match effect {
            Effect::CreateManifest { bytes } => {
                let work = self.create_manifest(bytes);
                Answer::ManifestCreated(self.finally(work).await)
            }
            Effect::SyncManifest => {
                Answer::ManifestSynced(self.finally(self.sync_manifest()).await)
            }
            Effect::WriteManifest {
                write,
                offset,
                bytes,
            } => {
                let work = self.write_manifest(offset, &bytes);
                Answer::ManifestWritten(write, self.finally(work).await)
            }
            Effect::CreateTable { table } => {
                Answer::TableCreated(table, plainly(self.create_table(table.0).await))
            }
            Effect::WriteTable {
                table,
                offset,
                bytes,
                ..
            } => {
                let done = self.write_table(table.0, offset, &bytes).await;
                Answer::TableWritten(table, offset, plainly(done))
            }
            Effect::SyncTable { table, .. } => {
                Answer::TableSynced(table, plainly(self.sync_table(table.0).await))
            }
            Effect::RemoveTable { table } => {
                Answer::TableRemoved(table, plainly(self.remove_table(table.0).await))
            }
            Effect::ReadTable {
                token,
                table,
                offset,
                length,
                ..
            } => {
                let done = self.read_table(table.0, offset, length as usize).await;
                Answer::TableRead(token, plainly(done))
            }
            Effect::SizeReserve { bytes } => {
                Answer::ReserveSized(bytes, plainly(self.size_reserve(bytes).await))
            }
        }
    }

    /// Work on the manifest: its first failure is final, and answers everything that comes later.
    async fn finally(
        &self,
        work: impl Future<Output = Result<(), DiskError>>,
    ) -> Result<(), Failure> {
        if let Some(error) = &self.state.borrow().manifest_failed {
            return Err(error.failure);
        }
        let done = work.await;
        let mut state = self.state.borrow_mut();
        // What ended well after something else failed is no proof of anything any more.
        if let Some(error) = &state.manifest_failed {
            return Err(error.failure);
        }
        done.map_err(|error| {
            let failure = error.failure;
            state.manifest_failed = Some(error);
            failure
        })
    }

    async fn create_manifest(&self, bytes: u64) -> Result<(), DiskError> {
        self.state.borrow_mut().manifest = None;
        let (new, path) = (self.directory.manifest_new(), self.directory.manifest());
        let failed = |failure| DiskError::new("write", &new, failure);
        let file = DirectFile::open(&new, Opening::Emptied).await?;
        file.write_zeros(0, bytes).await.map_err(failed)?;
        file.sync().await.map_err(failed)?;
        file.close().await.map_err(failed)?;
        let renamed = std::fs::rename(&new, &path);
        renamed.map_err(DiskError::io("rename", &new))?;
        self.sync_names(self.directory.root()).await?;
        self.manifest().await.map(|_| ())
    }

    async fn sync_manifest(&self) -> Result<(), DiskError> {
        let file = self.manifest().await?;
        let failed = |failure| DiskError::new("sync", file.path(), failure);
        file.sync().await.map_err(failed)?;
        self.sync_names(self.directory.root()).await
    }

    async fn write_manifest(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let file = self.manifest().await?;
        let failed = |failure| DiskError::new("write", file.path(), failure);
        file.write_bytes(bytes, offset).await.map_err(failed)?;
        if self.durability == Durability::WriteThenSync {
            file.sync().await.map_err(failed)?;
        }
        Ok(())
    }

    /// The open manifest.
    async fn manifest(&self) -> Result<Rc<DirectFile>, DiskError> {
        if let Some(file) = &self.state.borrow().manifest {
            return Ok(file.clone());
        }
        let opening = match self.durability {
            Durability::WriteThrough => Opening::WriteThrough,
            Durability::WriteThenSync => Opening::Existing,
        };
        let file = Rc::new(DirectFile::open(&self.directory.manifest(), opening).await?);
        self.state.borrow_mut().manifest = Some(file.clone());
        Ok(file)
    }

    async fn create_table(&self, table: u64) -> Result<(), DiskError> {
        let path = self.directory.table(table);
        let file = DirectFile::open(&path, Opening::Emptied).await?;
        self.keep_open(table, Rc::new(file));
        Ok(())
    }

    async fn write_table(&self, table: u64, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let file = self.table(table).await?;
        let failed = |failure| DiskError::new("write", file.path(), failure);
        file.write_bytes(bytes, offset).await.map_err(failed)
    }

    async fn sync_table(&self, table: u64) -> Result<(), DiskError> {
        let file = self.table(table).await?;
        let failed = |failure| DiskError::new("sync", file.path(), failure);
        file.sync().await.map_err(failed)?;
        self.sync_names(&self.directory.tables()).await
    }

    async fn remove_table(&self, table: u64) -> Result<(), DiskError> {
        self.state.borrow_mut().tables.remove(&table);
        let path = self.directory.table(table);
        let removed = aside::run({
            let path = path.clone();
            move || std::fs::remove_file(path)
        });
        match removed.await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(DiskError::io("remove", &path)),
        }
    }

    async fn read_table(
        &self,
        table: u64,
        offset: u64,
        bytes: usize,
    ) -> Result<ReadBytes, DiskError> {
        let file = self.table(table).await?;
        let failed = |failure| DiskError::new("read", file.path(), failure);
        file.read(offset, bytes).await.map_err(failed)
    }

    /// The open file of a table.
    async fn table(&self, table: u64) -> Result<Rc<DirectFile>, DiskError> {
        {
            let mut state = self.state.borrow_mut();
            state.uses += 1;
            let uses = state.uses;
            if let Some(open) = state.tables.get_mut(&table) {
                open.used = uses;
                return Ok(open.file.clone());
            }
        }
        let path = self.directory.table(table);
        let file = Rc::new(DirectFile::open(&path, Opening::Existing).await?);
        self.keep_open(table, file.clone());
        Ok(file)
    }

    fn keep_open(&self, table: u64, file: Rc<DirectFile>) {
        let mut state = self.state.borrow_mut();
        if state.tables.len() >= OPEN_TABLES_MAX {
            let oldest = state.tables.iter().min_by_key(|(_, open)| open.used);
            let oldest = oldest.map(|(table, _)| *table);
            if let Some(oldest) = oldest {
                state.tables.remove(&oldest);
            }
        }
        state.uses += 1;
        let used = state.uses;
        state.tables.insert(table, OpenTable { file, used });
    }

    async fn size_reserve(&self, bytes: u64) -> Result<(), DiskError> {
        let path = self.directory.reserve();
        let failed = |failure| DiskError::new("size", &path, failure);
        let opening = if path.exists() {
            Opening::Existing
        } else {
            Opening::Emptied
        };
        let file = DirectFile::open(&path, opening).await?;
        let length = file.length().await.map_err(failed)?;
        if length < bytes {
            // From a whole block: an interrupted growth may have ended anywhere.
            let from = length - length % BLOCK_BYTES;
            let to = bytes.next_multiple_of(BLOCK_BYTES);
            file.write_zeros(from, to).await.map_err(failed)?;
        } else if length > bytes {
            file.truncate(bytes).await.map_err(failed)?;
        }
        file.sync().await.map_err(failed)?;
        file.close().await.map_err(failed)
    }

    async fn sync_names(&self, directory: &Path) -> Result<(), DiskError> {
        let directory = PathBuf::from(directory);
        aside::run(move || sync_names(&directory)).await
    }
}

/// The engine is told the reason alone; it knows which effect it was.
fn plainly<T>(done: Result<T, DiskError>) -> Result<T, Failure> {
    done.map_err(|error| error.failure)
}
