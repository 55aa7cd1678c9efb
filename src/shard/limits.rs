//! Every bound of the brain, and how they relate.

use super::time::MILLISECOND;

/// No stored key is longer.
pub const KEY_BYTES_MAX: usize = 4 << 10;

/// No value is longer.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// With fewer segments left, no proposal is taken: the rest is for terms, truncation and followers.
pub const SEGMENTS_FOR_PROPOSALS: u32 = 3;

/// With fewer segments left, a follower takes no commands either: a region without a quorum, whose old
/// entries hold the log, needs some for its next leader.
pub const SEGMENTS_FOR_APPENDS: u32 = 2;

/// No entry is longer.
pub const ENTRY_BYTES_MAX: usize = 4 << 20;

/// What a shard may hold, and how long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nanoseconds between two ticks.
    pub tick: u64,
    /// Ticks between two heartbeats of a leader.
    pub heartbeat_ticks: usize,
    /// The shortest election timeout; the longest is twice that.
    pub election_ticks: usize,
    /// Ticks without anything to do after which a region is quiet; 0: regions never are.
    pub quiet_ticks: u64,
    /// Nanoseconds that a lease lasts, at the most; 0: there are none, and every read asks a quorum.
    pub lease: u64,
    /// Clocks run faster or slower by no more than so many in a thousand.
    pub drift_per_mille: u64,
    /// A leader's time may be so many milliseconds further ahead of a region's clock than time has passed
    /// here; more is reported.
    pub clock_ahead_ms: u64,
    /// Nanoseconds after which a write that was proposed is answered as undetermined.
    pub write_timeout: u64,
    /// Nanoseconds after which a read that could not be confirmed gives up.
    pub read_timeout: u64,
    /// Nanoseconds after which an attempt to confirm a read is made anew.
    pub read_retry: u64,
    /// Bytes of commands that a region may have proposed and not applied.
    pub proposed_bytes: u64,
    /// Bytes that all regions together may have proposed and not applied.
    pub proposed_bytes_total: u64,
    /// Bytes of entries that a follower holds unapplied before it refuses more.
    pub unapplied_bytes: u64,
    /// Reads that may wait, over all regions.
    pub reads_waiting: usize,
    /// Bytes of keys and values in one answer to a scan.
    pub answer_bytes: usize,
    /// Bytes of values that are told in one turn; what more is known waits for the next.
    pub turn_bytes: usize,
    /// Entries that one region applies in one turn.
    pub apply_entries: usize,
    /// Bytes in one append message.
    pub append_bytes: u64,
    /// Append messages on their way to one follower.
    pub append_inflight: usize,
    /// Snapshots that a store sends at once.
    pub snapshots_sending: usize,
    /// Bytes of snapshots that a store sends in a second, to all others together; 0: as many as go.
    pub snapshot_bytes_per_second: u64,
    /// Snapshots that a store receives at once.
    pub snapshots_receiving: usize,
    /// Bytes of a snapshot's table.
    pub snapshot_table_bytes: u64,
    /// Nanoseconds without a piece after which a snapshot's receiver asks again.
    pub snapshot_retry: u64,
    /// Nanoseconds without progress after which a snapshot is given up.
    pub snapshot_timeout: u64,
    /// Entries behind which the log of a region is cut off when all replicas have them.
    pub truncate_entries: u64,
    /// Entries behind which it is cut off all the same.
    pub truncate_entries_forced: u64,
    /// Ticks between two looks at what may be cut off.
    pub truncate_ticks: u64,
    /// Ticks between two questions of a peer that may have been removed.
    pub gone_ticks: u64,
    /// Ticks without a leader after which a peer asks whether it is still one.
    pub leaderless_ticks: u64,
    /// Ticks between two comparisons of a region's replicas; 0: they are not compared.
    pub compare_ticks: u64,
    /// Ticks between two heartbeats of a store to placement; 0: the shard has nothing to do with placement.
    pub store_beat_ticks: u64,
    /// Ticks after which a heartbeat that was not heard goes to somebody else.
    pub store_retry_ticks: u64,
    /// Ticks between two heartbeats of a region to placement.
    pub region_beat_ticks: u64,
    /// The same, while a peer is silent or behind, or the configuration joint.
    pub region_busy_ticks: u64,
    /// The same, while so much is asked of it as the next line says.
    pub region_load_ticks: u64,
    /// Requests in that time from which on it counts.
    pub region_load_requests: u64,
    /// Milliseconds after which a leader tells of a peer's silence.
    pub silent_ms: u64,
    /// Ticks without a leader after which a peer asks placement whether it is still one.
    pub validate_ticks: u64,
    /// Questions to placement that may wait for their answers.
    pub questions_waiting: usize,
    /// Ticks between two looks of a leader at whether its region is too large or too busy; 0: nobody looks.
    pub split_ticks: u64,
    /// Bytes above which a region is split; 0: never for its bytes.
    pub split_bytes: u64,
    /// Keys above which it is; 0: never for its keys.
    pub split_keys: u64,
    /// Reads and writes of keys in a second from which on it is; 0: never for its load.
    pub split_load: u64,
    /// Ticks that it must be so busy.
    pub split_load_ticks: u64,
    /// Ticks from one attempt to the next one, if nothing came of it.
    pub split_rest_ticks: u64,
    /// Splits under way on a store before another one begins by itself.
    pub splits_max: usize,
    /// A memtable of a store is flushed when the log has so few segments left.
    pub segments_low: u32,
    /// Bytes of compaction debt from which on proposals are slowed down.
    pub debt_bytes_slow: u64,
    /// Bytes of compaction debt at which they are refused.
    pub debt_bytes_stop: u64,
}

