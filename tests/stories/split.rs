//! Regions that are split: what must be there before, at every moment in between, and afterwards.

use coracle::shard::error::Error;
use coracle::shard::ids::{PeerId, RegionId, StoreId};
use coracle::shard::message::PeerMessage;
use coracle::shard::mutant::Mutant;
use coracle::shard::region::{Region, Role};
use coracle::shard::request::{Answer, Body, Freshness, PeerChange, Request, Response, Write};

use crate::theatre::{REGION, Theatre, peer};

const CHILD: RegionId = RegionId(100);
const LEFT: &[u8] = b"\x01a";
const MIDDLE: &[u8] = b"\x01m";
const RIGHT: &[u8] = b"\x01x";

/// Asks the leader to split the region in its middle.
fn split(theatre: &mut Theatre) -> Response {
    let leader = theatre.leader().expect("a leader");
    let body = Body::Split {
        region: REGION,
        keys: &[MIDDLE],
        ids: Some(CHILD.0),
    };
    let request = theatre.ask(leader, body);
    theatre.answer(request)
}

/// The store that leads the new region.
fn child_leader(theatre: &Theatre) -> Option<u64> {
    let leads = |store: &u64| {
        theatre
            .status_of(*store, CHILD)
            .is_some_and(|status| status.leads)
    };
    (1..=3).find(leads)
}

fn region_on(theatre: &Theatre, store: u64, region: RegionId) -> Option<Region> {
    let status = theatre
        .status_of(store, region)
        .filter(|status| status.initialized);
    status.map(|status| status.region)
}

/// What a key holds, by the leader of the region that holds it.
fn read(theatre: &mut Theatre, key: &[u8]) -> Option<Vec<u8>> {
    for _ in 0..400 {
        for store in 1..=theatre.actors.len() as u64 {
            if theatre.actors[&StoreId(store)].shard.is_none() {
                continue;
            }
            let request = theatre.get(store, key, Freshness::Linearizable);
            if let Ok(Answer::Value(value)) = theatre.answer(request) {
                return value.map(|value| value.to_vec());
            }
        }
        theatre.pass(50);
    }
    panic!("nothing is ever read\n{}", theatre.describe());
}

/// Time passes, and only such messages arrive.
fn pass_with(
    theatre: &mut Theatre,
    milliseconds: u64,
    arrives: impl Fn(u64, &PeerMessage) -> bool,
) {
    theatre.holds_post = true;
    for _ in 0..milliseconds / 5 {
        theatre.pass(5);
        for (from, to, message) in std::mem::take(&mut theatre.post) {
            if arrives(to.0, &message) {
                theatre.deliver(from, to, message);
            }
        }
    }
    theatre.holds_post = false;
}

