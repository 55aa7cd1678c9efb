//! What a shard holds in memory, each kind against the most that it may be: for checkers and gauges.
//!
//! The log's index keeps sixteen bytes for each entry that its space holds, and a region's part of it keeps
//! the room of that region's longest time: so its bound is the space of the log, for every region.

use coracle_engine::options::Options;
use coracle_wal as wal;

use super::brain::Shard;

/// Memory of the log's index for an entry, room for growth included: its place, its term, its payload's.
const LOG_ENTRY_BYTES: u64 = 2 * (16 + 16 + 32);

/// An entry in the log is no shorter.
const LOG_ENTRY_LEAST: u64 = 16;

/// Memory of the log for a region, its states and payloads not counted.
const LOG_REGION_BYTES: u64 = 4 << 10;

/// Something that is held, and the most that it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// What it is.
    pub what: &'static str,
    /// How much of it there is.
    pub held: u64,
    /// How much there may be.
    pub most: u64,
}

impl Bound {
    /// Something that is held.
    pub fn new(what: &'static str, held: u64, most: u64) -> Bound {
        Bound { what, held, most }
    }
}

impl Shard {
    /// Everything that is held here, against its bound; the log and the store were opened with these.
    pub fn bounds(&self, log: &wal::Limits, store: &Options) -> Vec<Bound> {
        let core = &self.core;
        let limits = core.limits();
        let peers = || self.peers.values();
        let most = |of: fn(&super::peer::Peer) -> u64| peers().map(of).max().unwrap_or(0);
        let entry = u64::from(log.entry_bytes_max);
        let request = entry.min(limits.proposed_bytes);
        let proposed: u64 = peers().map(|peer| peer.proposed_bytes).sum();
        let reads: u64 = peers().map(|peer| peer.reads.count() as u64).sum();
        let mut bounds = vec![
            Bound::new(
                "bytes proposed",
                core.proposed_bytes,
                limits.proposed_bytes_total + request,
            ),
            Bound::new(
                "bytes proposed that no region has",
                core.proposed_bytes - proposed.min(core.proposed_bytes),
                0,
            ),
            Bound::new(
                "bytes proposed in a region",
                most(|peer| peer.proposed_bytes),
                limits.proposed_bytes + request,
            ),
            Bound::new(
                "reads that wait",
                core.reads_waiting as u64,
                limits.reads_waiting as u64,
            ),
            Bound::new(
                "reads that wait and that no region has",
                (core.reads_waiting as u64).saturating_sub(reads),
                0,
            ),
            Bound::new(
                "bytes of entries that wait to be applied in a region",
                most(|peer| peer.machine.queue_bytes),
                2 * limits.unapplied_bytes + entry,
            ),
            Bound::new(
                "snapshots that are sent",
                core.sending.len() as u64,
                limits.snapshots_sending as u64,
            ),
            Bound::new(
                "snapshots that are received",
                core.receiving.len() as u64,
                limits.snapshots_receiving as u64,
            ),
            Bound::new(
                "peers that are remembered in a region",
                most(|peer| peer.contacts.len() as u64),
                super::peer::CONTACTS_MAX as u64,
            ),
            Bound::new(
                "questions that wait for placement",
                self.seat.questions_waiting() as u64,
                limits.questions_waiting as u64,
            ),
        ];
        self.bounds_of_quiet(&mut bounds);
        self.bounds_of_log(log, &mut bounds);
        self.bounds_of_store(store, &mut bounds);
        bounds
    }

    /// What is known of quiet peers twice must be the same.
    fn bounds_of_quiet(&self, bounds: &mut Vec<Bound>) {
        let peers = || self.peers.values();
        let relying: u64 = peers().map(|peer| peer.relies_on().len() as u64).sum();
        bounds.push(Bound::new(
            "lives that nobody relies on, or that somebody relies on unseen",
            relying.abs_diff(self.core.neighbours.relying()),
            0,
        ));
        let forgotten = peers().filter(|peer| peer.wants_ticks() && !peer.rest.is_listed);
        bounds.push(Bound::new(
            "peers that are awake and that no tick visits",
            forgotten.count() as u64,
            0,
        ));
    }

    fn bounds_of_log(&self, options: &wal::Limits, bounds: &mut Vec<Bound>) {
        let core = &self.core;
        let limits = core.limits();
        let log = core.log.borrow();
        let regions = log.regions().count() as u64;
        let space = u64::from(options.segments_max) * u64::from(options.segment_bytes);
        let index = space / LOG_ENTRY_LEAST * LOG_ENTRY_BYTES;
        let states = 2 * u64::from(options.state_bytes_max);
        bounds.push(Bound::new(
            "bytes of the log's index",
            log.memory_bytes(),
            regions * (LOG_REGION_BYTES + states + index),
        ));
        // What is not applied stays: what is committed, and what a leader may have under way.
        let staying = 2 * limits.unapplied_bytes
            + 8 * limits.proposed_bytes
            + u64::from(options.entry_bytes_max);
        bounds.push(Bound::new(
            "bytes of entries in memory",
            log.cached_bytes(),
            options.cache_bytes + self.peers.len() as u64 * staying,
        ));
    }

    fn bounds_of_store(&self, options: &Options, bounds: &mut Vec<Bound>) {
        let figures = self.core.store.figures();
        // The one in use may be over its size by what is applied between two looks at it.
        let one = 3 * options.memtable_bytes as u64;
        bounds.push(Bound::new(
            "bytes of memtables",
            figures.memtable_bytes,
            (options.flush_queue as u64 + 1) * one,
        ));
        bounds.push(Bound::new(
            "rotations that wait",
            figures.rotations_waiting as u64,
            options.flush_queue as u64,
        ));
    }
}
