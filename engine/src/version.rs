//! What the tables of a store are, at one moment: levels of runs of slices of tables.
//!
//! ```text
//! level 0   run (newest)   [ slice ][ slice ]        a flush each, newest first; runs overlap
//!           run            [      slice     ]
//! level 1   (often empty)
//!   …
//! level 6   one run        [ slice ][ slice ][ slice ][ slice ] …
//! ```
//!
//! A **run** is a sorted list of slices that do not overlap. A **slice** is the visible part of a
//! table: cutting a range (an ingest, a destroyed region, the part of a table that a bounded compaction
//! has moved on) narrows or splits slices and never rewrites a byte. A table lives as long as a slice
//! of any version names it.
//!
//! A version never changes; an edit makes a new one that shares all runs it did not touch. Of one
//! key, records in a lower level, and in level 0 in an earlier run, are newer.

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;

use crate::effect::TableNumber;
use crate::record::{KeyRange, below_limit};
pub use crate::table::TableMeta;

/// How many levels there are. The last one is where data comes to rest; which of the others are in
/// use depends on its size.
pub const LEVELS: usize = 7;

/// A table that some version names: what all its slices share.
#[derive(Debug)]
pub struct TableRef {
    /// What is known of the file.
    pub meta: TableMeta,
    /// Where the store keeps the opened table, so that a lookup needs no map.
    slot: Cell<Option<u32>>,
}

impl TableRef {
    /// A table that is not opened yet.
    pub fn new(meta: TableMeta) -> TableRef {
        let slot = Cell::new(None);
        TableRef { meta, slot }
    }

    /// What was last set.
    pub fn slot(&self) -> Option<u32> {
        self.slot.get()
    }

    /// Remembers where the opened table is kept.
    pub fn set_slot(&self, slot: Option<u32>) {
        self.slot.set(slot);
    }
}

impl PartialEq for TableRef {
    fn eq(&self, other: &TableRef) -> bool {
        self.meta == other.meta
    }
}

impl Eq for TableRef {}

/// The visible part of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The table.
    pub table: Rc<TableRef>,
    /// What of it is visible; lies inside the table's own range.
    pub range: KeyRange,
    /// About how many bytes of the file that is: the whole file, or a share of it guessed from the
    /// keys. Parts of a slice add up to the slice, nearly.
    pub bytes: u64,
}

impl Slice {
    /// All of a table.
    pub fn whole(table: Rc<TableRef>) -> Slice {
        Slice {
            range: table.meta.range.clone(),
            bytes: table.meta.file_bytes,
            table,
        }
    }

    /// The part of a table in `range`, which must not be empty.
    pub fn part(table: Rc<TableRef>, range: &KeyRange) -> Slice {
        let range = range.intersection(&table.meta.range);
        assert!(!range.is_empty(), "a slice holds at least one possible key");
        let bytes = bytes_between(&table.meta, &range);
        Slice {
            table,
            range,
            bytes,
        }
    }

    /// Whether it is all of its table.
    pub fn is_whole(&self) -> bool {
        self.range == self.table.meta.range
    }

    /// About how many bytes of it lie in `range`.
    pub fn bytes_in(&self, range: &KeyRange) -> u64 {
        if range.covers(&self.range) {
            return self.bytes;
        }
        let both = range.intersection(&self.range);
        if both.is_empty() {
            return 0;
        }
        bytes_between(&self.table.meta, &both).min(self.bytes)
    }

    /// What is left when `range` is taken out: nothing, one slice or two.
    pub(crate) fn without(&self, range: &KeyRange) -> impl Iterator<Item = Slice> {
        let before = KeyRange {
            start: self.range.start.clone(),
            limit: range.start.clone(),
        };
        let after = KeyRange {
            start: range.limit.clone(),
            limit: self.range.limit.clone(),
        };
        // An empty start is below, and an empty limit above every key: nothing is left on that side.
        let left = (!range.start.is_empty()).then_some(before);
        let right = (!range.limit.is_empty()).then_some(after);
        let parts = [left, right].into_iter().flatten();
        parts
            .map(|part| part.intersection(&self.range))
            .filter(|part| !part.is_empty())
            .map(|part| Slice::part(self.table.clone(), &part))
    }
}

/// Slices in order of their keys, none of which overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    slices: Vec<Rc<Slice>>,
    bytes: u64,
    /// How many leading bytes all starts have in common.
    shared: usize,
    /// The eight bytes of each start after those: a search that touches no slice until the end.
    fences: Vec<u64>,
}

