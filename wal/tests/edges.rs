//! What a caller may do at the edges: regions that return, states larger than a turn rewrites, limits
//! that change between two openings, restarts without end, and headers that a forger has signed.

use crate::world::disk::{Chance, Fate};
use crate::world::{World, operate, scale};
use bytes::Bytes;
use coracle_wal::fetch::Fetched;
use coracle_wal::{Entry, Limits, MetaRecord, Mutant, RegionId};

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

/// States that are together longer than one turn rewrites are still rewritten: they must not hold the
/// oldest segment for ever.
#[test]
fn large_states_do_not_hold_the_oldest_segment() {
    let limits = Limits {
        rewrite_bytes_max: 1 << 10,
        ..Limits::SMALL
    };
    let mut world = World::new(2, limits, Mutant::None);
    let (large, busy) = (RegionId(1), RegionId(2));
    world
        .set_hard_state(large, Bytes::from(vec![1; 3 << 10]))
        .expect("room");
    let payload = Bytes::from(vec![2; 3 << 10]);
    world
        .set_meta(
            large,
            MetaRecord {
                payload,
                ..meta(0, false, false)
            },
        )
        .expect("room");
    for index in 1..=1_000 {
        let appended = world.append(busy, entry(index, 900));
        assert_eq!(appended, Ok(()), "entry {index}: the log is stuck");
        world.settle().expect("no cut");
        if index % 10 == 0 {
            world.log.applied(busy, index);
            world.checkpoints.insert(busy, index);
            world.log.checkpointed(busy, index);
            world
                .set_meta(busy, meta(index, false, false))
                .expect("room");
        }
        world.history.clear();
        world.settle().expect("no cut");
    }
}

