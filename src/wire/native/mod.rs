//! What our own clients speak: a greeting, then frames in both directions, any number of them on their
//! way. Answers come in any order; each names its request.
//!
//! ```text
//! a request   0        4         5       6        8    16       24
//!             length   version   flags   0  (2)   id   client   sequence
//!             32       40               48         56
//!             region   epoch version    conf_ver   body …
//!
//! an answer   0        4         5       6        8    16
//!             length   version   flags   0  (2)   id   body …
//! ```
//!
//! Length is u32, of everything behind it; ids, numbers and epochs are u64; all little-endian. A client of
//! zero is none, and so is a region of zero: then the request goes to whichever holds its key. A body is an
//! archive whose root is at the end.
//!
//! Flags of a request: 1, it is to be passed on to the leader by whoever else gets it. Flags of an answer:
//! 1, it is a failure.

pub use rkyv::ser::allocator::Arena; // memory for making frames, used again

pub mod greet; // what a connection begins with
pub mod frame; // how long a frame is
mod body; // what is asked, as it is sent
pub mod ask; // requests
pub mod failure; // why not, and where instead
pub mod answer; // answers
