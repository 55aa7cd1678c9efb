//! A stage for stories: a few shards whose disks and messages the story holds in its hands.

use std::collections::{BTreeMap, VecDeque};

use coracle::placement::{Node, NodeInfo, Options};
use coracle::shard::Shard;
use coracle::shard::door::{Effect, Input, Report};
use coracle::shard::ids::{ClusterId, Edition, NodeId, PeerId, RegionId, RequestId, StoreId};
use coracle::shard::limits::Limits;
use coracle::shard::message::PeerMessage;
use coracle::shard::mutant::Mutant;
use coracle::shard::observe::PeerStatus;
use coracle::shard::options::ShardOptions;
use coracle::shard::region::{Epoch, PeerInfo, Region, Role};
use coracle::shard::request::{Body, Freshness, PeerChange, Request, Response, Write};
use coracle::shard::time::{MILLISECOND, Time};
use coracle::sim::disk::{Durability, Fate};
use coracle::sim::files::{Files, Work};
use coracle::sim::plan::Plan;
use coracle::sim::start;

pub const REGION: RegionId = RegionId(2);

pub struct Actor {
    pub shard: Option<Shard>,
    pub files: Files,
    /// What the disk has begun and the story has not let it finish.
    pub works: VecDeque<Work>,
    pub holds_disk: bool,
    pub lives: u64,
}

pub struct Theatre {
    pub actors: BTreeMap<StoreId, Actor>,
    pub plan: Plan,
    now: u64,
    /// Messages that were sent and not delivered, in order.
    pub post: VecDeque<(StoreId, StoreId, PeerMessage)>,
    pub holds_post: bool,
    /// Whom no message reaches, and who reaches nobody.
    pub isolated: Vec<StoreId>,
    /// Whose process stands still.
    pub paused: Vec<StoreId>,
    pub answers: BTreeMap<RequestId, Response>,
    pub reports: Vec<Report>,
    /// The nodes, as shards have told last; none: there is no placement.
    pub nodes: Vec<NodeInfo>,
    /// The wall clocks are ahead by so much.
    pub ahead_ms: u64,
    /// Where there is no placement: the regions that begin on the first store.
    first: Vec<RegionId>,
    next_request: u64,
}

pub fn peer(peer: u64, store: u64, role: Role) -> PeerInfo {
    PeerInfo {
        peer: PeerId(peer),
        store: StoreId(store),
        role,
    }
}

/// The node that founds a growing cluster.
pub fn founder() -> Node {
    Node {
        node: NodeId(1),
        nonce: 1,
        address: "n1:1".into(),
        edition: Edition::FIRST,
        standing: coracle::placement::Standing::Member,
        labels: Vec::new(),
        stores: vec![StoreId(1)],
    }
}

fn first_region(id: RegionId) -> Region {
    Region {
        id,
        epoch: Epoch {
            version: 1,
            conf_ver: 1,
        },
        range: coracle_engine::record::KeyRange::new(&[id.0 as u8 - 1], &[id.0 as u8]),
        peers: vec![peer(id.0 % 2 + 1, 1, Role::Voter)],
    }
}

impl Theatre {
    /// So many shards, each on a node of its own; the region begins on the first.
    pub fn new(stores: u64) -> Theatre {
        Theatre::breaking(stores, Mutant::None)
    }

    /// The same, with a rule broken on purpose.
    pub fn breaking(stores: u64, mutant: Mutant) -> Theatre {
        Theatre::of_regions(stores, mutant, &[REGION])
    }

    /// The same, with these regions; region n begins at the byte n - 1 and ends before n.
    pub fn of_regions(stores: u64, mutant: Mutant, first: &[RegionId]) -> Theatre {
        let mut plan = Plan::standing(7, 0, mutant);
        plan.small_files = true;
        plan.limits = Limits {
            compare_ticks: 0,
            store_beat_ticks: 0,
            quiet_ticks: 0,
            ..Limits::SMALL
        };
        let mut theatre = Theatre {
            actors: BTreeMap::new(),
            plan,
            now: 0,
            post: VecDeque::new(),
            holds_post: false,
            isolated: Vec::new(),
            paused: Vec::new(),
            answers: BTreeMap::new(),
            reports: Vec::new(),
            nodes: Vec::new(),
            ahead_ms: 0,
            first: first.to_vec(),
            next_request: 1,
        };
        for store in 1..=stores {
            theatre.enter(store);
        }
        theatre
    }

    /// A cluster that a node with one shard founds; others join it.
    pub fn growing(mutant: Mutant) -> Theatre {
        Theatre::growing_with(mutant, |_| ())
    }

