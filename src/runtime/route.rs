//! Where the leader of a key's region is: what this shard knows, and whom it asks otherwise.
//!
//! ```text
//! an error ──▶ names a leader, or regions as they are now? ──▶ there, at once
//!                 └─ no: another peer of the region ─▶ placement ─▶ another shard's table
//! ```
//!
//! Every shard keeps a table of all regions for that, which it tells to whoever asks: placement may be on its way
//! from one node to another just then.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures_lite::future::or;
use glommio::timer::Timer;

use super::chart::{Chart, Corrected};
use super::driver::{Driver, Owner, Reply};
use super::figures::count;
use crate::placement::Message;
use crate::placement::message::{RegionInfo, Regions, Source};
use crate::shard::error::Error;
use crate::shard::ids::{RegionId, StoreId};
use crate::shard::region::{Epoch, Region};
use crate::shard::request::{Answer, Body, Request, Response};

/// Steps on the way to whoever leads the system region, before it is tried again later.
const STEPS_MAX: usize = 8;

/// Regions that are asked for together: whoever looks for one looks for its neighbours soon.
const NEIGHBOURS: u32 = 32;

/// Regions that are listed at once.
const PAGE: u32 = 256;

/// How often the table is read anew from placement.
const READ_EVERY: Duration = Duration::from_secs(60);

/// The pause before that is tried again when placement was not to be found.
const READ_AGAIN: Duration = Duration::from_millis(500);

/// How long placement may take before the table answers in its place.
const PATIENCE: Duration = Duration::from_secs(1);

/// The time within which nobody is asked twice for the same kind of help.
const ASK_EVERY: u64 = 100_000_000;

/// How long what this shard itself holds counts as entered in its table.
const ENTERED_FOR: u64 = 100_000_000;

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

impl Next {
    /// The other shard that it is.
    pub fn store(self) -> Option<StoreId> {
        match self {
            Next::There(store) => Some(store),
            Next::Here | Next::Later => None,
        }
    }
}

/// A region, and whom to ask for it.
#[derive(Clone, Debug)]
pub struct Way {
    /// The region as it is known here.
    pub region: Region,
    /// The store; none: this one.
    pub to: Option<StoreId>,
}

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'k> {
    /// The region that holds a key.
    Key(&'k [u8]),
    /// The region of this number.
    Region(RegionId),
}

/// The table of regions, and who is asked to fill it.
#[derive(Default)]
pub struct Routes {
    chart: RefCell<Chart>,
    /// Somebody asks already.
    is_asking: Cell<bool>,
    /// When somebody was asked last.
    asked: Cell<u64>,
    /// Whose table is asked next, when placement is not to be found.
    neighbour: Cell<usize>,
    /// Who ran placement when last heard of.
    placement: Cell<Option<StoreId>>,
    /// When all of the table was last read from placement.
    read: Cell<Option<u64>>,
    /// When what this shard holds was last entered.
    entered: Cell<u64>,
}

impl Routes {
    fn learn(&self, regions: &[RegionInfo]) {
        let mut chart = self.chart.borrow_mut();
        for told in regions {
            chart.learn(&told.region, told.leader);
        }
    }

    fn id(&self, wanted: Wanted<'_>) -> Option<RegionId> {
        match wanted {
            Wanted::Key(key) => self.chart.borrow().region(key).map(|region| region.id),
            Wanted::Region(region) => Some(region),
        }
    }

    fn store(&self, wanted: Wanted<'_>) -> Option<StoreId> {
        let id = self.id(wanted)?;
        self.chart.borrow().store(id)
    }
}

