//! Stories of placement: nodes join, lose everything and are replaced, while leaders move.

use coracle::placement::Message;
use coracle::placement::message::{Operator, Verdict};
use coracle::shard::error::Error;
use coracle::shard::ids::{Edition, NodeId, PeerId, RegionId, StoreId};
use coracle::shard::message::PeerMessage;
use coracle::shard::mutant::Mutant;
use coracle::shard::region::{Epoch, Role};
use coracle::shard::request::{Answer, Body, Freshness, PeerChange};

use super::theatre::{REGION, Theatre, founder};

const KEY: &[u8] = b"\x01key";
const REGIONS: [RegionId; 2] = [RegionId::SYSTEM, REGION];

fn join(nonce: u64) -> Message {
    Message::Join {
        nonce,
        address: format!("n{nonce}:1"),
        edition: Edition::FIRST,
        shards: 1,
        labels: Vec::new(),
    }
}

/// The store where placement runs.
fn seat(theatre: &Theatre) -> Option<u64> {
    let reached = theatre
        .actors
        .iter()
        .filter(|(store, _)| !theatre.isolated.contains(store));
    let mut seats = reached.filter(|(_, actor)| {
        let shard = actor.shard.as_ref();
        shard.is_some_and(|shard| shard.placement().is_some())
    });
    seats.next().map(|(store, _)| store.0)
}

/// What placement answers, sooner or later.
fn told(theatre: &mut Theatre, message: &Message) -> Message {
    for _ in 0..100 {
        theatre.until("placement runs", |theatre| seat(theatre).is_some());
        let store = seat(theatre).expect("just seen");
        let request = theatre.ask(store, Body::Placement(message));
        if let Ok(Answer::Placement(answer)) = theatre.answer(request) {
            return answer;
        }
        theatre.pass(50);
    }
    panic!("placement never answers {message:?}");
}

/// What a process with this nonce is given.
fn joined(theatre: &mut Theatre, nonce: u64) -> (NodeId, u64) {
    match told(theatre, &join(nonce)) {
        Message::Joined { node, stores, .. } => (node, stores[0].0),
        other => panic!("{other:?}"),
    }
}

/// A process joins and starts its shard; its store.
pub fn enter(theatre: &mut Theatre, nonce: u64) -> u64 {
    let (_, store) = joined(theatre, nonce);
    let Message::Nodes(_, nodes) = told(theatre, &Message::ListNodes) else {
        panic!("no nodes");
    };
    theatre.nodes = nodes;
    theatre.enter(store);
    store
}

/// Whether every region has three voters, all of them on these stores.
fn is_on(theatre: &Theatre, stores: &[u64]) -> bool {
    REGIONS.iter().all(|region| {
        let leads = |store: &&u64| {
            let status = theatre.status_of(**store, *region);
            status.is_some_and(|status| status.leads)
        };
        let Some(leader) = stores.iter().find(leads) else {
            return false;
        };
        let status = theatre.status_of(*leader, *region).expect("just seen");
        let voter = |store: u64| {
            let info = status.region.on_store(StoreId(store));
            info.is_some_and(|info| info.role == Role::Voter)
        };
        let voters = stores.iter().filter(|store| voter(**store)).count();
        voters == 3 && status.region.peers.len() == 3
    })
}

/// Three nodes, each with its replicas.
fn three() -> (Theatre, [u64; 3]) {
    three_breaking(Mutant::None)
}

/// The same, with a rule broken on purpose.
fn three_breaking(mutant: Mutant) -> (Theatre, [u64; 3]) {
    let mut theatre = Theatre::growing(mutant);
    let stores = three_of(&mut theatre);
    (theatre, stores)
}

/// Two more nodes join, and each has its replicas.
pub fn three_of(theatre: &mut Theatre) -> [u64; 3] {
    let stores = [1, enter(theatre, 2), enter(theatre, 3)];
    theatre.until("there are three replicas", |theatre| {
        is_on(theatre, &stores)
    });
    stores
}

/// Waits longer than a story usually does.
pub fn patiently(theatre: &mut Theatre, what: &str, holds: impl Fn(&Theatre) -> bool) {
    for _ in 0..300 {
        if holds(theatre) {
            return;
        }
        theatre.pass(200);
    }
    panic!(
        "after 60 s it does not hold: {what}\n{}",
        theatre.describe()
    );
}

