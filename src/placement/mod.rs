//! Where regions should be, decided by the leader of region 1.

pub mod message; // what stores and placement say to each other

pub use message::Message;