/// TinyKV's one split: a store that is away meanwhile has both regions in the end; whoever takes the old
/// region for what it was is told of both; nobody waits for an election.
#[test]
fn a_region_becomes_two_without_waiting() {
    let mut theatre = Theatre::new(3);
    theatre.grow_to_three();
    theatre.write(LEFT, b"left");
    theatre.write(RIGHT, b"right");
    theatre.until("all are equal", |theatre| theatre.are_equal(&[1, 2, 3]));
    let leader = theatre.leader().expect("a leader");
    let away = leader % 3 + 1;
    let before = region_on(&theatre, leader, REGION).expect("a region");
    theatre.isolated = vec![StoreId(away)];
    assert_eq!(split(&mut theatre), Ok(Answer::Done));
    theatre.pass(100);
    assert_eq!(
        child_leader(&theatre),
        Some(leader),
        "{}",
        theatre.describe()
    );
    let (left, right) = (
        region_on(&theatre, leader, REGION).expect("the left part"),
        region_on(&theatre, leader, CHILD).expect("the right part"),
    );
    assert_eq!(left.epoch.version, before.epoch.version + 1);
    assert_eq!(right.epoch, left.epoch);
    assert_eq!(left.range.start, before.range.start);
    assert_eq!(left.range.limit, MIDDLE);
    assert_eq!(
        (&right.range.start[..], &right.range.limit),
        (MIDDLE, &before.range.limit)
    );
    let get = |key| Body::Get {
        key,
        freshness: Freshness::Linearizable,
    };
    let mut ask = |region: &Region, body: Body<'_>| {
        let request = theatre.ask_with(
            leader,
            Request {
                region: Some((region.id, region.epoch)),
                body,
            },
        );
        theatre.answer(request)
    };
    let both = vec![left.clone(), right.clone()];
    assert_eq!(
        ask(&before, get(RIGHT)),
        Err(Error::EpochNotMatch { current: both })
    );
    let outside = ask(&left, get(RIGHT));
    assert!(
        matches!(outside, Err(Error::KeyNotInRegion { .. })),
        "{outside:?}"
    );
    let scan = Body::Scan {
        start: LEFT,
        limit: RIGHT,
        count: 10,
        reverse: false,
        freshness: Freshness::Linearizable,
    };
    let over = ask(&left, scan);
    assert!(
        matches!(over, Err(Error::KeyNotInRegion { .. })),
        "{over:?}"
    );
    let found = ask(&right, get(RIGHT));
    assert_eq!(found, Ok(Answer::Value(Some(b"right".as_slice().into()))));
    theatre.isolated.clear();
    theatre.until("whoever was away has both", |theatre| {
        region_on(theatre, away, CHILD).is_some() && theatre.are_equal(&[1, 2, 3])
    });
    for store in 1..=3 {
        theatre.cut_power(store);
    }
    for store in 1..=3 {
        theatre.start(store);
    }
    assert_eq!(read(&mut theatre, LEFT), Some(b"left".to_vec()));
    assert_eq!(read(&mut theatre, RIGHT), Some(b"right".to_vec()));
}

/// What cannot be is refused, and nothing changes.
#[test]
fn what_cannot_be_split_stays_as_it_is() {
    let mut theatre = Theatre::new(1);
    theatre.until("it leads", |theatre| theatre.leads(1));
    let before = theatre.status(1).expect("a region").region;
    let ask = |theatre: &mut Theatre, keys: &[&[u8]], ids| {
        let body = Body::Split {
            region: REGION,
            keys,
            ids,
        };
        let request = theatre.ask(1, body);
        theatre.answer(request)
    };
    for keys in [&[&b"\x01"[..]][..], &[b"\x02"], &[RIGHT, LEFT], &[]] {
        assert!(ask(&mut theatre, keys, Some(100)).is_err(), "{keys:?}");
    }
    let unplaced = ask(&mut theatre, &[MIDDLE], None);
    assert!(
        matches!(unplaced, Err(Error::BadRequest(_))),
        "{unplaced:?}"
    );
    let taken = ask(&mut theatre, &[MIDDLE], Some(REGION.0));
    assert!(
        matches!(taken, Err(Error::EpochNotMatch { .. })),
        "{taken:?}"
    );
    assert_eq!(theatre.status(1).expect("a region").region, before);
    assert_eq!(
        ask(&mut theatre, &[LEFT, MIDDLE, RIGHT], Some(100)),
        Ok(Answer::Done)
    );
    let after = theatre.status(1).expect("a region").region;
    assert_eq!(after.epoch.version, before.epoch.version + 3);
}

/// Writes that come while a region is being split are not done, or done once; those that wait are told
/// of the new regions.
#[test]
fn writes_that_meet_a_split_are_done_once_or_not_at_all() {
    let mut theatre = Theatre::new(1);
    theatre.until("it leads", |theatre| theatre.leads(1));
    let mut asked = vec![theatre.add(1, RIGHT, 1), theatre.add(1, LEFT, 1)];
    let body = Body::Split {
        region: REGION,
        keys: &[MIDDLE],
        ids: Some(CHILD.0),
    };
    let request = theatre.ask(1, body);
    for _ in 0..40 {
        theatre.pass(5);
        asked.push(theatre.add(1, RIGHT, 1));
        asked.push(theatre.add(1, LEFT, 1));
    }
    assert_eq!(theatre.answer(request), Ok(Answer::Done));
    let mut done = [0, 0];
    for (place, request) in asked.into_iter().enumerate() {
        match theatre.answer(request) {
            Ok(_) => done[place % 2] += 1,
            Err(
                Error::EpochNotMatch { .. }
                | Error::NotLeader { .. }
                | Error::ServerIsBusy(_)
                | Error::KeyNotInRegion { .. },
            ) => {}
            Err(error) => panic!("{error}"),
        }
    }
    for (place, key) in [RIGHT, LEFT].into_iter().enumerate() {
        let counted = read(&mut theatre, key).expect("a counter");
        assert_eq!(counted, done[place].to_string().into_bytes());
    }
}

