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
mod journal; // the manifest, one edit at a time
pub mod options; // what may be chosen, and the bounds
pub mod value; // what a stored value says of itself
pub mod ownership; // which ranges belong to a region here
pub mod space; // the reserve, and full disks
pub mod outgoing; // a table file on its way to the disk
mod tables; // the opened tables
mod opening; // a table between its file and its use
pub mod reads; // blocks that were asked for
pub mod view; // a consistent view
pub mod merge; // the order of several sorted sources
mod moved; // how far regions are since the last rotation
mod sources; // what is read in order
pub mod lookup; // point reads
pub mod scan; // ranges in order
mod sink; // sorted records become tables
mod flush; // a sealed memtable becomes tables
mod compact; // tables become tables of a deeper level
pub mod ingest; // content that comes as tables, and goes as a range
pub mod export; // a range as tables for another store
pub mod size; // how large a range is
pub mod figures; // amplification, debt, space
pub mod recover; // from files to a store
pub mod store; // all of it, behind two doors
pub mod turn; // completions in, effects out, a step of work
