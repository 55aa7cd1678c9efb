//! Damaged and hostile bytes: an error that names the place, or the truth; never anything else.

use std::rc::Rc;

use coracle_engine::cache::BlockCache;
use coracle_engine::record::{KeyRange, Kind, Seq};
use coracle_engine::table::block::mark_of;
use coracle_engine::table::format::{
    PAGE_BYTES, SECTION_CHUNK_BYTES, SECTION_CHUNK_PAYLOAD, checksum,
};
use coracle_engine::table::section::{Place, stored_chunk_bytes};
use coracle_engine::table::{
    Block, BuilderOptions, Corrupt, Footer, Probe, Step, Table, TableCursor, TableWalk,
};

use super::model::options;
use super::support::{Content, File, Random, seeds};

/// Walks over everything and compares with what went in.
fn read_all(file: &File, content: &Content) -> Result<(), Corrupt> {
    let table = file.open(None)?;
    let mut cache = BlockCache::new(1 << 20);
    cache.attach(&table);
    let mut tombstones = content.tombstones.iter();
    for tombstone in table.tombstones().iter() {
        let (start, limit, seq) = tombstones.next().unwrap();
        let read = (tombstone.start, tombstone.limit, tombstone.seq);
        assert_eq!(read, (&start[..], &limit[..], Seq(*seq)));
    }
    assert!(tombstones.next().is_none(), "a range tombstone is missing");
    let mut records = content.records.iter();
    let mut cursor = TableCursor::new(table, KeyRange::all());
    let mut step = cursor.first(&mut cache);
    loop {
        step = file.carry(&mut cursor, step, &mut cache)?;
        if step == Step::End {
            break;
        }
        assert_eq!(cursor.record(), Content::record(records.next().unwrap()));
        step = cursor.next(&mut cache);
    }
    assert!(records.next().is_none(), "a record is missing");
    Ok(())
}

/// The part of the file under whose checksum a byte lies.
fn part_of(file: &File, at: u64) -> (u64, u64) {
    let page = file.bytes.len() as u64 - PAGE_BYTES as u64;
    if at >= page {
        return (page, page + PAGE_BYTES as u64);
    }
    let table = file.open(None).unwrap();
    for block in 0..table.blocks() {
        let place = table.block_ref(block);
        let end = place.offset + u64::from(place.length);
        if at < end {
            return (place.offset, end);
        }
    }
    let footer = Footer::decode(None, file.bytes.len() as u64, &file.bytes[page as usize..]);
    let footer = footer.unwrap();
    let begin = [footer.index, footer.filter, footer.tombstones]
        .iter()
        .map(|place| place.offset)
        .find(|offset| *offset <= at)
        .unwrap();
    let begin = begin + (at - begin) / SECTION_CHUNK_BYTES as u64 * SECTION_CHUNK_BYTES as u64;
    (begin, begin + SECTION_CHUNK_BYTES as u64)
}

fn damage_everywhere(file: &File, content: &Content, stride: usize, random: &mut Random) -> usize {
    read_all(file, content).unwrap();
    let mut tried = 0;
    let mut damaged = file.clone();
    let mut at = random.below(stride);
    while at < file.bytes.len() {
        let was = file.bytes[at];
        let flipped = was ^ (1 << random.below(8));
        for now in [flipped, 0] {
            if now == was {
                continue;
            }
            tried += 1;
            damaged.bytes[at] = now;
            let Err(corrupt) = read_all(&damaged, content) else {
                panic!("byte {at} changed from {was} to {now} unnoticed");
            };
            let (begin, end) = part_of(file, at as u64);
            assert!(
                (begin..end).contains(&corrupt.offset),
                "byte {at}, part {begin}..{end}: {corrupt}"
            );
            assert_eq!(corrupt.table, file.meta.number, "{corrupt}");
            // The tools see it too.
            let seen = TableWalk::new(Some(file.meta.number), &damaged.bytes);
            let seen = seen.and_then(|mut walk| {
                while let Some(item) = walk.next() {
                    item?;
                }
                Ok(())
            });
            assert_eq!(seen, Err(corrupt));
        }
        damaged.bytes[at] = was;
        at += 1 + random.below(2 * stride - 1);
    }
    tried
}

fn small_content(random: &mut Random) -> Content {
    loop {
        let content = Content::random(random, 60);
        let bytes: usize = content
            .records
            .iter()
            .map(|(key, record)| key.len() + record.2.len())
            .sum();
        if bytes < 20_000 {
            return content;
        }
    }
}

