//! Damage everywhere: bytes of every segment are flipped and zeroed, one at a time. Recovery names a
//! place, or what it returns is exactly what was written; never wrong data, a panic or a hang.

use crate::world::{World, operate, scale};
use coracle_wal::{Limits, Mutant};

fn written(seed: u64) -> World {
    let mut world = World::new(seed, Limits::SMALL, Mutant::None);
    for _ in 0..30 {
        for _ in 0..1 + world.chance.below(6) {
            operate(&mut world, [1, 3, 9][(seed % 3) as usize]);
        }
        world.settle().expect("no cut");
    }
    world.log.cover();
    world.settle().expect("no cut");
    world
}

/// What recovery says of a damaged disk: the place, or harmless, or what is wrong.
fn verdict(
    written: &World,
    file: &str,
    offset: u64,
    change: impl Fn(u8) -> u8,
    mutant: Mutant,
) -> Result<bool, String> {
    let mut disk = written.disk.clone();
    disk.damage(file, offset, change);
    let (log, _) = match crate::world::recover(&disk, written.limits, mutant) {
        Ok(recovered) => recovered,
        Err(_) => return Ok(true),
    };
    let mut after = World::new(1, written.limits, Mutant::None);
    after.disk = disk;
    after.log = log;
    after.model = written.model.clone();
    after.checkpoints = written.checkpoints.clone();
    for (region, index) in &after.checkpoints {
        after.log.checkpointed(*region, *index);
    }
    after.check_states()?;
    after.check_entries()?;
    Ok(false)
}

#[test]
fn every_byte_of_every_segment() {
    let (mut named, mut harmless) = (0, 0);
    for seed in 0..3 * scale() {
        let world = written(seed);
        for file in world.disk.names() {
            let len = world.disk.len(&file).expect("it is listed");
            let mut offset = seed;
            while offset < len {
                for (kind, change) in [("flip", (|byte| byte ^ 1) as fn(u8) -> u8), ("zero", |_| 0)]
                {
                    let was = world.disk.read(&file, offset, 1).expect("it is there")[0];
                    if change(was) == was {
                        continue;
                    }
                    match verdict(&world, &file, offset, change, Mutant::None) {
                        Ok(true) => named += 1,
                        Ok(false) => harmless += 1,
                        Err(why) => panic!("seed {seed}, {kind} {file} at {offset}: {why}"),
                    }
                }
                // Every byte of the headers, every seventh of the rest.
                offset += if offset % 4096 < 160 { 1 } else { 7 };
            }
        }
    }
    println!("{named} damages named, {harmless} harmless, none missed");
    assert!(
        named > 5_000 && named + harmless > 10_000,
        "{named} + {harmless}"
    );
}

#[test]
fn damage_taken_for_the_tail_is_caught() {
    let world = written(2);
    let caught = world.disk.names().iter().any(|file| {
        let len = world.disk.len(file).expect("it is listed");
        (4096..len).step_by(61).any(|offset| {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                verdict(&world, file, offset, |byte| byte ^ 1, Mutant::DamageIsTail)
            }));
            !matches!(outcome, Ok(Ok(_)))
        })
    });
    assert!(caught, "recovery that forgives damage was not caught");
}
