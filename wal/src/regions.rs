//! All regions of a log, each at a place of its own for as long as the log is open.

use alloc::vec::Vec;
use core::cell::Cell;
use core::hash::BuildHasher;
use core::ops::{Deref, DerefMut};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::ids::RegionId;
use crate::region::Region;

/// The table holds places alone, so that of ten thousand regions it stays near the processor. Whose a
/// place is says the region itself, which whoever asks looks at next.
#[derive(Debug)]
pub(crate) struct Regions {
    known: Vec<Region>,
    places: HashTable<u32>,
    hasher: FixedState,
    /// Who was asked for last: a region that does something does several things.
    last: Cell<(RegionId, u32)>,
}

/// No region has this place.
const NOWHERE: u32 = u32::MAX;

impl Regions {
    pub fn new(seed: u64) -> Regions {
        Regions {
            known: Vec::new(),
            places: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            last: Cell::new((RegionId(0), NOWHERE)),
        }
    }

    #[inline]
    pub fn place(&self, id: RegionId) -> Option<u32> {
        match self.last.get() {
            (last, place) if last == id && place != NOWHERE => Some(place),
            _ => self.look_up(id),
        }
    }

    fn look_up(&self, id: RegionId) -> Option<u32> {
        let is = |place: &u32| self.known[*place as usize].id == id;
        let hash = self.hasher.hash_one(id);
        let place = self.places.find(hash, is).copied()?;
        self.last.set((id, place));
        Some(place)
    }

    /// The region's place, made if it is new.
    pub fn enter(&mut self, id: RegionId) -> u32 {
        if let Some(place) = self.place(id) {
            return place;
        }
        let place = u32::try_from(self.known.len()).expect("fewer regions than places");
        self.known.push(Region::new(id));
        let Regions {
            known,
            places,
            hasher,
            ..
        } = self;
        let hash_of = |place: &u32| hasher.hash_one(known[*place as usize].id);
        places.insert_unique(hasher.hash_one(id), place, hash_of);
        place
    }
}

impl Deref for Regions {
    type Target = [Region];

    fn deref(&self) -> &[Region] {
        &self.known
    }
}

impl DerefMut for Regions {
    fn deref_mut(&mut self) -> &mut [Region] {
        &mut self.known
    }
}
