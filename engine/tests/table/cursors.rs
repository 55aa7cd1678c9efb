//! Cursors: both directions, cut ranges, caches too small, blocks brought one by one.

use std::ops::Bound;

use coracle_engine::cache::BlockCache;
use coracle_engine::record::{KeyRange, below_limit};
use coracle_engine::table::{Step, TableCursor};

use super::model::options;
use super::support::{Content, Random, seeds};

/// A key near those that exist.
fn near(random: &mut Random, content: &Content) -> Vec<u8> {
    let position = random.below(content.records.len());
    let mut key = content.records.keys().nth(position).unwrap().clone();
    match random.below(5) {
        0 => key.push(0),
        1 => {
            key.pop();
        }
        2 => {
            if let Some(last) = key.last_mut() {
                *last = last.wrapping_add(1);
            }
        }
        _ => {}
    }
    key
}

#[test]
fn cursors_go_where_a_map_goes() {
    seeds("cursors_go", 250, |seed| {
        let mut random = Random::new(seed);
        let content = Content::random(&mut random, 600);
        let file = content.build(3, options(&mut random));
        let table = file.open(None).unwrap();
        let mut cache = BlockCache::new([0, 20_000, 1 << 22][random.below(3)]);
        cache.attach(&table);
        for _ in 0..8 {
            let range = match random.one_in(3) {
                true => KeyRange::all(),
                false => {
                    let (one, other) = (near(&mut random, &content), near(&mut random, &content));
                    match random.one_in(4) {
                        true => KeyRange::new(&one, b""),
                        false => KeyRange::new(&one.clone().min(other.clone()), &one.max(other)),
                    }
                }
            };
            let inside: Vec<_> = content
                .records
                .range::<Vec<u8>, _>((Bound::Included(&range.start), Bound::Unbounded))
                .filter(|(key, _)| below_limit(key, &range.limit))
                .collect();
            let mut cursor = TableCursor::new(table.clone(), range.clone());
            // Where the map's cursor stands.
            let mut at: Option<usize> = None;
            for _ in 0..40 {
                let key = near(&mut random, &content);
                let (step, expected) = match random.below(8) {
                    0 => (cursor.first(&mut cache), (!inside.is_empty()).then_some(0)),
                    1 => (cursor.last(&mut cache), inside.len().checked_sub(1)),
                    2 => {
                        let place = inside.partition_point(|entry| *entry.0 < key);
                        let there = (place < inside.len()).then_some(place);
                        (cursor.seek(&key, &mut cache), there)
                    }
                    3 => {
                        let place = inside.partition_point(|entry| below_limit(entry.0, &key));
                        (cursor.seek_below(&key, &mut cache), place.checked_sub(1))
                    }
                    4 | 5 => match at {
                        None => continue,
                        Some(place) => {
                            let there = (place + 1 < inside.len()).then_some(place + 1);
                            (cursor.next(&mut cache), there)
                        }
                    },
                    _ => match at {
                        None => continue,
                        Some(place) => (cursor.previous(&mut cache), place.checked_sub(1)),
                    },
                };
                let step = file.carry(&mut cursor, step, &mut cache).unwrap();
                at = expected;
                match at {
                    None => assert_eq!(step, Step::End),
                    Some(place) => {
                        assert_eq!(step, Step::At);
                        assert_eq!(cursor.record(), Content::record(inside[place]));
                        assert_eq!(cursor.resume(&mut cache), Step::At);
                    }
                }
            }
        }
    });
}

#[test]
fn a_scan_larger_than_the_cache_reads_every_block_once() {
    for (budget, forward) in [(0, true), (0, false), (30_000, true), (30_000, false)] {
        let mut random = Random::new(budget as u64);
        let mut content = Content::random(&mut random, 10);
        for number in 0..5000u64 {
            let value = random.bytes(100);
            let record = (1, coracle_engine::record::Kind::Put, value);
            content
                .records
                .insert(number.to_be_bytes().to_vec(), record);
        }
        let file = content.build(3, options(&mut random));
        let table = file.open(None).unwrap();
        let mut cache = BlockCache::new(budget);
        cache.attach(&table);
        let mut cursor = TableCursor::new(table.clone(), KeyRange::all());
        let mut reads = 0;
        let mut seen = 0;
        let mut step = match forward {
            true => cursor.first(&mut cache),
            false => cursor.last(&mut cache),
        };
        loop {
            step = match step {
                Step::Need(place) => {
                    reads += 1;
                    let _held = cache.fill(&place, file.read(&place)).unwrap();
                    cursor.resume(&mut cache)
                }
                Step::At => {
                    seen += 1;
                    match forward {
                        true => cursor.next(&mut cache),
                        false => cursor.previous(&mut cache),
                    }
                }
                Step::End => break,
            };
        }
        assert_eq!(seen, content.records.len());
        assert_eq!(reads, table.blocks());
    }
}

#[test]
fn read_ahead_names_the_blocks_to_come() {
    let mut random = Random::new(1);
    let mut content = Content::default();
    for number in 0..5000u64 {
        let record = (1, coracle_engine::record::Kind::Put, random.bytes(100));
        content
            .records
            .insert(number.to_be_bytes().to_vec(), record);
    }
    let file = content.build(3, options(&mut random));
    let table = file.open(None).unwrap();
    let mut cache = BlockCache::new(1 << 20);
    cache.attach(&table);
    let mut cursor = TableCursor::new(table.clone(), KeyRange::all());
    let Step::Need(first) = cursor.first(&mut cache) else {
        panic!("nothing is in memory");
    };
    let mut ahead = Vec::new();
    cursor.read_ahead(true, 64 << 10, &cache, &mut ahead);
    assert_eq!(ahead[0].number, first.number + 1);
    assert!(ahead.is_sorted_by_key(|place| place.offset));
    assert!(ahead.iter().map(|place| place.length).sum::<u32>() <= 64 << 10);
    assert!(ahead.len() >= 4);
    for place in &ahead {
        cache.fill(place, file.read(place)).unwrap();
    }
    cache.fill(&first, file.read(&first)).unwrap();
    assert_eq!(cursor.resume(&mut cache), Step::At);
    let again = ahead.len();
    ahead.clear();
    cursor.read_ahead(true, 64 << 10, &cache, &mut ahead);
    assert_eq!(ahead, [], "{again} blocks are in memory");
    cursor.read_ahead(false, 64 << 10, &cache, &mut ahead);
    assert_eq!(ahead, [], "nothing lies before the first block");
}
