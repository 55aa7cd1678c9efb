//! What a person or a program reads.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::generator::Stretch;
use super::plan::{Shape, Workload};
use super::tally::Kind;

/// What more sends than these in a hundred being late makes worth a note.
const LATE_PERCENT: f64 = 1.0;

/// What is to be known before a table is believed: the most that others used, in cores, and the cores there are.
pub fn last_words(foreign: f64, own_nodes: bool, cores: usize) -> String {
    let mut text = String::from("\nnodes, client and others: the cores that each of them used");
    if own_nodes && foreign > FOREIGN_CORES {
        text += &format!(
            "\nothers used up to {foreign:.1} cores meanwhile: run it again when they are quiet"
        );
    }
    if own_nodes && cores < CORES_MIN {
        text += &format!("\nwith fewer than {CORES_MIN} cores these figures compare with nothing");
    }
    text
}

/// With fewer cores nodes and client are in each other's way.
const CORES_MIN: usize = 4;

/// Foreign work in cores that is worth a note.
const FOREIGN_CORES: f64 = 0.3;

/// What stands above the columns.
const HEAD: &str = "     connections × depth     ops/s   MB/s      p50      p90      p99    p99.9      max    nodes client others";

/// What holds for all rows.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Whom the bench asks, in words.
    pub target: String,
    /// How writes become durable, if it is known.
    pub durability: Option<&'static str>,
    /// Replicas of every region.
    pub replicas: usize,
    /// Cores of the nodes, if they are ours.
    pub node_cores: Vec<usize>,
    /// Cores of the generator.
    pub client_cores: Vec<usize>,
    /// Threads of the generator.
    pub threads: usize,
    /// What is spoken.
    pub protocol: &'static str,
    /// Different keys.
    pub keys: u64,
    /// Bytes of a key.
    pub key_size: usize,
    /// Bytes of a value.
    pub value_size: usize,
    /// Seconds that are measured for each row.
    pub seconds: f64,
}

impl Setting {
    /// As one JSON object.
    pub fn json(&self) -> Value {
        json!({
            "target": self.target,
            "durability": self.durability,
            "replicas": self.replicas,
            "node_cores": self.node_cores,
            "client_cores": self.client_cores,
            "client_threads": self.threads,
            "proto": self.protocol,
            "keys": self.keys,
            "key_size": self.key_size,
            "value_size": self.value_size,
            "seconds": self.seconds,
            "version": env!("CARGO_PKG_VERSION"),
        })
    }

    /// As lines above a table.
    pub fn text(&self) -> String {
        let replicas = match self.replicas {
            0 => String::from("replicated as the node has it"),
            1 => String::from("1 replica"),
            replicas => format!("{replicas} replicas"),
        };
        let durable = match self.durability {
            Some(how) => format!("every write {how} before it counts"),
            None => "writes as durable as the nodes make them".into(),
        };
        format!(
            "{}; {replicas}, {durable}\n{} keys of {} B, values of {} B that do not compress; {} by {} on {}; {} s a row\n\n{HEAD}",
            self.target,
            self.keys,
            self.key_size,
            self.value_size,
            self.protocol,
            counted(self.threads, "thread"),
            cores(&self.client_cores),
            self.seconds,
        )
    }
}

/// Cores in words.
pub fn cores(cores: &[usize]) -> String {
    let list: Vec<String> = cores.iter().map(usize::to_string).collect();
    match cores.len() {
        1 => format!("core {}", list[0]),
        _ => format!("cores {}", list.join(",")),
    }
}

/// How many of something, in words.
pub fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

/// One row of a table: requests of one kind in one stretch.
pub struct Row<'a> {
    /// What was to be done.
    pub workload: Workload,
    /// By how many.
    pub shape: Shape,
    /// What it came to.
    pub stretch: &'a Stretch,
    /// Whether the row is about reads.
    pub reads: bool,
    /// Bytes of a value.
    pub value_size: usize,
    /// Whether the nodes are ours.
    pub own_nodes: bool,
}

