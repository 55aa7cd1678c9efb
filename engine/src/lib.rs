//! The state store of a shard.
#![no_std]
extern crate alloc;

pub mod record; // keys, values, sequences and ranges
pub mod tombstones; // deleted ranges as they gather
pub mod memtable; // what was written since the last rotation
pub mod table; // a file of records in order of their keys, written once
pub mod cache; // unpacked blocks of tables, within a budget
pub mod effect; // what the store wants done, and what has been done
