//! Bytes to a log, or a verdict: one sequential pass over the live segments.
//!
//! ```text
//! headers     the newest valid one says which segments are live; a listed one that is missing, or whose
//!             own header does not agree, is corruption
//! segments    oldest first, batch by batch, each accepted in order, until one is missing
//! behind it   every 4 KiB step is tried for later batches: they hold the evidence
//! verdict     the missing lsn is at or below a durable_lsn that a later batch or header names:
//!             corruption. Else a tail that nobody was told of: cut, and void from now on
//! ```
//!
//! A file that no durable header lists is free. One whose first block does not verify and which is not
//! zeros either is searched too: it may be the newest segment with a damaged header, and its batches
//! say so.
//!
//! The stepper names what it wants read, several reads ahead, and is fed in that order.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::batch::Batch;
use crate::effect::Effect;
use crate::error::Corrupt;
use crate::header::{Header, Live, OPEN};
use crate::heads::Heads;
use crate::ids::{LogId, Lsn, Sequence, Slot};
use crate::limits::{BLOCK_BYTES, Limits};
use crate::log::{Log, Opening, Segment};
use crate::mutant::Mutant;
use crate::pool::Pool;
use crate::scan::Scan;

/// One read is no longer than this.
const PIECE_BYTES: u32 = 1 << 20;
/// So many reads may be wanted before the first of them is fed.
const PIECES_AHEAD: usize = 8;
/// The header and the first block behind it.
const HEAD_BYTES: u32 = 2 * BLOCK_BYTES as u32;

/// Something recovery wants read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The file.
    pub slot: Slot,
    /// Where in it, in whole blocks.
    pub offset: u32,
    /// How much, in whole blocks; less is fed where the file ends.
    pub len: u32,
}

/// Where and how the log ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The last batch that counts.
    pub accepted: Lsn,
    /// Batches behind it that were whole, unacknowledged, and are void now.
    pub discarded: u64,
    /// Where the first missing batch would stand, if something was found there or behind it.
    pub torn_at: Option<(Slot, u32)>,
}

/// The first batch that is not there.
#[derive(Clone, Copy, Debug)]
struct Cut {
    slot: Slot,
    segment: Sequence,
    offset: u32,
    lsn: Lsn,
    why: &'static str,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Heads,
    Segments,
    Finished,
}

/// Recovery of one log.
#[derive(Debug)]
pub struct Recovery {
    limits: Limits,
    log: Log,
    stage: Stage,
    slots: Vec<(Slot, u64)>,
    heads: Heads,
    wanted: VecDeque<Need>,
    heads_issued: usize,
    newest: Option<Header>,
    scans: VecDeque<Scan>,
    accepted: Lsn,
    checksum: u32,
    /// The greatest lsn that anything found says was acknowledged.
    evidence: Lsn,
    cut: Option<Cut>,
    something_behind: bool,
    discarded: u64,
    /// Buffers of scans that are done: fresh memory costs more than what is read into it.
    spare: Vec<Vec<u8>>,
    mutant: Mutant,
}

impl Recovery {
    /// Begins with the files found and their lengths, in any order.
    pub fn new(id: LogId, limits: Limits, slots: Vec<(Slot, u64)>) -> Recovery {
        let pool = Pool::new(Vec::new(), []);
        let log = Log::assemble(id, limits, pool, Opening::Waiting, 1);
        let mut recovery = Recovery {
            limits,
            log,
            stage: Stage::Heads,
            slots,
            heads: Heads::default(),
            wanted: VecDeque::new(),
            heads_issued: 0,
            newest: None,
            scans: VecDeque::new(),
            accepted: Lsn(0),
            checksum: 0,
            evidence: Lsn(0),
            cut: None,
            something_behind: false,
            discarded: 0,
            spare: Vec::new(),
            mutant: Mutant::None,
        };
        recovery.slots.sort_unstable();
        recovery
    }

    /// Plants a bug; for explorations only.
    pub fn set_mutant(&mut self, mutant: Mutant) {
        self.mutant = mutant;
    }

