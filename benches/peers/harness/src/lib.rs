//! How the benches measure. Each bench puts a part of the project beside its peers **in the same run, on
//! the same file system, with the same durability**; this crate holds what such benches share, so that
//! their figures mean the same thing:
//!
//! * a [`Sample`] is what one run of one side showed: operations, bytes, time, percentiles, CPU of its
//!   own and CPU that others took meanwhile;
//! * [`interleave`] runs the sides of a cell in turn, with the order rotating from round to round, so
//!   that what the machine does to one it does to all;
//! * a [`Cell`] keeps all samples and answers with medians and their spread; ratios are taken **round by
//!   round** before their median is, so that a slow minute of the machine cancels out;
//! * [`Report`] prints the tables, judges the goals, and writes everything as JSON.
#![warn(missing_docs)]
#![expect(
    clippy::disallowed_methods,
    reason = "the benches are where the world enters, clocks included"
)]

mod cell; // the samples of all sides of one cell, and their medians and ratios
mod cpu; // how much CPU this thread, this process and everyone else took
mod latency; // percentiles
mod machine; // where the figures come from
mod report; // tables, goals and JSON
mod rounds; // the order of runs
mod sample; // what one run of one side showed

pub use cell::{Cell, Goal, Side, Spread, Wanted};
pub use cpu::{
    CpuMeter, foreign_cpu_cores_now, forget_pages, pin_process, process_cpu, thread_cpu,
};
pub use latency::{Latency, Recorder};
pub use machine::{Machine, free_bytes};
pub use report::Report;
pub use rounds::{Runner, interleave};
pub use sample::{Meter, Sample};
