//! How much the log writes, and how long each write takes to be durable.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use hdrhistogram::Histogram;

/// Times are kept up to a minute; longer ones count as that.
const LONGEST: u64 = 60_000_000_000;

/// What a log has written.
pub struct Pace {
    /// Bytes that are durable, the filling of each write's last block with them.
    pub bytes: Cell<u64>,
    /// From the beginning of a write until it was durable, in nanoseconds.
    pub took: RefCell<Histogram<u64>>,
}

impl Default for Pace {
    fn default() -> Pace {
        let took = Histogram::new_with_bounds(1, LONGEST, 2).expect("bounds that fit");
        Pace {
            bytes: Cell::new(0),
            took: RefCell::new(took),
        }
    }
}

impl Pace {
    /// So many bytes, begun then, are durable.
    pub fn wrote(&self, bytes: usize, began: Instant) {
        self.bytes.set(self.bytes.get() + bytes as u64);
        let nanos = began.elapsed().as_nanos() as u64;
        self.took.borrow_mut().saturating_record(nanos.max(1));
    }
}
