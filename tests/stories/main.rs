//! Stories of lost data, told to a few shards whose disks and messages the story holds in its hands.
//!
//! Each is a way in which a store of this kind loses, forks or hangs; the rule that prevents it is named
//! where it is kept, in `src/shard`.

mod damage;
mod own_splits; // regions that split themselves
mod placement;
mod moves; // regions that move
mod quiet;
mod room;
mod rules;
mod split;
mod structure;
mod suites;
mod theatre;

use coracle::shard::error::Error;
use coracle::shard::ids::{PeerId, StoreId};
use coracle::shard::message::{PeerMessage, RaftMessage};
use coracle::shard::mutant::Mutant;
use coracle::shard::region::Role;
use coracle::shard::request::{Answer, Body, Freshness, PeerChange, Write, Written};
use raft::eraftpb::MessageType;

use theatre::{REGION, Theatre, peer};

const KEY: &[u8] = b"\x01key";

/// Raft messages of a kind that wait to be delivered.
fn waiting(theatre: &Theatre, from: u64, kind: MessageType) -> usize {
    let is = |message: &PeerMessage| match message {
        PeerMessage::Raft(raft) => raft.message.get_msg_type() == kind,
        _ => false,
    };
    let post = theatre.post.iter();
    post.filter(|(sender, _, message)| sender.0 == from && is(message))
        .count()
}

#[test]
fn a_write_is_answered_when_it_is_durable_and_not_before() {
    let mut theatre = Theatre::new(1);
    theatre.until("it leads", |theatre| theatre.leads(1));
    theatre
        .actors
        .get_mut(&StoreId(1))
        .expect("an actor")
        .holds_disk = true;
    let request = theatre.put(1, KEY, b"value");
    theatre.pass(500);
    assert_eq!(
        theatre.answers.get(&request),
        None,
        "its batch is in flight"
    );
    theatre.finish_disk(1);
    theatre
        .actors
        .get_mut(&StoreId(1))
        .expect("an actor")
        .holds_disk = false;
    assert_eq!(theatre.answer(request), Ok(Answer::Written(Written::Done)));
}

#[test]
fn an_acknowledged_write_outlives_the_power() {
    let mut theatre = Theatre::new(1);
    theatre.until("it leads", |theatre| theatre.leads(1));
    let request = theatre.put(1, KEY, b"value");
    assert!(theatre.answer(request).is_ok());
    theatre.cut_power(1);
    theatre.start(1);
    theatre.until("it leads again", |theatre| theatre.leads(1));
    let request = theatre.get(1, KEY, Freshness::Linearizable);
    assert_eq!(
        theatre.answer(request),
        Ok(Answer::Value(Some(b"value".as_slice().into())))
    );
}

#[test]
fn regions_are_founded_once_whenever_the_power_goes() {
    let mut theatre = Theatre::new(1);
    // Nothing has reached the disk yet.
    theatre.cut_power(1);
    theatre.start(1);
    theatre.until("it leads", |theatre| theatre.leads(1));
    let request = theatre.put(1, KEY, b"value");
    assert!(theatre.answer(request).is_ok());
    theatre.cut_power(1);
    theatre.start(1);
    theatre.until("it leads again", |theatre| theatre.leads(1));
    let request = theatre.get(1, KEY, Freshness::Linearizable);
    assert_eq!(
        theatre.answer(request),
        Ok(Answer::Value(Some(b"value".as_slice().into())))
    );
}

/// The sole voter elects itself and at once has entries for a learner. If they left before its own term
/// is durable, a power cut could have it write others of the same term.
#[test]
fn a_leader_sends_nothing_before_its_own_term_is_durable() {
    assert_eq!(appends_before_its_term_is_durable(Mutant::None), 0);
    assert_ne!(
        appends_before_its_term_is_durable(Mutant::SendBeforeTerm),
        0,
        "the story would see it"
    );
}

