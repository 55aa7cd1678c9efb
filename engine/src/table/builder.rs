//! Records, ascending, become a table: chunks of bytes to write, in order, and what the manifest
//! should know.
//!
//! No call does unbounded work: `add` writes at most one block, or the single large record that it
//! was given; `finish` is called until it answers.
//!
//! How long a block gets, `packer` says. A record beyond [`LARGE_RECORD_BYTES`] is a raw block of its
//! own: to shrink it would take longer than a call may.

use alloc::vec::Vec;

use crate::effect::TableNumber;
use crate::record::{KEY_BYTES_MAX, KeyRange, Kind, Record, Seq, VALUE_BYTES_MAX, compare_limits};
use crate::table::TableMeta;
use crate::table::block::{BODY_HEADER_BYTES, mark_of};
use crate::table::block_builder::BlockBuilder;
use crate::table::chunks::{ChunkWriter, End};
use crate::table::filter::{FilterBuilder, key_hash};
use crate::table::footer::Footer;
use crate::table::format::{
    CHUNK_BYTES_MAX, PAGE_BYTES, SECTION_CHUNK_PAYLOAD, section_stored_bytes,
};
use crate::table::index::IndexBuilder;
use crate::table::packer::Packer;
use crate::table::section::Place;
use crate::table::tombstones::{Tombstone, TombstonesBuilder};

pub use crate::table::chunks::Chunk;

/// A record whose key and value are longer is a block of its own, never compressed.
pub const LARGE_RECORD_BYTES: usize = 64 << 10;

/// Greater sequences do not fit beside a record's kind.
pub const SEQ_MAX: Seq = Seq((1 << 62) - 1);

/// Sections are written this many chunks per call.
const SECTION_CHUNKS_PER_STEP: usize = 4;

/// What may be chosen about a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuilderOptions {
    /// Whether blocks are compressed where that saves a page.
    pub compress: bool,
    /// Chunks are no longer than this.
    pub chunk_bytes: usize,
}

impl Default for BuilderOptions {
    fn default() -> BuilderOptions {
        BuilderOptions {
            compress: true,
            chunk_bytes: CHUNK_BYTES_MAX,
        }
    }
}

#[derive(Debug)]
enum Stage {
    Records,
    Tombstones,
    FilterBits,
    Section {
        kind: Section,
        payload: Vec<u8>,
        at: usize,
    },
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Tombstones,
    Filter,
    Index,
}

/// Makes one table.
#[derive(Debug)]
pub struct TableBuilder {
    options: BuilderOptions,
    block: BlockBuilder,
    index: IndexBuilder,
    filter: FilterBuilder,
    tombstones: TombstonesBuilder,
    chunks: ChunkWriter,
    /// What is known so far; complete when the table is.
    footer: Footer,
    first: Vec<u8>,
    /// The last key of the last block that was written.
    last: Vec<u8>,
    range: KeyRange,
    packer: Packer,
    stage: Stage,
}

impl TableBuilder {
    /// The builder of an empty table.
    pub fn new(number: TableNumber, options: BuilderOptions) -> TableBuilder {
        TableBuilder {
            options,
            block: BlockBuilder::default(),
            index: IndexBuilder::default(),
            filter: FilterBuilder::default(),
            tombstones: TombstonesBuilder::default(),
            chunks: ChunkWriter::new(number, options.chunk_bytes),
            footer: Footer {
                number,
                file_bytes: 0,
                entries: 0,
                deletes: 0,
                range_tombstones: 0,
                min_seq: Seq::MAX,
                max_seq: Seq::ZERO,
                raw_bytes: 0,
                blocks: 0,
                tombstones: Place::default(),
                filter: Place::default(),
                index: Place::default(),
            },
            first: Vec::new(),
            last: Vec::new(),
            range: KeyRange::default(),
            packer: Packer::new(options.compress),
            stage: Stage::Records,
        }
    }

    /// The table's number.
    pub fn number(&self) -> TableNumber {
        self.footer.number
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.footer.entries == 0 && self.tombstones.count() == 0
    }

