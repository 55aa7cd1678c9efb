//! The last page of a table: what it holds and where its sections are.
//!
//! ```text
//! 0    magic "coracle table" and a version byte, zeros up to 16
//! 16   table number u64
//! 24   file bytes u64
//! 32   records u64
//! 40   deletes u64
//! 48   range tombstones u64
//! 56   smallest seq u64
//! 64   greatest seq u64
//! 72   raw bytes u64              of keys and values, as given
//! 80   blocks u64
//! 88   tombstones: offset u64 | payload u64
//! 104  filter: the same
//! 120  index: the same
//! 136  zeros
//! 4092 crc u32
//! ```

use crate::effect::TableNumber;
use crate::record::{KeyRange, Seq};
use crate::table::format::{Fields, PAGE_BYTES, checksum, number_at, section_stored_bytes};
use crate::table::section::Place;
use crate::table::{Corrupt, TableMeta};

const MAGIC: [u8; 13] = *b"coracle table";
const VERSION: u8 = 2;

/// What the last page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The table's number.
    pub number: TableNumber,
    /// The length of the file, this page included.
    pub file_bytes: u64,
    /// How many records there are.
    pub entries: u64,
    /// How many of them are deletes.
    pub deletes: u64,
    /// How many range tombstones there are.
    pub range_tombstones: u64,
    /// The smallest sequence of a record or range tombstone.
    pub min_seq: Seq,
    /// The greatest.
    pub max_seq: Seq,
    /// Bytes of keys and values, as given.
    pub raw_bytes: u64,
    /// How many data blocks there are.
    pub blocks: u64,
    /// Where the range tombstones are; they begin where the data ends.
    pub tombstones: Place,
    /// Where the filter is.
    pub filter: Place,
    /// Where the index is.
    pub index: Place,
}

impl Footer {
    /// Where the data ends and everything begins that is read when the table is opened.
    pub fn tail_offset(&self) -> u64 {
        self.tombstones.offset
    }

    /// The page.
    pub fn encode(&self) -> [u8; PAGE_BYTES] {
        let mut page = [0; PAGE_BYTES];
        page[..MAGIC.len()].copy_from_slice(&MAGIC);
        page[MAGIC.len()] = VERSION;
        let numbers = [
            self.number.0,
            self.file_bytes,
            self.entries,
            self.deletes,
            self.range_tombstones,
            self.min_seq.0,
            self.max_seq.0,
            self.raw_bytes,
            self.blocks,
            self.tombstones.offset,
            self.tombstones.payload,
            self.filter.offset,
            self.filter.payload,
            self.index.offset,
            self.index.payload,
        ];
        for (number, field) in numbers.iter().zip(page[16..].chunks_exact_mut(8)) {
            field.copy_from_slice(&number.to_le_bytes());
        }
        let offset = self.file_bytes - PAGE_BYTES as u64;
        let crc = checksum(self.number, offset, &[&page[..PAGE_BYTES - 4]]);
        page[PAGE_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        page
    }

    /// Reads the last page of a file of `file_bytes` bytes. Without `number` the page's own word is
    /// taken for which table it is: for tools, and for tables that came from elsewhere.
    pub fn decode(
        number: Option<TableNumber>,
        file_bytes: u64,
        page: &[u8],
    ) -> Result<Footer, Corrupt> {
        let offset = file_bytes.saturating_sub(PAGE_BYTES as u64);
        let corrupt = |why| Corrupt {
            table: number.unwrap_or_default(),
            offset,
            why,
        };
        if page.len() != PAGE_BYTES || !file_bytes.is_multiple_of(PAGE_BYTES as u64) {
            return Err(corrupt("the file does not end with a whole page"));
        }
        if file_bytes == 0 || page[..MAGIC.len()] != MAGIC {
            return Err(corrupt("the last page is not a table's footer"));
        }
        let said = TableNumber(number_at(page, 16, 8));
        let crc = number_at(page, PAGE_BYTES - 4, 4) as u32;
        if checksum(said, offset, &[&page[..PAGE_BYTES - 4]]) != crc {
            return Err(corrupt("checksum of the footer"));
        }
        if page[MAGIC.len()] != VERSION {
            return Err(corrupt("a table of an unknown version"));
        }
        if number.is_some_and(|number| number != said) {
            return Err(corrupt("the footer of another table"));
        }
        let mut fields = Fields::new(&page[24..], said, offset + 24);
        let mut next = || fields.u64("the footer is cut off");
        let footer = Footer {
            number: said,
            file_bytes: next()?,
            entries: next()?,
            deletes: next()?,
            range_tombstones: next()?,
            min_seq: Seq(next()?),
            max_seq: Seq(next()?),
            raw_bytes: next()?,
            blocks: next()?,
            tombstones: Place {
                offset: next()?,
                payload: next()?,
            },
            filter: Place {
                offset: next()?,
                payload: next()?,
            },
            index: Place {
                offset: next()?,
                payload: next()?,
            },
        };
        footer.check(file_bytes).map_err(corrupt)?;
        Ok(footer)
    }

    /// What a version wants to know of the table.
    pub fn meta(&self, range: KeyRange, global_seq: Option<Seq>) -> TableMeta {
        TableMeta {
            number: self.number,
            file_bytes: self.file_bytes,
            entries: self.entries,
            deletes: self.deletes,
            range_tombstones: self.range_tombstones,
            range,
            min_seq: self.min_seq,
            max_seq: self.max_seq,
            raw_bytes: self.raw_bytes,
            stored_bytes: self.tail_offset(),
            tail_offset: self.tail_offset(),
            global_seq,
        }
    }

    fn check(&self, file_bytes: u64) -> Result<(), &'static str> {
        if self.file_bytes != file_bytes {
            return Err("a file of another length than its footer says");
        }
        let mut offset = self.tombstones.offset;
        if offset > file_bytes || !offset.is_multiple_of(PAGE_BYTES as u64) {
            return Err("the tail begins at an impossible place");
        }
        for section in [&self.tombstones, &self.filter, &self.index] {
            // A payload is shorter than the file, so that its stored length overflows nothing.
            if section.offset != offset || section.payload > file_bytes {
                return Err("a section at an impossible place");
            }
            offset = offset.saturating_add(section_stored_bytes(section.payload));
        }
        if offset.saturating_add(PAGE_BYTES as u64) != file_bytes {
            return Err("the sections do not reach up to the footer");
        }
        if self.deletes > self.entries || self.min_seq > self.max_seq {
            return Err("impossible counts");
        }
        if (self.blocks == 0) != (self.entries == 0) || self.blocks > self.entries {
            return Err("impossible counts");
        }
        Ok(())
    }
}
