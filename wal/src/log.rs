//! The log in one place: records are gathered, sealed into batches, encoded into the driver's buffers,
//! and released in order as they become durable.
//!
//! ```text
//! append, set_hard_state, set_meta      a turn's records gather in memory
//! flush                                 seal: the batch gets its lsn and its place → Effect::Write
//! encode                                the one copy of each payload, into the driver's buffer
//! durable(lsn)                          in any order; durable_lsn() moves over the unbroken prefix
//! ```

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::batch::{META_RESET, META_TOMBSTONE, Payload, Pending, Position, Record};
use crate::cache::Cache;
use crate::effect::{Effect, Write};
use crate::error::Refused;
use crate::fetch::Fetches;
use crate::header::{Header, Live, OPEN};
use crate::ids::{LogId, Lsn, RegionId, Sequence, Slot};
use crate::limits::{BLOCK_BYTES, Limits, SEGMENTS_FOR_HEADERS};
use crate::mutant::Mutant;
use crate::pool::Pool;
use crate::purge::Purge;
use crate::region::{Place, Region, State, UNSEALED, cached_bytes};

/// What a record adds to its batch beside its payload, at the most.
pub(crate) const RECORD_BYTES_MAX: usize = 40;

/// One entry of a region's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// From 1, without gaps.
    pub index: u64,
    /// Never falls within a region.
    pub term: u64,
    /// Opaque to the log.
    pub payload: Bytes,
}

/// A region's whole replicated record, with what the log itself must know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaRecord {
    /// Index and term before the region's first entry.
    pub truncated: (u64, u64),
    /// The region's log becomes empty at the truncated index, at both ends.
    pub reset: bool,
    /// The region is gone for ever.
    pub tombstone: bool,
    /// Opaque to the log.
    pub payload: Bytes,
}

/// A live segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub sequence: Sequence,
    pub opening: u64,
    pub slot: Slot,
    pub first: Lsn,
    /// The last batch given a place in it.
    pub last: Lsn,
    /// Records ever written into it; one without any is free to go.
    pub records: u64,
    /// Of these, entries, and metas that empty a log: what comes after them means something else
    /// without them, so segments that hold any go in order, from the oldest.
    pub ordered: u64,
    /// Reads of old entries that are under way in it.
    pub readers: u32,
}

/// A batch with a place, until its bytes are taken.
#[derive(Debug)]
struct Sealed {
    write: Write,
    pending: Pending,
    header: Option<Header>,
    position: Position,
}

/// A batch on its way to the medium.
#[derive(Debug)]
struct InFlight {
    lsn: Lsn,
    durable: bool,
    /// What the batch says was durable before it.
    names: Lsn,
}

/// What asks for room; each leaves some of the free segments to those behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    Entries,
    States,
    /// States from memory: they let segments go, and leave one for the header that says so.
    Rewritten,
}

/// How far an opening has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// What recovery accepted is being made durable, file by file.
    Syncing(Vec<Slot>),
    /// The first header has no place yet.
    Waiting,
    /// The first header is on its way.
    Announced,
    /// The log takes batches.
    Open,
}

/// The log of one shard.
#[derive(Debug)]
pub struct Log {
    pub(crate) id: LogId,
    pub(crate) limits: Limits,
    pub(crate) mutant: Mutant,
    pub(crate) opening: u64,
    pub(crate) stage: Opening,
    pub(crate) regions: Vec<Region>,
    pub(crate) places: HashMap<RegionId, u32, FixedState>,
    pub(crate) cache: Cache,
    pub(crate) fetches: Fetches,
    pub(crate) purge: Purge,
    pub(crate) pool: Pool,
    /// Live segments, oldest first; the last one grows.
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) next_sequence: Sequence,
    /// Where the next batch goes in the growing segment.
    active_offset: u32,
    pending: Pending,
    sealed: VecDeque<Sealed>,
    in_flight: VecDeque<InFlight>,
    spare: Vec<Pending>,
    pub(crate) next_lsn: Lsn,
    pub(crate) durable: Lsn,
    /// The greatest `durable_lsn` that a durable batch names.
    covered: Lsn,
    pub(crate) previous_checksum: u32,
    /// The last batch with records; a cover needs no cover.
    last_recorded: Lsn,
    cover_wanted: bool,
    rotate_wanted: bool,
    pub(crate) effects: Vec<Effect>,
    failed: bool,
}

