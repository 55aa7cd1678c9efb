//! The cells: what is put in, what is measured, and what it should come to.

use std::path::{Path, PathBuf};

use coracle_bench_harness::{Cell, Report, Runner, Sample, Wanted, interleave};

use crate::{
    files::forget_pages,
    keys::{Sequence, Values},
    settings::Settings,
    side::{Opened, Options, Side},
    work::{DIGEST, Until, Work},
};

const MEBIBYTE: u64 = 1 << 20;

/// The names of all cells, without the size of values.
pub const NAMES: [&str; 12] = [
    "apply new keys",
    "apply over known keys",
    "apply with flush",
    "get from memtable",
    "95 % puts, 5 % scans of 100",
    "get cached",
    "get missing",
    "scan 10",
    "scan 1000",
    "get uncached",
    "overwrite with compaction",
    "the loop alone",
];

/// Runs cells and collects what they show.
pub struct Bench<'a> {
    settings: &'a Settings,
    root: PathBuf,
    sides: Vec<Side>,
    copies: Side,
    bare: Side,
    none: Side,
    report: &'a mut Report,
    opened: u64,
    /// Whether two sides have read different things.
    pub disagreement: bool,
}

/// A store with the directory that goes when it goes.
struct Prepared {
    store: Option<Box<dyn Opened>>,
    directory: PathBuf,
}

impl Prepared {
    fn run(&mut self, work: &Work<'_>) -> Sample {
        self.store
            .as_mut()
            .expect("it is open until it is dropped")
            .run(work)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        self.store = None;
        std::fs::remove_dir_all(&self.directory).expect("what was made can be removed");
    }
}

impl<'a> Bench<'a> {
    /// Over some sides; `root` is an empty directory, `copies`, `bare` and `none` show what is possible.
    pub fn new(
        settings: &'a Settings,
        root: &Path,
        sides: Vec<Side>,
        (copies, bare, none): (Side, Side, Side),
        report: &'a mut Report,
    ) -> Self {
        let root = root.into();
        Self {
            settings,
            root,
            sides,
            copies,
            bare,
            none,
            report,
            opened: 0,
            disagreement: false,
        }
    }

    /// Runs all cells that are wanted, for values of one length.
    pub fn run(&mut self, value_bytes: usize) {
        let values = Values::new(value_bytes, self.settings.lz4);
        self.the_loop_alone(&values);
        self.apply_new(&values);
        self.apply_over(&values);
        self.apply_with_flush(&values);
        self.get_from_memtable(&values);
        self.mixed(&values);
        self.cached(&values);
        self.uncached(&values);
        self.overwrite(&values);
    }

    /// How many pairs make so many megabytes.
    fn pairs(&self, values: &Values, megabytes: u64) -> u64 {
        self.settings
            .scaled(megabytes * 1_000_000 / (values.length() as u64 + 16))
    }

    /// Everything stays in the memtable.
    fn in_memory(&self) -> Options {
        Options {
            memtable_bytes: 256 * MEBIBYTE,
            cache_bytes: 64 * MEBIBYTE,
            table_bytes: 64 * MEBIBYTE,
            compaction: false,
            lz4: self.settings.lz4,
        }
    }

    /// Settings as in production, but for the cache.
    fn on_disk(&self, cache_bytes: u64) -> Options {
        Options {
            memtable_bytes: 64 * MEBIBYTE,
            cache_bytes,
            table_bytes: 64 * MEBIBYTE,
            compaction: true,
            lz4: self.settings.lz4,
        }
    }

    fn the_loop_alone(&mut self, values: &Values) {
        let keys = self.pairs(values, 30);
        let options = self.in_memory();
        let mut store = open(&self.none, &mut self.opened, &self.root, &options);
        let stamp = 1;
        let put = |count| {
            put(
                Sequence::random(keys, 1),
                values,
                count,
                stamp,
                Until::Applied,
            )
        };
        let runner: Runner<'_> = ("nothing", Box::new(|_| store.run(&put(1_000_000))));
        self.cell("the loop alone", values, vec![runner]);
    }

    /// Into a memtable whose memory has been used before, as it has in a store that runs.
    fn apply_new(&mut self, values: &Values) {
        let keys = self.pairs(values, 50);
        let once = |until| put(Sequence::each_once(keys), values, keys, 1, until);
        let load = [once(Until::Flushed), once(Until::Flushed)];
        let options = self.in_memory();
        let work = |_round| once(Until::Applied);
        self.fresh_beside(true, "apply new keys", values, options, &load, work);
        self.want("apply new keys", values, Wanted::AtLeast(5.0));
    }

