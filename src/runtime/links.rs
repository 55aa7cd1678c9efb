//! What goes to other shards: all messages of a turn to one of them in one frame and one write.
//!
//! A link may lose what it is given: raft and its kin say everything again. So nothing waits where no
//! connection is, and what does not fit is dropped and counted. The pieces of snapshots have links of their
//! own, at a rate that leaves room for everything else.

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
use crate::shard::ids::{RegionId, StoreId};
use crate::shard::message::PeerMessage;
use crate::shard::request::Request;

/// Where a shard is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Berth {
    /// Its node.
    pub address: Address,
    /// Its number there.
    pub shard: u16,
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
                };
                berths.insert(*store, berth);
            }
        }
    }

    /// A shard has called, and says where its node is reached. That goes for all shards of the node.
    pub fn met(&self, store: StoreId, shard: u16, address: &str) {
        let Ok(address) = Address::parse(address) else {
            return;
        };
        let mut berths = self.berths.borrow_mut();
        let before = berths.get(&store).map(|berth| berth.address.clone());
        if before.as_ref() == Some(&address) || store.0 == 0 {
            return;
        }
        let others = berths.values_mut();
        for other in others.filter(|other| Some(&other.address) == before.as_ref()) {
            other.address = address.clone();
        }
        berths.insert(store, Berth { address, shard });
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
