//! Stories of lost data, as far as they lie in the store: each by hand, in order, without chance
//! deciding what happens.

use coracle_engine::effect::{Effect, TableNumber};
use coracle_engine::merge::Direction;
use coracle_engine::options::Options;
use coracle_engine::ownership::{Owned, Ownership};
use coracle_engine::progress::{Applied, Clock, Index, PeerId, RegionId};
use coracle_engine::record::KeyRange;
use coracle_engine::store::{Event, Lsn, Refusal};
use coracle_engine::value::StoredValue;
use coracle_engine::view::ViewEnded;

use super::shard::{Content, Shard};
use super::small;
use super::world::{World, table_name};
use crate::disk::Fate;

const REGION: RegionId = RegionId(1);
const PEER: PeerId = PeerId(1);

fn range(start: &str, limit: &str) -> KeyRange {
    KeyRange::new(start.as_bytes(), limit.as_bytes())
}

fn applied(index: u64) -> Applied {
    Applied {
        region: REGION,
        peer: PEER,
        index: Index(index),
        clock: Clock(index * 10),
    }
}

fn value(expiry_ms: Option<u64>, bytes: &[u8]) -> Vec<u8> {
    let mut stored = Vec::new();
    StoredValue { expiry_ms, bytes }.encode(&mut stored);
    stored
}

fn put(world: &mut World, key: &str, index: u64) {
    let stored = value(None, key.as_bytes());
    world.store().put(key.as_bytes(), &stored);
    world
        .store()
        .advance(REGION, PEER, Index(index), Clock(index * 10));
}

fn get(world: &mut World, key: &str) -> Option<Vec<u8>> {
    world
        .get(None, key.as_bytes())
        .expect("no crash")
        .expect("a read")
}

/// Everything so far is in tables, durably.
fn checkpoint(world: &mut World) {
    let rotation = world.store().rotate(Lsn(0)).expect("room in the queue");
    world
        .work_until(|world| world.store().is_durable(rotation))
        .expect("no crash");
}

fn index_of(world: &mut World) -> Option<u64> {
    let checkpoint = world.store().checkpoint(REGION, PEER);
    checkpoint.map(|checkpoint| checkpoint.index.0)
}

fn reopen(world: &mut World, fate: Fate) {
    world.lose_power(fate);
    world.open().expect("no crash").expect("the store opens");
}

/// A table of some keys, built by another store, and received by this one.
fn received(world: &mut World, keys: &[&str]) -> TableNumber {
    let number = world.store().take_numbers(1)[0];
    let bytes = exported(keys, number);
    world.store().receive(number, 0, bytes).expect("room");
    world.store().receive_end(number);
    number
}

fn exported(keys: &[&str], number: TableNumber) -> Vec<u8> {
    use coracle_engine::export::ExportStep;
    let mut other = World::created(small(), 9);
    for (place, key) in keys.iter().enumerate() {
        put(&mut other, key, place as u64 + 1);
    }
    let view = other.store().view();
    let mut export = other
        .store()
        .export(&view, KeyRange::all(), vec![number], 1 << 20);
    let mut bytes = Vec::new();
    loop {
        let store = other.store.as_mut().expect("open");
        match export.step(store).expect("a view that lasts") {
            ExportStep::Chunk(_, chunk) => bytes.extend_from_slice(&chunk.bytes),
            ExportStep::Done => return bytes,
            ExportStep::Need | ExportStep::NeedNumber => panic!("all is in memory"),
            ExportStep::More | ExportStep::Table(_) => {}
        }
    }
}

fn settle_ingest(world: &mut World) {
    let ended = |world: &mut World| {
        let mut events = world.events.iter();
        events.any(|event| matches!(event, Event::Ingested { .. }))
    };
    world.work_until(ended).expect("no crash");
    world.events.clear();
}

#[test]
fn story_5_no_edit_leaves_before_the_log_is_durable() {
    let mut world = World::created(small(), 1);
    put(&mut world, "1-a", 7);
    let rotation = world.store().rotate(Lsn(10)).expect("room");
    world.store().log_durable(Lsn(9));
    world.work().expect("no crash");
    assert!(!world.store().is_durable(rotation));
    assert_eq!(index_of(&mut world), None);
    // Whatever the power takes now, the manifest knows nothing of entry 7.
    let mut early = World::created(small(), 1);
    early.disk = world.disk.clone();
    reopen(&mut early, Fate::Kept);
    assert_eq!(index_of(&mut early), None);
    assert_eq!(get(&mut early, "1-a"), None);

    world.store().log_durable(Lsn(10));
    world.work().expect("no crash");
    assert!(world.store().is_durable(rotation));
    reopen(&mut world, Fate::Lost);
    assert_eq!(index_of(&mut world), Some(7));
    assert!(get(&mut world, "1-a").is_some());
}

