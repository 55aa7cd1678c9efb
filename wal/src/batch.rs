//! One batch: what one durable write holds, byte by byte, and how it is read. What writes it is in
//! `pending.rs`.
//!
//! ```text
//!    0  magic            4
//!    4  checksum         4   crc32 of everything from 8 to the end of the directory
//!    8  log id           8
//!   16  sequence         8   of the segment
//!   24  opening          8
//!   32  lsn              8
//!   40  durable lsn      8   acknowledged when this batch was submitted
//!   48  previous         4   checksum of the batch with the lsn before
//!   52  offset           4   of this batch in its file
//!   56  length           4   of the whole batch, whole blocks
//!   60  directory bytes  4
//!   64  records          4
//!   68  payload bytes    4
//!   72  directory        records in the order they were given, each a multiple of 8 bytes
//!    …  payloads         packed, in the order of the directory
//!    …  zeros            to the end of the last block
//!
//! entries     kind 1, 3 zero, count 4, region 8, first index 8, term 8, then per entry: length 4, crc32 4
//! hard state  kind 2, 3 zero, length 4, region 8, crc32 4, zero 4
//! meta        kind 3, flags 1, 2 zero, length 4, region 8, truncated index 8, its term 8, crc32 4, zero 4
//! ```
//!
//! Every byte that means something is under exactly one checksum: the directory with the lengths and
//! checksums of the payloads under the batch's, each payload under its own. So one pass over the
//! payloads is enough, an old entry can be read and verified without the rest of its batch, and damage
//! in the zeros behind the payloads is harmless.
//!
//! A batch names its log, segment, opening, place and predecessor, so the old content of a recycled
//! segment, a batch that landed elsewhere, or a tail from before a crash can never verify.

use crate::header::{u32_at, u64_at};
use crate::ids::{LogId, Lsn, RegionId, Sequence};
use crate::limits::{BLOCK_BYTES, NUMBER_MAX};

pub(crate) const MAGIC: [u8; 4] = *b"CBAT";
/// Where the directory begins.
pub const DIRECTORY_AT: usize = 72;
pub(crate) const ENTRIES_BYTES: usize = 32;
pub(crate) const ENTRY_BYTES: usize = 8;
pub(crate) const HARD_STATE_BYTES: usize = 24;
pub(crate) const META_BYTES: usize = 40;

/// The log of the region becomes empty at the truncated index, at both ends.
pub const META_RESET: u8 = 1;
/// The region is gone for ever; its entries are void.
pub const META_TOMBSTONE: u8 = 2;

/// Where in the log's history a batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Whose batch.
    pub log: LogId,
    /// In which segment.
    pub sequence: Sequence,
    /// Written by which opening.
    pub opening: u64,
    /// Which batch.
    pub lsn: Lsn,
    /// Acknowledged at submission.
    pub durable: Lsn,
    /// Checksum of the batch before.
    pub previous: u32,
    /// Where in the file.
    pub offset: u32,
}

/// A batch as it was found, verified.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Where it stands.
    pub position: Position,
    /// Its checksum, which the next one names.
    pub checksum: u32,
    /// Its length in the file.
    pub len: u32,
    directory: &'a [u8],
    payloads: &'a [u8],
    payloads_at: u32,
}

/// One record of a batch as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// One entry.
    Entry {
        /// Whose.
        region: RegionId,
        /// Its index.
        index: u64,
        /// Its term.
        term: u64,
        /// What it holds.
        payload: &'a [u8],
        /// Where the payload begins, from the start of the batch.
        at: u32,
        /// The payload's checksum.
        checksum: u32,
    },
    /// A hard state.
    HardState {
        /// Whose.
        region: RegionId,
        /// What it holds.
        payload: &'a [u8],
    },
    /// A meta.
    Meta {
        /// Whose.
        region: RegionId,
        /// [`META_RESET`] and [`META_TOMBSTONE`].
        flags: u8,
        /// The index and term before the region's first entry.
        truncated: (u64, u64),
        /// What it holds.
        payload: &'a [u8],
    },
}

impl<'a> Batch<'a> {
    /// Reads the batch at the start of `bytes` and verifies every part of it. `Err` says what does
    /// not hold; a short read can be told from damage by [`Batch::length_hint`].
    pub fn decode(bytes: &'a [u8]) -> Result<Batch<'a>, &'static str> {
        if bytes.len() < BLOCK_BYTES || bytes[..4] != MAGIC {
            return Err("no batch begins here");
        }
        let len = u32_at(bytes, 56) as usize;
        let directory_bytes = u32_at(bytes, 60) as usize;
        let payload_bytes = u32_at(bytes, 68) as usize;
        let used = DIRECTORY_AT
            .checked_add(directory_bytes)
            .and_then(|sum| sum.checked_add(payload_bytes))
            .ok_or("the batch's lengths overflow")?;
        if len > bytes.len() || used > len || used.next_multiple_of(BLOCK_BYTES) != len {
            return Err("the batch's lengths do not fit each other");
        }
        let payloads_at = DIRECTORY_AT + directory_bytes;
        let checksum = u32_at(bytes, 4);
        if crc32fast::hash(&bytes[8..payloads_at]) != checksum {
            return Err("the batch's checksum does not match");
        }
        let batch = Batch {
            position: Position {
                log: LogId(u64_at(bytes, 8)),
                sequence: Sequence(u64_at(bytes, 16)),
                opening: u64_at(bytes, 24),
                lsn: Lsn(u64_at(bytes, 32)),
                durable: Lsn(u64_at(bytes, 40)),
                previous: u32_at(bytes, 48),
                offset: u32_at(bytes, 52),
            },
            checksum,
            len: len as u32,
            directory: &bytes[DIRECTORY_AT..payloads_at],
            payloads: &bytes[payloads_at..used],
            payloads_at: payloads_at as u32,
        };
        batch.verify(u32_at(bytes, 64))?;
        Ok(batch)
    }

