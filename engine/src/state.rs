//! Everything that the manifest says, and how an edit changes it.
//!
//! Folding an edit is a function of the state and the edit alone, so that a recovery that folds the
//! same edits arrives at the same state. An edit that does not fit the state is refused as a whole.
//!
//! **Cuts and flushes in flight.** Rotations taken before a cut may land after it. What their tables hold
//! of the cut range was written before the cut (their sequences say so), hence is not brought in. A
//! cut is remembered for this until a rotation taken after it has landed. (A rotation that holds
//! records of the range from both sides of the cut could not be told apart by whole slices: the store
//! rotates before it cuts.)

use alloc::rc::Rc;
use alloc::vec::Vec;

use crate::edit::{Compaction, Cut, Flush, Ingest, Move, VersionEdit};
use crate::effect::TableNumber;
use crate::progress::{IngestVerdict, PeerId, Progress, RegionId, Rotation};
use crate::record::{KEY_BYTES_MAX, KeyRange, Seq};
use crate::version::{LEVELS, Slice, SliceName, TableMeta, TableRef, Version};

/// Why an edit does not fit. Nothing of it was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A slice that it takes away is not (or no longer) there: it was cut in the meantime.
    Stale(SliceName),
    /// A table that it brings in overlaps another in its level, or its other tables.
    Overlap {
        /// Which level.
        level: u8,
    },
    /// The same ingest, or the flush of the same or a later rotation, is there already.
    AlreadyPresent,
    /// It would take a region back, or belongs to a peer that a later one has replaced.
    Outdated,
    /// It contradicts itself.
    Malformed {
        /// In which way.
        why: &'static str,
    },
    /// It is larger than the manifest takes in one piece.
    TooLarge {
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        bytes_max: usize,
    },
    /// With it, the state would not fit into the manifest any more.
    Full {
        /// How large the state would be.
        bytes: usize,
        /// How large it may be.
        bytes_max: usize,
    },
}

/// A cut that rotations taken before it must not undo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PendingCut {
    pub(crate) seq: Seq,
    pub(crate) ranges: Vec<KeyRange>,
    pub(crate) forget: Vec<(RegionId, PeerId)>,
}

/// Everything but the version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// How far each region is contained in the tables.
    pub progress: Progress,
    /// The last rotation whose flush is contained.
    pub rotation: Rotation,
    /// Above every sequence in tables and edits.
    pub next_seq: Seq,
    /// Tables below this number may exist, or have existed.
    pub table_limit: TableNumber,
    pub(crate) cuts: Vec<PendingCut>,
}

/// What the manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The tables.
    pub version: Rc<Version>,
    /// Everything else.
    pub ledger: Ledger,
}

impl Default for State {
    fn default() -> State {
        State {
            version: Rc::default(),
            ledger: Ledger {
                progress: Progress::default(),
                rotation: Rotation(0),
                next_seq: Seq(1),
                table_limit: TableNumber(1),
                cuts: Vec::new(),
            },
        }
    }
}

impl State {
    /// Folds an edit in. Returns the tables of which no slice is left.
    pub fn fold(&mut self, edit: &VersionEdit) -> Result<Vec<Rc<TableRef>>, Refused> {
        let version = self.version_after(edit)?;
        let dropped = self.version.dropped(&version);
        self.follow(edit, Rc::new(version));
        Ok(dropped)
    }

    /// Folds in an edit that is known to lead to `version`.
    pub(crate) fn follow(&mut self, edit: &VersionEdit, version: Rc<Version>) {
        self.version = version;
        self.ledger.follow(edit);
    }

    /// The version after an edit.
    pub(crate) fn version_after(&self, edit: &VersionEdit) -> Result<Version, Refused> {
        for table in edit.tables() {
            self.check_table(table)?;
        }
        match edit {
            VersionEdit::Flush(flush) => self.after_flush(flush),
            VersionEdit::Compaction(compaction) => self.after_compaction(compaction),
            VersionEdit::Move(moved) => self.after_move(moved),
            VersionEdit::Drop(dropped) => self.without(&dropped.slices),
            VersionEdit::Ingest(ingest) => self.after_ingest(ingest),
            VersionEdit::Cut(cut) => Ok(self.after_cut(cut)),
        }
    }

    fn after_flush(&self, flush: &Flush) -> Result<Version, Refused> {
        if flush.rotation <= self.ledger.rotation {
            return Err(Refused::AlreadyPresent);
        }
        let mut slices: Vec<_> = flush.tables.iter().map(whole).collect();
        let newest = flush.tables.iter().map(TableMeta::newest).max();
        if newest.is_some_and(|newest| newest > flush.last_seq) {
            let why = "a table of a flush is newer than its rotation";
            return Err(Refused::Malformed { why });
        }
        // Overlap is judged before anything is clipped.
        let run = Version::default().with_newest(slices.clone());
        run.ok_or(Refused::Overlap { level: 0 })?;
        for cut in &self.ledger.cuts {
            for range in &cut.ranges {
                slices = clip(slices, range, cut.seq);
            }
        }
        Ok(self
            .version
            .with_newest(slices)
            .expect("clipping makes no overlap"))
    }

    fn after_compaction(&self, compaction: &Compaction) -> Result<Version, Refused> {
        let slices: Vec<_> = compaction.tables.iter().map(whole).collect();
        let version = self.without(&compaction.inputs)?;
        place(&version, compaction.level, &slices)
    }

