//! From the bytes of a tail to an opened table, a bounded part at a time.
//!
//! ```text
//! footer ─► range tombstones ─► filter ─► index ─► Table
//! ```
//!
//! A step checks and takes over about 128 KiB of tail, or as many range tombstones or blocks of the
//! index as take as long: some 50 to 100 microseconds. The tail of a 32 MiB table with small records
//! has about half a MiB.

use alloc::vec::Vec;

use crate::effect::TableNumber;
use crate::record::{KeyRange, Seq};
use crate::table::Corrupt;
use crate::table::filter::{Filter, LINE_BYTES};
use crate::table::footer::Footer;
use crate::table::format::{PAGE_BYTES, SECTION_CHUNK_PAYLOAD};
use crate::table::index::{Index, IndexOpening};
use crate::table::reader::Table;
use crate::table::section::{Place, SectionReader, stored_chunk_bytes};
use crate::table::tombstones::{TableTombstones, TombstonesOpening};

/// So many chunks of a section are taken over in one step.
const CHUNKS_PER_STEP: usize = 4;

const _: () = assert!(SECTION_CHUNK_PAYLOAD.is_multiple_of(LINE_BYTES));

/// A table that is being opened. The tail is not kept: it is handed to every step.
#[derive(Debug)]
pub struct TableOpening {
    footer: Footer,
    global_seq: Option<Seq>,
    tail_bytes: usize,
    stage: Stage,
    /// How much of the current section's payload has been taken over.
    taken: u64,
    /// A payload that is read only when it is whole.
    payload: Vec<u8>,
    tombstones: TableTombstones,
    filter: Filter,
}

#[derive(Debug)]
enum Stage {
    TombstoneBytes,
    Tombstones(TombstonesOpening),
    Filter,
    IndexBytes,
    Index(IndexOpening),
}

impl TableOpening {
    /// Begins with the footer. `tail` are all bytes of the file from
    /// [`tail_offset`](Footer::tail_offset) on. Without a number the footer's word is taken for which
    /// table it is. With a global sequence, all records of the table have that one.
    pub fn new(
        number: Option<TableNumber>,
        file_bytes: u64,
        global_seq: Option<Seq>,
        tail: &[u8],
    ) -> Result<TableOpening, Corrupt> {
        let page = tail.len().saturating_sub(PAGE_BYTES);
        let footer = Footer::decode(number, file_bytes, &tail[page..])?;
        let opening = TableOpening {
            footer,
            global_seq,
            tail_bytes: tail.len(),
            stage: Stage::TombstoneBytes,
            taken: 0,
            payload: Vec::new(),
            tombstones: TableTombstones::default(),
            filter: Filter::empty(),
        };
        if footer.tail_offset() + tail.len() as u64 != file_bytes {
            return Err(opening.corrupt("a tail of another length than the footer says"));
        }
        let filter = footer.filter.payload;
        if !filter.is_multiple_of(LINE_BYTES as u64) || (filter == 0) != (footer.entries == 0) {
            return Err(opening.corrupt("a filter of an impossible length"));
        }
        if (footer.tombstones.payload == 0) != (footer.range_tombstones == 0) {
            return Err(opening.corrupt("impossible counts"));
        }
        Ok(opening)
    }

    /// Something that is wrong with the tail as a whole.
    fn corrupt(&self, why: &'static str) -> Corrupt {
        Corrupt {
            table: self.footer.number,
            offset: self.footer.file_bytes - PAGE_BYTES as u64,
            why,
        }
    }

