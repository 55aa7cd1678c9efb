//! A whole cluster in one thread and virtual time.
//!
//! Everything that happens is an event with a moment; the heap hands them out in order. A shard is given
//! inputs by `handle` and takes its turn by `flush` a little later, as on a real core; its effects become
//! events again. One seed decides everything.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

use bytes::Bytes;

use super::check::callbacks::Callbacks;
use super::check::election::Election;
use super::check::linearizability;
use super::check::log_matching::LogMatching;
use super::check::pointers::Pointers;
use super::check::{Verdict, Violation, bounds, completeness, coverage};
use super::clock::Clock;
use super::disk::{Chance, Fate};
use super::files::{Files, Work};
use super::growth::{Growing, Membership};
use super::history::{Kind, Operation};
use super::net::Net;
use super::operator::{self, Sight, Wish};
use super::plan::{Plan, SECOND};
use super::splits::Splits;
use super::start::{self, log_limits, store_options};
use super::trouble::{Fault, Troubles};
use super::upkeep::Upkeep;
use super::workload::{Client, Many, Next};
use crate::shard::Shard;
use crate::shard::door::{Effect, Input, Report};
use crate::shard::ids::{ClusterId, Edition, PeerId, RegionId, RequestId, StoreId};
use crate::shard::message::PeerMessage;
use crate::shard::observe::{Observation, PeerStatus};
use crate::shard::options::ShardOptions;
use crate::shard::region::{Epoch, PeerInfo, Region, Role};
use crate::shard::request::{Answer, Body, Freshness, Request, Response, Write};
use crate::shard::time::MILLISECOND;

/// After the faults, a cluster has so long to be well again.
const HEALING: u64 = 60 * SECOND;

/// Virtual time between two looks at everything.
const LOOK: u64 = 100 * MILLISECOND;

/// A turn costs about this much.
const TURN: u64 = 20_000;

/// A shard, in one life of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) node: usize,
    pub(super) shard: usize,
    pub(super) life: u64,
}

#[derive(Debug)]
pub(super) enum Event {
    Tick(At),
    Turn(At),
    Done(At, Work),
    Peer {
        from: StoreId,
        to: StoreId,
        /// Which edition of the sender's address the link was opened with.
        edition: Edition,
        message: Box<PeerMessage>,
    },
    Arrives {
        request: RequestId,
        client: usize,
        store: StoreId,
    },
    Answer {
        request: RequestId,
        client: usize,
        response: Box<Response>,
    },
    Client(usize),
    GiveUp(usize, RequestId),
    Start(usize),
    Look,
    Operate,
    Crash,
    CrashSoon(At),
    Pause,
    Part,
    Join,
    Fill,
    Empty(usize),
    Fail,
    /// A process outside asks.
    Ask(usize, u64),
    /// Its question arrives.
    Question(RequestId, StoreId),
    /// The answer to its question arrives.
    Told(RequestId, Box<Response>),
    Wipe,
    /// A fault of the later kinds.
    Trouble(Fault),
    /// A region is split.
    Split,
    /// Something is asked of placement.
    Upkeep,
}

struct Scheduled {
    at: u64,
    sequence: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

/// One shard of a node.
pub(super) struct Host {
    pub(super) store: StoreId,
    pub(super) files: Files,
    pub(super) shard: Option<Shard>,
    turn_due: bool,
    /// Requests that it holds, with their clients.
    requests: BTreeMap<RequestId, usize>,
}

/// A process.
pub(super) struct Node {
    pub(super) hosts: Vec<Host>,
    pub(super) clock: Clock,
    pub(super) life: u64,
    pub(super) up: bool,
    pub(super) paused_until: u64,
    /// What it knows of itself and of others.
    pub(super) membership: Membership,
}

/// What happened in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Virtual nanoseconds.
    pub time: u64,
    /// Events.
    pub events: u64,
    /// Operations of clients with a known outcome.
    pub known: u64,
    /// … and with an unknown one.
    pub unknown: u64,
    /// Elections won.
    pub elections: u64,
    /// Entries applied somewhere.
    pub entries: u64,
    /// Snapshots brought in.
    pub snapshots: u64,
    /// Peers that went.
    pub destroyed: u64,
    /// Changes of peers and leaders that were asked for.
    pub operations: u64,
    /// Power cuts and kills.
    pub crashes: u64,
    /// Processes that stood still.
    pub pauses: u64,
    /// Partitions.
    pub partitions: u64,
    /// Full disks.
    pub full_disks: u64,
    /// Failing disks.
    pub failing_disks: u64,
    /// Nodes that joined.
    pub joins: u64,
    /// Nodes that lost everything.
    pub wipes: u64,
    /// Nodes that came back at another address.
    pub moves: u64,
    /// Bits flipped in cold data.
    pub damages: u64,
    /// Stores that did not open because of it.
    pub unopened: u64,
    /// Regions that a store gave up.
    pub quarantines: u64,
    /// Spells of failing reads.
    pub read_errors: u64,
    /// Links that were slow for a while.
    pub slow_links: u64,
    /// Partitions that came and went.
    pub flaps: u64,
    /// Wall clocks that jumped.
    pub jumps: u64,
    /// Leaders that vanished for a while.
    pub vanishings: u64,
    /// Reads that were answered while they were asked.
    pub reads_at_hand: u64,
    /// Regions that were split.
    pub splits: u64,
    /// Those of them that nobody asked for.
    pub splits_by_itself: u64,
    /// Peers that grew quiet.
    pub quiets: u64,
    /// Quiet peers that woke.
    pub wakes: u64,
    /// Moves by hand that placement has begun.
    pub moves_by_hand: u64,
    /// Nodes that were to be emptied.
    pub drains: u64,
    /// Nodes that were taken out.
    pub removals: u64,
    /// Times that placement was held.
    pub holds: u64,
    /// The hash of everything that happened.
    pub hash: u64,
}

