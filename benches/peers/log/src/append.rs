//! Durable appends: every shape, every contender, every depth, in interleaved rounds.

use crate::bare;
use crate::contender::{Contender, Stint};
use crate::ours::{self, OURS};
use crate::peer::{self, VARIANTS};
use crate::ring;
use crate::settings::{Arguments, Settings};
use crate::shape::{self, Shape};
use coracle_bench_harness::{Cell, Report, Runner, Side, interleave};
use std::time::Duration;

/// What the tables call the peer, in whichever configuration.
pub const PEER: &str = "raft-engine";

/// Runs what the arguments select and prints a table for every shape and depth.
pub fn run(arguments: &Arguments, settings: &Settings, report: &mut Report) {
    let (rounds, seconds) = if arguments.quick { (3, 0.2) } else { (9, 0.25) };
    let rounds = arguments.rounds.unwrap_or(rounds);
    let seconds = arguments.seconds.unwrap_or(seconds);
    println!("\n## Durable appends\n");
    println!(
        "An operation is one durable batch. {rounds} interleaved rounds of {seconds} s for each side and \
         depth. raft-engine makes one batch durable at a time on one thread, so every depth of ours \
         stands beside its one; it is shown in the best of three configurations."
    );
    for shape in shape::shapes(arguments.quick) {
        let filter = arguments.cells.as_ref();
        if filter.is_none_or(|filter| shape::selected(filter, &shape)) {
            for cell in run_shape(
                arguments,
                settings,
                shape,
                rounds,
                Duration::from_secs_f64(seconds),
            ) {
                println!("{}", report.add(cell, OURS));
            }
        }
    }
}

/// The name of a cell.
pub fn cell_name(shape: Shape, in_flight: usize) -> String {
    format!("append {shape}, {in_flight} in flight")
}

fn run_shape(
    arguments: &Arguments,
    settings: &Settings,
    shape: Shape,
    rounds: usize,
    time: Duration,
) -> Vec<Cell> {
    let (batch_bytes, file_bytes) = (ours::batch_bytes(shape), ours::file_bytes(shape));
    let stint = |in_flight, time| Stint {
        shape,
        in_flight,
        time,
    };
    let peer = arguments
        .has_side("peer")
        .then(|| best_peer(settings, stint(1, time / 2)));
    if let Some((_, variant)) = &peer {
        println!("\nBest configuration of the peer for {shape}: {variant}.");
    }
    let mut contenders = Vec::new();
    if arguments.has_side("ours") {
        contenders.push(ours::start(settings, shape));
    }
    if arguments.has_side("bare") {
        contenders.push(bare::start(settings, batch_bytes, file_bytes));
    }
    if arguments.has_side("ring") {
        contenders.push(ring::start(settings, batch_bytes, file_bytes));
    }
    write_back();
    let mut names = Vec::new();
    for in_flight in arguments.depths.iter().copied() {
        for contender in &contenders {
            contender.run(stint(in_flight, Duration::from_millis(50)));
            names.push((side_name(contender, in_flight), contender, in_flight));
        }
    }
    let mut runners: Vec<Runner<'_>> = Vec::new();
    for (name, contender, in_flight) in &names {
        let stint = stint(*in_flight, time);
        runners.push((name, Box::new(move |_| contender.run(stint))));
    }
    if let Some((peer, _)) = &peer {
        runners.push((PEER, Box::new(|_| peer.run(stint(1, time)))));
    }
    let all = interleave(&shape.to_string(), rounds, &mut runners);
    let depths = arguments.depths.iter();
    depths
        .map(|in_flight| depth_cell(&all, shape, *in_flight, &contenders))
        .collect()
}

fn side_name(contender: &Contender, in_flight: usize) -> String {
    format!("{} {in_flight}", contender.name)
}

/// One table: every side at one depth, and the peer at its one.
fn depth_cell(all: &Cell, shape: Shape, in_flight: usize, contenders: &[Contender]) -> Cell {
    let side = |from: String, to: &str| {
        let samples = all.side(&from)?.samples.clone();
        let name = to.to_string();
        Some(Side { name, samples })
    };
    let sides = contenders
        .iter()
        .filter_map(|contender| side(side_name(contender, in_flight), contender.name));
    let sides = sides.chain(side(PEER.to_string(), PEER)).collect();
    Cell {
        name: cell_name(shape, in_flight),
        sides,
    }
}

/// The variant of the peer with the highest median rate of three short stretches, after one that
/// warms it up; the others end.
fn best_peer(settings: &Settings, stint: Stint) -> (Contender, &'static str) {
    let peers = VARIANTS.map(|variant| peer::start(settings, variant, stint.shape));
    write_back();
    let mut runners: Vec<Runner<'_>> = Vec::new();
    for peer in &peers {
        peer.run(stint);
        runners.push((peer.name, Box::new(move |_| peer.run(stint))));
    }
    let tried = interleave("configurations", 3, &mut runners);
    drop(runners);
    let rate = |peer: &Contender| {
        let side = tried.side(peer.name).expect("every peer has run");
        side.median(coracle_bench_harness::Sample::rate)
    };
    let best = peers.into_iter().max_by(|a, b| rate(a).total_cmp(&rate(b)));
    let best = best.expect("there are three");
    let name = best.name;
    (best, name)
}

/// Lets what setting up has left in the page cache go to the disk.
fn write_back() {
    // SAFETY: takes nothing and returns nothing.
    unsafe { libc::sync() };
}
