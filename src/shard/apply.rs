//! Apply, and respond: committed entries change the store's memory, and whoever waits is answered.
//!
//! What was proposed here is answered by index **and** term: an entry of another term at the index
//! proves that the proposed one is not applied and never will be.

use raft::StateRole;
use raft::eraftpb::ConfChangeV2;

use super::core::{Core, Release};
use super::door::{Effect, Report};
use super::entry;
use super::error::Error;
use super::ids::{Index, Term};
use super::machine::{Applied, Outcomes, Waits, is_refusal};
use super::membership::Change;
use super::meta::State;
use super::mutant::Mutant;
use super::observe::Observation;
use super::peer::{Changing, Peer, Proposal, Regrouping, Stage};
use super::request::{Answer, Response, Written};
use super::time::MILLISECOND;

impl Peer {
    /// Applies what is committed, within the bounds of a turn.
    pub fn apply(&mut self, core: &mut Core) {
        if self.is_frozen() || core.stopped {
            return;
        }
        let before = self.machine.applied;
        for _ in 0..core.limits().apply_entries {
            if self.changing.is_some() || !self.apply_one(core) {
                break;
            }
        }
        if self.machine.applied > before {
            self.refused_reads = 0;
            self.split_passed(core, self.machine.applied);
            self.check_clock(core);
            self.applied(core);
        }
        if !self.machine.queue.is_empty() && self.changing.is_none() && !self.machine.is_reading() {
            self.dirty = true;
        }
    }

    /// A leader's time that is too far ahead is told of: what it has expired is gone. The leader sees that
    /// its entries move the clock further than time has passed; others, which may just be catching up, see
    /// that the clock is ahead of theirs.
    fn check_clock(&mut self, core: &mut Core) {
        let (clock, now, wall) = (self.machine.clock, core.now.mono, core.now.wall);
        let before = self.clock_seen.take();
        let leads = self.leads() && Term(self.node.raft.term) == self.machine.applied_term;
        let by_ms = match (leads, before) {
            (true, Some((before, at))) => {
                let passed = now.saturating_sub(at) / MILLISECOND;
                clock.saturating_sub(before + passed)
            }
            (true, None) => 0,
            (false, _) => clock.saturating_sub(wall),
        };
        let bound = core.limits().clock_ahead_ms;
        // An entry of an earlier leader, or one without a time, says nothing of this one's clock.
        if leads && clock + bound >= wall {
            self.clock_seen = Some((clock, now));
        }
        let ahead = by_ms > bound;
        if ahead && (leads || !self.clock_told) {
            let region = self.region_id();
            core.effects
                .push(Effect::Report(Report::ClockAhead { region, by_ms }));
        }
        self.clock_told = ahead && !leads;
    }

    /// Tells everyone how far this region is applied.
    pub fn applied(&mut self, core: &mut Core) {
        let applied = self.machine.applied;
        self.node.advance_apply_to(applied.0);
        core.log
            .borrow_mut()
            .applied(self.region_id().in_log(), applied.0);
        core.store.advance(
            self.region_id().in_store(),
            self.id.in_store(),
            applied.in_store(),
            coracle_engine::progress::Clock(self.machine.clock),
        );
    }

    /// Applies the entry in front. Returns whether it did.
    fn apply_one(&mut self, core: &mut Core) -> bool {
        let Some(front) = self.machine.queue.front() else {
            return false;
        };
        let (index, term) = (Index(front.index), Term(front.term));
        let checksum = if core.options.observe {
            entry::checksum(front)
        } else {
            0
        };
        self.drop_stale(core, index, term);
        let mine = self
            .proposals
            .front()
            .is_some_and(|proposal| proposal.index == index && !proposal.requests.is_empty());
        let mut outcomes = std::mem::take(&mut core.outcomes);
        outcomes.clear();
        let wanted = mine.then_some(&mut outcomes);
        let applied = self.machine.apply(&mut core.store, wanted);
        let done = self.applied_one(core, (index, term, checksum), applied, &mut outcomes);
        core.outcomes = outcomes;
        done
    }