    /// How many records were added.
    pub fn entries(&self) -> u64 {
        self.footer.entries
    }

    /// About how long the file would be if it were finished now.
    pub fn estimated_file_bytes(&self) -> u64 {
        let sections = [
            self.tombstones.payload_bytes(),
            self.filter.payload_bytes(),
            self.index.payload_bytes(),
        ];
        let sections = sections.map(|payload| section_stored_bytes(payload as u64));
        let data = self.chunks.end() + self.block.body_bytes() as u64;
        data + sections.iter().sum::<u64>() + PAGE_BYTES as u64
    }

    /// The last key that was added.
    pub fn last_key(&self) -> &[u8] {
        match self.block.is_empty() {
            true => &self.last,
            false => self.block.last_key(),
        }
    }

    /// Adds a record; its key is above all keys before it.
    pub fn add(&mut self, record: &Record<'_>) {
        assert!(
            matches!(self.stage, Stage::Records),
            "the table is finished"
        );
        assert!(
            self.footer.entries == 0 || self.last_key() < record.key,
            "keys of a table ascend strictly"
        );
        assert!(record.key.len() <= KEY_BYTES_MAX, "a key beyond the bound");
        assert!(
            record.value.len() <= VALUE_BYTES_MAX,
            "a value beyond the bound"
        );
        assert!(
            record.kind == Kind::Put || record.value.is_empty(),
            "a delete has no value"
        );
        self.note_seq(record.seq);
        if self.footer.entries == 0 {
            self.first = record.key.to_vec();
        }
        self.footer.entries += 1;
        self.footer.deletes += u64::from(record.kind == Kind::Delete);
        self.footer.raw_bytes += (record.key.len() + record.value.len()) as u64;
        let hash = key_hash(record.key);
        self.filter.add(hash);
        if record.key.len() + record.value.len() > LARGE_RECORD_BYTES {
            self.write_block(End::OfUnit);
            self.write_large(record, hash);
            return;
        }
        let mut grown = self.block.grown(record);
        if !self.block.is_empty()
            && self
                .packer
                .is_full(&self.chunks, self.block.body_bytes(), grown.body_bytes)
        {
            self.write_block(End::OfUnit);
            grown = self.block.grown(record);
        }
        self.block.push(record, hash, grown);
    }

    /// Adds a range tombstone (no limit: to the end) that lies behind all that were added before,
    /// overlapping none. Where it lies among the records does not matter.
    pub fn add_tombstone(&mut self, start: &[u8], limit: &[u8], seq: Seq) {
        assert!(
            matches!(self.stage, Stage::Records),
            "the table is finished"
        );
        self.note_seq(seq);
        self.tombstones.add(Tombstone { start, limit, seq });
        self.footer.range_tombstones += 1;
    }

    fn note_seq(&mut self, seq: Seq) {
        assert!(seq <= SEQ_MAX, "a sequence beyond the bound");
        self.footer.min_seq = self.footer.min_seq.min(seq);
        self.footer.max_seq = self.footer.max_seq.max(seq);
    }

    /// The next chunk to write, if one is complete.
    pub fn take_chunk(&mut self) -> Option<Chunk> {
        self.chunks.take()
    }

    /// Does some of what is left to do after the last record. Answers once, when all chunks are
    /// ready to be taken; before that it wants to be called again.
    pub fn finish(&mut self) -> Option<TableMeta> {
        let stage = core::mem::replace(&mut self.stage, Stage::Done);
        self.stage = match stage {
            Stage::Records => {
                assert!(!self.is_empty(), "a table holds something");
                self.write_block(End::OfPage);
                Stage::Tombstones
            }
            Stage::Tombstones => {
                self.footer.tombstones.offset = self.chunks.end();
                Stage::Section {
                    kind: Section::Tombstones,
                    payload: self.tombstones_payload(),
                    at: 0,
                }
            }
            Stage::FilterBits => match self.filter.set_some() {
                false => Stage::FilterBits,
                true => Stage::Section {
                    kind: Section::Filter,
                    payload: self.filter.take_payload(),
                    at: 0,
                },
            },
            Stage::Section { kind, payload, at } => self.write_section(kind, payload, at),
            Stage::Done => panic!("the table is finished"),
        };
        match self.stage {
            Stage::Done => Some(self.write_footer()),
            _ => None,
        }
    }

