//! Propose: all commands of a turn for a region become one entry.

use raft::StateRole;

use super::core::Core;
use super::entry;
use super::error::Error;
use super::ids::{Index, PeerId, RequestId};
use super::limits::{ENTRY_BYTES_MAX, KEY_BYTES_MAX, SEGMENTS_FOR_PROPOSALS, VALUE_BYTES_MAX};
use super::membership::Change;
use super::peer::{Peer, Proposal, Stage};
use super::region::Epoch;
use super::request::{Answer, PeerChange, Write};

/// Writes of one request, at the most.
pub const WRITES_MAX: usize = 4096;

impl Peer {
    /// Whether it may take a command of a client that knows the region by this epoch.
    pub fn check(&self, epoch: Option<Epoch>) -> Result<(), Error> {
        match self.stage {
            Stage::Normal => {}
            Stage::Uninitialized => return Err(Error::RegionNotFound(self.region_id())),
            Stage::Quarantined => return Err(Error::Corrupt("the replica is quarantined".into())),
            Stage::Restoring(_) | Stage::Leaving | Stage::Destroying(_) => {
                return Err(Error::RegionMoved(self.region_id()));
            }
        }
        if let Some(epoch) = epoch
            && epoch.version != self.region().epoch.version
        {
            return Err(self.epoch_error());
        }
        Ok(())
    }

    /// The same for a command that others may do as well: what is given up here is not the end of it.
    pub fn check_or_send_on(&self, epoch: Option<Epoch>) -> Result<(), Error> {
        if matches!(self.stage, Stage::Quarantined) && self.region().peers.len() > 1 {
            return Err(Error::RegionMoved(self.region_id()));
        }
        self.check(epoch)
    }

    /// Refuses where another peer leads.
    pub fn check_leads(&self) -> Result<(), Error> {
        if self.node.raft.state != StateRole::Leader {
            return Err(Error::NotLeader {
                region: self.region_id(),
                leader: self.leader().filter(|leader| leader.peer != self.id),
            });
        }
        Ok(())
    }

    /// Refuses a key outside the range.
    pub fn check_key(&self, key: &[u8]) -> Result<(), Error> {
        if key.len() > KEY_BYTES_MAX {
            return Err(Error::TooLarge {
                what: "a key",
                bytes: key.len(),
                limit: KEY_BYTES_MAX,
            });
        }
        if !self.region().range.contains(key) {
            return Err(Error::KeyNotInRegion {
                region: self.region_id(),
                key: key.to_vec(),
            });
        }
        Ok(())
    }

    fn check_write(&self, write: &Write<'_>) -> Result<(), Error> {
        self.check_key(write.key())?;
        let value = match write {
            Write::Put { value, .. } => Some(value),
            Write::CompareAndPut { value, .. } => value.as_ref(),
            Write::DeleteRange { limit, start } => {
                let range = &self.region().range;
                let end: &[u8] = if limit.is_empty() {
                    &range.limit
                } else {
                    limit
                };
                if !range.limit.is_empty() && (end.is_empty() || end > &range.limit[..]) {
                    return Err(Error::KeyNotInRegion {
                        region: self.region_id(),
                        key: end.to_vec(),
                    });
                }
                if !end.is_empty() && *start > end {
                    return Err(Error::BadRequest("a range that ends before it begins"));
                }
                None
            }
            Write::Delete { .. } | Write::Add { .. } => None,
        };
        match value {
            Some(value) if value.len() > VALUE_BYTES_MAX => Err(Error::TooLarge {
                what: "a value",
                bytes: value.len(),
                limit: VALUE_BYTES_MAX,
            }),
            _ => Ok(()),
        }
    }

