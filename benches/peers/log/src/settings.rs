//! What a run was asked to do, and the few choices that all contenders share.

use crate::shape::DEPTHS;
use clap::Parser;
use coracle::runtime::disk::{Durability, probe};
use std::path::PathBuf;

/// Puts the log beside a bare write loop, an io_uring loop and raft-engine, in the same run, on the
/// same file system, with the same durability, in interleaved rounds.
#[derive(Parser)]
#[command(name = "coracle-bench-log")]
pub struct Arguments {
    /// Where the files go; they are removed at the end. The disk under it is what is measured.
    #[arg(long, default_value = "bench-log-files")]
    pub directory: PathBuf,
    /// A few shapes, 3 rounds, short stretches: to see that it works, not to quote.
    #[arg(long)]
    pub quick: bool,
    /// Interleaved rounds per shape.
    #[arg(long)]
    pub rounds: Option<usize>,
    /// Length of one stretch: one contender, one depth, one round.
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Only shapes with one of these fields in their name, such as `256B`, `100r/64e`, `64e,16e`.
    #[arg(long)]
    pub cells: Option<String>,
    /// Write everything that was measured into this file as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// The CPU that executors (and the io_uring loop) are pinned to, or `any`. Where the disk has one
    /// queue, whose interrupt lands on one CPU, a pin to another one costs a wake-up per batch.
    #[arg(long, default_value = "any")]
    pub cpu: String,
    /// The CPU that the peer's thread is pinned to, or `any`.
    #[arg(long, default_value = "any")]
    pub peer_cpu: String,
    /// How long an executor spins before it parks, in microseconds.
    #[arg(long, default_value_t = 0)]
    pub spin_us: u64,
    /// How a batch becomes durable: what the probe says, or `through`, or `sync`.
    #[arg(long, default_value = "probe")]
    pub durability: String,
    /// Only these parts, comma-separated; memory is measured where a log is opened.
    #[arg(long, default_value = "append,recovery")]
    pub parts: String,
    /// Size of the log that the recovery part writes and opens, in MiB.
    #[arg(long)]
    pub recovery_mib: Option<u64>,
    /// Only these sides, comma-separated: ours, bare, ring, peer. For profiling one of them.
    #[arg(long, default_value = "ours,bare,ring,peer")]
    pub sides: String,
    /// Only these depths.
    #[arg(long, value_delimiter = ',', default_values_t = DEPTHS)]
    pub depths: Vec<usize>,
    /// Run even with fewer than 4 CPUs, where the figures do not count.
    #[arg(long)]
    pub few_cores: bool,
}

/// What all contenders share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the files go.
    pub directory: PathBuf,
    /// The executors' CPU.
    pub cpu: Option<usize>,
    /// The peer's CPU.
    pub peer_cpu: Option<usize>,
    /// How long executors spin before they park.
    pub spin_us: u64,
    /// How a batch becomes durable.
    pub durability: Durability,
}

/// `any` or a number.
pub fn parse_cpu(text: &str) -> Option<usize> {
    match text {
        "any" => None,
        number => Some(number.parse().unwrap_or_else(|_| {
            eprintln!("a CPU is a number or `any`, not {number}");
            std::process::exit(2);
        })),
    }
}

/// What the driver's own probe says, on a thread of its own: an executor may pin its thread.
pub fn probe_durability(settings: &Settings) -> Durability {
    let settings = settings.clone();
    let probing = std::thread::spawn(move || {
        crate::bare::executor(&settings).run(async {
            let settled = probe::settle_polling(&settings.directory).await;
            settled.expect("the directory is writable");
            let answer = probe::durability(&settings.directory).await;
            answer.expect("the probe writes")
        })
    });
    probing.join().expect("the probe answers")
}

impl Arguments {
    /// Whether a side runs.
    pub fn has_side(&self, side: &str) -> bool {
        self.sides.split(',').any(|name| name == side)
    }
}
