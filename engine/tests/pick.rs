//! What is picked, as text; and what random overwriting costs when picks are carried out.
//!
//! `UPDATE=1` rewrites the expectations; the difference is for reading.

use crate::disk::Chance;
use coracle_engine::edit::{Compaction, Flush, Move, VersionEdit};
use coracle_engine::effect::TableNumber;
use coracle_engine::pick::{PickLimits, Plan, Task, debt, pick, slowdown};
use coracle_engine::progress::Rotation;
use coracle_engine::record::{KeyRange, Seq};
use coracle_engine::state::State;
use coracle_engine::version::{SliceName, TableMeta, Version};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/pick.txt");
const MIB: u64 = 1 << 20;

struct Store {
    state: State,
    tables: u64,
    rotations: u64,
}

impl Store {
    fn new() -> Store {
        let mut state = State::default();
        state.ledger.table_limit = TableNumber(u64::MAX);
        Store {
            state,
            tables: 0,
            rotations: 0,
        }
    }

    fn table(&mut self, range: KeyRange, bytes: u64) -> TableMeta {
        self.tables += 1;
        TableMeta {
            number: TableNumber(self.tables),
            file_bytes: bytes,
            entries: bytes / 128,
            deletes: 0,
            range_tombstones: 0,
            range,
            min_seq: Seq(1),
            max_seq: Seq(1),
            raw_bytes: bytes,
            stored_bytes: bytes,
            tail_offset: bytes,
            global_seq: None,
        }
    }

    fn flush(&mut self, tables: Vec<TableMeta>) {
        self.rotations += 1;
        let rotation = Rotation(self.rotations);
        let flush = Flush {
            rotation,
            last_seq: Seq(1),
            tables,
            applied: vec![],
        };
        self.state
            .fold(&VersionEdit::Flush(flush))
            .expect("a flush fits");
    }

    fn place(&mut self, level: u8, tables: Vec<TableMeta>) {
        let compaction = Compaction {
            inputs: vec![],
            level,
            tables,
        };
        self.state
            .fold(&VersionEdit::Compaction(compaction))
            .expect("a run fits");
    }

    fn version(&self) -> &Version {
        &self.state.version
    }
}

fn names(plan: &Plan) -> Vec<SliceName> {
    let name = |(level, slice): &(u8, std::rc::Rc<coracle_engine::version::Slice>)| SliceName {
        level: *level,
        table: slice.table.meta.number,
        range: slice.range.clone(),
    };
    plan.inputs.iter().map(name).collect()
}

fn show(plan: &Plan) -> String {
    let task = match plan.task {
        Task::Merge => "merge",
        Task::Move => "move",
    };
    let mut line = format!("{task} to L{}:", plan.level);
    for (level, slice) in &plan.inputs {
        let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
        let (start, limit) = (text(&slice.range.start), text(&slice.range.limit));
        line += &format!(" L{level}[{start}-{limit}){}", slice.bytes / MIB);
    }
    line
}

