//! Regions that split themselves, since they hold or bear too much: when they do, when they do not, and what goes
//! wrong meanwhile.

use coracle::placement::Message;
use coracle::shard::error::Error;
use coracle::shard::ids::{RegionId, StoreId};
use coracle::shard::limits::Limits;
use coracle::shard::message::PeerMessage;
use coracle::shard::mutant::Mutant;
use coracle::shard::pause::SplitFigures;
use coracle::shard::region::Region;
use coracle::shard::request::{Answer, Body, Freshness, Write};

use crate::placement::{enter, patiently, three_of};
use crate::theatre::{REGION, Theatre};

/// Limits that no region of a story reaches, looked at five times a second.
fn watched(limits: &mut Limits) {
    limits.split_ticks = 4;
    limits.split_bytes = 0;
    limits.split_keys = 0;
    limits.split_load = 0;
    limits.split_load_ticks = 40;
    limits.split_rest_ticks = 20;
}

fn key(number: u32) -> Vec<u8> {
    format!("\u{1}k{number:04}").into_bytes()
}

/// All regions of users' keys, as their leaders know them, in order.
fn regions(theatre: &Theatre) -> Vec<Region> {
    let shards = theatre
        .actors
        .values()
        .filter_map(|actor| actor.shard.as_ref());
    let statuses = shards.flat_map(|shard| shard.statuses());
    let led = statuses.filter(|status| status.leads && status.region.id != RegionId::SYSTEM);
    let mut regions: Vec<Region> = led.map(|status| status.region).collect();
    regions.sort_by(|one, other| one.range.start.cmp(&other.range.start));
    regions
}

/// Whether all of users' keys are led, in so many regions or more.
fn are_led(theatre: &Theatre, least: usize) -> bool {
    let regions = regions(theatre);
    regions.len() >= least
        && regions[0].range.start == [1]
        && regions[regions.len() - 1].range.limit == [2]
        && regions
            .windows(2)
            .all(|two| two[0].range.limit == two[1].range.start)
}

/// Writes wherever the key is led, as often as it takes.
fn write(theatre: &mut Theatre, key: &[u8]) {
    act(theatre, |theatre, store| theatre.put(store, key, key));
}

/// Whether a key holds what was written there.
fn is_there(theatre: &mut Theatre, key: &[u8]) -> bool {
    let get = |theatre: &mut Theatre, store| theatre.get(store, key, Freshness::Linearizable);
    match act(theatre, get) {
        Answer::Value(value) => value.as_deref() == Some(key),
        other => panic!("{other:?}"),
    }
}

fn act(
    theatre: &mut Theatre,
    ask: impl Fn(&mut Theatre, u64) -> coracle::shard::ids::RequestId,
) -> Answer {
    for _ in 0..200 {
        let stores: Vec<StoreId> = theatre.actors.keys().copied().collect();
        for store in stores {
            if theatre.actors[&store].shard.is_none() || theatre.isolated.contains(&store) {
                continue;
            }
            let request = ask(theatre, store.0);
            if let Ok(answer) = theatre.answer(request) {
                return answer;
            }
        }
        theatre.pass(50);
    }
    panic!("nobody does it\n{}", theatre.describe());
}

/// What splits came to, on all stores.
fn figures(theatre: &Theatre) -> SplitFigures {
    let shards = theatre
        .actors
        .values()
        .filter_map(|actor| actor.shard.as_ref());
    let mut all = SplitFigures::default();
    for figures in shards.map(|shard| shard.split_figures()) {
        for (all, begun) in all.begun.iter_mut().zip(figures.begun) {
            *all += begun;
        }
        all.done += figures.done;
        all.failed += figures.failed;
        all.held.count += figures.held.count;
        all.held.longest = all.held.longest.max(figures.held.longest);
    }
    all
}

