//! What a caller may do at the edges: regions that return, states larger than a turn rewrites, limits
//! that change between two openings, restarts without end, and headers that a forger has signed.

mod world;

use bytes::Bytes;
use coracle_wal::fetch::Fetched;
use coracle_wal::{Entry, Limits, MetaRecord, Mutant, RegionId};
use world::disk::{Chance, Fate};
use world::{World, operate, scale};

fn entry(index: u64, bytes: usize) -> Entry {
    Entry {
        index,
        term: 1,
        payload: Bytes::from(vec![index as u8; bytes]),
    }
}

fn meta(index: u64, reset: bool, tombstone: bool) -> MetaRecord {
    MetaRecord {
        truncated: (index, u64::from(index > 0)),
        reset,
        tombstone,
        payload: Bytes::from_static(b"meta"),
    }
}

/// A region is destroyed and returns with another peer, whose log begins anew. What the earlier peer had
/// applied and checkpointed says nothing of the later one's entries.
#[test]
fn a_region_that_returns_forgets_what_its_earlier_peer_had_checkpointed() {
    let limits = Limits {
        cache_bytes: 0,
        ..Limits::SMALL
    };
    let mut world = World::new(1, limits, Mutant::None);
    let region = RegionId(1);
    for index in 1..=20 {
        world.append(region, entry(index, 100)).expect("room");
    }
    world.settle().expect("no cut");
    world.log.applied(region, 20);
    world.log.checkpointed(region, 20);
    world
        .set_meta(region, meta(0, true, true))
        .expect("a tombstone");
    world
        .set_meta(region, meta(0, true, false))
        .expect("a later peer");
    for index in 1..=10 {
        world.append(region, entry(index, 100)).expect("room");
    }
    world.settle().expect("no cut");
    // Nothing is applied yet: raft asks for all of it without waiting.
    let fetched = world.log.fetch(region, 1, 11, 1 << 20).expect("kept");
    assert!(
        matches!(fetched, Fetched::Ready(_)),
        "unapplied entries have left memory"
    );
    world.log.applied(region, 8);
    world.log.checkpointed(region, 3);
    world
        .set_meta(region, meta(8, false, false))
        .expect("a truncation");
    // A replay begins behind index 3, whatever raft has truncated.
    assert_eq!(world.log.first_kept(region), Some(4));
}
