//! The manifest: which tables there are and how far they contain each region, in one file that never
//! grows.
//!
//! ```text
//! half 0   [state g=4][edits][edits][edits][edits]………     old: the truth until the other one is
//! half 1   [state g=5][edits][edits]……………………………     the greater generation whose state verifies
//! ```
//!
//! The file is written with zeros once. A half begins with a whole state; edits follow. When the next
//! ones do not fit, or the store was opened anew, a state goes to the other half. Every record stands
//! there twice, in one write, so that damage to one block is healed by the other copy.
//!
//! One write is under way at a time; edits that come meanwhile share the next one.
//!
//! # What a power cut leaves behind
//!
//! | cut during | left behind | recovery |
//! |---|---|---|
//! | edits | neither copy whole | the state without them; nobody was told |
//! | edits | one copy whole | the state with them; synced before anything rests on it |
//! | a state in the other half | neither copy whole | this half, which was not touched |
//! | the first state of all | no half verifies, and nothing but zeros or a torn state | an empty store: nobody was told |
//! | recovery | what it read, perhaps only in a cache | it syncs first, and only then writes a state over the other half |
//!
//! A record that does not verify with one behind it that does (of its generation, or of a greater one in
//! the other half) was acknowledged: corruption, with its place. The last record with both copies
//! damaged is the limit of detection.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;

use crate::edit::VersionEdit;
use crate::effect::{ManifestWrite, TableNumber};
use crate::record::Seq;
use crate::state::{Refused, State};
use crate::version::TableRef;

mod code; // edits and states as bytes
mod measure; // how long a state is, without writing it
mod record; // one record, twice
mod walk; // for tools

use code::{Reader, Writer};
use measure::{Measure, growth_bytes};
use record::{BLOCK_BYTES, Kind, Position};
pub use walk::{WalkedRecord, walk};

/// So many edits share a write at the most.
const EDITS_PER_WRITE_MAX: usize = 256;

/// Bytes of the manifest that are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt {
    /// Where in the file.
    pub offset: u64,
    /// What does not hold.
    pub why: &'static str,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "the manifest is corrupt at offset {}: {}",
            self.offset, self.why
        )
    }
}

impl core::error::Error for Corrupt {}

/// Counts the edits of one opening, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EditNumber(pub u64);

/// A write that is under way.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    write: ManifestWrite,
    /// The last edit in it.
    upto: EditNumber,
    /// It is a whole state.
    is_state: bool,
}

/// The manifest of a store.
#[derive(Debug)]
pub struct Manifest {
    store: u64,
    half_bytes: usize,
    /// With every edit that was appended, durable or not.
    state: State,
    /// How long the state would be as bytes.
    measure: Measure,
    /// Encoded edits that have no write yet, with their numbers.
    queue: VecDeque<(EditNumber, Vec<u8>)>,
    appended: EditNumber,
    durable: EditNumber,
    in_flight: Option<InFlight>,
    next_write: u64,
    generation: u64,
    number: u64,
    previous: u32,
    /// Where the next record goes, in the half of this generation.
    at: usize,
    /// A state must come first, in the other half.
    state_wanted: bool,
    sync_wanted: bool,
    open: bool,
    failed: bool,
}

impl Manifest {
    /// The manifest of a new store, in a file of zeros that is durable.
    pub fn create(store: u64, file_bytes: u64) -> Manifest {
        let half_bytes = usize::try_from(file_bytes / 2).expect("a manifest fits memory");
        assert!(
            half_bytes.is_multiple_of(BLOCK_BYTES) && half_bytes >= 4 * BLOCK_BYTES,
            "a half is a few blocks"
        );
        Manifest {
            store,
            half_bytes,
            measure: Measure::of(&State::default()),
            state: State::default(),
            queue: VecDeque::new(),
            appended: EditNumber(0),
            durable: EditNumber(0),
            in_flight: None,
            next_write: 1,
            generation: 0,
            number: 0,
            previous: 0,
            at: half_bytes,
            state_wanted: true,
            sync_wanted: false,
            open: false,
            failed: false,
        }
    }

    /// Reads the whole file. Everything accepted must be made durable ([`Manifest::synced`]) before the
    /// first write leaves.
    pub fn recover(store: u64, file: &[u8]) -> Result<Manifest, Corrupt> {
        let mut manifest = Manifest::create(store, file.len() as u64 / 2 * 2);
        let half_bytes = manifest.half_bytes;
        let halves = [
            (0, &file[..half_bytes]),
            (half_bytes, &file[half_bytes..2 * half_bytes]),
        ];
        let corrupt = |base: usize, at: usize, why| Corrupt {
            offset: (base + at) as u64,
            why,
        };
        for (base, bytes) in halves {
            if let Some(at) = find_record(bytes, 0, |position| position.store != store) {
                return Err(corrupt(base, at, "the manifest belongs to another store"));
            }
        }
        let newest = halves
            .iter()
            .filter_map(|(base, bytes)| Some((*base, *bytes, Half::first(store, bytes)?)))
            .max_by_key(|(_, _, first)| first.position.generation);
        let chosen = newest
            .as_ref()
            .map_or(0, |(_, _, first)| first.position.generation);
        for (base, bytes) in halves {
            let later = |position: &Position| position.generation > chosen;
            if find_record(bytes, 0, later).is_some() {
                return Err(corrupt(
                    base,
                    0,
                    "the state that later edits follow is damaged",
                ));
            }
        }
        let found = match newest {
            None => None,
            Some((base, bytes, first)) => Some((
                base,
                Half::read(store, bytes, &first).map_err(|(at, why)| corrupt(base, at, why))?,
            )),
        };
        if let Some((_, half)) = found {
            manifest.measure = Measure::of(&half.state);
            manifest.state = half.state;
            manifest.generation = half.generation;
            manifest.number = half.number;
            manifest.sync_wanted = true;
        }
        Ok(manifest)
    }