#[test]
fn story_6_ranges_change_only_when_no_memtable_holds_their_content() {
    let mut world = World::created(small(), 1);
    put(&mut world, "1-a", 7);
    let table = received(&mut world, &["1-b"]);
    world.work().expect("no crash");
    let refused = world
        .store()
        .ingest(applied(20), range("1-", "1."), &[table]);
    assert_eq!(refused, Err(Refusal::StillInMemory));
    let refused = world
        .store()
        .destroy(vec![range("1-", "1.")], vec![(REGION, PEER)]);
    assert_eq!(refused, Err(Refusal::StillInMemory));
    world.store().delete_range(b"0", b"2");
    checkpoint(&mut world);
    // Sealed or active, it is the same.
    world.store().delete_range(b"0", b"2");
    let rotation = world.store().rotate(Lsn(5)).expect("room");
    let refused = world
        .store()
        .ingest(applied(20), range("1-", "1."), &[table]);
    assert_eq!(refused, Err(Refusal::StillInMemory));
    world.store().log_durable(Lsn(5));
    world
        .work_until(|world| world.store().is_durable(rotation))
        .expect("no crash");
    let offered = world
        .store()
        .ingest(applied(20), range("1-", "1."), &[table]);
    assert_eq!(offered, Ok(()));
    settle_ingest(&mut world);
    // A replay begins behind the ingest: it never meets tables of a later time.
    assert_eq!(index_of(&mut world), Some(20));
    assert_eq!(get(&mut world, "1-a"), None);
    assert!(get(&mut world, "1-b").is_some());
}

#[test]
fn story_16_a_received_table_is_reported_when_it_survives_everything() {
    let mut world = World::created(small(), 1);
    let table = received(&mut world, &["1-b", "1-c"]);
    // Not reported yet: it may be lost, and nothing refers to it.
    assert!(!world.events.contains(&Event::TableReceived(table)));
    world
        .work_until(|world| world.events.contains(&Event::TableReceived(table)))
        .expect("no crash");
    reopen(&mut world, Fate::Lost);
    assert!(world.disk.names().contains(&table_name(table)));
    // The log's `applying` names it: it is spared, and the ingest goes on where it stopped.
    let offered = world
        .store()
        .ingest(applied(20), range("1-", "1."), &[table]);
    assert_eq!(offered, Ok(()));
    world.store().start(&[table]);
    settle_ingest(&mut world);
    assert!(get(&mut world, "1-b").is_some());
    reopen(&mut world, Fate::Lost);
    world.store().start(&[]);
    assert!(get(&mut world, "1-c").is_some());
}

#[test]
fn story_16_tables_of_a_skipped_snapshot_go() {
    let mut world = World::created(small(), 1);
    let kept = received(&mut world, &["1-b"]);
    let skipped = received(&mut world, &["1-c"]);
    world.work().expect("no crash");
    world.store().discard(&[skipped]);
    world.work().expect("no crash");
    assert!(!world.disk.names().contains(&table_name(skipped)));
    reopen(&mut world, Fate::Lost);
    // An orphan that nobody spares goes when the replay is over, not before.
    world.work().expect("no crash");
    assert!(world.disk.names().contains(&table_name(kept)));
    world.store().start(&[]);
    world.work().expect("no crash");
    assert!(!world.disk.names().contains(&table_name(kept)));
}

/// Region 1 alone is owned; enough runs for a compaction of everything, region 2's keys included.
fn unowned_runs(world: &mut World, owned: &[Owned]) {
    world.store().set_ownership(Ownership::new(owned.to_vec()));
    for round in 0..6 {
        put(world, "1-a", round + 1);
        let stored = value(None, b"x");
        world.store().put(b"2-a", &stored);
        checkpoint(world);
    }
}

