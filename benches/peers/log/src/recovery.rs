//! Opening a large log: how long it takes beside a sequential read of the same files and beside
//! raft-engine opening an equal log, and what the opened log keeps in memory for each entry.

use crate::bare;
use crate::memory;
use crate::ours::{self, LOG_ID, OURS, Ours};
use crate::peer::{PeerWriter, Variant};
use crate::settings::{Arguments, Settings};
use crate::shape::Shape;
use coracle::runtime::disk::{LogDisk, ShardDirectory, probe};
use coracle_bench_harness::{Meter, Recorder, Report, Runner, Sample, interleave};
use glommio::io::DmaFile;
use raft_engine::Engine;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

/// What the log holds.
const SHAPE: Shape = Shape {
    entry_bytes: 256,
    regions: 100,
    batch_entries: 64,
};

/// The name of the cell.
pub const CELL: &str = "recovery";
/// The figure of what an opened log keeps.
pub const MEMORY: &str = "bytes of memory per entry";
/// The side that only reads.
pub const READ: &str = "sequential read";

/// Writes two equal logs, then opens them in turn.
pub fn run(arguments: &Arguments, settings: &Settings, report: &mut Report) {
    let mib = arguments
        .recovery_mib
        .unwrap_or(if arguments.quick { 128 } else { 1024 });
    let rounds = arguments
        .rounds
        .unwrap_or(if arguments.quick { 3 } else { 9 });
    let (ours, peer) = (
        settings.directory.join("old-ours"),
        settings.directory.join("old-peer"),
    );
    let batches = (mib << 20) / ours::batch_bytes(SHAPE) as u64;
    let entries = batches * SHAPE.batch_entries as u64;
    println!("\n## Recovery\n");
    println!(
        "A log of {mib} MiB, {entries} entries of {} bytes over {} regions, is opened until it takes \
         batches; an operation is one MiB of it. Files are read past the page cache (ours) or with \
         their pages dropped before (raft-engine, which reads on 4 threads). Memory is what the opening \
         leaves allocated.",
        SHAPE.entry_bytes, SHAPE.regions
    );
    on_thread(settings, {
        let (settings, ours) = (settings.clone(), ours.clone());
        move || async move { write_ours(&settings, &ours, batches).await }
    });
    write_peer(&peer, batches);
    let open_ours = || {
        let ours = ours.clone();
        let settings = settings.clone();
        on_thread(&settings.clone(), move || async move {
            open_ours(&settings, &ours, mib, entries).await
        })
    };
    let read = || {
        let ours = ours.clone();
        on_thread(settings, move || async move { read_all(&ours, mib).await })
    };
    let open_peer = || open_peer(&peer, mib, entries);
    let sides: [(&str, &str, &dyn Fn() -> Sample); 3] = [
        ("ours", OURS, &open_ours),
        ("bare", READ, &read),
        ("peer", "raft-engine", &open_peer),
    ];
    let mut runners: Vec<Runner<'_>> = Vec::new();
    for (side, name, work) in sides {
        if arguments.has_side(side) {
            runners.push((name, Box::new(move |_| work())));
        }
    }
    let cell = interleave(CELL, rounds, &mut runners);
    drop(runners);
    println!("{}", report.add(cell, OURS));
    for directory in [ours, peer] {
        std::fs::remove_dir_all(directory).expect("the files can be removed");
    }
}

/// Runs something on an executor on a thread of its own, which may be pinned.
fn on_thread<Output: Send + 'static, Work: Future<Output = Output>>(
    settings: &Settings,
    work: impl FnOnce() -> Work + Send + 'static,
) -> Output {
    let settings = settings.clone();
    let thread = std::thread::spawn(move || bare::executor(&settings).run(work()));
    thread.join().expect("the work is done")
}

async fn write_ours(settings: &Settings, directory: &Path, batches: u64) {
    let mut ours = Ours::create(settings, directory, SHAPE, 32).await;
    for batch in 0..batches {
        ours.submit(Instant::now());
        if batch % 8 == 7 {
            ours.settle().await;
        }
    }
    ours.close().await;
}

