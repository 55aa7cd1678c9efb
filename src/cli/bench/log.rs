//! `coracle bench log`: what the log of one shard does on this machine's disk.
//!
//! Appends entries of many regions in a closed loop, so many batches in flight, each durable before
//! it counts; then opens what it wrote as after a kill. One executor, direct I/O, no network: the
//! figure is the floor under everything above it, and compares with nothing that has more to do.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use coracle_wal::{Effect, Entry, Limits, Log, LogId, Lsn, MetaRecord, Refused, RegionId};
use glommio::{LocalExecutorBuilder, Placement};
use hdrhistogram::Histogram;
use serde_json::json;

use super::bare::Bare;
use crate::cli::{Exit, Failure};
use crate::runtime::disk::{Durability, LogDisk, ShardDirectory, probe};
use crate::runtime::ring::Ring;

/// How to measure.
#[derive(Args)]
pub struct LogBench {
    /// Where to write; a temporary directory by default, removed at the end
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Seconds for each number of batches in flight
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Bytes of an entry
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    entry_bytes: u32,
    /// Entries in a batch
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    batch: u32,
    /// Regions the entries go to, in turn
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    regions: u32,
    /// Batches in flight, one row each
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,4,16",
          value_parser = clap::value_parser!(u16).range(1..=256))]
    in_flight: Vec<u16>,
    /// Beside each row what the disk gives to bare writes of a batch's size
    #[arg(long)]
    bare: bool,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

const ID: LogId = LogId(1);

/// Runs the bench in its directory.
pub(super) fn run(bench: LogBench) -> Result<(), Failure> {
    let unusable =
        |error| Failure::new(Exit::FailedWrite, format!("a temporary directory: {error}"));
    if u64::from(bench.batch) * u64::from(bench.entry_bytes + 64)
        > u64::from(LIMITS.batch_bytes_max)
    {
        let why = format!(
            "a batch is at most {} bytes: fewer or smaller entries",
            LIMITS.batch_bytes_max
        );
        return Err(Failure::new(Exit::Usage, why));
    }
    let temporary = match &bench.directory {
        Some(_) => None,
        None => Some(tempfile::tempdir_in(".").map_err(unusable)?),
    };
    let directory = match (&bench.directory, &temporary) {
        (Some(directory), _) => directory.join(format!("coracle-bench-{}", std::process::id())),
        (None, Some(temporary)) => temporary.path().to_path_buf(),
        (None, None) => unreachable!("one of the two is there"),
    };
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(16 << 20)
        .ring_depth(256)
        .make()
        .map_err(|error| {
            Failure::new(
                Exit::Usage,
                format!("io_uring is not to be had here: {error}"),
            )
        })?;
    let outcome = executor.run(measure(&bench, &directory));
    if bench.directory.is_some() {
        std::fs::remove_dir_all(&directory).ok();
    }
    outcome
}

/// Few segments, so that the run also purges and reuses them; and how many writes are under way is an option here.
const LIMITS: Limits = Limits {
    writes_under_way: u32::MAX,
    segments_max: 16,
    segments_ready: 6,
    ..Limits::DEFAULT
};

