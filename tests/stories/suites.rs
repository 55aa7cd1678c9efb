//! Cases that other stores try by name, as far as no other story is the same.

use coracle::shard::door::Report;
use coracle::shard::error::Error;
use coracle::shard::ids::StoreId;
use coracle::shard::region::Role;
use coracle::shard::request::{Answer, Body, Freshness, PeerChange, Write};

use crate::theatre::{REGION, Theatre, peer};

const KEY: &[u8] = b"\x01key";

/// TinyKV's one partition: the leader's majority goes on, a minority's leader does not, and all agree in
/// the end.
#[test]
fn a_majority_writes_and_a_minority_does_not() {
    let mut theatre = Theatre::new(3);
    theatre.grow_to_three();
    theatre.write(KEY, b"first");
    theatre.until("all are equal", |theatre| theatre.are_equal(&[1, 2, 3]));
    let leader = theatre.leader().expect("a leader");
    let follower = leader % 3 + 1;
    theatre.isolated = vec![StoreId(follower)];
    theatre.write(KEY, b"second");
    assert_eq!(theatre.local(follower, KEY), Some(b"first".to_vec()));
    theatre.isolated.clear();
    theatre.until("all are equal", |theatre| theatre.are_equal(&[1, 2, 3]));
    let leader = theatre.leader().expect("a leader");
    theatre.isolated = vec![StoreId(leader)];
    let lost = theatre.put(leader, KEY, b"lost");
    theatre.until("another leads", |theatre| {
        theatre.leader().is_some_and(|other| other != leader)
    });
    theatre.write(KEY, b"third");
    theatre.isolated.clear();
    assert!(theatre.answer(lost).is_err());
    theatre.until("all are equal", |theatre| theatre.are_equal(&[1, 2, 3]));
    for store in 1..=3 {
        assert_eq!(theatre.local(store, KEY), Some(b"third".to_vec()));
    }
}

/// TinyKV's transfers: to each in turn, and writes go on.
#[test]
fn leadership_goes_to_everyone_in_turn() {
    let mut theatre = Theatre::new(3);
    theatre.grow_to_three();
    for to in [2, 3, 1, 3, 2, 1] {
        theatre.until("all are equal", |theatre| theatre.are_equal(&[1, 2, 3]));
        let leader = theatre.leader().expect("a leader");
        let info = theatre.status(to).expect("a peer").peer;
        let region = REGION;
        // It is advice: whoever has just started, or is behind, does not follow it.
        for _ in 0..20 {
            if theatre.leader() == Some(to) {
                break;
            }
            let leader = theatre.leader().unwrap_or(leader);
            theatre.ask(leader, Body::TransferLeader { region, to: info });
            theatre.pass(1500);
        }
        assert_eq!(theatre.leader(), Some(to));
        theatre.write(KEY, format!("{to}").as_bytes());
    }
}

/// TinyKV's changes of peers: a removed peer's data is gone, the same store takes a new one, and a peer that
/// leads and is removed hands over first.
#[test]
fn peers_come_and_go_with_their_data() {
    let mut theatre = Theatre::new(3);
    theatre.grow_to_three();
    theatre.write(KEY, b"first");
    for round in 0..3 {
        let leader = theatre.leader().expect("a leader");
        let goes = match round {
            // The leader itself, the last time.
            2 => leader,
            _ => leader % 3 + 1,
        };
        let name = theatre.status(goes).expect("a peer").peer;
        theatre.change(&[PeerChange::Remove(name)]);
        theatre.until("it is gone", |theatre| theatre.status(goes).is_none());
        let request = theatre.get(goes, KEY, Freshness::Local);
        let answer = theatre.answer(request);
        assert!(
            matches!(answer, Err(Error::RegionNotFound(_))),
            "{answer:?}"
        );
        theatre.write(KEY, format!("{round}").as_bytes());
        let new = 10 + round;
        theatre.change(&[PeerChange::Put(peer(new, goes, Role::Learner))]);
        theatre.change(&[PeerChange::Put(peer(new, goes, Role::Voter))]);
        theatre.until("it has everything", |theatre| theatre.are_equal(&[goes]));
        let value = theatre.local(goes, KEY);
        assert_eq!(value, Some(format!("{round}").into_bytes()));
    }
}

/// Three become one, whoever leads: the leader of two is removed as well.
#[test]
fn a_region_of_two_loses_its_leader() {
    let mut theatre = Theatre::new(2);
    theatre.until("it leads", |theatre| theatre.leads(1));
    theatre.change(&[PeerChange::Put(peer(2, 2, Role::Learner))]);
    theatre.until("it is there", |theatre| {
        theatre.status(2).is_some_and(|status| status.initialized)
    });
    theatre.change(&[PeerChange::Put(peer(2, 2, Role::Voter))]);
    theatre.write(KEY, b"value");
    let leader = theatre.leader().expect("a leader");
    let name = theatre.status(leader).expect("a peer").peer;
    theatre.change(&[PeerChange::Remove(name)]);
    let other = 3 - leader;
    theatre.until("the other leads alone", |theatre| theatre.leads(other));
    theatre.until("it is gone", |theatre| theatre.status(leader).is_none());
    assert_eq!(theatre.read(KEY), Some(b"value".to_vec()));
}

