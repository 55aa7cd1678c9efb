//! The brain of one core: everything it decides, behind two doors.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use coracle_engine as engine;
use coracle_engine::lookup::ReadFailed;
use coracle_engine::record::KeyRange;
use coracle_engine::turn::Stepped;
use coracle_wal as wal;
use raft::SnapshotStatus;
use raft::eraftpb::HardState;

use super::chance::Chance;
use super::core::Core;
use super::divide::Early;
use super::door::{Effect, Input};
use super::error::Error;
use super::founding::Founding;
use super::herald::Herald;
use super::ids::{PeerId, RegionId, RequestId};
use super::machine::{Outcomes, is_refusal};
use super::mutant::Mutant;
use super::neighbours::Neighbours;
use super::observe::{Observation, PeerStatus};
use super::options::ShardOptions;
use super::pace::Pace;
use super::pause::SplitFigures;
use super::peer::{Destroying, Peer, Stage};
use super::peers::Peers;
use super::propose::Gate;
use super::recover::{Replay, Replayed};
use super::region::Region;
use super::request::{Body, Request};
use super::routes::Routes;
use super::seat::Seat;
use super::snapshot::Sent;
use super::split::Cause;
use super::time::{MILLISECOND, Time};
use super::turn::Line;
use super::vigil::Round;

/// Ticks that are caught up with at once, at the most.
const TICKS_AT_ONCE: u64 = 3;

/// When nothing was written for so long, what was acknowledged last is covered.
const COVER_AFTER: u64 = 100 * MILLISECOND;

/// The brain of one core.
#[derive(Debug)]
pub struct Shard {
    pub(super) core: Core,
    pub(super) peers: Peers,
    /// Regions by the first key of their range.
    pub(super) routes: Routes,
    /// Regions that are gone from here, as the last peer here knew them.
    pub(super) graves: BTreeMap<RegionId, (PeerId, Region)>,
    /// Messages for peers that a split may be about to make.
    pub(super) early: Early,
    /// What peers without content have promised in earlier lives.
    pub(super) promises: BTreeMap<RegionId, (PeerId, HardState)>,
    /// Regions with something to do in the next turn.
    pub(super) line: Line,
    /// Regions that ticks visit; one may stand here twice.
    pub(super) awake: Vec<RegionId>,
    /// The order in which quiet peers are looked after.
    pub(super) round: Round,
    /// Regions that wait for blocks.
    pub(super) blocked: BTreeSet<RegionId>,
    pub(super) replay: Option<Replay>,
    /// Regions that begin here, until the log takes them.
    pub(super) founding: Founding,
    /// What placement is told, and what it says.
    pub(super) herald: Herald,
    /// Placement itself, where region 1 is led.
    pub(super) seat: Seat,
    next_tick: u64,
    last_write: u64,
    pub(super) worked: bool,
    log_effects: Vec<wal::Effect>,
    store_effects: Vec<engine::effect::Effect>,
}

