//! Compaction: slices are merged into tables of a deeper level, a bounded piece at a time.
//!
//! What is dropped on the way: records that a newer one of the same key or a range tombstone hides;
//! deletes and tombstones below which nothing is left; and, judged as of the last durable rotation
//! since the opening, keys that no region owns and values that have expired. Views hold their own
//! version, so a compaction need not know of them.
//!
//! The inputs are read in spans past the cache; what happens to lie in the cache is not read at all.
//! An edit that cuts one of the inputs makes the whole compaction void: it is abandoned.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;

use crate::edit::{Compaction, Drop, Move, VersionEdit};
use crate::effect::Share;
use crate::merge::{Direction, Merge};
use crate::options::{COMPACTION_READ_BYTES, Mutant, STEP_BYTES_MAX, STEP_RECORDS_MAX};
use crate::ownership::Ownership;
use crate::pick::{Plan, Task};
use crate::reads::{ReadError, Reads, Span};
use crate::record::{KeyRange, Kind, Record, Seq};
use crate::sink::Sink;
use crate::sources::RunCursor;
use crate::state::Refused;
use crate::store::{Stopped, Store};
use crate::table::format::PAGE_BYTES;
use crate::table::{BlockRef, Step, Table, TableMeta};
use crate::tombstones::RangeTombstones;
use crate::turn::Outputs;
use crate::value::StoredValue;
use crate::version::{LEVELS, Run, Slice, SliceName, Version};

/// One sorted input and what was read ahead of it.
#[derive(Debug)]
struct Lane {
    cursor: RunCursor,
    ahead: VecDeque<Ahead>,
    /// The block that it lacks.
    needs: Option<BlockRef>,
}

/// Blocks that are read together.
#[derive(Debug)]
struct Ahead {
    span: Span,
    /// The first block behind them.
    next: u32,
}

/// What no longer has to be kept, as of a durable rotation.
#[derive(Debug)]
struct Sieve {
    ownership: Rc<Ownership>,
    hint: usize,
}

/// The compaction that is under way.
#[derive(Debug)]
pub(crate) struct CompactionJob {
    inputs: Vec<SliceName>,
    level: u8,
    lanes: Vec<Lane>,
    merge: Merge,
    started: bool,
    tombstones: RangeTombstones,
    /// What lies below the output, where a delete still hides something.
    below: Vec<Rc<Run>>,
    sieve: Option<Sieve>,
    sink: Sink,
    /// The key that was decided last.
    decided: Vec<u8>,
    any_decided: bool,
    ended: bool,
    submitted: bool,
}

enum Verdict {
    Keep,
    /// The key needs a delete, no more.
    Bury,
    Drop,
}

impl Store {
    /// Does a bounded piece of compaction, or begins one. Returns whether there was something to do.
    pub(crate) fn step_compaction(&mut self) -> bool {
        if self.compaction.is_none() && !self.begin_compaction() {
            return false;
        }
        let Some(mut job) = self.compaction.take() else {
            // A move or a drop: there is nothing to merge.
            return true;
        };
        let stepped = self.step_job(&mut job);
        self.compaction = Some(job);
        match stepped {
            Ok(worked) => worked,
            Err(error) => {
                self.give_up_compaction();
                self.report_unreadable(error);
                true
            }
        }
    }

    fn begin_compaction(&mut self) -> bool {
        if !self.compacting || self.unreadable || self.journal.is_flying() || !self.may_write() {
            return false;
        }
        let Some(plan) = self.pick() else {
            return false;
        };
        let Plan {
            inputs,
            level,
            task,
        } = plan;
        let names = inputs.iter().map(|(level, slice)| SliceName {
            level: *level,
            table: slice.table.meta.number,
            range: slice.range.clone(),
        });
        let names: Vec<SliceName> = names.collect();
        if task == Task::Move {
            let moved = Move {
                slices: names,
                level,
            };
            return self.submit_or_stop(VersionEdit::Move(moved));
        }
        self.figures.merged_bytes += inputs.iter().map(|(_, slice)| slice.bytes).sum::<u64>();
        self.compaction = Some(self.new_job(&inputs, names, level));
        true
    }

