//! What goes to other shards: all messages of a turn to one of them in one frame and one write.
//!
//! A link may lose what it is given: raft and its kin say everything again. So nothing waits where no
//! connection is, and what does not fit is dropped and counted. The pieces of snapshots have links of their
//! own, so that nothing waits behind them; how fast they leave is the shard's to say.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::address::Address;
use super::driver::{Driver, Owner};
use super::figures::count;
use super::link::{Kind, Link};
use super::remote::Remote;
use crate::placement::NodeInfo;
use crate::shard::error::Error;
use crate::shard::ids::{Edition, NodeId, RegionId, StoreId};
use crate::shard::message::PeerMessage;
use crate::shard::request::Request;
use crate::wire::peer::greet::Hello;

/// Where a shard is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Berth {
    /// Its node.
    pub address: Address,
    /// Its number there.
    pub shard: u16,
    /// Which node that is; 0: nobody has said.
    pub node: NodeId,
    /// Which edition of the node's address this is.
    pub edition: Edition,
}

/// The ways to other shards.
#[derive(Default)]
pub struct Links {
    berths: RefCell<BTreeMap<StoreId, Berth>>,
    links: RefCell<BTreeMap<(StoreId, Kind), Rc<Link>>>,
    remotes: RefCell<BTreeMap<StoreId, Rc<Remote>>>,
    /// Links that were given something in this turn.
    touched: RefCell<Vec<Rc<Link>>>,
    /// Ways that requests of this turn went.
    touched_remotes: RefCell<Vec<Rc<Remote>>>,
    is_closed: Cell<bool>,
}

impl Links {
    /// Where nodes are from now on.
    pub fn learn(&self, nodes: &[NodeInfo]) {
        let mut berths = self.berths.borrow_mut();
        for node in nodes {
            let address = match Address::parse(&node.address) {
                Ok(address) => address,
                Err(why) => {
                    tracing::warn!(node = node.node.0, why, "a node without an address");
                    continue;
                }
            };
            for (shard, store) in node.stores.iter().enumerate() {
                let berth = Berth {
                    address: address.clone(),
                    shard: shard as u16,
                    node: node.node,
                    edition: node.edition,
                };
                // The node itself may have said something newer since.
                match berths.get_mut(store) {
                    Some(known) if known.edition > berth.edition => known.node = node.node,
                    _ => drop(berths.insert(*store, berth)),
                }
            }
        }
    }

    /// A shard has called, and says where its node is reached. That goes for all shards of the node.
    pub fn met(&self, hello: &Hello) {
        let Ok(address) = Address::parse(&hello.address) else {
            return;
        };
        let mut berths = self.berths.borrow_mut();
        let before = berths.get(&hello.from).cloned();
        // A greeting may have waited in a socket while its node moved on.
        let is_old = before.as_ref().is_some_and(|b| b.edition >= hello.edition);
        if is_old || hello.from.0 == 0 {
            return;
        }
        let node = before.map_or(NodeId(0), |before| before.node);
        let others = berths.values_mut().filter(|other| other.node == node);
        for other in others.filter(|_| node.0 != 0) {
            other.address = address.clone();
            other.edition = hello.edition;
        }
        let berth = Berth {
            address,
            shard: hello.shard,
            node,
            edition: hello.edition,
        };
        berths.insert(hello.from, berth);
    }

    /// Where a shard is reached, if that is known.
    pub fn berth(&self, store: StoreId) -> Option<Berth> {
        self.berths.borrow().get(&store).cloned()
    }

    /// All shards that are known.
    pub fn stores(&self) -> Vec<StoreId> {
        self.berths.borrow().keys().copied().collect()
    }

    /// Takes a message to another shard; it leaves at the end of the turn.
    pub fn send(&self, driver: &Rc<Driver>, to: StoreId, message: Box<PeerMessage>) {
        if self.is_closed.get() {
            return;
        }
        let kind = match *message {
            PeerMessage::SnapshotPiece { .. } => Kind::Bulk,
            _ => Kind::Swift,
        };
        let link = {
            let mut links = self.links.borrow_mut();
            let made = links.entry((to, kind));
            made.or_insert_with(|| Link::open(driver, to, kind)).clone()
        };
        if link.push(driver, message) {
            self.touched.borrow_mut().push(link);
        }
    }

    /// The turn is over.
    pub fn flush(&self) {
        for link in self.touched.borrow_mut().drain(..) {
            link.flush();
        }
        for remote in self.touched_remotes.borrow_mut().drain(..) {
            remote.flush();
        }
    }

    /// Sends a request to another shard, for whoever waits for the answer.
    pub fn forward(&self, driver: &Rc<Driver>, to: StoreId, owner: Owner, request: &Request<'_>) {
        if self.is_closed.get() || to == driver.station.store {
            let error = Error::NotLeader {
                region: RegionId(0),
                leader: None,
            };
            return owner.answer_later(driver, Err(error));
        }
        count(&driver.figures.forwarded, 1);
        let remote = {
            let mut remotes = self.remotes.borrow_mut();
            let made = remotes.entry(to);
            made.or_insert_with(|| Remote::open(driver, to)).clone()
        };
        if remote.push(driver, owner, request) {
            self.touched_remotes.borrow_mut().push(remote);
            driver.bell.ring();
        }
    }

    /// No more is sent, and nobody is connected any more.
    pub fn close(&self, driver: &Rc<Driver>) {
        self.is_closed.set(true);
        for link in self.links.borrow().values() {
            link.close();
        }
        let remotes: Vec<_> = self.remotes.borrow().values().cloned().collect();
        for remote in remotes {
            remote.close(driver);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::ids::ClusterId;

    fn info(address: &str, edition: u64) -> NodeInfo {
        NodeInfo {
            node: NodeId(4),
            address: address.into(),
            edition: Edition(edition),
            standing: crate::placement::Standing::Member,
            stores: vec![StoreId(5), StoreId(6)],
            labels: Vec::new(),
        }
    }

    fn hello(address: &str, edition: u64) -> Hello {
        let hello = Hello::new(ClusterId(1), StoreId(5), StoreId(9));
        hello.at(0, address, Edition(edition))
    }

    fn places(links: &Links) -> Vec<String> {
        let berth = |store| links.berth(StoreId(store)).expect("it is known");
        [5, 6].map(|store| berth(store).address.to_string()).into()
    }

    #[test]
    fn the_latest_edition_of_an_address_holds_in_whatever_order_they_come() {
        let links = Links::default();
        links.learn(&[info("a:1", 1)]);
        links.met(&hello("b:1", 2));
        assert_eq!(
            places(&links),
            ["b:1", "b:1"],
            "all shards of it have moved"
        );
        // A list from before, and a greeting that waited in its socket.
        links.learn(&[info("a:1", 1)]);
        links.met(&hello("a:1", 1));
        assert_eq!(places(&links), ["b:1", "b:1"]);
        // Back where it was.
        links.learn(&[info("a:1", 3)]);
        links.met(&hello("b:1", 2));
        assert_eq!(places(&links), ["a:1", "a:1"]);
    }

    #[test]
    fn a_node_that_takes_anothers_place_moves_nobody_else() {
        let links = Links::default();
        let mut other = info("a:1", 1);
        (other.node, other.stores) = (NodeId(7), vec![StoreId(8)]);
        links.learn(&[info("a:1", 1), other]);
        links.met(&hello("b:1", 2));
        let stays = links.berth(StoreId(8)).expect("it is known");
        assert_eq!(stays.address.to_string(), "a:1");
    }
}
