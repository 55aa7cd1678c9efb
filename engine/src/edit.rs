//! What the manifest records: the steps from one version to the next.
//!
//! ```text
//! Flush        a rotation is in tables      + a run in level 0, the indexes of its regions
//! Compaction   slices were merged           - parts of slices, + tables one level further down
//! Move         slices need no merge         the same slices, in another level
//! Drop         a range tombstone hides all  - parts of slices
//! Ingest       a snapshot was received      - everything in its range, + its tables, its index
//! Cut          a range has no owner         - everything in the ranges, - the regions' indexes
//! ```
//!
//! An edit names what it takes away by table and keys, never by position, so one that was computed
//! from an older version still means the same, or is found to be stale.

use alloc::vec::Vec;
use core::fmt;

use crate::progress::{Applied, PeerId, RegionId, Rotation};
use crate::record::{KeyRange, Seq};
use crate::version::{SliceName, TableMeta};

/// A rotation of the memtable is in tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flush {
    /// Which one; rotations are flushed in order.
    pub rotation: Rotation,
    /// The last sequence that was given out before the rotation.
    pub last_seq: Seq,
    /// A run: in order and without overlap. Possibly none.
    pub tables: Vec<TableMeta>,
    /// The regions that moved since the rotation before.
    pub applied: Vec<Applied>,
}

/// Slices were merged into tables of a deeper level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// What was merged.
    pub inputs: Vec<SliceName>,
    /// Where the tables go; never level 0.
    pub level: u8,
    /// What came out; possibly nothing.
    pub tables: Vec<TableMeta>,
}

/// Slices change their level as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Where they are.
    pub slices: Vec<SliceName>,
    /// Where they go; never level 0.
    pub level: u8,
}

/// A received snapshot takes the place of everything in its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingest {
    /// The region, and the state that the snapshot is of.
    pub applied: Applied,
    /// What is cut.
    pub range: KeyRange,
    /// The sequence of the ingest: above everything that it replaces.
    pub seq: Seq,
    /// What comes in its place: in order, without overlap, inside the range.
    pub tables: Vec<TableMeta>,
}

/// Ranges lose their content; regions are forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// What is cut.
    pub ranges: Vec<KeyRange>,
    /// The sequence of the cut: above everything that it takes away.
    pub seq: Seq,
    /// Whose indexes go: up to and including these peers.
    pub forget: Vec<(RegionId, PeerId)>,
}

/// Slices hidden by a durable range tombstone go without being read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drop {
    /// Which ones.
    pub slices: Vec<SliceName>,
}

/// A step from one version to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionEdit {
    /// See [`Flush`].
    Flush(Flush),
    /// See [`Compaction`].
    Compaction(Compaction),
    /// See [`Move`].
    Move(Move),
    /// See [`Drop`].
    Drop(Drop),
    /// See [`Ingest`].
    Ingest(Ingest),
    /// See [`Cut`].
    Cut(Cut),
}

impl VersionEdit {
    /// The tables that it brings in.
    pub fn tables(&self) -> &[TableMeta] {
        match self {
            VersionEdit::Flush(flush) => &flush.tables,
            VersionEdit::Compaction(compaction) => &compaction.tables,
            VersionEdit::Ingest(ingest) => &ingest.tables,
            VersionEdit::Move(_) | VersionEdit::Drop(_) | VersionEdit::Cut(_) => &[],
        }
    }

    /// One word for it.
    pub fn name(&self) -> &'static str {
        match self {
            VersionEdit::Flush(_) => "flush",
            VersionEdit::Compaction(_) => "compaction",
            VersionEdit::Move(_) => "move",
            VersionEdit::Drop(_) => "drop",
            VersionEdit::Ingest(_) => "ingest",
            VersionEdit::Cut(_) => "cut",
        }
    }
}

impl fmt::Display for VersionEdit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.name())?;
        match self {
            VersionEdit::Flush(flush) => {
                let Flush {
                    rotation, last_seq, ..
                } = flush;
                write!(out, " rotation={} last_seq={}", rotation.0, last_seq.0)?;
                show_tables(out, &flush.tables)?;
                flush
                    .applied
                    .iter()
                    .try_for_each(|applied| show_applied(out, applied))
            }
            VersionEdit::Compaction(compaction) => {
                write!(out, " to L{}", compaction.level)?;
                show_names(out, &compaction.inputs)?;
                show_tables(out, &compaction.tables)
            }
            VersionEdit::Move(moved) => {
                write!(out, " to L{}", moved.level)?;
                show_names(out, &moved.slices)
            }
            VersionEdit::Drop(dropped) => show_names(out, &dropped.slices),
            VersionEdit::Ingest(ingest) => {
                write!(out, " seq={} cut {}", ingest.seq.0, Keys(&ingest.range))?;
                show_tables(out, &ingest.tables)?;
                show_applied(out, &ingest.applied)
            }
            VersionEdit::Cut(cut) => {
                write!(out, " seq={}", cut.seq.0)?;
                cut.ranges
                    .iter()
                    .try_for_each(|range| write!(out, " {}", Keys(range)))?;
                cut.forget.iter().try_for_each(|(region, peer)| {
                    write!(out, " forget region={} peer={}", region.0, peer.0)
                })
            }
        }
    }
}

fn show_tables(out: &mut fmt::Formatter<'_>, tables: &[TableMeta]) -> fmt::Result {
    tables.iter().try_for_each(|table| {
        let (number, range) = (table.number.0, Keys(&table.range));
        write!(out, " +{number}{range} {} entries", table.entries)
    })
}

fn show_names(out: &mut fmt::Formatter<'_>, names: &[SliceName]) -> fmt::Result {
    names.iter().try_for_each(|name| {
        let (level, table) = (name.level, name.table.0);
        write!(out, " -L{level}:{table}{}", Keys(&name.range))
    })
}

fn show_applied(out: &mut fmt::Formatter<'_>, applied: &Applied) -> fmt::Result {
    let Applied {
        region,
        peer,
        index,
        clock,
    } = applied;
    let (region, peer, index, clock) = (region.0, peer.0, index.0, clock.0);
    write!(
        out,
        " region={region} peer={peer} index={index} clock={clock}"
    )
}

/// A range in the words of a reader: `[a..b)`, other bytes escaped.
pub struct Keys<'a>(pub &'a KeyRange);

impl fmt::Display for Keys<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KeyRange { start, limit } = self.0;
        let (start, limit) = (start.escape_ascii(), limit.escape_ascii());
        write!(out, "[{start}..{limit})")
    }
}
