//! What is done to nodes.

use std::collections::BTreeMap;

use coracle::shard::ids::{PeerId, RegionId};
use coracle::shard::request::Body;
use coracle::sim::disk::Chance;

use crate::cluster::{Cluster, NODES};
use crate::native::Native;
use crate::wait;

/// The users' region.
const USERS: u64 = 2;

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL to whoever leads the users' region.
    KillLeader,
    /// SIGKILL to any node.
    KillAny,
    /// SIGKILL to two nodes at once.
    KillTwo,
    /// SIGKILL to all nodes at once.
    KillAll,
    /// SIGKILL, and again while it starts.
    KillTwice,
    /// SIGSTOP and SIGCONT to the leader.
    PauseLeader,
    /// The same to any node.
    PauseAny,
    /// SIGTERM to any node.
    EndAny,
    /// Leadership moves, and whoever had it is killed.
    MoveAndKill,
    /// A node comes back with nothing, as somebody else, and nodes are killed meanwhile.
    Wipe,
}

const ALL: [Fault; 10] = [
    Fault::KillLeader,
    Fault::KillAny,
    Fault::KillTwo,
    Fault::KillAll,
    Fault::KillTwice,
    Fault::PauseLeader,
    Fault::PauseAny,
    Fault::EndAny,
    Fault::MoveAndKill,
    Fault::Wipe,
];

impl Fault {
    /// Draws one; always the same, if the environment names it.
    pub fn draw(chance: &mut Chance, wipes: bool) -> Fault {
        let named = std::env::var("CORACLE_TEST_FAULT").unwrap_or_default();
        if let Some(named) = ALL.iter().find(|fault| format!("{fault:?}") == named) {
            return *named;
        }
        match chance.below(if wipes { 28 } else { 24 }) {
            0..6 => Fault::KillLeader,
            6..9 => Fault::KillAny,
            9..11 => Fault::KillTwo,
            11..13 => Fault::KillAll,
            13..15 => Fault::KillTwice,
            15..18 => Fault::PauseLeader,
            18..20 => Fault::PauseAny,
            20..22 => Fault::EndAny,
            22..24 => Fault::MoveAndKill,
            _ => Fault::Wipe,
        }
    }

    /// Whether clients have to wait for another leader, and nobody but nodes that are up decides how long.
    pub fn is_failover(self) -> bool {
        matches!(self, Fault::KillLeader | Fault::PauseLeader)
    }
}

/// How often what was done.
#[derive(Debug, Default)]
pub struct Done {
    counts: BTreeMap<String, u64>,
    /// SIGKILLs.
    pub kills: u64,
}

impl Done {
    /// One more.
    pub fn count(&mut self, what: &str) {
        *self.counts.entry(what.into()).or_default() += 1;
    }

    /// All of it.
    pub fn summary(&self) -> String {
        let counts = self.counts.iter();
        let counts: Vec<String> = counts
            .map(|(what, count)| format!("{count} {what}"))
            .collect();
        counts.join(", ")
    }
}

/// Does faults.
pub struct Faults<'a> {
    /// To whom.
    pub cluster: &'a mut Cluster,
    /// By which chance.
    pub chance: &'a mut Chance,
    /// What was done.
    pub done: &'a mut Done,
}

impl Faults<'_> {
    fn any(&mut self) -> usize {
        self.chance.below(NODES as u64) as usize
    }

    fn leader(&mut self) -> usize {
        let leader = self.cluster.leader(USERS);
        leader.unwrap_or_else(|| self.any())
    }

    /// SIGKILL.
    pub fn kill(&mut self, node: usize) {
        self.cluster.nodes[node].kill();
        self.done.kills += 1;
    }

    fn start(&mut self, node: usize) {
        self.cluster.nodes[node].start();
    }

    fn down(&mut self) {
        let millis = match self.chance.below(3) {
            0 => 0,
            _ => self.chance.below(2500),
        };
        wait::pass(millis);
    }

    /// Does one, up to the moment at which all nodes run again. The moment at which it was done, by a clock.
    pub fn act(&mut self, fault: Fault, now: impl Fn() -> u64) -> Result<u64, String> {
        self.done.count(&format!("{fault:?}"));
        let victim = match fault {
            Fault::KillLeader | Fault::PauseLeader | Fault::MoveAndKill => self.leader(),
            _ => self.any(),
        };
        let mut at = now();
        match fault {
            Fault::KillLeader | Fault::KillAny => {
                self.kill(victim);
                self.down();
                self.start(victim);
            }
            Fault::KillTwo => {
                let others = (0..NODES).filter(|node| *node != victim);
                let others: Vec<usize> = others.collect();
                others.iter().for_each(|node| self.kill(*node));
                self.down();
                others.iter().for_each(|node| self.start(*node));
            }
            Fault::KillAll => {
                (0..NODES).for_each(|node| self.kill(node));
                (0..NODES).for_each(|node| self.start(node));
            }
            Fault::KillTwice => {
                self.kill(victim);
                for _ in 0..1 + self.chance.below(3) {
                    self.start(victim);
                    wait::pass(self.chance.below(400));
                    self.kill(victim);
                }
                self.start(victim);
            }
            Fault::PauseLeader | Fault::PauseAny => {
                self.cluster.nodes[victim].stop();
                wait::pass(200 + self.chance.below(4000));
                self.cluster.nodes[victim].go_on();
            }
            Fault::EndAny => {
                self.cluster.nodes[victim].end()?;
                self.down();
                self.start(victim);
            }
            Fault::MoveAndKill => {
                self.transfer(victim);
                wait::pass(self.chance.below(30));
                at = now();
                self.kill(victim);
                self.down();
                self.start(victim);
            }
            Fault::Wipe => self.wipe(victim)?,
        }
        Ok(at)
    }

    /// Leadership of the users' region goes to another peer, if it is where it is believed to be.
    fn transfer(&mut self, from: usize) {
        let Some(peers) = self.cluster.peers() else {
            return;
        };
        let others = peers
            .iter()
            .filter(|(node, peer)| peer.region == USERS && *node != from);
        let others: Vec<u64> = others.map(|(_, peer)| peer.peer).collect();
        let Some(to) = others.get(self.chance.below(2) as usize) else {
            return;
        };
        let body = Body::TransferLeader {
            region: RegionId(USERS),
            to: PeerId(*to),
        };
        if let Some(mut native) = Native::connect(self.cluster.nodes[from].port) {
            let _ = native.ask(&body, true, std::time::Duration::from_secs(1));
        }
    }

    /// A node comes back with nothing. Only where all replicas are whole; until they are again, nodes are
    /// killed, which keep what they have.
    fn wipe(&mut self, victim: usize) -> Result<(), String> {
        self.cluster.wait_whole()?;
        crate::replicas::wait_level(self.cluster)?;
        self.kill(victim);
        let other = (victim + 1 + self.chance.below(2) as usize) % NODES;
        let join = self.cluster.nodes[other].port;
        self.cluster.nodes[victim].wipe(join);
        self.start(victim);
        for _ in 0..self.chance.below(4) {
            wait::pass(self.chance.below(2500));
            if self.cluster.missing().is_none() {
                break;
            }
            let also = self.any();
            self.done.count("kills while replicas move");
            self.kill(also);
            wait::pass(self.chance.below(300));
            self.start(also);
        }
        for node in &mut self.cluster.nodes {
            node.wait_ready()?;
        }
        self.cluster.wait_whole()
    }
}