/// A region that was filled at once becomes several at once, each with about as much, and room to grow.
#[test]
fn what_was_filled_at_once_becomes_several_at_once() {
    let mut theatre = Theatre::growing_with(Mutant::None, |limits| {
        watched(limits);
        limits.split_keys = 25;
        limits.split_ticks = 40;
    });
    theatre.until("it leads", |theatre| theatre.leads(1));
    let keys: Vec<Vec<u8>> = (0..100).map(key).collect();
    let puts = keys.iter().map(|key| Write::Put {
        key,
        value: key,
        expiry_ms: None,
    });
    let puts: Vec<Write<'_>> = puts.collect();
    let request = theatre.ask(1, Body::Write(&puts));
    assert!(theatre.answer(request).is_ok());
    theatre.until("it is split", |theatre| are_led(theatre, 2));
    let all = regions(&theatre);
    assert_eq!(all.len(), 7, "{all:?}");
    for region in &all {
        let held = keys.iter().filter(|key| region.range.contains(key)).count();
        assert!((7..=21).contains(&held), "{held} in {region}");
    }
    theatre.pass(10_000);
    assert_eq!(regions(&theatre).len(), 7, "none of them is too large");
    let figures = figures(&theatre);
    assert_eq!((figures.begun, figures.done), ([0, 0, 1, 0], 1));
    assert_eq!((figures.failed, figures.held.count), (0, 1));
    for key in &keys {
        assert!(is_there(&mut theatre, key));
    }
}

/// Keys that are written in order leave regions behind that are half full, and not many that are nearly empty.
#[test]
fn what_is_filled_in_order_leaves_no_crumbs() {
    let mut theatre = Theatre::growing_with(Mutant::None, |limits| {
        watched(limits);
        limits.split_keys = 40;
    });
    theatre.until("it leads", |theatre| theatre.leads(1));
    for number in 0..400 {
        write(&mut theatre, &key(number));
    }
    theatre.pass(5000);
    let all = regions(&theatre);
    assert!(are_led(&theatre, 8), "{all:?}");
    for region in &all[..all.len() - 1] {
        let held = (0..400).filter(|number| region.range.contains(&key(*number)));
        let held = held.count();
        assert!((15..=45).contains(&held), "{held} in {region}");
    }
}

/// A replica that was away while a region split itself has all parts in the end, and so has whoever starts again.
#[test]
fn whoever_was_away_when_a_region_split_itself_has_all_parts() {
    let mut theatre = Theatre::growing_with(Mutant::None, |limits| {
        watched(limits);
        limits.split_keys = 30;
    });
    let stores = three_of(&mut theatre);
    let leader = theatre.leader().expect("a leader");
    let away = stores
        .into_iter()
        .find(|store| *store != leader)
        .expect("another");
    theatre.isolated = vec![StoreId(away)];
    for number in 0..100 {
        write(&mut theatre, &key(number));
    }
    theatre.until("it has split itself", |theatre| are_led(theatre, 4));
    // A quorum was asked meanwhile, and writes were held for as long as that took.
    let held = figures(&theatre).held;
    assert!(
        held.count > 0 && (1..200_000_000).contains(&held.longest),
        "{held:?}"
    );
    theatre.isolated.clear();
    patiently(&mut theatre, "whoever was away has all", |theatre| {
        regions(theatre).iter().all(|region| {
            let here = theatre.status_of(away, region.id);
            here.is_some_and(|here| here.initialized && here.region.range == region.range)
        })
    });
    for store in stores {
        theatre.cut_power(store);
    }
    for store in stores {
        theatre.start(store);
    }
    for number in 0..100 {
        assert!(is_there(&mut theatre, &key(number)));
    }
}

