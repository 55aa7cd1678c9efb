//! Long random lives beside the model: appends, conflicts, resets, truncation, purge, old reads, kills
//! and power cuts, on a disk with and without space.

use crate::world::disk::Fate;
use crate::world::{World, operate, scale};
use bytes::Bytes;
use coracle_wal::{Limits, MetaRecord, Mutant, Refused, RegionId};

#[test]
fn long_lives_beside_the_model() {
    for seed in 0..40 * scale() {
        let mut world = World::new(1_000 + seed, Limits::SMALL, Mutant::None);
        let regions = [1, 4, 16, 64][(seed % 4) as usize];
        for turn in 0..200 {
            for _ in 0..1 + world.chance.below(6) {
                operate(&mut world, regions);
            }
            world.flush().expect("no cut");
            while world.busy() > 0 && world.chance.below(100) < 75 {
                world.happen().expect("no cut");
            }
            if turn % 40 == 39 {
                if world.chance.toss() {
                    let fate = Fate::ALL[world.chance.below(5) as usize];
                    let process_only = world.chance.toss();
                    world.crash(fate, process_only);
                    world
                        .recover()
                        .unwrap_or_else(|why| panic!("seed {seed} turn {turn}: {why}"));
                }
                world.settle().expect("no cut");
                world
                    .check_states()
                    .unwrap_or_else(|why| panic!("seed {seed} turn {turn}: {why}"));
                world
                    .check_entries()
                    .unwrap_or_else(|why| panic!("seed {seed} turn {turn}: {why}"));
            }
        }
        // Entries keep within the bound; states may go beyond it where it is used up, and each of five openings
        // by one more.
        let segments = 2 * u64::from(Limits::SMALL.segments_max) + 5;
        let bound = u64::from(Limits::SMALL.segment_bytes) * segments;
        assert!(
            world.disk.used_bytes() <= bound,
            "seed {seed}: the log outgrew its bound"
        );
    }
}

/// A full disk takes no more entries, still takes the truncation, and takes entries again after it.
#[test]
fn a_full_disk_can_be_truncated_and_restarted() {
    for seed in 0..20 * scale() {
        let mut world = World::new(seed, Limits::SMALL, Mutant::None);
        world
            .disk
            .set_capacity(u64::from(Limits::SMALL.segment_bytes) * (6 + seed % 4));
        let region = RegionId(1);
        let entry = |index| coracle_wal::Entry {
            index,
            term: 1,
            payload: Bytes::from(vec![7; 900]),
        };
        let fill = |world: &mut World| {
            loop {
                let next = world.model.get(&region).map_or(1, |model| model.last + 1);
                match world.append(region, entry(next)) {
                    Ok(()) => {}
                    Err(Refused::Full) => {
                        let before = world.log.durable_lsn();
                        world.settle().expect("no cut");
                        if world.log.durable_lsn() == before && world.log.is_open() {
                            return next - 1;
                        }
                    }
                    Err(other) => panic!("seed {seed}: {other}"),
                }
                world.flush().expect("no cut");
                while world.busy() > 3 {
                    world.happen().expect("no cut");
                }
            }
        };
        let mut last = fill(&mut world);
        assert!(last > 15, "seed {seed}: only {last} entries fit");
        for round in 0..3 {
            for _ in 0..3 {
                world.crash(Fate::Scattered, false);
                world
                    .recover()
                    .unwrap_or_else(|why| panic!("seed {seed} round {round}: {why}"));
                world.settle().expect("no cut");
            }
            assert!(
                world.log.is_open(),
                "seed {seed} round {round}: no restart on a full disk"
            );
            let durable = world.model[&region].last;
            assert_eq!(durable, last, "seed {seed} round {round}");
            world.checkpoints.insert(region, durable);
            world.log.checkpointed(region, durable);
            let meta = MetaRecord {
                truncated: (durable, 1),
                reset: false,
                tombstone: false,
                payload: Bytes::from_static(b"truncated"),
            };
            world
                .set_meta(region, meta)
                .unwrap_or_else(|why| panic!("seed {seed}: {why}"));
            for _ in 0..6 {
                world.settle().expect("no cut");
                world.log.cover();
            }
            let refilled = fill(&mut world);
            assert!(
                refilled > durable + 10,
                "seed {seed} round {round}: {refilled} after {durable}"
            );
            last = refilled;
            world
                .check_entries()
                .unwrap_or_else(|why| panic!("seed {seed} round {round}: {why}"));
        }
    }
}

