//! Reads a log back: the reads that recovery wants, several at once, fed in order.

use crate::runtime::disk::file::ReadBytes;
use crate::runtime::disk::{DiskError, Failure, LogDisk, submit_now};
use coracle_wal::recover::Need;
use coracle_wal::{Corrupt, Limits, Log, LogId, Recovery, Verdict};
use std::collections::VecDeque;
use std::fmt;

/// Why a log could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryError {
    /// A file could not be opened or read.
    Disk(DiskError),
    /// What was acknowledged is not there any more.
    Corrupt(Corrupt),
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecoveryError::Disk(error) => error.fmt(formatter),
            RecoveryError::Corrupt(corrupt) => corrupt.fmt(formatter),
        }
    }
}

impl std::error::Error for RecoveryError {}

impl From<DiskError> for RecoveryError {
    fn from(error: DiskError) -> RecoveryError {
        RecoveryError::Disk(error)
    }
}

impl From<Corrupt> for RecoveryError {
    fn from(corrupt: Corrupt) -> RecoveryError {
        RecoveryError::Corrupt(corrupt)
    }
}

impl LogDisk {
    /// Opens the log in these files. Its first effects make durable what was found; until they are
    /// carried out the log lets nothing else go.
    pub async fn recover(
        &self,
        id: LogId,
        limits: Limits,
    ) -> Result<(Log, Verdict), RecoveryError> {
        let mut recovery = Recovery::new(id, limits, self.list()?);
        let mut reads = VecDeque::new();
        while !recovery.is_finished() {
            while let Some(need) = recovery.wants() {
                let disk = self.clone();
                let read = glommio::spawn_local(async move { disk.read_piece(need).await });
                reads.push_back((need, read));
            }
            let (need, read) = reads.pop_front().expect("recovery wants what it waits for");
            let bytes = read.await.map_err(|failure| {
                let path = self.segment_path(need.slot);
                DiskError::new("read", &path, failure)
            })?;
            recovery.feed(need, &bytes)?;
            drop(bytes);
            // Reads end together; the next ones must not wait until all of these are dealt with.
            submit_now().await;
        }
        Ok(recovery.finish())
    }

    async fn read_piece(&self, need: Need) -> Result<ReadBytes, Failure> {
        self.read(need.slot, u64::from(need.offset), need.len as usize)
            .await
    }
}
