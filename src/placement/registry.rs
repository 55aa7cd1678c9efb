//! The regions as their leaders last told of them.
//!
//! A heartbeat is stale if the known region of the same id has a greater version or conf_ver; a region
//! that is new here, or whose range has changed, is stale if **any** region that it overlaps is ahead in
//! either part. What is not stale replaces every region that it overlaps.

use std::collections::BTreeMap;
use std::ops::Bound;

use coracle_engine::record::KeyRange;

use super::loads::Rate;
use super::message::{RegionFigures, RegionStats};
use crate::shard::ids::{PeerId, RegionId, StoreId};
use crate::shard::meta::PEERS_MAX;
use crate::shard::region::{PeerInfo, Region, Role};
use crate::shard::time::MILLISECOND;

/// Regions by id and by their first key.
#[derive(Debug, Default)]
pub struct Registry {
    regions: BTreeMap<RegionId, Region>,
    by_start: BTreeMap<Vec<u8>, RegionId>,
    leaders: BTreeMap<RegionId, PeerInfo>,
    rates: BTreeMap<RegionId, Rate>,
    /// What leaders last told of their regions, and when.
    figures: BTreeMap<RegionId, (u64, RegionFigures)>,
    peers: BTreeMap<StoreId, Load>,
}

/// Stored keys begin with the byte of the system or with that of users.
const KEYS_FROM: &[u8] = &[0];
const KEYS_UPTO: &[u8] = &[2];

/// What regions put on a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Peers of any role.
    pub peers: u32,
    /// Learners among them: copies under way.
    pub learners: u32,
    /// Regions of users that are led there, as last told.
    pub leaders: u32,
    /// What those are asked for that matter, in thousandths of a request per second.
    pub weight: u64,
    /// What all of them are asked for.
    pub requests: u64,
}

/// What became of a region that was told of.
#[derive(Debug, PartialEq, Eq)]
pub enum Put {
    /// It is older than what is known.
    Stale,
    /// It is what was known.
    Same,
    /// It is news; these regions are gone with it.
    New(Vec<RegionId>),
}

impl Registry {
    /// Takes in what is told of a region.
    pub fn put(&mut self, region: &Region) -> Put {
        let known = self.regions.get(&region.id);
        if let Some(known) = known {
            if region.epoch.is_staler_than(known.epoch) {
                return Put::Stale;
            }
            if known == region {
                return Put::Same;
            }
            // Under one epoch a region is one thing only.
            if known.epoch == region.epoch {
                return Put::Stale;
            }
        }
        let moved = known.is_none_or(|known| known.range != region.range);
        if moved {
            let ahead = |other: &Region| region.epoch.is_staler_than(other.epoch);
            if self.overlapping(&region.range).any(ahead) {
                return Put::Stale;
            }
        }
        let gone: Vec<RegionId> = self
            .overlapping(&region.range)
            .map(|other| other.id)
            .filter(|id| *id != region.id)
            .collect();
        gone.iter().for_each(|id| self.remove(*id));
        if let Some(rate) = self.rates.get_mut(&region.id).filter(|_| moved) {
            rate.begin_anew();
        }
        self.remove_quietly(region.id);
        self.by_start.insert(region.range.start.clone(), region.id);
        self.count(region, 1);
        self.regions.insert(region.id, region.clone());
        Put::New(gone)
    }

    fn remove(&mut self, id: RegionId) {
        self.remove_quietly(id);
        if let Some(leader) = self.leaders.remove(&id) {
            self.count_leader(id, leader, -1);
        }
        self.rates.remove(&id);
        self.figures.remove(&id);
    }

    fn remove_quietly(&mut self, id: RegionId) {
        if let Some(region) = self.regions.remove(&id) {
            self.by_start.remove(&region.range.start);
            self.count(&region, -1);
        }
    }

    fn count(&mut self, region: &Region, by: i32) {
        for info in &region.peers {
            let load = self.peers.entry(info.store).or_default();
            load.peers = load.peers.wrapping_add_signed(by);
            if info.role == Role::Learner {
                load.learners = load.learners.wrapping_add_signed(by);
            }
        }
    }

