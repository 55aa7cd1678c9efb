//! Log matching and state-machine safety: whoever applies an index applies the same entry, in order.

use std::collections::BTreeMap;

use super::{Verdict, Violation};
use crate::shard::ids::{Index, PeerId, RegionId, Term};
use crate::shard::recover::INITIAL_INDEX;

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
        // A peer that was founded with its region has nothing before the first entry.
        let before = self.applied.insert((region, peer), index);
        let before = before.unwrap_or(Index(INITIAL_INDEX));
        if index != before.next() {
            return wrong(format!(
                "region {region}: peer {peer} applied entry {index} after entry {before}"
            ));
        }
        let newest = self.newest.entry((region, term)).or_default();
        *newest = (*newest).max(index);
        Ok(())
    }

    /// A snapshot took the place of a peer's content.
    pub fn restored(
        &mut self,
        (region, peer): (RegionId, PeerId),
        index: Index,
        term: Term,
    ) -> Verdict {
        let wrong = |what: String| Err(Violation::new("log matching", what));
        match self.entries.get(&(region, index)) {
            Some((known, _)) if *known != term => {
                return wrong(format!(
                    "region {region}: peer {peer} was restored at entry {index} of term {term}, which is of term {known}"
                ));
            }
            None if index > Index(INITIAL_INDEX) => {
                return wrong(format!(
                    "region {region}: peer {peer} was restored at entry {index}, which nobody has applied"
                ));
            }
            _ => {}
        }
        match self.applied.insert((region, peer), index) {
            Some(before) if before > index => wrong(format!(
                "region {region}: peer {peer} was restored at entry {index} after entry {before}"
            )),
            _ => Ok(()),
        }
    }

    /// A peer is there again, and applies from here on once more.
    pub fn replays(&mut self, region: RegionId, peer: PeerId, index: Index) {
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
        assert_eq!(matching.applied(PEER, Index(7), Term(6), 2), Ok(()));
        assert_eq!(matching.applied(PEER, Index(8), Term(7), 3), Ok(()));
        assert_eq!(matching.restored(OTHER, Index(8), Term(7)), Ok(()));
        assert_eq!(matching.applied(OTHER, Index(9), Term(7), 3), Ok(()));
        assert!(matching.restored(OTHER, Index(8), Term(7)).is_err(), "back");
        assert!(
            matching.restored(OTHER, Index(9), Term(6)).is_err(),
            "an entry of another term"
        );
        assert!(
            matching.restored(OTHER, Index(99), Term(7)).is_err(),
            "an entry that nobody has applied"
        );
        matching.restarted(PEER.0, PEER.1);
        matching.replays(PEER.0, PEER.1, Index(7));
        assert!(
            matching.applied(PEER, Index(9), Term(7), 3).is_err(),
            "a gap behind a replay"
        );
        matching.restarted(PEER.0, PEER.1);
        assert!(
            matching.applied(PEER, Index(8), Term(7), 3).is_err(),
            "in the middle, after nothing"
        );
    }
}
