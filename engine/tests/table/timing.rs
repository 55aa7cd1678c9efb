//! How long things take on one thread: `CORACLE_TIMING=1 cargo test --release -p coracle-engine timing
//! -- --nocapture --test-threads 1`. Without the variable it does nothing.
#![expect(
    clippy::disallowed_methods,
    reason = "this test exists to read the clock"
)]

use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use coracle_engine::cache::BlockCache;
use coracle_engine::effect::TableNumber;
use coracle_engine::record::{KeyRange, Kind, Record, Seq};
use coracle_engine::table::{
    BuilderOptions, Lookup, Probe, Step, Table, TableBuilder, TableCursor, TableOpening,
};

use super::support::{File, Random};

const KEYS: u64 = 1_000_000;

fn key_of(number: u64) -> [u8; 16] {
    *format!("{number:016}").as_bytes().first_chunk().unwrap()
}

struct Built {
    file: File,
    worst_add: Duration,
    worst_finish: Duration,
    whole: Duration,
}

fn build(keys: u64, value_bytes: usize, compress: bool) -> Built {
    let mut random = Random::new(1);
    // Half noise, half the same again and again: shrinks to about half.
    let noise: Vec<u8> = (0..64 << 10).map(|_| random.next() as u8).collect();
    let options = BuilderOptions {
        compress,
        ..BuilderOptions::default()
    };
    let mut builder = TableBuilder::new(TableNumber(1), options);
    let mut bytes = Vec::with_capacity((keys as usize * (value_bytes + 40)).max(1 << 20));
    bytes.resize(bytes.capacity(), 1);
    bytes.clear();
    let mut value = vec![0; value_bytes];
    let (mut worst_add, mut worst_finish) = (Duration::ZERO, Duration::ZERO);
    let begin = Instant::now();
    let mut outside = Duration::ZERO;
    for number in 0..keys {
        let half = value_bytes / 2;
        let from = random.below(noise.len() - half.min(noise.len() / 2));
        let part = half.min(noise.len() - from);
        value[..part].copy_from_slice(&noise[from..from + part]);
        let key = key_of(number * 2);
        let before = Instant::now();
        builder.add(&Record {
            key: &key,
            seq: Seq(1000 + number % 5000),
            kind: Kind::Put,
            value: &value,
        });
        let after = Instant::now();
        worst_add = worst_add.max(after - before);
        while let Some(chunk) = builder.take_chunk() {
            bytes.extend_from_slice(&chunk.bytes);
        }
        outside += after.elapsed();
    }
    let meta = loop {
        let before = Instant::now();
        let finished = builder.finish();
        worst_finish = worst_finish.max(before.elapsed());
        while let Some(chunk) = builder.take_chunk() {
            bytes.extend_from_slice(&chunk.bytes);
        }
        if let Some(meta) = finished {
            break meta;
        }
    };
    Built {
        whole: begin.elapsed() - outside,
        file: File { bytes, meta },
        worst_add,
        worst_finish,
    }
}

fn per(begin: Instant, count: u64) -> f64 {
    begin.elapsed().as_nanos() as f64 / count as f64
}

fn fill_all(file: &File, table: &Table, cache: &mut BlockCache) -> f64 {
    let begin = Instant::now();
    for block in 0..table.blocks() {
        let place = table.block_ref(block);
        cache.fill(&place, file.read(&place)).unwrap();
    }
    per(begin, table.blocks().into())
}

#[test]
fn timing_of_tables() {
    if std::env::var_os("CORACLE_TIMING").is_none() {
        return;
    }
    for (keys, value_bytes, compress) in [
        (KEYS / 100, 100, false),
        (KEYS / 10, 100, false),
        (KEYS, 100, false),
        (KEYS, 100, true),
        (KEYS / 10, 1024, false),
        (KEYS / 10, 1024, true),
        (64, 1 << 20, false),
    ] {
        let built = build(keys, value_bytes, compress);
        let raw = built.file.meta.raw_bytes as f64 / 1e6;
        println!(
            "-- {keys} keys of 16 B, values of {value_bytes} B, {}: {:.1} MB given, {:.1} MB file",
            if compress { "compressed" } else { "raw" },
            raw,
            built.file.meta.file_bytes as f64 / 1e6,
        );
        println!(
            "build {:.0} MB/s (its harness included); worst add {:?}, worst finish {:?}",
            raw / built.whole.as_secs_f64(),
            built.worst_add,
            built.worst_finish
        );
        let tail = &built.file.bytes[built.file.meta.tail_offset as usize..];
        let length = built.file.bytes.len() as u64;
        let begin = Instant::now();
        let mut opening = TableOpening::new(None, length, None, tail).unwrap();
        let mut worst_step = begin.elapsed();
        let table = loop {
            let before = Instant::now();
            let opened = opening.step(tail).unwrap();
            worst_step = worst_step.max(before.elapsed());
            if let Some(table) = opened {
                break Rc::new(table);
            }
        };
        println!(
            "open {:?}, worst step {worst_step:?}, for a tail of {} KiB; {} KiB in memory",
            begin.elapsed(),
            (built.file.meta.file_bytes - built.file.meta.tail_offset) >> 10,
            table.memory_bytes() >> 10
        );
        let mut cache = BlockCache::new(1 << 30);
        cache.attach(&table);
        println!(
            "fill {:.0} ns per block",
            fill_all(&built.file, &table, &mut cache)
        );
        measure_reads(keys, &table, &mut cache);
    }
}

fn measure_reads(keys: u64, table: &Rc<Table>, cache: &mut BlockCache) {
    let mut random = Random::new(2);
    let count = 1 << 20;
    let present: Vec<_> = (0..count)
        .map(|_| key_of(random.next() % keys * 2))
        .collect();
    let absent: Vec<_> = (0..count)
        .map(|_| key_of(random.next() % keys * 2 + 1))
        .collect();
    for round in 0..3 {
        let begin = Instant::now();
        for key in &present {
            match table.get(&Probe::new(key), Seq::MAX, cache) {
                Lookup::Found(hit) => black_box(hit.value()[0]),
                _ => panic!("present and not found"),
            };
        }
        let hit = per(begin, count);
        let begin = Instant::now();
        for key in &absent {
            let lookup = table.get(&Probe::new(key), Seq::MAX, cache);
            assert!(matches!(black_box(lookup), Lookup::Absent));
        }
        let miss = per(begin, count);
        let mut cursor = TableCursor::new(table.clone(), KeyRange::all());
        let begin = Instant::now();
        let mut step = cursor.first(cache);
        let mut bytes = 0;
        while step == Step::At {
            bytes += cursor.record().value.len();
            step = cursor.next(cache);
        }
        black_box(bytes);
        let next = per(begin, keys);
        let begin = Instant::now();
        let mut step = cursor.last(cache);
        while step == Step::At {
            black_box(cursor.record());
            step = cursor.previous(cache);
        }
        let previous = per(begin, keys);
        let begin = Instant::now();
        for key in present.iter().take(1 << 17) {
            black_box(cursor.seek(key, cache));
        }
        let seek = per(begin, 1 << 17);
        println!(
            "round {round}: get {hit:.0} ns, missing {miss:.0} ns, next {next:.1} ns, \
             previous {previous:.1} ns, seek {seek:.0} ns"
        );
    }
}
