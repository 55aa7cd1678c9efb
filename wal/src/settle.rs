//! Where the records of a batch went: regions learn it all at once, when the batch gets its place.
//!
//! Until then the entries of a turn are in the batch alone, and their regions know only that they are
//! there. So an append touches little memory besides the batch, and what it would have to wait for, the
//! ends of the indexes of many regions, is reached for in one tight loop. Where somebody asks for entries
//! of the turn itself, or replaces them, they are handed over early; then each place is looked up again.

use crate::ids::RegionId;
use crate::log::Log;
use crate::pending::{Content, Record};
use crate::region::{Place, Region, UNSEALED, cached_bytes};

impl Log {
    /// Writes into the regions where their records went.
    pub(crate) fn settle(&mut self, segment: u32, batch_offset: u32) {
        if self.pending.handed_over {
            self.find_places(segment, batch_offset);
        } else {
            self.hand_over(segment, batch_offset);
        }
    }

    /// Hands the region's entries of this turn over, if there are any, before they have a place.
    pub(crate) fn settle_early(&mut self, place: u32) {
        if self.regions[place as usize].is_settled() || self.pending.handed_over {
            return;
        }
        self.hand_over(UNSEALED, 0);
        self.pending.handed_over = true;
    }

    fn hand_over(&mut self, segment: u32, batch_offset: u32) {
        let mut at = batch_offset + self.pending.payloads_at() as u32;
        let mut contents = self.pending.contents.iter();
        let mut step = || {
            let &Content { len, checksum } = contents.next().expect("as many as payloads");
            let offset = at;
            at += len;
            Place {
                segment,
                offset,
                len,
                checksum,
            }
        };
        let mut kept = self.pending.kept.drain(..);
        for record in &self.pending.records {
            match *record {
                Record::Entries {
                    place,
                    first,
                    term,
                    count,
                    ..
                } => {
                    let region = &mut self.regions[place as usize];
                    let mut bytes = 0;
                    for _ in 0..count {
                        region.push(term, step());
                        let payload = kept.next().expect("as many as entries");
                        bytes += cached_bytes(&payload);
                        region.cache.push_back(payload);
                    }
                    let last = first + u64::from(count) - 1;
                    self.cache.came(place, last, bytes);
                }
                Record::HardState { place, .. } => {
                    step();
                    self.regions[place as usize].hard_state_lies(segment);
                }
                Record::Meta { place, .. } => {
                    step();
                    self.regions[place as usize].meta_lies(segment);
                }
            }
        }
    }

    /// The same where the regions have the entries already. Goes backwards: where a batch holds an index
    /// twice, the later one counts.
    fn find_places(&mut self, segment: u32, batch_offset: u32) {
        let mut at = batch_offset + self.pending.len_unpadded() as u32;
        let mut contents = self.pending.contents.iter().rev();
        let mut step = || {
            at -= contents.next().expect("as many as payloads").len;
            at
        };
        for record in self.pending.records.iter().rev() {
            match *record {
                Record::Entries {
                    place,
                    first,
                    count,
                    ..
                } => {
                    let region = &mut self.regions[place as usize];
                    for index in (first..first + u64::from(count)).rev() {
                        let offset = step();
                        if let Some(place) = region.place_mut(index)
                            && place.segment == UNSEALED
                        {
                            place.segment = segment;
                            place.offset = offset;
                        }
                    }
                }
                Record::HardState { place, .. } => {
                    step();
                    self.regions[place as usize].hard_state_lies(segment);
                }
                Record::Meta { place, .. } => {
                    step();
                    self.regions[place as usize].meta_lies(segment);
                }
            }
        }
    }

    /// The term of an entry that its region was not handed yet.
    pub(crate) fn gathered_term(&self, id: RegionId, index: u64) -> Option<u64> {
        if self.pending.handed_over {
            return None;
        }
        let of = |record: &Record| match *record {
            Record::Entries {
                region,
                first,
                term,
                count,
                ..
            } if region == id => (first..first + u64::from(count))
                .contains(&index)
                .then_some(term),
            _ => None,
        };
        self.pending.records.iter().rev().find_map(of)
    }
}

impl Region {
    fn hard_state_lies(&mut self, segment: u32) {
        let state = self.hard_state.iter_mut();
        state
            .filter(|state| state.segment == UNSEALED)
            .for_each(|state| state.segment = segment);
    }

    fn meta_lies(&mut self, segment: u32) {
        let state = self.meta.iter_mut();
        state
            .filter(|state| state.segment == UNSEALED)
            .for_each(|state| state.segment = segment);
    }
}
