//! The command line: arguments in, an exit code out.

use std::process::ExitCode;

use clap::Parser;

use coracle::cli::{self, Command};

/// A replicated, ordered key-value store in which every core sails alone.
#[derive(Parser)]
#[command(name = "coracle", version, about, arg_required_else_help = true)]
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
