//! The turn: every region with something to do is visited once, in the order of their ids.
//!
//! ```text
//! a batch is durable ─▶ its releases wait for the turn ─┐
//! inputs make regions dirty ─▶ they stand in line ──────┴▶ released, proposed, persisted, applied
//! ```
//!
//! A visit brings a region's memory near the processor, which with ten thousand regions costs more than
//! what is done there. So all that a region has to do is done in one visit, which some regions pay together: what
//! they touch is asked for at once, and then they go through a turn's stages side by side, so that each stage's
//! code is fetched for all of them.

use std::hint::black_box;

use super::brain::Shard;
use super::core::{Core, Release};
use super::ids::RegionId;
use super::peer::{Peer, Stage};
use super::window::Prepared;

/// So many regions are reached for together: what they touch stays near the processor until their turn.
const REACHED: usize = 16;

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

/// What is known of a region while its window has its turn.
#[derive(Clone, Copy, Default)]
struct Visit {
    was_initialized: bool,
    goes_on: bool,
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
        // Mostly a few rows in order, one behind another.
        line.sort();
        line.dedup();
        let mut released = due.drain(..).peekable();
        for window in line.chunks(REACHED) {
            for peer in window.iter().filter_map(|region| self.peers.get(region)) {
                peer.reach(&self.core);
            }
            let mut visits = [Visit::default(); REACHED];
            for (region, visit) in window.iter().zip(&mut visits) {
                let is_its = |release: &Release| release.region == *region;
                if let Some(peer) = self.peers.get_mut(region) {
                    visit.was_initialized = peer.is_initialized();
                    while let Some(release) = released.next_if(is_its) {
                        peer.released(&mut self.core, release);
                    }
                    visit.goes_on = peer.begin_turn(&mut self.core);
                }
                // It may be gone.
                while released.next_if(is_its).is_some() {}
            }
            for stage in [Peer::write_down, Peer::take_effect, Peer::end_turn] {
                for (region, _) in window.iter().zip(visits).filter(|(_, visit)| visit.goes_on) {
                    if let Some(peer) = self.peers.get_mut(region) {
                        stage(peer, &mut self.core);
                    }
                }
            }
            for (region, visit) in window.iter().zip(visits) {
                if let Some(peer) = self.peers.get_mut(region) {
                    peer.stay_quiet(&mut self.core);
                    self.visited(*region, visit.was_initialized);
                }
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
        // One of each line of memory, in their order.
        black_box((
            (self.proposed_bytes, machine.region.epoch, machine.applied),
            (machine.queue.len(), machine.queue_bytes, self.staged.bytes),
            (self.staged.requests.len(), self.proposals.len()),
            (self.last_lsn, self.written_commit, self.drawn.0),
            (self.clock_seen, self.reads.is_empty()),
            (self.consistency.is_hashing(), self.rest.is_listed),
            self.lease.holds(core.now.mono, 0),
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
            raft.prs().conf().voters().contains(self.id.0),
            matches!(*self.node.store().prepared.borrow(), Prepared::Wanted),
            self.node.has_ready(),
            self.proposals.front().map(|proposal| proposal.index),
            self.staged.commands.first_byte(),
            machine.region.peers.first().map(|info| info.peer),
            core.log.borrow().last_index(self.region_id().in_log()),
        ));
    }

    /// What it has been asked for goes into raft. Returns whether its turn goes on.
    fn begin_turn(&mut self, core: &mut Core) -> bool {
        self.dirty = false;
        self.queued = false;
        if matches!(self.stage, Stage::Destroying(_)) {
            self.go(core);
            return false;
        }
        if matches!(self.stage, Stage::Quarantined) {
            return false;
        }
        self.go_on_asking(core);
        self.propose(core);
        if self.clock_wanted {
            self.propose_clock(core);
        }
        self.attempt_reads(core);
        true
    }

    /// What raft wants written goes into the log's batch.
    fn write_down(&mut self, core: &mut Core) {
        self.go_on_restoring(core);
        self.persist(core);
    }

    /// What is committed is applied.
    fn take_effect(&mut self, core: &mut Core) {
        self.finish_change(core);
        self.apply(core);
    }

    /// What waited for that goes on.
    fn end_turn(&mut self, core: &mut Core) {
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
