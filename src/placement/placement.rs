//! Placement behind its doors: messages and time in; writes and replies out.
//!
//! **A reply leaves when all writes that were wanted before it are applied.** One batch of writes is under
//! way at a time; one that failed is offered again, with whatever has come since over it. An instruction is
//! repeated with every heartbeat until the region's epoch moves or its time is over: the epoch lets one of
//! its copies take effect at most.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::balance::{DIFFERENCE, Scale, Shift};
use super::join::join;
use super::message::{Message, Operator, RegionStats, Verdict};
use super::registry::Put;
use super::replica_checker::{Picture, Step, StoreView, is_crowded};
use super::standing::{Standing, stand};
use super::state::State;
use crate::shard::codec::Malformed;
use crate::shard::ids::{NodeId, PeerId, RegionId, StoreId};
use crate::shard::limits::{ENTRY_BYTES_MAX, KEY_BYTES_MAX};
use crate::shard::membership::Change;
use crate::shard::meta::PEERS_MAX;
use crate::shard::region::{Epoch, PeerInfo, Region, Role};
use crate::shard::request::PeerChange;
use crate::shard::time::{MILLISECOND, Time};

const IDS_MAX: u32 = 1 << 16;
const LIST_MAX: u32 = 1024;

/// Regions that are looked at together, and the pause between two looks.
const LOOKS: usize = 256;
const LOOK_MS: u64 = 200;

/// Silent stores that are called at once.
const CALLS: usize = 16;

/// With so many keys to be written, or replies that wait for it, nothing more is taken in: whoever asks
/// asks again.
const WAITING_MAX: usize = 1024;

/// The same in bytes. What fails is written again together with what came since, so what is under way
/// counts, too: any batch fits an entry.
const WAITING_BYTES_MAX: usize = 1 << 20;

const _: () = assert!(2 * WAITING_BYTES_MAX < ENTRY_BYTES_MAX);

/// What placement strives for, and how patiently.
#[derive(Clone, Debug)]
pub struct Options {
    /// Voters that every region should have.
    pub replicas: usize,
    /// A peer silent for so many milliseconds is replaced.
    pub down_ms: u64,
    /// A store heard of within so many milliseconds may be given more.
    pub fit_ms: u64,
    /// An instruction whose region has not changed after so many milliseconds is thought over.
    pub operator_ms: u64,
    /// A learner that has not caught up after so many milliseconds goes.
    pub learner_ms: u64,
    /// Copies that may be under way to one store.
    pub learners_per_store: u32,
    /// Whether regions are moved from stores that have more to stores that have less.
    pub balances: bool,
    /// Regions that may be moved for that at once.
    pub moves_max: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            replicas: 3,
            down_ms: 30 * 60 * 1000,
            fit_ms: 30 * 1000,
            operator_ms: 60 * 1000,
            learner_ms: 60 * 60 * 1000,
            learners_per_store: 4,
            balances: true,
            moves_max: 16,
        }
    }
}

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

#[derive(Debug)]
struct Move {
    epoch: Epoch,
    since: u64,
    changes: Vec<PeerChange>,
    target: Option<StoreId>,
}

/// Two stores between which a region's weight is shifted, until its leader tells that it was.
#[derive(Debug)]
struct Shifting {
    since: u64,
    shift: Shift,
    from: StoreId,
    to: StoreId,
}

