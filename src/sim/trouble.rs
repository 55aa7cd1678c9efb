//! Faults beside those of a plan: damage in cold data, reads that fail, slow links, flapping partitions,
//! clocks that jump, leaders that vanish for a while.
//!
//! All of them have streams of chance of their own, so that a seed without them is the seed that it was
//! before there were any.
//!
//! What a store may do whose data is damaged, or whose reads fail: answer an error that says so, give a
//! region up, stop, not start. What it may never do is what no store may do: tell anything wrong. A node
//! with damaged data is wiped when every region can spare it, and joins again as somebody else; one whose
//! reads failed is started again.

use std::collections::BTreeSet;

use super::check::{Verdict, Violation};
use super::disk::Chance;
use super::event::{At, Event};
use super::plan::{Plan, SECOND};
use super::world::World;
use crate::shard::door::Report;
use crate::shard::error::Error;
use crate::shard::ids::StoreId;
use crate::shard::request::Response;
use crate::shard::time::MILLISECOND;

/// Wall clocks within the bound jump by no more milliseconds.
const NEAR_MS: u64 = 2000;

/// Wall clocks differ by no more milliseconds where they are within the bound: they run off as the others
/// do, for as long as a run takes, and jump a few times.
pub const APART_MS: u64 = 60_000;

/// Which of these faults a seed has: mean times between two of each; 0: none.
#[derive(Clone, Debug, Default)]
pub struct Trouble {
    /// Bits flipped in tables and old segments of a node.
    pub damage: u64,
    /// Spells in which some reads of a node's disk fail.
    pub read_errors: u64,
    /// Links that are slow for a while.
    pub slow_links: u64,
    /// Partitions that come and go quickly.
    pub flapping: u64,
    /// Wall clocks that jump.
    pub jumps: u64,
    /// Whether they jump further than clocks may be apart.
    pub far: bool,
    /// Leaders that stand still, and whom nobody reaches for a while longer.
    pub vanishing: u64,
}

impl Trouble {
    /// What a seed decides for a plan.
    pub fn new(plan: &Plan) -> Trouble {
        let mut chance = Chance::new(plan.seed ^ 0x5452_4F55_424C_4500);
        let mut on = |low: u64, high: u64| match chance.toss() {
            true => (low + chance.below(high - low)) * MILLISECOND,
            false => 0,
        };
        let damage = on(3000, 10_000);
        let trouble = Trouble {
            read_errors: on(2000, 8000),
            slow_links: on(500, 4000),
            flapping: on(3000, 9000),
            jumps: on(500, 5000),
            vanishing: on(2500, 8000),
            far: on(1, 2) > 0,
            damage: 0,
        };
        // A damaged node is wiped, and joins again: that takes placement, and others that have it all.
        let replaceable = plan.growth.is_some() && plan.replicas >= 3;
        Trouble {
            damage: if replaceable { damage } else { 0 },
            ..trouble
        }
    }
}

/// One of these faults, or its end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Damage,
    /// A damaged node is to lose everything.
    Wipe(usize),
    ReadErrors,
    ReadsAgain(usize),
    /// Whoever looks after a node starts it again.
    Restart(At),
    SlowLink,
    FastLink(usize, usize),
    Flap,
    /// The partition comes or goes, until then.
    Flaps(u64),
    Jump,
    Vanish,
    Appear(usize),
}

/// How these faults stand.
#[derive(Debug)]
pub(super) struct Troubles {
    chance: Chance,
    /// The node whose data is damaged.
    damaged: Option<usize>,
    /// Nodes, and lives of them, in which reads have failed.
    sick: BTreeSet<(usize, u64)>,
    /// Those of them that gave something up.
    limping: BTreeSet<(usize, u64)>,
}

impl Troubles {
    pub(super) fn new(seed: u64) -> Troubles {
        Troubles {
            chance: Chance::new(seed ^ 0x5452_4F55_424C_4544),
            damaged: None,
            sick: BTreeSet::new(),
            limping: BTreeSet::new(),
        }
    }

    /// Whether a node's data is damaged, and will be lost.
    pub(super) fn is_damaged(&self, node: usize) -> bool {
        self.damaged == Some(node)
    }

