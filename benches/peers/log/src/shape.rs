//! What is measured: the shapes of the load, and which of them a run takes.
//!
//! The full cross product of sizes, regions, batches and depths would take an hour. A run takes a
//! star instead: every value of every dimension, and every cell that a goal speaks of.

use std::fmt;

/// One shape of load: what a batch is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The payload of an entry.
    pub entry_bytes: usize,
    /// Over how many regions the entries go, round robin.
    pub regions: usize,
    /// How many entries one durable batch holds.
    pub batch_entries: usize,
}

impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(
            formatter,
            "{}B/{}r/{}e",
            self.entry_bytes, self.regions, self.batch_entries
        )
    }
}

/// How many batches are under way at once.
pub const DEPTHS: [usize; 3] = [1, 4, 16];

/// The shapes of a run, in order of their importance to it.
pub fn shapes(quick: bool) -> Vec<Shape> {
    let shape = |entry_bytes, regions, batch_entries| Shape {
        entry_bytes,
        regions,
        batch_entries,
    };
    if quick {
        return vec![
            shape(256, 100, 1),
            shape(256, 100, 16),
            shape(256, 100, 64),
            shape(4096, 100, 64),
            shape(256, 10_000, 64),
        ];
    }
    let mut shapes = Vec::new();
    for batch_entries in [1, 16, 64] {
        for entry_bytes in [16, 256, 1024, 4096] {
            shapes.push(shape(entry_bytes, 100, batch_entries));
        }
        for regions in [1, 10_000] {
            shapes.push(shape(256, regions, batch_entries));
        }
    }
    shapes
}

/// Whether a filter takes a shape: one of its comma-separated parts occurs in the shape's name, at
/// the start of one of the name's fields.
pub fn selected(filter: &str, shape: &Shape) -> bool {
    let name = format!("/{shape}/");
    filter
        .split(',')
        .any(|part| name.contains(&format!("/{part}/")))
}

/// Random bytes that no compressor shortens, handed out in slices that move through the pool.
pub struct Payload {
    pool: &'static [u8],
    next: usize,
}

/// Larger than what a batch takes, smaller than the caches of the machine.
const POOL_BYTES: usize = 2 << 20;

impl Payload {
    /// A pool of its own, the same in every run.
    pub fn new() -> Payload {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut pool = Vec::with_capacity(POOL_BYTES);
        while pool.len() < POOL_BYTES {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            pool.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
        }
        Payload {
            pool: pool.leak(),
            next: 0,
        }
    }

    /// The next so many bytes. The start moves by an odd step, so that equal slices are far apart.
    pub fn take(&mut self, bytes: usize) -> &'static [u8] {
        assert!(bytes <= POOL_BYTES / 2, "the pool is too small for {bytes}");
        if self.next + bytes > POOL_BYTES {
            self.next = (self.next * 31 + 7) % 61;
        }
        let taken = &self.pool[self.next..self.next + bytes];
        self.next += bytes;
        taken
    }
}
