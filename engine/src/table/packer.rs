//! How long a block gets, and whether it is compressed.
//!
//! A raw block takes records until the end of a page wastes at most a sixteenth of it, so small records
//! make blocks of one page; larger ones go on to the end of the second page that they touch. Compressed
//! blocks aim at that, too, by how well the blocks before shrank; where shrinking is not worth it, blocks
//! are raw and only now and then one tries.

use alloc::vec;
use alloc::vec::Vec;

use crate::table::block::{PACKING_LZ4, PACKING_RAW};
use crate::table::block_builder::BlockBuilder;
use crate::table::chunks::{ChunkWriter, End, is_padded};
use crate::table::format::{BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, PAGE_BYTES, pages_for};

/// A block touches so many pages, unless a record is larger or it shrinks worse than expected.
const PAGES_TOUCHED: usize = 2;

/// A compressed block aims at so many bytes less than it may have.
const PACKED_BYTES_SPARE: usize = PAGE_BYTES / 8;

/// Blocks that shrink to more than this (in 1024ths) are left raw.
const WORTH_IT: usize = 820;

/// While blocks are raw, one in so many tries whether shrinking has become worth it.
const TRY_EVERY: u32 = 32;

/// Decides when a block is full and whether it is compressed.
#[derive(Debug)]
pub struct Packer {
    compress: bool,
    /// To how much of 1024 bytes the last blocks shrank, a moving average.
    shrinks_to: usize,
    /// Raw blocks since one last tried to shrink.
    untried: u32,
    body: Vec<u8>,
    packed: Vec<u8>,
}

impl Packer {
    /// Nothing is known yet of how well blocks shrink: half is assumed.
    pub fn new(compress: bool) -> Packer {
        Packer {
            compress,
            shrinks_to: 512,
            untried: 0,
            body: Vec::new(),
            packed: Vec::new(),
        }
    }

    fn shrinks(&self) -> bool {
        self.compress && self.shrinks_to <= WORTH_IT
    }

    /// Whether a block that will stand next is written before it takes a record with which its body would
    /// grow.
    #[inline]
    pub fn is_full(&self, chunks: &ChunkWriter, now: usize, grown: usize) -> bool {
        if grown + BLOCK_HEADER_BYTES > BLOCK_BYTES_MAX {
            return true;
        }
        if self.shrinks() {
            let aim = PAGES_TOUCHED * PAGE_BYTES - chunks.end_in_page() - PACKED_BYTES_SPARE;
            return grown * self.shrinks_to > aim * 1024;
        }
        let begin = chunks.end_in_page() + BLOCK_HEADER_BYTES;
        let pages = pages_for(begin + now);
        let fits = pages_for(begin + grown) == pages;
        !fits && (pages >= PAGES_TOUCHED || is_padded(begin + now, now + BLOCK_HEADER_BYTES))
    }

    /// Writes a block, packed or not. Returns its units.
    pub fn write(&mut self, block: &BlockBuilder, end: End, chunks: &mut ChunkWriter) -> usize {
        let raw_bytes = block.body_bytes();
        let tries = self.compress && (self.shrinks() || self.untried >= TRY_EVERY);
        if !tries {
            self.untried += 1;
            return chunks.block(PACKING_RAW, raw_bytes, raw_bytes, end, |body| {
                block.encode(body);
            });
        }
        self.untried = 0;
        self.body.clear();
        block.encode(&mut self.body);
        let room = lz4_flex::block::get_maximum_output_size(raw_bytes);
        if self.packed.len() < room {
            self.packed = vec![0; room];
        }
        let packed = lz4_flex::block::compress_into(&self.body, &mut self.packed)
            .expect("room for the worst case");
        let now = packed * 1024 / raw_bytes;
        self.shrinks_to = (3 * self.shrinks_to + now) / 4;
        match now <= WORTH_IT {
            true => chunks.block(PACKING_LZ4, raw_bytes, packed, end, |body| {
                body.extend_from_slice(&self.packed[..packed]);
            }),
            false => chunks.block(PACKING_RAW, raw_bytes, raw_bytes, end, |body| {
                body.extend_from_slice(&self.body);
            }),
        }
    }
}