/// The power goes at some moment of a split: whether every key has a region afterwards, and what was
/// acknowledged last or something later.
fn is_sound_after_a_power_cut(moment: u64, mutant: Mutant) -> bool {
    let mut theatre = Theatre::breaking(1, mutant);
    theatre.until("it leads", |theatre| theatre.leads(1));
    let body = Body::Split {
        region: REGION,
        keys: &[MIDDLE],
        ids: Some(CHILD.0),
    };
    theatre.ask(1, body);
    theatre.hold_disk(1, true);
    let mut asked = Vec::new();
    for step in 0..moment {
        // Some come between the rotation that is early and the one that counts.
        for key in [LEFT, RIGHT] {
            asked.push((key, step, theatre.put(1, key, step.to_string().as_bytes())));
        }
        theatre.pass(5);
        match step % 2 {
            0 => theatre.finish_store(1),
            _ => theatre.finish_disk(1),
        }
    }
    theatre.pass(5);
    theatre.cut_power(1);
    theatre.hold_disk(1, false);
    theatre.start(1);
    theatre.until("the shard is open", |theatre| {
        let shard = theatre.actors[&StoreId(1)].shard.as_ref();
        shard.is_some_and(|shard| shard.is_open())
    });
    theatre.pass(3000);
    [LEFT, RIGHT].iter().all(|key| {
        let shard = theatre.actors[&StoreId(1)].shard.as_ref().expect("a shard");
        if shard.region_at(key).is_none() {
            return false;
        }
        let acknowledged = |(of, step, request): &(&[u8], u64, _)| {
            (of == key && matches!(theatre.answers.get(request), Some(Ok(_)))).then_some(*step)
        };
        let least = asked.iter().filter_map(acknowledged).max();
        let found = read(&mut theatre, key).map(|value| {
            let text = String::from_utf8(value).expect("a number");
            text.parse::<u64>().expect("a number")
        });
        found >= least
    })
}

#[test]
fn the_power_may_go_at_any_moment_of_a_split() {
    for moment in 0..60 {
        let sound = is_sound_after_a_power_cut(moment, Mutant::None);
        assert!(sound, "moment {moment}");
    }
    for mutant in [Mutant::NoCheckpoint, Mutant::ChildApart] {
        let broken = (0..60).any(|moment| !is_sound_after_a_power_cut(moment, mutant));
        assert!(broken, "the story would see {mutant:?}");
    }
}

/// A learner is added, and hears of the new region before its snapshot of the old one, which is as of a
/// moment before the split, comes in.
fn a_child_before_its_parent(mutant: Mutant) -> Theatre {
    let mut theatre = Theatre::breaking(3, mutant);
    theatre.until("the first store leads", |theatre| theatre.leads(1));
    theatre.change(&[PeerChange::Put(peer(2, 2, Role::Learner))]);
    theatre.until("the learner has a range", |theatre| {
        theatre.status(2).is_some_and(|status| status.initialized)
    });
    theatre.change(&[PeerChange::Put(peer(2, 2, Role::Voter))]);
    theatre.write(LEFT, b"left");
    theatre.write(RIGHT, b"right");
    let learner = [PeerChange::Put(peer(3, 3, Role::Learner))];
    let body = Body::ChangePeers {
        region: REGION,
        changes: &learner,
    };
    let leader = theatre.leader().expect("a leader");
    theatre.ask(leader, body);
    pass_with(&mut theatre, 1000, offers_are_lost);
    assert!(theatre.status(3).is_some_and(|status| !status.initialized));
    let body = Body::Split {
        region: REGION,
        keys: &[MIDDLE],
        ids: Some(CHILD.0),
    };
    theatre.ask(leader, body);
    pass_with(&mut theatre, 1000, offers_are_lost);
    let here = theatre.status_of(3, CHILD);
    assert!(
        here.is_some_and(|status| !status.initialized),
        "{}",
        theatre.describe()
    );
    theatre
}

