//! Which segments may go, and when their slots may be used again.
//!
//! A segment is superfluous when no region has an entry or a state in it. That is read off memory,
//! and memory is ahead of the medium; so the finding is noted together with the last batch that it
//! rests on, and counts only once that batch is durable. Then three steps, each behind the last:
//!
//! ```text
//! found superfluous, resting on lsn S      cut here: the segment is listed and whole
//! S durable: the next header leaves it out cut here: listed by the durable header, and whole
//! that header durable: the slot is free    cut here: unlisted, whatever is in it
//! ```
//!
//! Segments with entries go in order, from the oldest. One that holds states alone, each of which
//! counts by itself, goes wherever it stands once newer ones are durable: so restarts that vote do not
//! use up a log that something else holds.
//!
//! Entries are written anew only where nobody can let go of them (`forward.rs`). States are written anew from memory where nothing else holds the
//! oldest segment, and, where segments are short, out of what earlier openings left; a meta written anew
//! never resets, since it lands behind entries that came later.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::append::{Admitted, RECORD_BYTES_MAX};
use crate::batch::META_TOMBSTONE;
use crate::ids::{Lsn, RegionId, Sequence, Slot};
use crate::limits::BLOCK_BYTES;
use crate::log::{Log, Segment, low_bits};
use crate::mutant::Mutant;
use crate::region::{Place, Region, State, UNSEALED};

/// A look over all regions is worth it after so many batches, if something was given up since.
const BATCHES_BETWEEN_LOOKS: u64 = 64;

/// A segment that the next durable header no longer lists.
#[derive(Debug)]
struct Leaving {
    sequence: Sequence,
    slot: Slot,
    readers: u32,
    /// The batch whose header leaves it out.
    header: Lsn,
}

#[derive(Debug, Default)]
pub(crate) struct Purge {
    /// Something was truncated, checkpointed or replaced since the last look.
    pub due: bool,
    /// A segment was begun since the last look.
    pub rotated: bool,
    looked_at: Lsn,
    /// Found superfluous, resting on a batch that is not durable yet.
    found: Option<(Lsn, Vec<Sequence>)>,
    /// Superfluous for good.
    going: BTreeSet<Sequence>,
    leaving: Vec<Leaving>,
}

impl Purge {
    /// Leaves out of the table what the header of this batch need not list.
    pub fn unlist(&mut self, segments: &mut VecDeque<Segment>, header: Lsn) {
        let going = core::mem::take(&mut self.going);
        segments.retain(|segment| {
            let goes = going.contains(&segment.sequence);
            if goes {
                let &Segment {
                    sequence,
                    slot,
                    readers,
                    ..
                } = segment;
                self.leaving.push(Leaving {
                    sequence,
                    slot,
                    readers,
                    header,
                });
            }
            !goes
        });
    }
}

/// Who keeps the oldest segment from going, and what would let it go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Which region.
    pub region: RegionId,
    /// Raft has not truncated past its oldest entry.
    pub needs_truncation: bool,
    /// The state store has not checkpointed past its oldest entry.
    pub needs_checkpoint: bool,
}

impl Log {
    /// Live segments, those being reused not counted.
    pub fn live_segments(&self) -> u32 {
        self.segments.len() as u32
    }

    /// Segments that entries may still fill before they are refused.
    pub fn segments_left(&self) -> u32 {
        let ready = self.pool.free_count() + self.pool.creating_count();
        (ready + self.pool.creatable_count(&self.limits))
            .saturating_sub(self.limits.segments_reserved)
    }

    /// Whether the last creation of a file failed and none was tried since.
    pub fn is_starved(&self) -> bool {
        self.pool.is_starved()
    }

    /// The regions whose entries keep the oldest segment, at most so many: those to truncate, or to
    /// checkpoint by a rotation of the memtable. A segment that nothing keeps does not count, though it
    /// stays listed until the next header: where the log is full, none comes before another can go as well.
    pub fn oldest_holders(&self, most: usize) -> Vec<Holder> {
        self.holders(most, |_| true)
    }

    /// The same without those that cannot let go of anything: theirs is written anew, but only where that frees
    /// more than it takes, so whoever holds what lies behind is asked as well.
    pub fn oldest_to_ask(&self, most: usize) -> Vec<Holder> {
        self.holders(most, |region| !region.is_stuck())
    }

