//! What a side must be able to do, small enough that any ordered store can.
//!
//! The methods are asynchronous because one of the sides waits for its disk that way; the others answer
//! at once, and their calls compile to plain ones. The loops around them are written once
//! (`work.rs`) and compiled for each side.

use std::path::Path;

use coracle_bench_harness::Sample;

use crate::{keys::Key, work::Work};

/// The settings that all sides get.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// When the memtable is full.
    pub memtable_bytes: u64,
    /// How much the block cache may hold.
    pub cache_bytes: u64,
    /// How large tables should be.
    pub table_bytes: u64,
    /// Whether tables are merged.
    pub compaction: bool,
    /// Whether blocks are compressed with LZ4.
    pub lz4: bool,
}

/// Sums up what reads saw, so that the sides can be compared and no read is optimised away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// How many keys were found.
    pub found: u64,
    sum: u64,
}

impl Digest {
    /// Adds a value that a get has found.
    #[inline]
    pub fn add_value(&mut self, value: &[u8]) {
        self.found += 1;
        let first = value.get(1).copied().unwrap_or_default();
        let last = value.last().copied().unwrap_or_default();
        self.sum = self.sum.rotate_left(5) ^ (u64::from(first) << 8 | u64::from(last));
        self.sum = self.sum.wrapping_add(value.len() as u64);
    }

    /// Adds a pair that a scan has met.
    #[inline]
    pub fn add_pair(&mut self, key: &[u8], value: &[u8]) {
        self.sum = self.sum.wrapping_mul(31) ^ u64::from(key.last().copied().unwrap_or_default());
        self.add_value(value);
    }

    /// The sum, as a figure for a report.
    pub fn sum(&self) -> u64 {
        self.sum ^ self.found
    }
}

/// A store that is open.
pub trait Store {
    /// Runs the work of this side to its end, on this thread.
    fn block_on<T>(work: impl Future<Output = T>) -> T;

    /// Applies one entry of commands, and does what must be done now and then (a turn).
    async fn apply(&mut self, entry: &[(Key, &[u8])]);

    /// Looks up one key.
    async fn get(&mut self, key: &Key, digest: &mut Digest);

    /// Reads `limit` pairs from a key on, over a view of its own.
    async fn scan(&mut self, start: &Key, limit: usize, digest: &mut Digest);

    /// Waits until all that was put is in durable tables.
    async fn flush(&mut self);

    /// Waits until no compaction is due.
    async fn settle(&mut self);

    /// How tables lie, in a few words.
    fn shape(&self) -> String;

    /// Adds figures of its own since the last call.
    fn figures(&mut self, sample: Sample) -> Sample {
        sample
    }
}

/// A store that is open, whichever it is.
pub trait Opened {
    /// Does some work and says how it went.
    fn run(&mut self, work: &Work<'_>) -> Sample;

    /// How tables lie, in a few words.
    fn shape(&self) -> String;
}

impl<S: Store> Opened for S {
    fn run(&mut self, work: &Work<'_>) -> Sample {
        S::block_on(work.run(self))
    }

    fn shape(&self) -> String {
        Store::shape(self)
    }
}

/// A side: a kind of store that can be opened in an empty directory.
pub struct Side {
    /// Its name in the tables.
    pub name: &'static str,
    /// Opens a fresh store.
    pub open: fn(&Path, &Options) -> Box<dyn Opened>,
}

/// Runs a future that never waits.
pub fn poll_once<T>(work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match work.as_mut().poll(&mut context) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => unreachable!("this side answers at once"),
    }
}
