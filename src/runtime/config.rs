//! What may be set about a node: a file, the environment, flags, in rising order.
//!
//! The file is TOML in sections; the environment names the same settings as `CORACLE_SECTION__KEY`. A
//! setting that is not known is an error that names those that are. `coracle config print` shows what
//! holds in the end.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use coracle_engine as engine;
use coracle_wal as wal;
use serde::{Deserialize, Serialize};

use super::address::Address;
use super::borders::REGIONS_MAX;
use super::failure::{Exit, Failure};
use super::label;
use super::notes;
use super::open::FileOptions;
use crate::placement;
use crate::placement::spread::LEVELS_MAX;
use crate::shard::limits::Limits;
use crate::shard::time::MILLISECOND;

/// Labels of one node, at the most.
const LABELS_MAX: usize = 16;

/// Everything that may be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The process.
    pub node: Node,
    /// The executors.
    pub io: Io,
    /// The log of each shard.
    pub log: Log,
    /// The state store of each shard.
    pub store: Store,
    /// Raft.
    pub raft: Raft,
    /// When regions are split by themselves.
    pub split: Split,
    /// Where replicas and leaders are put.
    pub placement: Placement,
    /// What clients may ask for.
    pub client: Client,
    /// What it tells.
    pub telling: Telling,
}

/// The process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// Where its data lies.
    pub data: PathBuf,
    /// Where it listens; shard i listens one port further plus i. Port 0 takes any that are free.
    pub listen: String,
    /// Where others reach it, if that differs.
    pub advertise: String,
    /// How many shards; 0: one for each core.
    pub shards: u16,
    /// The cores that the shards are pinned to; none: the first ones that this process may use.
    pub cores: Vec<usize>,
    /// Whether a core may be named for several shards: for trials on small machines.
    pub share_cores: bool,
    /// Nodes of the cluster to join; none: a new directory begins a cluster.
    pub join: Vec<String>,
    /// Where it stands, as in zone=a: replicas are kept apart by that.
    pub labels: Vec<String>,
    /// Replicas that every region should have, where this node begins a cluster.
    pub replicas: usize,
    /// Regions that users' keys are cut into where this node begins a cluster, evenly by their first bytes.
    pub regions: usize,
    /// Seconds that stopping may take before what is not handed over is left.
    pub stop_seconds: u64,
}

impl Default for Node {
    fn default() -> Node {
        Node {
            data: PathBuf::from("coracle-data"),
            listen: "127.0.0.1:7400".into(),
            advertise: String::new(),
            shards: 0,
            cores: Vec::new(),
            share_cores: false,
            join: Vec::new(),
            labels: Vec::new(),
            replicas: 3,
            regions: 1,
            stop_seconds: 10,
        }
    }
}

/// The executors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Io {
    /// What carries sockets and log writes: "ring" is a ring of our own, "glommio" the executor's; "auto" takes
    /// the ring where the kernel has all that it needs.
    pub driver: String,
    /// Microseconds that an idle executor spins before it sleeps: 0 on shared hosts, 50 to 100 for latency.
    pub spin_us: u64,
    /// The cores for the kernel's own threads that finish log writes; none: those that no shard has, if there
    /// are any.
    pub worker_cores: Vec<usize>,
    /// Operations that each ring of an executor holds.
    pub ring_depth: usize,
    /// KiB of registered memory of each ring.
    pub memory_kib: usize,
}

impl Default for Io {
    fn default() -> Io {
        Io {
            driver: "auto".into(),
            spin_us: 0,
            worker_cores: Vec::new(),
            ring_depth: 512,
            memory_kib: 4096,
        }
    }
}

/// The log of each shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// MiB of a segment. Fixed when the shard is made.
    pub segment_mib: u32,
    /// Segments at the most: the bound on log space.
    pub segments_max: u32,
    /// MiB of recent entries kept in memory.
    pub cache_mib: u64,
}

impl Default for Log {
    fn default() -> Log {
        Log {
            segment_mib: 64,
            segments_max: 32,
            cache_mib: 64,
        }
    }
}

/// The state store of each shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// MiB of a memtable.
    pub memtable_mib: usize,
    /// MiB of unpacked blocks kept in memory.
    pub cache_mib: usize,
    /// Whether blocks are compressed where that saves a page.
    pub compress: bool,
    /// Whether space is held back for the way out of a full disk.
    pub reserve: bool,
}