    fn holders(&self, most: usize, counts: impl Fn(&Region) -> bool) -> Vec<Holder> {
        let fronts = self.regions.iter().filter_map(|region| {
            let front = region.places.front()?.segment;
            counts(region).then_some((front, region))
        });
        let oldest = fronts.clone().map(|(front, _)| front).min();
        let growing = self.segments.back();
        let growing = growing.map(|segment| low_bits(segment.sequence));
        let Some(oldest) = oldest.filter(|oldest| growing.is_some_and(|growing| *oldest < growing))
        else {
            return Vec::new();
        };
        fronts
            .filter(|(front, _)| *front == oldest)
            .take(most)
            .map(|(_, region)| Holder {
                region: region.id,
                needs_truncation: region.truncated.0 <= region.floor,
                needs_checkpoint: region.checkpointed <= region.floor,
            })
            .collect()
    }

    /// Whether a truncation of the region may let go of a segment: its first entry lies in one that grows no
    /// more.
    pub fn truncation_frees(&self, region: RegionId) -> bool {
        let first = |region: &Region| region.place(region.truncated.0 + 1).copied();
        let first = self.region(region).and_then(first);
        let growing = self.segments.back();
        let growing = growing.map(|segment| low_bits(segment.sequence));
        first.is_some_and(|first| growing.is_some_and(|growing| first.segment < growing))
    }

    /// The turn's share of keeping the log short.
    pub(crate) fn maintain(&mut self) {
        if !self.is_open() {
            return;
        }
        // Looked for early, since a caller that is short of segments writes less, and in the end nothing.
        let last = self.pool.free_count() <= self.limits.segments_reserved;
        let few = (self.limits.segments_max - self.limits.segments_reserved) / 4;
        let short = last || self.segments_left() <= few;
        if self.purge.found.is_none() && self.segments.len() > 1 && self.look_is_due(short) {
            self.look(short);
        }
        // To be rid of a segment takes a header, and a header takes a slot: a gain from two on. For one
        // alone a segment is begun only where the growing one is used up: else each header would leave a
        // segment behind it that is hardly used, and a full disk would end in nothing else.
        let used_up = self.active_room() < self.limits.batch_bytes_max;
        let gain = self.purge.going.len() >= if used_up { 1 } else { 2 };
        if short && gain && self.pool.free_count() > 0 {
            self.want_rotation();
        }
    }

    fn look_is_due(&self, short: bool) -> bool {
        let batches = self.next_lsn.0 - self.purge.looked_at.0;
        self.purge.rotated || (self.purge.due && (short || batches >= BATCHES_BETWEEN_LOOKS))
    }

    fn look(&mut self, short: bool) {
        self.purge.rotated = false;
        self.purge.due = false;
        self.purge.looked_at = self.next_lsn;
        if short {
            self.forward();
        }
        self.rewrite_states(short);
        let needed = self
            .regions
            .iter()
            .map(|region| region.oldest_segment())
            .min();
        let needed = needed.unwrap_or(UNSEALED);
        let growing = self.segments.back().expect("an open log has one").sequence;
        let superseded = self.superseded();
        let found: Vec<Sequence> = self
            .segments
            .iter()
            .map(|segment| segment.sequence)
            .filter(|sequence| *sequence != growing)
            .filter(|sequence| low_bits(*sequence) < needed || superseded.contains(sequence))
            .filter(|sequence| !self.purge.going.contains(sequence))
            .collect();
        if !found.is_empty() {
            self.purge.found = Some((self.last_lsn(), found));
            self.release();
        }
    }

    /// At a new opening: segments without a record that counts are not listed any more. All that the
    /// others hold is durable before the header is written.
    pub(crate) fn end_empty(&mut self) {
        let superseded = self.superseded();
        self.purge.going.extend(superseded);
        self.purge.unlist(&mut self.segments, self.next_lsn);
    }

    /// Segments that hold nothing, or only states of which none is the newest.
    fn superseded(&self) -> Vec<Sequence> {
        let alone = self.segments.iter().filter(|segment| segment.ordered == 0);
        let mut found: Vec<Sequence> = alone.map(|segment| segment.sequence).collect();
        for region in self.regions.iter() {
            if found.is_empty() {
                break;
            }
            for holding in region.state_segments() {
                found.retain(|sequence| low_bits(*sequence) != holding);
            }
        }
        found
    }

