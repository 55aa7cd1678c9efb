//! Point reads: the newest record of a key, from the newest source to the oldest.
//!
//! The first source that knows of the key decides: a record, or a range tombstone above it. What a
//! table cannot answer from memory it answers with the block that it needs; the read then is parked as
//! a [`PendingGet`], which holds its view and the blocks that have come, and goes on when asked again.

use alloc::vec::Vec;
use core::ops::Deref;

use crate::cache::BlockCache;
use crate::effect::{ReadToken, Share};
use crate::options::READ_AHEAD_BYTES_MAX;
use crate::reads::{ReadError, Reads, Ticket};
use crate::record::{Kind, Seq};
use crate::sources::Memories;
use crate::store::Store;
use crate::table::{BlockRef, Hit, Lookup as TableLookup, Probe};
use crate::tables::Tables;
use crate::version::{Run, Version};
use crate::view::{MemoryId, View, ViewEnded};

/// The bytes of a value, borrowed from a memtable or holding their block.
#[derive(Debug)]
pub enum Value<'s> {
    /// In a memtable.
    Memory(&'s [u8]),
    /// In a block of a table.
    Table(Hit),
}

impl Deref for Value<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Value::Memory(bytes) => bytes,
            Value::Table(hit) => hit.value(),
        }
    }
}

/// Why a read cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFailed {
    /// The view is no longer held.
    Ended(ViewEnded),
    /// A block cannot be had.
    Block(ReadError),
}

impl From<ViewEnded> for ReadFailed {
    fn from(ended: ViewEnded) -> ReadFailed {
        ReadFailed::Ended(ended)
    }
}

impl From<ReadError> for ReadFailed {
    fn from(error: ReadError) -> ReadFailed {
        ReadFailed::Block(error)
    }
}

/// What a read of one key came to.
#[derive(Debug)]
pub enum Lookup<'s> {
    /// The key has this value.
    Found(Value<'s>),
    /// It has none.
    Absent,
    /// It cannot be said without blocks that are being read.
    Need(PendingGet),
    /// The read is over.
    Failed(ReadFailed),
}

/// A read of one key that waits for blocks.
#[derive(Debug)]
pub struct PendingGet {
    view: View,
    key: Vec<u8>,
    tickets: Vec<Ticket>,
}

impl PendingGet {
    /// The reads that must come before it can go on.
    pub fn waits_for(&self) -> impl Iterator<Item = ReadToken> + '_ {
        waits_for(&self.tickets)
    }

    /// Whether it can go on.
    pub fn is_ready(&self) -> bool {
        self.waits_for().next().is_none()
    }

    /// The key that it looks for.
    pub fn key(&self) -> &[u8] {
        &self.key
    }
}

/// The reads that have not come yet, of some tickets.
pub(crate) fn waits_for(tickets: &[Ticket]) -> impl Iterator<Item = ReadToken> + '_ {
    let waiting = tickets.iter().filter(|ticket| !ticket.arrived());
    waiting.map(Ticket::token)
}

pub(crate) fn check_tickets(tickets: &[Ticket]) -> Result<(), ReadError> {
    match tickets.iter().find_map(Ticket::failed) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

pub(crate) enum Looked<'s> {
    Found(Value<'s>),
    Absent,
    Need(BlockRef),
}

/// Looks in memtables `first` to `limit`, newest first, then in the tables.
#[inline]
pub(crate) fn look<'s>(
    key: &[u8],
    at: Seq,
    (first, limit): (MemoryId, MemoryId),
    version: &Version,
    (memories, tables): (&'s Memories, &Tables),
    cache: &mut BlockCache,
) -> Looked<'s> {
    let mut id = limit.0;
    while id > first.0 {
        id -= 1;
        let memtable = memories.get(MemoryId(id));
        let covering = memtable.tombstones().covering(key, at);
        match memtable.get(key, at) {
            Some(record) if record.kind == Kind::Put && record.seq > covering => {
                return Looked::Found(Value::Memory(record.value));
            }
            Some(_) => return Looked::Absent,
            None if covering > Seq::ZERO => return Looked::Absent,
            None => {}
        }
    }
    look_in_tables(key, version, tables, cache)
}

fn look_in_tables<'s>(
    key: &[u8],
    version: &Version,
    tables: &Tables,
    cache: &mut BlockCache,
) -> Looked<'s> {
    let probe = Probe::new(key);
    for (_, run) in version.runs() {
        if let Some(looked) = look_in_run(&probe, run, tables, cache) {
            return looked;
        }
    }
    Looked::Absent
}

/// None: the run knows nothing of the key.
#[inline]
fn look_in_run<'s>(
    probe: &Probe<'_>,
    run: &Run,
    tables: &Tables,
    cache: &mut BlockCache,
) -> Option<Looked<'s>> {
    let slice = run.find(probe.key())?;
    let table = tables.of(&slice.table);
    let covering = match table.tombstones().is_empty() {
        true => Seq::ZERO,
        false => table.tombstones().covering(probe.key()),
    };
    match table.get(probe, Seq::MAX, cache) {
        TableLookup::Found(hit) if hit.kind() == Kind::Put && hit.seq() > covering => {
            Some(Looked::Found(Value::Table(hit)))
        }
        TableLookup::Found(_) => Some(Looked::Absent),
        TableLookup::Absent if covering > Seq::ZERO => Some(Looked::Absent),
        TableLookup::Absent => None,
        TableLookup::Need(block) => Some(Looked::Need(block)),
    }
}

