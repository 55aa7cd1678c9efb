//! One table: a file of records in order of their keys, written once and never changed.
//!
//! ```text
//! records ──► TableBuilder ──► chunks of bytes … ──► the file
//!                                                      │ its tail          │ single blocks
//!                                                      ▼                   ▼
//!               Table: index, filter, range tombstones     BlockCache: unpacked blocks
//!                    └──────── get, TableCursor ───────────────┘
//!                              Found | Absent | Need(BlockRef)
//! ```
//!
//! * **A table holds one record per key**: keys ascend strictly. A view that needs an older record
//!   holds the memtable or table in which it is.
//! * Likewise its range tombstones neither overlap nor nest: of several over one key the newest
//!   hides all that the others hide.
//! * The range of a table covers its records and its range tombstones.
//! * Nothing here reads: what is not in memory is named by a [`BlockRef`], the bytes come back
//!   through [`BlockCache::fill`](crate::cache::BlockCache::fill), and the caller asks again.
//!
//! `format` draws the file, `block` the inside of a block, `footer` the last page.

pub mod format; // the file, drawn; checksums; fields
pub mod filter; // may this table hold the key?
pub mod index; // which block may hold the key?
pub mod tombstones; // the range tombstones of a table
pub mod footer; // the last page
pub mod section; // what lies between data and footer, checked chunk by chunk
pub mod block; // an unpacked block, searched
pub mod block_builder; // records → one block
pub mod chunks; // blocks → chunks to write
pub mod packer; // how long a block gets, and whether it is compressed
pub mod builder; // records → a table
pub mod reader; // an opened table
pub mod opening; // from the bytes of a tail to an opened table
pub mod cursor; // a place in a table, moving either way
pub mod walk; // everything in a file, from raw bytes, for tools

use core::fmt;

use crate::effect::TableNumber;
use crate::record::{KeyRange, Seq};

pub use block::Block;
pub use builder::{BuilderOptions, Chunk, TableBuilder};
pub use cursor::{Step, TableCursor};
pub use footer::Footer;
pub use opening::TableOpening;
pub use reader::{BlockRef, Hit, Lookup, Probe, Table};
pub use walk::{Item, TableWalk};

/// Bytes of a table that are not what was written, and where they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt {
    /// Which table.
    pub table: TableNumber,
    /// Where in its file.
    pub offset: u64,
    /// What is wrong there.
    pub why: &'static str,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Corrupt { table, offset, why } = self;
        write!(f, "table {} is corrupt at offset {offset}: {why}", table.0)
    }
}

impl core::error::Error for Corrupt {}

/// What is known of a table without its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableMeta {
    /// Its number, which is its name.
    pub number: TableNumber,
    /// The length of the file.
    pub file_bytes: u64,
    /// How many records it holds.
    pub entries: u64,
    /// How many of them are deletes.
    pub deletes: u64,
    /// How many range tombstones it holds.
    pub range_tombstones: u64,
    /// The keys that records and range tombstones can have.
    pub range: KeyRange,
    /// The smallest sequence of a record or range tombstone.
    pub min_seq: Seq,
    /// The greatest.
    pub max_seq: Seq,
    /// Bytes of keys and values, as they were given.
    pub raw_bytes: u64,
    /// Bytes of data blocks, as they are stored.
    pub stored_bytes: u64,
    /// Where the part after the data blocks begins.
    pub tail_offset: u64,
    /// Every record reads as if it had this sequence: an ingested table, built elsewhere.
    pub global_seq: Option<Seq>,
}

impl TableMeta {
    /// The greatest sequence with which its records read.
    pub fn newest(&self) -> Seq {
        self.global_seq.unwrap_or(self.max_seq)
    }
}
