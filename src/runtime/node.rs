//! A node: one process, from its directory and ports to the end of its last shard.
#![expect(
    clippy::disallowed_methods,
    reason = "this is where the files of a node are kept"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};

use super::address::Address;
use super::board::Board;
use super::borders::Borders;
use super::config::Config;
use super::driver::Station;
use super::failure::{Exit, Failure};
use super::hints;
use super::identity::{DataDirectory, Identity, Stage};
use super::join;
use super::label;
use super::life::{Beside, Event, Found, Start, live};
use super::listen::{self, Listening};
use super::machine;
use crate::placement::{self, NodeInfo};
use crate::shard::founding;
use crate::shard::ids::{ClusterId, Edition, NodeId, StoreId};

/// A node that is running.
pub struct Node {
    identity: Identity,
    address: Address,
    data: DataDirectory,
    executors: Vec<ExecutorJoinHandle<()>>,
    events: Receiver<(u16, Event)>,
    teller: Sender<(u16, Event)>,
    stopping: Arc<AtomicBool>,
    drained: BTreeSet<u16>,
    /// Shards that hold nothing and were told that their node was removed.
    removed: BTreeSet<u16>,
    beside: Option<Beside>,
}

impl Node {
    /// Starts everything, and returns when all shards serve. A cluster that begins here begins with regions between
    /// these borders.
    pub fn start(config: Config, borders: Borders) -> Result<Node, Failure> {
        Node::start_beside(config, borders, None)
    }

    /// The same, with something that runs beside each shard, on its thread.
    pub fn start_beside(
        mut config: Config,
        borders: Borders,
        beside: Option<Beside>,
    ) -> Result<Node, Failure> {
        config.check()?;
        machine::check()?;
        let data = DataDirectory::take(&config.node.data)?;
        let kept = data.identity()?;
        let cores = machine::cores(&config.node.cores, shards_wanted(&config, kept.as_ref()))?;
        let shards = cores.len() as u16;
        machine::check_files(shards)?;
        let listen = Address::parse(&config.node.listen)
            .map_err(|why| Failure::new(Exit::Usage, format!("node.listen: {why}")))?;
        if let Some(kept) = &kept {
            join::check_only(kept)?;
        }
        let listening = listen::bind(&listen, shards)?;
        let address = advertised(&config, &listening)?;
        let is_new = kept.is_none();
        let identity = kept.unwrap_or_else(|| begin(&config, shards));
        if identity.shards != shards {
            let why = format!(
                "{} was made with --shards {} and cannot be opened with {shards}",
                data.path().display(),
                identity.shards
            );
            return Err(Failure::new(Exit::ShardCount, why));
        }
        let borders = match identity.stage {
            Stage::Founding if is_new => {
                let found = found(&identity, &borders);
                let fit = founding::fits(identity.cluster, &found.node, &found.regions);
                fit.map_err(|why| Failure::new(Exit::Usage, why))?;
                borders.keep(data.path())?;
                borders
            }
            Stage::Founding => Borders::kept(data.path())?,
            _ => {
                if borders != Borders::default() {
                    tracing::info!(
                        "the node belongs to a cluster already: what regions it begins with is not asked any more"
                    );
                }
                Borders::default()
            }
        };
        if identity.address != address.to_string() {
            join::check_alone(&config, &address)?;
        }
        let labels = config.node.labels.join(",");
        let identity = settle(&data, identity, &address, labels)?;
        config.node.shards = shards;
        if config.io.worker_cores.is_empty() {
            config.io.worker_cores = machine::others(&cores)?;
        }
        for hint in hints::all(data.path(), &cores) {
            tracing::info!(hint, "this machine could be faster");
        }
        let (identity, nodes) = match identity.stage {
            Stage::Joining => join::join(&config, &data, identity)?,
            _ => {
                join::check_cluster(&config, identity.cluster)?;
                (identity, known_nodes(data.path()))
            }
        };
        let (teller, events) = channel();
        let stopping = Arc::new(AtomicBool::new(false));
        keep_nodes(data.path(), &nodes);
        let mut node = Node {
            identity,
            address,
            data,
            executors: Vec::new(),
            events,
            teller,
            stopping,
            drained: BTreeSet::new(),
            removed: BTreeSet::new(),
            beside,
        };
        node.spawn(&config, listening, &cores, nodes, &borders)?;
        node.wait_open(shards)?;
        if node.identity.stage != Stage::Member {
            node.identity.stage = Stage::Member;
            node.data.keep(&node.identity)?;
            Borders::forget(node.data.path())?;
        }
        Ok(node)
    }

