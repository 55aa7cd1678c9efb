//! What a seed decides before anything happens: the cluster, and which faults there are.

use super::disk::{Chance, Durability};
use super::splits::Splitting;
use super::trouble::{self, Trouble};
use crate::placement;
use crate::shard::limits::Limits;
use crate::shard::mutant::Mutant;
use crate::shard::time::MILLISECOND;

/// A second of virtual time.
pub const SECOND: u64 = 1000 * MILLISECOND;

/// What a seed decides.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// How long faults go on.
    pub chaos: u64,
    /// A rule that is broken on purpose.
    pub mutant: Mutant,
    /// Processes.
    pub nodes: usize,
    /// Shards of each.
    pub shards: usize,
    /// Voters that a region should have.
    pub replicas: usize,
    /// User regions.
    pub regions: usize,
    /// Clients.
    pub clients: usize,
    /// Keys that they share, for each region.
    pub keys: usize,
    /// How long a write of the log takes, from and to.
    pub disk_latency: (u64, u64),
    /// How a log write becomes durable.
    pub durability: Durability,
    /// How long a message takes, from and to.
    pub net_latency: (u64, u64),
    /// Messages lost, in a thousand.
    pub drop: u64,
    /// Messages doubled, in a thousand.
    pub double: u64,
    /// Messages that take a hundred times as long, in a thousand.
    pub slow: u64,
    /// Mean time between two partitions; 0: none.
    pub partitions: u64,
    /// Mean time between two crashes of a node; 0: none.
    pub crashes: u64,
    /// Of a hundred nodes that have just voted or begun to lead, so many crash soon after.
    pub crash_after_vote: u64,
    /// The longest time that a node stays down.
    pub down: u64,
    /// Mean time between two pauses of a node; 0: none.
    pub pauses: u64,
    /// Mean time between two full disks; 0: none.
    pub full_disks: u64,
    /// Mean time between two failing disks; 0: none.
    pub failing_disks: u64,
    /// Mean time between two changes of some region's peers or leader.
    pub operations: u64,
    /// Clocks run faster or slower by so many in a thousand, at the most.
    pub drift_per_mille: u64,
    /// Whether clocks are within the stated bound, so that leases are to be trusted.
    pub clocks_sound: bool,
    /// Small segments and memtables.
    pub small_files: bool,
    /// The bounds of shards.
    pub limits: Limits,
    /// How the cluster comes to be; none: it is there, and placement is not.
    pub growth: Option<Growth>,
    /// Faults that were thought of later; none: there are none of them.
    pub trouble: Option<Trouble>,
    /// Whether every second read is answered while it is asked, where it can be.
    pub reads_at_hand: bool,
    /// Whether regions are split.
    pub splitting: Option<Splitting>,
    /// How often all clients rest, and for how long; none: never.
    pub lulls: Option<(u64, u64)>,
}

/// How a cluster grows: one node founds it, the others join, and placement gives regions their replicas.
#[derive(Clone, Debug)]
pub struct Growth {
    /// What placement strives for.
    pub placement: placement::Options,
    /// Mean time between two nodes that lose everything and join again; 0: none.
    pub wipes: u64,
    /// The longest time before a node joins.
    pub joins_within: u64,
    /// Mean time between two things that are asked of placement; 0: nothing is.
    pub upkeep: u64,
    /// Zones in which nodes stand in turn; 0: nobody says so.
    pub zones: u64,
}

impl Growth {
    /// How often something is asked of placement, by random numbers of its own: in three of four clusters.
    fn upkeep(seed: u64) -> u64 {
        let mut chance = Chance::new(seed ^ 0x5550_4B50);
        match chance.below(4) {
            0 => 0,
            _ => (300 + chance.below(2000)) * MILLISECOND,
        }
    }
}