    fn apply_over(&mut self, values: &Values) {
        let keys = self.pairs(values, 30);
        let load = put(Sequence::each_once(keys), values, keys, 1, Until::Applied);
        self.fresh(
            "apply over known keys",
            values,
            self.in_memory(),
            &[load],
            |round| {
                let sequence = Sequence::random(keys, round as u64);
                put(sequence, values, keys * 4, round as u64 + 2, Until::Applied)
            },
        );
        self.want("apply over known keys", values, Wanted::AtLeast(5.0));
    }

    /// Into memtables whose memory has been used before, as well.
    fn apply_with_flush(&mut self, values: &Values) {
        let keys = self.pairs(values, 128);
        let options = Options {
            compaction: false,
            ..self.on_disk(64 * MEBIBYTE)
        };
        let load = put(Sequence::each_once(keys), values, keys, 1, Until::Flushed);
        self.fresh("apply with flush", values, options, &[load], |round| {
            let sequence = Sequence::random(keys, round as u64);
            put(sequence, values, keys * 2, 1, Until::Flushed)
        });
        self.want("apply with flush", values, Wanted::AtLeast(2.0));
    }

    fn overwrite(&mut self, values: &Values) {
        const NAME: &str = "overwrite with compaction";
        let memtable = self.settings.overwrite_memtable_mebibytes;
        let times = self.settings.overwrite_times;
        let keys = self.pairs(values, memtable * 4);
        let load = put(Sequence::each_once(keys), values, keys, 1, Until::Settled);
        let options = Options {
            memtable_bytes: self.settings.scaled(memtable * MEBIBYTE),
            table_bytes: self.settings.scaled(memtable * MEBIBYTE),
            ..self.on_disk(64 * MEBIBYTE)
        };
        self.fresh(NAME, values, options, &[load], |round| {
            let sequence = Sequence::random(keys, round as u64);
            put(
                sequence,
                values,
                keys * times,
                round as u64 + 2,
                Until::Settled,
            )
        });
        self.want(NAME, values, Wanted::AtLeast(1.0));
        for figure in ["write amplification", "disk MB"] {
            self.want_figure(NAME, values, Wanted::AtMost(1.0), figure);
        }
        let name = cell_name(NAME, values);
        self.report
            .want_figure(&name, "coracle", "step p99.9 µs", Wanted::AtMost(500.0));
    }

    fn get_from_memtable(&mut self, values: &Values) {
        let keys = self.pairs(values, 30);
        let load = put(Sequence::each_once(keys), values, keys, 1, Until::Applied);
        let count = self.settings.scaled(500_000);
        self.kept(
            "get from memtable",
            values,
            self.in_memory(),
            &[load],
            |round| get(Sequence::random(keys, round as u64), 0, count, false),
        );
        self.want("get from memtable", values, Wanted::AtLeast(2.0));
    }

    fn mixed(&mut self, values: &Values) {
        let keys = self.pairs(values, 46);
        let load = put(Sequence::each_once(keys), values, keys, 1, Until::Applied);
        let count = self.settings.scaled(60_000);
        let options = self.on_disk(64 * MEBIBYTE);
        self.kept(
            "95 % puts, 5 % scans of 100",
            values,
            options,
            &[load],
            |round| Work::Mix {
                sequence: Sequence::random(keys, round as u64),
                values,
                count,
                stamp: round as u64 + 2,
                limit: 100,
            },
        );
        self.want("95 % puts, 5 % scans of 100", values, Wanted::AtLeast(1.0));
    }

    /// Gets, missing keys and scans over data that the cache holds wholly.
    fn cached(&mut self, values: &Values) {
        let names = ["get cached", "get missing", "scan 10", "scan 1000"];
        if !names
            .iter()
            .any(|name| self.settings.wants(&cell_name(name, values)))
        {
            return;
        }
        let keys = self.pairs(values, 128);
        let options = self.on_disk(256 * MEBIBYTE);
        let load = layered_load(keys, values);
        let mut stores = self.open_all(&options, &load);
        for (_, store) in &mut stores {
            store.run(&get(Sequence::each_once(keys), 0, keys, false)); // Fills the cache.
        }
        let (gets, short, long) = (
            self.settings.scaled(300_000),
            self.settings.scaled(40_000),
            self.settings.scaled(800),
        );
        let random = |round: usize| Sequence::random(keys, round as u64);
        self.rounds(names[0], values, &mut stores, |round| {
            get(random(round), 0, gets, false)
        });
        self.rounds(names[1], values, &mut stores, |round| {
            get(random(round), keys, gets, false)
        });
        let scan = |round, limit, count| Work::Scan {
            sequence: random(round),
            limit,
            count,
        };
        self.rounds(names[2], values, &mut stores, |round| {
            scan(round, 10, short)
        });
        self.rounds(names[3], values, &mut stores, |round| {
            scan(round, 1000, long)
        });
        for (name, least) in names.into_iter().zip([2.0, 2.0, 1.5, 1.5]) {
            self.want(name, values, Wanted::AtLeast(least));
        }
    }

