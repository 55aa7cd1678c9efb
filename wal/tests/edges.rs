//! What a caller may do at the edges: regions that return, states larger than a turn rewrites, limits
//! that change between two openings, restarts without end, and headers that a forger has signed.

mod world;

use bytes::Bytes;
use coracle_wal::fetch::Fetched;
use coracle_wal::{Entry, Limits, MetaRecord, Mutant, RegionId};
use world::disk::{Chance, Fate};
use world::{World, operate, scale};

fn entry(index: u64, bytes: usize) -> Entry {
    Entry {
        index,
        term: 1,
        payload: Bytes::from(vec![index as u8; bytes]),
    }
}

fn meta(index: u64, reset: bool, tombstone: bool) -> MetaRecord {
    MetaRecord {
        truncated: (index, u64::from(index > 0)),
        reset,
        tombstone,
        payload: Bytes::from_static(b"meta"),
    }
}

/// A region is destroyed and returns with another peer, whose log begins anew. What the earlier peer had
/// applied and checkpointed says nothing of the later one's entries.
#[test]
fn a_region_that_returns_forgets_what_its_earlier_peer_had_checkpointed() {
    let limits = Limits {
        cache_bytes: 0,
        ..Limits::SMALL
    };
    let mut world = World::new(1, limits, Mutant::None);
    let region = RegionId(1);
    for index in 1..=20 {
        world.append(region, entry(index, 100)).expect("room");
    }
    world.settle().expect("no cut");
    world.log.applied(region, 20);
    world.log.checkpointed(region, 20);
    world
        .set_meta(region, meta(0, true, true))
        .expect("a tombstone");
    world
        .set_meta(region, meta(0, true, false))
        .expect("a later peer");
    for index in 1..=10 {
        world.append(region, entry(index, 100)).expect("room");
    }
    world.settle().expect("no cut");
    // Nothing is applied yet: raft asks for all of it without waiting.
    let fetched = world.log.fetch(region, 1, 11, 1 << 20).expect("kept");
    assert!(
        matches!(fetched, Fetched::Ready(_)),
        "unapplied entries have left memory"
    );
    world.log.applied(region, 8);
    world.log.checkpointed(region, 3);
    world
        .set_meta(region, meta(8, false, false))
        .expect("a truncation");
    // A replay begins behind index 3, whatever raft has truncated.
    assert_eq!(world.log.first_kept(region), Some(4));
}

/// A batch longer than the limit of today still says that what is damaged before it was acknowledged.
#[test]
fn a_long_batch_behind_damage_is_evidence_under_lowered_limits() {
    let limits = Limits {
        segment_bytes: 4 << 20,
        batch_bytes_max: 1 << 20,
        entry_bytes_max: 900 << 10,
        ..Limits::SMALL
    };
    let mut world = World::new(5, limits, Mutant::None);
    let region = RegionId(1);
    // Files are read in pieces of 1 MiB: the third batch lies in the first and the second of them.
    for (index, bytes) in [(1, 500 << 10), (2, 300 << 10), (3, 600 << 10)] {
        world.append(region, entry(index, bytes)).expect("room");
        world.settle().expect("no cut");
    }
    world.crash(Fate::Kept, true);
    for file in world.disk.names() {
        world.disk.damage(&file, 600 << 10, |byte| !byte);
    }
    world.limits = Limits {
        batch_bytes_max: 16 << 10,
        entry_bytes_max: 8 << 10,
        ..limits
    };
    let outcome = world.recover();
    let corrupt = outcome.expect_err("an acknowledged batch is gone");
    assert!(corrupt.contains("lsn 3"), "{corrupt}");
}

/// Headers and batches with impossible numbers under a right checksum: a verdict, never a panic.
#[test]
fn forged_numbers_get_a_verdict() {
    let mut world = World::new(4, Limits::SMALL, Mutant::None);
    for _ in 0..30 {
        for _ in 0..4 {
            operate(&mut world, 3);
        }
        world.settle().expect("no cut");
    }
    let (mut refused, mut opened) = (0, 0);
    for seed in 0..6_000 * scale() {
        let mut chance = Chance::new(seed);
        let mut disk = world.disk.clone();
        let names = disk.names();
        for _ in 0..1 + chance.below(3) {
            let name = &names[chance.below(names.len() as u64) as usize];
            let len = disk.len(name).expect("listed");
            let bytes = disk.read(name, 0, len as usize).expect("there").to_vec();
            let mut forged = bytes.clone();
            let value = match chance.below(6) {
                0 => 0,
                1 => u64::MAX,
                2 => 1 << 32,
                3 => u64::MAX - 1,
                4 => chance.below(40),
                _ => chance.next_u64(),
            };
            let block = chance.below(len / 4096) as usize * 4096;
            let directory = bytes[block + 60..block + 64].try_into().expect("4");
            let directory = u64::from(u32::from_le_bytes(directory)).min(1 << 10);
            let (from, to) = if block == 0 {
                (16, 72 + 40 * 12)
            } else {
                (8, 72 + directory as usize)
            };
            let width = if chance.toss() { 8 } else { 4 };
            let at = block + from + chance.below((to - from) as u64 / 4) as usize * 4;
            forged[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
            if block == 0 {
                let checksum = crc32fast::hash(&forged[12..4096]);
                forged[8..12].copy_from_slice(&checksum.to_le_bytes());
            } else {
                let directory =
                    u32::from_le_bytes(forged[block + 60..block + 64].try_into().expect("4"));
                let end = block
                    .saturating_add(72 + directory as usize)
                    .min(forged.len());
                let checksum = crc32fast::hash(&forged[block + 8..end]);
                forged[block + 4..block + 8].copy_from_slice(&checksum.to_le_bytes());
            }
            for (offset, (new, old)) in forged.iter().zip(&bytes).enumerate() {
                if new != old {
                    disk.damage(name, offset as u64, |_| *new);
                }
            }
        }
        let tried = std::panic::catch_unwind(|| {
            let Ok((mut log, _)) = world::recover(&disk, Limits::SMALL, Mutant::None) else {
                return false;
            };
            // What was believed must not break the turn either.
            let mut effects = Vec::new();
            for _ in 0..3 {
                log.flush(&mut effects);
                for effect in effects.drain(..) {
                    match effect {
                        coracle_wal::Effect::Sync { slot } => log.synced(slot),
                        coracle_wal::Effect::Create { slot, .. } => log.created(slot),
                        coracle_wal::Effect::Write(write) => {
                            let mut buffer = vec![0; write.len as usize];
                            log.encode(&write, &mut buffer);
                            log.durable(write.lsn);
                        }
                        coracle_wal::Effect::Read { .. } => {}
                    }
                }
                log.set_hard_state(RegionId(1), Bytes::from_static(b"vote"))
                    .ok();
            }
            true
        });
        match tried {
            Ok(true) => opened += 1,
            Ok(false) => refused += 1,
            Err(_) => panic!("seed {seed}: a panic"),
        }
    }
    println!("{refused} refused, {opened} opened");
    assert!(
        refused > 1_000 && opened > 100,
        "{refused} refused, {opened} opened"
    );
}
