//! The state store of a shard.
#![no_std]
extern crate alloc;
