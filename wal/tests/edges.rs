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

/// A batch longer than the limit of today still says that what is damaged before it was acknowledged.
#[test]
fn a_long_batch_behind_damage_is_evidence_under_lowered_limits() {
    let limits = Limits {
        segment_bytes: 4 << 20,
        batch_bytes_max: 1 << 20,
        entry_bytes_max: 900 << 10,
        ..Limits::SMALL
    };
    let mut world = World::new(5, limits, Mutant::None);
    let region = RegionId(1);
    // Files are read in pieces of 1 MiB: the third batch lies in the first and the second of them.
    for (index, bytes) in [(1, 500 << 10), (2, 300 << 10), (3, 600 << 10)] {
        world.append(region, entry(index, bytes)).expect("room");
        world.settle().expect("no cut");
    }
    world.crash(Fate::Kept, true);
    for file in world.disk.names() {
        world.disk.damage(&file, 600 << 10, |byte| !byte);
    }
    world.limits = Limits {
        batch_bytes_max: 16 << 10,
        entry_bytes_max: 8 << 10,
        ..limits
    };
    let outcome = world.recover();
    let corrupt = outcome.expect_err("an acknowledged batch is gone");
    assert!(corrupt.contains("lsn 3"), "{corrupt}");
}
