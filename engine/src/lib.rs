//! The state store of a shard.
#![no_std]
extern crate alloc;

pub mod record; // keys, values, sequences and ranges
pub mod effect; // what the store wants done, and what has been done