fn put(theatre: &mut Theatre, value: &[u8]) {
    for _ in 0..200 {
        theatre.until("there is a leader", |theatre| theatre.leader().is_some());
        let leader = theatre.leader().expect("just seen");
        let request = theatre.put(leader, KEY, value);
        if theatre.answer(request).is_ok() {
            return;
        }
        theatre.pass(50);
    }
    panic!("nothing can be written");
}

fn get(theatre: &mut Theatre) -> Vec<u8> {
    for _ in 0..200 {
        theatre.until("there is a leader", |theatre| theatre.leader().is_some());
        let leader = theatre.leader().expect("just seen");
        let request = theatre.get(leader, KEY, Freshness::Linearizable);
        if let Ok(Answer::Value(Some(value))) = theatre.answer(request) {
            return value.to_vec();
        }
        theatre.pass(50);
    }
    panic!("nothing can be read");
}

/// The first node is there, two others join, and every region grows; the power of any of them may go.
#[test]
fn nodes_join_and_regions_grow_to_three() {
    let (mut theatre, stores) = three();
    put(&mut theatre, b"value");
    let known = joined(&mut theatre, 2);
    assert_eq!(known.1, stores[1], "the same nonce is the same node");
    theatre.pass(2000);
    let nodes: Vec<NodeId> = theatre.nodes.iter().map(|info| info.node).collect();
    assert_eq!(nodes.len(), 3, "shards tell of all nodes: {nodes:?}");
    assert!(nodes.contains(&known.0) && nodes.contains(&founder().node));
    for store in stores {
        theatre.cut_power(store);
        assert_eq!(get(&mut theatre), b"value");
        theatre.start(store);
        theatre.until("all are there", |theatre| is_on(theatre, &stores));
    }
}

/// A process that comes back at another address says so under its old nonce, and all shards hear of it.
#[test]
fn a_node_that_moves_to_another_address_is_the_same_node() {
    let (mut theatre, _) = three();
    theatre.pass(2000);
    let before = joined(&mut theatre, 2);
    let moved = |address: &str, edition: Edition| Message::Join {
        nonce: 2,
        address: address.into(),
        edition,
        shards: 1,
        labels: Vec::new(),
    };
    let given = |theatre: &mut Theatre, join: &Message| match told(theatre, join) {
        Message::Joined { node, stores, .. } => (node, stores[0].0),
        other => panic!("{other:?}"),
    };
    let listed = |theatre: &mut Theatre| match told(theatre, &Message::ListNodes) {
        Message::Nodes(_, nodes) => nodes,
        other => panic!("{other:?}"),
    };
    theatre.nodes.clear();
    let second = Edition::FIRST.next();
    let elsewhere = moved("elsewhere:1", second);
    assert_eq!(given(&mut theatre, &elsewhere), before);
    theatre.until("shards tell of it", |theatre| !theatre.nodes.is_empty());
    let info = theatre.nodes.iter().find(|info| info.node == before.0);
    assert_eq!(info.expect("it is listed").address, "elsewhere:1");
    assert_eq!(theatre.nodes.len(), 3);
    // What its first life said arrives now, over a slow link: it is answered, and nobody is told of it.
    let now = listed(&mut theatre);
    assert_eq!(given(&mut theatre, &join(2)), before);
    assert_eq!(listed(&mut theatre), now);
    // Back where it was, it says so as something new; what it said in between comes late.
    let back = moved("n2:1", second.next());
    assert_eq!(given(&mut theatre, &back), before);
    assert_eq!(given(&mut theatre, &elsewhere), before);
    let now = listed(&mut theatre);
    let info = now.iter().find(|info| info.node == before.0);
    assert_eq!(info.expect("it is listed").address, "n2:1");
}

/// The first batch of a cluster holds its regions and placement's records, or nothing: whenever the
/// power goes before it is durable, founding is done again.
#[test]
fn a_cluster_is_founded_whole_or_not_at_all() {
    for writes in 0..40 {
        let mut theatre = Theatre::growing(Mutant::None);
        theatre.hold_disk(1, true);
        for _ in 0..writes {
            theatre.turn();
            theatre.finish_disk(1);
        }
        theatre.turn();
        theatre.cut_power(1);
        theatre.hold_disk(1, false);
        theatre.start(1);
        theatre.until("it leads", |theatre| theatre.leads(1));
        let (_, store) = joined(&mut theatre, 2);
        assert!(store > 1, "placement knows which ids are taken");
    }
}