    /// Takes writes for the next entry, or says why not.
    pub fn stage(
        &mut self,
        core: &mut Core,
        request: RequestId,
        epoch: Option<Epoch>,
        writes: &[Write<'_>],
    ) -> Result<(), Error> {
        self.check_or_send_on(epoch)?;
        self.check_leads()?;
        if writes.is_empty() || writes.len() > WRITES_MAX {
            return Err(Error::BadRequest("a request holds from 1 to 4096 writes"));
        }
        let mut bytes = entry::GROUP_HEADER_BYTES;
        for write in writes {
            self.check_write(write)?;
            bytes += entry::encoded_len(write);
        }
        let limit = ENTRY_BYTES_MAX.min(core.limits().proposed_bytes as usize);
        if bytes + entry::COMMANDS_HEADER_BYTES > limit {
            return Err(Error::TooLarge {
                what: "a request",
                bytes,
                limit,
            });
        }
        if self.node.raft.lead_transferee.is_some() {
            return Err(Error::ServerIsBusy("leadership is moving"));
        }
        self.admit(core, bytes as u64)?;
        if self.staged.commands.len() + bytes > limit {
            self.propose(core);
            if !self.staged.requests.is_empty() {
                return Err(Error::ServerIsBusy("the region is being split"));
            }
        }
        self.proposed_bytes += bytes as u64;
        core.proposed_bytes += bytes as u64;
        self.staged.commands.push(0, 0, writes);
        self.staged.requests.push(request);
        self.pulse.wrote(bytes as u64, writes.len() as u64);
        self.watch.wrote(bytes as u64, writes.len() as u64);
        self.watch
            .load
            .touch_all(writes.len(), |place| writes[place].key());
        core.written_keys += writes.len() as u64;
        self.staged.bytes += bytes as u64;
        self.dirty = true;
        Ok(())
    }

    /// What was staged becomes an entry.
    pub fn propose(&mut self, core: &mut Core) {
        if self.staged.requests.is_empty() || self.holds_writes(core) {
            return;
        }
        let requests = std::mem::take(&mut self.staged.requests);
        let bytes = std::mem::take(&mut self.staged.bytes);
        let epoch = self.region().epoch;
        let payload = self.staged.commands.take(epoch, core.now.wall);
        match self.append(core, payload) {
            Some(index) => self.expect(Proposal {
                index,
                term: self.term(),
                bytes,
                deadline: core.now.mono + core.limits().write_timeout,
                requests,
            }),
            None => {
                self.proposed_bytes -= bytes;
                core.proposed_bytes -= bytes;
                let error = match self.check_leads() {
                    Err(error) => error,
                    Ok(()) => Error::ServerIsBusy("too much waits for replicas"),
                };
                for request in requests {
                    core.refuse(request, error.clone());
                }
            }
        }
    }

    /// Proposes an entry; none if raft does not take it.
    pub fn append(&mut self, core: &Core, payload: Vec<u8>) -> Option<Index> {
        if self.node.raft.state != StateRole::Leader {
            return None;
        }
        let before = self.node.raft.raft_log.last_index();
        let proposed = self.node.propose(Vec::new(), payload);
        let last = self.node.raft.raft_log.last_index();
        if proposed.is_err() || last == before {
            return None;
        }
        self.lease.sent(Index(last), core.now.mono);
        self.dirty = true;
        Some(Index(last))
    }

    /// Waits for an entry of one request, or of none.
    pub fn expect_alone(&mut self, core: &Core, index: Index, request: Option<RequestId>) {
        self.expect(Proposal {
            index,
            term: self.term(),
            bytes: 0,
            deadline: core.now.mono + core.limits().write_timeout,
            requests: request.into_iter().collect(),
        });
    }

    /// Waits for an entry. A leader that lost its place and has it again may propose at an index where
    /// it still waits for an older entry, which may yet be applied instead: so they stand in order.
    fn expect(&mut self, proposal: Proposal) {
        let key = |proposal: &Proposal| (proposal.index, proposal.term);
        let place = self
            .proposals
            .partition_point(|other| key(other) < key(&proposal));
        self.proposals.insert(place, proposal);
    }

    /// Moves the region's clock by an entry without commands.
    pub fn propose_clock(&mut self, core: &Core) {
        self.clock_wanted = false;
        let epoch = self.region().epoch;
        let payload = entry::Gathered::default().take(epoch, core.now.wall);
        self.append(core, payload);
    }

    /// Lets another peer lead: advice, answered at once.
    pub fn transfer(&mut self, core: &mut Core, to: PeerId) -> Result<Answer, Error> {
        self.check(None)?;
        self.check_leads()?;
        let Some(info) = self.region().peer(to) else {
            return Err(Error::BadRequest("the region has no such peer"));
        };
        if !info.role.votes_after() || to == self.id {
            return Err(Error::BadRequest("leadership goes to another voter"));
        }
        let last = self.node.raft.raft_log.last_index();
        let lag = core.limits().truncate_entries.max(10);
        let ready = self
            .node
            .raft
            .prs()
            .get(to.0)
            .is_some_and(|progress| progress.recent_active && progress.matched + lag >= last);
        if ready {
            self.node.transfer_leader(to.0);
            self.dirty = true;
        }
        Ok(Answer::Done)
    }

    /// Proposes a change of the peers.
    pub fn change_peers(
        &mut self,
        core: &mut Core,
        request: Option<RequestId>,
        epoch: Option<Epoch>,
        changes: &[PeerChange],
    ) -> Result<(), Error> {
        self.check(None)?;
        self.check_leads()?;
        if let Some(epoch) = epoch
            && epoch != self.region().epoch
        {
            return Err(self.epoch_error());
        }
        if self.node.raft.has_pending_conf() || self.changing.is_some() {
            return Err(Error::ServerIsBusy(
                "another change of the peers is under way",
            ));
        }
        if !self.node.raft.apply_to_current_term() {
            return Err(Error::ServerIsBusy("the leader has just been elected"));
        }
        let change = Change {
            epoch: self.region().epoch,
            changes: changes.to_vec(),
        };
        let after = change.apply(self.region()).map_err(Error::BadRequest)?;
        let stays = after
            .peer(self.id)
            .is_some_and(|info| info.role.votes_after());
        // A joint configuration may be entered by a leader that goes: it leads until it is left.
        if !stays && (changes.len() <= 1 || changes.is_empty()) {
            self.hand_over(core);
            return Err(Error::ServerIsBusy(
                "leadership moves to a peer that stays first",
            ));
        }
        self.check_healthy(core, &after)?;
        let before = self.node.raft.raft_log.last_index();
        let proposed = self
            .node
            .propose_conf_change(change.encode(), change.in_raft());
        let last = self.node.raft.raft_log.last_index();
        if proposed.is_err() || last == before {
            return Err(Error::ServerIsBusy("raft does not take the change"));
        }
        self.lease.sent(Index(last), core.now.mono);
        self.dirty = true;
        self.expect_alone(core, Index(last), request);
        Ok(())
    }

    /// Enough voters of the new configuration must have the log, or it could not go on: also the first one beside
    /// a single one is a learner before. Where the voters stay the same there is nothing to ask for.
    fn check_healthy(&self, core: &Core, after: &super::region::Region) -> Result<(), Error> {
        let voters = |region: &super::region::Region| -> Vec<_> {
            let voters = region.peers.iter().filter(|info| info.role.votes_after());
            voters.map(|info| info.peer).collect()
        };
        let (before, voters) = (voters(self.region()), voters(after));
        if before == voters {
            return Ok(());
        }
        let truncated = self.truncated(core).0;
        let limits = core.limits();
        let patience = limits.election_ticks as u64 * limits.tick;
        let since = core.now.mono.saturating_sub(patience);
        let is_healthy = |peer: &PeerId| {
            let progress = self.node.raft.prs().get(peer.0);
            // raft forgets who was active each time it asks itself whether a quorum is.
            let has_log = progress.is_some_and(|progress| {
                let active = progress.recent_active || self.pulse.has_heard(*peer, since);
                progress.matched >= truncated && active
            });
            *peer == self.id || has_log
        };
        let healthy = voters.iter().filter(|peer| is_healthy(peer)).count();
        let voters = voters.len();
        if healthy * 2 <= voters {
            return Err(Error::ServerIsBusy(
                "too few peers of the new configuration are caught up",
            ));
        }
        Ok(())
    }

    /// Lets the voter that is furthest, and stays, lead.
    pub fn hand_over(&mut self, core: &mut Core) {
        if !self.leads() || self.node.raft.lead_transferee.is_some() {
            return;
        }
        let progress = self.node.raft.prs();
        let candidates = self
            .region()
            .peers
            .iter()
            .filter(|info| info.peer != self.id && info.role.votes_after());
        let matched = |peer: PeerId| progress.get(peer.0).map_or(0, |progress| progress.matched);
        let best = candidates.max_by_key(|info| (matched(info.peer), info.peer));
        if let Some(best) = best.map(|info| info.peer) {
            let _ = self.transfer(core, best);
        }
    }
}

/// What may be admitted before it must be looked up again: looking is dearer than a command.
#[derive(Debug, Default)]
pub struct Gate {
    /// Bytes that a region may have under way.
    region: u64,
    /// Bytes that all regions together may have under way.
    total: u64,
    /// Bytes that the log certainly has room for, counted as `total` is.
    room: u64,
    /// Why a write was turned away since the last turn: then all that come behind it are.
    shut: Option<Error>,
}

/// The log is asked for so much more than a command needs, so that it need not be asked every time.
const ROOM_AHEAD: u64 = 256 << 10;

impl Peer {
    /// Whether the region may have so many more bytes proposed. What was turned away in this turn was not turned
    /// away to let a smaller one pass that came later.
    fn admit(&mut self, core: &mut Core, bytes: u64) -> Result<(), Error> {
        let region = Error::ServerIsBusy("the region has too much under way");
        if self.shut_in == core.turns {
            return Err(region);
        }
        core.admit(bytes)?;
        if self.proposed_bytes > 0 && self.proposed_bytes + bytes > core.gate.region {
            self.shut_in = core.turns;
            return Err(region);
        }
        Ok(())
    }
}

impl Core {
    /// Whether all regions together may have so many more bytes proposed.
    fn admit(&mut self, bytes: u64) -> Result<(), Error> {
        if let Some(error) = &self.gate.shut {
            return Err(error.clone());
        }
        let admitted = self.look_if_needed(bytes);
        if let Err(error) = &admitted {
            self.gate.shut = Some(error.clone());
        }
        admitted
    }

