//! The herald: tells placement of this shard, looks for the store that runs it, and carries out what it
//! says.
//!
//! ```text
//! heartbeat ─▶ whoever is believed to lead region 1 ─▶ heard: the belief is right
//!                     │                                 not placement: it says who is
//!                     └─ nothing for a while: the next of all stores that are known
//! ```
//!
//! Whatever is sent may be lost: everything is said again sooner or later, and an instruction holds under
//! the epoch that it names and no other.

use std::collections::BTreeSet;

use super::brain::Shard;
use super::door::{Effect, Report};
use super::ids::{NodeId, RegionId, StoreId};
use super::message::PeerMessage;
use super::peer::Peer;
use super::request::PeerChange;
use super::seat::Seat;
use super::time::MILLISECOND;
use crate::placement::message::{Operator, StoreStats, Verdict};
use crate::placement::{Message, NodeInfo};

/// Pointers to somebody else that are followed at once.
const POINTERS_MAX: u32 = 4;

/// Whom this shard takes for placement, and what it has told and heard.
#[derive(Debug, Default)]
pub struct Herald {
    /// Which store leads region 1, as far as known.
    believed: Option<StoreId>,
    /// Which of them has heard of the regions that are led here, since it was last known to lead.
    informed: Option<StoreId>,
    /// Ticks until the next heartbeat.
    wait: u64,
    /// Ticks since a heartbeat that nobody has heard yet.
    unheard: Option<u64>,
    /// Pointers followed since somebody has heard, or since all are asked in turn.
    pointers: u32,
    /// Whose turn it is, where nobody is believed.
    place: usize,
    /// The nodes, and the version of the list; 0: from an earlier life.
    nodes: (u64, Vec<NodeInfo>),
    /// Whether it was told that its node was removed, and held nothing: it takes nothing more.
    told_removed: bool,
    /// When the shard started, in unix milliseconds.
    started_ms: u64,
    /// What was counted when placement was told last, and when that was.
    told: Counts,
    told_at: u64,
    /// Bytes free on the disk, as the driver said.
    bytes_free: u64,
}

/// What is counted for ever.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    written_bytes: u64,
    written_keys: u64,
    read_bytes: u64,
    read_keys: u64,
}

impl Herald {
    /// One that knows nobody yet.
    pub fn new(started_ms: u64) -> Herald {
        Herald {
            started_ms,
            ..Herald::default()
        }
    }

    /// So many bytes are free.
    pub fn on_space(&mut self, bytes_free: u64) {
        self.bytes_free = bytes_free;
    }

    /// The next tick tells placement how the store is.
    pub fn hurry(&mut self) {
        self.wait = 0;
    }

    /// What the driver remembers of the nodes.
    pub fn remember(&mut self, nodes: Vec<NodeInfo>) {
        if self.nodes.0 == 0 {
            self.nodes.1 = nodes;
        }
    }

    /// The nodes as far as known, and the version of the list.
    pub fn nodes(&self) -> &(u64, Vec<NodeInfo>) {
        &self.nodes
    }

    /// Which store runs placement, as far as known.
    pub fn believed(&self) -> Option<StoreId> {
        self.believed
    }

    /// Whether there is another store that might bear a part of the work.
    pub fn knows_others(&self) -> bool {
        let stores = self.nodes.1.iter().map(|node| node.stores.len());
        stores.sum::<usize>() > 1
    }

    /// Whether this shard has nothing any more, and is to have nothing.
    pub fn is_over(&self) -> bool {
        self.told_removed
    }

    fn knows(&self, store: StoreId) -> bool {
        let mut nodes = self.nodes.1.iter();
        nodes.any(|node| node.stores.contains(&store))
    }
}

impl Shard {
    /// One tick: a heartbeat is due, or goes to somebody else.
    pub(super) fn herald_tick(&mut self) {
        let limits = *self.core.limits();
        self.herald.wait = self.herald.wait.saturating_sub(1);
        let mut is_lost = false;
        if let Some(ticks) = &mut self.herald.unheard {
            *ticks += 1;
            if *ticks >= limits.store_retry_ticks {
                self.herald.believed = None;
                self.herald.pointers = 0;
                self.herald.place += 1;
                self.herald.wait = 0;
                is_lost = true;
            }
        }
        if self.herald.wait > 0 {
            return;
        }
        self.herald.unheard = Some(0);
        self.herald.wait = limits.store_beat_ticks;
        let stats = self.store_stats();
        self.tell_placement(Message::StoreHeartbeat(stats));
        if is_lost {
            // Perhaps whoever was named has moved: placement would say so to a member, but not to one that is gone.
            self.tell_placement(Message::ListNodes);
        }
    }

