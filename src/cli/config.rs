//! `coracle config`: what is set, and whether it can be.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::output::Output;
use crate::cli::start::Settings;
use crate::cli::{Exit, Failure};
use crate::runtime::config::Config;

/// What is done with settings.
#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Print the settings that hold in the end: defaults, file, environment, flags
    Print(Box<Print>),
    /// Check a configuration file by itself; ends with 2 and the first thing that cannot be
    Check(Check),
}

/// Prints settings.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  coracle config print > coracle.toml\n  CORACLE_NODE__SHARDS=2 coracle config print --config coracle.toml"
)]
pub struct Print {
    #[command(flatten)]
    settings: Settings,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Checks a file.
#[derive(Args)]
#[command(after_help = "Examples:\n  coracle config check coracle.toml")]
pub struct Check {
    /// The file
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs one of them.
pub(super) fn run(command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Print(print) => {
            let config = print.settings.load()?;
            let mut out = Output::new(print.json);
            let failed = |error| Failure::new(Exit::Failed, error);
            let value = serde_json::to_value(&config).map_err(failed)?;
            out.line(|| config.print().trim_end().into(), || value);
            out.finish()
        }
        ConfigCommand::Check(check) => {
            Config::load(Some(&check.file), std::iter::empty())?.check()?;
            let mut out = Output::new(check.json);
            let file = check.file.display().to_string();
            out.line(
                || format!("{file}: nothing is wrong with it"),
                || json!({ "file": file, "ok": true }),
            );
            out.finish()
        }
    }
}
