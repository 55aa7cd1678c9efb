//! The world: the only folder that names glommio, a file, a socket or a clock.

pub mod address; // where a node is reached
pub mod aside; // what blocks, off the executor's thread
pub mod bell; // what wakes the turn loop
pub mod board; // what all shards say of themselves
pub mod caller; // our own protocol, blocking
pub mod chart; // where regions are that this shard does not hold
pub mod client; // connections that come in
pub mod clock; // the clocks of the machine
pub mod config; // what may be set
pub mod connection; // one connection, whatever it speaks
pub mod disk; // the effects of log and store, carried out on real files
pub mod driver; // what carries one shard
pub mod failure; // why a process ends
pub mod figures; // what a shard counts
pub mod hints; // what would make this machine faster
pub mod http; // what a connection is told that speaks HTTP
pub mod identity; // who a data directory belongs to
pub mod join; // how a node comes to belong to a cluster
pub mod label; // where a node stands
pub mod life; // a shard from its start to its end
pub mod link; // one way to another shard
pub mod links; // what goes to other shards
pub mod listen; // the ports
pub mod machine; // kernel, cores, chance
pub mod native; // a connection that speaks our own protocol
pub mod borders; // where the first regions begin
pub mod node; // one process
pub mod notes; // what each setting means
pub mod open; // from files to a running brain
pub mod peer_door; // a connection that another shard made
pub mod remote; // requests to another shard
pub mod request_table; // who waits for which answer
mod behind; // what a write that was turned away must not be done after
pub mod resp; // a connection that speaks RESP
pub mod ring; // sockets and log writes on a ring of our own
pub mod room; // who waits until less is under way
pub mod route; // where the leader of a key's region is
pub mod serve; // a request that is to be done wherever it belongs
pub mod socket; // what a socket is asked without waiting
pub mod spread; // a request over several regions
pub mod telling; // what is told on standard error
pub mod turn; // the loop
