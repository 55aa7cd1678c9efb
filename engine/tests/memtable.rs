//! The memtable beside a map of all versions: random writes, views, cursors both ways, releases.

use std::collections::BTreeMap;

use crate::disk::Chance;
use coracle_engine::memtable::Memtable;
use coracle_engine::record::{Kind, Record, Seq};

type Versions = BTreeMap<Vec<u8>, Vec<(Seq, Kind, Vec<u8>)>>;

fn key(chance: &mut Chance, keys: u64) -> Vec<u8> {
    let number = chance.below(keys);
    match number % 4 {
        // Short keys, shared prefixes and keys that differ only in length.
        0 => vec![number as u8],
        1 => vec![0; (number % 13) as usize],
        2 => format!("shared-prefix-{number}").into_bytes(),
        _ => number.to_be_bytes().to_vec(),
    }
}

fn expected(versions: &Versions, at: Seq) -> impl DoubleEndedIterator<Item = Record<'_>> {
    versions.iter().filter_map(move |(key, versions)| {
        let (seq, kind, value) = versions.iter().rev().find(|(seq, _, _)| *seq <= at)?;
        Some(Record {
            key,
            seq: *seq,
            kind: *kind,
            value,
        })
    })
}

#[test]
fn reads_and_cursors_see_what_a_map_of_versions_holds() {
    for seed in 0..60 {
        let mut chance = Chance::new(seed);
        let keys = [3, 40, 3_000][(seed % 3) as usize];
        let mut memtable = Memtable::new(seed, 0);
        let mut versions = Versions::new();
        let mut views: Vec<Seq> = Vec::new();
        let mut seq = Seq::ZERO;
        for _ in 0..4_000 {
            let keep = views.iter().copied().max().unwrap_or_default();
            let at = views.get(chance.below(views.len() as u64 + 1) as usize);
            let at = at.copied().unwrap_or(seq);
            match chance.below(100) {
                0..80 => {
                    seq = seq.next();
                    let key = key(&mut chance, keys);
                    let long = chance.below(20) == 0;
                    let len = chance.below(if long { 3_000 } else { 60 }) as usize;
                    let (kind, value) = if chance.below(5) == 0 {
                        memtable.delete(&key, seq, keep);
                        (Kind::Delete, vec![])
                    } else {
                        let value = vec![seq.0 as u8; len];
                        memtable.put(&key, &value, seq, keep);
                        (Kind::Put, value)
                    };
                    versions.entry(key).or_default().push((seq, kind, value));
                }
                80..84 => views.push(seq),
                84..90 if !views.is_empty() => {
                    views.swap_remove(chance.below(views.len() as u64) as usize);
                    memtable.release(views.iter().copied().min());
                }
                90..98 => {
                    let key = key(&mut chance, keys);
                    let wanted = expected(&versions, at).find(|record| record.key == key);
                    assert_eq!(memtable.get(&key, at), wanted, "seed {seed}");
                }
                _ => {
                    let bound = key(&mut chance, keys);
                    let mut cursor = memtable.cursor(at);
                    cursor.seek(&memtable, &bound);
                    let ahead = |record: &Record<'_>| record.key >= &bound[..];
                    for wanted in expected(&versions, at).filter(ahead).take(50) {
                        assert_eq!(cursor.record(&memtable), Some(wanted), "seed {seed}");
                        cursor.step(&memtable);
                    }
                    cursor.seek_before(&memtable, &bound);
                    let behind = |record: &Record<'_>| bound.is_empty() || record.key < &bound[..];
                    for wanted in expected(&versions, at).rev().filter(behind).take(50) {
                        assert_eq!(
                            cursor.record(&memtable),
                            Some(wanted),
                            "seed {seed} reverse"
                        );
                        cursor.step(&memtable);
                    }
                }
            }
        }
    }
}

#[test]
fn a_cursor_does_not_notice_later_writes() {
    let mut memtable = Memtable::new(1, 0);
    for number in 1..=5_000u64 {
        memtable.put(&(number * 2).to_be_bytes(), b"old", Seq(number), Seq::ZERO);
    }
    let at = Seq(5_000);
    let mut cursor = memtable.cursor(at);
    cursor.seek(&memtable, b"");
    for number in 1..=5_000u64 {
        let record = cursor.record(&memtable).expect("a record more");
        assert_eq!(
            (record.key, record.value),
            (&(number * 2).to_be_bytes()[..], &b"old"[..])
        );
        memtable.put(
            &(number * 2 + 1).to_be_bytes(),
            b"new",
            Seq(5_000 + 2 * number),
            at,
        );
        memtable.put(
            &(number * 2).to_be_bytes(),
            b"newer",
            Seq(5_001 + 2 * number),
            at,
        );
        if number % 100 == 0 {
            let _ = memtable.cursor(Seq::MAX);
        }
        cursor.step(&memtable);
    }
    assert!(cursor.record(&memtable).is_none());
}

