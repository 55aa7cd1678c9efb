//! The order of a peer's indexes, and that none goes back.

use std::collections::BTreeMap;

use super::{Verdict, Violation};
use crate::shard::ids::{PeerId, RegionId, StoreId};
use crate::shard::observe::PeerStatus;

/// How peers stood when they were last looked at, in their present lives.
#[derive(Debug, Default)]
pub struct Pointers {
    known: BTreeMap<(StoreId, RegionId, PeerId), PeerStatus>,
}

impl Pointers {
    /// How a peer stands now.
    pub fn look(&mut self, store: StoreId, status: &PeerStatus) -> Verdict {
        let wrong = |what: &str| {
            Err(Violation::new(
                "log pointers",
                format!("store {store}: {what}: {status:?}"),
            ))
        };
        if !status.initialized {
            return Ok(());
        }
        if status.checkpointed > status.applied {
            return wrong("checkpointed is beyond applied");
        }
        if status.truncated > status.applied {
            return wrong("truncated is beyond applied");
        }
        if status.applied > status.committed.min(status.persisted) {
            return wrong("applied is beyond committed or persisted");
        }
        if status.committed.min(status.persisted) > status.last {
            return wrong("committed is beyond the last entry");
        }
        let key = (store, status.region.id, status.peer);
        if let Some(before) = self.known.insert(key, status.clone()) {
            let back = before.applied > status.applied
                || before.truncated > status.truncated
                || before.checkpointed > status.checkpointed
                || before.committed > status.committed
                || before.term > status.term
                || before.clock > status.clock;
            if back {
                return wrong(&format!("something went back, from {before:?}"));
            }
        }
        Ok(())
    }

    /// A store begins a new life.
    pub fn restarted(&mut self, store: StoreId) {
        self.known.retain(|(other, _, _), _| *other != store);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::ids::{Index, Term};
    use crate::shard::region::{Epoch, Region};
    use coracle_engine::record::KeyRange;

    const STORE: StoreId = StoreId(1);

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
        }
    }

    fn with(change: impl FnOnce(&mut PeerStatus)) -> PeerStatus {
        let mut status = status();
        change(&mut status);
        status
    }

    fn is_wrong(change: impl FnOnce(&mut PeerStatus)) -> bool {
        Pointers::default().look(STORE, &with(change)).is_err()
    }

    #[test]
    fn each_pair_out_of_order_is_seen() {
        assert!(!is_wrong(|_| ()));
        assert!(is_wrong(|status| status.checkpointed = Index(9)));
        assert!(is_wrong(|status| status.truncated = Index(9)));
        assert!(is_wrong(|status| status.committed = Index(7)));
        assert!(is_wrong(|status| status.persisted = Index(7)));
        assert!(is_wrong(|status| status.last = Index(8)));
        assert!(
            !is_wrong(|status| (status.initialized, status.applied) = (false, Index(99))),
            "it has no log yet"
        );
    }

    /// Whether going back is seen, by a store that did not end meanwhile and by one that did.
    fn is_seen(change: impl Fn(&mut PeerStatus)) -> (bool, bool) {
        let mut pointers = Pointers::default();
        assert_eq!(pointers.look(STORE, &status()), Ok(()));
        assert_eq!(pointers.look(STORE, &status()), Ok(()), "standing still");
        assert_eq!(pointers.look(StoreId(2), &with(&change)), Ok(()), "another");
        let alive = pointers.look(STORE, &with(&change)).is_err();
        pointers.restarted(STORE);
        (alive, pointers.look(STORE, &with(&change)).is_err())
    }

    #[test]
    fn going_back_is_seen_within_one_life() {
        assert_eq!(is_seen(|status| status.applied = Index(7)), (true, false));
        assert_eq!(is_seen(|status| status.truncated = Index(4)), (true, false));
        assert_eq!(
            is_seen(|status| status.checkpointed = Index(5)),
            (true, false)
        );
        assert_eq!(is_seen(|status| status.committed = Index(8)), (true, false));
        assert_eq!(is_seen(|status| status.term = Term(5)), (true, false));
        assert_eq!(is_seen(|status| status.clock = 999), (true, false));
        // A new leader may cut off what was never committed.
        assert_eq!(
            is_seen(|status| (status.persisted, status.last) = (Index(9), Index(9))),
            (false, false)
        );
    }
}
