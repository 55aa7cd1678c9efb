//! The bytes of a memtable in one piece: key slots and versions.
//!
//! ```text
//! slot      head 4 | key length 2, zero 2 | key, padded to 8
//! version   seq 8 | previous 4 | capacity 4 | kind and length 4, zero 4 | value, padded to 8
//! ```
//!
//! A reference counts 8-byte units from the start, so 32 bits reach 32 GiB. The first version of a key
//! lies right behind its slot: one lookup, one or two cache lines. Versions that nobody needs go to
//! free lists by capacity; slots stay, since sorted runs point at them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::record::{Kind, Seq};

/// Points at a slot or a version, in 8-byte units; zero points at nothing.
pub(crate) type Ref = u32;

pub(crate) const NONE: Ref = 0;
const UNIT: usize = 8;
const SLOT_BYTES: usize = 8;
const VERSION_BYTES: usize = 24;
/// What the processor fetches from memory at once.
const LINE_BYTES: usize = 64;
/// The rest of a longer value comes as it is written, one line behind the other, without being asked for.
const TOUCHED_BYTES_MAX: usize = 512;
const DELETE_BIT: u32 = 1 << 31;

#[derive(Debug)]
pub(crate) struct Arena {
    bytes: Vec<u8>,
    free: BTreeMap<u32, Vec<Ref>>,
    free_bytes: u64,
}

impl Arena {
    pub fn new(capacity: usize) -> Arena {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.resize(UNIT, 0);
        Arena {
            bytes,
            free: BTreeMap::new(),
            free_bytes: 0,
        }
    }

    pub fn clear(&mut self) {
        self.bytes.truncate(UNIT);
        self.free.clear();
        self.free_bytes = 0;
    }

    /// Bytes in use or free for reuse.
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Whether references have no room for one more record of the largest size.
    pub fn is_full(&self) -> bool {
        self.bytes.len() as u64 > u64::from(u32::MAX) * UNIT as u64 - (4 << 20)
    }

    /// A new key with its first version behind it.
    pub fn add_key(&mut self, key: &[u8], seq: Seq, kind: Kind, value: &[u8]) -> Ref {
        let slot = self.top();
        self.bytes.extend_from_slice(&NONE.to_le_bytes());
        self.bytes
            .extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(key);
        self.pad();
        let version = self.push_version(NONE, seq, kind, value);
        self.put_u32(slot, 0, version);
        slot
    }

    /// A new version; its space may be one that another version left.
    pub fn add_version(&mut self, previous: Ref, seq: Seq, kind: Kind, value: &[u8]) -> Ref {
        if self.free_bytes > 0 {
            let capacity = capacity_for(value.len());
            if let Some(version) = self.free.get_mut(&capacity).and_then(Vec::pop) {
                self.free_bytes -= u64::from(capacity);
                self.put_u32(version, 8, previous);
                self.overwrite(version, seq, kind, value);
                return version;
            }
        }
        self.push_version(previous, seq, kind, value)
    }

    fn push_version(&mut self, previous: Ref, seq: Seq, kind: Kind, value: &[u8]) -> Ref {
        let version = self.top();
        let capacity = capacity_for(value.len());
        let mut head = [0; VERSION_BYTES];
        head[..8].copy_from_slice(&seq.0.to_le_bytes());
        head[8..12].copy_from_slice(&previous.to_le_bytes());
        head[12..16].copy_from_slice(&capacity.to_le_bytes());
        head[16..20].copy_from_slice(&length_word(kind, value).to_le_bytes());
        self.bytes.extend_from_slice(&head);
        self.bytes.extend_from_slice(value);
        let end = version as usize * UNIT + VERSION_BYTES + capacity as usize;
        self.bytes.resize(end, 0);
        version
    }