    /// The next read to start, or none before more is fed.
    pub fn wants(&mut self) -> Option<Need> {
        if self.wanted.len() >= PIECES_AHEAD {
            return None;
        }
        let need = match self.stage {
            Stage::Heads => {
                let (slot, _) = *self.slots.get(self.heads_issued)?;
                self.heads_issued += 1;
                Need {
                    slot,
                    offset: 0,
                    len: HEAD_BYTES,
                }
            }
            Stage::Segments => {
                let segment_bytes = self.limits.segment_bytes;
                let scan = self
                    .scans
                    .iter_mut()
                    .find(|scan| !scan.done && scan.issued < segment_bytes)?;
                let len = PIECE_BYTES.min(segment_bytes - scan.issued);
                let need = Need {
                    slot: scan.slot,
                    offset: scan.issued,
                    len,
                };
                scan.issued += len;
                need
            }
            Stage::Finished => return None,
        };
        self.wanted.push_back(need);
        Some(need)
    }

    /// Whether everything was read.
    pub fn is_finished(&mut self) -> bool {
        if self.stage == Stage::Heads && self.slots.is_empty() {
            self.stage = Stage::Finished;
        }
        self.stage == Stage::Finished
    }

    /// The bytes of the read wanted longest ago.
    pub fn feed(&mut self, need: Need, bytes: &[u8]) -> Result<(), Corrupt> {
        assert_eq!(
            self.wanted.pop_front(),
            Some(need),
            "reads are fed in the order they were wanted"
        );
        match self.stage {
            Stage::Heads => {
                self.heads.add(need.slot, bytes);
                match self.heads.len() == self.slots.len() {
                    true => self.choose(),
                    false => Ok(()),
                }
            }
            Stage::Segments => {
                let scan = self.scans.iter_mut().find(|scan| scan.slot == need.slot);
                if let Some(scan) = scan.filter(|scan| !scan.done) {
                    if scan.buffer.capacity() == 0 {
                        scan.buffer = self.spare.pop().unwrap_or_default();
                    }
                    scan.feed(need, bytes, self.limits.segment_bytes);
                }
                self.advance()
            }
            Stage::Finished => Ok(()),
        }
    }

    /// All headers are there: which one counts, and what to read.
    fn choose(&mut self) -> Result<(), Corrupt> {
        let newest = self.heads.newest(self.log.id, &self.limits)?;
        if let Some(header) = &newest {
            self.heads
                .check_lengths(header, &self.slots, &self.limits)?;
            self.evidence = header.durable;
            for live in &header.live {
                let mut scan = Scan::new(live.slot, Some(*live));
                scan.bad = self.heads.check_listed(live).err();
                self.scans.push_back(scan);
            }
        }
        for slot in self.heads.damaged() {
            if !self.scans.iter().any(|scan| scan.slot == slot) {
                self.scans.push_back(Scan::new(slot, None));
            }
        }
        self.newest = newest;
        self.stage = Stage::Segments;
        self.start_segment()?;
        self.advance()
    }

    /// The next segment's own header says where its chain begins.
    fn start_segment(&mut self) -> Result<(), Corrupt> {
        let Some(Scan {
            live: Some(live),
            bad,
            ..
        }) = self.scans.front()
        else {
            return Ok(());
        };
        let (live, bad) = (*live, *bad);
        let head = self.heads.of(live.slot);
        if head.is_none() {
            let scan = self.scans.front_mut().expect("looked at above");
            scan.end(self.limits.segment_bytes);
        }
        self.log.segments.push_back(Segment {
            sequence: live.sequence,
            opening: live.opening,
            slot: live.slot,
            first: live.first,
            last: Lsn(live.first.0 - 1),
            records: 0,
            ordered: 0,
            readers: 0,
        });
        if self.cut.is_some() {
            return Ok(());
        }
        if let Some(why) = bad {
            let (slot, segment, lsn) = (live.slot, live.sequence, live.first);
            self.accepted = self.accepted.max(Lsn(live.first.0 - 1));
            self.cut = Some(Cut {
                slot,
                segment,
                offset: 0,
                lsn,
                why,
            });
        } else if let Some(Ok(header)) = head {
            // What was purged between two live segments leaves a gap that the list accounts for.
            self.accepted = Lsn(live.first.0 - 1);
            self.checksum = header.previous;
        }
        Ok(())
    }