async fn open_ours(settings: &Settings, directory: &Path, mib: u64, entries: u64) -> Sample {
    let directory = ShardDirectory::of(directory, 0);
    memory::count(true);
    let before = memory::live_bytes();
    let meter = Meter::start();
    let disk = LogDisk::open(directory, settings.durability).await;
    let disk = disk.expect("our files open");
    let (log, verdict) = disk
        .recover(LOG_ID, ours::limits(32))
        .await
        .expect("the log is whole");
    assert_eq!(verdict.discarded, 0);
    let recovered = meter.elapsed();
    let kept = memory::live_bytes() - before;
    let mut ours = Ours::of(log, disk, SHAPE);
    while !ours.log.is_open() {
        ours.step().await;
    }
    let mut recorder = Recorder::default();
    recorder.record(meter.elapsed());
    let sample = meter.stop(mib, mib << 20, &recorder);
    memory::count(false);
    ours.close().await;
    sample
        .with_figure(MEMORY, kept as f64 / entries as f64)
        .with_figure("ms before the first effect", recovered.as_secs_f64() * 1e3)
}

/// Reads the log's files to the end of what was written, one MiB at a time, eight at once.
async fn read_all(directory: &Path, mib: u64) -> Sample {
    const PIECE_BYTES: usize = 1 << 20;
    let directory = ShardDirectory::of(directory, 0);
    let settled = probe::settle_polling(&directory.log()).await;
    settled.expect("the directory is writable");
    let mut pieces = Vec::new();
    for (slot, bytes) in directory.list_segments().expect("it lists") {
        let file = DmaFile::open(directory.segment(slot)).await;
        let file = Rc::new(file.expect("it opens"));
        for piece in 0..bytes / PIECE_BYTES as u64 {
            pieces.push((file.clone(), piece * PIECE_BYTES as u64));
        }
    }
    pieces.truncate(mib as usize);
    assert_eq!(pieces.len() as u64, mib, "the files hold the log");
    let pieces = Rc::new(std::cell::RefCell::new(pieces.into_iter()));
    let meter = Meter::start();
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let pieces = pieces.clone();
            glommio::spawn_local(async move {
                loop {
                    let piece = pieces.borrow_mut().next();
                    let Some((file, offset)) = piece else { break };
                    let read = file.read_at_aligned(offset, PIECE_BYTES).await;
                    assert_eq!(read.expect("the read succeeds").len(), PIECE_BYTES);
                }
            })
        })
        .collect();
    for reader in readers {
        reader.await;
    }
    let mut recorder = Recorder::default();
    recorder.record(meter.elapsed());
    meter.stop(mib, mib << 20, &recorder)
}

fn write_peer(directory: &Path, batches: u64) {
    let engine = Engine::open(Variant::Plain.config(directory)).expect("the peer opens");
    let mut writer = PeerWriter::new(engine, SHAPE);
    for _ in 0..batches {
        writer.write(false);
    }
    writer.engine.sync().expect("the peer syncs");
}

fn open_peer(directory: &Path, mib: u64, entries: u64) -> Sample {
    for file in files(directory) {
        let file = File::open(file).expect("it is there");
        file.sync_all().expect("the sync succeeds");
        // SAFETY: the descriptor is open for the length of the call.
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    }
    memory::count(true);
    let before = memory::live_bytes();
    let meter = Meter::start();
    let engine = Engine::open(Variant::Plain.config(directory)).expect("the peer opens");
    let mut recorder = Recorder::default();
    recorder.record(meter.elapsed());
    let sample = meter.stop(mib, mib << 20, &recorder);
    let kept = memory::live_bytes() - before;
    memory::count(false);
    let last = engine.last_index(1).expect("the region is known");
    assert_eq!(
        last,
        entries / SHAPE.regions as u64 + u64::from(!entries.is_multiple_of(100))
    );
    drop(engine);
    sample.with_figure(MEMORY, kept as f64 / entries as f64)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("it lists");
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}
