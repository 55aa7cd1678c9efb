//! What to compact next: a pure function of the version.
//!
//! Leveled: a flush is a run of level 0; enough runs are merged into the **base level**, and a level
//! that is over its target hands slices to the next one. Targets are taken from the last level's size
//! upwards, each a tenth of the one below, so nearly all data is in the last level and space stays
//! within about an eighth of the live data; levels above the base are not used.
//!
//! ```text
//! last level 3000 MiB   target: what it holds
//! level 5     300 MiB   target: a tenth of it
//! level 4      30 MiB   base: the first target at or below the base size
//! level 1–3             not used
//! ```
//!
//! A plan larger than its bound is cut to a range of keys: slices make that free, and what is left
//! comes with the next plan. Where nothing overlaps, slices change their level without a merge.

use alloc::rc::Rc;
use alloc::vec::Vec;

use crate::record::{KeyRange, below_limit, compare_limits};
use crate::version::{LEVELS, Run, Slice, Version};

const LAST: usize = LEVELS - 1;

/// When to compact, and how much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PickLimits {
    /// So many runs in level 0 are merged.
    pub level0_runs: usize,
    /// The base level's target is at most this.
    pub base_bytes: u64,
    /// Each level's target is so many times the one above.
    pub ratio: u64,
    /// A plan reads no more, unless a single pair of slices is larger.
    pub plan_bytes_max: u64,
    /// Debt from which writes are slowed, and debt at which they stand still.
    pub debt_soft_bytes: u64,
    /// See there.
    pub debt_hard_bytes: u64,
}

impl Default for PickLimits {
    fn default() -> PickLimits {
        PickLimits {
            level0_runs: 4,
            base_bytes: 256 << 20,
            ratio: 10,
            plan_bytes_max: 1 << 30,
            debt_soft_bytes: 512 << 20,
            debt_hard_bytes: 4 << 30,
        }
    }
}

/// What a plan asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Read the inputs, write their newest records.
    Merge,
    /// Change the level of the inputs as they are.
    Move,
}

/// What to compact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Parts of slices, with their level.
    pub inputs: Vec<(u8, Rc<Slice>)>,
    /// Where the outcome goes.
    pub level: u8,
    /// How.
    pub task: Task,
}

/// The next thing to do, if anything is worth doing.
pub fn pick(version: &Version, limits: &PickLimits) -> Option<Plan> {
    let targets = Targets::of(version, limits);
    // Ties go to the level that is read first.
    let worst = (0..LAST)
        .rev()
        .max_by_key(|level| targets.score(version, limits, *level))?;
    if targets.score(version, limits, worst) >= FULL {
        return match worst {
            0 => from_level0(version, limits, targets.base),
            level => from_level(version, limits, level),
        };
    }
    reclaim(version)
}

/// About how many bytes compaction has to write before it can rest.
pub fn debt(version: &Version, limits: &PickLimits) -> u64 {
    let targets = Targets::of(version, limits);
    let runs = version.level(0).len();
    let excess = runs.saturating_sub(limits.level0_runs - 1) as u64;
    // The share of level 0 beyond what may rest there; it grows run by run.
    let level0 = version.level_bytes(0) * excess / (runs as u64).max(1);
    let deeper = (1..LAST).map(|level| {
        let over = version
            .level_bytes(level)
            .saturating_sub(targets.bytes[level]);
        // What moves down is merged with about half a ratio of what lies there.
        over * (1 + limits.ratio / 2)
    });
    level0 + deeper.sum::<u64>()
}

/// How much to slow writes, in thousandths: zero up to the soft bound, then in a straight line.
pub fn slowdown(debt_bytes: u64, limits: &PickLimits) -> u64 {
    let over = debt_bytes.saturating_sub(limits.debt_soft_bytes);
    let span = limits
        .debt_hard_bytes
        .saturating_sub(limits.debt_soft_bytes)
        .max(1);
    (over.min(span) as u128 * 1000 / u128::from(span)) as u64
}

/// A score of one.
const FULL: u64 = 1000;

/// How large each level should be.
struct Targets {
    base: usize,
    bytes: [u64; LEVELS],
}

impl Targets {
    fn of(version: &Version, limits: &PickLimits) -> Targets {
        let mut base = LAST;
        let mut target = version.level_bytes(LAST);
        while target > limits.base_bytes && base > 1 {
            target /= limits.ratio;
            base -= 1;
        }
        let mut bytes = [0; LEVELS];
        let mut target = target.max(limits.base_bytes / limits.ratio);
        for bytes in &mut bytes[base..] {
            *bytes = target;
            target = target.saturating_mul(limits.ratio);
        }
        Targets { base, bytes }
    }

    /// How full a level is, in thousandths.
    fn score(&self, version: &Version, limits: &PickLimits, level: usize) -> u64 {
        let bytes = version.level_bytes(level);
        match level {
            0 => version.level(0).len() as u64 * FULL / limits.level0_runs as u64,
            // What lies above the base is in the way of level 0, and be it a slice of a few keys, for
            // which the guess is no bytes at all.
            _ if level < self.base && !version.level(level).is_empty() => u64::MAX,
            _ if level < self.base => 0,
            _ => {
                (u128::from(bytes) * u128::from(FULL) / u128::from(self.bytes[level].max(1))) as u64
            }
        }
    }
}

