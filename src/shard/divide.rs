//! How a split takes effect on a replica, which stops applying in front of it:
//!
//! ```text
//! what was applied so far is rotated ─▶ in tables, durably
//!   ─▶ one batch of the log: the left part's meta, and meta and hard state of every new region
//!   ─▶ durable: ranges change, the new peers are here; where the old region is led, they campaign
//! ```
//!
//! So no replay ever crosses the change of ranges: what the new regions inherit lies in tables before
//! anything says that they are there. A power cut before the batch leaves the old region and its entry,
//! which is applied again; after it, the new ones.
//!
//! **A peer of a new region may have been here before the split**, as a voter without content: it keeps
//! its term and its vote. One that is gone from here already does not come back: what it would own is cut.

use std::collections::VecDeque;

use coracle_engine::progress::Rotation;
use coracle_engine::record::KeyRange;
use coracle_wal as wal;
use raft::eraftpb::HardState;

use super::brain::Shard;
use super::core::{Core, Release};
use super::entry;
use super::ids::{Index, RegionId, StoreId, Term};
use super::machine::Machine;
use super::message::RaftMessage;
use super::meta::{Meta, State, encode_hard_state};
use super::mutant::Mutant;
use super::observe::Observation;
use super::peer::{Changing, Peer, Stage};
use super::recover::{INITIAL_INDEX, INITIAL_TERM};
use super::region::{PeerInfo, Region};
use super::request::Answer;

/// Messages for peers that are not here yet, at the most.
const EARLY_MAX: usize = 20;

/// How far a split is on this replica.
#[derive(Debug)]
enum Step {
    /// The memtable is to be rotated.
    Freeze,
    /// What was applied so far is on its way into tables.
    Checkpoint(Rotation),
    /// The metas are on their way.
    Written(wal::Lsn, Vec<Birth>),
}

/// A split in front of a region's queue.
#[derive(Debug)]
pub struct Dividing {
    step: Step,
    index: Index,
    time_ms: u64,
    left: Region,
    parts: Vec<Region>,
}

impl Dividing {
    /// Whether it can no longer be stopped.
    pub fn is_written(&self) -> bool {
        matches!(self.step, Step::Written(..))
    }
}

/// A peer that a split makes here.
#[derive(Debug)]
struct Birth {
    region: Region,
    info: PeerInfo,
    hard: HardState,
    /// It was here before, and may have promised to elect nobody for a while.
    promised: bool,
}

impl Birth {
    fn meta(&self, clock: u64) -> Meta {
        Meta {
            peer: self.info.peer,
            applied: Index(INITIAL_INDEX),
            clock,
            born: clock,
            region: self.region.clone(),
            state: State::Normal,
        }
    }
}

/// Messages that may matter once a region is here: votes for a peer that a split is about to make.
#[derive(Debug, Default)]
pub struct Early(VecDeque<(StoreId, RaftMessage)>);

impl Early {
    /// Keeps a message; an older one of the same peers goes.
    pub fn keep(&mut self, from: StoreId, message: RaftMessage) {
        let same = |other: &RaftMessage| {
            (other.region, other.from.peer, other.to.peer)
                == (message.region, message.from.peer, message.to.peer)
        };
        self.0.retain(|(_, other)| !same(other));
        if self.0.len() == EARLY_MAX {
            self.0.pop_front();
        }
        self.0.push_back((from, message));
    }

    fn take(&mut self, region: RegionId) -> Vec<(StoreId, RaftMessage)> {
        let of = |message: &RaftMessage| message.region == region;
        let (taken, left) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(_, message)| of(message));
        self.0 = left;
        Vec::from(taken as VecDeque<_>)
    }
}

impl Peer {
    /// A split is in front. Returns whether it is dealt with already.
    pub fn apply_split(&mut self, core: &mut Core) -> bool {
        let front = self.machine.queue.front().expect("a split in front");
        let (index, payload) = (Index(front.index), front.data.clone());
        let Ok((epoch, time_ms, split)) = entry::split_of(&payload) else {
            self.quarantine(core, format!("entry {index} cannot be understood"));
            return false;
        };
        match split.apply(epoch, self.region()) {
            Ok((left, parts)) => {
                self.changing = Some(Changing::Split(Box::new(Dividing {
                    step: Step::Freeze,
                    index,
                    time_ms,
                    left,
                    parts,
                })));
                core.dividing.insert(self.region_id());
                false
            }
            Err(_) => {
                // The same on every replica: nothing changes.
                self.observe_front(core);
                self.machine.pass_at(time_ms);
                let error = self.epoch_error();
                self.answer(core, index, |_| Err(error.clone()));
                true
            }
        }
    }

