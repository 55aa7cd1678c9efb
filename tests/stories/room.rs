//! Stories of a log without room: what it is told makes room, and what it writes anew.

use coracle::shard::door::Report;
use coracle::shard::error::Error;
use coracle::shard::ids::{RegionId, StoreId};
use coracle::shard::message::PeerMessage;
use coracle::shard::mutant::Mutant;
use coracle::shard::region::Role;
use coracle::shard::request::PeerChange;
use raft::eraftpb::MessageType;

use crate::theatre::{REGION, Theatre, peer};

const KEY: &[u8] = b"\x01key";

/// Fills the second store's log.
const OTHER: RegionId = RegionId(3);

/// Both stores vote in one region, which the first one leads; the other region is on the second store alone.
fn two_regions(mutant: Mutant) -> Theatre {
    let mut theatre = Theatre::of_regions(2, mutant, &[REGION, OTHER]);
    for region in [REGION, OTHER] {
        theatre.until("it leads", |theatre| theatre.leader_of(region) == Some(1));
        theatre.change_of(region, &[PeerChange::Put(peer(20, 2, Role::Learner))]);
        theatre.until("it is there", |theatre| {
            let status = theatre.status_of(2, region);
            status.is_some_and(|status| status.initialized)
        });
        theatre.change_of(region, &[PeerChange::Put(peer(20, 2, Role::Voter))]);
    }
    let first = theatre.status_of(1, OTHER).expect("it is there").peer;
    theatre.change_of(OTHER, &[PeerChange::Remove(first)]);
    theatre.until("it leads alone", |theatre| {
        theatre.leader_of(OTHER) == Some(2) && theatre.status_of(1, OTHER).is_none()
    });
    assert_eq!(theatre.leader(), Some(1));
    theatre.write(KEY, b"first");
    theatre.until("both are equal", |theatre| theatre.are_equal(&[1, 2]));
    theatre
}

/// The second store gets an entry and never hears that it is committed; the first one may hear that the entry
/// is there, and may go on to the next, which the second one does not get.
fn leave_behind(theatre: &mut Theatre, (heard, ahead): (bool, bool)) {
    theatre.holds_post = true;
    theatre.put(1, KEY, b"second");
    theatre.pass(5);
    for (from, to, message) in std::mem::take(&mut theatre.post) {
        theatre.deliver(from, to, message);
    }
    theatre.pass(10);
    for (from, to, message) in std::mem::take(&mut theatre.post) {
        if heard {
            theatre.deliver(from, to, message);
        }
    }
    if ahead {
        theatre.put(1, KEY, b"third");
    }
    theatre.pass(10);
    theatre.post.clear();
    theatre.isolated = vec![StoreId(1)];
    theatre.holds_post = false;
    let (first, second) = (theatre.status(1), theatre.status(2));
    let (first, second) = (first.expect("a peer"), second.expect("a peer"));
    assert_eq!(first.last.0, second.last.0 + u64::from(ahead));
    assert_eq!(second.committed.0 + 1, second.last.0);
    assert_eq!(first.committed == second.last, heard);
}

/// The second store gets so many writes of its other region, each of a sixteenth of a segment. Whether they
/// fill its log.
fn fills(theatre: &mut Theatre, writes: usize) -> bool {
    let filler = vec![b'.'; 8000];
    (0..writes).any(|_| {
        let request = theatre.put(2, b"\x02fill", &filler);
        matches!(
            theatre.answer(request),
            Err(Error::ServerIsBusy("the log is full"))
        )
    })
}

/// The second store's log is filled, and restarts take what is left but the reserve.
fn fill(theatre: &mut Theatre) {
    assert!(
        fills(theatre, 1000),
        "the entry holds the log, and the log has a bound"
    );
    for _ in 0..4 {
        theatre.cut_power(2);
        theatre.start(2);
        theatre.until("it leads", |theatre| theatre.leader_of(OTHER) == Some(2));
    }
}