/// TiKV's commit without the leader's own disk: what a quorum has is committed, and the leader does not
/// apply it before it is durable here as well.
#[test]
fn a_quorum_commits_without_the_leaders_disk() {
    let mut theatre = Theatre::new(3);
    theatre.grow_to_three();
    theatre.write(KEY, b"first");
    theatre.until("all are equal", |theatre| theatre.are_equal(&[1, 2, 3]));
    let leader = theatre.leader().expect("a leader");
    theatre.hold_disk(leader, true);
    let request = theatre.put(leader, KEY, b"second");
    theatre.pass(100);
    assert_eq!(
        theatre.answers.get(&request),
        None,
        "it is not applied here"
    );
    assert_eq!(theatre.local(leader, KEY), Some(b"first".to_vec()));
    theatre.cut_power(leader);
    theatre.until("another leads", |theatre| theatre.leader().is_some());
    assert_eq!(theatre.read(KEY), Some(b"second".to_vec()), "two had it");
}

/// TiKV's full disk: what grows is refused and reads go on; when there is space, writes go on.
#[test]
fn a_full_disk_refuses_writes_and_serves_reads() {
    let mut theatre = Theatre::new(1);
    theatre.until("it leads", |theatre| theatre.leads(1));
    theatre.write(KEY, b"first");
    let disk = |theatre: &mut Theatre, full: bool| {
        let actor = theatre.actors.get_mut(&StoreId(1)).expect("an actor");
        let used = actor.files.disk.used_bytes();
        actor
            .files
            .disk
            .set_capacity(if full { used } else { u64::MAX });
    };
    disk(&mut theatre, true);
    let filler = vec![b'.'; 2000];
    let mut refused = false;
    for place in 0..400 {
        let request = theatre.put(1, format!("\x01f{place}").as_bytes(), &filler);
        refused |= theatre.answer(request).is_err();
        if refused {
            break;
        }
    }
    assert!(refused, "a full disk takes no end of writes");
    assert_eq!(theatre.read(KEY), Some(b"first".to_vec()));
    disk(&mut theatre, false);
    theatre.space(1, 1 << 30);
    theatre.pass(2000);
    theatre.write(KEY, b"second");
    assert_eq!(theatre.read(KEY), Some(b"second".to_vec()));
}

/// A key that is due by the leader's time is gone for whoever reads many keys, too.
#[test]
fn keys_that_are_due_are_gone_for_all_kinds_of_reads() {
    let mut theatre = Theatre::new(1);
    theatre.until("it leads", |theatre| theatre.leads(1));
    for scan in [false, true] {
        let due = theatre.time().wall + 400;
        let write = Write::Put {
            key: KEY,
            value: b"brief",
            expiry_ms: Some(due),
        };
        let request = theatre.ask(1, Body::Write(&[write]));
        assert!(theatre.answer(request).is_ok());
        theatre.until("it is due", |theatre| theatre.time().wall > due);
        let freshness = Freshness::Linearizable;
        let request = match scan {
            false => theatre.ask(
                1,
                Body::MultiGet {
                    keys: &[KEY],
                    freshness,
                },
            ),
            true => theatre.ask(
                1,
                Body::Scan {
                    start: KEY,
                    limit: b"\x01l",
                    count: 10,
                    reverse: false,
                    freshness,
                },
            ),
        };
        let answer = format!("{:?}", theatre.answer(request));
        assert!(!answer.contains("brief"), "{answer}");
        let clock = theatre.status(1).expect("it is there").clock;
        assert!(clock >= due, "the region knows how late it is");
    }
}

/// A get that has to wait for a block is no exception: the key is due, and gone for everyone from then on.
#[test]
fn a_key_that_is_due_is_gone_though_a_block_comes_first() {
    let mut theatre = Theatre::new(1);
    theatre.until("it leads", |theatre| theatre.leads(1));
    let due = theatre.time().wall + 20_000;
    let write = Write::Put {
        key: KEY,
        value: b"brief",
        expiry_ms: Some(due),
    };
    let request = theatre.ask(1, Body::Write(&[write]));
    assert!(theatre.answer(request).is_ok());
    for place in 0..40 {
        theatre.write(format!("\x01z{place}").as_bytes(), &[b'.'; 1000]);
    }
    theatre.pass(500);
    theatre.cut_power(1);
    theatre.start(1);
    theatre.until("it leads again", |theatre| theatre.leads(1));
    theatre.pass(500);
    assert!(theatre.status(1).expect("it is there").clock < due);
    theatre.until("it is due", |theatre| theatre.time().wall > due);
    theatre.hold_disk(1, true);
    let request = theatre.get(1, KEY, Freshness::Linearizable);
    theatre.pass(50);
    assert!(theatre.is_store_waiting(1), "a block is read for it");
    theatre.hold_disk(1, false);
    theatre.finish_disk(1);
    assert_eq!(theatre.answer(request), Ok(Answer::Value(None)));
    let clock = theatre.status(1).expect("it is there").clock;
    assert!(clock >= due, "the region knows how late it is");
}

