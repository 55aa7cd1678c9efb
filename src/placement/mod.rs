//! Where regions should be, decided by the leader of region 1, whose system keys hold what it must not
//! forget. Brain code: no clock, no I/O, no randomness.

pub mod message; // what stores and placement say to each other
pub mod codec; // the bytes of its records
pub mod registry; // regions as their leaders told of them
pub mod state; // what is durable
pub mod join; // processes come to belong
pub mod standing; // … and to leave
pub mod replica_checker; // the next step of a region
pub mod balance; // what would lie better elsewhere
pub mod options; // what it strives for, and how much of it at once
pub mod errands; // what was begun, and how it has ended
pub mod loads; // how much is asked of a region
pub mod spread; // how well replicas are kept apart
pub mod copies; // learners on their way
mod views; // stores as they will be
mod direct; // what the leader of a region is told
mod look; // what is done without being asked
mod by_hand; // moves that somebody asks for
pub mod overview; // all of it, for whoever asks
#[expect(
    clippy::module_inception,
    reason = "the object that the module is about"
)]
pub mod placement; // the object behind its doors
#[cfg(test)]
mod simulation; // a toy cluster carries out what it is told

pub use codec::Node;
pub use message::{Message, NodeInfo};
pub use options::Options;
pub use overview::Overview;
pub use placement::{Placement, Writes};
pub use standing::Standing;
pub use state::bootstrap_pairs;