    /// How long the batch at the start of `bytes` says it is, if one seems to begin there; for
    /// reading on, never for allocating.
    pub fn length_hint(bytes: &[u8]) -> Option<u32> {
        (bytes.len() >= BLOCK_BYTES && bytes[..4] == MAGIC).then(|| u32_at(bytes, 56))
    }

    fn verify(&self, records: u32) -> Result<(), &'static str> {
        let (mut seen, mut used) = (0, 0);
        let mut cursor = Cursor {
            directory: self.directory,
            run: None,
        };
        while let Some(header) = cursor.next()? {
            let payload = self.payloads.get(used..used + header.len as usize);
            let payload = payload.ok_or("a record is longer than its batch")?;
            if crc32fast::hash(payload) != header.checksum {
                return Err("a payload's checksum does not match");
            }
            used += payload.len();
            seen += u32::from(header.begins);
        }
        if used != self.payloads.len() || seen != records {
            return Err("the batch's directory does not match its payloads");
        }
        Ok(())
    }

    /// Goes through its records in order.
    pub fn for_each(&self, mut visit: impl FnMut(Found<'a>)) {
        let mut cursor = Cursor {
            directory: self.directory,
            run: None,
        };
        let mut used = 0;
        while let Ok(Some(header)) = cursor.next() {
            let payload = &self.payloads[used..used + header.len as usize];
            let at = self.payloads_at + used as u32;
            used += payload.len();
            let region = header.region;
            visit(match header.kind {
                Kind::Entry { index, term } => Found::Entry {
                    region,
                    index,
                    term,
                    payload,
                    at,
                    checksum: header.checksum,
                },
                Kind::HardState => Found::HardState { region, payload },
                Kind::Meta { flags, truncated } => Found::Meta {
                    region,
                    flags,
                    truncated,
                    payload,
                },
            });
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Entry { index: u64, term: u64 },
    HardState,
    Meta { flags: u8, truncated: (u64, u64) },
}

struct Line {
    kind: Kind,
    region: RegionId,
    len: u32,
    checksum: u32,
    begins: bool,
}

/// The run of entries that the cursor is inside of.
#[derive(Clone, Copy)]
struct Run {
    region: RegionId,
    index: u64,
    term: u64,
    left: u32,
    begins: bool,
}

/// Walks a directory line by line.
struct Cursor<'a> {
    directory: &'a [u8],
    run: Option<Run>,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], &'static str> {
        if self.directory.len() < bytes {
            return Err("the directory ends within a record");
        }
        let (line, rest) = self.directory.split_at(bytes);
        self.directory = rest;
        Ok(line)
    }

    fn next(&mut self) -> Result<Option<Line>, &'static str> {
        if let Some(run) = self.run {
            let line = self.take(ENTRY_BYTES)?;
            self.run = (run.left > 1).then_some(Run {
                index: run.index + 1,
                left: run.left - 1,
                begins: false,
                ..run
            });
            return Ok(Some(Line {
                kind: Kind::Entry {
                    index: run.index,
                    term: run.term,
                },
                region: run.region,
                len: u32_at(line, 0),
                checksum: u32_at(line, 4),
                begins: run.begins,
            }));
        }
        let Some(&kind) = self.directory.first() else {
            return Ok(None);
        };
        match kind {
            1 => {
                let line = self.take(ENTRIES_BYTES)?;
                let left = u32_at(line, 4);
                if left == 0 || !(1..NUMBER_MAX).contains(&u64_at(line, 16)) {
                    return Err("a run of entries is empty or begins at an impossible index");
                }
                self.run = Some(Run {
                    region: RegionId(u64_at(line, 8)),
                    index: u64_at(line, 16),
                    term: u64_at(line, 24),
                    left,
                    begins: true,
                });
                self.next()
            }
            2 => {
                let line = self.take(HARD_STATE_BYTES)?;
                Ok(Some(Line {
                    kind: Kind::HardState,
                    region: RegionId(u64_at(line, 8)),
                    len: u32_at(line, 4),
                    checksum: u32_at(line, 16),
                    begins: true,
                }))
            }
            3 => {
                let line = self.take(META_BYTES)?;
                if line[1] & !(META_RESET | META_TOMBSTONE) != 0 {
                    return Err("a meta has a flag that this program does not know");
                }
                if u64_at(line, 16) >= NUMBER_MAX {
                    return Err("a meta truncates at an impossible index");
                }
                Ok(Some(Line {
                    kind: Kind::Meta {
                        flags: line[1],
                        truncated: (u64_at(line, 16), u64_at(line, 24)),
                    },
                    region: RegionId(u64_at(line, 8)),
                    len: u32_at(line, 4),
                    checksum: u32_at(line, 32),
                    begins: true,
                }))
            }
            _ => Err("a record is of a kind that this program does not know"),
        }
    }
}