    /// The same, with other limits.
    pub fn growing_with(mutant: Mutant, set: impl FnOnce(&mut Limits)) -> Theatre {
        let mut theatre = Theatre::breaking(0, mutant);
        let limits = &mut theatre.plan.limits;
        limits.store_beat_ticks = 20;
        limits.store_retry_ticks = 6;
        limits.region_busy_ticks = 10;
        limits.region_beat_ticks = 60;
        limits.silent_ms = 1500;
        limits.validate_ticks = 120;
        set(limits);
        theatre.nodes.push(founder().info());
        theatre.enter(1);
        theatre
    }

    /// A new shard with an empty disk.
    pub fn enter(&mut self, store: u64) {
        let actor = Actor {
            shard: None,
            files: Files::new(store, Durability::Through, (1, 2)),
            works: VecDeque::new(),
            holds_disk: false,
            lives: 0,
        };
        self.actors.insert(StoreId(store), actor);
        self.start(store);
    }

    pub fn time(&self) -> Time {
        Time {
            mono: self.now,
            wall: 1_000_000 + self.ahead_ms + self.now / MILLISECOND,
        }
    }

    pub fn start(&mut self, store: u64) {
        let time = self.time();
        let id = StoreId(store);
        let actor = self.actors.get_mut(&id).expect("an actor");
        let (log, engine) = start::open(&self.plan, id, &mut actor.files).expect("it opens");
        actor.lives += 1;
        let blank = log.regions().next().is_none();
        let options = ShardOptions {
            cluster: ClusterId(1),
            node: NodeId(store),
            store: id,
            boot: store << 32 | actor.lives,
            seed: store,
            limits: self.plan.limits,
            placement: Options {
                down_ms: 3000,
                fit_ms: 2000,
                operator_ms: 2000,
                learner_ms: 10_000,
                // A story says itself what lies where.
                balances: false,
                ..Options::default()
            },
            mutant: self.plan.mutant,
            observe: false,
        };
        let mut shard = Shard::open(options, time, log, engine);
        let grows = self.plan.limits.store_beat_ticks > 0;
        match (store == 1 && blank, grows) {
            (true, false) => {
                let regions = self.first.iter().copied().map(first_region);
                shard.bootstrap(regions.collect());
            }
            (true, true) => {
                let regions = [RegionId::SYSTEM, REGION].map(first_region);
                shard.bootstrap_cluster(founder(), regions.to_vec());
            }
            (false, _) => shard.handle(time, Input::Nodes(self.nodes.clone())),
        }
        actor.shard = Some(shard);
    }

    /// The power of a node goes: what was not durable is lost.
    pub fn cut_power(&mut self, store: u64) {
        let actor = self.actors.get_mut(&StoreId(store)).expect("an actor");
        actor.shard = None;
        actor.works.clear();
        actor.files.disk.power_cut(Fate::Lost, 1);
        self.post
            .retain(|(from, to, _)| from.0 != store && to.0 != store);
    }

    /// Everybody takes a turn, disks and messages do what the story lets them.
    pub fn turn(&mut self) {
        let time = self.time();
        let stores: Vec<_> = self.actors.keys().copied().collect();
        for store in stores {
            if self.paused.contains(&store) {
                continue;
            }
            let actor = self.actors.get_mut(&store).expect("an actor");
            let Some(shard) = &mut actor.shard else {
                continue;
            };
            shard.handle(time, Input::Clock);
            for _ in 0..64 {
                let mut effects = Vec::new();
                shard.flush(&mut effects);
                for effect in effects {
                    match effect {
                        Effect::Log(effect) => {
                            let mut bytes = Vec::new();
                            if let coracle_wal::Effect::Write(write) = &effect {
                                bytes.resize(write.len as usize, 0);
                                shard.encode(write, &mut bytes);
                            }
                            actor
                                .works
                                .push_back(actor.files.begin_log(effect, bytes).1);
                        }
                        Effect::Store(effect) => {
                            actor.works.push_back(actor.files.begin_store(effect).1);
                        }
                        Effect::Send { to, message } => self.post.push_back((store, to, *message)),
                        Effect::Respond { to, response } => {
                            let before = self.answers.insert(to, response);
                            assert_eq!(before, None, "request {to} is answered once");
                        }
                        Effect::Nodes(nodes) => self.nodes = nodes,
                        Effect::Report(report) => self.reports.push(report),
                    }
                }
                if !actor.holds_disk {
                    for work in actor.works.drain(..) {
                        actor
                            .files
                            .end(work, &mut |input| shard.handle(time, input));
                    }
                }
                if !shard.wants_turn() {
                    break;
                }
            }
        }
        if !self.holds_post {
            for (from, to, message) in std::mem::take(&mut self.post) {
                self.deliver(from, to, message);
            }
        }
    }

