//! Blocks that were asked for and are on their way.
//!
//! Who needs a block holds a [`Ticket`]. Two that need the same block share one read. When the bytes
//! come they are checked once, and **the tickets hold what came**: the cache cannot evict it before
//! every holder has gone on, however small the cache is; a ticket that is dropped lets go of it, so
//! nothing must be cancelled.
//!
//! Neighbouring blocks are read together. Compaction reads whole spans past the cache: they stay raw
//! bytes until their blocks are needed, so that no completion unpacks a megabyte at once.

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;

use crate::cache::BlockCache;
use crate::effect::{Effect, Failure, ReadToken, Share, TableNumber};
use crate::options::COMPACTION_READ_BYTES;
use crate::table::{Block, BlockRef, Corrupt};

/// What direct I/O reads.
const PAGE_BYTES: u64 = crate::table::format::PAGE_BYTES as u64;

/// Why a block cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The file holds other bytes than were written.
    Corrupt(Corrupt),
    /// The file could not be read.
    Failed {
        /// Which table.
        table: TableNumber,
        /// Where in its file.
        offset: u64,
        /// What the device said.
        failure: Failure,
    },
}

impl From<Corrupt> for ReadError {
    fn from(corrupt: Corrupt) -> ReadError {
        ReadError::Corrupt(corrupt)
    }
}

#[derive(Debug)]
struct Arrival<T> {
    token: ReadToken,
    outcome: RefCell<Option<Result<T, ReadError>>>,
}

/// The right to a block that was asked for.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// Which block.
    pub place: BlockRef,
    arrival: Rc<Arrival<Rc<Block>>>,
}

impl Ticket {
    /// The read that brings it.
    pub fn token(&self) -> ReadToken {
        self.arrival.token
    }

    /// Whether it has come, or failed.
    pub fn arrived(&self) -> bool {
        self.arrival.outcome.borrow().is_some()
    }

    /// Why it will not come, if it failed.
    pub fn failed(&self) -> Option<ReadError> {
        match &*self.arrival.outcome.borrow() {
            Some(Err(error)) => Some(*error),
            _ => None,
        }
    }
}

/// The right to raw bytes of a table that were asked for.
#[derive(Clone, Debug)]
pub struct Span {
    /// Which table.
    pub table: TableNumber,
    /// Where they begin.
    pub offset: u64,
    /// How many.
    pub length: u32,
    arrival: Rc<Arrival<Vec<u8>>>,
}

impl Span {
    /// What came, if it came.
    pub fn bytes<T>(&self, take: impl FnOnce(&[u8]) -> T) -> Option<Result<T, ReadError>> {
        match &*self.arrival.outcome.borrow() {
            None => None,
            Some(Ok(bytes)) => Some(Ok(take(bytes))),
            Some(Err(error)) => Some(Err(*error)),
        }
    }

    /// Whether all of a block lies in it.
    pub fn holds(&self, place: &BlockRef) -> bool {
        place.table == self.table
            && place.offset >= self.offset
            && place.offset + u64::from(place.length) <= self.offset + u64::from(self.length)
    }

    /// Unpacks a block that lies in it; none while the bytes have not come.
    pub fn block(&self, place: &BlockRef) -> Option<Result<Block, ReadError>> {
        assert!(self.holds(place), "a block of the span");
        let begin = (place.offset - self.offset) as usize;
        let decoded = self.bytes(|bytes| {
            let end = (begin + place.length as usize).min(bytes.len());
            place.decode(&bytes[begin.min(end)..end])
        })?;
        Some(decoded.and_then(|block| block.map_err(ReadError::Corrupt)))
    }
}

#[derive(Debug)]
enum Flying {
    Blocks {
        table: TableNumber,
        offset: u64,
        parts: Vec<Ticket>,
    },
    Span(Span),
}

/// All reads in flight.
#[derive(Debug, Default)]
pub struct Reads {
    issued: u64,
    flying: BTreeMap<ReadToken, Flying>,
    /// Blocks that are on their way through the cache.
    coming: BTreeMap<(TableNumber, u32), Ticket>,
    effects: Vec<Effect>,
    /// Bytes read since the opening.
    pub bytes_read: u64,
}