    /// Gets over data four times the cache, beside reads of one block each without a store.
    fn uncached(&mut self, values: &Values) {
        const NAME: &str = "get uncached";
        if !self.settings.wants(&cell_name(NAME, values)) {
            return;
        }
        let keys = self.pairs(values, 256);
        let options = self.on_disk(self.settings.scaled(64 * MEBIBYTE));
        let load = layered_load(keys, values);
        let mut stores = self.open_all(&options, &load);
        for (_, store) in &mut stores {
            // Fills the cache, so that every round finds it as full as the last one.
            let count = self.settings.scaled(40_000);
            store.run(&get(Sequence::random(keys, 999), 0, count, true));
        }
        let mut bare = open(&self.bare, &mut self.opened, &self.root, &options);
        bare.run(&put(
            Sequence::each_once(keys),
            values,
            keys,
            1,
            Until::Settled,
        ));
        stores.push((self.bare.name, bare));
        let count = self.settings.scaled(6_000);
        self.rounds(NAME, values, &mut stores, |round| {
            get(Sequence::random(keys, round as u64), 0, count, true)
        });
        // A get that finds its block in the cache reads nothing, so reads are compared, not gets.
        self.report.want(
            &cell_name(NAME, values),
            ("coracle", self.bare.name),
            "block reads per second",
            Wanted::AtLeast(0.9),
            |sample| {
                sample.rate()
                    * sample
                        .figures
                        .get("KiB read/op")
                        .copied()
                        .unwrap_or(f64::NAN)
            },
        );
    }

    /// A cell whose every run begins with a fresh store.
    fn fresh<'w>(
        &mut self,
        name: &str,
        values: &Values,
        options: Options,
        load: &[Work<'w>],
        work: impl Fn(usize) -> Work<'w>,
    ) {
        self.fresh_beside(false, name, values, options, load, work);
    }

    /// The same, beside bare copies if wanted.
    fn fresh_beside<'w>(
        &mut self,
        copies: bool,
        name: &str,
        values: &Values,
        options: Options,
        load: &[Work<'w>],
        work: impl Fn(usize) -> Work<'w>,
    ) {
        if !self.settings.wants(&cell_name(name, values)) {
            return;
        }
        let (root, opened) = (self.root.clone(), std::cell::Cell::new(self.opened));
        let live_bytes = |work: &Work<'_>| match work {
            Work::Put { sequence, .. } => sequence.count() * (values.length() as u64 + 16),
            _ => unreachable!("fresh stores are for puts"),
        };
        let sides = self.sides.iter().chain(copies.then_some(&self.copies));
        let runners = sides.map(|side| -> Runner<'_> {
            let run = |round: usize| {
                let mut number = opened.get();
                let mut store = open(side, &mut number, &root, &options);
                opened.set(number);
                load.iter().for_each(|work| drop(store.run(work)));
                let mut work = work(round);
                let live = live_bytes(&work);
                let directory = store.directory.clone();
                if let Work::Put {
                    directory: looked_at,
                    until: Until::Settled,
                    ..
                } = &mut work
                {
                    *looked_at = Some(&directory);
                }
                let sample = store.run(&work);
                match sample.figures.get("disk MB").copied() {
                    Some(disk) => {
                        sample.with_figure("space amplification", disk * 1e6 / live as f64)
                    }
                    None => sample,
                }
            };
            (side.name, Box::new(run))
        });
        let runners: Vec<Runner<'_>> = runners.collect();
        let cell = run_rounds(&cell_name(name, values), self.settings.rounds(), runners);
        self.opened = opened.get();
        self.finish(cell);
    }

    /// A cell whose stores are loaded once.
    fn kept<'w>(
        &mut self,
        name: &str,
        values: &Values,
        options: Options,
        load: &[Work<'w>],
        work: impl Fn(usize) -> Work<'w>,
    ) {
        if self.settings.wants(&cell_name(name, values)) {
            let mut stores = self.open_all(&options, load);
            self.rounds(name, values, &mut stores, work);
        }
    }

    fn open_all(&mut self, options: &Options, load: &[Work<'_>]) -> Vec<(&'static str, Prepared)> {
        let mut stores = Vec::new();
        for side in &self.sides {
            let mut store = open(side, &mut self.opened, &self.root, options);
            load.iter().for_each(|work| drop(store.run(work)));
            forget_pages(&store.directory);
            stores.push((side.name, store));
        }
        stores
    }

    fn rounds<'w>(
        &mut self,
        name: &str,
        values: &Values,
        stores: &mut [(&'static str, Prepared)],
        work: impl Fn(usize) -> Work<'w>,
    ) {
        if !self.settings.wants(&cell_name(name, values)) {
            return;
        }
        let shapes: Vec<String> = stores
            .iter()
            .filter_map(|(side, store)| Some((side, store.store.as_ref()?.shape())))
            .filter(|(_, shape)| !shape.is_empty())
            .map(|(side, shape)| format!("{side} has {shape}"))
            .collect();
        let work = &work;
        let runners = stores.iter_mut().map(|(side, store)| -> Runner<'_> {
            let run = move |round: usize| {
                // Only matters for those who read through the page cache.
                forget_pages(&store.directory);
                store.run(&work(round))
            };
            (*side, Box::new(run))
        });
        let runners: Vec<Runner<'_>> = runners.collect();
        self.cell(name, values, runners);
        if !shapes.is_empty() {
            println!("\nTables: {}.", shapes.join("; "));
        }
    }

    fn cell(&mut self, name: &str, values: &Values, runners: Vec<Runner<'_>>) {
        let name = cell_name(name, values);
        if self.settings.wants(&name) {
            let cell = run_rounds(&name, self.settings.rounds(), runners);
            self.finish(cell);
        }
    }

    fn finish(&mut self, mut cell: Cell) {
        self.disagreement |= disagrees(&cell);
        for sample in cell.sides.iter_mut().flat_map(|side| &mut side.samples) {
            sample.figures.remove(DIGEST);
        }
        println!("{}", self.report.add(cell, "coracle"));
    }

    fn want(&mut self, name: &str, values: &Values, wanted: Wanted) {
        let name = cell_name(name, values);
        self.report.want(
            &name,
            ("coracle", "rocksdb"),
            "operations per second",
            wanted,
            Sample::rate,
        );
    }

    fn want_figure(&mut self, name: &str, values: &Values, wanted: Wanted, figure: &str) {
        let name = cell_name(name, values);
        self.report
            .want(&name, ("coracle", "rocksdb"), figure, wanted, |sample| {
                sample.figures.get(figure).copied().unwrap_or(f64::NAN)
            });
    }
}

