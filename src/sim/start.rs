//! From what a disk holds to a running shard.

use coracle_engine::effect::TableNumber;
use coracle_engine::options::Options;
use coracle_engine::pick::PickLimits;
use coracle_engine::recover::{Identity, OpenError, Opening};
use coracle_engine::store::Store;
use coracle_wal::{Limits, Log, LogId, Recovery, Slot};

use super::files::{Files, segment_name, table_name};
use super::plan::Plan;
use crate::shard::ids::StoreId;
use crate::shard::mutant::Mutant;

/// The bounds of the log.
pub fn log_limits(plan: &Plan) -> Limits {
    match plan.small_files {
        true => Limits {
            segment_bytes: 128 << 10,
            batch_bytes_max: 32 << 10,
            entry_bytes_max: 24 << 10,
            // Every start takes one, and seeds may start a node dozens of times between two purges.
            segments_max: 32,
            cache_bytes: 16 << 10,
            ..Limits::SMALL
        },
        false => Limits {
            segment_bytes: 1 << 20,
            batch_bytes_max: 256 << 10,
            entry_bytes_max: 128 << 10,
            segments_max: 32,
            cache_bytes: 256 << 10,
            ..Limits::SMALL
        },
    }
}

/// What may be chosen about the state store.
pub fn store_options(plan: &Plan) -> Options {
    let memtable = if plan.small_files { 8 << 10 } else { 64 << 10 };
    Options {
        memtable_bytes: memtable,
        flush_queue: 2,
        cache_bytes: 16 << 10,
        table_bytes: memtable as u64,
        compress: true,
        pick: PickLimits {
            base_bytes: 4 * memtable as u64,
            plan_bytes_max: 16 * memtable as u64,
            ..PickLimits::default()
        },
        manifest_bytes: 256 << 10,
        reserve: false,
        hash_seed: plan.seed,
        mutant: match plan.mutant {
            Mutant::EditBeforeLog => coracle_engine::options::Mutant::EditBeforeLog,
            _ => coracle_engine::options::Mutant::None,
        },
        ..Options::default()
    }
}

/// The log and store that the files of a shard hold; new ones where they hold none.
pub fn open(plan: &Plan, store: StoreId, files: &mut Files) -> Result<(Log, Store), String> {
    Ok((
        open_log(plan, store, files)?,
        open_store(plan, store, files)?,
    ))
}

fn open_log(plan: &Plan, store: StoreId, files: &mut Files) -> Result<Log, String> {
    let mut slots = Vec::new();
    for name in files.disk.names() {
        if let Some(number) = name.strip_prefix("log/") {
            let slot = Slot(number.parse().map_err(|_| format!("a file named {name}"))?);
            slots.push((slot, files.disk.len(&name).unwrap_or(0)));
        }
    }
    let id = LogId(store.0);
    if slots.is_empty() {
        return Ok(Log::create(id, log_limits(plan)));
    }
    let mut recovery = Recovery::new(id, log_limits(plan), slots);
    while !recovery.is_finished() {
        let need = recovery
            .wants()
            .expect("an unfinished recovery wants something");
        let bytes = files.read(
            &segment_name(need.slot),
            u64::from(need.offset),
            need.len as usize,
        );
        let bytes = bytes.map_err(|error| format!("{error:?}"))?;
        recovery
            .feed(need, &bytes)
            .map_err(|corrupt| corrupt.to_string())?;
    }
    Ok(recovery.finish().0)
}

fn open_store(plan: &Plan, store: StoreId, files: &mut Files) -> Result<Store, String> {
    let identity = Identity(store.0);
    let options = store_options(plan);
    let manifest = match files.disk.len("manifest") {
        None => Vec::new(),
        Some(length) => {
            let bytes = files.read("manifest", 0, length as usize);
            bytes.map_err(|error| format!("{error:?}"))?
        }
    };
    let mut tables = Vec::new();
    for name in files.disk.names() {
        if let Some(number) = name.strip_prefix("tables/") {
            let number = TableNumber(number.parse().map_err(|_| format!("a file named {name}"))?);
            tables.push((number, files.disk.len(&table_name(number)).unwrap_or(0)));
        }
    }
    let mut opening = match Opening::recover(identity, options.clone(), &manifest, &tables) {
        Ok(opening) => opening,
        Err(OpenError::NotCreated) => Opening::create(identity, options),
        Err(error) => return Err(error.to_string()),
    };
    while !opening.is_over() {
        let mut effects = Vec::new();
        opening.flush_effects(&mut effects);
        for effect in effects {
            let (_, work) = files.begin_store(effect);
            let super::files::Work::Store(effect, begun) = work else {
                unreachable!("an effect of the store");
            };
            files.end_store(effect, begun, &mut |completion| {
                opening.complete(completion)
            });
        }
    }
    opening.finish().map_err(|error| error.to_string())
}
