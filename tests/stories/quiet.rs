//! Stories of quiet regions: nobody ticks, and yet nothing is missed.

use coracle::shard::ids::{RegionId, StoreId};
use coracle::shard::message::PeerMessage;
use coracle::shard::mutant::Mutant;
use coracle::shard::region::Role;
use coracle::shard::request::{Answer, Body, Freshness, PeerChange};

use crate::theatre::{REGION, Theatre, peer};

const KEY: &[u8] = b"\x01key";

/// Another region of the first store.
const OTHER: RegionId = RegionId(3);

/// So many shards whose regions grow quiet soon.
fn theatre(stores: u64, mutant: Mutant, regions: &[RegionId]) -> Theatre {
    let mut theatre = Theatre::of_regions(0, mutant, regions);
    theatre.plan.limits.quiet_ticks = 4;
    theatre.plan.limits.region_beat_ticks = 60;
    (1..=stores).for_each(|store| theatre.enter(store));
    theatre
}

fn is_quiet(theatre: &Theatre, store: u64, region: RegionId) -> bool {
    let actor = &theatre.actors[&StoreId(store)];
    actor
        .shard
        .as_ref()
        .is_some_and(|shard| shard.is_quiet(region))
}

/// Whether the peers of the region on these stores are all quiet.
fn are_quiet(theatre: &Theatre, stores: &[u64]) -> bool {
    stores.iter().all(|store| is_quiet(theatre, *store, REGION))
}

/// Three voters of which nobody wants anything.
fn quiet_three(mutant: Mutant) -> Theatre {
    let mut theatre = theatre(3, mutant, &[REGION]);
    theatre.grow_to_three();
    theatre.write(KEY, b"first");
    theatre.until("all are quiet", |theatre| are_quiet(theatre, &[1, 2, 3]));
    theatre
}

/// Time passes, and some messages are lost.
fn pass_losing(
    theatre: &mut Theatre,
    milliseconds: u64,
    is_lost: impl Fn(u64, u64, &PeerMessage) -> bool,
) {
    theatre.holds_post = true;
    for _ in 0..milliseconds / 5 {
        theatre.pass(5);
        for (from, to, message) in std::mem::take(&mut theatre.post) {
            if !is_lost(from.0, to.0, &message) {
                theatre.deliver(from, to, message);
            }
        }
    }
    theatre.holds_post = false;
}

fn others(store: u64) -> (u64, u64) {
    (store % 3 + 1, (store + 1) % 3 + 1)
}

#[test]
fn a_region_alone_is_quiet_and_answers() {
    let mut theatre = theatre(1, Mutant::None, &[REGION, OTHER]);
    theatre.until("both are quiet", |theatre| {
        is_quiet(theatre, 1, REGION) && is_quiet(theatre, 1, OTHER)
    });
    theatre.pass(2000);
    assert_eq!(theatre.read(KEY), None);
    theatre.write(KEY, b"first");
    assert!(
        !is_quiet(&theatre, 1, REGION) && is_quiet(&theatre, 1, OTHER),
        "a request wakes its region and no other"
    );
    theatre.until("it is quiet again", |theatre| is_quiet(theatre, 1, REGION));
    assert_eq!(theatre.read(KEY), Some(b"first".to_vec()));
}

/// What two shards say to each other of quiet regions does not depend on how many these are.
#[test]
fn quiet_regions_say_nothing_and_their_stores_say_little() {
    let mut theatre = quiet_three(Mutant::None);
    let leader = theatre.leader().expect("a leader");
    let term = theatre.status(leader).expect("a peer").term;
    let said = std::cell::RefCell::new(Vec::new());
    pass_losing(&mut theatre, 2000, |from, to, message| {
        said.borrow_mut().push((from, to, message.clone()));
        false
    });
    let said = said.into_inner();
    for (from, to, message) in &said {
        assert!(
            matches!(message, PeerMessage::Beats(_)),
            "{from} → {to}: {message:?}"
        );
        assert!(*from == leader || *to == leader, "followers are not heard");
    }
    // Four directions, twenty heartbeats, and now and then a word of a follower.
    assert!((70..=90).contains(&said.len()), "{} messages", said.len());
    assert!(are_quiet(&theatre, &[1, 2, 3]));
    assert_eq!(theatre.status(leader).expect("a peer").term, term);
}

/// Nobody sends and nobody asks: only the silence of the store tells.
fn is_led_again(mutant: Mutant) -> bool {
    let mut theatre = quiet_three(mutant);
    let leader = theatre.leader().expect("a leader");
    theatre.cut_power(leader);
    for _ in 0..100 {
        theatre.pass(50);
        if theatre.leader().is_some() {
            theatre.write(KEY, b"second");
            return true;
        }
    }
    false
}