    /// What follows of having applied an entry, or of not having it. Returns whether it is applied.
    fn applied_one(
        &mut self,
        core: &mut Core,
        (index, term, checksum): (Index, Term, u32),
        applied: Result<Applied, Waits>,
        outcomes: &mut Outcomes,
    ) -> bool {
        let applied = match applied {
            Ok(applied) => applied,
            Err(Waits::Empty | Waits::Blocks) => return false,
            Err(Waits::PeerChange) => return self.apply_change(core),
            Err(Waits::Split(_)) => return self.apply_split(core),
            Err(Waits::Unreadable(error)) => {
                if self.reads_again(is_refusal(&error)) {
                    self.dirty = true;
                    return false;
                }
                self.quarantine(core, format!("a block cannot be had at apply: {error:?}"));
                return false;
            }
            Err(Waits::Malformed(why)) => {
                self.quarantine(core, format!("entry {index} cannot be understood: {why}"));
                return false;
            }
        };
        let (region, peer) = (self.region_id(), self.id);
        core.observe(|| Observation::Applied {
            region,
            peer,
            index,
            term,
            checksum,
        });
        match applied {
            Applied::Began | Applied::Commands => {}
            Applied::ComputeHash => self.begin_hash(core),
            Applied::Rotate => self.rotate_early(core, index),
            Applied::Refused => {
                let error = self.epoch_error();
                self.answer(core, index, |_| Err(error.clone()));
                return true;
            }
            Applied::Truncate { index, term } => self.truncate(core, index, term),
            Applied::VerifyHash { index, hash } => self.verify_hash(core, index, hash),
        }
        let mut writes = outcomes.writes.drain(..);
        let requests = &outcomes.requests;
        self.answer(core, index, |place| {
            let count = usize::from(requests.get(place).copied().unwrap_or(0));
            let mut next = || writes.next().unwrap_or(Written::Done);
            Ok(match count {
                0 => Answer::Done,
                1 => Answer::Written(next()),
                _ => Answer::AllWritten((0..count).map(|_| next()).collect()),
            })
        });
        true
    }

    /// Proposals that this entry proves to be lost are answered so.
    fn drop_stale(&mut self, core: &mut Core, index: Index, term: Term) {
        let by_index = core.breaks(Mutant::AnswerByIndex);
        while let Some(front) = self.proposals.front() {
            let lost =
                front.index < index || (front.index == index && front.term != term && !by_index);
            if !lost {
                return;
            }
            let proposal = self.proposals.pop_front().expect("just seen");
            self.settle(core, proposal, |_| Err(Error::StaleCommand));
        }
    }

    /// Answers whoever proposed the entry at `index`.
    pub fn answer(
        &mut self,
        core: &mut Core,
        index: Index,
        respond: impl FnMut(usize) -> Response,
    ) {
        if self
            .proposals
            .front()
            .is_some_and(|front| front.index == index)
        {
            let proposal = self.proposals.pop_front().expect("just seen");
            self.settle(core, proposal, respond);
        }
    }

    /// Answers every request of a proposal, once.
    pub fn settle(
        &mut self,
        core: &mut Core,
        proposal: Proposal,
        mut respond: impl FnMut(usize) -> Response,
    ) {
        self.proposed_bytes -= proposal.bytes;
        core.proposed_bytes -= proposal.bytes;
        for (place, request) in proposal.requests.into_iter().enumerate() {
            let response = respond(place);
            core.respond(request, response);
        }
    }

    /// Leadership is gone. What was proposed may yet be applied; it is answered when its index is, or
    /// when its time is over.
    pub fn leadership_lost(&mut self, core: &mut Core) {
        self.reads_lost(core);
    }

    /// Proposals whose time is over are answered: nobody knows what becomes of them.
    pub fn check_proposals(&mut self, core: &mut Core) {
        let now = core.now.mono;
        for place in 0..self.proposals.len() {
            let proposal = &mut self.proposals[place];
            if proposal.deadline > now {
                continue;
            }
            // The entry stays, since its bytes do: only nobody waits for it any more.
            for request in std::mem::take(&mut proposal.requests) {
                core.refuse(request, Error::Undetermined);
            }
        }
    }

    /// What gathers for the next entry is refused.
    pub fn refuse_staged(&mut self, core: &mut Core, error: &Error) {
        for request in std::mem::take(&mut self.staged.requests) {
            core.refuse(request, error.clone());
        }
        self.staged.commands.clear();
        let bytes = std::mem::take(&mut self.staged.bytes);
        self.proposed_bytes -= bytes;
        core.proposed_bytes -= bytes;
    }

    /// The peer goes: every proposal is answered, as far as that is known.
    pub fn proposals_over(&mut self, core: &mut Core, staged: &Error) {
        self.refuse_staged(core, staged);
        if let Some(request) = self.asking.take().and_then(|asking| asking.request()) {
            core.refuse(request, staged.clone());
        }
        for proposal in std::mem::take(&mut self.proposals) {
            self.settle(core, proposal, |_| Err(Error::Undetermined));
        }
        core.proposed_bytes -= self.proposed_bytes;
        self.proposed_bytes = 0;
    }

