//! Which ranges of keys belong to a region here, and by which clock their values expire.
//!
//! Compaction drops what no region owns and what is expired. Both are judged **by the state as of
//! the last durable checkpoint**, never by the state in memory: a replay starts from that checkpoint
//! and must find in the tables what it found the first time. So the ownership is captured when a
//! memtable rotates and takes effect when that rotation's edit is durable; until the first one after
//! an opening there is none, and nothing is dropped.

use alloc::vec::Vec;

use crate::progress::RegionId;
use crate::record::KeyRange;

/// A range of keys and the region that owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The keys.
    pub range: KeyRange,
    /// The region, whose checkpointed clock says what is expired.
    pub region: RegionId,
}

/// All ranges that regions own on a store, as of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    owned: Vec<Owned>,
}

impl Ownership {
    /// Sorts the ranges; they must not overlap, as regions of one store never do.
    pub fn new(mut owned: Vec<Owned>) -> Ownership {
        owned.sort_by(|a, b| a.range.start.cmp(&b.range.start));
        for pair in owned.windows(2) {
            assert!(
                !pair[0].range.overlaps(&pair[1].range),
                "regions of one store never overlap"
            );
        }
        Ownership { owned }
    }

    /// The ranges in order.
    pub fn ranges(&self) -> &[Owned] {
        &self.owned
    }

    /// The region that owns `key`. `hint` remembers the place between calls with ascending keys.
    pub fn owner(&self, key: &[u8], hint: &mut usize) -> Option<RegionId> {
        let holds = |place: usize| {
            self.owned
                .get(place)
                .is_some_and(|owned| owned.range.contains(key))
        };
        if !holds(*hint) {
            let after = self
                .owned
                .partition_point(|owned| owned.range.start.as_slice() <= key);
            *hint = after.saturating_sub(1);
            if !holds(*hint) {
                return None;
            }
        }
        Some(self.owned[*hint].region)
    }
}
