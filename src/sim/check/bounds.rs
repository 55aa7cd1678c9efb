//! Bounds on memory and disk: nothing that a shard holds is more than it may be.

use coracle_engine::options::Options;
use coracle_engine::store::Store;
use coracle_wal as wal;

use super::{Verdict, Violation};
use crate::shard::bounds::Bound;
use crate::shard::ids::StoreId;
use crate::sim::disk::Disk;

/// A shard's memory: every queue and cache.
pub fn check_shard(store: StoreId, bounds: &[Bound]) -> Verdict {
    match bounds.iter().find(|bound| bound.held > bound.most) {
        None => Ok(()),
        Some(bound) => Err(Violation::new(
            "bounds",
            format!(
                "store {store}: {} are {}, and may be {}",
                bound.what, bound.held, bound.most
            ),
        )),
    }
}

/// A shard's disk: the log's files, the manifest, and tables, of which none is there that nobody knows.
pub fn check_disk(
    store: StoreId,
    disk: &Disk,
    limits: &wal::Limits,
    options: &Options,
    engine: &Store,
) -> Verdict {
    let (mut segments, mut tables) = (0, 0);
    for name in disk.names() {
        let length = disk.len(&name).unwrap_or(0);
        match name.split_once('/') {
            Some(("log", _)) => segments += length,
            Some(("tables", _)) => tables += length,
            _ => {}
        }
    }
    // What is being made: by flushes, by a compaction, by snapshots that come in.
    let flushes = (options.flush_queue as u64 + 1) * 2 * options.memtable_bytes as u64;
    let making = flushes + 2 * options.pick.plan_bytes_max + TABLES_COMING * options.table_bytes;
    let figures = engine.figures();
    let known = figures.table_bytes + figures.needless_bytes;
    let segments_most = wal::limits::LIVE_SEGMENTS_MAX as u64 * u64::from(limits.segment_bytes);
    check_shard(
        store,
        &[
            Bound::new("bytes of log files", segments, segments_most),
            Bound::new("bytes of table files", tables, known + making),
        ],
    )
}

/// Tables of snapshots that are coming in, at the most.
const TABLES_COMING: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_its_bound_is_seen() {
        let within = [Bound::new("a", 1, 1), Bound::new("b", 0, 7)];
        assert_eq!(check_shard(StoreId(1), &within), Ok(()));
        let over = [Bound::new("a", 1, 1), Bound::new("b", 8, 7)];
        assert!(check_shard(StoreId(1), &over).is_err());
    }
}
