//! A whole cluster in one thread and virtual time.
//!
//! Everything that happens is an event with a moment; the heap hands them out in order. A shard is given
//! inputs by `handle` and takes its turn by `flush` a little later, as on a real core; its effects become
//! events again. One seed decides everything.

use std::collections::BinaryHeap;

use super::check::callbacks::Callbacks;
use super::check::election::Election;
use super::check::log_matching::LogMatching;
use super::check::pointers::Pointers;
use super::check::{Verdict, Violation};
use super::clock::Clock;
use super::disk::Chance;
use super::event::{At, Event, Scheduled};
use super::figures::Figures;
use super::files::Work;
use super::growth::{Growing, Membership};
use super::history::Operation;
use super::net::Net;
use super::plan::{Plan, SECOND};
use super::process::{Host, Node};
use super::splits::Splits;
use super::tell::tell;
use super::trouble::Troubles;
use super::upkeep::Upkeep;
use super::workload::Client;
use crate::shard::door::{Effect, Input};
use crate::shard::ids::{Edition, StoreId};
use crate::shard::message::PeerMessage;
use crate::shard::time::MILLISECOND;

/// After the faults, a cluster has so long to be well again.
pub(super) const HEALING: u64 = 60 * SECOND;

/// Virtual time between two looks at everything.
pub(super) const LOOK: u64 = 100 * MILLISECOND;

/// A turn costs about this much.
pub(super) const TURN: u64 = 20_000;

/// A whole cluster.
pub struct World {
    pub(super) plan: Plan,
    pub(super) now: u64,
    pub(super) sequence: u64,
    pub(super) heap: BinaryHeap<Scheduled>,
    pub(super) nodes: Vec<Node>,
    /// Where each store is.
    pub(super) stores: Vec<(StoreId, usize)>,
    pub(super) net: Net,
    pub(super) clients: Vec<Client>,
    pub(super) history: Vec<Operation>,
    pub(super) next_request: u64,
    pub(super) next_peer: u64,
    pub(super) chance: Chance,
    pub(super) trace: bool,
    pub(super) figures: Figures,
    pub(super) healing_since: Option<u64>,
    /// Who joins, and what is asked for that.
    pub(super) growth: Growing,
    /// Faults of the later kinds.
    pub(super) troubles: Troubles,
    pub(super) election: Election,
    pub(super) matching: LogMatching,
    pub(super) pointers: Pointers,
    pub(super) callbacks: Callbacks,
    pub(super) effects: Vec<Effect>,
    /// Splits, and the regions that there are.
    pub(super) splits: Splits,
    /// What is asked of placement.
    pub(super) upkeep: Upkeep,
    /// What was seen where nothing could be said of it.
    pub(super) broken: Option<Violation>,
}

/// The ids of the operator's requests begin here.
pub(super) const OPERATOR: u64 = 1 << 40;

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
                began: 0,
                hasty: 0,
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

    pub(super) fn go(&mut self) -> Verdict {
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

    pub(super) fn after(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        self.heap.push(Scheduled {
            at: self.now + delay,
            sequence: self.sequence,
            event,
        });
    }

    pub(super) fn around(&mut self, mean: u64) -> u64 {
        mean / 4 + self.chance.below(mean * 3 / 2)
    }

    pub(super) fn mix(&mut self, what: u64) {
        let mixed = (self.figures.hash ^ what ^ self.now).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.figures.hash = mixed ^ (mixed >> 29);
    }

    pub(super) fn tell(&self, line: impl FnOnce() -> String) {
        if self.trace {
            tell(format_args!(
                "{:>12.3} ms  {}",
                self.now as f64 / 1e6,
                line()
            ));
        }
    }

    /// Whether everything is over.
    pub(super) fn event(&mut self, event: Event) -> Result<bool, Violation> {
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
                if self.is_now(at) && self.healing_since.is_none() && self.may_crash_again(at.node)
                {
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
    pub(super) fn again(&mut self, mean: u64, event: Event) -> bool {
        if self.healing_since.is_some() {
            return false;
        }
        let delay = self.around(mean);
        self.after(delay, event);
        true
    }

    pub(super) fn any_node(&mut self) -> usize {
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
    pub(super) fn postponed(&mut self, at: At, event: Event) -> bool {
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

    pub(super) fn done(&mut self, at: At, work: Work) {
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

    pub(super) fn deliver(
        &mut self,
        from: StoreId,
        to: StoreId,
        edition: Edition,
        message: Box<PeerMessage>,
    ) {
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

    pub(super) fn heal(&mut self) -> Verdict {
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
        for node in 0..self.nodes.len() {
            if self.plan.growth.is_some() && !self.reaches_others(node) {
                let life = self.nodes[node].life;
                self.after(0, Event::Ask(node, life));
            }
        }
        self.heal_trouble();
        Ok(())
    }
}
