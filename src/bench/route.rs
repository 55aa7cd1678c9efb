//! Where keys are led, as a client finds it out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::words::USER;
use crate::placement::message::RegionInfo;
use crate::placement::{Message, NodeInfo};
use crate::runtime::address::Address;
use crate::runtime::caller::{CallError, Caller};
use crate::runtime::failure::{Exit, Failure};
use crate::shard::ids::StoreId;
use crate::shard::region::{Region, Role};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long is waited for every region to have a leader, or its replicas.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);

/// The pause before it is looked again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Where keys are led: ranges in order, and the door of each.
#[derive(Clone, Debug)]
pub struct Routes {
    /// Where to connect.
    pub doors: Vec<SocketAddr>,
    /// The first stored key of each range, and which of the doors it has.
    ranges: Vec<(Vec<u8>, usize)>,
    /// Replicas of the region that has the fewest.
    pub replicas: usize,
}

impl Routes {
    /// Any of these doors for any key.
    pub fn anywhere(doors: Vec<SocketAddr>) -> Routes {
        Routes {
            doors,
            ranges: Vec::new(),
            replicas: 0,
        }
    }

    /// Whether every door is as good for every key.
    pub fn is_anywhere(&self) -> bool {
        self.ranges.len() <= 1
    }

    /// The door for a key, as users know it.
    pub fn door(&self, key: &[u8]) -> usize {
        // Stored keys of users all begin with the same byte; ranges may begin before it.
        let behind = self
            .ranges
            .partition_point(|(start, _)| match start.split_first() {
                Some((&USER, rest)) => rest <= key,
                Some((first, _)) => *first < USER,
                None => true,
            });
        self.ranges[..behind].last().map_or(0, |(_, door)| *door)
    }

    /// Asks the first node that answers, until every region has a leader.
    pub fn find(nodes: &[Address]) -> Result<Routes, Failure> {
        let until = Instant::now() + SETTLED_WITHIN;
        loop {
            match Picture::take(nodes).and_then(|picture| picture.routes()) {
                Ok(routes) => return Ok(routes),
                Err(why) if Instant::now() >= until => return Err(Failure::new(Exit::Failed, why)),
                Err(_) => std::thread::sleep(LOOK_AGAIN),
            }
        }
    }
}

/// Waits until every region has so many replicas, all of which vote.
pub fn wait_for_replicas(nodes: &[Address], replicas: usize) -> Result<(), Failure> {
    let until = Instant::now() + SETTLED_WITHIN;
    loop {
        let missing = match Picture::take(nodes) {
            Ok(picture) if picture.is_replicated(replicas) => return Ok(()),
            Ok(_) => format!(
                "regions do not have {replicas} replicas after {} s",
                SETTLED_WITHIN.as_secs()
            ),
            Err(why) => why,
        };
        if Instant::now() >= until {
            return Err(Failure::new(Exit::Failed, missing));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Whether anybody answers there, in words if not.
pub fn greet(nodes: &[Address]) -> Result<(), Failure> {
    let mut why = String::from("no node was named");
    for node in nodes {
        match Caller::connect(node, PATIENCE) {
            Ok(_) => return Ok(()),
            Err(error) => why = error.to_string(),
        }
    }
    Err(Failure::new(
        Exit::Failed,
        format!("no node answers: {why}"),
    ))
}

/// All nodes and regions, as one node tells of them.
struct Picture {
    nodes: Vec<NodeInfo>,
    regions: Vec<RegionInfo>,
}

impl Picture {
    fn take(nodes: &[Address]) -> Result<Picture, String> {
        let mut why = CallError::Link("no node was named".into());
        for node in nodes {
            match Picture::from(node) {
                Ok(picture) => return Ok(picture),
                Err(error) => why = error,
            }
        }
        Err(why.to_string())
    }

    fn from(node: &Address) -> Result<Picture, CallError> {
        let strange = || CallError::Link(format!("{node}: an answer to something else"));
        let mut caller = Caller::connect(node, PATIENCE)?;
        let Message::Nodes(_, nodes) = caller.ask_placement(&Message::ListNodes)? else {
            return Err(strange());
        };
        let (mut regions, mut start) = (Vec::new(), Vec::new());
        loop {
            let question = Message::ListRegions { start, count: 256 };
            let Message::Regions(some) = caller.ask_placement(&question)? else {
                return Err(strange());
            };
            let last = some.told.last();
            let limit = last.map(|told| told.region.range.limit.clone());
            regions.extend(some.told);
            match limit {
                Some(limit) if !limit.is_empty() => start = limit,
                _ => return Ok(Picture { nodes, regions }),
            }
        }
    }

    fn is_replicated(&self, replicas: usize) -> bool {
        let has_all = |region: &Region| {
            region.peers.len() >= replicas
                && region.peers.iter().all(|peer| peer.role == Role::Voter)
        };
        !self.regions.is_empty() && self.regions.iter().all(|told| has_all(&told.region))
    }

    fn routes(&self) -> Result<Routes, String> {
        let mut places = BTreeMap::new();
        for node in &self.nodes {
            let address = Address::parse(&node.address)?;
            for (shard, store) in node.stores.iter().enumerate() {
                places.insert(*store, (address.clone(), shard as u16));
            }
        }
        let place = |store: StoreId| -> Result<SocketAddr, String> {
            let (address, shard) = places
                .get(&store)
                .ok_or_else(|| format!("where store {store} is is not known"))?;
            let port = address
                .shard_port(*shard)
                .ok_or_else(|| format!("store {store} has no port"))?;
            address.resolve(port)
        };
        let mut routes = Routes::anywhere(Vec::new());
        routes.replicas = usize::MAX;
        for RegionInfo { region, leader, .. } in &self.regions {
            let limit = &region.range.limit;
            if !limit.is_empty() && limit.as_slice() <= [USER].as_slice() {
                continue;
            }
            let leader = leader.ok_or_else(|| format!("region {} has no leader", region.id))?;
            let at = place(leader.store)?;
            let known = routes.doors.iter().position(|door| *door == at);
            let door = known.unwrap_or(routes.doors.len());
            if known.is_none() {
                routes.doors.push(at);
            }
            routes.replicas = routes.replicas.min(region.peers.len());
            routes.ranges.push((region.range.start.clone(), door));
        }
        match routes.doors.is_empty() {
            true => Err("no region of user keys is known".into()),
            false => Ok(routes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_door_of_its_range() {
        let door = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut routes = Routes::anywhere(vec![door(1), door(2), door(3)]);
        assert!(routes.is_anywhere());
        assert_eq!(routes.door(b"k"), 0);
        routes.ranges = vec![
            (vec![USER], 2),
            (b"\x01k5".to_vec(), 1),
            (b"\x01k7".to_vec(), 2),
        ];
        assert!(!routes.is_anywhere());
        for (key, expected) in [("k4", 2), ("k5", 1), ("k69", 1), ("k7", 2), ("z", 2)] {
            assert_eq!(routes.door(key.as_bytes()), expected, "{key}");
        }
    }
}
