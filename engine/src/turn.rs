//! The two doors: completions come in, effects go out, and in between one bounded step of work.

use alloc::rc::Rc;
use alloc::vec::Vec;

use crate::edit::VersionEdit;
use crate::effect::{Completion, Effect, Failure, Share, TableNumber};
use crate::options::Mutant;
use crate::reads::ReadError;
use crate::sink::Files;
use crate::state::Refused;
use crate::store::{Dying, Event, Stopped, Store};
use crate::table::TableMeta;

/// What a step has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// A bounded piece of work; there may be more.
    Worked,
    /// Nothing: all work waits for the world, or there is none.
    Idle,
}

/// How far the tables of a job are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outputs {
    /// Not all durable and opened.
    Working,
    /// All durable and opened: an edit may name them.
    Ready,
    /// One could not be written: all of them go.
    Failed,
}

impl Store {
    /// The world has done, or failed to do, what an effect asked for.
    pub fn complete(&mut self, completion: Completion<'_>) {
        match completion {
            Completion::ManifestCreated(outcome) | Completion::ManifestSynced(outcome) => {
                self.on_manifest(outcome);
            }
            Completion::ManifestWritten { write, outcome } => {
                self.on_manifest(outcome);
                if self.stopped.is_none() {
                    let (edit, dropped) = self.journal.on_written(write).expect("an edit");
                    self.install(&edit, dropped);
                }
            }
            Completion::TableCreated { table, outcome } => {
                if let Some(file) = self.files.get_mut(&table) {
                    file.on_created(outcome);
                }
            }
            Completion::TableWritten {
                table,
                offset,
                outcome,
            } => {
                if let Some(file) = self.files.get_mut(&table) {
                    file.on_written(offset, outcome);
                }
            }
            Completion::TableSynced { table, outcome } => {
                if let Some(file) = self.files.get_mut(&table) {
                    file.on_synced(outcome);
                }
            }
            Completion::TableRemoved { table, outcome } => self.on_removed(table, outcome),
            Completion::TableRead { token, outcome } => {
                self.reads.on_read(token, outcome, &mut self.cache);
                self.events.push(Event::ReadDone(token));
            }
            Completion::ReserveSized { bytes, outcome } => self.space.on_sized(bytes, outcome),
        }
        self.advance_work();
    }

    /// Does at most one bounded piece of background work: flushes first, then compaction.
    pub fn step(&mut self) -> Stepped {
        if self.stopped.is_some() {
            return Stepped::Idle;
        }
        self.tidy();
        let opened = self
            .openings
            .step(&mut self.tables, &mut self.cache, &mut self.reads);
        let worked = opened || {
            self.begin_flush();
            self.step_flush()
        };
        let urgent = self.sealed.front().is_some_and(|sealed| sealed.urgent);
        let worked = worked || self.drop_hidden() || (!urgent && self.step_compaction());
        self.advance_work();
        match worked {
            true => Stepped::Worked,
            false => Stepped::Idle,
        }
    }

    /// Hands out what the world should do. After a stop there is nothing any more.
    pub fn flush_effects(&mut self, effects: &mut Vec<Effect>) {
        self.advance_work();
        if self.stopped.is_some() {
            return;
        }
        effects.append(&mut self.effects);
        self.reads.flush_effects(effects);
        for file in self.files.values_mut() {
            file.flush_effects(effects);
        }
        self.space.flush_effects(effects);
    }

    /// Moves on whatever waited for something that may have come.
    pub(crate) fn advance_work(&mut self) {
        if self.stopped.is_some() {
            return;
        }
        self.advance_flush();
        self.advance_compaction();
        self.advance_received();
        self.advance_ingests();
    }

    /// Submits an edit; none is in flight.
    pub(crate) fn submit(&mut self, edit: VersionEdit) -> Result<(), Refused> {
        let numbers = self.numbers.next;
        self.journal.submit(edit, numbers, &mut self.effects)
    }

