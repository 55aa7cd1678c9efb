//! The state store of a shard.
#![no_std]
extern crate alloc;

pub mod record; // keys, values, sequences and ranges
pub mod tombstones; // deleted ranges as they gather
pub mod memtable; // what was written since the last rotation
pub mod table; // a file of records in order of their keys, written once
pub mod cache; // unpacked blocks of tables, within a budget
pub mod progress; // how far each region is contained in the tables
pub mod version; // which parts of which tables are visible, level by level
pub mod edit; // the steps from one version to the next
pub mod state; // everything the manifest says, and how an edit changes it
pub mod manifest; // edits to bytes, bytes to the state
pub mod pick; // what to compact next
pub mod effect; // what the store wants done, and what has been done
