//! What an operator or a test may choose about a store, and the bounds that nobody may choose.
//!
//! All bounds of the store stand here, and how they relate to each other is asserted when the crate
//! is compiled: a bound changed alone does not build.

use crate::pick::PickLimits;

/// One call of [`crate::turn`]'s step builds, merges or filters about this many bytes at most.
pub const STEP_BYTES_MAX: usize = 64 << 10;

/// … and about so many records, whatever their size.
pub const STEP_RECORDS_MAX: usize = 384;

/// Bytes that one read of a compaction asks for at once.
pub const COMPACTION_READ_BYTES: u32 = 256 << 10;

/// Bytes that one operation may have read ahead and not yet used.
pub const READ_AHEAD_BYTES_MAX: u64 = 1 << 20;

/// Bytes of received tables that may wait for their writes, per table.
pub const RECEIVE_BYTES_MAX: usize = 4 << 20;

/// Rotations that may be sealed and not yet flushed, at most, whatever the options say.
pub const FLUSH_QUEUE_MAX: usize = 16;

const _: () = {
    assert!(STEP_BYTES_MAX as u64 <= READ_AHEAD_BYTES_MAX);
    assert!(COMPACTION_READ_BYTES as u64 <= READ_AHEAD_BYTES_MAX);
    assert!(COMPACTION_READ_BYTES.is_multiple_of(4096));
};

/// What may be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A memtable of this size asks to be rotated.
    pub memtable_bytes: usize,
    /// So many rotations may wait for their flush; one more is refused.
    pub flush_queue: usize,
    /// The budget of the block cache.
    pub cache_bytes: usize,
    /// Tables are cut at this size.
    pub table_bytes: u64,
    /// Whether data blocks are compressed where that saves a page.
    pub compress: bool,
    /// When to compact, and how much at once.
    pub pick: PickLimits,
    /// The size of the manifest file; it never changes.
    pub manifest_bytes: u64,
    /// Bytes that a view may keep alive before it ends.
    pub view_bytes_max: u64,
    /// Age, in the caller's unit of time, at which a view ends.
    pub view_age_max: u64,
    /// Whether disk space is held back for a full disk.
    pub reserve: bool,
    /// Seeds every hash table, so that two runs are the same run.
    pub hash_seed: u64,
    /// A rule that is broken on purpose.
    pub mutant: Mutant,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            memtable_bytes: 64 << 20,
            flush_queue: 3,
            cache_bytes: 256 << 20,
            table_bytes: 32 << 20,
            compress: true,
            pick: PickLimits {
                plan_bytes_max: 256 << 20,
                ..PickLimits::default()
            },
            manifest_bytes: 8 << 20,
            view_bytes_max: 1 << 30,
            view_age_max: u64::MAX,
            reserve: true,
            hash_seed: 0,
            mutant: Mutant::None,
        }
    }
}

impl Options {
    /// What a full disk must still hold: the flush of every memtable, and one compaction.
    pub fn reserve_bytes(&self) -> u64 {
        let memtables =
            (self.flush_queue.min(FLUSH_QUEUE_MAX) as u64 + 1) * self.memtable_bytes as u64;
        // Filters, indexes and padding come on top of what the memtable holds.
        let flushes = memtables + memtables / 4;
        flushes + self.pick.plan_bytes_max.max(4 * self.table_bytes)
    }
}

/// A rule of durability that is broken on purpose, so that tests prove that they would see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mutant {
    /// All rules hold.
    #[default]
    None,
    /// A flush's edit is submitted before the log is durable up to what it contains.
    EditBeforeLog,
    /// An edit is submitted before the tables that it names are synced.
    EditBeforeTables,
    /// A table's file is removed before the edit that drops it is durable.
    RemoveBeforeEdit,
}
