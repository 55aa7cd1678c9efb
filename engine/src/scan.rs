//! Scans: all keys of a range in order, forward or reverse, over one view, a bounded piece at a time.
//!
//! A scan merges the memtables and runs that its view sees. It stands still when a step's limit is
//! reached or a block is missing, and goes on from its place, however much is written, flushed and
//! compacted meanwhile. The blocks in which its cursors stand are held; what it reads ahead is held by
//! tickets, inside a budget of bytes, and let go as the cursors pass.

use alloc::vec::Vec;

use crate::effect::ReadToken;
use crate::lookup::{Progressed, ReadFailed, check_tickets, request, waits_for};
use crate::merge::{Direction, Merge};
use crate::options::READ_AHEAD_BYTES_MAX;
use crate::reads::Ticket;
use crate::record::{KeyRange, Kind, Seq};
use crate::sources::{RunCursor, Source};
use crate::store::Store;
use crate::table::{BlockRef, Step};
use crate::view::{MemoryId, Seen, View};

/// What one step of a scan may deliver and look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanLimits {
    /// So many keys …
    pub count: usize,
    /// … or so many bytes of keys and values …
    pub bytes: usize,
    /// … or so many records looked at, visible or not.
    pub looks: usize,
}

impl ScanLimits {
    /// So many keys, and no more records looked at than a turn has time for.
    pub fn count(count: usize) -> ScanLimits {
        ScanLimits {
            count,
            bytes: 1 << 20,
            looks: 4096,
        }
    }
}

/// A scan of a range in a view.
#[derive(Debug)]
pub struct Scan {
    view: View,
    range: KeyRange,
    direction: Direction,
    sources: Vec<Source>,
    merge: Merge,
    /// Sources that wait for a block.
    waiting: Vec<u32>,
    tickets: Vec<Ticket>,
    /// Grows as the scan goes on: a short one reads little more than it needs.
    ahead_bytes: u64,
    /// Whether range tombstones must be asked for at all.
    tombstones: bool,
    /// The key that was decided last, where more than one source could hold it.
    decided: Vec<u8>,
    any_decided: bool,
    started: bool,
}

impl Store {
    /// Begins a scan of a range in a view.
    pub fn scan(&mut self, view: &View, range: KeyRange, direction: Direction) -> Scan {
        self.figures.scans += 1;
        let mut scan = Scan {
            view: view.clone(),
            direction,
            sources: Vec::new(),
            merge: Merge::new(direction),
            waiting: Vec::new(),
            tickets: Vec::new(),
            ahead_bytes: 0,
            tombstones: false,
            decided: Vec::new(),
            any_decided: false,
            started: false,
            range,
        };
        if let Ok(seen) = view.seen() {
            scan.open(&seen, self);
        }
        scan
    }
}

