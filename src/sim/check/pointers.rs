//! The order of a peer's indexes, and that none goes back: none at all within a life of its store, and
//! nothing durable over its end.

use std::collections::{BTreeMap, BTreeSet};

use super::{Verdict, Violation};
use crate::shard::ids::{PeerId, RegionId, StoreId};
use crate::shard::observe::PeerStatus;

/// How peers stood when they were last looked at, in their present lives.
#[derive(Debug, Default)]
pub struct Pointers {
    known: BTreeMap<(StoreId, RegionId, PeerId), PeerStatus>,
    /// How they stood when their stores ended.
    ended: BTreeMap<(StoreId, RegionId, PeerId), PeerStatus>,
    /// Peers that are gone for ever.
    gone: BTreeSet<(StoreId, RegionId, PeerId)>,
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
        let key = (store, status.region.id, status.peer);
        // One that is on its way out is still looked at, with its region and without its log.
        let leaves = !status.initialized && !status.region.peers.is_empty();
        if self.gone.contains(&key) && !leaves {
            return wrong("it was gone");
        }
        if !status.initialized {
            return Ok(());
        }
        let is_first = !self.known.contains_key(&key);
        if let Some(before) = self.ended.get(&key).filter(|_| is_first) {
            let kept = before.committed.min(before.persisted);
            let back = before.checkpointed > status.checkpointed
                || before.checkpointed > status.applied
                || kept > status.last
                || before.durable.committed > status.committed
                || before.durable.term > status.term
                || before.region.epoch.version > status.region.epoch.version
                || before.region.epoch.conf_ver > status.region.epoch.conf_ver;
            if back {
                return wrong(&format!("something durable was forgotten, of {before:?}"));
            }
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

    /// A store's life is over. If its log was never open, all that it had read of the lives before may yet be lost,
    /// and nothing of it had left: it counts for nothing.
    pub fn ended(&mut self, store: StoreId, was_open: bool) {
        let ended = self
            .known
            .extract_if(.., |(other, _, _), _| *other == store);
        match was_open {
            true => self.ended.extend(ended),
            false => ended.for_each(drop),
        }
    }

    /// A peer is gone for ever.
    pub fn gone(&mut self, store: StoreId, region: RegionId, peer: PeerId) {
        self.gone.insert((store, region, peer));
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
                epoch: Epoch {
                    version: 1,
                    conf_ver: 1,
                },
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
        let mut pointers = Pointers::default();
        assert_eq!(pointers.look(STORE, &status()), Ok(()));
        pointers.ended(STORE, true);
        (alive, pointers.look(STORE, &with(&change)).is_err())
    }

    #[test]
    fn going_back_is_seen_within_one_life() {
        assert_eq!(is_seen(|status| status.applied = Index(7)), (true, false));
        assert_eq!(is_seen(|status| status.truncated = Index(4)), (true, false));
        let checkpoint = is_seen(|status| status.checkpointed = Index(5));
        assert_eq!(checkpoint, (true, true), "an edit is durable");
        let shorter = is_seen(|status| {
            status.applied = Index(8);
            (status.committed, status.persisted, status.last) = (Index(8), Index(8), Index(8));
        });
        assert_eq!(shorter, (true, true), "an entry was committed, durably");
        let epoch = is_seen(|status| status.region.epoch.conf_ver = 0);
        assert!(epoch.1, "a change of the peers is durable");
        assert_eq!(is_seen(|status| status.committed = Index(8)), (true, false));
        assert_eq!(is_seen(|status| status.term = Term(5)), (true, false));
        assert_eq!(is_seen(|status| status.clock = 999), (true, false));
        // A new leader may cut off what was never committed.
        assert_eq!(
            is_seen(|status| (status.persisted, status.last) = (Index(9), Index(9))),
            (false, false)
        );
    }

    /// A process that is killed leaves a batch that no disk has for sure. The next one reads it, and shows what it says;
    /// before it has made that durable the power goes, and with it the batch. What was durable before is not forgotten.
    #[test]
    fn what_was_read_and_never_made_durable_may_be_lost() {
        let mut pointers = Pointers::default();
        let read = with(|status| {
            status.region.epoch.conf_ver = 2;
            status.checkpointed = Index(7);
        });
        assert_eq!(pointers.look(STORE, &status()), Ok(()));
        pointers.ended(STORE, true);
        assert_eq!(pointers.look(STORE, &read), Ok(()));
        pointers.ended(STORE, false);
        let older = with(|status| status.checkpointed = Index(5));
        assert!(
            pointers.look(STORE, &older).is_err(),
            "an older life had it"
        );
        assert_eq!(pointers.look(STORE, &status()), Ok(()));
    }

    #[test]
    fn what_was_written_down_is_not_forgotten_and_nobody_rises() {
        let mut pointers = Pointers::default();
        let kept = with(|status| {
            status.durable.term = Term(6);
            status.durable.committed = Index(9);
        });
        let forgets = |pointers: &mut Pointers, change: &dyn Fn(&mut PeerStatus)| {
            pointers.look(STORE, &kept).expect("sound");
            pointers.ended(STORE, true);
            pointers.look(STORE, &with(change)).is_err()
        };
        assert!(!forgets(&mut pointers, &|_| ()));
        pointers.ended(STORE, true);
        assert!(forgets(&mut Pointers::default(), &|status| status.term = Term(5)));
        assert!(forgets(&mut Pointers::default(), &|status| status
            .committed =
            Index(8)));
        pointers.gone(STORE, RegionId(2), PeerId(1));
        assert!(pointers.look(STORE, &status()).is_err(), "it was gone");
    }
}
