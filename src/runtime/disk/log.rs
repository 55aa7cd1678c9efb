//! The effects of the log, carried out on the segment files of a shard.

use crate::runtime::aside;
use crate::runtime::disk::file::{Opening, ReadBytes};
use crate::runtime::disk::layout::sync_names;
use crate::runtime::disk::{
    DirectFile, DiskError, Durability, Failure, Finished, Pace, ShardDirectory, probe, submit_now,
};
use crate::runtime::ring::Ring;
use crate::runtime::ring::writes::{Writes, Written};
use crate::shard::Shard;
use crate::shard::door::Input;
use coracle_wal::effect::{Effect, Write};
use coracle_wal::fetch::Answer;
use coracle_wal::{Log, Lsn, ReadToken, Slot};
use glommio::io::DmaBuffer;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

/// The segment files of a log, and what is under way on them.
#[derive(Clone)]
pub struct LogDisk {
    shared: Rc<Shared>,
    finished: Finished<LogFinished>,
    unsent: Rc<Cell<Unsent>>,
    /// The ring that writes go through, where there is one.
    ring: Option<(Rc<Ring>, Rc<Writes>)>,
    pace: Rc<Pace>,
}

/// From so many bytes on it pays to interrupt a row of turns.
const HAND_OVER_BYTES: usize = 64 << 10;

/// With fewer writes than this the disk is not busy, and it pays earlier.
const WRITES_WITH_KERNEL: usize = 4;

/// That early.
const IDLE_HAND_OVER_BYTES: usize = 16 << 10;

/// Writes that were begun and may not have been handed to the kernel yet.
#[derive(Clone, Copy, Default)]
struct Unsent {
    writes: usize,
    bytes: usize,
}

struct Shared {
    directory: ShardDirectory,
    durability: Durability,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// The files that are there, by slot. All stay open: there are few.
    files: BTreeMap<Slot, Rc<DirectFile>>,
    /// The first failure of a write or a sync: it is final.
    failed: Option<DiskError>,
    /// Why a segment could not be made the last time that it was tried.
    not_made: Option<DiskError>,
}

/// What has been done, or failed: the answer to one effect.
pub struct LogFinished {
    answer: Finish,
}

enum Finish {
    Created(Slot, Result<(), Failure>),
    Written(Lsn, Result<(), Failure>),
    Synced(Slot, Result<(), Failure>),
    Read(ReadToken, Result<ReadBytes, Failure>),
}

/// Whoever holds the log, and fills the buffers of its writes.
pub trait Encode {
    /// Fills the buffer of a write; in the order of their lsn.
    fn encode(&mut self, write: &Write, buffer: &mut [u8]);
}

impl Encode for Log {
    fn encode(&mut self, write: &Write, buffer: &mut [u8]) {
        Log::encode(self, write, buffer);
    }
}

impl Encode for Shard {
    fn encode(&mut self, write: &Write, buffer: &mut [u8]) {
        Shard::encode(self, write, buffer);
    }
}

impl LogFinished {
    /// As a shard takes it.
    pub fn input(&self) -> Input<'_> {
        match &self.answer {
            Finish::Created(slot, Ok(())) => Input::LogCreated(*slot),
            Finish::Created(slot, Err(_)) => Input::LogCreateFailed(*slot),
            Finish::Written(lsn, Ok(())) => Input::LogDurable(*lsn),
            Finish::Synced(slot, Ok(())) => Input::LogSynced(*slot),
            Finish::Written(_, Err(_)) | Finish::Synced(_, Err(_)) => Input::LogFailed,
            Finish::Read(token, bytes) => Input::LogRead {
                token: *token,
                bytes: bytes.as_deref().ok(),
            },
        }
    }

    /// Tells the log. A read of old entries has an answer for whoever asked.
    pub fn deliver(self, log: &mut Log) -> Option<(ReadToken, Answer)> {
        match self.answer {
            Finish::Created(slot, Ok(())) => log.created(slot),
            Finish::Created(slot, Err(_)) => log.create_failed(slot),
            Finish::Written(lsn, Ok(())) => log.durable(lsn),
            Finish::Synced(slot, Ok(())) => log.synced(slot),
            Finish::Written(_, Err(_)) | Finish::Synced(_, Err(_)) => log.write_failed(),
            Finish::Read(token, Ok(bytes)) => return Some((token, log.read_done(token, &bytes))),
            Finish::Read(token, Err(_)) => return Some((token, log.read_failed(token))),
        }
        None
    }
}

