//! What a person types, one file for each command.
#![expect(
    clippy::disallowed_methods,
    reason = "a command is where the world enters"
)]

use clap::Subcommand;

pub use crate::runtime::failure::{Exit, Failure};

mod amount;
mod bench;
mod cas;
mod cluster;
mod config;
mod del;
mod del_range;
mod dump;
mod get;
mod incr;
mod mapped;
mod node;
mod number;
mod octets;
mod output;
mod page;
mod placement;
mod put;
mod region;
mod region_move;
mod scan;
mod start;
mod status;
mod target;

/// The commands.
#[derive(Subcommand)]
pub enum Command {
    /// Run a node
    #[command(after_help = start::EXAMPLES)]
    Start(start::Settings),
    /// Show how the cluster is
    Status(status::Status),
    /// Print the value of a key
    Get(get::Get),
    /// Set a key
    Put(put::Put),
    /// Delete keys
    Del(del::Del),
    /// Delete all keys of a range
    DelRange(del_range::DelRange),
    /// Print keys and values in order
    Scan(scan::Scan),
    /// Set or delete a key if it is as expected
    Cas(cas::Cas),
    /// Add to a counter
    Incr(incr::Incr),
    /// Look at regions, move their replicas
    #[command(subcommand)]
    Region(region::RegionCommand),
    /// Look at nodes
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Look at placement, which puts replicas where they are; hold it
    #[command(subcommand)]
    Placement(placement::PlacementCommand),
    /// Show and check settings
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print what is in a file of the log or the state store
    #[command(subcommand)]
    Dump(dump::Dump),
    /// Measure writes and reads: of nodes started for this, or of a cluster that runs
    Bench(Box<bench::Bench>),
}

/// Runs one command.
pub fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Start(settings) => start::run(settings),
        Command::Status(status) => status::run(status),
        Command::Get(get) => get::run(get),
        Command::Put(put) => put::run(put),
        Command::Del(del) => del::run(del),
        Command::DelRange(del) => del_range::run(del),
        Command::Scan(scan) => scan::run(scan),
        Command::Cas(cas) => cas::run(cas),
        Command::Incr(incr) => incr::run(incr),
        Command::Region(command) => region::run(command),
        Command::Node(command) => node::run(command),
        Command::Placement(command) => placement::run(command),
        Command::Config(command) => config::run(command),
        Command::Dump(dump) => dump::run(dump),
        Command::Bench(bench) => bench::run(*bench),
    }
}