    fn after_move(&self, moved: &Move) -> Result<Version, Refused> {
        let part = |name: &SliceName| {
            let slice = self
                .version
                .slice(name)
                .ok_or_else(|| Refused::Stale(name.clone()))?;
            Ok(Rc::new(Slice::part(slice.table.clone(), &name.range)))
        };
        let slices = moved
            .slices
            .iter()
            .map(part)
            .collect::<Result<Vec<_>, _>>()?;
        let version = self.without(&moved.slices)?;
        place(&version, moved.level, &slices)
    }

    fn after_ingest(&self, ingest: &Ingest) -> Result<Version, Refused> {
        let applied = &ingest.applied;
        let progress = &self.ledger.progress;
        match progress.judge_ingest(applied.region, applied.peer, applied.index) {
            IngestVerdict::AlreadyPresent => return Err(Refused::AlreadyPresent),
            IngestVerdict::Outdated => return Err(Refused::Outdated),
            IngestVerdict::New => {}
        }
        for table in &ingest.tables {
            if !ingest.range.covers(&table.range) {
                let why = "an ingested table reaches beyond the range";
                return Err(Refused::Malformed { why });
            }
            if table.newest() > ingest.seq {
                let why = "an ingested table is newer than its ingest";
                return Err(Refused::Malformed { why });
            }
        }
        let slices: Vec<_> = ingest.tables.iter().map(whole).collect();
        let version = self.version.without(&ingest.range);
        // The range is free in every level, so the tables can go where they come to rest.
        place(&version, LEVELS as u8 - 1, &slices)
    }

    fn after_cut(&self, cut: &Cut) -> Version {
        let mut version = (*self.version).clone();
        for range in cut.ranges.iter().filter(|range| !range.is_empty()) {
            version = version.without(range);
        }
        version
    }

    fn without(&self, names: &[SliceName]) -> Result<Version, Refused> {
        let version = self.version.without_parts(names);
        version.map_err(|name| Refused::Stale(name.clone()))
    }

    fn check_table(&self, table: &TableMeta) -> Result<(), Refused> {
        let longest = table.range.start.len().max(table.range.limit.len());
        let why = if table.range.is_empty() {
            "a table has no keys"
        } else if longest > KEY_BYTES_MAX + 1 {
            "a table's key is too long"
        } else if table.min_seq > table.max_seq {
            "a table's sequences are out of order"
        } else if table.tail_offset > table.file_bytes {
            "a table's tail lies beyond its end"
        } else if table.number >= self.ledger.table_limit {
            "a table's number was not given out"
        } else {
            return Ok(());
        };
        Err(Refused::Malformed { why })
    }
}

impl Ledger {
    pub(crate) fn follow(&mut self, edit: &VersionEdit) {
        let newest = edit.tables().iter().map(TableMeta::newest).max();
        self.saw(newest.unwrap_or_default());
        match edit {
            VersionEdit::Flush(flush) => self.follow_flush(flush),
            VersionEdit::Ingest(ingest) => {
                self.saw(ingest.seq);
                self.cuts.push(PendingCut {
                    seq: ingest.seq,
                    ranges: [ingest.range.clone()].into(),
                    forget: Vec::new(),
                });
                self.progress.fold_ingest(ingest.applied, ingest.seq);
            }
            VersionEdit::Cut(cut) => {
                self.saw(cut.seq);
                for (region, peer) in &cut.forget {
                    self.progress.forget(*region, *peer);
                }
                self.cuts.push(PendingCut {
                    seq: cut.seq,
                    ranges: cut.ranges.clone(),
                    forget: cut.forget.clone(),
                });
            }
            VersionEdit::Compaction(_) | VersionEdit::Move(_) | VersionEdit::Drop(_) => {}
        }
    }

    fn follow_flush(&mut self, flush: &Flush) {
        self.saw(flush.last_seq);
        self.rotation = flush.rotation;
        for applied in &flush.applied {
            let forgotten = self
                .cuts
                .iter()
                .filter(|cut| cut.seq > flush.last_seq)
                .any(|cut| {
                    let gone = |(region, peer): &(RegionId, PeerId)| {
                        *region == applied.region && applied.peer <= *peer
                    };
                    cut.forget.iter().any(gone)
                });
            if !forgotten {
                self.progress.fold_flush(*applied, flush.last_seq);
            }
        }
        self.cuts.retain(|cut| cut.seq > flush.last_seq);
    }

    fn saw(&mut self, seq: Seq) {
        self.next_seq = self.next_seq.max(Seq(seq.0.saturating_add(1)));
    }
}

fn whole(table: &TableMeta) -> Rc<Slice> {
    Rc::new(Slice::whole(Rc::new(TableRef::new(table.clone()))))
}

fn place(version: &Version, level: u8, slices: &[Rc<Slice>]) -> Result<Version, Refused> {
    if level == 0 || usize::from(level) >= LEVELS {
        let why = "no such level to go to";
        return Err(Refused::Malformed { why });
    }
    let placed = version.with_slices(usize::from(level), slices);
    placed.ok_or(Refused::Overlap { level })
}

/// Takes `range` out of the slices whose table is older than the cut.
fn clip(slices: Vec<Rc<Slice>>, range: &KeyRange, seq: Seq) -> Vec<Rc<Slice>> {
    let mut clipped = Vec::with_capacity(slices.len());
    for slice in slices {
        if slice.table.meta.newest() < seq && slice.range.overlaps(range) {
            clipped.extend(slice.without(range).map(Rc::new));
        } else {
            clipped.push(slice);
        }
    }
    clipped
}
