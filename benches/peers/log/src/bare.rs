//! The ceiling: a write loop on glommio that knows nothing of logs.
//!
//! It writes the same number of bytes per batch as the log does, from a buffer filled by one copy,
//! with the same durability, round and round in a file that was written full before and is as large as
//! all of the log's files together, on an executor of the same settings.

use crate::contender::{Contender, Stint, Stretch};
use crate::settings::Settings;
use crate::shape::Payload;
use coracle::runtime::disk::{Durability, probe};
use coracle_bench_harness::Sample;
use glommio::io::{DmaFile, OpenOptions};
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// An executor as all contenders on glommio get it.
pub fn executor(settings: &Settings) -> LocalExecutor {
    let placement = settings.cpu.map_or(Placement::Unbound, Placement::Fixed);
    LocalExecutorBuilder::new(placement)
        .io_memory(16 << 20)
        .ring_depth(256)
        .spin_before_park(Duration::from_micros(settings.spin_us))
        .make()
        .expect("an executor can be made")
}

/// Starts the loop for batches of so many bytes.
pub fn start(settings: &Settings, batch_bytes: usize, file_bytes: u64) -> Contender {
    let settings = settings.clone();
    Contender::start("bare loop", None, move |stints, samples| {
        let executor = executor(&settings);
        let path = settings.directory.join("bare");
        let file = executor.run(prepare(&settings, &path, file_bytes));
        let bare = Rc::new(Bare {
            file,
            sync: settings.durability == Durability::WriteThenSync,
            batch_bytes,
            file_bytes,
            offset: Cell::new(0),
            payload: RefCell::new(Payload::new()),
        });
        for stint in stints {
            let sample = executor.run(bare.clone().run(stint));
            if samples.send(sample).is_err() {
                break;
            }
        }
    })
}

struct Bare {
    file: DmaFile,
    sync: bool,
    batch_bytes: usize,
    file_bytes: u64,
    offset: Cell<u64>,
    payload: RefCell<Payload>,
}

impl Bare {
    async fn run(self: Rc<Self>, stint: Stint) -> Sample {
        let stretch = Stretch::begin(stint);
        let end = stretch.end;
        let stretch = Rc::new(RefCell::new(stretch));
        if stint.in_flight == 1 {
            self.clone().repeat(end, stretch.clone()).await;
        } else {
            let tasks: Vec<_> = (0..stint.in_flight)
                .map(|_| glommio::spawn_local(self.clone().repeat(end, stretch.clone())))
                .collect();
            for task in tasks {
                task.await;
            }
        }
        let stretch = Rc::into_inner(stretch).expect("all tasks have ended");
        stretch.into_inner().finish()
    }

    async fn repeat(self: Rc<Self>, end: Instant, stretch: Rc<RefCell<Stretch>>) {
        loop {
            let begin = Instant::now();
            if begin >= end {
                return;
            }
            let mut offset = self.offset.get();
            if offset + self.batch_bytes as u64 > self.file_bytes {
                offset = 0;
            }
            self.offset.set(offset + self.batch_bytes as u64);
            let mut buffer = self.file.alloc_dma_buffer(self.batch_bytes);
            buffer
                .as_bytes_mut()
                .copy_from_slice(self.payload.borrow_mut().take(self.batch_bytes));
            let written = self.file.write_at(buffer, offset).await;
            assert_eq!(written.expect("the write succeeds"), self.batch_bytes);
            if self.sync {
                self.file.fdatasync().await.expect("the sync succeeds");
            }
            stretch.borrow_mut().record(begin.elapsed());
        }
    }
}

async fn prepare(settings: &Settings, path: &Path, file_bytes: u64) -> DmaFile {
    let settled = probe::settle_polling(&settings.directory).await;
    settled.expect("the directory is writable");
    let flags = match settings.durability {
        Durability::WriteThrough => libc::O_DSYNC,
        Durability::WriteThenSync => 0,
    };
    write_zeros(path, file_bytes);
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .dma_open(path)
        .await
        .expect("the file opens")
}

/// Writes the file full once, so that the loop later only overwrites.
pub fn write_zeros(path: &Path, bytes: u64) {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    let mut file = std::fs::File::create(path).expect("the file can be created");
    let zeros = vec![0; 1 << 20];
    for _ in 0..bytes / zeros.len() as u64 {
        file.write_all(&zeros).expect("there is space");
    }
    file.sync_all().expect("the sync succeeds");
    // Direct writes to a file with cached pages must invalidate them each time: start without any.
    // SAFETY: the descriptor is open for the length of the call.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
}