#[test]
fn a_quiet_region_is_led_again_when_its_leaders_store_dies() {
    assert!(is_led_again(Mutant::None));
    let broken = is_led_again(Mutant::QuietMissesElection);
    assert!(!broken, "the story would see it");
}

/// The process is back before anybody has missed it, and does not know that it led.
#[test]
fn a_quiet_region_is_led_again_when_its_leader_starts_anew() {
    let mut theatre = quiet_three(Mutant::None);
    let leader = theatre.leader().expect("a leader");
    theatre.cut_power(leader);
    theatre.start(leader);
    theatre.until("it is led", |theatre| theatre.leader().is_some());
    theatre.write(KEY, b"second");
    theatre.until("all are quiet", |theatre| are_quiet(theatre, &[1, 2, 3]));
    assert!(theatre.are_equal(&[1, 2, 3]));
}

/// Its process is the same to whoever counts only messages; the name of its life says that it is not.
#[test]
fn another_life_of_a_store_is_noticed_at_its_first_word() {
    let mut theatre = theatre(3, Mutant::None, &[REGION, OTHER]);
    theatre.grow_to_three();
    for store in [2, 3] {
        theatre.change_of(
            OTHER,
            &[PeerChange::Put(peer(store + 4, store, Role::Learner))],
        );
    }
    let quiet = |theatre: &Theatre, region| {
        [1, 2, 3]
            .iter()
            .all(|store| is_quiet(theatre, *store, region))
    };
    theatre.until("all are quiet", |theatre| {
        quiet(theatre, REGION) && quiet(theatre, OTHER)
    });
    theatre.cut_power(1);
    theatre.start(1);
    // The region of which it is the only voter it leads at once, and says so.
    let heard = |theatre: &Theatre| !is_quiet(theatre, 2, REGION) && !is_quiet(theatre, 3, REGION);
    for _ in 0..40 {
        theatre.pass(5);
        if heard(&theatre) {
            theatre.until("it is led", |theatre| theatre.leader().is_some());
            return;
        }
    }
    panic!("for 200 ms nobody has noticed\n{}", theatre.describe());
}

/// A quiet leader that nobody reaches any more, whose last read has renewed its lease.
fn what_a_leader_out_of_reach_answers(mutant: Mutant) -> Vec<Vec<u8>> {
    let mut theatre = quiet_three(mutant);
    let old = theatre.leader().expect("a leader");
    assert_eq!(theatre.read(KEY), Some(b"first".to_vec()));
    let (one, other) = others(old);
    assert!(
        are_quiet(&theatre, &[one, other]),
        "a read wakes no follower"
    );
    theatre.until("it is quiet again", |theatre| {
        is_quiet(theatre, old, REGION)
    });
    theatre.isolated = vec![StoreId(old)];
    theatre.until("another leads", |theatre| {
        [one, other].iter().any(|store| theatre.leads(*store))
    });
    let new = if theatre.leads(one) { one } else { other };
    let request = theatre.put(new, KEY, b"second");
    assert!(theatre.answer(request).is_ok());
    let mut told = Vec::new();
    told.extend(theatre.at_hand(old, KEY).flatten());
    let request = theatre.get(old, KEY, Freshness::Linearizable);
    if let Ok(Answer::Value(Some(value))) = theatre.answer(request) {
        told.push(value.to_vec());
    }
    theatre.until("it leads no more", |theatre| !theatre.leads(old));
    theatre.isolated.clear();
    theatre.until("all are equal", |theatre| theatre.are_equal(&[1, 2, 3]));
    told
}

#[test]
fn a_quiet_leader_out_of_reach_tells_nothing_old() {
    let told = what_a_leader_out_of_reach_answers(Mutant::None);
    assert_eq!(told, Vec::<Vec<u8>>::new());
    let broken = what_a_leader_out_of_reach_answers(Mutant::LeaseWithoutMargin);
    assert!(
        broken.contains(&b"first".to_vec()),
        "the story would see it: {broken:?}"
    );
}

#[test]
fn a_quiet_region_gains_and_loses_peers() {
    let mut theatre = theatre(4, Mutant::None, &[REGION]);
    theatre.grow_to_three();
    theatre.until("all are quiet", |theatre| are_quiet(theatre, &[1, 2, 3]));
    theatre.change(&[PeerChange::Put(peer(4, 4, Role::Learner))]);
    theatre.until("all are quiet, the learner too", |theatre| {
        are_quiet(theatre, &[1, 2, 3, 4])
    });
    theatre.change(&[PeerChange::Put(peer(4, 4, Role::Voter))]);
    theatre.write(KEY, b"second");
    theatre.until("all are quiet again", |theatre| {
        are_quiet(theatre, &[1, 2, 3, 4])
    });
    assert!(theatre.are_equal(&[1, 2, 3, 4]));
    theatre.change(&[PeerChange::Remove(peer(4, 4, Role::Voter).peer)]);
    theatre.until("it is gone", |theatre| theatre.status(4).is_none());
    theatre.until("all are quiet", |theatre| are_quiet(theatre, &[1, 2, 3]));
}

