//! Everything in a table's file, from raw bytes, for tools: up to the first damage, which it names.
//!
//! Stricter than opening and reading: besides every checksum it checks what is true of every table
//! that a builder made, from the order of keys across blocks to the filter's word on every key.

use alloc::vec::Vec;

use crate::effect::TableNumber;
use crate::record::{Kind, Record, Seq};
use crate::table::block::{Block, check_stored, mark_of};
use crate::table::format::PAGE_BYTES;
use crate::table::reader::{BlockRef, Probe, Table};
use crate::table::tombstones::Tombstone;
use crate::table::{Corrupt, Footer};

/// Something that is in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'walk> {
    /// What the last page says; the first item.
    Footer(&'walk Footer),
    /// A range tombstone; all of them come next.
    Tombstone(Tombstone<'walk>),
    /// A data block begins; its records follow.
    Block {
        /// Which one, where, how long.
        place: BlockRef,
        /// Whether it is compressed.
        compressed: bool,
        /// How many records it holds.
        records: u32,
    },
    /// A record.
    Record(Record<'walk>),
}

/// A walk through all of a table.
#[derive(Debug)]
pub struct TableWalk<'bytes> {
    bytes: &'bytes [u8],
    footer: Footer,
    table: Table,
    next: Next,
    block: Option<Block>,
    key: Vec<u8>,
    before: Vec<u8>,
    entries: u64,
    deletes: u64,
    raw_bytes: u64,
    min_seq: Seq,
    max_seq: Seq,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    Footer,
    Tombstone(usize),
    Record(u32, u32),
    Done,
}

impl<'bytes> TableWalk<'bytes> {
    /// Opens the table in the bytes of a whole file. Without a number it takes the footer's word.
    pub fn new(
        number: Option<TableNumber>,
        bytes: &'bytes [u8],
    ) -> Result<TableWalk<'bytes>, Corrupt> {
        let file_bytes = bytes.len() as u64;
        let page = bytes.len().saturating_sub(PAGE_BYTES);
        let footer = Footer::decode(number, file_bytes, &bytes[page..])?;
        let tail = &bytes[footer.tail_offset() as usize..];
        let table = Table::open(Some(footer.number), file_bytes, None, tail)?;
        Ok(TableWalk {
            bytes,
            footer,
            table,
            next: Next::Footer,
            block: None,
            key: Vec::new(),
            before: Vec::new(),
            entries: 0,
            deletes: 0,
            raw_bytes: 0,
            min_seq: Seq::MAX,
            max_seq: Seq::ZERO,
        })
    }

    /// The opened table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The next item; none behind the last one; after an error nothing.
    #[expect(clippy::should_implement_trait, reason = "items borrow from the walk")]
    pub fn next(&mut self) -> Option<Result<Item<'_>, Corrupt>> {
        let next = core::mem::replace(&mut self.next, Next::Done);
        match next {
            Next::Footer => {
                self.next = Next::Tombstone(0);
                Some(Ok(Item::Footer(&self.footer)))
            }
            Next::Tombstone(position) if position < self.table.tombstones().len() => {
                self.next = Next::Tombstone(position + 1);
                let tombstone = self.table.tombstones().get(position);
                self.min_seq = self.min_seq.min(tombstone.seq);
                self.max_seq = self.max_seq.max(tombstone.seq);
                Some(Ok(Item::Tombstone(tombstone)))
            }
            Next::Tombstone(_) => self.next_block(0),
            Next::Record(number, position) => self.next_record(number, position),
            Next::Done => None,
        }
    }

    fn next_block(&mut self, number: u32) -> Option<Result<Item<'_>, Corrupt>> {
        if number == self.table.blocks() {
            return self.check_totals().err().map(Err);
        }
        let place = self.table.block_ref(number);
        let begin = place.offset as usize;
        let bytes = &self.bytes[begin..begin + place.length as usize];
        let stored = check_stored(place.table, place.offset, bytes);
        let block = stored.and_then(|stored| Ok((stored.is_packed(), place.decode(bytes)?)));
        let (compressed, block) = match block {
            Ok(block) => block,
            Err(corrupt) => return Some(Err(corrupt)),
        };
        let records = block.count();
        self.block = Some(block);
        self.next = Next::Record(number, 0);
        Some(Ok(Item::Block {
            place,
            compressed,
            records,
        }))
    }

    fn next_record(&mut self, number: u32, position: u32) -> Option<Result<Item<'_>, Corrupt>> {
        let begun = "a block was begun";
        if position == self.block.as_ref().expect(begun).count() {
            return self.next_block(number + 1);
        }
        let block = self.block.as_ref().expect(begun);
        let corrupt = |why| {
            let (table, offset) = (self.footer.number, self.table.index().offset(number));
            Some(Err(Corrupt { table, offset, why }))
        };
        core::mem::swap(&mut self.key, &mut self.before);
        let record = self.table.record_in(block, position, &mut self.key);
        if self.entries > 0 && record.key <= self.before.as_slice() {
            return corrupt("keys are out of order");
        }
        if self.table.index().find(record.key) != number {
            return corrupt("a key that the index places elsewhere");
        }
        let probe = Probe::new(record.key);
        if block.mark(position) != mark_of(probe.hash()) {
            return corrupt("a mark of another key");
        }
        if !self.table.may_contain(&probe) {
            return corrupt("a key that the filter excludes");
        }
        if !self.table.meta().range.contains(record.key) {
            return corrupt("a key beyond the table's range");
        }
        self.entries += 1;
        self.deletes += u64::from(record.kind == Kind::Delete);
        self.raw_bytes += (record.key.len() + record.value.len()) as u64;
        self.min_seq = self.min_seq.min(record.seq);
        self.max_seq = self.max_seq.max(record.seq);
        self.next = Next::Record(number, position + 1);
        Some(Ok(Item::Record(record)))
    }

    fn check_totals(&self) -> Result<(), Corrupt> {
        let footer = &self.footer;
        let counted = (self.entries, self.deletes, self.raw_bytes);
        let same = counted == (footer.entries, footer.deletes, footer.raw_bytes)
            && (self.min_seq, self.max_seq) == (footer.min_seq, footer.max_seq);
        match same {
            true => Ok(()),
            false => Err(Corrupt {
                table: footer.number,
                offset: footer.file_bytes - PAGE_BYTES as u64,
                why: "the footer counts what is not there",
            }),
        }
    }
}