    pub fn deliver(&mut self, from: StoreId, to: StoreId, message: PeerMessage) {
        let lost = |store| self.isolated.contains(store) || self.paused.contains(store);
        if lost(&from) || lost(&to) {
            return;
        }
        let time = self.time();
        if let Some(shard) = self
            .actors
            .get_mut(&to)
            .and_then(|actor| actor.shard.as_mut())
        {
            let message = Box::new(message);
            shard.handle(time, Input::Peer { from, message });
        }
    }

    /// A driver says how much space there is.
    pub fn space(&mut self, store: u64, bytes_free: u64) {
        let time = self.time();
        let actor = self.actors.get_mut(&StoreId(store)).expect("an actor");
        let shard = actor.shard.as_mut().expect("a running shard");
        shard.handle(time, Input::Space { bytes_free });
    }

    /// What a disk has begun is finished by itself, or when the story lets it.
    pub fn hold_disk(&mut self, store: u64, holds: bool) {
        let actor = self.actors.get_mut(&StoreId(store)).expect("an actor");
        actor.holds_disk = holds;
    }

    /// Lets a held disk finish what it has begun.
    pub fn finish_disk(&mut self, store: u64) {
        let time = self.time();
        let actor = self.actors.get_mut(&StoreId(store)).expect("an actor");
        let shard = actor.shard.as_mut().expect("a running shard");
        for work in actor.works.drain(..) {
            actor
                .files
                .end(work, &mut |input| shard.handle(time, input));
        }
    }

    /// Lets a held disk finish what the state store has begun, and nothing of the log.
    pub fn finish_store(&mut self, store: u64) {
        self.finish(store, |work| matches!(work, Work::Store(..)));
    }

    /// Lets a held disk finish what the log has begun, and nothing of the state store.
    pub fn finish_log(&mut self, store: u64) {
        self.finish(store, |work| !matches!(work, Work::Store(..)));
    }

    fn finish(&mut self, store: u64, may: impl Fn(&Work) -> bool) {
        let time = self.time();
        let actor = self.actors.get_mut(&StoreId(store)).expect("an actor");
        let shard = actor.shard.as_mut().expect("a running shard");
        for work in std::mem::take(&mut actor.works) {
            match may(&work) {
                true => actor
                    .files
                    .end(work, &mut |input| shard.handle(time, input)),
                false => actor.works.push_back(work),
            }
        }
    }

    /// Whether a held disk has something to do for the state store.
    pub fn is_store_waiting(&self, store: u64) -> bool {
        let works = &self.actors[&StoreId(store)].works;
        works.iter().any(|work| matches!(work, Work::Store(..)))
    }

    /// Time passes, a turn every five milliseconds.
    pub fn pass(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds / 5 {
            self.now += 5 * MILLISECOND;
            self.turn();
        }
    }

    /// Time passes until something holds.
    pub fn until(&mut self, what: &str, holds: impl Fn(&Theatre) -> bool) {
        for _ in 0..6000 {
            if holds(self) {
                return;
            }
            self.pass(5);
        }
        panic!("after 30 s it does not hold: {what}\n{}", self.describe());
    }

    pub fn describe(&self) -> String {
        let shards = self
            .actors
            .values()
            .filter_map(|actor| actor.shard.as_ref());
        shards.map(|shard| shard.describe() + "\n").collect()
    }

    pub fn status(&self, store: u64) -> Option<PeerStatus> {
        self.status_of(store, REGION)
    }

    pub fn status_of(&self, store: u64, region: RegionId) -> Option<PeerStatus> {
        let shard = self.actors.get(&StoreId(store))?.shard.as_ref()?;
        shard
            .statuses()
            .into_iter()
            .find(|status| status.region.id == region)
    }

    pub fn leads(&self, store: u64) -> bool {
        self.status(store).is_some_and(|status| status.leads)
    }

    /// The store that leads in the newest term.
    pub fn leader(&self) -> Option<u64> {
        self.leader_of(REGION)
    }

    /// The same of another region.
    pub fn leader_of(&self, region: RegionId) -> Option<u64> {
        let statuses = self.actors.keys().filter_map(|store| {
            let status = self.status_of(store.0, region)?;
            status.leads.then_some((status.term, store.0))
        });
        statuses.max().map(|(_, store)| store)
    }

    pub fn ask(&mut self, store: u64, body: Body<'_>) -> RequestId {
        self.ask_with(store, Request { region: None, body })
    }

