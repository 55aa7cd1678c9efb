//! How long a state is as bytes, without writing it.
//!
//! Every edit has to know whether the state after it still fits a half. A store has ten thousand
//! regions and an edit is folded in within a turn, so the length is counted along: what the edit brings,
//! and the slices of the version; never a walk over the regions. It may come out a little too long,
//! never too short, and is counted anew whenever a state is written.

use alloc::rc::Rc;

use crate::edit::VersionEdit;
use crate::manifest::code::Writer;
use crate::record::KeyRange;
use crate::state::{Ledger, PendingCut, State};
use crate::version::{LEVELS, TableMeta, TableRef, Version};

/// Three numbers, and the counts of regions, cuts and tables.
const FIXED_BYTES: usize = 3 * 8 + 3 * 4;
/// What the state says of a region.
const REGION_BYTES: usize = 6 * 8 + 1;

/// How much of a state the tables are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure {
    tables_bytes: usize,
}

impl Measure {
    /// Of a state as it is.
    pub fn of(state: &State) -> Measure {
        let tables = state.version.tables();
        let tables_bytes = tables.values().map(|table| table_bytes(&table.meta)).sum();
        Measure { tables_bytes }
    }

    /// Once an edit has brought its tables, and nothing shows the dropped ones any more. Tables of
    /// which nothing is shown from the beginning count as well.
    pub fn after(self, edit: &VersionEdit, dropped: &[Rc<TableRef>]) -> Measure {
        let brought: usize = edit.tables().iter().map(table_bytes).sum();
        let gone: usize = dropped.iter().map(|table| table_bytes(&table.meta)).sum();
        Measure {
            tables_bytes: self.tables_bytes + brought - gone,
        }
    }

    /// How long the state of these tables and this ledger is.
    pub fn state_bytes(self, version: &Version, ledger: &Ledger) -> usize {
        let runs = version.runs().count();
        let slices = version
            .slices()
            .map(|(_, slice)| 8 + range_bytes(&slice.range));
        let cuts = ledger.cuts.iter().map(cut_bytes);
        FIXED_BYTES
            + ledger.progress.len() * REGION_BYTES
            + cuts.sum::<usize>()
            + self.tables_bytes
            + (LEVELS + runs) * 4
            + slices.sum::<usize>()
    }
}

/// How much longer an edit makes what a state says beside its tables, at most.
pub(super) fn growth_bytes(ledger: &Ledger, edit: &VersionEdit) -> usize {
    let is_new = |region| ledger.progress.get(region).is_none();
    match edit {
        VersionEdit::Flush(flush) => {
            let applied = flush.applied.iter();
            applied.filter(|applied| is_new(applied.region)).count() * REGION_BYTES
        }
        VersionEdit::Ingest(ingest) => {
            let region = usize::from(is_new(ingest.applied.region)) * REGION_BYTES;
            region + CUT_BYTES + range_bytes(&ingest.range)
        }
        VersionEdit::Cut(cut) => {
            let ranges = cut.ranges.iter().map(range_bytes);
            CUT_BYTES + ranges.sum::<usize>() + cut.forget.len() * 16
        }
        VersionEdit::Compaction(_) | VersionEdit::Move(_) | VersionEdit::Drop(_) => 0,
    }
}

/// Two counts and a sequence.
const CUT_BYTES: usize = 2 * 4 + 8;

fn cut_bytes(cut: &PendingCut) -> usize {
    let ranges = cut.ranges.iter().map(range_bytes);
    CUT_BYTES + ranges.sum::<usize>() + cut.forget.len() * 16
}

fn range_bytes(range: &KeyRange) -> usize {
    2 + range.start.len() + 2 + range.limit.len()
}

fn table_bytes(table: &TableMeta) -> usize {
    let mut writer = Writer::default();
    writer.table(table);
    writer.0.len()
}
