//! Reads that are answered while they are asked.
//!
//! Most reads find the lease valid, everything applied that was committed, and the value in memory. Such a
//! read needs no request of its own and no turn: its value is handed out where it lies. Whoever asks keeps the
//! shard to himself meanwhile, so what was found for one read holds for the next ones too.

use coracle_engine::value::StoredValue;

use super::brain::Shard;
use super::core::Core;
use super::ids::Index;
use super::limits::KEY_BYTES_MAX;
use super::peer::Peer;
use super::peers::Peers;
use super::routes::Routes;
use super::time::Time;

/// A shard of which something is read and which does not change meanwhile.
#[derive(Debug)]
pub struct AtHand<'s> {
    core: &'s mut Core,
    peers: &'s Peers,
    routes: &'s Routes,
    is_shut: bool,
    /// The peer that answered last.
    found: Option<&'s Peer>,
}

impl Shard {
    /// Reads by the lease what is in memory. The clock is read after the last of these reads has come: before
    /// that, another one may have led.
    pub fn at_hand(&mut self, now: Time) -> AtHand<'_> {
        self.time_is(now);
        AtHand {
            is_shut: self.is_shut(),
            core: &mut self.core,
            peers: &self.peers,
            routes: &self.routes,
            found: None,
        }
    }
}

impl<'s> AtHand<'s> {
    /// Tells the value of a key, as a linearizable read sees it. Where that cannot be told at once nothing is
    /// told, nothing has changed, and the read is to be asked as a request.
    #[inline]
    pub fn get(&mut self, key: &[u8], tell: impl FnOnce(Option<&[u8]>)) -> bool {
        let Some(peer) = self.peer(key) else {
            return false;
        };
        let clock = peer.machine.clock;
        let Some(found) = self.core.store.get_at_hand(key) else {
            return false;
        };
        let Some(stored) = found else {
            peer.watch.load.touch(key);
            tell(None);
            return true;
        };
        match StoredValue::decode(&stored) {
            Ok(value) if value.expired(clock) => tell(None),
            // The region is to be told first how late it is.
            Ok(value) if value.expired(self.core.now.wall) => return false,
            Ok(value) => tell(Some(value.bytes)),
            Err(_) => return false,
        }
        peer.watch.load.touch(key);
        true
    }

    /// The peer that may answer for a key.
    #[inline]
    fn peer(&mut self, key: &[u8]) -> Option<&'s Peer> {
        match self.found {
            Some(peer) if peer.region().range.contains(key) => {}
            _ => self.found = self.find(key),
        }
        self.found.filter(|_| key.len() <= KEY_BYTES_MAX)
    }

    fn find(&self, key: &[u8]) -> Option<&'s Peer> {
        if self.is_shut {
            return None;
        }
        let peer = self.peers.get(&self.routes.at(key)?)?;
        let answers = peer.region().range.contains(key)
            && peer.check(None).is_ok()
            && peer.lease_holds(self.core)
            && peer.machine.applied >= Index(peer.node.raft.raft_log.committed);
        answers.then_some(peer)
    }
}
