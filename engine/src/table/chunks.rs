//! Blocks and sections on their way into the file: one growing end, cut into chunks to write.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::effect::TableNumber;
use crate::table::block::PACKING_RAW;
use crate::table::format::{
    BLOCK_HEADER_BYTES, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, PAGE_BYTES, SECTION_CHUNK_PAYLOAD,
    UNIT_BYTES, checksum, units_for,
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

/// How far a block is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// To its last unit, and to the page's end where that is near.
    OfUnit,
    /// To the end of its last page: no block follows.
    OfPage,
}

/// Whether a block of so many bytes that ends at `end` is padded up to the page's end, so that the next
/// one begins a page.
#[inline]
pub fn is_padded(end: usize, bytes: usize) -> bool {
    (end.next_multiple_of(PAGE_BYTES) - end) * 16 <= bytes
}

/// The end of a file that is being made.
#[derive(Debug)]
pub struct ChunkWriter {
    table: TableNumber,
    /// Where `current` begins in the file: a page.
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

    /// How much of the last page is taken.
    #[inline]
    pub fn end_in_page(&self) -> usize {
        self.current.len() % PAGE_BYTES
    }

    /// The next chunk that is complete.
    pub fn take(&mut self) -> Option<Chunk> {
        self.ready.pop_front()
    }

    /// Completes the chunk that has been begun.
    pub fn close(&mut self) {
        assert_eq!(self.end_in_page(), 0, "a chunk is whole pages");
        self.close_pages();
    }

    /// Completes the chunk as far as its pages are whole; the next one begins with the rest.
    fn close_pages(&mut self) {
        let rest = self.current.len() - self.end_in_page();
        if rest > 0 {
            let mut next = Vec::new();
            if rest < self.current.len() {
                next.reserve_exact(self.chunk_bytes);
                next.extend_from_slice(&self.current[rest..]);
                self.current.truncate(rest);
            }
            let bytes = core::mem::replace(&mut self.current, next);
            let offset = self.offset;
            self.offset += bytes.len() as u64;
            self.ready.push_back(Chunk { offset, bytes });
        }
    }

    /// Makes room for so many bytes in one piece, if that is not more than a chunk.
    fn reserve(&mut self, bytes: usize) {
        if self.current.len() + bytes > self.chunk_bytes {
            self.close_pages();
        }
        if self.current.capacity() == 0 {
            self.current.reserve_exact(self.chunk_bytes.max(bytes));
        }
    }

    /// Appends a block. `append_body` adds the packed body (at most `stored_max` bytes, no more than
    /// a chunk has room for) to the bytes. Returns the block's units.
    pub fn block(
        &mut self,
        packing: u8,
        raw_bytes: usize,
        stored_max: usize,
        end: End,
        append_body: impl FnOnce(&mut Vec<u8>),
    ) -> usize {
        self.reserve(BLOCK_HEADER_BYTES + stored_max + PAGE_BYTES);
        let offset = self.end();
        let begin = self.current.len();
        self.current.extend_from_slice(&[0; BLOCK_HEADER_BYTES]);
        append_body(&mut self.current);
        let stored = self.current.len() - begin - BLOCK_HEADER_BYTES;
        assert!(stored <= stored_max, "a body longer than was said");
        let bytes = BLOCK_HEADER_BYTES + stored;
        let length = match end == End::OfPage || is_padded(begin + bytes, bytes) {
            true => (begin + bytes).next_multiple_of(PAGE_BYTES) - begin,
            false => units_for(bytes) * UNIT_BYTES,
        };
        self.current.resize(begin + length, 0);
        let block = &mut self.current[begin..];
        block[..BLOCK_HEADER_BYTES].copy_from_slice(&header(packing, stored, raw_bytes));
        let crc = checksum(self.table, offset, &[&block[4..]]);
        block[..4].copy_from_slice(&crc.to_le_bytes());
        length / UNIT_BYTES
    }

    /// Appends a raw block of any length whose body comes in two parts, cut where chunks end. It is
    /// padded to the end of its last page.
    pub fn large_block(&mut self, head: &[u8], value: &[u8]) -> usize {
        const ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
        let stored = head.len() + value.len();
        let end = self.end_in_page() + BLOCK_HEADER_BYTES + stored;
        let padding = &ZEROS[..end.next_multiple_of(PAGE_BYTES) - end];
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
        (BLOCK_HEADER_BYTES + stored + padding.len()) / UNIT_BYTES
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