    /// What the store consists of, with every edit that was appended.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Edits up to this one are durable.
    pub fn durable(&self) -> EditNumber {
        self.durable
    }

    /// The last edit appended.
    pub fn appended(&self) -> EditNumber {
        self.appended
    }

    /// Whether the file must be synced before anything else.
    pub fn wants_sync(&self) -> bool {
        self.sync_wanted
    }

    /// The file is durable as it was read.
    pub fn synced(&mut self) {
        self.sync_wanted = false;
    }

    /// Whether this opening's first state is durable: before that nothing else may leave the store.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// A table number that was never given out.
    pub fn allot_table(&mut self) -> TableNumber {
        let table = self.state.ledger.table_limit;
        self.state.ledger.table_limit = TableNumber(table.0 + 1);
        table
    }

    /// Files with smaller numbers exist, whatever the edits say.
    pub fn skip_tables(&mut self, limit: TableNumber) {
        let known = &mut self.state.ledger.table_limit;
        *known = (*known).max(limit);
    }

    /// The next sequence that is above everything in tables and edits.
    pub fn next_seq(&self) -> Seq {
        self.state.ledger.next_seq
    }

    /// Folds an edit in and queues it. Returns its number and the tables that no slice shows any more;
    /// their files may go when the edit is durable.
    pub fn append(
        &mut self,
        edit: &VersionEdit,
    ) -> Result<(EditNumber, Vec<Rc<TableRef>>), Refused> {
        let mut writer = Writer::default();
        writer.edit(edit);
        // A record of edits carries the table limit beside them.
        let (bytes, bytes_max) = (
            record::record_bytes(writer.0.len() + 16),
            self.half_bytes / 2,
        );
        if bytes > bytes_max {
            return Err(Refused::TooLarge { bytes, bytes_max });
        }
        // All of this is proportional to the edit and the slices, not to the regions: it happens
        // within a turn.
        let version = self.state.version_after(edit)?;
        let dropped = self.state.version.dropped(&version);
        let measure = self.measure.after(edit, &dropped);
        let ledger = &self.state.ledger;
        let state_bytes = measure.state_bytes(&version, ledger) + growth_bytes(ledger, edit);
        let bytes = record::record_bytes(state_bytes);
        let shrinks = edit.tables().is_empty();
        if bytes > self.half_bytes - BLOCK_BYTES * 2 && !shrinks {
            return Err(Refused::Full {
                bytes,
                bytes_max: self.half_bytes - BLOCK_BYTES * 2,
            });
        }
        self.state.follow(edit, Rc::new(version));
        self.measure = measure;
        self.appended.0 += 1;
        self.queue.push_back((self.appended, writer.0));
        Ok((self.appended, dropped))
    }

    /// The next write, if one is due and none is under way: where in the file, and both copies.
    pub fn next_write(&mut self) -> Option<(ManifestWrite, u64, Vec<u8>)> {
        let idle = self.in_flight.is_none() && !self.failed && !self.sync_wanted;
        if !idle || (self.queue.is_empty() && !self.state_wanted) {
            return None;
        }
        let mut writer = Writer::default();
        writer
            .0
            .extend_from_slice(&self.state.ledger.table_limit.0.to_le_bytes());
        let count = self.queue.len().min(EDITS_PER_WRITE_MAX);
        writer.count(count);
        let mut taken = 0;
        let room = self.half_bytes - self.at;
        for (_, edit) in self.queue.iter().take(count) {
            if record::record_bytes(writer.0.len() + edit.len()) > room {
                break;
            }
            writer.0.extend_from_slice(edit);
            taken += 1;
        }
        let (kind, upto) = if self.state_wanted || taken < count {
            // The state has all that is queued in it.
            let state = &self.state;
            let expected = self.measure.state_bytes(&state.version, &state.ledger);
            writer.0 = Vec::with_capacity(expected);
            writer.state(state);
            let written = writer.0.len();
            assert!(written <= expected, "a state longer than was counted");
            self.measure = Measure::of(&self.state);
            self.generation += 1;
            (self.at, self.previous) = (0, 0);
            self.state_wanted = false;
            self.queue.clear();
            (Kind::State, self.appended)
        } else {
            let upto = self.queue[taken - 1].0;
            self.queue.drain(..taken);
            (Kind::Edits, upto)
        };
        self.number += 1;
        let (store, generation, number, previous) =
            (self.store, self.generation, self.number, self.previous);
        let position = Position {
            store,
            generation,
            number,
            previous,
        };
        let (bytes, checksum) = record::encode(&position, kind, &writer.0);
        assert!(
            self.at + bytes.len() <= self.half_bytes,
            "a state fits a half"
        );
        let half = (self.generation % 2) as usize;
        let offset = (half * self.half_bytes + self.at) as u64;
        self.previous = checksum;
        self.at += bytes.len();
        let write = ManifestWrite(self.next_write);
        self.next_write += 1;
        let is_state = kind == Kind::State;
        self.in_flight = Some(InFlight {
            write,
            upto,
            is_state,
        });
        Some((write, offset, bytes))
    }

