//! Content that comes as tables, and content that goes as a range.
//!
//! ```text
//!  take_numbers ─▶ receive, receive … ─▶ receive_end ─▶ TableReceived     bytes and name durable
//!                                                            │
//!        the caller's log says "applying", durably           ▼
//!                                       ingest ─▶ opened ─▶ edit ─▶ Ingested
//! ```
//!
//! An ingest is one edit: what lay in the range is cut and the tables come in, under one sequence
//! above everything that they replace. A table carries its number inside, so the sender numbers its
//! tables as the receiver asks it to.
//!
//! Ingest and destroy are refused while a memtable holds content of the range: it would rise again with
//! its flush. The caller rotates, waits for that rotation, and asks again.

use alloc::vec::Vec;

use crate::edit::{Cut, Ingest, VersionEdit};
use crate::effect::{Share, TableNumber};
use crate::options::RECEIVE_BYTES_MAX;
use crate::outgoing::Outgoing;
use crate::progress::{Applied, IngestVerdict, PeerId, RegionId};
use crate::record::{KeyRange, Seq};
use crate::state::Refused;
use crate::store::{CutNumber, Event, IngestError, Refusal, Stopped, Store};
use crate::table::TableMeta;

/// A change of a range that waits for its tables or for its turn.
#[derive(Debug)]
pub(crate) enum PendingIngest {
    Ingest {
        applied: Applied,
        range: KeyRange,
        tables: Vec<TableNumber>,
        seq: Seq,
        submitted: bool,
    },
    Cut {
        number: CutNumber,
        cut: Cut,
        submitted: bool,
    },
}

impl Store {
    /// Sets numbers aside for tables that are to be received; a sender builds its tables with them.
    pub fn take_numbers(&mut self, count: u64) -> Vec<TableNumber> {
        (0..count).map(|_| self.numbers.take()).collect()
    }