impl Driver {
    /// Where a command goes, after this error of the store that was asked: what the error says of regions and
    /// leaders is believed as far as it is news.
    ///
    /// A route serves all commands that wait for it, until the store that it leads to refuses one.
    pub fn next_place(
        self: &Rc<Driver>,
        error: &Error,
        wanted: Wanted<'_>,
        asked: StoreId,
    ) -> Next {
        let me = self.station.store;
        if asked != me {
            count(&self.figures.misled[usize::from(error.number()).min(15)], 1);
        }
        let place = |store| match store == me {
            true => Next::Here,
            false => Next::There(store),
        };
        let routes = &self.routes;
        let known = routes.id(wanted);
        match error.kind() {
            Error::NotLeader {
                region,
                leader: Some(leader),
            } if leader.store != asked => {
                routes.chart.borrow_mut().led(*region, *leader);
                if known.is_some_and(|known| known != *region && *region != RegionId::default()) {
                    // What was known of the key is not true any more.
                    self.locate(wanted);
                }
                return place(leader.store);
            }
            Error::NotLeader { .. } if asked == me => {
                // Nobody is elected yet; or the peer here is one that nobody needs any more, and does not know it.
                if self.is_behind(wanted)
                    && let Some(store) = routes.store(wanted).filter(|store| *store != me)
                {
                    return place(store);
                }
                self.locate(wanted);
                return Next::Later;
            }
            Error::NotLeader { .. } => {
                // Whoever is asked at another shard is not always there: another one may lead by now.
                if let Some(region) = known {
                    routes.chart.borrow_mut().refused(region, asked);
                }
                return Next::Later;
            }
            Error::RegionNotFound(_) | Error::RegionMoved(_) => {
                if asked == me
                    && let Wanted::Key(key) = wanted
                    && let Some(region) = self.shard.borrow().region_at(key)
                {
                    // The peer here is going, or is being restored: the others are asked.
                    routes.chart.borrow_mut().learn(region, None);
                }
                if let Some(region) = routes.id(wanted) {
                    routes.chart.borrow_mut().refused(region, asked);
                }
            }
            Error::EpochNotMatch { current } => {
                let corrected = routes.chart.borrow_mut().correct(current, asked);
                match corrected {
                    Corrected::News => {}
                    Corrected::Known if asked == me => {}
                    Corrected::Known => return Next::Later,
                    Corrected::Behind => {
                        // Whoever was asked is behind itself, this shard's own peer too: others are asked.
                        if let Some(region) = routes.id(wanted) {
                            routes.chart.borrow_mut().refused(region, asked);
                        }
                        return Next::Later;
                    }
                }
            }
            Error::KeyNotInRegion { .. } | Error::StoreNotMatch { .. } => {
                if let Some(region) = known {
                    routes.chart.borrow_mut().forget(region);
                }
            }
            // Leadership changed there: whoever is there now knows to whom.
            Error::StaleCommand => return place(asked),
            _ => return Next::Later,
        }
        match routes.store(wanted) {
            Some(store) => place(store),
            None => {
                self.locate(wanted);
                Next::Later
            }
        }
    }

    /// Whether the table knows a later region than this shard holds itself.
    fn is_behind(&self, wanted: Wanted<'_>) -> bool {
        let Wanted::Key(key) = wanted else {
            return false;
        };
        let (shard, chart) = (self.shard.borrow(), self.routes.chart.borrow());
        match (shard.region_at(key), chart.region(key)) {
            (Some(here), Some(there)) => here.epoch.is_staler_than(there.epoch),
            (here, _) => here.is_none(),
        }
    }

    /// Does something with the region that holds a key, as it is known here.
    fn with_region<T>(&self, key: &[u8], take: impl FnOnce(&Region) -> T) -> Option<T> {
        let (shard, chart) = (self.shard.borrow(), self.routes.chart.borrow());
        let here = shard.region_at(key);
        let there = match chart.is_empty() {
            true => None,
            false => chart.region(key),
        };
        let region = match (here, there) {
            (Some(here), Some(there)) if here.epoch.is_staler_than(there.epoch) => there,
            (Some(here), _) => here,
            (None, there) => there?,
        };
        Some(take(region))
    }

