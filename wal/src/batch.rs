//! One batch: what one durable write holds, its bytes out and in.
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

use alloc::vec::Vec;

use bytes::Bytes;

use crate::header::{u32_at, u64_at};
use crate::ids::{LogId, Lsn, RegionId, Sequence};
use crate::limits::{BLOCK_BYTES, NUMBER_MAX};

const MAGIC: [u8; 4] = *b"CBAT";
/// Where the directory begins.
pub const DIRECTORY_AT: usize = 72;
const ENTRIES_BYTES: usize = 32;
const ENTRY_BYTES: usize = 8;
const HARD_STATE_BYTES: usize = 24;
const META_BYTES: usize = 40;

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

/// A record on its way out; `place` is the caller's, for finding the region again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Entries {
        region: RegionId,
        place: u32,
        first: u64,
        term: u64,
        count: u32,
    },
    HardState {
        region: RegionId,
    },
    Meta {
        region: RegionId,
        flags: u8,
        truncated: u64,
        term: u64,
    },
}

/// A payload with its checksum.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    pub bytes: Bytes,
    pub checksum: u32,
}

/// The records of one batch, gathered until the turn ends.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub records: Vec<Record>,
    pub payloads: Vec<Payload>,
    directory_bytes: usize,
    payload_bytes: usize,
}

impl Pending {
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The length of the batch if it ended here.
    pub fn len(&self) -> usize {
        self.len_unpadded().next_multiple_of(BLOCK_BYTES)
    }

    /// Where the payloads end, from the start of the batch.
    pub fn len_unpadded(&self) -> usize {
        DIRECTORY_AT + self.directory_bytes + self.payload_bytes
    }

    /// The length of the batch with one more payload and at most one more record.
    pub fn len_with(&self, payload_bytes: usize) -> usize {
        let directory = self.directory_bytes + META_BYTES + ENTRY_BYTES;
        (DIRECTORY_AT + directory + self.payload_bytes + payload_bytes)
            .next_multiple_of(BLOCK_BYTES)
    }

    /// Where the payloads begin, from the start of the batch.
    pub fn payloads_at(&self) -> usize {
        DIRECTORY_AT + self.directory_bytes
    }

    pub fn push_entry(
        &mut self,
        region: RegionId,
        place: u32,
        index: u64,
        term: u64,
        payload: Payload,
    ) {
        let continued = match self.records.last_mut() {
            Some(Record::Entries {
                region: last,
                first,
                term: t,
                count,
                ..
            }) if *last == region && *t == term && *first + u64::from(*count) == index => {
                *count += 1;
                true
            }
            _ => false,
        };
        if !continued {
            self.records.push(Record::Entries {
                region,
                place,
                first: index,
                term,
                count: 1,
            });
            self.directory_bytes += ENTRIES_BYTES;
        }
        self.directory_bytes += ENTRY_BYTES;
        self.push_payload(payload);
    }

    pub fn push_hard_state(&mut self, region: RegionId, payload: Payload) {
        self.records.push(Record::HardState { region });
        self.directory_bytes += HARD_STATE_BYTES;
        self.push_payload(payload);
    }

    pub fn push_meta(
        &mut self,
        region: RegionId,
        flags: u8,
        (truncated, term): (u64, u64),
        payload: Payload,
    ) {
        self.records.push(Record::Meta {
            region,
            flags,
            truncated,
            term,
        });
        self.directory_bytes += META_BYTES;
        self.push_payload(payload);
    }

    fn push_payload(&mut self, payload: Payload) {
        self.payload_bytes += payload.bytes.len();
        self.payloads.push(payload);
    }

    pub fn clear(&mut self) {
        self.records.clear();
        self.payloads.clear();
        self.directory_bytes = 0;
        self.payload_bytes = 0;
    }

    /// Fills the whole batch and returns its checksum: each payload is copied once, here.
    pub fn encode(&self, position: &Position, out: &mut [u8]) -> u32 {
        assert_eq!(out.len(), self.len(), "a batch fills its buffer");
        let (mut directory, mut data) = (DIRECTORY_AT, self.payloads_at());
        let mut payloads = self.payloads.iter();
        let mut copy = |out: &mut [u8]| {
            let payload = payloads.next().expect("every record has its payloads");
            out[data..data + payload.bytes.len()].copy_from_slice(&payload.bytes);
            data += payload.bytes.len();
            (payload.bytes.len() as u32, payload.checksum)
        };
        for record in &self.records {
            let at = directory;
            match *record {
                Record::Entries {
                    region,
                    first,
                    term,
                    count,
                    ..
                } => {
                    out[at..at + 4].copy_from_slice(&[1, 0, 0, 0]);
                    put_u32(out, at + 4, count);
                    put_u64(out, at + 8, region.0);
                    put_u64(out, at + 16, first);
                    put_u64(out, at + 24, term);
                    directory += ENTRIES_BYTES;
                    for _ in 0..count {
                        let (len, checksum) = copy(out);
                        put_u32(out, directory, len);
                        put_u32(out, directory + 4, checksum);
                        directory += ENTRY_BYTES;
                    }
                }
                Record::HardState { region } => {
                    let (len, checksum) = copy(out);
                    out[at..at + 4].copy_from_slice(&[2, 0, 0, 0]);
                    put_u32(out, at + 4, len);
                    put_u64(out, at + 8, region.0);
                    put_u32(out, at + 16, checksum);
                    put_u32(out, at + 20, 0);
                    directory += HARD_STATE_BYTES;
                }
                Record::Meta {
                    region,
                    flags,
                    truncated,
                    term,
                } => {
                    let (len, checksum) = copy(out);
                    out[at..at + 4].copy_from_slice(&[3, flags, 0, 0]);
                    put_u32(out, at + 4, len);
                    put_u64(out, at + 8, region.0);
                    put_u64(out, at + 16, truncated);
                    put_u64(out, at + 24, term);
                    put_u32(out, at + 32, checksum);
                    put_u32(out, at + 36, 0);
                    directory += META_BYTES;
                }
            }
        }
        debug_assert_eq!(directory, self.payloads_at());
        out[data..].fill(0);
        out[..4].copy_from_slice(&MAGIC);
        put_u64(out, 8, position.log.0);
        put_u64(out, 16, position.sequence.0);
        put_u64(out, 24, position.opening);
        put_u64(out, 32, position.lsn.0);
        put_u64(out, 40, position.durable.0);
        put_u32(out, 48, position.previous);
        put_u32(out, 52, position.offset);
        let len = out.len() as u32;
        put_u32(out, 56, len);
        put_u32(out, 60, self.directory_bytes as u32);
        put_u32(out, 64, self.records.len() as u32);
        put_u32(out, 68, self.payload_bytes as u32);
        let checksum = crc32fast::hash(&out[8..directory]);
        put_u32(out, 4, checksum);
        checksum
    }
}

fn put_u32(out: &mut [u8], at: usize, value: u32) {
    out[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put_u64(out: &mut [u8], at: usize, value: u64) {
    out[at..at + 8].copy_from_slice(&value.to_le_bytes());
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
