//! The state store of this project, through its own driver on glommio: the engine decides, the driver
//! carries out, and between entries there are turns, as a shard has them.

use std::path::Path;

use coracle::runtime::disk::{Durability, ShardDirectory, StoreDisk, StoreQueues, submit_now};
use coracle_bench_harness::{Recorder, Sample, thread_cpu};
use coracle_engine::{
    effect::Effect,
    lookup::{Lookup, PendingGet, Progressed},
    merge::Direction,
    options::Options as StoreOptions,
    ownership::{Owned, Ownership},
    progress::RegionId,
    record::KeyRange,
    recover::{Identity, Opening},
    scan::ScanLimits,
    store::{Lsn, Store as Engine},
    turn::Stepped,
};

use crate::{
    executor,
    keys::Key,
    side::{Digest, Opened, Options, Side, Store},
};

/// The state store of this project as a side.
pub const SIDE: Side = Side {
    name: "coracle",
    open,
};

/// A turn comes when so many bytes were put …
const TURN_BYTES: usize = 32 << 10;

/// … and does so many steps of background work at most. Fewer steps let more runs gather before they
/// are merged: fewer bytes written, more on disk.
const STEPS_PER_TURN: u32 = 2;

/// What is new is handed to the kernel in its turn; otherwise every so many turns see what is done.
/// Each look costs the executor a timer and a call of the kernel.
const TURNS_PER_LOOK: u32 = 4;

struct Ours {
    store: Engine,
    disk: StoreDisk,
    effects: Vec<Effect>,
    /// Thread CPU of single steps that did something.
    steps: Recorder,
    bytes_until_turn: usize,
    turns_since_look: u32,
}

fn open(path: &Path, options: &Options) -> Box<dyn Opened> {
    Box::new(executor::run(Ours::create(path, options)))
}

impl Ours {
    async fn create(path: &Path, options: &Options) -> Ours {
        let directory = ShardDirectory::of(path, 0);
        directory.create().expect("the directory is writable");
        let durability = Durability::WriteThenSync;
        let disk = StoreDisk::open(directory, durability, StoreQueues::current()).await;
        let disk = disk.expect("the disk can be used");
        let settings = StoreOptions {
            memtable_bytes: options.memtable_bytes as usize,
            cache_bytes: options.cache_bytes as usize,
            table_bytes: options.table_bytes,
            compress: options.lz4,
            // In proportion to the memtable, as the default is.
            manifest_bytes: (options.memtable_bytes / 8).next_multiple_of(1 << 20),
            // The peers hold no space back for a full disk.
            reserve: false,
            hash_seed: 1,
            ..StoreOptions::default()
        };
        let mut opening = Opening::create(Identity(1), settings);
        let mut effects = Vec::new();
        while !opening.is_over() {
            opening.flush_effects(&mut effects);
            effects.drain(..).for_each(|effect| disk.start(effect));
            disk.wait().await;
            while let Some(finished) = disk.pop() {
                opening.complete(finished.completion());
            }
        }
        let mut store = opening.finish().expect("a new store opens");
        store.set_ownership(Ownership::new(vec![Owned {
            range: KeyRange::all(),
            region: RegionId(2),
        }]));
        if options.compaction {
            store.start(&[]);
        }
        Ours {
            store,
            disk,
            effects,
            steps: Recorder::default(),
            bytes_until_turn: 0,
            turns_since_look: 0,
        }
    }

    /// Takes what has been done, and begins what is to be done; says whether there was either.
    fn exchange(&mut self) -> (bool, bool) {
        let mut done = false;
        while let Some(finished) = self.disk.pop() {
            done = true;
            self.store.complete(finished.completion());
        }
        self.store.flush_effects(&mut self.effects);
        let begun = !self.effects.is_empty();
        for effect in self.effects.drain(..) {
            self.disk.start(effect);
        }
        drop(self.store.take_events());
        assert_eq!(self.store.stopped(), None, "the store has stopped");
        (done, begun)
    }

    /// Some background work; says whether there was any.
    fn work(&mut self, steps: u32) -> bool {
        for step in 0..steps {
            let before = thread_cpu();
            if self.store.step() == Stepped::Idle {
                return step > 0;
            }
            self.steps.record(thread_cpu() - before);
        }
        true
    }

    async fn turn(&mut self) {
        self.work(STEPS_PER_TURN);
        let (_, begun) = self.exchange();
        self.turns_since_look += 1;
        let looks = begun || self.turns_since_look >= TURNS_PER_LOOK;
        if looks && self.disk.under_way() > 0 {
            self.turns_since_look = 0;
            submit_now().await;
        }
        // As a shard slows its proposals: the writer waits for the background, now and then or often.
        for _ in 0..self.store.slowdown_permille() / 50 {
            self.background().await;
        }
        if self.store.wants_rotation() {
            while self.store.is_busy() {
                self.background().await;
            }
            self.store
                .rotate(Lsn(0))
                .expect("there is room for a rotation");
        }
    }