#[test]
fn every_damaged_byte_of_a_small_table_is_named() {
    seeds("every_damaged_byte", 3, |seed| {
        let mut random = Random::new(seed);
        let content = small_content(&mut random);
        let file = content.build(seed + 1, options(&mut random));
        let tried = damage_everywhere(&file, &content, 1, &mut random);
        println!("seed {seed}: {tried} damages of {} bytes", file.bytes.len());
    });
}

#[test]
fn damaged_bytes_of_any_table_are_named() {
    seeds("damaged_bytes_of_any", 40, |seed| {
        let mut random = Random::new(seed);
        let content = Content::random(&mut random, 500);
        let file = content.build(seed + 1, options(&mut random));
        let stride = (file.bytes.len() / 100).max(1);
        damage_everywhere(&file, &content, stride, &mut random);
    });
}

#[test]
fn a_file_that_is_cut_or_from_elsewhere_is_refused() {
    let mut random = Random::new(5);
    let content = small_content(&mut random);
    let file = content.build(4, BuilderOptions::default());
    for length in (0..file.bytes.len()).step_by(512) {
        let bytes = &file.bytes[..length];
        assert!(TableWalk::new(None, bytes).is_err());
        for begin in [0, length.saturating_sub(PAGE_BYTES)] {
            assert!(Table::open(None, length as u64, None, &bytes[begin..]).is_err());
            let whole = file.bytes.len() as u64;
            assert!(Table::open(None, whole, None, &bytes[begin..]).is_err());
        }
    }
    // Another table's bytes at the right place, and the right bytes at another place.
    let other = content.build(5, BuilderOptions::default());
    assert_eq!(other.bytes.len(), file.bytes.len());
    let length = file.bytes.len() as u64;
    let tail = |file: &File| file.bytes[file.meta.tail_offset as usize..].to_vec();
    assert!(Table::open(Some(file.meta.number), length, None, &tail(&other)).is_err());
    assert!(Table::open(None, length, None, &tail(&other)).is_ok());
    let table = file.open(None).unwrap();
    let place = table.block_ref(0);
    assert!(place.decode(other.read(&place)).is_err());
    let end = place.length as usize;
    assert!(Block::decode(place.table, 0, 4096, &file.bytes[..end]).is_err());
    assert!(place.decode(&file.bytes[..end - 1]).is_err());
    assert!(place.decode(&[]).is_err());
}

/// Changes some bytes; small numbers and all ones more often than noise.
fn mutate(random: &mut Random, bytes: &mut [u8]) {
    for _ in 0..=random.below(3) {
        // The beginning of things is where their lengths stand.
        let bound = match random.one_in(2) {
            true => bytes.len().min(64),
            false => bytes.len(),
        };
        let at = random.below(bound);
        bytes[at] = match random.below(5) {
            0 => 0xff,
            1 => 0,
            2 => bytes[at].wrapping_add(1),
            3 => bytes[at].wrapping_sub(1),
            _ => random.next() as u8,
        };
    }
}

/// Uses a block in every way; it may say anything, as long as it says it in order.
fn use_block(block: &Block, random: &mut Random) {
    let mut before: Option<Vec<u8>> = None;
    for position in 0..block.count() {
        let entry = block.entry(position);
        let key = [block.prefix(), block.suffix(&entry)].concat();
        assert!(before.is_none_or(|before| before < key), "keys ascend");
        assert_eq!(block.find(&key), (position, true));
        let hash = Probe::new(&key).hash();
        // By a wrong mark a key may stay unfound, but no other one is found.
        let found = block.find_key(&key, hash);
        assert!(found == Some(position) || block.mark(position) != mark_of(hash));
        assert!(found.is_none_or(|found| found == position));
        let (_, kind) = block.seq_and_kind(&entry);
        assert!(kind == Kind::Put || block.value(&entry).is_empty());
        before = Some(key);
    }
    for _ in 0..10 {
        let length = random.below(30);
        let (position, _) = block.find(&random.bytes(length));
        assert!(position <= block.count());
    }
}

