//! The store: memtables, tables and manifest behind two doors.
//!
//! Calls and [`Completion`](crate::effect::Completion)s change memory only; what the world should do
//! leaves by [`Store::flush_effects`]. The rules of durability are all kept by withholding:
//!
//! * An edit is submitted when the tables that it names are durable and have been opened again.
//! * The edit of a rotation is submitted when the log is durable up to everything that the rotation
//!   contains; rotations are flushed one after the other, in order.
//! * A table's file is removed when the edit that drops it is durable and no view reads it.
//! * One edit is in flight at a time, so every edit is judged against what is durable.
//!
//! A failed write of the manifest is final: the store stops, and says so.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::Rc;
use alloc::vec::Vec;

use crate::cache::BlockCache;
use crate::compact::CompactionJob;
use crate::effect::{Failure, ReadToken, TableNumber};
use crate::figures::Counted;
use crate::flush::FlushJob;
use crate::ingest::PendingIngest;
use crate::journal::Journal;
use crate::memtable::{Memtable, Reached};
use crate::moved::Moved;
use crate::opening::TableOpenings;
use crate::options::{FLUSH_QUEUE_MAX, Options};
use crate::ownership::Ownership;
use crate::progress::{Applied, Checkpoint, Clock, Index, PeerId, RegionId, Rotation};
use crate::reads::{ReadError, Reads};
use crate::record::{KEY_BYTES_MAX, Seq, VALUE_BYTES_MAX};
use crate::sink::{Files, Numbers};
use crate::sources::Memories;
use crate::space::Space;
use crate::state::Refused;
use crate::table::Corrupt;
use crate::tables::Tables;
use crate::version::{TableRef, Version};
use crate::view::{MemoryId, Seen, View, Views};

/// A place in the log; the store only compares them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

/// Something that has become true, for whoever waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A read has come, or failed: what waits for it may go on.
    ReadDone(ReadToken),
    /// A rotation is in the tables: its regions' checkpoints have moved.
    RotationDurable(Rotation),
    /// A received table and its name are durable.
    TableReceived(TableNumber),
    /// A received table could not be written; it is removed.
    TableLost(TableNumber, Failure),
    /// An ingest is durable and visible.
    Ingested {
        /// The region.
        region: RegionId,
        /// Its replica here.
        peer: PeerId,
    },
    /// An ingest is not possible; nothing was changed.
    IngestFailed {
        /// The region.
        region: RegionId,
        /// Its replica here.
        peer: PeerId,
        /// Why.
        why: IngestError,
    },
    /// Ranges have lost their content, durably.
    Destroyed {
        /// What the caller of `destroy` was given.
        cut: CutNumber,
    },
    /// An input of a compaction cannot be read: compaction rests until its range is cut.
    Unreadable(ReadError),
    /// The store has stopped; nothing leaves it any more.
    Stopped(Stopped),
}

/// Why an ingest is not possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IngestError {
    /// A received table cannot be read back.
    Table(ReadError),
    /// The manifest does not take the edit.
    Refused(Refused),
}

/// Names one call of `destroy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CutNumber(pub u64);

/// Why a store has stopped for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The manifest could not be written.
    Manifest(Failure),
    /// A table could not be written, and not for lack of space.
    Table(TableNumber, Failure),
    /// A table that was just written reads back as something else.
    Corrupt(Corrupt),
    /// The manifest is too small for what the store holds.
    Refused(Refused),
}

/// Why a call was refused; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too much waits for the disk: try again when a rotation has become durable.
    Busy,
    /// A memtable still holds content of the range: rotate, and wait for that rotation.
    StillInMemory,
    /// The same ingest is in the manifest already.
    AlreadyPresent,
    /// The store has stopped.
    Stopped,
}

/// So many keys are looked for together: what they touch stays near the processor until it is written.
pub const PUTS_MAX: usize = 32;

