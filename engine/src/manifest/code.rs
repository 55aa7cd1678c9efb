//! Edits and states as bytes, and back.
//!
//! Numbers are little-endian; a key is its length in two bytes and itself; a list is its count in four
//! bytes and its parts. Bytes are only decoded behind a checksum that held, and are still not trusted:
//! a count is never believed further than the bytes that are left.
//!
//! ```text
//! table     number 8, file bytes 8, entries 8, deletes 8, range tombstones 8, start, limit,
//!           min seq 8, max seq 8, raw bytes 8, stored bytes 8, tail offset 8, global seq 1 + 8
//! slice     level 1, table 8, start, limit
//! applied   region 8, peer 8, index 8, clock 8
//! edit      kind 1: 1 flush      rotation 8, last seq 8, tables, applied
//!                   2 compaction slices, level 1, tables
//!                   3 move       slices, level 1
//!                   4 drop       slices
//!                   5 ingest     applied, start, limit, seq 8, tables
//!                   6 cut        ranges, seq 8, (region 8, peer 8) list
//! state     rotation 8, next seq 8, table limit 8, regions (region 8, peer 8, index 8, clock 8,
//!           ingested 1 + 8, since 8), cuts (as in an edit), tables, levels: per level runs, per run
//!           (table 8, start, limit) list
//! ```

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;

use crate::edit::{Compaction, Cut, Drop, Flush, Ingest, Move, VersionEdit};
use crate::effect::TableNumber;
use crate::progress::{Applied, Checkpoint, Clock, Index, PeerId, Progress, RegionId, Rotation};
use crate::record::{KEY_BYTES_MAX, KeyRange, Seq};
use crate::state::{Ledger, PendingCut, State};
use crate::version::{LEVELS, Slice, SliceName, TableMeta, TableRef, Version};

/// Why bytes are not an edit or a state.
type Why = &'static str;

/// Appends parts to bytes.
#[derive(Default)]
pub(super) struct Writer(pub Vec<u8>);

impl Writer {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn key(&mut self, key: &[u8]) {
        let len = u16::try_from(key.len()).expect("a key is a few KiB");
        self.0.extend_from_slice(&len.to_le_bytes());
        self.0.extend_from_slice(key);
    }

    fn range(&mut self, range: &KeyRange) {
        self.key(&range.start);
        self.key(&range.limit);
    }

    fn option(&mut self, value: Option<u64>) {
        self.u8(u8::from(value.is_some()));
        self.u64(value.unwrap_or_default());
    }

    fn list<Part>(&mut self, parts: &[Part], mut each: impl FnMut(&mut Writer, &Part)) {
        self.count(parts.len());
        parts.iter().for_each(|part| each(self, part));
    }

    pub(super) fn count(&mut self, count: usize) {
        let count = u32::try_from(count).expect("lists are short");
        self.0.extend_from_slice(&count.to_le_bytes());
    }

    pub(super) fn table(&mut self, table: &TableMeta) {
        self.u64(table.number.0);
        self.u64(table.file_bytes);
        self.u64(table.entries);
        self.u64(table.deletes);
        self.u64(table.range_tombstones);
        self.range(&table.range);
        self.u64(table.min_seq.0);
        self.u64(table.max_seq.0);
        self.u64(table.raw_bytes);
        self.u64(table.stored_bytes);
        self.u64(table.tail_offset);
        self.option(table.global_seq.map(|seq| seq.0));
    }

    fn name(&mut self, name: &SliceName) {
        self.u8(name.level);
        self.u64(name.table.0);
        self.range(&name.range);
    }

    fn applied(&mut self, applied: &Applied) {
        self.u64(applied.region.0);
        self.u64(applied.peer.0);
        self.u64(applied.index.0);
        self.u64(applied.clock.0);
    }

    fn forget(&mut self, forget: &(RegionId, PeerId)) {
        self.u64(forget.0.0);
        self.u64(forget.1.0);
    }