impl Run {
    /// Over slices in order; none if two of them overlap or are out of order.
    pub fn new(slices: Vec<Rc<Slice>>) -> Option<Run> {
        let ordered = slices.windows(2).all(|pair| {
            let limit = &pair[0].range.limit;
            !limit.is_empty() && *limit <= pair[1].range.start
        });
        if !ordered {
            return None;
        }
        let shared = match (slices.first(), slices.last()) {
            (Some(first), Some(last)) => shared_bytes(&first.range.start, &last.range.start),
            _ => 0,
        };
        Some(Run {
            bytes: slices.iter().map(|slice| slice.bytes).sum(),
            fences: slices
                .iter()
                .map(|slice| eight_bytes(&slice.range.start[shared..]))
                .collect(),
            shared,
            slices,
        })
    }

    /// The slices in order.
    pub fn slices(&self) -> &[Rc<Slice>] {
        &self.slices
    }

    /// About how many bytes of files are visible here.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there is no slice.
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// The slice in which a key lies, if it lies in one.
    #[inline]
    pub fn find(&self, key: &[u8]) -> Option<&Rc<Slice>> {
        let slice = &self.slices[self.starts_up_to(key).checked_sub(1)?];
        below_limit(key, &slice.range.limit).then_some(slice)
    }

    /// How many slices lie wholly before a key: the place of the first slice that holds the key or
    /// begins after it.
    pub fn seek(&self, key: &[u8]) -> usize {
        let begun = self.starts_up_to(key);
        match begun.checked_sub(1) {
            Some(last) if below_limit(key, &self.slices[last].range.limit) => last,
            _ => begun,
        }
    }

    /// The slices that have keys in a range.
    pub fn overlapping(&self, range: &KeyRange) -> &[Rc<Slice>] {
        if range.is_empty() {
            return &[];
        }
        let from = self.seek(&range.start);
        let rest = &self.slices[from..];
        &rest[..rest.partition_point(|slice| below_limit(&slice.range.start, &range.limit))]
    }

    /// About how many bytes lie in a range.
    pub fn bytes_in(&self, range: &KeyRange) -> u64 {
        let slices = self.overlapping(range).iter();
        slices.map(|slice| slice.bytes_in(range)).sum()
    }

    /// How many slices start at or before a key.
    #[inline]
    fn starts_up_to(&self, key: &[u8]) -> usize {
        let Some(first) = self.slices.first() else {
            return 0;
        };
        let shared = &first.range.start[..self.shared];
        let Some(rest) = key.strip_prefix(shared) else {
            return if key < shared { 0 } else { self.slices.len() };
        };
        let fence = eight_bytes(rest);
        let from = self.fences.partition_point(|other| *other < fence);
        let equal = self.fences[from..].partition_point(|other| *other == fence);
        let doubtful = &self.slices[from..from + equal];
        from + doubtful.partition_point(|slice| slice.range.start.as_slice() <= key)
    }

    /// The run without the slices' parts in `range`; itself where nothing lies there.
    fn without(self: &Rc<Run>, range: &KeyRange) -> Rc<Run> {
        let cut = self.overlapping(range).len();
        if cut == 0 {
            return self.clone();
        }
        let from = self.seek(&range.start);
        let mut slices = Vec::with_capacity(self.slices.len() + 1);
        slices.extend_from_slice(&self.slices[..from]);
        for slice in &self.slices[from..from + cut] {
            slices.extend(slice.without(range).map(Rc::new));
        }
        slices.extend_from_slice(&self.slices[from + cut..]);
        Rc::new(Run::new(slices).expect("parts of slices stand where the slices stood"))
    }

    /// The run with other slices in the place of some, given in order of their places.
    fn replacing(&self, pieces: &[(usize, &Vec<Slice>)]) -> Rc<Run> {
        let mut slices = Vec::with_capacity(self.slices.len() + pieces.len());
        let mut copied = 0;
        for (place, left) in pieces {
            slices.extend_from_slice(&self.slices[copied..*place]);
            let from = slices.len();
            slices.extend(left.iter().cloned().map(Rc::new));
            slices[from..].sort_by(|a, b| a.range.start.cmp(&b.range.start));
            copied = place + 1;
        }
        slices.extend_from_slice(&self.slices[copied..]);
        Rc::new(Run::new(slices).expect("parts of slices stand where the slices stood"))
    }