/// Placement's ids never come: whoever asked is told so, the region goes on as it is, and tries again later.
#[test]
fn without_ids_a_region_stays_whole_and_tries_again() {
    let mut theatre = Theatre::growing_with(Mutant::None, |limits| {
        watched(limits);
        limits.split_keys = 30;
    });
    three_of(&mut theatre);
    // Wherever it is led without placement beside it, its question has a way to go.
    let by_itself = |theatre: &Theatre| {
        let seat = theatre.leader_of(RegionId::SYSTEM);
        seat.is_some() && theatre.leader() != seat
    };
    for _ in 0..40 {
        if by_itself(&theatre) {
            break;
        }
        let leader = theatre.leader().expect("a leader");
        let region = theatre.status(leader).expect("a region").region;
        let other = region
            .peers
            .iter()
            .find(|info| info.store != StoreId(leader));
        let (region, to) = (REGION, other.expect("another").peer);
        theatre.ask(leader, Body::TransferLeader { region, to });
        theatre.pass(1500);
    }
    assert!(by_itself(&theatre), "{}", theatre.describe());
    let leader = theatre.leader().expect("a leader");
    let body = Body::Split {
        region: REGION,
        keys: &[&key(50)],
        ids: None,
    };
    let asked = theatre.ask(leader, body);
    theatre.holds_post = true;
    let pass = |theatre: &mut Theatre, milliseconds: u64, gives: bool| {
        for _ in 0..milliseconds / 5 {
            theatre.pass(5);
            for (from, to, message) in std::mem::take(&mut theatre.post) {
                let is_given =
                    matches!(&message, PeerMessage::Placement(Message::Allocated { .. }));
                if gives || !is_given {
                    theatre.deliver(from, to, message);
                }
            }
        }
    };
    pass(&mut theatre, 12_000, false);
    let told = theatre.answers.get(&asked).cloned();
    assert_eq!(
        told,
        Some(Err(Error::ServerIsBusy("placement gives no ids")))
    );
    for number in 0..100 {
        let request = theatre.put(leader, &key(number), b"value");
        pass(&mut theatre, 50, false);
        assert!(
            matches!(theatre.answers.get(&request), Some(Ok(_))),
            "{number}"
        );
    }
    pass(&mut theatre, 40_000, false);
    let before = figures(&theatre);
    assert!(before.begun[2] >= 2 && before.done == 0, "{before:?}");
    assert!(before.failed >= before.begun[2], "{before:?}");
    assert_eq!(regions(&theatre).len(), 1);
    let request = theatre.put(leader, &key(1), b"and again");
    pass(&mut theatre, 100, false);
    assert!(
        matches!(theatre.answers.get(&request), Some(Ok(_))),
        "nobody waits for it"
    );
    pass(&mut theatre, 20_000, true);
    assert!(are_led(&theatre, 4), "{:?}", regions(&theatre));
}

/// Clients of so many stores read one key after the other, two hundred a second: so many regions there are then, and how
/// many splits were begun for that.
fn read(stores: u64, seconds: u64, next: impl Fn(u64) -> u32) -> (Vec<Region>, u64) {
    let mut theatre = Theatre::growing_with(Mutant::None, |limits| {
        watched(limits);
        limits.split_load = 150;
    });
    theatre.until("it leads", |theatre| theatre.leads(1));
    if stores > 1 {
        enter(&mut theatre, 2);
    }
    for number in 0..8 {
        write(&mut theatre, &key(number));
    }
    for step in 0..seconds * 200 {
        let key = key(next(step));
        // Every second one is answered while it is asked.
        if step % 2 == 0 || theatre.at_hand(1, &key).is_none() {
            theatre.get(1, &key, Freshness::Linearizable);
        }
        theatre.pass(5);
    }
    (regions(&theatre), figures(&theatre).begun[3])
}

/// A region that is too busy is split where its work is divided: both parts have about half of it, and are busy no
/// more.
#[test]
fn a_busy_region_is_split_where_its_work_is() {
    let (regions, begun) = read(2, 20, |step| (step * 5 % 8) as u32);
    assert_eq!((regions.len(), begun), (2, 1), "{regions:?}");
    let border = &regions[0].range.limit;
    assert!((key(3)..=key(5)).contains(border), "{regions:?}");
}

/// Where there is one store only, it has all the work whatever is split.
#[test]
fn the_only_store_splits_nothing_for_its_work() {
    let (regions, begun) = read(1, 20, |step| (step * 5 % 8) as u32);
    assert_eq!((regions.len(), begun), (1, 0), "{regions:?}");
}

/// One key that is asked for all the time is no reason for a split: nothing would be divided.
#[test]
fn one_busy_key_is_not_split() {
    let (regions, begun) = read(2, 20, |_| 3);
    assert_eq!((regions.len(), begun), (1, 0), "{regions:?}");
    let (regions, begun) = read(
        2,
        20,
        |step| if step % 11 == 0 { step as u32 % 8 } else { 3 },
    );
    assert_eq!((regions.len(), begun), (1, 0), "{regions:?}");
}

/// What wanders through the keys leaves every part behind, wherever that begins.
#[test]
fn what_wanders_through_a_region_does_not_split_it() {
    let (regions, begun) = read(2, 20, |step| step as u32);
    assert_eq!((regions.len(), begun), (1, 0), "{regions:?}");
}
