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
