//! The state store of a shard.
#![no_std]
extern crate alloc;

pub mod effect; // what the store wants done, and what has been done
