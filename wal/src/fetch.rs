//! Entries that left the cache: one read for each fetch, bounded, verified entry by entry.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::effect::Effect;
use crate::error::Corrupt;
use crate::ids::{Lsn, ReadToken, RegionId, Sequence};
use crate::limits::BLOCK_BYTES;
use crate::log::{Entry, Log, low_bits};
use crate::region::{Place, UNSEALED};

/// So many fetches may be under way.
const FETCHES_MAX: usize = 256;

/// What a fetch has at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The entries, from memory; fewer than asked where the size limit says so.
    Ready(Vec<Entry>),
    /// They come with [`Log::read_done`] of this token.
    Pending(ReadToken),
}

/// Why a fetch gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfetched {
    /// The first index is no longer kept, or the region is not known.
    Compacted,
    /// The range goes beyond the last index.
    Unavailable,
    /// Too many fetches are under way.
    Busy,
}

/// What became of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The entries, verified; at least one.
    Entries(RegionId, Vec<Entry>),
    /// The region's log changed meanwhile: ask again.
    Stale(RegionId),
    /// The bytes are not what was written, or could not be read.
    Damaged(RegionId, Corrupt),
}

#[derive(Debug)]
struct Fetch {
    place: u32,
    generation: u32,
    first: u64,
    segment: u32,
    base: u32,
    wanted: Vec<(u64, Place)>,
}

#[derive(Debug, Default)]
pub(crate) struct Fetches {
    next_token: u64,
    open: BTreeMap<ReadToken, Fetch>,
}

impl Log {
    /// The entries `low..high` of a region, as many as fit `bytes_max`, at least one.
    pub fn fetch(
        &mut self,
        region: RegionId,
        low: u64,
        high: u64,
        bytes_max: u64,
    ) -> Result<Fetched, Unfetched> {
        let Some(place) = self.regions.place(region) else {
            return Err(Unfetched::Compacted);
        };
        if high > self.regions[place as usize].settled_last() + 1 {
            self.settle_early(place);
        }
        let known = &self.regions[place as usize];
        if low <= known.floor {
            return Err(Unfetched::Compacted);
        }
        if low >= high || high > known.last() + 1 {
            return Err(Unfetched::Unavailable);
        }
        if low >= known.cache_first() {
            return Ok(Fetched::Ready(known.cached(low, high, bytes_max)));
        }
        if self.fetches.open.len() >= FETCHES_MAX {
            return Err(Unfetched::Busy);
        }
        let start = *known.place(low).expect("an index within the log");
        assert!(
            start.segment != UNSEALED,
            "an entry leaves memory only once it is durable"
        );
        let base = start.offset / BLOCK_BYTES as u32 * BLOCK_BYTES as u32;
        let (mut wanted, mut bytes, mut end) = (Vec::new(), 0, base);
        for index in low..high.min(known.cache_first()) {
            let entry = *known.place(index).expect("an index within the log");
            let until = (entry.offset + entry.len).max(entry.offset + 1);
            let spans = until
                .next_multiple_of(BLOCK_BYTES as u32)
                .saturating_sub(base);
            let apart = entry.segment != start.segment || entry.offset < base;
            bytes += u64::from(entry.len);
            let over = bytes > bytes_max || spans > self.limits.read_bytes_max;
            if !wanted.is_empty() && (apart || over) {
                break;
            }
            end = end.max(until);
            wanted.push((known.term(index).expect("an index within the log"), entry));
        }
        let generation = known.generation;
        let segment = self
            .segments
            .iter_mut()
            .find(|segment| low_bits(segment.sequence) == start.segment)
            .expect("an entry lies in a live segment");
        segment.readers += 1;
        self.fetches.next_token += 1;
        let token = ReadToken(self.fetches.next_token);
        let len = end.next_multiple_of(BLOCK_BYTES as u32) - base;
        self.effects.push(Effect::Read {
            token,
            slot: segment.slot,
            offset: base,
            len,
        });
        let segment = start.segment;
        let fetch = Fetch {
            place,
            generation,
            first: low,
            segment,
            base,
            wanted,
        };
        self.fetches.open.insert(token, fetch);
        Ok(Fetched::Pending(token))
    }

