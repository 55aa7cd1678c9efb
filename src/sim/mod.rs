//! The simulator: the second driver of the brain, in one thread and virtual time.
//!
//! Its disk stands alone (`std` only) so that the crash tests of `wal` and `engine` include the same
//! file, and all of them believe in one and the same hardware.

pub mod disk;
pub mod plan; // what a seed decides before anything happens
mod growth; // nodes that join, and lose everything
mod upkeep; // replicas moved by hand, nodes taken out
pub mod trouble; // damage, failing reads, slow links, jumping clocks
pub mod splits; // regions are split
pub mod clock; // each node's own
pub mod net; // delays, losses, partitions
pub mod files; // a shard's effects on a simulated disk
pub mod start; // from a disk to a shard
pub mod history; // what clients did and saw
pub mod workload; // clients
pub mod operator; // changes of peers and leaders
pub mod check; // what must hold, one file each
pub mod tell; // what is printed
mod event; // what happens, in order
pub mod figures; // and how often
mod process; // nodes that start and end
mod turn; // a shard's turn, and what comes of it
mod clients; // what clients ask and are told
mod sight; // a look at everything
pub mod world; // all of it, event by event
