//! The log beside its peers: durable appends, recovery and memory.

#![deny(missing_docs)]
#![expect(
    clippy::disallowed_methods,
    reason = "a bench is where the world enters, clocks and files included"
)]

mod shape; // what a batch is made of, and the payload
mod settings; // the command line, and what all contenders share
mod contender; // a thread that makes batches durable for one stretch at a time
mod bare; // the ceiling: a write loop on glommio
mod ring; // for the record: io_uring without glommio
mod peer; // raft-engine
mod ours; // coracle-wal through the driver
mod append; // durable appends, all contenders, all depths

mod memory; // what is allocated
mod goals; // what it should reach
mod recovery; // opening a large log, and what it keeps in memory

use clap::Parser;
use coracle::runtime::disk::Durability;
use coracle_bench_harness::{Machine, Report};
use settings::{Arguments, Settings};
use std::path::Path;

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

fn main() {
    let arguments = Arguments::parse();
    std::fs::create_dir_all(&arguments.directory).unwrap_or_else(|error| {
        eprintln!("{}: {error}", arguments.directory.display());
        std::process::exit(2);
    });
    let machine = Machine::probe(&arguments.directory, Path::new(env!("CARGO_MANIFEST_DIR")));
    if machine.cores < 4 && !arguments.few_cores {
        println!(
            "skipped: {} CPUs; figures count on 4 or more (--few-cores runs anyway)",
            machine.cores
        );
        return;
    }
    let mut settings = Settings {
        directory: arguments.directory.clone(),
        cpu: settings::parse_cpu(&arguments.cpu),
        peer_cpu: settings::parse_cpu(&arguments.peer_cpu),
        spin_us: arguments.spin_us,
        durability: Durability::WriteThrough,
    };
    settings.durability = match arguments.durability.as_str() {
        "through" => Durability::WriteThrough,
        "sync" => Durability::WriteThenSync,
        _ => settings::probe_durability(&settings),
    };
    let mut report = Report::new(machine);
    report.settings.push(format!(
        "durability {:?}; executors on CPU {}, the peer on CPU {}; spin {} µs",
        settings.durability, arguments.cpu, arguments.peer_cpu, settings.spin_us
    ));
    println!("# The log and its peers\n\n{}", report.machine.lines());
    println!("{}", report.settings.join("\n"));
    let wants = |part: &str| arguments.parts.split(',').any(|wanted| wanted == part);
    if wants("append") {
        append::run(&arguments, &settings, &mut report);
    }
    if wants("recovery") {
        recovery::run(&arguments, &settings, &mut report);
    }
    goals::print(&arguments, &mut report);
    if let Some(path) = &arguments.json {
        report
            .write_json(path)
            .expect("the JSON file can be written");
    }
    std::fs::remove_dir_all(&arguments.directory).expect("the files can be removed");
}
