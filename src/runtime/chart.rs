//! Where regions are that this shard does not hold: what it was told, and by whom it was corrected.
//!
//! ```text
//! learn ──▶ older than what is known of any of its keys? ──▶ ignored
//!               └─ no: whatever it overlaps is gone
//! find  ──▶ the leader that was named, or one peer after another, since each may know who leads
//! ```
//!
//! Nothing here is ever relied on: whoever is asked says so if it is not the one. An older word never takes the
//! place of a newer one, by the epochs that regions carry.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Bound;

use coracle_engine::record::KeyRange;

use crate::shard::ids::{RegionId, StoreId};
use crate::shard::region::{PeerInfo, Region};

/// So many bytes of regions are remembered. Those that were not looked for lately are forgotten first.
const BYTES_MAX: usize = 16 << 20;

/// About what a region costs beside its keys and peers.
const BYTES_EACH: usize = 256;

/// A region elsewhere.
#[derive(Debug)]
struct Place {
    region: Region,
    /// Who leads it, as last heard.
    leader: Option<PeerInfo>,
    /// Which of its peers do not know who leads, as they have said: a bit for each.
    asked: u64,
    /// Whether it was looked for since it was last passed over.
    used: Cell<bool>,
}

impl Place {
    fn bytes(&self) -> usize {
        let range = &self.region.range;
        let keys = 2 * range.start.len() + range.limit.len();
        BYTES_EACH + keys + self.region.peers.len() * size_of::<PeerInfo>()
    }

    /// Whom to ask.
    fn store(&self) -> Option<StoreId> {
        let mut peers = (0..u64::BITS).zip(&self.region.peers);
        let mut next = peers.by_ref().filter(|(bit, _)| self.asked >> bit & 1 == 0);
        let peer = self.leader.or_else(|| next.next().map(|(_, peer)| *peer));
        peer.map(|peer| peer.store)
    }

    fn holds(&self, key: &[u8]) -> bool {
        self.region.range.contains(key)
    }
}

/// What a store has to say that was asked for a region as it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corrected {
    /// Something that was not known.
    News,
    /// Nothing else.
    Known,
    /// Only what is known to be over.
    Behind,
}

/// Regions elsewhere, by their first keys; none overlaps another.
#[derive(Debug)]
pub struct Chart {
    places: BTreeMap<Vec<u8>, Place>,
    starts: BTreeMap<RegionId, Vec<u8>>,
    bytes: usize,
    bytes_max: usize,
    /// Up to here places were looked at when room was made.
    swept: Vec<u8>,
}

impl Default for Chart {
    fn default() -> Chart {
        Chart {
            places: BTreeMap::new(),
            starts: BTreeMap::new(),
            bytes: 0,
            bytes_max: BYTES_MAX,
            swept: Vec::new(),
        }
    }
}

impl Chart {
    fn at(&self, key: &[u8]) -> Option<&Place> {
        let below = self
            .places
            .range::<[u8], _>((Bound::Unbounded, Bound::Included(key)));
        below
            .last()
            .map(|(_, place)| place)
            .filter(|place| place.holds(key))
    }

    /// The region that holds a key.
    pub fn region(&self, key: &[u8]) -> Option<&Region> {
        let place = self.at(key)?;
        place.used.set(true);
        Some(&place.region)
    }

    /// Who leads a region, as last heard.
    pub fn leader(&self, region: RegionId) -> Option<PeerInfo> {
        self.place(region)?.leader
    }

    /// Whom to ask for a region.
    pub fn store(&self, region: RegionId) -> Option<StoreId> {
        self.place(region)?.store()
    }

    fn place(&self, region: RegionId) -> Option<&Place> {
        self.places.get(self.starts.get(&region)?)
    }