fn appends_before_its_term_is_durable(mutant: Mutant) -> usize {
    let mut theatre = Theatre::breaking(2, mutant);
    theatre.until("it leads", |theatre| theatre.leads(1));
    theatre.change(&[PeerChange::Put(peer(2, 2, Role::Learner))]);
    theatre.until("the learner is there", |theatre| {
        theatre.status(2).is_some_and(|status| status.initialized)
    });
    theatre.cut_power(1);
    theatre.start(1);
    theatre.until("the opening is announced", |theatre| {
        theatre.actors[&StoreId(1)]
            .shard
            .as_ref()
            .is_some_and(|shard| shard.is_open())
    });
    theatre.holds_post = true;
    theatre.post.clear();
    theatre
        .actors
        .get_mut(&StoreId(1))
        .expect("an actor")
        .holds_disk = true;
    theatre.cut_power(1);
    theatre.start(1);
    // Recovery's own writes finish; what the election writes does not.
    for _ in 0..400 {
        if theatre.leads(1) {
            break;
        }
        theatre.finish_disk(1);
        theatre.pass(5);
    }
    assert!(theatre.leads(1), "nobody else can lead");
    theatre.pass(200);
    let early = waiting(&theatre, 1, MessageType::MsgAppend);
    theatre
        .actors
        .get_mut(&StoreId(1))
        .expect("an actor")
        .holds_disk = false;
    theatre.finish_disk(1);
    theatre.pass(200);
    assert!(
        waiting(&theatre, 1, MessageType::MsgAppend) > 0,
        "now it is"
    );
    early
}

/// An append comes twice while its batch is in flight: the second ready has no records, and must not
/// carry the acknowledgement early.
#[test]
fn a_doubled_append_is_not_acknowledged_early() {
    assert_eq!(early_acknowledgements(Mutant::None), 0);
    assert_ne!(
        early_acknowledgements(Mutant::EmptyReadyEarly),
        0,
        "the story would see it"
    );
    assert_ne!(
        early_acknowledgements(Mutant::AckBeforeDurable),
        0,
        "the story would see it"
    );
}

fn early_acknowledgements(mutant: Mutant) -> usize {
    let mut theatre = Theatre::breaking(3, mutant);
    theatre.grow_to_three();
    theatre.pass(500);
    let leader = theatre.leader().expect("a leader");
    let follower = (1..=3).find(|store| *store != leader).expect("a follower");
    theatre.holds_post = true;
    theatre.post.clear();
    theatre
        .actors
        .get_mut(&StoreId(follower))
        .expect("an actor")
        .holds_disk = true;
    theatre.put(leader, KEY, b"value");
    theatre.turn();
    let appends: Vec<_> = theatre
        .post
        .iter()
        .filter(|(_, to, message)| {
            to.0 == follower
                && matches!(message, PeerMessage::Raft(raft) if !raft.message.entries.is_empty())
        })
        .cloned()
        .collect();
    assert!(!appends.is_empty(), "the entry was sent");
    theatre.post.clear();
    for _ in 0..2 {
        for (from, to, message) in appends.clone() {
            theatre.deliver(from, to, message);
        }
        theatre.turn();
    }
    let early = waiting(&theatre, follower, MessageType::MsgAppendResponse);
    theatre.finish_disk(follower);
    theatre.turn();
    assert!(waiting(&theatre, follower, MessageType::MsgAppendResponse) > 0);
    early
}

/// The memtable is rotated in the middle of a replay; the next replay must not apply again what those
/// tables hold.
#[test]
fn a_replay_that_rotates_counts_nothing_twice() {
    let mut theatre = Theatre::new(1);
    theatre.until("it leads", |theatre| theatre.leads(1));
    let mut expected = 0;
    let filler = vec![b'.'; 700];
    for round in 0..30 {
        let request = theatre.add(1, b"\x01counter", round);
        expected += round;
        assert_eq!(
            theatre.answer(request),
            Ok(Answer::Written(Written::Counter(expected)))
        );
        let request = theatre.put(1, format!("\x01filler{round}").as_bytes(), &filler);
        assert!(theatre.answer(request).is_ok());
    }
    for _ in 0..6 {
        theatre.cut_power(1);
        theatre.start(1);
        theatre.until("it leads again", |theatre| theatre.leads(1));
        let request = theatre.get(1, b"\x01counter", Freshness::Linearizable);
        let value = expected.to_string().into_bytes();
        assert_eq!(
            theatre.answer(request),
            Ok(Answer::Value(Some(value.into())))
        );
    }
}

