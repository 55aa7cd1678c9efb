//! Random operations against a map: all reads, over flushes, compactions, ingests, range deletes,
//! destroyed regions, and crashes at any effect with a replay of the log behind the checkpoint.

use std::panic::{AssertUnwindSafe, catch_unwind};

use coracle_engine::options::Options;
use coracle_engine::view::View;

use super::shard::{Content, Shard};
use super::world::{Crashed, World};
use super::{replayed, scale, small};

fn explore(name: &str, seeds: std::ops::Range<u64>, run: impl Fn(u64) -> u64) {
    let seeds: Vec<u64> = match replayed() {
        Some(seed) => vec![seed],
        None => seeds.collect(),
    };
    let mut crashes = 0;
    for seed in seeds {
        match catch_unwind(AssertUnwindSafe(|| run(seed))) {
            Ok(count) => crashes += count,
            Err(panic) => {
                eprintln!(
                    "replay: CORACLE_SEED={seed} cargo test --profile proof -p coracle-engine --test engine {name}"
                );
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{name}: {crashes} crashes");
}

/// One life: actions until the end, or until the world ends.
fn live(shard: &mut Shard, actions: u64) -> Result<(), Crashed> {
    let mut views: Vec<(View, Content)> = Vec::new();
    for _ in 0..actions {
        match shard.world.chance.below(100) {
            0..50 => {
                let region = shard.world.chance.below(3) as usize;
                for _ in 0..=shard.world.chance.below(12) {
                    let op = shard.random_op(region);
                    shard.write(region, op);
                }
                if shard.world.store().wants_rotation() {
                    shard.rotate()?;
                }
            }
            50..60 => {
                let ahead = shard.last_lsn - shard.durable_lsn;
                let lsn = shard.durable_lsn + shard.world.chance.below(ahead + 1);
                shard.sync_log(lsn);
            }
            60..80 => {
                for _ in 0..10 {
                    shard.world.store().step();
                    shard.world.carry_one()?;
                }
            }
            80..83 => {
                if !shard.world.store().is_busy() {
                    shard.rotate()?;
                }
            }
            83..86 => shard.purge(),
            86..89 => {
                if views.len() < 3 {
                    let view = shard.world.store().view();
                    views.push((view, shard.expected()));
                }
            }
            89..93 => {
                if !views.is_empty() {
                    let place = shard.world.chance.below(views.len() as u64) as usize;
                    let (view, expected) = views.swap_remove(place);
                    shard.world.check_view(&view, &expected)?;
                }
            }
            93..96 => shard.check()?,
            96..97 => {
                let region = shard.world.chance.below(3) as usize;
                shard.ingest(region)?;
            }
            97..98 => {
                let region = shard.world.chance.below(3) as usize;
                shard.destroy(region)?;
            }
            _ => {
                shard.sync_log(shard.last_lsn);
                shard.world.work()?;
            }
        }
        shard.world.events.clear();
    }
    for (view, expected) in &views {
        shard.world.check_view(view, expected)?;
    }
    shard.check()
}

/// Returns how many crashes there were.
fn run(options: Options, seed: u64, crash_one_in: u64, actions: u64) -> u64 {
    let mut shard = Shard::new(World::created(options, seed));
    let mut crashes = 0;
    loop {
        shard.world.crash_one_in = crash_one_in;
        if live(&mut shard, actions).is_ok() {
            break;
        }
        crashes += 1;
        // A crash during recovery is as good as any; now and then one goes through.
        shard.world.crash_one_in = if crashes % 3 == 0 { crash_one_in } else { 0 };
        while shard.recover().is_err() {
            crashes += 1;
        }
        shard.world.crash_one_in = 0;
        shard.check().expect("no crash");
        if crashes > 40 {
            break;
        }
    }
    crashes
}

#[test]
fn the_store_is_a_map() {
    explore("the_store_is_a_map", 0..12 * scale(), |seed| {
        run(small(), seed, 0, 400)
    });
}

#[test]
fn the_store_is_a_map_through_crashes() {
    explore(
        "the_store_is_a_map_through_crashes",
        100..100 + 24 * scale(),
        |seed| run(small(), seed, 400, 200),
    );
}

#[test]
fn a_cache_of_one_block_is_enough() {
    let options = Options {
        cache_bytes: 4096,
        ..small()
    };
    explore(
        "a_cache_of_one_block_is_enough",
        200..200 + 6 * scale(),
        |seed| run(options.clone(), seed, 0, 200),
    );
}
