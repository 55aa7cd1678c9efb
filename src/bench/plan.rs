//! What is measured, and how.

use std::path::PathBuf;
use std::time::Duration;

use crate::runtime::address::Address;

/// What is spoken with the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// Our own protocol, asked where the key is led
    Native,
    /// What Redis clients speak
    Resp,
}

impl Protocol {
    /// As it is given on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Native => "native",
            Protocol::Resp => "resp",
        }
    }
}

/// What requests do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Workload {
    /// All of them write.
    Put,
    /// All of them read.
    Get,
    /// This part of them reads.
    Mixed(f64),
}

impl Workload {
    /// The part of the requests that read.
    pub fn reads(self) -> f64 {
        match self {
            Workload::Put => 0.0,
            Workload::Get => 1.0,
            Workload::Mixed(reads) => reads,
        }
    }

    /// As it is given on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Put => "put",
            Workload::Get => "get",
            Workload::Mixed(_) => "mixed",
        }
    }
}

/// How many ask, and how often.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Connections.
    pub connections: usize,
    /// Requests under way on each of them at the most.
    pub pipeline: usize,
    /// Requests in a second, whether answers come or not; none: one follows the other.
    pub rate: Option<f64>,
}

/// Whom to measure.
#[derive(Clone, Debug)]
pub enum Target {
    /// Nodes that run already.
    Running(Vec<Address>),
    /// Nodes that are started for this, and are gone afterwards.
    Own {
        /// How many.
        nodes: usize,
        /// Shards of each.
        shards: usize,
        /// Where a directory for them is made.
        directory: PathBuf,
        /// Microseconds that an idle executor spins.
        spin: u64,
        /// Regions that the keys lie in.
        regions: u64,
    },
}

/// Everything that was asked for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whom to measure.
    pub target: Target,
    /// What requests do, one after the other.
    pub workloads: Vec<Workload>,
    /// How many ask, one after the other for each workload.
    pub shapes: Vec<Shape>,
    /// What is spoken.
    pub protocol: Protocol,
    /// Different keys.
    pub keys: u64,
    /// Bytes of a key.
    pub key_size: usize,
    /// Bytes of a value.
    pub value_size: usize,
    /// What is not measured yet.
    pub warmup: Duration,
    /// What is measured.
    pub duration: Duration,
    /// Threads of the generator; none: as fits its cores.
    pub threads: Option<usize>,
    /// Cores of the generator; none: those that the nodes leave.
    pub cores: Vec<usize>,
    /// Whether keys are written before they are read.
    pub load: bool,
    /// Whether one JSON object per line is printed.
    pub json: bool,
}