    /// The way to the region that holds a key; none: it is asked for.
    pub fn way(self: &Rc<Driver>, key: &[u8]) -> Option<Way> {
        let region = self.with_region(key, Region::clone);
        let Some(region) = region else {
            self.locate(Wanted::Key(key));
            return None;
        };
        let shard = self.shard.borrow();
        let here = shard
            .region_at(key)
            .is_some_and(|own| own.epoch == region.epoch);
        let to = match here {
            true => None,
            false => self.routes.chart.borrow().store(region.id),
        };
        Some(Way { region, to })
    }

    /// A number that tells the regions of keys apart.
    pub fn region_number(&self, key: &[u8]) -> u64 {
        self.with_region(key, |region| region.id.0).unwrap_or(0)
    }

    /// The region that holds a key as it is known here, so that whoever knows better says so.
    pub fn region_named(&self, key: &[u8]) -> Option<(RegionId, Epoch)> {
        self.with_region(key, |region| (region.id, region.epoch))
    }

    /// The key behind the region that holds this one; empty: there is none, as far as known.
    pub fn region_limit(&self, key: &[u8]) -> Vec<u8> {
        let limit = self.with_region(key, |region| region.range.limit.clone());
        limit.unwrap_or_default()
    }

    /// Asks where a region is, if nobody does already: placement or, where that is not to be found, others for what
    /// they know.
    fn locate(self: &Rc<Driver>, wanted: Wanted<'_>) {
        let (Wanted::Key(key), now) = (wanted, self.clock.mono()) else {
            return;
        };
        let routes = &self.routes;
        if routes.is_asking.get() || now < routes.asked.get() + ASK_EVERY && routes.asked.get() > 0
        {
            return;
        }
        routes.is_asking.set(true);
        let (driver, key) = (self.clone(), key.to_vec());
        glommio::spawn_local(async move {
            let question = Message::ListRegions {
                start: key.clone(),
                count: NEIGHBOURS,
            };
            if let Some(regions) = driver.ask_within(&question).await {
                driver.routes.learn(&regions.told);
            } else {
                driver.ask_neighbour(key).await;
            }
            driver.routes.asked.set(driver.clock.mono());
            driver.routes.is_asking.set(false);
        })
        .detach();
    }

    /// Asks placement for regions; none: it was not to be found in time.
    async fn ask_within(self: &Rc<Driver>, question: &Message) -> Option<Regions> {
        let asked = async { self.ask_placement(question).await.ok() };
        let late = async {
            Timer::new(PATIENCE).await;
            None
        };
        match or(asked, late).await {
            Some(Answer::Placement(Message::Regions(regions))) => Some(regions),
            _ => {
                // Whoever was asked stands still, perhaps: the shard's own belief is asked next.
                self.routes.placement.set(None);
                None
            }
        }
    }

    /// Asks another shard for its table, each time another one.
    async fn ask_neighbour(self: &Rc<Driver>, start: Vec<u8>) {
        let stores = self.links.stores();
        let others: Vec<StoreId> = stores
            .into_iter()
            .filter(|store| *store != self.station.store)
            .collect();
        let turn = self.routes.neighbour.get();
        self.routes.neighbour.set(turn.wrapping_add(1));
        let Some(store) = others.get(turn % others.len().max(1)) else {
            return;
        };
        let question = Message::ListKnown {
            start,
            count: NEIGHBOURS,
        };
        let request = Request {
            region: None,
            body: Body::Placement(&question),
        };
        let asked = async { self.ask_there(*store, &request).await.ok() };
        let late = async {
            Timer::new(PATIENCE).await;
            None
        };
        if let Some(Answer::Placement(Message::Regions(regions))) = or(asked, late).await {
            self.routes.learn(&regions.told);
        }
    }