fn offers_are_lost(to: u64, message: &PeerMessage) -> bool {
    to != 3 || !matches!(message, PeerMessage::SnapshotOffer { .. })
}

fn is_about_the_child(message: &PeerMessage) -> bool {
    match message {
        PeerMessage::Raft(raft) => raft.region == CHILD,
        PeerMessage::SnapshotOffer { region, .. } => region.id == CHILD,
        _ => false,
    }
}

/// A peer of the new region is gone from a store before the split is applied there.
fn peer_after_its_tombstone(mutant: Mutant) -> Option<PeerId> {
    let mut theatre = a_child_before_its_parent(mutant);
    let leader = child_leader(&theatre).expect("a leader");
    let goes = [PeerChange::Remove(PeerId(CHILD.0 + 3))];
    let body = Body::ChangePeers {
        region: CHILD,
        changes: &goes,
    };
    theatre.ask(leader, body);
    for _ in 0..9 {
        pass_with(&mut theatre, 1000, offers_are_lost);
        if theatre.status_of(3, CHILD).is_none() {
            break;
        }
    }
    assert_eq!(
        theatre.status_of(3, CHILD),
        None,
        "it is told that it is gone"
    );
    theatre.until("the old region is split there", |theatre| {
        region_on(theatre, 3, REGION).is_some_and(|region| region.epoch.version == 2)
    });
    theatre.status_of(3, CHILD).map(|status| status.peer)
}

#[test]
fn a_peer_that_is_gone_does_not_come_back_by_a_split() {
    assert_eq!(peer_after_its_tombstone(Mutant::None), None);
    let risen = peer_after_its_tombstone(Mutant::ResurrectChild);
    assert_eq!(risen, Some(PeerId(CHILD.0 + 3)), "the story would see it");
}

/// A peer without content has promised a term; the split that gives it content must not take that back.
#[test]
fn a_promise_from_before_a_split_is_kept() {
    let mut theatre = a_child_before_its_parent(Mutant::None);
    // Until here it has a term above the one that regions begin with.
    let leader = child_leader(&theatre).expect("a leader");
    let other = 3 - leader;
    let body = Body::TransferLeader {
        region: CHILD,
        to: PeerId(CHILD.0 + other),
    };
    theatre.ask(leader, body);
    pass_with(&mut theatre, 2000, offers_are_lost);
    let promised = theatre.status_of(3, CHILD).expect("a peer").term;
    assert_eq!(
        theatre.status_of(other, CHILD).map(|status| status.term),
        Some(promised)
    );
    for _ in 0..1000 {
        pass_with(&mut theatre, 20, |to, message| {
            to != 3 || !is_about_the_child(message)
        });
        if region_on(&theatre, 3, CHILD).is_some() {
            break;
        }
    }
    let status = theatre.status_of(3, CHILD).expect("a peer");
    assert!(status.initialized && status.term >= promised, "{status:?}");
    theatre.cut_power(3);
    theatre.isolated = vec![StoreId(3)];
    theatre.start(3);
    theatre.until("it is there again", |theatre| {
        region_on(theatre, 3, CHILD).is_some()
    });
    let status = theatre.status_of(3, CHILD).expect("a peer");
    assert!(status.term >= promised, "{status:?}");
}

