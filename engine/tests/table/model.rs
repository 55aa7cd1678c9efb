//! Builder → reader against a plain map.

use coracle_engine::cache::BlockCache;
use coracle_engine::record::{KeyRange, Kind, Seq};
use coracle_engine::table::{BuilderOptions, Item, Lookup, Probe, Table, TableWalk};

use super::support::{Content, Random, seeds};

pub fn options(random: &mut Random) -> BuilderOptions {
    BuilderOptions {
        compress: random.one_in(2),
        chunk_bytes: [256 << 10, 128 << 10][random.below(2)],
    }
}

#[test]
fn what_was_added_is_found_and_nothing_else() {
    seeds("what_was_added", 300, |seed| {
        let mut random = Random::new(seed);
        let content = Content::random(&mut random, 2000);
        let file = content.build(seed + 1, options(&mut random));
        let table = file.open(None).unwrap();
        let mut cache = BlockCache::new(random.below(1 << 20));
        cache.attach(&table);
        assert_eq!(table.meta(), &file.meta);

        for (key, (seq, kind, value)) in &content.records {
            let Lookup::Found(hit) = file.get(&table, key, &mut cache).unwrap() else {
                panic!("{key:?} is missing");
            };
            assert_eq!(
                (hit.seq().0, hit.kind(), hit.value()),
                (*seq, *kind, &value[..])
            );
            assert!(file.meta.range.contains(key));
            let before = table.get(&Probe::new(key), Seq(seq - 1), &mut cache);
            assert!(!matches!(before, Lookup::Found(_)), "newer than the reader");
        }
        for _ in 0..200 {
            let length = random.below(20);
            let key = random.bytes(length);
            if !content.records.contains_key(&key) {
                let lookup = file.get(&table, &key, &mut cache).unwrap();
                assert!(matches!(lookup, Lookup::Absent));
            }
        }
        let tombstones: Vec<_> = table.tombstones().iter().collect();
        assert_eq!(tombstones.len(), content.tombstones.len());
        for (read, (start, limit, seq)) in tombstones.iter().zip(&content.tombstones) {
            assert_eq!(
                (read.start, read.limit, read.seq.0),
                (&start[..], &limit[..], *seq)
            );
        }
        let seqs = content.records.values().map(|record| record.0);
        let seqs = seqs.chain(content.tombstones.iter().map(|tombstone| tombstone.2));
        assert_eq!(file.meta.min_seq.0, seqs.clone().min().unwrap());
        assert_eq!(file.meta.max_seq.0, seqs.max().unwrap());
    });
}

#[test]
fn a_walk_meets_everything_in_order() {
    seeds("a_walk_meets", 100, |seed| {
        let mut random = Random::new(seed);
        let content = Content::random(&mut random, 1000);
        let file = content.build(9, options(&mut random));
        let mut walk = TableWalk::new(None, &file.bytes).unwrap();
        let mut records = content.records.iter();
        let mut tombstones = content.tombstones.iter();
        while let Some(item) = walk.next() {
            match item.unwrap() {
                Item::Footer(footer) => assert_eq!(footer.number.0, 9),
                Item::Tombstone(tombstone) => {
                    assert_eq!(tombstone.start, tombstones.next().unwrap().0);
                }
                Item::Block { records, .. } => assert!(records > 0),
                Item::Record(record) => {
                    assert_eq!(record, Content::record(records.next().unwrap()));
                }
            }
        }
        assert!(records.next().is_none() && tombstones.next().is_none());
    });
}

#[test]
fn a_global_sequence_stands_for_all_others() {
    seeds("a_global_sequence", 20, |seed| {
        let mut random = Random::new(seed);
        let content = Content::random(&mut random, 300);
        let file = content.build(1, options(&mut random));
        let table = file.open(Some(Seq(77))).unwrap();
        let mut cache = BlockCache::new(1 << 20);
        cache.attach(&table);
        assert_eq!(table.meta().newest(), Seq(77));
        for key in content.records.keys() {
            let Lookup::Found(hit) = file.get(&table, key, &mut cache).unwrap() else {
                panic!("{key:?} is missing");
            };
            assert_eq!(hit.seq(), Seq(77));
            let before = table.get(&Probe::new(key), Seq(76), &mut cache);
            assert!(matches!(before, Lookup::Absent));
        }
        assert!(
            table
                .tombstones()
                .iter()
                .all(|tombstone| tombstone.seq == Seq(77))
        );
    });
}