impl Plan {
    /// What a seed decides: of three clusters two grow, two are in trouble beside their other faults, two
    /// answer reads while they are asked, and two have their regions split. Of four, regions of three grow quiet.
    pub fn new(seed: u64, chaos: u64, mutant: Mutant) -> Plan {
        let plan = match Chance::new(seed ^ 0x4752_4F57).below(3) {
            0 => Plan::standing(seed, chaos, mutant),
            _ => Plan::growing(seed, chaos, mutant),
        };
        let mut plan = match Chance::new(seed ^ 0x5452_4F55).below(3) {
            0 => plan,
            _ => plan.troubled(),
        };
        plan.reads_at_hand = Chance::new(seed ^ 0x4841_4E44).below(3) > 0;
        plan.quiet(Chance::new(seed ^ 0x5155_4945).below(4) > 0);
        match Chance::new(seed ^ 0x5350_4C54).below(3) {
            0 => plan,
            _ => plan.split(),
        }
    }

    /// Whether regions grow quiet, and after how many ticks; clients then leave all alone for a while, again and
    /// again. That has a stream of its own.
    pub fn quiet(&mut self, quiet: bool) {
        let mut chance = Chance::new(self.seed ^ 0x5155_4554);
        self.limits.quiet_ticks = match quiet {
            true => 2 + chance.below(20),
            false => 0,
        };
        if quiet {
            // Replicas are compared by entries, which wake everybody.
            self.limits.compare_ticks = 200 + chance.below(400);
            // A peer that was removed in its sleep asks once in this time, and has to be gone when all has healed.
            self.limits.region_beat_ticks = self.limits.region_beat_ticks.min(400);
            let length = (1000 + chance.below(3000)) * MILLISECOND;
            self.lulls = Some((length + (500 + chance.below(4000)) * MILLISECOND, length));
        }
    }

    /// How much longer clients rest, if they do now.
    pub fn lull_left(&self, now: u64) -> Option<u64> {
        let (every, length) = self.lulls?;
        let into = now % every;
        (into < length).then(|| length - into)
    }

    /// The same, with regions that are split.
    pub fn split(mut self) -> Plan {
        let splitting = Splitting::new(&self);
        if let Some(by_itself) = &splitting.by_itself {
            let limits = &mut self.limits;
            limits.split_bytes = by_itself.bytes;
            limits.split_keys = by_itself.keys;
            limits.split_load = by_itself.load;
            limits.split_load_ticks = by_itself.load_ticks;
            limits.split_ticks = by_itself.ticks;
            limits.split_rest_ticks = by_itself.rest_ticks;
            limits.splits_max = by_itself.at_once;
        }
        self.splitting = Some(splitting);
        self
    }

    /// The same, with regions that stay as they are.
    pub fn whole(mut self) -> Plan {
        self.splitting = None;
        self.limits.split_ticks = 0;
        self
    }

    /// The same, with faults of the later kinds.
    pub fn troubled(mut self) -> Plan {
        self.trouble = Some(Trouble::new(&self));
        self
    }

    /// What a seed decides of a cluster that grows. These choices have a stream of their own, so that the
    /// others stay what they are.
    pub fn growing(seed: u64, chaos: u64, mutant: Mutant) -> Plan {
        let mut plan = Plan::standing(seed, chaos, mutant);
        let mut chance = Chance::new(seed ^ 0x4A4F_494E);
        let limits = &mut plan.limits;
        limits.store_beat_ticks = 10 + chance.below(20);
        limits.store_retry_ticks = 4 + chance.below(5);
        limits.region_busy_ticks = 5 + chance.below(15);
        limits.region_beat_ticks = limits.region_busy_ticks + 20 + chance.below(60);
        limits.region_load_ticks = 20;
        limits.silent_ms = 1000 + chance.below(2000);
        limits.validate_ticks = limits.leaderless_ticks + 10 + chance.below(100);
        let wipes = match chance.below(5) < 3 {
            true => (5000 + chance.below(12_000)) * MILLISECOND,
            false => 0,
        };
        plan.growth = Some(Growth {
            placement: placement::Options {
                replicas: plan.replicas,
                down_ms: 4000 + chance.below(6000),
                fit_ms: 3000 + chance.below(2000),
                operator_ms: 1000 + chance.below(4000),
                learner_ms: 10_000 + chance.below(10_000),
                copies_in: 1 + chance.below(4) as u32,
                hand_rest_ms: 3000,
                load_rest_ms: 2000,
                load_floor: 5,
                ..placement::Options::default()
            },
            wipes,
            joins_within: (1 + chance.below(5000)) * MILLISECOND,
            upkeep: Growth::upkeep(seed),
            zones: [0, 0, 2, 3][Chance::new(seed ^ 0x5A4F_4E45).below(4) as usize],
        });
        plan
    }

