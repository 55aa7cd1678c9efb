//! Batches out: at the end of a turn what was gathered gets an lsn and a place, and then bytes, unless enough is under
//! way already: then the next turns add to it.

use alloc::vec::Vec;

use crate::batch::Position;
use crate::effect::{Effect, Write};
use crate::header::{Header, Live, OPEN};
use crate::ids::Lsn;
use crate::limits::BLOCK_BYTES;
use crate::log::{InFlight, Log, Opening, Segment, low_bits};
use crate::mutant::Mutant;
use crate::pending::{Pending, Record};
use crate::region::UNSEALED;

/// A batch with a place, until its bytes are taken.
#[derive(Debug)]
pub(crate) struct Sealed {
    write: Write,
    pending: Pending,
    header: Option<Header>,
    position: Position,
}

impl Log {
    /// Whether batches were acknowledged since the last one that says so. After some quiet time the
    /// caller asks for a [`Log::cover`], so that damage to them cannot pass for a torn tail.
    pub fn cover_due(&self) -> bool {
        self.is_open()
            && self.in_flight.is_empty()
            && self.pending.is_empty()
            && self.covered < self.last_recorded
    }

    /// Lets the next flush write a batch even without records.
    pub fn cover(&mut self) {
        self.cover_wanted = true;
    }

    /// The end of a turn: what was gathered becomes a batch, if it is worth one yet, and what the world should do leaves.
    pub fn flush(&mut self, effects: &mut Vec<Effect>) {
        if self.failed {
            self.effects.clear();
            return;
        }
        self.maintain();
        if self.is_worth_a_write() {
            self.seal();
        }
        let opens = self.stage == Opening::Waiting;
        self.pool.prepare(&self.limits, opens, &mut self.effects);
        effects.append(&mut self.effects);
        let (regions, cache) = (&mut self.regions, &mut self.cache);
        cache.sweep(|region, last| regions[region as usize].cache_first() > last);
        cache.shrink(self.limits.cache_bytes, regions);
    }

    /// Whether what was gathered leaves now: the disk has little to do, or it is much.
    fn is_worth_a_write(&self) -> bool {
        self.in_flight.len() < self.limits.writes_under_way as usize
            || self.pending.len() >= self.limits.batch_bytes_worth as usize
    }

    /// Gives what was gathered its lsn and its place. Does nothing while there is no segment to place
    /// it in; it stays gathered.
    pub(crate) fn seal(&mut self) {
        match self.stage {
            Opening::Open => {}
            Opening::Waiting => self.cover_wanted = true,
            Opening::Syncing(_) | Opening::Announced => return,
        }
        let opening = self.stage == Opening::Waiting;
        if self.pending.is_empty() && !self.cover_wanted && !self.rotate_wanted {
            return;
        }
        // The first batch of an opening stands alone: nothing else leaves before it is durable.
        let gathered = opening.then(|| core::mem::take(&mut self.pending));
        let len = self.pending.len() as u32;
        let header = if len > self.active_room() {
            match self.rotate() {
                Some(header) => Some(header),
                None => {
                    if let Some(gathered) = gathered {
                        self.pending = gathered;
                    }
                    return;
                }
            }
        } else {
            None
        };
        self.cover_wanted = false;
        let lsn = self.next_lsn;
        self.next_lsn.0 += 1;
        let segment = self.segments.back_mut().expect("a growing segment");
        segment.last = lsn;
        segment.records += self.pending.records.len() as u64;
        let ordered = self.pending.records.iter().filter(|record| match record {
            Record::Entries { .. } => true,
            Record::HardState { .. } => false,
            Record::Meta { flags, .. } => *flags != 0,
        });
        segment.ordered += ordered.count() as u64;
        if !self.pending.is_empty() {
            self.last_recorded = lsn;
        }
        let offset = self.active_offset;
        self.active_offset += len;
        let position = Position {
            log: self.id,
            sequence: segment.sequence,
            opening: self.opening,
            lsn,
            durable: self.durable,
            previous: 0,
            offset,
        };
        let sequence = low_bits(segment.sequence);
        let write = match header {
            None => Write {
                lsn,
                slot: segment.slot,
                offset,
                len,
            },
            Some(_) => Write {
                lsn,
                slot: segment.slot,
                offset: 0,
                len: len + BLOCK_BYTES as u32,
            },
        };
        self.settle(sequence, offset);
        let spare = gathered.unwrap_or_else(|| self.spare.pop().unwrap_or_default());
        let pending = core::mem::replace(&mut self.pending, spare);
        self.in_flight.push_back(InFlight {
            lsn,
            durable: false,
            names: self.durable,
        });
        self.sealed.push_back(Sealed {
            write,
            pending,
            header,
            position,
        });
        self.effects.push(Effect::Write(write));
        if opening {
            self.stage = Opening::Announced;
        }
    }

    /// Begins the next segment, if there is a free slot; the header lists what is live from now on.
    fn rotate(&mut self) -> Option<Header> {
        let slot = self.pool.take()?;
        self.purge.unlist(&mut self.segments, self.next_lsn);
        self.rotate_wanted = false;
        let sequence = self.next_sequence;
        assert!(
            sequence.0 < u64::from(UNSEALED),
            "segments are numbered in 32 bits"
        );
        self.next_sequence.0 += 1;
        self.segments.push_back(Segment {
            sequence,
            opening: self.opening,
            slot,
            first: self.next_lsn,
            last: Lsn(self.next_lsn.0 - 1),
            records: 0,
            ordered: 0,
            readers: 0,
        });
        self.active_offset = BLOCK_BYTES as u32;
        self.purge.rotated = true;
        let growing = sequence;
        let live = self.segments.iter().map(|segment| Live {
            sequence: segment.sequence,
            opening: segment.opening,
            first: segment.first,
            last: if segment.sequence == growing {
                OPEN
            } else {
                segment.last
            },
            slot: segment.slot,
        });
        Some(Header {
            log: self.id,
            sequence,
            opening: self.opening,
            first: self.next_lsn,
            durable: self.durable,
            previous: 0,
            segment_bytes: self.limits.segment_bytes,
            slot,
            live: live.collect(),
        })
    }

    /// Lets the next flush begin a new segment.
    pub(crate) fn want_rotation(&mut self) {
        self.rotate_wanted = true;
    }

    /// Fills the buffer of a write; `buffer` is as long as the write. Called once for each write, in
    /// the order of their lsn.
    pub fn encode(&mut self, write: &Write, buffer: &mut [u8]) {
        let mut sealed = self.sealed.pop_front().expect("a sealed batch");
        assert_eq!(
            sealed.write, *write,
            "batches are encoded in the order of their lsn"
        );
        assert_eq!(buffer.len(), write.len as usize, "a buffer fits its write");
        sealed.position.previous = self.previous_checksum;
        let body = match &mut sealed.header {
            None => buffer,
            Some(header) => {
                let (block, body) = buffer.split_at_mut(BLOCK_BYTES);
                header.previous = self.previous_checksum;
                header.encode(block);
                body
            }
        };
        self.previous_checksum = sealed.pending.encode(&sealed.position, body);
        sealed.pending.clear();
        self.spare.push(sealed.pending);
        if self.mutant == Mutant::AcknowledgeEarly {
            self.durable(write.lsn);
        }
    }
}
