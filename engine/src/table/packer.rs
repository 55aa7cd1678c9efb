//! How long a block gets, and whether it is compressed.
//!
//! A raw block takes records until a page boundary wastes at most a sixteenth of it, so small records
//! make blocks of one page. Compressed blocks aim at two stored pages by how well the blocks before
//! shrank; where shrinking is not worth it, blocks are raw and only now and then one tries.

use alloc::vec;
use alloc::vec::Vec;

use crate::table::block::{PACKING_LZ4, PACKING_RAW};
use crate::table::block_builder::BlockBuilder;
use crate::table::chunks::ChunkWriter;
use crate::table::format::{BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, PAGE_BYTES, pages_for};

/// A compressed block aims at so many stored bytes: a little less than two pages.
const PACKED_BYTES_AIM: usize = 2 * PAGE_BYTES - PAGE_BYTES / 8;

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

    /// Whether a block is written before it takes a record with which its body would grow.
    #[inline]
    pub fn is_full(&self, now: usize, grown: usize) -> bool {
        if grown + BLOCK_HEADER_BYTES > BLOCK_BYTES_MAX {
            return true;
        }
        if self.shrinks() {
            return grown * self.shrinks_to > PACKED_BYTES_AIM * 1024;
        }
        let stored = now + BLOCK_HEADER_BYTES;
        let pages = pages_for(stored);
        let fits = pages_for(grown + BLOCK_HEADER_BYTES) == pages;
        !fits && (pages * PAGE_BYTES - stored) * 16 <= pages * PAGE_BYTES
    }

    /// Writes a block, packed or not. Returns its pages.
    pub fn write(&mut self, block: &BlockBuilder, chunks: &mut ChunkWriter) -> usize {
        let raw_bytes = block.body_bytes();
        let tries = self.compress && (self.shrinks() || self.untried >= TRY_EVERY);
        if !tries {
            self.untried += 1;
            return chunks.block(PACKING_RAW, raw_bytes, raw_bytes, |body| block.encode(body));
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
        let raw_pages = pages_for(BLOCK_HEADER_BYTES + raw_bytes);
        match pages_for(BLOCK_HEADER_BYTES + packed) < raw_pages {
            true => chunks.block(PACKING_LZ4, raw_bytes, packed, |body| {
                body.extend_from_slice(&self.packed[..packed]);
            }),
            false => chunks.block(PACKING_RAW, raw_bytes, raw_bytes, |body| {
                body.extend_from_slice(&self.body);
            }),
        }
    }
}
