//! Versions beside a list of what each key shows; and the rules by which checkpoints are folded.

use std::collections::BTreeMap;

use crate::disk::Chance;
use coracle_engine::edit::{Compaction, Cut, Flush, Ingest, VersionEdit};
use coracle_engine::effect::TableNumber;
use coracle_engine::pick::{PickLimits, Task, pick};
use coracle_engine::progress::{Applied, Clock, Index, PeerId, Progress, RegionId, Rotation};
use coracle_engine::record::{KeyRange, Seq};
use coracle_engine::state::{Refused, State};
use coracle_engine::version::{SliceName, TableMeta};

const KEYS: u8 = 60;

struct World {
    state: State,
    /// Key to the tables that show it.
    shows: BTreeMap<u8, Vec<u64>>,
    tables: u64,
    seq: u64,
    chance: Chance,
}

impl World {
    fn new(seed: u64) -> World {
        let mut state = State::default();
        state.ledger.table_limit = TableNumber(u64::MAX);
        let shows = (0..KEYS).map(|key| (key, Vec::new())).collect();
        World {
            state,
            shows,
            tables: 0,
            seq: 1,
            chance: Chance::new(seed),
        }
    }

    /// Some range; sometimes one without an end.
    fn range(&mut self) -> (u8, u8) {
        let start = self.chance.below(u64::from(KEYS)) as u8;
        let limit = start + 1 + self.chance.below(u64::from(KEYS - start)) as u8;
        (
            start,
            if self.chance.below(8) == 0 {
                KEYS
            } else {
                limit
            },
        )
    }

    fn table(&mut self, (start, limit): (u8, u8)) -> TableMeta {
        self.tables += 1;
        TableMeta {
            number: TableNumber(self.tables),
            file_bytes: u64::from(limit - start) << 20,
            entries: 1,
            deletes: 0,
            range_tombstones: 0,
            range: range((start, limit)),
            min_seq: Seq(self.seq),
            max_seq: Seq(self.seq),
            raw_bytes: 1,
            stored_bytes: 1,
            tail_offset: 1,
            global_seq: None,
        }
    }

    fn clear(&mut self, (start, limit): (u8, u8)) {
        for key in start..limit {
            self.shows.get_mut(&key).expect("a key").clear();
        }
    }

    fn show(&mut self, (start, limit): (u8, u8), table: u64) {
        for key in start..limit {
            self.shows.get_mut(&key).expect("a key").push(table);
        }
    }

    fn step(&mut self) {
        self.seq += 1;
        match self.chance.below(10) {
            0..5 => {
                let (first, second) = (self.range(), self.range());
                let mut tables = vec![self.table(first)];
                self.show(first, self.tables);
                if first.1 <= second.0 {
                    tables.push(self.table(second));
                    self.show(second, self.tables);
                }
                let rotation = Rotation(self.state.ledger.rotation.0 + 1);
                let flush = Flush {
                    rotation,
                    last_seq: Seq(self.seq),
                    tables,
                    applied: vec![],
                };
                self.state
                    .fold(&VersionEdit::Flush(flush))
                    .expect("a flush fits");
            }
            5..7 => {
                let limits = PickLimits {
                    base_bytes: 64 << 20,
                    ..PickLimits::default()
                };
                let limits = PickLimits {
                    plan_bytes_max: 200 << 20,
                    ..limits
                };
                let Some(plan) = pick(&self.state.version, &limits) else {
                    return;
                };
                if plan.task == Task::Move {
                    return;
                }
                let inputs: Vec<SliceName> = plan
                    .inputs
                    .iter()
                    .map(|(level, slice)| SliceName {
                        level: *level,
                        table: slice.table.meta.number,
                        range: slice.range.clone(),
                    })
                    .collect();
                let mut merged = Vec::new();
                for name in &inputs {
                    for (key, tables) in &mut self.shows {
                        if name.range.contains(&[*key]) {
                            let before = tables.len();
                            tables.retain(|table| *table != name.table.0);
                            assert_eq!(tables.len() + 1, before, "an input that key {key} shows");
                            merged.push(*key);
                        }
                    }
                }
                let ends = (merged.iter().min().copied(), merged.iter().max().copied());
                let (Some(start), Some(last)) = ends else {
                    return;
                };
                // One table over the inputs, where nothing else of the level lies in between.
                let table = self.table((start, last + 1));
                let compaction = Compaction {
                    inputs,
                    level: plan.level,
                    tables: vec![table],
                };
                self.state
                    .fold(&VersionEdit::Compaction(compaction))
                    .expect("a merge fits");
                self.show((start, last + 1), self.tables);
            }
            7 => {
                let keys = self.range();
                let table = self.table(keys);
                let applied = applied(5, self.seq, self.seq);
                let ingest = Ingest {
                    applied,
                    range: range(keys),
                    seq: Seq(self.seq),
                    tables: vec![table],
                };
                self.state
                    .fold(&VersionEdit::Ingest(ingest.clone()))
                    .expect("an ingest fits");
                self.clear(keys);
                self.show(keys, self.tables);
                let again = self.state.fold(&VersionEdit::Ingest(ingest));
                assert_eq!(again.err(), Some(Refused::AlreadyPresent));
            }
            _ => {
                let keys = self.range();
                let cut = Cut {
                    ranges: vec![range(keys)],
                    seq: Seq(self.seq),
                    forget: vec![],
                };
                self.state.fold(&VersionEdit::Cut(cut)).expect("a cut fits");
                self.clear(keys);
            }
        }
    }

