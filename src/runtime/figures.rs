//! What a shard counts: plain numbers of one thread, handed to whoever asks.

use std::cell::{Cell, RefCell};

use hdrhistogram::Histogram;

use crate::shard::error::Error;
use crate::shard::request::{Answer, Response};

/// Latencies are kept up to a minute; longer ones count as that.
const LONGEST: u64 = 60_000_000_000;

/// What a shard counts.
pub struct Figures {
    /// From a write's arrival to its answer, in nanoseconds.
    pub writes: RefCell<Histogram<u64>>,
    /// From a read's arrival to its answer.
    pub reads: RefCell<Histogram<u64>>,
    /// How long turns took.
    pub turns: RefCell<Histogram<u64>>,
    /// Requests that were answered with an error, by its number.
    pub errors: [Cell<u64>; 16],
    /// Attempts that went to another shard and could not be done there, by the number of the error that said so.
    pub misled: [Cell<u64>; 16],
    /// Connections that were accepted.
    pub accepted: Cell<u64>,
    /// Connections that were cut off: they broke the protocol, did not read, or were too many.
    pub cut_off: Cell<u64>,
    /// Requests that were handed on to the shard that leads their region.
    pub forwarded: Cell<u64>,
    /// Bytes that came in from clients.
    pub bytes_in: Cell<u64>,
    /// Bytes that went out to clients.
    pub bytes_out: Cell<u64>,
    /// Regions that cannot be served here.
    pub quarantined: Cell<u64>,
    /// Replicas that differed from their leader.
    pub diverged: Cell<u64>,
    /// Messages to other shards that were dropped for want of a link.
    pub dropped: Cell<u64>,
}

impl Default for Figures {
    fn default() -> Figures {
        let histogram = || {
            let bounds = Histogram::new_with_bounds(1, LONGEST, 2).expect("bounds that fit");
            RefCell::new(bounds)
        };
        Figures {
            writes: histogram(),
            reads: histogram(),
            turns: histogram(),
            errors: Default::default(),
            misled: Default::default(),
            accepted: Cell::new(0),
            cut_off: Cell::new(0),
            forwarded: Cell::new(0),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            quarantined: Cell::new(0),
            diverged: Cell::new(0),
            dropped: Cell::new(0),
        }
    }
}

impl Figures {
    /// A request was answered after so many nanoseconds.
    pub fn answered(&self, writes: bool, nanos: u64, response: &Response) {
        match response {
            // Questions to placement are no commands, and shards ask them by themselves.
            Ok(Answer::Placement(_)) => {}
            Ok(_) if writes => self.writes.borrow_mut().saturating_record(nanos.max(1)),
            Ok(_) => self.reads.borrow_mut().saturating_record(nanos.max(1)),
            Err(error) => self.failed(error),
        }
    }

    /// So many reads were answered at once, after so many nanoseconds.
    pub fn read_at_hand(&self, reads: u64, nanos: u64) {
        let mut histogram = self.reads.borrow_mut();
        histogram.saturating_record_n(nanos.max(1), reads);
    }

    /// A request was refused.
    pub fn failed(&self, error: &Error) {
        count(&self.errors[usize::from(error.number()).min(15)], 1);
    }

    /// A turn took so many nanoseconds.
    pub fn turn(&self, nanos: u64) {
        self.turns.borrow_mut().saturating_record(nanos.max(1));
    }
}

/// Counts on.
pub fn count(cell: &Cell<u64>, by: u64) {
    cell.set(cell.get() + by);
}
