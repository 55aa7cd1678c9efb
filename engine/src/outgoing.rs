//! A table file on its way to the disk: created, written, synced, or given up.
//!
//! ```text
//!            created           sealed, all written           synced
//!  Creating ─────────▶ Writing ──────────────────▶ Syncing ──────────▶ Durable
//!      │                  │                           │
//!      └────── failed, or abandoned by its owner ─────┴──▶ Leaving ──▶ Gone
//!                                                  (its effects come back; then it is removed)
//! ```
//!
//! Every arrow waits for the completion of what came before, so no order in which a driver carries
//! out effects can make a table durable before its bytes are, or remove it under a write. A table
//! fails alone: nothing refers to it before it is durable.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::effect::{Effect, Failure, Share, TableNumber};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Creating,
    Writing,
    Syncing,
    Durable,
    Leaving,
    Removing,
    Gone,
}

/// One table file that is being written.
#[derive(Debug)]
pub struct Outgoing {
    table: TableNumber,
    share: Share,
    state: State,
    /// Withheld: the file does not exist yet, or too much of it is in flight.
    waiting: VecDeque<(u64, Vec<u8>)>,
    /// Bytes in `waiting`.
    waiting_bytes: usize,
    /// Effects emitted and not yet answered.
    flying: u32,
    flying_bytes: usize,
    /// Lengths of the writes in flight, by offset.
    writes: Vec<(u64, usize)>,
    sealed: bool,
    /// The effect of the present state has been emitted.
    asked: bool,
    failure: Option<Failure>,
}

impl Outgoing {
    /// So many bytes of one table may be in flight at once.
    pub const FLYING_BYTES_MAX: usize = 1 << 20;

    /// A table to be written from its beginning.
    pub fn new(table: TableNumber, share: Share) -> Outgoing {
        Outgoing {
            table,
            share,
            state: State::Creating,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            flying: 0,
            flying_bytes: 0,
            writes: Vec::new(),
            sealed: false,
            asked: false,
            failure: None,
        }
    }

    /// Its number.
    pub fn table(&self) -> TableNumber {
        self.table
    }

    /// Somebody waits for it from now on.
    pub fn hurry(&mut self) {
        self.share = Share::Foreground;
    }

    /// Takes the next bytes of the file.
    pub fn write(&mut self, offset: u64, bytes: Vec<u8>) {
        assert!(!self.sealed, "a sealed table takes no more bytes");
        if !self.leaving() {
            self.waiting_bytes += bytes.len();
            self.waiting.push_back((offset, bytes));
        }
    }

    /// The file is complete as far as its writer is concerned.
    pub fn seal(&mut self) {
        self.sealed = true;
    }

    /// Whether its writer should go on making bytes.
    pub fn has_room(&self) -> bool {
        self.waiting_bytes + self.flying_bytes < Self::FLYING_BYTES_MAX
    }

    /// Bytes that it has been given and has not asked to be written.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Whether bytes and name are durable.
    pub fn is_durable(&self) -> bool {
        self.state == State::Durable
    }

    /// Whether all bytes are in the file, durable or not.
    pub fn is_written(&self) -> bool {
        matches!(self.state, State::Syncing | State::Durable)
    }

    /// Whether its owner or the world has given it up.
    pub fn is_leaving(&self) -> bool {
        self.leaving()
    }

    /// Whether the file is gone and nothing of it is in flight.
    pub fn is_gone(&self) -> bool {
        self.state == State::Gone
    }

    /// Why it failed, if it did.
    pub fn failure(&self) -> Option<Failure> {
        self.failure
    }

    /// Its owner has no more use for it: it is removed as soon as nothing of it is in flight.
    pub fn abandon(&mut self) {
        if !self.leaving() {
            self.enter(State::Leaving);
        }
        self.waiting.clear();
        self.waiting_bytes = 0;
    }

    /// Emits what may be done now.
    pub fn flush_effects(&mut self, effects: &mut Vec<Effect>) {
        let (table, share) = (self.table, self.share);
        match self.state {
            State::Creating => self.ask(effects, Effect::CreateTable { table }),
            State::Writing => self.flush_writes(effects),
            State::Syncing => self.ask(effects, Effect::SyncTable { table, share }),
            State::Leaving if self.flying == 0 => {
                self.enter(State::Removing);
                self.ask(effects, Effect::RemoveTable { table });
            }
            State::Durable | State::Leaving | State::Removing | State::Gone => {}
        }
    }

    /// Answers [`Effect::CreateTable`].
    pub fn on_created(&mut self, outcome: Result<(), Failure>) {
        self.answer(outcome);
        if self.state == State::Creating {
            self.enter(State::Writing);
        }
    }

    /// Answers [`Effect::WriteTable`].
    pub fn on_written(&mut self, offset: u64, outcome: Result<(), Failure>) {
        let place = self.writes.iter().position(|(start, _)| *start == offset);
        let (_, length) = self
            .writes
            .swap_remove(place.expect("a write that is in flight"));
        self.flying_bytes -= length;
        self.answer(outcome);
    }

    /// Answers [`Effect::SyncTable`].
    pub fn on_synced(&mut self, outcome: Result<(), Failure>) {
        self.answer(outcome);
        if self.state == State::Syncing {
            self.enter(State::Durable);
        }
    }

