//! How large a range is, and where its middle lies, without reading its data: from the order of the
//! memtables and the indexes of the tables.

use alloc::vec::Vec;

use crate::pick;
use crate::record::{KeyRange, below_limit};
use crate::store::Store;

/// So many fences of a table take part in the search for a middle.
const FENCES_PER_TABLE_MAX: usize = 64;

impl Store {
    /// About how many bytes of keys and values lie in a range, hidden ones included.
    pub fn approximate_size(&mut self, range: &KeyRange) -> u64 {
        let tables = self.tables_in(range);
        let sizes = tables
            .iter()
            .map(|(table, visible)| self.tables.of(table).approximate_bytes(visible));
        let in_tables: u64 = sizes.sum();
        in_tables
            + self
                .memory_parts(range)
                .iter()
                .map(|(bytes, _)| bytes)
                .sum::<u64>()
    }

    /// A key inside a range, above its start, with about as many bytes before it as after it; none
    /// if the range holds too little to say.
    pub fn middle_key(&mut self, range: &KeyRange) -> Option<Vec<u8>> {
        // Each key stands for some bytes around it: the weighted median of them is the middle.
        let mut marks: Vec<(Vec<u8>, u64)> = Vec::new();
        for (bytes, middle) in self.memory_parts(range) {
            if let Some(key) = middle {
                marks.push((key, bytes));
            }
        }
        for (table, visible) in self.tables_in(range) {
            let table = self.tables.of(&table);
            let bytes = table.approximate_bytes(&visible);
            let fences: Vec<&[u8]> = table.fences(&visible).map(|(fence, _)| fence).collect();
            if fences.is_empty() {
                let key = visible.start.clone();
                marks.push((key, bytes));
                continue;
            }
            let each = fences.len().div_ceil(FENCES_PER_TABLE_MAX);
            let taken: Vec<&[u8]> = fences.iter().copied().step_by(each).collect();
            let weight = bytes / taken.len() as u64;
            marks.extend(taken.iter().map(|fence| (fence.to_vec(), weight)));
        }
        marks.retain(|(key, _)| *key > range.start && below_limit(key, &range.limit));
        marks.sort();
        let half = marks.iter().map(|(_, weight)| weight).sum::<u64>() / 2;
        let mut before = 0;
        marks.into_iter().find_map(|(key, weight)| {
            before += weight;
            (before >= half).then_some(key)
        })
    }

    /// Bytes that compaction should rewrite and has not.
    pub fn debt_bytes(&self) -> u64 {
        pick::debt(&self.version, &self.options.pick)
    }

    pub(crate) fn pick(&self) -> Option<pick::Plan> {
        pick::pick(&self.version, &self.options.pick)
    }

    /// Tables with keys of a range, and what of it is visible in them.
    fn tables_in(
        &self,
        range: &KeyRange,
    ) -> Vec<(alloc::rc::Rc<crate::version::TableRef>, KeyRange)> {
        let slices = self
            .version
            .runs()
            .flat_map(|(_, run)| run.overlapping(range));
        slices
            .map(|slice| (slice.table.clone(), slice.range.intersection(range)))
            .collect()
    }

    /// Bytes and a middle key of each memtable that is not in tables yet.
    fn memory_parts(&mut self, range: &KeyRange) -> Vec<(u64, Option<Vec<u8>>)> {
        let from = (self.first_unflushed.0 - self.memories.base.0) as usize;
        let memories = self.memories.list.iter_mut().skip(from);
        memories
            .map(|memtable| {
                let (bytes, middle) = memtable.measure(&range.start, &range.limit);
                (bytes, middle.map(<[u8]>::to_vec))
            })
            .collect()
    }
}
