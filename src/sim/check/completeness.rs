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
