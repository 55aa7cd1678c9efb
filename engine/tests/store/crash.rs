//! The power goes at every single effect of a short life, and again during the recovery from it.
//! The same exploration must catch every rule that is broken on purpose.

use std::panic::{AssertUnwindSafe, catch_unwind};

use coracle_engine::options::{Mutant, Options};

use super::shard::Shard;
use super::world::{Crashed, World};
use super::{scale, small};

/// A short life with everything in it, the same for the same seed.
fn script(shard: &mut Shard) -> Result<(), Crashed> {
    for round in 0..10 {
        for region in 0..3 {
            for _ in 0..25 {
                let op = shard.random_op(region);
                shard.write(region, op);
            }
        }
        let rotation = shard.rotate()?;
        // The log is late: the edit must wait for it.
        for _ in 0..30 {
            shard.world.store().step();
            shard.world.carry_one()?;
        }
        shard.sync_log(shard.last_lsn);
        shard
            .world
            .work_until(|world| world.store().is_durable(rotation))?;
        shard.purge();
        match round {
            2 | 7 => shard.ingest(1)?,
            4 => shard.destroy(2)?,
            _ => shard.world.work()?,
        }
    }
    shard.world.work()
}

/// Each effect is cut so many times, with other losses.
const VARIATIONS: u64 = 4;

/// Cuts the power at effect `n`, recovers with another cut at a random effect, checks. Returns whether
/// the life was longer than `n`.
fn cut_at(options: &Options, seed: u64, n: u64, variation: u64) -> bool {
    let mut world = World::created(options.clone(), seed);
    world.crash_after = Some(n);
    // Fates are drawn anew for every cut.
    world.fates = seed ^ (n << 20) ^ (variation << 40);
    world.slow_syncs = variation % 2 == 1;
    let mut shard = Shard::new(world);
    if script(&mut shard).is_ok() {
        shard.world.crash_after = None;
        shard.check().expect("no crash");
        return false;
    }
    shard.world.crash_after = Some(1 + (n + 7 * variation) % 23);
    while shard.recover().is_err() {}
    shard.world.crash_after = None;
    shard.check().expect("no crash");
    // Life goes on as if nothing had been.
    for region in 0..3 {
        let op = shard.random_op(region);
        shard.write(region, op);
    }
    shard.checkpoint().expect("no crash");
    shard.world.work().expect("no crash");
    shard.check().expect("no crash");
    true
}

fn explore(options: &Options, seed: u64) -> u64 {
    let mut cases = 0;
    for n in 1.. {
        for variation in 0..VARIATIONS {
            if !cut_at(options, seed, n, variation) {
                return cases;
            }
            cases += 1;
        }
    }
    unreachable!("a life ends");
}

#[test]
fn the_power_may_go_at_every_effect() {
    let mut cases = 0;
    for seed in 0..3 * scale() {
        cases += explore(&small(), seed);
    }
    println!("{cases} cuts, each with a second one during recovery; no violation");
    assert!(cases > 1000, "only {cases} cuts");
}

fn caught(mutant: Mutant) {
    let options = Options { mutant, ..small() };
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let seen =
        (0..8).any(|seed| catch_unwind(AssertUnwindSafe(|| explore(&options, seed))).is_err());
    std::panic::set_hook(hook);
    assert!(seen, "{mutant:?} was not seen");
}

#[test]
fn an_edit_before_its_log_is_caught() {
    caught(Mutant::EditBeforeLog);
}

#[test]
fn an_edit_before_its_tables_is_caught() {
    caught(Mutant::EditBeforeTables);
}

#[test]
fn a_table_removed_before_its_edit_is_caught() {
    caught(Mutant::RemoveBeforeEdit);
}
