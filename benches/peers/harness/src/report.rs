//! Tables for people, JSON for programs.

use std::{fmt::Write, path::Path};

use serde::Serialize;

use crate::{Cell, Goal, Machine, Sample, Wanted};

/// Everything that a bench has found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where it was found.
    pub machine: Machine,
    /// The settings that all sides share, in words.
    pub settings: Vec<String>,
    /// What was measured.
    pub cells: Vec<Cell>,
    /// How it compares with what was wanted.
    pub goals: Vec<Goal>,
}

impl Report {
    /// An empty report.
    pub fn new(machine: Machine) -> Self {
        Self {
            machine,
            settings: Vec::new(),
            cells: Vec::new(),
            goals: Vec::new(),
        }
    }

    /// Adds a cell and returns its table, to be shown while the rest still runs. `first` is the side
    /// whose ratios to the others are of interest.
    pub fn add(&mut self, cell: Cell, first: &str) -> String {
        let table = table(&cell, first);
        self.cells.push(cell);
        table
    }

    /// Judges the ratio of a figure between two sides of a cell that was measured; does nothing for one
    /// that was not.
    pub fn want(
        &mut self,
        cell: &str,
        (side, over): (&str, &str),
        what: &str,
        wanted: Wanted,
        figure: impl Fn(&Sample) -> f64,
    ) {
        let ratio = self
            .cell(cell)
            .and_then(|cell| cell.ratio(side, over, figure));
        if let Some(ratio) = ratio {
            self.judge(cell, format!("{what} over {over}"), ratio.median, wanted);
        }
    }

    /// Judges a figure of one side of a cell by itself.
    pub fn want_figure(&mut self, cell: &str, side: &str, figure: &str, wanted: Wanted) {
        let value = |sample: &Sample| sample.figures.get(figure).copied().unwrap_or(f64::NAN);
        let median = self
            .cell(cell)
            .and_then(|cell| Some(cell.side(side)?.median(value)));
        if let Some(median) = median.filter(|median| median.is_finite()) {
            self.judge(cell, format!("{figure} of {side}"), median, wanted);
        }
    }

    fn cell(&self, name: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.name == name)
    }

    fn judge(&mut self, cell: &str, what: String, measured: f64, wanted: Wanted) {
        let (wanted, at_most) = match wanted {
            Wanted::AtLeast(least) => (least, false),
            Wanted::AtMost(most) => (most, true),
        };
        self.goals.push(Goal {
            cell: cell.into(),
            what,
            measured,
            wanted,
            at_most,
        });
    }

    /// The goals as a table.
    pub fn goals_table(&self) -> String {
        let mut text =
            String::from("| cell | goal | wanted | measured | |\n|---|---|---|---|---|\n");
        for goal in &self.goals {
            let sign = if goal.at_most { "≤" } else { "≥" };
            let verdict = if goal.met() { "met" } else { "MISSED" };
            let (wanted, measured) = (number(goal.wanted), number(goal.measured));
            writeln!(
                text,
                "| {} | {} | {sign} {wanted} | {measured} | {verdict} |",
                goal.cell, goal.what
            )
            .expect("a string takes all");
        }
        text
    }

    /// Writes all samples as JSON.
    pub fn write_json(&self, path: &Path) -> std::io::Result<()> {
        let text = serde_json::to_string_pretty(self).expect("numbers and strings");
        std::fs::write(path, text + "\n")
    }
}

/// A cell as a table in Markdown: medians, quartiles of the rate, and of the ratios of `first`.
fn table(cell: &Cell, first: &str) -> String {
    let rounds = cell
        .sides
        .iter()
        .map(|side| side.samples.len())
        .max()
        .unwrap_or(0);
    let mut text = format!("\n### {} ({rounds} rounds)\n\n", cell.name);
    text += "| | ops/s (quartiles) | MB/s | p50 | p99 | p99.9 | max | CPU/op | foreign cores | ";
    text += &format!(
        "{first} is × as fast (quartiles) | figures |\n|---|---|---|---|---|---|---|---|---|---|---|\n"
    );
    for side in &cell.sides {
        let rate = side.spread(Sample::rate);
        let latency = |pick: fn(&Sample) -> u64| nanos(side.median(|sample| pick(sample) as f64));
        let ratio = match cell.ratio(first, &side.name, Sample::rate) {
            Some(ratio) if side.name != first => format!(
                "**{}** ({}–{})",
                number(ratio.median),
                number(ratio.low),
                number(ratio.high)
            ),
            _ => String::new(),
        };
        let names: std::collections::BTreeSet<&String> = side
            .samples
            .iter()
            .flat_map(|sample| sample.figures.keys())
            .collect();
        let figures: Vec<String> = names
            .iter()
            .map(|&name| {
                let value = |sample: &Sample| sample.figures.get(name).copied().unwrap_or(f64::NAN);
                format!("{name} {}", number(side.median(value)))
            })
            .collect();
        writeln!(
            text,
            "| {} | {} ({}–{}) | {} | {} | {} | {} | {} | {} | {:.2} | {ratio} | {} |",
            side.name,
            count(rate.median),
            count(rate.low),
            count(rate.high),
            number(side.median(Sample::megabytes_per_second)),
            latency(|sample| sample.latency.p50_nanos),
            latency(|sample| sample.latency.p99_nanos),
            latency(|sample| sample.latency.p999_nanos),
            latency(|sample| sample.latency.max_nanos),
            nanos(side.median(Sample::cpu_nanos_per_operation)),
            side.median(|sample| sample.foreign_cores),
            figures.join(", ")
        )
        .expect("a string takes all");
    }
    text
}

/// Three significant digits.
fn number(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => "–".into(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A large number with its unit.
fn count(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => "–".into(),
        size if size >= 1e6 => number(value / 1e6) + " M",
        size if size >= 1e3 => number(value / 1e3) + " k",
        _ => number(value),
    }
}

/// A duration with its unit.
fn nanos(value: f64) -> String {
    match value {
        size if !size.is_finite() => "–".into(),
        size if size >= 1e9 => number(value / 1e9) + " s",
        size if size >= 1e6 => number(value / 1e6) + " ms",
        size if size >= 1e3 => number(value / 1e3) + " µs",
        _ => number(value) + " ns",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_units() {
        assert_eq!(count(1_234_567.0), "1.23 M");
        assert_eq!(count(45_600.0), "45.6 k");
        assert_eq!(nanos(999.0), "999 ns");
        assert_eq!(nanos(2_500_000.0), "2.50 ms");
        assert_eq!(nanos(f64::NAN), "–");
    }
}
