//! What a cluster does under load: a load generator of its own, and nodes to measure if none are named.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench reads clocks and files, and starts threads"
)]

pub mod plan; // what is measured, and how
pub mod os; // what is asked of the kernel
pub mod cpu; // who used the cores
pub mod material; // keys and values
pub mod words; // requests to bytes, bytes to outcomes
pub mod route; // where keys are led
pub mod lane; // one connection
pub mod tally; // what was counted
pub mod worker; // one thread of the generator
pub mod generator; // all of them
pub mod cluster; // nodes started for the bench
pub mod report; // what a person or a program reads
mod session; // a bench from start to end

pub use session::run;
