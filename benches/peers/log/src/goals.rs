//! What the log should reach, judged on what was measured; what was not measured is not judged.

use crate::append::{PEER, cell_name};
use crate::ours::OURS;
use crate::recovery::{self, READ};
use crate::settings::Arguments;
use crate::shape::{Shape, shapes};
use coracle_bench_harness::{Cell, Goal, Report, Sample};

/// The side that is the ceiling.
const BARE: &str = "bare loop";

/// Judges everything and prints the table.
pub fn print(arguments: &Arguments, report: &mut Report) {
    for shape in shapes(arguments.quick) {
        judge_shape(report, shape);
    }
    for batch_entries in [1, 16, 64] {
        judge_regions(report, batch_entries);
    }
    judge_recovery(report);
    println!("\n## Goals\n\n{}", report.goals_table());
}

fn judge_shape(report: &mut Report, shape: Shape) {
    let rate = Sample::rate;
    for (in_flight, wanted) in [(1, 0.9), (16, 0.85)] {
        let cell = cell_name(shape, in_flight);
        judge_ratio(report, &cell, BARE, "batches/s", rate, wanted, false);
    }
    if shape.batch_entries == 1 {
        return;
    }
    let alone = if shape.batch_entries == 16 { 1.4 } else { 1.7 };
    for (in_flight, wanted) in [(1, alone), (4, 3.0)] {
        let cell = cell_name(shape, in_flight);
        judge_ratio(report, &cell, PEER, "batches/s", rate, wanted, false);
    }
    let cell = cell_name(shape, 1);
    if shape.batch_entries == 64 {
        let cpu = Sample::cpu_nanos_per_operation;
        judge_ratio(report, &cell, PEER, "CPU a batch", cpu, 0.5, true);
    }
    judge_tail(report, &cell);
}

/// The ratio of a figure, round by round.
fn judge_ratio(
    report: &mut Report,
    cell: &str,
    over: &str,
    what: &str,
    figure: impl Fn(&Sample) -> f64,
    wanted: f64,
    at_most: bool,
) {
    let ratio = find(report, cell).and_then(|cell| cell.ratio(OURS, over, figure));
    if let Some(ratio) = ratio {
        let what = format!("{what} over {over}");
        judge(report, cell, &what, ratio.median, wanted, at_most);
    }
}

/// Our 99th percentile over the peer's median.
fn judge_tail(report: &mut Report, cell: &str) {
    let found = find(report, cell);
    let sides = found.and_then(|cell| Some((cell.side(OURS)?, cell.side(PEER)?)));
    if let Some((ours, peer)) = sides {
        let tail = ours.median(|sample| sample.latency.p99_nanos as f64);
        let middle = peer.median(|sample| sample.latency.p50_nanos as f64);
        let what = format!("p99 over the p50 of {PEER}");
        judge(report, cell, &what, tail / middle, 1.5, true);
    }
}

/// Ten thousand regions over one: as fast, up to what the rounds differ by.
fn judge_regions(report: &mut Report, batch_entries: usize) {
    let cell = |regions| {
        let shape = Shape {
            entry_bytes: 256,
            regions,
            batch_entries,
        };
        cell_name(shape, 1)
    };
    let rate = |report: &Report, regions| {
        let cell = find(report, &cell(regions))?;
        Some(cell.side(OURS)?.median(Sample::rate))
    };
    if let (Some(many), Some(one)) = (rate(report, 10_000), rate(report, 1)) {
        let what = "batches/s over those with one region";
        judge(report, &cell(10_000), what, many / one, 0.95, false);
    }
}

fn judge_recovery(report: &mut Report) {
    let rate = Sample::rate;
    judge_ratio(report, recovery::CELL, READ, "MB/s", rate, 0.8, false);
    let ours = find(report, recovery::CELL).and_then(|cell| cell.side(OURS));
    let bytes = ours.map(|side| {
        side.median(|sample| {
            sample
                .figures
                .get(recovery::MEMORY)
                .copied()
                .unwrap_or(f64::NAN)
        })
    });
    if let Some(bytes) = bytes {
        judge(report, recovery::CELL, recovery::MEMORY, bytes, 32.0, true);
    }
}

fn find<'a>(report: &'a Report, name: &str) -> Option<&'a Cell> {
    report.cells.iter().find(|cell| cell.name == name)
}

fn judge(report: &mut Report, cell: &str, what: &str, measured: f64, wanted: f64, at_most: bool) {
    report.goals.push(Goal {
        cell: cell.to_string(),
        what: what.to_string(),
        measured,
        wanted,
        at_most,
    });
}
