//! Every decoder under seeded mutation: bytes are hostile, and the worst they get is an error.

use crate::world::disk::Chance;
use coracle_wal::batch::Batch;
use coracle_wal::header::Header;
use coracle_wal::{Effect, Entry, Limits, Log, LogId, Lsn, RegionId, dump};

/// The bytes of a segment with some batches.
fn segment() -> Vec<u8> {
    let limits = Limits::SMALL;
    let mut log = Log::create(LogId(9), limits);
    let mut file = vec![0; limits.segment_bytes as usize];
    let mut index = 1;
    for turn in 0..8u64 {
        if turn > 1 {
            let entries: Vec<Entry> = (0..turn)
                .map(|more| Entry {
                    index: index + more,
                    term: turn,
                    payload: vec![turn as u8; 40].into(),
                })
                .collect();
            index += turn;
            log.append(RegionId(1), &entries).expect("room");
            if turn % 2 == 0 {
                index -= turn;
            }
            log.set_hard_state(RegionId(1), vec![1; 9].into())
                .expect("room");
        }
        let mut effects = Vec::new();
        log.flush(&mut effects);
        for effect in effects {
            match effect {
                Effect::Create { slot, .. } => log.created(slot),
                Effect::Write(write) => {
                    let range = write.offset as usize..(write.offset + write.len) as usize;
                    log.encode(&write, &mut file[range]);
                    log.durable(write.lsn);
                }
                _ => {}
            }
        }
    }
    assert!(log.durable_lsn() > Lsn(3));
    file
}

#[test]
fn mutated_bytes_are_refused_or_read_as_something() {
    let original = segment();
    let mut chance = Chance::new(0xDEC0DE);
    let (mut refused, mut accepted) = (0, 0);
    for _ in 0..60_000 {
        let mut bytes = original.clone();
        for _ in 0..1 + chance.below(4) {
            let at = chance.below((16 << 10) - 4) as usize;
            match chance.below(4) {
                0 => bytes[at] ^= 1 << chance.below(8),
                1 => bytes[at] = chance.next_u64() as u8,
                2 => {
                    let value = [0, u32::MAX, 1 << 31, 4096][chance.below(4) as usize];
                    bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
                }
                _ => bytes.truncate(at),
            }
            if bytes.len() < 16 << 10 {
                bytes.resize(16 << 10, 0);
            }
        }
        // Damaged lengths under a right checksum: what a forger or a bug would write.
        if chance.toss() {
            let directory = u32::from_le_bytes(bytes[4096 + 60..4096 + 64].try_into().expect("4"));
            let end = (4096 + 72 + directory as usize).min(bytes.len());
            if end > 4096 + 8 {
                let checksum = crc32fast::hash(&bytes[4096 + 8..end]);
                bytes[4096 + 4..4096 + 8].copy_from_slice(&checksum.to_le_bytes());
            }
        }
        Header::decode(&bytes).ok();
        match Batch::decode(&bytes[4096..]) {
            Ok(batch) => {
                accepted += 1;
                let mut records = 0;
                batch.for_each(|_| records += 1);
                assert!(records < 1_000_000);
            }
            Err(_) => refused += 1,
        }
        dump::walk(&bytes, |_| {}).ok();
    }
    assert!(
        refused > 1_000 && accepted > 1_000,
        "{refused} refused, {accepted} accepted"
    );
}