/// A store sends one snapshot at a time. The next one begins when the first one is taken in, and not when
/// its sender has given up waiting for questions.
#[test]
fn a_snapshot_that_was_taken_in_makes_room_for_the_next() {
    let mut theatre = Theatre::new(3);
    theatre.until("it leads", |theatre| theatre.leads(1));
    theatre.change(&[PeerChange::Put(peer(2, 2, Role::Learner))]);
    theatre.change(&[PeerChange::Put(peer(3, 3, Role::Learner))]);
    theatre.pass(5000);
    for store in [2, 3] {
        let status = theatre.status(store);
        assert!(
            status.is_some_and(|status| status.initialized),
            "store {store}"
        );
    }
}

/// A peer is removed and its tombstone written; its old name must not rise from late messages, and a
/// later peer of the region must not take the old log for its own.
#[test]
fn a_removed_peer_stays_removed_and_a_later_one_begins_anew() {
    let mut theatre = Theatre::new(3);
    theatre.grow_to_three();
    for round in 0..10 {
        let leader = theatre.leader().expect("a leader");
        let request = theatre.put(leader, KEY, format!("{round}").as_bytes());
        assert!(theatre.answer(request).is_ok());
    }
    theatre.until("the first store leads", |theatre| {
        theatre.leader().is_some()
    });
    let leader = theatre.leader().expect("a leader");
    let goes = if leader == 3 { 2 } else { 3 };
    theatre.change(&[PeerChange::Remove(PeerId(goes))]);
    theatre.until("its peer is gone", |theatre| theatre.status(goes).is_none());
    theatre.pass(3000);
    assert_eq!(theatre.status(goes), None, "nothing brings it back");
    theatre.cut_power(goes);
    theatre.start(goes);
    theatre.pass(1000);
    assert_eq!(theatre.status(goes), None, "a restart does not either");
    theatre.change(&[PeerChange::Put(peer(10, goes, Role::Learner))]);
    theatre.until("the new peer has everything", |theatre| {
        let (new, leader) = (
            theatre.status(goes),
            theatre.leader().and_then(|store| theatre.status(store)),
        );
        match (new, leader) {
            (Some(new), Some(leader)) => {
                new.initialized && new.peer == PeerId(10) && new.applied == leader.applied
            }
            _ => false,
        }
    });
    let request = theatre.get(goes, KEY, Freshness::Local);
    assert_eq!(
        theatre.answer(request),
        Ok(Answer::Value(Some(b"9".as_slice().into())))
    );
}

/// A region of one voter moves to another store by a joint change: whoever leads must not go before the
/// other knows.
#[test]
fn a_sole_voter_moves_to_another_store() {
    let mut theatre = Theatre::new(2);
    theatre.until("it leads", |theatre| theatre.leads(1));
    let request = theatre.put(1, KEY, b"value");
    assert!(theatre.answer(request).is_ok());
    theatre.change(&[PeerChange::Put(peer(2, 2, Role::Learner))]);
    theatre.until("the learner is there", |theatre| {
        theatre.status(2).is_some_and(|status| status.initialized)
    });
    theatre.change(&[
        PeerChange::Put(peer(2, 2, Role::Voter)),
        PeerChange::Remove(PeerId(1)),
    ]);
    theatre.until("the second store leads alone", |theatre| {
        theatre
            .status(2)
            .is_some_and(|status| status.leads && status.region.peers.len() == 1)
    });
    theatre.until("the first peer is gone", |theatre| {
        theatre.status(1).is_none()
    });
    let request = theatre.get(2, KEY, Freshness::Linearizable);
    assert_eq!(
        theatre.answer(request),
        Ok(Answer::Value(Some(b"value".as_slice().into())))
    );
}

/// A leader that is cut off answers no read that needs to be fresh, however long it believes to lead.
#[test]
fn an_isolated_leader_serves_nothing_stale() {
    let mut theatre = Theatre::new(3);
    theatre.grow_to_three();
    theatre.pass(300);
    let old = theatre.leader().expect("a leader");
    let request = theatre.put(old, KEY, b"old");
    assert!(theatre.answer(request).is_ok());
    theatre.isolated = vec![StoreId(old)];
    theatre.until("another leads", |theatre| {
        theatre.leader().is_some_and(|leader| leader != old)
    });
    let new = theatre.leader().expect("just seen");
    let request = theatre.put(new, KEY, b"new");
    assert!(theatre.answer(request).is_ok());
    let request = theatre.get(old, KEY, Freshness::Linearizable);
    let answer = theatre.answer(request);
    assert!(
        matches!(
            answer,
            Err(Error::NotLeader { .. } | Error::ServerIsBusy(_))
        ),
        "it was {answer:?}"
    );
    theatre.isolated.clear();
    theatre.until("the old one follows", |theatre| !theatre.leads(old));
    let request = theatre.get(old, KEY, Freshness::AnyReplica);
    assert_eq!(
        theatre.answer(request),
        Ok(Answer::Value(Some(b"new".as_slice().into())))
    );
}

