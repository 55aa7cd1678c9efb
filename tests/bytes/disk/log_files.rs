//! The log on real files: what was acknowledged is there for the next opening, read back from the
//! disk and not from memory.

use super::{on_executor, pattern, shard};
use coracle::runtime::disk::{Durability, LogDisk, RecoveryError, ShardDirectory};
use coracle_wal::effect::Effect;
use coracle_wal::fetch::{Answer, Fetched};
use coracle_wal::log::Entry;
use coracle_wal::{Limits, Log, LogId, Lsn, MetaRecord, RegionId};
use std::collections::BTreeMap;

pub(crate) const ID: LogId = LogId(41);

/// Segments large enough for direct I/O to matter, small enough to rotate often.
pub(crate) const LIMITS: Limits = Limits {
    segment_bytes: 256 << 10,
    batch_bytes_max: 64 << 10,
    entry_bytes_max: 32 << 10,
    ..Limits::SMALL
};

/// A log with its files, and what it was told.
pub(crate) struct Opened {
    pub(crate) log: Log,
    pub(crate) disk: LogDisk,
    /// What was acknowledged or is on its way: payload seeds and lengths by region and index.
    told: BTreeMap<(u64, u64), (u64, usize)>,
    effects: Vec<Effect>,
    most_in_flight: usize,
}

impl Opened {
    pub(crate) async fn create(directory: &ShardDirectory, durability: Durability) -> Opened {
        let disk = LogDisk::open(directory.clone(), durability).await;
        let disk = disk.expect("the directory is there");
        Opened::of(Log::create(ID, LIMITS), disk)
    }

    pub(crate) async fn recover(directory: &ShardDirectory, durability: Durability) -> Opened {
        let disk = LogDisk::open(directory.clone(), durability).await;
        let disk = disk.expect("the files open");
        let (log, verdict) = disk.recover(ID, LIMITS).await.expect("the log is whole");
        assert_eq!(
            verdict.discarded, 0,
            "every batch was acknowledged: {verdict:?}"
        );
        Opened::of(log, disk)
    }

    fn of(log: Log, disk: LogDisk) -> Opened {
        Opened {
            log,
            disk,
            told: BTreeMap::new(),
            effects: Vec::new(),
            most_in_flight: 0,
        }
    }

    /// One entry behind the region's last one.
    pub(crate) fn append(&mut self, region: u64, bytes: usize) {
        let index = self.log.last_index(RegionId(region)).unwrap_or(0) + 1;
        let seed = region * 1000 + index;
        let entry = Entry {
            index,
            term: 3,
            payload: pattern(seed, bytes).into(),
        };
        let taken = self.log.append(RegionId(region), &[entry]);
        taken.expect("there is room");
        self.told.insert((region, index), (seed, bytes));
    }

    /// The end of a turn.
    pub(crate) fn turn(&mut self) {
        self.log.flush(&mut self.effects);
        for effect in self.effects.drain(..) {
            self.disk.start(&mut self.log, effect);
        }
        self.most_in_flight = self.most_in_flight.max(self.log.in_flight());
    }

    /// Turns until nothing is under way; answers of reads are returned.
    pub(crate) async fn settle(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        loop {
            self.turn();
            if self.disk.under_way() == 0 {
                return answers;
            }
            self.disk.wait().await;
            while let Some(finished) = self.disk.pop() {
                let answer = finished.deliver(&mut self.log);
                answers.extend(answer.map(|(_, answer)| answer));
            }
        }
    }

    /// Reads every entry that was told and is kept, wherever it is now.
    async fn check(&mut self, told: &BTreeMap<(u64, u64), (u64, usize)>) {
        let mut from_disk = 0;
        for (&(region, index), &(seed, bytes)) in told {
            let id = RegionId(region);
            if index < self.log.first_kept(id).expect("the region is known") {
                continue;
            }
            let fetched = self.log.fetch(id, index, index + 1, u64::MAX);
            let entries = match fetched.expect("the entry is there") {
                Fetched::Ready(entries) => entries,
                Fetched::Pending(_) => {
                    from_disk += 1;
                    match self.settle().await.pop().expect("one answer") {
                        Answer::Entries(of, entries) if of == id => entries,
                        other => panic!("entry {index} of region {region}: {other:?}"),
                    }
                }
            };
            assert_eq!((entries[0].index, entries[0].term), (index, 3));
            assert!(
                entries[0].payload == pattern(seed, bytes),
                "region {region}, {index}"
            );
        }
        assert!(from_disk > 0, "nothing was read from the disk");
    }
}

