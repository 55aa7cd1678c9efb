//! A cluster that grows: one node founds it, the others join by placement, and now and then one loses
//! everything and joins again as somebody else.
//!
//! What a process keeps in a file of its own is kept here: its nonce, its ids, and the nodes that it
//! knows. It reaches only those.

use std::collections::{BTreeMap, BTreeSet};

use super::check::{Verdict, Violation};
use super::disk::Chance;
use super::event::Event;
use super::plan::SECOND;
use super::process::Host;
use super::upkeep::UPKEEP;
use super::world::World;
use crate::placement::{Message, Node, NodeInfo, Standing};
use crate::shard::Shard;
use crate::shard::door::Input;
use crate::shard::error::Error;
use crate::shard::ids::{Edition, NodeId, RegionId, RequestId, StoreId};
use crate::shard::observe::PeerStatus;
use crate::shard::region::Role;
use crate::shard::request::{Answer, Body, Request, Response};
use crate::shard::time::MILLISECOND;

/// The ids of questions to placement begin here.
const QUESTION: u64 = 1 << 41;

/// Whoever asks for the operator.
const OPERATOR: usize = usize::MAX;

/// What a process knows of itself and of others, durably.
#[derive(Debug)]
pub(super) struct Membership {
    /// Itself; 0: it belongs to no cluster yet.
    pub(super) node: NodeId,
    /// Its stores; none: it belongs to no cluster yet.
    stores: Vec<StoreId>,
    nonce: u64,
    /// Its number, and of how many zones it stands in one; 0: nobody says where it stands.
    place: (u64, u64),
    /// Every address that it had, one for each edition; the last one is its own.
    addresses: Vec<String>,
    /// It has come back at another address, and has not been heard.
    moved: bool,
    /// The nodes that it knows.
    pub(super) nodes: Vec<NodeInfo>,
    /// It founds the cluster, and has not finished.
    pub(super) founds: bool,
    /// It is down until then, and perhaps has lost everything.
    pub(super) lost_until: Option<u64>,
}

impl Membership {
    /// The node that founds the cluster.
    pub(super) fn founder(place: usize, zones: u64, stores: Vec<StoreId>) -> Membership {
        let mut founder = Membership {
            node: NodeId(place as u64 + 1),
            stores,
            founds: true,
            ..Membership::outside(place, zones)
        };
        founder.nodes.push(founder.info(founder.edition()));
        founder
    }

    /// A process that belongs to nobody.
    pub(super) fn outside(place: usize, zones: u64) -> Membership {
        Membership {
            node: NodeId(0),
            stores: Vec::new(),
            nonce: place as u64 + 1,
            place: (place as u64, zones),
            addresses: vec![format!("n{place}:1")],
            moved: false,
            nodes: Vec::new(),
            founds: false,
            lost_until: None,
        }
    }

    /// Whether it can open its shards.
    pub(super) fn is_complete(&self) -> bool {
        !self.stores.is_empty() && !self.nodes.is_empty()
    }

    /// What placement keeps of it.
    pub(super) fn record(&self) -> Node {
        let NodeInfo {
            node,
            address,
            edition,
            standing,
            stores,
            labels,
        } = self.info(self.edition());
        Node {
            node,
            nonce: self.nonce,
            address,
            edition,
            standing,
            labels,
            stores,
        }
    }

    /// Which edition of its address holds.
    pub(super) fn edition(&self) -> Edition {
        Edition(self.addresses.len() as u64)
    }

    /// What it said of itself in an edition.
    fn info(&self, edition: Edition) -> NodeInfo {
        NodeInfo {
            node: self.node,
            address: self.addresses[edition.0 as usize - 1].clone(),
            edition,
            standing: crate::placement::Standing::Member,
            stores: self.stores.clone(),
            labels: self.labels(edition),
        }
    }

    /// Where it stood in an edition: with another address it stands in another zone.
    fn labels(&self, edition: Edition) -> Vec<(String, String)> {
        match self.place {
            (_, 0) => Vec::new(),
            (place, zones) => {
                let zone = (place + edition.0) % zones;
                vec![("zone".into(), zone.to_string())]
            }
        }
    }

