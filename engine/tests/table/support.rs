//! Random records, files in memory, and the plain map that says what a table should answer.

use std::collections::BTreeMap;
use std::rc::Rc;

use coracle_engine::cache::BlockCache;
use coracle_engine::effect::TableNumber;
use coracle_engine::record::{Kind, Record, Seq};
use coracle_engine::table::{
    BlockRef, BuilderOptions, Corrupt, Lookup, Probe, Step, Table, TableBuilder, TableCursor,
    TableMeta,
};

/// SplitMix64: small, seeded, good enough for tests.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// Mostly short, sometimes long.
    pub fn length(&mut self, most: usize) -> usize {
        match self.below(40) {
            0 => self.below(most + 1),
            1..4 => self.below(most.min(2000) + 1),
            4..6 => 0,
            _ => self.below(most.min(120) + 1),
        }
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let noise = self.one_in(2);
        let letter = self.next() as u8;
        (0..length)
            .map(|at| match noise || at % 16 == 0 {
                true => self.next() as u8,
                false => letter,
            })
            .collect()
    }
}

/// Runs `test` with many seeds; `CORACLE_SEED` runs a single one.
pub fn seeds(name: &str, count: u64, test: impl Fn(u64)) {
    let number = |variable| {
        std::env::var(variable)
            .ok()
            .and_then(|text| text.parse().ok())
    };
    let scale: u64 = number("CORACLE_TEST_SCALE").unwrap_or(1);
    let one: Option<u64> = number("CORACLE_SEED");
    let all = match one {
        Some(seed) => seed..seed + 1,
        None => 0..count * scale,
    };
    for seed in all {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(seed)));
        if let Err(panic) = outcome {
            eprintln!(
                "replay: CORACLE_SEED={seed} cargo test --profile proof -p coracle-engine {name}"
            );
            std::panic::resume_unwind(panic);
        }
    }
}

pub type Tombstones = Vec<(Vec<u8>, Vec<u8>, u64)>;

/// What a table was given.
#[derive(Clone, Default)]
pub struct Content {
    pub records: BTreeMap<Vec<u8>, (u64, Kind, Vec<u8>)>,
    pub tombstones: Tombstones,
}

impl Content {
    pub fn random(random: &mut Random, most: usize) -> Content {
        let mut content = Content::default();
        let shared = random.length(4000);
        let shared = random.bytes(shared);
        let style = random.below(4);
        let values = [100, 3000, 20_000, 1 << 20][random.below(4)];
        let mut bytes_left = 3 << 20;
        for number in 0..random.below(most) + 1 {
            let mut key = match random.one_in(20) {
                true => Vec::new(),
                false => shared.clone(),
            };
            match style {
                0 => key.extend_from_slice(format!("{:08}", number * 3).as_bytes()),
                1 => key.extend_from_slice(&random.next().to_be_bytes()),
                2 => key.extend((0..random.below(12)).map(|_| random.below(2) as u8)),
                _ => {
                    let length = random.length(4096);
                    key.extend(random.bytes(length));
                }
            }
            key.truncate(4096);
            let kind = match random.one_in(6) {
                true => Kind::Delete,
                false => Kind::Put,
            };
            let value = match kind {
                Kind::Delete => Vec::new(),
                Kind::Put => {
                    let length = random.length(values).min(bytes_left);
                    random.bytes(length)
                }
            };
            bytes_left -= value.len();
            let seq = match style {
                0 => 7,
                1 => random.next() >> 2,
                _ => 1 + random.below(1 << 20) as u64,
            };
            content.records.insert(key, (seq, kind, value));
        }
        let mut ends: Vec<Vec<u8>> = (0..2 * random.below(4))
            .map(|_| {
                let mut end = shared.clone();
                end.truncate(4000);
                end.push(random.next() as u8);
                end
            })
            .collect();
        ends.sort();
        ends.dedup();
        for pair in ends.chunks_exact(2) {
            let (start, limit) = (pair[0].clone(), pair[1].clone());
            content.tombstones.push((start, limit, random.next() >> 3));
        }
        if random.one_in(8) {
            let start = ends.last().cloned().unwrap_or_default();
            let behind = content.tombstones.last().is_none_or(|last| last.1 <= start);
            if behind {
                content.tombstones.push((start, Vec::new(), 5));
            }
        }
        content
    }

