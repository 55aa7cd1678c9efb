//! How much is asked of a region: a moving average of what its leaders tell.
//!
//! ```text
//! told: n requests in t ms  ─▶  rate += (n/t − rate) × t / (t + memory)
//! ```
//!
//! So a heartbeat that comes early weighs as little as the time that it is about, and what a leader has not counted
//! yet, since it has just begun to lead, is not taken for silence. As long as less was seen than is remembered, it is
//! the plain average.

/// What is older weighs less than half.
const MEMORY_MS: u64 = 10_000;

/// Before that much was seen, nothing is decided by a rate.
const KNOWN_MS: u64 = 5_000;

/// How much is asked of a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Thousandths of a request per second.
    per_second: u64,
    /// How long was counted, since the region has its range.
    seen_ms: u64,
    weight: u64,
}

impl Rate {
    /// Takes in what a leader tells. Below `light` requests per second a region counts for nothing: it can go
    /// anywhere.
    pub fn take(&mut self, requests: u64, interval_ms: u64, light: u64) {
        if interval_ms == 0 {
            return;
        }
        let memory = u128::from(self.seen_ms.min(MEMORY_MS));
        let interval = u128::from(interval_ms);
        let asked = u128::from(requests) * 1_000_000 + u128::from(self.per_second) * memory;
        self.per_second = u64::try_from(asked / (memory + interval)).unwrap_or(u64::MAX >> 16);
        self.seen_ms = self.seen_ms.saturating_add(interval_ms);
        self.weight = match self.per_second < light.saturating_mul(1000) {
            true => 0,
            false => self.per_second.min(u64::MAX >> 16),
        };
    }

    /// The range has changed: what was counted holds until more is told, and then no longer.
    pub fn begin_anew(&mut self) {
        self.seen_ms = 0;
    }

    /// What it weighs where something is evened out, in thousandths of a request per second.
    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// Thousandths of a request per second.
    pub fn per_second(&self) -> u64 {
        self.per_second
    }

    /// Whether enough was seen to decide anything by it.
    pub fn is_known(&self) -> bool {
        self.seen_ms >= KNOWN_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_follows_what_is_told_and_a_short_word_weighs_little() {
        let mut rate = Rate::default();
        let mut told = Vec::new();
        for (requests, interval_ms) in [
            (5_000, 5_000),
            (10_000, 10_000),
            (0, 100),
            (0, 0),
            (0, 10_000),
            (0, 60_000),
            (90_000, 10_000),
        ] {
            rate.take(requests, interval_ms, 10);
            told.push((rate.per_second() / 1000, rate.is_known()));
        }
        let expected = [
            (1000, true),
            (1000, true),
            (990, true),
            (990, true),
            (495, true),
            (70, true),
            (4535, true),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_new_range_is_counted_anew() {
        let mut rate = Rate::default();
        rate.take(10_000, 10_000, 10);
        rate.begin_anew();
        assert_eq!((rate.weight(), rate.is_known()), (1_000_000, false));
        rate.take(30, 100, 10);
        assert_eq!((rate.weight(), rate.is_known()), (300_000, false));
        rate.take(0, 9_900, 10);
        assert_eq!(
            (rate.weight(), rate.is_known()),
            (0, true),
            "3 a second are nothing"
        );
        rate.take(u64::MAX, 1, 10);
        rate.take(u64::MAX, u64::MAX, 10);
    }
}