    /// Answers [`Effect::RemoveTable`]; a file that could not be removed is an orphan that the next
    /// opening removes.
    pub fn on_removed(&mut self) {
        self.flying -= 1;
        assert_eq!(self.state, State::Removing);
        self.enter(State::Gone);
    }

    fn flush_writes(&mut self, effects: &mut Vec<Effect>) {
        while self.flying_bytes < Self::FLYING_BYTES_MAX
            && let Some((offset, bytes)) = self.waiting.pop_front()
        {
            self.waiting_bytes -= bytes.len();
            self.flying_bytes += bytes.len();
            self.writes.push((offset, bytes.len()));
            self.flying += 1;
            effects.push(Effect::WriteTable {
                table: self.table,
                offset,
                bytes,
                share: self.share,
            });
        }
        if self.sealed && self.waiting.is_empty() && self.flying == 0 {
            self.enter(State::Syncing);
            self.flush_effects(effects);
        }
    }

    fn ask(&mut self, effects: &mut Vec<Effect>, effect: Effect) {
        if !self.asked {
            self.asked = true;
            self.flying += 1;
            effects.push(effect);
        }
    }

    fn answer(&mut self, outcome: Result<(), Failure>) {
        self.flying -= 1;
        if let Err(failure) = outcome {
            self.failure.get_or_insert(failure);
            self.abandon();
        }
    }

    fn leaving(&self) -> bool {
        matches!(self.state, State::Leaving | State::Removing | State::Gone)
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.asked = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const TABLE: TableNumber = TableNumber(7);

    fn emitted(outgoing: &mut Outgoing) -> Vec<Effect> {
        let mut effects = Vec::new();
        outgoing.flush_effects(&mut effects);
        effects
    }

    fn write_effect(offset: u64, length: usize) -> Effect {
        Effect::WriteTable {
            table: TABLE,
            offset,
            bytes: vec![1; length],
            share: Share::Background,
        }
    }

    #[test]
    fn each_stage_waits_for_the_one_before() {
        let mut outgoing = Outgoing::new(TABLE, Share::Background);
        outgoing.write(0, vec![1; 4096]);
        outgoing.write(4096, vec![1; 4096]);
        outgoing.seal();
        assert_eq!(
            emitted(&mut outgoing),
            [Effect::CreateTable { table: TABLE }]
        );
        assert_eq!(emitted(&mut outgoing), []);
        outgoing.on_created(Ok(()));
        let writes = [write_effect(0, 4096), write_effect(4096, 4096)];
        assert_eq!(emitted(&mut outgoing), writes);
        outgoing.on_written(4096, Ok(()));
        assert_eq!(emitted(&mut outgoing), []);
        outgoing.on_written(0, Ok(()));
        let sync = Effect::SyncTable {
            table: TABLE,
            share: Share::Background,
        };
        assert_eq!(emitted(&mut outgoing), [sync]);
        assert!(!outgoing.is_durable());
        outgoing.on_synced(Ok(()));
        assert!(outgoing.is_durable());
        assert_eq!(emitted(&mut outgoing), []);
    }

    #[test]
    fn a_failed_table_is_removed_once_nothing_of_it_is_in_flight() {
        let mut outgoing = Outgoing::new(TABLE, Share::Background);
        outgoing.write(0, vec![1; 4096]);
        outgoing.write(4096, vec![1; 4096]);
        emitted(&mut outgoing);
        outgoing.on_created(Ok(()));
        emitted(&mut outgoing);
        outgoing.on_written(0, Err(Failure::NoSpace));
        assert_eq!(outgoing.failure(), Some(Failure::NoSpace));
        outgoing.write(8192, vec![1; 4096]);
        assert_eq!(emitted(&mut outgoing), [], "a write is still in flight");
        outgoing.on_written(4096, Ok(()));
        assert_eq!(
            emitted(&mut outgoing),
            [Effect::RemoveTable { table: TABLE }]
        );
        assert!(!outgoing.is_gone());
        outgoing.on_removed();
        assert!(outgoing.is_gone());
        assert_eq!(emitted(&mut outgoing), []);
    }

    #[test]
    fn what_is_in_flight_is_bounded() {
        let mut outgoing = Outgoing::new(TABLE, Share::Background);
        let chunk = Outgoing::FLYING_BYTES_MAX / 4;
        for number in 0..8 {
            outgoing.write((number * chunk) as u64, vec![1; chunk]);
        }
        assert!(!outgoing.has_room());
        emitted(&mut outgoing);
        outgoing.on_created(Ok(()));
        assert_eq!(emitted(&mut outgoing).len(), 4);
        outgoing.on_written(0, Ok(()));
        assert_eq!(emitted(&mut outgoing).len(), 1);
    }

    #[test]
    fn a_durable_table_that_is_abandoned_goes() {
        let mut outgoing = Outgoing::new(TABLE, Share::Background);
        outgoing.seal();
        emitted(&mut outgoing);
        outgoing.on_created(Ok(()));
        emitted(&mut outgoing);
        outgoing.on_synced(Ok(()));
        outgoing.abandon();
        assert_eq!(
            emitted(&mut outgoing),
            [Effect::RemoveTable { table: TABLE }]
        );
    }
}