    /// A change of the peers is in front: its meta is written, and applying stops until it is durable.
    fn apply_change(&mut self, core: &mut Core) -> bool {
        if !core.has_room_for_state() {
            return false;
        }
        let front = self.machine.queue.front().expect("a change in front");
        let index = Index(front.index);
        let change = Change::decode(&front.context);
        let applicable = change.and_then(|change| {
            let fresh = change.epoch.conf_ver == self.region().epoch.conf_ver;
            match fresh.then(|| change.apply(self.region())) {
                Some(Ok(after)) => Ok((change, after)),
                Some(Err(why)) => Err(super::codec::Malformed(why)),
                None => Err(super::codec::Malformed("the peers have changed since")),
            }
        });
        self.observe_front(core);
        self.machine.pass();
        let (change, after) = match applicable {
            Ok(applicable) => applicable,
            Err(_) => {
                // The same on every replica: nothing changes.
                let error = self.epoch_error();
                self.answer(core, index, |_| Err(error.clone()));
                return true;
            }
        };
        let mut meta = self.meta(State::Normal);
        meta.region = after.clone();
        let truncated = self.truncated(core);
        let lsn = core.write_meta(&meta, truncated, false);
        self.last_lsn = lsn;
        core.release(Release {
            lsn,
            region: self.region_id(),
            ready: None,
            messages: Vec::new(),
        });
        self.changing = Some(Changing::Peers(Box::new(Regrouping { lsn, change, after })));
        true
    }

    /// The entry in front is about to be passed.
    pub fn observe_front(&self, core: &mut Core) {
        let (region, peer) = (self.region_id(), self.id);
        let front = self.machine.queue.front().expect("an entry in front");
        core.observe(|| Observation::Applied {
            region,
            peer,
            index: Index(front.index),
            term: Term(front.term),
            checksum: entry::checksum(front),
        });
    }

    /// The meta of a change of the peers is durable: it takes effect.
    pub fn finish_change(&mut self, core: &mut Core) {
        let durable = core.durable();
        let is_durable = |changing: &mut Changing| match changing {
            Changing::Peers(regrouping) => regrouping.lsn <= durable,
            Changing::Split(_) => false,
        };
        let Some(Changing::Peers(regrouping)) = self.changing.take_if(is_durable) else {
            return;
        };
        let Regrouping { change, after, .. } = *regrouping;
        self.machine.region = after;
        // A snapshot of the old peers is of no use to a new one.
        self.forget_snapshot();
        let conf: ConfChangeV2 = change.in_raft();
        let agreed = self
            .node
            .apply_conf_change(&conf)
            .expect("the change was checked");
        debug_assert_eq!(
            agreed.voters.len(),
            super::meta::conf_state(self.region()).voters.len(),
            "raft and the region agree"
        );
        let index = self.machine.applied;
        self.answer(core, index, |_| Ok(Answer::Done));
        if self.region().peer(self.id).is_none() {
            self.removed(core);
        } else if self.node.raft.state == StateRole::Leader {
            self.pulse.now();
            self.leave_joint(core);
        }
        self.dirty = true;
    }

    /// A joint configuration is left by an entry of its own, by a leader that stays.
    pub fn leave_joint(&mut self, core: &mut Core) {
        if self.leads() && self.region().is_joint() && self.changing.is_none() {
            // Where it cannot be now, the next tick tries again.
            let _ = self.change_peers(core, None, None, &[]);
        }
    }

    /// The log may be cut off behind an entry.
    fn truncate(&mut self, core: &mut Core, index: Index, term: Term) {
        let before = self.truncated(core);
        if index.0 <= before.0 || index > self.machine.applied || !core.has_room_to_let_go() {
            return;
        }
        let known = core.log.borrow().term(self.region_id().in_log(), index.0);
        if known != Some(term.0) {
            return;
        }
        self.last_lsn = core.write_meta(&self.meta(State::Normal), (index.0, term.0), false);
    }

    /// This replica is at its end; the shard lives.
    pub fn quarantine(&mut self, core: &mut Core, why: String) {
        let region = self.region_id();
        self.stage = Stage::Quarantined;
        self.stop_changing();
        self.node.raft.become_follower(self.node.raft.term, 0);
        self.machine.clear();
        let error = Error::Corrupt(why.clone());
        self.proposals_over(core, &error);
        self.reads_over(core, &error);
        core.effects
            .push(Effect::Report(Report::Quarantined { region, why }));
    }
}
