//! The opened tables of a store, by the place that every slice of theirs remembers.

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;

use crate::cache::BlockCache;
use crate::effect::TableNumber;
use crate::table::Table;
use crate::version::TableRef;

/// All tables whose tail is in memory.
#[derive(Debug, Default)]
pub struct Tables {
    slots: Vec<Option<Rc<Table>>>,
    free: Vec<u32>,
    numbers: BTreeMap<TableNumber, u32>,
}

impl Tables {
    /// Takes a table that was opened.
    pub fn insert(&mut self, table: Table, cache: &mut BlockCache) {
        cache.attach(&table);
        let number = table.number();
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.slots[slot as usize] = Some(Rc::new(table));
        let before = self.numbers.insert(number, slot);
        assert!(before.is_none(), "a table is opened once");
    }

    /// The opened table behind a slice.
    #[inline]
    pub fn of(&self, table: &TableRef) -> &Rc<Table> {
        let slot = match table.slot() {
            Some(slot) => slot,
            None => {
                let slot = self.numbers[&table.meta.number];
                table.set_slot(Some(slot));
                slot
            }
        };
        self.slots[slot as usize].as_ref().expect("an open table")
    }

    /// The table of this number, if it is open.
    pub fn get(&self, number: TableNumber) -> Option<&Rc<Table>> {
        let slot = *self.numbers.get(&number)?;
        self.slots[slot as usize].as_ref()
    }

    /// Forgets a table, unless somebody still reads it. Returns whether it is gone.
    pub fn remove(&mut self, number: TableNumber, cache: &mut BlockCache) -> bool {
        let Some(slot) = self.numbers.get(&number).copied() else {
            return true;
        };
        let table = self.slots[slot as usize].as_ref().expect("an open table");
        if Rc::strong_count(table) > 1 {
            return false;
        }
        cache.detach(table);
        self.slots[slot as usize] = None;
        self.free.push(slot);
        self.numbers.remove(&number);
        true
    }

    /// Bytes of memory of indexes and filters.
    pub fn memory_bytes(&self) -> usize {
        let tables = self.slots.iter().flatten();
        tables.map(|table| table.memory_bytes()).sum()
    }
}
