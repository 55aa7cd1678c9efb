//! What the store can say of itself: amplification, debt, space, cache.

use crate::cache::CacheStats;
use crate::store::Store;
use crate::version::LEVELS;

/// Counted since the opening.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Reads of single keys.
    pub gets: u64,
    /// Scans begun.
    pub scans: u64,
    /// Bytes of keys and values that were written by calls.
    pub user_bytes: u64,
    /// Bytes of tables that flushes made.
    pub flushed_bytes: u64,
    /// Bytes of tables that compactions made.
    pub compacted_bytes: u64,
    /// Bytes of slices that compactions read.
    pub merged_bytes: u64,
    /// Flushes that became durable.
    pub flushes: u64,
    /// Compactions that became durable, trivial moves included.
    pub compactions: u64,
    /// Compactions that were abandoned.
    pub abandoned: u64,
    /// Tables dropped whole below a range tombstone.
    pub dropped_tables: u64,
}

/// The store at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Since the opening.
    pub counted: Counted,
    /// Bytes of tables written per thousand bytes of tables flushed.
    pub write_amplification_permille: u64,
    /// How many sorted sources a read may have to ask.
    pub read_amplification: u64,
    /// Bytes of visible tables by level.
    pub level_bytes: [u64; LEVELS],
    /// Bytes of all table files, those that only views keep included.
    pub table_bytes: u64,
    /// Bytes of files that nobody needs and that are still there: removed soon, or at the next start.
    pub needless_bytes: u64,
    /// Bytes of all table files per thousand bytes in the deepest level.
    pub space_amplification_permille: u64,
    /// Bytes of memtables.
    pub memtable_bytes: u64,
    /// Bytes of indexes and filters in memory.
    pub index_bytes: u64,
    /// Bytes that compaction should rewrite and has not.
    pub debt_bytes: u64,
    /// The block cache.
    pub cache: CacheStats,
    /// Bytes read from tables.
    pub bytes_read: u64,
    /// Rotations that wait for their flush.
    pub rotations_waiting: usize,
}

impl Store {
    /// What the store can say of itself now.
    pub fn figures(&self) -> Figures {
        let mut level_bytes = [0; LEVELS];
        for (level, bytes) in level_bytes.iter_mut().enumerate() {
            *bytes = self.version.level_bytes(level);
        }
        let tables = self.version.tables();
        let live = tables.values().map(|table| table.meta.file_bytes);
        let dying = self.dying.iter().map(|dying| dying.table.meta.file_bytes);
        let table_bytes = live.sum::<u64>() + dying.sum::<u64>();
        let deepest = level_bytes.iter().rev().find(|bytes| **bytes > 0);
        let per_mille = |part: u64, whole: u64| {
            (u128::from(part) * 1000)
                .checked_div(u128::from(whole))
                .unwrap_or(0) as u64
        };
        let counted = self.figures;
        let memories = self.memories.list.iter();
        Figures {
            counted,
            write_amplification_permille: per_mille(
                counted.flushed_bytes + counted.compacted_bytes,
                counted.flushed_bytes,
            ),
            read_amplification: self.sealed.len() as u64 + 1 + self.version.runs().count() as u64,
            level_bytes,
            table_bytes,
            needless_bytes: self.orphans.values().chain(self.removing.values()).sum(),
            space_amplification_permille: per_mille(table_bytes, deepest.copied().unwrap_or(0)),
            memtable_bytes: memories.map(crate::memtable::Memtable::bytes).sum(),
            index_bytes: self.tables.memory_bytes() as u64,
            debt_bytes: self.debt_bytes(),
            cache: self.cache.stats(),
            bytes_read: self.reads.bytes_read,
            rotations_waiting: self.sealed.len(),
        }
    }

    /// How much writes should be slowed, from 0 to 1000: grows steadily with the debt and with the
    /// flush queue, so that nothing ever stops all at once.
    pub fn slowdown_permille(&self) -> u64 {
        let debt = crate::pick::slowdown(self.debt_bytes(), &self.options.pick);
        let queue = match self.options.flush_queue {
            0 | 1 => 0,
            most => (self.sealed.len() as u64).saturating_sub(1) * 500 / (most as u64 - 1),
        };
        debt.max(queue).min(1000)
    }
}
