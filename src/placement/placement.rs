//! Placement behind its doors: messages and time in; writes and replies out.
//!
//! **A reply leaves when all writes that were wanted before it are applied.** One batch of writes is under
//! way at a time; one that failed is offered again, with whatever has come since over it. An instruction is
//! repeated with every heartbeat until the region's epoch moves or its time is over: the epoch lets one of
//! its copies take effect at most.

use std::collections::BTreeMap;

use super::copies::Copies;
use super::direct::Move;
use super::errands::Errands;
use super::join::join;
use super::message::{Message, RegionInfo, Regions, Source, StoreStats, Verdict};
use super::options::Options;
use super::spread::{Place, places};
use super::standing::{Standing, stand, turn_up};
use super::state::State;
use crate::shard::codec::Malformed;
use crate::shard::ids::{NodeId, RegionId, StoreId};
use crate::shard::limits::ENTRY_BYTES_MAX;
use crate::shard::region::{Epoch, PeerInfo, Region};
use crate::shard::time::{MILLISECOND, Time};

const IDS_MAX: u32 = 1 << 16;
const LIST_MAX: u32 = 1024;

/// With so many keys to be written, or replies that wait for it, nothing more is taken in: whoever asks
/// asks again.
const WAITING_MAX: usize = 1024;

/// The same in bytes. What fails is written again together with what came since, so what is under way
/// counts, too: any batch fits an entry.
const WAITING_BYTES_MAX: usize = 1 << 20;

const _: () = assert!(2 * WAITING_BYTES_MAX < ENTRY_BYTES_MAX);

/// Writes to the system keys: all of them or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writes {
    /// Comes back with [`Placement::written`].
    pub token: u64,
    /// Keys and values.
    pub puts: Vec<(Vec<u8>, Vec<u8>)>,
    /// Keys that go.
    pub deletes: Vec<Vec<u8>>,
}

/// What a store told of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    /// When.
    pub(super) at: u64,
    /// Whether it can take more.
    pub(super) takes_more: bool,
    /// Replicas that it holds, of whatever kind.
    pub(super) holds: u32,
}

/// The leader of region 1 in its second part. Dropped when it no longer leads.
#[derive(Debug)]
pub struct Placement {
    pub(super) options: Options,
    pub(super) state: State,
    pub(super) begun: u64,
    /// What each store last told of itself.
    pub(super) heard: BTreeMap<StoreId, Heard>,
    /// Changes of peers that leaders were told to make, until their regions have changed.
    pub(super) moves: BTreeMap<RegionId, Move>,
    pub(super) errands: Errands,
    pub(super) copies: Copies,
    /// Where nodes stand, as of this version of their list.
    pub(super) places: BTreeMap<NodeId, Place>,
    placed: u64,
    /// Regions up to here were looked at.
    pub(super) looked: RegionId,
    pub(super) looks_at: u64,
    /// Silent stores up to here were called, and when the next ones are.
    pub(super) called: StoreId,
    pub(super) calls_at: u64,
    token: u64,
    under_way: Option<BTreeMap<Vec<u8>, Option<Vec<u8>>>>,
    under_way_bytes: usize,
    held: Vec<(u64, StoreId, Message)>,
    ready: Vec<(StoreId, Message)>,
}

