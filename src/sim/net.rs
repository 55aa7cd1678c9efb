//! The network between nodes: delays, losses, doubles, and who cannot reach whom.

use std::collections::BTreeSet;

use super::disk::Chance;
use super::plan::Plan;

/// The network between nodes.
#[derive(Debug)]
pub struct Net {
    chance: Chance,
    latency: (u64, u64),
    drop: u64,
    double: u64,
    slow: u64,
    /// From whom nothing reaches whom.
    cut: BTreeSet<(usize, usize)>,
}

impl Net {
    /// The network of a plan.
    pub fn new(plan: &Plan) -> Net {
        Net {
            chance: Chance::new(plan.seed ^ 0x4E45_5400),
            latency: plan.net_latency,
            drop: plan.drop,
            double: plan.double,
            slow: plan.slow,
            cut: BTreeSet::new(),
        }
    }

    /// How long a message is on its way: not at all where it is lost, twice where it is doubled.
    pub fn carry(&mut self, from: usize, to: usize) -> Vec<u64> {
        if from == to {
            return vec![5_000];
        }
        if self.cut.contains(&(from, to)) || self.chance.below(1000) < self.drop {
            return Vec::new();
        }
        let copies = 1 + usize::from(self.chance.below(1000) < self.double);
        (0..copies)
            .map(|_| {
                let (low, high) = self.latency;
                let delay = low + self.chance.below(high - low);
                match self.chance.below(1000) < self.slow {
                    true => delay * 100,
                    false => delay,
                }
            })
            .collect()
    }

    /// Parts the nodes, one way or both.
    pub fn part(&mut self, nodes: usize) {
        self.cut.clear();
        let one_way = self.chance.below(4) == 0;
        let side: Vec<bool> = (0..nodes).map(|_| self.chance.toss()).collect();
        for from in 0..nodes {
            for to in 0..nodes {
                if side[from] != side[to] && (!one_way || side[from]) {
                    self.cut.insert((from, to));
                }
            }
        }
    }

    /// Everyone reaches everyone.
    pub fn join(&mut self) {
        self.cut.clear();
    }

    /// No faults from now on.
    pub fn heal(&mut self) {
        self.join();
        (self.drop, self.double, self.slow) = (0, 0, 0);
    }
}