    fn overlapping<'a>(&'a self, range: &KeyRange) -> impl Iterator<Item = &'a Region> + use<'a> {
        let before = self
            .by_start
            .range(..range.start.clone())
            .next_back()
            .map(|(_, id)| *id);
        let inside = self
            .by_start
            .range(range.start.clone()..)
            .map(|(_, id)| *id);
        let range = range.clone();
        let limit = range.clone();
        before
            .into_iter()
            .filter_map(move |id| {
                self.regions
                    .get(&id)
                    .filter(|other| other.range.overlaps(&range))
            })
            .chain(
                inside
                    .filter_map(|id| self.regions.get(&id))
                    .take_while(move |other| other.range.overlaps(&limit)),
            )
    }

    /// Remembers who leads a region.
    pub fn set_leader(&mut self, id: RegionId, leader: PeerInfo) {
        match self.leaders.insert(id, leader) {
            Some(before) if before.store == leader.store => return,
            Some(before) => self.count_leader(id, before, -1),
            None => {}
        }
        self.count_leader(id, leader, 1);
    }

    fn count_leader(&mut self, id: RegionId, leader: PeerInfo, by: i32) {
        if id >= RegionId::FIRST_USER {
            let load = self.peers.entry(leader.store).or_default();
            load.leaders = load.leaders.wrapping_add_signed(by);
            let rate = self.rates.get(&id).copied().unwrap_or_default();
            let by = i64::from(by);
            load.weight = load.weight.wrapping_add_signed(by * rate.weight() as i64);
            load.requests = (load.requests).wrapping_add_signed(by * rate.per_second() as i64);
        }
    }

    /// Takes in what the leader of a region was asked for.
    pub fn asked(&mut self, id: RegionId, requests: u64, interval_ms: u64, light: u64) {
        let leader = self.leaders.get(&id).copied();
        if let Some(leader) = leader {
            self.count_leader(id, leader, -1);
        }
        let rate = self.rates.entry(id).or_default();
        rate.take(requests, interval_ms, light);
        if let Some(leader) = leader {
            self.count_leader(id, leader, 1);
        }
    }

    /// Takes in how a region is, as its leader tells.
    pub fn told(&mut self, now: u64, stats: &RegionStats) {
        let is_its = |peer: &PeerId| stats.region.peer(*peer).is_some();
        let silent = stats.down_peers.iter().filter(|(peer, _)| is_its(peer));
        let behind = stats.pending_peers.iter().filter(|peer| is_its(peer));
        let figures = RegionFigures {
            ago_ms: 0,
            bytes: stats.approximate_bytes,
            keys: stats.approximate_keys,
            requests: 0,
            silent: silent.take(PEERS_MAX).copied().collect(),
            behind: behind.take(PEERS_MAX).copied().collect(),
        };
        self.figures.insert(stats.region.id, (now, figures));
    }

    /// How a region was when its leader last told of it.
    pub fn figures(&self, id: RegionId, now: u64) -> Option<RegionFigures> {
        let (at, figures) = self.figures.get(&id)?;
        Some(RegionFigures {
            ago_ms: now.saturating_sub(*at) / MILLISECOND,
            // It is kept in thousandths.
            requests: self.rate(id).per_second().div_ceil(1000),
            ..figures.clone()
        })
    }

    /// How much is asked of a region.
    pub fn rate(&self, id: RegionId) -> Rate {
        self.rates.get(&id).copied().unwrap_or_default()
    }

    /// Who leads a region, as last told.
    pub fn leader(&self, id: RegionId) -> Option<PeerInfo> {
        self.leaders.get(&id).copied()
    }

    /// The region of this id.
    pub fn get(&self, id: RegionId) -> Option<&Region> {
        self.regions.get(&id)
    }

    /// How many there are.
    pub fn total(&self) -> usize {
        self.regions.len()
    }

    /// Regions in the order of their ids, behind this one.
    pub fn behind(&self, id: RegionId) -> impl Iterator<Item = &Region> {
        let above = (Bound::Excluded(id), Bound::Unbounded);
        self.regions.range(above).map(|(_, region)| region)
    }

    /// Regions in the order of their keys, from the one that holds this key on.
    pub fn from_key<'a>(&'a self, key: &[u8]) -> impl Iterator<Item = &'a Region> + use<'a> {
        let range = KeyRange::new(key, b"");
        self.overlapping(&range)
    }

    /// What regions put on a store.
    pub fn load(&self, store: StoreId) -> Load {
        self.peers.get(&store).copied().unwrap_or_default()
    }

    /// The first stored key of which nobody has told who holds it now: a split may have made regions that are not
    /// known yet.
    pub fn gap(&self) -> Option<Vec<u8>> {
        let mut from: &[u8] = KEYS_FROM;
        for id in self.by_start.values() {
            let range = &self.regions[id].range;
            if &range.start[..] > from {
                break;
            }
            if range.limit.is_empty() {
                return None;
            }
            from = &range.limit;
        }
        (from < KEYS_UPTO).then(|| from.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_which_nobody_has_told_is_found() {
        let region = |id, start: &[u8], limit: &[u8]| Region {
            id: RegionId(id),
            epoch: Epoch {
                version: id,
                conf_ver: 1,
            },
            range: KeyRange::new(start, limit),
            peers: Vec::new(),
        };
        for limit in [b"\x02".as_slice(), b""] {
            let mut registry = Registry::default();
            registry.put(&region(1, b"\0", b"\x01"));
            registry.put(&region(2, b"\x01", limit));
            assert_eq!(registry.gap(), None);
            // The left part of a split is told of before the others.
            let mut left = region(2, b"\x01", b"\x01m");
            left.epoch.version = 4;
            registry.put(&left);
            assert_eq!(registry.gap(), Some(b"\x01m".to_vec()));
            registry.put(&region(5, b"\x01r", limit));
            assert_eq!(registry.gap(), Some(b"\x01m".to_vec()));
            registry.put(&region(4, b"\x01m", b"\x01r"));
            assert_eq!(registry.gap(), None);
        }
    }
    use crate::shard::region::Epoch;

    fn region(id: u64, version: u64, conf_ver: u64, start: &str, limit: &str) -> Region {
        Region {
            id: RegionId(id),
            epoch: Epoch { version, conf_ver },
            range: KeyRange::new(start.as_bytes(), limit.as_bytes()),
            peers: Vec::new(),
        }
    }

    #[test]
    fn the_same_id_is_stale_if_either_part_is_behind() {
        let mut registry = Registry::default();
        assert_eq!(registry.put(&region(2, 3, 3, "a", "m")), Put::New(vec![]));
        assert_eq!(registry.put(&region(2, 3, 3, "a", "m")), Put::Same);
        assert_eq!(registry.put(&region(2, 2, 4, "a", "m")), Put::Stale);
        assert_eq!(registry.put(&region(2, 4, 2, "a", "m")), Put::Stale);
        assert_eq!(registry.put(&region(2, 3, 4, "a", "m")), Put::New(vec![]));
    }

    #[test]
    fn another_id_must_be_at_least_as_new_as_all_that_it_overlaps() {
        let mut registry = Registry::default();
        registry.put(&region(2, 2, 2, "a", "f"));
        registry.put(&region(3, 5, 1, "f", "m"));
        assert_eq!(registry.put(&region(4, 4, 4, "c", "g")), Put::Stale);
        assert_eq!(registry.put(&region(4, 5, 1, "c", "g")), Put::Stale);
        let gone = vec![RegionId(2), RegionId(3)];
        assert_eq!(registry.put(&region(4, 5, 2, "c", "g")), Put::New(gone));
        assert_eq!(registry.from_key(b"a").count(), 1);
        assert_eq!(registry.from_key(b"g").count(), 0);
    }

    #[test]
    fn a_split_is_taken_in_from_either_side_first() {
        for child_first in [true, false] {
            let mut registry = Registry::default();
            registry.put(&region(2, 1, 1, "a", ""));
            let mut parts = [region(2, 2, 1, "a", "m"), region(5, 2, 1, "m", "")];
            if child_first {
                parts.reverse();
            }
            parts
                .iter()
                .for_each(|part| assert_ne!(registry.put(part), Put::Stale));
            let ids: Vec<u64> = registry.from_key(b"b").map(|region| region.id.0).collect();
            assert_eq!(ids, [2, 5]);
        }
    }
}