    fn spawn(
        &mut self,
        config: &Config,
        listening: Listening,
        cores: &[usize],
        nodes: Vec<NodeInfo>,
        borders: &Borders,
    ) -> Result<(), Failure> {
        let board = Board::new(self.identity.shards);
        let (told, nodes) = self.introduce(nodes);
        let founding =
            (self.identity.stage == Stage::Founding).then(|| found(&self.identity, borders));
        for (shard, (doors, core)) in listening.doors.into_iter().zip(cores).enumerate() {
            let start = Start {
                station: Station {
                    cluster: self.identity.cluster,
                    node: self.identity.node,
                    store: self.identity.stores[shard],
                    shard: shard as u16,
                },
                config: config.clone(),
                founding: founding.clone(),
                is_member: self.identity.stage == Stage::Member,
                nonce: self.identity.nonce,
                address: self.identity.address.clone(),
                edition: self.identity.edition,
                is_told: told,
                doors,
                nodes: nodes.clone(),
                stopping: self.stopping.clone(),
                board: board.clone(),
                events: self.teller.clone(),
                boot: machine::draw(),
                beside: self.beside.clone(),
            };
            let executor = LocalExecutorBuilder::new(Placement::Fixed(*core))
                .name(&format!("shard-{shard}"))
                .io_memory(config.io.memory_kib << 10)
                .ring_depth(config.io.ring_depth)
                .spin_before_park(Duration::from_micros(config.io.spin_us))
                .spawn(move || live(start));
            let executor = executor.map_err(|error| {
                let why = format!("shard {shard} cannot have an executor on core {core}: {error}");
                Failure::new(Exit::Failed, why)
            })?;
            self.executors.push(executor);
        }
        Ok(())
    }

    /// The nodes that are known with this one among them, so that its shards find each other before anybody
    /// else has told them anything. Whether others knew already where it is.
    fn introduce(&self, mut nodes: Vec<NodeInfo>) -> (bool, Vec<NodeInfo>) {
        let own = NodeInfo {
            node: self.identity.node,
            address: self.identity.address.clone(),
            edition: self.identity.edition,
            standing: crate::placement::Standing::Member,
            labels: label::parse(&self.identity.labels),
            stores: self.identity.stores.clone(),
        };
        let known = nodes.iter_mut().find(|node| node.node == own.node);
        match known {
            // Where it was before it moved away and back is where it is, and yet not what it says now.
            Some(known) if known.edition == own.edition => return (true, nodes),
            Some(known) => *known = own,
            None => nodes.push(own),
        }
        (false, nodes)
    }

    fn wait_open(&mut self, shards: u16) -> Result<(), Failure> {
        let mut open = 0;
        while open < shards {
            match self.events.recv() {
                Ok((_, Event::Open)) => open += 1,
                Ok((shard, event)) => self.told(shard, event)?,
                Err(_) => return Err(Failure::new(Exit::Failed, "the shards are gone")),
            }
        }
        Ok(())
    }

    /// A shard tells something; an error ends the process.
    fn told(&mut self, shard: u16, event: Event) -> Result<(), Failure> {
        match event {
            Event::Open => {}
            Event::Nodes(nodes) => keep_nodes(self.data.path(), &nodes),
            Event::Signal => {
                tracing::info!("stopping: leaderships are handed over");
                self.stop();
            }
            Event::Drained => drop(self.drained.insert(shard)),
            Event::Removed(false) => drop(self.removed.remove(&shard)),
            Event::Removed(true) => {
                self.removed.insert(shard);
                if self.removed.len() == self.executors.len() {
                    self.end();
                    let why = format!(
                        "node {} was removed from its cluster and holds nothing; remove its data directory: with an \
                         empty one it can join as another node",
                        self.identity.node
                    );
                    return Err(Failure::new(Exit::Removed, why));
                }
            }
            Event::Failed(failure) => {
                self.drained.insert(shard);
                self.end();
                return Err(Failure::new(
                    failure.exit,
                    format!("shard {shard}: {failure}"),
                ));
            }
        }
        Ok(())
    }

    /// Who tells it of signals.
    pub fn teller(&self) -> Sender<(u16, Event)> {
        self.teller.clone()
    }

    /// Where others reach it.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The line that says that it serves.
    pub fn ready_line(&self) -> String {
        let plain = format!("{}:{}", self.address.host, self.address.port);
        let ports = (0..self.identity.shards)
            .filter_map(|shard| self.address.shard_port(shard))
            .map(|port| format!("{}:{port}", self.address.host));
        format!(
            "ready node={} cluster={:016x} listen={plain} shards={}",
            self.identity.node,
            self.identity.cluster.0,
            ports.collect::<Vec<_>>().join(",")
        )
    }

    /// Tells all shards to stop.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Until all shards have stopped, as they were told to or because one could not go on.
    pub fn wait(mut self) -> Result<(), Failure> {
        while self.drained.len() < self.executors.len() {
            match self.events.recv() {
                Ok((shard, event)) => self.told(shard, event)?,
                Err(_) => break,
            }
        }
        for executor in self.executors {
            if executor.join().is_err() {
                return Err(Failure::new(Exit::Failed, "a shard's thread has panicked"));
            }
        }
        Ok(())
    }