    fn new_job(
        &self,
        inputs: &[(u8, Rc<Slice>)],
        names: Vec<SliceName>,
        level: u8,
    ) -> CompactionJob {
        let mut found: Vec<(Seq, KeyRange)> = Vec::new();
        for (_, slice) in inputs {
            for tombstone in self.tables.of(&slice.table).tombstones().iter() {
                let range = KeyRange::new(tombstone.start, tombstone.limit);
                let visible = range.intersection(&slice.range);
                if !visible.is_empty() {
                    found.push((tombstone.seq, visible));
                }
            }
        }
        found.sort_by_key(|(seq, _)| *seq);
        let mut tombstones = RangeTombstones::default();
        for (seq, range) in &found {
            tombstones.add(&range.start, &range.limit, *seq, Seq::ZERO);
        }
        let deeper = usize::from(level) + 1..LEVELS;
        let below: Vec<Rc<Run>> = deeper
            .flat_map(|level| self.version.level(level).iter().cloned())
            .collect();
        let kept = tombstones.iter(Seq::MAX).filter_map(|(start, limit, seq)| {
            let range = KeyRange::new(start, limit);
            let hides = below.iter().any(|run| !run.overlapping(&range).is_empty());
            hides.then_some((range, seq))
        });
        let kept: Vec<_> = kept.collect();
        let lanes = lanes_of(inputs, &self.version)
            .into_iter()
            .map(|slices| Lane {
                cursor: RunCursor::new(slices, KeyRange::all(), Direction::Forward).passing(),
                ahead: VecDeque::new(),
                needs: None,
            });
        let (compress, table_bytes) = (self.options.compress, self.options.table_bytes);
        CompactionJob {
            inputs: names,
            level,
            lanes: lanes.collect(),
            merge: Merge::new(Direction::Forward),
            started: false,
            tombstones,
            below,
            sieve: self
                .judged
                .clone()
                .map(|ownership| Sieve { ownership, hint: 0 }),
            sink: Sink::new(compress, table_bytes, Share::Background, kept),
            decided: Vec::new(),
            any_decided: false,
            ended: false,
            submitted: false,
        }
    }

    fn step_job(&mut self, job: &mut CompactionJob) -> Result<bool, ReadError> {
        if job.sink.finish_some(&mut self.files) {
            return Ok(true);
        }
        if job.ended || !job.sink.has_room(&self.files) {
            return Ok(false);
        }
        if !self.feed(job)? {
            return Ok(false);
        }
        let (mut records, mut bytes) = (0, 0);
        while records < STEP_RECORDS_MAX && bytes < STEP_BYTES_MAX {
            let Some(best) = job.merge.best() else {
                job.sink.end(&mut self.numbers, &mut self.files);
                job.ended = true;
                break;
            };
            let record = job.lanes[best as usize].cursor.record();
            records += 1;
            bytes += record.key.len() + record.value.len();
            let verdict = match job.any_decided && job.decided == record.key {
                true => Verdict::Drop,
                false => {
                    job.decided.clear();
                    job.decided.extend_from_slice(record.key);
                    job.any_decided = true;
                    let progress = &self.journal.ledger().progress;
                    judge(
                        &record,
                        &job.tombstones,
                        &job.below,
                        job.sieve.as_mut(),
                        |region| progress.get(region).map(|known| known.clock.0),
                    )
                }
            };
            let buried = Record {
                kind: Kind::Delete,
                value: &[],
                ..record
            };
            match verdict {
                Verdict::Keep => job.sink.add(&record, &mut self.numbers, &mut self.files),
                Verdict::Bury => job.sink.add(&buried, &mut self.numbers, &mut self.files),
                Verdict::Drop => {}
            }
            let step = job.lanes[best as usize]
                .cursor
                .advance(&self.tables, &mut self.cache);
            match step {
                Step::At => {
                    let lanes = &job.lanes;
                    let key = lanes[best as usize].cursor.key();
                    job.merge
                        .advance(key, |other| lanes[other as usize].cursor.key());
                }
                Step::End => job.merge.remove_best(),
                Step::Need(block) => {
                    job.merge.remove_best();
                    job.lanes[best as usize].needs = Some(block);
                    if !self.feed(job)? {
                        break;
                    }
                }
            }
            if !job.sink.has_room(&self.files) {
                break;
            }
        }
        Ok(true)
    }

