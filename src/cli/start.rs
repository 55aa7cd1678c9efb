//! `coracle start`: one node, until it is told to end.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::number::{core, whole};
use crate::cli::octets::unescape;
use crate::cli::{Exit, Failure};
use crate::runtime::borders::{Borders, REGIONS_MAX};
use crate::runtime::config::Config;
use crate::runtime::failure;
use crate::runtime::life::Event;
use crate::runtime::node::Node;
use crate::runtime::telling;

/// What the help of the command shows.
pub(super) const EXAMPLES: &str = "Prints a line 'ready …' once it serves, and ends at SIGTERM or SIGINT; 'coracle --help' lists how it may end.\n\n\
     Examples:\n  coracle start --data one\n  \
     coracle start --data two --listen 127.0.0.1:7500 --join 127.0.0.1:7400 --cores 1\n  \
     coracle start --data three --listen 127.0.0.1:7600 --join 127.0.0.1:7400 --label zone=b --label rack=2\n  \
     coracle start --data one --regions 64\n  \
     CORACLE_STORE__CACHE_MIB=1024 coracle start --config coracle.toml";

/// Where a node's settings come from, and those that are given on the command line.
#[derive(Args)]
pub struct Settings {
    /// A configuration file; 'coracle config print' shows one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the data lies; the directory is made where there is none
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to listen: all shards at this port, and each at one of its own from the next port on; 0 takes free ones
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Where others reach this node, if that differs
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// How many shards, one core each; as many as there are cores by default
    #[arg(long, value_name = "N", conflicts_with = "cores", allow_negative_numbers = true, value_parser = whole::<u16, 1, 256>)]
    shards: Option<u16>,
    /// The cores to run on, one shard each, as in 0,2,3
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = core)]
    cores: Vec<usize>,
    /// Nodes of the cluster to join; without it an empty directory begins a cluster
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',')]
    join: Vec<String>,
    /// Where the node stands, as in zone=a; several times for several
    #[arg(long, value_name = "NAME=VALUE", value_delimiter = ',')]
    label: Vec<String>,
    /// Replicas that every region should have, in the cluster that begins here
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<usize, 1, 7>)]
    replicas: Option<usize>,
    /// Regions that users' keys are cut into, evenly by their first bytes, in the cluster that begins here
    #[arg(long, value_name = "N", conflicts_with = "join", allow_negative_numbers = true, value_parser = whole::<usize, 1, { REGIONS_MAX as i128 }>)]
    regions: Option<usize>,
    /// A file that names the keys at which they begin instead, one on each line, with escapes as in 'coracle put'
    #[arg(long, value_name = "FILE", conflicts_with_all = ["join", "regions"])]
    regions_file: Option<PathBuf>,
    /// Microseconds to spin before an idle core sleeps
    #[arg(long, value_name = "µs", allow_negative_numbers = true, value_parser = whole::<u64, 0, 1_000_000>)]
    spin: Option<u64>,
    /// What is told on standard error: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL")]
    level: Option<String>,
}

impl Settings {
    /// All settings, flags over environment over file.
    pub fn load(self) -> Result<Config, Failure> {
        let mut config = Config::load(self.config.as_deref(), std::env::vars_os())?;
        let node = &mut config.node;
        if let Some(data) = self.data {
            node.data = data;
        }
        if let Some(listen) = self.listen {
            node.listen = listen;
        }
        if let Some(advertise) = self.advertise {
            node.advertise = advertise;
        }
        if let Some(shards) = self.shards {
            (node.shards, node.cores) = (shards, Vec::new());
        }
        if !self.cores.is_empty() {
            (node.shards, node.cores) = (0, self.cores);
        }
        if !self.join.is_empty() {
            node.join = self.join;
        }
        if !self.label.is_empty() {
            node.labels = self.label;
        }
        if let Some(replicas) = self.replicas {
            node.replicas = replicas;
        }
        if let Some(regions) = self.regions {
            node.regions = regions;
        }
        if let Some(spin) = self.spin {
            config.io.spin_us = spin;
        }
        if let Some(level) = self.level {
            config.telling.level = level;
        }
        config.check()?;
        Ok(config)
    }
}

/// Where regions begin, as a file says.
fn borders(path: &Path, config: &Config) -> Result<Borders, Failure> {
    let usage = |why: String| {
        Failure::new(
            Exit::Usage,
            format!("--regions-file {}: {why}", path.display()),
        )
    };
    if !config.node.join.is_empty() {
        return Err(usage(
            "the cluster of node.join has its regions already".into(),
        ));
    }
    let text = std::fs::read(path).map_err(|error| usage(error.to_string()))?;
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty());
    let key = |(number, line)| {
        let why = || {
            usage(format!(
                "line {} has a backslash that begins no escape",
                number + 1
            ))
        };
        unescape(line).ok_or_else(why)
    };
    let keys = lines.map(key).collect::<Result<Vec<_>, Failure>>()?;
    if keys.is_empty() {
        return Err(usage(
            "it has no keys; each of its lines is one at which a region begins".into(),
        ));
    }
    Borders::at(keys).map_err(usage)
}

/// Runs a node.
pub(super) fn run(settings: Settings) -> Result<(), Failure> {
    failure::end_on_panic();
    let file = settings.regions_file.clone();
    let config = settings.load()?;
    let borders = match file {
        Some(file) => borders(&file, &config)?,
        None => Borders::even(config.node.regions),
    };
    let _told = telling::begin(&config.telling)?;
    let mut signals = Signals::new([SIGTERM, SIGINT])
        .map_err(|error| Failure::new(Exit::Failed, format!("signals: {error}")))?;
    let teller: Arc<OnceLock<Sender<(u16, Event)>>> = Arc::default();
    let told = teller.clone();
    std::thread::spawn(move || {
        for (before, _) in signals.forever().enumerate() {
            match told.get() {
                // Nothing was acknowledged yet, and whoever starts next goes on from what is there.
                None => std::process::exit(0),
                // Whoever asks twice does not want to wait; what was acknowledged is durable.
                Some(_) if before > 0 => std::process::exit(Exit::Failed as i32),
                Some(teller) => drop(teller.send((0, Event::Signal))),
            }
        }
    });
    let node = Node::start(config, borders)?;
    let _ = teller.set(node.teller());
    // It runs whether anybody reads that or not.
    let _ = writeln!(io::stdout(), "{}", node.ready_line());
    node.wait()
}
