//! The turn: every region with something to do is visited once, in the order of their ids.
//!
//! ```text
//! a batch is durable ─▶ its releases wait for the turn ─┐
//! inputs make regions dirty ─▶ they stand in line ──────┴▶ released, proposed, persisted, applied
//! ```
//!
//! A visit brings a region's memory near the processor, which with ten thousand regions costs more than
//! what is done there. So all that a region has to do is done in one visit.

use super::brain::Shard;
use super::core::{Core, Release};
use super::ids::RegionId;
use super::peer::{Peer, Stage};
use super::window::Prepared;

/// Regions that wait for their turn.
#[derive(Debug, Default)]
pub struct Line {
    /// In the order they came; a region may stand here twice.
    waiting: Vec<RegionId>,
    /// The memory of the last turn's.
    spare: Vec<RegionId>,
    /// The memory of what the last turn released.
    due: Vec<Release>,
}

impl Line {
    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A region gets a turn.
    pub fn push(&mut self, region: RegionId) {
        self.waiting.push(region);
    }
}

impl Shard {
    /// Every region with something to do has its turn. What batches held that are durable now is
    /// released first, region by region.
    pub(super) fn take_turns(&mut self) {
        let durable = self.core.durable();
        let mut due = std::mem::take(&mut self.line.due);
        let releases = &mut self.core.releases;
        let is_due = |release: &mut Release| release.lsn <= durable;
        while let Some(release) = releases.pop_front_if(is_due) {
            self.line.waiting.push(release.region);
            due.push(release);
        }
        // Of one region they stay in the order of their batches.
        due.sort_by_key(|release| release.region);
        let spare = std::mem::take(&mut self.line.spare);
        let mut line = std::mem::replace(&mut self.line.waiting, spare);
        line.sort_unstable();
        line.dedup();
        let mut released = due.drain(..).peekable();
        for region in line.iter().copied() {
            let is_its = |release: &Release| release.region == region;
            self.with(region, |peer, core| {
                while let Some(release) = released.next_if(is_its) {
                    peer.released(core, release);
                }
                peer.turn(core);
            });
            // It may be gone.
            while released.next_if(is_its).is_some() {}
        }
        drop(released);
        line.clear();
        self.line.spare = line;
        self.line.due = due;
    }
}

impl Peer {
    /// Its part of a turn.
    fn turn(&mut self, core: &mut Core) {
        self.dirty = false;
        self.queued = false;
        if matches!(self.stage, Stage::Destroying(_)) {
            return self.go(core);
        }
        if matches!(self.stage, Stage::Quarantined) {
            return;
        }
        self.go_on_asking(core);
        self.propose(core);
        if self.clock_wanted {
            self.propose_clock(core);
        }
        self.attempt_reads(core);
        self.go_on_restoring(core);
        self.persist(core);
        self.finish_change(core);
        self.apply(core);
        self.answer_reads(core);
        self.go_on_hashing(core);
        let wanted = matches!(*self.node.store().prepared.borrow(), Prepared::Wanted);
        if wanted && self.leads() && matches!(self.stage, Stage::Normal) && self.changing.is_none()
        {
            core.rotation_wanted = true;
        }
    }
}