impl Reads {
    /// Asks for blocks; those that stand together in a file are read together.
    pub fn request(&mut self, places: &[BlockRef], share: Share) -> Vec<Ticket> {
        let mut tickets = Vec::with_capacity(places.len());
        let mut fresh: Vec<BlockRef> = Vec::new();
        for place in places {
            if !self.coming.contains_key(&(place.table, place.number)) && !fresh.contains(place) {
                fresh.push(*place);
            }
        }
        fresh.sort_by_key(|place| (place.table, place.offset));
        let mut rest = fresh.as_slice();
        while let Some(first) = rest.first() {
            // Direct reads are of whole pages: those that the blocks touch.
            let begin = first.offset - first.offset % PAGE_BYTES;
            let mut end = first.offset + u64::from(first.length);
            let mut count = 1;
            while let Some(next) = rest.get(count)
                && next.table == first.table
                && next.offset == end
                && end + u64::from(next.length) - begin <= u64::from(COMPACTION_READ_BYTES)
            {
                end += u64::from(next.length);
                count += 1;
            }
            let length = (end.next_multiple_of(PAGE_BYTES) - begin) as u32;
            self.read_blocks(&rest[..count], (begin, length), share);
            rest = &rest[count..];
        }
        for place in places {
            tickets.push(self.coming[&(place.table, place.number)].clone());
        }
        tickets
    }

    /// Asks for raw bytes of a table, whole pages.
    pub fn request_span(
        &mut self,
        table: TableNumber,
        offset: u64,
        length: u32,
        share: Share,
    ) -> Span {
        let token = self.emit(table, offset, length, share);
        let outcome = RefCell::new(None);
        let span = Span {
            table,
            offset,
            length,
            arrival: Rc::new(Arrival { token, outcome }),
        };
        self.flying.insert(token, Flying::Span(span.clone()));
        span
    }

    /// Hands out the effects that have come together.
    pub fn flush_effects(&mut self, effects: &mut Vec<Effect>) {
        effects.append(&mut self.effects);
    }

    /// Answers [`Effect::ReadTable`].
    pub fn on_read(
        &mut self,
        token: ReadToken,
        outcome: Result<&[u8], Failure>,
        cache: &mut BlockCache,
    ) {
        let flying = self.flying.remove(&token).expect("a read in flight");
        self.bytes_read += outcome.map_or(0, |bytes| bytes.len() as u64);
        match flying {
            Flying::Span(span) => {
                let (table, offset) = (span.table, span.offset);
                let failed = |failure| ReadError::Failed {
                    table,
                    offset,
                    failure,
                };
                let bytes = outcome.map(<[u8]>::to_vec).map_err(failed);
                *span.arrival.outcome.borrow_mut() = Some(bytes);
            }
            Flying::Blocks {
                table,
                offset,
                parts,
            } => {
                for ticket in parts {
                    let place = ticket.place;
                    let begin = (place.offset - offset) as usize;
                    let block = match outcome {
                        Ok(bytes) => {
                            let end = (begin + place.length as usize).min(bytes.len());
                            let filled = cache.fill(&place, &bytes[begin.min(end)..end]);
                            filled.map_err(ReadError::Corrupt)
                        }
                        Err(failure) => Err(ReadError::Failed {
                            table,
                            offset,
                            failure,
                        }),
                    };
                    self.coming.remove(&(table, place.number));
                    *ticket.arrival.outcome.borrow_mut() = Some(block);
                }
            }
        }
    }

    /// Whether some read of a table is in flight.
    pub fn touch(&self, table: TableNumber) -> bool {
        self.flying.values().any(|flying| match flying {
            Flying::Blocks { table: other, .. } => *other == table,
            Flying::Span(span) => span.table == table,
        })
    }

    fn read_blocks(&mut self, places: &[BlockRef], (offset, length): (u64, u32), share: Share) {
        let table = places[0].table;
        let token = self.emit(table, offset, length, share);
        let mut parts = Vec::with_capacity(places.len());
        for place in places {
            let outcome = RefCell::new(None);
            let ticket = Ticket {
                place: *place,
                arrival: Rc::new(Arrival { token, outcome }),
            };
            self.coming.insert((table, place.number), ticket.clone());
            parts.push(ticket);
        }
        self.flying.insert(
            token,
            Flying::Blocks {
                table,
                offset,
                parts,
            },
        );
    }

    fn emit(&mut self, table: TableNumber, offset: u64, length: u32, share: Share) -> ReadToken {
        self.issued += 1;
        let token = ReadToken(self.issued);
        self.effects.push(Effect::ReadTable {
            token,
            table,
            offset,
            length,
            share,
        });
        token
    }
}
