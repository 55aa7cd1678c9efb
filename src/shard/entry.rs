//! What lies in the log: the payload of an entry, as the log and as raft see it.
//!
//! ```text
//! a payload       nothing                                     an empty entry, as leaders begin with
//!                 kind u8 │ epoch version u64 │ conf_ver u64 │ leader's time u64 │ …   kind below 0x80
//!                 0xC0 │ context u32+… │ conf change …        a change of the configuration
//!
//! 1 commands      groups u32 × (client u64 │ sequence u64 │ writes u16 × write)
//! 2 truncate      index u64 │ term u64
//! 3 compute hash  (nothing)
//! 4 verify hash   index u64 │ hash u64
//! 5 commands      as 1; some of them must know what is there before they write
//! 6 split         see `split.rs`
//! 7 rotate        (nothing): the memtables of all replicas, so that a split waits shorter
//!
//! a write         1 put              key u16+… │ stored value u32+…
//!                 2 delete           key u16+…
//!                 3 delete range     start u16+… │ limit u16+…
//!                 4 compare and put  key u16+… │ flags u8 │ expected u32+… │ stored value u32+…
//!                 5 add              key u16+… │ delta i64
//! ```
//!
//! Commands of one client request stand together in a group, with the client's number and its
//! sequence. Values stand in their stored form, so that applying one copies it once.

use coracle_engine::value::StoredValue;
use coracle_wal as wal;
use raft::eraftpb;

use super::codec::{Malformed, Reader, put_short};
use super::ids::{Index, Term};
use super::region::Epoch;
use super::request::Write;
use super::split::Split;

const COMMANDS: u8 = 1;
const TRUNCATE: u8 = 2;
const COMPUTE_HASH: u8 = 3;
const VERIFY_HASH: u8 = 4;
const READING_COMMANDS: u8 = 5;
const SPLIT: u8 = 6;
const ROTATE: u8 = 7;
const CONF_CHANGE: u8 = 0xC0;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const DELETE_RANGE: u8 = 3;
const COMPARE_AND_PUT: u8 = 4;
const ADD: u8 = 5;

const HAS_EXPECTED: u8 = 1;
const HAS_VALUE: u8 = 2;

/// The bytes before the commands.
pub const COMMANDS_HEADER_BYTES: usize = 1 + 16 + 8 + 4;

/// The bytes before the writes of a group.
pub const GROUP_HEADER_BYTES: usize = 8 + 8 + 2;

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// Commands of clients.
    Commands {
        /// Whether some must know what is there before they write.
        reading: bool,
        /// The commands.
        groups: Groups<'a>,
    },
    /// The log may be cut off here.
    Truncate {
        /// The last entry that goes.
        index: Index,
        /// Its term.
        term: Term,
    },
    /// The content is to be hashed as of here.
    ComputeHash,
    /// The leader's hash as of an entry.
    VerifyHash {
        /// As of this entry.
        index: Index,
        /// The hash.
        hash: u64,
    },
    /// The region becomes several; in the form of [`Split::decode`].
    Split(&'a [u8]),
    /// A split is near: what lies in memory is to be put into tables.
    Rotate,
}

/// A payload taken apart, but not the commands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// The epoch under which it was proposed.
    pub epoch: Epoch,
    /// The leader's time when it was proposed, in Unix milliseconds.
    pub time_ms: u64,
    /// What it says.
    pub said: Said<'a>,
}

/// Takes a payload apart that is neither empty nor a change of the configuration.
pub fn parse(payload: &[u8]) -> Result<Parsed<'_>, Malformed> {
    let mut reader = Reader(payload);
    let kind = reader.u8()?;
    let epoch = Epoch {
        version: reader.u64()?,
        conf_ver: reader.u64()?,
    };
    let time_ms = reader.u64()?;
    let said = match kind {
        COMMANDS | READING_COMMANDS => Said::Commands {
            reading: kind == READING_COMMANDS,
            groups: Groups {
                left: reader.u32()?,
                reader: reader.0,
            },
        },
        TRUNCATE => Said::Truncate {
            index: Index(reader.u64()?),
            term: Term(reader.u64()?),
        },
        COMPUTE_HASH => Said::ComputeHash,
        VERIFY_HASH => Said::VerifyHash {
            index: Index(reader.u64()?),
            hash: reader.u64()?,
        },
        SPLIT => Said::Split(reader.0),
        ROTATE => Said::Rotate,
        _ => return Err(Malformed("an entry of an unknown kind")),
    };
    Ok(Parsed {
        epoch,
        time_ms,
        said,
    })
}

