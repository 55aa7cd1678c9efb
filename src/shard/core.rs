//! What all peers of a shard share: the log, the state store, the way out.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use coracle_engine::store::Store;
use coracle_wal as wal;

use super::chance::Chance;
use super::door::{Effect, Report};
use super::error::Error;
use super::ids::{Incarnation, RegionId, RequestId, StoreId};
use super::limits::Limits;
use super::machine::Outcomes;
use super::message::{Beat, PeerMessage, StreamId};
use super::mutant::Mutant;
use super::neighbours::Neighbours;
use super::observe::Observation;
use super::options::ShardOptions;
use super::pace::Pace;
use super::pause::SplitFigures;
use super::propose::Gate;
use super::request::{Answer, Response};
use super::restore::Receiving;
use super::snapshot::Sending;
use super::split_check::Verdict;
use super::time::Time;
use crate::placement;

/// What a batch of the log releases when it is durable.
#[derive(Debug)]
pub struct Release {
    /// The batch.
    pub lsn: wal::Lsn,
    /// Whose.
    pub region: RegionId,
    /// Raft's number of what is durable then; none: the peer just goes on.
    pub ready: Option<u64>,
    /// What may leave then.
    pub messages: Vec<PeerMessage>,
}

/// What all peers of a shard share.
#[derive(Debug)]
pub struct Core {
    /// Who this is.
    pub options: ShardOptions,
    /// The time of the input in hand.
    pub now: Time,
    /// When this life of the shard began.
    pub begun: u64,
    /// Ticks so far.
    pub ticks: u64,
    /// The log.
    pub log: Rc<RefCell<wal::Log>>,
    /// The state store.
    pub store: Store,
    /// What the world should do.
    pub effects: Vec<Effect>,
    /// Election timeouts.
    pub chance: Chance,
    /// What waits for batches, in the order of their lsn.
    pub releases: VecDeque<Release>,
    /// Lives so far.
    pub incarnations: u64,
    /// Bytes proposed and not applied, over all regions.
    pub proposed_bytes: u64,
    /// Counts turns, the one that begins included.
    pub turns: u64,
    /// Bytes of values told in this turn.
    pub told_bytes: usize,
    /// Bytes of entries that were taken from leaders since the last turn.
    pub admitted: u64,
    /// What may be admitted, as looked up last.
    pub gate: Gate,
    /// Reads that wait, over all regions.
    pub reads_waiting: usize,
    /// Counts attempts to confirm reads.
    pub attempts: u64,
    /// For checkers.
    pub observations: Vec<Observation>,
    /// Regions that need the memtable to be rotated before they go on.
    pub rotation_wanted: bool,
    /// Regions whose ranges or states changed since ownership was last told to the store.
    pub ownership_changed: bool,
    /// Placement or an operator wants leaderships gone.
    pub draining: bool,
    /// The shard has stopped for good.
    pub stopped: bool,
    /// Snapshots that are being sent.
    pub sending: BTreeMap<StreamId, Sending>,
    /// How fast they may leave.
    pub pace: Pace,
    /// Snapshots that are being received.
    pub receiving: BTreeMap<RegionId, Receiving>,
    /// Counts snapshots.
    pub streams: u64,
    /// What peers here have to say to placement, since the last turn.
    pub to_placement: Vec<placement::Message>,
    /// What peers here have to say in a few numbers, by store, since the last turn.
    pub beats: BTreeMap<StoreId, Vec<Beat>>,
    /// The stores on whose life quiet peers here rely.
    pub neighbours: Neighbours,
    /// Somebody here is at the end of its way out.
    pub burials: bool,
    /// Answers to the shard's own requests, since the last turn.
    pub own: Vec<(RequestId, Response)>,
    /// Regions that are being split here.
    pub dividing: BTreeSet<RegionId>,
    /// Regions that should be split, as of this tick.
    pub splits_wanted: Vec<(RegionId, Verdict)>,
    /// What splits came to.
    pub splits: SplitFigures,
    /// Counts questions to placement by peers, over numbers that no other life uses.
    pub questions: u64,
    /// Counts the shard's own requests.
    pub own_requests: u64,
    /// Keys written by clients of this shard, since it started.
    pub written_keys: u64,
    /// What the writes of the entry in hand came to; empty between two entries.
    pub outcomes: Outcomes,
    /// The entries on their way into the log; empty between two readies.
    pub stored: Vec<wal::Entry>,
}