impl Figures {
    /// Everything that is counted, with its name.
    pub fn counts(&self) -> Vec<(u64, &'static str)> {
        vec![
            (self.events, "events"),
            (self.known, "operations"),
            (self.unknown, "of unknown outcome"),
            (self.elections, "elections"),
            (self.entries, "entries"),
            (self.snapshots, "snapshots"),
            (self.operations, "changes"),
            (self.destroyed, "peers gone"),
            (self.crashes, "crashes"),
            (self.pauses, "pauses"),
            (self.partitions, "partitions"),
            (self.full_disks, "full disks"),
            (self.failing_disks, "failing disks"),
            (self.joins, "joins"),
            (self.wipes, "wipes"),
            (self.moves, "moves"),
            (self.damages, "flipped bits"),
            (self.unopened, "stores not opened"),
            (self.quarantines, "quarantines"),
            (self.read_errors, "spells of read errors"),
            (self.slow_links, "slow links"),
            (self.flaps, "flapping partitions"),
            (self.jumps, "clock jumps"),
            (self.vanishings, "vanished leaders"),
            (self.reads_at_hand, "reads at hand"),
            (self.splits, "splits"),
            (self.splits_by_itself, "of them by itself"),
            (self.quiets, "peers grown quiet"),
            (self.wakes, "peers woken"),
            (self.moves_by_hand, "moves by hand"),
            (self.drains, "drains"),
            (self.removals, "removals"),
            (self.holds, "holds"),
        ]
    }

    /// Adds what happened in another run.
    pub fn add(&mut self, other: &Figures) {
        self.time += other.time;
        self.events += other.events;
        self.known += other.known;
        self.unknown += other.unknown;
        self.elections += other.elections;
        self.entries += other.entries;
        self.snapshots += other.snapshots;
        self.operations += other.operations;
        self.destroyed += other.destroyed;
        self.crashes += other.crashes;
        self.pauses += other.pauses;
        self.partitions += other.partitions;
        self.full_disks += other.full_disks;
        self.failing_disks += other.failing_disks;
        self.joins += other.joins;
        self.wipes += other.wipes;
        self.moves += other.moves;
        self.damages += other.damages;
        self.unopened += other.unopened;
        self.quarantines += other.quarantines;
        self.read_errors += other.read_errors;
        self.slow_links += other.slow_links;
        self.flaps += other.flaps;
        self.jumps += other.jumps;
        self.vanishings += other.vanishings;
        self.reads_at_hand += other.reads_at_hand;
        self.splits += other.splits;
        self.splits_by_itself += other.splits_by_itself;
        self.quiets += other.quiets;
        self.wakes += other.wakes;
        self.moves_by_hand += other.moves_by_hand;
        self.drains += other.drains;
        self.removals += other.removals;
        self.holds += other.holds;
    }
}

/// A whole cluster.
pub struct World {
    pub(super) plan: Plan,
    pub(super) now: u64,
    sequence: u64,
    heap: BinaryHeap<Scheduled>,
    pub(super) nodes: Vec<Node>,
    /// Where each store is.
    pub(super) stores: Vec<(StoreId, usize)>,
    pub(super) net: Net,
    clients: Vec<Client>,
    history: Vec<Operation>,
    next_request: u64,
    pub(super) next_peer: u64,
    chance: Chance,
    trace: bool,
    pub(super) figures: Figures,
    pub(super) healing_since: Option<u64>,
    /// Who joins, and what is asked for that.
    pub(super) growth: Growing,
    /// Faults of the later kinds.
    pub(super) troubles: Troubles,
    election: Election,
    matching: LogMatching,
    pointers: Pointers,
    pub(super) callbacks: Callbacks,
    effects: Vec<Effect>,
    /// Splits, and the regions that there are.
    pub(super) splits: Splits,
    /// What is asked of placement.
    pub(super) upkeep: Upkeep,
    /// What was seen where nothing could be said of it.
    broken: Option<Violation>,
}

/// The ids of the operator's requests begin here.
const OPERATOR: u64 = 1 << 40;

impl Host {
    /// One with an empty disk.
    pub(super) fn new(plan: &Plan, store: StoreId) -> Host {
        let seed = plan.seed ^ (store.0 << 32);
        Host {
            store,
            files: Files::new(seed, plan.durability, plan.disk_latency),
            shard: None,
            turn_due: false,
            requests: BTreeMap::new(),
        }
    }
}

impl World {
    /// The cluster of a plan, with its first regions on the first shard.
    pub fn new(plan: Plan, trace: bool) -> World {
        let mut chance = Chance::new(plan.seed ^ 0x574F_524C);
        let mut nodes = Vec::new();
        let mut stores = Vec::new();
        let zones = plan.growth.as_ref().map_or(0, |growth| growth.zones);
        for node in 0..plan.nodes {
            let mut hosts = Vec::new();
            let outside = node > 0 && plan.growth.is_some();
            for shard in 0..plan.shards {
                let store = StoreId((node * plan.shards + shard + 1) as u64);
                if !outside {
                    stores.push((store, node));
                    hosts.push(Host::new(&plan, store));
                }
            }
            let ids = hosts.iter().map(|host| host.store).collect();
            nodes.push(Node {
                hosts,
                clock: Clock::new(&mut chance, plan.drift_per_mille),
                life: 0,
                up: false,
                paused_until: 0,
                membership: match outside {
                    true => Membership::outside(node, zones),
                    false => Membership::founder(node, zones, ids),
                },
            });
        }
        let clients = (0..plan.clients)
            .map(|number| Client::new(&plan, number as u64, stores[0].0))
            .collect();
        World {
            now: 0,
            sequence: 0,
            heap: BinaryHeap::new(),
            nodes,
            stores,
            net: Net::new(&plan),
            clients,
            history: Vec::new(),
            next_request: 1,
            next_peer: 100,
            chance,
            trace,
            figures: Figures::default(),
            healing_since: None,
            growth: Growing::new(plan.seed),
            troubles: Troubles::new(plan.seed),
            election: Election::default(),
            matching: LogMatching::default(),
            pointers: Pointers::default(),
            callbacks: Callbacks::default(),
            effects: Vec::new(),
            splits: Splits::new(&plan),
            upkeep: Upkeep::new(plan.seed),
            broken: None,
            plan,
        }
    }

    /// Runs to the end: faults, healing, and what must hold then.
    pub fn run(mut self) -> (Figures, Verdict) {
        let verdict = self.go();
        self.figures.time = self.now;
        self.figures.elections = self.election.count();
        self.figures.entries = self.matching.count();
        for operation in &self.history {
            match operation.end() {
                u64::MAX => self.figures.unknown += 1,
                _ => self.figures.known += 1,
            }
        }
        (self.figures, verdict)
    }

