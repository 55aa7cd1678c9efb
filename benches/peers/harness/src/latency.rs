//! Percentiles of durations, in nanoseconds.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Collects durations with three significant digits, from a nanosecond to minutes.
pub struct Recorder {
    histogram: Histogram<u64>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            histogram: Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("fixed bounds"),
        }
    }
}

impl Recorder {
    /// Adds one duration.
    #[inline]
    pub fn record(&mut self, duration: Duration) {
        self.histogram.saturating_record(duration.as_nanos() as u64);
    }

    /// Adds what another one has collected.
    pub fn merge(&mut self, other: &Recorder) {
        self.histogram
            .add(&other.histogram)
            .expect("the bounds are the same");
    }

    /// The percentiles of what was collected.
    pub fn latency(&self) -> Latency {
        let at = |quantile| self.histogram.value_at_quantile(quantile);
        Latency {
            count: self.histogram.len(),
            p50_nanos: at(0.5),
            p99_nanos: at(0.99),
            p999_nanos: at(0.999),
            max_nanos: self.histogram.max(),
        }
    }
}

/// The percentiles of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Of how many durations.
    pub count: u64,
    /// Half were at most this long.
    pub p50_nanos: u64,
    /// 99 % were at most this long.
    pub p99_nanos: u64,
    /// 99.9 % were at most this long.
    pub p999_nanos: u64,
    /// The longest.
    pub max_nanos: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let (mut low, mut high) = (Recorder::default(), Recorder::default());
        (1..=500).for_each(|micros| low.record(Duration::from_micros(micros)));
        (501..=1000).for_each(|micros| high.record(Duration::from_micros(micros)));
        low.merge(&high);
        let latency = low.latency();
        assert_eq!(latency.count, 1000);
        let near = |nanos: u64, micros: u64| nanos.abs_diff(micros * 1000) <= micros * 2;
        assert!(near(latency.p50_nanos, 500), "{latency:?}");
        assert!(near(latency.p99_nanos, 990), "{latency:?}");
        assert!(near(latency.p999_nanos, 999), "{latency:?}");
        assert!(near(latency.max_nanos, 1000), "{latency:?}");
    }
}
