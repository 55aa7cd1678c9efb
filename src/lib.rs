//! Coracle: a replicated, ordered key-value store in which every core sails alone.
pub mod cli;
pub mod runtime;
pub mod sim;