    /// The run with more slices; none if they overlap what is here or each other.
    fn with(&self, more: &[Rc<Slice>]) -> Option<Rc<Run>> {
        let mut slices = Vec::with_capacity(self.slices.len() + more.len());
        slices.extend_from_slice(&self.slices);
        slices.extend_from_slice(more);
        slices.sort_by(|a, b| a.range.start.cmp(&b.range.start));
        Run::new(slices).map(Rc::new)
    }
}

/// Names a part of a slice: what an edit takes out of a level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceName {
    /// Where it is.
    pub level: u8,
    /// Of which table.
    pub table: TableNumber,
    /// Which of its keys.
    pub range: KeyRange,
}

/// The tables of a store at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    levels: [Vec<Rc<Run>>; LEVELS],
}

impl Default for Version {
    fn default() -> Version {
        Version {
            levels: [const { Vec::new() }; LEVELS],
        }
    }
}

impl Version {
    /// Puts levels together again; none if runs overlap in themselves, are empty, or are too many.
    pub(crate) fn of_levels(levels: Vec<Vec<Vec<Rc<Slice>>>>) -> Option<Version> {
        let mut version = Version::default();
        if levels.len() != LEVELS {
            return None;
        }
        for (level, runs) in levels.into_iter().enumerate() {
            if level > 0 && runs.len() > 1 {
                return None;
            }
            for slices in runs {
                let run = Run::new(slices).filter(|run| !run.is_empty())?;
                version.levels[level].push(Rc::new(run));
            }
        }
        Some(version)
    }

    /// The runs of a level, newest first; at most one below level 0, and none of them empty.
    pub fn level(&self, level: usize) -> &[Rc<Run>] {
        &self.levels[level]
    }

    /// All runs with their level, newest first.
    pub fn runs(&self) -> impl Iterator<Item = (usize, &Rc<Run>)> {
        let levels = self.levels.iter().enumerate();
        levels.flat_map(|(level, runs)| runs.iter().map(move |run| (level, run)))
    }

    /// All slices with their level.
    pub fn slices(&self) -> impl Iterator<Item = (usize, &Rc<Slice>)> {
        let runs = self.runs();
        runs.flat_map(|(level, run)| run.slices.iter().map(move |slice| (level, slice)))
    }

    /// Every table that a slice names, once.
    pub fn tables(&self) -> BTreeMap<TableNumber, Rc<TableRef>> {
        let tables = self.slices().map(|(_, slice)| &slice.table);
        tables
            .map(|table| (table.meta.number, table.clone()))
            .collect()
    }

    /// About how many bytes of files a level shows.
    pub fn level_bytes(&self, level: usize) -> u64 {
        self.levels[level].iter().map(|run| run.bytes).sum()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.levels.iter().all(Vec::is_empty)
    }

    /// With a new newest run in level 0; none if its slices overlap. No slices, no run.
    pub(crate) fn with_newest(&self, slices: Vec<Rc<Slice>>) -> Option<Version> {
        let mut next = self.clone();
        if !slices.is_empty() {
            next.levels[0].insert(0, Rc::new(Run::new(slices)?));
        }
        Some(next)
    }

    /// With more slices in the run of a level below 0; none if they overlap what is there.
    pub(crate) fn with_slices(&self, level: usize, slices: &[Rc<Slice>]) -> Option<Version> {
        assert!(level > 0, "level 0 takes whole runs");
        let mut next = self.clone();
        if !slices.is_empty() {
            let empty = Rc::new(Run::default());
            let run = self.levels[level].first().unwrap_or(&empty);
            next.levels[level] = vec![run.with(slices)?];
        }
        Some(next)
    }

    /// Without everything in `range`, in every level.
    pub(crate) fn without(&self, range: &KeyRange) -> Version {
        let mut next = self.clone();
        for runs in &mut next.levels {
            for run in runs.iter_mut() {
                *run = run.without(range);
            }
            runs.retain(|run| !run.is_empty());
        }
        next
    }

    /// The slice that holds all of a name's keys.
    pub fn slice(&self, name: &SliceName) -> Option<&Rc<Slice>> {
        let (level, run, slice) = self.place(name)?;
        Some(&self.levels[level][run].slices[slice])
    }