impl Placement {
    /// From the pairs of the system keys, as the leader has applied them in its term.
    pub fn new(
        options: Options,
        now: Time,
        pairs: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<Placement, Malformed> {
        Ok(Placement {
            options,
            state: State::load(pairs)?,
            begun: now.mono,
            heard: BTreeMap::new(),
            moves: BTreeMap::new(),
            errands: Errands::default(),
            copies: Copies::default(),
            places: BTreeMap::new(),
            placed: 0,
            looked: RegionId(0),
            looks_at: 0,
            called: StoreId(0),
            calls_at: 0,
            token: 0,
            under_way: None,
            under_way_bytes: 0,
            held: Vec::new(),
            ready: Vec::new(),
        })
    }

    /// Whether so many ids may be asked for at once.
    pub fn may_allocate(count: u32) -> bool {
        (1..=IDS_MAX).contains(&count)
    }

    /// Looks where nodes stand, if something was said of one.
    fn place(&mut self) {
        if self.placed != self.state.version {
            self.placed = self.state.version;
            self.places = places(&self.state.nodes, &self.options.spread);
        }
    }

    /// What it knows, written or about to be.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes in a message.
    pub fn handle(&mut self, now: Time, from: StoreId, message: Message) {
        let under_way = self.under_way.as_ref().map_or(0, BTreeMap::len);
        if self.state.wanted.len() + under_way >= WAITING_MAX
            || self.state.wanted_bytes + self.under_way_bytes >= WAITING_BYTES_MAX
            || self.held.len() >= WAITING_MAX
        {
            return;
        }
        self.place();
        let answer = match message {
            Message::Join {
                nonce,
                address,
                edition,
                shards,
                labels,
            } => Some(join(
                &mut self.state,
                nonce,
                address,
                edition,
                shards,
                labels,
            )),
            Message::StoreHeartbeat(stats) if stats.store == from => self.store(now, &stats),
            Message::RegionHeartbeat(stats) => self.region(now, from, &stats),
            Message::AllocateIds { count, nonce } if Placement::may_allocate(count) => {
                Some(Message::Allocated {
                    nonce,
                    first: self.state.allocate(u64::from(count)),
                    count,
                })
            }
            Message::ValidatePeer {
                region,
                peer,
                epoch,
            } => Some(Message::Verdict {
                peer: peer.peer,
                region,
                verdict: self.validate(region, &peer, epoch),
            }),
            Message::ListNodes => Some(self.state.list()),
            Message::Stand { node, standing } => Some(self.stand(now, node, standing)),
            Message::MoveRegion { region, peer, to } => {
                Some(self.move_by_hand(now, region, peer, to))
            }
            Message::LeadRegion { region, peer } => Some(self.lead_by_hand(now, region, peer)),
            Message::Pause { paused } => Some(self.pause(now, paused)),
            Message::ShowPlacement => Some(Message::Overview(Box::new(self.overview(now)))),
            Message::LocateRegion { key } => Some(self.list(now, &key, 1)),
            Message::ListRegions { start, count } => Some(self.list(now, &start, count)),
            _ => None,
        };
        if let Some(answer) = answer {
            self.answer(from, answer);
        }
    }

    /// A store tells how it is.
    fn store(&mut self, now: Time, stats: &StoreStats) -> Option<Message> {
        let store = stats.store;
        if !self.state.stores.contains_key(&store) {
            let node = self.state.removed(store)?;
            if stats.regions == 0 {
                // Its process runs on, and nobody else would tell it.
                return Some(Message::Removed { node });
            }
            turn_up(&mut self.state, node);
            self.tell_nodes();
        }
        let heard = Heard {
            at: now.mono,
            takes_more: !stats.busy,
            holds: stats.regions,
        };
        if self.heard.insert(store, heard).is_none() {
            // Something may have waited for just this store.
            self.looks_at = now.mono;
        }
        Some(Message::StoreHeard {
            nodes: self.state.version,
        })
    }

    /// Lets a node stand otherwise; all hear of it at once, since any of them may be asked.
    pub(super) fn stand(&mut self, now: Time, node: NodeId, standing: Standing) -> Message {
        // Leaders may not have told yet of what lies there; its own stores have.
        let told = self.told_by_stores(now, node);
        if standing == Standing::Gone && told > 0 {
            let why =
                format!("node {node} says that it still holds {told} replicas; drain it first");
            return Message::StandingRefused { node, why };
        }
        let before = self.state.version;
        let answer = stand(&mut self.state, node, standing);
        if self.state.version != before {
            self.tell_nodes();
        }
        answer
    }

    /// All stores hear of the nodes as they are now.
    fn tell_nodes(&mut self) {
        let stores: Vec<StoreId> = self.state.stores.keys().copied().collect();
        for store in stores {
            self.answer(store, self.state.list());
        }
    }

    /// Nodes that turned up after they were taken out are gone again as soon as each of their stores says that it
    /// holds nothing, or has said nothing for so long that it is lost.
    fn let_go(&mut self, now: Time) {
        let patience = self.options.down_ms * MILLISECOND;
        let ended = |store: &StoreId| match self.heard.get(store) {
            Some(heard) if self.is_heard(now, *store) => heard.holds == 0,
            heard => {
                now.mono
                    .saturating_sub(heard.map_or(self.begun, |heard| heard.at))
                    > patience
            }
        };
        let nodes = self.state.nodes.values();
        let mut leaving = nodes.filter(|node| node.standing == Standing::Leaving);
        let ends = leaving.find(|node| node.stores.iter().all(ended));
        if let Some(node) = ends.map(|node| node.node) {
            self.stand(now, node, Standing::Gone);
        }
    }

    /// How much the stores of a node hold, as those told that are heard of.
    fn told_by_stores(&self, now: Time, node: NodeId) -> u32 {
        let stores = self.state.stores.iter();
        let stores = stores.filter(|(store, of)| **of == node && self.is_heard(now, **store));
        stores.map(|(store, _)| self.heard[store].holds).sum()
    }

    /// Lets nothing more begin, or lets it go on; what is under way is let go of.
    fn pause(&mut self, now: Time, paused: bool) -> Message {
        if self.state.paused != paused {
            self.state.pause(paused);
            self.errands.end_all(now.mono);
            // Whoever was told so may do it yet, and is not told again.
            self.moves.clear();
        }
        Message::Paused { paused }
    }

    /// Lets time pass: what is over is forgotten.
    pub fn tick(&mut self, now: Time) {
        self.place();
        let before = now
            .mono
            .saturating_sub(self.options.operator_ms * MILLISECOND);
        self.moves
            .retain(|_, step| step.since >= before || step.since >= now.mono);
        let regions = &self.state.regions;
        self.errands.tick(now.mono, &self.options, |region| {
            regions.get(region).is_some()
        });
        self.copies.forget(before, |region| regions.get(region));
        self.let_go(now);
        self.look(now);
        self.call(now);
    }

    /// The writes that it wants made, if none are under way.
    pub fn take_writes(&mut self) -> Option<Writes> {
        if self.under_way.is_some() || self.state.wanted.is_empty() {
            return None;
        }
        self.token += 1;
        let wanted = std::mem::take(&mut self.state.wanted);
        self.under_way_bytes = std::mem::take(&mut self.state.wanted_bytes);
        let puts = wanted
            .iter()
            .filter_map(|(k, v)| Some((k.clone(), v.clone()?)))
            .collect();
        let gone = wanted.iter().filter(|(_, value)| value.is_none());
        let deletes = gone.map(|(key, _)| key.clone()).collect();
        self.under_way = Some(wanted);
        Some(Writes {
            token: self.token,
            puts,
            deletes,
        })
    }

    /// Writes are applied, or have failed: then perhaps they are applied all the same.
    pub fn written(&mut self, token: u64, ok: bool) {
        if token != self.token {
            return;
        }
        let Some(mut writes) = self.under_way.take() else {
            return;
        };
        if !ok {
            // Newer values go over those that failed; what waits for the batch now waits for the next.
            writes.append(&mut self.state.wanted);
            self.state.wanted_bytes += std::mem::take(&mut self.under_way_bytes);
            self.state.wanted = writes;
            for held in self.held.iter_mut().filter(|held| held.0 == token) {
                held.0 = token + 1;
            }
            return;
        }
        self.under_way_bytes = 0;
        let (free, held): (Vec<_>, Vec<_>) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|held| held.0 <= token);
        self.held = held;
        self.ready
            .extend(free.into_iter().map(|(_, to, message)| (to, message)));
    }