    fn place_mut(&mut self, region: RegionId) -> Option<&mut Place> {
        self.places.get_mut(self.starts.get(&region)?)
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Regions in the order of their keys, from the one that holds this key on, and who leads them as last heard.
    pub fn from_key(&self, key: &[u8]) -> impl Iterator<Item = (&Region, Option<PeerInfo>)> {
        let range = KeyRange::new(key, b"");
        self.overlapping(range)
            .map(|place| (&place.region, place.leader))
    }

    fn overlapping(&self, range: KeyRange) -> impl Iterator<Item = &Place> {
        let below = (Bound::Unbounded, Bound::Excluded(&range.start[..]));
        let before = self.places.range::<[u8], _>(below).next_back();
        let inside = (Bound::Included(&range.start[..]), Bound::Unbounded);
        let inside = self.places.range::<[u8], _>(inside);
        let overlaps = range.clone();
        before
            .filter(move |(_, place)| place.region.range.overlaps(&overlaps))
            .into_iter()
            .chain(inside.take_while(move |(_, place)| place.region.range.overlaps(&range)))
            .map(|(_, place)| place)
    }

    /// Takes in what somebody says of a region, and who leads it if that is known. Whether it holds as far as known.
    pub fn learn(&mut self, region: &Region, leader: Option<PeerInfo>) -> bool {
        // Who leads lies in no epoch: what is known of it was said by whoever was asked for a key.
        let known = self.place_mut(region.id);
        if let Some(known) = known.filter(|known| known.region.epoch == region.epoch) {
            if known.leader.is_none() && leader.is_some() {
                (known.leader, known.asked) = (leader, 0);
            }
            return known.region == *region;
        }
        let ahead = |other: &Place| region.epoch.is_staler_than(other.region.epoch);
        let is_old = self.place(region.id).is_some_and(ahead);
        if is_old || self.overlapping(region.range.clone()).any(ahead) {
            return false;
        }
        let overlapping = self.overlapping(region.range.clone());
        let gone: Vec<RegionId> = overlapping.map(|other| other.region.id).collect();
        // Other peers of the same region are mostly led by the same one.
        let still = self.leader(region.id);
        let still = still.filter(|leader| region.peer(leader.peer).is_some());
        gone.into_iter().for_each(|id| self.forget(id));
        self.forget(region.id);
        self.make_room();
        let place = Place {
            region: region.clone(),
            leader: leader.or(still),
            asked: 0,
            used: Cell::new(false),
        };
        self.bytes += place.bytes();
        let start = region.range.start.clone();
        self.starts.insert(region.id, start.clone());
        self.places.insert(start, place);
        true
    }

    /// A store that was asked says how regions are. What was one region is led from one store at first.
    pub fn correct(&mut self, current: &[Region], by: StoreId) -> Corrected {
        let mut corrected = Corrected::Known;
        for region in current {
            let before = self.region(&region.range.start).map(|known| known.epoch);
            let holds = self.learn(region, region.on_store(by).copied());
            if holds && before != Some(region.epoch) {
                corrected = Corrected::News;
            } else if !holds && corrected == Corrected::Known {
                corrected = Corrected::Behind;
            }
        }
        corrected
    }

    /// This peer leads a region, says whoever was asked.
    pub fn led(&mut self, region: RegionId, leader: PeerInfo) {
        if let Some(place) = self.place_mut(region) {
            (place.leader, place.asked) = (Some(leader), 0);
        }
    }

    /// A store has refused a region and does not know who leads. If that is where the way leads, another peer is
    /// asked next; when all were, the region is forgotten.
    pub fn refused(&mut self, region: RegionId, by: StoreId) {
        let place = self.place_mut(region);
        let Some(place) = place.filter(|place| place.store() == Some(by)) else {
            return;
        };
        place.leader = None;
        let bits = (0..u64::BITS).zip(&place.region.peers);
        for (bit, _) in bits.filter(|(_, peer)| peer.store == by) {
            place.asked |= 1 << bit;
        }
        if place.store().is_none() {
            self.forget(region);
        }
    }

    /// Nothing of what is known of a region is believed any more.
    pub fn forget(&mut self, region: RegionId) {
        let start = self.starts.remove(&region);
        if let Some(place) = start.and_then(|start| self.places.remove(&start)) {
            self.bytes -= place.bytes();
        }
    }

    /// Passes over places in turn, until there is room: what was looked for since the last time stays.
    fn make_room(&mut self) {
        while self.bytes > self.bytes_max {
            let behind = (Bound::Excluded(&self.swept[..]), Bound::Unbounded);
            let next = self.places.range::<[u8], _>(behind).next();
            let Some((start, place)) = next.or_else(|| self.places.first_key_value()) else {
                return;
            };
            let (start, id) = (start.clone(), place.region.id);
            if !place.used.replace(false) {
                self.forget(id);
            }
            self.swept = start;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::ids::PeerId;
    use crate::shard::region::{Epoch, Role};

    fn peer(number: u64) -> PeerInfo {
        PeerInfo {
            peer: PeerId(number * 10),
            store: StoreId(number),
            role: Role::Voter,
        }
    }

    fn region(id: u64, version: u64, conf_ver: u64, start: &str, limit: &str) -> Region {
        Region {
            id: RegionId(id),
            epoch: Epoch { version, conf_ver },
            range: KeyRange::new(start.as_bytes(), limit.as_bytes()),
            peers: vec![peer(1), peer(2), peer(3)],
        }
    }

    /// All that is known, as text.
    fn told(chart: &Chart) -> String {
        let places = chart.places.values().map(|place| {
            let (region, leader) = (&place.region, place.leader.map_or(0, |peer| peer.store.0));
            format!("{region}:{leader}")
        });
        places.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_learned_takes_the_place_of_all_that_it_overlaps() {
        let mut chart = Chart::default();
        assert!(chart.learn(&region(2, 1, 1, "a", ""), Some(peer(1))));
        assert_eq!(told(&chart), "2@1.1 [a, ):1");
        // The right part of a split is heard of before the left one: what was one region is gone.
        assert!(chart.learn(&region(3, 2, 1, "m", ""), None));
        assert_eq!(told(&chart), "3@2.1 [m, ):0");
        assert!(chart.region(b"b").is_none());
        assert!(chart.learn(&region(2, 2, 1, "a", "m"), Some(peer(2))));
        assert_eq!(told(&chart), "2@2.1 [a, m):2 3@2.1 [m, ):0");
        // Whoever says now what was before the split comes too late, of whichever region.
        assert!(!chart.learn(&region(2, 1, 1, "a", ""), Some(peer(1))));
        assert!(!chart.learn(&region(9, 1, 9, "c", "d"), Some(peer(1))));
        assert_eq!(told(&chart), "2@2.1 [a, m):2 3@2.1 [m, ):0");
        // Other peers, the same leader; and what is no news changes nothing.
        assert!(chart.learn(&region(2, 2, 2, "a", "m"), None));
        assert!(chart.learn(&region(2, 2, 2, "a", "m"), Some(peer(1))));
        assert!(!chart.learn(&region(2, 2, 1, "a", "m"), Some(peer(1))));
        assert_eq!(told(&chart), "2@2.2 [a, m):2 3@2.1 [m, ):0");
        let keys = chart.from_key(b"c").map(|(region, _)| region.id.0);
        assert_eq!(keys.collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn a_way_lasts_until_the_store_that_it_leads_to_refuses() {
        let mut chart = Chart::default();
        chart.learn(&region(2, 1, 1, "a", "m"), Some(peer(1)));
        let id = RegionId(2);
        chart.refused(id, StoreId(7));
        chart.refused(RegionId(9), StoreId(1));
        assert_eq!(chart.store(id), Some(StoreId(1)));
        chart.led(id, peer(3));
        // Whoever was asked before that says nothing new.
        chart.refused(id, StoreId(1));
        assert_eq!(chart.store(id), Some(StoreId(3)));
        // Nobody knows who leads: all peers are asked in turn, and none twice.
        let mut asked = Vec::new();
        while let Some(store) = chart.store(id) {
            asked.push(store.0);
            chart.refused(id, store);
        }
        assert_eq!(asked, [3, 1, 2]);
        assert_eq!((told(&chart), chart.bytes), (String::new(), 0));
    }

    #[test]
    fn whoever_is_behind_a_split_is_not_asked_again() {
        let mut chart = Chart::default();
        let whole = region(2, 1, 1, "a", "");
        let parts = [region(2, 2, 1, "a", "m"), region(3, 2, 1, "m", "")];
        chart.learn(&whole, Some(peer(1)));
        let by = StoreId;
        assert_eq!(chart.correct(&parts, by(1)), Corrected::News);
        assert_eq!(told(&chart), "2@2.1 [a, m):1 3@2.1 [m, ):1");
        assert_eq!(chart.correct(&parts, by(1)), Corrected::Known);
        assert_eq!(chart.correct(&[whole], by(2)), Corrected::Behind);
        // All peers are asked for the part of which no leader is known, and those that are behind once.
        chart.led(RegionId(3), peer(2));
        chart.refused(RegionId(3), by(2));
        assert_eq!(chart.store(RegionId(3)), Some(by(1)));
    }

    #[test]
    fn what_nobody_looks_for_is_forgotten_where_there_is_no_room() {
        let mut chart = Chart {
            bytes_max: 20_000,
            ..Chart::default()
        };
        let key = |number: u64| format!("{number:04}");
        for number in 0..500 {
            chart.learn(
                &region(number + 2, 1, 1, &key(number), &key(number + 1)),
                None,
            );
            for busy in 0..10.min(number) {
                chart.region(key(busy).as_bytes());
            }
        }
        assert!(chart.bytes <= 20_000 + 1000, "{}", chart.bytes);
        assert_eq!(chart.places.len(), chart.starts.len());
        let bytes: usize = chart.places.values().map(Place::bytes).sum();
        assert_eq!(bytes, chart.bytes);
        let kept = (0..10).filter(|busy| chart.region(key(*busy).as_bytes()).is_some());
        assert_eq!(kept.count(), 10, "{}", told(&chart));
        assert!(chart.region(key(499).as_bytes()).is_some());
    }
}
