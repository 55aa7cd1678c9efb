//! Crashes everywhere: the power goes at every single effect of many runs, with every fate for what
//! was not durable, and again during recovery. Afterwards nothing acknowledged is missing, nothing
//! half-written is visible, and nothing old rises.

use crate::world::disk::Fate;
use crate::world::{PowerWentOut, World, operate, scale};
use coracle_wal::{Limits, Mutant};

/// A life of a log: operations, turns, completions, until the steps are used up or the plan is over.
fn live(world: &mut World, turns: u64, regions: u64) -> Result<(), PowerWentOut> {
    for _ in 0..turns {
        for _ in 0..1 + world.chance.below(6) {
            operate(world, regions);
        }
        world.flush()?;
        while world.busy() > 0 && world.chance.below(100) < 70 {
            world.happen()?;
        }
    }
    world.settle()
}

/// One case: live, crash, recover (crashing on the way), live on, crash, recover, compare everything.
fn case(seed: u64, mutant: Mutant, first_cut: Option<u64>, fate: Fate) -> Result<u64, String> {
    let mut world = World::new(seed, Limits::SMALL, mutant);
    let regions = [1, 3, 9][(seed % 3) as usize];
    world.steps_left = first_cut;
    let outcome = live(&mut world, 30, regions);
    let steps = world.steps;
    let mut fate = fate;
    let mut outcome = outcome;
    for life in 0..3 {
        // A run that came to its end is crashed as well: everything is acknowledged then.
        let process_only = world.chance.below(4) == 0;
        world.crash(fate, process_only);
        let _ = outcome;
        let verdict = world.recover()?;
        if std::env::var("CORACLE_REPLAY").is_ok() {
            println!(
                "life {life}: {fate:?} {verdict:?}, acknowledged {}",
                world.acknowledged
            );
        }
        fate = Fate::ALL[world.chance.below(5) as usize];
        world.steps_left = Some(match life {
            0 => world.chance.below(6),
            1 => 20 + world.chance.below(120),
            _ => 1 << 40,
        });
        outcome = live(&mut world, 6, regions);
    }
    world.steps_left = None;
    if outcome.is_err() {
        return Err("a life without a cut was cut".into());
    }
    world.settle().map_err(|_| "cut".to_string())?;
    world.check_states()?;
    world.check_entries()?;
    Ok(steps)
}

fn caught(seed: u64, mutant: Mutant, cut: Option<u64>, fate: Fate) -> Result<u64, String> {
    let run = || case(seed, mutant, cut, fate);
    match std::panic::catch_unwind(run) {
        Ok(outcome) => outcome,
        Err(panic) => Err(panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()))
            .unwrap_or_else(|| "a panic".into())),
    }
}

#[test]
fn the_power_goes_at_every_effect() {
    let mut cases = 0;
    for seed in 0..60 * scale() {
        let steps = case(seed, Mutant::None, None, Fate::Lost)
            .unwrap_or_else(|why| panic!("seed {seed}, no cut: {why}"));
        for cut in 0..steps {
            for fate in Fate::ALL {
                cases += 1;
                if let Err(why) = caught(seed, Mutant::None, Some(cut), fate) {
                    panic!(
                        "seed {seed}, cut at effect {cut}, {fate:?}: {why}; replay with replay_one"
                    );
                }
            }
        }
    }
    println!("{cases} crashes, no violation");
    assert!(cases > 10_000, "only {cases} cases");
}

/// `CORACLE_REPLAY=seed,cut,fate` runs one case of the exploration again.
#[test]
fn replay_one() {
    let Ok(replay) = std::env::var("CORACLE_REPLAY") else {
        return;
    };
    let parts: Vec<&str> = replay.split(',').collect();
    let [seed, cut, fate] = parts[..] else {
        panic!("CORACLE_REPLAY=seed,cut,fate")
    };
    let fate = Fate::ALL
        .into_iter()
        .find(|known| format!("{known:?}") == fate)
        .expect("a fate");
    let (seed, cut) = (seed.parse().expect("a seed"), cut.parse().expect("a cut"));
    case(seed, Mutant::None, Some(cut), fate).expect("no violation");
}

#[test]
fn every_planted_bug_is_caught() {
    std::panic::set_hook(Box::new(|_| {}));
    for mutant in Mutant::ALL {
        // Without damage there is nothing to mistake, and without room nothing is lost: told elsewhere.
        if matches!(mutant, Mutant::DamageIsTail | Mutant::KeepStuck) {
            continue;
        }
        let mut tried = 0;
        let found = (0..60).find_map(|seed| {
            let steps = caught(seed, Mutant::None, None, Fate::Lost).ok()?;
            (0..steps).step_by(3).find_map(|cut| {
                Fate::ALL.into_iter().find_map(|fate| {
                    tried += 1;
                    caught(seed, mutant, Some(cut), fate).err()
                })
            })
        });
        let why = found.unwrap_or_else(|| {
            let _ = std::panic::take_hook();
            panic!("{mutant:?} was not caught in {tried} cases")
        });
        println!("{mutant:?}: caught after {tried} cases: {why}");
    }
    let _ = std::panic::take_hook();
}
