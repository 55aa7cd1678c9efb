//! Writes of a process that was killed.
//!
//! The end of a process does not wait for the writes that its rings have handed to the disk, and neither does
//! its lock. What the next process reads could change under it, and what it writes be written over. So it
//! begins with files that nobody has open for writing: such a write holds its file open, whoever began it,
//! and the kernel gives no lease for reading as long as it does.
#![expect(
    unsafe_code,
    reason = "the standard library does not ask for leases of files"
)]

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use glommio::timer::Timer;

use super::{DiskError, Failure, ShardDirectory};

/// The pause before it is looked again.
const PAUSE: Duration = Duration::from_millis(2);

/// A disk may take so long for what was begun.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether anybody, even a process that has ended, has a file open for writing. File systems without leases
/// do not say, and then nobody has.
fn is_open_for_writing(path: &Path) -> Result<bool, DiskError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(DiskError::io("open", path)(error)),
    };
    let lease = |kind: libc::c_int| {
        // SAFETY: no memory is handed over, and the file is open.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) }
    };
    if lease(libc::F_RDLCK) == 0 {
        lease(libc::F_UNLCK);
        return Ok(false);
    }
    let error = std::io::Error::last_os_error();
    Ok(error.raw_os_error() == Some(libc::EAGAIN))
}

/// Waits until nothing of an earlier process is written to a shard's files any more.
pub async fn wait(directory: &ShardDirectory) -> Result<(), DiskError> {
    let mut files = vec![directory.manifest(), directory.manifest_new()];
    files.push(directory.reserve());
    let segments = directory.list_segments()?;
    files.extend(segments.iter().map(|(slot, _)| directory.segment(*slot)));
    let tables = directory.list_tables()?;
    files.extend(tables.iter().map(|(table, _)| directory.table(*table)));
    let begun = Instant::now();
    for path in files {
        while is_open_for_writing(&path)? {
            if begun.elapsed() > PATIENCE {
                return Err(DiskError::new(
                    "wait for the writes of an earlier process to",
                    &path,
                    Failure::of_code(libc::EBUSY),
                ));
            }
            Timer::new(PAUSE).await;
        }
    }
    if begun.elapsed() > PAUSE {
        let waited = begun.elapsed().as_millis() as u64;
        tracing::info!(waited, "writes of an earlier process have ended, ms");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_open_for_writing_until_it_is_closed() {
        let data = tempfile::tempdir().expect("a directory");
        let path = data.path().join("file");
        assert_eq!(is_open_for_writing(&path), Ok(false), "it is not there");
        let writer = File::create(&path).expect("it can be made");
        // A file system without leases has nothing to test.
        if is_open_for_writing(&path) == Ok(true) {
            let reader = File::open(&path).expect("it can be read");
            drop(writer);
            assert_eq!(is_open_for_writing(&path), Ok(false));
            drop(reader);
        }
    }
}