/// What a sealed memtable must take along.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub number: Rotation,
    pub barrier: Lsn,
    pub last_seq: Seq,
    pub applied: Vec<Applied>,
    pub ownership: Option<Rc<Ownership>>,
    pub urgent: bool,
}

/// Something that the store has no more use for, but perhaps a view.
#[derive(Debug)]
pub(crate) struct Dying {
    pub table: Rc<TableRef>,
    /// How many versions were installed when it was dropped.
    pub since: u64,
}

/// The state store of one shard.
#[derive(Debug)]
pub struct Store {
    pub(crate) options: Options,
    pub(crate) memories: Memories,
    /// Memtables before this one are in tables.
    pub(crate) first_unflushed: MemoryId,
    /// Emptied memtables whose memory is kept.
    pub(crate) spare: Vec<Memtable>,
    pub(crate) sealed: VecDeque<Sealed>,
    /// The last rotation that was begun.
    pub(crate) rotation: Rotation,
    pub(crate) moved: Moved,
    /// None until it is set for the first time since the opening: nothing is judged before.
    pub(crate) ownership: Option<Rc<Ownership>>,
    /// The ownership as of the last durable rotation since the opening.
    pub(crate) judged: Option<Rc<Ownership>>,
    pub(crate) next_seq: Seq,
    pub(crate) log_durable: Lsn,
    pub(crate) version: Rc<Version>,
    /// How many versions were installed since the opening.
    pub(crate) installed: u64,
    pub(crate) journal: Journal,
    pub(crate) numbers: Numbers,
    pub(crate) tables: Tables,
    pub(crate) cache: BlockCache,
    pub(crate) reads: Reads,
    pub(crate) views: Views,
    pub(crate) files: Files,
    pub(crate) openings: TableOpenings,
    pub(crate) flush: Option<FlushJob>,
    pub(crate) compaction: Option<CompactionJob>,
    pub(crate) ingests: Vec<PendingIngest>,
    pub(crate) cuts: u64,
    pub(crate) dying: Vec<Dying>,
    /// Files that nobody needs and that are still there, with their lengths: their removal is under way, or was
    /// refused, and the next start tries again.
    pub(crate) removing: BTreeMap<TableNumber, u64>,
    /// Files that no edit names, with their lengths, as they were found.
    pub(crate) orphans: BTreeMap<TableNumber, u64>,
    /// Tables that are being received, with their lengths so far.
    pub(crate) received_lengths: BTreeMap<TableNumber, u64>,
    /// Received tables that are durable, with their lengths.
    pub(crate) received: BTreeMap<TableNumber, u64>,
    /// Ranges under durable tombstones whose older tables have not been dropped yet.
    pub(crate) hidden: Vec<(Seq, crate::record::KeyRange)>,
    /// An input of a compaction cannot be read.
    pub(crate) unreadable: bool,
    pub(crate) space: Space,
    pub(crate) events: Vec<Event>,
    pub(crate) figures: Counted,
    /// The caller's time, for the age of views.
    pub(crate) now: u64,
    /// The replay is over: compaction may run.
    pub(crate) compacting: bool,
    pub(crate) stopped: Option<Stopped>,
    pub(crate) effects: Vec<crate::effect::Effect>,
}