impl Shard {
    /// A shard over a recovered log and store. It replays first; see [`Shard::is_open`].
    pub fn open(
        options: ShardOptions,
        now: Time,
        mut log: wal::Log,
        store: engine::store::Store,
    ) -> Shard {
        options.limits.check();
        match options.mutant {
            Mutant::SkipSync => log.set_mutant(wal::Mutant::AcknowledgeEarly),
            Mutant::KeepStuck => log.set_mutant(wal::Mutant::KeepStuck),
            _ => {}
        }
        let tick = options.limits.tick;
        let mut unique = Chance::new(options.boot);
        let (attempts, questions) = (unique.next_u64() >> 1, unique.next_u64() >> 1);
        let mut core = Core {
            chance: Chance::new(options.seed),
            options,
            now,
            begun: now.mono,
            ticks: 0,
            log: Rc::new(RefCell::new(log)),
            store,
            effects: Vec::new(),
            releases: VecDeque::new(),
            incarnations: 0,
            proposed_bytes: 0,
            told_bytes: 0,
            turns: 1,
            admitted: 0,
            gate: Gate::default(),
            reads_waiting: 0,
            // No two lives count over the same numbers: a late answer to an earlier one confirms nothing.
            attempts,
            observations: Vec::new(),
            rotation_wanted: false,
            ownership_changed: true,
            draining: false,
            stopped: false,
            sending: BTreeMap::new(),
            pace: Pace::default(),
            receiving: BTreeMap::new(),
            streams: 0,
            to_placement: Vec::new(),
            beats: BTreeMap::new(),
            neighbours: Neighbours::default(),
            burials: false,
            own: Vec::new(),
            dividing: BTreeSet::new(),
            splits_wanted: Vec::new(),
            splits: SplitFigures::default(),
            questions,
            own_requests: 0,
            written_keys: 0,
            outcomes: Outcomes::default(),
            stored: Vec::new(),
        };
        let replay = match Replay::new(&core) {
            Ok(replay) => Some(replay),
            Err(why) => {
                core.stop(why);
                None
            }
        };
        Shard {
            core,
            peers: Peers::default(),
            routes: Routes::default(),
            graves: BTreeMap::new(),
            early: Early::default(),
            promises: BTreeMap::new(),
            line: Line::default(),
            awake: Vec::new(),
            round: Round::default(),
            blocked: BTreeSet::new(),
            replay,
            founding: Founding::default(),
            herald: Herald::new(now.wall),
            seat: Seat::default(),
            next_tick: now.mono + tick,
            last_write: now.mono,
            worked: true,
            log_effects: Vec::new(),
            store_effects: Vec::new(),
        }
    }

    /// Whether the replay is over.
    pub fn is_open(&self) -> bool {
        self.replay.is_none() && self.founding.is_over(self.core.durable()) && !self.core.stopped
    }

    /// Whether more can be done without any input.
    pub fn wants_turn(&self) -> bool {
        !self.core.stopped
            && (self.worked
                || !self.line.is_empty()
                || !self.core.effects.is_empty()
                || !self.core.own.is_empty())
    }

    /// The region here that holds a key.
    pub fn region_at(&self, key: &[u8]) -> Option<&Region> {
        // Mostly it is the one of last time. Ranges do not overlap, so whichever holds the key is right.
        let last = self.peers.last().map(Peer::region);
        let holds = |region: &&Region| !region.peers.is_empty() && region.range.contains(key);
        last.filter(holds).or_else(|| {
            let region = self.routes.at(key)?;
            Some(self.peers[&region].region()).filter(holds)
        })
    }

    /// How all peers stand.
    pub fn statuses(&self) -> Vec<PeerStatus> {
        self.peers
            .values()
            .map(|peer| peer.status(&self.core))
            .collect()
    }

    /// Whether a region's peer here is quiet.
    pub fn is_quiet(&self, region: RegionId) -> bool {
        self.peers.get(&region).is_some_and(Peer::is_quiet)
    }

    /// How many peers there are, how many lead, and how many are quiet: cheaper than how each stands.
    pub fn count_peers(&self) -> (usize, usize, usize) {
        let count = |is: fn(&Peer) -> bool| self.peers.values().filter(|peer| is(peer)).count();
        (self.peers.len(), count(Peer::leads), count(Peer::is_quiet))
    }

    /// What checkers want to know, since the last call.
    pub fn take_observations(&mut self) -> Vec<Observation> {
        std::mem::take(&mut self.core.observations)
    }

    /// What splits of regions that are led here came to.
    pub fn split_figures(&self) -> SplitFigures {
        self.core.splits
    }

    /// Memory held for entries, proposals and reads.
    pub fn held_bytes(&self) -> u64 {
        let log = self.core.log.borrow();
        let queued: u64 = self
            .peers
            .values()
            .map(|peer| peer.machine.queue_bytes)
            .sum();
        log.cached_bytes() + log.memory_bytes() + self.core.proposed_bytes + queued
    }