    /// Segments whose states are worth writing anew: the oldest one, if no entries hold it; and, where
    /// segments are short, those of states alone that earlier openings have left, as far as the growing
    /// segment has room for all that counts in them. (This opening's own stay, or it would write them for
    /// ever.)
    fn rewritable(&self, short: bool) -> Vec<u32> {
        let growing = self.segments.back().expect("an open log has one").sequence;
        // What nobody holds is found by the same look: the oldest is the first one that somebody does hold.
        let held = self.regions.iter().map(|region| region.oldest_segment());
        let held = held.min().unwrap_or(UNSEALED);
        let mut staying = self.segments.iter().filter(|segment| {
            segment.sequence != growing
                && !self.purge.going.contains(&segment.sequence)
                && low_bits(segment.sequence) >= held
        });
        let Some(oldest) = staying.next() else {
            return Vec::new();
        };
        let sequence = low_bits(oldest.sequence);
        let holds = |place: &Place| place.segment <= sequence;
        let mut regions = self.regions.iter();
        let held = regions.any(|region| region.places.front().is_some_and(holds));
        let mut found: Vec<u32> = (!held).then_some(sequence).into_iter().collect();
        let mut room = u64::from(self.active_room());
        for segment in staying.filter(|_| short) {
            if segment.ordered > 0 || segment.opening == self.opening {
                continue;
            }
            let needed = self.rewritten_bytes(low_bits(segment.sequence));
            if needed <= room {
                room -= needed;
                found.push(low_bits(segment.sequence));
            }
        }
        found
    }

    /// What the states that count in a segment take at the most when they are written anew.
    fn rewritten_bytes(&self, segment: u32) -> u64 {
        let (mut bytes, mut states) = (0, 0);
        for region in self.regions.iter() {
            let known = [&region.hard_state, &region.meta].into_iter().flatten();
            for state in known.filter(|state| state.segment == segment) {
                states += 1;
                bytes += (state.payload.len() + RECORD_BYTES_MAX) as u64;
            }
        }
        // A turn's share may be a single state, and every batch ends with its block.
        let batches = states.min(1 + 2 * bytes / u64::from(self.limits.rewrite_bytes_max));
        bytes + batches * 2 * BLOCK_BYTES as u64
    }

    /// Writes anew the states that alone keep a segment, a bounded number of bytes at a time, but at
    /// least those of one region.
    fn rewrite_states(&mut self, short: bool) {
        let segments = self.rewritable(short);
        if segments.is_empty() {
            return;
        }
        let bytes_max = u64::from(self.limits.rewrite_bytes_max);
        let mut rewritten = 0;
        for place in 0..self.regions.len() {
            let region = &self.regions[place];
            if !region.state_segments().any(|of| segments.contains(&of)) {
                continue;
            }
            let inside = |state: &State| segments.contains(&state.segment);
            let hard_state = region.hard_state.clone().filter(inside);
            let meta = region.meta.clone().filter(inside);
            let (truncated, tombstone) = (region.truncated, region.tombstone);
            let bytes = [&hard_state, &meta]
                .into_iter()
                .flatten()
                .map(|state| state.payload.len())
                .sum::<usize>();
            let over = rewritten > 0 && rewritten + bytes as u64 > bytes_max;
            if over || self.admit(bytes, 2, Admitted::Rewritten).is_err() {
                self.purge.due = true;
                return;
            }
            rewritten += bytes as u64;
            // Its length may be over a limit that was lowered since: it was taken, and stays.
            if let Some(state) = hard_state {
                self.push_hard_state(place as u32, state.payload);
            }
            if let Some(state) = meta {
                let flags = if tombstone { META_TOMBSTONE } else { 0 };
                self.push_meta(place as u32, flags, truncated, state.payload);
            }
        }
    }

    /// Takes the steps that have become possible by what is durable now.
    pub(crate) fn release(&mut self) {
        let durable = self.durable;
        let early = self.mutant == Mutant::PurgeEarly;
        if let Some((rests_on, found)) = self
            .purge
            .found
            .take_if(|(rests_on, _)| *rests_on <= durable || early)
        {
            debug_assert!(rests_on <= durable || early);
            self.purge.going.extend(found);
        }
        let reuse_listed = self.mutant == Mutant::ReuseListed;
        if reuse_listed {
            let next = self.next_lsn;
            self.purge.unlist(&mut self.segments, next);
            self.purge
                .leaving
                .iter_mut()
                .for_each(|leaving| leaving.header = durable);
        }
        let pool = &mut self.pool;
        self.purge.leaving.retain(|leaving| {
            let stays = leaving.header > durable || leaving.readers > 0;
            if !stays {
                pool.give_back(leaving.slot, reuse_listed || early);
            }
            stays
        });
    }

    /// A read in the segment is over.
    pub(crate) fn reader_left(&mut self, sequence: u32) {
        let is = |other: Sequence| low_bits(other) == sequence;
        if let Some(segment) = self
            .segments
            .iter_mut()
            .find(|segment| is(segment.sequence))
        {
            segment.readers -= 1;
        } else if let Some(leaving) = self
            .purge
            .leaving
            .iter_mut()
            .find(|leaving| is(leaving.sequence))
        {
            leaving.readers -= 1;
        }
        self.release();
    }
}