async fn measure(bench: &LogBench, directory: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::new(Exit::FailedWrite, error);
    let shard = ShardDirectory::of(directory, 0);
    shard.create().map_err(failed)?;
    probe::settle_polling(&shard.log()).await.map_err(failed)?;
    let durability = probe::durability(&shard.log()).await.map_err(failed)?;
    let disk = LogDisk::open(shard.clone(), durability)
        .await
        .map_err(failed)?;
    let mut writer = Writer::new(bench, disk);
    writer.settle().await?;
    if !bench.json {
        let how = match durability {
            Durability::WriteThrough => "written through",
            Durability::WriteThenSync => "written and synced",
        };
        println!(
            "log of one shard in {}: {} entries of {} B a batch, {} regions, every batch {how}",
            directory.display(),
            bench.batch,
            bench.entry_bytes,
            bench.regions
        );
        println!("in flight   batches/s   entries/s  MB/s data  p50 µs   p99 µs  p99.9 µs");
    }
    let seconds = Duration::from_secs(bench.seconds);
    let mut bare = None;
    for depth in bench.in_flight.iter().map(|depth| usize::from(*depth)) {
        writer.run(depth, seconds).await?;
        let log = writer.row(depth);
        log.print(bench);
        if !bench.bare {
            continue;
        }
        if bare.is_none() {
            let ring = Ring::new().map_err(|error| {
                let why =
                    format!("bare writes want a ring that this kernel does not give: {error}");
                Failure::new(Exit::Usage, why)
            })?;
            let opened = Bare::open(&shard, durability, writer.write_bytes(), ring);
            bare = Some(opened.await.map_err(failed)?);
        }
        if let Some(bare) = &mut bare {
            let outcome = bare.run(depth, seconds).map_err(failed)?;
            let row = Row::of(
                depth,
                Some(bare.write_bytes()),
                &outcome.micros,
                outcome.elapsed,
            );
            row.print(bench);
            if !bench.json {
                println!("     the log over that: {:.2}", log.batches / row.batches);
            }
        }
    }
    drop(bare);
    let written = writer.close().await?;
    let disk = LogDisk::open(shard, durability).await.map_err(failed)?;
    let begin = Instant::now();
    let recovered = disk.recover(ID, LIMITS).await;
    let (log, verdict) =
        recovered.map_err(|error| Failure::new(Exit::Corruption, format!("recovery: {error}")))?;
    let seconds = begin.elapsed().as_secs_f64();
    let megabytes = f64::from(log.live_segments()) * f64::from(LIMITS.segment_bytes) / 1e6;
    if verdict.accepted != written {
        let why = format!(
            "recovery found lsn {}, {written} was acknowledged",
            verdict.accepted
        );
        return Err(Failure::new(Exit::Corruption, why));
    }
    if bench.json {
        println!(
            "{}",
            json!({ "recovery_mb": megabytes, "seconds": seconds, "lsn": verdict.accepted.0 })
        );
    } else {
        println!(
            "recovery: {megabytes:.0} MB of log in {:.0} ms, {:.0} MB/s, up to lsn {}",
            seconds * 1e3,
            megabytes / seconds,
            verdict.accepted
        );
    }
    disk.close().await;
    Ok(())
}

/// Bytes of which no layer below makes less than it would of real data.
pub(super) fn incompressible(bytes: usize) -> Vec<u8> {
    let mut state = 1u64;
    let next = |_| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    (0..bytes).map(next).collect()
}

/// The log, its files, and what is under way.
struct Writer {
    log: Log,
    disk: LogDisk,
    effects: Vec<Effect>,
    entries: Vec<Entry>,
    payload: bytes::Bytes,
    batch: u32,
    truncate_every: u64,
    next_index: Vec<u64>,
    next_region: usize,
    begun: VecDeque<(Lsn, Instant)>,
    appended: VecDeque<(Lsn, RegionId, u64)>,
    micros: Histogram<u64>,
    elapsed: Duration,
}

impl Writer {
    fn new(bench: &LogBench, disk: LogDisk) -> Writer {
        Writer {
            log: Log::create(ID, LIMITS),
            disk,
            effects: Vec::new(),
            entries: Vec::new(),
            payload: incompressible(bench.entry_bytes as usize).into(),
            batch: bench.batch,
            truncate_every: (128 << 20) / u64::from(bench.entry_bytes) / u64::from(bench.regions),
            next_index: vec![1; bench.regions as usize],
            next_region: 0,
            begun: VecDeque::new(),
            appended: VecDeque::new(),
            micros: Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds that fit"),
            elapsed: Duration::ZERO,
        }
    }

    async fn run(&mut self, depth: usize, duration: Duration) -> Result<(), Failure> {
        self.micros.reset();
        let begin = Instant::now();
        loop {
            let over = begin.elapsed() >= duration;
            while !over && self.begun.len() < depth && self.submit()? {}
            if over && self.begun.is_empty() {
                self.elapsed = begin.elapsed();
                return Ok(());
            }
            self.wait().await?;
        }
    }

    /// One batch; none while the log waits for room.
    fn submit(&mut self) -> Result<bool, Failure> {
        let now = Instant::now();
        let runs = (self.batch as usize).min(self.next_index.len());
        for run in 0..runs {
            let count = self.batch as usize / runs + usize::from(run < self.batch as usize % runs);
            let region = RegionId(self.next_region as u64 + 1);
            let next = &mut self.next_index[self.next_region];
            self.entries.clear();
            self.entries.extend((0..count as u64).map(|more| Entry {
                index: *next + more,
                term: 1,
                payload: self.payload.clone(),
            }));
            match self.log.append(region, &self.entries) {
                Ok(()) => {}
                Err(Refused::Full) => {
                    self.turn();
                    return if self.disk.under_way() > 0 {
                        Ok(false)
                    } else {
                        Err(Failure::new(
                            Exit::NoSpace,
                            "the disk has no room for the log",
                        ))
                    };
                }
                Err(other) => return Err(Failure::new(Exit::FailedWrite, other)),
            }
            *next += count as u64;
            self.appended
                .push_back((self.log.last_lsn(), region, *next - 1));
            self.next_region = (self.next_region + 1) % self.next_index.len();
        }
        self.begun.push_back((self.log.last_lsn(), now));
        self.turn();
        Ok(true)
    }