    /// Hears where nodes are, perhaps late.
    fn hear(&mut self, nodes: Vec<NodeInfo>) {
        for info in nodes {
            match self.nodes.iter_mut().find(|known| known.node == info.node) {
                Some(known) if known.edition > info.edition => {}
                Some(known) => *known = info,
                None => self.nodes.push(info),
            }
        }
    }
}

/// Questions to placement under way, and what was answered.
#[derive(Debug)]
pub(super) struct Growing {
    chance: Chance,
    /// Who asks in which life, and what.
    waiting: BTreeMap<RequestId, (usize, u64, Message)>,
    next: u64,
    /// Whom the last answer named.
    hint: Option<StoreId>,
    /// An id for the operator, and until when it takes it.
    id: Option<(u64, u64)>,
    /// The nonce that each store was given to.
    given: BTreeMap<StoreId, u64>,
    nonces: u64,
}

impl Growing {
    pub(super) fn new(seed: u64) -> Growing {
        Growing {
            chance: Chance::new(seed ^ 0x4752_4F57_494E_4700),
            waiting: BTreeMap::new(),
            next: QUESTION,
            hint: None,
            id: None,
            given: BTreeMap::new(),
            nonces: 1000,
        }
    }

    /// An id that placement has just given to the operator.
    pub(super) fn take_id(&mut self, now: u64) -> Option<u64> {
        let (id, until) = self.id.take()?;
        (now < until).then_some(id)
    }
}

impl World {
    // -- joins -----------------------------------------------------------------------------------

    /// A process that belongs to no cluster, or knows nobody of it, begins to ask.
    pub(super) fn begin_asking(&mut self, node: usize) {
        let within = match self.plan.growth.as_ref() {
            Some(growth) if self.nodes[node].life == 1 => growth.joins_within,
            _ => 100 * MILLISECOND,
        };
        let delay = self.growth.chance.below(within);
        let life = self.nodes[node].life;
        self.after(delay, Event::Ask(node, life));
    }

    /// A process asks, and will ask again until it knows enough.
    pub(super) fn ask(&mut self, node: usize, life: u64) {
        let process = &self.nodes[node];
        let membership = &process.membership;
        let done = membership.is_complete() && !membership.moved && self.reaches_others(node);
        if !process.up || process.life != life || done {
            return;
        }
        // No list names it if it was taken out meanwhile: it hears of that where it asks to join. Where that was
        // refused the list does name it, so it asks for both in turn.
        let gone = self.growth.next.is_multiple_of(2) && self.upkeep.may_be_gone(membership.node);
        let message = match membership.stores.is_empty() || membership.moved || gone {
            true => Message::Join {
                nonce: membership.nonce,
                address: membership.record().address,
                edition: membership.edition(),
                shards: self.plan.shards as u16,
                labels: membership.labels(membership.edition()),
            },
            false => Message::ListNodes,
        };
        let any = self.growth.chance.below(self.stores.len() as u64) as usize;
        let store = self.growth.hint.take().unwrap_or(self.stores[any].0);
        if let Some(there) = self.at(store) {
            for delay in self.net.carry(node, there.node) {
                self.send_question(delay, (node, life), message.clone(), store);
            }
        }
        let delay = (200 + self.growth.chance.below(400)) * MILLISECOND;
        self.after(delay, Event::Ask(node, life));
    }

    /// The operator asks for an id.
    pub(super) fn ask_for_id(&mut self) {
        let statuses = self.statuses();
        let system = statuses
            .iter()
            .filter(|(_, status)| status.region.id == RegionId::SYSTEM && status.leads);
        let leader = system.max_by_key(|(_, status)| status.term);
        if let Some((store, _)) = leader {
            let message = Message::AllocateIds { count: 1, nonce: 7 };
            self.send_question(0, (OPERATOR, 0), message, *store);
        }
    }

    pub(super) fn send_question(
        &mut self,
        delay: u64,
        from: (usize, u64),
        message: Message,
        to: StoreId,
    ) {
        let id = RequestId(self.growth.next);
        self.growth.next += 1;
        self.growth.waiting.insert(id, (from.0, from.1, message));
        self.after(delay, Event::Question(id, to));
    }