    /// Whether no node's data is damaged.
    pub(super) fn is_sound(&self) -> bool {
        self.damaged.is_none()
    }

    /// The damaged node has lost everything.
    pub(super) fn is_wiped(&mut self, node: usize) {
        if self.damaged == Some(node) {
            self.damaged = None;
        }
    }
}

impl World {
    /// The first of each kind.
    pub(super) fn plan_trouble(&mut self) {
        let Some(trouble) = self.plan.trouble.clone() else {
            return;
        };
        for (mean, fault) in [
            (trouble.damage, Fault::Damage),
            (trouble.read_errors, Fault::ReadErrors),
            (trouble.slow_links, Fault::SlowLink),
            (trouble.flapping, Fault::Flap),
            (trouble.jumps, Fault::Jump),
            (trouble.vanishing, Fault::Vanish),
        ] {
            self.plan_next(mean, fault);
        }
    }

    fn plan_next(&mut self, mean: u64, fault: Fault) {
        if mean > 0 {
            let delay = mean / 4 + self.troubles.chance.below(mean * 3 / 2);
            self.after(delay, Event::Trouble(fault));
        }
    }

    fn some_node(&mut self) -> usize {
        self.troubles.chance.below(self.nodes.len() as u64) as usize
    }

    /// Something of this happens.
    pub(super) fn trouble(&mut self, fault: Fault) {
        let Some(trouble) = self.plan.trouble.clone() else {
            return;
        };
        match fault {
            Fault::Wipe(node) => self.wipe_damaged(node),
            Fault::Restart(at) => self.restart(at),
            _ if self.healing_since.is_some() => {}
            Fault::Damage => {
                self.plan_next(trouble.damage, fault);
                self.damage();
            }
            Fault::ReadErrors => {
                self.plan_next(trouble.read_errors, fault);
                self.fail_reads();
            }
            Fault::ReadsAgain(node) => self.read_again(node),
            Fault::SlowLink => {
                self.plan_next(trouble.slow_links, fault);
                let (from, to) = (self.some_node(), self.some_node());
                let factor = 2 + self.troubles.chance.below(200);
                self.net.slow_down(from, to, factor);
                self.figures.slow_links += 1;
                self.tell(|| format!("from node {from} to {to} all takes {factor} times as long"));
                let length = self.troubles.chance.below(6 * SECOND);
                self.after(length, Event::Trouble(Fault::FastLink(from, to)));
            }
            Fault::FastLink(from, to) => self.net.slow_down(from, to, 1),
            Fault::Flap => {
                self.plan_next(trouble.flapping, fault);
                self.figures.flaps += 1;
                let until = self.now + SECOND + self.troubles.chance.below(5 * SECOND);
                let nodes = self.nodes.len();
                let sides = (0..nodes).map(|_| self.troubles.chance.toss()).collect();
                self.net.choose_sides(sides);
                self.trouble(Fault::Flaps(until));
            }
            Fault::Flaps(until) if self.now >= until => self.net.flap(false),
            Fault::Flaps(_) => {
                let parted = !self.net.is_flapped();
                self.net.flap(parted);
                self.tell(|| format!("the flapping partition is there: {parted}"));
                let length = (20 + self.troubles.chance.below(600)) * MILLISECOND;
                self.after(length, Event::Trouble(fault));
            }
            Fault::Jump => {
                self.plan_next(trouble.jumps, fault);
                let node = self.some_node();
                let far = trouble.far && self.troubles.chance.toss();
                let by = match far {
                    true => APART_MS + self.troubles.chance.below(10 * APART_MS),
                    false => 1 + self.troubles.chance.below(NEAR_MS),
                };
                let by = match self.troubles.chance.toss() {
                    true => by as i64,
                    false => -(by as i64),
                };
                self.figures.jumps += 1;
                self.tell(|| format!("the wall clock of node {node} jumps by {by} ms"));
                self.nodes[node].clock.jump(by);
            }
            Fault::Vanish => {
                self.plan_next(trouble.vanishing, fault);
                self.vanish();
            }
            Fault::Appear(node) => self.net.appear(node),
        }
    }