impl Default for Store {
    fn default() -> Store {
        Store {
            memtable_mib: 64,
            cache_mib: 256,
            compress: true,
            reserve: true,
        }
    }
}

/// Raft.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Raft {
    /// Milliseconds between two ticks.
    pub tick_ms: u64,
    /// Ticks between two heartbeats.
    pub heartbeat_ticks: usize,
    /// The shortest election timeout in ticks; the longest is twice that.
    pub election_ticks: usize,
    /// Milliseconds after which a region of which nobody wants anything is quiet, without ticks and heartbeats; 0:
    /// no region ever is.
    pub quiet_ms: u64,
    /// Milliseconds that a lease lasts; 0: every read asks a quorum. It ends before an election can, by clocks
    /// that drift.
    pub lease_ms: u64,
    /// Clocks run faster or slower by no more than so many in a thousand.
    pub drift_per_mille: u64,
    /// Milliseconds without a sign of life after which a replica is replaced.
    pub down_ms: u64,
    /// MiB of snapshots that a shard sends in a second, to all others together; 0: as many as go.
    pub snapshot_mib_per_second: u64,
}

impl Default for Raft {
    fn default() -> Raft {
        Raft {
            tick_ms: 50,
            heartbeat_ticks: 2,
            election_ticks: 20,
            quiet_ms: 5000,
            lease_ms: 750,
            drift_per_mille: 50,
            down_ms: 30 * 60 * 1000,
            snapshot_mib_per_second: 32,
        }
    }
}

/// Seconds between two attempts to split a region, if nothing came of the first.
const SPLIT_REST_SECONDS: u64 = 10;

/// When regions are split by themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Split {
    /// Whether they are at all.
    pub automatic: bool,
    /// MiB above which a region is split into parts of about half of that; 0: never for its size.
    pub size_mib: u64,
    /// Keys above which it is; 0: never for its keys.
    pub keys: u64,
    /// Reads and writes of keys in a second from which on it is split where the work is divided; 0: never for that.
    pub load: u64,
    /// Seconds that it must be so busy.
    pub load_seconds: u64,
}

impl Default for Split {
    fn default() -> Split {
        let limits = Limits::DEFAULT;
        Split {
            automatic: true,
            size_mib: limits.split_bytes >> 20,
            keys: limits.split_keys,
            load: limits.split_load,
            load_seconds: limits.split_load_ticks * limits.tick / (1000 * MILLISECOND),
        }
    }
}

/// Where replicas and leaders are put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Placement {
    /// Whether replicas and leaders move from shards that have more of them to shards that have less.
    pub balance: bool,
    /// Regions that may be moved for that at once.
    pub moves_max: usize,
    /// Labels by which replicas are kept apart, the widest place first.
    pub spread: Vec<String>,
    /// Copies that may be under way to one shard, and from one.
    pub copies: u32,
}

impl Default for Placement {
    fn default() -> Placement {
        let options = placement::Options::default();
        Placement {
            balance: options.balances,
            moves_max: options.moves_max,
            spread: options.spread,
            copies: options.copies_in,
        }
    }
}

/// What clients may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Client {
    /// Connections to one shard at the most.
    pub connections_max: usize,
    /// Seconds without a byte after which a connection is closed; 0: never.
    pub idle_seconds: u64,
    /// Seconds that a client may take before it reads on.
    pub stalled_seconds: u64,
    /// MiB of answers that may wait for one client.
    pub output_mib: usize,
    /// Milliseconds for one command, with everything that is tried again.
    pub timeout_ms: u64,
    /// Whether FLUSHDB and FLUSHALL are allowed.
    pub flush: bool,
}

impl Default for Client {
    fn default() -> Client {
        Client {
            connections_max: 10_000,
            idle_seconds: 0,
            stalled_seconds: 30,
            output_mib: 64,
            timeout_ms: 10_000,
            flush: false,
        }
    }
}

/// What it tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telling {
    /// What is told: error, warn, info, debug, trace, or a filter by part.
    pub level: String,
    /// One JSON object per line.
    pub json: bool,
}

impl Default for Telling {
    fn default() -> Telling {
        Telling {
            level: "info".into(),
            json: false,
        }
    }
}

impl Telling {
    /// The first part of the filter that ends with no level: one that is misspelt would be silence.
    fn unknown_part(&self) -> Option<&str> {
        const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
        let level = |part: &str| part.rsplit('=').next().unwrap_or_default().to_lowercase();
        let parts = self.level.split(',').map(str::trim);
        parts
            .into_iter()
            .find(|part| !LEVELS.contains(&&level(part)[..]))
    }
}

