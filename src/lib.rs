//! Coracle: a replicated, ordered key-value store in which every core sails alone.
pub mod bench;
pub mod cli;
pub mod memory;
pub mod placement;
pub mod runtime;
pub mod shard;
pub mod sim;
pub mod wire;
