//! The state machine of one region: entries in order become records of the state store.
//!
//! The same code runs live and in a replay. It changes the store's memory only, and stops in front of
//! an entry that it cannot apply yet: where a command must know what is there and blocks must be read
//! first, or where a change of the peers must be durable before it takes effect. An entry is applied
//! whole or not at all, so a checkpoint never holds half of one.

use std::collections::VecDeque;
use std::hint::black_box;

use bytes::Bytes;
use coracle_engine::lookup::{Lookup, PendingGet, ReadFailed};
use coracle_engine::reads::ReadError;
use coracle_engine::store::{PUTS_MAX, Store};
use coracle_engine::value::StoredValue;
use raft::eraftpb::{Entry, EntryType};

use super::entry::{self, Command, Group, Groups, Said};
use super::ids::{Index, PeerId, Term};
use super::mutant::Mutant;
use super::region::{Epoch, Region};
use super::request::Written;

/// What the processor fetches from memory at once.
const LINE_BYTES: usize = 64;

/// So much of a payload is fetched before it is taken apart; the rest follows from there.
const REACHED_BYTES: usize = 8 << 10;

/// What an applied entry asks of whoever runs the machine.
#[derive(Debug)]
pub enum Applied {
    /// Nothing more: a leader has begun its term.
    Began,
    /// Commands were carried out; answers were collected if wanted.
    Commands,
    /// The epoch of the entry is no longer the region's: nothing was done.
    Refused,
    /// The log may be cut off here.
    Truncate {
        /// The last entry that goes.
        index: Index,
        /// Its term.
        term: Term,
    },
    /// The content is to be hashed as of here.
    ComputeHash,
    /// The leader's hash is to be compared.
    VerifyHash {
        /// As of this entry.
        index: Index,
        /// The leader's hash.
        hash: u64,
    },
    /// The memtable is to be rotated.
    Rotate,
}

/// Why the entry in front is not applied.
#[derive(Debug)]
pub enum Waits {
    /// There is none.
    Empty,
    /// Blocks are being read.
    Blocks,
    /// It changes the peers: the caller's work.
    PeerChange,
    /// It splits the region, at this time of the leader: the caller's work.
    Split(u64),
    /// A block cannot be had: this replica is at its end.
    Unreadable(ReadFailed),
    /// The entry cannot be understood: this replica is at its end.
    Malformed(&'static str),
}

/// Whether the disk refused a read: it may give it later. Damage stays.
pub fn is_refusal(error: &ReadFailed) -> bool {
    !matches!(error, ReadFailed::Block(ReadError::Corrupt(_)))
}

/// What the writes of an entry came to, request by request.
#[derive(Debug, Default)]
pub struct Outcomes {
    /// For each request, how many writes it had.
    pub requests: Vec<u16>,
    /// The writes of all requests, in order, where some had to know what was there; otherwise nothing: all
    /// are simply done.
    pub writes: Vec<Written>,
}

impl Outcomes {
    /// Forgets them and keeps the memory.
    pub fn clear(&mut self) {
        self.requests.clear();
        self.writes.clear();
    }
}

/// The state machine of one region.
#[derive(Debug)]
pub struct Machine {
    /// The region as of the applied entry.
    pub region: Region,
    /// The replica.
    pub peer: PeerId,
    /// Everything up to here is applied.
    pub applied: Index,
    /// The term of that entry.
    pub applied_term: Term,
    /// The region's clock, in Unix milliseconds.
    pub clock: u64,
    /// The clock with which the replica's log began.
    pub born: u64,
    /// Committed and not applied.
    pub queue: VecDeque<Entry>,
    /// Payload bytes in the queue.
    pub queue_bytes: u64,
    /// What the entry in front must know before it can be applied.
    pending: Vec<PendingGet>,
    /// A rule that is broken on purpose.
    pub mutant: Mutant,
}

impl Machine {
    /// A machine that has applied up to an entry.
    pub fn new(region: Region, peer: PeerId, applied: Index, clock: u64) -> Machine {
        Machine {
            region,
            peer,
            applied,
            applied_term: Term(0),
            clock,
            born: clock,
            queue: VecDeque::new(),
            queue_bytes: 0,
            pending: Vec::new(),
            mutant: Mutant::None,
        }
    }

    /// Entries are committed.
    pub fn push(&mut self, entries: Vec<Entry>) {
        for entry in &entries {
            self.queue_bytes += entry::payload_len(entry);
        }
        self.queue.extend(entries);
    }

    /// Forgets what is queued and what was being read.
    pub fn clear(&mut self) {
        self.queue.clear();
        self.queue_bytes = 0;
        self.pending.clear();
    }