/// All runs of level 0 with what they overlap in the base level.
fn from_level0(version: &Version, limits: &PickLimits, base: usize) -> Option<Plan> {
    let runs = version.level(0);
    let below = version.level(base).first();
    let slices = || runs.iter().flat_map(|run| run.slices());
    let whole = slices().map(|slice| slice.range.clone()).reduce(union)?;
    if !overlap_each_other(runs) && below.is_none_or(|run| run.overlapping(&whole).is_empty()) {
        let inputs = slices().map(|slice| (0, slice.clone())).collect();
        return Some(Plan {
            inputs,
            level: base as u8,
            task: Task::Move,
        });
    }
    let runs: Vec<(u8, &Rc<Run>)> = runs
        .iter()
        .map(|run| (0, run))
        .chain(below.map(|run| (base as u8, run)))
        .collect();
    Some(merge(&runs, whole, limits.plan_bytes_max, base))
}

/// The slice that costs least for what it brings, with what it overlaps in the next level.
fn from_level(version: &Version, limits: &PickLimits, level: usize) -> Option<Plan> {
    let run = version.level(level).first()?;
    let below = version.level(level + 1).first();
    let cost = |slice: &Slice| {
        let overlap = below.map_or(0, |run| run.bytes_in(&slice.range));
        let cost = u128::from(overlap) * 1000 / u128::from(slice.bytes.max(1));
        // Deletes free what they hide only when they arrive below.
        let meta = &slice.table.meta;
        let deleting = meta.range_tombstones > 0 || meta.deletes * 2 >= meta.entries.max(1);
        if deleting { cost / 2 } else { cost }
    };
    let slice = run.slices().iter().min_by_key(|slice| cost(slice))?;
    let next = level + 1;
    if below.is_none_or(|run| run.overlapping(&slice.range).is_empty()) {
        let inputs = Vec::from([(level as u8, slice.clone())]);
        return Some(Plan {
            inputs,
            level: next as u8,
            task: Task::Move,
        });
    }
    let runs: Vec<(u8, &Rc<Run>)> = [(level as u8, run)]
        .into_iter()
        .chain(below.map(|run| (next as u8, run)))
        .collect();
    Some(merge(
        &runs,
        slice.range.clone(),
        limits.plan_bytes_max,
        next,
    ))
}

/// A slice that shows less than half of its file, written anew: cuts leave the rest of the file behind.
fn reclaim(version: &Version) -> Option<Plan> {
    let wasted = |slice: &Slice| slice.table.meta.file_bytes.saturating_sub(slice.bytes);
    let (level, slice) = version
        .slices()
        .filter(|(level, slice)| *level > 0 && slice.bytes < slice.table.meta.file_bytes / 2)
        .max_by_key(|(_, slice)| wasted(slice))?;
    let inputs = Vec::from([(level as u8, slice.clone())]);
    Some(Plan {
        inputs,
        level: level as u8,
        task: Task::Merge,
    })
}

/// Everything of the runs in a range, which is cut where the plan grows too large.
fn merge(runs: &[(u8, &Rc<Run>)], range: KeyRange, bytes_max: u64, level: usize) -> Plan {
    let range = bounded(runs, range, bytes_max);
    let mut inputs = Vec::new();
    for (level, run) in runs {
        for slice in run.overlapping(&range) {
            let part = if range.covers(&slice.range) {
                slice.clone()
            } else {
                let both = range.intersection(&slice.range);
                Rc::new(Slice::part(slice.table.clone(), &both))
            };
            inputs.push((*level, part));
        }
    }
    Plan {
        inputs,
        level: level as u8,
        task: Task::Merge,
    }
}

/// The longest beginning of a range, up to where some slice begins, that stays within the bytes.
fn bounded(runs: &[(u8, &Rc<Run>)], range: KeyRange, bytes_max: u64) -> KeyRange {
    let bytes_in = |range: &KeyRange| runs.iter().map(|(_, run)| run.bytes_in(range)).sum::<u64>();
    if bytes_in(&range) <= bytes_max {
        return range;
    }
    let mut cuts: Vec<&[u8]> = runs
        .iter()
        .flat_map(|(_, run)| run.overlapping(&range))
        .map(|slice| slice.range.start.as_slice())
        .filter(|start| *start > range.start.as_slice() && below_limit(start, &range.limit))
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    let upto = |limit: &[u8]| KeyRange::new(&range.start, limit);
    let fitting = cuts.partition_point(|cut| bytes_in(&upto(cut)) <= bytes_max);
    match cuts.get(fitting.saturating_sub(1)) {
        Some(cut) => upto(cut),
        None => range,
    }
}

fn overlap_each_other(runs: &[Rc<Run>]) -> bool {
    runs.iter().enumerate().any(|(position, run)| {
        let others = &runs[position + 1..];
        run.slices().iter().any(|slice| {
            others
                .iter()
                .any(|other| !other.overlapping(&slice.range).is_empty())
        })
    })
}

/// The least range over both.
fn union(left: KeyRange, right: KeyRange) -> KeyRange {
    let limit = if compare_limits(&left.limit, &right.limit).is_lt() {
        right.limit
    } else {
        left.limit
    };
    KeyRange {
        start: left.start.min(right.start),
        limit,
    }
}
