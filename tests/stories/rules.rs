//! Rules that random seeds reach seldom: each story is told with the rule and without it.

use coracle::shard::entry::Gathered;
use coracle::shard::ids::{RequestId, StoreId};
use coracle::shard::message::{PeerMessage, RaftMessage};
use coracle::shard::mutant::Mutant;
use coracle::shard::region::{Epoch, Role};
use coracle::shard::request::{Body, PeerChange, Write};
use raft::eraftpb::{Entry, Message, MessageType};

use crate::theatre::{REGION, Theatre, peer};

const KEY: &[u8] = b"\x01key";

/// An entry was proposed under an older version of the region, and committed under a newer one. Whoever
/// applies it must leave everything as it is.
fn what_a_stale_entry_leaves(mutant: Mutant) -> Option<Vec<u8>> {
    let mut theatre = Theatre::breaking(3, mutant);
    theatre.grow_to_three();
    theatre.write(KEY, b"right");
    theatre.until("all are equal", |theatre| theatre.are_equal(&[1, 2, 3]));
    let leader = theatre.leader().expect("a leader");
    let follower = leader % 3 + 1;
    let status = theatre.status(follower).expect("a follower");
    theatre.holds_post = true;
    theatre.post.clear();
    // As a leader would send it that took the entry before the region changed.
    let mut commands = Gathered::default();
    let write = Write::Put {
        key: KEY,
        value: b"wrong",
        expiry_ms: None,
    };
    commands.push(0, 0, &[write]);
    let stale = Epoch {
        version: status.region.epoch.version - 1,
        ..status.region.epoch
    };
    let entry = Entry {
        index: status.last.0 + 1,
        term: status.term.0,
        data: commands.take(stale, theatre.time().wall).into(),
        ..Entry::default()
    };
    let info = |store: u64| *status.region.on_store(StoreId(store)).expect("a peer");
    let mut message = Message {
        from: info(leader).peer.0,
        to: info(follower).peer.0,
        term: status.term.0,
        index: status.last.0,
        log_term: status.term.0,
        commit: entry.index,
        entries: vec![entry].into(),
        ..Message::default()
    };
    message.set_msg_type(MessageType::MsgAppend);
    let append = PeerMessage::Raft(RaftMessage {
        region: REGION,
        from: info(leader),
        to: info(follower),
        epoch: status.region.epoch,
        range: None,
        message,
    });
    theatre.deliver(StoreId(leader), StoreId(follower), append);
    theatre.until("it is applied", |theatre| {
        theatre
            .status(follower)
            .is_some_and(|now| now.applied.0 == status.last.0 + 1)
    });
    theatre.local(follower, KEY)
}

#[test]
fn an_entry_of_another_version_changes_nothing() {
    let right = Some(b"right".to_vec());
    assert_eq!(what_a_stale_entry_leaves(Mutant::None), right);
    let broken = what_a_stale_entry_leaves(Mutant::ApplyWithoutEpoch);
    assert_eq!(broken, Some(b"wrong".to_vec()), "the story would see it");
}

/// One of three loses its power and comes back alone, out of everybody's reach. Up to its last batch it
/// knew what was committed, and so it does again.
fn what_it_knows_alone(mutant: Mutant) -> Option<Vec<u8>> {
    let mut theatre = Theatre::breaking(3, mutant);
    theatre.grow_to_three();
    theatre.write(KEY, b"first");
    theatre.write(b"\x01other", b"second");
    theatre.until("all are equal", |theatre| theatre.are_equal(&[1, 2, 3]));
    let away = theatre.leader().expect("a leader") % 3 + 1;
    theatre.isolated = vec![StoreId(away)];
    theatre.cut_power(away);
    theatre.start(away);
    theatre.until("it is back", |theatre| {
        theatre
            .status(away)
            .is_some_and(|status| status.initialized)
    });
    theatre.local(away, KEY)
}

#[test]
fn what_was_applied_before_the_last_batch_is_there_again() {
    assert_eq!(what_it_knows_alone(Mutant::None), Some(b"first".to_vec()));
    let broken = what_it_knows_alone(Mutant::CommitLeftOut);
    assert_eq!(broken, None, "the story would see it");
}

/// A change of the peers is applied; the memtable rotates at the same moment, and its tables are durable
/// before the meta that holds the change. If their edit were durable as well, the change would count as
/// contained, and nobody would know it after a power cut.
fn peers_after_a_rotation_in_between(mutant: Mutant) -> usize {
    let mut theatre = Theatre::breaking(2, mutant);
    theatre.until("it leads", |theatre| theatre.leads(1));
    theatre.write(KEY, b"value");
    theatre.holds_post = true;
    theatre.hold_disk(1, true);
    let before = theatre.status(1).expect("it is there").applied;
    // Enough for a rotation, and the change behind it in the same batch.
    let filler = vec![b'.'; 1000];
    let asked: Vec<RequestId> = (0..10)
        .map(|place| theatre.put(1, format!("\x01filler{place}").as_bytes(), &filler))
        .collect();
    let learner = [PeerChange::Put(peer(2, 2, Role::Learner))];
    let changes = &learner[..];
    let region = REGION;
    theatre.turn();
    let change = theatre.ask(1, Body::ChangePeers { region, changes });
    theatre.turn();
    theatre.finish_disk(1);
    // Entries are durable and applied; the meta is in flight, and stays there.
    theatre.turn();
    let applied = theatre.status(1).expect("it is there").applied;
    assert!(
        applied.0 >= before.0 + 2,
        "everything is applied: {applied}"
    );
    assert!(
        !theatre.answers.contains_key(&change),
        "its meta is in flight"
    );
    assert!(
        asked
            .iter()
            .all(|request| theatre.answers.contains_key(request))
    );
    for _ in 0..40 {
        theatre.finish_store(1);
        theatre.pass(5);
    }
    assert!(
        !theatre.answers.contains_key(&change),
        "its meta is in flight"
    );
    theatre.hold_disk(1, false);
    theatre.cut_power(1);
    theatre.start(1);
    theatre.until("it leads again", |theatre| theatre.leads(1));
    theatre.pass(500);
    theatre.status(1).expect("it is there").region.peers.len()
}

#[test]
fn an_edit_waits_for_the_log() {
    assert_eq!(peers_after_a_rotation_in_between(Mutant::None), 2);
    let broken = peers_after_a_rotation_in_between(Mutant::EditBeforeLog);
    assert_eq!(broken, 1, "the story would see it");
}

/// A sole voter is given a second one on a store that makes no peer, perhaps since its node is being taken out. As
/// a voter at once it would stop the region for ever, since neither can do without the other.
#[test]
fn nobody_votes_before_it_has_the_log() {
    let mut theatre = Theatre::new(2);
    theatre.until("it leads", |theatre| theatre.leads(1));
    theatre.write(KEY, b"before");
    theatre.cut_power(2);
    let refused = |theatre: &mut Theatre, role: Role| {
        let changes = &[PeerChange::Put(peer(2, 2, role))];
        let region = REGION;
        let request = theatre.ask(1, Body::ChangePeers { region, changes });
        theatre.answer(request).is_err()
    };
    assert!(refused(&mut theatre, Role::Voter));
    assert!(!refused(&mut theatre, Role::Learner));
    assert!(refused(&mut theatre, Role::Voter));
    theatre.write(KEY, b"after");
    theatre.start(2);
    theatre.change(&[PeerChange::Put(peer(2, 2, Role::Voter))]);
    theatre.until("both are equal", |theatre| theatre.are_equal(&[1, 2]));
}