fn header(kind: u8, epoch: Epoch, time_ms: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.push(kind);
    out.extend_from_slice(&epoch.version.to_le_bytes());
    out.extend_from_slice(&epoch.conf_ver.to_le_bytes());
    out.extend_from_slice(&time_ms.to_le_bytes());
    out
}

/// The payload that cuts the log off.
pub fn truncate(epoch: Epoch, time_ms: u64, index: Index, term: Term) -> Vec<u8> {
    let mut out = header(TRUNCATE, epoch, time_ms);
    out.extend_from_slice(&index.0.to_le_bytes());
    out.extend_from_slice(&term.0.to_le_bytes());
    out
}

/// The payload that has the content hashed.
pub fn compute_hash(epoch: Epoch, time_ms: u64) -> Vec<u8> {
    header(COMPUTE_HASH, epoch, time_ms)
}

/// The payload that has hashes compared.
pub fn verify_hash(epoch: Epoch, time_ms: u64, index: Index, hash: u64) -> Vec<u8> {
    let mut out = header(VERIFY_HASH, epoch, time_ms);
    out.extend_from_slice(&index.0.to_le_bytes());
    out.extend_from_slice(&hash.to_le_bytes());
    out
}

/// The payload that splits the region.
pub fn split(epoch: Epoch, time_ms: u64, split: &Split) -> Vec<u8> {
    let mut out = header(SPLIT, epoch, time_ms);
    split.encode(&mut out);
    out
}

/// What a payload that splits the region says: under which epoch, when, and how.
pub fn split_of(payload: &[u8]) -> Result<(Epoch, u64, Split), Malformed> {
    let parsed = parse(payload)?;
    match parsed.said {
        Said::Split(parts) => Ok((parsed.epoch, parsed.time_ms, Split::decode(parts)?)),
        _ => Err(Malformed("not a split")),
    }
}

/// The payload that has memtables rotated.
pub fn rotate(epoch: Epoch, time_ms: u64) -> Vec<u8> {
    header(ROTATE, epoch, time_ms)
}

/// Commands that gather for one entry.
#[derive(Debug, Default)]
pub struct Gathered {
    bytes: Vec<u8>,
    /// How long the last entry was: the next one may well be as long.
    before: usize,
    groups: u32,
    reading: bool,
}

impl Gathered {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.groups == 0
    }

    /// Gives back memory.
    pub fn shed(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// Whatever the first byte is, for whoever wants the memory near.
    pub fn first_byte(&self) -> Option<u8> {
        self.bytes.first().copied()
    }

    /// How long the entry is so far.
    pub fn len(&self) -> usize {
        self.bytes.len().max(COMMANDS_HEADER_BYTES)
    }

    /// Adds the writes of one request.
    pub fn push(&mut self, client: u64, sequence: u64, writes: &[Write<'_>]) {
        if self.bytes.is_empty() {
            self.bytes
                .reserve_exact(self.before.max(COMMANDS_HEADER_BYTES));
            self.bytes.resize(COMMANDS_HEADER_BYTES, 0);
        }
        self.groups += 1;
        let out = &mut self.bytes;
        out.extend_from_slice(&client.to_le_bytes());
        out.extend_from_slice(&sequence.to_le_bytes());
        out.extend_from_slice(&(writes.len() as u16).to_le_bytes());
        for write in writes {
            self.reading |= matches!(write, Write::CompareAndPut { .. } | Write::Add { .. });
            encode(write, out);
        }
    }

    /// The payload; nothing is gathered afterwards. An entry without commands moves the clock only.
    pub fn take(&mut self, epoch: Epoch, time_ms: u64) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        if bytes.is_empty() {
            bytes.resize(COMMANDS_HEADER_BYTES, 0);
        }
        self.before = bytes.len();
        // What the log keeps in memory is not to be half empty.
        if bytes.capacity() > bytes.len() + bytes.len() / 16 {
            bytes.shrink_to_fit();
        }
        bytes[0] = match std::mem::take(&mut self.reading) {
            true => READING_COMMANDS,
            false => COMMANDS,
        };
        bytes[1..9].copy_from_slice(&epoch.version.to_le_bytes());
        bytes[9..17].copy_from_slice(&epoch.conf_ver.to_le_bytes());
        bytes[17..25].copy_from_slice(&time_ms.to_le_bytes());
        bytes[25..29].copy_from_slice(&self.groups.to_le_bytes());
        self.groups = 0;
        bytes
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.groups = 0;
        self.reading = false;
    }
}

