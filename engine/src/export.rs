//! A range as tables for another store: what a view sees of it, in chunks of table files.
//!
//! The other store sets numbers aside and the tables are built with them, since every block of a table
//! is checked against its number. An export holds one table's index and a few blocks at a time; the
//! chunks leave as they are made, and whoever takes them sets the pace.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::effect::{ReadToken, TableNumber};
use crate::lookup::{Progressed, ReadFailed};
use crate::merge::Direction;
use crate::options::{STEP_BYTES_MAX, STEP_RECORDS_MAX};
use crate::record::{KeyRange, Kind, Record, Seq};
use crate::scan::{Scan, ScanLimits};
use crate::store::Store;
use crate::table::{BuilderOptions, Chunk, TableBuilder, TableMeta};
use crate::view::View;

/// What a step of an export came to.
#[derive(Debug)]
pub enum ExportStep {
    /// The next bytes of a table.
    Chunk(TableNumber, Chunk),
    /// A table is complete.
    Table(TableMeta),
    /// A piece of work is done; there is more.
    More,
    /// It waits for blocks that are being read.
    Need,
    /// It needs another number to begin another table.
    NeedNumber,
    /// All of the range has been exported.
    Done,
}

/// An export that is under way.
#[derive(Debug)]
pub struct Export {
    scan: Scan,
    numbers: VecDeque<TableNumber>,
    table_bytes: u64,
    compress: bool,
    builder: Option<TableBuilder>,
    finishing: bool,
    finished: Option<TableMeta>,
    scanned: bool,
}

impl Store {
    /// Begins to export what a view sees of a range, as tables of about `table_bytes`.
    pub fn export(
        &mut self,
        view: &View,
        range: KeyRange,
        numbers: Vec<TableNumber>,
        table_bytes: u64,
    ) -> Export {
        Export {
            scan: self.scan(view, range, Direction::Forward),
            numbers: numbers.into(),
            table_bytes,
            compress: self.options.compress,
            builder: None,
            finishing: false,
            finished: None,
            scanned: false,
        }
    }
}

impl Export {
    /// The reads that must come before it can go on.
    pub fn waits_for(&self) -> impl Iterator<Item = ReadToken> + '_ {
        self.scan.waits_for()
    }

    /// Hands over another number for another table.
    pub fn add_number(&mut self, number: TableNumber) {
        self.numbers.push_back(number);
    }

    /// Does a bounded piece, or hands out what was made.
    pub fn step(&mut self, store: &mut Store) -> Result<ExportStep, ReadFailed> {
        self.scan.view().check()?;
        if let Some(builder) = &mut self.builder {
            if let Some(chunk) = builder.take_chunk() {
                return Ok(ExportStep::Chunk(builder.number(), chunk));
            }
            if let Some(meta) = self.finished.take() {
                self.builder = None;
                self.finishing = false;
                return Ok(ExportStep::Table(meta));
            }
            if self.finishing {
                self.finished = builder.finish();
                return Ok(ExportStep::More);
            }
            if builder.estimated_file_bytes() >= self.table_bytes && !builder.is_empty() {
                self.finishing = true;
                return Ok(ExportStep::More);
            }
        }
        if self.scanned {
            self.finishing = self.builder.is_some();
            return Ok(match self.finishing {
                true => ExportStep::More,
                false => ExportStep::Done,
            });
        }
        self.scan_some(store)
    }

    fn scan_some(&mut self, store: &mut Store) -> Result<ExportStep, ReadFailed> {
        if self.builder.is_none() {
            let Some(number) = self.numbers.pop_front() else {
                return Ok(ExportStep::NeedNumber);
            };
            let options = BuilderOptions {
                compress: self.compress,
                ..BuilderOptions::default()
            };
            self.builder = Some(TableBuilder::new(number, options));
        }
        let builder = self.builder.as_mut().expect("begun");
        let limits = ScanLimits {
            count: STEP_RECORDS_MAX,
            bytes: STEP_BYTES_MAX,
            looks: 4 * STEP_RECORDS_MAX,
        };
        let progressed = self.scan.step(store, limits, |key, value| {
            // The receiver gives all records of the table one sequence of its own.
            builder.add(&Record {
                key,
                seq: Seq(1),
                kind: Kind::Put,
                value,
            });
        })?;
        if progressed == Progressed::Done {
            self.scanned = true;
            if builder.is_empty() {
                let number = builder.number();
                self.builder = None;
                self.numbers.push_front(number);
            }
        }
        Ok(match progressed {
            Progressed::Need => ExportStep::Need,
            Progressed::Done | Progressed::More => ExportStep::More,
        })
    }
}