/// One region that never truncates cannot fill the log for ever: it is named, and entries are refused.
#[test]
fn a_slow_region_is_named_and_the_log_stays_within_its_bound() {
    let mut world = World::new(5, Limits::SMALL, Mutant::None);
    let slow = RegionId(1);
    let entry = |index| coracle_wal::Entry {
        index,
        term: 1,
        payload: Bytes::from(vec![1; 700]),
    };
    world.append(slow, entry(1)).expect("room");
    for index in 1.. {
        match world.append(RegionId(2), entry(index)) {
            Ok(()) => {}
            Err(Refused::Full) => break,
            Err(other) => panic!("{other}"),
        }
        world.settle().expect("no cut");
        assert!(index < 10_000, "the log has no bound");
    }
    let holders = world.log.oldest_holders(4);
    assert!(
        holders
            .iter()
            .any(|holder| holder.region == slow && holder.needs_checkpoint)
    );
}

/// Where the oldest segment of a full log has nothing to keep it, and one alone is not worth a header,
/// whoever keeps the one behind it is named: else nobody would ever be asked to let go.
#[test]
fn who_holds_a_full_log_is_named_behind_a_segment_that_waits_to_go() {
    let limits = Limits {
        segment_bytes: 112 << 10,
        ..Limits::SMALL
    };
    let mut world = World::new(6, limits, Mutant::None);
    let region = RegionId(1);
    let fill = |world: &mut World, first: u64| {
        for index in first.. {
            let entry = coracle_wal::Entry {
                index,
                term: 1,
                payload: Bytes::from(vec![1; 700]),
            };
            match world.append(region, entry) {
                Ok(()) => {}
                Err(Refused::Full) => return index - 1,
                Err(other) => panic!("{other}"),
            }
            world.settle().expect("no cut");
        }
        unreachable!("the log has a bound")
    };
    let last = fill(&mut world, 1);
    // The next opening begins a segment, of which hardly anything is used.
    world.crash(Fate::Kept, true);
    world.recover().expect("nothing is damaged");
    world.settle().expect("no cut");
    let (begun, live) = (world.log.live_segments(), world.log.segments_left());
    let meta = MetaRecord {
        truncated: (last, 1),
        reset: false,
        tombstone: false,
        payload: Bytes::from_static(b"truncated"),
    };
    world.set_meta(region, meta).expect("room for a state");
    // The entries of the first segment and a few more, none of which the store needs any longer.
    let checkpointed = 30;
    world.checkpoints.insert(region, checkpointed);
    world.log.checkpointed(region, checkpointed);
    for _ in 0..6 {
        world.settle().expect("no cut");
        world.log.cover();
    }
    assert_eq!(
        (world.log.live_segments(), world.log.segments_left()),
        (begun, live),
        "one segment alone is not let go of, or this tells nothing"
    );
    let holders = world.log.oldest_holders(4);
    assert!(
        holders
            .iter()
            .any(|holder| holder.region == region && holder.needs_checkpoint),
        "{holders:?}"
    );
    world.checkpoints.insert(region, last);
    world.log.checkpointed(region, last);
    for _ in 0..6 {
        world.settle().expect("no cut");
        world.log.cover();
    }
    assert!(fill(&mut world, last + 1) > last + 10);
}