    /// A question arrives at a shard.
    pub(super) fn question(&mut self, id: RequestId, store: StoreId) {
        let at = self.at(store).filter(|at| self.is_now(*at));
        let Some(at) = at.filter(|at| !self.is_paused(at.node)) else {
            self.growth.waiting.remove(&id);
            return;
        };
        let Some((_, _, message)) = self.growth.waiting.get(&id).cloned() else {
            return;
        };
        self.given(id, at);
        let body = Body::Placement(&message);
        let request = Request { region: None, body };
        self.input(at, Input::Request { id, request });
    }

    /// A shard has answered something: perhaps a question.
    pub(super) fn answered_outside(&mut self, from: usize, id: RequestId, response: &Response) {
        let Some((to, ..)) = self.growth.waiting.get(&id) else {
            return;
        };
        let delays = match *to {
            OPERATOR | UPKEEP => vec![0],
            to => self.net.carry(from, to),
        };
        for delay in delays {
            let response = Box::new(response.clone());
            self.after(delay, Event::Told(id, response));
        }
    }

    /// The answer to a question.
    pub(super) fn told(&mut self, id: RequestId, response: Response) -> Verdict {
        let Some((node, life, asked)) = self.growth.waiting.remove(&id) else {
            return Ok(());
        };
        if node == OPERATOR {
            if let Ok(Answer::Placement(Message::Allocated { first, .. })) = response {
                self.growth.id = Some((first, self.now + 2 * SECOND));
            }
            return Ok(());
        }
        if node == UPKEEP {
            self.upkeep_told(&asked, &response);
            return Ok(());
        }
        if !self.nodes[node].up || self.nodes[node].life != life {
            return Ok(());
        }
        match response {
            Ok(Answer::Placement(Message::Joined {
                nonce,
                node: given,
                stores,
                ..
            })) => {
                let membership = &mut self.nodes[node].membership;
                if matches!(asked, Message::Join { edition, .. } if edition == membership.edition())
                {
                    membership.moved = false;
                }
                self.joined(node, nonce, given, stores)
            }
            Ok(Answer::Placement(Message::Nodes(_, nodes))) => self.introduced(node, nodes),
            Err(Error::NotLeader { leader, .. }) => {
                self.growth.hint = leader.map(|leader| leader.store);
                Ok(())
            }
            Err(_) => Ok(()),
            // It moves, and hears only then that it is gone; with what it holds it stays, and its stores say so.
            Ok(Answer::Placement(Message::JoinRefused { .. }))
                if self.upkeep.may_be_gone(self.nodes[node].membership.node) =>
            {
                let mut shards = self.nodes[node].hosts.iter().flat_map(|host| &host.shard);
                if shards.all(Shard::holds_nothing) {
                    self.taken_out(node);
                    self.end_process(node, true);
                }
                Ok(())
            }
            Ok(other) => Err(Violation::new(
                "joins",
                format!("node {node} is told {other:?}"),
            )),
        }
    }

    /// A process belongs to the cluster.
    fn joined(&mut self, node: usize, nonce: u64, given: NodeId, stores: Vec<StoreId>) -> Verdict {
        for store in &stores {
            let before = self.growth.given.insert(*store, nonce);
            let taken = self
                .stores
                .iter()
                .any(|(known, at)| known == store && *at != node);
            if before.is_some_and(|before| before != nonce) || taken {
                let what = format!("store {store} is given to nonce {nonce} and somebody else");
                return Err(Violation::new("joins", what));
            }
        }
        let membership = &mut self.nodes[node].membership;
        if membership.nonce != nonce {
            return Ok(());
        }
        if !membership.stores.is_empty() {
            if (membership.node, &membership.stores) != (given, &stores) {
                let what = format!("nonce {nonce} is given other ids: {given}, {stores:?}");
                return Err(Violation::new("joins", what));
            }
            return Ok(());
        }
        membership.node = given;
        membership.stores = stores.clone();
        self.figures.joins += 1;
        self.tell(|| format!("node {node} has joined as {given} with stores {stores:?}"));
        for store in stores {
            let host = Host::new(&self.plan, store);
            self.nodes[node].hosts.push(host);
            self.stores.push((store, node));
        }
        Ok(())
    }