    /// What peers have to say leaves.
    pub(super) fn herald_turn(&mut self) {
        for message in std::mem::take(&mut self.core.to_placement) {
            self.tell_placement(message);
        }
    }

    /// Says something to placement, wherever it is believed to be; nowhere: it is lost.
    fn tell_placement(&mut self, message: Message) {
        let me = self.core.me();
        match self.placement_store() {
            Some(store) if store == me => self.placement_message(me, message),
            Some(store) => self.core.send(store, PeerMessage::Placement(message)),
            None => {}
        }
    }

    /// Whom to ask: the believed one, the leader of region 1 as its peer here knows it, or all stores
    /// that are known in turn.
    pub fn placement_store(&self) -> Option<StoreId> {
        let herald = &self.herald;
        if herald.believed.is_some() {
            return herald.believed;
        }
        let mut known: Vec<StoreId> = Vec::new();
        let system = self.peers.get(&RegionId::SYSTEM);
        if let Some(peer) = system {
            let leads = peer.leads().then(|| self.core.me());
            known.extend(leads.or(peer.leader().map(|info| info.store)));
            known.extend(peer.region().peers.iter().map(|info| info.store));
        }
        known.extend(herald.nodes.1.iter().flat_map(|node| &node.stores));
        if known.is_empty() {
            let regions = self.peers.values().map(|peer| peer.region());
            let stores: BTreeSet<StoreId> = regions
                .flat_map(|region| region.peers.iter().map(|info| info.store))
                .collect();
            known.extend(stores);
        }
        let count = known.len();
        (count > 0).then(|| known[herald.place % count])
    }

    fn store_stats(&mut self) -> StoreStats {
        let figures = self.core.store.figures();
        let now = Counts {
            written_bytes: figures.counted.user_bytes,
            written_keys: self.core.written_keys,
            read_bytes: figures.bytes_read,
            read_keys: figures.counted.gets,
        };
        let before = std::mem::replace(&mut self.herald.told, now);
        let since = std::mem::replace(&mut self.herald.told_at, self.core.now.mono);
        let used = figures.table_bytes + figures.memtable_bytes;
        let applying = self.peers.values().filter(|peer| peer.is_restoring());
        StoreStats {
            store: self.core.me(),
            capacity_bytes: used.saturating_add(self.herald.bytes_free),
            used_bytes: used,
            available_bytes: self.herald.bytes_free,
            regions: self.peers.len() as u32,
            leaders: self.peers.values().filter(|peer| peer.leads()).count() as u32,
            sending_snapshots: self.core.sending.len() as u32,
            receiving_snapshots: self.core.receiving.len() as u32,
            applying_snapshots: applying.count() as u32,
            started_ms: self.herald.started_ms,
            busy: self.core.store.is_full() || self.core.draining,
            interval_ms: self.core.now.mono.saturating_sub(since) / MILLISECOND,
            written_bytes: now.written_bytes - before.written_bytes,
            written_keys: now.written_keys - before.written_keys,
            read_bytes: now.read_bytes - before.read_bytes,
            read_keys: now.read_keys - before.read_keys,
        }
    }

    /// Another shard, or this one, has said something to placement or for it.
    pub(super) fn placement_message(&mut self, from: StoreId, message: Message) {
        if !self.core.is_placed() || Seat::is_asker(from) {
            return;
        }
        match message {
            Message::StoreHeard { nodes } => self.heard(from, nodes),
            Message::Nodes(version, nodes) => self.learn_nodes(version, nodes),
            Message::NotPlacement { hint } => self.pointed(from, hint),
            Message::Removed { node } => self.removed(from, node),
            Message::Operator(operator) => self.obey(operator),
            Message::Verdict {
                peer,
                region,
                verdict: Verdict::Gone { region: known },
            } => {
                self.with(region, |here, core| {
                    if here.id == peer {
                        here.told_by_placement(core, known);
                    }
                });
            }
            Message::Verdict { .. } => {}
            Message::Allocated {
                nonce,
                first,
                count,
            } => self.given_ids(nonce, first, count),
            // For a process that has no store yet, or for a tool: they ask by requests.
            Message::Joined { .. }
            | Message::JoinRefused { .. }
            | Message::Regions(_)
            | Message::Moving { .. }
            | Message::MoveRefused { .. }
            | Message::Paused { .. }
            | Message::Overview(_) => {}
            question => self.seat_message(from, question),
        }
    }

