//! The one log of a shard.
#![no_std]
extern crate alloc;