/// What was proposed by a leader that lost its place is never answered by another's entry.
#[test]
fn a_lost_proposal_is_answered_as_stale() {
    let mut theatre = Theatre::new(3);
    theatre.grow_to_three();
    theatre.pass(300);
    let old = theatre.leader().expect("a leader");
    theatre.isolated = vec![StoreId(old)];
    let lost = theatre.add(old, b"\x01counter", 5);
    theatre.until("another leads", |theatre| {
        theatre.leader().is_some_and(|leader| leader != old)
    });
    let new = theatre.leader().expect("just seen");
    for _ in 0..3 {
        let request = theatre.put(new, KEY, b"new");
        assert!(theatre.answer(request).is_ok());
    }
    theatre.isolated.clear();
    assert_eq!(theatre.answer(lost), Err(Error::StaleCommand));
    let leader = theatre.leader().expect("a leader");
    let request = theatre.get(leader, b"\x01counter", Freshness::Linearizable);
    assert_eq!(theatre.answer(request), Ok(Answer::Value(None)));
}

/// A follower that was away while the log was cut off comes back by a snapshot, deletions included.
#[test]
fn a_follower_that_was_away_is_restored_by_a_snapshot() {
    let mut theatre = Theatre::new(3);
    theatre.grow_to_three();
    theatre.pass(300);
    let leader = theatre.leader().expect("a leader");
    let away = (1..=3).find(|store| *store != leader).expect("a follower");
    let request = theatre.put(leader, b"\x01deleted", b"x");
    assert!(theatre.answer(request).is_ok());
    theatre.pass(200);
    theatre.isolated = vec![StoreId(away)];
    let delete = coracle::shard::request::Write::Delete {
        key: b"\x01deleted",
    };
    let request = theatre.ask(leader, Body::Write(&[delete]));
    assert!(theatre.answer(request).is_ok());
    for round in 0..120 {
        let request = theatre.put(leader, format!("\x01k{round}").as_bytes(), b"v");
        assert!(theatre.answer(request).is_ok());
    }
    let behind = theatre.status(away).expect("it is there").last;
    theatre.until("the log is cut off behind it", |theatre| {
        theatre
            .status(leader)
            .is_some_and(|status| status.truncated > behind)
    });
    theatre.isolated.clear();
    theatre.until("it has everything", |theatre| {
        let (there, leading) = (theatre.status(away), theatre.status(leader));
        there.is_some_and(|there| Some(there.applied) == leading.map(|status| status.applied))
    });
    for (key, value) in [
        (&b"\x01deleted"[..], None),
        (b"\x01k119", Some(b"v".as_slice().into())),
    ] {
        let request = theatre.get(away, key, Freshness::Local);
        assert_eq!(theatre.answer(request), Ok(Answer::Value(value)));
    }
    // And after another power cut as well.
    theatre.cut_power(away);
    theatre.start(away);
    theatre.until("it is back", |theatre| {
        theatre
            .status(away)
            .is_some_and(|status| status.initialized)
    });
    let request = theatre.get(away, b"\x01k119", Freshness::AnyReplica);
    assert_eq!(
        theatre.answer(request),
        Ok(Answer::Value(Some(b"v".as_slice().into())))
    );
}

