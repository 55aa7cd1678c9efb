//! The ceiling of puts of new keys: every key and value copied once, one behind the other, into memory that
//! has been used before, and nothing else. No store that keeps what it is given can do less.

use std::path::Path;

use crate::{
    keys::Key,
    side::{Digest, Opened, Options, Side, Store, poll_once},
};

/// Copies without a store, as a side.
pub const SIDE: Side = Side {
    name: "bare copies",
    open,
};

struct Copies {
    bytes: Vec<u8>,
}

fn open(_path: &Path, options: &Options) -> Box<dyn Opened> {
    Box::new(Copies {
        bytes: Vec::with_capacity(options.memtable_bytes as usize),
    })
}

impl Store for Copies {
    fn block_on<T>(work: impl Future<Output = T>) -> T {
        poll_once(work)
    }

    async fn apply(&mut self, entry: &[(Key, &[u8])]) {
        for (key, value) in entry {
            self.bytes.extend_from_slice(key);
            self.bytes.extend_from_slice(value);
        }
        std::hint::black_box(&self.bytes);
    }

    async fn get(&mut self, _key: &Key, _digest: &mut Digest) {
        unreachable!("copies are only made");
    }

    async fn scan(&mut self, _start: &Key, _limit: usize, _digest: &mut Digest) {
        unreachable!("copies are only made");
    }

    /// Forgets everything and keeps the memory.
    async fn flush(&mut self) {
        self.bytes.clear();
    }

    async fn settle(&mut self) {}

    fn shape(&self) -> String {
        String::new()
    }
}
