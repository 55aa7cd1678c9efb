//! Bytes of manifest and tables that are not what was written: an error with its place, or provably
//! harmless. Never wrong data, a panic, or a hang.

use coracle_engine::merge::Direction;
use coracle_engine::record::KeyRange;

use super::shard::Shard;
use super::world::World;
use super::{replayed, scale, small};
use crate::disk::Chance;

/// A store with tables in several levels, range tombstones and an ingest behind it.
fn settled() -> Shard {
    let mut shard = Shard::new(World::created(small(), 11));
    for round in 0..6 {
        for region in 0..3 {
            for _ in 0..40 {
                let op = shard.random_op(region);
                shard.write(region, op);
            }
        }
        shard.checkpoint().expect("no crash");
        match round {
            3 => shard.ingest(1).expect("no crash"),
            4 => shard.world.work().expect("no crash"),
            _ => {}
        }
    }
    shard
}

#[test]
fn every_damaged_byte_is_an_error_or_harmless() {
    let shard = settled();
    let expected: Vec<_> = shard.expected().into_iter().collect();
    let disk = shard.world.disk.clone();
    let names: Vec<String> = disk.names();
    assert!(names.len() > 4, "{names:?}");
    let mut counts = (0, 0, 0);
    let seeds = match replayed() {
        Some(seed) => seed..seed + 1,
        None => 0..1500 * scale(),
    };
    for seed in seeds {
        let mut chance = Chance::new(seed);
        let name = &names[chance.below(names.len() as u64) as usize];
        let length = disk.len(name).expect("listed");
        // The manifest is mostly zeros: what is written of it is hit more often.
        let written = disk.read(name, 0, length as usize).expect("there");
        let offset = match chance.toss() {
            true => chance.below(length),
            false => {
                let filled: Vec<usize> =
                    (0..written.len()).filter(|at| written[*at] != 0).collect();
                filled[chance.below(filled.len() as u64) as usize] as u64
            }
        };
        let mask = 1u8 << chance.below(8);
        let zeroed = chance.below(3) == 0;
        let mut world = World::new(small(), seed);
        world.disk = disk.clone();
        world.disk.damage(name, offset, |byte| match zeroed {
            true => 0,
            false => byte ^ mask,
        });
        match world.open().expect("no crash") {
            Err(_) => counts.0 += 1,
            Ok(()) => {
                let view = world.store().view();
                let all = KeyRange::all();
                match world
                    .scan(&view, &all, Direction::Forward)
                    .expect("no crash")
                {
                    Err(_) => counts.1 += 1,
                    Ok(found) => {
                        assert!(
                            found == expected,
                            "wrong data after damage of {name} at {offset}: CORACLE_SEED={seed}"
                        );
                        counts.2 += 1;
                    }
                }
                // The store does its work around the damage, or rests; it does not stop the world.
                world.store().start(&[]);
                world.work().expect("no crash");
            }
        }
    }
    let (refused, failed, harmless) = counts;
    println!("{refused} openings refused, {failed} reads failed, {harmless} harmless; none wrong");
    if replayed().is_none() {
        assert!(refused > 50 && failed > 50 && harmless > 50, "{counts:?}");
    }
}

#[test]
fn a_missing_or_shortened_file_is_an_error() {
    let shard = settled();
    for name in shard.world.disk.names() {
        let mut world = World::new(small(), 1);
        world.disk = shard.world.disk.clone();
        world.disk.remove(&name).expect("listed");
        assert!(world.open().expect("no crash").is_err(), "without {name}");
    }
}