    /// Puts another value where a version stands; it must fit.
    pub fn overwrite(&mut self, version: Ref, seq: Seq, kind: Kind, value: &[u8]) {
        let at = version as usize * UNIT;
        let place = &mut self.bytes[at..at + VERSION_BYTES + value.len()];
        place[..8].copy_from_slice(&seq.0.to_le_bytes());
        place[16..20].copy_from_slice(&length_word(kind, value).to_le_bytes());
        place[VERSION_BYTES..].copy_from_slice(value);
    }

    /// Nobody needs the version any more.
    pub fn give_up(&mut self, version: Ref) {
        let capacity = self.capacity(version);
        self.free_bytes += u64::from(capacity);
        self.free.entry(capacity).or_default().push(version);
    }

    #[inline]
    pub fn key(&self, slot: Ref) -> &[u8] {
        let at = slot as usize * UNIT;
        let len = self.u32_at(slot, 4) as usize;
        &self.bytes[at + SLOT_BYTES..at + SLOT_BYTES + len]
    }

    /// Reads one byte of each line of the processor's cache that a slot and a version behind it take, if
    /// they are as long as this; what comes back means nothing.
    #[inline]
    pub fn touch(&self, slot: Ref, key_bytes: usize, value_bytes: usize) -> u8 {
        let at = slot as usize * UNIT;
        let len = SLOT_BYTES + key_bytes + VERSION_BYTES + value_bytes.min(TOUCHED_BYTES_MAX);
        let end = (at + len).min(self.bytes.len());
        let lines = self.bytes[at..end].iter().step_by(LINE_BYTES);
        lines.fold(self.bytes[end - 1], |all, byte| all ^ byte)
    }

    #[inline]
    pub fn head(&self, slot: Ref) -> Ref {
        self.u32_at(slot, 0)
    }

    pub fn set_head(&mut self, slot: Ref, version: Ref) {
        self.put_u32(slot, 0, version);
    }

    #[inline]
    pub fn seq(&self, version: Ref) -> Seq {
        let at = version as usize * UNIT;
        Seq(u64::from_le_bytes(
            self.bytes[at..at + 8].try_into().expect("eight bytes"),
        ))
    }

    #[inline]
    pub fn previous(&self, version: Ref) -> Ref {
        self.u32_at(version, 8)
    }

    pub fn set_previous(&mut self, version: Ref, previous: Ref) {
        self.put_u32(version, 8, previous);
    }

    pub fn capacity(&self, version: Ref) -> u32 {
        self.u32_at(version, 12)
    }

    #[inline]
    pub fn value(&self, version: Ref) -> (Kind, &[u8]) {
        let word = self.u32_at(version, 16);
        let kind = if word & DELETE_BIT != 0 {
            Kind::Delete
        } else {
            Kind::Put
        };
        let at = version as usize * UNIT + VERSION_BYTES;
        (kind, &self.bytes[at..at + (word & !DELETE_BIT) as usize])
    }

    fn top(&self) -> Ref {
        debug_assert!(self.bytes.len().is_multiple_of(UNIT));
        u32::try_from(self.bytes.len() / UNIT).expect("a full memtable is rotated first")
    }

    fn pad(&mut self) {
        self.bytes
            .resize(self.bytes.len().next_multiple_of(UNIT), 0);
    }

    #[inline]
    fn u32_at(&self, at: Ref, field: usize) -> u32 {
        let at = at as usize * UNIT + field;
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().expect("four bytes"))
    }

    fn put_u32(&mut self, at: Ref, field: usize, value: u32) {
        let at = at as usize * UNIT + field;
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
}

fn length_word(kind: Kind, value: &[u8]) -> u32 {
    value.len() as u32 | if kind == Kind::Delete { DELETE_BIT } else { 0 }
}

/// Whole units up to 512 bytes, then in steps of an eighth, so that a free place fits many values.
fn capacity_for(len: usize) -> u32 {
    let step = if len <= 512 {
        UNIT
    } else {
        (1 << len.ilog2()) / 8
    };
    len.next_multiple_of(step) as u32
}