#[test]
fn hostile_blocks_with_a_right_checksum_are_refused_or_in_order() {
    seeds("hostile_blocks", 60, |seed| {
        let mut random = Random::new(seed);
        let content = Content::random(&mut random, 200);
        let file = content.build(1, options(&mut random));
        let table = file.open(None).unwrap();
        let mut accepted = 0;
        for _ in 0..400 {
            if table.blocks() == 0 {
                break;
            }
            let place = table.block_ref(random.below(table.blocks() as usize) as u32);
            if place.length > 64 << 10 {
                continue;
            }
            let mut bytes = file.read(&place).to_vec();
            mutate(&mut random, &mut bytes[4..]);
            let crc = checksum(place.table, place.offset, &[&bytes[4..]]);
            bytes[..4].copy_from_slice(&crc.to_le_bytes());
            if let Ok(block) = place.decode(&bytes) {
                accepted += 1;
                use_block(&block, &mut random);
            }
        }
        assert!(table.blocks() == 0 || accepted < 400);
    });
}

/// Computes a section's checksums again, in the bytes of a whole file.
fn seal_section(file: &mut File, place: Place) {
    let (mut at, mut left) = (place.offset as usize, place.payload as usize);
    while left > 0 && at < file.bytes.len() {
        let payload = left.min(SECTION_CHUNK_PAYLOAD);
        let end = (at + stored_chunk_bytes(payload)).min(file.bytes.len());
        let crc = checksum(file.meta.number, at as u64, &[&file.bytes[at..end - 4]]);
        file.bytes[end - 4..end].copy_from_slice(&crc.to_le_bytes());
        at = end;
        left -= payload;
    }
}

#[test]
fn hostile_tails_with_right_checksums_are_refused_or_harmless() {
    seeds("hostile_tails", 60, |seed| {
        let mut random = Random::new(seed);
        let content = Content::random(&mut random, 200);
        let whole = content.build(1, options(&mut random));
        let length = whole.bytes.len();
        let page = length - PAGE_BYTES;
        let footer = Footer::decode(None, length as u64, &whole.bytes[page..]).unwrap();
        for _ in 0..60 {
            let mut file = whole.clone();
            let place = [footer.tombstones, footer.filter, footer.index][random.below(3)];
            if random.one_in(4) || place.payload == 0 {
                // The numbers of the footer, not its magic, which guards nothing but itself.
                mutate(&mut random, &mut file.bytes[page + 16..page + 136]);
            } else {
                let begin = place.offset as usize;
                let end = begin + (place.payload as usize).min(SECTION_CHUNK_PAYLOAD);
                mutate(&mut random, &mut file.bytes[begin..end]);
                seal_section(&mut file, place);
            }
            let crc = {
                let number = file.bytes[page + 16..].first_chunk().unwrap();
                let number = coracle_engine::effect::TableNumber(u64::from_le_bytes(*number));
                checksum(number, page as u64, &[&file.bytes[page..length - 4]])
            };
            file.bytes[length - 4..].copy_from_slice(&crc.to_le_bytes());

            if let Ok(mut walk) = TableWalk::new(None, &file.bytes) {
                while let Some(Ok(_)) = walk.next() {}
            }
            let tail = &file.bytes[file.meta.tail_offset as usize..];
            let Ok(table) = Table::open(Some(file.meta.number), length as u64, None, tail) else {
                continue;
            };
            use_table(&file, Rc::new(table), &content, &mut random);
        }
    });
}

/// Uses a table whose index may say anything: it answers, and every move comes to an end.
fn use_table(file: &File, table: Rc<Table>, content: &Content, random: &mut Random) {
    let mut cache = BlockCache::new(1 << 20);
    cache.attach(&table);
    let keys: Vec<_> = content.records.keys().collect();
    for _ in 0..10 {
        let length = random.below(20);
        let noise = random.bytes(length);
        let key = match keys.is_empty() || random.one_in(3) {
            true => &noise,
            false => keys[random.below(keys.len())],
        };
        let _ = file.get(&table, key, &mut cache);
        table.tombstones().covering(key);
        table.may_contain(&Probe::new(key));
        let range = match noise < *key {
            true => KeyRange::new(&noise, key),
            false => KeyRange::new(key, b""),
        };
        table.middle_key(&range);
        table.approximate_bytes(&range);
        let mut cursor = TableCursor::new(table.clone(), range);
        let mut step = match random.one_in(2) {
            true => cursor.seek(key, &mut cache),
            false => cursor.first(&mut cache),
        };
        let mut moves = 0;
        loop {
            if let Step::Need(place) = step {
                let Ok(block) = cache.fill(&place, file.read(&place)) else {
                    break;
                };
                step = cursor.resume(&mut cache);
                drop(block);
                continue;
            }
            if step == Step::End {
                break;
            }
            moves += 1;
            assert!(
                moves <= content.records.len(),
                "more records than there are"
            );
            step = cursor.next(&mut cache);
        }
    }
}
