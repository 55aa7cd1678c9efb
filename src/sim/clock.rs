//! A node's clocks: offset and running fast or slow, each in its own way.

use super::disk::Chance;
use crate::shard::time::Time;

/// Wall time at the beginning of the virtual world, in Unix milliseconds.
const BEGINNING: u64 = 1_700_000_000_000;

/// A node's clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    mono_offset: u64,
    wall_offset: i64,
    /// In a thousand, faster or slower.
    drift: i64,
}

impl Clock {
    /// Clocks that run off by no more than `drift` in a thousand.
    pub fn new(chance: &mut Chance, drift: u64) -> Clock {
        Clock {
            mono_offset: chance.below(1 << 40),
            wall_offset: chance.below(400) as i64 - 200,
            drift: chance.below(2 * drift + 1) as i64 - drift as i64,
        }
    }

    /// What they read at a moment of virtual time.
    pub fn read(&self, at: u64) -> Time {
        let run = at as i64 + at as i64 / 1000 * self.drift;
        Time {
            mono: self.mono_offset + run as u64,
            wall: (BEGINNING as i64 + run / 1_000_000 + self.wall_offset) as u64,
        }
    }

    /// The wall clock jumps.
    pub fn jump(&mut self, by_ms: i64) {
        self.wall_offset += by_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_never_goes_back_and_keeps_its_bound() {
        for seed in 0..100 {
            let clock = Clock::new(&mut Chance::new(seed), 45);
            let (mut before, begin) = (clock.read(0).mono, clock.read(0).mono);
            for at in (0..60_000_000_000).step_by(777_777_777) {
                let now = clock.read(at).mono;
                assert!(now >= before, "seed {seed}");
                let off = (now - begin).abs_diff(at);
                assert!(off <= at / 1000 * 45, "seed {seed}: off by {off} at {at}");
                before = now;
            }
        }
    }
}