impl LogDisk {
    /// Opens the segment files of a shard whose directory exists.
    pub async fn open(
        directory: ShardDirectory,
        durability: Durability,
    ) -> Result<LogDisk, DiskError> {
        probe::settle_polling(&directory.log()).await?;
        let mut state = State::default();
        for (slot, _) in directory.list_segments()? {
            let path = directory.segment(slot);
            let file = DirectFile::open(&path, opening(durability)).await?;
            state.files.insert(Slot(slot), Rc::new(file));
        }
        let shared = Shared {
            directory,
            durability,
            state: RefCell::new(state),
        };
        Ok(LogDisk {
            shared: Rc::new(shared),
            finished: Finished::default(),
            unsent: Rc::default(),
            ring: None,
            pace: Rc::default(),
        })
    }

    /// Writes go through this ring from now on.
    pub fn write_through_ring(&mut self, ring: Rc<Ring>, writes: Rc<Writes>) {
        self.ring = Some((ring, writes));
    }

    /// A write through the ring is over.
    pub fn written(&self, written: Written) {
        let failed = |failure| DiskError::new("write", written.file.path(), failure);
        let outcome = self.shared.settle(written.outcome.map_err(failed));
        if outcome.is_ok() {
            self.pace.wrote(written.bytes, written.began);
        }
        let answer = Finish::Written(written.lsn, outcome);
        self.finished.push(LogFinished { answer });
    }

    /// Begins to carry out an effect, taking the bytes of a write from the log. Effects are started in
    /// the order in which the log emitted them.
    pub fn start(&self, log: &mut impl Encode, effect: Effect) {
        match effect {
            Effect::Write(write) => self.start_write(log, write),
            Effect::Create { slot, bytes } => {
                let disk = self.shared.clone();
                self.spawn(async move {
                    let done = disk.create(slot, u64::from(bytes)).await;
                    let failure = done.as_ref().err().map(|error| error.failure);
                    disk.state.borrow_mut().not_made = done.err();
                    Finish::Created(slot, failure.map_or(Ok(()), Err))
                });
            }
            Effect::Sync { slot } => {
                let disk = self.shared.clone();
                self.spawn(
                    async move { Finish::Synced(slot, disk.finally(disk.sync(slot)).await) },
                );
            }
            Effect::Read {
                token,
                slot,
                offset,
                len,
            } => {
                let disk = self.shared.clone();
                self.spawn(async move {
                    let done = disk.read(slot, u64::from(offset), len as usize).await;
                    Finish::Read(token, done)
                });
            }
        }
    }

    fn start_write(&self, log: &mut impl Encode, write: Write) {
        let file = self.shared.file(write.slot);
        let file = file.expect("the log writes to files that were reported as created or found");
        let mut buffer = file.buffer(write.len as usize);
        log.encode(&write, buffer.as_bytes_mut());
        if let Some((ring, writes)) = &self.ring {
            self.finished.expect_one();
            let failed = self
                .shared
                .state
                .borrow()
                .failed
                .as_ref()
                .map(|error| error.failure);
            if let Some(failure) = failed {
                let answer = Finish::Written(write.lsn, Err(failure));
                return self.finished.push(LogFinished { answer });
            }
            let syncs = self.shared.durability == Durability::WriteThenSync;
            let offset = u64::from(write.offset);
            return writes.begin(ring, write.lsn, file, buffer, offset, syncs);
        }
        let unsent = self.unsent.get();
        self.unsent.set(Unsent {
            writes: unsent.writes + 1,
            bytes: unsent.bytes + buffer.len(),
        });
        let disk = self.shared.clone();
        let (pace, bytes, began) = (self.pace.clone(), buffer.len(), Instant::now());
        self.spawn(async move {
            let work = disk.write(&file, buffer, u64::from(write.offset));
            let outcome = disk.finally(work).await;
            if outcome.is_ok() {
                pace.wrote(bytes, began);
            }
            Finish::Written(write.lsn, outcome)
        });
    }

