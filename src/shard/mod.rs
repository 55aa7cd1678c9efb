//! The brain of one core: regions, raft, the log and the state store, behind two doors.
//!
//! Nothing here knows a clock, a file, a socket or a source of randomness: what happens comes in by
//! [`Shard::handle`], what the world should do goes out by [`Shard::flush`]. What can be read at once need
//! not wait for the end of a turn: [`Shard::at_hand`]. The files stand in the order of a request.

pub mod ids; // the numbers, each its own type
pub mod time; // as the driver read it
pub mod error; // why a request was not done
pub mod region; // ranges, epochs, peers
pub mod request; // what a client may ask, and the answers
pub mod message; // what shards say to each other
pub mod door; // inputs and effects: the whole border
pub mod observe; // what a checker may see
pub mod mutant; // planted bugs
pub mod limits; // every bound
pub mod options; // who a shard is
pub mod codec; // stored bytes, checked
pub(crate) mod chance; // election timeouts
mod core; // what all peers share
pub mod meta; // what the log keeps of a peer
pub mod entry; // what lies in the log
pub mod membership; // changes of the peers
pub mod split; // one region becomes several
pub mod pause; // what splits come to
mod load; // how busy a region is
mod split_check; // when a region is split without being asked
mod lease; // a leader's right to answer alone
mod window; // raft's view of the log
mod machine; // entries become records
mod arrivals; // what comes from other stores
mod upkeep; // what log and store have done, and what they need
mod peer; // a region's replica here
mod propose; // commands of a turn become an entry
mod persist; // what raft wants durable, and what waits for it
mod replicate; // messages from and to other peers
mod summons; // a leader hands over
mod apply; // committed entries take effect, and are answered
mod read; // reads, confirmed and answered
pub mod at_hand; // reads that are answered while they are asked
mod tick; // what happens because time passes
mod neighbours; // the stores on whose life quiet peers rely
mod quiet; // regions of which nobody wants anything
mod vigil; // what a shard does for quiet peers
mod beats; // what is short of many regions leaves as one
mod divide; // a split takes effect
mod leave; // how a peer goes
mod pace; // how fast snapshots leave
mod snapshot; // a snapshot on its way out
mod restore; // a snapshot on its way in
pub mod recover; // from log and store to peers
pub mod founding; // the first regions of a cluster
mod pulse; // when placement is told of a region
mod herald; // what a shard tells placement, and what it is told
mod seat; // placement, where region 1 is led
mod consistency; // replicas compare what they hold
mod peers; // all peers, by region
mod routes; // which region holds a key
mod turn; // every region with something to do has its turn
pub mod bounds; // what a shard holds, against what it may hold
mod brain; // all of it

pub use brain::Shard;
