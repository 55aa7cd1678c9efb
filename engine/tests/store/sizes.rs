//! How much a range holds and where it is cut, by what lies in memtables and tables together.

use coracle_engine::record::KeyRange;
use coracle_engine::size::Even;
use coracle_engine::store::Lsn;

use super::small;
use super::world::World;

fn key(number: u64) -> Vec<u8> {
    format!("row{number:06}").into_bytes()
}

/// The number that a key begins with, which may be cut short.
fn number(key: &[u8]) -> u64 {
    let digits = std::str::from_utf8(&key[3..]).expect("digits");
    format!("{digits:0<6}").parse().expect("a number")
}

/// Some byte, so that values cannot be compressed.
fn hash(at: u64, place: u64) -> u8 {
    let mixed = (at << 20 | place)
        .wrapping_add(1)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 56) as u8
}

/// A world with these keys in order, most in tables and the rest in the memtable.
fn filled(keys: u64, value: impl Fn(u64) -> usize) -> World {
    let mut world = World::created(small(), 7);
    for at in 0..keys {
        world.store().put(
            &key(at),
            &(0..value(at) as u64)
                .map(|place| hash(at, place))
                .collect::<Vec<u8>>(),
        );
        if at == keys / 2 {
            world.store().log_durable(Lsn(1));
            let rotation = world.store().rotate(Lsn(1)).expect("a rotation");
            let durable = |world: &mut World| world.store().is_durable(rotation);
            world.work_until(durable).expect("no crash");
        }
    }
    world
}

#[test]
fn keys_and_bytes_are_counted_without_reading_them() {
    let mut world = filled(4000, |_| 60);
    let about = |value: u64, exact: u64| value.abs_diff(exact) <= exact / 5;
    for (from, to) in [(0, 4000), (1000, 3000), (3000, 4000)] {
        let range = KeyRange::new(&key(from), &key(to));
        let extent = world.store().extent(&range);
        assert!(about(extent.keys, to - from), "{from}..{to}: {extent:?}");
        assert!(extent.bytes >= extent.keys * 20, "{from}..{to}: {extent:?}");
    }
    assert_eq!(world.store().extent(&KeyRange::new(b"z", b"")).keys, 0);
}

#[test]
fn a_range_is_cut_into_even_parts() {
    let mut world = filled(4000, |_| 60);
    for parts in [2, 3, 5, 16] {
        let cuts = world.store().cuts(&KeyRange::all(), parts, Even::Keys);
        let numbers: Vec<u64> = cuts.iter().map(|cut| number(cut)).collect();
        assert_eq!(numbers.len(), parts - 1, "{numbers:?}");
        for (place, number) in numbers.iter().enumerate() {
            let exact = 4000 * (place as u64 + 1) / parts as u64;
            assert!(number.abs_diff(exact) < 200, "{parts} parts: {numbers:?}");
        }
    }
}

#[test]
fn bytes_and_keys_are_cut_differently() {
    // The first keys hold a good part of the bytes.
    let mut world = World::created(small(), 7);
    for at in 0..4000 {
        let bytes = if at < 100 { 900 } else { 9 };
        let value: Vec<u8> = (0..bytes).map(|place| hash(at, place)).collect();
        world.store().put(&key(at), &value);
    }
    world.store().log_durable(Lsn(1));
    let rotation = world.store().rotate(Lsn(1)).expect("a rotation");
    let durable = |world: &mut World| world.store().is_durable(rotation);
    world.work_until(durable).expect("no crash");
    let mut cut = |even| {
        let cuts = world.store().cuts(&KeyRange::all(), 2, even);
        number(&cuts[0])
    };
    let (bytes, keys) = (cut(Even::Bytes), cut(Even::Keys));
    assert!(bytes < 1400, "{bytes}");
    assert!(keys.abs_diff(2000) < 500, "{keys}");
}

#[test]
fn what_cannot_be_cut_is_left_whole() {
    let mut world = World::created(small(), 7);
    let cuts = |world: &mut World, range: &KeyRange| world.store().cuts(range, 4, Even::Bytes);
    assert_eq!(cuts(&mut world, &KeyRange::all()), Vec::<Vec<u8>>::new());
    world.store().put(b"a", b"one");
    assert_eq!(cuts(&mut world, &KeyRange::all()), Vec::<Vec<u8>>::new());
    world.store().put(b"c", b"two");
    // Neither part is empty, and the range's first key is no cut.
    assert_eq!(cuts(&mut world, &KeyRange::all()), [b"c".to_vec()]);
    let behind = KeyRange::new(b"b", b"");
    assert_eq!(cuts(&mut world, &behind), Vec::<Vec<u8>>::new());
    world.store().put(b"d", b"three");
    world.store().put(b"e", b"four");
    let all: Vec<Vec<u8>> = [b"c", b"d", b"e"].map(|key| key.to_vec()).to_vec();
    assert_eq!(cuts(&mut world, &KeyRange::all()), all);
}
