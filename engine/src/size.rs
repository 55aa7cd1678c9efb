//! How large a range is, and where it could be cut, without reading its data: from the order of the
//! memtables and the indexes of the tables.
//!
//! ```text
//! a memtable   every n-th key of its sorted runs stands for the n keys from it on   ┐ in order, added up:
//! a table      every n-th fence stands for the n blocks behind it                   ┘ how much lies before each
//! ```

use alloc::vec::Vec;

use crate::pick;
use crate::record::{KeyRange, below_limit};
use crate::store::Store;
use crate::table::Table;

/// So many keys of a memtable, and so many fences of a table, take part in the search for a cut.
const MARKS_MAX: usize = 64;

/// About how much a range holds, hidden versions included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of keys and values, as they are stored.
    pub bytes: u64,
    /// Keys: the same one counts wherever it lies, and a delete takes one off.
    pub keys: u64,
}

/// What the parts of a range should have alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Even {
    /// Bytes.
    Bytes,
    /// Keys.
    Keys,
}

/// A key, and how much lies from it to the next one.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mark {
    key: Vec<u8>,
    weight: u64,
}

/// How many keys lie in so many bytes of a table.
fn keys_in(table: &Table, bytes: u64) -> u64 {
    let meta = table.meta();
    let live = meta.entries.saturating_sub(meta.deletes);
    let keys = u128::from(live) * u128::from(bytes) / u128::from(meta.stored_bytes.max(1));
    keys as u64
}

impl Store {
    /// About how much lies in a range.
    pub fn extent(&mut self, range: &KeyRange) -> Extent {
        let mut extent = Extent::default();
        for (table, visible) in self.tables_in(range) {
            let table = self.tables.of(&table);
            let bytes = table.approximate_bytes(&visible);
            extent.bytes += bytes;
            extent.keys += keys_in(table, bytes);
        }
        let from = self.first_in_memory();
        for memtable in self.memories.list.iter_mut().skip(from) {
            let keys = memtable.keys_in(&range.start, &range.limit);
            extent.bytes += keys * memtable.bytes_each();
            extent.keys += keys;
        }
        extent
    }

    /// About how many bytes of keys and values lie in a range, hidden ones included.
    pub fn approximate_size(&mut self, range: &KeyRange) -> u64 {
        self.extent(range).bytes
    }

    /// A key inside a range, above its start, with about as many bytes before it as after it; none
    /// if the range holds too little to say.
    pub fn middle_key(&mut self, range: &KeyRange) -> Option<Vec<u8>> {
        self.cuts(range, 2, Even::Bytes).pop()
    }

    /// Keys inside a range, ascending, that cut it into about equal parts, none of which is empty; fewer
    /// where the range holds too little to say.
    pub fn cuts(&mut self, range: &KeyRange, parts: usize, even: Even) -> Vec<Vec<u8>> {
        let mut marks = self.marks(range, even);
        marks.retain(|mark| mark.weight > 0);
        marks.sort_unstable();
        let whole = marks.iter().map(|mark| mark.weight).sum::<u64>();
        // How much lies before each key at which the range could be cut.
        let mut before = 0;
        let mut candidates: Vec<(Vec<u8>, u64)> = Vec::new();
        for Mark { key, weight } in marks {
            let inside = key > range.start && below_limit(&key, &range.limit);
            let is_new = candidates.last().is_none_or(|(last, _)| *last != key);
            if inside && is_new && before > 0 {
                candidates.push((key, before));
            }
            before += weight;
        }
        let mut cuts: Vec<Vec<u8>> = Vec::new();
        let mut place = 0;
        for part in 1..parts as u64 {
            let wanted = (u128::from(whole) * u128::from(part) / parts as u128) as u64;
            let far = |place: usize| {
                candidates
                    .get(place)
                    .map(|(_, before)| before.abs_diff(wanted))
            };
            while let Some(next) = far(place + 1)
                && far(place).is_some_and(|here| next < here)
            {
                place += 1;
            }
            let Some((key, _)) = candidates.get(place) else {
                break;
            };
            if cuts.last() != Some(key) {
                cuts.push(key.clone());
            }
        }
        cuts
    }

    /// Keys of a range with what lies from each to the next one of its memtable or table, in any order.
    fn marks(&mut self, range: &KeyRange, even: Even) -> Vec<Mark> {
        let mut marks = Vec::new();
        let from = self.first_in_memory();
        for memtable in self.memories.list.iter_mut().skip(from) {
            let each = match even {
                Even::Bytes => memtable.bytes_each(),
                Even::Keys => 1,
            };
            let mark = |key: &[u8], keys: u64| {
                marks.push(Mark {
                    key: key.to_vec(),
                    weight: keys * each,
                });
            };
            memtable.marks(&range.start, &range.limit, MARKS_MAX, mark);
        }
        for (table, visible) in self.tables_in(range) {
            let table = self.tables.of(&table);
            let weight = |bytes| match even {
                Even::Bytes => bytes,
                Even::Keys => keys_in(table, bytes),
            };
            let begin = table.position(&visible.start);
            let end = begin + table.approximate_bytes(&visible);
            // What lies before the first fence begins where the slice does.
            let mut places = Vec::from([(visible.start.as_slice(), begin)]);
            places.extend(table.fences(&visible));
            let each = places.len().div_ceil(MARKS_MAX);
            let taken: Vec<(&[u8], u64)> = places.into_iter().step_by(each).collect();
            for (number, (key, at)) in taken.iter().enumerate() {
                let next = taken.get(number + 1).map_or(end, |(_, next)| *next);
                marks.push(Mark {
                    key: key.to_vec(),
                    weight: weight(next.saturating_sub(*at)),
                });
            }
        }
        marks
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

    /// How many memtables are in tables already.
    fn first_in_memory(&self) -> usize {
        (self.first_unflushed.0 - self.memories.base.0) as usize
    }
}