impl Log {
    /// A log that does not exist yet. It takes records at once; they leave when its first segment is
    /// there.
    pub fn create(id: LogId, limits: Limits) -> Log {
        Log::assemble(id, limits, Pool::new(Vec::new(), []), Opening::Waiting, 1)
    }

    pub(crate) fn assemble(
        id: LogId,
        limits: Limits,
        pool: Pool,
        stage: Opening,
        opening: u64,
    ) -> Log {
        limits.check();
        Log {
            id,
            limits,
            mutant: Mutant::None,
            opening,
            stage,
            regions: Vec::new(),
            places: HashMap::with_hasher(FixedState::with_seed(id.0)),
            cache: Cache::default(),
            fetches: Fetches::default(),
            purge: Purge::default(),
            pool,
            segments: VecDeque::new(),
            next_sequence: Sequence(1),
            active_offset: 0,
            pending: Pending::default(),
            sealed: VecDeque::new(),
            in_flight: VecDeque::new(),
            spare: Vec::new(),
            next_lsn: Lsn(1),
            durable: Lsn(0),
            covered: Lsn(0),
            last_recorded: Lsn(0),
            previous_checksum: 0,
            cover_wanted: false,
            rotate_wanted: false,
            effects: Vec::new(),
            failed: false,
        }
    }

    /// Plants a bug; for explorations only.
    pub fn set_mutant(&mut self, mutant: Mutant) {
        self.mutant = mutant;
    }

    // -- what is known ---------------------------------------------------------------------------

    /// Everything up to this batch is durable.
    pub fn durable_lsn(&self) -> Lsn {
        self.durable
    }

    /// The batch that the records given so far leave in, or have left in.
    pub fn last_lsn(&self) -> Lsn {
        // The first batch of an opening carries no records.
        let first = u64::from(matches!(self.stage, Opening::Syncing(_) | Opening::Waiting));
        if self.pending.is_empty() {
            Lsn(self.next_lsn.0 - 1)
        } else {
            Lsn(self.next_lsn.0 + first)
        }
    }

    /// Batches sealed and not durable.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether the first header of this opening is durable, so that acknowledgements may leave.
    pub fn is_open(&self) -> bool {
        self.stage == Opening::Open
    }

    /// Whether a write has failed; then nothing leaves any more.
    pub fn is_failed(&self) -> bool {
        self.failed
    }

