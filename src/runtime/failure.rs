//! Why a process ends without success.

use std::fmt;

/// The exit codes, the same for every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Something was asked for and could not be had; the message says what.
    Failed = 1,
    /// A flag, an argument or a setting that cannot be.
    Usage = 2,
    /// The data directory is in use by another process.
    InUse = 10,
    /// The data belongs to another cluster.
    ForeignCluster = 11,
    /// The data was written by another number of shards.
    ShardCount = 12,
    /// A port is in use.
    PortInUse = 13,
    /// A file holds what was never written there.
    Corruption = 14,
    /// A write or a sync failed.
    FailedWrite = 15,
    /// No space to start with.
    NoSpace = 16,
    /// The node was taken out of its cluster.
    Removed = 17,
}

/// From now on a panic in any thread ends the process, whichever way the program was built: one shard less
/// must not leave the others answering, and whoever watches over the process starts it again.
pub fn end_on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        eprintln!(
            "coracle: that is a bug, and this process ends; what was acknowledged is durable"
        );
        std::process::abort();
    }));
}

/// What was wrong, and what would be right.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The exit code of the process.
    pub exit: Exit,
    /// One line for a person.
    pub message: String,
}

impl Failure {
    /// A failure of this kind, told in this line.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Failure {
        Failure {
            exit,
            message: message.to_string(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message.fmt(out)
    }
}

impl std::error::Error for Failure {}
