//! Regions are split, by hand at any moment and at keys that clients use, and by themselves, since they may hold
//! and bear next to nothing.

use std::collections::BTreeSet;

use super::disk::Chance;
use super::event::Event;
use super::plan::Plan;
use super::workload::Client;
use super::world::World;
use crate::shard::door::Input;
use crate::shard::ids::{RegionId, RequestId};
use crate::shard::request::{Body, Request};
use crate::shard::time::MILLISECOND;

/// The ids of requests for splits begin here.
const SPLIT: u64 = 1 << 42;

/// Ids that one split may take.
const IDS_EACH: u64 = 100;

/// When regions are split, and into how many.
#[derive(Clone, Debug)]
pub struct Splitting {
    /// Mean time between two splits.
    pub every: u64,
    /// No more regions than so many by hand.
    pub regions_max: usize,
    /// When they are split by themselves; none: never.
    pub by_itself: Option<ByItself>,
}

/// What a region may hold and bear before it is split by itself; 0: anything.
#[derive(Clone, Debug)]
pub struct ByItself {
    /// Bytes.
    pub bytes: u64,
    /// Keys.
    pub keys: u64,
    /// Reads and writes of keys in a second.
    pub load: u64,
    /// Ticks for which it must be so busy.
    pub load_ticks: u64,
    /// Ticks between two looks.
    pub ticks: u64,
    /// Ticks after an attempt.
    pub rest_ticks: u64,
    /// Splits at once.
    pub at_once: usize,
}

impl ByItself {
    /// What a seed decides, by random numbers of its own.
    fn new(seed: u64) -> Option<ByItself> {
        let mut chance = Chance::new(seed ^ 0x4954_5345_4C46);
        if chance.below(4) == 0 {
            return None;
        }
        let mut some = |low: u64, high: u64| match chance.below(3) {
            0 => 0,
            _ => low + chance.below(high - low),
        };
        Some(ByItself {
            bytes: some(500, 20_000),
            keys: some(1, 6),
            load: some(2, 100),
            load_ticks: 5 + chance.below(30),
            ticks: 1 + chance.below(20),
            rest_ticks: 5 + chance.below(60),
            at_once: 1 + chance.below(4) as usize,
        })
    }
}

impl Splitting {
    /// What a seed decides, by random numbers of its own.
    pub fn new(plan: &Plan) -> Splitting {
        let mut chance = Chance::new(plan.seed ^ 0x0053_504C_4954);
        Splitting {
            every: (200 + chance.below(2500)) * MILLISECOND,
            regions_max: 4 + chance.below(9) as usize,
            by_itself: ByItself::new(plan.seed),
        }
    }
}

/// Splits that were asked for, and the regions that are known.
#[derive(Debug)]
pub(super) struct Splits {
    chance: Chance,
    asked: u64,
    /// All regions that ever were.
    pub(super) regions: BTreeSet<RegionId>,
    /// Splits that were seen, by region and version.
    seen: BTreeSet<(RegionId, u64)>,
    /// Those that were begun without anybody asking.
    unasked: BTreeSet<(RegionId, u64)>,
}

impl Splits {
    pub(super) fn new(plan: &Plan) -> Splits {
        Splits {
            chance: Chance::new(plan.seed ^ 0x5350_4C49_5453),
            asked: 0,
            regions: (1..=1 + plan.regions as u64).map(RegionId).collect(),
            seen: BTreeSet::new(),
            unasked: BTreeSet::new(),
        }
    }
}

impl World {
    /// The first split is planned.
    pub(super) fn plan_splits(&mut self) {
        if let Some(splitting) = &self.plan.splitting {
            let every = splitting.every;
            let delay = self.splits.chance.below(2 * every);
            self.after(delay, Event::Split);
        }
    }

    /// All regions that ever were, in the order of their ids.
    pub(super) fn known_regions(&self) -> Vec<RegionId> {
        self.splits.regions.iter().copied().collect()
    }

    /// A region was split somewhere.
    pub(super) fn has_split(&mut self, region: RegionId, version: u64) {
        if self.splits.seen.insert((region, version)) {
            self.figures.splits += 1;
            let unasked = self.splits.unasked.contains(&(region, version));
            self.figures.splits_by_itself += u64::from(unasked);
        }
    }

    /// A region is about to be split without anybody asking.
    pub(super) fn splits_itself(&mut self, region: RegionId, version: u64) {
        self.splits.unasked.insert((region, version));
    }

    /// Somebody splits some region.
    pub(super) fn split(&mut self) {
        let Some(splitting) = self.plan.splitting.clone() else {
            return;
        };
        if self.healing_since.is_some() {
            return;
        }
        let delay = splitting.every / 4 + self.splits.chance.below(splitting.every * 3 / 2);
        self.after(delay, Event::Split);
        let room = splitting
            .regions_max
            .saturating_sub(self.splits.regions.len());
        let statuses = self.statuses();
        let leads: Vec<_> = statuses
            .iter()
            .filter(|(_, status)| status.leads && status.region.id != RegionId::SYSTEM)
            .collect();
        if leads.is_empty() || room == 0 {
            return;
        }
        let (store, leader) = leads[self.splits.chance.below(leads.len() as u64) as usize];
        let Some(at) = self.at(*store) else { return };
        if !self.is_now(at) || self.is_paused(at.node) {
            return;
        }
        let range = &leader.region.range;
        let wanted = 1 + self.splits.chance.below(3) as usize;
        let mut keys = BTreeSet::new();
        for _ in 0..20 {
            let key = self.key_to_split_at();
            let fits = key > range.start && range.contains(&key);
            // Now and then one that does not fit: it is refused.
            if (fits || self.splits.chance.below(40) == 0) && keys.len() < wanted.min(room) {
                keys.insert(key);
            }
        }
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        self.splits.asked += 1;
        let ids = match self.plan.growth {
            // From where all ids are: a later peer of a region has a greater one.
            None => {
                self.next_peer += IDS_EACH;
                Some(self.next_peer - IDS_EACH)
            }
            Some(_) => None,
        };
        let id = RequestId(SPLIT + self.splits.asked);
        let (region, epoch) = (leader.region.id, leader.region.epoch);
        self.tell(|| format!("region {region} is to be split at {keys:?}"));
        self.given(id, at);
        let body = Body::Split {
            region,
            keys: &keys,
            ids,
        };
        let request = Request {
            region: Some((region, epoch)),
            body,
        };
        self.input(at, Input::Request { id, request });
    }

    /// A key that clients use, or one just behind it.
    fn key_to_split_at(&mut self) -> Vec<u8> {
        let chance = &mut self.splits.chance;
        let region = chance.below(self.plan.regions as u64) as usize;
        let place = chance.below(self.plan.keys as u64) as usize;
        let mut key = Client::key(region, place, chance.below(3) == 0);
        if chance.below(3) == 0 {
            key.push(0);
        }
        key
    }
}