    /// Background work and nothing else; says whether anything is left to do or to wait for.
    async fn background(&mut self) -> bool {
        let worked = self.work(8);
        let (done, begun) = self.exchange();
        let worked = worked || done || begun;
        match (worked, self.disk.under_way()) {
            (true, 0) => {}
            (true, _) => submit_now().await,
            (false, 0) => return false,
            (false, _) => self.disk.wait().await,
        }
        true
    }

    /// Waits for the blocks of a get.
    async fn get_slowly(&mut self, mut pending: PendingGet, digest: &mut Digest) {
        loop {
            self.exchange();
            while !pending.is_ready() {
                self.disk.wait().await;
                self.exchange();
            }
            pending = match self.store.resume(pending) {
                Lookup::Found(value) => return digest.add_value(&value),
                Lookup::Absent => return,
                Lookup::Need(pending) => pending,
                Lookup::Failed(why) => panic!("a get has failed: {why:?}"),
            };
        }
    }
}

impl Store for Ours {
    fn block_on<T>(work: impl Future<Output = T>) -> T {
        executor::run(work)
    }

    #[inline]
    async fn apply(&mut self, entry: &[(Key, &[u8])]) {
        for (key, value) in entry {
            self.store.put(key, value);
        }
        let bytes = entry
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        if self.bytes_until_turn > bytes {
            self.bytes_until_turn -= bytes;
            return;
        }
        self.bytes_until_turn = TURN_BYTES;
        self.turn().await;
    }

    #[inline]
    async fn get(&mut self, key: &Key, digest: &mut Digest) {
        let pending = match self.store.get(key) {
            Lookup::Found(value) => return digest.add_value(&value),
            Lookup::Absent => return,
            Lookup::Need(pending) => pending,
            Lookup::Failed(why) => panic!("a get has failed: {why:?}"),
        };
        self.get_slowly(pending, digest).await;
    }

    async fn scan(&mut self, start: &Key, limit: usize, digest: &mut Digest) {
        let view = self.store.view();
        let range = KeyRange::new(start, &[]);
        let mut scan = self.store.scan(&view, range, Direction::Forward);
        let mut left = limit;
        while left > 0 {
            let limits = ScanLimits::count(left);
            let visit = |key: &[u8], value: &[u8]| {
                digest.add_pair(key, value);
                left -= 1;
            };
            match scan
                .step(&mut self.store, limits, visit)
                .expect("the view is young")
            {
                Progressed::Done => return,
                Progressed::More => {}
                Progressed::Need => {
                    self.exchange();
                    while scan.waits_for().next().is_some() {
                        self.disk.wait().await;
                        self.exchange();
                    }
                }
            }
        }
    }

    async fn flush(&mut self) {
        while self.store.is_busy() {
            self.background().await;
        }
        let rotation = self
            .store
            .rotate(Lsn(0))
            .expect("there is room for a rotation");
        while !self.store.is_durable(rotation) {
            assert!(
                self.background().await,
                "a flush goes on until it is durable"
            );
        }
    }

    async fn settle(&mut self) {
        while self.background().await {}
    }

    fn shape(&self) -> String {
        let figures = self.store.figures();
        let levels = figures
            .level_bytes
            .iter()
            .enumerate()
            .filter(|(_, bytes)| **bytes > 0);
        let levels: Vec<String> = levels
            .map(|(level, bytes)| format!("L{level}: {} MB", bytes / 1_000_000))
            .collect();
        match levels.is_empty() {
            true => String::new(),
            false => format!(
                "{} in {} sources",
                levels.join(" "),
                figures.read_amplification
            ),
        }
    }

    fn figures(&mut self, mut sample: Sample) -> Sample {
        let steps = std::mem::take(&mut self.steps).latency();
        if steps.count > 0 {
            let micros = |nanos: u64| nanos as f64 / 1e3;
            sample = sample
                .with_figure("step p50 µs", micros(steps.p50_nanos))
                .with_figure("step p99 µs", micros(steps.p99_nanos))
                .with_figure("step p99.9 µs", micros(steps.p999_nanos))
                .with_figure("step max µs", micros(steps.max_nanos))
                .with_figure("k steps", steps.count as f64 / 1e3);
        }
        sample
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // Perhaps inside the executor.
        }
        // What is under way must end before the directory goes.
        executor::run(async {
            while self.disk.under_way() > 0 {
                self.disk.wait().await;
                while self.disk.pop().is_some() {}
            }
        });
    }
}