fn decide(definition: &str) -> String {
    let mut store = Store::new();
    let mut limits = PickLimits::default();
    let mut level0 = Vec::new();
    for line in definition.lines() {
        if let Some(bytes) = line.strip_prefix("plan ") {
            limits.plan_bytes_max = bytes.parse::<u64>().expect("MiB") * MIB;
            continue;
        }
        let Some((level, slices)) = line
            .strip_prefix('L')
            .and_then(|line| line.split_once(": "))
        else {
            continue;
        };
        let mut tables = Vec::new();
        for slice in slices.split(' ') {
            let (range, bytes) = slice[1..].split_once(')').expect("[a-b)1");
            let (start, limit) = range.split_once('-').expect("a-b");
            let range = KeyRange::new(start.as_bytes(), limit.as_bytes());
            let (bytes, deletes) = match bytes.strip_suffix('x') {
                Some(bytes) => (bytes, true),
                None => (bytes, false),
            };
            let mut table = store.table(range, bytes.parse::<u64>().expect("MiB") * MIB);
            table.deletes = if deletes { table.entries } else { 0 };
            tables.push(table);
        }
        match level.parse().expect("a level") {
            0 => level0.push(tables),
            level => store.place(level, tables),
        }
    }
    level0
        .into_iter()
        .rev()
        .for_each(|tables| store.flush(tables));
    match pick(store.version(), &limits) {
        Some(plan) => show(&plan),
        None => "nothing".into(),
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a transcript is a file")]
fn transcripts() {
    let text = std::fs::read_to_string(DATA).expect("the transcript");
    let mut written = String::new();
    let mut different = Vec::new();
    for case in text.split("\n\n") {
        let Some((definition, expected)) = case.split_once("----") else {
            written += case.trim_end();
            written += "\n\n";
            continue;
        };
        let found = decide(definition);
        if found != expected.trim() {
            different.push(format!(
                "{definition}----\n{found}\ninstead of\n{}",
                expected.trim()
            ));
        }
        written += &format!("{}\n----\n{found}\n\n", definition.trim());
    }
    if std::env::var("UPDATE").is_ok() {
        std::fs::write(DATA, format!("{}\n", written.trim_end())).expect("written");
    } else {
        assert!(different.is_empty(), "{}", different.join("\n\n"));
    }
}

/// Keys are numbers in a space; a table is a range of it, with bytes in proportion.
fn key(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// Random overwriting of 8 GiB through memtables of 64 MiB: each flush covers the whole space thinly.
/// Merging a range yields at most what the space holds of distinct keys.
#[test]
fn random_overwriting_costs_no_more_than_a_leveled_store_should() {
    let limits = PickLimits::default();
    let (space, live, memtable, file) = (1u64 << 40, 8192 * MIB, 64 * MIB, 32 * MIB);
    let mut store = Store::new();
    let mut chance = Chance::new(1);
    let cut = |store: &mut Store, start: u64, limit: u64, bytes: u64| -> Vec<TableMeta> {
        let count = bytes.div_ceil(file).max(1);
        let bound = |part: u64| key(start + (limit - start) / count * part);
        (0..count)
            .map(|part| {
                let end = if part + 1 == count {
                    key(limit)
                } else {
                    bound(part + 1)
                };
                store.table(KeyRange::new(&bound(part), &end), bytes / count)
            })
            .collect()
    };
    let initial = cut(&mut store, 0, space, live);
    store.place(6, initial);
    let (mut put, mut written, mut worst_debt) = (0, 0, 0);
    let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("eight bytes"));
    for _ in 0..400 {
        let tables = cut(&mut store, chance.below(1000), space, memtable);
        store.flush(tables);
        put += memtable;
        written += memtable;
        worst_debt = worst_debt.max(debt(store.version(), &limits));
        let mut steps = 0;
        while let Some(plan) = pick(store.version(), &limits) {
            steps += 1;
            assert!(steps < 2_000, "compaction never rests");
            let inputs = names(&plan);
            if plan.task == Task::Move {
                let moved = Move {
                    slices: inputs,
                    level: plan.level,
                };
                store
                    .state
                    .fold(&VersionEdit::Move(moved))
                    .expect("a move fits");
                continue;
            }
            let read: u64 = plan.inputs.iter().map(|(_, slice)| slice.bytes).sum();
            assert!(
                read <= limits.plan_bytes_max + 2 * file * 10,
                "a plan of {read} bytes"
            );
            let start = plan
                .inputs
                .iter()
                .map(|(_, slice)| number(&slice.range.start))
                .min();
            let limit = plan
                .inputs
                .iter()
                .map(|(_, slice)| number(&slice.range.limit))
                .max();
            let (start, limit) = (start.expect("inputs"), limit.expect("inputs"));
            // In the last level every key of the range is there once.
            let distinct =
                (u128::from(live) * u128::from(limit - start) / u128::from(space)) as u64;
            let output = if plan.level == 6 {
                read.min(distinct)
            } else {
                read
            };
            let tables = cut(&mut store, start, limit, output);
            written += output;
            let compaction = Compaction {
                inputs,
                level: plan.level,
                tables,
            };
            store
                .state
                .fold(&VersionEdit::Compaction(compaction))
                .expect("a compaction fits");
        }
        assert_eq!(debt(store.version(), &limits), 0, "debt is left at rest");
    }
    let amplification = written as f64 / put as f64;
    let total: u64 = (0..7).map(|level| store.version().level_bytes(level)).sum();
    let space_used = total as f64 / live as f64;
    println!(
        "write amplification {amplification:.1}, space {space_used:.2}, worst debt {} MiB",
        worst_debt / MIB
    );
    assert!(amplification < 16.0, "write amplification {amplification}");
    assert!(space_used < 1.25, "space amplification {space_used}");
}

#[test]
fn slowing_down_has_no_cliff() {
    let limits = PickLimits::default();
    let mut before = 0;
    for debt_bytes in (0..6 * 1024).map(|debt| debt * MIB) {
        let now = slowdown(debt_bytes, &limits);
        assert!(
            now >= before && now - before <= 1 && now <= 1000,
            "{before} to {now}"
        );
        before = now;
    }
    assert_eq!((slowdown(0, &limits), before), (0, 1000));
}