impl Store {
    /// Sets a key.
    #[inline]
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        assert!(key.len() <= KEY_BYTES_MAX, "a key beyond the bound");
        assert!(value.len() <= VALUE_BYTES_MAX, "a value beyond the bound");
        let (seq, keep) = self.write();
        self.figures.user_bytes += (key.len() + value.len()) as u64;
        self.memories.active().put(key, value, seq, keep);
    }

    /// Sets keys, one after the other, at most [`PUTS_MAX`] of them: all are looked for before the first is
    /// written, so that what they wait for comes together.
    pub fn put_all(&mut self, puts: &[(&[u8], &[u8])]) {
        let [(key, value)] = puts else {
            let mut reached = [Reached::default(); PUTS_MAX];
            let reached = &mut reached[..puts.len()];
            self.memories.active().reach(puts, reached);
            for ((key, value), reached) in puts.iter().zip(reached) {
                assert!(key.len() <= KEY_BYTES_MAX, "a key beyond the bound");
                assert!(value.len() <= VALUE_BYTES_MAX, "a value beyond the bound");
                let (seq, keep) = self.write();
                self.figures.user_bytes += (key.len() + value.len()) as u64;
                let active = self.memories.active();
                active.put_reached(key, value, seq, keep, *reached);
            }
            return;
        };
        self.put(key, value);
    }

    /// Deletes a key.
    #[inline]
    pub fn delete(&mut self, key: &[u8]) {
        assert!(key.len() <= KEY_BYTES_MAX, "a key beyond the bound");
        let (seq, keep) = self.write();
        self.figures.user_bytes += key.len() as u64;
        self.memories.active().delete(key, seq, keep);
    }

    /// Deletes every key in `[start, limit)`, however many there are; an empty limit is the end.
    pub fn delete_range(&mut self, start: &[u8], limit: &[u8]) {
        assert!(start.len() <= KEY_BYTES_MAX, "a key beyond the bound");
        assert!(limit.len() <= KEY_BYTES_MAX, "a key beyond the bound");
        let (seq, keep) = self.write();
        self.figures.user_bytes += (start.len() + limit.len()) as u64;
        self.memories.active().delete_range(start, limit, seq, keep);
    }

    #[inline]
    fn write(&mut self) -> (Seq, Seq) {
        if self.views.are_stale() {
            self.sweep_views();
        }
        let seq = self.next_seq;
        self.next_seq = seq.next();
        (seq, self.views.keep())
    }

    /// A region has applied up to an entry: what the next rotation records of it.
    #[inline]
    pub fn advance(&mut self, region: RegionId, peer: PeerId, index: Index, clock: Clock) {
        let applied = Applied {
            region,
            peer,
            index,
            clock,
        };
        self.moved.insert(applied);
    }

    /// Forgets what was to be recorded of a region that is no longer here.
    pub fn forget(&mut self, region: RegionId) {
        self.moved.remove(&region);
    }

    /// Which ranges belong to regions from now on; counts for compaction once a rotation that begins
    /// after this is durable.
    pub fn set_ownership(&mut self, ownership: Ownership) {
        self.ownership = Some(Rc::new(ownership));
    }

    /// Bytes that the active memtable holds.
    pub fn memtable_bytes(&self) -> u64 {
        self.memories.list.back().map_or(0, Memtable::bytes)
    }

    /// Whether the active memtable should be rotated.
    pub fn wants_rotation(&self) -> bool {
        let active = self.memories.list.back();
        active.is_some_and(|active| {
            active.is_full() || active.bytes() >= self.options.memtable_bytes as u64
        })
    }

    /// Whether a rotation would be refused now.
    pub fn is_busy(&self) -> bool {
        self.sealed.len() >= self.options.flush_queue.min(FLUSH_QUEUE_MAX)
    }

    /// Seals the active memtable, even an empty one. Its edit holds what was advanced since the last
    /// rotation, and is not submitted before the log is durable up to `barrier`.
    pub fn rotate(&mut self, barrier: Lsn) -> Result<Rotation, Refusal> {
        if self.stopped.is_some() {
            return Err(Refusal::Stopped);
        }
        if self.is_busy() {
            return Err(Refusal::Busy);
        }
        self.rotation = Rotation(self.rotation.0 + 1);
        self.sealed.push_back(Sealed {
            number: self.rotation,
            barrier,
            last_seq: Seq(self.next_seq.0 - 1),
            applied: self.moved.take(),
            ownership: self.ownership.clone(),
            urgent: false,
        });
        let memtable = match self.spare.pop() {
            Some(memtable) => memtable,
            None => Memtable::new(self.options.hash_seed, self.options.memtable_bytes),
        };
        self.memories.list.push_back(memtable);
        Ok(self.rotation)
    }

    /// Somebody waits for a rotation: it and those before it are flushed at foreground share.
    pub fn hurry(&mut self, rotation: Rotation) {
        for sealed in &mut self.sealed {
            sealed.urgent |= sealed.number <= rotation;
        }
        if self.sealed.front().is_some_and(|sealed| sealed.urgent)
            && let Some(flush) = &mut self.flush
        {
            flush.hurry(&mut self.files);
        }
    }

    /// Whether a rotation is in the tables, durably.
    pub fn is_durable(&self, rotation: Rotation) -> bool {
        self.journal.ledger().rotation >= rotation
    }

    /// The log is durable up to here.
    pub fn log_durable(&mut self, lsn: Lsn) {
        self.log_durable = self.log_durable.max(lsn);
        self.advance_work();
    }

    /// Up to where a region's entries are in the tables, durably.
    pub fn checkpoint(&self, region: RegionId, peer: PeerId) -> Option<Checkpoint> {
        self.journal.ledger().progress.of(region, peer)
    }

    /// The checkpoints of all regions.
    pub fn checkpoints(&self) -> impl Iterator<Item = (RegionId, Checkpoint)> + '_ {
        self.journal.ledger().progress.iter()
    }

    /// A consistent view of everything written so far.
    pub fn view(&mut self) -> View {
        let seen = Seen {
            seq: Seq(self.next_seq.0 - 1),
            first: self.first_unflushed,
            limit: self.memories.limit(),
            version: self.version.clone(),
        };
        self.views.take(seen, self.now, self.installed)
    }

    /// A consistent view of the tables alone, which keeps no memtable: all that the last durable
    /// rotation contains.
    pub fn view_of_tables(&mut self) -> View {
        let seen = Seen {
            seq: Seq::ZERO,
            first: self.first_unflushed,
            limit: self.first_unflushed,
            version: self.version.clone(),
        };
        self.views.take(seen, self.now, self.installed)
    }

    /// The caller's time, in its own unit: views that have outlived their budget end.
    pub fn on_time(&mut self, now: u64) {
        self.now = self.now.max(now);
        let retired = (self.first_unflushed.0 - self.memories.base.0) as usize;
        let memories: u64 = self
            .memories
            .list
            .iter()
            .take(retired)
            .map(Memtable::bytes)
            .sum();
        let dying = &self.dying;
        let kept = |installed: u64| {
            let tables = dying.iter().filter(|dying| dying.since > installed);
            let bytes: u64 = tables.map(|dying| dying.table.meta.file_bytes).sum();
            // Memtables are retired by an installed version, too.
            memories + bytes
        };
        let (age_max, bytes_max) = (self.options.view_age_max, self.options.view_bytes_max);
        self.views.enforce(self.now, age_max, bytes_max, kept);
        self.sweep_views();
    }

    /// What has become true since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        core::mem::take(&mut self.events)
    }

    /// Why the store has stopped, if it has.
    pub fn stopped(&self) -> Option<&Stopped> {
        self.stopped.as_ref()
    }

    /// Whether the disk counts as full: writes that grow should be refused.
    pub fn is_full(&self) -> bool {
        self.space.is_full()
    }

    /// Whether the reserve for a full disk is being written: until it is there the disk counts as full.
    pub fn is_reserving(&self) -> bool {
        self.space.is_reserving()
    }

    /// The driver has found so many bytes free on the disk.
    pub fn on_space(&mut self, bytes_free: u64) {
        let waiting: u64 = self.memories.list.iter().map(Memtable::bytes).sum();
        self.space.on_free(bytes_free, waiting);
        self.advance_work();
    }

    pub(crate) fn sweep_views(&mut self) {
        self.views.sweep();
        let oldest = self.views.oldest();
        self.memories.active().release(oldest);
    }

    pub(crate) fn stop(&mut self, why: Stopped) {
        if self.stopped.is_none() {
            self.events.push(Event::Stopped(why.clone()));
            self.stopped = Some(why);
        }
    }
}