    /// Ends the process; whoever still runs gets the time to hand over.
    fn end(&mut self) {
        self.stop();
        let until = Duration::from_secs(2);
        while self.drained.len() < self.executors.len() {
            match self.events.recv_timeout(until) {
                Ok((shard, Event::Drained | Event::Failed(_))) => drop(self.drained.insert(shard)),
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
}

/// One shard for each core that is named, or wanted, or there; a directory keeps to what it has.
fn shards_wanted(config: &Config, kept: Option<&Identity>) -> usize {
    match (config.node.cores.len(), config.node.shards) {
        (0, 0) => kept.map_or(0, |identity| usize::from(identity.shards)),
        (0, shards) => usize::from(shards),
        (cores, _) => cores,
    }
}

fn advertised(config: &Config, listening: &Listening) -> Result<Address, Failure> {
    let usage = |why: String| Failure::new(Exit::Usage, why);
    if config.node.advertise.is_empty() {
        if listen::is_everywhere(&listening.address.host) {
            let why = format!(
                "node.listen is {}, which others cannot connect to; say with --advertise HOST:PORT where they can",
                config.node.listen
            );
            return Err(usage(why));
        }
        return Ok(listening.address.clone());
    }
    let mut address = Address::parse(&config.node.advertise)
        .map_err(|why| usage(format!("node.advertise: {why}")))?;
    if address.port == 0 {
        address.port = listening.address.port;
        address.shards = listening.address.shards.clone();
    }
    Ok(address)
}

/// What a new cluster begins with.
fn found(identity: &Identity, borders: &Borders) -> Found {
    let stores = &identity.stores;
    let most = stores.iter().map(|store| store.0).max().unwrap_or_default();
    Found {
        node: placement::Node {
            node: identity.node,
            nonce: identity.nonce,
            address: identity.address.clone(),
            edition: identity.edition,
            standing: crate::placement::Standing::Member,
            labels: label::parse(&identity.labels),
            stores: stores.clone(),
        },
        regions: borders.found(stores, most.max(identity.node.0)),
    }
}

/// A directory that is new.
fn begin(config: &Config, shards: u16) -> Identity {
    let nonce = machine::draw();
    let (address, labels, edition) = (String::new(), String::new(), Edition(0));
    match config.node.join.is_empty() {
        true => Identity {
            stage: Stage::Founding,
            nonce,
            cluster: ClusterId(machine::draw()),
            node: NodeId(1),
            address,
            labels,
            edition,
            shards,
            stores: (1..=u64::from(shards)).map(StoreId).collect(),
        },
        false => Identity {
            stage: Stage::Joining,
            nonce,
            cluster: ClusterId(0),
            node: NodeId(0),
            address,
            labels,
            edition,
            shards,
            stores: Vec::new(),
        },
    }
}

/// The node is reached and stands there from now on. What it said of that before may still be under way somewhere:
/// each address, and each set of labels, is an edition of its own, durable before anybody hears of it.
fn settle(
    data: &DataDirectory,
    kept: Identity,
    address: &Address,
    labels: String,
) -> Result<Identity, Failure> {
    let address = address.to_string();
    if (&kept.address, &kept.labels) == (&address, &labels) {
        return Ok(kept);
    }
    let identity = Identity {
        address,
        labels,
        edition: kept.edition.next(),
        ..kept
    };
    data.keep(&identity)?;
    Ok(identity)
}

/// For the next start: whom to ask where the others are.
fn keep_nodes(data: &Path, nodes: &[NodeInfo]) {
    let lines: Vec<String> = nodes.iter().map(node_line).collect();
    let (new, path) = (data.join("nodes.new"), data.join("nodes"));
    let kept = std::fs::write(&new, lines.concat()).and_then(|()| std::fs::rename(&new, &path));
    if let Err(error) = kept {
        tracing::warn!(%error, "the list of nodes could not be kept");
    }
}

fn node_line(node: &NodeInfo) -> String {
    let stores: Vec<String> = node.stores.iter().map(StoreId::to_string).collect();
    let stores = stores.join(",");
    format!("{} {} {stores} {}\n", node.node, node.edition, node.address)
}

/// As kept by the last start; what cannot be read is left out, since it is only whom to ask first.
fn known_nodes(data: &Path) -> Vec<NodeInfo> {
    let text = std::fs::read_to_string(data.join("nodes")).unwrap_or_default();
    let node = |line: &str| {
        let mut words = line.splitn(4, ' ');
        let node = NodeId(words.next()?.parse().ok()?);
        let edition = Edition(words.next()?.parse().ok()?);
        let stores = words.next()?.split(',');
        let stores: Result<Vec<u64>, _> = stores.map(str::parse).collect();
        Some(NodeInfo {
            node,
            stores: stores.ok()?.into_iter().map(StoreId).collect(),
            address: words.next()?.to_string(),
            edition,
            standing: crate::placement::Standing::Member,
            labels: Vec::new(),
        })
    };
    text.lines().filter_map(node).collect()
}