    /// Whether the entry in front waits for blocks that have not all come.
    pub fn is_reading(&self) -> bool {
        self.pending.iter().any(|pending| !pending.is_ready())
    }

    /// Applies the entry in front. `outcomes` collects what its writes came to, if somebody wants to
    /// know.
    pub fn apply(
        &mut self,
        store: &mut Store,
        outcomes: Option<&mut Outcomes>,
    ) -> Result<Applied, Waits> {
        let Some(entry) = self.queue.front_mut() else {
            return Err(Waits::Empty);
        };
        assert_eq!(
            entry.index,
            self.applied.0 + 1,
            "entries are applied in order"
        );
        if entry.get_entry_type() != EntryType::EntryNormal {
            return Err(Waits::PeerChange);
        }
        if entry.data.is_empty() {
            self.pass();
            return Ok(Applied::Began);
        }
        // Taken out meanwhile: to share it would touch a count of references that nothing else needs.
        let data = std::mem::take(&mut entry.data);
        let applied = self.apply_payload(&data, store, outcomes);
        self.queue.front_mut().expect("still in front").data = data;
        let applied = applied?;
        self.pending.clear();
        self.pass();
        Ok(applied)
    }

    fn apply_payload(
        &mut self,
        data: &[u8],
        store: &mut Store,
        outcomes: Option<&mut Outcomes>,
    ) -> Result<Applied, Waits> {
        // One line of it leads to the next one: asked for in a row, they come together.
        let lines = data.iter().take(REACHED_BYTES).step_by(LINE_BYTES);
        black_box(lines.fold(0, |all, byte| all ^ byte));
        let parsed = entry::parse(data).map_err(|malformed| Waits::Malformed(malformed.0))?;
        let applied = match parsed.said {
            Said::Commands { reading, groups } => {
                if self.is_refused(parsed.epoch) {
                    Applied::Refused
                } else {
                    if reading {
                        self.prepare(groups, store)?;
                    }
                    // The clock moves first: what expires with this entry's time is gone for it.
                    self.clock = self.clock.max(parsed.time_ms);
                    match reading {
                        true => self.carry_out(groups, store, outcomes)?,
                        false => self.carry_out_blindly(groups, store, outcomes)?,
                    }
                    Applied::Commands
                }
            }
            Said::Truncate { index, term } => Applied::Truncate { index, term },
            Said::ComputeHash => Applied::ComputeHash,
            Said::VerifyHash { index, hash } => Applied::VerifyHash { index, hash },
            Said::Rotate => Applied::Rotate,
            Said::Split(_) => return Err(Waits::Split(parsed.time_ms)),
        };
        self.clock = self.clock.max(parsed.time_ms);
        Ok(applied)
    }

    /// The entry in front is dealt with.
    pub fn pass(&mut self) {
        let entry = self.queue.pop_front().expect("an entry in front");
        self.queue_bytes -= entry::payload_len(&entry);
        self.applied = Index(entry.index);
        self.applied_term = Term(entry.term);
    }

    /// The same, where the caller has seen the leader's time in it.
    pub fn pass_at(&mut self, time_ms: u64) {
        self.clock = self.clock.max(time_ms);
        self.pass();
    }

    fn is_refused(&self, epoch: Epoch) -> bool {
        epoch.version != self.region.epoch.version && self.mutant != Mutant::ApplyWithoutEpoch
    }

    /// Sees to it that all keys whose values the commands must know can be read without waiting.
    fn prepare(&mut self, groups: Groups<'_>, store: &mut Store) -> Result<(), Waits> {
        if self.is_reading() {
            return Err(Waits::Blocks);
        }
        // What came stays held while the rest is asked for, however small the cache is.
        let mut pending = std::mem::take(&mut self.pending);
        let (mut failed, mut missing) = (None, Vec::new());
        groups
            .visit(
                |_| {},
                |command| {
                    let Some(key) = command.reads() else { return };
                    let need = match store.get(key) {
                        Lookup::Need(need) => need,
                        Lookup::Failed(error) => return failed = Some(error),
                        Lookup::Found(_) | Lookup::Absent => return,
                    };
                    // Whoever asks again and again for a block that cannot be had is never told so: the
                    // read that asked for it is.
                    let asked = |pending: &PendingGet| pending.key() == key;
                    let Some(place) = pending.iter().position(asked) else {
                        return missing.push(need);
                    };
                    match store.resume(pending.swap_remove(place)) {
                        Lookup::Need(more) => missing.push(more),
                        Lookup::Failed(error) => failed = Some(error),
                        Lookup::Found(_) | Lookup::Absent => missing.push(need),
                    }
                },
            )
            .map_err(|malformed| Waits::Malformed(malformed.0))?;
        if let Some(error) = failed {
            return Err(Waits::Unreadable(error));
        }
        if missing.is_empty() {
            return Ok(());
        }
        pending.append(&mut missing);
        self.pending = pending;
        Err(Waits::Blocks)
    }

