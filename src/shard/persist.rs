//! Persist: what raft wants written joins the batch of this turn, and what it wants sent is held until
//! it may leave.
//!
//! ```text
//! leader's messages     at once, if its term and vote are durable; else when they are
//! all other messages    when this ready's records are durable; without records, when every earlier
//!                       one of this peer is
//! ```
//!
//! What a power cut leaves behind at each line: nothing of a ready is in the log before `append`;
//! between there and the batch's completion the records are in memory only, and so is everything that
//! depends on them, since it waits in `releases`.

use raft::eraftpb::{Message, MessageType};
use raft::{Ready, StateRole};

use super::core::{Core, Release};
use super::entry;
use super::ids::{Index, Term};
use super::message::PeerMessage;
use super::meta::encode_hard_state;
use super::mutant::Mutant;
use super::observe::{Durable, Observation};
use super::peer::{Peer, Stage};

/// So many readies of one peer in one turn.
const READIES_MAX: usize = 4;

impl Peer {
    /// Takes what raft has ready, as far as the log has room for it. What it commits is applied in the
    /// same turn.
    pub fn persist(&mut self, core: &mut Core) {
        for _ in 0..READIES_MAX {
            if !self.node.has_ready() {
                return;
            }
            let unstable = self.node.raft.raft_log.unstable_entries();
            let bytes = unstable.iter().map(entry::payload_len).sum::<u64>();
            // The hard state goes along. Room was asked for when the entries were admitted; if it went to
            // others meanwhile, they go into the reserve: a peer that cannot write cannot vote either.
            let (bytes, count) = (bytes as usize + (16 << 10), unstable.len() + 4);
            if !core.log.borrow().has_room_in_reserve(bytes, count) {
                // The log is full to its end: truncation makes room, and every tick looks again.
                return;
            }
            let ready = self.node.ready();
            self.take(core, ready);
        }
        self.dirty = true;
    }

    fn take(&mut self, core: &mut Core, mut ready: Ready) {
        let number = ready.number();
        if let Some(soft) = ready.ss() {
            let role = soft.raft_state;
            self.role_changed(core, role);
        }
        self.draw(core);
        let wrote = self.write(core, &mut ready);
        if wrote {
            self.last_lsn = core.log.borrow().last_lsn();
        }
        if let Some(hard) = ready.hs()
            && wrote
            && ready.must_sync()
            && (hard.term, hard.vote) != self.promised
        {
            self.promised = (hard.term, hard.vote);
            self.vote_lsn = self.last_lsn;
        }
        for read in ready.take_read_states() {
            self.read_confirmed(core, &read.request_ctx, Index(read.index));
        }
        // A leader's messages do not wait for its own batch, but for its term.
        let eager = ready.take_messages();
        let held = ready.take_persisted_messages();
        let committed = ready.take_committed_entries();
        self.node.advance_append_async(ready);
        if self.leads() {
            self.lease
                .committed(Index(self.node.raft.raft_log.committed));
        }
        let eager = self.wrap_all(core, eager);
        self.hold(core, self.vote_lsn, None, eager, Mutant::SendBeforeTerm);
        let held = self.wrap_all(core, held);
        let after = match (wrote, core.breaks(Mutant::EmptyReadyEarly)) {
            (false, true) => core.durable(),
            _ => self.last_lsn,
        };
        self.hold(core, after, Some(number), held, Mutant::AckBeforeDurable);
        if !committed.is_empty() {
            self.machine.push(committed);
        }
    }

    /// Gives the log what must be durable. Returns whether there was anything.
    fn write(&mut self, core: &mut Core, ready: &mut Ready) -> bool {
        let region = self.region_id().in_log();
        let snapshot = !ready.snapshot().is_empty();
        if snapshot {
            self.begin_restore(core, ready.snapshot());
        }
        let entries = ready.take_entries();
        let vote_moved = ready.hs().is_some() && ready.must_sync();
        if entries.is_empty() && !vote_moved && !snapshot {
            return false;
        }
        let mut log = core.log.borrow_mut();
        let mut outcome = Ok(());
        if !entries.is_empty() {
            let stored = &mut core.stored;
            stored.extend(entries.iter().map(entry::to_log));
            outcome = log.append_given_into_reserve(region, stored);
            stored.clear();
        }
        // Whatever is written takes the newest commit index along; alone it causes no write.
        let mut hard = self.node.raft.hard_state();
        let written = Durable {
            term: Term(hard.term),
            committed: Index(hard.commit),
        };
        if core.options.mutant == Mutant::CommitLeftOut {
            hard.commit = self.written_commit;
        }
        self.written_commit = hard.commit;
        if core.options.mutant == Mutant::ForgetVote && entries.is_empty() && !snapshot {
            self.written = (log.last_lsn(), written);
            return true;
        }
        let hard = encode_hard_state(self.id, &hard);
        let outcome = outcome.and_then(|()| log.set_hard_state(region, hard));
        self.written = (log.last_lsn(), written);
        drop(log);
        if let Err(refused) = outcome {
            core.stop(format!(
                "region {}: the log refused: {refused}",
                self.region_id()
            ));
        }
        true
    }

    /// Lets messages leave, and a ready count as durable, when a batch is.
    fn hold(
        &mut self,
        core: &mut Core,
        lsn: coracle_wal::Lsn,
        ready: Option<u64>,
        messages: Vec<PeerMessage>,
        breaking: Mutant,
    ) {
        if ready.is_none() && messages.is_empty() {
            return;
        }
        if lsn > core.durable() && !core.breaks(breaking) {
            core.release(Release {
                lsn,
                region: self.region_id(),
                ready,
                messages,
            });
            return;
        }
        for message in messages {
            self.post(core, message);
        }
        if let Some(number) = ready {
            self.node.on_persist_ready(number);
        }
    }

    /// A batch is durable: what it held leaves. The peer's turn follows.
    pub fn released(&mut self, core: &mut Core, release: Release) {
        if self.written.0 <= release.lsn {
            self.durable = self.written.1;
        }
        for message in release.messages {
            self.post(core, message);
        }
        if let Some(number) = release.ready {
            self.node.on_persist_ready(number);
            if self.leads() {
                self.lease
                    .committed(Index(self.node.raft.raft_log.committed));
            }
        }
    }

    fn role_changed(&mut self, core: &mut Core, role: StateRole) {
        self.lease.reset();
        self.splitting = None;
        match role {
            StateRole::Leader => {
                let (region, peer, term) = (self.region_id(), self.id, self.term());
                self.lease
                    .sent(Index(self.node.raft.raft_log.last_index()), core.now.mono);
                core.observe(|| Observation::Leads { region, peer, term });
                self.pulse.restart(core.now.mono, self.watch.load.count());
                self.watch.restart(region, core.limits(), core.now.mono);
                if core.draining || matches!(self.stage, Stage::Leaving) {
                    self.hand_over(core);
                }
            }
            _ => self.leadership_lost(core),
        }
    }

    /// Wraps what raft has to say to other peers; what goes to nobody known is dropped.
    fn wrap_all(&mut self, core: &mut Core, messages: Vec<Message>) -> Vec<PeerMessage> {
        let mut wrapped = Vec::with_capacity(messages.len());
        for message in messages {
            if message.get_msg_type() == MessageType::MsgTimeoutNow {
                // Whoever gets it may win an election at once, however late it comes.
                self.lease.end();
            }
            wrapped.extend(self.wrap(core, message));
        }
        wrapped
    }
}
