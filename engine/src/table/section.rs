//! What lies between a table's data and its footer, checked chunk by chunk so that opening a table
//! can be cut into steps. `format` draws it.

use alloc::vec::Vec;

use crate::effect::TableNumber;
use crate::table::Corrupt;
use crate::table::format::{
    Fields, PAGE_BYTES, SECTION_CHUNK_BYTES, SECTION_CHUNK_PAYLOAD, checksum, pages_for,
};

/// Where a section is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Where in the file it begins.
    pub offset: u64,
    /// How long its payload is.
    pub payload: u64,
}

/// Appends one chunk of a section that begins at `offset` of the file: checksum and padding.
pub fn append_chunk(bytes: &mut Vec<u8>, table: TableNumber, offset: u64, payload: &[u8]) {
    let stored = stored_chunk_bytes(payload.len());
    let begin = bytes.len();
    bytes.extend_from_slice(payload);
    bytes.resize(begin + stored - 4, 0);
    let crc = checksum(table, offset, &[&bytes[begin..]]);
    bytes.extend_from_slice(&crc.to_le_bytes());
}

/// How many bytes of the file a chunk occupies.
pub fn stored_chunk_bytes(payload: usize) -> usize {
    assert!(payload <= SECTION_CHUNK_PAYLOAD, "too much for a chunk");
    match payload {
        SECTION_CHUNK_PAYLOAD => SECTION_CHUNK_BYTES,
        payload => pages_for(payload + 4) * PAGE_BYTES,
    }
}

/// Reads the chunks of a section.
#[derive(Clone, Debug)]
pub struct SectionReader<'bytes> {
    table: TableNumber,
    fields: Fields<'bytes>,
    offset: u64,
    payload_left: u64,
}

impl<'bytes> SectionReader<'bytes> {
    /// Over the section at `place`; `bytes` begin with it and may go on behind it.
    pub fn new(table: TableNumber, place: Place, bytes: &'bytes [u8]) -> SectionReader<'bytes> {
        SectionReader {
            table,
            fields: Fields::new(bytes, table, place.offset),
            offset: place.offset,
            payload_left: place.payload,
        }
    }

    /// The payload of the next chunk.
    pub fn next_chunk(&mut self) -> Result<Option<&'bytes [u8]>, Corrupt> {
        if self.payload_left == 0 {
            return Ok(None);
        }
        let payload = self.payload_left.min(SECTION_CHUNK_PAYLOAD as u64) as usize;
        let stored = stored_chunk_bytes(payload);
        let damaged = self.fields.corrupt("checksum of a section");
        let bytes = self.fields.take(stored, "a section is cut off")?;
        let (bytes, crc) = bytes.split_at(stored - 4);
        if checksum(self.table, self.offset, &[bytes]).to_le_bytes() != crc {
            return Err(damaged);
        }
        self.offset += stored as u64;
        self.payload_left -= payload as u64;
        Ok(Some(&bytes[..payload]))
    }
}