    /// Brings every lane that lacks a block to its next record, as far as the bytes have come.
    /// Returns whether none lacks one any more.
    fn feed(&mut self, job: &mut CompactionJob) -> Result<bool, ReadError> {
        if !job.started {
            job.started = true;
            for lane in 0..job.lanes.len() {
                let step = job.lanes[lane].cursor.start(&self.tables, &mut self.cache);
                arrive(job, lane, step);
            }
        }
        for lane in 0..job.lanes.len() {
            while let Some(block) = job.lanes[lane].needs {
                let table = self.tables.get(block.table).expect("an input is open");
                let Some(block) = job.lanes[lane].take(&block, table, &mut self.reads)? else {
                    break;
                };
                job.lanes[lane].cursor.provide(Rc::new(block));
                let step = job.lanes[lane].cursor.resume(&self.tables, &mut self.cache);
                job.lanes[lane].needs = None;
                arrive(job, lane, step);
            }
        }
        Ok(job.lanes.iter().all(|lane| lane.needs.is_none()))
    }

    /// Looks how far the tables of the compaction are, and submits its edit.
    pub(crate) fn advance_compaction(&mut self) {
        let Some(job) = &self.compaction else {
            return;
        };
        if job.submitted {
            return;
        }
        let numbers = job.sink.numbers.clone();
        let finished = job.ended && job.sink.is_finished();
        let metas = finished.then(|| job.sink.metas.clone());
        match self.outputs(&numbers, metas.as_deref(), Share::Background) {
            Outputs::Failed => self.give_up_compaction(),
            Outputs::Working => {}
            Outputs::Ready => self.submit_compaction(metas.unwrap_or_default()),
        }
    }

    fn submit_compaction(&mut self, tables: Vec<TableMeta>) {
        if self.journal.is_flying() {
            return;
        }
        let job = self.compaction.as_mut().expect("a compaction");
        job.submitted = true;
        let inputs = job.inputs.clone();
        let edit = VersionEdit::Compaction(Compaction {
            inputs: inputs.clone(),
            level: job.level,
            tables,
        });
        match self.submit(edit) {
            Ok(()) => {
                if self.options.mutant == Mutant::RemoveBeforeEdit {
                    for input in inputs {
                        self.remove_file(input.table, 0);
                    }
                }
            }
            // A change of ranges came in between: an input is cut, or a gap that a table of the output
            // reaches over has been filled.
            Err(Refused::Stale(_) | Refused::Overlap { .. }) => self.give_up_compaction(),
            Err(refused) => self.stop(Stopped::Refused(refused)),
        }
    }

    /// The edit of the compaction is durable.
    pub(crate) fn on_compacted(&mut self, _: &Compaction) {
        let job = self
            .compaction
            .take()
            .expect("the compaction whose edit was in flight");
        self.figures.compactions += 1;
        for meta in &job.sink.metas {
            self.figures.compacted_bytes += meta.file_bytes;
        }
        self.settle_files(&job.sink.numbers);
    }

    /// An edit has changed the version: a compaction that has lost an input is void.
    pub(crate) fn check_compaction(&mut self) {
        let lost = self.compaction.as_ref().is_some_and(|job| {
            let mut inputs = job.inputs.iter();
            !job.submitted && inputs.any(|name| self.version.slice(name).is_none())
        });
        if lost {
            self.give_up_compaction();
        }
    }

    /// Abandons the compaction and its tables.
    pub(crate) fn give_up_compaction(&mut self) {
        if let Some(job) = self.compaction.take() {
            self.figures.abandoned += 1;
            let numbers = job.sink.numbers.clone();
            drop(job);
            self.abandon(&numbers);
        }
    }

    /// Tables wholly below a tombstone that has just become durable are dropped without being read.
    pub(crate) fn drop_below_tombstones(&mut self, flushed: &[TableMeta]) {
        for meta in flushed.iter().filter(|meta| meta.range_tombstones > 0) {
            let table = self.tables.get(meta.number).expect("a table just flushed");
            for tombstone in table.tombstones().iter() {
                let range = KeyRange::new(tombstone.start, tombstone.limit);
                self.hidden.push((tombstone.seq, range));
            }
        }
    }

    /// Submits the edit that drops what is hidden. Returns whether there was something to drop.
    pub(crate) fn drop_hidden(&mut self) -> bool {
        while !self.journal.is_flying()
            && let Some((seq, range)) = self.hidden.pop()
        {
            let mut slices = Vec::new();
            for (level, run) in self.version.runs() {
                for slice in run.overlapping(&range) {
                    if slice.table.meta.newest() < seq {
                        slices.push(SliceName {
                            level: level as u8,
                            table: slice.table.meta.number,
                            range: slice.range.intersection(&range),
                        });
                    }
                }
            }
            if !slices.is_empty() {
                return self.submit_or_stop(VersionEdit::Drop(Drop { slices }));
            }
        }
        false
    }