    fn spawn(&self, work: impl Future<Output = Finish> + 'static) {
        self.finished.expect_one();
        let finished = self.finished.clone();
        let task = glommio::spawn_local(async move {
            let answer = work.await;
            finished.push(LogFinished { answer });
        });
        task.detach();
    }

    /// The files that are there, with their lengths.
    pub(super) fn list(&self) -> Result<Vec<(Slot, u64)>, DiskError> {
        let segments = self.shared.directory.list_segments()?.into_iter();
        Ok(segments.map(|(slot, bytes)| (Slot(slot), bytes)).collect())
    }

    /// Where the file of a slot is.
    pub(super) fn segment_path(&self, slot: Slot) -> PathBuf {
        self.shared.directory.segment(slot.0)
    }

    /// Reads from the file of a slot, less at its end.
    pub(super) async fn read(
        &self,
        slot: Slot,
        offset: u64,
        bytes: usize,
    ) -> Result<ReadBytes, Failure> {
        self.shared.read(slot, offset, bytes).await
    }

    /// The next completion, if there is one.
    pub fn pop(&self) -> Option<LogFinished> {
        self.finished.pop()
    }

    /// Whether there is a completion to take; wakes the task when there is, if it says nothing yet.
    pub fn poll_item(&self, context: &mut Context<'_>) -> Poll<()> {
        self.finished.poll_item(context)
    }

    /// The executor was idle, and has handed over everything that was begun.
    pub fn was_idle(&self) {
        self.unsent.set(Unsent::default());
    }

    /// Waits until there is a completion to take, or nothing under way.
    pub async fn wait(&self) {
        if self.finished.wait().await {
            self.was_idle();
        }
    }

    /// Between turns that follow each other without a pause: hands to the kernel what was begun, if
    /// the disk would else run dry meanwhile, or if so much was begun that preparing more of it takes
    /// longer than handing it over. Before a pause there is no need: an executor hands over everything
    /// before it sleeps.
    pub async fn hand_over(&self) {
        let unsent = self.unsent.get();
        if unsent.writes == 0 {
            return;
        }
        let with_kernel = self.under_way().saturating_sub(unsent.writes);
        let idle = with_kernel < WRITES_WITH_KERNEL && unsent.bytes >= IDLE_HAND_OVER_BYTES;
        if idle || unsent.bytes >= HAND_OVER_BYTES {
            self.unsent.set(Unsent::default());
            submit_now().await;
        }
    }

    /// What has been written, and how fast.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// How many effects are under way.
    pub fn under_way(&self) -> usize {
        self.finished.under_way()
    }

    /// Whether the executor carries out effects: other than the ring, it must be let do so.
    pub fn needs_executor(&self) -> bool {
        let on_ring = self.ring.as_ref().map_or(0, |(_, writes)| writes.len());
        self.under_way() > on_ring
    }

    /// Why a segment could not be made the last time that it was tried.
    pub fn not_made(&self) -> Option<DiskError> {
        self.shared.state.borrow().not_made.clone()
    }

    /// Why the log is final, if it is.
    pub fn failure(&self) -> Option<DiskError> {
        self.shared.state.borrow().failed.clone()
    }