    /// A node that leads stands still, and nobody reaches it for a while longer: whatever right it had
    /// by itself must be over when it goes on.
    fn vanish(&mut self) {
        let statuses = self.statuses();
        let leads = statuses.iter().filter(|(_, status)| status.leads);
        let leading: Vec<_> = leads
            .filter_map(|(store, _)| self.at(*store))
            .filter(|at| !self.is_paused(at.node))
            .collect();
        if leading.is_empty() {
            return;
        }
        let node = leading[self.troubles.chance.below(leading.len() as u64) as usize].node;
        // Mostly long enough for another to be elected.
        let still = SECOND + self.troubles.chance.below(4 * SECOND);
        let more = self.troubles.chance.below(2 * SECOND);
        self.nodes[node].paused_until = self.now + still;
        self.net.vanish(node);
        self.figures.vanishings += 1;
        self.tell(|| {
            let (still, more) = (still / MILLISECOND, more / MILLISECOND);
            format!(
                "node {node} stands still for {still} ms and is out of reach for {more} ms more"
            )
        });
        self.after(still + more, Event::Trouble(Fault::Appear(node)));
    }

    // -- reads that fail -------------------------------------------------------------------------

    fn fail_reads(&mut self) {
        let node = self.some_node();
        let per_mille = match self.troubles.chance.below(3) {
            0 => 1000,
            _ => 1 + self.troubles.chance.below(300),
        };
        self.figures.read_errors += 1;
        self.tell(|| format!("of the reads of node {node} {per_mille} in 1000 fail"));
        for host in &mut self.nodes[node].hosts {
            host.files.read_errors = per_mille;
        }
        let life = self.nodes[node].life;
        self.troubles.sick.insert((node, life));
        let length = self.troubles.chance.below(3 * SECOND);
        self.after(length, Event::Trouble(Fault::ReadsAgain(node)));
    }

    fn read_again(&mut self, node: usize) {
        self.tell(|| format!("node {node} can read again"));
        for host in &mut self.nodes[node].hosts {
            host.files.read_errors = 0;
        }
    }

    /// A node begins a life: perhaps its reads fail in this one as well.
    pub(super) fn lives(&mut self, node: usize) {
        let life = self.nodes[node].life;
        if self.nodes[node]
            .hosts
            .iter()
            .any(|host| host.files.read_errors > 0)
        {
            self.troubles.sick.insert((node, life));
        }
    }

    /// Whether a node may complain of its disk: of what it cannot read.
    pub(super) fn may_complain(&self, node: usize) -> bool {
        let life = self.nodes[node].life;
        self.troubles.is_damaged(node) || self.troubles.sick.contains(&(node, life))
    }

    /// A shard complains. Whether it may, and what whoever looks after it does then.
    pub(super) fn complains(&mut self, at: At, store: StoreId, report: Report) -> Verdict {
        let far = self
            .plan
            .trouble
            .as_ref()
            .is_some_and(|trouble| trouble.far);
        let fair = match &report {
            Report::Quarantined { .. } | Report::PlacementUnreadable(_) => {
                self.may_complain(at.node)
            }
            Report::ClockAhead { .. } => far || !self.plan.clocks_sound,
            Report::Stopped(_) | Report::Diverged { .. } | Report::Removed(_) | Report::Kept(_) => {
                false
            }
        };
        self.tell(|| format!("store {store} reports {report:?}"));
        if !fair {
            let what = format!("store {store}: {report:?}");
            return Err(Violation::new("reports", what));
        }
        if let Report::Quarantined { region, .. } = report {
            self.figures.quarantines += u64::from(region.0 > 0);
            self.limps(at);
        }
        Ok(())
    }

    /// Something of a node rests until it is started again.
    fn limps(&mut self, at: At) {
        if !self.troubles.limping.insert((at.node, at.life)) || self.troubles.is_damaged(at.node) {
            return;
        }
        // Where there is placement, it may replace what is gone before somebody comes.
        let delay = match self.plan.growth.is_some() && self.troubles.chance.toss() {
            true => 30 * SECOND,
            false => SECOND / 2 + self.troubles.chance.below(3 * SECOND),
        };
        self.after(delay, Event::Trouble(Fault::Restart(at)));
    }

