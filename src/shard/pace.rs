//! How fast snapshots leave a shard: so many bytes a second, all of them together.
//!
//! Every tick brings its share, and what one tick leaves over is not kept: an idle shard saves nothing up for
//! a burst. A piece goes whole, so the last one of a tick may be paid for by the ticks behind it. Its receiver
//! waits as it would for a slow link.

use super::limits::Limits;

/// What may still leave.
#[derive(Debug, Default)]
pub struct Pace {
    /// Bytes; less than none: what is still to be paid for.
    credit: i64,
}

impl Pace {
    /// One tick.
    pub fn tick(&mut self, limits: &Limits) {
        let share = u128::from(limits.snapshot_bytes_per_second) * u128::from(limits.tick);
        let share = (share / 1_000_000_000).max(1) as i64;
        self.credit = self.credit.min(0) + share;
    }

    /// Whether a piece may leave now.
    pub fn allows(&self, limits: &Limits) -> bool {
        limits.snapshot_bytes_per_second == 0 || self.credit > 0
    }

    /// A piece of so many bytes leaves.
    pub fn spend(&mut self, limits: &Limits, bytes: usize) {
        if limits.snapshot_bytes_per_second > 0 {
            self.credit -= bytes as i64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(rate: u64) -> Limits {
        Limits {
            snapshot_bytes_per_second: rate,
            ..Limits::DEFAULT
        }
    }

    /// Bytes that leave in so many ticks, in pieces of this size, by whoever always has some.
    fn leave(rate: u64, ticks: u64, piece: usize) -> u64 {
        let (limits, mut pace, mut left) = (limits(rate), Pace::default(), 0);
        for _ in 0..ticks {
            pace.tick(&limits);
            while pace.allows(&limits) {
                pace.spend(&limits, piece);
                left += piece as u64;
            }
        }
        left
    }

    #[test]
    fn no_more_leaves_than_may_whatever_the_pieces() {
        for piece in [1, 1000, 300_000] {
            let left = leave(100_000, 200, piece);
            let may = 100_000 * 200 / 20;
            assert!(left >= may - piece as u64, "{left} in pieces of {piece}");
            assert!(left <= may + piece as u64, "{left} in pieces of {piece}");
        }
    }

    #[test]
    fn idle_ticks_save_nothing_up() {
        let (limits, mut pace) = (limits(100_000), Pace::default());
        (0..1000).for_each(|_| pace.tick(&limits));
        pace.spend(&limits, 5000);
        assert!(!pace.allows(&limits), "a tick's share is gone");
        pace.tick(&limits);
        assert!(pace.allows(&limits));
    }

    #[test]
    fn without_a_rate_everything_leaves() {
        let (limits, mut pace) = (limits(0), Pace::default());
        pace.spend(&limits, 1 << 30);
        assert!(pace.allows(&limits));
    }
}
