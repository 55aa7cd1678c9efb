//! `coracle bench`: what writes and reads take, on nodes started for this or on a cluster that runs.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::bench::plan::{Plan, Protocol, Shape, Target, Workload};
use crate::bench::{self, material::Keys};
use crate::cli::{Exit, Failure};
use crate::runtime::address::Address;
use crate::runtime::borders::REGIONS_MAX;
use crate::shard::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

mod bare; // writes and nothing else
mod log; // the log of one shard

/// Without a target, a node is started in a temporary directory of the current one and removed afterwards. Without
/// a workload and connections, writes and then reads are measured: one at a time, from 64 connections, and from 64
/// with 16 under way on each.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Bench {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    load: Load,
}

/// Parts that are measured alone.
#[derive(Subcommand)]
enum Part {
    /// Measure the log of one shard on this machine's disk
    Log(log::LogBench),
}

/// What requests do.
#[derive(Clone, Copy, ValueEnum)]
enum Work {
    /// All of them write
    Put,
    /// All of them read
    Get,
    /// Some read, some write
    Mixed,
}

/// Whom to ask, and what, and how often.
#[derive(Args)]
struct Load {
    /// Measure nodes that run already
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',')]
    target: Vec<String>,
    /// Nodes to start, each with a replica of everything
    #[arg(long, default_value_t = 1, conflicts_with = "target", value_parser = clap::value_parser!(u16).range(1..=7))]
    nodes: u16,
    /// Shards of each node, one core each; 1 by default, a quarter of the cores on larger machines
    #[arg(long, conflicts_with = "target", value_parser = clap::value_parser!(u16).range(1..=256))]
    shards: Option<u16>,
    /// Regions that the keys lie in on the nodes that are started, as many keys in each
    #[arg(long, default_value_t = 1, conflicts_with = "target", value_parser = clap::value_parser!(u64).range(1..=REGIONS_MAX as u64))]
    regions: u64,
    /// Where a temporary directory for the nodes is made
    #[arg(
        long,
        default_value = ".",
        conflicts_with = "target",
        value_name = "DIR"
    )]
    directory: PathBuf,
    /// Microseconds that the nodes spin before an idle core sleeps
    #[arg(
        long,
        default_value_t = 0,
        conflicts_with = "target",
        value_name = "µs"
    )]
    spin: u64,
    /// What requests do; first put, then get by default
    #[arg(long)]
    workload: Option<Work>,
    /// The part of a mixed workload that reads
    #[arg(long, value_parser = part, value_name = "PART")]
    reads: Option<f64>,
    /// Different keys, chosen by chance
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    keys: u64,
    /// Bytes of a key
    #[arg(long, default_value_t = 16)]
    key_size: usize,
    /// Bytes of a value
    #[arg(long, default_value_t = 256)]
    value_size: usize,
    /// Connections
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: Option<u32>,
    /// Requests under way on each connection at the most; 1 by default, 256 at a fixed rate
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pipeline: Option<u32>,
    /// What is measured for each row, as in 500ms, 10s, 2m
    #[arg(long, default_value = "3s", value_parser = duration)]
    duration: Duration,
    /// What goes before it and does not count
    #[arg(long, default_value = "1s", value_parser = duration)]
    warmup: Duration,
    /// Requests a second, whether answers come or not: latency counts from when a request was to leave
    #[arg(long, value_name = "OPS", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rate: Option<u64>,
    /// What is spoken with the nodes
    #[arg(long, value_enum, default_value_t = Protocol::Native)]
    proto: Protocol,
    /// Threads of the load generator; 2 by default, if it has as many cores
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Cores of the load generator; those that the nodes leave by default
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cores: Vec<usize>,
    /// Do not write the keys before they are read
    #[arg(long)]
    no_load: bool,
    /// One JSON object per line: what holds for all, then one for each row
    #[arg(long)]
    json: bool,
}

/// What is measured where nothing is said: connections, and requests under way on each.
const SURVEY: [(usize, usize); 3] = [(1, 1), (64, 1), (64, 16)];

/// Requests under way at the most, together and in bytes.
const UNDER_WAY_MAX: usize = 1 << 20;
const UNDER_WAY_BYTES_MAX: usize = 1 << 30;

/// The shortest and the longest time that is measured.
const DURATION_MIN: Duration = Duration::from_millis(100);
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

/// Cores for each shard of our own nodes, unless it is said.
const CORES_PER_SHARD: usize = 4;

/// Runs the bench, or the part of it that was asked for.
pub(super) fn run(bench: Bench) -> Result<(), Failure> {
    match bench.part {
        Some(Part::Log(log)) => log::run(log),
        None => bench::run(&bench.load.plan()?),
    }
}