#[test]
fn extremes_are_legal() {
    for compress in [false, true] {
        let options = BuilderOptions {
            compress,
            ..BuilderOptions::default()
        };
        // Tombstones and nothing else.
        let mut content = Content::default();
        content.tombstones.push((b"a".to_vec(), b"b".to_vec(), 3));
        let file = content.build(1, options);
        let table = file.open(None).unwrap();
        assert_eq!(table.blocks(), 0);
        assert_eq!(file.meta.range, KeyRange::new(b"a", b"b"));
        let mut cache = BlockCache::new(0);
        cache.attach(&table);
        let lookup = table.get(&Probe::new(b"a"), Seq::MAX, &mut cache);
        assert!(matches!(lookup, Lookup::Absent));
        assert_eq!(table.approximate_bytes(&KeyRange::all()), 0);
        assert_eq!(table.middle_key(&KeyRange::all()), None);

        // The empty key, the longest key, the largest value, an empty value.
        let mut content = Content::default();
        let put = |value: Vec<u8>| (1u64 << 61, Kind::Put, value);
        content.records.insert(Vec::new(), put(Vec::new()));
        content
            .records
            .insert(vec![0xff; 4160], put(vec![7; (1 << 20) + 64]));
        content
            .records
            .insert(vec![0xff; 4159], (1, Kind::Delete, Vec::new()));
        content
            .records
            .insert(vec![0xff; 4158], put(vec![8; 60 << 10]));
        let file = content.build(2, options);
        let table = file.open(None).unwrap();
        cache.attach(&table);
        for (key, (_, _, value)) in &content.records {
            let Lookup::Found(hit) = file.get(&table, key, &mut cache).unwrap() else {
                panic!("a key of {} bytes is missing", key.len());
            };
            assert_eq!(hit.value(), value);
        }
        assert_eq!(file.meta.range.limit.len(), 4161);
    }
}

#[test]
fn sizes_and_middle_keys_need_no_data() {
    for compress in [false, true] {
        let mut content = Content::default();
        for number in 0..20_000u64 {
            let value = number.to_le_bytes().repeat(12);
            let key = format!("row{number:08}").into_bytes();
            content.records.insert(key, (1, Kind::Put, value));
        }
        let options = BuilderOptions {
            compress,
            ..BuilderOptions::default()
        };
        let file = content.build(1, options);
        let table: &Table = &file.open(None).unwrap();
        let whole = table.approximate_bytes(&KeyRange::all());
        assert_eq!(whole, file.meta.stored_bytes);
        for (from, to) in [
            (0u64, 10_000),
            (5_000, 15_000),
            (19_000, 20_000),
            (300, 301),
        ] {
            let key = |number: u64| format!("row{number:08}").into_bytes();
            let range = KeyRange::new(&key(from), &key(to));
            let exact = whole * (to - from) / 20_000;
            let about = table.approximate_bytes(&range);
            assert!(
                about.abs_diff(exact) <= 16 << 10,
                "{from}..{to}: {about} for {exact}"
            );
            if to - from > 1000 {
                let middle = String::from_utf8(table.middle_key(&range).unwrap()).unwrap();
                // Fences are cut short.
                let middle: u64 = format!("{:0<8}", &middle[3..]).parse().unwrap();
                assert!(
                    middle.abs_diff((from + to) / 2) < 600,
                    "{from}..{to}: {middle}"
                );
            } else {
                let fences = table.fences(&range).count();
                assert_eq!(table.middle_key(&range).is_some(), fences > 0);
            }
        }
        let behind = KeyRange::new(b"z", b"");
        assert!(table.approximate_bytes(&behind) <= 8 << 10);
        assert_eq!(table.middle_key(&behind), None);
        let fences: Vec<_> = table.fences(&file.meta.range).collect();
        assert_eq!(fences.len() as u32, table.blocks() - 1);
        assert!(fences.is_sorted());
    }
}
