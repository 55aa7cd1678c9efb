//! Every request is answered exactly once, unless the process that took it ended.

use std::collections::{BTreeMap, BTreeSet};

use super::{Verdict, Violation};
use crate::shard::ids::RequestId;

/// Requests on their way.
#[derive(Debug, Default)]
pub struct Callbacks {
    /// Given to which life of which node, and when.
    open: BTreeMap<RequestId, (usize, u64, u64)>,
    /// All names that were ever used.
    used: BTreeSet<RequestId>,
    answered: u64,
}

impl Callbacks {
    /// A shard has been given a request; no two have one name.
    pub fn given(&mut self, request: RequestId, node: usize, life: u64, at: u64) -> Verdict {
        self.open.insert(request, (node, life, at));
        match self.used.insert(request) {
            true => Ok(()),
            false => Err(Violation::new(
                "callbacks",
                format!("request {request} was given twice"),
            )),
        }
    }

    /// A shard has answered.
    pub fn answered(&mut self, request: RequestId) -> Verdict {
        self.answered += 1;
        match self.open.remove(&request) {
            Some(_) => Ok(()),
            None => Err(Violation::new(
                "callbacks",
                format!("request {request} was answered twice, or never asked"),
            )),
        }
    }

    /// A node's process ended: what it was asked is answered by nobody.
    pub fn ended(&mut self, node: usize) {
        self.open.retain(|_, (other, _, _)| *other != node);
    }

    /// A request that a living process has had since before `since` is forgotten.
    pub fn check(&self, since: u64) -> Verdict {
        match self.open.iter().find(|(_, (_, _, at))| *at < since) {
            None => Ok(()),
            Some((request, (node, _, at))) => Err(Violation::new(
                "callbacks",
                format!("request {request}, given to node {node} at {at} ns, is never answered"),
            )),
        }
    }

    /// Answers so far.
    pub fn count(&self) -> u64 {
        self.answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_answer_and_a_missing_one_are_seen() {
        let mut callbacks = Callbacks::default();
        assert_eq!(callbacks.given(RequestId(1), 0, 1, 100), Ok(()));
        assert_eq!(callbacks.given(RequestId(2), 1, 1, 200), Ok(()));
        assert_eq!(callbacks.answered(RequestId(1)), Ok(()));
        assert!(callbacks.answered(RequestId(1)).is_err(), "twice");
        assert!(callbacks.answered(RequestId(3)).is_err(), "never asked");
        assert_eq!(callbacks.check(200), Ok(()), "there is time yet");
        assert!(callbacks.check(201).is_err(), "forgotten");
        callbacks.ended(0);
        assert!(callbacks.check(201).is_err(), "another node ended");
        callbacks.ended(1);
        assert_eq!(callbacks.check(201), Ok(()), "nobody is left to answer");
        assert!(callbacks.answered(RequestId(2)).is_err(), "by a dead node");
        assert!(callbacks.given(RequestId(1), 0, 2, 300).is_err(), "again");
    }
}