    /// What may be sent.
    pub fn take_replies(&mut self) -> Vec<(StoreId, Message)> {
        std::mem::take(&mut self.ready)
    }

    pub(super) fn answer(&mut self, to: StoreId, message: Message) {
        match (self.state.wanted.is_empty(), self.under_way.is_some()) {
            (true, false) => self.ready.push((to, message)),
            (true, true) => self.held.push((self.token, to, message)),
            (false, _) => self.held.push((self.token + 1, to, message)),
        }
    }

    fn validate(&self, region: RegionId, peer: &PeerInfo, epoch: Epoch) -> Verdict {
        match self.state.regions.get(region) {
            None => Verdict::Unknown,
            Some(known) if known.epoch.is_staler_than(epoch) => Verdict::Older,
            Some(known) => match known.peer(peer.peer) {
                Some(info) if info.store == peer.store => Verdict::Valid,
                _ => Verdict::Gone {
                    region: known.clone(),
                },
            },
        }
    }

    fn list(&self, now: Time, start: &[u8], count: u32) -> Message {
        let regions = self.state.regions.from_key(start);
        let regions = regions.take(count.min(LIST_MAX) as usize);
        let told = |region: &Region| RegionInfo {
            figures: self.state.regions.figures(region.id, now.mono),
            ..RegionInfo::of(region.clone(), self.state.regions.leader(region.id))
        };
        Message::Regions(Regions {
            told: regions.map(told).collect(),
            by: Source::Placement,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::bootstrap_pairs;
    use crate::placement::codec::Node;
    use crate::placement::look::LOOK_MS;
    use crate::placement::message::{Operator, RegionStats};
    use crate::shard::ids::{ClusterId, Edition, NodeId, PeerId};
    use crate::shard::limits::KEY_BYTES_MAX;
    use crate::shard::region::Role;
    use crate::shard::request::PeerChange;

    fn pairs() -> BTreeMap<Vec<u8>, Vec<u8>> {
        let node = Node {
            node: NodeId(1),
            nonce: 1,
            address: "one:1".into(),
            edition: Edition::FIRST,
            standing: crate::placement::Standing::Member,
            labels: Vec::new(),
            stores: vec![StoreId(2)],
        };
        bootstrap_pairs(ClusterId(5), node, &[])
            .into_iter()
            .collect()
    }

    fn open(pairs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Placement {
        let pairs: Vec<_> = pairs.clone().into_iter().collect();
        Placement::new(Options::default(), Time::default(), &pairs).expect("sound")
    }

    fn ask(placement: &mut Placement, nonce: u64) {
        let join = Message::Join {
            nonce,
            address: "two:1".into(),
            edition: Edition::FIRST,
            shards: 2,
            labels: Vec::new(),
        };
        placement.handle(Time::default(), StoreId(0), join);
    }

    #[test]
    fn a_join_is_answered_when_it_is_written_and_the_same_wherever_placement_stops() {
        // Stops before the write, after it but before the answer, and after the answer.
        for written in [false, true] {
            let mut kept = pairs();
            let mut first = open(&kept);
            ask(&mut first, 9);
            let writes = first.take_writes().expect("a node is to be written");
            assert!(
                first.take_replies().is_empty(),
                "nothing leaves before it is written"
            );
            first.written(writes.token, false);
            assert!(first.take_replies().is_empty(), "nor when that has failed");
            let again = first.take_writes().expect("what failed is offered again");
            let mut told = Vec::new();
            if written {
                kept.extend(again.puts);
                first.written(again.token, true);
                told = first.take_replies();
                assert_eq!(told.len(), 1);
            }
            let mut second = open(&kept);
            ask(&mut second, 9);
            match second.take_writes() {
                Some(writes) if !written => second.written(writes.token, true),
                Some(_) => panic!("a node that has joined is written again"),
                None => assert!(written),
            }
            let replies = second.take_replies();
            assert_eq!(replies.len(), 1);
            assert!(told.is_empty() || told == replies);
        }
    }

    #[test]
    fn a_region_grows_when_a_store_comes_and_not_at_its_next_heartbeat() {
        let region = Region {
            id: RegionId(2),
            epoch: Epoch {
                version: 1,
                conf_ver: 1,
            },
            range: coracle_engine::record::KeyRange::new(b"\x01", b"\x02"),
            peers: vec![PeerInfo {
                peer: PeerId(7),
                store: StoreId(2),
                role: Role::Voter,
            }],
        };
        let mut placement = open(&pairs());
        let heard = |placement: &mut Placement, store| {
            let stats = crate::placement::message::StoreStats {
                store,
                ..Default::default()
            };
            placement.handle(Time::default(), store, Message::StoreHeartbeat(stats));
        };
        heard(&mut placement, StoreId(2));
        let stats = RegionStats::of(region.clone(), region.peers[0]);
        let beat = Message::RegionHeartbeat(Box::new(stats));
        placement.handle(Time::default(), StoreId(2), beat);
        ask(&mut placement, 9);
        placement.tick(Time::default());
        let writes = placement.take_writes().expect("a region and a node");
        placement.written(writes.token, true);
        let mut stores = Vec::new();
        for (_, reply) in placement.take_replies() {
            match reply {
                Message::Joined { stores: given, .. } => stores = given,
                Message::Operator(operator) => panic!("nobody can take it yet: {operator:?}"),
                _ => {}
            }
        }
        heard(&mut placement, stores[0]);
        placement.tick(Time {
            mono: LOOK_MS * MILLISECOND,
            wall: 0,
        });
        while let Some(writes) = placement.take_writes() {
            placement.written(writes.token, true);
        }
        let replies = placement.take_replies();
        let told = replies.iter().find_map(|(to, reply)| match reply {
            Message::Operator(Operator::ChangePeers { changes, .. }) => Some((*to, &changes[..])),
            _ => None,
        });
        let Some((StoreId(2), [PeerChange::Put(info)])) = told else {
            panic!("{replies:?}");
        };
        assert_eq!((info.store, info.role), (stores[0], Role::Learner));
    }

    #[test]
    fn a_batch_of_writes_fits_an_entry_however_much_is_told() {
        let mut placement = open(&pairs());
        let tell = |placement: &mut Placement, from: u64| {
            for id in from..from + 1000 {
                let mut start = vec![1; KEY_BYTES_MAX - 8];
                start.extend_from_slice(&id.to_be_bytes());
                let mut limit = start.clone();
                *limit.last_mut().expect("a long key") = limit.last().expect("the same") | 1;
                let region = Region {
                    id: RegionId(id),
                    epoch: Epoch {
                        version: 1,
                        conf_ver: 1,
                    },
                    range: coracle_engine::record::KeyRange { start, limit },
                    peers: vec![PeerInfo {
                        peer: PeerId(id),
                        store: StoreId(2),
                        role: Role::Voter,
                    }],
                };
                let leader = region.peers[0];
                let beat = Message::RegionHeartbeat(Box::new(RegionStats::of(region, leader)));
                placement.handle(Time::default(), StoreId(2), beat);
            }
        };
        for round in 1..10 {
            tell(&mut placement, round * 100_000);
            let writes = placement.take_writes().expect("regions");
            let bytes: usize = writes.puts.iter().map(|(k, v)| k.len() + v.len()).sum();
            assert!(bytes + bytes / 16 < ENTRY_BYTES_MAX, "{bytes}");
            tell(&mut placement, round * 100_000 + 50_000);
            placement.written(writes.token, false);
        }
    }

    #[test]
    fn a_silent_store_is_told_of_all_nodes_now_and_then() {
        let mut placement = open(&pairs());
        let at = |ms: u64| Time {
            mono: ms * MILLISECOND,
            wall: ms,
        };
        let fit = Options::default().fit_ms;
        let mut calls = Vec::new();
        for round in 1..=8 {
            let now = at(round * fit / 2);
            if round >= 5 {
                let stats = crate::placement::message::StoreStats {
                    store: StoreId(2),
                    ..Default::default()
                };
                placement.handle(now, StoreId(2), Message::StoreHeartbeat(stats));
            }
            placement.tick(now);
            let told = placement.take_replies();
            let called = |(to, message): &(StoreId, Message)| {
                *to == StoreId(2) && matches!(message, Message::Nodes(1, nodes) if nodes.len() == 1)
            };
            calls.push(told.iter().any(called));
        }
        let expected = [false, true, false, true, false, false, false, false];
        assert_eq!(calls, expected, "while it is silent, and no longer");
    }

    #[test]
    fn a_region_that_cannot_be_kept_is_not_taken_in() {
        let sound = Region {
            id: RegionId(2),
            epoch: Epoch {
                version: 1,
                conf_ver: 1,
            },
            range: coracle_engine::record::KeyRange::new(b"\x01", b"\x02"),
            peers: vec![PeerInfo {
                peer: PeerId(7),
                store: StoreId(2),
                role: Role::Voter,
            }],
        };
        let (mut long, mut turned, mut many) = (sound.clone(), sound.clone(), sound.clone());
        long.range.start = vec![1; 70_000];
        turned.range.start = b"\x03".to_vec();
        many.peers = vec![sound.peers[0]; 65];
        let mut placement = open(&pairs());
        for (region, wanted) in [(long, false), (turned, false), (many, false), (sound, true)] {
            let leader = region.peers[0];
            let beat = Message::RegionHeartbeat(Box::new(RegionStats::of(region, leader)));
            placement.handle(Time::default(), StoreId(2), beat);
            assert_eq!(placement.take_writes().is_some(), wanted);
        }
    }

    #[test]
    fn ids_are_not_given_again_by_the_next_leader() {
        let mut kept = pairs();
        let mut next = 0;
        for _ in 0..5 {
            let mut placement = open(&kept);
            let message = Message::AllocateIds {
                count: 700,
                nonce: 1,
            };
            placement.handle(Time::default(), StoreId(2), message);
            let writes = placement.take_writes().expect("a range is set aside");
            kept.extend(writes.puts);
            placement.written(writes.token, true);
            let replies = placement.take_replies();
            let [(_, Message::Allocated { first, .. })] = replies[..] else {
                panic!("{replies:?}");
            };
            assert!(first >= next, "{first} was given before");
            next = first + 700;
        }
    }
}