    fn tombstones_payload(&mut self) -> Vec<u8> {
        let mut start = self.first.clone();
        // Right behind the last key.
        let mut limit = self.last.clone();
        limit.push(0);
        if let Some((tombstone_start, tombstone_limit)) = self.tombstones.ends() {
            if self.footer.entries == 0 || tombstone_start < start.as_slice() {
                start = tombstone_start.to_vec();
            }
            if self.footer.entries == 0 || compare_limits(tombstone_limit, &limit).is_gt() {
                limit = tombstone_limit.to_vec();
            }
        }
        self.range = KeyRange { start, limit };
        self.tombstones.take_payload()
    }

    fn write_section(&mut self, kind: Section, payload: Vec<u8>, mut at: usize) -> Stage {
        if at == 0 {
            let place = Place {
                offset: self.chunks.end(),
                payload: payload.len() as u64,
            };
            match kind {
                Section::Tombstones => self.footer.tombstones = place,
                Section::Filter => self.footer.filter = place,
                Section::Index => self.footer.index = place,
            }
        }
        for chunk in payload[at..]
            .chunks(SECTION_CHUNK_PAYLOAD)
            .take(SECTION_CHUNKS_PER_STEP)
        {
            self.chunks.section_chunk(chunk);
            at += chunk.len();
        }
        if at < payload.len() {
            return Stage::Section { kind, payload, at };
        }
        match kind {
            Section::Tombstones => Stage::FilterBits,
            Section::Filter => Stage::Section {
                kind: Section::Index,
                payload: self.index.take_payload(&self.range),
                at: 0,
            },
            Section::Index => Stage::Done,
        }
    }

    fn write_footer(&mut self) -> TableMeta {
        self.footer.file_bytes = self.chunks.end() + PAGE_BYTES as u64;
        self.footer.blocks = self.index.blocks().into();
        let footer = self.footer;
        self.chunks.page(&footer.encode());
        self.chunks.close();
        footer.meta(core::mem::take(&mut self.range), None)
    }

    fn write_block(&mut self, end: End) {
        if self.block.is_empty() {
            return;
        }
        let units = self.packer.write(&self.block, end, &mut self.chunks);
        self.index_block(units);
    }

    fn index_block(&mut self, units: usize) {
        let before = (self.index.blocks() > 0).then_some(self.last.as_slice());
        self.index.add(units, before, self.block.first_key());
        self.last.clear();
        self.last.extend_from_slice(self.block.last_key());
        self.block.clear();
    }

    /// Writes a record as a block of its own, without copying its value first.
    fn write_large(&mut self, record: &Record<'_>, hash: u64) {
        // The whole key is the prefix, the suffix is empty; a mark and two places come first.
        let begin = BODY_HEADER_BYTES + record.key.len() + 1 + 2 * 4;
        let end = begin + 2 + record.value.len();
        let mut head = Vec::with_capacity(begin + 2);
        head.extend_from_slice(&1u32.to_le_bytes());
        head.extend_from_slice(&(record.key.len() as u16).to_le_bytes());
        head.extend_from_slice(&[1 << 4 | 4, 1]);
        head.extend_from_slice(&record.seq.0.to_le_bytes());
        head.extend_from_slice(record.key);
        head.push(mark_of(hash));
        head.extend_from_slice(&(begin as u32).to_le_bytes());
        head.extend_from_slice(&(end as u32).to_le_bytes());
        head.extend_from_slice(&[0, record.kind.to_byte()]);
        let units = self.chunks.large_block(&head, record.value);
        let before = (self.index.blocks() > 0).then_some(self.last.as_slice());
        self.index.add(units, before, record.key);
        self.last.clear();
        self.last.extend_from_slice(record.key);
    }

    /// What was chosen.
    pub fn options(&self) -> BuilderOptions {
        self.options
    }
}