/// Limits may be lowered between two openings; what was written under the old ones stays, and is
/// rewritten like everything else.
#[test]
fn lowered_limits_take_nothing_that_is_there() {
    let mut world = World::new(3, Limits::SMALL, Mutant::None);
    let (large, busy) = (RegionId(1), RegionId(2));
    world
        .set_hard_state(large, Bytes::from(vec![1; 4 << 10]))
        .expect("room");
    world.settle().expect("no cut");
    world.append(busy, entry(1, 8 << 10)).expect("room");
    world.settle().expect("no cut");
    world.crash(Fate::Kept, true);
    world.limits = Limits {
        batch_bytes_max: 8 << 10,
        entry_bytes_max: 1 << 10,
        state_bytes_max: 1 << 10,
        read_bytes_max: 1 << 10,
        rewrite_bytes_max: 1 << 10,
        ..Limits::SMALL
    };
    world.recover().expect("other limits are not damage");
    world.settle().expect("no cut");
    world.check_entries().expect("large entries are read");
    for index in 2..=400 {
        let appended = world.append(busy, entry(index, 900));
        assert_eq!(appended, Ok(()), "entry {index}: the log is stuck");
        world.settle().expect("no cut");
        world.log.applied(busy, index);
        world.checkpoints.insert(busy, index);
        world.log.checkpointed(busy, index);
        world
            .set_meta(busy, meta(index, false, false))
            .expect("room");
        world.settle().expect("no cut");
    }
    world.crash(Fate::Lost, false);
    world.recover().expect("no damage");
    let state = world.log.hard_state(large).expect("a state");
    assert_eq!(state.len(), 4 << 10);
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

/// A store restarts again and again, votes each time, and one region holds the oldest entry: openings
/// take segments beyond the bound, and go on opening.
#[test]
fn restarts_without_end_open_again() {
    for seed in 0..4 * scale() {
        let mut world = World::new(seed, Limits::SMALL, Mutant::None);
        world.append(RegionId(1), entry(1, 100)).expect("room");
        world.settle().expect("no cut");
        for life in 0..120u64 {
            let vote = Bytes::copy_from_slice(&life.to_le_bytes());
            let voted = world.set_hard_state(RegionId(2), vote);
            assert_eq!(voted, Ok(()), "seed {seed}: no vote in life {life}");
            world.settle().expect("no cut");
            let fate = Fate::ALL[world.chance.below(5) as usize];
            world.crash(fate, world.steps.is_multiple_of(3));
            world
                .recover()
                .unwrap_or_else(|why| panic!("seed {seed} life {life}: {why}"));
            world.settle().expect("no cut");
            assert!(
                world.log.is_open(),
                "seed {seed}: life {life} does not open; {} live",
                world.log.live_segments()
            );
        }
    }
}

/// A full log lets go of all that it can, one step after another, though nobody writes any more: behind a segment
/// that holds nothing lies one that only a state holds.
#[test]
fn a_full_log_lets_go_to_the_end_though_nobody_writes() {
    let limits = Limits {
        segment_bytes: 112 << 10,
        ..Limits::SMALL
    };
    let mut world = World::new(11, limits, Mutant::None);
    let (region, voter) = (RegionId(1), RegionId(2));
    let mut last = 0;
    while world.append(region, entry(last + 1, 900)).is_ok() {
        last += 1;
        world.settle().expect("no cut");
        if world.log.live_segments() == 2 && world.log.hard_state(voter).is_none() {
            let vote = Bytes::from_static(b"vote");
            world.set_hard_state(voter, vote).expect("room for a state");
        }
    }
    // The next opening begins a segment, of which hardly anything is used.
    world.crash(Fate::Kept, true);
    world.recover().expect("nothing is damaged");
    world.settle().expect("no cut");
    let meta = MetaRecord {
        truncated: (last, 1),
        reset: false,
        tombstone: false,
        payload: Bytes::from_static(b"truncated"),
    };
    world.set_meta(region, meta).expect("room for a state");
    world.settle().expect("no cut");
    world.checkpoints.insert(region, last);
    world.log.applied(region, last);
    world.log.checkpointed(region, last);
    for _ in 0..4 {
        world.settle().expect("no cut");
    }
    let live = world.log.live_segments();
    assert!(live <= 2, "{live} segments are left of all");
    world.check_states().expect("the vote is there");
}

/// Each life ends when its leader has begun its term, before anything is let go of. Terms are begun as long as the
/// next life can open, and again when something was let go of.
#[test]
fn restarts_that_each_leave_an_entry_open_again() {
    for seed in 0..4 * scale() {
        let mut world = World::new(seed, Limits::SMALL, Mutant::None);
        let region = RegionId(1);
        world.append(region, entry(1, 100)).expect("room");
        world.settle().expect("no cut");
        let (mut last, mut begun) = (1, 0);
        let mut live = |world: &mut World, life: u64| {
            let next = Entry {
                term: life + 2,
                ..entry(last + 1, 10)
            };
            let taken = world
                .log
                .append_into_reserve(region, std::slice::from_ref(&next));
            if taken.is_ok() {
                last += 1;
                world.began(region, next);
            }
            world.settle().expect("no cut");
            world.crash(Fate::Kept, life.is_multiple_of(3));
            world
                .recover()
                .unwrap_or_else(|why| panic!("seed {seed} life {life}: {why}"));
            world.settle().expect("no cut");
            let live = world.log.live_segments();
            assert!(
                world.log.is_open(),
                "seed {seed}: life {life} does not open; {live} live"
            );
            (taken.is_ok(), last)
        };
        for life in 0..120 {
            begun += u64::from(live(&mut world, life).0);
        }
        assert!((10..40).contains(&begun), "seed {seed}: {begun} terms");
        let (_, last) = live(&mut world, 120);
        world.checkpoints.insert(region, last);
        world.log.applied(region, last);
        world.log.checkpointed(region, last);
        let meta = MetaRecord {
            truncated: (last, world.log.term(region, last).expect("the last one")),
            reset: false,
            tombstone: false,
            payload: Bytes::from_static(b"truncated"),
        };
        world.set_meta(region, meta).expect("room for a state");
        world.settle().expect("no cut");
        world.settle().expect("no cut");
        assert!(live(&mut world, 121).0, "seed {seed}: there is room again");
        world.check_states().expect("all that was begun is there");
    }
}

/// A log that is used up, on a disk that is not: leaders begin their terms until one of them
/// truncates.
#[test]
fn a_log_that_is_used_up_takes_what_lets_go_of_it() {
    let mut world = World::new(9, Limits::SMALL, Mutant::None);
    let region = RegionId(1);
    let mut last = 0;
    while world.append(region, entry(last + 1, 900)).is_ok() {
        last += 1;
        world.settle().expect("no cut");
    }
    for term in 2..32 {
        last += 1;
        let entry = Entry {
            term,
            ..entry(last, 900)
        };
        let taken = world.log.append_into_reserve(region, &[entry]);
        assert_eq!(taken, Ok(()), "no leader in term {term}");
        let vote = Bytes::copy_from_slice(&term.to_le_bytes());
        assert_eq!(world.log.set_hard_state(region, vote), Ok(()));
        world.settle().expect("no cut");
    }
    world.log.checkpointed(region, last);
    world
        .log
        .set_meta(region, meta(last, false, false))
        .expect("a truncation");
    world.settle().expect("no cut");
    let next = Entry {
        term: 32,
        ..entry(last + 1, 900)
    };
    assert_eq!(world.log.append(region, &[next]), Ok(()), "no room again");
}

/// A log on a full disk, with no room for entries.
fn filled(seed: u64) -> World {
    let mut world = World::new(seed, Limits::SMALL, Mutant::None);
    let room = u64::from(Limits::SMALL.segment_bytes) * 6;
    world.disk.set_capacity(room);
    world
        .set_hard_state(RegionId(1), Bytes::from_static(b"the first"))
        .expect("room");
    for index in 1.. {
        if world.append(RegionId(1), entry(index, 900)).is_err() {
            break;
        }
        world.settle().expect("no cut");
    }
    world
}

/// The same on a disk that is full, and each time another region votes: what earlier openings left is
/// written anew, or each of them would keep its segment.
#[test]
fn restarts_on_a_full_disk_open_again() {
    for seed in 0..4 * scale() {
        let mut world = filled(seed);
        for life in 0..120u64 {
            let region = RegionId(2 + if seed % 2 == 0 { 0 } else { life % 40 });
            let vote = Bytes::copy_from_slice(&life.to_le_bytes());
            let voted = world.set_hard_state(region, vote);
            assert_eq!(voted, Ok(()), "seed {seed}: no vote in life {life}");
            world.settle().expect("no cut");
            world.crash(Fate::Lost, false);
            world
                .recover()
                .unwrap_or_else(|why| panic!("seed {seed} life {life}: {why}"));
            world.settle().expect("no cut");
            assert!(
                world.log.is_open(),
                "seed {seed}: life {life} does not open"
            );
        }
    }
}

/// The same, but most lives are cut short at any step. A vote may be refused; the log opens.
#[test]
fn cut_restarts_on_a_full_disk_open_again() {
    let mut cuts = 0;
    for seed in 0..30 * scale() {
        let mut world = filled(seed);
        for life in 0..100u64 {
            let vote = Bytes::copy_from_slice(&life.to_le_bytes());
            world.set_hard_state(RegionId(2 + life % 40), vote).ok();
            world.steps_left = Some(world.chance.below(20)).filter(|_| life % 3 > 0);
            let cut = world.settle().is_err();
            world.steps_left = None;
            cuts += u64::from(cut);
            assert!(
                cut || world.log.is_open(),
                "seed {seed}: life {life} does not open"
            );
            world.crash(Fate::Lost, false);
            world
                .recover()
                .unwrap_or_else(|why| panic!("seed {seed} life {life}: {why}"));
        }
    }
    assert!(cuts > 500, "only {cuts} lives were cut");
}

/// States alone fill a full disk as well; they are refused while there are still segments to open with.
#[test]
fn a_log_full_of_states_opens_again() {
    let mut world = filled(6);
    let state = Bytes::from(vec![3; 3 << 10]);
    let mut taken = 0;
    while world
        .set_hard_state(RegionId(2 + taken), state.clone())
        .is_ok()
    {
        taken += 1;
        world.settle().expect("no cut");
    }
    assert!(taken > 3, "only {taken} states in the reserve");
    for life in 0..20 {
        world.crash(Fate::Lost, false);
        world
            .recover()
            .unwrap_or_else(|why| panic!("life {life}: {why}"));
        world.settle().expect("no cut");
        assert!(world.log.is_open(), "life {life} does not open");
    }
    // What was applied is given up, and there is room again.
    let last = world.model[&RegionId(1)].last;
    world.checkpoints.insert(RegionId(1), last);
    world.log.checkpointed(RegionId(1), last);
    world
        .set_meta(RegionId(1), meta(last, false, false))
        .expect("a truncation");
    world.settle().expect("no cut");
    world
        .append(RegionId(1), entry(last + 1, 900))
        .expect("room");
}

/// Where states have filled what they may, and what was applied is given up, the one old state that holds
/// the oldest segment is still written anew.
#[test]
fn a_log_full_of_states_lets_go() {
    let mut world = filled(7);
    let last = world.model[&RegionId(1)].last;
    world
        .set_meta(RegionId(1), meta(last, false, false))
        .expect("a truncation");
    let state = Bytes::from(vec![3; 3 << 10]);
    for region in 2.. {
        world.settle().expect("no cut");
        let taken = world.set_hard_state(RegionId(region), state.clone());
        if taken.is_err() {
            break;
        }
    }
    world.checkpoints.insert(RegionId(1), last);
    world.log.checkpointed(RegionId(1), last);
    world.settle().expect("no cut");
    let voted = world.set_hard_state(RegionId(1), Bytes::from_static(b"another"));
    assert_eq!(voted, Ok(()), "nothing was let go");
}

/// A meta that empties a log counts as long as the entries before it are there, though later ones have
/// replaced it: without it those entries would rise.
#[test]
fn what_a_reset_has_emptied_stays_empty() {
    let mut world = World::new(8, Limits::SMALL, Mutant::None);
    let region = RegionId(1);
    let again = |world: &mut World| {
        world.settle().expect("no cut");
        world.crash(Fate::Lost, false);
        world.recover().expect("no damage");
    };
    for index in 1..=5 {
        world.append(region, entry(index, 100)).expect("room");
    }
    again(&mut world);
    for tombstone in [true, false] {
        world
            .set_meta(region, meta(0, true, tombstone))
            .expect("room");
    }
    for _ in 0..3 {
        again(&mut world);
        world.set_meta(region, meta(0, false, false)).expect("room");
    }
    again(&mut world);
    assert_eq!(world.log.last_index(region), Some(0));
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
            let Ok((mut log, _)) = crate::world::recover(&disk, Limits::SMALL, Mutant::None) else {
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

/// A live segment whose file was cut off, even where a block ends and nothing behind it says so.
#[test]
fn a_segment_that_was_cut_off_is_refused() {
    let mut world = World::new(5, Limits::SMALL, Mutant::None);
    for index in 1..=25 {
        world.append(RegionId(1), entry(index, 700)).expect("room");
        world.settle().expect("no cut");
    }
    let slots: Vec<_> = world.disk.names();
    let mut refused = 0;
    for cut in slots {
        for kept in [4096, 8192, u64::from(Limits::SMALL.segment_bytes) - 4096] {
            let lengths = |name: &String| {
                let whole = world.disk.len(name)?;
                let length = if *name == cut { whole.min(kept) } else { whole };
                Some((crate::world::slot_of(name)?, length))
            };
            let slots = world.disk.names().iter().filter_map(lengths).collect();
            match crate::world::recover_with(&world.disk, Limits::SMALL, Mutant::None, slots) {
                Ok((_, verdict)) => {
                    assert!(verdict.accepted >= world.acknowledged, "{cut} was live");
                }
                Err(corrupt) => {
                    assert_eq!(corrupt.offset, kept as u32, "{corrupt}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused >= 3, "{refused}");
}

/// States that belong together join one batch, however full the one is that is being gathered.
#[test]
fn states_that_are_kept_together_share_a_batch() {
    let limits = Limits::SMALL;
    let full = limits.batch_bytes_max as usize - 3000;
    for (before, together) in [(100, true), (full, true), (full, false)] {
        let mut world = World::new(7, limits, Mutant::None);
        world.settle().expect("no cut");
        for part in 0..before / 1000 {
            let state = Bytes::from(vec![1; 1000]);
            world
                .set_hard_state(RegionId(10 + part as u64), state)
                .expect("room");
        }
        if together {
            assert!(world.log.has_room_for_states(3 * 1000, 3));
            world.log.keep_together(3 * 1000, 3);
        }
        let mut batches = Vec::new();
        for region in 1..=3 {
            let state = Bytes::from(vec![2; 1000]);
            world.set_hard_state(RegionId(region), state).expect("room");
            batches.push(world.log.last_lsn());
        }
        assert_eq!(batches[0] == batches[2], together, "{batches:?}");
    }
}

/// With enough writes under way a short batch gathers until one of them is durable; a long one leaves at once.
#[test]
fn short_batches_wait_while_enough_is_under_way() {
    let limits = Limits::SMALL;
    let mut world = World::new(18, limits, Mutant::None);
    world.settle().expect("no cut");
    let region = RegionId(1);
    let mut indexes = 1..;
    let mut turn = |world: &mut World, bytes| {
        let index = indexes.next().expect("one more");
        world.append(region, entry(index, bytes)).expect("room");
        world.flush().expect("no cut");
        world.log.in_flight()
    };
    let most = limits.writes_under_way as usize;
    for under_way in 1..=most {
        assert_eq!(turn(&mut world, 100), under_way);
    }
    for _ in 0..3 {
        assert_eq!(turn(&mut world, 100), most, "a short one leaves");
    }
    let long = limits.batch_bytes_worth as usize;
    assert_eq!(turn(&mut world, long), most + 1, "a long one waits");
    let alone = world.log.last_lsn();
    assert_eq!(turn(&mut world, 100), most + 1);
    // What was written earlier may be durable later: then it does not make room yet.
    while world.log.in_flight() > most - 1 {
        world.happen().expect("no cut");
    }
    world.flush().expect("no cut");
    assert!(world.log.last_lsn() > alone, "what was gathered stays");
    world.settle().expect("no cut");
    assert_eq!(world.log.durable_lsn(), world.log.last_lsn());
    world.check_entries().expect("all of it is there");
}
