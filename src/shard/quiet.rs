//! Quiet: a region of which nobody wants anything costs nothing.
//!
//! ```text
//! leader    nothing to do for a while ─▶ MayRest { term, last entry } to all others, with its heartbeats
//! follower  the same term, leader and last entry, all of it applied ─▶ Rests: it ticks no more
//! leader    all have said so ─▶ it ticks no more
//! ```
//!
//! A quiet peer is visited by no tick. That the others live it knows from their stores ([`super::neighbours`]).
//! It wakes when a store that it relies on is silent or has begun another life, when it is given something to
//! do, and by any message of its region except a heartbeat that says nothing new: reads, which send such ones, wake
//! their leader alone. Where messages are lost one of two may be quiet while the other is not; then
//!
//! * an awake leader's heartbeats are answered by quiet followers, and are a sign of life of its store as well;
//! * an awake follower that hears nothing asks for votes, and whatever asks for votes wakes;
//! * a quiet follower says now and then to whom it relies on that it does, and is told if that is wrong.
//!
//! **Ticks are not needed for safety, but what they count is.** A follower that wakes goes on with the ticks that
//! have passed since its leader, or the leader's store, was last heard: it votes and campaigns neither sooner than
//! a lease allows, nor later than if it had ticked all the time.

use bytes::Bytes;
use raft::eraftpb::{Message, MessageType};
use raft::{Progress, ProgressState, StateRole};

use super::core::Core;
use super::ids::{Index, PeerId, RegionId, StoreId, Term};
use super::limits::Limits;
use super::message::{Beat, BeatKind};
use super::observe::Observation;
use super::peer::{Peer, Stage};
use super::region::{PeerInfo, Role};
use super::window::Prepared;

/// How far a peer is on its way to be quiet.
#[derive(Debug, Default)]
pub struct Rest {
    quiet: Option<Box<Quiet>>,
    /// Ticks for which nothing was to be done.
    idle: u64,
    /// The last entry, as of the last tick.
    last: u64,
    /// How many keys had been asked for by then.
    touched: u64,
    /// Who is quiet already: a bit for each, by its place in the region.
    agreed: u64,
    /// Whether the next tick visits it.
    pub is_listed: bool,
}

/// What a peer relies on while it is quiet.
#[derive(Debug)]
struct Quiet {
    term: Term,
    leads: bool,
    last: u64,
    /// How many keys had been asked for, where it leads.
    touched: u64,
    /// The tick in which its leader was last heard.
    heard: u64,
    /// Whose life it relies on.
    stores: Box<[StoreId]>,
}

impl Peer {
    /// Whether it is quiet.
    pub fn is_quiet(&self) -> bool {
        self.rest.quiet.is_some()
    }

    /// Whether ticks must visit it.
    pub fn wants_ticks(&self) -> bool {
        !self.is_quiet() || !self.reads.is_empty()
    }

    /// Those that it relies on.
    pub fn relies_on(&self) -> &[StoreId] {
        self.rest.quiet.as_ref().map_or(&[], |quiet| &quiet.stores)
    }

    /// Whether something is under way here that only ticks or messages bring to an end.
    fn is_busy(&self, core: &Core) -> bool {
        let (raft, machine) = (&self.node.raft, &self.machine);
        let log = &raft.raft_log;
        let last = log.last_index();
        !matches!(self.stage, Stage::Normal)
            || !matches!(raft.state, StateRole::Leader | StateRole::Follower)
            || raft.leader_id == 0
            || (log.committed, log.persisted, machine.applied.0) != (last, last, last)
            || self.node.has_ready()
            || self.last_lsn > core.durable()
            || self.changing.is_some()
            || self.asking.is_some()
            || self.splitting.is_some()
            || self.plan.is_some()
            || matches!(
                *self.node.store().prepared.borrow(),
                Prepared::Wanted | Prepared::Making
            )
            || !self.staged.requests.is_empty()
            || !self.proposals.is_empty()
            || self.consistency.is_hashing()
            || self.clock_wanted
            || raft.lead_transferee.is_some()
            || raft.has_pending_conf()
            || self.region().is_joint()
            || core.draining && self.leads()
            // Placement is run by its leader, and told of by everybody.
            || core.is_placed() && self.region_id() == RegionId::SYSTEM
    }

    /// Whether a leader owes nobody anything.
    fn may_rest(&self, core: &Core) -> bool {
        let raft = &self.node.raft;
        let last = raft.raft_log.last_index();
        let follows = |(id, progress): (&u64, &Progress)| {
            *id == self.id.0
                || progress.matched == last
                    && progress.state != ProgressState::Snapshot
                    && progress.pending_request_snapshot == 0
                    && progress.recent_active
        };
        raft.apply_to_current_term()
            && raft.prs().iter().all(follows)
            && self.cut(core.limits()).is_none()
            && (!core.is_placed() || self.pulse.is_told() && self.is_watched(core.limits()))
    }

