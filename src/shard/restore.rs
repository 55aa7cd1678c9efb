//! A snapshot on its way in.
//!
//! ```text
//! pulled, piece by piece ─▶ every table durable
//!   ─▶ the region stops applying, and what it has applied is in tables
//!   ─▶ raft takes the snapshot ─▶ "applying" is durable: it names the tables, and empties the log
//!   ─▶ one edit cuts what lay in the range and brings the tables in
//!   ─▶ "normal" is durable ─▶ the region applies again
//! ```
//!
//! A power cut before "applying" is durable leaves tables that nothing names: removed at start. After it
//! the ingest is done again, unless its edit is in the manifest already.

use std::collections::BTreeSet;

use coracle_engine::effect::TableNumber;
use coracle_engine::progress::{Applied, Clock, Rotation};
use coracle_engine::record::KeyRange;
use coracle_engine::store::Refusal;
use coracle_wal as wal;
use raft::eraftpb::Snapshot;

use super::core::{Core, Release};
use super::error::Error;
use super::ids::{Index, StoreId, Term};
use super::message::{PeerMessage, RaftMessage, SnapshotContent, StreamId};
use super::meta::State;
use super::mutant::Mutant;
use super::observe::Observation;
use super::peer::{Peer, Stage};
use super::region::Region;

/// A snapshot that is being pulled.
#[derive(Debug)]
pub struct Receiving {
    /// Its name.
    pub stream: StreamId,
    from: StoreId,
    region: Region,
    clock: u64,
    message: RaftMessage,
    numbers: Vec<u64>,
    next: u64,
    tables: Vec<u64>,
    /// Tables that are complete and not durable yet.
    waiting: BTreeSet<u64>,
    done: bool,
    asked_at: u64,
    progressed_at: u64,
}

impl Receiving {
    /// Begins to pull.
    pub fn new(
        core: &mut Core,
        stream: StreamId,
        from: StoreId,
        region: Region,
        clock: u64,
        message: RaftMessage,
    ) -> Receiving {
        let mut receiving = Receiving {
            stream,
            from,
            region,
            clock,
            message,
            numbers: Vec::new(),
            next: 0,
            tables: Vec::new(),
            waiting: BTreeSet::new(),
            done: false,
            asked_at: core.now.mono,
            progressed_at: core.now.mono,
        };
        receiving.pull(core);
        receiving
    }

    /// The range that it takes.
    pub fn range(&self) -> &KeyRange {
        &self.region.range
    }

    /// Asks for the next piece.
    pub fn pull(&mut self, core: &mut Core) {
        self.asked_at = core.now.mono;
        if self.done {
            return;
        }
        let message = PeerMessage::SnapshotPull {
            stream: self.stream,
            piece: self.next,
            numbers: self.numbers.clone(),
        };
        core.send(self.from, message);
    }

    /// A piece has come. Returns whether the snapshot goes on.
    pub fn take(&mut self, core: &mut Core, piece: u64, content: SnapshotContent) -> bool {
        if piece != self.next || self.done {
            return true;
        }
        match content {
            SnapshotContent::Chunk {
                table,
                offset,
                bytes,
            } => {
                if !self.numbers.contains(&table) || self.tables.contains(&table) {
                    return false;
                }
                match core.store.receive(TableNumber(table), offset, bytes.into()) {
                    Ok(()) => {}
                    // It is asked for again when the disk has caught up.
                    Err(Refusal::Busy) => return true,
                    Err(_) => return false,
                }
            }
            SnapshotContent::TableEnd { table } => {
                if !self.numbers.contains(&table) || self.tables.contains(&table) {
                    return false;
                }
                self.tables.push(table);
                self.waiting.insert(table);
                core.store.receive_end(TableNumber(table));
            }
            SnapshotContent::NeedNumber => {
                let numbers = core.store.take_numbers(1);
                self.numbers.extend(numbers.iter().map(|number| number.0));
            }
            SnapshotContent::Done => self.done = true,
            SnapshotContent::Failed => return false,
        }
        self.next += 1;
        self.progressed_at = core.now.mono;
        self.pull(core);
        true
    }

    /// A table is durable.
    pub fn durable(&mut self, table: u64) {
        self.waiting.remove(&table);
    }

