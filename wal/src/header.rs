//! The first block of a segment: whose it is, where the chain of batches begins, and which segments
//! are live.
//!
//! ```text
//!    0  magic          8
//!    8  checksum       4   crc32 of everything behind it, to the end of the block
//!   12  version        1   + 3 zero
//!   16  log id         8
//!   24  sequence       8   of this segment
//!   32  opening        8
//!   40  first lsn      8   of the first batch behind this header
//!   48  durable lsn    8   known durable when this header was submitted
//!   56  previous       4   checksum of the batch before the first
//!   60  segment bytes  4
//!   64  slot           4   a header copied to another file does not verify
//!   68  live count     4
//!   72  live segments  40 each, oldest first, this one last:
//!         sequence 8, opening 8, first lsn 8, last lsn 8 (all ones while open), slot 4, zero 4
//! ```
//!
//! The newest header decides what is live: an unlisted segment is free, a listed one that is missing
//! is corruption. A segment of an earlier opening ends at its last lsn; what lies behind is void.

use alloc::vec::Vec;

use crate::ids::{LogId, Lsn, Sequence, Slot};
use crate::limits::{BLOCK_BYTES, LIVE_SEGMENTS_MAX, NUMBER_MAX, SEQUENCE_MAX};

/// "CORACLOG", read as bytes.
const MAGIC: [u8; 8] = *b"CORACLOG";
const VERSION: u8 = 1;
const LIVE_AT: usize = 72;
const LIVE_BYTES: usize = 40;
/// The last lsn of a segment that still grows.
pub const OPEN: Lsn = Lsn(u64::MAX);

const _: () = assert!(LIVE_AT + LIVE_BYTES * LIVE_SEGMENTS_MAX <= BLOCK_BYTES);

/// One line of the table of live segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    /// Which segment.
    pub sequence: Sequence,
    /// The opening that wrote it.
    pub opening: u64,
    /// Its first batch.
    pub first: Lsn,
    /// Its last batch, [`OPEN`] while it grows; one below the first where it holds none.
    pub last: Lsn,
    /// Where it lies.
    pub slot: Slot,
}

/// The first block of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose segment.
    pub log: LogId,
    /// Which segment.
    pub sequence: Sequence,
    /// The opening that writes it.
    pub opening: u64,
    /// The first batch behind the header.
    pub first: Lsn,
    /// Known durable at submission.
    pub durable: Lsn,
    /// Checksum of the batch before the first.
    pub previous: u32,
    /// The length of every segment of this log.
    pub segment_bytes: u32,
    /// Where it lies.
    pub slot: Slot,
    /// All live segments, oldest first, this one last.
    pub live: Vec<Live>,
}

impl Header {
    /// Fills the first block.
    pub fn encode(&self, block: &mut [u8]) {
        assert!(block.len() == BLOCK_BYTES && self.live.len() <= LIVE_SEGMENTS_MAX);
        block.fill(0);
        block[..8].copy_from_slice(&MAGIC);
        block[12] = VERSION;
        let mut at = 16;
        let mut put = |bytes: &[u8]| {
            block[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&self.log.0.to_le_bytes());
        put(&self.sequence.0.to_le_bytes());
        put(&self.opening.to_le_bytes());
        put(&self.first.0.to_le_bytes());
        put(&self.durable.0.to_le_bytes());
        put(&self.previous.to_le_bytes());
        put(&self.segment_bytes.to_le_bytes());
        put(&self.slot.0.to_le_bytes());
        put(&(self.live.len() as u32).to_le_bytes());
        for live in &self.live {
            put(&live.sequence.0.to_le_bytes());
            put(&live.opening.to_le_bytes());
            put(&live.first.0.to_le_bytes());
            put(&live.last.0.to_le_bytes());
            put(&live.slot.0.to_le_bytes());
            put(&[0; 4]);
        }
        let checksum = crc32fast::hash(&block[12..]);
        block[8..12].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Reads a first block; `Err` says what does not hold.
    pub fn decode(block: &[u8]) -> Result<Header, &'static str> {
        if block.len() < BLOCK_BYTES {
            return Err("the file ends within its header");
        }
        let block = &block[..BLOCK_BYTES];
        if block[..8] != MAGIC {
            return Err("no header of a segment");
        }
        if crc32fast::hash(&block[12..]) != u32_at(block, 8) {
            return Err("the header's checksum does not match");
        }
        if block[12] != VERSION {
            return Err("the header is of a version that this program does not know");
        }
        let count = u32_at(block, 68) as usize;
        if count == 0 || count > LIVE_SEGMENTS_MAX {
            return Err("the header lists an impossible number of segments");
        }
        let live = (0..count)
            .map(|position| {
                let at = LIVE_AT + position * LIVE_BYTES;
                Live {
                    sequence: Sequence(u64_at(block, at)),
                    opening: u64_at(block, at + 8),
                    first: Lsn(u64_at(block, at + 16)),
                    last: Lsn(u64_at(block, at + 24)),
                    slot: Slot(u32_at(block, at + 32)),
                }
            })
            .collect();
        let header = Header {
            log: LogId(u64_at(block, 16)),
            sequence: Sequence(u64_at(block, 24)),
            opening: u64_at(block, 32),
            first: Lsn(u64_at(block, 40)),
            durable: Lsn(u64_at(block, 48)),
            previous: u32_at(block, 56),
            segment_bytes: u32_at(block, 60),
            slot: Slot(u32_at(block, 64)),
            live,
        };
        if header.is_possible() {
            Ok(header)
        } else {
            Err("the header's numbers do not fit each other")
        }
    }

    /// Whether a log can have written these numbers: the segments in order, each in a slot of its own,
    /// this one last. What is believed is reckoned with, so a checksum alone is not enough.
    fn is_possible(&self) -> bool {
        let this = Live {
            sequence: self.sequence,
            opening: self.opening,
            first: self.first,
            last: OPEN,
            slot: self.slot,
        };
        let in_order = self.live.is_sorted_by(|one, next| {
            one.sequence < next.sequence
                && one.opening <= next.opening
                && one.last < next.first
                && one.first.0 <= one.last.0 + 1
        });
        let mut slots: Vec<Slot> = self.live.iter().map(|live| live.slot).collect();
        slots.sort_unstable();
        self.live.last() == Some(&this)
            && in_order
            && slots.is_sorted_by(|one, next| one < next)
            && self.live.iter().all(|live| live.first.0 > 0)
            && self.durable < self.first
            && self.sequence.0 < u64::from(SEQUENCE_MAX)
            && self.opening < NUMBER_MAX
            && self.first.0 < NUMBER_MAX
    }
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
