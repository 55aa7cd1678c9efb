//! Records in: entries and states join the batch of the turn, or are refused whole.

use bytes::Bytes;

use crate::batch::{META_RESET, META_TOMBSTONE};
use crate::error::Refused;
use crate::ids::RegionId;
use crate::limits::{BLOCK_BYTES, SEGMENTS_FOR_HEADERS};
use crate::log::{Entry, Log, MetaRecord, Opening};
use crate::pending::Pending;
use crate::region::{Place, State, UNSEALED, cached_bytes};

/// What a record adds to its batch beside its payload, at the most.
pub const RECORD_BYTES_MAX: usize = 40;

/// What asks for room; each leaves some of the free segments to those behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    Entries,
    /// Entries that were admitted before, or that let space come back: they go into the reserve.
    IntoReserve,
    States,
    /// States from memory: they let segments go, and leave one for the header that says so.
    Rewritten,
}

impl Log {
    /// Adds entries to a region's log. The first one follows the last entry, or replaces it and
    /// everything behind it; a gap, a broken order or an entry at or below the truncated index is a
    /// bug of the caller.
    ///
    /// Either all entries are taken or, refused, none.
    pub fn append(&mut self, region: RegionId, entries: &[Entry]) -> Result<(), Refused> {
        let place = self.begin_append(region, entries, Admitted::Entries)?;
        self.push_entries(place, entries.iter().map(lent));
        Ok(())
    }

    /// The same for entries that were admitted before, or that let space come back, such as the one a
    /// leader begins its term with: where the log is full they go into the reserve, as states do.
    pub fn append_into_reserve(
        &mut self,
        region: RegionId,
        entries: &[Entry],
    ) -> Result<(), Refused> {
        let place = self.begin_append(region, entries, Admitted::IntoReserve)?;
        self.push_entries(place, entries.iter().map(lent));
        Ok(())
    }

    /// [`Log::append`] of entries whose payloads the caller gives away: nobody counts references then,
    /// which would cost as much as the rest. Refused, they stay where they are.
    pub fn append_given(&mut self, region: RegionId, entries: &mut [Entry]) -> Result<(), Refused> {
        let place = self.begin_append(region, entries, Admitted::Entries)?;
        self.push_entries(place, entries.iter_mut().map(given));
        Ok(())
    }

    /// [`Log::append_into_reserve`] of entries that the caller gives away.
    pub fn append_given_into_reserve(
        &mut self,
        region: RegionId,
        entries: &mut [Entry],
    ) -> Result<(), Refused> {
        let place = self.begin_append(region, entries, Admitted::IntoReserve)?;
        self.push_entries(place, entries.iter_mut().map(given));
        Ok(())
    }