    /// Everything that stands or waits here, for whoever looks for a fault.
    pub fn describe(&self) -> String {
        let core = &self.core;
        let mut out = format!(
            "store {}: full {}, proposed {} bytes, reads {}, sending {}, receiving {:?}, releases {}, durable {} of {}, \
             segments left {} beside {} held by {:?}, replaying {}, stopped {:?}, placement at {:?}{}",
            core.me(),
            core.store.is_full(),
            core.proposed_bytes,
            core.reads_waiting,
            core.sending.len(),
            core.receiving.keys().collect::<Vec<_>>(),
            core.releases.len(),
            core.durable(),
            core.log.borrow().last_lsn(),
            core.log.borrow().segments_left(),
            core.log.borrow().live_segments(),
            core.log.borrow().oldest_holders(4),
            self.replay.is_some(),
            core.store.stopped(),
            self.herald.believed(),
            match self.placement() {
                Some(_) => ", runs here",
                None => "",
            },
        );
        for peer in self.peers.values() {
            let (log, waiting) = (peer.status(core).log(), peer.waiting());
            out.push_str(&format!("\n    {peer:?}, {log}, {waiting}"));
        }
        out
    }

    /// The log, for tools and tests.
    pub fn log(&self) -> std::cell::Ref<'_, wal::Log> {
        self.core.log.borrow()
    }

    /// The state store, for tools and tests.
    pub fn store(&self) -> &engine::store::Store {
        &self.core.store
    }

    /// Fills the buffer of a log write; in the order of their lsn.
    pub fn encode(&mut self, write: &wal::effect::Write, buffer: &mut [u8]) {
        self.core.log.borrow_mut().encode(write, buffer);
        if self.core.breaks(Mutant::SkipSync) {
            self.log_moved();
        }
    }

    // -- the first door --------------------------------------------------------------------------

    /// Something has happened: changes memory only.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        self.time_is(now);
        match input {
            Input::Clock => {}
            Input::Request { id, request } => self.request(id, &request),
            Input::Peer { from, message } => self.peer_message(from, *message),
            Input::Unreachable(store) => self.unreachable(store),
            Input::LogDurable(lsn) => {
                self.core.log.borrow_mut().durable(lsn);
                self.log_moved();
            }
            Input::LogCreated(slot) => self.core.log.borrow_mut().created(slot),
            Input::LogCreateFailed(slot) => self.core.log.borrow_mut().create_failed(slot),
            Input::LogSynced(slot) => self.core.log.borrow_mut().synced(slot),
            Input::LogFailed => {
                self.core.log.borrow_mut().write_failed();
                self.core.stop("a write of the log failed".into());
            }
            Input::LogRead { token, bytes } => self.log_read(token, bytes),
            Input::Store(completion) => {
                self.core.store.complete(completion);
                self.store_events();
            }
            Input::Space { bytes_free } => {
                self.core.store.on_space(bytes_free);
                self.core.log.borrow_mut().space();
                self.herald.on_space(bytes_free);
            }
            Input::Nodes(nodes) => self.herald.remember(nodes),
            Input::Drain => {
                self.core.draining = true;
                for region in self.regions() {
                    self.with(region, |peer, core| peer.wake(core));
                }
            }
        }
        self.worked = true;
    }

    /// Time first: what comes now was not there before it.
    pub(super) fn time_is(&mut self, now: Time) {
        self.core.now.mono = self.core.now.mono.max(now.mono);
        self.core.now.wall = now.wall;
        self.pass_time();
    }

    /// Whether requests are refused, since the shard is starting or stopping.
    pub(super) fn is_shut(&self) -> bool {
        self.core.stopped || self.replay.is_some()
    }

    fn request(&mut self, id: RequestId, request: &Request<'_>) {
        if self.is_shut() {
            self.core
                .refuse(id, Error::ServerIsBusy("the shard is starting or stopping"));
            return;
        }
        if let Body::Placement(message) = &request.body {
            return self.seat_request(id, message);
        }
        let (region, epoch) = match self.route(request) {
            Ok(found) => found,
            Err(error) => return self.core.refuse(id, error),
        };
        let answered = self.with(region, |peer, core| match &request.body {
            Body::Write(writes) => peer.stage(core, id, epoch, writes).map(|()| None),
            Body::Get { .. } | Body::MultiGet { .. } | Body::Scan { .. } => {
                peer.ask(core, id, epoch, &request.body).map(|()| None)
            }
            Body::TransferLeader { to, .. } => {
                peer.wake(core);
                peer.transfer(core, *to).map(Some)
            }
            Body::ChangePeers { changes, .. } => {
                peer.wake(core);
                match changes.is_empty() {
                    true => peer.change_peers(core, Some(id), epoch, &[]),
                    false => peer.change_peers(core, Some(id), epoch, changes),
                }
                .map(|()| None)
            }
            Body::Split { keys, ids, .. } => peer
                .split(core, Some(id), epoch, keys, *ids, Cause::Asked)
                .map(|()| None),
            Body::Placement(_) => Err(Error::BadRequest("not for a region")),
        });
        match answered {
            None => self.core.refuse(id, Error::RegionNotFound(region)),
            Some(Ok(None)) => {}
            Some(Ok(Some(answer))) => self.core.answer(id, answer),
            Some(Err(error)) => self.core.refuse(id, error),
        }
    }

    /// The region that a request is for.
    fn route(
        &self,
        request: &Request<'_>,
    ) -> Result<(RegionId, Option<super::region::Epoch>), Error> {
        match (&request.body, request.region) {
            (
                Body::TransferLeader { region, .. }
                | Body::ChangePeers { region, .. }
                | Body::Split { region, .. },
                named,
            ) => Ok((*region, named.map(|(_, epoch)| epoch))),
            (_, Some((region, epoch))) => Ok((region, Some(epoch))),
            (body, None) => {
                let found = self.region_at(body.key());
                found
                    .map(|region| (region.id, None))
                    .ok_or(Error::RegionNotFound(RegionId(0)))
            }
        }
    }

    // -- time ------------------------------------------------------------------------------------

    fn pass_time(&mut self) {
        if self.replay.is_some() || self.core.stopped {
            self.next_tick = self.core.now.mono + self.core.limits().tick;
            return;
        }
        let (now, tick) = (self.core.now.mono, self.core.limits().tick);
        if now < self.next_tick {
            return;
        }
        let due = (now - self.next_tick) / tick + 1;
        self.next_tick += due * tick;
        for _ in 0..due.min(TICKS_AT_ONCE) {
            self.tick();
        }
    }

    fn tick(&mut self) {
        self.core.ticks += 1;
        self.tick_awake();
        self.quiet_tick();
        self.begin_splits();
        if self.core.is_placed() {
            self.herald_tick();
            self.seat_tick();
        }
        self.core.store.on_time(self.core.now.mono / MILLISECOND);
        let streams: Vec<_> = self.core.receiving.keys().copied().collect();
        for region in streams {
            let mut receiving = self.core.receiving.remove(&region).expect("just seen");
            match receiving.tick(&mut self.core) {
                true => drop(self.core.receiving.insert(region, receiving)),
                false => receiving.abandon(&mut self.core),
            }
        }
        let limits = *self.core.limits();
        self.core.pace.tick(&limits);
        for stream in self.core.sending.keys().copied().collect::<Vec<_>>() {
            let sending = self.core.sending.remove(&stream).expect("just seen");
            sending.remind(&mut self.core);
            self.core.sending.insert(stream, sending);
        }
        self.relieve_log();
        let due = self.core.log.borrow().cover_due();
        if due && self.core.now.mono >= self.last_write + COVER_AFTER {
            self.core.log.borrow_mut().cover();
        }
        self.worked = true;
    }

    /// Whoever is awake has its tick, in the order of the regions.
    fn tick_awake(&mut self) {
        let mut awake = std::mem::take(&mut self.awake);
        awake.sort_unstable();
        awake.dedup();
        for region in awake {
            self.with(region, |peer, core| {
                // Who wants another one is listed again.
                peer.rest.is_listed = false;
                peer.tick(core);
            });
        }
    }

    // -- the second door -------------------------------------------------------------------------

    /// The end of a turn: what the world should do.
    pub fn flush(&mut self, effects: &mut Vec<Effect>) {
        self.worked = false;
        if self.core.stopped {
            effects.append(&mut self.core.effects);
            return;
        }
        self.replay();
        if self.replay.is_none() {
            self.found();
        }
        self.herald_turn();
        self.seat_turn();
        self.take_turns();
        self.divide();
        self.core.send_beats();
        self.core.admitted = 0;
        self.core.told_bytes = 0;
        self.core.gate = Gate::default();
        self.core.turns += 1;
        self.bury();
        self.rotate();
        self.send_snapshots();
        self.core.log.borrow_mut().flush(&mut self.log_effects);
        if self.core.store.step() == Stepped::Worked {
            self.worked = true;
        }
        self.core.store.flush_effects(&mut self.store_effects);
        self.store_events();
        if self
            .log_effects
            .iter()
            .any(|effect| matches!(effect, wal::Effect::Write(_)))
        {
            self.last_write = self.core.now.mono;
        }
        effects.append(&mut self.core.effects);
        effects.extend(self.log_effects.drain(..).map(Effect::Log));
        effects.extend(self.store_effects.drain(..).map(Effect::Store));
    }

    fn replay(&mut self) {
        let Some(replay) = &mut self.replay else {
            return;
        };
        match replay.step(&mut self.core) {
            Replayed::Peer(peer) => {
                self.worked = true;
                self.enter(peer);
            }
            Replayed::Grave(meta) => {
                self.worked = true;
                self.graves.insert(meta.region.id, (meta.peer, meta.region));
            }
            Replayed::Promise(region, peer, hard) => {
                self.worked = true;
                self.promises.insert(region, (peer, hard));
            }
            Replayed::More => self.worked = true,
            Replayed::Waits => {}
            Replayed::Malformed(why) => self.core.stop(why),
            Replayed::Over(spared) => {
                self.replay = None;
                self.core.store.start(&spared);
                self.core.ownership_changed = true;
                self.clear_gaps();
                self.next_tick = self.core.now.mono + self.core.limits().tick;
                for region in self.regions() {
                    self.with(region, |peer, _| {
                        // Nobody else can lead: no need to wait for anybody.
                        if peer.is_sole_voter() && !matches!(peer.stage, Stage::Quarantined) {
                            let _ = peer.node.campaign();
                        }
                        peer.dirty = true;
                    });
                }
            }
        }
    }

    /// What no region owns is the rest of one that went.
    fn clear_gaps(&mut self) {
        let mut gaps = Vec::new();
        let mut from = Vec::new();
        let mut open = true;
        for region in self.routes.regions() {
            let range = &self.peers[&region].region().range;
            if from < range.start {
                gaps.push(KeyRange::new(&from, &range.start));
            }
            from = range.limit.clone();
            open = !from.is_empty();
        }
        if open {
            gaps.push(KeyRange::new(&from, &[]));
        }
        gaps.retain(|gap| self.core.store.approximate_size(gap) > 0);
        let known = |region: RegionId| self.peers.get(&region).map(|peer| peer.id.in_store());
        let forget: Vec<_> = self
            .core
            .store
            .checkpoints()
            .filter(|(region, checkpoint)| known(RegionId(region.0)) != Some(checkpoint.peer))
            .map(|(region, checkpoint)| (region, checkpoint.peer))
            .collect();
        if !gaps.is_empty() || !forget.is_empty() {
            let _ = self.core.store.destroy(gaps, forget);
        }
    }

    /// Peers of which nothing is left.
    fn bury(&mut self) {
        if !std::mem::take(&mut self.core.burials) {
            return;
        }
        let over = |peer: &Peer| matches!(peer.stage, Stage::Destroying(Destroying::Over));
        let gone: Vec<_> = self
            .peers
            .values()
            .filter(|peer| over(peer))
            .map(|peer| peer.region_id())
            .collect();
        for region in gone {
            let peer = self.peers.remove(&region).expect("just seen");
            // Its tombstone was the last that it wrote, and batches are released in order.
            let waits = self
                .core
                .releases
                .iter()
                .any(|release| release.region == region);
            assert!(
                !waits,
                "a peer of region {region} goes before what it wrote is durable"
            );
            self.graves
                .insert(region, (peer.id, peer.last_known().clone()));
            self.routes.remove(region);
            if let Some(receiving) = self.core.receiving.remove(&region) {
                receiving.abandon(&mut self.core);
            }
            self.core.store.forget(region.in_store());
        }
        if self.peers.is_empty() {
            // Somebody may wait for just this.
            self.herald.hurry();
        }
    }

    fn send_snapshots(&mut self) {
        for stream in self.core.sending.keys().copied().collect::<Vec<_>>() {
            let mut sending = self.core.sending.remove(&stream).expect("just seen");
            let (region, incarnation, to) = sending.names();
            let serving = self
                .peers
                .get(&region)
                .filter(|peer| peer.incarnation == incarnation && peer.leads())
                // Whoever was removed meanwhile never follows, and would keep its place to the end.
                .filter(|peer| peer.region().peer(PeerId(to)).is_some());
            let sent = match serving {
                // Whoever follows again has all of it: its place is free for the next one.
                Some(peer) if sending.is_done() && peer.has_sent(to, sending.index()) => {
                    Sent::Over(SnapshotStatus::Finish)
                }
                Some(_) => sending.step(&mut self.core, stream),
                None => Sent::Over(SnapshotStatus::Failure),
            };
            // What has to wait for its rate goes on at the next tick.
            let allowed = self.core.pace.allows(self.core.limits());
            self.worked |= allowed && sending.is_asked();
            match sent {
                Sent::Going => drop(self.core.sending.insert(stream, sending)),
                Sent::Over(status) => {
                    let unreadable = sending.unreadable();
                    self.with(region, |peer, core| {
                        if let Some(error) = unreadable
                            && matches!(error, ReadFailed::Block(_))
                            && peer.incarnation == incarnation
                            && !peer.reads_again(is_refusal(&error))
                        {
                            // Another replica may be able to tell what it holds.
                            peer.quarantine(core, format!("a snapshot cannot be read: {error:?}"));
                        }
                        if peer.incarnation == incarnation && peer.leads() {
                            peer.node.report_snapshot(to, status);
                        }
                    });
                }
            }
        }
    }

    // -- peers -----------------------------------------------------------------------------------

    pub(super) fn regions(&self) -> Vec<RegionId> {
        self.peers.keys().copied().collect()
    }

    pub(super) fn enter(&mut self, mut peer: Box<Peer>) {
        let region = peer.region_id();
        peer.rest.is_listed = true;
        self.awake.push(region);
        if peer.is_initialized() {
            self.routes
                .insert(peer.region().range.start.clone(), region);
        }
        self.line.push(region);
        let before = self.peers.insert(region, peer);
        assert!(before.is_none(), "region {region} is here once");
    }

    /// Lets a peer do something, and sees to it that it gets its turn.
    pub(super) fn with<T>(
        &mut self,
        region: RegionId,
        act: impl FnOnce(&mut Peer, &mut Core) -> T,
    ) -> Option<T> {
        let peer = self.peers.get_mut(&region)?;
        let before = peer.is_initialized();
        let done = act(peer, &mut self.core);
        self.visited(region, before);
        Some(done)
    }

    /// A peer may have changed: what the shard knows of it by heart follows.
    pub(super) fn visited(&mut self, region: RegionId, was_initialized: bool) {
        let Some(peer) = self.peers.get_mut(&region) else {
            return;
        };
        if peer.dirty && !peer.queued {
            peer.queued = true;
            self.line.push(region);
        }
        if !peer.rest.is_listed && peer.wants_ticks() {
            peer.rest.is_listed = true;
            self.awake.push(region);
        }
        if peer.reads.are_running() || peer.machine.is_reading() || peer.consistency.is_hashing() {
            self.blocked.insert(region);
        }
        if !was_initialized && peer.is_initialized() {
            self.routes
                .insert(peer.region().range.start.clone(), region);
        }
    }
}
