//! Stories of disks that give back other bytes than they were given, or none.

use coracle::shard::door::Report;
use coracle::shard::error::Error;
use coracle::shard::ids::{PeerId, StoreId};
use coracle::shard::region::Role;
use coracle::shard::request::{Freshness, PeerChange};

use crate::theatre::{REGION, Theatre, peer};

/// So much that tables are written.
fn fill(theatre: &mut Theatre) {
    for place in 0..40 {
        theatre.write(format!("\x01k{place:02}").as_bytes(), &[b'.'; 600]);
    }
    theatre.write(b"\x01counter", b"1");
}

/// Every byte of a store's tables is another one, behind what an opening looks at.
fn damage_tables(theatre: &mut Theatre, store: u64) {
    let disk = &mut theatre
        .actors
        .get_mut(&StoreId(store))
        .expect("an actor")
        .files
        .disk;
    for name in disk
        .names()
        .into_iter()
        .filter(|name| name.starts_with("tables/"))
    {
        // The first block of every table holds records.
        for offset in 0..1024 {
            disk.damage(&name, offset, |byte| !byte);
        }
    }
}

fn is_given_up(theatre: &Theatre) -> bool {
    let mut reports = theatre.reports.iter();
    reports.any(|report| matches!(report, Report::Quarantined { region, .. } if *region == REGION))
}

/// A replica that meets a damaged block while it applies gives its region up, and skips nothing. The others
/// serve; it is removed, goes, and another one under a new name takes its place.
#[test]
fn a_replica_whose_data_is_damaged_is_replaced_under_a_new_name() {
    let mut theatre = Theatre::new(3);
    theatre.grow_to_three();
    fill(&mut theatre);
    theatre.until("all are equal", |theatre| theatre.are_equal(&[1, 2, 3]));
    let leader = theatre.leader().expect("a leader");
    let hurt = leader % 3 + 1;
    // What was applied lies in tables only, and nothing of it in memory.
    theatre.cut_power(hurt);
    damage_tables(&mut theatre, hurt);
    theatre.start(hurt);
    theatre.pass(300);
    for place in 0..40 {
        // Each must be read where it is applied.
        let leader = theatre.leader().expect("a leader");
        theatre.add(leader, format!("\x01k{place:02}").as_bytes(), 1);
    }
    theatre.pass(2000);
    assert!(
        is_given_up(&theatre),
        "{:?}\n{}",
        theatre.reports,
        theatre.describe()
    );
    let request = theatre.get(hurt, b"\x01counter", Freshness::Local);
    let answer = theatre.answer(request);
    assert!(
        matches!(answer, Err(Error::Corrupt(_))),
        "it was {answer:?}"
    );
    // What the others can do as well is sent on to them.
    for request in [
        theatre.get(hurt, b"\x01counter", Freshness::Linearizable),
        theatre.put(hurt, b"\x01counter", b"3"),
    ] {
        let answer = theatre.answer(request);
        assert!(
            matches!(answer, Err(Error::RegionMoved(_))),
            "it was {answer:?}"
        );
    }
    theatre.write(b"\x01counter", b"2");
    theatre.change(&[PeerChange::Remove(PeerId(hurt))]);
    theatre.until("it is gone", |theatre| theatre.status(hurt).is_none());
    theatre.change(&[PeerChange::Put(peer(9, hurt, Role::Learner))]);
    theatre.change(&[PeerChange::Put(peer(9, hurt, Role::Voter))]);
    theatre.until("the new one is equal", |theatre| theatre.are_equal(&[hurt]));
    assert_eq!(theatre.local(hurt, b"\x01counter"), Some(b"2".to_vec()));
}

/// A disk that fails now and then is asked again: nothing is given up for that.
#[test]
fn a_read_that_fails_once_is_tried_again() {
    let mut theatre = Theatre::new(1);
    theatre.until("it leads", |theatre| theatre.leads(1));
    fill(&mut theatre);
    theatre.cut_power(1);
    theatre.start(1);
    theatre.until("it leads again", |theatre| theatre.leads(1));
    let files = |theatre: &mut Theatre, per_mille| {
        let actor = theatre.actors.get_mut(&StoreId(1)).expect("an actor");
        actor.files.read_errors = per_mille;
    };
    let mut answered = 0;
    for place in 0..40 {
        files(&mut theatre, 100);
        let request = theatre.add(1, format!("\x01n{place:02}").as_bytes(), 1);
        theatre.pass(20);
        files(&mut theatre, 0);
        answered += u32::from(theatre.answer(request).is_ok());
    }
    assert_eq!(answered, 40);
    assert!(!is_given_up(&theatre), "{:?}", theatre.reports);
}
