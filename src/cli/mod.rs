//! What a person types, one file for each command.
#![expect(
    clippy::disallowed_methods,
    reason = "a command is where the world enters"
)]

use clap::Subcommand;

pub use crate::runtime::failure::{Exit, Failure};

mod bench;
mod dump;
mod mapped;

mod start;

/// The commands.
#[derive(Subcommand)]
pub enum Command {
    /// Run a node
    Start(start::Settings),
    /// Show settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print what is in a file of the log or the state store
    #[command(subcommand)]
    Dump(dump::Dump),
    /// Measure writes and reads: of nodes started for this, or of a cluster that runs
    Bench(Box<bench::Bench>),
}

/// What is done with settings.
#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Print the settings that hold in the end: defaults, file, environment, flags
    Print(start::Settings),
}

/// Runs one command.
pub fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Start(settings) => start::run(settings),
        Command::Config(ConfigCommand::Print(settings)) => start::print(settings),
        Command::Dump(dump) => dump::run(dump),
        Command::Bench(bench) => bench::run(*bench),
    }
}
