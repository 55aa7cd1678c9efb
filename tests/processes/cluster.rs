//! Three nodes.

use std::path::Path;

use crate::child::Node;
use crate::status::{self, Peer, Status};
use crate::{port, wait};

/// How many nodes there are.
pub const NODES: usize = 3;

/// The system keys, and the users' keys.
pub const REGIONS: usize = 2;

/// Three nodes.
pub struct Cluster {
    /// In order.
    pub nodes: Vec<Node>,
}

impl Cluster {
    /// Nodes that do not run yet; the first one founds the cluster.
    pub fn new(home: &Path, shards: u16) -> Cluster {
        let first = port::free_row(shards + 1);
        let mut nodes = vec![Node::new(home, 0, first, shards, None)];
        for number in 1..NODES {
            let port = port::free_row(shards + 1);
            nodes.push(Node::new(home, number, port, shards, Some(first)));
        }
        Cluster { nodes }
    }

    /// Where they are.
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port).collect()
    }

    /// What those say that answer.
    pub fn statuses(&self) -> Vec<Option<Status>> {
        let ask = |node: &Node| node.is_awake().then(|| status::ask(node.port)).flatten();
        self.nodes.iter().map(ask).collect()
    }

    /// The node that leads a region, as far as nodes know.
    pub fn leader(&self, region: u64) -> Option<usize> {
        let statuses = self.statuses();
        let leads = |status: &Option<Status>| {
            let mut peers = status.iter().flat_map(|status| &status.peers);
            peers.any(|peer| peer.region == region && peer.leads)
        };
        statuses.iter().position(leads)
    }

    /// All peers of all regions, with their nodes; none if not all nodes answer.
    pub fn peers(&self) -> Option<Vec<(usize, Peer)>> {
        let statuses: Option<Vec<Status>> = self.statuses().into_iter().collect();
        let peers = statuses?.into_iter().enumerate();
        let of_node = |(node, status): (usize, Status)| {
            status.peers.into_iter().map(move |peer| (node, peer))
        };
        Some(peers.flat_map(of_node).collect())
    }

    /// Why not every region has a voter on every node, as all of them and placement see it; none if they do.
    pub fn missing(&self) -> Option<String> {
        let Some(peers) = self.peers() else {
            return Some("not all nodes answer".into());
        };
        let (mut nodes, mut leaders) = ([0; NODES], 0);
        for (node, peer) in &peers {
            nodes[*node] += 1;
            leaders += usize::from(peer.leads);
            let voters = peer.peers.iter().filter(|(_, _, role)| role == "voter");
            let is_whole = voters.count() == NODES && peer.peers.len() == NODES;
            let is_known = peer.peers.iter().all(|(number, store, _)| {
                let mut all = peers.iter();
                all.any(|(_, other)| other.peer == *number && other.store == *store)
            });
            if !is_whole || !is_known {
                return Some(format!("region {} has {:?}", peer.region, peer.peers));
            }
        }
        match nodes == [REGIONS; NODES] && leaders == REGIONS {
            true => None,
            false => Some(format!("{nodes:?} peers on nodes, {leaders} leaders")),
        }
    }

    /// Waits until every region has a voter on every node, and a leader.
    pub fn wait_whole(&self) -> Result<(), String> {
        let mut last = None;
        let waited = wait::until("every region has a voter on every node", || {
            last = self.missing();
            last.is_none().then_some(())
        });
        waited.map_err(|why| format!("{why}; {}", last.unwrap_or_default()))
    }

    /// Nodes that have ended by themselves, and what they complain about.
    pub fn complaint(&mut self) -> Option<String> {
        let ended = self.nodes.iter_mut().find_map(|node| {
            let ended = node.has_ended();
            ended.then(|| format!("node {} has ended by itself", node.number))
        });
        let told: Vec<String> = self.nodes.iter().flat_map(Node::complaints).collect();
        match (ended, told.is_empty()) {
            (None, true) => None,
            (ended, _) => Some(format!("{} {}", ended.unwrap_or_default(), told.join("\n"))),
        }
    }
}