    /// Without the named parts; the first name whose slice is not (or no longer) there otherwise.
    pub(crate) fn without_parts<'n>(
        &self,
        names: &'n [SliceName],
    ) -> Result<Version, &'n SliceName> {
        // (level, run, slice) → what is left of that slice.
        let mut left: BTreeMap<(usize, usize, usize), Vec<Slice>> = BTreeMap::new();
        for name in names {
            let place = self.place(name).ok_or(name)?;
            let (level, run, slice) = place;
            let pieces = left
                .entry(place)
                .or_insert_with(|| vec![(*self.levels[level][run].slices[slice]).clone()]);
            let piece = pieces
                .iter()
                .position(|piece| piece.range.covers(&name.range));
            let piece = pieces.swap_remove(piece.ok_or(name)?);
            pieces.extend(piece.without(&name.range));
        }
        let mut next = self.clone();
        for (level, runs) in next.levels.iter_mut().enumerate() {
            for (place, run) in runs.iter_mut().enumerate() {
                let from = (level, place, 0);
                let touched = left.range(from..(level, place + 1, 0));
                let touched: Vec<_> = touched
                    .map(|((_, _, slice), left)| (*slice, left))
                    .collect();
                if !touched.is_empty() {
                    *run = run.replacing(&touched);
                }
            }
            runs.retain(|run| !run.is_empty());
        }
        Ok(next)
    }

    /// Level, run and slice that hold all of a name's keys.
    fn place(&self, name: &SliceName) -> Option<(usize, usize, usize)> {
        if name.range.is_empty() {
            return None;
        }
        let level = usize::from(name.level);
        let mut runs = self.levels.get(level)?.iter().enumerate();
        runs.find_map(|(place, run)| {
            let slice = run.seek(&name.range.start);
            let found = run.slices.get(slice)?;
            let same = found.table.meta.number == name.table;
            (same && found.range.covers(&name.range)).then_some((level, place, slice))
        })
    }

    /// The tables of `self` that `next` has no slice of any more.
    pub(crate) fn dropped(&self, next: &Version) -> Vec<Rc<TableRef>> {
        let mut gone = BTreeMap::new();
        for (level, run) in self.runs() {
            if !next.levels[level]
                .iter()
                .any(|other| Rc::ptr_eq(run, other))
            {
                let tables = run.slices.iter().map(|slice| &slice.table);
                gone.extend(tables.map(|table| (table.meta.number, table)));
            }
        }
        // Nothing but a changed run can have lost a table, yet any run may still show it.
        for (_, slice) in next.slices() {
            if gone.is_empty() {
                break;
            }
            gone.remove(&slice.table.meta.number);
        }
        gone.into_values().cloned().collect()
    }
}

/// About how many bytes of a table's file belong to the keys of `range`, which lies inside it.
fn bytes_between(meta: &TableMeta, range: &KeyRange) -> u64 {
    let from = share_before(&meta.range, &range.start);
    let to = match range.limit.as_slice() {
        [] => SHARE_WHOLE,
        limit => share_before(&meta.range, limit),
    };
    let share = u128::from(to.saturating_sub(from));
    (u128::from(meta.file_bytes) * share / u128::from(SHARE_WHOLE)) as u64
}

const SHARE_WHOLE: u64 = 1 << 32;

/// Which share of a range lies before a key, if keys were spread evenly.
fn share_before(range: &KeyRange, key: &[u8]) -> u64 {
    if key <= range.start.as_slice() {
        return 0;
    }
    if !below_limit(key, &range.limit) {
        return SHARE_WHOLE;
    }
    let shared = shared_bytes(&range.start, &range.limit);
    let first = eight_bytes(&range.start[shared..]);
    let limit = match range.limit.as_slice() {
        [] => u64::MAX,
        limit => eight_bytes(&limit[shared..]),
    };
    let place = eight_bytes(key.get(shared..).unwrap_or_default()).clamp(first, limit);
    let width = u128::from(limit - first).max(1);
    (u128::from(place - first) * u128::from(SHARE_WHOLE) / width) as u64
}

/// How many leading bytes two keys have in common.
fn shared_bytes(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(a, b)| a == b).count()
}

/// The first eight bytes, ordered like the bytes as far as they go.
fn eight_bytes(bytes: &[u8]) -> u64 {
    let mut padded = [0; 8];
    let count = bytes.len().min(8);
    padded[..count].copy_from_slice(&bytes[..count]);
    u64::from_be_bytes(padded)
}
