//! What the log itself costs, without a file: append, seal, encode and release, in nanoseconds for each entry.
//! `cargo bench -p coracle-wal --bench log_cpu`; how to read it is in `benches/README.md`.
//!
//! ```text
//! append    entries that were just made, as from raft, into their regions and the batch
//! seal      the end of the turn: the batch gets its place, old payloads leave memory
//! encode    into one of the buffers of a driver with sixteen writes under way
//! release   the news that a batch is durable, and that its entries are applied
//! ```
#![allow(missing_docs, reason = "a bench has no users")]
#![expect(
    clippy::disallowed_methods,
    reason = "the benches are where the world enters, clocks included"
)]

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use coracle_wal::{Effect, Entry, Limits, Log, LogId, Lsn, MetaRecord, RegionId};

/// Batches under way.
const IN_FLIGHT: usize = 16;

/// So many bytes of a log before all its regions are truncated.
const TRUNCATE_EVERY_BYTES: u64 = 256 << 20;

/// Stretches of each case; the median counts.
const STRETCHES: usize = 9;

struct Case {
    entry_bytes: usize,
    regions: usize,
    batch_entries: usize,
}

/// Nanoseconds of each step.
#[derive(Clone, Copy, Default)]
struct Spent {
    steps: [u64; 4],
}

struct Bench {
    log: Log,
    case: Case,
    next_index: Vec<u64>,
    next_region: usize,
    under_way: VecDeque<(Lsn, Vec<(RegionId, u64)>)>,
    spare: Vec<Vec<(RegionId, u64)>>,
    buffers: Vec<Vec<u8>>,
    next_buffer: usize,
    effects: Vec<Effect>,
    written: u64,
    noise: Vec<u8>,
}

impl Bench {
    fn new(case: Case) -> Bench {
        let limits = Limits {
            segments_max: 32,
            segments_ready: 20,
            writes_under_way: u32::MAX,
            ..Limits::DEFAULT
        };
        let mut bench = Bench {
            log: Log::create(LogId(7), limits),
            next_index: vec![1; case.regions],
            case,
            next_region: 0,
            under_way: VecDeque::new(),
            spare: Vec::new(),
            buffers: vec![Vec::new(); IN_FLIGHT],
            next_buffer: 0,
            effects: Vec::new(),
            written: 0,
            noise: (0..1 << 16)
                .map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
                .collect(),
        };
        bench.settle();
        bench
    }

    /// Whatever is wanted is done, until nothing is.
    fn settle(&mut self) {
        loop {
            self.log.flush(&mut self.effects);
            if self.effects.is_empty() {
                return;
            }
            for effect in std::mem::take(&mut self.effects) {
                match effect {
                    Effect::Create { slot, .. } => self.log.created(slot),
                    Effect::Sync { slot } => self.log.synced(slot),
                    Effect::Write(write) => {
                        let mut buffer = vec![0; write.len as usize];
                        self.log.encode(&write, &mut buffer);
                        self.log.durable(write.lsn);
                    }
                    Effect::Read { .. } => unreachable!("nothing is fetched"),
                }
            }
        }
    }

    fn truncate(&mut self) {
        while !self.under_way.is_empty() {
            self.release();
        }
        for (region, next) in self.next_index.iter().enumerate() {
            if *next > 2 {
                let id = RegionId(region as u64 + 1);
                let meta = MetaRecord {
                    truncated: (next - 2, 1),
                    reset: false,
                    tombstone: false,
                    payload: Bytes::from_static(b"truncated"),
                };
                self.log.set_meta(id, meta).expect("there is room");
                self.log.checkpointed(id, next - 2);
            }
        }
        self.settle();
        self.written = 0;
    }

    /// The entries of a batch, made as raft makes them: each payload has memory of its own.
    fn make(&mut self) -> Vec<(RegionId, Vec<Entry>)> {
        let mut runs = Vec::new();
        let mut left = self.case.batch_entries;
        while left > 0 {
            let region = self.next_region;
            self.next_region = (self.next_region + 1) % self.case.regions;
            let count = if self.case.regions == 1 { left } else { 1 };
            let entries = (0..count).map(|_| {
                let index = self.next_index[region];
                self.next_index[region] += 1;
                let from = index as usize % 1024;
                let payload: Box<[u8]> = self.noise[from..from + self.case.entry_bytes].into();
                Entry {
                    index,
                    term: 1,
                    payload: payload.into(),
                }
            });
            runs.push((RegionId(region as u64 + 1), entries.collect()));
            left -= count;
        }
        runs
    }

