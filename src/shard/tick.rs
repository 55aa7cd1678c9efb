//! Ticks: what happens because time passes.

use raft::StateRole;

use super::core::Core;
use super::entry;
use super::ids::{Index, Term};
use super::limits::Limits;
use super::peer::{Peer, Stage};

/// With so many entries on their way no truncation is proposed.
const TRUNCATIONS_AHEAD: u64 = 64;

impl Peer {
    /// One tick.
    pub fn tick(&mut self, core: &mut Core) {
        if self.is_quiet() {
            // Reads wake no follower, and are over some time.
            return self.check_reads(core);
        }
        // Before raft has something to say again.
        self.calm_down(core);
        if self.is_quiet() {
            return;
        }
        self.tick_awake(core);
        self.drop_old_snapshot(core);
        self.dirty |= self.is_frozen();
    }

    fn tick_awake(&mut self, core: &mut Core) {
        match self.stage {
            Stage::Destroying(_) => return,
            // It only wants to know whether another has taken its place.
            Stage::Quarantined => return self.check_membership(core),
            _ => {}
        }
        let log = &self.node.raft.raft_log;
        // A sole voter would elect itself over entries that are not durable yet.
        let waits = self.is_sole_voter() && log.persisted < log.last_index();
        if !waits && !matches!(self.stage, Stage::Restoring(_)) {
            self.node.tick();
            self.draw(core);
        }
        self.dirty |= self.node.has_ready()
            || !self.machine.queue.is_empty()
            || self.asking.is_some()
            || self.splitting.is_some()
            || self.summons.is_some();
        self.check_reads(core);
        self.check_proposals(core);
        self.check_membership(core);
        self.beat(core);
        self.watch_over(core);
        self.compare_in = self.compare_in.saturating_sub(1);
        let low = core.log.borrow().segments_left() <= core.limits().segments_low;
        if self.compare_in == 0 && core.limits().compare_ticks > 0 && self.leads() && !low {
            self.compare_in = core.limits().compare_ticks;
            self.propose_hash(core);
        }
        self.truncate_in = self.truncate_in.saturating_sub(1);
        if self.truncate_in == 0 {
            self.truncate_in = core.limits().truncate_ticks;
            self.check_log(core);
        }
    }

    fn check_membership(&mut self, core: &mut Core) {
        // Raft remembers a leader that fell silent where the peer may not campaign: so this counts.
        self.leaderless = if self.leads() { 0 } else { self.leaderless + 1 };
        let patience = match self.stage {
            Stage::Leaving => core.limits().gone_ticks,
            _ => core.limits().leaderless_ticks,
        };
        if self.leaderless > 0 && self.leaderless.is_multiple_of(patience) {
            self.ask_whether_gone(core);
        }
        if self.leaderless > 0 && self.leaderless.is_multiple_of(core.limits().validate_ticks) {
            self.ask_placement_whether_gone(core);
        }
        self.leave_joint(core);
        if core.draining && self.leads() {
            self.hand_over(core);
        }
    }

    /// A leader cuts the log off behind what all replicas have, or behind what they should have.
    fn check_log(&mut self, core: &mut Core) {
        if self.node.raft.state != StateRole::Leader || !matches!(self.stage, Stage::Normal) {
            return;
        }
        if self.node.raft.raft_log.last_index() > self.machine.applied.0 + TRUNCATIONS_AHEAD {
            // What was proposed before has not come through: more of it would only fill the log.
            return;
        }
        let limits = *core.limits();
        let first = self.truncated(core).0 + 1;
        let applied = self.machine.applied.0;
        // A truncation is an entry itself: where it lets go of nothing, it would only fill the log.
        let log = core.log.borrow();
        let pressed = log.segments_left() <= limits.segments_low
            && log.truncation_frees(self.region_id().in_log());
        drop(log);
        if pressed && self.node.raft.raft_log.last_index() > applied {
            return;
        }
        let wanted = match pressed {
            true => Some(applied),
            false => self.cut(&limits),
        };
        let Some(wanted) = wanted else { return };
        let index = wanted.saturating_sub(1);
        let term = core.log.borrow().term(self.region_id().in_log(), index);
        if index < first {
            return;
        }
        if let Some(term) = term {
            let epoch = self.region().epoch;
            let payload = entry::truncate(epoch, core.now.wall, Index(index), Term(term));
            self.append(core, payload);
        }
    }

    /// Up to where the log would be cut off while there is room in it, if that is worth an entry.
    pub fn cut(&self, limits: &Limits) -> Option<u64> {
        let first = self.node.raft.raft_log.first_index();
        let applied = self.machine.applied.0;
        let matched = self
            .node
            .raft
            .prs()
            .iter()
            .map(|(_, progress)| progress.matched)
            .min();
        let replicated = matched.unwrap_or(applied).min(applied);
        if applied.saturating_sub(first) >= limits.truncate_entries_forced {
            return Some(applied);
        }
        (replicated.saturating_sub(first) > limits.truncate_entries).then_some(replicated)
    }
}