    /// Does some of the work. Answers once; before that it wants to be called again.
    pub fn step(&mut self, tail: &[u8]) -> Result<Option<Table>, Corrupt> {
        assert_eq!(tail.len(), self.tail_bytes, "the same tail at every step");
        let table = self.footer.number;
        match &mut self.stage {
            Stage::TombstoneBytes => {
                let place = self.footer.tombstones;
                if self.take_payload(place, tail)? {
                    self.stage = match place.payload {
                        0 => Stage::Filter,
                        _ => {
                            let payload = core::mem::take(&mut self.payload);
                            let seq = self.global_seq;
                            let opening =
                                TombstonesOpening::new(payload, table, place.offset, seq)?;
                            Stage::Tombstones(opening)
                        }
                    };
                }
            }
            Stage::Tombstones(opening) => {
                if let Some(tombstones) = opening.step()? {
                    self.tombstones = tombstones;
                    self.stage = Stage::Filter;
                    if self.tombstones.len() as u64 != self.footer.range_tombstones {
                        return Err(self.corrupt("another number of range tombstones"));
                    }
                }
            }
            Stage::Filter => {
                if self.take_filter(tail)? {
                    self.stage = Stage::IndexBytes;
                }
            }
            Stage::IndexBytes => {
                let place = self.footer.index;
                if self.take_payload(place, tail)? {
                    let payload = core::mem::take(&mut self.payload);
                    let opening = IndexOpening::new(payload, table, place.offset)?;
                    self.stage = Stage::Index(opening);
                }
            }
            Stage::Index(opening) => {
                if let Some((range, index)) = opening.step()? {
                    return self.finish(range, index).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// What of a section is left to take over; a chunk begins there.
    fn chunks<'tail>(&self, place: Place, tail: &'tail [u8]) -> SectionReader<'tail> {
        let whole_chunks = self.taken / SECTION_CHUNK_PAYLOAD as u64;
        let done = whole_chunks * stored_chunk_bytes(SECTION_CHUNK_PAYLOAD) as u64;
        let rest = Place {
            offset: place.offset + done,
            payload: place.payload - self.taken,
        };
        let begin = (rest.offset - self.footer.tail_offset()) as usize;
        let end = tail.len() - PAGE_BYTES;
        SectionReader::new(self.footer.number, rest, &tail[begin.min(end)..end])
    }

    /// Collects a payload. Returns whether it is whole.
    fn take_payload(&mut self, place: Place, tail: &[u8]) -> Result<bool, Corrupt> {
        if self.payload.capacity() == 0 {
            // What is allocated is bounded by the bytes at hand, whatever the footer says.
            let bytes = (place.payload as usize).min(tail.len());
            self.payload.reserve_exact(bytes);
        }
        let mut chunks = self.chunks(place, tail);
        for _ in 0..CHUNKS_PER_STEP {
            if let Some(payload) = chunks.next_chunk()? {
                self.payload.extend_from_slice(payload);
                self.taken += payload.len() as u64;
            }
        }
        Ok(self.is_taken(place))
    }

    fn take_filter(&mut self, tail: &[u8]) -> Result<bool, Corrupt> {
        let place = self.footer.filter;
        if self.taken == 0 {
            self.filter = Filter::with_capacity((place.payload as usize).min(tail.len()));
        }
        let mut chunks = self.chunks(place, tail);
        for _ in 0..CHUNKS_PER_STEP {
            if let Some(payload) = chunks.next_chunk()? {
                self.filter.extend(payload);
                self.taken += payload.len() as u64;
            }
        }
        Ok(self.is_taken(place))
    }

    /// Whether a section is taken over; the next one begins then.
    fn is_taken(&mut self, place: Place) -> bool {
        let whole = self.taken == place.payload;
        if whole {
            self.taken = 0;
        }
        whole
    }

    fn finish(&mut self, range: KeyRange, index: Index) -> Result<Table, Corrupt> {
        let footer = &self.footer;
        if u64::from(index.blocks()) != footer.blocks || index.data_bytes() != footer.tail_offset()
        {
            return Err(self.corrupt("the index describes other data than the footer"));
        }
        let tombstones = core::mem::take(&mut self.tombstones);
        // They are in order: the first and the last bound all of them.
        let bounds = [tombstones.iter().next(), tombstones.iter().next_back()];
        let inside = bounds.into_iter().flatten().all(|tombstone| {
            let covered = KeyRange::new(tombstone.start, tombstone.limit);
            range.covers(&covered)
        });
        if !inside {
            return Err(self.corrupt("a range tombstone beyond the table's range"));
        }
        let filter = core::mem::replace(&mut self.filter, Filter::empty());
        let meta = footer.meta(range, self.global_seq);
        Ok(Table::of_parts(meta, index, filter, tombstones))
    }
}
