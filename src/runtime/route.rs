//! Where the leader of a key's region is: what this shard knows, and whom it asks otherwise.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;

use super::driver::{Driver, Owner, Reply};
use crate::placement::Message;
use crate::shard::error::Error;
use crate::shard::ids::{RegionId, StoreId};
use crate::shard::region::{PeerInfo, Region};
use crate::shard::request::{Answer, Body, Request, Response};

/// So many regions elsewhere are remembered.
const ROUTES_MAX: usize = 100_000;

/// Steps on the way to whoever leads the system region, before it is tried again later.
const STEPS_MAX: usize = 8;

/// Where a command goes that was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// To this shard.
    Here,
    /// To the shard that is this store.
    There(StoreId),
    /// Nobody knows yet.
    Later,
}

/// A region elsewhere.
#[derive(Clone, Debug)]
struct Route {
    region: RegionId,
    limit: Vec<u8>,
    leader: Option<StoreId>,
}

/// Regions elsewhere, by their first keys.
#[derive(Default)]
pub struct Routes {
    known: RefCell<BTreeMap<Vec<u8>, Route>>,
    /// Somebody asks already.
    is_asking: Cell<bool>,
    /// Who ran placement when last heard of.
    placement: Cell<Option<StoreId>>,
}

impl Routes {
    fn find(&self, key: &[u8]) -> Option<Route> {
        let known = self.known.borrow();
        let below = known.range::<[u8], _>((Bound::Unbounded, Bound::Included(key)));
        let (_, route) = below.last()?;
        (route.limit.is_empty() || key < &route.limit[..]).then(|| route.clone())
    }

    /// A store has refused a key. If that is where the route leads, the route was wrong: it is corrected if
    /// the store knew better, and forgotten if not.
    fn refused(&self, key: &[u8], by: StoreId, leader: Option<StoreId>) {
        let mut known = self.known.borrow_mut();
        let mut below = known.range_mut::<[u8], _>((Bound::Unbounded, Bound::Included(key)));
        let Some((start, route)) = below.next_back() else {
            return;
        };
        if route.leader != Some(by) {
            return;
        }
        match leader {
            Some(leader) if leader != by => route.leader = Some(leader),
            _ => {
                let start = start.clone();
                known.remove(&start);
            }
        }
    }

    fn learn(&self, region: &Region, leader: Option<PeerInfo>) {
        let mut known = self.known.borrow_mut();
        if known.len() >= ROUTES_MAX {
            known.clear();
        }
        let route = Route {
            region: region.id,
            limit: region.range.limit.clone(),
            // Any replica knows better who leads.
            leader: leader
                .or(region.peers.first().copied())
                .map(|peer| peer.store),
        };
        known.insert(region.range.start.clone(), route);
    }
}

impl Driver {
    /// Where a command for this key goes, after this error of the store that was asked.
    ///
    /// A route serves all commands that wait for it, until the store that it leads to refuses one.
    pub fn next_place(self: &Rc<Driver>, error: &Error, key: &[u8], asked: StoreId) -> Next {
        let me = self.station.store;
        let place = |store| match store == me {
            true => Next::Here,
            false => Next::There(store),
        };
        match error {
            Error::NotLeader {
                leader: Some(leader),
                ..
            } => {
                self.routes.refused(key, asked, Some(leader.store));
                place(leader.store)
            }
            // Whoever is asked at another shard is not always there: another one may lead by now.
            Error::NotLeader { leader: None, .. } if asked != me => {
                self.routes.refused(key, asked, None);
                Next::Later
            }
            Error::RegionNotFound(_)
            | Error::KeyNotInRegion { .. }
            | Error::EpochNotMatch { .. } => {
                self.routes.refused(key, asked, None);
                match self.routes.find(key).and_then(|route| route.leader) {
                    Some(store) => place(store),
                    None => {
                        self.locate(key);
                        Next::Later
                    }
                }
            }
            _ => Next::Later,
        }
    }

    /// A number that tells the regions of keys apart.
    pub fn region_number(&self, key: &[u8]) -> u64 {
        if let Some(region) = self.shard.borrow().region_at(key) {
            return region.id.0;
        }
        self.routes.find(key).map_or(0, |route| route.region.0)
    }

    /// The key behind the region that holds this one; empty: there is none, as far as known.
    pub fn region_limit(&self, key: &[u8]) -> Vec<u8> {
        if let Some(region) = self.shard.borrow().region_at(key) {
            return region.range.limit.clone();
        }
        self.routes
            .find(key)
            .map_or(Vec::new(), |route| route.limit)
    }

    /// Asks placement where a key is, if nobody does already.
    fn locate(self: &Rc<Driver>, key: &[u8]) {
        if self.routes.is_asking.replace(true) {
            return;
        }
        let (driver, key) = (self.clone(), key.to_vec());
        glommio::spawn_local(async move {
            let question = Message::LocateRegion { key };
            if let Ok(Answer::Placement(Message::Regions(regions))) =
                driver.ask_placement(&question).await
            {
                for (region, leader) in &regions {
                    driver.routes.learn(region, *leader);
                }
            }
            driver.routes.is_asking.set(false);
        })
        .detach();
    }

    /// Asks whoever runs placement, wherever that is.
    pub async fn ask_placement(self: &Rc<Driver>, question: &Message) -> Response {
        let me = self.station.store;
        let mut to = self.routes.placement.get().unwrap_or(me);
        let mut last = Error::RegionNotFound(RegionId::SYSTEM);
        let mut others = self.links.stores();
        for _ in 0..STEPS_MAX {
            let request = Request {
                region: None,
                body: Body::Placement(question),
            };
            let response = match to == me {
                true => self.ask(request).await,
                false => self.ask_there(to, &request).await,
            };
            match response {
                Err(Error::NotLeader {
                    leader: Some(leader),
                    ..
                }) if leader.store != to => to = leader.store,
                Err(
                    error @ (Error::NotLeader { .. }
                    | Error::RegionNotFound(_)
                    | Error::Undetermined),
                ) => {
                    last = error;
                    // Whoever else may know.
                    match others.pop() {
                        Some(store) => to = store,
                        None => break,
                    }
                }
                other => {
                    self.routes.placement.set(Some(to));
                    return other;
                }
            }
        }
        self.routes.placement.set(None);
        Err(last)
    }

    /// Asks another shard, and waits for its answer.
    pub async fn ask_there(self: &Rc<Driver>, store: StoreId, request: &Request<'_>) -> Response {
        let reply = Rc::new(Reply::default());
        self.forward(store, Owner::Task(reply.clone()), request);
        reply.wait().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_lasts_until_the_store_that_it_leads_to_refuses() {
        let routes = Routes::default();
        let route = Route {
            region: RegionId(2),
            limit: b"m".to_vec(),
            leader: Some(StoreId(7)),
        };
        routes.known.borrow_mut().insert(b"a".to_vec(), route);
        let leader = |key: &[u8]| routes.find(key).and_then(|route| route.leader);
        routes.refused(b"b", StoreId(1), None);
        routes.refused(b"0", StoreId(7), None);
        assert_eq!((leader(b"b"), leader(b"x")), (Some(StoreId(7)), None));
        routes.refused(b"b", StoreId(7), Some(StoreId(8)));
        assert_eq!(leader(b"c"), Some(StoreId(8)));
        routes.refused(b"b", StoreId(8), Some(StoreId(8)));
        assert_eq!(leader(b"c"), None);
    }
}