    /// Until old payloads leave memory as fast as new ones come.
    fn fill_cache(&mut self) {
        loop {
            let before = self.log.cached_bytes();
            let batches = 50_000 / self.case.batch_entries;
            (0..batches).for_each(|_| self.batch(&mut Spent::default()));
            if self.log.cached_bytes() <= before + (1 << 18) {
                return;
            }
        }
    }

    fn release(&mut self) {
        let (lsn, mut ends) = self.under_way.pop_front().expect("one is under way");
        self.log.durable(lsn);
        for (region, index) in ends.drain(..) {
            self.log.applied(region, index);
        }
        self.spare.push(ends);
    }

    fn batch(&mut self, spent: &mut Spent) {
        if self.written > TRUNCATE_EVERY_BYTES {
            self.truncate();
        }
        let mut runs = self.make();
        let mut ends = self.spare.pop().unwrap_or_default();
        let last = |(region, entries): &(RegionId, Vec<Entry>)| {
            (*region, entries[entries.len() - 1].index)
        };
        ends.extend(runs.iter().map(last));
        let begin = Instant::now();
        for (region, entries) in &mut runs {
            self.log
                .append_given(*region, entries)
                .expect("there is room");
        }
        let appended = Instant::now();
        self.log.flush(&mut self.effects);
        let sealed = Instant::now();
        let mut encoded = sealed;
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Write(write) => {
                    let buffer = &mut self.buffers[self.next_buffer];
                    self.next_buffer = (self.next_buffer + 1) % IN_FLIGHT;
                    buffer.resize(write.len as usize, 0);
                    let begin = Instant::now();
                    self.log.encode(&write, buffer);
                    encoded += begin.elapsed();
                    self.written += u64::from(write.len);
                }
                Effect::Create { slot, .. } => self.log.created(slot),
                _ => unreachable!("nothing else is wanted"),
            }
        }
        self.under_way.push_back((self.log.last_lsn(), ends));
        drop(runs);
        let releasing = Instant::now();
        if self.under_way.len() >= IN_FLIGHT {
            self.release();
        }
        let steps = [
            appended - begin,
            sealed - appended,
            encoded - sealed,
            releasing.elapsed(),
        ];
        for (sum, step) in spent.steps.iter_mut().zip(steps) {
            *sum += step.as_nanos() as u64;
        }
    }
}

fn main() {
    let filter = std::env::args()
        .nth(1)
        .filter(|filter| !filter.starts_with("--"));
    println!("ns for each entry             append    seal  encode release     all");
    for entry_bytes in [16, 256, 1024] {
        for batch_entries in [1, 16, 64] {
            for regions in [1, 100, 10_000] {
                let name = format!("{entry_bytes}B/{regions}r/{batch_entries}e");
                if filter.as_ref().is_some_and(|filter| !name.contains(filter)) {
                    continue;
                }
                let mut bench = Bench::new(Case {
                    entry_bytes,
                    regions,
                    batch_entries,
                });
                let batches = 150_000 / batch_entries;
                let mut stretches = Vec::new();
                bench.fill_cache();
                for _ in 0..STRETCHES {
                    let mut spent = Spent::default();
                    (0..batches).for_each(|_| bench.batch(&mut spent));
                    stretches.push(spent);
                }
                stretches.sort_by_key(|spent| spent.steps.iter().sum::<u64>());
                let median = stretches[STRETCHES / 2];
                let entries = (batches * batch_entries) as f64;
                let each = median.steps.map(|step| step as f64 / entries);
                println!(
                    "{name:26} {:9.1} {:7.1} {:7.1} {:7.1} {:7.1}",
                    each[0],
                    each[1],
                    each[2],
                    each[3],
                    each.iter().sum::<f64>()
                );
            }
        }
    }
}