/// A write that failed is final: nothing more leaves, nothing more is taken.
#[test]
fn a_failed_write_is_final() {
    let limits = Limits {
        segment_bytes: 112 << 10,
        ..Limits::SMALL
    };
    let mut world = World::new(6, limits, Mutant::None);
    world
        .set_hard_state(RegionId(1), Bytes::from_static(b"vote"))
        .expect("room");
    world.settle().expect("no cut");
    let durable = world.log.durable_lsn();
    world.disk.fail_writes_after(Some(0));
    world
        .set_hard_state(RegionId(1), Bytes::from_static(b"another"))
        .expect("room");
    world.flush().expect("no cut");
    world.flush().expect("no cut");
    assert!(world.log.is_failed());
    assert_eq!(world.log.durable_lsn(), durable);
    let refused = world
        .log
        .set_hard_state(RegionId(1), Bytes::from_static(b"third"));
    assert_eq!(refused, Err(Refused::Failed));
}

/// Sixteen bytes of memory for each logged entry outside the cache, and no more than 32.
#[test]
fn entries_outside_the_cache_are_small() {
    let limits = Limits {
        cache_bytes: 0,
        ..Limits::DEFAULT
    };
    let mut world = World::new(7, limits, Mutant::None);
    let region = RegionId(1);
    let entry = |index| coracle_wal::Entry {
        index,
        term: index / 1000,
        payload: Bytes::from_static(b"0123456789abcdef"),
    };
    for index in 1..=20_000 {
        world.log.append(region, &[entry(index)]).expect("room");
        if index % 500 == 0 {
            world.history.clear();
            world.settle().expect("no cut");
            world.log.applied(region, index);
        }
    }
    world.settle().expect("no cut");
    let per_entry = world.log.memory_bytes() as f64 / 20_000.0;
    println!("{per_entry:.1} bytes of memory for each entry");
    assert!(per_entry <= 32.0, "{per_entry} bytes for each entry");

    // What raft and a replay have let go of gives its memory back.
    world.log.checkpointed(region, 19_900);
    let meta = MetaRecord {
        truncated: (19_900, 19),
        reset: false,
        tombstone: false,
        payload: Bytes::new(),
    };
    world.log.set_meta(region, meta).expect("room");
    world.settle().expect("no cut");
    let left = world.log.memory_bytes();
    assert!(left <= 8 << 10, "{left} bytes for a hundred entries");
}

/// What a turn has appended is known before its batch has a place, and can be replaced and truncated.
#[test]
fn entries_of_the_turn_are_known_and_can_be_replaced() {
    for sealed in [0, 3] {
        let mut world = World::new(8, Limits::SMALL, Mutant::None);
        let (region, other) = (RegionId(1), RegionId(2));
        let entry = |index, term: u64| coracle_wal::Entry {
            index,
            term,
            payload: Bytes::from(format!("{index} of {term}")),
        };
        for index in 1..=sealed {
            world.append(region, entry(index, 1)).expect("room");
        }
        world.settle().expect("no cut");
        for index in sealed + 1..=sealed + 5 {
            world.append(region, entry(index, 2)).expect("room");
            world.append(other, entry(index - sealed, 7)).expect("room");
        }
        let last = sealed + 5;
        assert_eq!(world.log.last_index(region), Some(last));
        assert_eq!(world.log.term(region, last), Some(2));
        assert_eq!(world.log.term(region, sealed + 1), Some(2));
        assert_eq!(world.log.term(region, last + 1), None);
        world.check_states().expect("known before it has a place");
        // A later leader replaces some of them, and a third some of its own.
        world.append(region, entry(last - 1, 3)).expect("room");
        assert_eq!(world.log.term(region, last), None, "it was replaced");
        world.append(region, entry(last, 3)).expect("room");
        world.append(region, entry(last, 4)).expect("room");
        world.append(region, entry(last + 1, 4)).expect("room");
        world.append(other, entry(6, 7)).expect("room");
        world.check_states().expect("known before it has a place");
        world.check_entries().expect("read before it has a place");
        let meta = MetaRecord {
            truncated: (2, if sealed == 0 { 2 } else { 1 }),
            reset: false,
            tombstone: false,
            payload: Bytes::from_static(b"truncated"),
        };
        world.set_meta(region, meta).expect("room");
        world.append(region, entry(last + 2, 4)).expect("room");
        world.settle().expect("no cut");
        world.check_states().expect("the same with a place");
        world.check_entries().expect("the same with a place");
        world.crash(Fate::Lost, false);
        world.recover().expect("the same after a cut");
        world.check_entries().expect("the same after a cut");
    }
}

