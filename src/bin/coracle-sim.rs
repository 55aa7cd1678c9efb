//! The simulator's command: whole clusters in virtual time, one seed after another.

use std::process::ExitCode;

use clap::Parser;
use coracle::shard::mutant::Mutant;
use coracle::sim::plan::{Plan, SECOND};
use coracle::sim::world::{Figures, World};

/// Runs clusters in virtual time under faults that a seed decides, and checks what must hold.
#[derive(Debug, Parser)]
#[command(name = "coracle-sim", version)]
struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after another.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Virtual time with faults, such as 60s; healing comes on top.
    #[arg(long = "for", default_value = "60s", value_parser = seconds)]
    chaos: u64,
    /// Breaks a rule on purpose; "list" prints their names.
    #[arg(long)]
    mutant: Option<String>,
    /// Prints everything that happens.
    #[arg(long)]
    trace: bool,
    /// Runs every seed twice and compares.
    #[arg(long)]
    twice: bool,
    /// Whether clusters grow by joins and placement; without it, the seed decides.
    #[arg(long)]
    grow: Option<bool>,
    /// Goes on after a violation.
    #[arg(long)]
    all: bool,
}

fn seconds(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix('s').unwrap_or(text);
    let seconds: u64 = number
        .parse()
        .map_err(|_| format!("{text} is no number of seconds, such as 60s"))?;
    Ok(seconds * SECOND)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mutant = match arguments.mutant.as_deref() {
        None => Mutant::None,
        Some("list") => {
            Mutant::ALL.iter().for_each(|(name, _)| println!("{name}"));
            return ExitCode::SUCCESS;
        }
        Some(name) => match Mutant::named(name) {
            Some(mutant) => mutant,
            None => {
                eprintln!("no mutant is called {name}; --mutant list prints their names");
                return ExitCode::from(2);
            }
        },
    };
    let replay = |seed: u64| {
        let mutant = arguments
            .mutant
            .as_ref()
            .map(|name| format!(" --mutant {name}"));
        let grow = arguments.grow.map(|grow| format!(" --grow {grow}"));
        format!(
            "cargo run --release --bin coracle-sim -- --seed {seed} --for {}s{}{} --trace",
            arguments.chaos / SECOND,
            mutant.unwrap_or_default(),
            grow.unwrap_or_default()
        )
    };
    let mut violations = 0;
    let mut sum = Figures::default();
    for seed in arguments.seed..arguments.seed + arguments.seeds {
        let told = replay(seed);
        std::panic::set_hook(Box::new(move |panic| {
            println!("seed {seed} PANIC {panic}\n  replay: {told}");
        }));
        let plan = match arguments.grow {
            None => Plan::new(seed, arguments.chaos, mutant),
            Some(true) => Plan::growing(seed, arguments.chaos, mutant),
            Some(false) => Plan::standing(seed, arguments.chaos, mutant),
        };
        let run = || World::new(plan.clone(), arguments.trace).run();
        // Where panics unwind, the next seed follows; where they abort, the hook has said all.
        let Ok((figures, verdict)) = std::panic::catch_unwind(run) else {
            violations += 1;
            if !arguments.all {
                break;
            }
            continue;
        };
        println!(
            "seed {seed}: {} nodes × {} shards, {:.1} s, {} events, {} operations ({} unknown), {} elections, {} entries, \
             {} snapshots, {} changes, {} peers gone; {} crashes, {} pauses, {} partitions, {} full and {} failing disks, \
             {} joins, {} wipes, {} moves",
            plan.nodes,
            plan.shards,
            figures.time as f64 / SECOND as f64,
            figures.events,
            figures.known,
            figures.unknown,
            figures.elections,
            figures.entries,
            figures.snapshots,
            figures.operations,
            figures.destroyed,
            figures.crashes,
            figures.pauses,
            figures.partitions,
            figures.full_disks,
            figures.failing_disks,
            figures.joins,
            figures.wipes,
            figures.moves
        );
        println!("hash {:016x}", figures.hash);
        add(&mut sum, &figures);
        let mut failed = verdict.err().map(|violation| violation.to_string());
        if arguments.twice && failed.is_none() {
            let (again, _) = run();
            if again != figures {
                failed = Some(format!("determinism: the second run differs: {again:?}"));
            }
        }
        if let Some(violation) = failed {
            println!(
                "seed {seed} VIOLATION {violation}\n  replay: {}",
                replay(seed)
            );
            violations += 1;
            if !arguments.all {
                break;
            }
        }
    }
    if arguments.seeds > 1 {
        println!(
            "{:.1} virtual minutes, {} operations ({} unknown), {} elections, {} entries, {} snapshots, {} changes, {} peers gone, \
             {} crashes, {} pauses, {} partitions, {} full and {} failing disks, {} joins, {} wipes, {} moves, {violations} violations",
            sum.time as f64 / SECOND as f64 / 60.0,
            sum.known,
            sum.unknown,
            sum.elections,
            sum.entries,
            sum.snapshots,
            sum.operations,
            sum.destroyed,
            sum.crashes,
            sum.pauses,
            sum.partitions,
            sum.full_disks,
            sum.failing_disks,
            sum.joins,
            sum.wipes,
            sum.moves
        );
    }
    match violations {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn add(sum: &mut Figures, figures: &Figures) {
    sum.time += figures.time;
    sum.known += figures.known;
    sum.unknown += figures.unknown;
    sum.elections += figures.elections;
    sum.entries += figures.entries;
    sum.snapshots += figures.snapshots;
    sum.destroyed += figures.destroyed;
    sum.operations += figures.operations;
    sum.crashes += figures.crashes;
    sum.pauses += figures.pauses;
    sum.partitions += figures.partitions;
    sum.full_disks += figures.full_disks;
    sum.failing_disks += figures.failing_disks;
    sum.joins += figures.joins;
    sum.wipes += figures.wipes;
    sum.moves += figures.moves;
}
