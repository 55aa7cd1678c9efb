//! A batch on its way out: the records of one turn or a few, gathered, and their bytes.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::batch::{
    DIRECTORY_AT, ENTRIES_BYTES, ENTRY_BYTES, HARD_STATE_BYTES, MAGIC, META_BYTES, Position,
};
use crate::ids::RegionId;
use crate::limits::BLOCK_BYTES;

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
        place: u32,
    },
    Meta {
        region: RegionId,
        place: u32,
        flags: u8,
        truncated: u64,
        term: u64,
    },
}

/// A payload no longer than this is copied into its batch at once. To hold it until the batch is encoded
/// would take a count of references, and what guards one waits for every store before it.
const COPIED_BYTES_MAX: usize = 1 << 10;

/// A batch of long payloads keeps no more memory than this for the next one.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// What the directory says of a payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    pub len: u32,
    pub checksum: u32,
}

/// The records of one batch, gathered until it leaves at the end of a turn.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub records: Vec<Record>,
    /// One for each payload, in order.
    pub contents: Vec<Content>,
    /// The payloads of entries that their regions were not handed yet.
    pub kept: Vec<Bytes>,
    /// The regions have the entries, though these have no place yet.
    pub handed_over: bool,
    /// The payloads that were copied, packed.
    copied: Vec<u8>,
    /// The others, each with how much of the copied lies before it.
    shared: Vec<(usize, Bytes)>,
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

    /// Adds an entry; returns what the directory says of its payload.
    pub fn push_entry(
        &mut self,
        region: RegionId,
        place: u32,
        index: u64,
        term: u64,
        payload: &Bytes,
    ) -> Content {
        match self.records.last_mut() {
            Some(Record::Entries {
                region: last,
                first,
                term: t,
                count,
                ..
            }) if *last == region && *t == term && *first + u64::from(*count) == index => {
                *count += 1;
            }
            _ => {
                self.records.push(Record::Entries {
                    region,
                    place,
                    first: index,
                    term,
                    count: 1,
                });
                self.directory_bytes += ENTRIES_BYTES;
            }
        }
        self.directory_bytes += ENTRY_BYTES;
        self.push_payload(payload)
    }

    pub fn push_hard_state(&mut self, region: RegionId, place: u32, payload: &Bytes) {
        self.records.push(Record::HardState { region, place });
        self.directory_bytes += HARD_STATE_BYTES;
        self.push_payload(payload);
    }

    pub fn push_meta(
        &mut self,
        region: RegionId,
        place: u32,
        flags: u8,
        (truncated, term): (u64, u64),
        payload: &Bytes,
    ) {
        self.records.push(Record::Meta {
            region,
            place,
            flags,
            truncated,
            term,
        });
        self.directory_bytes += META_BYTES;
        self.push_payload(payload);
    }

    fn push_payload(&mut self, payload: &Bytes) -> Content {
        let content = Content {
            len: payload.len() as u32,
            checksum: crc32fast::hash(payload),
        };
        self.payload_bytes += payload.len();
        self.contents.push(content);
        if payload.len() <= COPIED_BYTES_MAX {
            self.copied.extend_from_slice(payload);
        } else {
            self.shared.push((self.copied.len(), payload.clone()));
        }
        content
    }

    pub fn clear(&mut self) {
        self.records.clear();
        self.contents.clear();
        self.kept.clear();
        self.handed_over = false;
        self.copied.clear();
        self.copied.shrink_to(KEPT_BYTES_MAX);
        self.shared.clear();
        self.directory_bytes = 0;
        self.payload_bytes = 0;
    }

    /// Fills the whole batch and returns its checksum.
    pub fn encode(&self, position: &Position, out: &mut [u8]) -> u32 {
        assert_eq!(out.len(), self.len(), "a batch fills its buffer");
        let (mut directory, mut data) = (DIRECTORY_AT, self.payloads_at());
        let mut contents = self.contents.iter();
        let mut content = || {
            let content = contents.next().expect("every record has its payloads");
            (content.len, content.checksum)
        };
        for record in &self.records {
            match *record {
                Record::Entries {
                    region,
                    first,
                    term,
                    count,
                    ..
                } => {
                    let line = &mut out[directory..directory + ENTRIES_BYTES];
                    line[..4].copy_from_slice(&[1, 0, 0, 0]);
                    put_u32(line, 4, count);
                    put_u64(line, 8, region.0);
                    put_u64(line, 16, first);
                    put_u64(line, 24, term);
                    directory += ENTRIES_BYTES;
                    let end = directory + ENTRY_BYTES * count as usize;
                    for line in out[directory..end].as_chunks_mut::<ENTRY_BYTES>().0 {
                        let (len, checksum) = content();
                        *line = (u64::from(len) | u64::from(checksum) << 32).to_le_bytes();
                    }
                    directory = end;
                }
                Record::HardState { region, .. } => {
                    let (len, checksum) = content();
                    let line = &mut out[directory..directory + HARD_STATE_BYTES];
                    line[..4].copy_from_slice(&[2, 0, 0, 0]);
                    put_u32(line, 4, len);
                    put_u64(line, 8, region.0);
                    put_u32(line, 16, checksum);
                    put_u32(line, 20, 0);
                    directory += HARD_STATE_BYTES;
                }
                Record::Meta {
                    region,
                    flags,
                    truncated,
                    term,
                    ..
                } => {
                    let (len, checksum) = content();
                    let line = &mut out[directory..directory + META_BYTES];
                    line[..4].copy_from_slice(&[3, flags, 0, 0]);
                    put_u32(line, 4, len);
                    put_u64(line, 8, region.0);
                    put_u64(line, 16, truncated);
                    put_u64(line, 24, term);
                    put_u32(line, 32, checksum);
                    put_u32(line, 36, 0);
                    directory += META_BYTES;
                }
            }
        }
        debug_assert_eq!(directory, self.payloads_at());
        let mut copied = 0;
        let mut put = |bytes: &[u8]| {
            out[data..data + bytes.len()].copy_from_slice(bytes);
            data += bytes.len();
        };
        for (before, payload) in &self.shared {
            put(&self.copied[copied..*before]);
            put(payload);
            copied = *before;
        }
        put(&self.copied[copied..]);
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