/// Whether two sides of a cell have read different things.
fn disagrees(cell: &Cell) -> bool {
    let digests = |side: &coracle_bench_harness::Side| -> Vec<Option<u64>> {
        let digest = |sample: &Sample| sample.figures.get(DIGEST).map(|digest| digest.to_bits());
        side.samples.iter().map(digest).collect()
    };
    let read = cell
        .sides
        .iter()
        .filter(|side| digests(side).iter().all(Option::is_some));
    let all: Vec<_> = read
        .map(|side| (side.name.as_str(), digests(side)))
        .collect();
    let differing = all.windows(2).find(|pair| pair[0].1 != pair[1].1);
    if let Some([one, other]) = differing {
        eprintln!(
            "{}: {} and {} have read different things",
            cell.name, one.0, other.0
        );
    }
    differing.is_some()
}

fn run_rounds(name: &str, rounds: usize, mut runners: Vec<Runner<'_>>) -> Cell {
    interleave(name, rounds, &mut runners)
}

fn cell_name(name: &str, values: &Values) -> String {
    format!("{name}, values of {} B", values.length())
}

fn open(side: &Side, opened: &mut u64, root: &Path, options: &Options) -> Prepared {
    *opened += 1;
    let directory = root.join(format!("{opened}-{}", side.name.replace(' ', "-")));
    std::fs::create_dir_all(&directory).expect("the directory is writable");
    Prepared {
        store: Some((side.open)(&directory, options)),
        directory,
    }
}

fn put(sequence: Sequence, values: &Values, count: u64, stamp: u64, until: Until) -> Work<'_> {
    Work::Put {
        sequence,
        values,
        count,
        stamp,
        until,
        directory: None,
    }
}

fn get(sequence: Sequence, offset: u64, count: u64, slow: bool) -> Work<'static> {
    Work::Get {
        sequence,
        offset,
        count,
        slow,
    }
}

/// Six flushes, with what compaction they cause: four runs become one, two stay on top of it.
fn layered_load(keys: u64, values: &Values) -> Vec<Work<'_>> {
    let part = |number: u64| {
        let (first, limit) = (keys * number / 6, keys * (number + 1) / 6);
        put(
            Sequence::part(keys, first),
            values,
            limit - first,
            number + 1,
            Until::Settled,
        )
    };
    (0..6).map(part).collect()
}
