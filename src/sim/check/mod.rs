//! What must hold at every moment, one file each.

pub mod bounds; // nobody holds more than it may
pub mod callbacks; // every request is answered once
pub mod completeness; // a new leader has everything
pub mod coverage; // ranges never overlap
pub mod election; // one leader in a term
pub mod linearizability; // what clients saw is what one copy would have shown
pub mod log_matching; // the same entry everywhere
pub mod pointers; // the order of a peer's indexes

use std::fmt;

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which checker saw it.
    pub checker: &'static str,
    /// What it saw.
    pub what: String,
}

impl Violation {
    /// One, as seen by a checker.
    pub fn new(checker: &'static str, what: String) -> Violation {
        Violation { checker, what }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.checker, self.what)
    }
}

/// Whether a rule held.
pub type Verdict = Result<(), Violation>;
