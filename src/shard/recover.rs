//! From a recovered log and store to peers: the replay.
//!
//! ```text
//! each region:  checkpoint ──entries known to be committed──▶ applied ──the rest──▶ kept in memory
//!                                                                       ─▶ a peer
//! ```
//!
//! A region starts where the tables hold it, with the clock of that moment, and applies what is known to
//! be committed: by its hard state, its meta or its checkpoint. A change of peers or range that the meta
//! covers is passed over; the first one that it does not cover is left to raft, and everything behind
//! it. Regions are disjoint, so their order does not matter.

use std::collections::VecDeque;

use coracle_engine::effect::TableNumber;
use coracle_wal as wal;
use coracle_wal::fetch::{Answer, Fetched};
use raft::eraftpb::HardState;

use super::core::Core;
use super::entry;
use super::ids::{Index, PeerId, RegionId, Term};
use super::machine::{Machine, Waits, is_refusal};
use super::meta::{Meta, State, decode_hard_state};
use super::observe::Observation;
use super::peer::{Peer, READS_REFUSED_MAX, Stage};
use super::restore::Restoring;

/// Where the log of a new region begins: above zero, so that a peer without anything can be told.
pub const INITIAL_INDEX: u64 = 5;

/// The term of a region before its first election.
pub const INITIAL_TERM: u64 = 5;

/// Bytes of entries that one step of the replay fetches.
const FETCH_BYTES: u64 = 1 << 20;

/// What the log says of a region.
#[derive(Debug)]
struct Found {
    region: RegionId,
    meta: Option<Meta>,
    hard: Option<(PeerId, HardState)>,
}

/// A region whose entries are being applied again.
#[derive(Debug)]
struct Current {
    machine: Machine,
    meta: Meta,
    hard: HardState,
    /// Entries up to here are known to be committed.
    commit: u64,
    /// The next entry to be fetched.
    next: u64,
    last: u64,
    fetching: Option<wal::ReadToken>,
    /// Entries that are left to raft.
    tail: Vec<wal::Entry>,
    /// A change of peers or range that the meta does not cover stands in front.
    stopped: bool,
    /// What cannot be read: the region is not served here, and the others are.
    unreadable: Option<String>,
    refused_reads: u32,
}

/// The replay.
#[derive(Debug)]
pub struct Replay {
    left: VecDeque<Found>,
    current: Option<Current>,
    /// Tables of interrupted snapshots.
    spared: Vec<TableNumber>,
}

/// What a step of the replay came to.
#[derive(Debug)]
pub enum Replayed {
    /// A region is ready.
    Peer(Box<Peer>),
    /// A region is gone for ever.
    Grave(Meta),
    /// A peer without content has promised something; it is here again when somebody speaks to it.
    Promise(RegionId, PeerId, HardState),
    /// It goes on.
    More,
    /// It waits for the disk.
    Waits,
    /// It is over; the tables that interrupted snapshots will bring in.
    Over(Vec<TableNumber>),
    /// What the log says of a region cannot be understood.
    Malformed(String),
}

impl Replay {
    /// Looks at what the log knows.
    pub fn new(core: &Core) -> Result<Replay, String> {
        let log = core.log.borrow();
        let mut left = VecDeque::new();
        for id in log.regions() {
            let region = RegionId(id.0);
            let malformed = |malformed| format!("region {region}: {malformed}");
            let meta = log
                .meta(id)
                .map(|bytes| Meta::decode(bytes))
                .transpose()
                .map_err(malformed)?;
            let hard = log.hard_state(id).map(|bytes| decode_hard_state(bytes));
            let hard = hard.transpose().map_err(malformed)?;
            left.push_back(Found { region, meta, hard });
        }
        Ok(Replay {
            left,
            current: None,
            spared: Vec::new(),
        })
    }

    /// The log has read something.
    pub fn on_read(&mut self, token: wal::ReadToken, answer: Answer, refused: bool) {
        let Some(current) = &mut self.current else {
            return;
        };
        if current.fetching != Some(token) {
            return;
        }
        current.fetching = None;
        match answer {
            Answer::Entries(_, entries) => {
                current.refused_reads = 0;
                current.take(entries);
            }
            Answer::Stale(_) => {}
            Answer::Damaged(_, corrupt) => {
                current.failed(refused, || format!("its log: {corrupt}"))
            }
        }
    }

