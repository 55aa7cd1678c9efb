//! The loops of the cells, the same for every side.

use std::{path::Path, time::Instant};

use coracle_bench_harness::{Meter, Recorder, Sample};

use crate::{
    files::{Traffic, disk_bytes},
    keys::{Key, Sequence, Values, key},
    side::{Digest, Store},
};

/// Commands that are applied together, as those of one entry of the log are.
pub const ENTRY_COMMANDS: usize = 32;

/// Of short operations every so many one is timed by itself.
const TIMED_EVERY: u64 = 16;

/// Something to do with a store.
#[derive(Debug)]
pub enum Work<'a> {
    /// Put `count` pairs.
    Put {
        /// Which keys, in which order.
        sequence: Sequence,
        /// Which values.
        values: &'a Values,
        /// How many.
        count: u64,
        /// Distinguishes the values of this work from those of others.
        stamp: u64,
        /// What the time includes beside the puts.
        until: Until,
        /// Where the files are, to see how many bytes they take; none to not look.
        directory: Option<&'a Path>,
    },
    /// Get `count` keys.
    Get {
        /// Which keys, in which order.
        sequence: Sequence,
        /// Added to every index: past the key set, for keys that are missing.
        offset: u64,
        /// How many.
        count: u64,
        /// Whether every get is timed by itself (it may go to the disk).
        slow: bool,
    },
    /// Scan `limit` pairs, `count` times.
    Scan {
        /// Which keys to begin at.
        sequence: Sequence,
        /// Pairs of each scan.
        limit: usize,
        /// How many scans.
        count: u64,
    },
    /// 19 puts and a scan, over and over. The percentiles are those of the scans.
    Mix {
        /// Which keys, in which order.
        sequence: Sequence,
        /// Which values.
        values: &'a Values,
        /// How many operations, scans included.
        count: u64,
        /// Distinguishes the values of this work from those of others.
        stamp: u64,
        /// Pairs of each scan.
        limit: usize,
    },
}

/// What the time of puts includes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// All is in the memtable, or wherever the store has put it by then.
    Applied,
    /// All is in tables that are durable.
    Flushed,
    /// Moreover, no compaction is due.
    Settled,
}

impl Work<'_> {
    /// Does it.
    pub async fn run<S: Store>(&self, store: &mut S) -> Sample {
        let traffic = Traffic::so_far();
        let sample = match self {
            Work::Put {
                sequence,
                values,
                count,
                stamp,
                until,
                directory,
            } => {
                let mut puts = Puts::new(sequence.clone(), values, *stamp);
                put(store, &mut puts, *count, *until, *directory).await
            }
            Work::Get {
                sequence,
                offset,
                count,
                slow,
            } => get(store, sequence.clone(), *offset, *count, *slow).await,
            Work::Scan {
                sequence,
                limit,
                count,
            } => scan(store, sequence.clone(), *limit, *count).await,
            Work::Mix {
                sequence,
                values,
                count,
                stamp,
                limit,
            } => {
                let mut puts = Puts::new(sequence.clone(), values, *stamp);
                mixed(store, &mut puts, *count, *limit).await
            }
        };
        let moved = Traffic::so_far().since(&traffic);
        let sample = match self {
            Work::Put { .. } if moved.written > 0 => {
                let amplification = moved.written as f64 / sample.bytes as f64;
                sample.with_figure("write amplification", amplification)
            }
            Work::Get { .. } | Work::Scan { .. } if moved.read > 0 => {
                let kibibytes = moved.read as f64 / 1024.0 / sample.operations as f64;
                sample.with_figure("KiB read/op", kibibytes)
            }
            _ => sample,
        };
        store.figures(sample)
    }
}

/// The puts of a work, entry by entry.
struct Puts<'a> {
    sequence: Sequence,
    values: &'a Values,
    stamp: u64,
    entry: Vec<(Key, &'a [u8])>,
}

impl<'a> Puts<'a> {
    fn new(sequence: Sequence, values: &'a Values, stamp: u64) -> Self {
        Self {
            sequence,
            values,
            stamp: stamp << 40,
            entry: Vec::with_capacity(ENTRY_COMMANDS),
        }
    }