    /// What a seed decides of a cluster that is there from the first moment, without placement: the
    /// operator alone changes its peers.
    pub fn standing(seed: u64, chaos: u64, mutant: Mutant) -> Plan {
        let mut chance = Chance::new(seed ^ 0x504C_414E);
        let nodes = [1, 2, 3, 3, 3, 4, 5, 5, 7][chance.below(9) as usize];
        let shards = [1, 1, 2, 3][chance.below(4) as usize];
        let replicas = nodes.min([1, 3, 3, 3, 5][chance.below(5) as usize]);
        let fast_disk = chance.toss();
        let wild_net = chance.below(3) == 0;
        // Each kind of fault is there or not, so that seeds differ in kind and not only in detail.
        let on = |chance: &mut Chance, low: u64, high: u64| match chance.below(5) < 3 {
            true => (low + chance.below(high - low)) * MILLISECOND,
            false => 0,
        };
        let partitions = on(&mut chance, 1500, 8000);
        let crashes = on(&mut chance, 1000, 8000);
        let pauses = on(&mut chance, 2000, 8000);
        let full_disks = on(&mut chance, 4000, 15_000);
        let failing_disks = on(&mut chance, 6000, 20_000);
        let clocks_sound = chance.below(6) != 0;
        let small = chance.below(4) != 0;
        let crash_after_vote = if chance.below(3) == 0 {
            5 + chance.below(25)
        } else {
            0
        };
        let down = if chance.toss() {
            2 * SECOND
        } else {
            40 * MILLISECOND
        };
        let mut limits = if small {
            Limits::SMALL
        } else {
            Limits::DEFAULT
        };
        limits.store_beat_ticks = 0;
        limits.quiet_ticks = 0;
        // Clocks run off all the time, and nobody sets them right.
        limits.clock_ahead_ms = trouble::APART_MS;
        let mut pace = Chance::new(seed ^ 0x5041_4345);
        if pace.below(3) == 0 {
            limits.snapshot_bytes_per_second = (32 + pace.below(256)) << 10;
        }
        if chance.below(3) == 0 {
            // Without leases every read asks a quorum, and nobody keeps quiet after a start.
            limits.lease = 0;
        }
        Plan {
            seed,
            chaos,
            mutant,
            nodes,
            shards,
            replicas,
            regions: 1 + chance.below(3) as usize,
            clients: 3 + chance.below(8) as usize,
            keys: 2 + chance.below(4) as usize,
            disk_latency: match fast_disk {
                true => (20_000, 200_000),
                false => (MILLISECOND, 30 * MILLISECOND),
            },
            durability: match chance.toss() {
                true => Durability::Through,
                false => Durability::Cached,
            },
            net_latency: match chance.below(3) {
                0 => (30_000, 100_000),
                1 => (200_000, 3 * MILLISECOND),
                _ => (MILLISECOND, 20 * MILLISECOND),
            },
            drop: if wild_net {
                chance.below(200)
            } else {
                chance.below(10)
            },
            double: if wild_net {
                chance.below(300)
            } else {
                chance.below(20)
            },
            slow: if wild_net { chance.below(50) } else { 0 },
            partitions,
            crashes,
            pauses,
            full_disks,
            failing_disks,
            operations: (300 + chance.below(3000)) * MILLISECOND,
            drift_per_mille: if clocks_sound { 45 } else { 300 },
            clocks_sound,
            small_files: small,
            limits,
            crash_after_vote,
            down,
            growth: None,
            trouble: None,
            reads_at_hand: false,
            splitting: None,
            lulls: None,
        }
    }
}