    /// The memtable was rotated, with all that a split waits for.
    pub fn rotated_for_split(&mut self, rotation: Rotation) {
        if let Some(Changing::Split(dividing)) = &mut self.changing
            && matches!(dividing.step, Step::Freeze)
        {
            dividing.step = Step::Checkpoint(rotation);
        }
    }

    /// A split that is not written does not happen here: the peer goes, or is at its end.
    pub fn stop_changing(&mut self) {
        let written = |changing: &Changing| match changing {
            Changing::Split(dividing) => dividing.is_written(),
            Changing::Peers(_) => false,
        };
        self.changing.take_if(|changing| !written(changing));
    }
}

impl Shard {
    /// Splits go on: in the middle of a turn, when everything is applied that can be.
    pub(super) fn divide(&mut self) {
        for region in std::mem::take(&mut self.core.dividing) {
            if self.divide_region(region) {
                self.core.dividing.insert(region);
            }
        }
    }

    /// Whether the split goes on.
    fn divide_region(&mut self, region: RegionId) -> bool {
        let Some(peer) = self.peers.get_mut(&region) else {
            return false;
        };
        let Some(Changing::Split(dividing)) = &mut peer.changing else {
            return false;
        };
        match dividing.step {
            Step::Freeze if self.core.breaks(Mutant::NoCheckpoint) => self.write_split(region),
            Step::Freeze => self.core.rotation_wanted = true,
            Step::Checkpoint(rotation) if self.core.store.is_durable(rotation) => {
                self.write_split(region);
            }
            Step::Written(lsn, _) if lsn <= self.core.durable() => {
                self.finish_split(region);
                return false;
            }
            _ => {}
        }
        true
    }

    /// What a new region's peer here begins with; none if it does not come to be here.
    fn birth(&self, region: &Region) -> Option<Birth> {
        let info = *region.on_store(self.core.me())?;
        let buried = self.graves.get(&region.id).map(|(peer, _)| *peer);
        let mut birth = Birth {
            region: region.clone(),
            info,
            hard: HardState::default(),
            promised: false,
        };
        let resurrects = self.core.breaks(Mutant::ResurrectChild);
        if buried.is_some_and(|buried| info.peer <= buried) && !resurrects {
            return None;
        }
        let promised = self.promises.get(&region.id);
        match (self.peers.get(&region.id), promised) {
            (Some(here), _) => {
                assert!(
                    !here.is_initialized(),
                    "region {region} has content here, and is to be split off"
                );
                if here.id != info.peer || matches!(here.stage, Stage::Destroying(_)) {
                    // A later peer waits for a snapshot; one on its way out goes on going.
                    return None;
                }
                birth.hard = here.node.raft.hard_state();
                birth.promised = true;
            }
            (None, Some((peer, _))) if *peer > info.peer => return None,
            (None, Some((peer, hard))) if *peer == info.peer => {
                birth.hard = hard.clone();
                birth.promised = true;
            }
            (None, _) => {}
        }
        if birth.hard.term < INITIAL_TERM {
            birth.hard.term = INITIAL_TERM;
            birth.hard.vote = 0;
        }
        birth.hard.commit = INITIAL_INDEX;
        Some(birth)
    }