/// How long a write is in an entry.
pub fn encoded_len(write: &Write<'_>) -> usize {
    match write {
        Write::Put { key, value, .. } => 1 + 2 + key.len() + 4 + 9 + value.len(),
        Write::Delete { key } => 1 + 2 + key.len(),
        Write::DeleteRange { start, limit } => 1 + 4 + start.len() + limit.len(),
        Write::CompareAndPut {
            key,
            expected,
            value,
        } => {
            let optional = |bytes: &Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
            1 + 2 + key.len() + 1 + 8 + 9 + optional(expected) + optional(value)
        }
        Write::Add { key, .. } => 1 + 2 + key.len() + 8,
    }
}

fn put_value(out: &mut Vec<u8>, value: &[u8], expiry_ms: Option<u64>) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    let stored = StoredValue {
        expiry_ms,
        bytes: value,
    };
    stored.encode(out);
    let len = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&len.to_le_bytes());
}

fn encode(write: &Write<'_>, out: &mut Vec<u8>) {
    match write {
        Write::Put {
            key,
            value,
            expiry_ms,
        } => {
            out.push(PUT);
            put_short(out, key);
            put_value(out, value, *expiry_ms);
        }
        Write::Delete { key } => {
            out.push(DELETE);
            put_short(out, key);
        }
        Write::DeleteRange { start, limit } => {
            out.push(DELETE_RANGE);
            put_short(out, start);
            put_short(out, limit);
        }
        Write::CompareAndPut {
            key,
            expected,
            value,
        } => {
            out.push(COMPARE_AND_PUT);
            put_short(out, key);
            let has = |present: bool, flag: u8| if present { flag } else { 0 };
            out.push(has(expected.is_some(), HAS_EXPECTED) | has(value.is_some(), HAS_VALUE));
            let expected = expected.unwrap_or_default();
            out.extend_from_slice(&(expected.len() as u32).to_le_bytes());
            out.extend_from_slice(expected);
            put_value(out, value.unwrap_or_default(), None);
        }
        Write::Add { key, delta } => {
            out.push(ADD);
            put_short(out, key);
            out.extend_from_slice(&delta.to_le_bytes());
        }
    }
}

/// The requests in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups<'a> {
    left: u32,
    reader: &'a [u8],
}

/// The writes of one request, as applied.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// The client.
    pub client: u64,
    /// Its command.
    pub sequence: u64,
    /// How many writes follow.
    pub writes: u16,
}

/// A write as it stands in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the same as in a request, with stored values")]
pub enum Command<'a> {
    Put {
        key: &'a [u8],
        stored: &'a [u8],
    },
    Delete {
        key: &'a [u8],
    },
    DeleteRange {
        start: &'a [u8],
        limit: &'a [u8],
    },
    CompareAndPut {
        key: &'a [u8],
        expected: Option<&'a [u8]>,
        stored: Option<&'a [u8]>,
    },
    Add {
        key: &'a [u8],
        delta: i64,
    },
}

impl<'a> Command<'a> {
    /// The key whose value it must know.
    pub fn reads(&self) -> Option<&'a [u8]> {
        match self {
            Command::CompareAndPut { key, .. } | Command::Add { key, .. } => Some(key),
            _ => None,
        }
    }
}