    /// Regions for whoever asks, as placement knows them or, where that is not to be found in time, as this shard
    /// does. Who leads is not in placement's records, so after it has moved this shard may know more of that.
    pub async fn list_regions(self: &Rc<Driver>, question: &Message) -> Response {
        let (start, most) = match question {
            Message::ListRegions { start, count } | Message::ListKnown { start, count } => {
                (start, *count)
            }
            Message::LocateRegion { key } => (key, 1),
            _ => return Err(Error::BadRequest("not a question for regions")),
        };
        let told = match question {
            Message::ListKnown { .. } => None,
            _ => self.ask_within(question).await,
        };
        let regions = match told {
            Some(mut regions) => {
                self.routes.learn(&regions.told);
                self.enter_own();
                let chart = self.routes.chart.borrow();
                for told in &mut regions.told {
                    told.leader = told.leader.or_else(|| chart.leader(told.region.id));
                }
                regions
            }
            None => self.table(start, most),
        };
        Ok(Answer::Placement(Message::Regions(regions)))
    }

    /// What this shard knows of regions, from the one that holds this key on.
    pub fn table(&self, start: &[u8], most: u32) -> Regions {
        self.enter_own();
        let chart = self.routes.chart.borrow();
        let known = chart.from_key(start).take(most.min(PAGE) as usize);
        let now = self.clock.mono();
        Regions {
            told: known
                .map(|(region, leader)| RegionInfo::of(region.clone(), leader))
                .collect(),
            by: Source::Table {
                store: self.station.store,
                age_ms: self.routes.read.get().map(|read| (now - read) / 1_000_000),
            },
        }
    }

    /// Enters what this shard holds itself.
    fn enter_own(&self) {
        let now = self.clock.mono();
        if now < self.routes.entered.get() + ENTERED_FOR {
            return;
        }
        self.routes.entered.set(now);
        let statuses = self.shard.borrow().statuses();
        let mut chart = self.routes.chart.borrow_mut();
        for status in statuses
            .iter()
            .filter(|status| !status.region.peers.is_empty())
        {
            let leader = status.leader.and_then(|leader| status.region.peer(leader));
            if chart.learn(&status.region, leader.copied())
                && let Some(leader) = leader
            {
                chart.led(status.region.id, *leader);
            }
        }
    }

    /// Asks whoever runs placement, wherever that is.
    pub async fn ask_placement(self: &Rc<Driver>, question: &Message) -> Response {
        let me = self.station.store;
        let believed = self.routes.placement.get();
        let believed = believed.or_else(|| self.shard.borrow().placement_store());
        let mut to = believed.unwrap_or(me);
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

    /// Who leads a region that is known by its number alone.
    pub async fn find_region(self: &Rc<Driver>, wanted: RegionId) -> Next {
        let known = self.routes.chart.borrow().store(wanted);
        if known.is_none() && self.read_table(Some(wanted)).await.is_none() {
            return Next::Later;
        }
        match self.routes.chart.borrow().store(wanted) {
            Some(store) if store == self.station.store => Next::Here,
            Some(store) => Next::There(store),
            None => Next::Later,
        }
    }

    /// Reads all regions from placement, or up to the one that is looked for; none: placement was not to be found.
    async fn read_table(self: &Rc<Driver>, wanted: Option<RegionId>) -> Option<()> {
        let mut start = Vec::new();
        loop {
            let question = Message::ListRegions { start, count: PAGE };
            let regions = self.ask_within(&question).await?;
            self.routes.learn(&regions.told);
            if regions
                .told
                .iter()
                .any(|told| Some(told.region.id) == wanted)
            {
                return Some(());
            }
            let last = regions.told.last()?;
            if last.region.range.limit.is_empty() {
                self.routes.read.set(Some(self.clock.mono()));
                return Some(());
            }
            start = last.region.range.limit.clone();
        }
    }
}

/// Reads the table anew, again and again.
pub async fn keep(driver: Rc<Driver>) {
    while !driver.has_stopped() {
        // Not all shards at the same moment.
        let apart = Duration::from_millis(driver.station.store.0 * 97 % 5000);
        let pause = match driver.read_table(None).await {
            Some(()) => READ_EVERY + apart,
            None => READ_AGAIN,
        };
        Timer::new(pause).await;
    }
}
