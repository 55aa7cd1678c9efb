//! Regions of one store never overlap, and the cluster's regions cover the whole key space.

use std::collections::BTreeMap;

use super::{Verdict, Violation};
use crate::shard::ids::{RegionId, StoreId};
use crate::shard::observe::PeerStatus;
use crate::shard::region::Region;

/// No two peers of a store own a key together.
pub fn check_store(store: StoreId, statuses: &[PeerStatus]) -> Verdict {
    let owned: Vec<_> = statuses
        .iter()
        .filter(|status| status.initialized)
        .collect();
    for (place, one) in owned.iter().enumerate() {
        for other in &owned[place + 1..] {
            if one.region.range.overlaps(&other.region.range) {
                return Err(Violation::new(
                    "coverage",
                    format!("store {store}: {} overlaps {}", one.region, other.region),
                ));
            }
        }
    }
    Ok(())
}

/// The newest regions of the cluster, wherever they are known, leave no key out and none twice.
pub fn check_cluster<'a>(statuses: impl Iterator<Item = &'a PeerStatus>, end: &[u8]) -> Verdict {
    let mut newest: BTreeMap<RegionId, &Region> = BTreeMap::new();
    for status in statuses.filter(|status| status.initialized) {
        let known = newest.entry(status.region.id).or_insert(&status.region);
        if known.epoch.is_staler_than(status.region.epoch) {
            *known = &status.region;
        }
    }
    let mut regions: Vec<_> = newest.into_values().collect();
    regions.sort_by(|a, b| a.range.start.cmp(&b.range.start));
    let mut from: &[u8] = b"\x00";
    for region in regions {
        if region.range.start != from {
            return Err(Violation::new(
                "coverage",
                format!(
                    "{region} does not begin where the one before ends, at {}",
                    from.escape_ascii()
                ),
            ));
        }
        from = &region.range.limit;
    }
    if from != end {
        return Err(Violation::new(
            "coverage",
            format!("the regions end at {}", from.escape_ascii()),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::ids::{Index, PeerId, Term};
    use crate::shard::region::Epoch;
    use coracle_engine::record::KeyRange;

    fn peer(region: u64, version: u64, start: &[u8], limit: &[u8]) -> PeerStatus {
        PeerStatus {
            region: Region {
                id: RegionId(region),
                epoch: Epoch {
                    version,
                    conf_ver: 1,
                },
                range: KeyRange {
                    start: start.to_vec(),
                    limit: limit.to_vec(),
                },
                peers: Vec::new(),
            },
            peer: PeerId(region),
            initialized: true,
            term: Term(6),
            leads: false,
            leader: None,
            clock: 0,
            truncated: Index(5),
            checkpointed: Index(5),
            applied: Index(5),
            committed: Index(5),
            persisted: Index(5),
            last: Index(5),
            durable: Default::default(),
        }
    }

    #[test]
    fn two_owners_of_a_key_are_seen() {
        let first = peer(2, 1, b"\x01", b"\x01m");
        let second = peer(3, 1, b"\x01m", b"\x02");
        let mut inside = peer(4, 1, b"\x01k", b"\x01l");
        let store = StoreId(1);
        assert_eq!(check_store(store, &[second.clone(), first.clone()]), Ok(()));
        assert!(check_store(store, &[first.clone(), second.clone(), inside.clone()]).is_err());
        inside.initialized = false;
        assert_eq!(check_store(store, &[first, second, inside]), Ok(()));
    }

    #[test]
    fn gaps_overlaps_and_ends_are_seen() {
        let system = || peer(1, 1, b"\x00", b"\x01");
        let check = |peers: &[PeerStatus]| check_cluster(peers.iter(), b"\x02");
        assert_eq!(check(&[peer(2, 1, b"\x01", b"\x02"), system()]), Ok(()));
        assert!(check(&[system()]).is_err(), "the end is missing");
        assert!(check(&[peer(2, 1, b"\x01", b"\x02")]).is_err(), "the begin");
        assert!(check(&[]).is_err());
        let (low, high) = (peer(2, 2, b"\x01", b"\x01m"), peer(3, 2, b"\x01m", b"\x02"));
        assert_eq!(check(&[system(), low.clone(), high.clone()]), Ok(()));
        let late = peer(3, 2, b"\x01n", b"\x02");
        assert!(check(&[system(), low.clone(), late]).is_err(), "a gap");
        let early = peer(3, 2, b"\x01k", b"\x02");
        assert!(check(&[system(), low.clone(), early]).is_err(), "twice");
        let stale = peer(2, 1, b"\x01", b"\x02");
        assert_eq!(
            check(&[system(), stale, low, high]),
            Ok(()),
            "only the newest of each region counts"
        );
    }
}
