//! Range tombstones as they gather: fragments that do not overlap, each with every sequence at which
//! its range was deleted, so that a view sees exactly those that were there when it was taken.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound;

use crate::record::{Seq, below_limit, compare_limits};

/// One piece of the key space and the deletions over all of it, oldest first.
#[derive(Clone, Debug)]
struct Fragment {
    limit: Vec<u8>,
    seqs: Vec<Seq>,
}

/// Deleted ranges.
#[derive(Clone, Debug, Default)]
pub struct RangeTombstones {
    fragments: BTreeMap<Vec<u8>, Fragment>,
    bytes: u64,
}

/// What a fragment costs beside its keys.
const FRAGMENT_BYTES: u64 = 96;

impl RangeTombstones {
    /// Whether nothing was deleted.
    pub fn is_empty(&self) -> bool {
        self.fragments.is_empty()
    }

    /// How many fragments there are.
    pub fn len(&self) -> usize {
        self.fragments.len()
    }

    /// Memory held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Deletes `[start, limit)` at a sequence later than all before. `keep` is the newest live view's
    /// sequence, zero where there is none; then older deletions of the same keys are forgotten.
    pub fn add(&mut self, start: &[u8], limit: &[u8], seq: Seq, keep: Seq) {
        if !below_limit(start, limit) {
            return;
        }
        self.split_at(start);
        if !limit.is_empty() {
            self.split_at(limit);
        }
        let mut at = start.to_vec();
        loop {
            // Either a fragment begins here, or a gap up to the next one.
            let next = self
                .fragments
                .range::<[u8], _>((Bound::Included(at.as_slice()), Bound::Unbounded))
                .next()
                .map(|(start, fragment)| (start.clone(), fragment.limit.clone()));
            match next {
                Some((begins, ends)) if begins == at => {
                    let fragment = self.fragments.get_mut(&begins).expect("just found");
                    let before = fragment.seqs.len();
                    // Each view looks for the newest one below itself: all stay while there is a view.
                    if keep == Seq::ZERO {
                        fragment.seqs.clear();
                    }
                    fragment.seqs.push(seq);
                    self.bytes += 8 * fragment.seqs.len() as u64;
                    self.bytes -= 8 * before as u64;
                    at = ends;
                }
                Some((begins, _)) if below_limit(&begins, limit) => {
                    self.insert(at, begins.clone(), seq);
                    at = begins;
                }
                _ => {
                    self.insert(at, limit.to_vec(), seq);
                    return;
                }
            }
            if at.is_empty() || !below_limit(&at, limit) {
                return;
            }
        }
    }

    fn insert(&mut self, start: Vec<u8>, limit: Vec<u8>, seq: Seq) {
        self.bytes += FRAGMENT_BYTES + 8 + (start.len() + limit.len()) as u64;
        self.fragments.insert(
            start,
            Fragment {
                limit,
                seqs: Vec::from([seq]),
            },
        );
    }

    /// Lets no fragment reach over the key.
    fn split_at(&mut self, key: &[u8]) {
        let below = (Bound::Unbounded, Bound::Excluded(key));
        let Some((_, fragment)) = self.fragments.range_mut::<[u8], _>(below).next_back() else {
            return;
        };
        if below_limit(key, &fragment.limit) {
            let limit = core::mem::replace(&mut fragment.limit, key.to_vec());
            let seqs = fragment.seqs.clone();
            self.bytes += FRAGMENT_BYTES + (8 * seqs.len() + 2 * key.len()) as u64;
            self.fragments
                .insert(key.to_vec(), Fragment { limit, seqs });
        }
    }

    /// The newest deletion of the key at or below a sequence; [`Seq::ZERO`] if there is none.
    #[inline]
    pub fn covering(&self, key: &[u8], at: Seq) -> Seq {
        if self.fragments.is_empty() {
            return Seq::ZERO;
        }
        let upto = (Bound::Unbounded, Bound::Included(key));
        match self.fragments.range::<[u8], _>(upto).next_back() {
            Some((_, fragment)) if below_limit(key, &fragment.limit) => newest(&fragment.seqs, at),
            _ => Seq::ZERO,
        }
    }

    /// The fragments that a view at a sequence sees, in order: start, limit, newest deletion.
    pub fn iter(&self, at: Seq) -> impl Iterator<Item = (&[u8], &[u8], Seq)> {
        self.fragments.iter().filter_map(move |(start, fragment)| {
            let seq = newest(&fragment.seqs, at);
            (seq > Seq::ZERO).then_some((start.as_slice(), fragment.limit.as_slice(), seq))
        })
    }

    /// Whether some deletion touches the range.
    pub fn overlaps(&self, start: &[u8], limit: &[u8]) -> bool {
        self.fragments.iter().any(|(from, fragment)| {
            below_limit(from, limit)
                && (fragment.limit.is_empty() || start < fragment.limit.as_slice())
                && compare_limits(start, limit).is_ne()
        })
    }
}

fn newest(seqs: &[Seq], at: Seq) -> Seq {
    match seqs.last() {
        Some(last) if *last <= at => *last,
        _ => seqs[..seqs.partition_point(|seq| *seq <= at)]
            .last()
            .copied()
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// Against a plain list, over a small key space, with random bounds.
    #[test]
    fn fragments_say_what_a_list_says() {
        let mut state = 7u64;
        let mut below = |limit: u64| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) % limit
        };
        for _ in 0..300 {
            let mut tombstones = RangeTombstones::default();
            let mut list = vec![];
            for seq in 1..=20 {
                let start = vec![below(16) as u8];
                let limit = if below(8) == 0 {
                    vec![]
                } else {
                    vec![below(17) as u8]
                };
                // A view of everything may come at any time, so nothing is forgotten.
                tombstones.add(&start, &limit, Seq(seq), Seq(seq));
                list.push((start, limit, Seq(seq)));
            }
            for key in 0..16u8 {
                let at = Seq(below(22));
                let covers = |(start, limit, seq): &&(Vec<u8>, Vec<u8>, Seq)| {
                    *seq <= at && start.as_slice() <= &[key] && below_limit(&[key], limit)
                };
                let expected = list.iter().filter(covers).map(|(_, _, seq)| *seq).max();
                assert_eq!(
                    tombstones.covering(&[key], at),
                    expected.unwrap_or_default()
                );
            }
            let pieces: Vec<_> = tombstones.iter(Seq::MAX).collect();
            for pair in pieces.windows(2) {
                assert!(
                    !pair[0].1.is_empty() && pair[0].1 <= pair[1].0,
                    "fragments overlap"
                );
            }
        }
    }
}