    /// The same by whoever names the region.
    pub fn ask_with(&mut self, store: u64, request: Request<'_>) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let time = self.time();
        let actor = self.actors.get_mut(&StoreId(store)).expect("an actor");
        let shard = actor.shard.as_mut().expect("a running shard");
        shard.handle(time, Input::Request { id, request });
        id
    }

    pub fn put(&mut self, store: u64, key: &[u8], value: &[u8]) -> RequestId {
        let write = Write::Put {
            key,
            value,
            expiry_ms: None,
        };
        self.ask(store, Body::Write(&[write]))
    }

    pub fn add(&mut self, store: u64, key: &[u8], delta: i64) -> RequestId {
        self.ask(store, Body::Write(&[Write::Add { key, delta }]))
    }

    pub fn get(&mut self, store: u64, key: &[u8], freshness: Freshness) -> RequestId {
        self.ask(store, Body::Get { key, freshness })
    }

    /// What is read while it is asked; none: it is to be asked as a request.
    pub fn at_hand(&mut self, store: u64, key: &[u8]) -> Option<Option<Vec<u8>>> {
        let time = self.time();
        let actor = self.actors.get_mut(&StoreId(store)).expect("an actor");
        let shard = actor.shard.as_mut().expect("a running shard");
        let mut told = None;
        let tell = |value: Option<&[u8]>| told = Some(value.map(<[u8]>::to_vec));
        let is_told = shard.at_hand(time).get(key, tell);
        assert_eq!(is_told, told.is_some(), "told once, or not at all");
        told
    }

    /// The answer to a request, when it has come.
    pub fn answer(&mut self, request: RequestId) -> Response {
        self.until("the request is answered", |theatre| {
            theatre.answers.contains_key(&request)
        });
        self.answers[&request].clone()
    }

    /// Changes the peers, as often as it takes.
    pub fn change(&mut self, changes: &[PeerChange]) {
        self.change_of(REGION, changes);
    }

    /// The same of another region.
    pub fn change_of(&mut self, region: RegionId, changes: &[PeerChange]) {
        for _ in 0..200 {
            self.until("there is a leader", |theatre| {
                theatre.leader_of(region).is_some()
            });
            let leader = self.leader_of(region).expect("just seen");
            let body = Body::ChangePeers { region, changes };
            let request = self.ask(leader, body);
            if self.answer(request).is_ok() {
                return;
            }
            self.pass(50);
        }
        panic!(
            "the peers are never changed: {changes:?}\n{}",
            self.describe()
        );
    }

    /// Writes a value, and waits for the answer.
    pub fn write(&mut self, key: &[u8], value: &[u8]) {
        for _ in 0..200 {
            self.until("there is a leader", |theatre| theatre.leader().is_some());
            let leader = self.leader().expect("just seen");
            let request = self.put(leader, key, value);
            if self.answer(request).is_ok() {
                return;
            }
            self.pass(50);
        }
        panic!("nothing is ever written\n{}", self.describe());
    }

    /// What a store answers by itself, fresh or not.
    pub fn local(&mut self, store: u64, key: &[u8]) -> Option<Vec<u8>> {
        let request = self.get(store, key, Freshness::Local);
        match self.answer(request) {
            Ok(coracle::shard::request::Answer::Value(value)) => value.map(|value| value.to_vec()),
            other => panic!("store {store} answers {other:?}"),
        }
    }

    /// What everybody should see.
    pub fn read(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        for _ in 0..200 {
            self.until("there is a leader", |theatre| theatre.leader().is_some());
            let leader = self.leader().expect("just seen");
            let request = self.get(leader, key, Freshness::Linearizable);
            if let Ok(coracle::shard::request::Answer::Value(value)) = self.answer(request) {
                return value.map(|value| value.to_vec());
            }
            self.pass(50);
        }
        panic!("nothing is ever read\n{}", self.describe());
    }

    /// Whether all of these stores have applied what the leader has.
    pub fn are_equal(&self, stores: &[u64]) -> bool {
        let leader = self.leader().and_then(|store| self.status(store));
        leader.is_some_and(|leader| {
            stores.iter().all(|store| {
                let status = self.status(*store);
                status.is_some_and(|status| status.initialized && status.applied == leader.last)
            })
        })
    }

    /// Three voters on three stores.
    pub fn grow_to_three(&mut self) {
        self.until("the first store leads", |theatre| theatre.leads(1));
        for store in [2, 3] {
            self.change(&[PeerChange::Put(peer(store, store, Role::Learner))]);
            self.until("the learner has a range", |theatre| {
                theatre
                    .status(store)
                    .is_some_and(|status| status.initialized)
            });
            self.change(&[PeerChange::Put(peer(store, store, Role::Voter))]);
        }
    }
}