    /// Visits the entries `low..high` of a region, as many as fit `bytes_max`, at least one, if all of
    /// them are in memory. Returns whether they are: if not, none was visited, and [`Log::fetch`] says why.
    pub fn visit_cached(
        &mut self,
        region: RegionId,
        (low, high): (u64, u64),
        bytes_max: u64,
        visit: impl FnMut(Entry),
    ) -> bool {
        let Some(place) = self.regions.place(region) else {
            return false;
        };
        if high > self.regions[place as usize].settled_last() + 1 {
            self.settle_early(place);
        }
        let known = &self.regions[place as usize];
        let is_cached = low > known.floor
            && low < high
            && high <= known.last() + 1
            && low >= known.cache_first();
        if is_cached {
            known.visit_cached(low, high, bytes_max, visit);
        }
        is_cached
    }

    /// Keeps a region's newest entries in memory, as after a restart: those that are not applied are
    /// asked for without waiting. They end at its last entry.
    pub fn keep(&mut self, region: RegionId, entries: &[Entry]) {
        let (Some(place), Some(last)) = (self.regions.place(region), entries.last()) else {
            return;
        };
        self.settle_early(place);
        let known = &mut self.regions[place as usize];
        assert_eq!(
            last.index,
            known.last(),
            "region {region}: the newest entries"
        );
        let first_cached = known.cache_first();
        let missing = entries.iter().rev();
        let mut bytes = 0;
        for entry in missing.skip_while(|entry| entry.index >= first_cached) {
            assert_eq!(
                entry.index + 1,
                known.cache_first(),
                "region {region}: order"
            );
            bytes += crate::region::cached_bytes(&entry.payload);
            known.cache.push_front(entry.payload.clone());
        }
        self.cache.came(place, last.index, bytes);
        // They could not be written anew before.
        self.purge.due = true;
    }

    /// The bytes of a read are there.
    pub fn read_done(&mut self, token: ReadToken, bytes: &[u8]) -> Answer {
        let fetch = self
            .fetches
            .open
            .remove(&token)
            .expect("a read is answered once");
        let known = &self.regions[fetch.place as usize];
        let id = known.id;
        let answer = if known.generation != fetch.generation {
            Answer::Stale(id)
        } else {
            let mut entries = Vec::with_capacity(fetch.wanted.len());
            let mut damage = None;
            for (position, (term, place)) in fetch.wanted.iter().enumerate() {
                let from = (place.offset - fetch.base) as usize;
                let payload = bytes.get(from..from + place.len as usize);
                match payload.filter(|payload| crc32fast::hash(payload) == place.checksum) {
                    Some(payload) => entries.push(Entry {
                        index: fetch.first + position as u64,
                        term: *term,
                        payload: Bytes::copy_from_slice(payload),
                    }),
                    None => {
                        damage = Some(self.damage(place, "an entry is not what was written"));
                        break;
                    }
                }
            }
            match damage {
                Some(damage) => Answer::Damaged(id, damage),
                None => Answer::Entries(id, entries),
            }
        };
        self.reader_left(fetch.segment);
        answer
    }

    /// A read failed.
    pub fn read_failed(&mut self, token: ReadToken) -> Answer {
        let fetch = self
            .fetches
            .open
            .remove(&token)
            .expect("a read is answered once");
        let id = self.regions[fetch.place as usize].id;
        let damage = self.damage(&fetch.wanted[0].1, "an entry could not be read");
        self.reader_left(fetch.segment);
        Answer::Damaged(id, damage)
    }

    fn damage(&self, place: &Place, why: &'static str) -> Corrupt {
        let is = |sequence: Sequence| low_bits(sequence) == place.segment;
        let segment = self.segments.iter().find(|segment| is(segment.sequence));
        Corrupt {
            slot: segment.map(|segment| segment.slot).unwrap_or_default(),
            segment: Sequence(u64::from(place.segment)),
            offset: place.offset,
            lsn: Lsn(0),
            why,
        }
    }
}

impl crate::region::Region {
    /// Entries from memory; the range is cached.
    fn cached(&self, low: u64, high: u64, bytes_max: u64) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.visit_cached(low, high, bytes_max, |entry| entries.push(entry));
        entries
    }

    fn visit_cached(&self, low: u64, high: u64, bytes_max: u64, mut visit: impl FnMut(Entry)) {
        let first = self.cache_first();
        let mut bytes = 0;
        for index in low..high {
            let payload = &self.cache[(index - first) as usize];
            bytes += payload.len() as u64;
            if bytes > bytes_max && index > low {
                break;
            }
            let term = self.term(index).expect("an index within the log");
            visit(Entry {
                index,
                term,
                payload: payload.clone(),
            });
        }
    }
}
