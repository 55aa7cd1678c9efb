//! The pulse of a region: when its leader tells placement of it, and what.
//!
//! Now and then, more often while a peer is silent or behind or much is asked of it, and at once where something has changed:
//! a new leader, other peers, a peer that fell silent or caught up. Any of these may be lost: the next
//! one says the same.

use raft::ProgressState;

use super::core::Core;
use super::ids::PeerId;
use super::peer::{Peer, Stage};
use super::region::Role;
use super::time::MILLISECOND;
use crate::placement::Message;
use crate::placement::message::RegionStats;

/// Ticks between two heartbeats, at the least.
const GAP: u64 = 2;

/// When placement is told of a region next, and what has happened since the last time.
#[derive(Debug, Default)]
pub struct Pulse {
    /// Ticks until then.
    wait: u64,
    /// Ticks since the last time.
    since: u64,
    /// Peers that were silent, and peers that were behind: a bit for each, by its place in the region.
    ailing: (u64, u64),
    /// When each peer was last heard of. Only a leader knows.
    heard: Vec<(PeerId, u64)>,
    written_bytes: u64,
    written_keys: u64,
    /// As many keys as had been read or written when placement was told last, or when the peer began to lead.
    told: u64,
    /// When that was.
    told_at: u64,
    /// Whether it was told then that much is asked.
    is_loaded: bool,
}

impl Pulse {
    /// As soon as possible.
    pub fn now(&mut self) {
        self.wait = 0;
    }

    /// Whether placement knows how it is, and that all is well; also that no more is asked of it.
    pub fn is_told(&self) -> bool {
        self.wait > 0 && self.ailing == (0, 0) && !self.is_loaded
    }

    /// The peer begins to lead: it has heard of nobody yet.
    pub fn restart(&mut self, now: u64, requests: u64) {
        *self = Pulse {
            since: GAP,
            told: requests,
            told_at: now,
            ..Pulse::default()
        };
    }

    /// A peer has said something.
    pub fn heard(&mut self, peer: PeerId, now: u64) {
        // Whoever is not listed belongs to the region no more, or is listed at the next tick.
        if let Some((_, at)) = self.heard.iter_mut().find(|(known, _)| *known == peer) {
            *at = now;
        }
    }

    /// Placement is told after so many ticks at the latest.
    pub fn within(&mut self, ticks: u64) {
        self.wait = self.wait.min(ticks);
    }

    /// Whether a peer has said something since then.
    pub fn has_heard(&self, peer: PeerId, since: u64) -> bool {
        let mut heard = self.heard.iter();
        heard.any(|(known, at)| *known == peer && *at >= since)
    }

    /// A client has written something.
    pub fn wrote(&mut self, bytes: u64, keys: u64) {
        self.written_bytes += bytes;
        self.written_keys += keys;
    }
}

impl Peer {
    /// One tick of a peer that perhaps leads.
    pub fn beat(&mut self, core: &mut Core) {
        if !core.is_placed() || !self.leads() || !matches!(self.stage, Stage::Normal) {
            return;
        }
        self.pulse.wait = self.pulse.wait.saturating_sub(1);
        self.pulse.since += 1;
        let ailing = self.ailing(core);
        if ailing != self.pulse.ailing {
            self.pulse.ailing = ailing;
            self.pulse.now();
        }
        let limits = core.limits();
        let asked = self.watch.load.count() - self.pulse.told;
        // A load that has come or gone is told of sooner.
        let heavy = asked >= limits.region_load_requests || self.pulse.is_loaded;
        if heavy && self.pulse.since >= limits.region_load_ticks {
            self.pulse.now();
        }
        // What it knows of the region may be old before that.
        if self.pulse.wait > 0
            || self.pulse.since < GAP
            || !self.node.raft.apply_to_current_term()
            || self.changing.is_some()
        {
            return;
        }
        let busy = ailing != (0, 0) || self.region().is_joint();
        self.pulse.wait = match busy {
            true => core.limits().region_busy_ticks,
            false => core.limits().region_beat_ticks,
        };
        let part = limits.region_load_requests * self.pulse.since;
        self.pulse.is_loaded = asked * limits.region_load_ticks >= part.max(1);
        self.pulse.since = 0;
        let stats = self.stats(core, ailing);
        core.to_placement
            .push(Message::RegionHeartbeat(Box::new(stats)));
    }

    /// A quiet peer that leads tells placement of its region, where all is well.
    pub fn beat_quietly(&mut self, core: &mut Core) {
        if core.is_placed() {
            self.pulse.wait = core.limits().region_beat_ticks;
            self.pulse.since = 0;
            let stats = self.stats(core, (0, 0));
            core.to_placement
                .push(Message::RegionHeartbeat(Box::new(stats)));
        }
    }

    /// Who has been silent, and who is behind: a bit for each, by its place in the region.
    fn ailing(&mut self, core: &Core) -> (u64, u64) {
        let now = core.now.mono;
        let peers = &self.machine.region.peers;
        let heard = &mut self.pulse.heard;
        heard.retain(|(known, _)| peers.iter().any(|info| info.peer == *known));
        let silence = core.limits().silent_ms * MILLISECOND;
        let lag = core.limits().truncate_entries.max(10);
        let log = &self.node.raft.raft_log;
        let first = log.first_index();
        let (mut silent, mut behind) = (0, 0);
        for (place, info) in peers.iter().enumerate() {
            if info.peer == self.id {
                continue;
            }
            let at = match heard.iter().find(|(known, _)| *known == info.peer) {
                Some((_, at)) => *at,
                None => {
                    heard.push((info.peer, now));
                    now
                }
            };
            silent |= u64::from(now > at + silence) << place;
            let follows = self.node.raft.prs().get(info.peer.0).is_some_and(|there| {
                let close = there.matched + lag >= log.committed && there.matched + 1 >= first;
                // A learner is to be promoted when it certainly follows; a voter may be quiet.
                close
                    && (info.role != Role::Learner || there.recent_active)
                    && there.state != ProgressState::Snapshot
            });
            behind |= u64::from(!follows) << place;
        }
        (silent, behind)
    }

    fn stats(&mut self, core: &mut Core, (silent, behind): (u64, u64)) -> RegionStats {
        let (now, region) = (core.now.mono, self.region().clone());
        let in_mask = |mask: u64, place: usize| mask >> place & 1 == 1;
        let of = |mask: u64| {
            let places = region.peers.iter().enumerate();
            places.filter_map(move |(place, info)| in_mask(mask, place).then_some(info.peer))
        };
        let heard = &self.pulse.heard;
        let silence = |peer: PeerId| {
            let at = heard.iter().find(|(known, _)| *known == peer);
            at.map_or(0, |(_, at)| now.saturating_sub(*at) / MILLISECOND)
        };
        let requests = self.watch.load.count();
        let extent = core.store.extent(&region.range);
        let stats = RegionStats {
            leader: self.info(core),
            term: self.term(),
            down_peers: of(silent).map(|peer| (peer, silence(peer))).collect(),
            pending_peers: of(behind).collect(),
            written_bytes: std::mem::take(&mut self.pulse.written_bytes),
            written_keys: std::mem::take(&mut self.pulse.written_keys),
            requests: requests - self.pulse.told,
            interval_ms: now.saturating_sub(self.pulse.told_at) / MILLISECOND,
            approximate_bytes: extent.bytes,
            approximate_keys: extent.keys,
            applied: self.machine.applied,
            region,
        };
        (self.pulse.told, self.pulse.told_at) = (requests, now);
        stats
    }
}