    /// Takes the next bytes of a table that is being received: whole blocks, in order.
    pub fn receive(
        &mut self,
        table: TableNumber,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Result<(), Refusal> {
        if self.stopped.is_some() {
            return Err(Refusal::Stopped);
        }
        assert!(table < self.numbers.next, "a number that was taken");
        let file = self
            .files
            .entry(table)
            .or_insert_with(|| Outgoing::new(table, Share::Background));
        if file.waiting_bytes() + bytes.len() > RECEIVE_BYTES_MAX && file.waiting_bytes() > 0 {
            return Err(Refusal::Busy);
        }
        let end = offset + bytes.len() as u64;
        self.received_lengths.insert(table, end);
        file.write(offset, bytes);
        Ok(())
    }

    /// The received table is complete; [`Event::TableReceived`] says when it is durable.
    pub fn receive_end(&mut self, table: TableNumber) {
        if let Some(file) = self.files.get_mut(&table) {
            file.seal();
        }
    }

    /// Forgets received tables that no ingest will name.
    pub fn discard(&mut self, tables: &[TableNumber]) {
        for table in tables {
            self.received_lengths.remove(table);
            if let Some(file) = self.files.get_mut(table) {
                file.abandon();
                continue;
            }
            let received = self.received.remove(table);
            if let Some(bytes) = received.or_else(|| self.orphans.remove(table)) {
                self.remove_file(*table, bytes);
            }
        }
    }

    /// Reports received tables that have become durable, or failed.
    pub(crate) fn advance_received(&mut self) {
        let mut ended = Vec::new();
        for (table, length) in &self.received_lengths {
            match self.files.get(table) {
                Some(file) if file.is_durable() => ended.push((*table, Some(*length))),
                Some(file) if file.failure().is_some() => ended.push((*table, None)),
                _ => {}
            }
        }
        for (table, length) in ended {
            self.received_lengths.remove(&table);
            match length {
                Some(length) => {
                    self.files.remove(&table);
                    self.received.insert(table, length);
                    self.events.push(Event::TableReceived(table));
                }
                None => {
                    let failure = self.files[&table].failure().expect("it failed");
                    match failure {
                        crate::effect::Failure::NoSpace => self.space.on_no_space(),
                        failure => self.stop(Stopped::Table(table, failure)),
                    }
                    self.events.push(Event::TableLost(table, failure));
                }
            }
        }
    }

    /// Whether exactly this ingest is in the manifest.
    pub fn is_ingested(
        &self,
        region: RegionId,
        peer: PeerId,
        index: crate::progress::Index,
    ) -> bool {
        let progress = &self.journal.ledger().progress;
        progress.judge_ingest(region, peer, index) == IngestVerdict::AlreadyPresent
    }

    /// Brings received tables in, in place of all that lies in the range. The region neither applies
    /// nor reads until [`Event::Ingested`].
    pub fn ingest(
        &mut self,
        applied: Applied,
        range: KeyRange,
        tables: &[TableNumber],
    ) -> Result<(), Refusal> {
        self.check_cut(core::slice::from_ref(&range))?;
        if self.is_ingested(applied.region, applied.peer, applied.index) {
            return Err(Refusal::AlreadyPresent);
        }
        let seq = self.next_seq;
        self.next_seq = seq.next();
        self.moved.remove(&applied.region);
        for table in tables {
            let length = self.received.get(table).or_else(|| self.orphans.get(table));
            let length = *length.unwrap_or(&0);
            self.openings.begin(
                *table,
                (length, None),
                Some(seq),
                Share::Foreground,
                &mut self.reads,
            );
        }
        self.ingests.push(PendingIngest::Ingest {
            applied,
            range,
            tables: tables.to_vec(),
            seq,
            submitted: false,
        });
        self.advance_work();
        Ok(())
    }

    /// Takes everything out of the ranges and forgets the regions, up to and including these peers.
    pub fn destroy(
        &mut self,
        ranges: Vec<KeyRange>,
        forget: Vec<(RegionId, PeerId)>,
    ) -> Result<CutNumber, Refusal> {
        self.check_cut(&ranges)?;
        for (region, _) in &forget {
            self.moved.remove(region);
        }
        self.cuts += 1;
        let number = CutNumber(self.cuts);
        let seq = self.next_seq;
        self.next_seq = seq.next();
        self.ingests.push(PendingIngest::Cut {
            number,
            cut: Cut {
                ranges,
                seq,
                forget,
            },
            submitted: false,
        });
        self.advance_work();
        Ok(number)
    }

    fn check_cut(&mut self, ranges: &[KeyRange]) -> Result<(), Refusal> {
        if self.stopped.is_some() {
            return Err(Refusal::Stopped);
        }
        let from = (self.first_unflushed.0 - self.memories.base.0) as usize;
        for memtable in self.memories.list.iter_mut().skip(from) {
            for range in ranges {
                let mut cursor = memtable.cursor(Seq::MAX);
                cursor.seek(memtable, &range.start);
                let inside = cursor
                    .record(memtable)
                    .is_some_and(|record| range.contains(record.key));
                if inside || memtable.tombstones().overlaps(&range.start, &range.limit) {
                    return Err(Refusal::StillInMemory);
                }
            }
        }
        Ok(())
    }

    /// Submits the first change of a range whose tables are open.
    pub(crate) fn advance_ingests(&mut self) {
        if self.journal.is_flying() || self.ingests.is_empty() {
            return;
        }
        let (edit, tables) = match &mut self.ingests[0] {
            PendingIngest::Cut { submitted, .. } | PendingIngest::Ingest { submitted, .. }
                if *submitted =>
            {
                return;
            }
            PendingIngest::Cut { cut, submitted, .. } => {
                *submitted = true;
                (VersionEdit::Cut(cut.clone()), Vec::new())
            }
            PendingIngest::Ingest {
                applied,
                range,
                tables,
                seq,
                submitted,
            } => {
                let failed = tables
                    .iter()
                    .find_map(|table| self.openings.failure(*table));
                if let Some(error) = failed {
                    self.fail_ingest(IngestError::Table(error));
                    return;
                }
                let mut metas: Vec<TableMeta> = Vec::new();
                for table in tables.iter() {
                    match self.tables.get(*table) {
                        Some(table) => metas.push(table.meta().clone()),
                        None => return,
                    }
                }
                *submitted = true;
                metas.sort_by(|a, b| a.range.start.cmp(&b.range.start));
                let tables = tables.clone();
                let edit = VersionEdit::Ingest(Ingest {
                    applied: *applied,
                    range: range.clone(),
                    seq: *seq,
                    tables: metas,
                });
                (edit, tables)
            }
        };
        let is_ingest = matches!(edit, VersionEdit::Ingest(_));
        match self.submit(edit) {
            Ok(()) => {
                for table in tables {
                    self.received.remove(&table);
                    self.orphans.remove(&table);
                }
            }
            Err(refused @ (Refused::TooLarge { .. } | Refused::Full { .. })) => {
                self.stop(Stopped::Refused(refused));
            }
            Err(refused) if is_ingest => self.fail_ingest(IngestError::Refused(refused)),
            Err(refused) => self.stop(Stopped::Refused(refused)),
        }
    }

    fn fail_ingest(&mut self, why: IngestError) {
        let PendingIngest::Ingest {
            applied, tables, ..
        } = self.ingests.remove(0)
        else {
            unreachable!("a cut has no tables that could fail");
        };
        for table in &tables {
            self.openings.forget(*table);
            self.tables.remove(*table, &mut self.cache);
        }
        self.events.push(Event::IngestFailed {
            region: applied.region,
            peer: applied.peer,
            why,
        });
    }

    /// The edit of an ingest is durable.
    pub(crate) fn on_ingested(&mut self, ingest: &Ingest) {
        self.ingests.remove(0);
        self.unreadable = false;
        self.events.push(Event::Ingested {
            region: ingest.applied.region,
            peer: ingest.applied.peer,
        });
    }

    /// The edit of a cut is durable.
    pub(crate) fn on_cut(&mut self, _: &Cut) {
        let PendingIngest::Cut { number, .. } = self.ingests.remove(0) else {
            unreachable!("changes of ranges are submitted in order");
        };
        self.unreadable = false;
        self.events.push(Event::Destroyed { cut: number });
    }

    /// Whether a change of some range waits.
    pub fn changes_waiting(&self) -> usize {
        self.ingests.len()
    }
}