#[test]
fn leadership_of_a_quiet_region_moves_when_asked() {
    let mut theatre = quiet_three(Mutant::None);
    let (leader, region) = (theatre.leader().expect("a leader"), REGION);
    let (next, _) = others(leader);
    let to = theatre.status(next).expect("a peer").peer;
    // Whoever has just begun keeps promises that it may have made before.
    theatre.pass(1500);
    assert!(are_quiet(&theatre, &[1, 2, 3]));
    theatre.ask(leader, Body::TransferLeader { region, to });
    theatre.pass(1000);
    assert_eq!(theatre.leader(), Some(next), "asked once");
}

/// One of three hears nothing of the leader's store any more, and is heard: it asks for votes, and those who hear
/// the store refuse, though they have slept all the time.
#[test]
fn those_who_hear_the_leaders_store_refuse_whoever_does_not() {
    let mut theatre = quiet_three(Mutant::None);
    let leader = theatre.leader().expect("a leader");
    let term = theatre.status(leader).expect("a peer").term;
    let (deaf, _) = others(leader);
    pass_losing(&mut theatre, 6000, |from, to, _| {
        from == leader && to == deaf
    });
    assert!(!is_quiet(&theatre, deaf, REGION));
    let now = theatre.status(leader).expect("a peer");
    assert!(now.leads && now.term == term, "{}", theatre.describe());
    theatre.until("all are quiet again", |theatre| {
        are_quiet(theatre, &[1, 2, 3])
    });
    assert_eq!(theatre.status(leader).expect("a peer").term, term);
}

/// The store of a follower is not heard by the leader's any more: the leader wakes, and is not quiet before it
/// is heard.
#[test]
fn a_leader_wakes_when_a_followers_store_is_silent() {
    let mut theatre = quiet_three(Mutant::None);
    let leader = theatre.leader().expect("a leader");
    let (mute, _) = others(leader);
    pass_losing(&mut theatre, 3000, |from, to, _| {
        from == mute && to == leader
    });
    assert!(!is_quiet(&theatre, leader, REGION));
    assert!(theatre.leads(leader), "it has a quorum");
    theatre.until("all are quiet again", |theatre| {
        are_quiet(theatre, &[1, 2, 3])
    });
}

/// The third store's peer learns neither that it was removed nor that anybody is silent, since another region keeps the
/// two stores in touch.
fn removed_in_its_sleep() -> Theatre {
    let mut theatre = theatre(3, Mutant::None, &[REGION, OTHER]);
    theatre.grow_to_three();
    for store in [2, 3] {
        theatre.change_of(
            OTHER,
            &[PeerChange::Put(peer(store + 4, store, Role::Learner))],
        );
    }
    theatre.until("it leads here", |theatre| theatre.leader().is_some());
    let leader = theatre.leader().expect("a leader");
    if leader != 1 {
        let (region, to) = (REGION, theatre.status(1).expect("a peer").peer);
        theatre.ask(leader, Body::TransferLeader { region, to });
        theatre.until("the first leads", |theatre| theatre.leads(1));
    }
    theatre.until("all are quiet", |theatre| {
        are_quiet(theatre, &[1, 2, 3]) && is_quiet(theatre, 3, OTHER)
    });
    let gone = theatre.status(3).expect("a peer").peer;
    let region = REGION;
    let changes = [PeerChange::Remove(gone)];
    let changes = &changes[..];
    let removal = theatre.ask(1, Body::ChangePeers { region, changes });
    let of_region = |message: &PeerMessage| match message {
        PeerMessage::Raft(raft) => raft.region == REGION,
        PeerMessage::Beats(beats) => beats.beats.iter().any(|beat| beat.region == REGION),
        _ => false,
    };
    pass_losing(&mut theatre, 1000, |_, to, message| {
        to == 3 && of_region(message)
    });
    assert!(theatre.answers[&removal].is_ok());
    assert!(is_quiet(&theatre, 3, REGION), "it knows nothing");
    theatre
}

/// It says now and then to whom it relies on that it does, and is told.
#[test]
fn a_quiet_peer_that_was_removed_unheard_goes() {
    let mut theatre = removed_in_its_sleep();
    theatre.until("it is gone", |theatre| theatre.status(3).is_none());
}

/// Whoever reads there does not wait for that: its leader knows better as soon as it is asked.
#[test]
fn a_removed_peer_that_is_asked_for_a_read_goes_at_once() {
    let mut theatre = removed_in_its_sleep();
    theatre.get(3, KEY, Freshness::AnyReplica);
    theatre.pass(200);
    assert!(theatre.status(3).is_none(), "it was told");
}
