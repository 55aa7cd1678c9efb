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
