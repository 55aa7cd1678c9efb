//! A summons: a leader that hands over tells its heir, once, to begin an election.
//!
//! ```text
//! leader  takes no proposals ─▶ tells the heir ─▶ waits, an election's time at the most
//! heir                            told ─▶ has applied all that it knows to be committed ─▶ campaigns
//! ```
//!
//! A peer that has only just become a voter has the entry that made it one, and has not applied it: raft would drop
//! what it is told, and its leader would refuse writes until it has waited long enough. So the heir keeps what it was
//! told until it may campaign. A summons gives no right to anything: it is an election like any other.

use raft::eraftpb::Message;

use super::core::Core;
use super::peer::{Peer, Stage};

/// What a leader has told its heir.
#[derive(Debug)]
pub struct Summons {
    message: Message,
    /// Its leader waits no longer.
    until: u64,
}

impl Peer {
    /// Its leader hands over to it.
    pub fn summoned(&mut self, core: &Core, message: Message) {
        let until = core.now.mono + core.election();
        self.summons = Some(Box::new(Summons { message, until }));
        self.dirty = true;
    }

    /// Begins the election that it was told to begin, as soon as it can.
    pub fn follow_summons(&mut self, core: &mut Core) {
        let Some(summons) = &self.summons else {
            return;
        };
        let raft = &self.node.raft;
        if core.now.mono >= summons.until || summons.message.term != raft.term {
            self.summons = None;
            return;
        }
        // A peer whose log has just been emptied by a snapshot cannot look through it for an election; one that has
        // started anew may have promised a leader to elect nobody else for a while.
        let may = matches!(self.stage, Stage::Normal)
            && core.now.mono >= self.quiet_until
            && raft.promotable()
            && raft.raft_log.applied >= raft.raft_log.committed;
        if may && let Some(summons) = self.summons.take() {
            let _ = self.node.step(summons.message);
            self.draw(core);
            self.dirty = true;
        }
    }
}