    #[inline]
    fn entry(&mut self, commands: usize) -> &[(Key, &'a [u8])] {
        self.entry.clear();
        for _ in 0..commands {
            self.stamp += 1;
            self.entry
                .push((key(self.sequence.draw()), self.values.value(self.stamp)));
        }
        &self.entry
    }

    fn pair_bytes(&self) -> u64 {
        (size_of::<Key>() + self.values.length()) as u64
    }
}

/// The files are looked at every so many puts.
const LOOK_EVERY: u64 = 1 << 15;

async fn put<S: Store>(
    store: &mut S,
    puts: &mut Puts<'_>,
    count: u64,
    until: Until,
    directory: Option<&Path>,
) -> Sample {
    let mut recorder = Recorder::default();
    let mut disk_peak = 0;
    let meter = Meter::start();
    let mut done = 0;
    let mut last = Instant::now();
    while done < count {
        let commands = (count - done).min(ENTRY_COMMANDS as u64);
        let entry = puts.entry(commands as usize);
        store.apply(entry).await;
        // Entries follow one another without a gap, so a stall between two of them counts as well.
        let now = Instant::now();
        recorder.record(now - last);
        last = now;
        done += commands;
        if let Some(directory) = directory
            && done % LOOK_EVERY < commands
        {
            disk_peak = disk_bytes(directory).max(disk_peak);
            last = Instant::now();
        }
    }
    let applied = meter.elapsed();
    if until != Until::Applied {
        store.flush().await;
    }
    if until == Until::Settled {
        store.settle().await;
    }
    let sample = meter.stop(count, count * puts.pair_bytes(), &recorder);
    match directory {
        None => sample,
        Some(directory) => sample
            .with_figure(
                "disk peak MB",
                disk_peak.max(disk_bytes(directory)) as f64 / 1e6,
            )
            .with_figure("disk MB", disk_bytes(directory) as f64 / 1e6)
            .with_figure(
                "k puts/s before the wait",
                count as f64 / 1e3 / applied.as_secs_f64(),
            ),
    }
}

async fn get<S: Store>(
    store: &mut S,
    mut sequence: Sequence,
    offset: u64,
    count: u64,
    slow: bool,
) -> Sample {
    let mut recorder = Recorder::default();
    let mut digest = Digest::default();
    let meter = Meter::start();
    for round in 0..count {
        let key = key(sequence.draw() + offset);
        if slow || round % TIMED_EVERY == 0 {
            let start = Instant::now();
            store.get(&key, &mut digest).await;
            recorder.record(start.elapsed());
        } else {
            store.get(&key, &mut digest).await;
        }
    }
    finish(meter, count, digest, 0, &recorder)
}

async fn scan<S: Store>(store: &mut S, mut sequence: Sequence, limit: usize, count: u64) -> Sample {
    let mut recorder = Recorder::default();
    let mut digest = Digest::default();
    let meter = Meter::start();
    for _ in 0..count {
        let key = key(sequence.draw());
        let start = Instant::now();
        store.scan(&key, limit, &mut digest).await;
        recorder.record(start.elapsed());
    }
    finish(meter, count, digest, 0, &recorder)
}

async fn mixed<S: Store>(store: &mut S, puts: &mut Puts<'_>, count: u64, limit: usize) -> Sample {
    let mut recorder = Recorder::default();
    let mut digest = Digest::default();
    let mut starts = Sequence::random(puts.sequence.count(), puts.stamp ^ 0xABCD);
    let meter = Meter::start();
    for _ in 0..count / 20 {
        let entry = puts.entry(19);
        store.apply(entry).await;
        let key = key(starts.draw());
        let start = Instant::now();
        store.scan(&key, limit, &mut digest).await;
        recorder.record(start.elapsed());
    }
    let put_bytes = count / 20 * 19 * puts.pair_bytes();
    finish(meter, count / 20 * 20, digest, put_bytes, &recorder)
}

fn finish(meter: Meter, count: u64, digest: Digest, bytes: u64, recorder: &Recorder) -> Sample {
    // A double holds 52 bits, which is enough to see that two sides saw the same.
    let sum = (digest.sum() >> 12) as f64;
    meter
        .stop(count, bytes, recorder)
        .with_figure("found/op", digest.found as f64 / count as f64)
        .with_figure(DIGEST, sum)
}

/// The figure by which the sides of a cell are compared: they must have read the same.
pub const DIGEST: &str = "digest";