    fn submit_or_stop(&mut self, edit: VersionEdit) -> bool {
        match self.submit(edit) {
            Ok(()) => true,
            Err(Refused::Stale(_) | Refused::Overlap { .. }) => false,
            Err(refused) => {
                self.stop(Stopped::Refused(refused));
                false
            }
        }
    }

    /// Compaction rests when an input cannot be read: what it would drop might be all there is.
    fn report_unreadable(&mut self, error: ReadError) {
        self.unreadable = true;
        self.events.push(crate::store::Event::Unreadable(error));
    }
}

impl Lane {
    /// Unpacks the block that it lacks, once its bytes have come, and reads ahead.
    fn take(
        &mut self,
        place: &BlockRef,
        table: &Table,
        reads: &mut Reads,
    ) -> Result<Option<crate::table::Block>, ReadError> {
        while self
            .ahead
            .front()
            .is_some_and(|ahead| !ahead.span.holds(place))
        {
            self.ahead.pop_front();
        }
        if self.ahead.is_empty() {
            self.read(place.number, table, reads);
        }
        let ahead = self.ahead.front().expect("just asked for");
        let Some(block) = ahead.span.block(place) else {
            return Ok(None);
        };
        // While this span is used up, the next one is on its way.
        let next = ahead.next;
        if self.ahead.len() == 1 && next < table.blocks() {
            self.read(next, table, reads);
        }
        block.map(Some)
    }

    /// Asks for a block and those behind it, whole: none is cut in two by the end of what is read.
    fn read(&mut self, block: u32, table: &Table, reads: &mut Reads) {
        let next = block
            + table
                .index()
                .blocks_within(block, COMPACTION_READ_BYTES.into());
        let (first, last) = (table.block_ref(block), table.block_ref(next - 1));
        let page = PAGE_BYTES as u64;
        let offset = first.offset - first.offset % page;
        let end = (last.offset + u64::from(last.length)).next_multiple_of(page);
        let length = (end - offset) as u32;
        let span = reads.request_span(first.table, offset, length, Share::Background);
        self.ahead.push_back(Ahead { span, next });
    }
}

fn arrive(job: &mut CompactionJob, lane: usize, step: Step) {
    match step {
        Step::End => {}
        Step::Need(block) => job.lanes[lane].needs = Some(block),
        Step::At => {
            let lanes = &job.lanes;
            let key = lanes[lane].cursor.key();
            job.merge
                .insert(lane as u32, key, |other| lanes[other as usize].cursor.key());
        }
    }
}

/// The inputs as sorted lanes, newest first: a run of level 0 each, and a level each.
fn lanes_of(inputs: &[(u8, Rc<Slice>)], version: &Version) -> Vec<Vec<Rc<Slice>>> {
    let mut lanes = Vec::new();
    for (level, run) in version.runs() {
        let mine = inputs.iter().filter(|(input_level, input)| {
            usize::from(*input_level) == level
                && run
                    .find(&input.range.start)
                    .is_some_and(|slice| slice.table.meta.number == input.table.meta.number)
        });
        let mut slices: Vec<Rc<Slice>> = mine.map(|(_, slice)| slice.clone()).collect();
        slices.sort_by(|a, b| a.range.start.cmp(&b.range.start));
        if !slices.is_empty() {
            lanes.push(slices);
        }
    }
    lanes
}

fn judge(
    record: &Record<'_>,
    tombstones: &RangeTombstones,
    below: &[Rc<Run>],
    sieve: Option<&mut Sieve>,
    clock_of: impl Fn(crate::progress::RegionId) -> Option<u64>,
) -> Verdict {
    if tombstones.covering(record.key, Seq::MAX) > record.seq {
        return Verdict::Drop;
    }
    let hides = || below.iter().any(|run| run.find(record.key).is_some());
    if let Some(sieve) = sieve {
        let Some(region) = sieve.ownership.owner(record.key, &mut sieve.hint) else {
            return Verdict::Drop;
        };
        if record.kind == Kind::Put
            && let Ok(value) = StoredValue::decode(record.value)
            && value.expiry_ms.is_some()
            && clock_of(region).is_some_and(|clock| value.expired(clock))
        {
            return match hides() {
                true => Verdict::Bury,
                false => Verdict::Drop,
            };
        }
    }
    match record.kind == Kind::Delete && !hides() {
        true => Verdict::Drop,
        false => Verdict::Keep,
    }
}