    /// Whether a table is one of this snapshot.
    pub fn has(&self, table: u64) -> bool {
        self.numbers.contains(&table)
    }

    /// Whether everything is here, durably.
    pub fn is_complete(&self) -> bool {
        self.done && self.waiting.is_empty()
    }

    /// Asks again where nothing has come. Returns whether there is still hope.
    pub fn tick(&mut self, core: &mut Core) -> bool {
        let now = core.now.mono;
        let limits = *core.limits();
        if !self.done && now > self.progressed_at + limits.snapshot_timeout {
            return false;
        }
        if now > self.asked_at + limits.snapshot_retry {
            self.pull(core);
        }
        true
    }

    /// Gives it up: what has come is removed.
    pub fn abandon(self, core: &mut Core) {
        let tables: Vec<_> = self.numbers.into_iter().map(TableNumber).collect();
        core.store.discard(&tables);
    }
}

/// How far a snapshot has taken the place of a peer's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreStep {
    /// The memtable is to be rotated.
    Freeze,
    /// What was applied so far is on its way into tables.
    Checkpoint(Rotation),
    /// Raft has been given the snapshot.
    Stepped,
    /// "Applying" is on its way.
    Applying(wal::Lsn),
    /// The tables are to be brought in.
    Ingest,
    /// They are being brought in.
    Ingesting,
    /// "Normal" is on its way.
    Finishing(wal::Lsn),
}

/// A snapshot that takes the place of a peer's content.
#[derive(Debug)]
pub struct Restoring {
    region: Region,
    clock: u64,
    tables: Vec<u64>,
    message: Option<RaftMessage>,
    /// How far it is.
    pub step: RestoreStep,
}

impl Restoring {
    /// The range that it takes.
    pub fn range(&self) -> &KeyRange {
        &self.region.range
    }

    /// One that was interrupted when "applying" was durable.
    pub fn interrupted(region: Region, clock: u64, tables: Vec<u64>) -> Restoring {
        Restoring {
            region,
            clock,
            tables,
            message: None,
            step: RestoreStep::Ingest,
        }
    }
}

impl Peer {
    /// Everything of a snapshot is here: the peer stops applying.
    pub fn restore(&mut self, core: &mut Core, receiving: Receiving) {
        if !matches!(self.stage, Stage::Normal | Stage::Uninitialized)
            || self.changing.is_some()
            || self.leads()
        {
            receiving.abandon(core);
            return;
        }
        let unused = receiving
            .numbers
            .iter()
            .filter(|number| !receiving.tables.contains(number));
        let unused: Vec<_> = unused.map(|number| TableNumber(*number)).collect();
        core.store.discard(&unused);
        self.stage = Stage::Restoring(Box::new(Restoring {
            region: receiving.region,
            clock: receiving.clock,
            tables: receiving.tables,
            message: Some(receiving.message),
            step: RestoreStep::Freeze,
        }));
        self.dirty = true;
    }

    /// Goes on with a snapshot.
    pub fn go_on_restoring(&mut self, core: &mut Core) {
        let Stage::Restoring(restoring) = &mut self.stage else {
            return;
        };
        let durable = core.log.borrow().durable_lsn();
        if !core.has_room_for_state() {
            return;
        }
        match restoring.step {
            // A peer without content waits as well: compaction judges by the ranges that were owned at
            // the last durable rotation, and must know this one before anything of it comes in.
            RestoreStep::Freeze if !core.breaks(Mutant::NoCheckpoint) => {
                core.ownership_changed = true;
                core.rotation_wanted = true;
            }
            RestoreStep::Freeze => self.give_raft(core),
            RestoreStep::Checkpoint(rotation) if core.store.is_durable(rotation) => {
                self.give_raft(core);
            }
            RestoreStep::Applying(lsn) if lsn <= durable => {
                restoring.step = RestoreStep::Ingest;
                self.ingest(core);
            }
            RestoreStep::Ingest => self.ingest(core),
            RestoreStep::Finishing(lsn) if lsn <= durable => self.restored(core),
            _ => {}
        }
    }

