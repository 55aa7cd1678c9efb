//! How busy a region is, and with which keys.
//!
//! ```text
//! accesses  ──┼─┼─●─┼─┼─┼─┼─●─┼─●─┼─┼─┼─┼─┼─●─▶   all counted; at no regular distance one is kept (●)
//! ```
//!
//! Every read and every write adds to a counter. While a region is busy, the keys of some of them are kept
//! beside it, as far as they are short, the oldest making room for the newest: so what is kept stands for the
//! time since. The distance between two changes all the time, or clients who take turns could hide from it.

use std::cell::{Cell, RefCell};

use super::chance::Chance;

/// So many keys are kept.
pub const SAMPLES: usize = 64;

/// So many bytes of each: keys that differ only behind them are one.
const SAMPLE_BYTES: usize = 127;

/// A key, or its beginning.
#[derive(Clone, Copy, Debug)]
struct Sample {
    len: u8,
    bytes: [u8; SAMPLE_BYTES],
}

/// Keys of accesses.
#[derive(Debug)]
struct Samples {
    chance: Chance,
    /// The mean distance between two.
    distance: u64,
    taken: usize,
    kept: [Sample; SAMPLES],
}

/// How busy a region is.
#[derive(Debug, Default)]
pub struct Load {
    count: Cell<u64>,
    /// The access whose key is kept next.
    next: Cell<u64>,
    samples: RefCell<Option<Box<Samples>>>,
}

impl Load {
    /// A key is read or written.
    #[inline]
    pub fn touch(&self, key: &[u8]) {
        let count = self.count.get() + 1;
        self.count.set(count);
        if count == self.next.get() {
            self.keep(key);
        }
    }

    /// So many keys are read or written at once.
    #[inline]
    pub fn touch_all<'key>(&self, keys: usize, key: impl FnOnce(usize) -> &'key [u8]) {
        let before = self.count.get();
        self.count.set(before + keys as u64);
        if (before + 1..=before + keys as u64).contains(&self.next.get()) {
            self.keep(key((self.next.get() - before - 1) as usize));
        }
    }

    /// How many there were since the peer came to be here.
    pub fn count(&self) -> u64 {
        self.count.get()
    }

    /// From now on one in so many is kept, on average; what was kept is forgotten.
    pub fn sample(&self, distance: u64, seed: u64) {
        let blank = Sample {
            len: 0,
            bytes: [0; SAMPLE_BYTES],
        };
        *self.samples.borrow_mut() = Some(Box::new(Samples {
            chance: Chance::new(seed),
            distance: distance.max(1),
            taken: 0,
            kept: [blank; SAMPLES],
        }));
        self.next.set(self.count.get() + 1);
    }

    /// Nothing is kept any more.
    pub fn stop_sampling(&self) {
        *self.samples.borrow_mut() = None;
    }

    /// What was kept, the oldest first.
    pub fn sampled(&self) -> Vec<Vec<u8>> {
        let samples = self.samples.borrow();
        let Some(samples) = &*samples else {
            return Vec::new();
        };
        let first = samples.taken.saturating_sub(SAMPLES);
        let kept = (first..samples.taken).map(|place| samples.kept[place % SAMPLES]);
        kept.map(|sample| sample.bytes[..usize::from(sample.len)].to_vec())
            .collect()
    }

    #[cold]
    fn keep(&self, key: &[u8]) {
        let mut samples = self.samples.borrow_mut();
        // It was to be the next one when keeping ended.
        let Some(samples) = &mut *samples else {
            return;
        };
        let place = samples.taken % SAMPLES;
        let len = key.len().min(SAMPLE_BYTES);
        samples.kept[place].bytes[..len].copy_from_slice(&key[..len]);
        samples.kept[place].len = len as u8;
        samples.taken += 1;
        let ahead = samples.chance.between(1, 2 * samples.distance + 1);
        self.next.set(self.count.get() + ahead);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_stands_for_what_came() {
        let load = Load::default();
        load.touch(b"before");
        assert_eq!((load.count(), load.sampled()), (1, Vec::new()));
        load.sample(10, 7);
        // Two take turns: whoever kept every tenth would see one of them alone.
        for _ in 0..2000 {
            load.touch(b"a");
            load.touch(b"b");
        }
        let kept = load.sampled();
        assert_eq!(kept.len(), SAMPLES);
        let of_a = kept.iter().filter(|key| *key == b"a").count();
        assert!((SAMPLES / 4..SAMPLES * 3 / 4).contains(&of_a), "{of_a}");
        load.stop_sampling();
        load.touch(b"behind");
        assert_eq!((load.count(), load.sampled()), (4002, Vec::new()));
    }

    #[test]
    fn the_oldest_goes_and_long_keys_are_cut() {
        let load = Load::default();
        load.sample(1, 7);
        let long = [b'k'; 400];
        for number in 0..1000u32 {
            let keys = [number.to_be_bytes(); 3];
            load.touch_all(3, |place| &keys[place]);
        }
        let kept = load.sampled();
        assert!(
            kept.is_sorted() && kept[0] >= 900u32.to_be_bytes().to_vec(),
            "{kept:?}"
        );
        for _ in 0..200 {
            load.touch(&long);
        }
        assert!(
            load.sampled()
                .iter()
                .all(|key| *key == long[..SAMPLE_BYTES])
        );
    }
}