impl Core {
    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.options.limits
    }

    /// This store.
    pub fn me(&self) -> StoreId {
        self.options.store
    }

    /// Whether a rule is broken on purpose.
    pub fn breaks(&self, mutant: Mutant) -> bool {
        self.options.mutant == mutant
    }

    /// An election's least time.
    pub fn election(&self) -> u64 {
        self.limits().election_ticks as u64 * self.limits().tick
    }

    /// For how long a peer that hears its leader elects nobody else; where nobody trusts a lease, nobody relies on it.
    pub fn promise(&self) -> u64 {
        match self.limits().lease {
            0 => 0,
            _ => self.election(),
        }
    }

    /// A new life.
    pub fn incarnate(&mut self) -> Incarnation {
        self.incarnations += 1;
        Incarnation(self.incarnations)
    }

    /// Everything up to here is durable in the log.
    pub fn durable(&self) -> wal::Lsn {
        self.log.borrow().durable_lsn()
    }

    /// Sends to another shard, or to this one's own peers never.
    pub fn send(&mut self, to: StoreId, message: PeerMessage) {
        let message = Box::new(message);
        self.effects.push(Effect::Send { to, message });
    }

    /// Answers a request.
    pub fn respond(&mut self, to: RequestId, response: Response) {
        if to >= RequestId::FIRST_OWN {
            return self.own.push((to, response));
        }
        self.effects.push(Effect::Respond { to, response });
    }

    /// A name for a request of the shard itself.
    pub fn own_request(&mut self) -> RequestId {
        self.own_requests += 1;
        RequestId(RequestId::FIRST_OWN.0 + self.own_requests)
    }

    /// Whether placement is told of anything.
    pub fn is_placed(&self) -> bool {
        self.options.limits.store_beat_ticks > 0
    }

    /// Refuses a request.
    pub fn refuse(&mut self, to: RequestId, error: Error) {
        self.respond(to, Err(error));
    }

    /// Answers a request with a value.
    pub fn answer(&mut self, to: RequestId, answer: Answer) {
        self.respond(to, Ok(answer));
    }

    /// Tells a checker, where there is one.
    pub fn observe(&mut self, observation: impl FnOnce() -> Observation) {
        if self.options.observe {
            self.observations.push(observation());
        }
    }

    /// Ends the shard for good.
    pub fn stop(&mut self, why: String) {
        if !self.stopped {
            self.stopped = true;
            self.effects.push(Effect::Report(Report::Stopped(why)));
        }
    }

    /// Whether the log takes a meta and a hard state of any size. Where even its reserve is used up, as on
    /// a full disk, whoever wants to write one waits for a later tick.
    pub fn has_room_for_state(&self) -> bool {
        self.log.borrow().has_room_in_reserve(16 << 10, 4)
    }

    /// The same for a meta that lets go of entries: it goes into what an opening has begun of the last segments,
    /// too, which nothing else may.
    pub fn has_room_to_let_go(&self) -> bool {
        self.log.borrow().has_room_for_states(16 << 10, 4)
    }

    /// Writes a peer's meta; nothing that depends on it happens before the returned batch is durable.
    pub fn write_meta(
        &mut self,
        meta: &super::meta::Meta,
        truncated: (u64, u64),
        reset: bool,
    ) -> wal::Lsn {
        let record = wal::MetaRecord {
            truncated,
            reset,
            tombstone: meta.state == super::meta::State::Tombstone,
            payload: meta.encode(),
        };
        let mut log = self.log.borrow_mut();
        let written = log.set_meta(meta.region.id.in_log(), record);
        let lsn = log.last_lsn();
        drop(log);
        if let Err(refused) = written {
            self.stop(format!(
                "a meta of region {} was refused: {refused}",
                meta.region.id
            ));
        }
        lsn
    }

    /// A batch releases something in the turn in which it is durable, or the next one, if it is already.
    pub fn release(&mut self, release: Release) {
        let is_last = |last: &Release| last.lsn <= release.lsn;
        if self.releases.back().is_none_or(is_last) {
            return self.releases.push_back(release);
        }
        let place = self
            .releases
            .partition_point(|other| other.lsn <= release.lsn);
        self.releases.insert(place, release);
    }
}