    /// Goes on from its place in the first scan, and to the next when it is done.
    fn advance(&mut self) -> Result<(), Corrupt> {
        while let Some(mut scan) = self.scans.pop_front() {
            if scan.live.is_some() && self.cut.is_none() {
                self.accept(&mut scan);
            }
            if !scan.done && (scan.live.is_none() || self.cut.is_some()) {
                self.search(&mut scan);
            }
            if !scan.done {
                self.scans.push_front(scan);
                return Ok(());
            }
            scan.buffer.clear();
            self.spare.push(scan.buffer);
            self.start_segment()?;
        }
        self.stage = Stage::Finished;
        self.judge()
    }

    /// Takes batch after batch; sets the cut where one is missing.
    fn accept(&mut self, scan: &mut Scan) {
        let live = scan.live.expect("only live segments are accepted");
        let complete = scan.fed == self.limits.segment_bytes;
        scan.at = scan.at.max(BLOCK_BYTES);
        loop {
            if live.last != OPEN && self.accepted >= live.last {
                scan.done = true;
                return;
            }
            let rest = scan.rest();
            if !complete {
                // A batch may go on in a piece that was not fed yet.
                let unread = rest.len() < BLOCK_BYTES;
                let longer = Batch::length_hint(rest).is_some_and(|len| {
                    len as usize > rest.len()
                        && scan.at + len as usize <= self.limits.segment_bytes as usize
                });
                if unread || longer {
                    return;
                }
            }
            let why = match Batch::decode(rest) {
                Ok(batch) => match self.out_of_place(&batch, &live, scan.at) {
                    None => {
                        self.accepted = batch.position.lsn;
                        self.checksum = batch.checksum;
                        self.evidence = self.evidence.max(batch.position.durable);
                        self.log.replay(&batch, &live, scan.at as u32);
                        scan.at += batch.len as usize;
                        continue;
                    }
                    Some(why) => why,
                },
                Err(why) => why,
            };
            self.cut = Some(Cut {
                slot: scan.slot,
                segment: live.sequence,
                offset: scan.at as u32,
                lsn: Lsn(self.accepted.0 + 1),
                why,
            });
            return;
        }
    }

