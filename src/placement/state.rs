//! What placement knows durably, and what it wants written of it.
//!
//! Memory runs ahead of what is written; whatever is told to anyone waits (`placement.rs`). Ids are
//! given from a range whose end is durable before any of them leaves: the next leader begins at that end,
//! so **no id is ever given twice**.

use std::collections::BTreeMap;

use super::codec::{Node, PREFIX, Record, region_key};
use super::message::Message;
use super::registry::{Put, Registry};
use super::standing::Standing;
use crate::shard::codec::Malformed;
use crate::shard::ids::{ClusterId, NodeId, RegionId, StoreId};
use crate::shard::region::Region;

/// Ids that are set aside by one write.
const RANGE: u64 = 1000;

/// All that placement keeps in the system keys.
#[derive(Debug)]
pub struct State {
    /// The cluster.
    pub cluster: ClusterId,
    /// Processes.
    pub nodes: BTreeMap<NodeId, Node>,
    /// The process of each store of the nodes that belong to the cluster.
    pub stores: BTreeMap<StoreId, NodeId>,
    /// Regions.
    pub regions: Registry,
    /// Grows with every change of the nodes.
    pub version: u64,
    /// Whether nothing is begun.
    pub paused: bool,
    next: u64,
    ceiling: u64,
    /// What is to be written: values, or none for what goes.
    pub wanted: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Bytes of that, at the most.
    pub wanted_bytes: usize,
}

impl State {
    /// From the pairs of the system keys; what is none of placement's is passed over.
    pub fn load(pairs: &[(Vec<u8>, Vec<u8>)]) -> Result<State, Malformed> {
        let mut cluster = None;
        let mut state = State {
            cluster: ClusterId(0),
            nodes: BTreeMap::new(),
            stores: BTreeMap::new(),
            regions: Registry::default(),
            version: 0,
            paused: false,
            next: 0,
            ceiling: 0,
            wanted: BTreeMap::new(),
            wanted_bytes: 0,
        };
        for (key, value) in pairs.iter().filter(|(key, _)| key.starts_with(PREFIX)) {
            match Record::decode(key, value)? {
                Record::Cluster(id) => cluster = Some(id),
                Record::Ids(first) => (state.next, state.ceiling) = (first, first),
                Record::Version(version) => state.version = version,
                Record::Paused(paused) => state.paused = paused != 0,
                Record::Node(node) => state.keep_node(node),
                Record::Region(region) => drop(state.regions.put(&region)),
            }
        }
        state.cluster = cluster.ok_or(Malformed("no record of the cluster"))?;
        match (state.next, state.version) {
            (0, _) => Err(Malformed("no record of the ids")),
            (_, 0) => Err(Malformed("no version of the nodes")),
            _ => Ok(state),
        }
    }

    fn keep_node(&mut self, node: Node) {
        match node.standing {
            Standing::Gone => self.stores.retain(|_, of| *of != node.node),
            _ => {
                let stores = node.stores.iter().map(|store| (*store, node.node));
                self.stores.extend(stores);
            }
        }
        self.nodes.insert(node.node, node);
    }

    fn want(&mut self, record: &Record) {
        let (key, value) = (record.key(), record.encode());
        self.wanted_bytes += key.len() + value.len();
        self.wanted.insert(key, Some(value));
    }

    /// The first of so many new ids.
    pub fn allocate(&mut self, count: u64) -> u64 {
        let first = self.next;
        self.next += count;
        if self.next > self.ceiling {
            self.ceiling = self.next + RANGE;
            self.want(&Record::Ids(self.ceiling));
        }
        first
    }

    /// Keeps whether nothing is begun.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
        self.want(&Record::Paused(u64::from(paused)));
    }

    /// Keeps a process. Its record and the version of the list are written together.
    pub fn put_node(&mut self, node: Node) {
        self.version += 1;
        self.want(&Record::Version(self.version));
        self.want(&Record::Node(node.clone()));
        self.keep_node(node);
    }

    /// The nodes that belong to the cluster, as whoever asks is told.
    pub fn list(&self) -> Message {
        let nodes = self.nodes.values();
        let there = nodes.filter(|node| node.standing != Standing::Gone);
        Message::Nodes(self.version, there.map(Node::info).collect())
    }

    /// The node of a store, if it was taken out of the cluster.
    pub fn removed(&self, store: StoreId) -> Option<NodeId> {
        let mut gone = self.nodes.values();
        let gone =
            gone.find(|node| node.standing == Standing::Gone && node.stores.contains(&store));
        gone.map(|node| node.node)
    }

    /// Whether a store is to be emptied.
    pub fn drains(&self, store: StoreId) -> bool {
        let node = self.stores.get(&store).and_then(|id| self.nodes.get(id));
        node.is_some_and(|node| node.standing.is_emptied())
    }

    /// Takes in what is told of a region.
    pub fn put_region(&mut self, region: &Region) -> Put {
        let put = self.regions.put(region);
        if let Put::New(gone) = &put {
            for id in gone {
                let key = region_key(*id);
                self.wanted_bytes += key.len();
                self.wanted.insert(key, None);
            }
            self.want(&Record::Region(region.clone()));
        }
        put
    }
}

/// The system keys of a cluster that begins with this node and these regions: ids begin above theirs.
pub fn bootstrap_pairs(
    cluster: ClusterId,
    node: Node,
    regions: &[Region],
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let peers = regions
        .iter()
        .flat_map(|r| r.peers.iter().map(|info| info.peer.0));
    let used = peers
        .chain(regions.iter().map(|region| region.id.0))
        .chain(node.stores.iter().map(|store| store.0))
        .chain([node.node.0, RegionId::FIRST_USER.0])
        .max();
    let mut records = vec![
        Record::Cluster(cluster),
        Record::Ids(used.unwrap_or_default() + 1),
        Record::Version(1),
        Record::Node(node),
    ];
    records.extend(regions.iter().cloned().map(Record::Region));
    records
        .iter()
        .map(|record| (record.key(), record.encode()))
        .collect()
}