/// A leader whose clock is far ahead moves the region's clock, which nothing takes back: whoever applies
/// that says so.
#[test]
fn a_clock_that_is_far_ahead_is_reported() {
    let mut theatre = Theatre::new(1);
    theatre.until("it leads", |theatre| theatre.leads(1));
    theatre.write(KEY, b"first");
    theatre.pass(60_000);
    theatre.write(KEY, b"a minute later");
    assert_eq!(theatre.reports, [], "a region may be idle");
    theatre.ahead_ms = theatre.plan.limits.clock_ahead_ms + 1000;
    theatre.write(KEY, b"second");
    let reports = &theatre.reports[..];
    let ahead =
        |report: &Report| matches!(report, Report::ClockAhead { region, .. } if *region == REGION);
    assert!(reports.iter().any(ahead), "{reports:?}");
}

/// A second store is about to be sent a snapshot of some 100 KiB, of which so many bytes may leave in a second.
fn snapshot_begins(bytes_per_second: u64) -> Theatre {
    let mut theatre = Theatre::new(0);
    theatre.plan.limits.snapshot_bytes_per_second = bytes_per_second;
    (1..=2).for_each(|store| theatre.enter(store));
    theatre.until("it leads", |theatre| theatre.leads(1));
    for place in 0..100_u8 {
        // Nothing that could be written shorter.
        let value: Vec<u8> = (0..1000_u32)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ place)
            .collect();
        theatre.write(&[1, place], &value);
    }
    theatre.change(&[PeerChange::Put(peer(2, 2, Role::Learner))]);
    theatre
}

/// How many milliseconds it takes.
fn snapshot_ms(bytes_per_second: u64) -> u64 {
    let mut theatre = snapshot_begins(bytes_per_second);
    let begun = theatre.time().wall;
    theatre.until("the learner has a range", |theatre| {
        theatre.status(2).is_some_and(|status| status.initialized)
    });
    theatre.time().wall - begun
}

/// A shard sends snapshots no faster than it may, and is not held up by that.
#[test]
fn a_snapshot_leaves_at_its_rate() {
    let (free, slow) = (snapshot_ms(0), snapshot_ms(60_000));
    assert!(free < 1000, "{free} ms");
    assert!((1500..8000).contains(&slow), "{slow} ms");
}

/// A snapshot that stops in the middle is given up at both ends after a while: its place is free, and the tables
/// that have come are removed.
#[test]
fn a_snapshot_that_stops_leaves_nothing_behind() {
    let mut theatre = snapshot_begins(30_000);
    let tables = |theatre: &Theatre| {
        let names = theatre.actors[&StoreId(2)].files.disk.names();
        let is_table = |name: &&String| name.starts_with("tables/");
        names.iter().filter(is_table).count()
    };
    theatre.until("some of it has come", |theatre| tables(theatre) > 0);
    assert!(theatre.describe().contains("receiving [RegionId(2)]"));
    assert!(theatre.describe().contains("sending 1"));
    theatre.isolated = vec![StoreId(2)];
    theatre.until("both have given it up", |theatre| {
        let told = theatre.describe();
        !told.contains("receiving [RegionId(2)]") && !told.contains("sending 1")
    });
    theatre.until("its tables are gone", |theatre| tables(theatre) == 0);
    theatre.isolated.clear();
    theatre.until("another one comes", |theatre| theatre.are_equal(&[2]));
}

/// Whoever is removed while a snapshot is on its way to it gives its place up at once: where only one may leave at a
/// time, the next learner would come too late as well, and be removed, and so on.
#[test]
fn a_snapshot_for_nobody_makes_room_for_the_next() {
    let mut theatre = snapshot_begins(30_000);
    theatre.enter(3);
    theatre.until("it has begun", |theatre| {
        theatre.describe().contains("receiving [RegionId(2)]")
    });
    theatre.isolated = vec![StoreId(2)];
    let removed = theatre.time().wall;
    theatre.change(&[PeerChange::Remove(coracle::shard::ids::PeerId(2))]);
    theatre.change(&[PeerChange::Put(peer(3, 3, Role::Learner))]);
    theatre.until("the next one is being sent", |theatre| {
        let third = theatre.actors[&StoreId(3)].shard.as_ref();
        third.is_some_and(|shard| shard.describe().contains("receiving [RegionId(2)]"))
    });
    let waited = theatre.time().wall - removed;
    assert!(
        waited < 5000,
        "{waited} ms, half of what a silent receiver is given"
    );
}
