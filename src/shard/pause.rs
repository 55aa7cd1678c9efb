//! What splits come to on a shard, and how long they hold writes.

/// Why regions were split; the order in which they are counted.
pub const CAUSES: [&str; 4] = ["asked", "bytes", "keys", "load"];

/// Splits of regions that are led here, since the shard started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SplitFigures {
    /// That were begun, by cause.
    pub begun: [u64; 4],
    /// That took effect.
    pub done: u64,
    /// That were given up before anything was proposed.
    pub failed: u64,
    /// How long writes of their regions waited for them.
    pub held: Pauses,
}

/// Pauses in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pauses {
    /// How many.
    pub count: u64,
    /// The last one.
    pub last: u64,
    /// The longest one.
    pub longest: u64,
    /// All of them together.
    pub sum: u64,
}

impl Pauses {
    /// One more.
    pub fn add(&mut self, nanos: u64) {
        self.count += 1;
        self.last = nanos;
        self.longest = self.longest.max(nanos);
        self.sum += nanos;
    }
}