/// Requests that make no sense are refused with a reason, and nothing else happens.
#[test]
fn bad_requests_are_refused() {
    let mut theatre = Theatre::new(1);
    theatre.until("it leads", |theatre| theatre.leads(1));
    let long = [b"\x01".as_slice(), &[b'k'; 5000]].concat();
    let request = theatre.put(1, &long, b"v");
    assert!(matches!(
        theatre.answer(request),
        Err(Error::TooLarge { .. })
    ));
    let request = theatre.put(1, b"\x05beyond", b"v");
    assert!(matches!(
        theatre.answer(request),
        Err(Error::RegionNotFound(_))
    ));
    let request = theatre.ask(1, Body::Write(&[]));
    assert!(theatre.answer(request).is_err());
    let nobody = [PeerChange::Remove(PeerId(99))];
    let request = theatre.ask(
        1,
        Body::ChangePeers {
            region: REGION,
            changes: &nobody,
        },
    );
    assert!(matches!(theatre.answer(request), Err(Error::BadRequest(_))));
    let request = theatre.add(1, KEY, 1);
    assert_eq!(
        theatre.answer(request),
        Ok(Answer::Written(Written::Counter(1)))
    );
    let request = theatre.put(1, KEY, b"text");
    assert!(theatre.answer(request).is_ok());
    let request = theatre.add(1, KEY, 1);
    assert_eq!(
        theatre.answer(request),
        Ok(Answer::Written(Written::NotANumber))
    );
}

/// A leader's process stands still while another is elected. When it goes on it believes for a moment that
/// it leads, and its lease must be over by then.
fn reads_of_a_leader_that_stood_still(
    mutant: Mutant,
) -> (Option<Option<Vec<u8>>>, Result<Answer, Error>) {
    let mut theatre = Theatre::breaking(3, mutant);
    theatre.grow_to_three();
    theatre.pass(300);
    let old = theatre.leader().expect("a leader");
    let request = theatre.put(old, KEY, b"old");
    assert!(theatre.answer(request).is_ok());
    theatre.paused = vec![StoreId(old)];
    theatre.until("another leads", |theatre| {
        theatre.leader().is_some_and(|leader| leader != old)
    });
    let new = theatre.leader().expect("just seen");
    let request = theatre.put(new, KEY, b"new");
    assert!(theatre.answer(request).is_ok());
    theatre.paused.clear();
    theatre.isolated = vec![StoreId(old)];
    let at_hand = theatre.at_hand(old, KEY);
    let request = theatre.get(old, KEY, Freshness::Linearizable);
    (at_hand, theatre.answer(request))
}

#[test]
fn a_lease_ends_before_another_can_lead() {
    let (at_hand, answer) = reads_of_a_leader_that_stood_still(Mutant::None);
    assert_eq!(at_hand, None);
    assert!(answer.is_err(), "it was {answer:?}");
    let stale = Ok(Answer::Value(Some(b"old".as_slice().into())));
    let (at_hand, broken) = reads_of_a_leader_that_stood_still(Mutant::LeaseWithoutMargin);
    assert_eq!(
        at_hand,
        Some(Some(b"old".to_vec())),
        "the story would see it"
    );
    assert_eq!(broken, stale, "the story would see it");
}

/// A read that is answered while it is asked needs what every linearizable read needs, and is told nothing
/// where that is not there.
#[test]
fn what_is_read_at_hand_is_what_a_leader_may_answer_by_itself() {
    let mut theatre = Theatre::new(3);
    theatre.grow_to_three();
    theatre.write(KEY, b"value");
    theatre.pass(100);
    let leader = theatre.leader().expect("a leader");
    assert_eq!(theatre.at_hand(leader, KEY), Some(Some(b"value".to_vec())));
    assert_eq!(theatre.at_hand(leader, b"\x01nothing"), Some(None));
    assert_eq!(theatre.at_hand(leader, b"\x05beyond"), None);
    let long = [b"\x01".as_slice(), &[b'k'; 5000]].concat();
    assert_eq!(theatre.at_hand(leader, &long), None);
    for store in (1..=3).filter(|store| *store != leader) {
        assert_eq!(theatre.at_hand(store, KEY), None, "store {store} follows");
    }
    // What is written and not durable on a quorum is not there yet.
    let request = theatre.put(leader, KEY, b"later");
    assert_eq!(theatre.at_hand(leader, KEY), Some(Some(b"value".to_vec())));
    assert!(theatre.answer(request).is_ok());
    assert_eq!(theatre.at_hand(leader, KEY), Some(Some(b"later".to_vec())));
    // What is due by the leader's clock and not by the region's waits until the region knows.
    let due = theatre.time().wall + 1000;
    let write = Write::Put {
        key: KEY,
        value: b"short",
        expiry_ms: Some(due),
    };
    let request = theatre.ask(leader, Body::Write(&[write]));
    assert!(theatre.answer(request).is_ok());
    assert_eq!(theatre.at_hand(leader, KEY), Some(Some(b"short".to_vec())));
    theatre.ahead_ms += 5000;
    assert_eq!(theatre.at_hand(leader, KEY), None);
    let request = theatre.get(leader, KEY, Freshness::Linearizable);
    assert_eq!(theatre.answer(request), Ok(Answer::Value(None)));
    assert_eq!(theatre.at_hand(leader, KEY), Some(None));
    // Without a quorum the lease ends, and nothing is told any more.
    theatre.isolated = vec![StoreId(leader)];
    theatre.pass(2000);
    assert_eq!(theatre.at_hand(leader, KEY), None);
}

