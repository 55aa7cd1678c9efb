//! The key set, the order in which keys are drawn from it, and the values.
//!
//! All of it follows from seeds, so every side sees the same keys and the same values in the same order.

/// Mixes 64 bits so that every input has another output and neighbours lie anywhere (splitmix64).
fn mix(input: u64) -> u64 {
    let mut bits = input.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// A key: sixteen bytes, of which the first is that of all user keys.
pub type Key = [u8; 16];

/// The key of an index. Keys of indexes in order are in no order at all.
pub fn key(index: u64) -> Key {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mix(index ^ 0x5EED).to_be_bytes());
    key[8..].copy_from_slice(&mix(index).to_be_bytes());
    key[0] = 1;
    key
}

/// Draws indexes below a count: uniformly at random, or each once.
#[derive(Clone, Debug)]
pub struct Sequence {
    state: u64,
    count: u64,
    each_once: bool,
}

impl Sequence {
    /// Uniformly at random.
    pub fn random(count: u64, seed: u64) -> Self {
        Self {
            state: mix(seed),
            count,
            each_once: false,
        }
    }

    /// Each once (their keys are in no order).
    pub fn each_once(count: u64) -> Self {
        Self {
            state: 0,
            count,
            each_once: true,
        }
    }

    /// Each once, beginning at an index.
    pub fn part(count: u64, first: u64) -> Self {
        Self {
            state: first,
            count,
            each_once: true,
        }
    }

    /// How many there are to draw from.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The next index.
    #[inline]
    pub fn draw(&mut self) -> u64 {
        if self.each_once {
            self.state += 1;
            return (self.state - 1) % self.count;
        }
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        ((u128::from(mix(self.state)) * u128::from(self.count)) >> 64) as u64
    }
}

/// Values: random bytes, chosen by a stamp from a pool of them. The first byte is zero, as it is in
/// every stored value that has no expiry.
#[derive(Debug)]
pub struct Values {
    pool: Vec<u8>,
    length: usize,
}

/// Small enough to stay in the core's own cache, large enough that the values of a block do not repeat.
const POOL_BYTES: usize = 256 << 10;

impl Values {
    /// Values of `length` bytes; `half_zeros` makes the second half of each compressible.
    pub fn new(length: usize, half_zeros: bool) -> Self {
        let words = (0..(POOL_BYTES as u64) / 8).flat_map(|word| mix(word).to_le_bytes());
        let mut pool: Vec<u8> = words.collect();
        pool.truncate(POOL_BYTES / length * length);
        for value in pool.chunks_mut(length) {
            value[0] = 0;
            if half_zeros {
                value[length / 2..].fill(0);
            }
        }
        Self { pool, length }
    }

    /// How long they are.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The value of a stamp.
    #[inline]
    pub fn value(&self, stamp: u64) -> &[u8] {
        let count = (self.pool.len() / self.length) as u128;
        let start = ((u128::from(mix(stamp)) * count) >> 64) as usize * self.length;
        &self.pool[start..start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_differ_and_each_once_means_it() {
        let keys: BTreeSet<Key> = (0..10_000).map(key).collect();
        assert_eq!(keys.len(), 10_000);
        let mut sequence = Sequence::each_once(100);
        let drawn: BTreeSet<u64> = (0..100).map(|_| sequence.draw()).collect();
        assert_eq!(drawn.len(), 100);
    }

    #[test]
    fn random_draws_are_the_same_for_the_same_seed_and_spread_evenly() {
        let (mut one, mut other) = (Sequence::random(10, 7), Sequence::random(10, 7));
        let mut counts = [0u32; 10];
        for _ in 0..10_000 {
            let drawn = one.draw();
            assert_eq!(drawn, other.draw());
            counts[drawn as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (800..1200).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn values_have_their_length_and_differ() {
        let values = Values::new(100, false);
        assert_eq!(values.value(1).len(), 100);
        assert_ne!(values.value(1), values.value(2));
        assert_eq!(values.value(3), Values::new(100, false).value(3));
    }
}