/// The leader of region 1 in its second part. Dropped when it no longer leads.
#[derive(Debug)]
pub struct Placement {
    options: Options,
    state: State,
    begun: u64,
    /// When each store was heard of, and whether it could take more.
    heard: BTreeMap<StoreId, (u64, bool)>,
    moves: BTreeMap<RegionId, Move>,
    shifts: BTreeMap<RegionId, Shifting>,
    learners: BTreeMap<PeerId, (RegionId, u64)>,
    /// Regions up to here were looked at.
    looked: RegionId,
    looks_at: u64,
    /// Silent stores up to here were called, and when the next ones are.
    called: StoreId,
    calls_at: u64,
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
            shifts: BTreeMap::new(),
            learners: BTreeMap::new(),
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
            Message::StoreHeartbeat(stats) => {
                let known = stats.store == from && self.state.stores.contains_key(&from);
                known.then(|| {
                    self.heard.insert(from, (now.mono, !stats.busy));
                    Message::StoreHeard {
                        nodes: self.state.version,
                    }
                })
            }
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
            Message::Stand { node, standing } => Some(self.stand(node, standing)),
            Message::LocateRegion { key } => Some(self.list(&key, 1)),
            Message::ListRegions { start, count } => Some(self.list(&start, count)),
            _ => None,
        };
        if let Some(answer) = answer {
            self.answer(from, answer);
        }
    }

    /// Lets a node stand otherwise; all hear of it at once, since any of them may be asked.
    fn stand(&mut self, node: NodeId, standing: Standing) -> Message {
        let before = self.state.version;
        let answer = stand(&mut self.state, node, standing);
        if self.state.version != before {
            let stores: Vec<StoreId> = self.state.stores.keys().copied().collect();
            for store in stores {
                self.answer(store, self.state.list());
            }
        }
        answer
    }

    /// Lets time pass: what is over is forgotten.
    pub fn tick(&mut self, now: Time) {
        let before = now
            .mono
            .saturating_sub(self.options.operator_ms * MILLISECOND);
        self.moves
            .retain(|_, step| step.since >= before || step.since >= now.mono);
        let regions = &self.state.regions;
        let slow = now
            .mono
            .saturating_sub(self.options.learner_ms * MILLISECOND);
        self.shifts.retain(|region, shifting| {
            let recent = match shifting.shift {
                Shift::Lead(_) => shifting.since >= before,
                Shift::Leave(..) => shifting.since >= slow,
            };
            (recent || shifting.since >= now.mono) && regions.get(*region).is_some()
        });
        self.learners.retain(|peer, (region, _)| {
            let info = regions.get(*region).and_then(|region| region.peer(*peer));
            info.is_some_and(|info| info.role == Role::Learner)
        });
        self.look(now);
        self.call(now);
    }

    /// Tells some stores that have been silent where all nodes are: perhaps they look for placement where
    /// it was, and nobody else speaks to them.
    fn call(&mut self, now: Time) {
        let patience = self.options.fit_ms * MILLISECOND;
        if now.mono < self.calls_at.max(self.begun + patience) {
            return;
        }
        self.calls_at = now.mono + patience;
        let silent = |store: &&StoreId| {
            let heard = self.heard.get(store);
            heard.is_none_or(|(at, _)| now.mono.saturating_sub(*at) > patience)
        };
        let behind = (Bound::Excluded(self.called), Bound::Unbounded);
        let stores = self.state.stores.range(behind).map(|(store, _)| store);
        let stores: Vec<StoreId> = stores.filter(silent).take(CALLS).copied().collect();
        self.called = match stores.last() {
            Some(last) if stores.len() == CALLS => *last,
            _ => StoreId(0),
        };
        for store in stores {
            let nodes = self.state.list();
            self.answer(store, nodes);
        }
    }

    /// Looks at some regions that have fewer voters than there are nodes for, lie where nothing should lie, or
    /// could lie better: they need not wait for their next heartbeats.
    fn look(&mut self, now: Time) {
        if now.mono < self.looks_at {
            return;
        }
        self.looks_at = now.mono + LOOK_MS * MILLISECOND;
        let views = self.views(now);
        let fit = || views.values().filter(|view| view.fit);
        let nodes: BTreeSet<NodeId> = fit().map(|view| view.node).collect();
        let wanted = self.options.replicas.min(nodes.len());
        let spread = |count: fn(&StoreView) -> u32| {
            let most = views.values().map(count).max().unwrap_or_default();
            most.saturating_sub(fit().map(count).min().unwrap_or(most))
        };
        let uneven = spread(|view| view.load).max(spread(|view| view.leaders)) >= DIFFERENCE;
        let room = self.options.moves_max.saturating_sub(self.shifts.len());
        let mut even_out = match uneven && self.options.balances {
            true => room,
            false => 0,
        };
        let (mut chosen, mut seen) = (Vec::new(), 0);
        let mut last = RegionId(0);
        for region in self.state.regions.behind(self.looked).take(LOOKS) {
            (seen, last) = (seen + 1, region.id);
            let settled = region.peers.iter().all(|info| info.role == Role::Voter);
            let leader = self.state.regions.leader(region.id);
            let leader = leader.and_then(|info| region.peer(info.peer));
            let under_way =
                self.moves.contains_key(&region.id) || self.shifts.contains_key(&region.id);
            let Some(leader) = leader.filter(|_| settled && !under_way) else {
                continue;
            };
            let drains = |info: &PeerInfo| views.get(&info.store).is_some_and(|view| view.drains);
            let short = region.peers.len() < wanted || region.peers.iter().any(drains);
            if short || even_out > 0 {
                even_out = even_out.saturating_sub(usize::from(!short));
                chosen.push((region.clone(), *leader));
            }
        }
        self.looked = match seen == LOOKS {
            true => last,
            false => RegionId(0),
        };
        for (region, leader) in chosen {
            let to = leader.store;
            let stats = RegionStats::of(region, leader);
            if let Some(operator) = self.region(now, to, &stats) {
                self.answer(to, operator);
            }
        }
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

    fn answer(&mut self, to: StoreId, message: Message) {
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

    fn list(&self, start: &[u8], count: u32) -> Message {
        let regions = self.state.regions.from_key(start);
        let regions = regions.take(count.min(LIST_MAX) as usize);
        let with_leader = |r: &Region| (r.clone(), self.state.regions.leader(r.id));
        Message::Regions(regions.map(with_leader).collect())
    }

    fn region(&mut self, now: Time, from: StoreId, stats: &RegionStats) -> Option<Message> {
        let region = &stats.region;
        let leads = region
            .peer(stats.leader.peer)
            .is_some_and(|info| info.store == from);
        if !leads || !is_sound(region) || self.state.put_region(region) == Put::Stale {
            return None;
        }
        self.state.regions.set_leader(region.id, stats.leader);
        let silent = |ms: u64| move |since: u64| now.mono.saturating_sub(since) > ms * MILLISECOND;
        for info in region
            .peers
            .iter()
            .filter(|info| info.role == Role::Learner)
        {
            self.learners
                .entry(info.peer)
                .or_insert((region.id, now.mono));
        }
        let timed_out = silent(self.options.operator_ms);
        if let Some(step) = self.moves.get(&region.id) {
            if step.epoch == region.epoch && !timed_out(step.since) {
                return Some(change(region.id, region.epoch, step.changes.clone()));
            }
            self.moves.remove(&region.id);
        }
        let over = match self.shifts.get(&region.id).map(|shifting| shifting.shift) {
            Some(Shift::Lead(to)) => stats.leader.peer == to,
            Some(Shift::Leave(peer, _)) => region.peer(peer).is_none(),
            None => false,
        };
        if over {
            self.shifts.remove(&region.id);
        }
        let stores = self.views(now);
        let down = stats
            .down_peers
            .iter()
            .filter(|(_, ms)| *ms > self.options.down_ms);
        let slow = silent(self.options.learner_ms);
        let overdue = region.peers.iter().map(|info| info.peer).filter(|peer| {
            stats.pending_peers.contains(peer)
                && self
                    .learners
                    .get(peer)
                    .is_some_and(|(_, since)| slow(*since))
        });
        let (down, overdue) = (down.map(|(peer, _)| *peer).collect(), overdue.collect());
        let pending = stats.pending_peers.iter().copied().collect();
        let mut picture = Picture {
            region,
            leader: stats.leader.peer,
            down: &down,
            pending: &pending,
            overdue: &overdue,
            stores: &stores,
            wanted: self.options.replicas,
            leaving: self.leaving(region),
        };
        let step = match picture.step() {
            Some(step) => step,
            None => {
                let silent = stats.down_peers.iter().map(|(peer, _)| *peer).collect();
                let scale = Scale {
                    region,
                    leader: stats.leader.peer,
                    pending: &pending,
                    silent: &silent,
                    stores: &stores,
                };
                let shift = match self.shifts.get(&region.id) {
                    Some(shifting) => Some(shifting.shift),
                    None => self.shift(now, &scale),
                };
                match (scale.abdicate(), shift) {
                    (Some(to), _) | (None, Some(Shift::Lead(to))) => Step::Transfer(to),
                    (None, _) => {
                        picture.leaving = self.leaving(region);
                        picture.step()?
                    }
                }
            }
        };
        let (changes, target) = match step {
            Step::Transfer(to) => {
                return Some(Message::Operator(Operator::TransferLeader {
                    region: region.id,
                    epoch: region.epoch,
                    to,
                }));
            }
            Step::Change(changes) => (changes, None),
            Step::AddLearner(store) => {
                let info = PeerInfo {
                    peer: PeerId(self.state.allocate(1)),
                    store,
                    role: Role::Learner,
                };
                (vec![PeerChange::Put(info)], Some(store))
            }
        };
        let proposed = Change {
            epoch: region.epoch,
            changes: changes.clone(),
        };
        let node = |store: StoreId| self.state.stores.get(&store).copied();
        let after = proposed.apply(region).ok()?;
        assert!(
            is_crowded(region, node) || !is_crowded(&after, node),
            "a step put two voters of {region} on one node: {changes:?}"
        );
        self.moves.insert(
            region.id,
            Move {
                epoch: region.epoch,
                since: now.mono,
                changes: changes.clone(),
                target,
            },
        );
        Some(change(region.id, region.epoch, changes))
    }

    /// All stores as they are now, and as they will be when what is under way has been done.
    fn views(&self, now: Time) -> BTreeMap<StoreId, StoreView> {
        let silent = |ms: u64| move |since: u64| now.mono.saturating_sub(since) > ms * MILLISECOND;
        let (lost, unfit) = (silent(self.options.down_ms), silent(self.options.fit_ms));
        let mut views = BTreeMap::new();
        for (store, node) in &self.state.stores {
            let (heard, load) = (self.heard.get(store), self.state.regions.load(*store));
            let view = StoreView {
                node: *node,
                fit: heard.is_some_and(|(at, free)| *free && !unfit(*at))
                    && !self.state.drains(*store),
                lost: lost(heard.map_or(self.begun, |(at, _)| *at)),
                load: load.peers,
                drains: self.state.drains(*store),
                leaders: load.leaders,
            };
            views.insert(*store, view);
        }
        let mut copies: BTreeMap<StoreId, u32> = BTreeMap::new();
        for store in self.moves.values().filter_map(|step| step.target) {
            *copies.entry(store).or_default() += 1;
        }
        for (store, view) in &mut views {
            let coming = copies.get(store).copied().unwrap_or_default();
            view.load += coming;
            let learners = self.state.regions.load(*store).learners + coming;
            view.fit &= learners < self.options.learners_per_store;
        }
        for shifting in self.shifts.values() {
            match shifting.shift {
                Shift::Lead(_) => {
                    if let Some(from) = views.get_mut(&shifting.from) {
                        from.leaders = from.leaders.saturating_sub(1);
                    }
                    if let Some(to) = views.get_mut(&shifting.to) {
                        to.leaders += 1;
                    }
                }
                // Where it goes it is counted as the copy that is under way.
                Shift::Leave(..) => {
                    if let Some(from) = views.get_mut(&shifting.from) {
                        from.load = from.load.saturating_sub(1);
                    }
                }
            }
        }
        views
    }

    /// A voter that makes room, and for whom: one whose node is to be emptied before one that is moved.
    fn leaving(&self, region: &Region) -> Option<(PeerId, Option<StoreId>)> {
        let mut voters = region.peers.iter().filter(|info| info.role == Role::Voter);
        if let Some(info) = voters.find(|info| self.state.drains(info.store)) {
            return Some((info.peer, None));
        }
        match self.shifts.get(&region.id)?.shift {
            Shift::Leave(peer, to) => Some((peer, Some(to))),
            Shift::Lead(_) => None,
        }
    }

    /// Begins to even out what a region lies heavy on, if that helps.
    fn shift(&mut self, now: Time, scale: &Scale<'_>) -> Option<Shift> {
        if !self.options.balances || self.shifts.len() >= self.options.moves_max {
            return None;
        }
        let (region, shift) = (scale.region, scale.shift()?);
        let store = |peer: PeerId| region.peer(peer).map(|info| info.store);
        let (from, to) = match shift {
            Shift::Lead(peer) => (store(scale.leader)?, store(peer)?),
            Shift::Leave(peer, to) => (store(peer)?, to),
        };
        let shifting = Shifting {
            since: now.mono,
            shift,
            from,
            to,
        };
        self.shifts.insert(region.id, shifting);
        Some(shift)
    }
}

/// Whether a region is one that can be kept: no leader tells of others.
fn is_sound(region: &Region) -> bool {
    let range = &region.range;
    let keys = [&range.start, &range.limit];
    region.peers.len() <= PEERS_MAX
        && keys.iter().all(|key| key.len() <= KEY_BYTES_MAX)
        && (range.limit.is_empty() || range.start < range.limit)
}

fn change(region: RegionId, epoch: Epoch, changes: Vec<PeerChange>) -> Message {
    Message::Operator(Operator::ChangePeers {
        region,
        epoch,
        changes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::bootstrap_pairs;
    use crate::placement::codec::Node;
    use crate::shard::ids::{ClusterId, Edition, NodeId};

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