    /// A process hears of all others, and opens its shards.
    fn introduced(&mut self, node: usize, nodes: Vec<NodeInfo>) -> Verdict {
        let membership = &mut self.nodes[node].membership;
        if membership.is_complete() {
            // One that was taken out, and holds something: it has to say so to others that have moved.
            membership.hear(nodes);
            return Ok(());
        }
        let knows_it = nodes.iter().any(|info| info.node == membership.node);
        if membership.stores.is_empty() || !knows_it {
            return Ok(());
        }
        membership.nodes = nodes;
        self.open(node)
    }

    /// A shard tells its process where the nodes are.
    pub(super) fn told_nodes(&mut self, node: usize, nodes: Vec<NodeInfo>) -> Verdict {
        for info in &nodes {
            for store in &info.stores {
                // Perhaps where it was before.
                let here = |node: usize| {
                    let name = info.address.split(['.', ':']).next();
                    name == Some(&format!("n{node}"))
                };
                if self.at(*store).is_some_and(|at| !here(at.node)) {
                    let what = format!("store {store} is said to be at {}", info.address);
                    return Err(Violation::new("joins", what));
                }
            }
        }
        self.nodes[node].membership.hear(nodes);
        Ok(())
    }

    /// Whether a process knows where a store is now.
    pub(super) fn knows_address(&self, node: usize, store: StoreId) -> bool {
        if self.plan.growth.is_none() {
            return true;
        }
        let now = self
            .at(store)
            .map(|at| self.nodes[at.node].membership.edition());
        let mut known = self.nodes[node].membership.nodes.iter();
        known.any(|info| info.stores.contains(&store) && Some(info.edition) == now)
    }

    /// Whether a process knows where any other one is. One that does not, since all have moved while nobody had anything
    /// to say to it, is started with another address by whoever looks after it.
    pub(super) fn reaches_others(&self, node: usize) -> bool {
        let mut others = self.stores.iter().filter(|(_, there)| *there != node);
        self.nodes.len() == 1 || others.any(|(store, _)| self.knows_address(node, *store))
    }

    /// A link says where the process was when it opened it: whoever hears from a store can answer it.
    pub(super) fn greet(&mut self, node: usize, from: StoreId, edition: Edition) {
        if self.plan.growth.is_none() || self.knows_address(node, from) {
            return;
        }
        if let Some(there) = self.at(from) {
            let info = self.nodes[there.node].membership.info(edition);
            self.nodes[node].membership.hear(vec![info]);
        }
    }

    /// Whether every process knows where every other one is.
    fn all_know_all(&self) -> Result<(), String> {
        for node in 0..self.nodes.len() {
            let unknown = |(store, _): &&(StoreId, usize)| !self.knows_address(node, *store);
            if let Some((store, _)) = self.stores.iter().find(unknown) {
                return Err(format!("node {node} does not know where store {store} is"));
            }
        }
        Ok(())
    }

    /// A member that starts may have another address than before; one at a time, or two would look for
    /// each other for ever.
    pub(super) fn perhaps_move(&mut self, node: usize) {
        let membership = &self.nodes[node].membership;
        let quiet = self.nodes.iter().all(|node| !node.membership.moved);
        let settled = quiet && !membership.founds && self.all_know_all().is_ok();
        let life = self.nodes[node].life;
        if membership.moved {
            self.after(0, Event::Ask(node, life));
        }
        if !settled || self.growth.chance.below(4) != 0 {
            return;
        }
        let membership = &mut self.nodes[node].membership;
        membership.addresses.push(format!("n{node}.{life}:1"));
        membership.moved = true;
        // Its own shards find each other, whatever placement has heard.
        let own = membership.info(membership.edition());
        membership.hear(vec![own]);
        self.figures.moves += 1;
        self.tell(|| format!("node {node} has another address"));
        self.after(0, Event::Ask(node, life));
    }

