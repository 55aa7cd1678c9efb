//! Whole clusters under faults that a seed decides. `CORACLE_TEST_SCALE=10` runs ten times as many.

use coracle::shard::mutant::Mutant;
use coracle::sim::check::Verdict;
use coracle::sim::figures::Figures;
use coracle::sim::plan::{Plan, SECOND};
use coracle::sim::world::World;

fn scale() -> u64 {
    let scale = std::env::var("CORACLE_TEST_SCALE").ok();
    scale.and_then(|scale| scale.parse().ok()).unwrap_or(1)
}

fn run(seed: u64, seconds: u64, mutant: Mutant) -> (Figures, Verdict) {
    World::new(Plan::new(seed, seconds * SECOND, mutant), false).run()
}

/// A seed that once found something, in the kind of cluster that it was found in.
fn found(seed: u64, seconds: u64, grows: bool) -> Verdict {
    let plan = match grows {
        true => Plan::growing(seed, seconds * SECOND, Mutant::None),
        false => Plan::standing(seed, seconds * SECOND, Mutant::None),
    };
    World::new(plan, false).run().1
}

/// The same, of a kind of cluster that the seed decides, with faults of the later kinds.
fn found_in_trouble(seed: u64, seconds: u64) -> Verdict {
    let plan = Plan::new(seed, seconds * SECOND, Mutant::None).troubled();
    World::new(plan, false).run().1
}

fn replay(seed: u64, seconds: u64) -> String {
    format!("cargo run --release --bin coracle-sim -- --seed {seed} --for {seconds}s --trace")
}

#[test]
fn random_seeds_break_nothing_and_run_the_same_twice() {
    for seed in 0..24 * scale() {
        let (figures, verdict) = run(seed, 15, Mutant::None);
        if let Err(violation) = verdict {
            panic!("seed {seed}: {violation}\n  replay: {}", replay(seed, 15));
        }
        let (again, _) = run(seed, 15, Mutant::None);
        assert_eq!(
            figures,
            again,
            "seed {seed} is not the same twice; replay: {}",
            replay(seed, 15)
        );
    }
}

/// Seeds that once found a bug, each with its story.
#[test]
fn seeds_that_found_something_find_it_no_more() {
    let stories = [
        (
            5,
            20,
            "a snapshot's table was finished before anything was in it",
        ),
        (
            24,
            20,
            "an ingest that ended after its peer was told to go wrote the peer back to life",
        ),
        (
            35,
            20,
            "a peer that had applied its own removal served again after a restart",
        ),
        (
            43,
            20,
            "a peer without content forgot after a restart whom to ask whether it was gone",
        ),
        (
            50,
            20,
            "a later peer of a region took the end of an earlier one's log for its own",
        ),
        (
            89,
            20,
            "a snapshot of the peers before a change was offered for ever to the one that was added",
        ),
        (
            180,
            20,
            "the memtable rotated in the middle of a replay, and the next one added again",
        ),
        (
            244,
            20,
            "states used up the log's reserve, and no vote could be written",
        ),
        (
            250,
            20,
            "regions were to be founded before a log that is opened again takes records",
        ),
        (
            1043,
            20,
            "a log that is short of segments was not looked through, since nothing was written",
        ),
        (
            10518,
            60,
            "a region without a leader held the log, and its votes found no room",
        ),
        (
            10687,
            60,
            "a peer was told to campaign while a snapshot had emptied its log",
        ),
        (
            22441,
            60,
            "compaction dropped a snapshot's tables, since it did not know the range yet",
        ),
        (
            30736,
            60,
            "proposals of two terms stood in the wrong order, and an applied one was called lost",
        ),
        (
            31661,
            60,
            "a peer without content asked only those that had gone themselves",
        ),
        (
            63389,
            60,
            "an answer to an attempt of an earlier life confirmed a read of the next one",
        ),
        (
            200509,
            20,
            "a grave knew only what its peer had applied, and sent askers in a circle",
        ),
    ];
    for (seed, seconds, story) in stories {
        if let Err(violation) = found(seed, seconds, false) {
            panic!(
                "seed {seed} ({story}): {violation}\n  replay: {} --grow false",
                replay(seed, seconds)
            );
        }
    }
}

/// The same, of clusters that grow.
#[test]
fn seeds_of_growing_clusters_that_found_something_find_it_no_more() {
    let stories = [
        (
            7,
            20,
            "a shard that had founded regions knew nobody who might run placement",
        ),
        (
            17,
            20,
            "a snapshot that was taken in kept its sender from the next one for ten seconds",
        ),
        (
            1_000_374,
            60,
            "a store that looked for placement asked every other store only, and followed no pointer",
        ),
        (
            301_917,
            60,
            "placement moved to a node that another had not heard of, and could not be asked where it is",
        ),
        (
            22,
            40,
            "a store without regions looked for placement where it was, and nobody spoke to it",
        ),
    ];
    for (seed, seconds, story) in stories {
        if let Err(violation) = found(seed, seconds, true) {
            panic!(
                "seed {seed} ({story}): {violation}\n  replay: {} --grow true",
                replay(seed, seconds)
            );
        }
    }
}

/// The same, of clusters of which the seed decides everything.
#[test]
fn seeds_of_any_kind_that_found_something_find_it_no_more() {
    let stories = [
        (
            401_007,
            60,
            "an entry of a region without a quorum held the log, and placement's log was full as well",
        ),
        (
            401_654,
            60,
            "a node at another address did not reach its own shards, and a peer that was leaving held the log",
        ),
        (
            510_614,
            60,
            "a node ended again and again when it led, and entries kept all segments that its log could open with",
        ),
        (
            510_440,
            60,
            "who held the log could not let go, and whoever held what lay behind was not asked to",
        ),
        (
            530_018,
            60,
            "a node was taken out before anybody had told of a region that it had just split off",
        ),
    ];
    for (seed, seconds, story) in stories {
        if let (_, Err(violation)) = run(seed, seconds, Mutant::None) {
            panic!(
                "seed {seed} ({story}): {violation}\n  replay: {}",
                replay(seed, seconds)
            );
        }
    }
}

/// The same, of clusters in trouble.
#[test]
fn seeds_in_trouble_that_found_something_find_it_no_more() {
    let stories = [(
        5769,
        40,
        "a node asked to join over a slow link, and asked again from another address; the first word came last",
    )];
    for (seed, seconds, story) in stories {
        if let Err(violation) = found_in_trouble(seed, seconds) {
            panic!(
                "seed {seed} ({story}): {violation}\n  replay: {} --trouble true",
                replay(seed, seconds)
            );
        }
    }
}
