//! The slots of a log: files of one length, free or holding a live segment, made ahead of need.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::effect::Effect;
use crate::ids::Slot;
use crate::limits::{LIVE_SEGMENTS_MAX, Limits, SEGMENTS_FOR_HEADERS};

/// Which files there are, and what they are good for.
#[derive(Debug)]
pub(crate) struct Pool {
    free: Vec<Slot>,
    creating: Vec<Slot>,
    known: BTreeSet<Slot>,
    /// The last creation failed; the next try waits until the caller says that there is space.
    starved: bool,
}

impl Pool {
    /// A pool over files that exist; all but `live` are free. `unusable` files are made anew.
    pub fn new(free: Vec<Slot>, live: impl IntoIterator<Item = Slot>) -> Pool {
        let known = free.iter().copied().chain(live).collect();
        Pool {
            free,
            creating: Vec::new(),
            known,
            starved: false,
        }
    }

    pub fn free_count(&self) -> u32 {
        self.free.len() as u32
    }

    pub fn creating_count(&self) -> u32 {
        self.creating.len() as u32
    }

    fn known_count(&self) -> usize {
        self.known.len()
    }

    /// How many more files may be made; none while the disk is full.
    pub fn creatable_count(&self, limits: &Limits) -> u32 {
        if self.starved {
            0
        } else {
            limits.segments_max.saturating_sub(self.known.len() as u32)
        }
    }

    /// Files that were made only to open with.
    pub fn beyond_count(&self, limits: &Limits) -> u32 {
        (self.known.len() as u32).saturating_sub(limits.segments_beyond())
    }

    /// Asks for files until so many are free or on their way as should be ready.
    pub fn prepare(&mut self, limits: &Limits, opens: bool, effects: &mut Vec<Effect>) {
        let ready = limits.segments_ready + limits.segments_reserved;
        // Beyond the bound for entries, while the disk has space: one for states, since a peer that cannot
        // write cannot vote, and so never truncates, beside those that only headers begin. And beyond that
        // bound one more, as far as a header lists them, where there is none to open with.
        let beyond = |pool: &Pool| {
            let ready = pool.free_count() + pool.creating_count();
            let bound = match ready {
                0 if opens => LIVE_SEGMENTS_MAX,
                _ => limits.segments_beyond() as usize,
            };
            !pool.is_starved() && ready <= SEGMENTS_FOR_HEADERS && pool.known_count() < bound
        };
        while (self.free_count() + self.creating_count() < ready
            && self.creatable_count(limits) > 0)
            || beyond(self)
        {
            let slot = (1..).map(Slot).find(|slot| !self.known.contains(slot));
            let slot = slot.expect("fewer slots than numbers");
            self.known.insert(slot);
            self.creating.push(slot);
            effects.push(Effect::Create {
                slot,
                bytes: limits.segment_bytes,
            });
        }
    }

    pub fn created(&mut self, slot: Slot) {
        assert!(
            self.forget_creation(slot),
            "slot {slot} was not being created"
        );
        self.free.push(slot);
    }

    pub fn create_failed(&mut self, slot: Slot) {
        assert!(
            self.forget_creation(slot),
            "slot {slot} was not being created"
        );
        self.known.remove(&slot);
        self.starved = true;
    }

    fn forget_creation(&mut self, slot: Slot) -> bool {
        let before = self.creating.len();
        self.creating.retain(|other| *other != slot);
        self.creating.len() < before
    }

    /// The disk may have space again.
    pub fn feed(&mut self) {
        self.starved = false;
    }

    pub fn is_starved(&self) -> bool {
        self.starved
    }

    pub fn take(&mut self) -> Option<Slot> {
        // The one freed longest ago: its old readers are gone for sure, and wear is spread.
        if self.free.is_empty() {
            None
        } else {
            Some(self.free.remove(0))
        }
    }

    /// A slot is free again; `at_once` hands it out before all others, which only a planted bug wants.
    pub fn give_back(&mut self, slot: Slot, at_once: bool) {
        assert!(
            self.known.contains(&slot) && !self.free.contains(&slot),
            "slot {slot} is not out"
        );
        let position = if at_once { 0 } else { self.free.len() };
        self.free.insert(position, slot);
    }
}