    fn check(&self) {
        for (key, expected) in &self.shows {
            let mut found: Vec<u64> = self
                .state
                .version
                .runs()
                .filter_map(|(_, run)| run.find(&[*key]))
                .map(|slice| slice.table.meta.number.0)
                .collect();
            let mut expected = expected.clone();
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "key {key}");
        }
    }
}

fn range((start, limit): (u8, u8)) -> KeyRange {
    let limit = if limit >= KEYS {
        Vec::new()
    } else {
        vec![limit]
    };
    KeyRange {
        start: vec![start],
        limit,
    }
}

#[test]
fn every_key_shows_exactly_what_it_should() {
    for seed in 0..300 {
        let mut world = World::new(seed);
        for _ in 0..60 {
            world.step();
            world.check();
        }
    }
}

fn applied(peer: u64, index: u64, clock: u64) -> Applied {
    Applied {
        region: RegionId(2),
        peer: PeerId(peer),
        index: Index(index),
        clock: Clock(clock),
    }
}

/// A rotation taken before an ingest lands after it: it neither lowers nor sets the region's index.
#[test]
fn the_checkpoint_never_goes_back() {
    let mut progress = Progress::default();
    progress.fold_flush(applied(5, 10, 1), Seq(100));
    progress.fold_flush(applied(5, 8, 9), Seq(110));
    assert_eq!(progress.get(RegionId(2)).expect("known").index, Index(10));
    progress.fold_ingest(applied(5, 40, 2), Seq(200));
    progress.fold_flush(applied(5, 50, 9), Seq(150));
    let checkpoint = progress.get(RegionId(2)).expect("known");
    assert_eq!((checkpoint.index, checkpoint.clock), (Index(40), Clock(2)));
    progress.fold_flush(applied(5, 50, 9), Seq(250));
    assert_eq!(progress.get(RegionId(2)).expect("known").index, Index(50));
}

/// What a flush says of an earlier peer of the region is of another life.
#[test]
fn an_earlier_peer_says_nothing() {
    let mut progress = Progress::default();
    progress.fold_ingest(applied(7, 30, 1), Seq(10));
    progress.fold_flush(applied(6, 90, 1), Seq(20));
    assert_eq!(
        progress.of(RegionId(2), PeerId(7)).expect("known").index,
        Index(30)
    );
    assert_eq!(progress.of(RegionId(2), PeerId(6)), None);
    progress.forget(RegionId(2), PeerId(6));
    assert!(
        progress.get(RegionId(2)).is_some(),
        "a later peer is here by now"
    );
    progress.forget(RegionId(2), PeerId(7));
    assert!(progress.is_empty());
}

/// The ingest is in, entries behind it are checkpointed, the log does not know: the repeat is
/// recognised and cuts nothing.
#[test]
fn an_ingest_is_never_repeated() {
    let mut world = World::new(1);
    let table = world.table((10, 20));
    let ingest = Ingest {
        applied: applied(5, 40, 1),
        range: range((10, 20)),
        seq: Seq(2),
        tables: vec![table],
    };
    world.seq = 2;
    world
        .state
        .fold(&VersionEdit::Ingest(ingest.clone()))
        .expect("it fits");
    world.seq = 9;
    let tables = vec![world.table((12, 15))];
    let later = Flush {
        rotation: Rotation(1),
        last_seq: Seq(9),
        tables,
        applied: vec![applied(5, 60, 1)],
    };
    world
        .state
        .fold(&VersionEdit::Flush(later))
        .expect("it fits");
    let before = world.state.clone();
    assert_eq!(
        world.state.fold(&VersionEdit::Ingest(ingest)).err(),
        Some(Refused::AlreadyPresent)
    );
    assert_eq!(world.state, before);
}

/// A flush whose rotation was taken before a cut does not bring the cut range back.
#[test]
fn a_late_flush_does_not_undo_a_cut() {
    let mut world = World::new(1);
    let early = vec![world.table((0, 30))];
    world.seq = 50;
    let cut = Cut {
        ranges: vec![range((10, 20))],
        seq: Seq(50),
        forget: vec![(RegionId(2), PeerId(5))],
    };
    world.state.fold(&VersionEdit::Cut(cut)).expect("it fits");
    let flush = Flush {
        rotation: Rotation(1),
        last_seq: Seq(40),
        tables: early,
        applied: vec![applied(5, 60, 1)],
    };
    world
        .state
        .fold(&VersionEdit::Flush(flush))
        .expect("it fits");
    world.show((0, 10), 1);
    world.show((20, 30), 1);
    world.check();
    assert!(
        world.state.ledger.progress.get(RegionId(2)).is_none(),
        "a forgotten region is back"
    );
}
