//! Records on their way into one block: kept as given until it is known what their keys share.

use alloc::vec::Vec;

use crate::record::{Kind, Record, Seq};
use crate::table::block::{BODY_HEADER_BYTES, mark_of};
use crate::table::format::{shared_bytes, width_of};

#[derive(Clone, Copy, Debug)]
struct Pending {
    /// Where the value begins; the key lies before it.
    value: u32,
    end: u32,
    seq: Seq,
    kind: Kind,
    mark: u8,
}

/// What decides how long the body will be.
#[derive(Clone, Copy, Debug)]
struct Measure {
    count: usize,
    /// What all keys share.
    prefix: usize,
    key_bytes: usize,
    key_bytes_max: usize,
    value_bytes: usize,
    min_seq: u64,
    max_seq: u64,
}

impl Measure {
    const NOTHING: Measure = Measure {
        count: 0,
        prefix: usize::MAX,
        key_bytes: 0,
        key_bytes_max: 0,
        value_bytes: 0,
        min_seq: u64::MAX,
        max_seq: 0,
    };

    fn length_width(&self) -> usize {
        match self.key_bytes_max - self.prefix {
            0..=0xff => 1,
            _ => 2,
        }
    }

    fn seq_width(&self) -> usize {
        width_of((self.max_seq - self.min_seq) << 1 | 1)
    }

    fn body_bytes_with(&self, place_width: usize) -> usize {
        BODY_HEADER_BYTES
            + self.prefix
            + self.count
            + (self.count + 1) * place_width
            + self.count * (self.length_width() + self.seq_width())
            + (self.key_bytes - self.count * self.prefix)
            + self.value_bytes
    }

    fn place_width(&self) -> usize {
        match self.body_bytes_with(2) {
            0..=0xffff => 2,
            _ => 4,
        }
    }

    fn body_bytes(&self) -> usize {
        match self.body_bytes_with(2) {
            bytes @ 0..=0xffff => bytes,
            _ => self.body_bytes_with(4),
        }
    }
}

/// Records of one block.
#[derive(Debug)]
pub struct BlockBuilder {
    /// Keys and values, as given.
    bytes: Vec<u8>,
    pending: Vec<Pending>,
    measure: Measure,
    body_bytes: usize,
}

impl Default for BlockBuilder {
    fn default() -> BlockBuilder {
        BlockBuilder {
            bytes: Vec::new(),
            pending: Vec::new(),
            measure: Measure::NOTHING,
            body_bytes: 0,
        }
    }
}

/// How a block would be if it took one more record.
#[derive(Clone, Copy, Debug)]
pub struct Grown {
    measure: Measure,
    /// How long its body would be.
    pub body_bytes: usize,
}

impl BlockBuilder {
    /// How many records it holds.
    pub fn count(&self) -> usize {
        self.measure.count
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.measure.count == 0
    }

    /// How long its body is now.
    pub fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// The first key.
    pub fn first_key(&self) -> &[u8] {
        match self.pending.first() {
            Some(first) => &self.bytes[..first.value as usize],
            None => &[],
        }
    }

    fn key(&self, position: usize) -> &[u8] {
        let begin = match position {
            0 => 0,
            position => self.pending[position - 1].end as usize,
        };
        &self.bytes[begin..self.pending[position].value as usize]
    }

    /// The last key.
    pub fn last_key(&self) -> &[u8] {
        match self.pending.len() {
            0 => &[],
            count => self.key(count - 1),
        }
    }

    /// How the block would be with one more record.
    #[inline]
    pub fn grown(&self, record: &Record<'_>) -> Grown {
        let now = &self.measure;
        let prefix = match now.count {
            0 => record.key.len(),
            // What all keys share is what the first and the last share.
            _ => shared_bytes(&self.first_key()[..now.prefix], record.key),
        };
        let measure = Measure {
            count: now.count + 1,
            prefix,
            key_bytes: now.key_bytes + record.key.len(),
            key_bytes_max: now.key_bytes_max.max(record.key.len()),
            value_bytes: now.value_bytes + record.value.len(),
            min_seq: now.min_seq.min(record.seq.0),
            max_seq: now.max_seq.max(record.seq.0),
        };
        let body_bytes = measure.body_bytes();
        Grown {
            measure,
            body_bytes,
        }
    }

    /// Takes a record for which `grown` was asked; `hash` is its key's.
    #[inline]
    pub fn push(&mut self, record: &Record<'_>, hash: u64, grown: Grown) {
        self.bytes.extend_from_slice(record.key);
        let value = self.bytes.len() as u32;
        self.bytes.extend_from_slice(record.value);
        self.pending.push(Pending {
            value,
            end: self.bytes.len() as u32,
            seq: record.seq,
            kind: record.kind,
            mark: mark_of(hash),
        });
        self.measure = grown.measure;
        self.body_bytes = grown.body_bytes;
    }

    /// Appends the body.
    pub fn encode(&self, body: &mut Vec<u8>) {
        assert!(!self.is_empty(), "a block holds a record");
        let measure = &self.measure;
        let begin = body.len();
        let prefix = measure.prefix;
        let (place_width, length_width) = (measure.place_width(), measure.length_width());
        let seq_width = measure.seq_width();
        body.reserve(self.body_bytes);
        body.extend_from_slice(&(measure.count as u32).to_le_bytes());
        body.extend_from_slice(&(prefix as u16).to_le_bytes());
        body.push((length_width << 4 | place_width) as u8);
        body.push(seq_width as u8);
        body.extend_from_slice(&measure.min_seq.to_le_bytes());
        body.extend_from_slice(&self.first_key()[..prefix]);

        body.extend(self.pending.iter().map(|pending| pending.mark));

        let fixed = length_width + seq_width;
        let places = BODY_HEADER_BYTES + prefix + measure.count;
        let mut place = places + (measure.count + 1) * place_width;
        let mut before = 0;
        body.extend_from_slice(&(place as u32).to_le_bytes()[..place_width]);
        for pending in &self.pending {
            place += fixed + (pending.end as usize - before) - prefix;
            before = pending.end as usize;
            body.extend_from_slice(&(place as u32).to_le_bytes()[..place_width]);
        }
        let mut key = 0;
        for pending in &self.pending {
            let (value, end) = (pending.value as usize, pending.end as usize);
            let suffix = &self.bytes[key + prefix..value];
            let word = (pending.seq.0 - measure.min_seq) << 1 | pending.kind as u64;
            body.extend_from_slice(&(suffix.len() as u16).to_le_bytes()[..length_width]);
            body.extend_from_slice(suffix);
            body.extend_from_slice(&word.to_le_bytes()[..seq_width]);
            body.extend_from_slice(&self.bytes[value..end]);
            key = end;
        }
        assert_eq!(
            body.len() - begin,
            self.body_bytes,
            "a body of another length"
        );
    }

    /// Forgets the records, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.pending.clear();
        self.measure = Measure::NOTHING;
        self.body_bytes = 0;
    }
}
