//! The node that a command asks.

use std::time::Duration;

use clap::Args;

use crate::cli::number::whole;
use crate::cli::output::Output;
use crate::cli::{Exit, Failure};
use crate::runtime::address::Address;
use crate::runtime::caller::{CallError, Caller};

/// Which node to ask, and how to print what it says.
#[derive(Args, Clone)]
pub struct Target {
    /// A node of the cluster; any of them will do
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "CORACLE_TARGET",
        default_value = "127.0.0.1:7400"
    )]
    target: String,
    /// Seconds to wait
    #[arg(long, value_name = "SECONDS", default_value_t = 15, allow_negative_numbers = true, value_parser = whole::<u64, 1, 86_400>)]
    timeout: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Target {
    /// Where the node is.
    pub(super) fn address(&self) -> Result<Address, Failure> {
        let wrong = |why| Failure::new(Exit::Usage, format!("--target or CORACLE_TARGET: {why}"));
        let address = Address::parse(&self.target).map_err(wrong)?;
        match address.port {
            0 => Err(wrong("a node has a port that is not 0".into())),
            _ => Ok(address),
        }
    }

    /// How long to wait.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// Connects to it.
    pub(super) fn connect(&self) -> Result<Caller, Failure> {
        Caller::connect(&self.address()?, self.patience()).map_err(|error| self.unreached(error))
    }

    /// That it cannot be reached.
    pub(super) fn unreached(&self, why: impl std::fmt::Display) -> Failure {
        let why =
            format!("no node answers: {why}; name one with --target HOST:PORT or CORACLE_TARGET");
        Failure::new(Exit::Failed, why)
    }

    /// Where to print.
    pub(super) fn output(&self) -> Output {
        Output::new(self.json)
    }

    /// Whether a program reads.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }
}

/// A call that came to nothing.
pub(super) fn failed(error: CallError) -> Failure {
    Failure::new(Exit::Failed, error)
}

/// An answer that belongs to something else.
pub(super) fn strange(answer: &impl std::fmt::Debug) -> Failure {
    let why = format!("the node answers something else than was asked: {answer:?}");
    Failure::new(Exit::Failed, why)
}