impl<'a> Groups<'a> {
    /// How many requests there are.
    pub fn len(&self) -> u32 {
        self.left
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Visits every request and its writes, in order.
    pub fn visit(
        mut self,
        mut begin: impl FnMut(Group),
        mut visit: impl FnMut(Command<'a>),
    ) -> Result<(), Malformed> {
        while self.left > 0 {
            self.left -= 1;
            let mut reader = Reader(self.reader);
            let group = Group {
                client: reader.u64()?,
                sequence: reader.u64()?,
                writes: reader.u16()?,
            };
            begin(group);
            for _ in 0..group.writes {
                command(&mut reader, &mut visit)?;
            }
            self.reader = reader.0;
        }
        Reader(self.reader).end()
    }
}

/// Takes one write off the front, and shows it from where it was recognised: handed back it would go
/// through memory, and wait there for its own halves.
#[inline(always)]
fn command<'a>(
    reader: &mut Reader<'a>,
    visit: &mut impl FnMut(Command<'a>),
) -> Result<(), Malformed> {
    let op = reader.u8()?;
    let key = reader.short()?;
    match op {
        PUT => {
            let stored = long(reader)?;
            visit(Command::Put { key, stored });
        }
        DELETE => visit(Command::Delete { key }),
        DELETE_RANGE => {
            let limit = reader.short()?;
            visit(Command::DeleteRange { start: key, limit });
        }
        COMPARE_AND_PUT => {
            let flags = reader.u8()?;
            let (expected, stored) = (long(reader)?, long(reader)?);
            visit(Command::CompareAndPut {
                key,
                expected: (flags & HAS_EXPECTED != 0).then_some(expected),
                stored: (flags & HAS_VALUE != 0).then_some(stored),
            });
        }
        ADD => {
            let delta = reader.u64()? as i64;
            visit(Command::Add { key, delta });
        }
        _ => return Err(Malformed("a write of an unknown kind")),
    }
    Ok(())
}

fn long<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let len = reader.u32()? as usize;
    reader.bytes(len)
}

// -- between raft and the log ------------------------------------------------------------------

/// The log's form of an entry. Payloads of ordinary entries are shared, not copied.
pub fn to_log(entry: &eraftpb::Entry) -> wal::Entry {
    let payload = match entry.get_entry_type() {
        eraftpb::EntryType::EntryNormal => entry.data.clone(),
        _ => {
            let mut out = Vec::with_capacity(5 + entry.context.len() + entry.data.len());
            out.push(CONF_CHANGE);
            out.extend_from_slice(&(entry.context.len() as u32).to_le_bytes());
            out.extend_from_slice(&entry.context);
            out.extend_from_slice(&entry.data);
            out.into()
        }
    };
    wal::Entry {
        index: entry.index,
        term: entry.term,
        payload,
    }
}

/// Raft's form of an entry.
pub fn to_raft(entry: wal::Entry) -> eraftpb::Entry {
    let mut out = eraftpb::Entry {
        index: entry.index,
        term: entry.term,
        ..eraftpb::Entry::default()
    };
    if entry.payload.first() == Some(&CONF_CHANGE) && entry.payload.len() >= 5 {
        out.set_entry_type(eraftpb::EntryType::EntryConfChangeV2);
        let len = u32::from_le_bytes(entry.payload[1..5].try_into().expect("four bytes")) as usize;
        let context_end = (5 + len).min(entry.payload.len());
        out.context = entry.payload.slice(5..context_end);
        out.data = entry.payload.slice(context_end..);
    } else {
        out.data = entry.payload;
    }
    out
}

/// Whether an entry from another peer has a form that can be applied.
pub fn is_sound(entry: &eraftpb::Entry) -> bool {
    match entry.get_entry_type() {
        eraftpb::EntryType::EntryNormal => {
            entry.context.is_empty()
                && (entry.data.is_empty()
                    || match parse(&entry.data) {
                        Ok(Parsed {
                            said: Said::Commands { groups, .. },
                            ..
                        }) => groups.visit(|_| {}, |_| {}).is_ok(),
                        Ok(Parsed {
                            said: Said::Split(parts),
                            ..
                        }) => Split::decode(parts).is_ok(),
                        Ok(_) => true,
                        Err(_) => false,
                    })
        }
        eraftpb::EntryType::EntryConfChange => false,
        eraftpb::EntryType::EntryConfChangeV2 => super::membership::is_sound(entry),
    }
}

/// Whether an entry holds commands of clients.
pub fn has_commands(entry: &eraftpb::Entry) -> bool {
    entry.get_entry_type() == eraftpb::EntryType::EntryNormal
        && matches!(entry.data.first(), Some(&(COMMANDS | READING_COMMANDS)))
}

/// Whether an entry changes the region's peers or its range.
pub fn changes_region(entry: &eraftpb::Entry) -> bool {
    entry.get_entry_type() != eraftpb::EntryType::EntryNormal || entry.data.first() == Some(&SPLIT)
}

/// What checkers compare of an entry.
pub fn checksum(entry: &eraftpb::Entry) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&entry.context);
    hasher.update(&entry.data);
    hasher.finalize()
}

/// An entry's payload as raft holds it.
pub fn payload_len(entry: &eraftpb::Entry) -> u64 {
    (entry.data.len() + entry.context.len()) as u64
}
