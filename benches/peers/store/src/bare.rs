//! The ceiling of uncached gets: the same number of random reads of one block each, with nothing around
//! them, through the same executor and the same kind of file.

use std::{io::Write, path::Path, time::Instant};

use coracle_bench_harness::{Meter, Recorder, Sample};
use glommio::io::DmaFile;

use crate::{
    executor,
    files::Traffic,
    side::{Opened, Options, Side},
    work::Work,
};

/// Reads without a store, as a side.
pub const SIDE: Side = Side {
    name: "bare reads",
    open,
};

/// The block that ours and the peers use.
const BLOCK: u64 = 4096;

struct Bare {
    file: Option<DmaFile>,
    path: std::path::PathBuf,
    blocks: u64,
}

fn open(path: &Path, _options: &Options) -> Box<dyn Opened> {
    Box::new(Bare {
        file: None,
        path: path.join("blocks"),
        blocks: 0,
    })
}

impl Opened for Bare {
    /// Puts make a file of that many bytes; gets read a block of it each.
    fn run(&mut self, work: &Work<'_>) -> Sample {
        match work {
            Work::Put { count, values, .. } => self.grow(*count * (values.length() as u64 + 16)),
            Work::Get {
                sequence, count, ..
            } => self.read(sequence.clone(), *count),
            _ => unreachable!("the bare loop reads blocks"),
        }
    }

    fn shape(&self) -> String {
        format!("one file of {} blocks", self.blocks)
    }
}

impl Bare {
    fn grow(&mut self, bytes: u64) -> Sample {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .append(true)
            .create(true)
            .open(&self.path)
            .expect("a file opens");
        let chunk = vec![0xA5; 1 << 20];
        for _ in 0..bytes.div_ceil(1 << 20) {
            file.write_all(&chunk).expect("the disk has space");
        }
        file.sync_all().expect("the disk syncs");
        self.blocks = file.metadata().expect("it is open").len() / BLOCK;
        Sample::default()
    }

    fn read(&mut self, mut sequence: crate::keys::Sequence, count: u64) -> Sample {
        executor::run(async {
            if self.file.is_none() {
                self.file = Some(DmaFile::open(&self.path).await.expect("the file opens"));
            }
            let file = self.file.as_ref().expect("it was opened just now");
            let mut recorder = Recorder::default();
            let before = Traffic::so_far();
            let meter = Meter::start();
            for _ in 0..count {
                let block = sequence.draw() % self.blocks;
                let start = Instant::now();
                let bytes = file.read_at_aligned(block * BLOCK, BLOCK as usize).await;
                assert_eq!(bytes.expect("the disk reads").len(), BLOCK as usize);
                recorder.record(start.elapsed());
            }
            let sample = meter.stop(count, count * BLOCK, &recorder);
            let read = Traffic::so_far().since(&before).read;
            sample.with_figure("KiB read/op", read as f64 / 1024.0 / count as f64)
        })
    }
}
