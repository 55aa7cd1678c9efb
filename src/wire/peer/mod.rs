//! What shards say to each other: a greeting, then frames with all messages of a turn for one store.

pub mod greet; // who is there, and who is wanted
mod raft; // raft's messages, field by field
mod message; // every message
pub mod frame; // messages become frames
