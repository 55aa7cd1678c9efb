//! The order of several sorted sources: which one is next, and up to where it stays next.
//!
//! The merge knows sources by number and keys by their first eight bytes; only where those tie does
//! it ask its caller to compare whole keys. Sources are numbered from newest to oldest, so of equal
//! keys the lowest number comes first, in either direction: the newest record is met before those
//! that it hides.
//!
//! The sources are few (memtables, runs of level 0, one run per level), so they stand in a small
//! array in order, best last. A step of the best source costs one comparison with the second best as
//! long as it stays ahead, which is what a long stretch of keys in one block looks like.

use alloc::vec::Vec;
use core::cmp::Ordering;

/// In which order a scan visits keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Ascending.
    Forward,
    /// Descending.
    Reverse,
}

/// The first eight bytes of a key, ordered like the key as far as they go.
pub fn key_prefix(key: &[u8]) -> u64 {
    if let Some(prefix) = key.first_chunk::<8>() {
        return u64::from_be_bytes(*prefix);
    }
    let mut padded = [0; 8];
    padded[..key.len()].copy_from_slice(key);
    u64::from_be_bytes(padded)
}

#[derive(Clone, Copy, Debug)]
struct Head {
    prefix: u64,
    source: u32,
}

/// The sources that still have keys, by their current key.
#[derive(Clone, Debug)]
pub struct Merge {
    /// Best last.
    heads: Vec<Head>,
    direction: Direction,
}

impl Merge {
    /// Over nothing yet.
    pub fn new(direction: Direction) -> Merge {
        Merge {
            heads: Vec::new(),
            direction,
        }
    }

    /// The source whose key is next.
    pub fn best(&self) -> Option<u32> {
        self.heads.last().map(|head| head.source)
    }

    /// How many sources take part.
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Whether every source is at its end.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Forgets all sources.
    pub fn clear(&mut self) {
        self.heads.clear();
    }

    /// Whether `source` takes part.
    pub fn contains(&self, source: u32) -> bool {
        self.heads.iter().any(|head| head.source == source)
    }

    /// A source takes part, standing at `key`. `key_of` gives the current key of any other one.
    pub fn insert<'k>(&mut self, source: u32, key: &'k [u8], key_of: impl Fn(u32) -> &'k [u8]) {
        let head = Head {
            prefix: key_prefix(key),
            source,
        };
        let place = self.place(self.heads.len(), head, key, key_of);
        self.heads.insert(place, head);
    }

    /// The best source has moved on to `key`. Returns whether it is still the best.
    #[inline]
    pub fn advance<'k>(&mut self, key: &'k [u8], key_of: impl Fn(u32) -> &'k [u8]) -> bool {
        let last = self.heads.len() - 1;
        let head = Head {
            prefix: key_prefix(key),
            source: self.heads[last].source,
        };
        let place = self.place(last, head, key, key_of);
        if place == last {
            self.heads[last].prefix = head.prefix;
            return true;
        }
        self.heads.copy_within(place..last, place + 1);
        self.heads[place] = head;
        false
    }

    /// The best source has no more keys, or waits for a block.
    pub fn remove_best(&mut self) {
        self.heads.pop();
    }

    /// Where among the first `count` heads the given one belongs.
    #[inline]
    fn place<'k>(
        &self,
        count: usize,
        head: Head,
        key: &'k [u8],
        key_of: impl Fn(u32) -> &'k [u8],
    ) -> usize {
        let mut place = count;
        while place > 0 {
            let other = self.heads[place - 1];
            let order = match head.prefix.cmp(&other.prefix) {
                Ordering::Equal => key.cmp(key_of(other.source)),
                order => order,
            };
            let order = match self.direction {
                Direction::Forward => order,
                Direction::Reverse => order.reverse(),
            };
            if order.then(head.source.cmp(&other.source)) == Ordering::Less {
                break;
            }
            place -= 1;
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec;

    /// Merges and returns `key/source` in order of visit.
    fn merged(sources: &[&[&str]], direction: Direction) -> Vec<String> {
        let mut places = vec![0; sources.len()];
        let key_at = |places: &[usize], source: usize| -> Option<&str> {
            let keys = sources[source];
            match direction {
                Direction::Forward => keys.get(places[source]).copied(),
                Direction::Reverse => keys
                    .len()
                    .checked_sub(places[source] + 1)
                    .map(|place| keys[place]),
            }
        };
        let mut merge = Merge::new(direction);
        for source in 0..sources.len() {
            if let Some(key) = key_at(&places, source) {
                merge.insert(source as u32, key.as_bytes(), |other| {
                    key_at(&places, other as usize).unwrap().as_bytes()
                });
            }
        }
        let mut visited = Vec::new();
        while let Some(best) = merge.best() {
            let source = best as usize;
            visited.push(alloc::format!(
                "{}/{best}",
                key_at(&places, source).unwrap()
            ));
            places[source] += 1;
            match key_at(&places, source) {
                None => merge.remove_best(),
                Some(key) => {
                    let stays = merge.advance(key.as_bytes(), |other| {
                        key_at(&places, other as usize).unwrap().as_bytes()
                    });
                    assert_eq!(stays, merge.best() == Some(best));
                }
            }
        }
        visited
    }

    #[test]
    fn equal_keys_come_newest_source_first_in_both_directions() {
        let sources: [&[&str]; 3] = [&["b", "d"], &["a", "b"], &["b", "longer than a prefix"]];
        assert_eq!(
            merged(&sources, Direction::Forward),
            ["a/1", "b/0", "b/1", "b/2", "d/0", "longer than a prefix/2"]
        );
        assert_eq!(
            merged(&sources, Direction::Reverse),
            ["longer than a prefix/2", "d/0", "b/0", "b/1", "b/2", "a/1"]
        );
    }

    #[test]
    fn keys_that_share_a_prefix_or_end_inside_it_are_told_apart() {
        let sources: [&[&str]; 2] = [
            &["a", "a\0", "commonpr-b"],
            &["a\0\0", "commonpr", "commonpr-a", "commonpr-c"],
        ];
        assert_eq!(
            merged(&sources, Direction::Forward),
            [
                "a/0",
                "a\0/0",
                "a\0\0/1",
                "commonpr/1",
                "commonpr-a/1",
                "commonpr-b/0",
                "commonpr-c/1"
            ]
        );
    }
}
