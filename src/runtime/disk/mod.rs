//! The driver of the disk: carries the effects of the log and of the store to real files, and their
//! completions back.
//!
//! It is thin on purpose. What may only happen after something else is withheld by `wal` and `engine`
//! until that something is reported; so everything here may run in any order, and all that this code
//! can do wrong is to report what is not true. What it therefore takes care of:
//!
//! * **Direct I/O** ([`file`]): whole 4 KiB blocks, past the page cache. A write that ended short goes
//!   on where it stopped; one that cannot is a failure, never a success. Through the ring of our own a
//!   log write that ended short is a failure at once.
//! * **Durability** ([`probe`]): a log write is durable when it was written through the device's
//!   cache, or written and then synced; which of the two is faster is measured once per store.
//! * **Names**: a file that is reported has its directory synced, too.
//! * **Final failures**: after one failed write or sync of the log or the manifest every later one is
//!   refused with the same failure. The kernel may drop what it could not write and say so once only;
//!   a second try would succeed and prove nothing.
//! * **Polling** ([`probe`]): glommio must see a file with content before it sees an empty one, or
//!   reads fail later.
//!
//! Everything runs on one executor thread. No borrow of shared state lives across an `await`.
#![expect(
    clippy::disallowed_methods,
    reason = "this is where files are opened and time is measured"
)]

pub mod alignment; // what direct I/O on a file must be aligned to
pub mod failure; // what went wrong, and where
pub mod layout; // the names of files, both ways
pub mod probe; // what this device can do, found out before it is trusted
pub mod file; // one file under direct I/O
pub mod free; // how much room is left
pub mod leftover; // writes of a process that was killed
pub mod finished; // completions on their way to the turn loop
pub mod log; // the effects of the log
pub mod pace; // how much it writes, and how fast
pub mod recovery; // a log read back
pub mod store; // the effects of the engine

pub use failure::{DiskError, Failure};
pub use file::DirectFile;
pub use finished::Finished;
pub use free::free_bytes;
pub use layout::ShardDirectory;
pub use log::{LogDisk, LogFinished};
pub use pace::Pace;
pub use probe::Durability;
pub use recovery::RecoveryError;
pub use store::{StoreDisk, StoreFinished, StoreQueues};

/// Everything is written and read in blocks of so many bytes, or multiples.
pub const BLOCK_BYTES: u64 = 4096;

/// No read or write that is handed to the kernel is longer; longer ones are cut up.
pub const TRANSFER_BYTES_MAX: usize = 1 << 20;

/// Lets the executor hand to the kernel what was begun, though the caller has more to do.
///
/// glommio submits when all tasks wait, or when its preemption timer strikes. So a task that never
/// waits lets the disk stand idle, and yielding to other tasks does not change that: waiting for a
/// moment does.
pub async fn submit_now() {
    glommio::timer::Timer::new(std::time::Duration::from_micros(1)).await;
}