    /// A write is durable, and with it the edits in it.
    pub fn written(&mut self, write: ManifestWrite) {
        let in_flight = self.in_flight.take().expect("a write is under way");
        assert_eq!(in_flight.write, write, "one write is under way at a time");
        self.durable = in_flight.upto;
        self.open |= in_flight.is_state;
    }

    /// A write failed, whatever the reason: the manifest is final.
    pub fn write_failed(&mut self) {
        self.failed = true;
    }
}

/// What one half says.
struct Half {
    generation: u64,
    number: u64,
    state: State,
}

impl Half {
    /// The state that a half begins with, if one verifies there. Of a write that was cut, the second
    /// copy may stand behind the first copy of what was there before: the later one counts.
    fn first(store: u64, bytes: &[u8]) -> Option<record::Record<'_>> {
        let second = (BLOCK_BYTES..=bytes.len() / 2)
            .step_by(BLOCK_BYTES)
            .filter_map(|step| {
                record::decode(&bytes[step..])
                    .ok()
                    .filter(|record| record.copy_bytes == step)
            });
        record::decode(bytes)
            .ok()
            .into_iter()
            .chain(second)
            .filter(|record| record.position.store == store && record.position.previous == 0)
            .filter(|record| record.kind == Kind::State)
            .max_by_key(|record| record.position.generation)
    }

    /// Folds the edits behind the first record; the error says where it stops making sense.
    fn read(
        store: u64,
        bytes: &[u8],
        first: &record::Record<'_>,
    ) -> Result<Half, (usize, &'static str)> {
        let mut state = decode_state(first.body).map_err(|why| (0, why))?;
        let (generation, mut number) = (first.position.generation, first.position.number);
        let (mut previous, mut at) = (first.checksum, 2 * first.copy_bytes);
        loop {
            let expected = Position {
                store,
                generation,
                number: number + 1,
                previous,
            };
            match record::read_pair(bytes, at, |position| *position == expected) {
                Ok(record) => {
                    if record.kind != Kind::Edits {
                        return Err((at, "a state stands among edits"));
                    }
                    fold_all(&mut state, record.body).map_err(|why| (at, why))?;
                    number += 1;
                    previous = record.checksum;
                    at += 2 * record.copy_bytes;
                }
                Err(why) => {
                    let later = |position: &Position| {
                        position.generation == generation && position.number > number + 1
                    };
                    return match find_record(bytes, at, later) {
                        Some(_) => Err((at, why)),
                        None => Ok(Half {
                            generation,
                            number,
                            state,
                        }),
                    };
                }
            }
        }
    }
}

/// Where a record that verifies and fits stands, at or behind a place.
fn find_record(bytes: &[u8], from: usize, fits: impl Fn(&Position) -> bool) -> Option<usize> {
    let from = from.min(bytes.len());
    (from..bytes.len())
        .step_by(BLOCK_BYTES)
        .find(|at| record::decode(&bytes[*at..]).is_ok_and(|record| fits(&record.position)))
}

fn decode_state(body: &[u8]) -> Result<State, &'static str> {
    let mut reader = Reader(body);
    let state = reader.state()?;
    if reader.0.is_empty() {
        Ok(state)
    } else {
        Err("bytes are left behind the state")
    }
}

fn decode_edits(body: &[u8]) -> Result<(TableNumber, Vec<VersionEdit>), &'static str> {
    let Some((limit, rest)) = body.split_first_chunk::<8>() else {
        return Err("it ends within a field");
    };
    let mut reader = Reader(rest);
    let count = reader.count()?;
    let mut edits = Vec::new();
    for _ in 0..count {
        edits.push(reader.edit()?);
    }
    if !reader.0.is_empty() {
        return Err("bytes are left behind the edits");
    }
    Ok((TableNumber(u64::from_le_bytes(*limit)), edits))
}

fn fold_all(state: &mut State, body: &[u8]) -> Result<(), &'static str> {
    let (limit, edits) = decode_edits(body)?;
    state.ledger.table_limit = state.ledger.table_limit.max(limit);
    for edit in &edits {
        state
            .fold(edit)
            .map_err(|_| "an edit does not fit the state before it")?;
    }
    Ok(())
}
