//! The network between nodes: delays, losses, doubles, and who cannot reach whom.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Links on which everything takes so many times as long.
    slow_links: BTreeMap<(usize, usize), u64>,
    /// Whom nobody reaches, and who reaches nobody.
    away: BTreeSet<usize>,
    /// The sides of a partition that comes and goes.
    sides: Vec<bool>,
    /// Whether it is there at the moment.
    flapped: bool,
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
            slow_links: BTreeMap::new(),
            away: BTreeSet::new(),
            sides: Vec::new(),
            flapped: false,
        }
    }

    /// How long a message is on its way: not at all where it is lost, twice where it is doubled.
    pub fn carry(&mut self, from: usize, to: usize) -> Vec<u64> {
        if from == to {
            return vec![5_000];
        }
        if self.is_cut(from, to) || self.chance.below(1000) < self.drop {
            return Vec::new();
        }
        let factor = self.slow_links.get(&(from, to)).copied().unwrap_or(1);
        let copies = 1 + usize::from(self.chance.below(1000) < self.double);
        (0..copies)
            .map(|_| {
                let (low, high) = self.latency;
                let delay = (low + self.chance.below(high - low)) * factor;
                match self.chance.below(1000) < self.slow {
                    true => delay * 100,
                    false => delay,
                }
            })
            .collect()
    }

    fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cut.contains(&(from, to))
            || self.away.contains(&from)
            || self.away.contains(&to)
            || self.flapped && self.sides[from] != self.sides[to]
    }

    /// Everything from one node to another takes so many times as long from now on.
    pub fn slow_down(&mut self, from: usize, to: usize, factor: u64) {
        self.slow_links.insert((from, to), factor);
    }

    /// Nobody reaches a node any more.
    pub fn vanish(&mut self, node: usize) {
        self.away.insert(node);
    }

    /// Everybody reaches it again.
    pub fn appear(&mut self, node: usize) {
        self.away.remove(&node);
    }

    /// Chooses on which side of a partition each node is that will come and go.
    pub fn choose_sides(&mut self, sides: Vec<bool>) {
        self.sides = sides;
    }

    /// That partition comes, or goes.
    pub fn flap(&mut self, parted: bool) {
        self.flapped = parted;
    }

    /// Whether it is there.
    pub fn is_flapped(&self) -> bool {
        self.flapped
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
        self.flapped = false;
        self.away.clear();
        self.slow_links.clear();
        (self.drop, self.double, self.slow) = (0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::mutant::Mutant;

    fn net(seed: u64, change: impl Fn(&mut Plan)) -> Net {
        let mut plan = Plan::new(seed, 0, Mutant::None);
        (plan.drop, plan.double, plan.slow) = (0, 0, 0);
        change(&mut plan);
        Net::new(&plan)
    }

    /// Whether anything gets from one node to another.
    fn reaches(net: &mut Net, from: usize, to: usize) -> bool {
        !net.carry(from, to).is_empty()
    }

    #[test]
    fn a_sound_network_carries_each_message_once_and_in_time() {
        for seed in 0..100 {
            let mut net = net(seed, |_| ());
            let (low, high) = net.latency;
            for _ in 0..100 {
                let delays = net.carry(0, 1);
                assert_eq!(delays.len(), 1, "seed {seed}");
                assert!((low..high).contains(&delays[0]), "seed {seed}: {delays:?}");
            }
        }
    }

    #[test]
    fn messages_are_lost_doubled_and_slow_as_often_as_was_asked() {
        let mut losing = net(1, |plan| plan.drop = 200);
        let lost = (0..10_000).filter(|_| !reaches(&mut losing, 0, 1)).count();
        assert!((1_800..2_200).contains(&lost), "{lost} lost");
        let mut doubling = net(2, |plan| plan.double = 300);
        let copies: usize = (0..10_000).map(|_| doubling.carry(0, 1).len()).sum();
        assert!((12_700..13_300).contains(&copies), "{copies} copies");
        let mut slow = net(3, |plan| (plan.slow, plan.net_latency) = (50, (10, 20)));
        let late = (0..10_000).filter(|_| slow.carry(0, 1)[0] >= 1_000).count();
        assert!((400..600).contains(&late), "{late} slow");
    }

    #[test]
    fn slow_links_vanished_nodes_and_flapping_partitions_hold_up_whom_they_should() {
        let mut net = net(4, |plan| plan.net_latency = (10, 20));
        net.slow_down(0, 1, 100);
        assert!(net.carry(0, 1)[0] >= 1000);
        assert!(net.carry(1, 0)[0] < 20, "the other way is as fast as ever");
        net.vanish(2);
        assert!(!reaches(&mut net, 0, 2) && !reaches(&mut net, 2, 0) && reaches(&mut net, 0, 1));
        net.appear(2);
        assert!(reaches(&mut net, 0, 2));
        net.choose_sides(vec![true, false, true]);
        net.flap(true);
        assert!(!reaches(&mut net, 0, 1) && reaches(&mut net, 0, 2));
        net.heal();
        assert!(reaches(&mut net, 0, 1) && net.carry(0, 1)[0] < 20);
    }

    #[test]
    fn a_partition_has_two_sides_that_are_whole_and_ends() {
        let (mut both_ways, mut one_way) = (0, 0);
        for seed in 0..200 {
            let mut net = net(seed, |_| ());
            net.part(5);
            for from in 0..5 {
                assert!(
                    reaches(&mut net, from, from),
                    "seed {seed}: a node reaches itself"
                );
                for to in 0..from {
                    match (reaches(&mut net, from, to), reaches(&mut net, to, from)) {
                        (true, true) => {
                            // Whoever reaches both ways is on the same side: cut off from the same.
                            for third in 0..5 {
                                let here = reaches(&mut net, from, third);
                                assert_eq!(here, reaches(&mut net, to, third), "seed {seed}");
                            }
                        }
                        (false, false) => both_ways += 1,
                        _ => one_way += 1,
                    }
                }
            }
            net.heal();
            assert!(
                (0..25).all(|pair| reaches(&mut net, pair / 5, pair % 5)),
                "seed {seed}"
            );
        }
        assert!(both_ways > 0, "some partitions cut both ways");
        assert!(one_way > 0, "some cut only one");
    }
}
