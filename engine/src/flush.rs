//! The flush of a sealed memtable: its newest records in order, into a run of tables.
//!
//! Views keep the memtable itself, so the tables hold one record per key. A record below a range
//! tombstone of the same memtable is left out; the tombstone goes along and hides what is older.

use alloc::vec::Vec;

use crate::edit::{Flush, VersionEdit};
use crate::effect::Share;
use crate::memtable::MemtableCursor;
use crate::options::{STEP_BYTES_MAX, STEP_RECORDS_MAX};
use crate::record::{KeyRange, Seq};
use crate::sink::{Files, Sink};
use crate::store::{Stopped, Store};
use crate::turn::Outputs;
use crate::view::MemoryId;

/// The flush that is under way: of the oldest sealed memtable.
#[derive(Debug)]
pub(crate) struct FlushJob {
    memory: MemoryId,
    /// None once all records are in the sink.
    cursor: Option<MemtableCursor>,
    pub sink: Sink,
    pub share: Share,
}

impl FlushJob {
    /// Somebody waits for it from now on.
    pub fn hurry(&mut self, files: &mut Files) {
        self.share = Share::Foreground;
        self.sink.hurry(files);
    }
}

impl Store {
    /// Begins with the oldest sealed memtable, if one waits.
    pub(crate) fn begin_flush(&mut self) {
        let Some(sealed) = self.sealed.front() else {
            return;
        };
        if self.flush.is_some() || !self.may_write() {
            return;
        }
        let share = match sealed.urgent {
            true => Share::Foreground,
            false => Share::Background,
        };
        let memory = self.first_unflushed;
        let memtable = self.memories.get_mut(memory);
        let tombstones = memtable.tombstones().iter(Seq::MAX);
        let tombstones: Vec<_> = tombstones
            .map(|(start, limit, seq)| (KeyRange::new(start, limit), seq))
            .collect();
        let mut cursor = memtable.cursor(Seq::MAX).touching();
        cursor.seek(memtable, &[]);
        let (compress, table_bytes) = (self.options.compress, self.options.table_bytes);
        self.flush = Some(FlushJob {
            memory,
            cursor: Some(cursor),
            sink: Sink::new(compress, table_bytes, share, tombstones),
            share,
        });
    }

    /// Does a bounded piece of the flush. Returns whether there was something to do.
    pub(crate) fn step_flush(&mut self) -> bool {
        let Some(job) = &mut self.flush else {
            return false;
        };
        if job.sink.finish_some(&mut self.files) {
            return true;
        }
        let Some(cursor) = &mut job.cursor else {
            return false;
        };
        if !job.sink.has_room(&self.files) {
            return false;
        }
        let memtable = self.memories.get(job.memory);
        let tombstones = memtable.tombstones();
        let (mut records, mut bytes) = (0, 0);
        while records < STEP_RECORDS_MAX && bytes < STEP_BYTES_MAX {
            let Some(record) = cursor.record(memtable) else {
                job.cursor = None;
                job.sink.end(&mut self.numbers, &mut self.files);
                break;
            };
            records += 1;
            bytes += record.key.len() + record.value.len();
            if tombstones.covering(record.key, Seq::MAX) < record.seq {
                job.sink.add(&record, &mut self.numbers, &mut self.files);
            }
            cursor.step(memtable);
            if !job.sink.has_room(&self.files) {
                break;
            }
        }
        true
    }

    /// Looks how far the tables of the flush are, and submits its edit.
    pub(crate) fn advance_flush(&mut self) {
        let Some(job) = &self.flush else {
            return;
        };
        let (share, numbers) = (job.share, job.sink.numbers.clone());
        let finished = job.sink.is_finished().then(|| job.sink.metas.clone());
        match self.outputs(&numbers, finished.as_deref(), share) {
            Outputs::Failed => {
                self.flush = None;
                self.abandon(&numbers);
            }
            Outputs::Working => {}
            Outputs::Ready => self.submit_flush(),
        }
    }

    fn submit_flush(&mut self) {
        let sealed = self.sealed.front().expect("the rotation that is flushed");
        let early = self.options.mutant == crate::options::Mutant::EditBeforeLog;
        if self.journal.is_flying() || (self.log_durable < sealed.barrier && !early) {
            return;
        }
        let job = self.flush.as_ref().expect("a flush");
        let edit = VersionEdit::Flush(Flush {
            rotation: sealed.number,
            last_seq: sealed.last_seq,
            tables: job.sink.metas.clone(),
            applied: sealed.applied.clone(),
        });
        if let Err(refused) = self.submit(edit) {
            // Nothing about a flush can be stale; a state that does not fit is the end.
            self.stop(Stopped::Refused(refused));
        }
    }

    /// The edit of the flush is durable.
    pub(crate) fn on_flushed(&mut self, flush: &Flush) {
        let job = self
            .flush
            .take()
            .expect("the flush whose edit was in flight");
        let sealed = self.sealed.pop_front().expect("its rotation");
        assert_eq!(
            sealed.number, flush.rotation,
            "edits land in order of rotations"
        );
        self.first_unflushed = MemoryId(self.first_unflushed.0 + 1);
        self.judged = sealed.ownership;
        self.figures.flushes += 1;
        for meta in &job.sink.metas {
            self.figures.flushed_bytes += meta.file_bytes;
        }
        self.settle_files(&job.sink.numbers);
        self.drop_below_tombstones(&job.sink.metas);
        self.events
            .push(crate::store::Event::RotationDurable(sealed.number));
    }
}
