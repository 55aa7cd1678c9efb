//! Blocks and sections on their way into the file: one growing end, cut into chunks to write.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::effect::TableNumber;
use crate::table::block::PACKING_RAW;
use crate::table::format::{
    BLOCK_HEADER_BYTES, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, PAGE_BYTES, SECTION_CHUNK_PAYLOAD,
    checksum, pages_for,
};
use crate::table::section::{append_chunk, stored_chunk_bytes};

/// Part of the file, whole pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where in the file it belongs.
    pub offset: u64,
    /// What to write.
    pub bytes: Vec<u8>,
}

/// The end of a file that is being made.
#[derive(Debug)]
pub struct ChunkWriter {
    table: TableNumber,
    /// Where `current` begins in the file.
    offset: u64,
    current: Vec<u8>,
    ready: VecDeque<Chunk>,
    chunk_bytes: usize,
}

impl ChunkWriter {
    /// The empty file of a table; chunks are at most `chunk_bytes` long.
    pub fn new(table: TableNumber, chunk_bytes: usize) -> ChunkWriter {
        assert!(
            (CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&chunk_bytes)
                && chunk_bytes.is_multiple_of(PAGE_BYTES),
            "chunks of a writable size"
        );
        ChunkWriter {
            table,
            offset: 0,
            current: Vec::new(),
            ready: VecDeque::new(),
            chunk_bytes,
        }
    }

    /// Where the file ends so far.
    pub fn end(&self) -> u64 {
        self.offset + self.current.len() as u64
    }

    /// The next chunk that is complete.
    pub fn take(&mut self) -> Option<Chunk> {
        self.ready.pop_front()
    }

    /// Completes the chunk that has been begun.
    pub fn close(&mut self) {
        if !self.current.is_empty() {
            let bytes = core::mem::take(&mut self.current);
            let offset = self.offset;
            self.offset += bytes.len() as u64;
            self.ready.push_back(Chunk { offset, bytes });
        }
    }

    /// Makes room for so many bytes in one piece, if that is not more than a chunk.
    fn reserve(&mut self, bytes: usize) {
        if self.current.len() + bytes > self.chunk_bytes {
            self.close();
        }
        if self.current.capacity() == 0 {
            self.current.reserve_exact(self.chunk_bytes.max(bytes));
        }
    }

    /// Appends a block. `append_body` adds the packed body (at most `stored_max` bytes, no more than
    /// a chunk has room for) to the bytes. Returns the block's pages.
    pub fn block(
        &mut self,
        packing: u8,
        raw_bytes: usize,
        stored_max: usize,
        append_body: impl FnOnce(&mut Vec<u8>),
    ) -> usize {
        self.reserve(pages_for(BLOCK_HEADER_BYTES + stored_max) * PAGE_BYTES);
        let offset = self.end();
        let begin = self.current.len();
        self.current.extend_from_slice(&[0; BLOCK_HEADER_BYTES]);
        append_body(&mut self.current);
        let stored = self.current.len() - begin - BLOCK_HEADER_BYTES;
        assert!(stored <= stored_max, "a body longer than was said");
        let pages = pages_for(BLOCK_HEADER_BYTES + stored);
        self.current.resize(begin + pages * PAGE_BYTES, 0);
        let block = &mut self.current[begin..];
        block[..BLOCK_HEADER_BYTES].copy_from_slice(&header(packing, stored, raw_bytes));
        let crc = checksum(self.table, offset, &[&block[4..]]);
        block[..4].copy_from_slice(&crc.to_le_bytes());
        pages
    }

    /// Appends a raw block of any length whose body comes in two parts, cut where chunks end.
    pub fn large_block(&mut self, head: &[u8], value: &[u8]) -> usize {
        const ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
        let stored = head.len() + value.len();
        let pages = pages_for(BLOCK_HEADER_BYTES + stored);
        let padding = &ZEROS[..pages * PAGE_BYTES - BLOCK_HEADER_BYTES - stored];
        let mut header = header(PACKING_RAW, stored, stored);
        let parts = [&header[4..], head, value, padding];
        let crc = checksum(self.table, self.end(), &parts);
        header[..4].copy_from_slice(&crc.to_le_bytes());
        for mut part in [&header, head, value, padding] {
            while !part.is_empty() {
                self.reserve(1);
                let room = (self.chunk_bytes - self.current.len()).min(part.len());
                self.current.extend_from_slice(&part[..room]);
                part = &part[room..];
            }
        }
        pages
    }

    /// Appends one chunk of a section.
    pub fn section_chunk(&mut self, payload: &[u8]) {
        assert!(payload.len() <= SECTION_CHUNK_PAYLOAD, "one chunk");
        self.reserve(stored_chunk_bytes(payload.len()));
        let offset = self.end();
        append_chunk(&mut self.current, self.table, offset, payload);
    }

    /// Appends a whole page.
    pub fn page(&mut self, page: &[u8; PAGE_BYTES]) {
        self.reserve(PAGE_BYTES);
        self.current.extend_from_slice(page);
    }
}

fn header(packing: u8, stored: usize, raw: usize) -> [u8; BLOCK_HEADER_BYTES] {
    let mut header = [0; BLOCK_HEADER_BYTES];
    header[4] = packing;
    header[8..12].copy_from_slice(&(stored as u32).to_le_bytes());
    header[12..16].copy_from_slice(&(raw as u32).to_le_bytes());
    header
}