    fn go(&mut self) -> Verdict {
        for node in 0..self.nodes.len() {
            self.start(node)?;
        }
        for client in 0..self.clients.len() {
            self.after(10 * MILLISECOND, Event::Client(client));
        }
        self.after(LOOK, Event::Look);
        self.after(self.plan.operations, Event::Operate);
        for (mean, event) in [
            (self.plan.crashes, Event::Crash),
            (self.plan.pauses, Event::Pause),
            (self.plan.partitions, Event::Part),
            (self.plan.full_disks, Event::Fill),
            (self.plan.failing_disks, Event::Fail),
        ] {
            if mean > 0 {
                let delay = self.around(mean);
                self.after(delay, event);
            }
        }
        self.plan_wipe();
        self.plan_trouble();
        self.plan_splits();
        self.plan_upkeep();
        while let Some(Scheduled { at, event, .. }) = self.heap.pop() {
            self.now = at;
            self.figures.events += 1;
            if self.healing_since.is_none() && self.now >= self.plan.chaos {
                self.heal()?;
            }
            if self.event(event)? {
                return self.last_checks();
            }
        }
        Ok(())
    }

    // -- time ------------------------------------------------------------------------------------

    pub(super) fn after(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        self.heap.push(Scheduled {
            at: self.now + delay,
            sequence: self.sequence,
            event,
        });
    }

    fn around(&mut self, mean: u64) -> u64 {
        mean / 4 + self.chance.below(mean * 3 / 2)
    }

    fn mix(&mut self, what: u64) {
        let mixed = (self.figures.hash ^ what ^ self.now).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.figures.hash = mixed ^ (mixed >> 29);
    }

