//! A whole run: a cluster grows under fire, faults come one by one, and in the end everything is compared.

use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use coracle::shard::request::{Answer, Body, Freshness};
use coracle::sim::check::linearizability;
use coracle::sim::disk::Chance;
use coracle::sim::history::{Kind, Operation, Outcome, Seen};

use crate::cluster::{Cluster, NODES};
use crate::crowd::Crowd;
use crate::fault::{Done, Fault, Faults};
use crate::native::Native;
use crate::outage::Outages;
use crate::{commands, deed, load, replicas, value, wait};

/// Deeds that must be done before the next fault.
const DEEDS: u64 = 3000;

/// Deeds that every node must have done after a fault.
const DEEDS_EACH: u64 = 10;

/// What a run is like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many faults.
    pub rounds: u64,
    /// Shards of each node.
    pub shards: u16,
    /// Whether nodes lose everything, too.
    pub wipes: bool,
}

/// A run.
pub struct Trial {
    cluster: Cluster,
    crowd: Crowd,
    chance: Chance,
    done: Done,
    outages: Outages,
    /// Keys of rounds that are over: what they held, and whether that is certain.
    settled: Vec<(Vec<u8>, Option<Vec<u8>>, bool)>,
    operations: usize,
}

impl Trial {
    /// Runs it. What is wrong ends the test; files and logs stay then.
    pub fn run(seed: u64, shape: Shape) {
        let begun = Instant::now();
        let home = tempfile::Builder::new()
            .prefix("coracle-processes-")
            .tempdir();
        let home = home.expect("a directory").keep();
        let cluster = Cluster::new(&home, shape.shards);
        let pause_micros = crate::setting("CORACLE_TEST_PAUSE", 4000);
        let crowd = Crowd::gather(seed, cluster.ports(), shape.shards, pause_micros);
        let mut trial = Trial {
            cluster,
            crowd,
            chance: Chance::new(seed),
            done: Done::default(),
            outages: Outages::default(),
            settled: Vec::new(),
            operations: 0,
        };
        let result = trial.all(shape);
        let counts = trial.crowd.common.counts();
        let told = format!(
            "seed {seed}, {} shards: {} s, {}; {} SIGKILLs; {} deeds done, {} writes unknown, {} reads lost, {} \
             refused; {} operations checked; without a leader: {}",
            shape.shards,
            begun.elapsed().as_secs(),
            trial.done.summary(),
            trial.done.kills,
            counts.done,
            counts.unknown,
            counts.unread,
            counts.refused,
            trial.operations,
            trial.outages.summary(),
        );
        println!("{told}");
        match result {
            Ok(()) => drop(std::fs::remove_dir_all(&home)),
            Err(why) => fail(trial, seed, shape, home, &why),
        }
    }

    fn all(&mut self, shape: Shape) -> Result<(), String> {
        self.grow()?;
        for round in 1..=shape.rounds {
            let fault = Fault::draw(&mut self.chance, shape.wipes);
            self.round(round, fault)
                .map_err(|why| format!("round {round}, {fault:?}: {why}"))?;
        }
        self.finish(shape.rounds + 1)
    }

    /// The first node founds the cluster, the others join, and nodes are killed meanwhile.
    fn grow(&mut self) -> Result<(), String> {
        self.cluster.nodes[0].start();
        if self.chance.toss() {
            // Founding is cut short.
            wait::pass(self.chance.below(300));
            self.faults().kill(0);
            self.cluster.nodes[0].start();
        }
        for node in 1..NODES {
            self.cluster.nodes[node].start();
        }
        for _ in 0..self.chance.below(5) {
            wait::pass(self.chance.below(700));
            if self.cluster.missing().is_none() {
                break;
            }
            let node = self.chance.below(NODES as u64) as usize;
            self.done.count("kills while the cluster grows");
            self.faults().kill(node);
            self.cluster.nodes[node].start();
        }
        for node in &mut self.cluster.nodes {
            node.wait_ready()?;
        }
        self.tell("all nodes serve");
        self.cluster.wait_whole()?;
        self.tell("the cluster has grown");
        commands::all(&self.cluster)?;
        let mib = crate::setting("CORACLE_TEST_LOAD_MIB", 4);
        load::load(&self.cluster, &self.crowd.common, mib)?;
        self.tell(&format!("{mib} MiB are loaded"));
        self.check()
    }

    /// Says how far it is; shown when the test fails.
    fn tell(&self, what: &str) {
        let seconds = self.crowd.common.now() / 1_000_000;
        let done = self.crowd.common.counts().done;
        println!("{:>8.3} s {done:>8} deeds: {what}", seconds as f64 / 1000.0);
    }

