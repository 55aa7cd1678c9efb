//! What a person types, one file for each command.
#![expect(
    clippy::disallowed_methods,
    reason = "a command is where the world enters"
)]

use std::fmt;

use clap::Subcommand;

mod bench;
mod dump;
mod mapped;

/// The commands.
#[derive(Subcommand)]
pub enum Command {
    /// Print what is in a file of the log or the state store
    #[command(subcommand)]
    Dump(dump::Dump),
    /// Measure the log of one shard on this machine's disk
    Bench(bench::Bench),
}

/// Runs one command.
pub fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Dump(dump) => dump::run(dump),
        Command::Bench(bench) => bench::run(bench),
    }
}

/// The exit codes, the same for every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// A flag, an argument or a setting that cannot be.
    Usage = 2,
    /// A file holds what was never written there.
    Corruption = 14,
    /// A write or a sync failed.
    FailedWrite = 15,
    /// No space to start with.
    NoSpace = 16,
}

/// Why a command ended without success: what was wrong, and what would be right.
#[derive(Debug)]
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