    /// Whether it has been seen that it need not be split.
    fn is_watched(&self, limits: &Limits) -> bool {
        limits.split_ticks == 0 || self.watch.is_settled(limits)
    }

    /// One tick of a peer that is awake: if nothing is to be done for long enough, it tries to be quiet.
    pub fn calm_down(&mut self, core: &mut Core) {
        let limits = *core.limits();
        let last = self.node.raft.raft_log.last_index();
        let touched = self.touched();
        let seen = (self.rest.last, self.rest.touched);
        if limits.quiet_ticks == 0 || seen != (last, touched) || self.is_busy(core) {
            (self.rest.last, self.rest.touched) = (last, touched);
            (self.rest.idle, self.rest.agreed) = (0, 0);
            return;
        }
        self.rest.idle += 1;
        let waited = self.rest.idle.checked_sub(limits.quiet_ticks);
        let Some(waited) = waited.filter(|_| self.leads() && self.may_rest(core)) else {
            return;
        };
        if self.region().peers.len() == 1 {
            self.grow_quiet(core);
        } else if waited.is_multiple_of(limits.heartbeat_ticks as u64) {
            let places = 0..self.region().peers.len();
            for place in places.filter(|place| self.rest.agreed >> place & 1 == 0) {
                let to = self.region().peers[place];
                self.beat_to(core, to, BeatKind::MayRest);
            }
        }
    }

    /// How many keys a leader was asked for. Whoever is asked a lot may have to split its region.
    fn touched(&self) -> u64 {
        match self.leads() {
            true => self.watch.load.count(),
            false => 0,
        }
    }

    /// Says something short.
    fn beat_to(&self, core: &mut Core, to: PeerInfo, kind: BeatKind) {
        if to.peer != self.id {
            core.say(to.store, self.short(to.peer, kind));
        }
    }

    fn short(&self, to: PeerId, kind: BeatKind) -> Beat {
        Beat {
            region: self.region_id(),
            from: self.id,
            to,
            epoch: self.region().epoch,
            term: self.term(),
            kind,
            index: Index(self.node.raft.raft_log.last_index()),
            context: Bytes::new(),
        }
    }

    /// It ticks no more.
    fn grow_quiet(&mut self, core: &mut Core) {
        let leads = self.leads();
        let relied: Vec<StoreId> = match (leads, self.leader()) {
            (true, _) => {
                let others = self.region().peers.iter();
                let others = others.filter(|info| info.peer != self.id);
                others.map(|info| info.store).collect()
            }
            (false, leader) => leader.map(|info| info.store).into_iter().collect(),
        };
        // Nobody relies on a store that has said nothing yet.
        if relied
            .iter()
            .any(|store| core.neighbours.last_heard(*store).is_none())
        {
            return;
        }
        relied.iter().for_each(|store| core.neighbours.rely(*store));
        let elapsed = self.node.raft.election_elapsed as u64;
        self.rest.quiet = Some(Box::new(Quiet {
            term: self.term(),
            leads,
            last: self.node.raft.raft_log.last_index(),
            touched: self.touched(),
            heard: core.ticks.saturating_sub(elapsed),
            stores: relied.into(),
        }));
        self.leaderless = 0;
        self.shed();
        let (region, peer) = (self.region_id(), self.id);
        core.observe(|| Observation::Quiet { region, peer });
    }

    /// Gives back the memory that only those need who have something to do.
    fn shed(&mut self) {
        self.forget_snapshot();
        let raft = &mut self.node.raft;
        raft.maybe_free_inflight_buffers();
        raft.msgs.shrink_to_fit();
        raft.read_states.shrink_to_fit();
        raft.raft_log.unstable.entries.shrink_to_fit();
        self.proposals.shrink_to_fit();
        self.staged.shed();
        self.machine.queue.shrink_to_fit();
        self.lease.shed();
        self.reads.shed();
    }

    /// It ticks again, as if it had done so all the time.
    pub fn wake(&mut self, core: &mut Core) {
        let Some(quiet) = self.rest.quiet.take() else {
            return;
        };
        (self.rest.idle, self.rest.agreed) = (0, 0);
        quiet
            .stores
            .iter()
            .for_each(|store| core.neighbours.release(*store));
        let (region, peer) = (self.region_id(), self.id);
        core.observe(|| Observation::Woken { region, peer });
        let heard = |store: &StoreId| core.neighbours.last_heard(*store);
        if !quiet.leads {
            let store = quiet.stores.iter().filter_map(heard).map(|(tick, _)| tick);
            let last = store.max().unwrap_or(0).max(quiet.heard);
            self.node.raft.election_elapsed = core.ticks.saturating_sub(last) as usize;
            return;
        }
        // Whoever was quiet had everything, and its store was heard: it is as active as one can be.
        self.node.raft.election_elapsed = 0;
        let patience = core.limits().patience();
        for place in 0..self.region().peers.len() {
            let info = self.region().peers[place];
            let Some((tick, at)) = core.neighbours.last_heard(info.store) else {
                continue;
            };
            self.pulse.heard(info.peer, at);
            if core.ticks <= tick + patience
                && let Some(progress) = self.node.raft.mut_prs().get_mut(info.peer.0)
            {
                progress.recent_active = true;
            }
        }
    }