impl Scan {
    /// The reads that must come before it can go on.
    pub fn waits_for(&self) -> impl Iterator<Item = ReadToken> + '_ {
        waits_for(&self.tickets)
    }

    /// The view in which it reads.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Visits the next keys and values, as far as the limits and the blocks in memory go. Where it
    /// answers `Need`, all blocks that it lacks have been asked for.
    pub fn step(
        &mut self,
        store: &mut Store,
        limits: ScanLimits,
        mut visit: impl FnMut(&[u8], &[u8]),
    ) -> Result<Progressed, ReadFailed> {
        self.step_records(store, limits, |key, _, value| visit(key, value))
    }

    /// The same, with the sequence of each record.
    pub(crate) fn step_records(
        &mut self,
        store: &mut Store,
        limits: ScanLimits,
        mut visit: impl FnMut(&[u8], Seq, &[u8]),
    ) -> Result<Progressed, ReadFailed> {
        self.view.check()?;
        check_tickets(&self.tickets)?;
        if !self.resume(store) {
            return Ok(Progressed::Need);
        }
        let (mut count, mut bytes, mut looks) = (0, 0, 0);
        while let Some(best) = self.merge.best() {
            if count >= limits.count || bytes >= limits.bytes || looks >= limits.looks {
                return Ok(Progressed::More);
            }
            looks += 1;
            let source = &self.sources[best as usize];
            let record = source.record(&store.memories);
            let alone = self.merge.len() == 1;
            let repeated = self.any_decided && self.decided == record.key;
            if !repeated {
                let visible = record.kind == Kind::Put
                    && !(self.tombstones && self.hidden(record.key, record.seq, store));
                if visible {
                    count += 1;
                    bytes += record.key.len() + record.value.len();
                    visit(record.key, record.seq, record.value);
                }
                if alone {
                    self.any_decided = false;
                } else {
                    self.decided.clear();
                    self.decided.extend_from_slice(record.key);
                    self.any_decided = true;
                }
            }
            if !self.advance(best, store) {
                self.ask(store);
                return Ok(Progressed::Need);
            }
        }
        Ok(Progressed::Done)
    }

    fn open(&mut self, seen: &Seen, store: &mut Store) {
        for id in (seen.first.0..seen.limit.0).rev().map(MemoryId) {
            let memtable = store.memories.get_mut(id);
            if memtable.is_empty() {
                continue;
            }
            let tombstones = !memtable.tombstones().is_empty();
            self.tombstones |= tombstones;
            let cursor = memtable.cursor(seen.seq);
            self.sources.push(Source::Memory {
                id,
                at: seen.seq,
                cursor,
                tombstones,
            });
        }
        for (_, run) in seen.version.runs() {
            let slices = run.overlapping(&self.range);
            if slices.is_empty() {
                continue;
            }
            let cursor = RunCursor::new(slices.to_vec(), self.range.clone(), self.direction);
            let tombstones = cursor.has_tombstones();
            self.tombstones |= tombstones;
            self.sources.push(Source::Run { cursor, tombstones });
        }
    }

    /// Brings every source that waits to its next record. Returns whether none waits any more.
    fn resume(&mut self, store: &mut Store) -> bool {
        if !self.started {
            self.started = true;
            for source in 0..self.sources.len() as u32 {
                let step = self.sources[source as usize].start(
                    &self.range,
                    self.direction,
                    &store.memories,
                    &store.tables,
                    &mut store.cache,
                );
                self.arrive(source, step, store);
            }
        } else if !self.waiting.is_empty() {
            for source in core::mem::take(&mut self.waiting) {
                let step = match &mut self.sources[source as usize] {
                    Source::Run { cursor, .. } => cursor.resume(&store.tables, &mut store.cache),
                    Source::Memory { .. } => unreachable!("a memtable never lacks a block"),
                };
                self.arrive(source, step, store);
            }
        }
        if self.waiting.is_empty() {
            return true;
        }
        self.ask(store);
        false
    }

    fn arrive(&mut self, source: u32, step: Step, store: &Store) {
        match step {
            Step::End => {}
            Step::Need(_) => self.waiting.push(source),
            Step::At => {
                let sources = &self.sources;
                let key = sources[source as usize].key(&store.memories);
                self.merge.insert(source, key, |other| {
                    sources[other as usize].key(&store.memories)
                });
            }
        }
    }

    /// Moves the best source on. Returns whether it, or none, is there.
    #[inline]
    fn advance(&mut self, best: u32, store: &mut Store) -> bool {
        let step = self.sources[best as usize].advance(
            &self.range,
            self.direction,
            &store.memories,
            &store.tables,
            &mut store.cache,
        );
        match step {
            Step::At => {
                if self.merge.len() > 1 {
                    let sources = &self.sources;
                    let key = sources[best as usize].key(&store.memories);
                    self.merge
                        .advance(key, |other| sources[other as usize].key(&store.memories));
                }
                true
            }
            Step::End => {
                self.merge.remove_best();
                true
            }
            Step::Need(_) => {
                self.merge.remove_best();
                self.waiting.push(best);
                false
            }
        }
    }

    /// Asks for what the waiting sources lack, and reads ahead.
    fn ask(&mut self, store: &mut Store) {
        let mut blocks: Vec<BlockRef> = Vec::new();
        let share = self.ahead_bytes / self.waiting.len().max(1) as u64;
        for source in &self.waiting {
            if let Source::Run { cursor, .. } = &mut self.sources[*source as usize] {
                if let Step::Need(block) = cursor.resume(&store.tables, &mut store.cache) {
                    blocks.push(block);
                }
                cursor.read_ahead(share, &store.cache, &mut blocks);
            }
        }
        // What was read ahead before is in the cursors or behind them, but for other sources.
        let mut tickets = Vec::new();
        request(&mut store.reads, &blocks, &mut tickets);
        let bytes_of = |tickets: &[Ticket]| -> u64 {
            let lengths = tickets.iter().map(|ticket| u64::from(ticket.place.length));
            lengths.sum()
        };
        while !self.tickets.is_empty()
            && bytes_of(&self.tickets) + bytes_of(&tickets) > 2 * READ_AHEAD_BYTES_MAX
        {
            self.tickets.remove(0);
        }
        self.tickets.retain(|ticket| {
            let same = |other: &Ticket| other.place == ticket.place;
            !tickets.iter().any(same)
        });
        self.tickets.append(&mut tickets);
        self.ahead_bytes = (self.ahead_bytes * 2).clamp(8 << 10, READ_AHEAD_BYTES_MAX / 2);
    }

    /// Whether a range tombstone lies above a record.
    #[cold]
    fn hidden(&self, key: &[u8], seq: Seq, store: &Store) -> bool {
        let mut sources = self.sources.iter();
        sources.any(|source| {
            source.has_tombstones() && source.covering(key, &store.memories, &store.tables) > seq
        })
    }
}
