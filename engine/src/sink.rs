//! Where sorted records become tables: shared by flushes and compactions.
//!
//! A sink takes records and range tombstones in order, cuts a table where it is long enough, finishes
//! one while the next has not begun, and hands the bytes to the files. Tombstones are clipped where
//! tables are cut, so that the tables of one sink never overlap.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::effect::{Share, TableNumber};
use crate::outgoing::Outgoing;
use crate::record::{KeyRange, Record, Seq, below_limit, lesser_limit};
use crate::table::{BuilderOptions, TableBuilder, TableMeta};

/// Table files that are being written, by number.
pub(crate) type Files = BTreeMap<TableNumber, Outgoing>;

/// Gives out the numbers of tables, each once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    pub next: TableNumber,
}

impl Numbers {
    pub fn take(&mut self) -> TableNumber {
        let number = self.next;
        self.next = TableNumber(number.0 + 1);
        number
    }
}

/// Makes the tables of one flush or compaction.
#[derive(Debug)]
pub(crate) struct Sink {
    options: BuilderOptions,
    table_bytes: u64,
    share: Share,
    builder: Option<TableBuilder>,
    finishing: Option<TableBuilder>,
    /// Disjoint, ascending, not in a table yet.
    tombstones: VecDeque<(KeyRange, Seq)>,
    /// The tables that are finished, in order.
    pub metas: Vec<TableMeta>,
    /// All files that were begun.
    pub numbers: Vec<TableNumber>,
    ended: bool,
    since_measured: u32,
}

/// The length of a table is looked at once in so many records.
const MEASURE_EVERY: u32 = 16;

impl Sink {
    pub fn new(
        compress: bool,
        table_bytes: u64,
        share: Share,
        tombstones: Vec<(KeyRange, Seq)>,
    ) -> Sink {
        Sink {
            options: BuilderOptions {
                compress,
                ..BuilderOptions::default()
            },
            table_bytes,
            share,
            builder: None,
            finishing: None,
            tombstones: tombstones.into(),
            metas: Vec::new(),
            numbers: Vec::new(),
            ended: false,
            since_measured: 0,
        }
    }

    /// Whether it takes records now: it does not while a table is being finished, or while the files
    /// have enough to write.
    pub fn has_room(&self, files: &Files) -> bool {
        let last = self.numbers.last().and_then(|number| files.get(number));
        self.finishing.is_none() && last.is_none_or(Outgoing::has_room)
    }

    /// Adds a record, whose key is above all before it.
    pub fn add(&mut self, record: &Record<'_>, numbers: &mut Numbers, files: &mut Files) {
        self.since_measured += 1;
        if self.since_measured >= MEASURE_EVERY || record.value.len() > 4096 {
            self.since_measured = 0;
            let long = |builder: &TableBuilder| builder.estimated_file_bytes() >= self.table_bytes;
            if self.finishing.is_none() && self.builder.as_ref().is_some_and(long) {
                self.cut(record.key);
            }
        }
        self.begin(numbers, files);
        let builder = self.builder.as_mut().expect("begun");
        builder.add(record);
        Self::write_chunks(builder, files);
    }

    /// There are no more records.
    pub fn end(&mut self, numbers: &mut Numbers, files: &mut Files) {
        assert!(!self.ended, "a sink ends once");
        if !self.tombstones.is_empty() {
            self.begin(numbers, files);
        }
        if let Some(builder) = &mut self.builder {
            for (range, seq) in self.tombstones.drain(..) {
                builder.add_tombstone(&range.start, &range.limit, seq);
            }
        }
        self.ended = true;
    }

    /// Goes on with finishing what is complete. Returns whether there was something to do.
    pub fn finish_some(&mut self, files: &mut Files) -> bool {
        if self.finishing.is_none() && self.ended {
            self.finishing = self.builder.take();
        }
        let Some(builder) = &mut self.finishing else {
            return false;
        };
        let done = builder.finish();
        Self::write_chunks(builder, files);
        if let Some(meta) = done {
            if let Some(file) = files.get_mut(&meta.number) {
                file.seal();
            }
            self.metas.push(meta);
            self.finishing = None;
        }
        true
    }

    /// Whether all tables are finished, if not yet durable.
    pub fn is_finished(&self) -> bool {
        self.ended && self.builder.is_none() && self.finishing.is_none()
    }

    /// Somebody waits for it from now on.
    pub fn hurry(&mut self, files: &mut Files) {
        self.share = Share::Foreground;
        for number in &self.numbers {
            if let Some(file) = files.get_mut(number) {
                file.hurry();
            }
        }
    }

    fn begin(&mut self, numbers: &mut Numbers, files: &mut Files) {
        if self.builder.is_none() {
            let number = numbers.take();
            files.insert(number, Outgoing::new(number, self.share));
            self.numbers.push(number);
            self.builder = Some(TableBuilder::new(number, self.options));
        }
    }

    /// Ends the present table before a key.
    fn cut(&mut self, key: &[u8]) {
        let mut builder = self.builder.take().expect("a table that has records");
        while let Some((range, seq)) = self.tombstones.front_mut()
            && range.start.as_slice() < key
        {
            let limit = lesser_limit(&range.limit, key);
            builder.add_tombstone(&range.start, limit, *seq);
            if below_limit(key, &range.limit) {
                range.start = key.to_vec();
            } else {
                self.tombstones.pop_front();
            }
        }
        self.finishing = Some(builder);
    }

    fn write_chunks(builder: &mut TableBuilder, files: &mut Files) {
        while let Some(chunk) = builder.take_chunk() {
            if let Some(file) = files.get_mut(&builder.number()) {
                file.write(chunk.offset, chunk.bytes);
            }
        }
    }
}