/// Values of a region's part are where they were: also what was written just before, and is in no table.
#[test]
fn a_snapshot_of_a_part_brings_only_that_part() {
    let mut theatre = Theatre::new(3);
    theatre.grow_to_three();
    for round in 0..30 {
        let (left, right) = (format!("\u{1}a{round:02}"), format!("\u{1}x{round:02}"));
        theatre.write(left.as_bytes(), b"left");
        theatre.write(right.as_bytes(), b"right");
    }
    let leader = theatre.leader().expect("a leader");
    let away = leader % 3 + 1;
    theatre.isolated = vec![StoreId(away)];
    assert_eq!(split(&mut theatre), Ok(Answer::Done));
    // The log is cut off behind the split: whoever was away needs snapshots of both.
    for round in 0..200 {
        let value = format!("{round}").into_bytes();
        theatre.write(LEFT, &value);
        theatre.until("the new region is led", |theatre| {
            child_leader(theatre).is_some()
        });
        let write = Write::Put {
            key: RIGHT,
            value: &value,
            expiry_ms: None,
        };
        let there = child_leader(&theatre).expect("a leader");
        let request = theatre.ask(there, Body::Write(&[write]));
        assert!(theatre.answer(request).is_ok());
    }
    theatre.isolated.clear();
    theatre.until("whoever was away has both", |theatre| {
        let there = child_leader(theatre).and_then(|store| theatre.status_of(store, CHILD));
        let here = theatre.status_of(away, CHILD);
        let equal = there
            .zip(here)
            .is_some_and(|(there, here)| here.initialized && here.applied == there.last);
        equal && theatre.are_equal(&[1, 2, 3])
    });
    for (key, value) in [(LEFT, "199"), (RIGHT, "199")] {
        assert_eq!(theatre.local(away, key), Some(value.as_bytes().to_vec()));
    }
    for round in 0..30 {
        let (left, right) = (format!("\u{1}a{round:02}"), format!("\u{1}x{round:02}"));
        assert_eq!(theatre.local(away, left.as_bytes()), Some(b"left".to_vec()));
        assert_eq!(
            theatre.local(away, right.as_bytes()),
            Some(b"right".to_vec())
        );
    }
}

/// A store where a region became smaller by a snapshot keeps what the other part held there. Nobody is told of it:
/// not while no region holds it, and not when that part comes back, in which it has been deleted.
#[test]
fn what_a_smaller_region_leaves_behind_is_told_to_nobody() {
    let mut theatre = Theatre::new(3);
    theatre.grow_to_three();
    let keys: Vec<String> = (0..30).map(|place| format!("\u{1}x{place:02}")).collect();
    for key in &keys {
        theatre.write(key.as_bytes(), b"old");
    }
    theatre.until("all are equal", |theatre| theatre.are_equal(&[1, 2, 3]));
    let leader = theatre.leader().expect("a leader");
    let away = leader % 3 + 1;
    theatre.isolated = vec![StoreId(away)];
    assert_eq!(split(&mut theatre), Ok(Answer::Done));
    theatre.until("the new region is led", |theatre| {
        child_leader(theatre).is_some()
    });
    let there = child_leader(&theatre).expect("a leader");
    let child = region_on(&theatre, there, CHILD).expect("a region");
    let stays_away = child.on_store(StoreId(away)).expect("a peer").peer;
    theatre.change_of(CHILD, &[PeerChange::Remove(stays_away)]);
    for key in &keys {
        let there = child_leader(&theatre).expect("a leader");
        let request = theatre.ask(
            there,
            Body::Write(&[Write::Delete {
                key: key.as_bytes(),
            }]),
        );
        assert!(theatre.answer(request).is_ok());
    }
    // The log is cut off behind the split.
    for round in 0..200 {
        theatre.write(LEFT, format!("{round}").as_bytes());
    }
    theatre.isolated.clear();
    theatre.until("the region is smaller everywhere", |theatre| {
        let here = region_on(theatre, away, REGION);
        here.is_some_and(|region| region.range.limit == MIDDLE) && theatre.are_equal(&[1, 2, 3])
    });
    assert_eq!(region_on(&theatre, away, CHILD), None);
    let request = theatre.get(away, keys[0].as_bytes(), Freshness::Local);
    let told = theatre.answer(request);
    assert!(told.is_err(), "{told:?}");
    let learner = [PeerChange::Put(peer(200, away, Role::Learner))];
    theatre.change_of(CHILD, &learner);
    theatre.until("the other part is there again", |theatre| {
        let leads = child_leader(theatre).and_then(|store| theatre.status_of(store, CHILD));
        let here = theatre.status_of(away, CHILD);
        leads
            .zip(here)
            .is_some_and(|(leads, here)| here.initialized && here.applied == leads.last)
    });
    for key in &keys {
        assert_eq!(theatre.local(away, key.as_bytes()), None, "{key:?}");
    }
}