#[test]
fn story_20_nothing_is_filtered_until_a_rotation_since_the_opening_is_durable() {
    let one = Owned {
        range: range("1-", "1."),
        region: REGION,
    };
    let mut world = World::created(small(), 1);
    let two = Owned {
        range: range("2-", "2."),
        region: RegionId(2),
    };
    unowned_runs(&mut world, &[one.clone(), two]);
    world.work().expect("no crash");
    assert!(get(&mut world, "2-a").is_some());
    for round in 0..2 {
        put(&mut world, "1-a", 10 + round);
        let stored = value(None, b"y");
        world.store().put(b"2-a", &stored);
        checkpoint(&mut world);
    }
    reopen(&mut world, Fate::Lost);
    // The opening knows region 1 alone, so far: region 2 is still being replayed.
    world.store().set_ownership(Ownership::new(vec![one]));
    world.work().expect("no crash");
    let before = world.store().figures().counted.compactions;
    assert_eq!(before, 0, "compaction rests during recovery");
    world.store().start(&[]);
    world.work().expect("no crash");
    assert!(get(&mut world, "2-a").is_some());
    // A durable rotation says that it is gone indeed; compaction may take it from then on.
    for round in 0..8 {
        put(&mut world, "1-a", 20 + round);
        world.store().put(b"2-b", b"\0");
        checkpoint(&mut world);
    }
    world.work().expect("no crash");
    assert!(world.store().figures().counted.compactions > 0);
    assert_eq!(get(&mut world, "2-a"), None);
    assert!(get(&mut world, "1-a").is_some());
}

#[test]
fn story_18_values_expire_by_the_checkpointed_clock_and_nothing_older_rises() {
    let mut world = World::created(small(), 1);
    let owned = Owned {
        range: range("1-", "1."),
        region: REGION,
    };
    world.store().set_ownership(Ownership::new(vec![owned]));
    let lasting = value(None, b"old");
    world.store().put(b"1-k", &lasting);
    for round in 0..5 {
        put(&mut world, "1-a", round + 1);
        checkpoint(&mut world);
    }
    world.work().expect("no crash");
    let due = value(Some(1000), b"new");
    world.store().put(b"1-k", &due);
    for round in 0..5 {
        put(&mut world, "1-a", 10 + round);
        checkpoint(&mut world);
    }
    world.work().expect("no crash");
    assert_eq!(get(&mut world, "1-k"), Some(due), "the clock reads 140");
    for round in 0..9 {
        put(&mut world, "1-a", 100 + round);
        put(&mut world, "1-z", 100 + round);
        checkpoint(&mut world);
    }
    world.work().expect("no crash");
    assert_eq!(get(&mut world, "1-k"), None, "the clock reads 1080");
}

#[test]
fn story_20b_an_ingest_that_is_repeated_cuts_nothing() {
    let mut world = World::created(small(), 1);
    let table = received(&mut world, &["1-b"]);
    world.work().expect("no crash");
    world
        .store()
        .ingest(applied(20), range("1-", "1."), &[table])
        .expect("an empty range");
    settle_ingest(&mut world);
    put(&mut world, "1-c", 21);
    checkpoint(&mut world);
    // The log has not heard of it: `normal` was lost with the power.
    reopen(&mut world, Fate::Lost);
    assert!(world.store().is_ingested(REGION, PEER, Index(20)));
    let again = world
        .store()
        .ingest(applied(20), range("1-", "1."), &[table]);
    assert_eq!(again, Err(Refusal::AlreadyPresent));
    world.store().start(&[table]);
    world.work().expect("no crash");
    assert_eq!(index_of(&mut world), Some(21));
    assert!(get(&mut world, "1-b").is_some());
    assert!(get(&mut world, "1-c").is_some());
}

#[test]
fn story_20c_a_rotation_from_before_an_ingest_does_not_take_the_checkpoint_back() {
    let mut world = World::created(small(), 1);
    world.store().advance(REGION, PEER, Index(7), Clock(70));
    let rotation = world.store().rotate(Lsn(5)).expect("room");
    let table = received(&mut world, &["1-b"]);
    world.work().expect("no crash");
    world
        .store()
        .ingest(applied(20), range("1-", "1."), &[table])
        .expect("an empty range");
    settle_ingest(&mut world);
    assert!(!world.store().is_durable(rotation));
    world.store().log_durable(Lsn(5));
    world
        .work_until(|world| world.store().is_durable(rotation))
        .expect("no crash");
    assert_eq!(index_of(&mut world), Some(20));
    reopen(&mut world, Fate::Lost);
    assert_eq!(index_of(&mut world), Some(20));
}

#[test]
fn story_26_a_region_that_barely_moves_does_not_stay_behind() {
    let mut world = World::created(small(), 1);
    put(&mut world, "1-a", 7);
    // Another region fills the memtable; the rotation takes the slow one along.
    while !world.store().wants_rotation() {
        world.store().put(b"2-a", &[0; 300]);
        let number = world.chance.below(1000);
        world
            .store()
            .put(format!("2-{number}").as_bytes(), &[0; 300]);
    }
    checkpoint(&mut world);
    assert_eq!(index_of(&mut world), Some(7));
    // An entry without any write moves the index, in a rotation of an empty memtable.
    world.store().advance(REGION, PEER, Index(8), Clock(80));
    checkpoint(&mut world);
    assert_eq!(index_of(&mut world), Some(8));
    reopen(&mut world, Fate::Lost);
    assert_eq!(index_of(&mut world), Some(8));
}

