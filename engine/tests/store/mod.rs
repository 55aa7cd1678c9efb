//! The store in a simulated world: against a model, through crashes, damage and full disks.

mod world; // carries effects to the simulated disk
mod reading; // reads that wait for the world
mod shard; // regions with logs above one store, and what they should hold
mod crash; // the power goes at every effect
mod stories; // how data is lost, each by hand
mod damage; // bytes that are not what was written
mod sizes; // how much a range holds, and where it is cut
mod together; // puts that are handed over together
mod model; // random operations against a map, with crashes

use coracle_engine::options::Options;
use coracle_engine::pick::PickLimits;

/// A store so small that everything happens often.
fn small() -> Options {
    Options {
        memtable_bytes: 16 << 10,
        flush_queue: 3,
        cache_bytes: 32 << 10,
        table_bytes: 32 << 10,
        manifest_bytes: 2 << 20,
        pick: PickLimits {
            level0_runs: 4,
            base_bytes: 64 << 10,
            ratio: 4,
            plan_bytes_max: 160 << 10,
            ..PickLimits::default()
        },
        reserve: false,
        ..Options::default()
    }
}

/// How many times as many cases as usual.
fn scale() -> u64 {
    let scale = std::env::var("CORACLE_TEST_SCALE").ok();
    scale.and_then(|scale| scale.parse().ok()).unwrap_or(1)
}

/// The seed to replay, if one is given.
fn replayed() -> Option<u64> {
    std::env::var("CORACLE_SEED").ok()?.parse().ok()
}