    fn turn(&mut self) {
        self.log.flush(&mut self.effects);
        for effect in self.effects.drain(..) {
            self.disk.start(&mut self.log, effect);
        }
    }

    async fn wait(&mut self) -> Result<(), Failure> {
        self.disk.wait().await;
        while let Some(finished) = self.disk.pop() {
            finished.deliver(&mut self.log);
        }
        if let Some(error) = self.disk.failure() {
            return Err(Failure::new(Exit::FailedWrite, error));
        }
        let durable = self.log.durable_lsn();
        while let Some((lsn, began)) = self.begun.front()
            && *lsn <= durable
        {
            self.micros
                .saturating_record(began.elapsed().as_micros() as u64);
            self.begun.pop_front();
        }
        while let Some((lsn, region, index)) = self.appended.front()
            && *lsn <= durable
        {
            self.log.applied(*region, *index);
            self.log.checkpointed(*region, *index);
            // Truncate now and then, as raft would, so that segments are reused.
            let truncated = self.log.truncated(*region).unwrap_or_default().0;
            if *index >= truncated + self.truncate_every {
                let meta = MetaRecord {
                    truncated: (*index, 1),
                    reset: false,
                    tombstone: false,
                    payload: bytes::Bytes::from_static(b"bench"),
                };
                self.log.set_meta(*region, meta).ok();
            }
            self.appended.pop_front();
        }
        self.turn();
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), Failure> {
        loop {
            self.turn();
            if self.disk.under_way() == 0 {
                return if self.log.is_open() {
                    Ok(())
                } else {
                    Err(Failure::new(
                        Exit::NoSpace,
                        "the disk has no room for the log",
                    ))
                };
            }
            self.wait().await?;
        }
    }

    fn row(&self, depth: usize) -> Row {
        Row::of(depth, None, &self.micros, self.elapsed)
    }

    /// Bytes of a write of a batch, on the average.
    fn write_bytes(&self) -> usize {
        let pace = self.disk.pace();
        let writes = pace.took.borrow().len().max(1);
        (pace.bytes.get() / writes) as usize
    }

    async fn close(mut self) -> Result<Lsn, Failure> {
        self.settle().await?;
        let written = self.log.durable_lsn();
        self.disk.close().await;
        Ok(written)
    }
}

/// What one number of writes in flight came to.
struct Row {
    depth: usize,
    /// The size of each, if they were bare.
    bare_bytes: Option<usize>,
    batches: f64,
    half_micros: u64,
    most_micros: u64,
    nearly_all_micros: u64,
}

impl Row {
    fn of(
        depth: usize,
        bare_bytes: Option<usize>,
        micros: &Histogram<u64>,
        elapsed: Duration,
    ) -> Row {
        Row {
            depth,
            bare_bytes,
            batches: micros.len() as f64 / elapsed.as_secs_f64(),
            half_micros: micros.value_at_quantile(0.5),
            most_micros: micros.value_at_quantile(0.99),
            nearly_all_micros: micros.value_at_quantile(0.999),
        }
    }

    fn print(&self, bench: &LogBench) {
        let entries = self.batches * f64::from(bench.batch);
        let megabytes = match self.bare_bytes {
            Some(bytes) => self.batches * bytes as f64 / 1e6,
            None => entries * f64::from(bench.entry_bytes) / 1e6,
        };
        let Row {
            depth,
            half_micros,
            most_micros,
            nearly_all_micros,
            ..
        } = self;
        match (bench.json, self.bare_bytes) {
            (true, bare_bytes) => {
                let mut row = json!({
                    "in_flight": depth, "batches_per_second": self.batches, "mb_per_second": megabytes,
                    "p50_us": half_micros, "p99_us": most_micros, "p999_us": nearly_all_micros,
                });
                match bare_bytes {
                    Some(bytes) => row["bare_write_bytes"] = json!(bytes),
                    None => row["entries_per_second"] = json!(entries),
                }
                println!("{row}");
            }
            (false, None) => println!(
                "{depth:9} {:11.0} {entries:11.0} {megabytes:10.1} {half_micros:7} {most_micros:8} {nearly_all_micros:9}",
                self.batches
            ),
            (false, Some(bytes)) => println!(
                "     bare {:11.0} {:>11} {megabytes:10.1} {half_micros:7} {most_micros:8} {nearly_all_micros:9}",
                self.batches,
                format!("× {bytes} B")
            ),
        }
    }
}