    /// A process that has founded everything, durably, is a member like others.
    pub(super) fn look_at_growth(&mut self) -> Verdict {
        for node in self.nodes.iter_mut().filter(|node| node.up) {
            let mut shards = node.hosts.iter().map(|host| host.shard.as_ref());
            if shards.all(|shard| shard.is_some_and(Shard::is_open)) {
                node.membership.founds = false;
            }
        }
        Ok(())
    }

    // -- nodes that lose everything --------------------------------------------------------------

    /// The first one.
    pub(super) fn plan_wipe(&mut self) {
        if let Some(growth) = self.plan.growth.as_ref().filter(|growth| growth.wipes > 0) {
            let delay = growth.wipes + self.growth.chance.below(2 * growth.wipes);
            self.after(delay, Event::Wipe);
        }
    }

    /// A node goes down; when it comes back, it has perhaps lost everything.
    pub(super) fn wipe(&mut self) {
        if self.healing_since.is_some() {
            return;
        }
        self.plan_wipe();
        let node = self.growth.chance.below(self.nodes.len() as u64) as usize;
        let one = self
            .nodes
            .iter()
            .any(|node| node.membership.lost_until.is_some());
        if one
            || !self.troubles.is_sound()
            || !self.nodes[node].up
            || !self.nodes[node].membership.is_complete()
        {
            return;
        }
        // So long that no leader takes it for a living one.
        let until = self.now + 4 * SECOND + self.growth.chance.below(3 * SECOND);
        self.tell(|| format!("node {node} goes down for long"));
        self.end_process(node, false);
        self.nodes[node].membership.lost_until = Some(until);
        self.after(until - self.now, Event::Start(node));
    }

    /// Whether a node starts now: with what it had, or without.
    pub(super) fn may_start(&mut self, node: usize) -> bool {
        match self.nodes[node].membership.lost_until {
            None => true,
            Some(until) if self.now < until => false,
            Some(until) => {
                // One that was taken out holds nothing that counts, whoever else is in trouble.
                let gone = self.nodes[node].membership.node;
                let spare = self.upkeep.removed.contains(&gone) || self.is_spare(node);
                let damaged = self.troubles.is_damaged(node);
                if !spare && (damaged || self.now < until + 3 * SECOND) {
                    self.after(20 * MILLISECOND, Event::Start(node));
                    return false;
                }
                self.nodes[node].membership.lost_until = None;
                if spare {
                    self.lose(node);
                }
                true
            }
        }
    }

    /// Whether nothing is lost with a node: no region loses its quorum, and no change of the peers that
    /// counts on this node is under way.
    pub(super) fn is_spare(&self, node: usize) -> bool {
        let statuses = self.statuses();
        let others = |store: StoreId| self.at(store).is_some_and(|at| at.node != node);
        self.known_regions().into_iter().all(|id| {
            let of = || statuses.iter().filter(|(_, status)| status.region.id == id);
            let leads = of().filter(|(_, status)| status.leads);
            let Some((_, leader)) = leads.max_by_key(|(_, status)| status.term) else {
                return false;
            };
            let settled = leader.last == leader.committed && leader.committed == leader.applied;
            let voters = leader
                .region
                .peers
                .iter()
                .filter(|info| info.role.votes_after());
            let voters: Vec<_> = voters.collect();
            let follows = |status: &PeerStatus| {
                status.term == leader.term && status.leader == Some(leader.peer)
            };
            let left = voters.iter().filter(|info| others(info.store)).count();
            let follow = voters
                .iter()
                .filter(|info| of().any(|(_, peer)| peer.peer == info.peer && follows(peer)))
                .count();
            !leader.region.is_joint()
                && settled
                && left * 2 > voters.len()
                && follow * 2 > voters.len()
        })
    }

    /// Whether no voter is lost. A node that is damaged may be given replicas before it is seen: then a quorum must
    /// be left of the others.
    pub(super) fn has_all_voters(&self) -> bool {
        let statuses = self.statuses();
        let leaders = statuses.iter().filter(|(_, status)| status.leads);
        let mut peers = leaders.flat_map(|(_, status)| &status.region.peers);
        peers.all(|info| info.role == Role::Learner || self.at(info.store).is_some())
    }