    /// The metas join one batch, as soon as the log takes them.
    fn write_split(&mut self, id: RegionId) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let Some(Changing::Split(dividing)) = &peer.changing else {
            return;
        };
        let births: Vec<Birth> = dividing
            .parts
            .iter()
            .filter_map(|part| self.birth(part))
            .collect();
        let clock = peer.machine.clock.max(dividing.time_ms);
        let mut meta = peer.meta(State::Normal);
        meta.applied = dividing.index;
        meta.clock = clock;
        meta.region = dividing.left.clone();
        let stored = |birth: &Birth| birth.meta(clock).encode().len() + 64;
        let bytes = meta.encode().len() + births.iter().map(stored).sum::<usize>();
        let states = 1 + 2 * births.len();
        if !self.core.log.borrow().has_room_in_reserve(bytes, states) {
            return;
        }
        self.core.log.borrow_mut().keep_together(bytes, states);
        let peer = self.peers.get_mut(&id).expect("just seen");
        let truncated = peer.truncated(&self.core);
        let mut lsn = self.core.write_meta(&meta, truncated, false);
        peer.last_lsn = lsn;
        if !self.core.breaks(Mutant::ChildApart) {
            for birth in &births {
                lsn = self.core.write_birth(birth, clock);
            }
        }
        for birth in &births {
            // Its promises are in the batch. Whatever it still waits for is answered by nobody.
            self.peers.remove(&birth.region.id);
            self.promises.remove(&birth.region.id);
        }
        self.core.release(Release {
            lsn,
            region: id,
            ready: None,
            messages: Vec::new(),
        });
        self.with(id, |peer, _| {
            if let Some(Changing::Split(dividing)) = &mut peer.changing {
                dividing.step = Step::Written(lsn, births);
            }
        });
        self.worked = true;
    }

    /// The metas are durable: the ranges change.
    fn finish_split(&mut self, id: RegionId) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let Some(Changing::Split(dividing)) = peer.changing.take() else {
            return;
        };
        let Dividing {
            step: Step::Written(lsn, births),
            index,
            time_ms,
            left,
            parts,
        } = *dividing
        else {
            unreachable!("a split takes effect when it is written");
        };
        // Only now does the entry count as applied: or a leader that waits for its disk would answer reads of
        // keys that another one leads elsewhere.
        let clock = peer.machine.clock.max(time_ms);
        let front = peer.machine.queue.front();
        if front.is_some_and(|front| front.index == index.0) {
            peer.observe_front(&mut self.core);
            peer.machine.pass_at(time_ms);
            peer.applied(&mut self.core);
        }
        let leads = peer.leads();
        peer.siblings = parts.clone();
        peer.machine.region = left.clone();
        if peer.leads() {
            self.core.splits.done += 1;
        }
        peer.split_passed(&mut self.core, index);
        let (limits, now) = (*self.core.limits(), self.core.now.mono);
        peer.watch.restart(id, &limits, now);
        // One of before would bring keys to a store that are another region's by now.
        peer.forget_snapshot();
        peer.answer(&mut self.core, index, |_| Ok(Answer::Done));
        let error = peer.epoch_error();
        peer.refuse_staged(&mut self.core, &error);
        peer.pulse.now();
        peer.dirty = true;
        self.core.ownership_changed = true;
        let (region, version) = (id, left.epoch.version);
        self.core.observe(|| Observation::Split { region, version });
        let unborn = |part: &&Region| births.iter().all(|birth| birth.region.id != part.id);
        let orphaned: Vec<KeyRange> = parts
            .iter()
            .filter(unborn)
            .map(|part| part.range.clone())
            .collect();
        for birth in births {
            if self.core.breaks(Mutant::ChildApart) {
                self.core.write_birth(&birth, clock);
            }
            let child = birth.region.id;
            let mut peer = bring_forth(&mut self.core, birth, clock, lsn);
            peer.siblings = vec![left.clone()];
            if leads {
                let _ = peer.node.campaign();
            }
            self.enter(Box::new(peer));
            for (from, message) in self.early.take(child) {
                self.raft_message(from, message);
            }
        }
        if !orphaned.is_empty() {
            // Refused, it lies there, owned by nobody, until a snapshot or the next start cuts it.
            let _ = self.core.store.destroy(orphaned, Vec::new());
        }
        self.with(id, |_, _| ());
        self.worked = true;
    }

    /// Whether keys of a range are another region's here, or are about to be.
    pub(super) fn is_taken(&self, id: RegionId, range: &KeyRange) -> bool {
        let others = self.peers.values().filter(|peer| peer.region_id() != id);
        let mut owned = others.flat_map(|peer| {
            let own = peer.is_initialized().then_some(&peer.region().range);
            own.into_iter().chain(peer.owned())
        });
        owned.any(|own| own.overlaps(range))
            || self
                .core
                .receiving
                .iter()
                .any(|(other, receiving)| *other != id && receiving.range().overlaps(range))
    }
}

impl Core {
    /// The first records of a peer that a split makes.
    fn write_birth(&mut self, birth: &Birth, clock: u64) -> wal::Lsn {
        self.write_meta(&birth.meta(clock), (INITIAL_INDEX, INITIAL_TERM), true);
        let hard = encode_hard_state(birth.info.peer, &birth.hard);
        let id = birth.region.id.in_log();
        let mut log = self.log.borrow_mut();
        let written = log.set_hard_state(id, hard);
        log.applied(id, INITIAL_INDEX);
        log.checkpointed(id, INITIAL_INDEX);
        let lsn = log.last_lsn();
        drop(log);
        if let Err(refused) = written {
            self.stop(format!("the parts of a split were refused: {refused}"));
        }
        lsn
    }
}

/// A new region's peer, whose first records are durable.
fn bring_forth(core: &mut Core, birth: Birth, clock: u64, lsn: wal::Lsn) -> Peer {
    let (info, promised) = (birth.info, birth.promised);
    let mut machine = Machine::new(birth.region, info.peer, Index(INITIAL_INDEX), clock);
    machine.applied_term = Term(INITIAL_TERM);
    let mut peer = Peer::new(core, machine, birth.hard, true);
    (peer.last_lsn, peer.vote_lsn) = (lsn, lsn);
    peer.quiet_until = match promised {
        // As the peer without keys that it was until now, and which is forgotten.
        true => core.now.mono + core.promise(),
        // Nobody has heard anything from it yet.
        false => core.now.mono,
    };
    peer
}