#[test]
fn story_27_a_full_disk_takes_flushes_compactions_and_a_restart() {
    let options = Options {
        reserve: true,
        ..small()
    };
    let mut shard = Shard::new(World::created(options.clone(), 3));
    shard.world.work().expect("no crash");
    assert!(!shard.world.store().is_full());
    let used = shard.world.disk.used_bytes();
    shard.world.disk.set_capacity(used + (300 << 10));
    // Write until the store says that the disk is full, as admission would.
    let mut writes = 0u64;
    while !shard.world.store().is_full() {
        let region = shard.world.chance.below(3) as usize;
        let key = format!("{}-{writes:08}", region + 1).into_bytes();
        writes += 1;
        let stored = value(None, &[7; 200]);
        shard.write(region, super::shard::Op::Put(key, stored));
        if shard.world.store().wants_rotation() {
            shard.rotate().expect("no crash");
        }
        shard.sync_log(shard.last_lsn);
        shard.world.store().step();
        shard.world.carry_one().expect("no crash");
        assert!(writes < 100_000, "the disk never filled");
    }
    // What was applied can be checkpointed, so the log can be truncated.
    shard.checkpoint().expect("no crash");
    shard.purge();
    shard.check().expect("no crash");
    assert!(shard.world.store().is_full());
    // A restart works on what is left.
    let fate = Fate::Lost;
    shard.world.lose_power(fate);
    shard.recover().expect("no crash");
    shard.check().expect("no crash");
    shard.world.work().expect("no crash");
    // Deletes are taken, and give the space back.
    for region in 0..3 {
        let start = format!("{}-", region + 1).into_bytes();
        let limit = format!("{}.", region + 1).into_bytes();
        shard.write(region, super::shard::Op::DeleteRange(start, limit));
    }
    shard.checkpoint().expect("no crash");
    shard.world.work().expect("no crash");
    let free = (used + (300 << 10)).saturating_sub(shard.world.disk.used_bytes());
    shard.world.store().on_space(free);
    shard.world.work().expect("no crash");
    assert!(
        !shard.world.store().is_full(),
        "when space returns, so do writes"
    );
    shard.check().expect("no crash");
}

#[test]
fn a_view_outlives_flushes_and_compactions_and_ends_when_its_budget_is_used_up() {
    let options = Options {
        view_age_max: 100,
        view_bytes_max: 64 << 10,
        ..small()
    };
    let mut world = World::created(options, 5);
    let mut expected = Content::new();
    for number in 0..100 {
        let key = format!("1-{number:04}");
        expected.insert(key.clone().into_bytes(), value(None, key.as_bytes()));
        put(&mut world, &key, number + 1);
    }
    let view = world.store().view();
    let tables_only = {
        checkpoint(&mut world);
        world.store().view_of_tables()
    };
    for round in 0..6 {
        world.store().delete_range(b"1-", b"1.");
        put(&mut world, "1-0001", 200 + round);
        checkpoint(&mut world);
    }
    world.work().expect("no crash");
    world.check_view(&view, &expected).expect("no crash");
    world.check_view(&tables_only, &expected).expect("no crash");
    // Files that only views read stay, and go with them.
    let with_views = world.disk.names().len();
    world.store().on_time(101);
    assert_eq!(view.check(), Err(ViewEnded::Age));
    let scan = world.scan(&view, &KeyRange::all(), Direction::Forward);
    assert!(scan.expect("no crash").is_err());
    world.work().expect("no crash");
    assert!(world.disk.names().len() < with_views);
}

#[test]
fn a_failed_write_of_the_manifest_stops_the_store_for_good() {
    let mut world = World::created(small(), 1);
    put(&mut world, "1-a", 1);
    world.store().rotate(Lsn(0)).expect("room");
    world.disk.fail_writes_after(Some(1));
    world
        .work_until(|world| world.store().stopped().is_some())
        .expect("no crash");
    let mut effects: Vec<Effect> = Vec::new();
    world.store().flush_effects(&mut effects);
    assert_eq!(effects, []);
    assert_eq!(world.store().rotate(Lsn(0)), Err(Refusal::Stopped));
}