impl Row<'_> {
    fn kind(&self) -> &Kind {
        match self.reads {
            true => &self.stretch.tally.reads,
            false => &self.stretch.tally.writes,
        }
    }

    fn per_second(&self) -> f64 {
        self.kind().answered as f64 / self.stretch.seconds
    }

    fn megabytes(&self) -> f64 {
        self.per_second() * self.value_size as f64 / 1e6
    }

    fn late_percent(&self) -> f64 {
        let tally = &self.stretch.tally;
        100.0 * tally.late as f64 / tally.begun.max(1) as f64
    }

    /// As one JSON object.
    pub fn json(&self) -> Value {
        let (kind, stretch) = (self.kind(), self.stretch);
        let is_paced = self.shape.rate.is_some();
        json!({
            "workload": self.workload.name(),
            "reads": self.workload.reads(),
            "op": if self.reads { "get" } else { "put" },
            "connections": self.shape.connections,
            "pipeline": self.shape.pipeline,
            "rate": self.shape.rate,
            "count": kind.latency.len(),
            "ops_per_second": self.per_second(),
            "mb_per_second": self.megabytes(),
            "latency_us": micros(&kind.latency),
            "service_us": is_paced.then(|| micros(&kind.service)),
            "late_percent": is_paced.then(|| self.late_percent()),
            "errors": stretch.tally.errors,
            "passed_on": stretch.tally.passed_on,
            "client_bound": stretch.is_client_bound,
            "cores_used": {
                "nodes": self.own_nodes.then_some(stretch.used.nodes),
                "client": stretch.used.own,
                "others": stretch.used.foreign,
            },
        })
    }

    /// As a line of a table.
    pub fn text(&self) -> String {
        let (kind, used) = (self.kind(), self.stretch.used);
        let told = |nanos| match kind.latency.is_empty() {
            true => "-".into(),
            false => duration(nanos),
        };
        let at = |quantile| told(kind.latency.value_at_quantile(quantile));
        let name = if self.reads { "get" } else { "put" };
        let shape = match self.shape.rate {
            None => format!("{} × {}", self.shape.connections, self.shape.pipeline),
            Some(rate) => format!("{} at {rate}/s", self.shape.connections),
        };
        let nodes = match self.own_nodes {
            true => format!("{:.2}", used.nodes),
            false => "-".into(),
        };
        format!(
            "{name} {shape:>20} {:>9.0} {:>6.1} {:>8} {:>8} {:>8} {:>8} {:>8} {nodes:>8} {:>6.2} {:>6.2}",
            self.per_second(),
            self.megabytes(),
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            told(kind.latency.max()),
            used.own,
            used.foreign,
        )
    }

    /// What is to be known before the row is believed.
    pub fn notes(&self) -> Vec<String> {
        let (tally, mut notes) = (&self.stretch.tally, Vec::new());
        if !tally.errors.is_empty() {
            notes.push(format!("errors: {}", errors(&tally.errors)));
        }
        if tally.passed_on > 0 {
            notes.push(format!(
                "{} requests were refused where their key was led when the bench began, and passed on",
                tally.passed_on
            ));
        }
        if self.stretch.is_client_bound {
            notes.push(
                "client-bound: the generator used more than 90 % of its cores; the nodes could do more"
                    .into(),
            );
        }
        if self.shape.rate.is_some() && self.late_percent() > LATE_PERCENT {
            notes.push(format!(
                "{:.1} % of the requests left more than 1 ms late, which their latency includes; the rate is too \
                 high for the nodes or the client",
                self.late_percent()
            ));
        }
        notes
    }
}

fn micros(histogram: &Histogram<u64>) -> Value {
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    json!({
        "mean": histogram.mean() / 1e3,
        "p50": at(0.5),
        "p90": at(0.9),
        "p99": at(0.99),
        "p999": at(0.999),
        "max": histogram.max() as f64 / 1e3,
    })
}

fn errors(errors: &BTreeMap<String, u64>) -> String {
    let named = errors.iter().map(|(name, count)| format!("{count} {name}"));
    named.collect::<Vec<_>>().join(", ")
}

/// Nanoseconds with three digits.
fn duration(nanos: u64) -> String {
    let (value, unit) = match nanos {
        0..1_000_000 => (nanos as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (nanos as f64 / 1e6, "ms"),
        _ => (nanos as f64 / 1e9, "s"),
    };
    match value {
        value if value < 10.0 => format!("{value:.2} {unit}"),
        value if value < 100.0 => format!("{value:.1} {unit}"),
        value => format!("{value:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits() {
        for (nanos, text) in [
            (850, "0.85 µs"),
            (12_345, "12.3 µs"),
            (123_456, "123 µs"),
            (1_500_000, "1.50 ms"),
            (2_000_000_000, "2.00 s"),
        ] {
            assert_eq!(duration(nanos), text);
        }
    }
}
