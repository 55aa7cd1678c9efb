//! Where scans go on. Redis' cursors are numbers, and ours are keys: a shard remembers which is which.

use std::collections::VecDeque;

/// So many are remembered; the oldest is forgotten first.
const KEPT: usize = 4096;

/// The cursors that were given out.
#[derive(Debug, Default)]
pub struct Cursors {
    /// In the order of their numbers.
    kept: VecDeque<(u64, Vec<u8>)>,
    last: u64,
}

impl Cursors {
    /// None yet.
    pub fn new() -> Cursors {
        Cursors::default()
    }

    /// Gives out a number for a place.
    pub fn give(&mut self, key: Vec<u8>) -> u64 {
        if self.kept.len() >= KEPT {
            self.kept.pop_front();
        }
        self.last += 1;
        self.kept.push_back((self.last, key));
        self.last
    }

    /// The place of a number, if it is remembered. It may be asked for again.
    pub fn get(&self, number: u64) -> Option<&[u8]> {
        let place = self.kept.binary_search_by_key(&number, |kept| kept.0);
        place.ok().map(|place| &self.kept[place].1[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_remembered_for_a_while() {
        let mut cursors = Cursors::new();
        let first = cursors.give(b"a".to_vec());
        assert_eq!(cursors.get(first), Some(&b"a"[..]));
        assert_eq!(cursors.get(first + 1), None);
        for _ in 0..KEPT {
            cursors.give(b"b".to_vec());
        }
        assert_eq!(cursors.get(first), None);
    }
}
