//! Three real processes, clients, and kills: what was acknowledged is there, and nobody saw what cannot be.
//!
//! `CORACLE_TEST_SEED` chooses the run, `CORACLE_TEST_ROUNDS` how many faults it has. Settings of nodes in
//! the environment (`CORACLE_RAFT__TICK_MS` and the like) go over those of the test.

#![expect(
    clippy::disallowed_methods,
    reason = "these tests start processes and wait for them"
)]

mod wait; // until something holds
mod port; // ports that nobody uses
mod child; // one process
mod status; // what a node says of itself
mod cluster; // three of them
mod value; // what is written
mod deed; // what a client does next
mod resp; // a client of Redis
mod native; // our own client
mod client; // one client, from its first deed to its last
mod crowd; // all clients
mod outage; // how long nobody is answered
mod load; // data that lies there
mod commands; // commands at nodes that do not lead
mod fault; // what is done to nodes
mod replicas; // what each replica holds
mod trial; // a whole run

use trial::{Shape, Trial};

/// A number from the environment.
fn setting(name: &str, otherwise: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn nodes_that_are_killed_lose_nothing_that_was_acknowledged() {
    let seed = setting("CORACLE_TEST_SEED", 1);
    let shape = Shape {
        rounds: setting("CORACLE_TEST_ROUNDS", 5),
        shards: setting("CORACLE_TEST_SHARDS", 1) as u16,
        wipes: setting("CORACLE_TEST_WIPES", 0) != 0,
    };
    Trial::run(seed, shape);
}

#[test]
fn nodes_of_two_shards_that_are_killed_lose_nothing_either() {
    let seed = setting("CORACLE_TEST_SEED", 2);
    let shape = Shape {
        rounds: setting("CORACLE_TEST_ROUNDS", 2).min(8),
        shards: 2,
        wipes: true,
    };
    Trial::run(seed, shape);
}