/// Two candidates ask one voter for the same term, and its power goes in between.
fn votes_of_one_term(mutant: Mutant) -> usize {
    let mut theatre = Theatre::breaking(3, mutant);
    theatre.plan.limits.lease = 0;
    theatre.grow_to_three();
    theatre.pass(300);
    let voter = theatre.leader().map_or(1, |leader| leader % 3 + 1);
    let status = theatre.status(voter).expect("a voter");
    let others: Vec<_> = status
        .region
        .peers
        .iter()
        .filter(|info| info.store.0 != voter)
        .copied()
        .collect();
    let me = *status.region.on_store(StoreId(voter)).expect("itself");
    theatre.holds_post = true;
    let mut granted = 0;
    for candidate in others {
        theatre.cut_power(voter);
        theatre.start(voter);
        theatre.pass(50);
        theatre.post.clear();
        let mut message = raft::eraftpb::Message {
            from: candidate.peer.0,
            to: me.peer.0,
            term: status.term.0 + 1,
            index: status.last.0 + 100,
            log_term: status.term.0 + 1,
            ..Default::default()
        };
        message.set_msg_type(MessageType::MsgRequestVote);
        // As when a leader asked for it: nobody's lease is in the way.
        message.context = b"CampaignTransfer".as_slice().into();
        let vote = PeerMessage::Raft(RaftMessage {
            region: REGION,
            from: candidate,
            to: me,
            epoch: status.region.epoch,
            range: Some(status.region.range.clone()),
            message,
        });
        theatre.deliver(candidate.store, StoreId(voter), vote);
        theatre.pass(50);
        granted += theatre
            .post
            .iter()
            .filter(|(from, to, message)| {
                from.0 == voter
                    && *to == candidate.store
                    && matches!(message, PeerMessage::Raft(raft)
                        if raft.message.get_msg_type() == MessageType::MsgRequestVoteResponse && !raft.message.reject)
            })
            .count();
    }
    granted
}

#[test]
fn a_vote_outlives_the_power() {
    assert_eq!(votes_of_one_term(Mutant::None), 1);
    assert_eq!(
        votes_of_one_term(Mutant::ForgetVote),
        2,
        "the story would see it"
    );
}

/// A key expires by the region's clock and nobody else's; a reader that comes when it is due has the
/// clock moved first, so that every replica and every later reader sees the same.
#[test]
fn a_key_is_gone_when_it_is_due_though_nothing_was_written() {
    let mut theatre = Theatre::new(3);
    theatre.grow_to_three();
    theatre.pass(300);
    let leader = theatre.leader().expect("a leader");
    let due = theatre.time().wall + 400;
    let write = coracle::shard::request::Write::Put {
        key: KEY,
        value: b"brief",
        expiry_ms: Some(due),
    };
    let request = theatre.ask(leader, Body::Write(&[write]));
    assert!(theatre.answer(request).is_ok());
    let request = theatre.get(leader, KEY, Freshness::Linearizable);
    assert_eq!(
        theatre.answer(request),
        Ok(Answer::Value(Some(b"brief".as_slice().into())))
    );
    theatre.until("it is due", |theatre| theatre.time().wall > due);
    let request = theatre.get(leader, KEY, Freshness::Linearizable);
    assert_eq!(theatre.answer(request), Ok(Answer::Value(None)));
    let clock = theatre.status(leader).expect("it is there").clock;
    assert!(clock >= due, "the region knows how late it is");
    let other = leader % 3 + 1;
    let request = theatre.get(other, KEY, Freshness::AnyReplica);
    assert_eq!(theatre.answer(request), Ok(Answer::Value(None)));
}