/// The first store leads again, in another term, and what it says first is lost, so that commands follow in the same message.
fn lead_again(theatre: &mut Theatre) {
    theatre.until("it leads no more", |theatre| !theatre.leads(1));
    theatre.isolated.clear();
    theatre.holds_post = true;
    let leads = (0..2000).any(|_| {
        theatre.pass(5);
        for (from, to, message) in std::mem::take(&mut theatre.post) {
            let kind = match &message {
                PeerMessage::Raft(raft) => raft.message.get_msg_type(),
                _ => MessageType::MsgHup,
            };
            let asks = matches!(
                kind,
                MessageType::MsgRequestPreVote | MessageType::MsgRequestVote
            );
            // Where both have the same entries, the second store could lead as well.
            if !(from == StoreId(2) && asks || kind == MessageType::MsgAppend) {
                theatre.deliver(from, to, message);
            }
        }
        theatre.leads(1)
    });
    assert!(leads, "{}", theatre.describe());
    theatre.put(1, KEY, b"fourth");
    theatre.pass(5);
    theatre.post.clear();
    theatre.holds_post = false;
}

/// An entry that is not known to be committed holds a full log, where it is not written anew. The leader's next message says that it is, or
/// brings what commits it, and has commands as well, for which there is no room: the rest of it counts.
#[test]
fn a_full_log_hears_what_lets_it_go() {
    for (heard, ahead) in [(true, true), (false, false), (false, true)] {
        let mut theatre = two_regions(Mutant::KeepStuck);
        leave_behind(&mut theatre, (heard, ahead));
        fill(&mut theatre);
        lead_again(&mut theatre);
        let what = format!("all of it has room: {heard}, {ahead}");
        theatre.until(&what, |theatre| theatre.are_equal(&[1, 2]));
        theatre.write(KEY, b"fifth");
        assert_eq!(theatre.read(KEY), Some(b"fifth".to_vec()));
        let written = (0..100).any(|_| {
            theatre.pass(50);
            let request = theatre.put(2, b"\x02fill", b"once more");
            theatre.answer(request).is_ok()
        });
        assert!(written, "{}", theatre.describe());
    }
}

/// A region without a quorum has an entry that it can neither apply nor give up. The others of its store go on
/// all the same, around the log many times and over restarts, and the entry is there when its quorum is.
#[test]
fn an_entry_without_a_quorum_takes_the_log_from_nobody() {
    let tell = |mutant: Mutant| {
        let mut theatre = two_regions(mutant);
        leave_behind(&mut theatre, (false, false));
        for _ in 0..6 {
            if fills(&mut theatre, 600) {
                return Err(theatre.describe());
            }
            theatre.cut_power(2);
            theatre.start(2);
            theatre.until("it leads", |theatre| theatre.leader_of(OTHER) == Some(2));
        }
        let first = theatre.status(2).expect("a peer");
        assert_eq!(first.committed.0 + 1, first.last.0, "it is still there");
        theatre.isolated.clear();
        theatre.until("both are equal", |theatre| theatre.are_equal(&[1, 2]));
        assert_eq!(theatre.read(KEY), Some(b"second".to_vec()));
        Ok(())
    };
    tell(Mutant::None).expect("the log has room");
    let full = tell(Mutant::KeepStuck).expect_err("one entry holds the whole log");
    assert!(
        full.contains("held by [Holder { region: RegionId(2)"),
        "{full}"
    );
}