const PREFIX: &str = "CORACLE_";

impl Config {
    /// From a file, if one is named, and the environment over it.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Config, Failure> {
        let usage = |why: String| Failure::new(Exit::Usage, why);
        let mut table = toml::Table::new();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path)
                .map_err(|error| usage(format!("configuration {}: {error}", path.display())))?;
            // Read for itself first, so that an error names its line.
            toml::from_str::<Config>(&text).map_err(|error| {
                usage(format!(
                    "configuration {}: {}",
                    path.display(),
                    plain(&error)
                ))
            })?;
            table = text.parse().map_err(|error: toml::de::Error| {
                usage(format!(
                    "configuration {}: {}",
                    path.display(),
                    plain(&error)
                ))
            })?;
        }
        let known = toml::Table::try_from(Config::default()).expect("the defaults are a table");
        for (name, value) in environment {
            // What is not UTF-8 names no setting; a value that is not is none.
            let Some(name) = name.to_str() else {
                continue;
            };
            let Some(setting) = name.strip_prefix(PREFIX).map(str::to_lowercase) else {
                continue;
            };
            let Some((section, key)) = setting.split_once("__") else {
                if let Some(meant) = two_underscores(&setting, &known) {
                    return Err(usage(format!(
                        "{name} in the environment names no setting; {meant} does, with two underscores"
                    )));
                }
                continue;
            };
            let Some(value) = value.to_str() else {
                return Err(usage(format!("{name} in the environment is not UTF-8")));
            };
            let sample = known
                .get(section)
                .and_then(|section| section.get(key))
                .ok_or_else(|| {
                    usage(format!(
                        "{name} in the environment names no setting; see 'coracle config print'"
                    ))
                })?;
            let value = typed(sample, value)
                .ok_or_else(|| usage(format!("{name}={value} in the environment: not what {section}.{key} takes, which is like {sample}")))?;
            let entry = table
                .entry(section.to_string())
                .or_insert_with(|| toml::Table::new().into());
            if let Some(section) = entry.as_table_mut() {
                section.insert(key.to_string(), value);
            }
        }
        let config: Config = table
            .try_into()
            .map_err(|error| usage(format!("configuration: {}", plain(&error))))?;
        Ok(config)
    }

    /// What cannot be, and what could.
    pub fn check(&self) -> Result<(), Failure> {
        let usage = |why: String| Err(Failure::new(Exit::Usage, why));
        let within = |name: &str, value: u64, least: u64, most: u64| match value {
            value if value < least || value > most => usage(format!(
                "{name} is {value}; it must be from {least} to {most}"
            )),
            _ => Ok(()),
        };
        let address = |name: &str, text: &str| {
            let parsed = Address::parse(text);
            parsed.map_err(|why| Failure::new(Exit::Usage, format!("{name}: {why}")))
        };
        address("node.listen", &self.node.listen)?;
        if !self.node.advertise.is_empty() {
            address("node.advertise", &self.node.advertise)?;
        }
        for other in &self.node.join {
            address("node.join", other)?;
        }
        for label in &self.node.labels {
            label::check(label).or_else(|why| usage(format!("node.labels: {why}")))?;
        }
        let names: Vec<&str> = (self.node.labels.iter())
            .filter_map(|label| Some(label.split_once('=')?.0))
            .collect();
        if let Some(twice) = (1..names.len()).find(|place| names[..*place].contains(&names[*place]))
        {
            return usage(format!(
                "node.labels names '{}' twice; a node stands in one place of each kind",
                names[twice]
            ));
        }
        if names.len() > LABELS_MAX || self.placement.spread.len() > LEVELS_MAX {
            return usage(format!(
                "a node has at most {LABELS_MAX} labels, and placement.spread names at most {LEVELS_MAX} of them"
            ));
        }
        within("placement.copies", self.placement.copies.into(), 1, 64)?;
        within("node.shards", self.node.shards.into(), 0, 256)?;
        within("node.replicas", self.node.replicas as u64, 1, 7)?;
        within(
            "node.regions",
            self.node.regions as u64,
            1,
            REGIONS_MAX as u64,
        )?;
        if self.node.regions > 1 && !self.node.join.is_empty() {
            return usage(format!(
                "node.regions is {}, and node.join names nodes of a cluster that has its regions already; leave one of the two out",
                self.node.regions
            ));
        }
        within("node.stop_seconds", self.node.stop_seconds, 0, 3600)?;
        if !["auto", "ring", "glommio"].contains(&&self.io.driver[..]) {
            return usage(format!(
                "io.driver is '{}'; it is one of auto, ring, glommio",
                self.io.driver
            ));
        }
        if let Some(part) = self.telling.unknown_part() {
            return usage(format!(
                "telling.level is '{}', and '{part}' is none of error, warn, info, debug, trace and off, nor TARGET=LEVEL",
                self.telling.level
            ));
        }
        within("io.spin_us", self.io.spin_us, 0, 1_000_000)?;
        within("io.ring_depth", self.io.ring_depth as u64, 32, 16_384)?;
        within("io.memory_kib", self.io.memory_kib as u64, 64, 1 << 20)?;
        within("log.segment_mib", self.log.segment_mib.into(), 17, 512)?;
        within("log.segments_max", self.log.segments_max.into(), 12, 45)?;
        within("log.cache_mib", self.log.cache_mib, 1, 64 << 10)?;
        within(
            "store.memtable_mib",
            self.store.memtable_mib as u64,
            1,
            1024,
        )?;
        within("store.cache_mib", self.store.cache_mib as u64, 1, 1 << 20)?;
        within("raft.tick_ms", self.raft.tick_ms, 5, 10_000)?;
        within(
            "raft.heartbeat_ticks",
            self.raft.heartbeat_ticks as u64,
            1,
            100,
        )?;
        within(
            "raft.election_ticks",
            self.raft.election_ticks as u64,
            5,
            1000,
        )?;
        within("raft.quiet_ms", self.raft.quiet_ms, 0, 86_400_000)?;
        within("raft.drift_per_mille", self.raft.drift_per_mille, 0, 500)?;
        within("raft.down_ms", self.raft.down_ms, 1000, u64::MAX)?;
        within("split.size_mib", self.split.size_mib, 0, 64 << 10)?;
        within("split.keys", self.split.keys, 0, 1 << 40)?;
        within("split.load", self.split.load, 0, 1 << 40)?;
        within("split.load_seconds", self.split.load_seconds, 1, 3600)?;
        within(
            "placement.moves_max",
            self.placement.moves_max as u64,
            1,
            1024,
        )?;
        within(
            "client.connections_max",
            self.client.connections_max as u64,
            1,
            30_000,
        )?;
        within(
            "client.output_mib",
            self.client.output_mib as u64,
            4,
            1 << 20,
        )?;
        within("client.timeout_ms", self.client.timeout_ms, 10, 3_600_000)?;
        if self.raft.heartbeat_ticks * 2 > self.raft.election_ticks {
            return usage(format!(
                "raft.election_ticks is {}; it must be at least twice raft.heartbeat_ticks, {}",
                self.raft.election_ticks, self.raft.heartbeat_ticks
            ));
        }
        let lease_ms_max = self.limits().lease_longest() / MILLISECOND;
        if self.raft.lease_ms > lease_ms_max {
            return usage(format!(
                "raft.lease_ms is {}; with these ticks and this drift another leader may be elected after {lease_ms_max} ms, so it must be from 0 to {lease_ms_max}",
                self.raft.lease_ms
            ));
        }
        let cores = &self.node.cores;
        let twice = (1..cores.len()).find(|place| cores[..*place].contains(&cores[*place]));
        if let Some(place) = twice
            && !self.node.share_cores
        {
            return usage(format!(
                "core {} is named twice; two shards on one core make both wait: name others, or fewer",
                cores[place]
            ));
        }
        if !cores.is_empty()
            && self.node.shards != 0
            && cores.len() != usize::from(self.node.shards)
        {
            return usage(format!(
                "{} cores are named for {} shards; name as many, or leave one of the two out",
                cores.len(),
                self.node.shards
            ));
        }
        Ok(())
    }

    /// The bounds of the brain.
    pub fn limits(&self) -> Limits {
        let seconds = |seconds: u64| (seconds * 1000).div_ceil(self.raft.tick_ms.max(1));
        Limits {
            split_ticks: if self.split.automatic { seconds(1) } else { 0 },
            split_bytes: self.split.size_mib << 20,
            split_keys: self.split.keys,
            split_load: self.split.load,
            split_load_ticks: seconds(self.split.load_seconds),
            split_rest_ticks: seconds(SPLIT_REST_SECONDS),
            tick: self.raft.tick_ms * MILLISECOND,
            heartbeat_ticks: self.raft.heartbeat_ticks,
            election_ticks: self.raft.election_ticks,
            quiet_ticks: self.raft.quiet_ms.div_ceil(self.raft.tick_ms.max(1)),
            lease: self.raft.lease_ms.saturating_mul(MILLISECOND),
            drift_per_mille: self.raft.drift_per_mille,
            write_timeout: self.client.timeout_ms * MILLISECOND,
            snapshot_bytes_per_second: self.raft.snapshot_mib_per_second << 20,
            ..Limits::DEFAULT
        }
    }

    /// What placement strives for.
    pub fn placement(&self) -> placement::Options {
        placement::Options {
            replicas: self.node.replicas,
            down_ms: self.raft.down_ms,
            balances: self.placement.balance,
            moves_max: self.placement.moves_max,
            spread: self.placement.spread.clone(),
            copies_in: self.placement.copies,
            copies_out: self.placement.copies,
            ..placement::Options::default()
        }
    }

    /// The bounds of the files.
    pub fn files(&self) -> FileOptions {
        FileOptions {
            log: wal::Limits {
                segment_bytes: self.log.segment_mib << 20,
                segments_max: self.log.segments_max,
                cache_bytes: self.log.cache_mib << 20,
                ..wal::Limits::DEFAULT
            },
            store: engine::options::Options {
                memtable_bytes: self.store.memtable_mib << 20,
                cache_bytes: self.store.cache_mib << 20,
                compress: self.store.compress,
                reserve: self.store.reserve,
                ..engine::options::Options::default()
            },
        }
    }

    /// As a file that says the same, and what each setting means.
    pub fn print(&self) -> String {
        notes::annotate(&toml::to_string(self).expect("a configuration is a table"))
    }
}

