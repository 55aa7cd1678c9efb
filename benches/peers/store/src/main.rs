//! The state store beside its peers, one thread each, everything on one core: `cargo run --release` in
//! this directory. What is measured and how is said in `benches/README.md`.
#![expect(
    clippy::disallowed_methods,
    reason = "the benches are where the world enters, clocks included"
)]

mod bare; // the ceiling of uncached gets
mod cells; // what is measured
mod copies; // the ceiling of puts of new keys
mod executor; // where ours and the ceiling run
mod files; // what the disk sees
mod keys; // keys, their order, values
mod lsm; // the peer lsm-tree
mod none; // the loops alone
mod ours; // the state store of this project
mod rocks; // the peer RocksDB
mod settings; // the command line
mod side; // what a side must be able to do
mod work; // the loops

use std::process::ExitCode;

use clap::Parser;
use coracle_bench_harness::{Machine, Report, foreign_cpu_cores_now, pin_process};

use crate::{cells::Bench, settings::Settings};

fn main() -> ExitCode {
    let settings = Settings::parse();
    if settings.cells.iter().any(|cell| cell == "list") {
        cells::NAMES.iter().for_each(|name| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    let root = settings
        .directory
        .join(format!("coracle-bench-store-{}", std::process::id()));
    std::fs::create_dir_all(&root).expect("the directory is writable");
    let machine = Machine::probe(&root, std::path::Path::new(env!("CARGO_MANIFEST_DIR")));
    print!("{}", machine.lines());
    if machine.cores < 4 && !settings.quick {
        println!("fewer than 4 cores: figures would not count; --quick runs it all the same");
        return ExitCode::SUCCESS;
    }
    println!(
        "settings: core {} for all, {} rounds, no journal in any, LZ4 {}; foreign CPU now {:.2} cores",
        settings.core,
        settings.rounds(),
        if settings.lz4 { "on" } else { "off" },
        foreign_cpu_cores_now(std::time::Duration::from_millis(500)),
    );
    pin_process(settings.core).expect("the core exists");
    executor::start(settings.core, &root);
    let mut report = Report::new(machine);
    let mut sides = vec![ours::SIDE, rocks::SIDE, lsm::SIDE];
    sides.retain(|side| settings.wants_side(side.name));
    let mut bench = Bench::new(
        &settings,
        &root,
        sides,
        (copies::SIDE, bare::SIDE, none::SIDE),
        &mut report,
    );
    for &value_bytes in &settings.values {
        bench.run(value_bytes);
    }
    let disagreement = bench.disagreement;
    println!("\n{}", report.goals_table());
    if let Some(path) = &settings.json {
        report.write_json(path).expect("the JSON file is writable");
    }
    std::fs::remove_dir_all(&root).expect("what was made can be removed");
    if disagreement {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
