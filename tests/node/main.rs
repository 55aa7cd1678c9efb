//! Whole nodes as processes: what they say, how they end, what outlives them, what they put up with.
#![expect(
    clippy::disallowed_methods,
    reason = "tests of processes wait and write files"
)]

mod abuse;
mod bench;
mod client;
mod cluster;
mod commands;
mod damage;
mod founding;
mod lasting;
mod moves;
mod pipelines;
mod panics;
mod process;
mod refusals;
mod regions;
mod splits;