/// An instruction holds under the epoch that it names: not before, and not after.
#[test]
fn an_operator_under_another_epoch_does_nothing() {
    let (mut theatre, stores) = three();
    let leader = theatre.leader().expect("a leader");
    let status = theatre.status(leader).expect("it leads");
    let epoch = status.region.epoch;
    let victim = stores.iter().find(|store| **store != leader);
    let victim = status
        .region
        .on_store(StoreId(*victim.expect("three stores")));
    let victim = victim.expect("a peer").peer;
    let remove = |epoch: Epoch| {
        PeerMessage::Placement(Message::Operator(Operator::ChangePeers {
            region: REGION,
            epoch,
            changes: vec![PeerChange::Remove(victim)],
        }))
    };
    let (mut stale, mut early) = (epoch, epoch);
    stale.conf_ver -= 1;
    early.version += 1;
    for other in [stale, early] {
        theatre.deliver(StoreId(1), StoreId(leader), remove(other));
        theatre.pass(300);
        let now = theatre.status(leader).expect("it leads").region;
        assert_eq!(now, status.region, "under {other:?}");
    }
    // Whoever does not lead does nothing either.
    let follower = *stores
        .iter()
        .find(|store| **store != leader)
        .expect("three");
    theatre.deliver(StoreId(1), StoreId(follower), remove(epoch));
    theatre.pass(300);
    assert_eq!(
        theatre.status(leader).expect("it leads").region.epoch,
        epoch
    );
    theatre.deliver(StoreId(1), StoreId(leader), remove(epoch));
    theatre.until("the peer goes", |theatre| {
        let now = theatre.status(leader).expect("it leads").region;
        now.peer(victim).is_none()
    });
    patiently(&mut theatre, "placement gives it another", |theatre| {
        is_on(theatre, &stores)
    });
}

/// The leader of region 1 is cut off when it is asked; the next one is asked with the same nonce, and
/// what the first one had in mind is given to nobody else.
#[test]
fn placement_moves_while_a_join_is_under_way() {
    let (mut theatre, stores) = three();
    let first = seat(&theatre).expect("placement runs");
    theatre.isolated.push(StoreId(first));
    let message = join(9);
    let request = theatre.ask(first, Body::Placement(&message));
    let (node, store) = joined(&mut theatre, 9);
    let second = seat(&theatre).expect("placement runs");
    assert_ne!(first, second);
    let answer = theatre.answer(request);
    assert!(
        matches!(answer, Err(Error::NotLeader { .. } | Error::Undetermined)),
        "the first one could not keep its word: {answer:?}"
    );
    theatre.isolated.clear();
    let another = joined(&mut theatre, 10);
    assert!(!stores.contains(&another.1) && another.1 != store);
    patiently(&mut theatre, "all are there", |theatre| {
        is_on(theatre, &stores)
    });
    assert_eq!(joined(&mut theatre, 9), (node, store), "once per nonce");
}

/// A peer was cut off until nobody is left of those that it knew. Placement names the peers of today, and
/// a quorum of them tells it that it is gone.
#[test]
fn a_stale_peer_asks_placement_and_goes() {
    let (mut theatre, stores) = three();
    let spare = [4, 5, 6].map(|nonce| enter(&mut theatre, nonce));
    theatre.pass(2000);
    put(&mut theatre, b"value");
    let stale = stores[2];
    theatre.isolated.push(StoreId(stale));
    let now = [stores[0], stores[1], spare[0], spare[1], spare[2]];
    patiently(&mut theatre, "the silent one is replaced", |theatre| {
        is_on(theatre, &now)
    });
    for lost in [stores[0], stores[1]] {
        theatre.actors.remove(&StoreId(lost));
        let now: Vec<u64> = now.into_iter().filter(|store| *store != lost).collect();
        patiently(&mut theatre, "the lost one is replaced", |theatre| {
            let left = now
                .iter()
                .filter(|store| theatre.actors.contains_key(&StoreId(**store)));
            is_on(theatre, &left.copied().collect::<Vec<_>>())
        });
    }
    assert!(theatre.status(stale).is_some(), "it has not heard of it");
    theatre.isolated.clear();
    patiently(&mut theatre, "the stale peers go", |theatre| {
        let gone = |region: &RegionId| theatre.status_of(stale, *region).is_none();
        REGIONS.iter().all(gone)
    });
    assert_eq!(get(&mut theatre), b"value");
}