    pub(super) fn edit(&mut self, edit: &VersionEdit) {
        match edit {
            VersionEdit::Flush(flush) => {
                self.u8(1);
                self.u64(flush.rotation.0);
                self.u64(flush.last_seq.0);
                self.list(&flush.tables, Writer::table);
                self.list(&flush.applied, Writer::applied);
            }
            VersionEdit::Compaction(compaction) => {
                self.u8(2);
                self.list(&compaction.inputs, Writer::name);
                self.u8(compaction.level);
                self.list(&compaction.tables, Writer::table);
            }
            VersionEdit::Move(moved) => {
                self.u8(3);
                self.list(&moved.slices, Writer::name);
                self.u8(moved.level);
            }
            VersionEdit::Drop(dropped) => {
                self.u8(4);
                self.list(&dropped.slices, Writer::name);
            }
            VersionEdit::Ingest(ingest) => {
                self.u8(5);
                self.applied(&ingest.applied);
                self.range(&ingest.range);
                self.u64(ingest.seq.0);
                self.list(&ingest.tables, Writer::table);
            }
            VersionEdit::Cut(cut) => {
                self.u8(6);
                self.list(&cut.ranges, Writer::range);
                self.u64(cut.seq.0);
                self.list(&cut.forget, Writer::forget);
            }
        }
    }

    pub(super) fn state(&mut self, state: &State) {
        let ledger = &state.ledger;
        self.u64(ledger.rotation.0);
        self.u64(ledger.next_seq.0);
        self.u64(ledger.table_limit.0);
        self.count(ledger.progress.len());
        for (region, checkpoint) in ledger.progress.iter() {
            self.u64(region.0);
            self.u64(checkpoint.peer.0);
            self.u64(checkpoint.index.0);
            self.u64(checkpoint.clock.0);
            self.option(checkpoint.ingested.map(|index| index.0));
            self.u64(checkpoint.since.0);
        }
        self.list(&ledger.cuts, |writer, cut| {
            writer.list(&cut.ranges, Writer::range);
            writer.u64(cut.seq.0);
            writer.list(&cut.forget, Writer::forget);
        });
        let tables = state.version.tables();
        self.count(tables.len());
        tables.values().for_each(|table| self.table(&table.meta));
        for level in 0..LEVELS {
            self.list(state.version.level(level), |writer, run| {
                writer.list(run.slices(), |writer, slice| {
                    writer.u64(slice.table.meta.number.0);
                    writer.range(&slice.range);
                });
            });
        }
    }
}

