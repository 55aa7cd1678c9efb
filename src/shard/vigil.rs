//! The vigil: what a shard does for its quiet peers, which do nothing.
//!
//! ```text
//! each tick               who is missed? ─▶ whoever relies on it wakes
//! each heartbeat's time   a sign of life to everybody whom a quiet peer relies on
//! each tick, some peers   placement is told of the region, or the leader that somebody relies on it; in
//!                         `region_beat_ticks` each of them once
//! ```

use super::brain::Shard;
use super::ids::{RegionId, StoreId};
use super::mutant::Mutant;
use super::peer::Peer;

/// When all quiet regions are to be told of at once, that takes so many ticks.
const ROUND_TICKS: usize = 20;

/// The order in which quiet peers are looked after.
#[derive(Debug, Default)]
pub struct Round {
    /// Whose turn it is, by place.
    place: usize,
    /// What is left of a visit, in parts of a period.
    due: u64,
    /// So many are to be visited faster than usual.
    hurried: usize,
}

impl Round {
    /// All are looked after soon.
    pub fn hurry(&mut self, peers: usize) {
        self.hurried = peers;
    }
}

impl Shard {
    /// A store that quiet peers here rely on is silent, or begins another life. All of them wake; followers are
    /// going to ask for votes, spread over an election's least time.
    pub(super) fn alarm(&mut self, store: StoreId) {
        let relies = |peer: &&Peer| peer.relies_on().contains(&store);
        let woken: Vec<(RegionId, bool)> = self
            .peers
            .values()
            .filter(relies)
            .map(|peer| (peer.region_id(), peer.leads()))
            .collect();
        for (region, leads) in woken {
            if leads {
                self.with(region, |peer, core| peer.wake(core));
            } else if !self.core.breaks(Mutant::QuietMissesElection) {
                self.with(region, |peer, core| peer.wake_to_campaign(core));
            }
        }
    }

    /// One tick of all that is quiet: who is missed, who is to hear of this one, and who is to be looked after.
    pub(super) fn quiet_tick(&mut self) {
        let limits = *self.core.limits();
        let tick = self.core.ticks;
        for store in self.core.neighbours.silent(tick, limits.patience()) {
            self.alarm(store);
        }
        if tick.is_multiple_of(limits.heartbeat_ticks as u64) {
            for store in self.core.neighbours.relied_on() {
                self.core.beats.entry(store).or_default();
            }
        }
        self.look_after_some(limits.region_beat_ticks.max(1));
    }

    fn look_after_some(&mut self, period: u64) {
        let peers = self.peers.len();
        self.round.due += peers as u64;
        let mut visits = (self.round.due / period) as usize;
        self.round.due %= period;
        if self.round.hurried > 0 {
            visits = visits.max(peers.div_ceil(ROUND_TICKS));
            self.round.hurried = self.round.hurried.saturating_sub(visits);
        }
        for _ in 0..visits.min(peers) {
            self.round.place = (self.round.place + 1) % peers;
            let region = self.peers.at(self.round.place).region_id();
            self.with(region, |peer, core| peer.look_after(core, period));
        }
    }
}