    fn restart(&mut self, at: At) {
        if self.is_now(at) {
            self.tell(|| format!("node {} is started again", at.node));
            self.end_process(at.node, true);
        }
    }

    /// An error that says that data is damaged is told only where that may be.
    pub(super) fn check_response(&self, at: At, response: &Response) -> Verdict {
        match response {
            Err(Error::Corrupt(why)) if !self.may_complain(at.node) => Err(Violation::new(
                "reports",
                format!("node {} calls sound data damaged: {why}", at.node),
            )),
            _ => Ok(()),
        }
    }

    // -- damage ----------------------------------------------------------------------------------

    /// Bits of a node's cold data flip, where every region can spare the node: it will be wiped.
    fn damage(&mut self) {
        let node = self.some_node();
        let process = &self.nodes[node];
        let lost = |node: &super::process::Node| node.membership.lost_until.is_some();
        if self.troubles.damaged.is_some()
            || self.nodes.iter().any(lost)
            || !process.up
            || process.membership.founds
            || !process.membership.is_complete()
            || !self.has_three_voters()
            || !self.is_spare(node)
            || !self.has_all_voters()
        {
            return;
        }
        let mut flips = 0;
        for host in &mut self.nodes[node].hosts {
            for name in host.files.cold_files() {
                let length = host.files.disk.len(&name).unwrap_or(0);
                if length == 0 || self.troubles.chance.below(3) != 0 {
                    continue;
                }
                for _ in 0..=self.troubles.chance.below(4) {
                    let offset = self.troubles.chance.below(length);
                    let bit = self.troubles.chance.below(8);
                    host.files
                        .disk
                        .damage(&name, offset, |byte| byte ^ 1 << bit);
                    flips += 1;
                }
            }
        }
        if flips == 0 {
            return;
        }
        self.tell(|| format!("{flips} bits flip on the disk of node {node}"));
        self.troubles.damaged = Some(node);
        self.figures.damages += flips;
        let life = self.nodes[node].life;
        if self.troubles.chance.toss() {
            // What is in memory hides what is damaged.
            let at = At {
                node,
                shard: 0,
                life,
            };
            let delay = self.troubles.chance.below(2 * SECOND);
            self.after(delay, Event::Trouble(Fault::Restart(at)));
        }
        let delay = 2 * SECOND + self.troubles.chance.below(8 * SECOND);
        self.after(delay, Event::Trouble(Fault::Wipe(node)));
    }

    /// Whether the loss of a voter leaves every region a majority, whatever changes until then.
    fn has_three_voters(&self) -> bool {
        let statuses = self.statuses();
        self.known_regions().into_iter().all(|id| {
            let of = statuses
                .iter()
                .filter(|(_, status)| status.region.id == id && status.leads);
            let leader = of.max_by_key(|(_, status)| status.term);
            leader.is_some_and(|(_, status)| {
                let voters = status.region.peers.iter();
                voters.filter(|info| info.role.votes_after()).count() >= 3
            })
        })
    }

    /// Somebody has seen the damage: the node goes down, and loses everything when it can be spared.
    fn wipe_damaged(&mut self, node: usize) {
        if !self.troubles.is_damaged(node) || self.nodes[node].membership.lost_until.is_some() {
            return;
        }
        if self.nodes[node].up {
            self.end_process(node, true);
        }
        self.tell(|| format!("node {node} is to be wiped"));
        let until = self.now + 4 * SECOND + self.troubles.chance.below(3 * SECOND);
        self.nodes[node].membership.lost_until = Some(until);
        self.after(until - self.now, Event::Start(node));
    }

    /// The faults are over: what is damaged is wiped, and what limps is started again.
    pub(super) fn heal_trouble(&mut self) {
        if let Some(node) = self.troubles.damaged {
            self.wipe_damaged(node);
        }
        for node in 0..self.nodes.len() {
            self.read_again(node);
            let life = self.nodes[node].life;
            let at = At {
                node,
                shard: 0,
                life,
            };
            if self.troubles.limping.contains(&(node, life)) {
                self.restart(at);
            }
        }
    }
}
