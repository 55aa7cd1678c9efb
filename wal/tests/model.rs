//! Long random lives beside the model: appends, conflicts, resets, truncation, purge, old reads, kills
//! and power cuts, on a disk with and without space.

mod world;

use bytes::Bytes;
use coracle_wal::{Limits, MetaRecord, Mutant, Refused, RegionId};
use world::disk::Fate;
use world::{World, operate, scale};

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
        // Entries keep within the bound; states, and openings, may go beyond it where it is used up.
        let segments = 2 * u64::from(Limits::SMALL.segments_max);
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

/// A write that failed is final: nothing more leaves, nothing more is taken.
#[test]
fn a_failed_write_is_final() {
    let mut world = World::new(6, Limits::SMALL, Mutant::None);
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
}
