//! Entries that nobody lets go of are written anew.
//!
//! What a region has applied it can give up: by truncation, and by a checkpoint. What it has not applied it
//! has to keep, and without a quorum that may be for ever. One such entry would keep its segment and every
//! later one, until no region of the shard could write any more.
//!
//! ```text
//! oldest segment                      growing segment
//! [ 7: entry 21 │ others, let go of ] … [ … │ 7: entries 21, 22 ]   one batch
//!   └ superfluous when that batch is durable
//! ```
//!
//! All that the region has is written in one batch, from its first entry on: it takes the place of what is
//! there, as a leader's entries do, and is the same. So recovery needs no rule of its own. A cut in front of
//! the batch leaves the old ones, which are listed until it is durable; behind it both are there.
//!
//! This is done only where segments are short, and where it is worth it.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::append::{Admitted, RECORD_BYTES_MAX};
use crate::log::{Log, low_bits};
use crate::mutant::Mutant;
use crate::region::Region;

impl Log {
    /// Writes anew the entries that keep the oldest segments, where their regions cannot let go of them: a
    /// bounded number of bytes at a time, but at least those of one region.
    pub(crate) fn forward(&mut self) {
        if self.mutant == Mutant::KeepStuck || self.stuck().is_empty() {
            return;
        }
        // What was gathered before leaves in a batch of its own.
        self.seal_gathered();
        let mut written = 0;
        for place in self.stuck() {
            let region = &self.regions[place as usize];
            let (bytes, count) = (region.payload_bytes(), region.places.len());
            self.purge.due = true;
            let over = written > 0 && written + bytes > u64::from(self.limits.rewrite_bytes_max);
            let admitted = self.admit(bytes as usize, count, Admitted::Rewritten);
            if over || !region.is_settled() || admitted.is_err() {
                break;
            }
            let beside = self.pending.len_with(region.charged() as usize);
            if beside > self.limits.batch_bytes_max as usize {
                self.seal_gathered();
            }
            written += bytes;
            self.write_again(place);
        }
        // One region's may be more than anything else may be put beside.
        self.seal_gathered();
    }

    fn seal_gathered(&mut self) {
        if !self.pending.is_empty() {
            self.seal();
        }
    }

    /// The regions that keep the oldest segments and cannot let go, from the oldest on, as many as it is
    /// worth to write anew: they free twice what they take, beside a segment that a header begins and one
    /// that they begin themselves. So it comes to an end where nobody else writes.
    fn stuck(&self) -> Vec<u32> {
        let fronts = (0..)
            .zip(self.regions.iter())
            .filter_map(|(place, region)| {
                let front = region.places.front()?.segment;
                Some((front, place, region))
            });
        let growing = low_bits(self.segments.back().expect("an open log has one").sequence);
        let oldest = fronts.clone().map(|(front, ..)| front).min();
        let Some(oldest) = oldest.filter(|oldest| *oldest < growing) else {
            return Vec::new();
        };
        // Mostly it is somebody's who lets go of it sooner or later.
        let mut holding = fronts.clone().filter(|(front, ..)| *front == oldest);
        if !holding.all(|(.., region)| region.is_stuck()) {
            return Vec::new();
        }
        let mut holders: Vec<_> = fronts.collect();
        holders.sort_unstable_by_key(|(front, place, _)| (*front, *place));
        let segment_bytes = u64::from(self.limits.segment_bytes);
        let (mut taken, mut worth) = (0, 0);
        for (at, (.., region)) in holders.iter().enumerate() {
            if !region.is_stuck() || region.charged() > segment_bytes / 2 {
                break;
            }
            taken += region.charged();
            let next = holders.get(at + 1).map_or(growing, |(front, ..)| *front);
            let between = oldest..next.min(growing);
            let sequences = self
                .segments
                .iter()
                .map(|segment| low_bits(segment.sequence));
            let freed = sequences
                .filter(|sequence| between.contains(sequence))
                .count() as u64;
            if freed.saturating_sub(2) * segment_bytes >= 2 * taken {
                worth = at + 1;
            }
        }
        holders[..worth]
            .iter()
            .map(|(_, place, _)| *place)
            .collect()
    }

    fn write_again(&mut self, place: u32) {
        let region = &mut self.regions[place as usize];
        let first = region.floor + 1;
        let terms = (first..).map_while(|index| region.term(index));
        let mut entries: Vec<(u64, Bytes)> = terms.zip(region.cache.iter().cloned()).collect();
        if self.mutant == Mutant::ForwardPart {
            let oldest = region.places[0].segment;
            entries.truncate(
                region
                    .places
                    .partition_point(|place| place.segment == oldest),
            );
        }
        self.cache.left(region.cut_tail(first));
        for (index, (term, payload)) in (first..).zip(entries) {
            self.push_entry(place, index, term, payload);
        }
    }
}

impl Region {
    /// Whether it can give up none of its entries: it has applied none of them. They are in memory.
    pub fn is_stuck(&self) -> bool {
        let applied_none = self.applied <= self.floor && self.truncated.0 == self.floor;
        applied_none && self.cache.len() == self.places.len()
    }

    fn payload_bytes(&self) -> u64 {
        self.places.iter().map(|place| u64::from(place.len)).sum()
    }

    /// What its entries take in a batch, at the most.
    fn charged(&self) -> u64 {
        self.payload_bytes() + (RECORD_BYTES_MAX * self.places.len()) as u64
    }
}
