//! The simulator's command: whole clusters in virtual time, one seed after another.

use std::process::ExitCode;

use clap::Parser;
use coracle::memory::Memory;
use coracle::shard::mutant::Mutant;
use coracle::sim::figures::Figures;
use coracle::sim::plan::{Plan, SECOND};
use coracle::sim::tell::tell;
use coracle::sim::world::World;

#[global_allocator]
static MEMORY: Memory = Memory;

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
    /// Whether there are faults of the later kinds: damage, failing reads, slow links, flapping partitions,
    /// jumping clocks, vanishing leaders; without it, the seed decides where `--grow` does not.
    #[arg(long)]
    trouble: Option<bool>,
    /// Whether every second read is answered while it is asked, where it can be; without it, the seed decides
    /// where `--grow` does not.
    #[arg(long)]
    at_hand: Option<bool>,
    /// Whether regions are split; without it, the seed decides where `--grow` does not.
    #[arg(long)]
    split: Option<bool>,
    /// Whether regions grow quiet; without it, the seed decides where `--grow` does not.
    #[arg(long)]
    quiet: Option<bool>,
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
            Mutant::ALL.iter().for_each(|(name, _)| tell(name));
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
        let trouble = arguments
            .trouble
            .map(|trouble| format!(" --trouble {trouble}"));
        let at_hand = arguments
            .at_hand
            .map(|at_hand| format!(" --at-hand {at_hand}"));
        let split = arguments.split.map(|split| format!(" --split {split}"));
        let quiet = arguments.quiet.map(|quiet| format!(" --quiet {quiet}"));
        format!(
            "cargo run --release --bin coracle-sim -- --seed {seed} --for {}s{}{}{}{}{}{} --trace",
            arguments.chaos / SECOND,
            mutant.unwrap_or_default(),
            grow.unwrap_or_default(),
            trouble.unwrap_or_default(),
            at_hand.unwrap_or_default(),
            split.unwrap_or_default(),
            quiet.unwrap_or_default()
        )
    };
    let mut violations = 0;
    let mut sum = Figures::default();
    for seed in arguments.seed..arguments.seed + arguments.seeds {
        let told = replay(seed);
        std::panic::set_hook(Box::new(move |panic| {
            tell(format_args!("seed {seed} PANIC {panic}\n  replay: {told}"));
        }));
        let mut plan = match arguments.grow {
            None => Plan::new(seed, arguments.chaos, mutant),
            Some(true) => Plan::growing(seed, arguments.chaos, mutant),
            Some(false) => Plan::standing(seed, arguments.chaos, mutant),
        };
        match arguments.trouble {
            None => {}
            Some(true) => plan = plan.troubled(),
            Some(false) => plan.trouble = None,
        }
        plan.reads_at_hand = arguments.at_hand.unwrap_or(plan.reads_at_hand);
        match arguments.split {
            None => {}
            Some(true) => plan = plan.split(),
            Some(false) => plan = plan.whole(),
        }
        if let Some(quiet) = arguments.quiet {
            plan.quiet(quiet);
        }
        let run = || World::new(plan.clone(), arguments.trace).run();
        // Where panics unwind, the next seed follows; where they abort, the hook has said all.
        let Ok((figures, verdict)) = std::panic::catch_unwind(run) else {
            violations += 1;
            if !arguments.all {
                break;
            }
            continue;
        };
        tell(format_args!(
            "seed {seed}: {} nodes × {} shards, {}",
            plan.nodes,
            plan.shards,
            line(&figures)
        ));
        tell(format_args!("hash {:016x}", figures.hash));
        sum.add(&figures);
        let mut failed = verdict.err().map(|violation| violation.to_string());
        if arguments.twice && failed.is_none() {
            let (again, _) = run();
            if again != figures {
                failed = Some(format!("determinism: the second run differs: {again:?}"));
            }
        }
        if let Some(violation) = failed {
            tell(format_args!(
                "seed {seed} VIOLATION {violation}\n  replay: {}",
                replay(seed)
            ));
            violations += 1;
            if !arguments.all {
                break;
            }
        }
    }
    if arguments.seeds > 1 {
        tell(format_args!(
            "{:.1} virtual minutes: {}; {violations} violations",
            sum.time as f64 / SECOND as f64 / 60.0,
            line(&sum)
        ));
    }
    match violations {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// What happened, in one line.
fn line(figures: &Figures) -> String {
    let mut out = format!("{:.1} s", figures.time as f64 / SECOND as f64);
    for (count, what) in figures.counts() {
        out.push_str(&format!(", {count} {what}"));
    }
    out
}