/// A region reads an entry of the turn while others have gathered some.
#[test]
fn an_entry_of_the_turn_is_fetched_from_memory() {
    let mut world = World::new(9, Limits::SMALL, Mutant::None);
    for region in 1..=3 {
        let entry = coracle_wal::Entry {
            index: 1,
            term: region,
            payload: Bytes::from(vec![region as u8; 2_000]),
        };
        world.append(RegionId(region), entry).expect("room");
    }
    let fetched = world.log.fetch(RegionId(2), 1, 2, 1 << 20);
    assert!(
        matches!(fetched, Ok(coracle_wal::fetch::Fetched::Ready(entries)) if entries[0].term == 2)
    );
    world.settle().expect("no cut");
    world.check_entries().expect("every entry has its place");
}

/// The cache gives back what is over its budget, and no more, though one region has all of it.
#[test]
fn the_cache_stays_near_its_budget() {
    let limits = Limits {
        cache_bytes: 20_000,
        ..Limits::SMALL
    };
    let mut world = World::new(10, limits, Mutant::None);
    let region = RegionId(1);
    for index in 1..=34 {
        let entry = coracle_wal::Entry {
            index,
            term: 1,
            payload: Bytes::from(vec![1; 900]),
        };
        world.append(region, entry).expect("room");
        world.settle().expect("no cut");
        world.log.applied(region, index);
        world.settle().expect("no cut");
        let cached = world.log.cached_bytes();
        assert!(cached <= 20_000, "{cached} bytes after entry {index}");
        assert!(index < 24 || cached > 18_000, "{cached} bytes are left");
    }
}

/// Entries that are given away are as those that are lent; refused, they stay with the caller.
#[test]
fn entries_can_be_given_away() {
    let mut world = World::new(11, Limits::SMALL, Mutant::None);
    let region = RegionId(1);
    let long = Limits::SMALL.entry_bytes_max as usize;
    let made = |index, bytes| coracle_wal::Entry {
        index,
        term: 1,
        payload: Bytes::from(vec![index as u8; bytes]),
    };
    let mut refused = [made(1, 10), made(2, long + 1)];
    let outcome = world.log.append_given(region, &mut refused);
    assert!(matches!(outcome, Err(Refused::TooLarge { .. })));
    assert_eq!(refused, [made(1, 10), made(2, long + 1)]);
    let kept = [
        made(1, 10),
        made(2, 1024),
        made(3, 1025),
        made(4, 0),
        made(5, 3000),
        made(6, 1),
    ];
    let (mut first, mut second) = (kept[..3].to_vec(), kept[3..].to_vec());
    assert_eq!(world.log.append_given(region, &mut first), Ok(()));
    let reserve = world.log.append_given_into_reserve(region, &mut second);
    assert_eq!(reserve, Ok(()));
    for sealed in [false, true] {
        let fetched = world.log.fetch(region, 1, 7, u64::MAX).expect("kept");
        assert_eq!(
            fetched,
            coracle_wal::fetch::Fetched::Ready(kept.to_vec()),
            "sealed: {sealed}"
        );
        world.settle().expect("no cut");
    }
    // And they are on the disk as they were given.
    world.limits.cache_bytes = 0;
    let (mut log, _) =
        crate::world::recover(&world.disk, world.limits, Mutant::None).expect("no damage");
    assert_eq!(log.last_index(region), Some(6));
    let read = log.fetch(region, 1, 7, u64::MAX);
    assert!(matches!(read, Ok(coracle_wal::fetch::Fetched::Pending(_))));
    for entry in &kept {
        assert_eq!(log.term(region, entry.index), Some(1));
    }
}
