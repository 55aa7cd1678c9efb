//! A whole store over real files: flushed, compacted, read back from the disk, and opened again.

use super::{on_executor, pattern, shard, store as files};
use coracle::runtime::disk::{Durability, ShardDirectory, StoreDisk};
use coracle_engine::effect::Effect;
use coracle_engine::lookup::Lookup;
use coracle_engine::options::Options;
use coracle_engine::ownership::{Owned, Ownership};
use coracle_engine::progress::RegionId;
use coracle_engine::record::KeyRange;
use coracle_engine::recover::{Identity, Opening};
use coracle_engine::store::{Lsn, Store};
use coracle_engine::turn::Stepped;
use std::collections::BTreeMap;

const IDENTITY: Identity = Identity(9);

fn options() -> Options {
    Options {
        memtable_bytes: 256 << 10,
        cache_bytes: 128 << 10,
        table_bytes: 128 << 10,
        manifest_bytes: 1 << 20,
        ..Options::default()
    }
}

struct Opened {
    store: Store,
    disk: StoreDisk,
    effects: Vec<Effect>,
}

impl Opened {
    async fn open(directory: &ShardDirectory, durability: Durability) -> Opened {
        let disk = files(directory, durability).await;
        let manifest = disk.read_manifest().await.expect("it can be looked for");
        let tables = disk.list_tables().expect("it lists");
        let mut opening = match &manifest {
            None => Opening::create(IDENTITY, options()),
            Some(bytes) => {
                let opening = Opening::recover(IDENTITY, options(), bytes, &tables);
                opening.expect("the manifest is whole")
            }
        };
        let mut effects = Vec::new();
        while !opening.is_over() {
            opening.flush_effects(&mut effects);
            effects.drain(..).for_each(|effect| disk.start(effect));
            disk.wait().await;
            while let Some(finished) = disk.pop() {
                opening.complete(finished.completion());
            }
        }
        let mut store = opening.finish().expect("the store opens");
        store.start(&[]);
        // A key that no region owns is dropped by compaction.
        let range = KeyRange::all();
        let region = RegionId(1);
        store.set_ownership(Ownership::new(vec![Owned { range, region }]));
        Opened {
            store,
            disk,
            effects,
        }
    }

    /// One turn: a step of work, effects out, completions in. Says whether anything was done.
    async fn turn(&mut self) -> bool {
        let worked = self.store.step() == Stepped::Worked;
        self.store.flush_effects(&mut self.effects);
        let begun = !self.effects.is_empty();
        for effect in self.effects.drain(..) {
            self.disk.start(effect);
        }
        if !worked {
            self.disk.wait().await;
        }
        let mut taken = false;
        while let Some(finished) = self.disk.pop() {
            self.store.complete(finished.completion());
            taken = true;
        }
        assert_eq!(self.store.stopped(), None);
        worked || begun || taken || self.disk.under_way() > 0
    }

    async fn work(&mut self) {
        while self.turn().await {}
    }

    async fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        let mut pending = match self.store.get(key) {
            Lookup::Found(value) => return Some(value.to_vec()),
            Lookup::Absent => return None,
            Lookup::Need(pending) => pending,
            Lookup::Failed(failed) => panic!("{failed:?}"),
        };
        loop {
            while !pending.is_ready() {
                self.turn().await;
            }
            pending = match self.store.resume(pending) {
                Lookup::Found(value) => return Some(value.to_vec()),
                Lookup::Absent => return None,
                Lookup::Need(pending) => pending,
                Lookup::Failed(failed) => panic!("{failed:?}"),
            };
        }
    }
}

fn key(number: u64) -> Vec<u8> {
    let mut key = vec![1];
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// A value: no flags, then bytes of its own.
fn value(number: u64, round: u64) -> Vec<u8> {
    let mut value = vec![0];
    value.extend(pattern(number * 100 + round, 120));
    value
}

#[test]
fn a_store_finds_on_the_disk_what_it_was_told() {
    for durability in [Durability::WriteThrough, Durability::WriteThenSync] {
        let data = tempfile::tempdir().expect("a directory");
        let directory = shard(data.path());
        let mut told = BTreeMap::new();
        on_executor(async {
            let mut opened = Opened::open(&directory, durability).await;
            for round in 0..6 {
                for number in 0..4000 {
                    // Each round writes other keys, so that compaction has something to merge.
                    let number = number * 7 % 4000 + round * 500;
                    if number % 11 == round {
                        opened.store.delete(&key(number));
                        told.remove(&number);
                    } else {
                        opened.store.put(&key(number), &value(number, round));
                        told.insert(number, round);
                    }
                    if opened.store.wants_rotation() {
                        while opened.store.is_busy() {
                            opened.turn().await;
                        }
                        opened
                            .store
                            .rotate(Lsn(0))
                            .expect("there is room in the queue");
                    }
                }
            }
            while opened.store.is_busy() {
                opened.turn().await;
            }
            let last = opened
                .store
                .rotate(Lsn(0))
                .expect("there is room in the queue");
            opened.work().await;
            assert!(opened.store.is_durable(last));
            check(&mut opened, &told).await;
            // The process ends here: nothing is closed.
        });
        let tables = directory.list_tables().expect("it lists");
        assert!(tables.len() > 3, "only {} tables", tables.len());
        on_executor(async {
            let mut opened = Opened::open(&directory, durability).await;
            check(&mut opened, &told).await;
            opened.work().await;
            opened.disk.close().await;
        });
    }
}

async fn check(opened: &mut Opened, told: &BTreeMap<u64, u64>) {
    for number in 0..7000 {
        let found = opened.get(&key(number)).await;
        let expected = told.get(&number).map(|round| value(number, *round));
        let lengths = (
            found.as_ref().map(Vec::len),
            expected.as_ref().map(Vec::len),
        );
        assert!(
            found == expected,
            "key {number} is another one: {lengths:?}"
        );
    }
}