#[test]
fn overwriting_without_views_needs_no_more_memory() {
    let mut memtable = Memtable::new(1, 0);
    let mut seq = Seq::ZERO;
    let mut fill = |memtable: &mut Memtable, rounds: u64| {
        for _ in 0..rounds {
            for number in 0..1_000u64 {
                seq = seq.next();
                memtable.put(&number.to_be_bytes(), &[7; 100], seq, Seq::ZERO);
            }
        }
    };
    fill(&mut memtable, 1);
    let bytes = memtable.bytes();
    fill(&mut memtable, 50);
    assert_eq!(memtable.bytes(), bytes);
}

fn time(name: &str, count: usize, work: impl FnOnce() -> u64) {
    #[expect(clippy::disallowed_methods, reason = "a measurement")]
    let start = std::time::Instant::now();
    let sum = work();
    let each = start.elapsed().as_nanos() as f64 / count as f64;
    println!("{name:32} {each:8.1} ns ({sum})");
}

/// `CORACLE_TIMING=1` prints nanoseconds for each operation beside an ordered map's.
#[test]
fn timing() {
    if std::env::var("CORACLE_TIMING").is_err() {
        return;
    }
    for keys in [50_000u64, 250_000, 1_000_000] {
        println!("-- {keys} keys of 16 B, values of 100 B");
        let mut chance = Chance::new(keys);
        let name = |number: u64| {
            format!("{:016x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15)).into_bytes()
        };
        let all: Vec<Vec<u8>> = (0..keys).map(name).collect();
        let picks: Vec<&Vec<u8>> = (0..1_000_000)
            .map(|_| &all[chance.below(keys) as usize])
            .collect();
        let value = [7u8; 100];
        let mut memtable = Memtable::new(3, 256 << 20);
        let mut seq = Seq::ZERO;
        time("fresh upsert", all.len(), || {
            for key in &all {
                seq = seq.next();
                memtable.put(key, &value, seq, Seq::ZERO);
            }
            memtable.len() as u64
        });
        time("upsert in place", picks.len(), || {
            for key in &picks {
                seq = seq.next();
                memtable.put(key, &value, seq, Seq::ZERO);
            }
            memtable.len() as u64
        });
        let first =
            |record: Option<Record<'_>>| record.map_or(0, |record| u64::from(record.value[0]));
        time("get", picks.len(), || {
            picks
                .iter()
                .map(|key| first(memtable.get(key, Seq::MAX)))
                .sum()
        });
        time("get of a missing key", picks.len(), || {
            picks
                .iter()
                .map(|key| first(memtable.get(&key[..15], Seq::MAX)))
                .sum()
        });
        let scan = |memtable: &mut Memtable, from: &[u8], most: usize| {
            let mut cursor = memtable.cursor(Seq::MAX);
            cursor.seek(memtable, from);
            let mut sum = 0;
            for _ in 0..most {
                let Some(record) = cursor.record(memtable) else {
                    break;
                };
                sum += u64::from(record.value[0]);
                cursor.step(memtable);
            }
            sum
        };
        time("in order, each key", all.len(), || {
            scan(&mut memtable, b"", usize::MAX)
        });
        time("95 % upserts, 5 % scans of 100", picks.len(), || {
            let mut sum = 0;
            for (turn, key) in picks.iter().enumerate() {
                if turn % 20 == 0 {
                    sum += scan(&mut memtable, key, 100);
                } else {
                    seq = seq.next();
                    memtable.put(key, &value, seq, Seq::ZERO);
                }
            }
            sum
        });
        let mut map = BTreeMap::new();
        time("BTreeMap: fresh upsert", all.len(), || {
            for key in &all {
                map.insert(key.clone(), value.to_vec());
            }
            map.len() as u64
        });
        time("BTreeMap: get", picks.len(), || {
            picks.iter().map(|key| u64::from(map[*key][0])).sum()
        });
    }
}