/// Takes parts from bytes.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Why> {
        if self.0.len() < count {
            return Err("it ends within a field");
        }
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, Why> {
        Ok(self.take(1)?[0])
    }

    fn u64(&mut self) -> Result<u64, Why> {
        Ok(u64::from_le_bytes(
            self.take(8)?.try_into().expect("eight bytes"),
        ))
    }

    fn key(&mut self) -> Result<Vec<u8>, Why> {
        let len = u16::from_le_bytes(self.take(2)?.try_into().expect("two bytes"));
        if usize::from(len) > KEY_BYTES_MAX + 1 {
            return Err("a key is too long");
        }
        Ok(self.take(usize::from(len))?.to_vec())
    }

    fn range(&mut self) -> Result<KeyRange, Why> {
        Ok(KeyRange {
            start: self.key()?,
            limit: self.key()?,
        })
    }

    fn option(&mut self) -> Result<Option<u64>, Why> {
        let there = match self.u8()? {
            0 => false,
            1 => true,
            _ => return Err("a flag is neither set nor unset"),
        };
        let value = self.u64()?;
        Ok(there.then_some(value))
    }

    fn list<Part>(
        &mut self,
        mut each: impl FnMut(&mut Reader<'a>) -> Result<Part, Why>,
    ) -> Result<Vec<Part>, Why> {
        // No room is made ahead: the list grows as far as there are bytes.
        let count = self.count()?;
        let mut parts = Vec::new();
        for _ in 0..count {
            parts.push(each(self)?);
        }
        Ok(parts)
    }

    pub(super) fn count(&mut self) -> Result<u32, Why> {
        let count = u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes"));
        if count as usize > self.0.len() {
            return Err("a list is longer than its bytes");
        }
        Ok(count)
    }

    fn table(&mut self) -> Result<TableMeta, Why> {
        Ok(TableMeta {
            number: TableNumber(self.u64()?),
            file_bytes: self.u64()?,
            entries: self.u64()?,
            deletes: self.u64()?,
            range_tombstones: self.u64()?,
            range: self.range()?,
            min_seq: Seq(self.u64()?),
            max_seq: Seq(self.u64()?),
            raw_bytes: self.u64()?,
            stored_bytes: self.u64()?,
            tail_offset: self.u64()?,
            global_seq: self.option()?.map(Seq),
        })
    }

    fn name(&mut self) -> Result<SliceName, Why> {
        Ok(SliceName {
            level: self.u8()?,
            table: TableNumber(self.u64()?),
            range: self.range()?,
        })
    }

    fn applied(&mut self) -> Result<Applied, Why> {
        Ok(Applied {
            region: RegionId(self.u64()?),
            peer: PeerId(self.u64()?),
            index: Index(self.u64()?),
            clock: Clock(self.u64()?),
        })
    }

    fn forget(&mut self) -> Result<(RegionId, PeerId), Why> {
        Ok((RegionId(self.u64()?), PeerId(self.u64()?)))
    }

    pub(super) fn edit(&mut self) -> Result<VersionEdit, Why> {
        Ok(match self.u8()? {
            1 => VersionEdit::Flush(Flush {
                rotation: Rotation(self.u64()?),
                last_seq: Seq(self.u64()?),
                tables: self.list(Reader::table)?,
                applied: self.list(Reader::applied)?,
            }),
            2 => VersionEdit::Compaction(Compaction {
                inputs: self.list(Reader::name)?,
                level: self.u8()?,
                tables: self.list(Reader::table)?,
            }),
            3 => VersionEdit::Move(Move {
                slices: self.list(Reader::name)?,
                level: self.u8()?,
            }),
            4 => VersionEdit::Drop(Drop {
                slices: self.list(Reader::name)?,
            }),
            5 => VersionEdit::Ingest(Ingest {
                applied: self.applied()?,
                range: self.range()?,
                seq: Seq(self.u64()?),
                tables: self.list(Reader::table)?,
            }),
            6 => VersionEdit::Cut(Cut {
                ranges: self.list(Reader::range)?,
                seq: Seq(self.u64()?),
                forget: self.list(Reader::forget)?,
            }),
            _ => return Err("an edit is of a kind that this program does not know"),
        })
    }

    pub(super) fn state(&mut self) -> Result<State, Why> {
        let mut ledger = Ledger {
            progress: Progress::default(),
            rotation: Rotation(self.u64()?),
            next_seq: Seq(self.u64()?),
            table_limit: TableNumber(self.u64()?),
            cuts: Vec::new(),
        };
        for _ in 0..self.count()? {
            let region = RegionId(self.u64()?);
            let checkpoint = Checkpoint {
                peer: PeerId(self.u64()?),
                index: Index(self.u64()?),
                clock: Clock(self.u64()?),
                ingested: self.option()?.map(Index),
                since: Seq(self.u64()?),
            };
            if !ledger.progress.restore(region, checkpoint) {
                return Err("a region stands twice in the state");
            }
        }
        ledger.cuts = self.list(|reader| {
            Ok(PendingCut {
                ranges: reader.list(Reader::range)?,
                seq: Seq(reader.u64()?),
                forget: reader.list(Reader::forget)?,
            })
        })?;
        let mut tables = BTreeMap::new();
        for _ in 0..self.count()? {
            let meta = self.table()?;
            tables.insert(meta.number, Rc::new(TableRef::new(meta)));
        }
        let mut levels = Vec::with_capacity(LEVELS);
        for _ in 0..LEVELS {
            levels.push(self.list(|reader| {
                reader.list(|reader| {
                    let table = tables.get(&TableNumber(reader.u64()?));
                    let table = table.ok_or("a slice is of a table that is not listed")?;
                    slice(table, &reader.range()?)
                })
            })?);
        }
        let version = Version::of_levels(levels).ok_or("slices overlap, or a run is empty")?;
        Ok(State {
            version: Rc::new(version),
            ledger,
        })
    }
}

fn slice(table: &Rc<TableRef>, range: &KeyRange) -> Result<Rc<Slice>, Why> {
    if range.is_empty() || !table.meta.range.covers(range) {
        return Err("a slice reaches beyond its table");
    }
    Ok(Rc::new(if *range == table.meta.range {
        Slice::whole(table.clone())
    } else {
        Slice::part(table.clone(), range)
    }))
}