    /// Raft judges the snapshot: it may know better by now.
    fn give_raft(&mut self, core: &mut Core) {
        let Stage::Restoring(restoring) = &mut self.stage else {
            return;
        };
        let message = restoring.message.take().expect("not given yet");
        restoring.step = RestoreStep::Stepped;
        let stepped = self.node.step(message.message);
        self.draw(core);
        self.dirty = true;
        if stepped.is_err() || self.node.snap().is_none() {
            self.forget_restore(core);
        }
    }

    fn forget_restore(&mut self, core: &mut Core) {
        let stage = match self.is_initialized() {
            true => Stage::Normal,
            false => Stage::Uninitialized,
        };
        if let Stage::Restoring(restoring) = std::mem::replace(&mut self.stage, stage) {
            let tables: Vec<_> = restoring.tables.into_iter().map(TableNumber).collect();
            core.store.discard(&tables);
        }
    }

    /// Raft's ready holds the snapshot: "applying" joins the batch of this turn.
    pub fn begin_restore(&mut self, core: &mut Core, snapshot: &Snapshot) {
        let metadata = snapshot.get_metadata();
        let Stage::Restoring(restoring) = &mut self.stage else {
            unreachable!("raft gets a snapshot only when its content is here");
        };
        let (index, term) = (metadata.index, metadata.term);
        let region = restoring.region.clone();
        let tables = restoring.tables.clone();
        self.machine.clear();
        self.machine.region = region;
        self.machine.applied = Index(index);
        self.machine.applied_term = Term(term);
        self.machine.clock = self.machine.clock.max(restoring.clock);
        for proposal in std::mem::take(&mut self.proposals) {
            self.settle(core, proposal, |_| Err(Error::Undetermined));
        }
        let meta = self.meta(State::Applying { tables });
        let lsn = core.write_meta(&meta, (index, term), true);
        let Stage::Restoring(restoring) = &mut self.stage else {
            unreachable!("just seen");
        };
        restoring.step = RestoreStep::Applying(lsn);
        core.ownership_changed = true;
    }

    fn ingest(&mut self, core: &mut Core) {
        let index = self.machine.applied;
        let Stage::Restoring(restoring) = &mut self.stage else {
            return;
        };
        let applied = Applied {
            region: self.machine.region.id.in_store(),
            peer: self.id.in_store(),
            index: index.in_store(),
            clock: Clock(self.machine.clock),
        };
        let tables: Vec<_> = restoring
            .tables
            .iter()
            .map(|table| TableNumber(*table))
            .collect();
        match core
            .store
            .ingest(applied, restoring.region.range.clone(), &tables)
        {
            Ok(()) => restoring.step = RestoreStep::Ingesting,
            Err(Refusal::AlreadyPresent) => self.ingested(core),
            // Something lies in a memtable: it must be in tables, to be cut with them.
            Err(Refusal::StillInMemory) => {
                core.rotation_wanted = true;
                self.dirty = true;
            }
            Err(Refusal::Busy) => self.dirty = true,
            Err(Refusal::Stopped) => {}
        }
    }

    /// The tables are in: "normal" is written.
    pub fn ingested(&mut self, core: &mut Core) {
        let Stage::Restoring(restoring) = &mut self.stage else {
            // It was told to go meanwhile.
            return;
        };
        if !core.has_room_for_state() {
            // The store knows that it is in: it is asked again.
            restoring.step = RestoreStep::Ingest;
            return;
        }
        let meta = self.meta(State::Normal);
        let truncated = self.truncated(core);
        let lsn = core.write_meta(&meta, truncated, false);
        self.last_lsn = lsn;
        core.release(Release {
            lsn,
            region: self.region_id(),
            ready: None,
            messages: Vec::new(),
        });
        if let Stage::Restoring(restoring) = &mut self.stage {
            restoring.step = RestoreStep::Finishing(lsn);
        }
        self.dirty = true;
    }

    fn restored(&mut self, core: &mut Core) {
        let (region, peer, index) = (self.region_id(), self.id, self.machine.applied);
        let term = Term(self.truncated(core).1);
        self.stage = Stage::Normal;
        let mut log = core.log.borrow_mut();
        log.applied(region.in_log(), index.0);
        log.checkpointed(region.in_log(), index.0);
        drop(log);
        self.node.advance_apply_to(index.0);
        core.observe(|| Observation::Restored {
            region,
            peer,
            index,
            term,
        });
        self.dirty = true;
    }
}