    /// Wakes one that its leader's store has left. Not all of them campaign at once, and none is refused for
    /// nothing: its ticks are beyond an election's least, or as they are.
    pub fn wake_to_campaign(&mut self, core: &mut Core) {
        if !self.is_quiet() {
            return;
        }
        self.wake(core);
        let least = core.limits().election_ticks as u64;
        let waits = core.chance.between(0, least - 1) as usize;
        let (least, raft) = (least as usize, &mut self.node.raft);
        if raft.election_elapsed < least {
            raft.set_randomized_election_timeout(least + waits);
        } else {
            raft.set_randomized_election_timeout(2 * least - 1);
            raft.election_elapsed = 2 * least - 2 - waits;
        }
    }

    /// The end of its turn: whoever has something to do is not quiet.
    pub fn stay_quiet(&mut self, core: &mut Core) {
        let Some(quiet) = &self.rest.quiet else {
            return;
        };
        let raft = &self.node.raft;
        let now = (raft.term, raft.raft_log.last_index(), self.leads());
        let then = (quiet.term.0, quiet.last, quiet.leads);
        if now != then || self.touched() != quiet.touched || self.is_busy(core) {
            self.wake(core);
        }
    }

    /// A message for raft has come: it wakes, unless it is a leader's heartbeat, or an answer to one, that says
    /// nothing new.
    pub fn hear(&mut self, core: &mut Core, message: &Message) {
        let Some(quiet) = &mut self.rest.quiet else {
            return;
        };
        let raft = &self.node.raft;
        let same = message.term == raft.term && message.commit <= raft.raft_log.committed;
        match message.get_msg_type() {
            MessageType::MsgHeartbeat if same && message.from == raft.leader_id => {
                quiet.heard = core.ticks;
            }
            MessageType::MsgHeartbeatResponse if same && quiet.leads => {}
            _ => self.wake(core),
        }
    }

    /// The leader asks whether the region may be quiet.
    pub fn asked_to_rest(&mut self, core: &mut Core, beat: &Beat) {
        let raft = &self.node.raft;
        let agrees = beat.term.0 == raft.term
            && beat.from.0 == raft.leader_id
            && raft.state == StateRole::Follower
            && beat.index.0 == raft.raft_log.last_index()
            && beat.epoch == self.region().epoch
            && !self.is_busy(core);
        let Some(leader) = self.leader().filter(|_| agrees) else {
            return;
        };
        if !self.is_quiet() {
            self.grow_quiet(core);
        }
        if self.is_quiet() {
            self.beat_to(core, leader, BeatKind::Rests);
        }
    }

    /// A follower is quiet, and relies on this one.
    pub fn relied_on(&mut self, core: &mut Core, from: StoreId, beat: &Beat) {
        let belongs = self.region().peer(beat.from).is_some();
        if !belongs {
            let peer = beat.from;
            self.tell_gone(
                core,
                PeerInfo {
                    peer,
                    store: from,
                    role: Role::Learner,
                },
            );
        }
        let leads = self.leads() && matches!(self.stage, Stage::Normal);
        if !belongs || !leads || beat.term != self.term() {
            return core.say(from, self.short(beat.from, BeatKind::Wake));
        }
        let peers = &self.region().peers;
        let bit = |peer| {
            let place = peers.iter().position(|info| info.peer == peer);
            place.map_or(0, |place| 1_u64 << place)
        };
        let agreed = self.rest.agreed | bit(beat.from) | bit(self.id);
        let all = u64::MAX >> (64 - peers.len());
        self.pulse.heard(beat.from, core.now.mono);
        let limits = core.limits();
        let has_asked = limits.quiet_ticks > 0 && self.rest.idle >= limits.quiet_ticks;
        if self.is_quiet() || !has_asked || beat.index.0 != self.rest.last {
            return;
        }
        self.rest.agreed = agreed;
        if agreed == all && !self.is_busy(core) && self.may_rest(core) {
            self.grow_quiet(core);
        }
    }

    /// A quiet peer is looked after, now and then: placement is told of its region, or its leader of it.
    pub fn look_after(&mut self, core: &mut Core, period: u64) {
        if !self.is_quiet() {
            return;
        }
        if let (false, Some(leader)) = (self.leads(), self.leader()) {
            self.beat_to(core, leader, BeatKind::Rests);
        }
        if !self.leads() {
            return;
        }
        self.beat_quietly(core);
        self.compare_in = self.compare_in.saturating_sub(period);
        if self.compare_in == 0 && core.limits().compare_ticks > 0 {
            self.wake(core);
        }
    }
}