    /// A bounded step.
    pub fn step(&mut self, core: &mut Core) -> Replayed {
        let Some(current) = &mut self.current else {
            return match self.left.pop_front() {
                None => Replayed::Over(std::mem::take(&mut self.spared)),
                Some(found) => self.begin(core, found),
            };
        };
        match current.step(core) {
            Ok(Stepped::Waits) => Replayed::Waits,
            Ok(Stepped::More) => Replayed::More,
            Ok(Stepped::Done) => {
                let current = self.current.take().expect("just seen");
                Replayed::Peer(Box::new(current.finish(core)))
            }
            Err(why) => Replayed::Malformed(why),
        }
    }

    fn begin(&mut self, core: &mut Core, found: Found) -> Replayed {
        let Found { region, meta, hard } = found;
        let dead = match &meta {
            None => PeerId(0),
            Some(meta) if meta.state == State::Tombstone => meta.peer,
            Some(_) => return self.begin_live(core, meta.expect("just seen"), hard),
        };
        if let Some((peer, hard)) = hard.filter(|(peer, _)| *peer > dead) {
            return Replayed::Promise(region, peer, hard);
        }
        match meta {
            Some(meta) => Replayed::Grave(meta),
            None => Replayed::More,
        }
    }

    fn begin_live(
        &mut self,
        core: &mut Core,
        meta: Meta,
        hard: Option<(PeerId, HardState)>,
    ) -> Replayed {
        let id = meta.region.id;
        let checkpoint = core.store.checkpoint(id.in_store(), meta.peer.in_store());
        let mut hard = match hard {
            Some((peer, hard)) if peer == meta.peer => hard,
            _ => HardState::default(),
        };
        let (start, clock) = match (&meta.state, checkpoint) {
            (State::Applying { tables }, _) => {
                self.spared
                    .extend(tables.iter().map(|table| TableNumber(*table)));
                (meta.applied.0, meta.clock)
            }
            (_, Some(checkpoint)) => (checkpoint.index.0, checkpoint.clock.0),
            (_, None) => (INITIAL_INDEX, meta.born),
        };
        let mut log = core.log.borrow_mut();
        log.applied(id.in_log(), start);
        if !matches!(meta.state, State::Applying { .. }) {
            log.checkpointed(id.in_log(), start);
        }
        let last = log.last_index(id.in_log()).unwrap_or(0);
        drop(log);
        if last < meta.applied.0 || last < start {
            let why = format!("region {id}: the log ends at {last}, before what was applied");
            return Replayed::Malformed(why);
        }
        let commit = hard.commit.max(meta.applied.0).max(start).min(last);
        hard.commit = commit;
        let (region, peer) = (id, meta.peer);
        core.observe(|| Observation::Replays {
            region,
            peer,
            index: Index(start),
        });
        let mut machine = Machine::new(meta.region.clone(), meta.peer, Index(start), clock);
        machine.mutant = core.options.mutant;
        machine.born = meta.born;
        let stopped = matches!(meta.state, State::Applying { .. });
        self.current = Some(Current {
            machine,
            meta,
            hard,
            commit,
            next: start + 1,
            last,
            fetching: None,
            tail: Vec::new(),
            stopped,
            unreadable: None,
            refused_reads: 0,
        });
        Replayed::More
    }
}

enum Stepped {
    Done,
    More,
    Waits,
}

impl Current {
    fn take(&mut self, entries: Vec<wal::Entry>) {
        for entry in entries {
            assert_eq!(entry.index, self.next, "entries come in order");
            self.next += 1;
            if self.stopped || entry.index > self.commit || !self.tail.is_empty() {
                self.tail.push(entry);
                continue;
            }
            let raft = entry::to_raft(entry.clone());
            if entry::changes_region(&raft) && entry.index > self.meta.applied.0 {
                self.stopped = true;
                self.tail.push(entry);
                continue;
            }
            self.machine.push(vec![raft]);
        }
    }

