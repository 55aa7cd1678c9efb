//! Ours: `coracle-wal` through the driver, turn by turn as a shard drives it.
//!
//! Every batch is a flush of its own: entries are appended, the log seals them, the driver takes the
//! bytes, and the batch counts when the log says that everything up to it is durable.

use crate::contender::{Contender, Stint, Stretch};
use crate::settings::Settings;
use crate::shape::{Payload, Shape};
use coracle::runtime::disk::{LogDisk, ShardDirectory};
use coracle_bench_harness::Sample;
use coracle_wal::effect::Effect;
use coracle_wal::limits::BLOCK_BYTES;
use coracle_wal::log::Entry;
use coracle_wal::{Limits, Log, LogId, Lsn, MetaRecord, RegionId};
use std::collections::VecDeque;
use std::path::Path;
use std::time::Instant;

/// What the tables call us.
pub const OURS: &str = "coracle-wal";

/// All entries are of one term.
const TERM: u64 = 1;

/// Between stretches regions are truncated once so much was written.
const TRUNCATE_EVERY_BYTES: u64 = 256 << 20;

/// How long a batch of the shape is in the file: every contender writes as much.
pub fn batch_bytes(shape: Shape) -> usize {
    let runs = if shape.regions == 1 {
        1
    } else {
        shape.batch_entries
    };
    let directory = 72 + runs * 32 + shape.batch_entries * 8;
    (directory + shape.batch_entries * shape.entry_bytes).next_multiple_of(BLOCK_BYTES)
}

/// The id of every log here.
pub const LOG_ID: LogId = LogId(7);

/// The limits of a log of so many files, all of which are made before anything is measured.
pub fn limits(segments: u32) -> Limits {
    Limits {
        segments_max: segments,
        segments_ready: segments - 1,
        // Who measures decides how many are under way.
        writes_under_way: u32::MAX,
        ..Limits::DEFAULT
    }
}

/// How many files the log has: fewer where less is written.
fn segments(shape: Shape) -> u32 {
    if batch_bytes(shape) > 32 << 10 {
        32
    } else {
        14
    }
}

/// How long all files of the log are together: what every contender goes round in.
pub fn file_bytes(shape: Shape) -> u64 {
    u64::from(segments(shape)) * u64::from(Limits::DEFAULT.segment_bytes)
}

/// Starts the log for a shape.
pub fn start(settings: &Settings, shape: Shape) -> Contender {
    let settings = settings.clone();
    Contender::start(OURS, None, move |stints, samples| {
        let executor = crate::bare::executor(&settings);
        let directory = settings.directory.join("ours");
        let made = Ours::create(&settings, &directory, shape, segments(shape));
        let mut ours = executor.run(made);
        for stint in stints {
            let sample = executor.run(async {
                ours.make_room().await;
                ours.run(stint).await
            });
            if samples.send(sample).is_err() {
                break;
            }
        }
        executor.run(ours.close());
        std::fs::remove_dir_all(&directory).expect("our files can be removed");
    })
}

/// The log, its driver, and a writer of one shape.
pub struct Ours {
    /// The log.
    pub log: Log,
    /// Its files.
    pub disk: LogDisk,
    shape: Shape,
    payload: Payload,
    /// The next index of each region.
    next_index: Vec<u64>,
    next_region: usize,
    /// Batches under way, oldest first: when they began, and what they hold.
    begun: VecDeque<(Lsn, Instant)>,
    appended: VecDeque<(RegionId, u64)>,
    effects: Vec<Effect>,
    entries: Vec<Entry>,
    bytes_since_truncation: u64,
}

impl Ours {
    /// A log that is open, with files enough that none is made while it is measured.
    pub async fn create(
        settings: &Settings,
        directory: &Path,
        shape: Shape,
        segments: u32,
    ) -> Ours {
        let directory = ShardDirectory::of(directory, 0);
        directory.create().expect("the directory can be created");
        let disk = LogDisk::open(directory, settings.durability).await;
        let disk = disk.expect("our files open");
        let log = Log::create(LOG_ID, limits(segments));
        let mut ours = Ours::of(log, disk, shape);
        while !ours.log.is_open() || ours.disk.under_way() > 0 {
            ours.step().await;
        }
        ours
    }