    /// Carries out commands some of which must know what is there.
    fn carry_out(
        &self,
        groups: Groups<'_>,
        store: &mut Store,
        outcomes: Option<&mut Outcomes>,
    ) -> Result<(), Waits> {
        let mut none = Outcomes::default();
        let wanted = outcomes.is_some();
        let Outcomes { requests, writes } = outcomes.unwrap_or(&mut none);
        let begin = |group: Group| {
            if wanted {
                requests.push(group.writes);
            }
        };
        let visit = |command: Command<'_>| {
            let written = write(command, &self.region, self.clock, store);
            if wanted {
                writes.push(written);
            }
        };
        groups
            .visit(begin, visit)
            .map_err(|malformed| Waits::Malformed(malformed.0))
    }

    /// Carries out commands that all write whatever is there. Puts in a row are handed over together, so
    /// that the store can look for all their keys at once.
    fn carry_out_blindly(
        &self,
        groups: Groups<'_>,
        store: &mut Store,
        outcomes: Option<&mut Outcomes>,
    ) -> Result<(), Waits> {
        let mut puts: [(&[u8], &[u8]); PUTS_MAX] = [(&[], &[]); PUTS_MAX];
        let mut count = 0;
        let mut requests = outcomes.map(|outcomes| &mut outcomes.requests);
        let begin = |group: Group| {
            if let Some(requests) = &mut requests {
                requests.push(group.writes);
            }
        };
        let visit = |command| {
            if let Command::Put { key, stored } = command {
                puts[count] = (key, stored);
                count += 1;
                if count == PUTS_MAX {
                    store.put_all(&puts);
                    count = 0;
                }
                return;
            }
            store.put_all(&puts[..count]);
            count = 0;
            write(command, &self.region, self.clock, store);
        };
        let outcome = groups.visit(begin, visit);
        store.put_all(&puts[..count]);
        outcome.map_err(|malformed| Waits::Malformed(malformed.0))
    }
}

/// Carries one write out; all that it must know is in memory.
#[inline(always)]
fn write(command: Command<'_>, region: &Region, clock: u64, store: &mut Store) -> Written {
    match command {
        Command::Put { key, stored } => store.put(key, stored),
        Command::Delete { key } => store.delete(key),
        Command::DeleteRange { start, limit } => {
            let limit = match limit.is_empty() {
                true => &region.range.limit,
                false => limit,
            };
            store.delete_range(start, limit);
        }
        Command::CompareAndPut {
            key,
            expected,
            stored,
        } => return compare_and_put(key, expected, stored, clock, store),
        Command::Add { key, delta } => return add(key, delta, clock, store),
    }
    Written::Done
}

fn compare_and_put(
    key: &[u8],
    expected: Option<&[u8]>,
    stored: Option<&[u8]>,
    clock: u64,
    store: &mut Store,
) -> Written {
    let previous = known(key, clock, store, |value| {
        Bytes::copy_from_slice(value.bytes)
    });
    let held = previous.as_deref() == expected;
    if held {
        match stored {
            Some(stored) => store.put(key, stored),
            None => store.delete(key),
        }
    }
    Written::Compared { held, previous }
}

fn add(key: &[u8], delta: i64, clock: u64, store: &mut Store) -> Written {
    let before = known(key, clock, store, |value| {
        let text = std::str::from_utf8(value.bytes).ok();
        (
            text.and_then(|text| text.parse::<i64>().ok()),
            value.expiry_ms,
        )
    });
    let (number, expiry_ms) = before.unwrap_or((Some(0), None));
    let Some(sum) = number.and_then(|number| number.checked_add(delta)) else {
        return Written::NotANumber;
    };
    let text = sum.to_string();
    let mut stored = Vec::with_capacity(text.len() + 9);
    StoredValue {
        expiry_ms,
        bytes: text.as_bytes(),
    }
    .encode(&mut stored);
    store.put(key, &stored);
    Written::Counter(sum)
}

/// The value of a key that was prepared, if it has one that has not expired.
fn known<T>(
    key: &[u8],
    clock: u64,
    store: &mut Store,
    take: impl FnOnce(StoredValue<'_>) -> T,
) -> Option<T> {
    match store.get(key) {
        Lookup::Found(value) => match StoredValue::decode(&value) {
            Ok(value) if !value.expired(clock) => Some(take(value)),
            _ => None,
        },
        Lookup::Absent => None,
        Lookup::Need(_) | Lookup::Failed(_) => {
            unreachable!("the blocks of a command were read before it")
        }
    }
}