    fn faults(&mut self) -> Faults<'_> {
        Faults {
            cluster: &mut self.cluster,
            chance: &mut self.chance,
            done: &mut self.done,
        }
    }

    fn check(&mut self) -> Result<(), String> {
        let wrong = self.crowd.common.wrong();
        let told = wrong.or_else(|| self.cluster.complaint());
        told.map_or(Ok(()), Err)
    }

    fn round(&mut self, round: u64, fault: Fault) -> Result<(), String> {
        let common = self.crowd.common.clone();
        let before = common.counts().done;
        wait::until("clients are answered", || {
            (common.counts().done >= before + DEEDS).then_some(())
        })?;
        self.tell(&format!("round {round}, {fault:?}"));
        let at = self.faults().act(fault, || common.now())?;
        for node in &mut self.cluster.nodes {
            node.wait_ready()?;
        }
        self.tell("all nodes serve");
        let before = common.by_node();
        wait::until("every node answers again", || {
            let mut each = common.by_node().into_iter().zip(&before);
            each.all(|(now, before)| now >= before + DEEDS_EACH)
                .then_some(())
        })?;
        self.tell("all nodes answer");
        let acks = common.take_acks();
        if fault.is_failover() {
            self.outages.learn(at, &acks);
        }
        self.settle(round)?;
        self.check()
    }

    /// Clients leave the keys of a round, which are read a last time and judged.
    fn settle(&mut self, round: u64) -> Result<(), String> {
        let common = self.crowd.common.clone();
        common.round.store(round + 1, SeqCst);
        wait::until("clients take other keys", || {
            self.crowd.has_moved_on(round + 1).then_some(())
        })?;
        let keys = deed::shared(round);
        self.tell("clients take other keys");
        let last = self.read(&keys)?;
        let mut history = common.take(|key| keys.iter().any(|wanted| wanted == key));
        for operation in &last {
            let open = |other: &&Operation| {
                other.key == operation.key && other.outcome == Outcome::Unknown
            };
            let is_certain = !history.iter().any(|other| open(&other));
            if let Outcome::Known {
                seen: Seen::Value(value),
                ..
            } = &operation.outcome
            {
                self.settled
                    .push((operation.key.clone(), value.clone(), is_certain));
            }
        }
        history.extend(last);
        self.judge(&history)
    }

    fn judge(&mut self, history: &[Operation]) -> Result<(), String> {
        self.operations += history.len();
        linearizability::check(history).map_err(|violation| violation.to_string())
    }

    /// Reads keys, wherever they can be read.
    fn read(&mut self, keys: &[Vec<u8>]) -> Result<Vec<Operation>, String> {
        let common = self.crowd.common.clone();
        let mut read = Vec::new();
        for keys in keys.chunks(16) {
            let names: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
            let body = Body::MultiGet {
                keys: &names,
                freshness: Freshness::Linearizable,
            };
            let (invoked, values) = wait::until("keys can be read", || {
                let node = self.chance.below(NODES as u64) as usize;
                let invoked = common.now();
                let mut native = Native::connect(self.cluster.nodes[node].port)?;
                match native.ask(&body, true, Duration::from_secs(6)) {
                    Some(Ok(Answer::Values(values))) => Some((invoked, values)),
                    _ => None,
                }
            })?;
            for (key, value) in keys.iter().zip(values) {
                let value = value.map(|value| value::shrink(&value)).transpose()?;
                read.push(Operation {
                    client: u64::MAX,
                    key: key.clone(),
                    kind: Kind::Get,
                    invoked,
                    outcome: Outcome::Known {
                        returned: common.now(),
                        seen: Seen::Value(value),
                    },
                });
            }
        }
        Ok(read)
    }

    /// All clients end, all nodes are up: everything is read and compared.
    fn finish(&mut self, round: u64) -> Result<(), String> {
        self.settle(round)?;
        self.crowd.dismiss();
        let mut history = self.crowd.common.take(|_| true);
        let mut keys: Vec<Vec<u8>> = history.iter().map(|one| one.key.clone()).collect();
        keys.sort_unstable();
        keys.dedup();
        history.extend(self.read(&keys)?);
        self.judge(&history)?;
        let settled = std::mem::take(&mut self.settled);
        let keys: Vec<Vec<u8>> = settled.iter().map(|(key, ..)| key.clone()).collect();
        for (now, (key, before, is_certain)) in self.read(&keys)?.iter().zip(settled) {
            let known = Seen::Value(before);
            if is_certain && !matches!(&now.outcome, Outcome::Known { seen, .. } if *seen == known)
            {
                let key = key.escape_ascii();
                return Err(format!("key {key} was {known:?} and is {:?}", now.outcome));
            }
        }
        self.tell("all clients have ended, and what they saw could be");
        self.cluster.wait_whole()?;
        let keys = replicas::compare(&self.cluster)?;
        self.tell(&format!("{keys} keys are the same on all replicas"));
        self.check()?;
        for node in &mut self.cluster.nodes {
            node.end()?;
        }
        self.check()
    }
}

fn fail(mut trial: Trial, seed: u64, shape: Shape, home: PathBuf, why: &str) -> ! {
    for (node, status) in trial.cluster.statuses().iter().enumerate() {
        println!("node {node}: {status:?}");
    }
    let told = trial.cluster.complaint().unwrap_or_default();
    let home = home.display();
    drop(trial);
    panic!(
        "seed {seed}, {shape:?}: {why}\n{told}\nfiles and logs are in {home}; again: CORACLE_TEST_SEED={seed} \
         CORACLE_TEST_ROUNDS={} cargo test --profile proof --test processes",
        shape.rounds
    );
}