impl Load {
    fn plan(self) -> Result<Plan, Failure> {
        let workloads = self.workloads()?;
        let shapes = self.shapes();
        self.check(&shapes)?;
        let usage = |why: String| Failure::new(Exit::Usage, why);
        let nodes: Result<Vec<Address>, String> = self
            .target
            .iter()
            .map(|node| Address::parse(node))
            .collect();
        let nodes = nodes.map_err(|why| usage(format!("--target: {why}")))?;
        let cores = bench::os::cores().len();
        let target = match nodes.is_empty() {
            false => Target::Running(nodes),
            true => Target::Own {
                nodes: self.nodes.into(),
                shards: self
                    .shards
                    .map_or((cores / CORES_PER_SHARD).max(1), usize::from),
                directory: self.directory,
                spin: self.spin,
                regions: self.regions,
            },
        };
        Ok(Plan {
            target,
            workloads,
            shapes,
            protocol: self.proto,
            keys: self.keys,
            key_size: self.key_size,
            value_size: self.value_size,
            warmup: self.warmup,
            duration: self.duration,
            threads: self.threads.map(usize::from),
            cores: self.cores,
            load: !self.no_load,
            json: self.json,
        })
    }

    fn workloads(&self) -> Result<Vec<Workload>, Failure> {
        if self.reads.is_some() && !matches!(self.workload, Some(Work::Mixed)) {
            let why = "--reads is about --workload mixed only";
            return Err(Failure::new(Exit::Usage, why));
        }
        Ok(match self.workload {
            None => vec![Workload::Put, Workload::Get],
            Some(Work::Put) => vec![Workload::Put],
            Some(Work::Get) => vec![Workload::Get],
            Some(Work::Mixed) => vec![Workload::Mixed(self.reads.unwrap_or(0.95))],
        })
    }

    fn shapes(&self) -> Vec<Shape> {
        let rate = self.rate.map(|rate| rate as f64);
        if self.connections.is_none() && self.pipeline.is_none() && rate.is_none() {
            let shape = |&(connections, pipeline): &(usize, usize)| Shape {
                connections,
                pipeline,
                rate,
            };
            return SURVEY.iter().map(shape).collect();
        }
        let depth = if rate.is_some() { 256 } else { 1 };
        vec![Shape {
            connections: self.connections.unwrap_or(64) as usize,
            pipeline: self.pipeline.unwrap_or(depth) as usize,
            rate,
        }]
    }

    /// What cannot be, and what could.
    fn check(&self, shapes: &[Shape]) -> Result<(), Failure> {
        let usage = |why: String| Err(Failure::new(Exit::Usage, why));
        let keys = Keys {
            count: self.keys,
            size: self.key_size,
        };
        let (key_max, value_max) = (KEY_BYTES_MAX - 1, VALUE_BYTES_MAX);
        if !(4..=key_max).contains(&self.key_size) {
            return usage(format!(
                "--key-size is {}; it must be from 4 to {key_max}",
                self.key_size
            ));
        }
        if !keys.fit() {
            return usage(format!(
                "{} keys do not fit in {} bytes each; a key is a letter and digits",
                self.keys, self.key_size
            ));
        }
        if self.regions > self.keys {
            return usage(format!(
                "--regions is {}, and --keys {}; a region has one key or more",
                self.regions, self.keys
            ));
        }
        if !(1..=value_max).contains(&self.value_size) {
            return usage(format!(
                "--value-size is {}; it must be from 1 to {value_max}",
                self.value_size
            ));
        }
        if !(DURATION_MIN..=DURATION_MAX).contains(&self.duration) || self.warmup > DURATION_MAX {
            return usage("--duration must be from 100ms to 1440m, --warmup up to that".into());
        }
        for shape in shapes {
            let under_way = shape.connections * shape.pipeline;
            let bytes = under_way * (self.value_size + self.key_size);
            if under_way > UNDER_WAY_MAX || bytes > UNDER_WAY_BYTES_MAX {
                return usage(format!(
                    "{} connections with {} requests of {} B each are too much under way at once; at most {UNDER_WAY_MAX} \
                     requests and 1 GiB",
                    shape.connections, shape.pipeline, self.value_size
                ));
            }
        }
        Ok(())
    }
}

/// A part of a whole.
fn part(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(part) if (0.0..=1.0).contains(&part) => Ok(part),
        _ => Err("a part of the whole is wanted, from 0 to 1, as in 0.95".into()),
    }
}

/// A time as people write it.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        _ => f64::NAN,
    };
    let seconds = digits.parse().unwrap_or(f64::NAN) * unit;
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| "a time is wanted, as in 500ms, 10s or 2m".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("3"), Ok(Duration::from_secs(3)));
        for wrong in ["", "s", "-1s", "1h2", "fast"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