    /// The regions the log knows, tombstones included, in the order it came to know them.
    pub fn regions(&self) -> impl Iterator<Item = RegionId> + '_ {
        self.regions.iter().map(|region| region.id)
    }

    /// Memory held for regions and logged entries, cached payloads not counted.
    pub fn memory_bytes(&self) -> u64 {
        self.regions.iter().map(Region::memory_bytes).sum()
    }

    /// Payloads held in memory, with their overhead.
    pub fn cached_bytes(&self) -> u64 {
        self.cache.bytes
    }

    /// The region's last index, if the log knows the region.
    pub fn last_index(&self, region: RegionId) -> Option<u64> {
        Some(self.region(region)?.last())
    }

    /// Index and term before the region's first entry.
    pub fn truncated(&self, region: RegionId) -> Option<(u64, u64)> {
        Some(self.region(region)?.truncated)
    }

    /// The first index whose payload can still be had: behind the truncated or, for a replay, the
    /// checkpointed index, whichever is less.
    pub fn first_kept(&self, region: RegionId) -> Option<u64> {
        Some(self.region(region)?.floor + 1)
    }

    /// The term of an index, from memory; `None` outside the log.
    pub fn term(&self, region: RegionId, index: u64) -> Option<u64> {
        self.region(region)?.term(index)
    }

    /// The region's newest hard state.
    pub fn hard_state(&self, region: RegionId) -> Option<&Bytes> {
        self.region(region)?
            .hard_state
            .as_ref()
            .map(|state| &state.payload)
    }

    /// The region's newest meta.
    pub fn meta(&self, region: RegionId) -> Option<&Bytes> {
        self.region(region)?
            .meta
            .as_ref()
            .map(|state| &state.payload)
    }

    /// Whether the region's newest meta is a tombstone.
    pub fn is_tombstone(&self, region: RegionId) -> bool {
        self.region(region).is_some_and(|region| region.tombstone)
    }

    pub(crate) fn region(&self, id: RegionId) -> Option<&Region> {
        self.places
            .get(&id)
            .map(|place| &self.regions[*place as usize])
    }

    /// The region's place, made if it is new.
    pub(crate) fn enter(&mut self, id: RegionId) -> u32 {
        let regions = &mut self.regions;
        *self.places.entry(id).or_insert_with(|| {
            regions.push(Region::new(id));
            u32::try_from(regions.len() - 1).expect("fewer regions than places")
        })
    }

    // -- records in ------------------------------------------------------------------------------

    /// Adds entries to a region's log. The first one follows the last entry, or replaces it and
    /// everything behind it; a gap, a broken order or an entry at or below the truncated index is a
    /// bug of the caller.
    ///
    /// Either all entries are taken or, refused, none.
    pub fn append(&mut self, region: RegionId, entries: &[Entry]) -> Result<(), Refused> {
        self.append_within(region, entries, Admitted::Entries)
    }

    /// The same for entries that were admitted before, or that let space come back, such as the one a
    /// leader begins its term with: where the log is full they go into the reserve, as states do.
    pub fn append_into_reserve(
        &mut self,
        region: RegionId,
        entries: &[Entry],
    ) -> Result<(), Refused> {
        self.append_within(region, entries, Admitted::States)
    }

    fn append_within(
        &mut self,
        region: RegionId,
        entries: &[Entry],
        what: Admitted,
    ) -> Result<(), Refused> {
        let Some(first) = entries.first() else {
            return Ok(());
        };
        let limit = self.limits.entry_bytes_max as usize;
        let mut bytes = 0;
        for entry in entries {
            if entry.payload.len() > limit {
                return Err(Refused::TooLarge {
                    bytes: entry.payload.len(),
                    limit,
                });
            }
            bytes += entry.payload.len() + 8;
        }
        self.admit(bytes, entries.len(), what)?;
        let place = self.enter(region);
        let known = &mut self.regions[place as usize];
        assert!(!known.tombstone, "region {region} is a tombstone");
        assert!(
            first.index > known.truncated.0,
            "region {region}: entry {} is truncated",
            first.index
        );
        assert!(
            first.index <= known.last() + 1,
            "region {region}: a gap before {}",
            first.index
        );
        if first.index <= known.last() {
            self.cache.left(known.cut_tail(first.index));
        }
        let mut cached = 0;
        for (position, entry) in entries.iter().enumerate() {
            assert_eq!(
                entry.index,
                first.index + position as u64,
                "region {region}: order"
            );
            let checksum = crc32fast::hash(&entry.payload);
            let len = entry.payload.len();
            self.make_room(len);
            let known = &mut self.regions[place as usize];
            known.push(
                entry.term,
                Place {
                    segment: UNSEALED,
                    offset: 0,
                    len: len as u32,
                    checksum,
                },
            );
            known.cache.push_back(entry.payload.clone());
            cached += cached_bytes(&entry.payload);
            let payload = Payload {
                bytes: entry.payload.clone(),
                checksum,
            };
            self.pending
                .push_entry(region, place, entry.index, entry.term, payload);
        }
        let last = self.regions[place as usize].last();
        self.cache.came(place, last, cached);
        Ok(())
    }

    /// Replaces a region's hard state.
    pub fn set_hard_state(&mut self, region: RegionId, payload: Bytes) -> Result<(), Refused> {
        self.admit_state(&payload)?;
        let place = self.enter(region);
        self.push_hard_state(place, payload);
        Ok(())
    }

    pub(crate) fn push_hard_state(&mut self, place: u32, payload: Bytes) {
        self.make_room(payload.len());
        let checksum = crc32fast::hash(&payload);
        let known = &mut self.regions[place as usize];
        known.hard_state = Some(State {
            payload: payload.clone(),
            segment: UNSEALED,
        });
        self.pending.push_hard_state(
            known.id,
            Payload {
                bytes: payload,
                checksum,
            },
        );
    }

    /// Replaces a region's meta, and truncates, resets or ends its log as the meta says.
    pub fn set_meta(&mut self, region: RegionId, meta: MetaRecord) -> Result<(), Refused> {
        self.admit_state(&meta.payload)?;
        let place = self.enter(region);
        let before = self.regions[place as usize].truncated;
        assert!(
            meta.truncated.0 >= before.0 || meta.reset,
            "region {region}: truncated goes back"
        );
        let flags = if meta.reset { META_RESET } else { 0 }
            | if meta.tombstone { META_TOMBSTONE } else { 0 };
        self.push_meta(place, flags, meta.truncated, meta.payload);
        self.apply_meta(place, flags, meta.truncated);
        self.purge.due = true;
        Ok(())
    }

    pub(crate) fn push_meta(
        &mut self,
        place: u32,
        flags: u8,
        truncated: (u64, u64),
        payload: Bytes,
    ) {
        self.make_room(payload.len());
        let checksum = crc32fast::hash(&payload);
        let known = &mut self.regions[place as usize];
        known.meta = Some(State {
            payload: payload.clone(),
            segment: UNSEALED,
        });
        self.pending.push_meta(
            known.id,
            flags,
            truncated,
            Payload {
                bytes: payload,
                checksum,
            },
        );
    }

    /// What a meta does to the region's entries; the same when it is given and when it is recovered.
    pub(crate) fn apply_meta(&mut self, place: u32, flags: u8, truncated: (u64, u64)) {
        let known = &mut self.regions[place as usize];
        known.tombstone = flags & META_TOMBSTONE != 0;
        let beyond = truncated.0 > known.last();
        let freed = if flags & (META_RESET | META_TOMBSTONE) != 0 || beyond {
            known.reset(truncated)
        } else {
            known.truncated = truncated;
            known.trim()
        };
        self.cache.left(freed);
    }

    /// Everything up to the index is applied: its payloads may leave memory.
    pub fn applied(&mut self, region: RegionId, index: u64) {
        let Some(&place) = self.places.get(&region) else {
            return;
        };
        let known = &mut self.regions[place as usize];
        known.applied = known.applied.max(index);
    }

    /// Everything up to the index is in the state store for good: a replay starts behind it.
    pub fn checkpointed(&mut self, region: RegionId, index: u64) {
        let Some(&place) = self.places.get(&region) else {
            return;
        };
        let known = &mut self.regions[place as usize];
        known.checkpointed = known.checkpointed.max(index);
        let freed = known.trim();
        self.cache.left(freed);
        self.purge.due = true;
    }

    fn admit_state(&mut self, payload: &Bytes) -> Result<(), Refused> {
        let limit = self.limits.state_bytes_max as usize;
        if payload.len() > limit {
            return Err(Refused::TooLarge {
                bytes: payload.len(),
                limit,
            });
        }
        self.admit(payload.len(), 1, Admitted::States)
    }

    /// Whether records of so many bytes have a place to go. Entries leave the reserve alone, so that
    /// states, and with them truncation, always have a segment.
    pub(crate) fn admit(
        &self,
        bytes: usize,
        records: usize,
        what: Admitted,
    ) -> Result<(), Refused> {
        if self.failed {
            return Err(Refused::Failed);
        }
        let ahead = self.pending.len_with(bytes + RECORD_BYTES_MAX * records) as u64;
        let batch_max = u64::from(self.limits.batch_bytes_max);
        // Once states have begun a segment of the reserve, its room is theirs as well.
        let entries = what == Admitted::Entries;
        let theirs = entries
            && self.opening_is_over()
            && self.pool.free_count() < self.limits.segments_reserved;
        if ahead <= batch_max && ahead <= u64::from(self.active_room()) && !theirs {
            return Ok(());
        }
        // A batch never spans two segments, so the end of each may go unused.
        let usable = u64::from(self.limits.segment_bytes) - BLOCK_BYTES as u64 - batch_max;
        let segments = ahead.div_ceil(usable);
        let reserved = u64::from(match what {
            Admitted::Entries => self.limits.segments_reserved,
            Admitted::States => SEGMENTS_FOR_HEADERS,
            Admitted::Rewritten => 1,
        });
        let free = u64::from(self.pool.free_count());
        // Only files that exist count: a full disk makes no more of them.
        let live = self.segments.len() as u64;
        let within = !entries || live + segments + reserved <= u64::from(self.limits.segments_max);
        let placed = self.stage == Opening::Open && free >= segments + reserved && within;
        // A log that is being opened gathers one batch, which the segment it opens with has room for; a
        // new one takes entries as well.
        let fresh = self.opening == 1 && !self.pool.is_starved();
        let gathers = self.stage != Opening::Open && ahead <= batch_max && (fresh || !entries);
        if placed || gathers {
            Ok(())
        } else {
            Err(Refused::Full)
        }
    }

    /// Whether so many entries of so many bytes together, over those gathered, would be taken.
    pub fn has_room(&self, bytes: u64, entries: usize) -> bool {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX / 2);
        self.admit(
            bytes.saturating_add(8 * entries),
            entries,
            Admitted::Entries,
        )
        .is_ok()
    }

    /// Whether so many states of so many bytes together would be taken.
    pub fn has_room_for_states(&self, bytes: usize, states: usize) -> bool {
        self.admit(bytes, states, Admitted::States).is_ok()
    }

    fn opening_is_over(&self) -> bool {
        self.stage == Opening::Open
    }

    /// Seals what was gathered if a payload more would not fit its batch.
    fn make_room(&mut self, payload_bytes: usize) {
        if self.pending.len_with(payload_bytes) > self.limits.batch_bytes_max as usize {
            self.seal();
        }
    }

    pub(crate) fn active_room(&self) -> u32 {
        if self.segments.is_empty() || self.stage != Opening::Open || self.rotate_wanted {
            return 0;
        }
        self.limits.segment_bytes - self.active_offset
    }

    // -- batches out -----------------------------------------------------------------------------

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

    /// The end of a turn: what was gathered becomes a batch, and what the world should do leaves.
    pub fn flush(&mut self, effects: &mut Vec<Effect>) {
        if self.failed {
            self.effects.clear();
            return;
        }
        self.maintain();
        self.seal();
        self.pool.prepare(&self.limits, &mut self.effects);
        effects.append(&mut self.effects);
        let (regions, cache) = (&mut self.regions, &mut self.cache);
        cache.sweep(|region, last| regions[region as usize].cache_first() > last);
        cache.shrink(self.limits.cache_bytes, |region, last| {
            let region = &mut regions[region as usize];
            let freed = region.evict(last.min(region.applied));
            (freed, last <= region.applied || region.cache_first() > last)
        });
    }

    /// Gives what was gathered its lsn and its place. Does nothing while there is no segment to place
    /// it in; it stays gathered.
    fn seal(&mut self) {
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
        self.settle_places(sequence, offset);
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

    /// Writes into the regions where their records went. Goes backwards: where a batch holds an index
    /// twice, the later one counts.
    fn settle_places(&mut self, sequence: u32, batch_offset: u32) {
        let mut at = batch_offset as usize + self.pending.len_unpadded();
        let mut payloads = self.pending.payloads.iter().rev();
        for record in self.pending.records.iter().rev() {
            let mut step = || {
                at -= payloads
                    .next()
                    .expect("every record has its payloads")
                    .bytes
                    .len();
                at as u32
            };
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
                            place.segment = sequence;
                            place.offset = offset;
                        }
                    }
                }
                Record::HardState { region } | Record::Meta { region, .. } => {
                    step();
                    let place = self.places[&region] as usize;
                    let states = &mut self.regions[place];
                    let state = match record {
                        Record::HardState { .. } => &mut states.hard_state,
                        _ => &mut states.meta,
                    };
                    if let Some(state) = state
                        && state.segment == UNSEALED
                    {
                        state.segment = sequence;
                    }
                }
            }
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

    // -- completions -----------------------------------------------------------------------------

    /// A write is durable. Reported in any order; [`Log::durable_lsn`] moves over the unbroken prefix.
    pub fn durable(&mut self, lsn: Lsn) {
        if self.failed {
            return;
        }
        let Some(position) = self
            .in_flight
            .front()
            .and_then(|front| lsn.0.checked_sub(front.lsn.0))
        else {
            assert!(self.mutant != Mutant::None, "lsn {lsn} is not in flight");
            return;
        };
        let Some(batch) = self.in_flight.get_mut(position as usize) else {
            assert!(self.mutant != Mutant::None, "lsn {lsn} is not in flight");
            return;
        };
        batch.durable = true;
        while let Some(front) = self.in_flight.front()
            && front.durable
        {
            self.durable = front.lsn;
            self.covered = self.covered.max(front.names);
            self.in_flight.pop_front();
            if self.stage == Opening::Announced {
                self.stage = Opening::Open;
            }
        }
        self.release();
    }

    /// A write or a sync failed, whatever the reason: the log is final.
    pub fn write_failed(&mut self) {
        self.failed = true;
        self.effects.clear();
    }

    /// The file of a slot is there: zeros, durable with its name.
    pub fn created(&mut self, slot: Slot) {
        self.pool.created(slot);
    }

    /// The file of a slot could not be made. The log goes on with what it has and asks again after
    /// [`Log::space`].
    pub fn create_failed(&mut self, slot: Slot) {
        self.pool.create_failed(slot);
    }

    /// The disk may have space again.
    pub fn space(&mut self) {
        self.pool.feed();
    }

    /// A file that recovery read from is durable.
    pub fn synced(&mut self, slot: Slot) {
        if let Opening::Syncing(slots) = &mut self.stage {
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                self.stage = Opening::Waiting;
            }
        }
    }
}

pub(crate) fn low_bits(sequence: Sequence) -> u32 {
    u32::try_from(sequence.0).expect("segments are numbered in 32 bits")
}
