//! What the log knows of one region: where its entries lie, their terms, and its states.
//!
//! ```text
//!   floor < … ≤ truncated < first … last
//!           └ places kept ┘ └ the region's log as raft sees it
//! ```
//!
//! Places are kept from `floor = min(truncated, checkpointed)` on, since a replay starts behind the
//! checkpoint even where raft has truncated further.

use alloc::collections::VecDeque;

use bytes::Bytes;

use crate::ids::RegionId;

/// The segment of a record that is not in a sealed batch yet: newer than any.
pub(crate) const UNSEALED: u32 = u32::MAX;

/// Room for so many places, or runs of terms, is never given back.
const ROOM_MIN: usize = 64;

/// Where one entry lies: sixteen bytes for each logged entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Low bits of the segment's sequence, or [`UNSEALED`].
    pub segment: u32,
    /// Where the payload begins in the file.
    pub offset: u32,
    pub len: u32,
    pub checksum: u32,
}

/// A hard state or meta, and the segment that holds its newest record.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub payload: Bytes,
    pub segment: u32,
}

/// What an append touches lies in the first two lines of a processor's cache.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Region {
    pub id: RegionId,
    /// Index before the first place.
    pub floor: u64,
    /// Index and term before the region's first entry.
    pub truncated: (u64, u64),
    pub applied: u64,
    /// Of the last entry, where there is one.
    last_term: u64,
    /// The last index, with the entries of the turn, which have no place yet.
    last: u64,
    /// Changes whenever entries are replaced, so that a read of old ones can tell.
    pub generation: u32,
    pub tombstone: bool,
    pub places: VecDeque<Place>,
    /// Payloads of the newest entries, a suffix of the places.
    pub cache: VecDeque<Bytes>,
    /// Runs of equal terms: the first index of each.
    terms: VecDeque<(u64, u64)>,
    pub checkpointed: u64,
    pub hard_state: Option<State>,
    pub meta: Option<State>,
}

impl Region {
    pub fn new(id: RegionId) -> Region {
        Region {
            id,
            truncated: (0, 0),
            floor: 0,
            places: VecDeque::new(),
            terms: VecDeque::new(),
            cache: VecDeque::new(),
            applied: 0,
            last_term: 0,
            checkpointed: 0,
            hard_state: None,
            meta: None,
            tombstone: false,
            generation: 0,
            last: 0,
        }
    }

    pub fn last(&self) -> u64 {
        self.last
    }

    /// The last index with a place.
    pub fn settled_last(&self) -> u64 {
        self.floor + self.places.len() as u64
    }

    /// Whether every entry has a place.
    pub fn is_settled(&self) -> bool {
        self.last == self.settled_last()
    }

    /// The first index whose payload is in memory; one behind the last place where none is.
    pub fn cache_first(&self) -> u64 {
        self.settled_last() + 1 - self.cache.len() as u64
    }

    pub fn place(&self, index: u64) -> Option<&Place> {
        self.places
            .get(usize::try_from(index.checked_sub(self.floor + 1)?).ok()?)
    }

    pub fn place_mut(&mut self, index: u64) -> Option<&mut Place> {
        self.places
            .get_mut(usize::try_from(index.checked_sub(self.floor + 1)?).ok()?)
    }

    pub fn term(&self, index: u64) -> Option<u64> {
        if index == self.truncated.0 {
            return Some(self.truncated.1);
        }
        if index <= self.floor || index > self.settled_last() {
            return None;
        }
        let run = self.terms.partition_point(|(first, _)| *first <= index);
        Some(self.terms[run.checked_sub(1)?].1)
    }

    /// There is an entry behind the last one; its place comes later.
    pub fn grow(&mut self) {
        self.last += 1;
    }

    /// Adds the place behind the last one.
    #[inline]
    pub fn push(&mut self, term: u64, place: Place) {
        let index = self.settled_last() + 1;
        if self.last_term != term || self.places.is_empty() {
            self.terms.push_back((index, term));
            self.last_term = term;
        }
        self.places.push_back(place);
    }

