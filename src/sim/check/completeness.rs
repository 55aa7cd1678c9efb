//! Leader completeness: a leader has every entry that anybody has applied before its term.

use super::{Verdict, Violation};
use crate::shard::ids::Index;
use crate::shard::observe::PeerStatus;

/// A peer has just begun to lead; `newest` is the greatest index of an earlier term that anybody has
/// applied. It may learn late that it was elected: what later terms applied says nothing of it.
pub fn check(leader: &PeerStatus, newest: Index) -> Verdict {
    if leader.last >= newest {
        return Ok(());
    }
    Err(Violation::new(
        "leader completeness",
        format!(
            "peer {} leads region {} in term {} with a log up to {}, but entry {newest} was applied",
            leader.peer, leader.region, leader.term, leader.last
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::ids::{PeerId, RegionId, Term};
    use crate::shard::region::{Epoch, Region};
    use coracle_engine::record::KeyRange;

    fn status() -> PeerStatus {
        PeerStatus {
            region: Region {
                id: RegionId(2),
                epoch: Epoch::default(),
                range: KeyRange {
                    start: b"\x01".to_vec(),
                    limit: b"\x02".to_vec(),
                },
                peers: Vec::new(),
            },
            peer: PeerId(1),
            initialized: true,
            term: Term(6),
            leads: false,
            leader: None,
            clock: 1000,
            truncated: Index(5),
            checkpointed: Index(6),
            applied: Index(8),
            committed: Index(9),
            persisted: Index(10),
            last: Index(10),
            durable: Default::default(),
        }
    }

    #[test]
    fn a_leader_without_an_applied_entry_is_seen() {
        assert_eq!(check(&status(), Index::default()), Ok(()));
        assert_eq!(check(&status(), Index(10)), Ok(()));
        assert!(check(&status(), Index(11)).is_err());
    }
}
