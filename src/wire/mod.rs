//! What goes over sockets: bytes become requests, answers become bytes.
//!
//! Nothing here knows a socket or a clock. Every length is checked before it sizes anything, and nothing
//! that comes in can panic.

pub mod resp; // what Redis clients speak
pub(crate) mod form; // the brain's nouns as they are sent
pub mod peer; // what shards say to each other
