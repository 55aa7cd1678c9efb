//! Stories of a range that comes to a store while its neighbours there are busy.

use coracle::shard::ids::{PeerId, RegionId, StoreId};
use coracle::shard::message::{PeerMessage, SnapshotContent};
use coracle::shard::mutant::Mutant;
use coracle::shard::region::Role;
use coracle::shard::request::PeerChange;

use super::theatre::{Theatre, peer};

/// Three neighbours; tables of the outer two reach over the middle one.
const REGIONS: [RegionId; 3] = [RegionId(2), MIDDLE, RegionId(4)];
const MIDDLE: RegionId = RegionId(3);

const KEYS: u64 = 40;

/// So many runs in level 0 and a compaction begins; each round adds one at least.
const ROUNDS: u64 = 6;

fn key(place: u64) -> Vec<u8> {
    format!("\x02key{place:03}").into_bytes()
}

/// Time passes, but no snapshot ends: the last piece of one is taken out of the post.
fn pass_without_an_end(theatre: &mut Theatre, last: &mut Vec<(StoreId, StoreId, PeerMessage)>) {
    theatre.pass(5);
    for (from, to, message) in std::mem::take(&mut theatre.post) {
        match message {
            PeerMessage::SnapshotPiece {
                content: SnapshotContent::Done,
                ..
            } => last.push((from, to, message)),
            _ => theatre.deliver(from, to, message),
        }
    }
}

/// A replica of the middle region comes to a store at the moment when a rotation of the memtable, begun before
/// that, is on its way into tables, and a compaction follows. How many of its keys are not there then.
fn keys_lost(mutant: Mutant) -> usize {
    let mut theatre = Theatre::of_regions(2, mutant, &REGIONS);
    for region in REGIONS {
        theatre.until("it leads", |theatre| theatre.leader_of(region) == Some(1));
    }
    let learner = [PeerChange::Put(peer(20, 2, Role::Learner))];
    for region in [REGIONS[0], REGIONS[2]] {
        theatre.change_of(region, &learner);
        theatre.until("it follows", |theatre| {
            let status = theatre.status_of(2, region);
            status.is_some_and(|status| status.initialized)
        });
    }
    for place in 0..KEYS {
        let request = theatre.put(1, &key(place), &[b'v'; 100]);
        theatre.answer(request).expect("it is written");
    }
    let is_there = |theatre: &Theatre| {
        let leader = theatre.status_of(1, MIDDLE).expect("it leads");
        let status = theatre.status_of(2, MIDDLE);
        status.is_some_and(|status| status.initialized && status.applied == leader.applied)
    };
    let mut lost = 0;
    for round in 0..ROUNDS {
        let id = 30 + round;
        theatre.change_of(MIDDLE, &[PeerChange::Put(peer(id, 2, Role::Learner))]);
        theatre.holds_post = true;
        let mut last = Vec::new();
        while last.is_empty() {
            pass_without_an_end(&mut theatre, &mut last);
        }
        theatre.hold_disk(2, true);
        let mut number = 0_u8;
        while !theatre.is_store_waiting(2) {
            for first in [b'\x01', b'\x03'] {
                number = number
                    .checked_add(1)
                    .unwrap_or_else(|| panic!("nothing rotates: {}", theatre.describe()));
                theatre.put(1, &[first, number], &[b'.'; 600]);
            }
            theatre.finish_log(2);
            pass_without_an_end(&mut theatre, &mut last);
        }
        // The memtable rotates: what compaction judges by was written down before the range came.
        let (from, to, done) = last.swap_remove(0);
        theatre.deliver(from, to, done);
        for _ in 0..20 {
            theatre.finish_log(2);
            pass_without_an_end(&mut theatre, &mut last);
        }
        theatre.holds_post = false;
        for _ in 0..2000 {
            theatre.finish_disk(2);
            theatre.pass(5);
            if is_there(&theatre) {
                break;
            }
        }
        theatre.hold_disk(2, false);
        theatre.until("it has come", is_there);
        theatre.pass(200);
        let mut is_gone = |place: &u64| theatre.local(2, &key(*place)).is_none();
        lost += (0..KEYS).filter(&mut is_gone).count();
        theatre.change_of(MIDDLE, &[PeerChange::Remove(PeerId(id))]);
        theatre.until("it is gone", |theatre| {
            theatre.status_of(2, MIDDLE).is_none()
        });
        theatre.pass(200);
    }
    lost
}

#[test]
fn compaction_knows_a_range_before_its_content_comes() {
    assert_eq!(keys_lost(Mutant::None), 0);
    assert!(keys_lost(Mutant::NoCheckpoint) > 0);
}