    fn out_of_place(&self, batch: &Batch<'_>, live: &Live, at: usize) -> Option<&'static str> {
        let position = &batch.position;
        let same = (position.log, position.sequence, position.opening)
            == (self.log.id, live.sequence, live.opening);
        if !same {
            Some("the batch here is of another segment")
        } else if position.offset as usize != at {
            Some("the batch here was written for another place")
        } else if position.lsn.0 != self.accepted.0 + 1 || position.previous != self.checksum {
            Some("the batch here does not follow the one before")
        } else {
            None
        }
    }

    /// Looks for batches behind the cut, or in a file whose header is damaged: what they say was
    /// acknowledged is evidence.
    fn search(&mut self, scan: &mut Scan) {
        let complete = scan.fed == self.limits.segment_bytes;
        let newest = self
            .newest
            .as_ref()
            .map(|header| (header.opening, header.sequence));
        while scan.rest().len() >= BLOCK_BYTES {
            let rest = scan.rest();
            let hint = Batch::length_hint(rest);
            if !complete
                && hint.is_some_and(|len| {
                    len as usize > rest.len() && len <= self.limits.segment_bytes
                })
            {
                return;
            }
            if hint.is_some() {
                let cut_here = self
                    .cut
                    .is_some_and(|cut| cut.slot == scan.slot && cut.offset as usize == scan.at);
                if let Ok(batch) = Batch::decode(rest) {
                    let position = batch.position;
                    let identity = (position.opening, position.sequence);
                    let belongs = match scan.live {
                        Some(live) => identity == (live.opening, live.sequence),
                        None => newest.is_none_or(|newest| identity > newest),
                    };
                    if position.log == self.log.id && belongs && position.lsn > self.accepted {
                        self.evidence = self.evidence.max(position.durable);
                        self.something_behind = true;
                        self.discarded += 1;
                    }
                } else if cut_here {
                    self.something_behind = true;
                }
            }
            scan.at += BLOCK_BYTES;
        }
        scan.done = complete;
    }

    fn judge(&mut self) -> Result<(), Corrupt> {
        let missing = Lsn(self.accepted.0 + 1);
        if self.evidence >= missing && self.mutant != Mutant::DamageIsTail {
            let place = self
                .cut
                .map(|cut| (cut.slot, cut.segment, cut.offset, cut.lsn, cut.why));
            let none = (
                Slot(0),
                Sequence(0),
                0,
                missing,
                "a later batch says that this one was acknowledged",
            );
            let (slot, segment, offset, lsn, why) = place.unwrap_or(none);
            return Err(Corrupt {
                slot,
                segment,
                offset,
                lsn,
                why,
            });
        }
        for region in self.log.regions.iter() {
            if region.floor > region.truncated.0 && self.mutant != Mutant::DamageIsTail {
                let first = region.places.front();
                let sequence = Sequence(first.map_or(0, |place| u64::from(place.segment)));
                let segment = self
                    .log
                    .segments
                    .iter()
                    .find(|segment| segment.sequence == sequence);
                return Err(Corrupt {
                    slot: segment.map(|segment| segment.slot).unwrap_or_default(),
                    segment: sequence,
                    offset: first.map_or(0, |place| place.offset),
                    lsn: segment.map(|segment| segment.first).unwrap_or_default(),
                    why: "a region's entries before this one are missing",
                });
            }
        }
        Ok(())
    }

    /// The log, in a new opening: its effects make durable what was accepted, then announce the
    /// opening, and nothing else leaves before both are done.
    pub fn finish(mut self) -> (Log, Verdict) {
        assert!(self.is_finished(), "recovery has not read everything");
        let verdict = Verdict {
            accepted: self.accepted,
            discarded: self.discarded,
            torn_at: self
                .cut
                .filter(|_| self.something_behind)
                .map(|cut| (cut.slot, cut.offset)),
        };
        let mut log = self.log;
        let accepted = self.accepted;
        let opening = self.newest.as_ref().map_or(0, |header| header.opening) + 1;
        let sequence = self.newest.as_ref().map_or(0, |header| header.sequence.0) + 1;
        log.opening = opening;
        log.next_sequence = Sequence(sequence);
        log.next_lsn = Lsn(accepted.0 + 1);
        log.durable = accepted;
        log.previous_checksum = self.checksum;
        let held: Vec<Slot> = log.segments.iter().map(|segment| segment.slot).collect();
        let whole = u64::from(self.limits.segment_bytes);
        let free = self
            .slots
            .iter()
            .filter(|(slot, bytes)| *bytes >= whole && !held.contains(slot));
        log.pool = Pool::new(free.map(|(slot, _)| *slot).collect(), held.iter().copied());
        // Segments without a record that counts end with this opening; their slots are free when its
        // header, which does not list them, is durable.
        log.end_empty();
        for region in log.regions.iter_mut() {
            region.checkpointed = 0;
        }
        // Free files too: a kill may have left one whose name or length is not durable yet.
        let found = self
            .slots
            .iter()
            .filter(|(_, bytes)| *bytes >= whole)
            .map(|(slot, _)| *slot);
        let skip = self.mutant == Mutant::SkipRecoverySync;
        let syncing: Vec<Slot> = if skip { Vec::new() } else { found.collect() };
        log.effects
            .extend(syncing.iter().map(|slot| Effect::Sync { slot: *slot }));
        log.stage = if syncing.is_empty() {
            Opening::Waiting
        } else {
            Opening::Syncing(syncing)
        };
        (log, verdict)
    }
}
