//! Tables between their file and their use: the tail is read back, checked and unpacked.
//!
//! Every table passes here, at the opening of a store, after a flush or compaction has written it,
//! and before an ingest names it. So what an edit names has been read back once.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::cache::BlockCache;
use crate::effect::{Share, TableNumber};
use crate::reads::{ReadError, Reads, Span};
use crate::record::Seq;
use crate::table::{Footer, Table, TableOpening};
use crate::tables::Tables;

/// The length of a table's last page, which says where its tail begins.
const PAGE_BYTES: u64 = 4096;

/// A table that is being opened.
#[derive(Debug)]
struct TailReading {
    file_bytes: u64,
    global_seq: Option<Seq>,
    share: Share,
    /// The tail, or the last page where the tail's place is not known.
    span: Span,
    whole_tail: bool,
    /// What is checked and taken over so far.
    taken: Option<TableOpening>,
}

impl TailReading {
    /// Checks and takes over some more of a tail that has come.
    fn step(&mut self, number: TableNumber) -> Result<Option<Table>, ReadError> {
        let (file_bytes, global_seq, taken) = (self.file_bytes, self.global_seq, &mut self.taken);
        let stepped = self.span.bytes(|tail| {
            let opening = match taken {
                Some(opening) => opening,
                None => taken.insert(TableOpening::new(
                    Some(number),
                    file_bytes,
                    global_seq,
                    tail,
                )?),
            };
            opening.step(tail)
        });
        Ok(stepped.expect("it has come")??)
    }
}

/// All tables that are being opened, and those that could not be.
#[derive(Debug, Default)]
pub(crate) struct TableOpenings {
    open: BTreeMap<TableNumber, TailReading>,
    failed: BTreeMap<TableNumber, ReadError>,
}

impl TableOpenings {
    /// Begins with a table. Without the place of its tail, the last page is read first.
    pub fn begin(
        &mut self,
        number: TableNumber,
        (file_bytes, tail_offset): (u64, Option<u64>),
        global_seq: Option<Seq>,
        share: Share,
        reads: &mut Reads,
    ) {
        if self.open.contains_key(&number) {
            return;
        }
        self.failed.remove(&number);
        let offset = tail_offset.unwrap_or(file_bytes.saturating_sub(PAGE_BYTES));
        let Ok(length) = u32::try_from(file_bytes.saturating_sub(offset)) else {
            let corrupt = crate::table::Corrupt {
                table: number,
                offset,
                why: "a tail of an impossible length",
            };
            self.failed.insert(number, corrupt.into());
            return;
        };
        let opening = TailReading {
            file_bytes,
            global_seq,
            share,
            span: reads.request_span(number, offset, length, share),
            whole_tail: tail_offset.is_some(),
            taken: None,
        };
        self.open.insert(number, opening);
    }

    /// How many are being opened.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Why a table could not be opened.
    pub fn failure(&self, number: TableNumber) -> Option<ReadError> {
        self.failed.get(&number).copied()
    }

    /// Nobody wants the table any more.
    pub fn forget(&mut self, number: TableNumber) {
        self.open.remove(&number);
        self.failed.remove(&number);
    }

    /// Goes on with one table whose tail has come, a bounded piece at a time. Returns whether there was
    /// one.
    pub fn step(&mut self, tables: &mut Tables, cache: &mut BlockCache, reads: &mut Reads) -> bool {
        let come = |opening: &TailReading| opening.span.bytes(|_| ()).is_some();
        let mut ready = self.open.iter().filter(|(_, opening)| come(opening));
        let Some(number) = ready.next().map(|(number, _)| *number) else {
            return false;
        };
        let mut opening = self.open.remove(&number).expect("just found");
        if !opening.whole_tail {
            if let Err(error) = self.open_page(number, &opening, reads) {
                self.failed.insert(number, error);
            }
            return true;
        }
        match opening.step(number) {
            Ok(Some(table)) => tables.insert(table, cache),
            Ok(None) => {
                self.open.insert(number, opening);
            }
            Err(error) => {
                self.failed.insert(number, error);
            }
        }
        true
    }

    fn open_page(
        &mut self,
        number: TableNumber,
        opening: &TailReading,
        reads: &mut Reads,
    ) -> Result<(), ReadError> {
        let file_bytes = opening.file_bytes;
        let footer = opening
            .span
            .bytes(|page| Footer::decode(Some(number), file_bytes, page));
        let tail_offset = footer.expect("it has come")??.tail_offset();
        let place = (file_bytes, Some(tail_offset));
        self.begin(number, place, opening.global_seq, opening.share, reads);
        Ok(())
    }

    /// The tables that could not be opened.
    pub fn failures(&self) -> Vec<ReadError> {
        self.failed.values().copied().collect()
    }
}