impl Limits {
    /// What a shard runs with.
    pub const DEFAULT: Limits = Limits {
        tick: 50 * MILLISECOND,
        heartbeat_ticks: 2,
        election_ticks: 20,
        quiet_ticks: 100,
        lease: 750 * MILLISECOND,
        drift_per_mille: 50,
        clock_ahead_ms: 5_000,
        write_timeout: 10_000 * MILLISECOND,
        read_timeout: 5_000 * MILLISECOND,
        read_retry: 500 * MILLISECOND,
        proposed_bytes: 16 << 20,
        proposed_bytes_total: 128 << 20,
        unapplied_bytes: 64 << 20,
        reads_waiting: 65_536,
        answer_bytes: 1 << 20,
        turn_bytes: 32 << 20,
        apply_entries: 256,
        append_bytes: 1 << 20,
        append_inflight: 256,
        snapshots_sending: 4,
        snapshot_bytes_per_second: 32 << 20,
        snapshots_receiving: 4,
        snapshot_table_bytes: 16 << 20,
        snapshot_retry: 300 * MILLISECOND,
        snapshot_timeout: 10_000 * MILLISECOND,
        truncate_entries: 50,
        truncate_entries_forced: 73_728,
        truncate_ticks: 60,
        gone_ticks: 20,
        leaderless_ticks: 200,
        compare_ticks: 72_000,
        store_beat_ticks: 200,
        store_retry_ticks: 20,
        region_beat_ticks: 1200,
        region_busy_ticks: 60,
        region_load_ticks: 200,
        region_load_requests: 100,
        silent_ms: 10_000,
        validate_ticks: 144_000,
        questions_waiting: 1024,
        split_ticks: 20,
        split_bytes: 256 << 20,
        split_keys: 4_000_000,
        split_load: 20_000,
        split_load_ticks: 200,
        split_rest_ticks: 200,
        splits_max: 8,
        segments_low: 8,
        debt_bytes_slow: 1 << 30,
        debt_bytes_stop: 4 << 30,
    };

    /// Small bounds, so that a simulation reaches them.
    pub const SMALL: Limits = Limits {
        proposed_bytes: 16 << 10,
        proposed_bytes_total: 48 << 10,
        unapplied_bytes: 64 << 10,
        reads_waiting: 64,
        answer_bytes: 4 << 10,
        turn_bytes: 32 << 10,
        apply_entries: 16,
        append_bytes: 4 << 10,
        append_inflight: 8,
        snapshots_sending: 1,
        snapshots_receiving: 1,
        snapshot_table_bytes: 8 << 10,
        truncate_entries: 10,
        truncate_entries_forced: 60,
        truncate_ticks: 10,
        leaderless_ticks: 100,
        compare_ticks: 30,
        region_load_requests: 10,
        questions_waiting: 16,
        segments_low: 4,
        debt_bytes_slow: 1 << 20,
        debt_bytes_stop: 16 << 20,
        ..Limits::DEFAULT
    };

    /// The longest lease that is shorter than any follower keeps its promise, by clocks that differ.
    pub const fn lease_longest(&self) -> u64 {
        let promised = (self.election_ticks as u64 - 1) * self.tick;
        promised / 1000 * (1000 - self.drift_per_mille)
    }

    /// Ticks without a sign of life after which a store counts as silent: whoever did not hear it either votes by
    /// then.
    pub const fn patience(&self) -> u64 {
        (self.election_ticks + self.heartbeat_ticks + 1) as u64
    }

    /// How long a lease lasts: whatever is asked for, no longer than is safe.
    pub const fn lease_span(&self) -> u64 {
        let safe = self.lease_longest();
        if safe < self.lease { safe } else { self.lease }
    }

    /// Fails at compile time where the bounds do not fit each other.
    pub const fn check(&self) {
        assert!(
            self.heartbeat_ticks < self.election_ticks,
            "heartbeats keep a leader"
        );
        assert!(
            self.proposed_bytes <= self.proposed_bytes_total,
            "a region is within the total"
        );
        assert!(
            self.truncate_entries < self.truncate_entries_forced,
            "waiting comes first"
        );
        assert!(
            self.debt_bytes_slow < self.debt_bytes_stop,
            "slower comes before refused"
        );
        assert!(self.read_retry < self.read_timeout, "a read is tried again");
        assert!(
            self.store_beat_ticks == 0 || self.store_retry_ticks <= self.store_beat_ticks,
            "who is not heard asks another sooner"
        );
        assert!(
            self.region_busy_ticks <= self.region_beat_ticks,
            "what is under way is told of more often"
        );
        assert!(
            self.region_load_requests > 0,
            "where nothing is asked, nothing is told"
        );
        assert!(
            self.leaderless_ticks < self.validate_ticks,
            "peers are asked before placement"
        );
    }
}

const _: () = {
    Limits::DEFAULT.check();
    Limits::SMALL.check();
    assert!(KEY_BYTES_MAX <= coracle_engine::record::KEY_BYTES_MAX);
    assert!(VALUE_BYTES_MAX + 9 <= coracle_engine::record::VALUE_BYTES_MAX);
    // All that a split writes joins one batch.
    assert!(
        (super::split::PARTS_MAX + 1) * (2 * KEY_BYTES_MAX + 32 * super::meta::PEERS_MAX + 256)
            < coracle_wal::Limits::DEFAULT.batch_bytes_max as usize
    );
    assert!(ENTRY_BYTES_MAX as u64 <= coracle_wal::Limits::DEFAULT.entry_bytes_max as u64);
    // What a region has proposed and cannot apply is written anew where the log is short.
    assert!(
        Limits::DEFAULT.proposed_bytes <= coracle_wal::Limits::DEFAULT.segment_bytes as u64 / 4
    );
};
