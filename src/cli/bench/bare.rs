//! The bare loop beside the log: writes of one size, each durable before it counts, and nothing else.
//!
//! What it shows is what this disk gives to writes of that size, over the ring that a node's log writes
//! through: no record is encoded, no index kept, no segment turned over.

use std::rc::Rc;
use std::time::{Duration, Instant};

use coracle_wal::Lsn;
use hdrhistogram::Histogram;

use crate::runtime::disk::file::Opening;
use crate::runtime::disk::{BLOCK_BYTES, DirectFile, DiskError, Durability, ShardDirectory};
use crate::runtime::ring::Ring;
use crate::runtime::ring::writes::Writes;

/// The file is written from its beginning again after so many bytes.
const FILE_BYTES: u64 = 256 << 20;

/// What a run has come to.
pub struct Outcome {
    /// Writes that were durable.
    pub micros: Histogram<u64>,
    /// How long it took.
    pub elapsed: Duration,
}

/// A file of zeros, and a ring to write to it.
pub struct Bare {
    ring: Ring,
    writes: Writes,
    file: Rc<DirectFile>,
    syncs: bool,
    payload: Vec<u8>,
    offset: u64,
}

impl Bare {
    /// A file beside where the log's segments would be.
    pub async fn open(
        directory: &ShardDirectory,
        durability: Durability,
        write_bytes: usize,
        ring: Ring,
    ) -> Result<Bare, DiskError> {
        let path = directory.log().join("bare");
        let failed = |failure| DiskError::new("create", &path, failure);
        let file = DirectFile::open(&path, Opening::Emptied).await?;
        file.write_zeros(0, FILE_BYTES).await.map_err(failed)?;
        file.sync().await.map_err(failed)?;
        file.close().await.map_err(failed)?;
        let syncs = durability == Durability::WriteThenSync;
        let opening = if syncs {
            Opening::Existing
        } else {
            Opening::WriteThrough
        };
        Ok(Bare {
            ring,
            writes: Writes::default(),
            file: Rc::new(DirectFile::open(&path, opening).await?),
            syncs,
            payload: super::log::incompressible(write_bytes.next_multiple_of(BLOCK_BYTES as usize)),
            offset: 0,
        })
    }

    /// Bytes of one write.
    pub fn write_bytes(&self) -> usize {
        self.payload.len()
    }

    /// Keeps so many writes under way for so long.
    pub fn run(&mut self, depth: usize, duration: Duration) -> Result<Outcome, DiskError> {
        let mut micros = Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds that fit");
        let begin = Instant::now();
        let mut done = Vec::new();
        loop {
            let over = begin.elapsed() >= duration;
            while !over && self.writes.len() < depth {
                self.begin();
            }
            if over && self.writes.is_empty() {
                let elapsed = begin.elapsed();
                return Ok(Outcome { micros, elapsed });
            }
            self.ring.enter(&mut done);
            for one in done.drain(..) {
                let Some(written) = self.writes.complete(one) else {
                    continue;
                };
                let failed = |failure| DiskError::new("write", written.file.path(), failure);
                written.outcome.map_err(failed)?;
                micros.saturating_record(written.began.elapsed().as_micros() as u64);
            }
        }
    }

    fn begin(&mut self) {
        let length = self.payload.len();
        if self.offset + length as u64 > FILE_BYTES {
            self.offset = 0;
        }
        let mut buffer = self.file.buffer(length);
        buffer.as_bytes_mut()[..length].copy_from_slice(&self.payload);
        let (file, offset) = (self.file.clone(), self.offset);
        self.writes
            .begin(&self.ring, Lsn(0), file, buffer, offset, self.syncs);
        self.offset += length as u64;
    }
}
