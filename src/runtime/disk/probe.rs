//! What this device can do, found out before it is trusted.

use crate::runtime::disk::file::Opening;
use crate::runtime::disk::{BLOCK_BYTES, DirectFile, DiskError, Failure};
use glommio::io::DmaFile;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// How a write of log or manifest becomes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Each write goes through the device's cache.
    WriteThrough,
    /// Each write is followed by a sync of the file.
    WriteThenSync,
}

/// Longer than what glommio reads when it opens its first file of a device.
const PROBE_BYTES: u64 = 64 << 10;

/// Makes glommio judge the device of a directory by a file that has content.
///
/// When the first file of a device is opened on an executor's thread, glommio tries a polled read of
/// it and remembers the outcome for the device. On an empty file the read ends at once, which passes
/// for success, and every later read of any file on that device fails. So this comes before any other
/// file, on every executor thread, for every directory that may lie on a device of its own. The file
/// stays, so that a start on a full disk finds it.
pub async fn settle_polling(directory: &Path) -> Result<(), DiskError> {
    let path = directory.join("probe");
    let length = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(DiskError::io("open", &path))?;
    if length < PROBE_BYTES {
        file.write_all(&vec![0; PROBE_BYTES as usize])
            .map_err(DiskError::io("write", &path))?;
    }
    // Blocks that were never written out read as nothing without a device being asked.
    file.sync_all().map_err(DiskError::io("sync", &path))?;
    let failed = |failure| DiskError::new("open", &path, failure);
    let file = DmaFile::open(&path).await;
    let file = file.map_err(|error| failed(Failure::of_runtime(&error)))?;
    let closed = file.close().await;
    closed.map_err(|error| failed(Failure::of_runtime(&error)))
}

/// So many writes of each kind are timed at most.
const TRIALS_MAX: usize = 64;

/// No more are begun after this time.
const TRIAL_TIME: Duration = Duration::from_millis(500);

/// Measures both ways on a file of the directory, alternating, and answers which one is faster.
///
/// Writing through is answered unless the other is faster by more than a tenth: it is one request
/// instead of two, and the kernel's workers, which carry out syncs, share the executor's CPU.
pub async fn durability(directory: &Path) -> Result<Durability, DiskError> {
    let path = directory.join("probe-durability");
    let answer = measure(&path).await;
    let removed = std::fs::remove_file(&path);
    let answer = answer?;
    removed.map_err(DiskError::io("remove", &path))?;
    Ok(answer)
}

async fn measure(path: &Path) -> Result<Durability, DiskError> {
    let failed = |failure| DiskError::new("measure writes to", path, failure);
    let plain = DirectFile::open(path, Opening::Emptied).await?;
    let bytes = TRIALS_MAX as u64 * BLOCK_BYTES;
    plain.write_zeros(0, bytes).await.map_err(failed)?;
    plain.sync().await.map_err(failed)?;
    let through = DirectFile::open(path, Opening::WriteThrough).await?;
    let (mut through_times, mut sync_times) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    for trial in 0..TRIALS_MAX {
        let offset = trial as u64 * BLOCK_BYTES;
        let block = |file: &DirectFile| {
            let mut buffer = file.buffer(BLOCK_BYTES as usize);
            buffer.as_bytes_mut().fill(trial as u8);
            buffer
        };
        let start = Instant::now();
        through
            .write(block(&through), offset)
            .await
            .map_err(failed)?;
        through_times.push(start.elapsed());
        let start = Instant::now();
        plain.write(block(&plain), offset).await.map_err(failed)?;
        plain.sync().await.map_err(failed)?;
        sync_times.push(start.elapsed());
        if begin.elapsed() > TRIAL_TIME {
            break;
        }
    }
    through.close().await.map_err(failed)?;
    plain.close().await.map_err(failed)?;
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    if median(&mut through_times) <= median(&mut sync_times) * 11 / 10 {
        Ok(Durability::WriteThrough)
    } else {
        Ok(Durability::WriteThenSync)
    }
}