    /// Whether the entries may come, and where; what they replace goes.
    fn begin_append(
        &mut self,
        region: RegionId,
        entries: &[Entry],
        what: Admitted,
    ) -> Result<Option<u32>, Refused> {
        let Some(first) = entries.first() else {
            return Ok(None);
        };
        let limit = self.limits.entry_bytes_max as usize;
        let mut bytes = 0;
        for (position, entry) in entries.iter().enumerate() {
            if entry.payload.len() > limit {
                return Err(Refused::TooLarge {
                    bytes: entry.payload.len(),
                    limit,
                });
            }
            assert_eq!(
                entry.index,
                first.index + position as u64,
                "region {region}: order"
            );
            bytes += entry.payload.len() + 8;
        }
        self.admit(bytes, entries.len(), what)?;
        let place = self.regions.enter(region);
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
            self.settle_early(place);
            let known = &mut self.regions[place as usize];
            self.cache.left(known.cut_tail(first.index));
        }
        Ok(Some(place))
    }

    /// Entries come as numbers and a payload, not as an iterator over structures: what was written in
    /// pieces and is read whole has to wait for every store before it, and stores to many regions take
    /// long.
    #[inline(always)]
    fn push_entries(
        &mut self,
        place: Option<u32>,
        entries: impl Iterator<Item = (u64, u64, Bytes)>,
    ) {
        let Some(place) = place else { return };
        for (index, term, payload) in entries {
            self.make_room(payload.len());
            self.push_entry(place, index, term, payload);
        }
    }

    /// Adds an entry behind the region's last one to the batch that is gathered.
    #[inline(always)]
    pub(crate) fn push_entry(&mut self, place: u32, index: u64, term: u64, payload: Bytes) {
        let known = &mut self.regions[place as usize];
        known.grow();
        let pending = &mut self.pending;
        let content = pending.push_entry(known.id, place, index, term, &payload);
        if pending.handed_over {
            let unsealed = Place {
                segment: UNSEALED,
                offset: 0,
                len: content.len,
                checksum: content.checksum,
            };
            known.push(term, unsealed);
            self.cache.came(place, index, cached_bytes(&payload));
            known.cache.push_back(payload);
        } else {
            pending.kept.push(payload);
        }
    }

    /// Replaces a region's hard state.
    pub fn set_hard_state(&mut self, region: RegionId, payload: Bytes) -> Result<(), Refused> {
        self.admit_state(&payload)?;
        let place = self.regions.enter(region);
        self.push_hard_state(place, payload);
        Ok(())
    }

    pub(crate) fn push_hard_state(&mut self, place: u32, payload: Bytes) {
        self.make_room(payload.len());
        let known = &mut self.regions[place as usize];
        self.pending.push_hard_state(known.id, place, &payload);
        known.hard_state = Some(State {
            payload,
            segment: UNSEALED,
        });
    }

    /// Replaces a region's meta, and truncates, resets or ends its log as the meta says.
    pub fn set_meta(&mut self, region: RegionId, meta: MetaRecord) -> Result<(), Refused> {
        self.admit_state(&meta.payload)?;
        let place = self.regions.enter(region);
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
        let known = &mut self.regions[place as usize];
        self.pending
            .push_meta(known.id, place, flags, truncated, &payload);
        known.meta = Some(State {
            payload,
            segment: UNSEALED,
        });
    }

    /// What a meta does to the region's entries; the same when it is given and when it is recovered.
    pub(crate) fn apply_meta(&mut self, place: u32, flags: u8, truncated: (u64, u64)) {
        self.settle_early(place);
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
        let Some(place) = self.regions.place(region) else {
            return;
        };
        let known = &mut self.regions[place as usize];
        known.applied = known.applied.max(index);
    }

    /// Everything up to the index is in the state store for good: a replay starts behind it.
    pub fn checkpointed(&mut self, region: RegionId, index: u64) {
        let Some(place) = self.regions.place(region) else {
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
        // Once states have begun a segment of the reserve, its room is theirs as well. And what an opening
        // has begun of the last ones no entry may keep: else restarts could use up all of them.
        let entries = what == Admitted::Entries;
        let theirs = match what {
            Admitted::Entries => {
                self.opening_is_over() && self.pool.free_count() < self.limits.segments_reserved
            }
            Admitted::IntoReserve => self.free_when_open() < SEGMENTS_FOR_HEADERS,
            Admitted::States | Admitted::Rewritten => false,
        };
        if ahead <= batch_max && ahead <= u64::from(self.active_room()) && !theirs {
            return Ok(());
        }
        // A batch never spans two segments, so the end of each may go unused.
        let usable = u64::from(self.limits.segment_bytes) - BLOCK_BYTES as u64 - batch_max;
        let segments = ahead.div_ceil(usable);
        let reserved = u64::from(match what {
            Admitted::Entries => self.limits.segments_reserved,
            Admitted::IntoReserve | Admitted::States => SEGMENTS_FOR_HEADERS,
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
        let taken = fresh || !entries && !theirs;
        let gathers = self.stage != Opening::Open && ahead <= batch_max && taken;
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

    /// Whether so many entries of so many bytes together, which go into the reserve, would be taken.
    pub fn has_room_in_reserve(&self, bytes: usize, entries: usize) -> bool {
        let bytes = bytes.saturating_add(8 * entries);
        self.admit(bytes, entries, Admitted::IntoReserve).is_ok()
    }

    /// The next so many states of so many bytes, for which there is room, join one batch: what was
    /// gathered before leaves in one of its own where they would not fit beside it.
    pub fn keep_together(&mut self, bytes: usize, states: usize) {
        assert!(
            self.takes_together(bytes, states),
            "{bytes} bytes in {states} states are more than a batch takes together"
        );
        self.make_room(bytes + RECORD_BYTES_MAX * states);
    }

    /// Whether so many records of so many bytes fit one batch.
    pub fn takes_together(&self, bytes: usize, records: usize) -> bool {
        let alone = Pending::default().len_with(bytes + RECORD_BYTES_MAX * records);
        alone <= self.limits.batch_bytes_max as usize
    }

    fn opening_is_over(&self) -> bool {
        self.stage == Opening::Open
    }

    /// Free segments when this opening has begun its own, those not counted that are beyond all bounds.
    fn free_when_open(&self) -> u32 {
        let begins = matches!(self.stage, Opening::Syncing(_) | Opening::Waiting);
        let taken = u32::from(begins) + self.pool.beyond_count(&self.limits);
        self.pool.free_count().saturating_sub(taken)
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
}

fn lent(entry: &Entry) -> (u64, u64, Bytes) {
    (entry.index, entry.term, entry.payload.clone())
}

fn given(entry: &mut Entry) -> (u64, u64, Bytes) {
    let payload = core::mem::take(&mut entry.payload);
    (entry.index, entry.term, payload)
}
