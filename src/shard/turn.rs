//! The turn: every region with something to do is visited once, in the order of their ids.
//!
//! ```text
//! a batch is durable ─▶ its releases wait for the turn ─┐
//! inputs make regions dirty ─▶ they stand in line ──────┴▶ released, proposed, persisted, applied
//! ```
//!
//! A visit brings a region's memory near the processor, which with ten thousand regions costs more than
//! what is done there. So all that a region has to do is done in one visit.

use std::hint::black_box;

use super::brain::Shard;
use super::core::{Core, Release};
use super::ids::RegionId;
use super::peer::{Peer, Stage};
use super::window::Prepared;

/// So many regions are reached for together: what they touch stays near the processor until their turn.
const REACHED: usize = 8;

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
        for window in line.chunks(REACHED) {
            for peer in window.iter().filter_map(|region| self.peers.get(region)) {
                peer.reach(&self.core);
            }
            for region in window.iter().copied() {
                let is_its = |release: &Release| release.region == region;
                self.with(region, |peer, core| {
                    while let Some(release) = released.next_if(is_its) {
                        peer.released(core, release);
                    }
                    peer.turn(core);
                    peer.stay_quiet(core);
                });
                // It may be gone.
                while released.next_if(is_its).is_some() {}
            }
        }
        drop(released);
        line.clear();
        self.line.spare = line;
        self.line.due = due;
    }
}

impl Peer {
    /// Reads a little of everything that its turn is about to read. With many regions none of it is near
    /// the processor; asked for here, for some regions at once and before anything waits for it, it comes
    /// together.
    fn reach(&self, core: &Core) {
        let (raft, machine) = (&self.node.raft, &self.machine);
        let log = &raft.raft_log;
        black_box((
            (
                self.proposed_bytes,
                self.last_lsn,
                self.vote_lsn,
                self.written_commit,
            ),
            (
                self.durable.committed,
                self.drawn.0,
                self.quiet_until,
                self.leaderless,
            ),
            (
                self.dirty,
                self.reads.count(),
                self.proposals.len(),
                self.changing.is_some(),
            ),
            (
                self.staged.bytes,
                self.staged.requests.len(),
                self.staged.commands.len(),
            ),
            (
                machine.applied,
                machine.clock,
                machine.region.epoch,
                machine.queue_bytes,
            ),
            (
                machine.queue.len(),
                self.clock_seen,
                self.consistency.is_hashing(),
            ),
            (
                self.lease.holds(core.now.mono, 0),
                matches!(self.stage, Stage::Normal),
            ),
        ));
        black_box((
            (raft.term, raft.vote, raft.leader_id, raft.state),
            (
                raft.msgs.len(),
                raft.lead_transferee,
                raft.read_states.len(),
            ),
            (
                log.committed,
                log.persisted,
                log.applied,
                log.unstable.offset,
            ),
            log.unstable.entries.first().map(|entry| entry.term),
            raft.prs().get(self.id.0).map(|progress| progress.matched),
            self.node.has_ready(),
            self.proposals.front().map(|proposal| proposal.index),
            self.staged.commands.first_byte(),
            machine.region.peers.first().map(|info| info.peer),
            core.log.borrow().last_index(self.region_id().in_log()),
        ));
    }

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
        self.follow_summons(core);
        self.answer_reads(core);
        self.go_on_hashing(core);
        let wanted = matches!(*self.node.store().prepared.borrow(), Prepared::Wanted);
        if wanted && self.leads() && matches!(self.stage, Stage::Normal) && self.changing.is_none()
        {
            core.rotation_wanted = true;
        }
    }
}