    /// A node loses everything: it is somebody else from now on.
    fn lose(&mut self, node: usize) {
        self.tell(|| format!("node {node} has lost everything"));
        let gone = self.nodes[node].membership.node;
        self.figures.wipes += u64::from(!self.upkeep.removed.contains(&gone));
        self.troubles.is_wiped(node);
        self.growth.nonces += 1;
        self.stores.retain(|(_, at)| *at != node);
        self.nodes[node].hosts.clear();
        let (_, zones) = self.nodes[node].membership.place;
        self.nodes[node].membership = Membership {
            nonce: self.growth.nonces,
            ..Membership::outside(node, zones)
        };
        // Whoever knew nobody else is given another address to ask at.
        for other in 0..self.nodes.len() {
            let (life, membership) = (self.nodes[other].life, &self.nodes[other].membership);
            if membership.is_complete() && !self.reaches_others(other) {
                self.after(0, Event::Ask(other, life));
            }
        }
    }

    // -- looking ---------------------------------------------------------------------------------

    /// Whether every node has joined, and every region has its voters on different nodes.
    pub(super) fn is_grown(&self, statuses: &[(StoreId, PeerStatus)]) -> Result<(), String> {
        if self.plan.growth.is_none() {
            return Ok(());
        }
        let mut nodes = (0..).zip(&self.nodes);
        if let Some((node, _)) = nodes.find(|(_, node)| !node.membership.is_complete()) {
            return Err(format!("node {node} has not joined"));
        }
        let shards = self.nodes.iter().flat_map(|node| &node.hosts);
        let shards = shards.filter_map(|host| host.shard.as_ref());
        let Some(placement) = shards.filter_map(Shard::placement).next() else {
            return Err("placement does not run".into());
        };
        let known = placement.state();
        for process in &self.nodes {
            let membership = &process.membership;
            let record = known.nodes.get(&membership.node);
            let standing = record.map_or(Standing::Gone, |record| record.standing);
            let own = Node {
                standing,
                ..membership.record()
            };
            if record != Some(&own) || standing == Standing::Gone {
                return Err(format!("placement knows {membership:?} as {record:?}"));
            }
        }
        self.all_know_all()?;
        let standing = |node: &&Node| node.standing == Standing::Member;
        let here = |node: &&Node| {
            let mut processes = self.nodes.iter();
            processes.any(|process| process.membership.node == node.node)
        };
        let zones: BTreeSet<_> = (known.nodes.values())
            .filter(standing)
            .filter(here)
            .map(|node| &node.labels)
            .collect();
        for id in self.known_regions() {
            let leads = statuses
                .iter()
                .filter(|(_, status)| status.region.id == id && status.leads);
            let leader = leads.max_by_key(|(_, status)| status.term);
            let Some((_, leader)) = leader else {
                return Err(format!("region {id} has no leader"));
            };
            let peers = &leader.region.peers;
            let registered = known.regions.get(id);
            let led = known.regions.leader(id).map(|info| info.peer);
            if registered != Some(&leader.region) || led != Some(leader.peer) {
                return Err(format!(
                    "placement knows {registered:?}, led by {led:?}, instead of {leader:?}"
                ));
            }
            let places: BTreeSet<_> = peers
                .iter()
                .filter_map(|info| self.at(info.store).map(|at| at.node))
                .collect();
            let wanted = self.plan.replicas;
            if peers.len() != wanted || places.len() != wanted {
                return Err(format!(
                    "{} has not {wanted} replicas: {peers:?}",
                    leader.region
                ));
            }
            let apart: BTreeSet<_> = peers
                .iter()
                .filter_map(|info| known.stores.get(&info.store))
                .map(|node| &known.nodes[node].labels)
                .collect();
            if apart.len() < wanted.min(zones.len()) {
                return Err(format!(
                    "{} lies in {apart:?}, and there are {zones:?}",
                    leader.region
                ));
            }
        }
        Ok(())
    }
}
