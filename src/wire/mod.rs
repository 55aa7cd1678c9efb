//! What goes over sockets: bytes become requests, answers become bytes.
//!
//! Nothing here knows a socket or a clock. Every length is checked before it sizes anything, and nothing
//! that comes in can panic.

pub mod sniff; // which protocol a connection speaks
pub mod resp; // what Redis clients speak
pub mod http; // what browsers and scrapers speak
pub(crate) mod form; // the brain's nouns as they are sent
pub(crate) mod placement; // placement's messages as they are sent
pub(crate) mod overview; // what placement tells of itself
pub mod native; // what our own clients speak
pub mod peer; // what shards say to each other