impl Store {
    /// The newest value of a key.
    #[inline]
    pub fn get(&mut self, key: &[u8]) -> Lookup<'_> {
        self.figures.gets += 1;
        let range = (self.first_unflushed, self.memories.limit());
        let looked = look(
            key,
            Seq::MAX,
            range,
            &self.version,
            (&self.memories, &self.tables),
            &mut self.cache,
        );
        match looked {
            Looked::Found(value) => Lookup::Found(value),
            Looked::Absent => Lookup::Absent,
            Looked::Need(block) => {
                // Taken now, before anything changes: the same as what was looked at.
                let limit = range.1;
                let seen = crate::view::Seen {
                    seq: Seq(self.next_seq.0 - 1),
                    first: range.0,
                    limit,
                    version: self.version.clone(),
                };
                let view = self.views.take(seen, self.now, self.installed);
                let tickets = self.reads.request(&[block], Share::Foreground);
                let key = key.to_vec();
                Lookup::Need(PendingGet { view, key, tickets })
            }
        }
    }

    /// The newest value of a key, if that can be said from memory alone; nothing is asked for otherwise.
    #[inline]
    pub fn get_at_hand(&mut self, key: &[u8]) -> Option<Option<Value<'_>>> {
        let range = (self.first_unflushed, self.memories.limit());
        let looked = look(
            key,
            Seq::MAX,
            range,
            &self.version,
            (&self.memories, &self.tables),
            &mut self.cache,
        );
        let value = match looked {
            Looked::Found(value) => Some(value),
            Looked::Absent => None,
            Looked::Need(_) => return None,
        };
        self.figures.gets += 1;
        Some(value)
    }

    /// The value of a key in a view.
    pub fn get_at(&mut self, view: &View, key: &[u8]) -> Lookup<'_> {
        self.figures.gets += 1;
        self.resume(PendingGet {
            view: view.clone(),
            key: key.to_vec(),
            tickets: Vec::new(),
        })
    }

    /// Goes on with a read whose blocks have come.
    pub fn resume(&mut self, mut pending: PendingGet) -> Lookup<'_> {
        let seen = match pending.view.seen() {
            Ok(seen) => seen,
            Err(ended) => return Lookup::Failed(ended.into()),
        };
        if let Err(error) = check_tickets(&pending.tickets) {
            return Lookup::Failed(error.into());
        }
        let looked = look(
            &pending.key,
            seen.seq,
            (seen.first, seen.limit),
            &seen.version,
            (&self.memories, &self.tables),
            &mut self.cache,
        );
        match looked {
            Looked::Found(value) => Lookup::Found(value),
            Looked::Absent => Lookup::Absent,
            Looked::Need(block) => {
                let mut tickets = self.reads.request(&[block], Share::Foreground);
                pending.tickets.append(&mut tickets);
                Lookup::Need(pending)
            }
        }
    }
}

/// A read of many keys in one view.
#[derive(Debug)]
pub struct MultiGet {
    view: View,
    keys: Vec<Vec<u8>>,
    /// Which keys are not answered yet, and the blocks that they have asked for.
    open: Vec<(usize, Vec<Ticket>)>,
}

/// How far a step of a read or scan came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progressed {
    /// It is complete.
    Done,
    /// The limit of the step is reached; there may be more.
    More,
    /// It waits for blocks that are being read.
    Need,
}

impl MultiGet {
    /// The reads that must come before all of it can go on.
    pub fn waits_for(&self) -> impl Iterator<Item = ReadToken> + '_ {
        self.open.iter().flat_map(|(_, tickets)| waits_for(tickets))
    }

    /// Answers what can be answered, each key once, by its position.
    pub fn step(
        &mut self,
        store: &mut Store,
        mut answer: impl FnMut(usize, Option<&[u8]>),
    ) -> Result<Progressed, ReadFailed> {
        let seen = self.view.seen()?;
        let mut budget = READ_AHEAD_BYTES_MAX;
        let mut needs: Vec<(usize, BlockRef)> = Vec::new();
        let mut still = Vec::new();
        for (position, tickets) in core::mem::take(&mut self.open) {
            check_tickets(&tickets)?;
            if budget == 0 || waits_for(&tickets).next().is_some() {
                still.push((position, tickets));
                continue;
            }
            let looked = look(
                &self.keys[position],
                seen.seq,
                (seen.first, seen.limit),
                &seen.version,
                (&store.memories, &store.tables),
                &mut store.cache,
            );
            match looked {
                Looked::Found(value) => answer(position, Some(&value)),
                Looked::Absent => answer(position, None),
                Looked::Need(block) => {
                    budget = budget.saturating_sub(u64::from(block.length));
                    needs.push((still.len(), block));
                    still.push((position, tickets));
                }
            }
        }
        let blocks: Vec<BlockRef> = needs.iter().map(|(_, block)| *block).collect();
        let tickets = store.reads.request(&blocks, Share::Foreground);
        for ((place, _), ticket) in needs.into_iter().zip(tickets) {
            still[place].1.push(ticket);
        }
        self.open = still;
        Ok(match self.open.is_empty() {
            true => Progressed::Done,
            false => Progressed::Need,
        })
    }
}

impl Store {
    /// Begins a read of many keys in a view.
    pub fn multi_get(&mut self, view: &View, keys: Vec<Vec<u8>>) -> MultiGet {
        self.figures.gets += keys.len() as u64;
        MultiGet {
            view: view.clone(),
            open: (0..keys.len()).map(|place| (place, Vec::new())).collect(),
            keys,
        }
    }
}

/// Asks for blocks on behalf of a parked operation.
pub(crate) fn request(reads: &mut Reads, blocks: &[BlockRef], tickets: &mut Vec<Ticket>) {
    tickets.append(&mut reads.request(blocks, Share::Foreground));
}
