//! The clocks of the machine, as a shard is told of them.
#![expect(clippy::disallowed_methods, reason = "this is where clocks are read")]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::shard::time::Time;

/// Both clocks of a shard, from its start on.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that begins now.
    pub fn begin() -> Clock {
        Clock {
            start: Instant::now(),
        }
    }

    /// Both readings.
    pub fn now(&self) -> Time {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        Time {
            mono: self.mono(),
            wall: wall.map_or(0, |since| since.as_millis() as u64),
        }
    }

    /// Nanoseconds since the start, and some: zero is never a time that something happened.
    pub fn mono(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64 + 1
    }
}