    pub(super) fn tell(&self, line: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>12.3} ms  {}", self.now as f64 / 1e6, line());
        }
    }

    // -- events ----------------------------------------------------------------------------------

    /// Whether everything is over.
    fn event(&mut self, event: Event) -> Result<bool, Violation> {
        match event {
            Event::Tick(at) => {
                if self.is_now(at) {
                    self.after(10 * MILLISECOND, Event::Tick(at));
                    if !self.is_paused(at.node) {
                        self.input(at, Input::Clock);
                    }
                }
            }
            Event::Turn(at) => {
                if self.is_now(at) && !self.postponed(at, Event::Turn(at)) {
                    self.turn(at)?;
                }
            }
            Event::Done(at, work) => self.done(at, work),
            Event::Peer {
                from,
                to,
                edition,
                message,
            } => self.deliver(from, to, edition, message),
            Event::Arrives {
                request,
                client,
                store,
            } => self.arrives(request, client, store),
            Event::Answer {
                request,
                client,
                response,
            } => self.answer(request, client, Some(*response)),
            Event::GiveUp(client, request) => {
                let waits = self.clients[client]
                    .current
                    .as_ref()
                    .and_then(|current| current.request);
                if waits == Some(request) {
                    self.answer(request, client, None);
                }
            }
            Event::Client(client) => self.client(client),
            Event::Start(node) => self.start(node)?,
            Event::Look => {
                self.after(LOOK, Event::Look);
                return self.look();
            }
            Event::Operate => {
                if self.again(self.plan.operations, Event::Operate) {
                    self.operate();
                }
            }
            Event::Crash => {
                if self.again(self.plan.crashes, Event::Crash) {
                    let node = self.any_node();
                    self.crash(node);
                }
            }
            Event::CrashSoon(at) => {
                if self.is_now(at) && self.healing_since.is_none() {
                    self.crash(at.node);
                }
            }
            Event::Pause => {
                if self.again(self.plan.pauses, Event::Pause) {
                    let node = self.any_node();
                    let length = self.chance.below(4 * SECOND);
                    self.nodes[node].paused_until = self.now + length;
                    self.figures.pauses += 1;
                    self.tell(|| {
                        format!("node {node} stands still for {} ms", length / MILLISECOND)
                    });
                }
            }
            Event::Part => {
                if self.again(self.plan.partitions, Event::Part) {
                    self.net.part(self.nodes.len());
                    self.figures.partitions += 1;
                    self.tell(|| "a partition".into());
                    let length = self.chance.below(5 * SECOND);
                    self.after(length, Event::Join);
                }
            }
            Event::Join => {
                self.net.join();
                self.tell(|| "the partition is over".into());
            }
            Event::Fill => {
                if self.again(self.plan.full_disks, Event::Fill) {
                    let node = self.any_node();
                    self.figures.full_disks += 1;
                    self.tell(|| format!("the disk of node {node} is full"));
                    for host in &mut self.nodes[node].hosts {
                        let used = host.files.disk.used_bytes();
                        host.files.disk.set_capacity(used);
                    }
                    let length = self.chance.below(4 * SECOND);
                    self.after(length, Event::Empty(node));
                }
            }
            Event::Empty(node) => self.empty(node),
            Event::Ask(node, life) => self.ask(node, life),
            Event::Question(request, store) => self.question(request, store),
            Event::Told(request, response) => self.told(request, *response)?,
            Event::Wipe => self.wipe(),
            Event::Trouble(fault) => self.trouble(fault),
            Event::Split => self.split(),
            Event::Upkeep => self.keep_up(),
            Event::Fail => {
                if self.again(self.plan.failing_disks, Event::Fail) {
                    let node = self.any_node();
                    self.figures.failing_disks += 1;
                    self.tell(|| format!("the disk of node {node} fails"));
                    for host in &mut self.nodes[node].hosts {
                        host.files.disk.fail_writes_after(Some(0));
                    }
                }
            }
        }
        Ok(false)
    }

    /// Whether a fault is to happen; the next one is scheduled then.
    fn again(&mut self, mean: u64, event: Event) -> bool {
        if self.healing_since.is_some() {
            return false;
        }
        let delay = self.around(mean);
        self.after(delay, event);
        true
    }

    fn any_node(&mut self) -> usize {
        self.chance.below(self.nodes.len() as u64) as usize
    }

    pub(super) fn is_now(&self, at: At) -> bool {
        let node = &self.nodes[at.node];
        let runs = |host: &Host| host.shard.is_some();
        node.up && node.life == at.life && node.hosts.get(at.shard).is_some_and(runs)
    }

    pub(super) fn is_paused(&self, node: usize) -> bool {
        self.nodes[node].paused_until > self.now
    }

    /// Whether the node stands still; the event is put off until it does not.
    fn postponed(&mut self, at: At, event: Event) -> bool {
        let until = self.nodes[at.node].paused_until;
        let paused = until > self.now;
        if paused {
            self.after(until - self.now, event);
        }
        paused
    }

    /// Where a store is; nowhere, if its node has lost everything.
    pub(super) fn at(&self, store: StoreId) -> Option<At> {
        let (_, node) = *self.stores.iter().find(|(known, _)| *known == store)?;
        let hosts = &self.nodes[node].hosts;
        Some(At {
            node,
            shard: hosts.iter().position(|host| host.store == store)?,
            life: self.nodes[node].life,
        })
    }

    pub(super) fn input(&mut self, at: At, input: Input<'_>) {
        let time = self.nodes[at.node].clock.read(self.now);
        let host = &mut self.nodes[at.node].hosts[at.shard];
        if let Some(shard) = &mut host.shard {
            shard.handle(time, input);
            if !host.turn_due {
                host.turn_due = true;
                self.after(TURN, Event::Turn(at));
            }
        }
    }

    fn done(&mut self, at: At, work: Work) {
        if !self.is_now(at) {
            return;
        }
        let until = self.nodes[at.node].paused_until;
        if until > self.now {
            self.after(until - self.now, Event::Done(at, work));
            return;
        }
        let time = self.nodes[at.node].clock.read(self.now);
        let host = &mut self.nodes[at.node].hosts[at.shard];
        let Some(shard) = &mut host.shard else { return };
        host.files.end(work, &mut |input| shard.handle(time, input));
        if !host.turn_due {
            host.turn_due = true;
            self.after(TURN, Event::Turn(at));
        }
    }

    fn deliver(&mut self, from: StoreId, to: StoreId, edition: Edition, message: Box<PeerMessage>) {
        let Some(at) = self.at(to).filter(|at| self.is_now(*at)) else {
            return;
        };
        let until = self.nodes[at.node].paused_until;
        if until > self.now {
            // It waits in the socket, unless it is full.
            if self.chance.below(4) != 0 {
                let again = Event::Peer {
                    from,
                    to,
                    edition,
                    message,
                };
                self.after(until - self.now, again);
            }
            return;
        }
        self.greet(at.node, from, edition);
        self.input(at, Input::Peer { from, message });
    }

    fn turn(&mut self, at: At) -> Verdict {
        let host = &mut self.nodes[at.node].hosts[at.shard];
        host.turn_due = false;
        let Some(shard) = &mut host.shard else {
            return Ok(());
        };
        let mut effects = std::mem::take(&mut self.effects);
        shard.flush(&mut effects);
        let observations = shard.take_observations();
        let store = host.store;
        self.observe(at, store, observations)?;
        let mut stopped = None;
        for effect in effects.drain(..) {
            if let Some(why) = self.carry(at, store, effect)? {
                stopped = Some(why);
            }
        }
        self.effects = effects;
        if let Some(why) = stopped {
            self.tell(|| format!("store {store} stops: {why}"));
            self.end_process(at.node, true);
            return Ok(());
        }
        let host = &mut self.nodes[at.node].hosts[at.shard];
        if host.shard.as_ref().is_some_and(Shard::wants_turn) && !host.turn_due {
            host.turn_due = true;
            self.after(TURN, Event::Turn(at));
        }
        Ok(())
    }

    /// A node that has just promised something is where a crash hurts most.
    fn crash_soon(&mut self, at: At) {
        if self.plan.crash_after_vote > 0 && self.chance.below(100) < self.plan.crash_after_vote {
            let delay = self.chance.below(3 * self.plan.disk_latency.1);
            self.after(delay, Event::CrashSoon(at));
        }
    }

    /// Carries out an effect; why the shard has stopped, if it has.
    fn carry(
        &mut self,
        at: At,
        store: StoreId,
        effect: Effect,
    ) -> Result<Option<String>, Violation> {
        match effect {
            Effect::Log(effect) => {
                self.tell(|| format!("store {store} log: {effect:?}"));
                let host = &mut self.nodes[at.node].hosts[at.shard];
                let shard = host.shard.as_mut().expect("a running shard");
                let mut bytes = Vec::new();
                if let coracle_wal::Effect::Write(write) = &effect {
                    bytes.resize(write.len as usize, 0);
                    shard.encode(write, &mut bytes);
                    let lsn = write.lsn.0;
                    self.mix(lsn << 8 | 1);
                }
                let host = &mut self.nodes[at.node].hosts[at.shard];
                let (delay, work) = host.files.begin_log(effect, bytes);
                self.after(delay, Event::Done(at, work));
            }
            Effect::Store(effect) => {
                let host = &mut self.nodes[at.node].hosts[at.shard];
                let (delay, work) = host.files.begin_store(effect);
                self.mix(delay << 8 | 2);
                self.after(delay, Event::Done(at, work));
            }
            Effect::Send { to, message } => {
                self.mix(to.0 << 8 | 3);
                let there = match self.at(to) {
                    Some(there) if self.knows_address(at.node, to) => there.node,
                    _ => return Ok(None),
                };
                if let PeerMessage::Raft(raft) = &*message {
                    if raft.message.get_msg_type()
                        == raft::eraftpb::MessageType::MsgRequestVoteResponse
                    {
                        self.crash_soon(at);
                    }
                    self.mix(
                        raft.message.index << 16
                            ^ raft.message.term << 8
                            ^ raft.message.msg_type as u64,
                    );
                    self.tell(|| {
                        let raft = &raft.message;
                        format!(
                            "store {store} → {to}: {:?} term {} index {} commit {} entries {} reject {}",
                            raft.msg_type, raft.term, raft.index, raft.commit, raft.entries.len(), raft.reject
                        )
                    });
                } else {
                    self.tell(|| {
                        format!("store {store} → {to}: {message:?}")
                            .chars()
                            .take(300)
                            .collect()
                    });
                }
                let edition = self.nodes[at.node].membership.edition();
                for delay in self.net.carry(at.node, there) {
                    self.after(
                        delay,
                        Event::Peer {
                            from: store,
                            to,
                            edition,
                            message: message.clone(),
                        },
                    );
                }
            }
            Effect::Respond { to, response } => {
                self.callbacks.answered(to)?;
                self.check_response(at, &response)?;
                self.mix(to.0 << 8 | 4 | u64::from(response.is_ok()) << 7);
                self.answered_outside(at.node, to, &response);
                self.tell(|| {
                    format!("store {store} answers {to}: {response:?}")
                        .chars()
                        .take(300)
                        .collect()
                });
                let host = &mut self.nodes[at.node].hosts[at.shard];
                if let Some(client) = host.requests.remove(&to) {
                    let delay = 50_000 + self.chance.below(500_000);
                    self.after(
                        delay,
                        Event::Answer {
                            request: to,
                            client,
                            response: Box::new(response),
                        },
                    );
                }
            }
            Effect::Nodes(nodes) => self.told_nodes(at.node, nodes)?,
            Effect::Report(Report::Stopped(why)) => {
                let failing = self.plan.failing_disks > 0
                    || self.plan.full_disks > 0
                    || self.may_complain(at.node);
                if !failing {
                    return Err(Violation::new(
                        "reports",
                        format!("store {store} stopped: {why}"),
                    ));
                }
                return Ok(Some(why));
            }
            Effect::Report(Report::Removed(_)) if self.taken_out(at.node) => {
                return Ok(Some("its node is gone".into()));
            }
            Effect::Report(report) => self.complains(at, store, report)?,
        }
        Ok(None)
    }

    fn observe(&mut self, at: At, store: StoreId, observations: Vec<Observation>) -> Verdict {
        for observation in observations {
            match observation {
                Observation::Leads { region, peer, term } => {
                    self.tell(|| {
                        format!("store {store}: peer {peer} leads region {region} in term {term}")
                    });
                    self.mix(term.0 << 8 | 5);
                    self.crash_soon(at);
                    self.election.leads(region, term, peer)?;
                    let shard = self.nodes[at.node].hosts[at.shard].shard.as_ref();
                    let status = shard.map(Shard::statuses).unwrap_or_default();
                    if let Some(leader) = status
                        .iter()
                        .find(|status| status.region.id == region && status.term == term)
                    {
                        completeness::check(leader, self.matching.newest_before(region, term))?;
                    }
                }
                Observation::Applied {
                    region,
                    peer,
                    index,
                    term,
                    checksum,
                } => {
                    self.mix(index.0 << 32 | u64::from(checksum));
                    self.matching
                        .applied((region, peer), index, term, checksum)?;
                }
                Observation::Restored {
                    region,
                    peer,
                    index,
                    term,
                } => {
                    self.figures.snapshots += 1;
                    self.tell(|| {
                        format!("store {store}: peer {peer} of region {region} restored at {index}")
                    });
                    self.matching.restored((region, peer), index, term)?;
                }
                Observation::Replays {
                    region,
                    peer,
                    index,
                } => {
                    self.mix(index.0 << 8 | 6);
                    self.matching.replays(region, peer, index);
                }
                Observation::Split { region, version } => {
                    self.has_split(region, version);
                    self.tell(|| {
                        format!("store {store}: region {region} is split, version {version}")
                    });
                }
                Observation::SplitsItself { region, version } => {
                    self.splits_itself(region, version);
                    self.tell(|| {
                        format!("store {store}: region {region} splits itself, version {version}")
                    });
                }
                Observation::Quiet { region, peer } => {
                    self.figures.quiets += 1;
                    self.mix(peer.0 << 8 | 7);
                    self.tell(|| format!("store {store}: peer {peer} of region {region} is quiet"));
                }
                Observation::Woken { region, peer } => {
                    self.figures.wakes += 1;
                    self.mix(peer.0 << 8 | 8);
                    self.tell(|| format!("store {store}: peer {peer} of region {region} wakes"));
                }
                Observation::Destroyed { region, peer } => {
                    self.figures.destroyed += 1;
                    self.pointers.gone(store, region, peer);
                    self.tell(|| format!("store {store}: peer {peer} of region {region} is gone"));
                }
            }
        }
        Ok(())
    }

    // -- nodes -----------------------------------------------------------------------------------

    pub(super) fn start(&mut self, node: usize) -> Verdict {
        if self.nodes[node].up || !self.may_start(node) {
            return Ok(());
        }
        self.nodes[node].life += 1;
        self.nodes[node].up = true;
        self.nodes[node].paused_until = 0;
        let life = self.nodes[node].life;
        self.tell(|| format!("node {node} starts, life {life}"));
        if self.plan.growth.is_some() && !self.nodes[node].membership.is_complete() {
            self.begin_asking(node);
            return Ok(());
        }
        if self.plan.growth.is_some() {
            self.perhaps_move(node);
        }
        self.open(node)
    }

    /// The shards of a process begin.
    pub(super) fn open(&mut self, node: usize) -> Verdict {
        let life = self.nodes[node].life;
        self.lives(node);
        let time = self.nodes[node].clock.read(self.now);
        let regions = self.first_regions();
        for shard in 0..self.plan.shards {
            let host = &mut self.nodes[node].hosts[shard];
            host.files.disk.fail_writes_after(None);
            let fresh = host.files.disk.is_empty();
            let store = host.store;
            let (log, engine) = match start::open(&self.plan, store, &mut host.files) {
                Ok(opened) => opened,
                // A process that finds no space to start ends, and is started again.
                Err(_) if host.files.disk.free_bytes() < 1 << 20 => {
                    self.end_process(node, true);
                    return Ok(());
                }
                // One whose data is damaged, or cannot be read, says so and does not run.
                Err(why) if self.may_complain(node) => {
                    self.tell(|| format!("store {store} does not open: {why}"));
                    self.figures.unopened += 1;
                    self.end_process(node, true);
                    return Ok(());
                }
                Err(why) => {
                    return Err(Violation::new(
                        "recovery",
                        format!("store {store} does not open: {why}"),
                    ));
                }
            };
            let options = ShardOptions {
                cluster: ClusterId(1),
                node: self.nodes[node].membership.node,
                store,
                boot: self.chance.next_u64(),
                seed: self.chance.next_u64(),
                limits: self.plan.limits,
                placement: match &self.plan.growth {
                    Some(growth) => growth.placement.clone(),
                    None => crate::placement::Options::default(),
                },
                mutant: self.plan.mutant,
                observe: true,
            };
            let blank = log.regions().next().is_none();
            let mut opened = Shard::open(options, time, log, engine);
            let membership = &self.nodes[node].membership;
            if self.plan.growth.is_none() {
                if store == StoreId(1) && (fresh || blank) {
                    opened.bootstrap(regions.clone());
                }
            } else if membership.founds && blank {
                opened.bootstrap_cluster(membership.record(), regions.clone());
            } else {
                let nodes = membership.nodes.clone();
                opened.handle(time, Input::Nodes(nodes));
            }
            let host = &mut self.nodes[node].hosts[shard];
            host.shard = Some(opened);
            host.turn_due = true;
            let at = At { node, shard, life };
            self.after(TURN, Event::Turn(at));
            self.after(10 * MILLISECOND, Event::Tick(at));
        }
        Ok(())
    }

    /// Region 1 with the system keys, and regions that share the user keys.
    fn first_regions(&self) -> Vec<Region> {
        let count = self.plan.regions;
        let bound = |place: usize| match place {
            0 => vec![1],
            place if place == count => vec![2],
            place => format!("\u{1}{place}").into_bytes(),
        };
        let region = |id: u64, start: Vec<u8>, limit: Vec<u8>| Region {
            id: RegionId(id),
            epoch: Epoch {
                version: 1,
                conf_ver: 1,
            },
            range: coracle_engine::record::KeyRange { start, limit },
            peers: vec![PeerInfo {
                peer: PeerId(id),
                // A cluster that grows begins on all shards of its first node.
                store: match self.plan.growth {
                    None => StoreId(1),
                    Some(_) => StoreId(1 + (id - 1) % self.plan.shards as u64),
                },
                role: Role::Voter,
            }],
        };
        let mut regions = vec![region(1, vec![0], vec![1])];
        for place in 0..count {
            regions.push(region(2 + place as u64, bound(place), bound(place + 1)));
        }
        regions
    }

    fn crash(&mut self, node: usize) {
        if !self.nodes[node].up {
            return;
        }
        let kill = self.chance.below(3) == 0;
        self.figures.crashes += 1;
        self.tell(|| {
            format!(
                "node {node} {}",
                if kill { "is killed" } else { "loses power" }
            )
        });
        self.end_process(node, kill);
    }

    /// A process ends: killed, or with the power of its machine.
    pub(super) fn end_process(&mut self, node: usize, kill: bool) {
        let fate = Fate::ALL[self.chance.below(Fate::ALL.len() as u64) as usize];
        let seed = self.chance.next_u64();
        self.nodes[node].up = false;
        self.callbacks.ended(node);
        let (mut orphans, mut open) = (Vec::new(), Vec::new());
        for host in &mut self.nodes[node].hosts {
            if let Some(shard) = host.shard.take() {
                open.extend(shard.log().is_open().then_some(host.store));
                for status in shard.statuses() {
                    orphans.push((host.store, status));
                }
            }
            match kill {
                true => host.files.disk.kill(fate, seed),
                false => host.files.disk.power_cut(fate, seed),
            }
            host.turn_due = false;
            host.requests.clear();
        }
        for (store, status) in &orphans {
            let seen = self.pointers.look(*store, status);
            self.note(seen);
            self.matching.restarted(status.region.id, status.peer);
        }
        for host in &self.nodes[node].hosts {
            self.pointers.ended(host.store, open.contains(&host.store));
        }
        let delay = MILLISECOND + self.chance.below(self.plan.down);
        self.after(delay, Event::Start(node));
    }

    fn empty(&mut self, node: usize) {
        self.tell(|| format!("the disk of node {node} has space again"));
        for shard in 0..self.nodes[node].hosts.len() {
            self.nodes[node].hosts[shard]
                .files
                .disk
                .set_capacity(u64::MAX);
            let at = At {
                node,
                shard,
                life: self.nodes[node].life,
            };
            if self.is_now(at) {
                self.input(
                    at,
                    Input::Space {
                        bytes_free: 1 << 30,
                    },
                );
            }
        }
    }

    /// Drivers look now and then how much space there is.
    fn tell_space(&mut self) {
        for place in 0..self.stores.len() {
            let Some(at) = self.at(self.stores[place].0) else {
                continue;
            };
            if self.is_now(at) && !self.is_paused(at.node) {
                let disk = &self.nodes[at.node].hosts[at.shard].files.disk;
                let bytes_free = disk.free_bytes().min(1 << 30);
                self.input(at, Input::Space { bytes_free });
            }
        }
    }

    fn heal(&mut self) -> Verdict {
        self.healing_since = Some(self.now);
        self.tell(|| "all faults are over".into());
        self.net.heal();
        for node in 0..self.nodes.len() {
            self.nodes[node].paused_until = 0;
            if !self.troubles.is_damaged(node) {
                self.nodes[node].membership.lost_until = None;
            }
            for host in &mut self.nodes[node].hosts {
                host.files.disk.fail_writes_after(None);
            }
            self.empty(node);
            self.start(node)?;
        }
        self.heal_trouble();
        Ok(())
    }

    // -- clients ---------------------------------------------------------------------------------

    fn client(&mut self, client: usize) {
        if self.clients[client].current.is_none() {
            if let Some(left) = self.plan.lull_left(self.now) {
                return self.after(left, Event::Client(client));
            }
            // They go on for a while after the faults, and then let the replicas catch up.
            if self
                .healing_since
                .is_some_and(|since| self.now > since + 5 * SECOND)
            {
                return;
            }
            let now = self.now;
            self.clients[client].begin(now);
        }
        let request = RequestId(self.next_request);
        self.next_request += 1;
        let believed = self.clients[client].believed[self.clients[client].region];
        let freshness = self.clients[client]
            .current
            .as_ref()
            .map(|current| current.freshness);
        // A read of any replica goes anywhere; now and then a client tries its luck, too.
        let store = match freshness == Some(Freshness::AnyReplica) || self.chance.below(6) == 0 {
            true => self.stores[self.chance.below(self.stores.len() as u64) as usize].0,
            false => believed,
        };
        if let Some(current) = &mut self.clients[client].current {
            current.request = Some(request);
        }
        let delay = 50_000 + self.chance.below(500_000);
        self.after(
            delay,
            Event::Arrives {
                request,
                client,
                store,
            },
        );
        let patience = self.clients[client].patience();
        self.after(patience, Event::GiveUp(client, request));
    }

    fn arrives(&mut self, request: RequestId, client: usize, store: StoreId) {
        let Some(at) = self.at(store).filter(|at| self.is_now(*at)) else {
            // The connection is refused: it certainly was not done.
            return self.answer(
                request,
                client,
                Some(Err(crate::shard::error::Error::StaleCommand)),
            );
        };
        if self.postponed(
            at,
            Event::Arrives {
                request,
                client,
                store,
            },
        ) {
            return;
        }
        let Some(current) = self.clients[client].current.clone() else {
            return;
        };
        if current.request != Some(request) {
            return;
        }
        self.given(request, at);
        self.nodes[at.node].hosts[at.shard]
            .requests
            .insert(request, client);
        let mut current = current;
        if current.many != Many::One {
            // Whoever asks for several keys asks each region for its own.
            let shard = self.nodes[at.node].hosts[at.shard].shard.as_ref();
            let here = shard.and_then(|shard| shard.region_at(&current.operations[0].key));
            if let Some(here) = here {
                let inside = |operation: &Operation| here.range.contains(&operation.key);
                current.operations.retain(inside);
                self.clients[client].current = Some(current.clone());
            }
        }
        let freshness = current.freshness;
        let first = &current.operations[0];
        let key = &first.key[..];
        if self.plan.reads_at_hand
            && request.0.is_multiple_of(2)
            && freshness == Freshness::Linearizable
            && matches!((&first.kind, current.many), (Kind::Get, Many::One))
            && self.read_at_hand(at, store, request, key)
        {
            return;
        }
        let keys: Vec<&[u8]> = current
            .operations
            .iter()
            .map(|operation| &operation.key[..])
            .collect();
        let mut write = [Write::Delete { key }];
        let limit = last_limit(&keys);
        let body = match (&first.kind, current.many) {
            (_, Many::MultiGet) => Body::MultiGet {
                keys: &keys,
                freshness,
            },
            (_, Many::Scan(reverse)) => Body::Scan {
                start: keys[0],
                limit: &limit,
                count: 1000,
                reverse,
                freshness,
            },
            (Kind::Get, Many::One) => Body::Get { key, freshness },
            (Kind::Put(value), _) => {
                write[0] = Write::Put {
                    key,
                    value,
                    expiry_ms: None,
                };
                Body::Write(&write)
            }
            (Kind::Delete, _) => Body::Write(&write),
            (Kind::CompareAndPut { expected, new }, _) => {
                write[0] = Write::CompareAndPut {
                    key,
                    expected: expected.as_deref(),
                    value: new.as_deref(),
                };
                Body::Write(&write)
            }
            (Kind::Add(delta), _) => {
                write[0] = Write::Add { key, delta: *delta };
                Body::Write(&write)
            }
        };
        self.input(
            at,
            Input::Request {
                id: request,
                request: Request { region: None, body },
            },
        );
    }

    /// Answers a read while it is asked, if that can be.
    fn read_at_hand(&mut self, at: At, store: StoreId, request: RequestId, key: &[u8]) -> bool {
        let time = self.nodes[at.node].clock.read(self.now);
        let host = &mut self.nodes[at.node].hosts[at.shard];
        let Some(shard) = &mut host.shard else {
            return false;
        };
        let mut answer = None;
        let tell = |value: Option<&[u8]>| answer = Some(value.map(Bytes::copy_from_slice));
        shard.at_hand(time).get(key, tell);
        // Time has passed for the shard, and may have given it something to do.
        if shard.wants_turn() && !host.turn_due {
            host.turn_due = true;
            self.after(TURN, Event::Turn(at));
        }
        let Some(value) = answer else { return false };
        let response = Ok(Answer::Value(value));
        let to = request;
        if let Err(violation) = self.carry(at, store, Effect::Respond { to, response }) {
            self.broken.get_or_insert(violation);
        }
        self.figures.reads_at_hand += 1;
        true
    }

    fn answer(&mut self, request: RequestId, client: usize, response: Option<Response>) {
        if client == usize::MAX {
            return;
        }
        let now = self.now;
        let waits = self.clients[client]
            .current
            .as_ref()
            .and_then(|current| current.request);
        if waits != Some(request) {
            return;
        }
        let next = self.clients[client].answered(now, response, &mut self.history);
        let delay = match next {
            Next::Another => self.clients[client].pause(),
            Next::Again(Some(_)) => 100_000,
            Next::Again(None) => {
                let region = self.clients[client].region;
                let store = self.stores[self.chance.below(self.stores.len() as u64) as usize].0;
                self.clients[client].believed[region] = store;
                5 * MILLISECOND + self.chance.below(40 * MILLISECOND)
            }
        };
        self.after(delay, Event::Client(client));
    }

    // -- the operator ----------------------------------------------------------------------------

    pub(super) fn statuses(&self) -> Vec<(StoreId, PeerStatus)> {
        let hosts = self
            .nodes
            .iter()
            .filter(|node| node.up)
            .flat_map(|node| &node.hosts);
        hosts
            .filter_map(|host| Some((host.store, host.shard.as_ref()?)))
            .flat_map(|(store, shard)| {
                shard
                    .statuses()
                    .into_iter()
                    .map(move |status| (store, status))
            })
            .collect()
    }

    fn operate(&mut self) {
        let statuses = self.statuses();
        let regions = self.known_regions();
        let region = regions[self.chance.below(regions.len() as u64) as usize];
        let leader = statuses
            .iter()
            .filter(|(_, status)| status.region.id == region && status.leads)
            .max_by_key(|(_, status)| status.term);
        let Some((store, leader)) = leader else {
            return;
        };
        let peers: Vec<_> = statuses
            .iter()
            .filter(|(_, status)| status.region.id == region)
            .cloned()
            .collect();
        let sight = Sight {
            stores: &self.stores,
            leader,
            peers: &peers,
            wanted: self.plan.replicas,
        };
        let next_peer = match self.plan.growth {
            None => PeerId(self.next_peer),
            // Where placement gives ids, the operator asks for one like everybody else.
            Some(_) => match self.growth.take_id(self.now) {
                Some(id) => PeerId(id),
                None => return self.ask_for_id(),
            },
        };
        let Some(wish) = operator::decide(&sight, &mut self.chance, next_peer) else {
            return;
        };
        self.next_peer += 1;
        self.figures.operations += 1;
        self.tell(|| format!("the operator wants {wish:?}"));
        let Some(at) = self.at(*store) else { return };
        if !self.is_now(at) || self.is_paused(at.node) {
            return;
        }
        let id = RequestId(OPERATOR + self.figures.operations);
        self.given(id, at);
        let (region, epoch) = (leader.region.id, leader.region.epoch);
        let body = match &wish {
            Wish::Change(_, changes) => Body::ChangePeers { region, changes },
            Wish::Transfer(_, to) => Body::TransferLeader { region, to: *to },
        };
        self.input(
            at,
            Input::Request {
                id,
                request: Request {
                    region: Some((region, epoch)),
                    body,
                },
            },
        );
    }

    /// A shard is given a request.
    pub(super) fn given(&mut self, request: RequestId, at: At) {
        let given = self.callbacks.given(request, at.node, at.life, self.now);
        self.note(given);
    }

    /// What was seen is told at the next look.
    fn note(&mut self, verdict: Verdict) {
        if let Err(violation) = verdict {
            self.broken.get_or_insert(violation);
        }
    }

    // -- looking ---------------------------------------------------------------------------------

    /// Looks at everything; whether all is over.
    fn look(&mut self) -> Result<bool, Violation> {
        if self.figures.events.is_multiple_of(7) {
            self.tell_space();
        }
        if let Some(violation) = self.broken.take() {
            return Err(violation);
        }
        let statuses = self.statuses();
        self.look_at_bounds()?;
        let initialized = statuses.iter().filter(|(_, status)| status.initialized);
        let regions = initialized.map(|(_, status)| status.region.id);
        self.splits.regions.extend(regions);
        for (store, status) in &statuses {
            self.pointers.look(*store, status)?;
        }
        for (store, _) in &self.stores {
            let here: Vec<_> = statuses
                .iter()
                .filter(|(other, _)| other == store)
                .map(|(_, status)| status.clone())
                .collect();
            coverage::check_store(*store, &here)?;
        }
        self.callbacks.check(self.now.saturating_sub(30 * SECOND))?;
        self.look_at_growth()?;
        let Some(since) = self.healing_since else {
            return Ok(false);
        };
        if self.now < since + 6 * SECOND {
            return Ok(false);
        }
        let clients_done = self.clients.iter().all(|client| client.current.is_none());
        match self.is_well() {
            Ok(()) if clients_done => Ok(true),
            Err(why) if self.now > since + HEALING => Err(Violation::new(
                "liveness",
                format!(
                    "after {} s without faults: {why}{}",
                    HEALING / SECOND,
                    self.describe()
                ),
            )),
            _ if self.now > since + HEALING + 30 * SECOND => Err(Violation::new(
                "liveness",
                "clients are never answered".into(),
            )),
            _ => Ok(false),
        }
    }

    /// Whether every shard holds no more than it may.
    fn look_at_bounds(&self) -> Verdict {
        let (limits, options) = (log_limits(&self.plan), store_options(&self.plan));
        for host in self.nodes.iter().flat_map(|node| &node.hosts) {
            if let Some(shard) = &host.shard {
                let held = shard.bounds(&limits, &options);
                bounds::check_shard(host.store, &held)?;
                // Until it is open, tables lie there that an earlier life had no disk to remove from.
                if !shard.is_open() {
                    continue;
                }
                bounds::check_disk(
                    host.store,
                    &host.files.disk,
                    &limits,
                    &options,
                    shard.store(),
                )?;
            }
        }
        Ok(())
    }

    fn describe(&self) -> String {
        let hosts = self.nodes.iter().flat_map(|node| &node.hosts);
        let shards = hosts.filter_map(|host| host.shard.as_ref());
        shards
            .map(|shard| format!("\n  {}", shard.describe()))
            .collect()
    }

    /// Whether every region is led, and all its peers are there and equally far.
    fn is_well(&self) -> Result<(), String> {
        let statuses = self.statuses();
        self.is_grown(&statuses)?;
        if self.plan.growth.is_some() {
            self.is_emptied(&statuses)?;
        }
        for region in self.known_regions() {
            let of: Vec<_> = statuses
                .iter()
                .filter(|(_, status)| status.region.id == region)
                .collect();
            let leader = of
                .iter()
                .filter(|(_, status)| status.leads)
                .max_by_key(|(_, status)| status.term);
            let Some((_, leader)) = leader else {
                return Err(format!("region {region} has no leader: {of:?}"));
            };
            if leader.region.is_joint() {
                return Err(format!("region {region} stays joint: {of:?}"));
            }
            for info in &leader.region.peers {
                let there = of
                    .iter()
                    .find(|(store, status)| *store == info.store && status.peer == info.peer);
                match there {
                    Some((_, status)) if status.applied == leader.last && status.initialized => {}
                    other => {
                        return Err(format!(
                            "region {region}: peer {info:?} of {leader:?} stands at {other:?}"
                        ));
                    }
                }
            }
            if let Some(extra) = of
                .iter()
                .find(|(_, status)| leader.region.peer(status.peer).is_none())
            {
                return Err(format!("region {region}: {extra:?} should be gone"));
            }
        }
        Ok(())
    }

    fn last_checks(&mut self) -> Verdict {
        let statuses = self.statuses();
        coverage::check_cluster(statuses.iter().map(|(_, status)| status), &[2])?;
        if self.plan.clocks_sound || self.plan.limits.lease == 0 {
            linearizability::check(&self.history)?;
        } else {
            // A lease means nothing by such clocks. What a write saw never rests on one.
            let operations = self.history.iter();
            let writes: Vec<_> = operations
                .filter(|operation| operation.kind != Kind::Get)
                .cloned()
                .collect();
            linearizability::check(&writes)?;
        }
        Ok(())
    }
}

/// Just behind the last key.
fn last_limit(keys: &[&[u8]]) -> Vec<u8> {
    let mut limit = keys[keys.len() - 1].to_vec();
    limit.push(0);
    limit
}