    pub fn record<'a>(entry: (&'a Vec<u8>, &'a (u64, Kind, Vec<u8>))) -> Record<'a> {
        let (key, (seq, kind, value)) = entry;
        Record {
            key,
            seq: Seq(*seq),
            kind: *kind,
            value,
        }
    }

    pub fn build(&self, number: u64, options: BuilderOptions) -> File {
        let mut builder = TableBuilder::new(TableNumber(number), options);
        let mut bytes = Vec::new();
        for entry in &self.records {
            builder.add(&Content::record(entry));
            take_chunks(&mut builder, &mut bytes, options);
        }
        for (start, limit, seq) in &self.tombstones {
            builder.add_tombstone(start, limit, Seq(*seq));
        }
        let estimate = builder.estimated_file_bytes();
        let meta = loop {
            let finished = builder.finish();
            take_chunks(&mut builder, &mut bytes, options);
            if let Some(meta) = finished {
                break meta;
            }
        };
        assert_eq!(meta.file_bytes, bytes.len() as u64);
        // Compression may shrink the last block, padding may lengthen it; the rest is known.
        assert!(
            estimate.abs_diff(meta.file_bytes) <= 64 << 10,
            "{estimate} {meta:?}"
        );
        assert_eq!(meta.entries, self.records.len() as u64);
        File { bytes, meta }
    }
}

fn take_chunks(builder: &mut TableBuilder, bytes: &mut Vec<u8>, options: BuilderOptions) {
    while let Some(chunk) = builder.take_chunk() {
        assert_eq!(chunk.offset, bytes.len() as u64, "chunks in order");
        assert!(chunk.bytes.len() <= options.chunk_bytes);
        assert!(!chunk.bytes.is_empty() && chunk.bytes.len().is_multiple_of(4096));
        bytes.extend_from_slice(&chunk.bytes);
    }
}

/// A table's file.
#[derive(Clone)]
pub struct File {
    pub bytes: Vec<u8>,
    pub meta: TableMeta,
}

impl File {
    pub fn open(&self, global_seq: Option<Seq>) -> Result<Rc<Table>, Corrupt> {
        let tail = &self.bytes[self.meta.tail_offset as usize..];
        let length = self.bytes.len() as u64;
        Table::open(Some(self.meta.number), length, global_seq, tail).map(Rc::new)
    }

    pub fn read(&self, place: &BlockRef) -> &[u8] {
        &self.bytes[place.offset as usize..][..place.length as usize]
    }

    pub fn get(
        &self,
        table: &Table,
        key: &[u8],
        cache: &mut BlockCache,
    ) -> Result<Lookup, Corrupt> {
        let probe = Probe::new(key);
        match table.get(&probe, Seq::MAX, cache) {
            Lookup::Need(place) => {
                let held = cache.fill(&place, self.read(&place))?;
                let again = table.get(&probe, Seq::MAX, cache);
                assert!(!matches!(again, Lookup::Need(_)), "the block was brought");
                drop(held);
                Ok(again)
            }
            lookup => Ok(lookup),
        }
    }

    /// Brings blocks until the cursor has moved. By turns through the cache and past it.
    pub fn carry(
        &self,
        cursor: &mut TableCursor,
        mut step: Step,
        cache: &mut BlockCache,
    ) -> Result<Step, Corrupt> {
        let mut reads = 0;
        while let Step::Need(place) = step {
            reads += 1;
            assert!(reads <= 3, "a move asks for few blocks");
            let bytes = self.read(&place);
            if place.number % 2 == 0 {
                let _held = cache.fill(&place, bytes)?;
                step = cursor.resume(cache);
            } else {
                cursor.provide(Rc::new(place.decode(bytes)?));
                step = cursor.resume(cache);
            }
        }
        Ok(step)
    }
}
