//! The command line: arguments in, an exit code out.

use std::process::ExitCode;

use clap::Parser;

use coracle::cli::{self, Command};
use coracle::memory::Memory;

#[global_allocator]
static MEMORY: Memory = Memory;

/// What the exit codes mean.
const EXITS: &str = "Exit codes:
  0   done
  1   not done, not found, or not as expected; standard error says which
  2   a flag, an argument or a setting that cannot be
  10  the data directory is in use        13  a port is in use
  11  the data is of another cluster      14  a file is damaged
  12  the data has another shard count    15  a write has failed
  17  the node was removed                16  no space to start with";

/// A replicated, ordered key-value store in which every core sails alone.
#[derive(Parser)]
#[command(name = "coracle", version, about, arg_required_else_help = true, after_help = EXITS)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    match cli::run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("coracle: {}", failure.message);
            ExitCode::from(failure.exit as u8)
        }
    }
}
