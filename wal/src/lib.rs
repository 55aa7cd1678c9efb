//! The one log of a shard.
//!
//! Records of many regions go in, whole 4 KiB blocks come out; bytes go in, and the records that were
//! promised come out. The crate decides everything about durability and touches nothing: it opens no
//! file, reads no clock, and being `no_std` it could not.
//!
//! # The promise
//!
//! A batch reported by [`Log::durable`] is found again by every later [`Recovery`], whatever power
//! cuts lie between, until the caller gives its records up (truncates *and* checkpoints them, or
//! replaces a state). A batch that was never reported is found whole or not at all. Nothing that was
//! cut off, purged or void ever returns.
//!
//! # The words
//!
//! * A **segment** is one filling of a slot's file, named by its sequence. Files are written with
//!   zeros once and then recycled, so that a write changes no metadata of the file system.
//! * A **batch** is what one write makes durable: whole blocks, accepted whole or not at all. Its
//!   **lsn** counts batches, from 1.
//! * An **opening** is one life of the log. Each begins in a new segment, so what an earlier life
//!   left behind its end can never continue a later one.
//!
//! # What a power cut leaves behind
//!
//! | cut during | left behind | recovery |
//! |---|---|---|
//! | creating a slot | a short file, or no name | not zeros and no header: a free slot, written anew |
//! | a batch in the middle of a segment | part of its blocks | the batch does not verify; nothing behind it was released (releases are in order), so everything from it on is an unacknowledged tail: cut, and void for later openings |
//! | several batches in flight | any of them | the first missing one ends the log, as above |
//! | the first write of a segment (header and batch in one) | header, batch, both or neither | without the header the segment is unlisted, without the batch it is empty; the batch was not released, nor any behind it |
//! | a purge | the header that no longer lists the segment is durable or not | if not, the segment is still whole, since it is reused only after that header is durable |
//! | the reuse of a slot | old content behind the new | old batches name another sequence and cannot verify |
//! | recovery itself | what it accepted, perhaps only in a cache | every file kept is synced, with its name, then the new opening's first write made durable, before anything else is asked for |
//!
//! A missing batch whose lsn is at or below the `durable_lsn` that a later batch or header names was
//! acknowledged: that is corruption, never a tail, and the log refuses to open with the place.
#![no_std]
extern crate alloc;

pub mod ids; // the numbers, each its own type
pub mod limits; // every bound, and how they relate
pub mod error; // corruption has a place, refusals have a reason
pub mod effect; // what the log wants done
pub mod mutant; // planted bugs that the explorations must find
pub mod header; // the first block of a segment
pub mod batch; // one write: its bytes, and how they are read
mod pending; // records on their way into a batch, and how they are written
pub mod pool; // slots: free, live, being created
pub mod region; // what the log knows of one region
mod regions; // and where it finds it
pub mod cache; // recent entries, within a budget
pub mod log; // what there is, and what has become durable
mod append; // records in
mod seal; // batches out
mod settle; // where the records of a batch went
pub mod fetch; // entries that left the cache
pub mod purge; // which segments may go
mod forward; // entries that nobody lets go of
pub mod recover; // bytes to a log, or a verdict
mod heads; // the first blocks of all files
mod scan; // a file that is read from its start
mod replay; // records of an accepted batch, back in their regions
pub mod dump; // one segment, alone

pub use append::RECORD_BYTES_MAX;
pub use effect::Effect;
pub use error::{Corrupt, Refused};
pub use ids::{LogId, Lsn, ReadToken, RegionId, Sequence, Slot};
pub use limits::Limits;
pub use log::{Entry, Log, MetaRecord};
pub use mutant::Mutant;
pub use recover::{Recovery, Verdict};
