//! Keys and values.

/// Numbers that look random, the same for the same seed.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// From a seed.
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below another.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(limit)) >> 64) as u64
    }

    /// Whether something of this probability happens.
    pub fn happens(&mut self, probability: f64) -> bool {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64 <= probability && probability > 0.0
    }
}

/// Keys by their number: a letter and digits, all of one length.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// How many.
    pub count: u64,
    /// Bytes of each.
    pub size: usize,
}

impl Keys {
    /// Whether so many keys are different at this size.
    pub fn fit(&self) -> bool {
        let digits = self.size.saturating_sub(1).min(19) as u32;
        10u64.pow(digits) >= self.count
    }

    /// Keys that cut all of them into so many parts alike.
    pub fn borders(&self, parts: u64) -> Vec<Vec<u8>> {
        let border = |part: u64| {
            let number = u128::from(self.count) * u128::from(part) / u128::from(parts);
            let mut key = vec![0; self.size];
            self.write(number as u64, &mut key);
            key
        };
        (1..parts).map(border).collect()
    }

    /// Writes a key over bytes of its size.
    pub fn write(&self, mut number: u64, out: &mut [u8]) {
        for byte in out[1..].iter_mut().rev() {
            *byte = b'0' + (number % 10) as u8;
            number /= 10;
        }
        out[0] = b'k';
    }
}

/// What values are cut from.
const POOL_BYTES: usize = 2 << 20;

/// Values that no layer below can compress.
#[derive(Debug)]
pub struct Values {
    pool: Vec<u8>,
    size: usize,
}

impl Values {
    /// Of one size.
    pub fn new(size: usize) -> Values {
        let mut chance = Chance::new(0xC0_4AC1E);
        let words = (POOL_BYTES + size).div_ceil(8);
        let pool = (0..words).flat_map(|_| chance.draw().to_le_bytes());
        Values {
            pool: pool.collect(),
            size,
        }
    }

    /// Any of them.
    pub fn draw(&self, chance: &mut Chance) -> &[u8] {
        let from = (chance.draw() % POOL_BYTES as u64) as usize;
        &self.pool[from..from + self.size]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_of_their_size_and_different() {
        let keys = Keys {
            count: 1000,
            size: 4,
        };
        assert!(keys.fit());
        assert!(
            !Keys {
                count: 1001,
                size: 4
            }
            .fit()
        );
        let mut key = [0; 4];
        keys.write(7, &mut key);
        assert_eq!(&key, b"k007");
        keys.write(999, &mut key);
        assert_eq!(&key, b"k999");
    }

    #[test]
    fn chance_is_within_its_limits() {
        let mut chance = Chance::new(1);
        let drawn: Vec<u64> = (0..1000).map(|_| chance.below(10)).collect();
        assert!(
            drawn.iter().all(|number| *number < 10) && drawn.contains(&0) && drawn.contains(&9)
        );
        assert!((0..100).all(|_| chance.happens(1.0) && !chance.happens(0.0)));
        let values = Values::new(100);
        assert_eq!(values.draw(&mut chance).len(), 100);
    }
}