/// What is wrong with a file, in words of its settings.
fn plain(error: &toml::de::Error) -> String {
    let mut text = error.to_string();
    for (rust, words) in [
        ("expected u16", "expected a whole number"),
        ("expected u32", "expected a whole number"),
        ("expected u64", "expected a whole number"),
        ("expected usize", "expected a whole number"),
        ("expected a boolean", "expected true or false"),
        ("expected a sequence", "expected a list in brackets"),
    ] {
        text = text.replace(rust, words);
    }
    text.trim_end().into()
}

/// The name that was meant by `section_key`, if there is such a setting.
fn two_underscores(setting: &str, known: &toml::Table) -> Option<String> {
    let (section, key) = setting.split_once('_')?;
    known.get(section)?.get(key)?;
    Some(format!("{PREFIX}{section}__{key}").to_uppercase())
}

/// A text as a value of the sample's type.
fn typed(sample: &toml::Value, text: &str) -> Option<toml::Value> {
    match sample {
        toml::Value::String(_) => Some(toml::Value::String(text.into())),
        toml::Value::Integer(_) => text.parse().ok().map(toml::Value::Integer),
        toml::Value::Boolean(_) => text.parse().ok().map(toml::Value::Boolean),
        toml::Value::Array(_) => {
            let parts = text
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty());
            let value = |part: &str| match part.parse() {
                Ok(number) => toml::Value::Integer(number),
                Err(_) => toml::Value::String(part.into()),
            };
            Some(toml::Value::Array(parts.map(value).collect()))
        }
        _ => None,
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test writes the file that it reads"
)]
mod tests {
    use super::*;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("coracle.toml");
        std::fs::write(&path, text).expect("it can be written");
        let environment = environment
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let config = Config::load(Some(&path), environment).map_err(|failure| failure.message)?;
        config.check().map_err(|failure| failure.message)?;
        Ok(config)
    }

    #[test]
    fn the_environment_goes_over_the_file_and_the_file_over_the_defaults() {
        let text = "[node]\nlisten = \"127.0.0.1:9000\"\nshards = 2\n[io]\nspin_us = 50\n";
        let environment = [
            ("CORACLE_NODE__SHARDS", "3"),
            ("CORACLE_NODE__JOIN", "a:1, b:2"),
            ("CORACLE_STORE__COMPRESS", "false"),
            ("HOME", "/"),
        ];
        let config = load(text, &environment).expect("all of it can be");
        assert_eq!(config.node.listen, "127.0.0.1:9000");
        assert_eq!((config.node.shards, config.io.spin_us), (3, 50));
        assert_eq!(config.node.join, ["a:1", "b:2"]);
        assert!(!config.store.compress && config.store.reserve);
        let again = load(&config.print(), &[]).expect("what is printed can be read");
        assert_eq!(again, config);
    }

    #[test]
    fn an_environment_that_is_not_utf_8_is_told_of_only_where_it_is_meant() {
        use std::os::unix::ffi::OsStringExt as _;
        let strange = || OsString::from_vec(vec![b'a', 0xff]);
        let load = |name: OsString| Config::load(None, [(name, strange())].into_iter());
        assert_eq!(load("HOME".into()).ok(), Some(Config::default()));
        assert_eq!(load(strange()).ok(), Some(Config::default()));
        let refused = load("CORACLE_NODE__DATA".into()).expect_err("it is meant for a node");
        assert!(refused.message.contains("is not UTF-8"), "{refused}");
    }

    #[test]
    fn a_filter_by_part_is_a_level() {
        for level in [
            "warn",
            "INFO",
            "off",
            "warn,coracle=debug",
            "coracle::shard=trace, info",
        ] {
            load(&format!("[telling]\nlevel = \"{level}\"\n"), &[]).expect(level);
        }
    }

    #[test]
    fn a_log_can_be_made_at_all_bounds() {
        for (mib, segments) in [(17, 12), (17, 45), (512, 12), (512, 45)] {
            let text = format!("[log]\nsegment_mib = {mib}\nsegments_max = {segments}\n");
            let config = load(&text, &[]).expect("it is within the bounds");
            config.files().log.check();
        }
        for text in [
            "segment_mib = 16",
            "segment_mib = 513",
            "segments_max = 11",
            "segments_max = 46",
        ] {
            let refused = load(&format!("[log]\n{text}\n"), &[]).expect_err(text);
            assert!(refused.contains("it must be from"), "{refused}");
        }
    }

    #[test]
    fn a_lease_may_last_as_long_as_nobody_else_is_elected() {
        for text in ["lease_ms = 902", "lease_ms = 0\ntick_ms = 5"] {
            let config = load(&format!("[raft]\n{text}\n"), &[]).expect(text);
            let limits = config.limits();
            assert_eq!(limits.lease, limits.lease_span(), "{text}");
        }
    }

    #[test]
    fn a_core_is_shared_where_that_is_said() {
        let text = "[node]\ncores = [0, 0]\nshare_cores = true\n";
        assert_eq!(load(text, &[]).expect("it is said").node.cores, [0, 0]);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (text, environment, expected) in [
            ("[node]\nlisen = \"x\"\n", None, "unknown field `lisen`"),
            ("[nodes]\n", None, "unknown field `nodes`"),
            ("[node]\nshards = \"two\"\n", None, "line 2"),
            (
                "[node]\nshards = 1000\n",
                None,
                "node.shards is 1000; it must be from 0 to 256",
            ),
            ("", Some(("CORACLE_NODE__SHARD", "1")), "names no setting"),
            (
                "",
                Some(("CORACLE_IO_SPIN_US", "1")),
                "CORACLE_IO__SPIN_US does",
            ),
            (
                "[node]\nshards = \"two\"\n",
                None,
                "expected a whole number",
            ),
            (
                "[node]\njoin = \"a:1\"\n",
                None,
                "expected a list in brackets",
            ),
            (
                "[telling]\nlevel = \"info,loud\"\n",
                None,
                "'loud' is none of error",
            ),
            (
                "",
                Some(("CORACLE_NODE__SHARDS", "many")),
                "not what node.shards takes",
            ),
            (
                "[raft]\nelection_ticks = 5\nheartbeat_ticks = 4\n",
                None,
                "at least twice",
            ),
            (
                "[node]\nshards = 2\ncores = [1]\n",
                None,
                "1 cores are named for 2 shards",
            ),
            ("[node]\ncores = [1, 0, 1]\n", None, "core 1 is named twice"),
            ("[raft]\nlease_ms = 903\n", None, "from 0 to 902"),
            (
                "[raft]\nlease_ms = 9223372036854775807\n",
                None,
                "from 0 to 902",
            ),
            (
                "[raft]\ntick_ms = 20\n",
                None,
                "raft.lease_ms is 750; with these ticks",
            ),
            ("[raft]\ndrift_per_mille = 500\n", None, "after 475 ms"),
        ] {
            let environment: Vec<_> = environment.into_iter().collect();
            let refused = load(text, &environment).expect_err(expected);
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
