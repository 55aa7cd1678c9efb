//! Regions that have moved on since the last rotation, and how far.
//!
//! Told at every turn of every region, asked for at a rotation: so telling is one probe, and order is
//! made when it is asked for.

use alloc::vec::Vec;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::progress::{Applied, RegionId};

/// Regions that have moved on since the last rotation, and how far.
#[derive(Debug)]
pub(crate) struct Moved(HashMap<RegionId, Applied, FixedState>);

impl Default for Moved {
    fn default() -> Moved {
        // Nobody chooses the ids of regions, and nothing depends on the order within.
        Moved(HashMap::with_hasher(FixedState::with_seed(0)))
    }
}

impl Moved {
    #[inline]
    pub fn insert(&mut self, applied: Applied) {
        self.0.insert(applied.region, applied);
    }

    pub fn remove(&mut self, region: &RegionId) {
        self.0.remove(region);
    }

    /// All of them, in the order of their ids; none is left.
    pub fn take(&mut self) -> Vec<Applied> {
        let mut all: Vec<Applied> = self.0.drain().map(|(_, applied)| applied).collect();
        all.sort_unstable_by_key(|applied| applied.region);
        all
    }
}
