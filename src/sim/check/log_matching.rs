//! Log matching and state-machine safety: whoever applies an index applies the same entry, in order.

use std::collections::BTreeMap;

use super::{Verdict, Violation};
use crate::shard::ids::{Index, PeerId, RegionId, Term};

/// All that was ever applied.
#[derive(Debug, Default)]
pub struct LogMatching {
    entries: BTreeMap<(RegionId, Index), (Term, u32)>,
    /// How far each peer is, in its present life.
    applied: BTreeMap<(RegionId, PeerId), Index>,
    /// The greatest index of each term that anybody has applied.
    newest: BTreeMap<(RegionId, Term), Index>,
}

impl LogMatching {
    /// A peer has applied an entry.
    pub fn applied(
        &mut self,
        (region, peer): (RegionId, PeerId),
        index: Index,
        term: Term,
        checksum: u32,
    ) -> Verdict {
        let wrong = |what: String| Err(Violation::new("log matching", what));
        let known = *self
            .entries
            .entry((region, index))
            .or_insert((term, checksum));
        if known != (term, checksum) {
            return wrong(format!(
                "region {region}, entry {index}: peer {peer} applied term {term} (checksum {checksum:08x}), \
                 another applied term {} (checksum {:08x})",
                known.0, known.1
            ));
        }
        let before = self.applied.insert((region, peer), index);
        if let Some(before) = before
            && index != before.next()
        {
            return wrong(format!(
                "region {region}: peer {peer} applied entry {index} after entry {before}"
            ));
        }
        let newest = self.newest.entry((region, term)).or_default();
        *newest = (*newest).max(index);
        Ok(())
    }

    /// A snapshot took the place of a peer's content.
    pub fn restored(&mut self, region: RegionId, peer: PeerId, index: Index) {
        self.applied.insert((region, peer), index);
    }

    /// A peer begins a new life.
    pub fn restarted(&mut self, region: RegionId, peer: PeerId) {
        self.applied.remove(&(region, peer));
    }

    /// The greatest index of an earlier term that anybody has applied.
    pub fn newest_before(&self, region: RegionId, term: Term) -> Index {
        let earlier = self.newest.range((region, Term(0))..(region, term));
        earlier.map(|(_, index)| *index).max().unwrap_or_default()
    }

    /// Entries so far.
    pub fn count(&self) -> u64 {
        self.entries.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: (RegionId, PeerId) = (RegionId(2), PeerId(1));
    const OTHER: (RegionId, PeerId) = (RegionId(2), PeerId(2));

    #[test]
    fn a_different_entry_and_a_gap_are_seen() {
        let mut matching = LogMatching::default();
        assert_eq!(matching.applied(PEER, Index(6), Term(6), 1), Ok(()));
        assert_eq!(matching.applied(PEER, Index(7), Term(6), 2), Ok(()));
        assert_eq!(matching.applied(OTHER, Index(6), Term(6), 1), Ok(()));
        assert!(
            matching.applied(OTHER, Index(7), Term(7), 2).is_err(),
            "another term"
        );
        assert!(
            matching.applied(PEER, Index(9), Term(7), 3).is_err(),
            "a gap"
        );
        matching.restarted(PEER.0, PEER.1);
        assert_eq!(
            matching.applied(PEER, Index(6), Term(6), 1),
            Ok(()),
            "the same again"
        );
        matching.restored(OTHER.0, OTHER.1, Index(9));
        assert_eq!(matching.applied(OTHER, Index(10), Term(7), 4), Ok(()));
    }
}
