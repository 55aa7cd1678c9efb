//! The block cache: its budget, blocks that somebody holds, tables that go.

use std::rc::Rc;

use coracle_engine::cache::BlockCache;
use coracle_engine::record::{KeyRange, Kind};
use coracle_engine::table::{BuilderOptions, Step, Table, TableCursor};

use super::support::{Content, File, Random, seeds};

fn table_of(number: u64, records: u64) -> (File, Rc<Table>) {
    let mut random = Random::new(number);
    let mut content = Content::default();
    for key in 0..records {
        let record = (1, Kind::Put, random.bytes(100));
        content.records.insert(key.to_be_bytes().to_vec(), record);
    }
    let options = BuilderOptions {
        compress: false,
        ..BuilderOptions::default()
    };
    let file = content.build(number, options);
    let table = file.open(None).unwrap();
    (file, table)
}

#[test]
fn the_budget_holds_unless_blocks_are_held() {
    let (file, table) = table_of(1, 5000);
    let budget = 100 << 10;
    let mut cache = BlockCache::new(budget);
    cache.attach(&table);
    let mut held = Vec::new();
    for block in 0..table.blocks() {
        let place = table.block_ref(block);
        let filled = cache.fill(&place, file.read(&place)).unwrap();
        if block % 2 == 0 {
            held.push(filled);
        }
    }
    let all: usize = held.iter().map(|block| block.memory_bytes()).sum();
    assert!(all > budget, "more is held than the budget allows");
    assert!(cache.stats().bytes >= all);
    for block in &held {
        assert!(cache.contains(&table, block.number()), "held and gone");
    }
    held.clear();
    for block in 0..table.blocks() {
        let place = table.block_ref(block);
        cache.fill(&place, file.read(&place)).unwrap();
    }
    assert!(
        cache.stats().bytes <= budget + (64 << 10),
        "{:?}",
        cache.stats()
    );
}

#[test]
fn a_scan_does_not_wash_out_what_is_used_again_and_again() {
    let (file, table) = table_of(1, 5000);
    let (long, other) = table_of(2, 50_000);
    let mut cache = BlockCache::new(1 << 20);
    cache.attach(&table);
    cache.attach(&other);
    for _ in 0..3 {
        for block in 0..table.blocks() {
            let place = table.block_ref(block);
            if cache.get(&table, block).is_none() {
                cache.fill(&place, file.read(&place)).unwrap();
                cache.get(&table, block).unwrap();
            }
        }
    }
    let mut cursor = TableCursor::new(other.clone(), KeyRange::all());
    let mut step = cursor.first(&mut cache);
    while step != Step::End {
        step = match step {
            Step::Need(place) => {
                let _held = cache.fill(&place, long.read(&place)).unwrap();
                cursor.resume(&mut cache)
            }
            _ => cursor.next(&mut cache),
        };
    }
    let left = (0..table.blocks())
        .filter(|block| cache.contains(&table, *block))
        .count();
    assert!(
        left as u32 * 10 >= table.blocks() * 9,
        "{left} of {}",
        table.blocks()
    );
}

#[test]
fn blocks_of_tables_that_went_are_freed_and_never_served() {
    seeds("blocks_of_tables_that_went", 20, |seed| {
        let mut random = Random::new(seed);
        let mut cache = BlockCache::new([0, 50_000, 1 << 20][random.below(3)]);
        let mut files: Vec<File> = (1..6)
            .map(|number| table_of(number, 1 + 300 * number).0)
            .collect();
        let mut open: Vec<Option<Rc<Table>>> = vec![None; files.len()];
        let mut numbers = files.len() as u64;
        let mut late = Vec::new();
        for _ in 0..2000 {
            let at = random.below(files.len());
            match &open[at] {
                None => {
                    // A number is used once: what comes back is a new table.
                    numbers += 1;
                    files[at] = table_of(numbers, 1 + random.below(1500) as u64).0;
                    let table = files[at].open(None).unwrap();
                    cache.attach(&table);
                    open[at] = Some(table);
                }
                Some(table) if random.one_in(100) => {
                    cache.detach(table);
                    open[at] = None;
                }
                Some(table) => {
                    let place = table.block_ref(random.below(table.blocks() as usize) as u32);
                    match random.one_in(20) {
                        true => late.push((place, files[at].read(&place).to_vec())),
                        false => {
                            let block = cache.fill(&place, files[at].read(&place)).unwrap();
                            let cached = cache.get(table, place.number).unwrap();
                            assert!(Rc::ptr_eq(&block, cached));
                        }
                    }
                }
            }
            // A read may end long after its table has gone.
            if late.len() > 5 {
                let (place, bytes) = late.swap_remove(random.below(5));
                let block = cache.fill(&place, &bytes).unwrap();
                assert_eq!(block.number(), place.number);
            }
        }
        for table in open.iter().flatten() {
            cache.detach(table);
        }
        // What has gone is freed little by little, as blocks come in.
        let (file, table) = table_of(numbers + 1, 8000);
        cache.attach(&table);
        for block in 0..table.blocks() {
            let place = table.block_ref(block);
            cache.fill(&place, file.read(&place)).unwrap();
        }
        let mut present = 0;
        for block in 0..table.blocks() {
            present += usize::from(cache.contains(&table, block));
        }
        assert_eq!(
            cache.stats().blocks,
            present,
            "only this table's blocks are left"
        );
        assert!(cache.stats().bytes <= cache.budget().max(8 << 10));
    });
}

#[test]
fn a_passing_cursor_leaves_no_trace() {
    let (file, table) = table_of(1, 2000);
    let mut cache = BlockCache::new(1 << 20);
    cache.attach(&table);
    for block in (0..table.blocks()).step_by(2) {
        let place = table.block_ref(block);
        cache.fill(&place, file.read(&place)).unwrap();
    }
    let before = cache.stats();
    let mut cursor = TableCursor::new(table.clone(), KeyRange::all()).passing();
    let mut step = cursor.first(&mut cache);
    let (mut seen, mut reads) = (0, 0);
    while step != Step::End {
        step = match step {
            Step::Need(place) => {
                reads += 1;
                cursor.provide(Rc::new(place.decode(file.read(&place)).unwrap()));
                cursor.resume(&mut cache)
            }
            _ => {
                seen += 1;
                cursor.next(&mut cache)
            }
        };
    }
    assert_eq!((seen, reads), (2000, table.blocks() / 2));
    assert_eq!(cache.stats(), before);
}