/// A disk refuses what a replica reads while it applies, and the replica gives its region up. Until it is
/// replaced it keeps what it has not applied, and takes the log from nobody.
#[test]
fn a_replica_that_was_given_up_takes_the_log_from_nobody() {
    let mut theatre = two_regions(Mutant::None);
    theatre.write(KEY, b"1");
    theatre.until("both are equal", |theatre| theatre.are_equal(&[1, 2]));
    for place in 0..40 {
        theatre.write(format!("\x01k{place:02}").as_bytes(), &[b'.'; 600]);
    }
    // What was written first lies in tables only.
    theatre.cut_power(2);
    theatre.start(2);
    theatre.until("it leads", |theatre| theatre.leader_of(OTHER) == Some(2));
    let refuses = |theatre: &mut Theatre, per_mille| {
        let actor = theatre.actors.get_mut(&StoreId(2)).expect("an actor");
        actor.files.read_errors = per_mille;
    };
    theatre.until("it leads", |theatre| theatre.leader().is_some());
    refuses(&mut theatre, 1000);
    let leader = theatre.leader().expect("just seen");
    theatre.add(leader, KEY, 1);
    let given_up = |theatre: &Theatre| {
        let mut reports = theatre.reports.iter();
        reports
            .any(|report| matches!(report, Report::Quarantined { region, .. } if *region == REGION))
    };
    theatre.until("it is given up", given_up);
    refuses(&mut theatre, 0);
    let before = theatre.status(2).expect("a peer");
    assert!(before.applied < before.last, "{}", theatre.describe());
    assert!(!fills(&mut theatre, 2000), "{}", theatre.describe());
    let after = theatre.status(2).expect("a peer");
    assert_eq!((before.applied, before.last), (after.applied, after.last));
}

/// Whoever has let go of all that it can adds nothing to a log that is short of room for another's sake.
#[test]
fn a_short_log_is_not_filled_by_what_lets_go_of_nothing() {
    let mut theatre = two_regions(Mutant::KeepStuck);
    leave_behind(&mut theatre, (false, false));
    fill(&mut theatre);
    theatre.pass(5000);
    let before = theatre.status_of(2, OTHER).expect("a peer").last;
    theatre.pass(60_000);
    let after = theatre.status_of(2, OTHER).expect("a peer").last;
    assert_eq!(before, after, "{}", theatre.describe());
}

/// A node ends again and again, each time right after it leads: too soon to let go of anything. Its log opens all
/// the same, however often, and when the node stays it makes room.
#[test]
fn a_node_that_never_gets_far_can_always_start_again() {
    let mut theatre = Theatre::new(1);
    theatre.until("it leads", |theatre| theatre.leads(1));
    theatre.write(KEY, b"kept");
    for _ in 0..200 {
        theatre.cut_power(1);
        theatre.start(1);
        theatre.until("it leads", |theatre| theatre.leads(1));
        theatre.pass(1);
    }
    theatre.until("it goes on", |theatre| {
        let status = theatre.status(1).expect("a peer");
        status.applied == status.last && status.leads
    });
    assert_eq!(theatre.read(KEY), Some(b"kept".to_vec()));
    theatre.write(KEY, b"changed");
    assert_eq!(theatre.read(KEY), Some(b"changed".to_vec()));
}

/// Clients send writes in a row, and retry what is turned away. If a smaller one behind it were taken, they would be
/// done in another order than they were sent in.
#[test]
fn nothing_passes_a_write_that_was_turned_away_in_the_same_turn() {
    let mut theatre = Theatre::of_regions(1, Mutant::None, &[REGION, OTHER]);
    for region in [REGION, OTHER] {
        theatre.until("it leads", |theatre| theatre.leader_of(region) == Some(1));
    }
    theatre.write(KEY, b"first");
    let large = vec![b'.'; 7000];
    let row: Vec<_> = (0..3).map(|_| theatre.put(1, KEY, &large)).collect();
    let behind = theatre.put(1, KEY, b"small");
    let elsewhere = theatre.put(1, b"\x02key", b"small");
    let full = Err(Error::ServerIsBusy("the region has too much under way"));
    let answers: Vec<_> = row.iter().map(|request| theatre.answer(*request)).collect();
    assert!(answers[0].is_ok() && answers[1].is_ok(), "{answers:?}");
    assert_eq!(answers[2], full, "a region has a budget");
    assert_eq!(theatre.answer(behind), full, "it came later");
    assert!(theatre.answer(elsewhere).is_ok(), "other regions go on");
    let again = theatre.put(1, KEY, b"small");
    assert!(theatre.answer(again).is_ok(), "in another turn");
}