#[test]
fn what_was_acknowledged_is_there_after_an_end_without_a_farewell() {
    for durability in [Durability::WriteThrough, Durability::WriteThenSync] {
        let data = tempfile::tempdir().expect("a directory");
        let directory = shard(data.path());
        let (told, last) = on_executor(async {
            let mut opened = Opened::create(&directory, durability).await;
            opened.settle().await;
            for round in 0..60 {
                for region in 1..=5 {
                    opened.append(region, ((round * 397 + region * 91) % 6000) as usize);
                    // Batches of one turn each, so that several are with the kernel at once.
                    opened.turn();
                }
                if round % 3 == 0 {
                    opened.settle().await;
                }
            }
            opened.settle().await;
            assert!(
                opened.most_in_flight >= 5,
                "only {} in flight",
                opened.most_in_flight
            );
            assert_eq!(opened.log.durable_lsn(), opened.log.last_lsn());
            assert!(opened.log.live_segments() > 2, "nothing was rotated");
            // The process ends here: nothing is closed.
            (opened.told, opened.log.last_lsn())
        });
        let again = directory.clone();
        let reader = std::thread::spawn(move || {
            on_executor(async {
                let mut opened = Opened::recover(&again, durability).await;
                assert!(
                    !opened.log.is_open(),
                    "nothing is durable yet in this opening"
                );
                opened.settle().await;
                assert!(opened.log.is_open());
                assert!(opened.log.last_lsn() > last, "the opening announces itself");
                opened.check(&told).await;
                opened.append(2, 777);
                opened.settle().await;
                opened.disk.close().await;
            });
        });
        reader.join().expect("the next opening agrees");
    }
}

#[test]
fn files_are_recycled_and_not_made_anew() {
    let data = tempfile::tempdir().expect("a directory");
    let directory = shard(data.path());
    on_executor(async {
        let mut opened = Opened::create(&directory, Durability::WriteThrough).await;
        opened.settle().await;
        for round in 1..=40 {
            for _ in 0..8 {
                opened.append(1, 30_000);
                opened.settle().await;
            }
            let index = round * 8;
            let meta = MetaRecord {
                truncated: (index, 3),
                reset: false,
                tombstone: false,
                payload: pattern(round, 100).into(),
            };
            opened
                .log
                .set_meta(RegionId(1), meta)
                .expect("there is room");
            opened.log.checkpointed(RegionId(1), index);
            opened.settle().await;
        }
        let files = directory.list_segments().expect("it lists");
        let bytes: u64 = files.iter().map(|(_, bytes)| bytes).sum();
        assert!(opened.log.durable_lsn() > Lsn(300));
        assert!(
            bytes <= 12 * (256 << 10),
            "{bytes} bytes in {} files",
            files.len()
        );
        assert!(
            files.iter().all(|(_, bytes)| *bytes == 256 << 10),
            "{files:?}"
        );
        opened.disk.close().await;
    });
}

#[test]
fn damage_is_reported_with_its_place() {
    let data = tempfile::tempdir().expect("a directory");
    let directory = shard(data.path());
    on_executor(async {
        let mut opened = Opened::create(&directory, Durability::WriteThrough).await;
        opened.settle().await;
        for _ in 0..20 {
            opened.append(1, 3000);
            opened.settle().await;
        }
        opened.disk.close().await;
    });
    // The second block of the growing segment is zeroed: batches behind it say it was acknowledged.
    let slots = directory.list_segments().expect("it lists").into_iter();
    let mut contents = slots.map(|(slot, _)| {
        let bytes = std::fs::read(directory.segment(slot)).expect("it is there");
        (slot, bytes)
    });
    let growing = contents.find(|(_, bytes)| bytes[8192..12288].iter().any(|byte| *byte != 0));
    let (slot, mut bytes) = growing.expect("one of the files holds the batches");
    let file = directory.segment(slot);
    bytes[8192..12288].fill(0);
    std::fs::write(&file, bytes).expect("it can be damaged");
    on_executor(async {
        let disk = LogDisk::open(directory.clone(), Durability::WriteThrough).await;
        let disk = disk.expect("the files open");
        match disk.recover(ID, LIMITS).await {
            Err(RecoveryError::Corrupt(corrupt)) => {
                assert_eq!((corrupt.slot.0, corrupt.offset), (slot, 8192), "{corrupt}");
            }
            other => panic!("{:?}", other.map(|(_, verdict)| verdict)),
        }
    });
}