    /// Drops every entry from `index` on, all of which have places; returns the bytes that left the cache.
    pub fn cut_tail(&mut self, index: u64) -> u64 {
        let mut freed = 0;
        while self.last() >= index && !self.places.is_empty() {
            self.places.pop_back();
            self.last -= 1;
            freed += self
                .cache
                .pop_back()
                .map_or(0, |payload| cached_bytes(&payload));
        }
        while self.terms.back().is_some_and(|(first, _)| *first >= index) {
            self.terms.pop_back();
        }
        self.last_term = self.terms.back().map_or(0, |(_, term)| *term);
        self.generation += 1;
        freed
    }

    /// Empties the log at both ends; returns the bytes that left the cache. What was applied and
    /// checkpointed was of the entries that go: of what comes next it says nothing.
    pub fn reset(&mut self, truncated: (u64, u64)) -> u64 {
        let freed = self.cache.iter().map(cached_bytes).sum();
        self.cache = VecDeque::new();
        self.places = VecDeque::new();
        self.terms = VecDeque::new();
        self.truncated = truncated;
        self.floor = truncated.0;
        self.last = truncated.0;
        self.applied = truncated.0;
        self.checkpointed = 0;
        self.generation += 1;
        freed
    }

    /// Forgets the places that neither raft nor a replay needs; returns the bytes that left the cache.
    pub fn trim(&mut self) -> u64 {
        let floor = self.truncated.0.min(self.checkpointed);
        let mut freed = 0;
        while self.floor < floor && !self.places.is_empty() {
            if self.cache.len() == self.places.len() {
                freed += self
                    .cache
                    .pop_front()
                    .map_or(0, |payload| cached_bytes(&payload));
            }
            self.places.pop_front();
            self.floor += 1;
        }
        while self.terms.len() > 1 && self.terms[1].0 <= self.floor + 1 {
            self.terms.pop_front();
        }
        self.shrink();
        freed
    }

    /// Gives back room of which three quarters are empty: ten thousand idle regions would otherwise keep
    /// that of their busiest time. What is moved is less than what was forgotten since the last time.
    fn shrink(&mut self) {
        let (places, terms) = (&mut self.places, &mut self.terms);
        if places.capacity() > ROOM_MIN && places.len() <= places.capacity() / 4 {
            places.shrink_to((2 * places.len()).max(ROOM_MIN));
        }
        if terms.capacity() > ROOM_MIN && terms.len() <= terms.capacity() / 4 {
            terms.shrink_to((2 * terms.len()).max(ROOM_MIN));
        }
    }

    /// Forgets the oldest payloads up to the index until so many bytes are free; returns how many are.
    pub fn evict(&mut self, upto: u64, bytes: u64) -> u64 {
        let mut freed = 0;
        while freed < bytes && !self.cache.is_empty() && self.cache_first() <= upto {
            freed += self
                .cache
                .pop_front()
                .map_or(0, |payload| cached_bytes(&payload));
        }
        if self.cache.is_empty() {
            // Ten thousand idle regions would otherwise keep the room of their busiest time.
            self.cache.shrink_to(4);
        }
        freed
    }

    /// Memory held, payloads of entries not counted.
    pub fn memory_bytes(&self) -> u64 {
        let places = self.places.capacity() * core::mem::size_of::<Place>();
        let terms = self.terms.capacity() * core::mem::size_of::<(u64, u64)>();
        let cache = self.cache.capacity() * core::mem::size_of::<Bytes>();
        let states = [&self.hard_state, &self.meta].into_iter().flatten();
        let states = states.map(|state| state.payload.len()).sum::<usize>();
        (core::mem::size_of::<Region>() + places + terms + cache + states) as u64
    }

    /// The oldest segment that holds something of this region.
    pub fn oldest_segment(&self) -> u32 {
        let entries = self.places.front().map_or(UNSEALED, |place| place.segment);
        entries.min(self.oldest_state_segment())
    }

    pub fn oldest_state_segment(&self) -> u32 {
        self.state_segments().min().unwrap_or(UNSEALED)
    }

    /// The segments that hold the newest states.
    pub fn state_segments(&self) -> impl Iterator<Item = u32> + '_ {
        let states = [&self.hard_state, &self.meta].into_iter().flatten();
        states.map(|state| state.segment)
    }
}

/// What a cached payload is charged with.
pub(crate) fn cached_bytes(payload: &Bytes) -> u64 {
    payload.len() as u64 + core::mem::size_of::<Bytes>() as u64
}
