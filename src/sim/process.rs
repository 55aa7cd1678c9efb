//! Nodes: processes that start, end, and lose what was not durable.

use std::collections::BTreeMap;

use super::check::{Verdict, Violation};
use super::clock::Clock;
use super::disk::Fate;
use super::event::{At, Event};
use super::files::Files;
use super::growth::Membership;
use super::plan::Plan;
use super::start;
use super::world::{TURN, World};
use crate::shard::Shard;
use crate::shard::door::Input;
use crate::shard::ids::{ClusterId, PeerId, RegionId, RequestId, StoreId};
use crate::shard::options::ShardOptions;
use crate::shard::region::{Epoch, PeerInfo, Region, Role};
use crate::shard::time::MILLISECOND;

/// One shard of a node.
pub(super) struct Host {
    pub(super) store: StoreId,
    pub(super) files: Files,
    pub(super) shard: Option<Shard>,
    pub(super) turn_due: bool,
    /// Requests that it holds, with their clients.
    pub(super) requests: BTreeMap<RequestId, usize>,
    /// Whether it says in this life that its node was taken out, and that it holds nothing.
    pub(super) is_over: bool,
}

/// A process.
pub(super) struct Node {
    pub(super) hosts: Vec<Host>,
    pub(super) clock: Clock,
    pub(super) life: u64,
    /// When this life began.
    pub(super) began: u64,
    /// Lives in a row that were cut short as soon as something was promised.
    pub(super) hasty: u32,
    pub(super) up: bool,
    pub(super) paused_until: u64,
    /// What it knows of itself and of others.
    pub(super) membership: Membership,
}

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
            is_over: false,
        }
    }
}

/// How many lives in a row are cut short as soon as something was promised. Each begins a segment of the log, and
/// entries that nobody lives to commit keep it: without a bound there is a number of lives that no log survives.
const HASTY_MAX: u32 = 24;

/// A life that was not cut short lasts so long at least.
const HASTY: u64 = 500 * MILLISECOND;

impl World {
    /// Whether a node may be killed where a crash hurts most: not in each of its lives.
    pub(super) fn may_crash_again(&mut self, node: usize) -> bool {
        let process = &mut self.nodes[node];
        process.hasty = match self.now - process.began < HASTY {
            true => process.hasty + 1,
            false => 0,
        };
        process.hasty <= HASTY_MAX
    }

    pub(super) fn start(&mut self, node: usize) -> Verdict {
        if self.nodes[node].up || !self.may_start(node) {
            return Ok(());
        }
        self.nodes[node].life += 1;
        self.nodes[node].began = self.now;
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
            host.is_over = false;
            host.turn_due = true;
            let at = At { node, shard, life };
            self.after(TURN, Event::Turn(at));
            self.after(10 * MILLISECOND, Event::Tick(at));
        }
        Ok(())
    }

    /// Region 1 with the system keys, and regions that share the user keys.
    pub(super) fn first_regions(&self) -> Vec<Region> {
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

    pub(super) fn crash(&mut self, node: usize) {
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

    pub(super) fn empty(&mut self, node: usize) {
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
    pub(super) fn tell_space(&mut self) {
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
}
