//! A store that does nothing: what the loops of the cells cost by themselves.

use std::path::Path;

use crate::{
    keys::Key,
    side::{Digest, Opened, Options, Side, Store, poll_once},
};

/// Nothing, as a side.
pub const SIDE: Side = Side {
    name: "nothing",
    open,
};

struct Nothing;

fn open(_path: &Path, _options: &Options) -> Box<dyn Opened> {
    Box::new(Nothing)
}

impl Store for Nothing {
    fn block_on<T>(work: impl Future<Output = T>) -> T {
        poll_once(work)
    }

    async fn apply(&mut self, entry: &[(Key, &[u8])]) {
        std::hint::black_box(entry);
    }

    async fn get(&mut self, key: &Key, _digest: &mut Digest) {
        std::hint::black_box(key);
    }

    async fn scan(&mut self, start: &Key, _limit: usize, _digest: &mut Digest) {
        std::hint::black_box(start);
    }

    async fn flush(&mut self) {}

    async fn settle(&mut self) {}

    fn shape(&self) -> String {
        String::new()
    }
}
