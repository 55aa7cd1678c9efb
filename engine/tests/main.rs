//! The state store from outside. One program: it takes longer to build than to run.

#[path = "../../src/sim/disk.rs"]
#[expect(dead_code, reason = "the disk serves other tests too")]
mod disk;
mod memtable; // one memtable against a map
mod table; // tables and readers
mod versions; // which tables there are
mod manifest; // and how that is kept
mod pick; // what is compacted next
mod store; // all of it, against a model, through crashes
