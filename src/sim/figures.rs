//! What happened in a run, counted.

/// What happened in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Virtual nanoseconds.
    pub time: u64,
    /// Events.
    pub events: u64,
    /// Operations of clients with a known outcome.
    pub known: u64,
    /// … and with an unknown one.
    pub unknown: u64,
    /// Elections won.
    pub elections: u64,
    /// Entries applied somewhere.
    pub entries: u64,
    /// Snapshots brought in.
    pub snapshots: u64,
    /// Peers that went.
    pub destroyed: u64,
    /// Changes of peers and leaders that were asked for.
    pub operations: u64,
    /// Power cuts and kills.
    pub crashes: u64,
    /// Processes that stood still.
    pub pauses: u64,
    /// Partitions.
    pub partitions: u64,
    /// Full disks.
    pub full_disks: u64,
    /// Failing disks.
    pub failing_disks: u64,
    /// Nodes that joined.
    pub joins: u64,
    /// Nodes that lost everything.
    pub wipes: u64,
    /// Nodes that came back at another address.
    pub moves: u64,
    /// Bits flipped in cold data.
    pub damages: u64,
    /// Stores that did not open because of it.
    pub unopened: u64,
    /// Regions that a store gave up.
    pub quarantines: u64,
    /// Spells of failing reads.
    pub read_errors: u64,
    /// Links that were slow for a while.
    pub slow_links: u64,
    /// Partitions that came and went.
    pub flaps: u64,
    /// Wall clocks that jumped.
    pub jumps: u64,
    /// Leaders that vanished for a while.
    pub vanishings: u64,
    /// Reads that were answered while they were asked.
    pub reads_at_hand: u64,
    /// Regions that were split.
    pub splits: u64,
    /// Those of them that nobody asked for.
    pub splits_by_itself: u64,
    /// Peers that grew quiet.
    pub quiets: u64,
    /// Quiet peers that woke.
    pub wakes: u64,
    /// Moves by hand that placement has begun.
    pub moves_by_hand: u64,
    /// Nodes that were to be emptied.
    pub drains: u64,
    /// Nodes that were taken out.
    pub removals: u64,
    /// Times that placement was held.
    pub holds: u64,
    /// The hash of everything that happened.
    pub hash: u64,
}

impl Figures {
    /// Everything that is counted, with its name.
    pub fn counts(&self) -> Vec<(u64, &'static str)> {
        vec![
            (self.events, "events"),
            (self.known, "operations"),
            (self.unknown, "of unknown outcome"),
            (self.elections, "elections"),
            (self.entries, "entries"),
            (self.snapshots, "snapshots"),
            (self.operations, "changes"),
            (self.destroyed, "peers gone"),
            (self.crashes, "crashes"),
            (self.pauses, "pauses"),
            (self.partitions, "partitions"),
            (self.full_disks, "full disks"),
            (self.failing_disks, "failing disks"),
            (self.joins, "joins"),
            (self.wipes, "wipes"),
            (self.moves, "moves"),
            (self.damages, "flipped bits"),
            (self.unopened, "stores not opened"),
            (self.quarantines, "quarantines"),
            (self.read_errors, "spells of read errors"),
            (self.slow_links, "slow links"),
            (self.flaps, "flapping partitions"),
            (self.jumps, "clock jumps"),
            (self.vanishings, "vanished leaders"),
            (self.reads_at_hand, "reads at hand"),
            (self.splits, "splits"),
            (self.splits_by_itself, "of them by itself"),
            (self.quiets, "peers grown quiet"),
            (self.wakes, "peers woken"),
            (self.moves_by_hand, "moves by hand"),
            (self.drains, "drains"),
            (self.removals, "removals"),
            (self.holds, "holds"),
        ]
    }

    /// Adds what happened in another run.
    pub fn add(&mut self, other: &Figures) {
        self.time += other.time;
        self.events += other.events;
        self.known += other.known;
        self.unknown += other.unknown;
        self.elections += other.elections;
        self.entries += other.entries;
        self.snapshots += other.snapshots;
        self.operations += other.operations;
        self.destroyed += other.destroyed;
        self.crashes += other.crashes;
        self.pauses += other.pauses;
        self.partitions += other.partitions;
        self.full_disks += other.full_disks;
        self.failing_disks += other.failing_disks;
        self.joins += other.joins;
        self.wipes += other.wipes;
        self.moves += other.moves;
        self.damages += other.damages;
        self.unopened += other.unopened;
        self.quarantines += other.quarantines;
        self.read_errors += other.read_errors;
        self.slow_links += other.slow_links;
        self.flaps += other.flaps;
        self.jumps += other.jumps;
        self.vanishings += other.vanishings;
        self.reads_at_hand += other.reads_at_hand;
        self.splits += other.splits;
        self.splits_by_itself += other.splits_by_itself;
        self.quiets += other.quiets;
        self.wakes += other.wakes;
        self.moves_by_hand += other.moves_by_hand;
        self.drains += other.drains;
        self.removals += other.removals;
        self.holds += other.holds;
    }
}