    /// A writer into a log whose regions are empty, or that is only to be opened.
    pub fn of(log: Log, disk: LogDisk, shape: Shape) -> Ours {
        Ours {
            log,
            disk,
            shape,
            payload: Payload::new(),
            next_index: vec![1; shape.regions],
            next_region: 0,
            begun: VecDeque::new(),
            appended: VecDeque::new(),
            effects: Vec::new(),
            entries: Vec::new(),
            bytes_since_truncation: 0,
        }
    }

    /// One turn without records.
    pub async fn step(&mut self) {
        self.turn();
        self.disk.wait().await;
        self.take_finished();
    }

    /// Makes batches durable for a while, so many at a time.
    async fn run(&mut self, stint: Stint) -> Sample {
        let mut stretch = Stretch::begin(stint);
        loop {
            while self.begun.len() < stint.in_flight {
                let now = Instant::now();
                if now >= stretch.end {
                    break;
                }
                self.disk.hand_over().await;
                self.submit(now);
            }
            if self.begun.is_empty() {
                return stretch.finish();
            }
            self.disk.wait().await;
            self.take_finished();
            self.release(|began| stretch.record(began.elapsed()));
        }
    }

    /// One batch of the shape, and one flush.
    pub fn submit(&mut self, now: Instant) {
        let mut left = self.shape.batch_entries;
        while left > 0 {
            let region = self.next_region;
            self.next_region = (self.next_region + 1) % self.shape.regions;
            let count = if self.shape.regions == 1 { left } else { 1 };
            self.entries.clear();
            for _ in 0..count {
                let payload = self.payload.take(self.shape.entry_bytes);
                self.entries.push(Entry {
                    index: self.next_index[region],
                    term: TERM,
                    payload: payload.into(),
                });
                self.next_index[region] += 1;
            }
            let id = RegionId(region as u64 + 1);
            let given = self.log.append_given(id, &mut self.entries);
            given.expect("there is room");
            self.appended.push_back((id, self.next_index[region] - 1));
            left -= count;
        }
        self.begun.push_back((self.log.last_lsn(), now));
        self.turn();
    }

    /// The end of a turn: what the log wants done is begun.
    fn turn(&mut self) {
        self.log.flush(&mut self.effects);
        for effect in self.effects.drain(..) {
            if let Effect::Write(write) = &effect {
                self.bytes_since_truncation += u64::from(write.len);
            }
            self.disk.start(&mut self.log, effect);
        }
    }

    fn take_finished(&mut self) {
        while let Some(finished) = self.disk.pop() {
            finished.deliver(&mut self.log);
        }
        let failure = self.disk.failure();
        assert!(!self.log.is_failed(), "the log failed: {failure:?}");
    }

    /// What is durable counts, and is applied.
    fn release(&mut self, mut record: impl FnMut(Instant)) {
        let durable = self.log.durable_lsn();
        let regions = self.shape.regions;
        let records = if regions == 1 {
            1
        } else {
            self.shape.batch_entries
        };
        while let Some((lsn, began)) = self.begun.front()
            && *lsn <= durable
        {
            record(*began);
            self.begun.pop_front();
            for (region, index) in self.appended.drain(..records) {
                self.log.applied(region, index);
            }
        }
    }

    /// Waits until nothing is under way.
    pub async fn settle(&mut self) {
        loop {
            self.turn();
            if self.disk.under_way() == 0 {
                break;
            }
            self.disk.wait().await;
            self.take_finished();
        }
        self.release(|_| {});
    }

    /// Truncates all regions to their last entry, as raft would, and lets the log reuse its files.
    async fn make_room(&mut self) {
        if self.bytes_since_truncation < TRUNCATE_EVERY_BYTES {
            return;
        }
        for (region, next) in self.next_index.iter().enumerate() {
            if *next > 2 {
                let id = RegionId(region as u64 + 1);
                let meta = MetaRecord {
                    truncated: (next - 2, TERM),
                    reset: false,
                    tombstone: false,
                    payload: self.payload.take(64).into(),
                };
                self.log.set_meta(id, meta).expect("there is room");
                self.log.checkpointed(id, next - 2);
            }
        }
        self.settle().await;
        self.bytes_since_truncation = 0;
    }

    /// Closes the files.
    pub async fn close(mut self) {
        self.settle().await;
        self.disk.close().await;
    }
}