/// Placement has its word from one leader. If that one lost its power for ever, a peer that had gone upon
/// it would be missing where the others elect the next.
#[test]
fn the_word_of_placement_alone_has_no_peer_go() {
    assert!(stays_until_a_quorum_has_spoken(Mutant::None));
    assert!(
        !stays_until_a_quorum_has_spoken(Mutant::TrustVerdict),
        "the story would see it"
    );
}

fn stays_until_a_quorum_has_spoken(mutant: Mutant) -> bool {
    let (mut theatre, stores) = three_breaking(mutant);
    let spare = enter(&mut theatre, 4);
    let stale = theatre.leader().expect("a leader");
    let left: Vec<u64> = stores
        .into_iter()
        .filter(|store| *store != stale)
        .chain([spare])
        .collect();
    let peer = theatre.status(stale).expect("it leads").peer;
    theatre.isolated.push(StoreId(stale));
    patiently(&mut theatre, "it is replaced", |theatre| {
        is_on(theatre, &left)
    });
    let leader = left.iter().find(|store| theatre.leads(**store));
    let region = theatre
        .status(*leader.expect("a leader"))
        .expect("it leads")
        .region;
    // Nobody else is there when it is told.
    theatre.isolated = left.iter().map(|store| StoreId(*store)).collect();
    let gone = Message::Verdict {
        peer,
        region: REGION,
        verdict: Verdict::Gone { region },
    };
    theatre.deliver(StoreId(99), StoreId(stale), PeerMessage::Placement(gone));
    theatre.pass(2000);
    let stays = theatre.status(stale).is_some();
    theatre.isolated.clear();
    patiently(&mut theatre, "it goes in the end", |theatre| {
        theatre.status(stale).is_none()
    });
    stays
}

/// Placement has moved to a node that came later than the last list of nodes that a shard has heard: whoever
/// names that node tells where it is.
#[test]
fn whoever_is_pointed_to_a_node_that_it_does_not_know_asks_for_it() {
    let (mut theatre, stores) = three();
    theatre.pass(2000);
    let seat = seat(&theatre).expect("placement runs");
    let others: Vec<u64> = stores.into_iter().filter(|store| *store != seat).collect();
    let (asker, other) = (StoreId(others[0]), StoreId(others[1]));
    theatre.holds_post = true;
    theatre.post.clear();
    let hint = Some(StoreId(777));
    let pointer = PeerMessage::Placement(Message::NotPlacement { hint });
    theatre.deliver(StoreId(seat), asker, pointer);
    theatre.turn();
    let question = PeerMessage::Placement(Message::ListNodes);
    let asked = (asker, StoreId(seat), question.clone());
    assert!(theatre.post.contains(&asked), "{:?}", theatre.post);
    theatre.post.clear();
    theatre.deliver(asker, other, question);
    theatre.turn();
    let told = theatre.post.iter().any(|(from, to, message)| {
        let nodes = match message {
            PeerMessage::Placement(Message::Nodes(_, nodes)) => nodes.len(),
            _ => 0,
        };
        (*from, *to, nodes) == (other, asker, 3)
    });
    assert!(told, "{:?}", theatre.post);
}

/// A node loses everything: it is somebody else when it comes back, and what it had is given to it anew
/// or to others.
#[test]
fn replicas_of_a_node_that_lost_everything_are_replaced() {
    let (mut theatre, stores) = three();
    put(&mut theatre, b"value");
    let leader = theatre.leader().expect("a leader");
    theatre.actors.remove(&StoreId(leader));
    let left: Vec<u64> = stores
        .into_iter()
        .filter(|store| *store != leader)
        .collect();
    patiently(&mut theatre, "the others go on", |theatre| {
        theatre.leader().is_some() && seat(theatre).is_some()
    });
    let again = enter(&mut theatre, 77);
    assert!(!stores.contains(&again), "no store comes back from nothing");
    let now = [left[0], left[1], again];
    patiently(&mut theatre, "there are three again", |theatre| {
        is_on(theatre, &now)
    });
    assert_eq!(get(&mut theatre), b"value");
    let ids = |store: u64| theatre.status(store).map(|status| status.peer);
    assert!(ids(again) > ids(left[0]).max(ids(left[1])).max(Some(PeerId(0))));
}
