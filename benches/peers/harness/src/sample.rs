//! What one run of one side of a cell showed.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{CpuMeter, Latency, Recorder};

/// What one run of one side of a cell showed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// How many operations were done.
    pub operations: u64,
    /// How many bytes of payload they moved.
    pub bytes: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The percentiles of single operations, or of whatever the cell says.
    pub latency: Latency,
    /// CPU of the measuring thread, in seconds.
    pub thread_cpu_seconds: f64,
    /// CPU of all threads of the process, in seconds.
    pub process_cpu_seconds: f64,
    /// CPU that others used meanwhile, in cores.
    pub foreign_cores: f64,
    /// Other figures of this run, by name (amplifications, cache hits, memory).
    pub figures: BTreeMap<String, f64>,
}

impl Sample {
    /// Operations per second.
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.seconds
    }

    /// Megabytes (of 10^6 bytes) per second.
    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds
    }

    /// CPU of the whole process per operation, in nanoseconds.
    pub fn cpu_nanos_per_operation(&self) -> f64 {
        self.process_cpu_seconds * 1e9 / self.operations as f64
    }

    /// Adds a figure of this run.
    pub fn with_figure(mut self, name: &str, value: f64) -> Self {
        self.figures.insert(name.into(), value);
        self
    }
}

/// Takes a [`Sample`]: start it, do the work, stop it.
pub struct Meter {
    cpu: CpuMeter,
    start: Instant,
}

impl Meter {
    /// Begins a run.
    pub fn start() -> Self {
        let cpu = CpuMeter::start();
        Self {
            cpu,
            start: Instant::now(),
        }
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Ends the run.
    pub fn stop(self, operations: u64, bytes: u64, recorder: &Recorder) -> Sample {
        let seconds = self.start.elapsed().as_secs_f64();
        Sample {
            operations,
            bytes,
            seconds,
            latency: recorder.latency(),
            thread_cpu_seconds: self.cpu.thread().as_secs_f64(),
            process_cpu_seconds: self.cpu.process().as_secs_f64(),
            foreign_cores: self.cpu.foreign_cores(),
            figures: BTreeMap::new(),
        }
    }
}