    fn look_if_needed(&mut self, bytes: u64) -> Result<(), Error> {
        let ahead = self.admitted + self.proposed_bytes + bytes;
        if ahead > self.gate.room {
            self.look(ahead)?;
        }
        if self.proposed_bytes > 0 && self.proposed_bytes + bytes > self.gate.total {
            return Err(Error::ServerIsBusy("the shard has too much under way"));
        }
        Ok(())
    }

    /// Looks what may be admitted, when `ahead` bytes are wanted.
    fn look(&mut self, ahead: u64) -> Result<(), Error> {
        self.gate = Gate::default();
        if self.stopped {
            return Err(Error::ServerIsBusy("the shard has stopped"));
        }
        if self.draining {
            return Err(Error::ServerIsBusy("the node is about to end"));
        }
        if self.store.is_full() {
            return Err(Error::DiskFull);
        }
        // Debt lowers the budgets gradually, so writers slow down long before they are refused.
        let limits = *self.limits();
        let debt = self.store.debt_bytes();
        let span = limits.debt_bytes_stop - limits.debt_bytes_slow;
        let over = debt.saturating_sub(limits.debt_bytes_slow).min(span);
        if over == span {
            return Err(Error::ServerIsBusy("compaction is behind"));
        }
        let scale = |budget: u64| {
            budget - (u128::from(budget) * u128::from(over) / u128::from(span)) as u64
        };
        let log = self.log.borrow();
        let few = log.segments_left() < SEGMENTS_FOR_PROPOSALS;
        let room = match log.has_room(ahead + ROOM_AHEAD, ENTRIES_AHEAD) {
            true => ahead + ROOM_AHEAD,
            false => ahead,
        };
        if few || !log.has_room(room, ENTRIES_AHEAD) {
            return Err(match log.is_starved() {
                true => Error::DiskFull,
                false => Error::ServerIsBusy("the log is full"),
            });
        }
        drop(log);
        self.gate = Gate {
            region: scale(limits.proposed_bytes),
            total: scale(limits.proposed_bytes_total),
            room,
            shut: None,
        };
        Ok(())
    }
}

/// Entries that may come of what is admitted before the next look.
const ENTRIES_AHEAD: usize = 64;
