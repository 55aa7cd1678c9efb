//! What was counted: by one thread, then by all of them together.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

/// Latencies are kept up to ten minutes; longer ones count as that.
const LONGEST_NANOS: u64 = 600_000_000_000;

/// Requests of one kind.
#[derive(Clone, Debug)]
pub struct Kind {
    /// From when a request was to leave to its answer, in nanoseconds: those that were to leave in the time
    /// that is measured.
    pub latency: Histogram<u64>,
    /// From when it left.
    pub service: Histogram<u64>,
    /// Answers that came in the time that is measured.
    pub answered: u64,
}

impl Default for Kind {
    fn default() -> Kind {
        let histogram =
            || Histogram::new_with_bounds(1, LONGEST_NANOS, 3).expect("bounds that fit");
        Kind {
            latency: histogram(),
            service: histogram(),
            answered: 0,
        }
    }
}

impl Kind {
    fn add(&mut self, other: &Kind) {
        let fits = "the bounds are the same";
        self.latency.add(&other.latency).expect(fits);
        self.service.add(&other.service).expect(fits);
        self.answered += other.answered;
    }
}

/// Everything that was counted.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Reads.
    pub reads: Kind,
    /// Writes.
    pub writes: Kind,
    /// Requests that were not done, by the name of the error.
    pub errors: BTreeMap<String, u64>,
    /// Requests that were passed on by a node that did not lead their key.
    pub passed_on: u64,
    /// Requests that were to leave in the time that is measured.
    pub begun: u64,
    /// Those of them that left more than a millisecond late.
    pub late: u64,
    /// CPU time of each thread in the time that is measured.
    pub cpu: Vec<Duration>,
}

impl Tally {
    /// One more error of this name.
    pub fn fail(&mut self, name: &str, count: u64) {
        match self.errors.get_mut(name) {
            Some(failed) => *failed += count,
            None if count > 0 => drop(self.errors.insert(name.into(), count)),
            None => {}
        }
    }

    /// Adds what another thread has counted.
    pub fn add(&mut self, other: &Tally) {
        self.reads.add(&other.reads);
        self.writes.add(&other.writes);
        for (name, count) in &other.errors {
            self.fail(name, *count);
        }
        self.passed_on += other.passed_on;
        self.begun += other.begun;
        self.late += other.late;
        self.cpu.extend(&other.cpu);
    }
}