    /// How far the tables of a job are; `metas` when all of them are finished.
    pub(crate) fn outputs(
        &mut self,
        numbers: &[TableNumber],
        metas: Option<&[TableMeta]>,
        share: Share,
    ) -> Outputs {
        for number in numbers {
            match self.files.get(number).and_then(|file| file.failure()) {
                None => {}
                Some(Failure::NoSpace) => {
                    self.space.on_no_space();
                    return Outputs::Failed;
                }
                Some(failure) => {
                    self.stop(Stopped::Table(*number, failure));
                    return Outputs::Failed;
                }
            }
        }
        let Some(metas) = metas else {
            return Outputs::Working;
        };
        let early = self.options.mutant == Mutant::EditBeforeTables;
        let durable = |files: &Files, number: &TableNumber| {
            let file = &files[number];
            file.is_durable() || (early && file.is_written())
        };
        if !numbers.iter().all(|number| durable(&self.files, number)) {
            return Outputs::Working;
        }
        let mut ready = true;
        for meta in metas {
            if self.tables.get(meta.number).is_some() {
                continue;
            }
            ready = false;
            match self.openings.failure(meta.number) {
                Some(ReadError::Corrupt(corrupt)) => self.stop(Stopped::Corrupt(corrupt)),
                Some(ReadError::Failed { failure, .. }) => {
                    self.stop(Stopped::Table(meta.number, failure));
                }
                None => {
                    let place = (meta.file_bytes, Some(meta.tail_offset));
                    self.openings
                        .begin(meta.number, place, None, share, &mut self.reads);
                }
            }
        }
        match ready {
            true => Outputs::Ready,
            false => Outputs::Working,
        }
    }

    /// Gives up tables that no edit names.
    pub(crate) fn abandon(&mut self, numbers: &[TableNumber]) {
        for number in numbers {
            self.openings.forget(*number);
            let gone = self.tables.remove(*number, &mut self.cache);
            assert!(gone, "nobody reads a table that no edit names");
            if let Some(file) = self.files.get_mut(number) {
                file.abandon();
            }
        }
    }

    /// An edit names these tables now, durably: their files are as any other.
    pub(crate) fn settle_files(&mut self, numbers: &[TableNumber]) {
        for number in numbers {
            if self.files[number].is_durable() || self.options.mutant == Mutant::EditBeforeTables {
                self.files.remove(number);
            }
        }
    }

    /// Whether new tables may be begun: not while the disk is full, or files leave it.
    pub(crate) fn may_write(&self) -> bool {
        let leaving = self.files.values().any(|file| file.is_leaving());
        self.space.may_write() && !leaving
    }

    fn on_manifest(&mut self, outcome: Result<(), Failure>) {
        if let Err(failure) = outcome {
            self.journal.on_failed();
            self.stop(Stopped::Manifest(failure));
        }
    }

    fn on_removed(&mut self, table: TableNumber, outcome: Result<(), Failure>) {
        if let Some(file) = self.files.get_mut(&table) {
            file.on_removed();
            self.files.remove(&table);
        } else {
            if outcome.is_ok() {
                self.removing.remove(&table);
            }
            self.space.on_removed();
        }
    }

    /// An edit is durable: what it says holds from now on.
    fn install(&mut self, edit: &VersionEdit, dropped: Vec<Rc<crate::version::TableRef>>) {
        self.version = self.journal.version().clone();
        self.installed += 1;
        let since = self.installed;
        self.dying
            .extend(dropped.into_iter().map(|table| Dying { table, since }));
        match edit {
            VersionEdit::Flush(flush) => self.on_flushed(flush),
            VersionEdit::Compaction(compaction) => self.on_compacted(compaction),
            VersionEdit::Move(_) => self.figures.compactions += 1,
            VersionEdit::Drop(dropped) => {
                self.figures.dropped_tables += dropped.slices.len() as u64
            }
            VersionEdit::Ingest(ingest) => self.on_ingested(ingest),
            VersionEdit::Cut(cut) => self.on_cut(cut),
        }
        self.check_compaction();
    }

    /// Lets go of memtables and tables that nobody reads any more.
    pub(crate) fn tidy(&mut self) {
        if self.memories.base < self.first_unflushed {
            self.views.sweep();
            while self.memories.base < self.first_unflushed
                && !self.views.need_memory(self.memories.base)
            {
                self.memories.base.0 += 1;
                let mut memtable = self.memories.list.pop_front().expect("a flushed memtable");
                if self.spare.is_empty() {
                    memtable.clear();
                    self.spare.push(memtable);
                }
            }
        }
        if self.dying.is_empty() {
            return;
        }
        self.views.sweep();
        let mut dying = core::mem::take(&mut self.dying);
        dying.retain(|dying| !self.bury(dying));
        self.dying.append(&mut dying);
    }

    /// Removes a table's file if nobody reads it. Returns whether it is buried.
    fn bury(&mut self, dying: &Dying) -> bool {
        let number = dying.table.meta.number;
        if Rc::strong_count(&dying.table) > 1
            || self.reads.touch(number)
            || !self.tables.remove(number, &mut self.cache)
        {
            return false;
        }
        if !self.removing.contains_key(&number) {
            self.remove_file(number, dying.table.meta.file_bytes);
        }
        true
    }

    pub(crate) fn remove_file(&mut self, table: TableNumber, bytes: u64) {
        self.removing.insert(table, bytes);
        self.effects.push(Effect::RemoveTable { table });
    }
}