    /// Something could not be read: it is read again, unless that is of no use.
    fn failed(&mut self, refused: bool, why: impl FnOnce() -> String) {
        self.refused_reads += 1;
        if !refused || self.refused_reads >= READS_REFUSED_MAX {
            self.unreadable = Some(why());
        }
    }

    /// A bounded step. A rotation may follow any of them, so each ends with telling the store how far
    /// this region is: or tables would hold what the next replay applies again.
    fn step(&mut self, core: &mut Core) -> Result<Stepped, String> {
        let before = self.machine.applied;
        if self.unreadable.is_some() {
            return Ok(Stepped::Done);
        }
        let stepped = self.step_on(core);
        if self.machine.applied > before {
            core.store.advance(
                self.machine.region.id.in_store(),
                self.machine.peer.in_store(),
                self.machine.applied.in_store(),
                coracle_engine::progress::Clock(self.machine.clock),
            );
        }
        stepped
    }

    fn step_on(&mut self, core: &mut Core) -> Result<Stepped, String> {
        for _ in 0..core.limits().apply_entries {
            let (region, peer) = (self.machine.region.id, self.machine.peer);
            let front = self.machine.queue.front().filter(|_| core.options.observe);
            let seen = front.map(|front| Observation::Applied {
                region,
                peer,
                index: Index(front.index),
                term: Term(front.term),
                checksum: entry::checksum(front),
            });
            match self.machine.apply(&mut core.store, None) {
                Ok(_) => core.observations.extend(seen),
                Err(Waits::Empty) => return self.fetch(core),
                Err(Waits::Blocks) => return Ok(Stepped::Waits),
                // Covered by the meta.
                Err(Waits::PeerChange) => {
                    core.observations.extend(seen);
                    self.machine.pass();
                }
                Err(Waits::Split(time_ms)) => {
                    core.observations.extend(seen);
                    self.machine.pass_at(time_ms);
                }
                Err(Waits::Unreadable(error)) => {
                    let why = || format!("a block cannot be had in a replay: {error:?}");
                    self.failed(is_refusal(&error), why);
                    return Ok(Stepped::More);
                }
                Err(Waits::Malformed(why)) => {
                    return Err(format!("region {}: {why}", self.machine.region.id));
                }
            }
        }
        Ok(Stepped::More)
    }

    fn fetch(&mut self, core: &mut Core) -> Result<Stepped, String> {
        if self.fetching.is_some() {
            return Ok(Stepped::Waits);
        }
        if self.next > self.last {
            return Ok(Stepped::Done);
        }
        let region = self.machine.region.id;
        let fetched =
            core.log
                .borrow_mut()
                .fetch(region.in_log(), self.next, self.last + 1, FETCH_BYTES);
        match fetched {
            Ok(Fetched::Ready(entries)) => {
                self.take(entries);
                Ok(Stepped::More)
            }
            Ok(Fetched::Pending(token)) => {
                self.fetching = Some(token);
                Ok(Stepped::Waits)
            }
            Err(why) => Err(format!(
                "region {region}: entry {} is gone: {why:?}",
                self.next
            )),
        }
    }

    fn finish(self, core: &mut Core) -> Peer {
        let region = self.machine.region.id;
        let applied = self.machine.applied;
        let mut log = core.log.borrow_mut();
        if self.unreadable.is_none() {
            log.keep(region.in_log(), &self.tail);
        }
        log.applied(region.in_log(), applied.0);
        drop(log);
        let mut peer = Peer::new(core, self.machine, self.hard, true);
        if peer.region().peer(peer.id).is_none() {
            peer.stage = Stage::Leaving;
        }
        if let State::Applying { tables } = self.meta.state {
            let clock = peer.machine.clock;
            let restoring = Restoring::interrupted(self.meta.region, clock, tables);
            peer.stage = Stage::Restoring(Box::new(restoring));
        }
        if let Some(why) = self.unreadable {
            peer.quarantine(core, why);
        }
        peer
    }
}
