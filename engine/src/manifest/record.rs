//! One record of the manifest file, of which there are always two copies side by side.
//!
//! ```text
//!    0  magic        4   "CMAN"
//!    4  checksum     4   crc32 of everything from 8 to the end of the body
//!    8  store id     8
//!   16  generation   8   of the half it stands in
//!   24  number       8   counts records over the life of the store
//!   32  previous     4   checksum of the record before it in this half, zero for the first
//!   36  body bytes   4
//!   40  kind         1   1: a state, 2: edits
//!   41  version      1   + 6 zero
//!   48  body         then zeros to the end of the last 4 KiB block
//! ```

use alloc::vec::Vec;

/// Records are whole blocks.
pub(super) const BLOCK_BYTES: usize = 4096;
const MAGIC: [u8; 4] = *b"CMAN";
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 48;

/// What a record's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    State = 1,
    Edits = 2,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub store: u64,
    pub generation: u64,
    pub number: u64,
    pub previous: u32,
}

/// A record that verifies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub position: Position,
    pub kind: Kind,
    pub checksum: u32,
    pub body: &'a [u8],
    /// The length of one copy.
    pub copy_bytes: usize,
}

/// How long both copies of a record with such a body are.
pub(super) fn record_bytes(body_bytes: usize) -> usize {
    2 * (HEAD_BYTES + body_bytes).next_multiple_of(BLOCK_BYTES)
}

/// Both copies, ready to be written, and the checksum that the next record names.
pub(super) fn encode(position: &Position, kind: Kind, body: &[u8]) -> (Vec<u8>, u32) {
    let copy_bytes = record_bytes(body.len()) / 2;
    let mut bytes = Vec::with_capacity(2 * copy_bytes);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&position.store.to_le_bytes());
    bytes.extend_from_slice(&position.generation.to_le_bytes());
    bytes.extend_from_slice(&position.number.to_le_bytes());
    bytes.extend_from_slice(&position.previous.to_le_bytes());
    bytes.extend_from_slice(
        &u32::try_from(body.len())
            .expect("a body fits a half")
            .to_le_bytes(),
    );
    bytes.extend_from_slice(&[kind as u8, VERSION, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(body);
    let checksum = crc32fast::hash(&bytes[8..]);
    bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
    bytes.resize(copy_bytes, 0);
    bytes.extend_from_within(..);
    (bytes, checksum)
}

/// Reads one copy at the start of the bytes, if one verifies there.
pub(super) fn decode(bytes: &[u8]) -> Result<Record<'_>, &'static str> {
    if bytes.len() < BLOCK_BYTES || bytes[..4] != MAGIC {
        return Err("no record begins here");
    }
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let end = HEAD_BYTES
        .checked_add(u32_at(36) as usize)
        .ok_or("a length overflows")?;
    if end > bytes.len() {
        return Err("the record is longer than its half");
    }
    let checksum = u32_at(4);
    if crc32fast::hash(&bytes[8..end]) != checksum {
        return Err("the record's checksum does not match");
    }
    if bytes[41] != VERSION {
        return Err("the record is of a version that this program does not know");
    }
    let kind = match bytes[40] {
        1 => Kind::State,
        2 => Kind::Edits,
        _ => return Err("the record is of a kind that this program does not know"),
    };
    let position = Position {
        store: u64_at(8),
        generation: u64_at(16),
        number: u64_at(24),
        previous: u32_at(32),
    };
    let copy_bytes = end.next_multiple_of(BLOCK_BYTES);
    Ok(Record {
        position,
        kind,
        checksum,
        body: &bytes[HEAD_BYTES..end],
        copy_bytes,
    })
}

/// The record at a place of a half, from whichever of its copies verifies.
pub(super) fn read_pair<'a>(
    half: &'a [u8],
    at: usize,
    fits: impl Fn(&Position) -> bool,
) -> Result<Record<'a>, &'static str> {
    let rest = half.get(at..).unwrap_or_default();
    let why = match decode(rest) {
        Ok(record) if fits(&record.position) => return Ok(record),
        Ok(_) => "the record here does not follow the one before",
        Err(why) => why,
    };
    // The second copy lies as far behind as it is long itself.
    let mut step = BLOCK_BYTES;
    while 2 * step <= rest.len() {
        if let Ok(record) = decode(&rest[step..])
            && record.copy_bytes == step
            && fits(&record.position)
        {
            return Ok(record);
        }
        step += BLOCK_BYTES;
    }
    Err(why)
}