    /// Closes all files. Nothing is under way.
    pub async fn close(self) {
        assert_eq!(self.under_way(), 0, "effects are under way");
        let state = self.shared.state.take();
        for file in state.files.into_values() {
            if let Some(file) = Rc::into_inner(file) {
                // What was to be durable was synced before: a failure to close loses nothing.
                let _ = file.close().await;
            }
        }
    }
}

fn opening(durability: Durability) -> Opening {
    match durability {
        Durability::WriteThrough => Opening::WriteThrough,
        Durability::WriteThenSync => Opening::Existing,
    }
}

impl Shared {
    fn file(&self, slot: Slot) -> Option<Rc<DirectFile>> {
        self.state.borrow().files.get(&slot).cloned()
    }

    /// Writes and syncs: the first failure is final, and answers everything that comes later.
    async fn finally(
        &self,
        work: impl Future<Output = Result<(), DiskError>>,
    ) -> Result<(), Failure> {
        if let Some(error) = &self.state.borrow().failed {
            return Err(error.failure);
        }
        let done = work.await;
        self.settle(done)
    }

    /// What a write or sync has come to: the first failure is final.
    fn settle(&self, done: Result<(), DiskError>) -> Result<(), Failure> {
        let mut state = self.state.borrow_mut();
        // What ended well after something else failed is no proof of anything any more.
        if let Some(error) = &state.failed {
            return Err(error.failure);
        }
        done.map_err(|error| {
            let failure = error.failure;
            state.failed = Some(error);
            failure
        })
    }

    async fn write(
        &self,
        file: &DirectFile,
        buffer: DmaBuffer,
        offset: u64,
    ) -> Result<(), DiskError> {
        let failed = |failure| DiskError::new("write", file.path(), failure);
        file.write(buffer, offset).await.map_err(failed)?;
        if self.durability == Durability::WriteThenSync {
            file.sync().await.map_err(failed)?;
        }
        Ok(())
    }

    /// Makes a file of zeros. They are written without the flag that makes each write durable, and
    /// then made durable at once, the name too. A file that could not be made is removed, so that it
    /// takes no space.
    async fn create(&self, slot: Slot, bytes: u64) -> Result<(), DiskError> {
        self.state.borrow_mut().files.remove(&slot);
        let path = self.directory.segment(slot.0);
        let made = self.make(slot, bytes).await;
        if made.is_err() {
            let path = path.clone();
            let removed = aside::run(move || std::fs::remove_file(path));
            // Recovery takes a file without a header for a free one, so it may as well stay.
            let _ = removed.await;
        }
        let file = made?;
        self.state.borrow_mut().files.insert(slot, Rc::new(file));
        Ok(())
    }

    async fn make(&self, slot: Slot, bytes: u64) -> Result<DirectFile, DiskError> {
        let path = self.directory.segment(slot.0);
        let failed = |failure| DiskError::new("create", &path, failure);
        let file = DirectFile::open(&path, Opening::Emptied).await?;
        file.write_zeros(0, bytes).await.map_err(failed)?;
        file.sync().await.map_err(failed)?;
        file.close().await.map_err(failed)?;
        self.sync_names().await?;
        DirectFile::open(&path, opening(self.durability)).await
    }

    async fn sync(&self, slot: Slot) -> Result<(), DiskError> {
        let missing = || {
            let path = self.directory.segment(slot.0);
            DiskError::new("sync", &path, Failure::Missing)
        };
        let file = self.file(slot).ok_or_else(missing)?;
        let failed = |failure| DiskError::new("sync", file.path(), failure);
        file.sync().await.map_err(failed)?;
        self.sync_names().await
    }

    async fn sync_names(&self) -> Result<(), DiskError> {
        let directory = self.directory.log();
        aside::run(move || sync_names(&directory)).await
    }

    async fn read(&self, slot: Slot, offset: u64, bytes: usize) -> Result<ReadBytes, Failure> {
        let file = self.file(slot).ok_or(Failure::Missing)?;
        file.read(offset, bytes).await
    }
}