    /// Placement has given ids to a peer that is about to split its region.
    fn given_ids(&mut self, nonce: u64, first: u64, count: u32) {
        let asks = |peer: &Peer| {
            peer.asking
                .as_ref()
                .is_some_and(|asking| asking.nonce == nonce)
        };
        let asker = self.peers.values().find(|peer| asks(peer));
        if let Some(region) = asker.map(|peer| peer.region_id()) {
            self.with(region, |peer, _| peer.given_ids(nonce, first, count));
        }
    }

    /// Placement has heard this store.
    fn heard(&mut self, from: StoreId, version: u64) {
        self.herald.unheard = None;
        self.herald.pointers = 0;
        self.herald.believed = Some(from);
        if std::mem::take(&mut self.herald.told_removed) {
            let report = Report::Kept(self.core.options.node);
            self.core.effects.push(Effect::Report(report));
        }
        if self.herald.informed != Some(from) {
            self.herald.informed = Some(from);
            // Whatever it knows of regions is old: it is told at once.
            self.all_pulses();
        }
        if self.herald.nodes.0 != version {
            self.tell_placement(Message::ListNodes);
        }
    }

    /// Whether it has no peer, and will not find one when it has read what it has.
    pub fn holds_nothing(&self) -> bool {
        self.peers.is_empty() && self.replay.is_none()
    }

    /// Placement says that this node does not belong to the cluster any more. Whoever looks after the process ends
    /// it once all its shards say so; from here on this one takes nothing more. What was put here meanwhile stays,
    /// and placement hears of it by the next heartbeat.
    fn removed(&mut self, from: StoreId, node: NodeId) {
        let asked = self.placement_store() == Some(from);
        if !asked || node != self.core.options.node || self.herald.told_removed {
            return;
        }
        if !self.holds_nothing() {
            return self.herald.hurry();
        }
        self.herald.told_removed = true;
        let report = Report::Removed(node);
        self.core.effects.push(Effect::Report(report));
    }

    /// Somebody does not run placement, and perhaps knows who does.
    fn pointed(&mut self, from: StoreId, hint: Option<StoreId>) {
        // When it leads again, it has forgotten what it was told.
        if self.herald.informed == Some(from) {
            self.herald.informed = None;
        }
        if self
            .herald
            .believed
            .is_some_and(|believed| believed != from)
        {
            return;
        }
        // Without a better name the next one of all is asked, when this one's time is over.
        self.herald.believed = None;
        let Some(hint) = hint.filter(|hint| *hint != from) else {
            return;
        };
        if !self.herald.knows(hint) {
            // Nobody else may be able to say where that is: whoever names it knows it.
            let question = PeerMessage::Placement(Message::ListNodes);
            self.core.send(from, question);
        }
        if self.herald.pointers < POINTERS_MAX {
            self.herald.pointers += 1;
            self.herald.believed = Some(hint);
            self.herald.wait = 0;
        }
    }

    fn learn_nodes(&mut self, version: u64, nodes: Vec<NodeInfo>) {
        if version <= self.herald.nodes.0 {
            return;
        }
        let news = self.herald.nodes.1 != nodes;
        self.herald.nodes = (version, nodes);
        if news {
            let nodes = self.herald.nodes.1.clone();
            self.core.effects.push(Effect::Nodes(nodes));
            // Regions may have waited for just these nodes.
            self.all_pulses();
        }
    }

    fn all_pulses(&mut self) {
        self.round.hurry(self.peers.len());
        for peer in self.peers.values_mut() {
            peer.pulse.now();
        }
    }

    /// Carries out an instruction, if it holds: under exactly its epoch, where the region is led.
    fn obey(&mut self, operator: Operator) {
        match operator {
            Operator::ChangePeers {
                region,
                epoch,
                changes,
            } => {
                let known = |change: &PeerChange| match change {
                    PeerChange::Put(info) => self.herald.knows(info.store),
                    PeerChange::Remove(_) => true,
                };
                let reached = changes.iter().all(known);
                // Refused: placement hears soon of the region as it is, and says it again or thinks again.
                self.with(region, |peer, core| {
                    peer.wake(core);
                    let done = peer.change_peers(core, None, Some(epoch), &changes);
                    if done.is_err() && peer.leads() {
                        peer.pulse.within(core.limits().region_busy_ticks);
                    }
                });
                if !reached {
                    self.tell_placement(Message::ListNodes);
                }
            }
            Operator::TransferLeader { region, epoch, to } => {
                self.with(region, |peer, core| {
                    if peer.region().epoch == epoch {
                        peer.wake(core);
                        let _ = peer.transfer(core, to);
                    }
                });
            }
        }
    }
}
