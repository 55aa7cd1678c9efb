//! A leader's right to answer reads by itself for a while.
//!
//! A follower that has taken an entry, or a read's context, from a leader grants no vote for one
//! election timeout from then on. So from the moment of sending on, if a quorum has confirmed it, nobody
//! else can lead for that long by the slowest of clocks. A heartbeat's answer renews nothing: it does
//! not say what it answers.

use std::collections::VecDeque;

use super::ids::Index;

/// Sendings that are remembered, at the most.
const SENDINGS_MAX: usize = 512;

/// A leader's right to answer reads by itself for a while.
#[derive(Debug, Default)]
pub struct Lease {
    /// When entries were first sent: the last one of that turn, and the time.
    sendings: VecDeque<(Index, u64)>,
    /// The latest sending that a quorum has confirmed.
    confirmed: Option<u64>,
    /// A forced election was allowed: there is no lease in this term any more.
    void: bool,
}

impl Lease {
    /// A new term begins, or leadership ends.
    pub fn reset(&mut self) {
        *self = Lease::default();
    }

    /// Entries up to `last` leave now, or a little later.
    pub fn sent(&mut self, last: Index, now: u64) {
        if self.sendings.back().is_none_or(|(index, _)| *index < last) {
            if self.sendings.len() >= SENDINGS_MAX {
                self.sendings.pop_front();
            }
            self.sendings.push_back((last, now));
        }
    }

    /// A quorum has everything up to here.
    pub fn committed(&mut self, index: Index) {
        while let Some((last, at)) = self.sendings.front().copied()
            && last <= index
        {
            self.confirm(at);
            self.sendings.pop_front();
        }
    }

    /// Gives back memory.
    pub fn shed(&mut self) {
        self.sendings.shrink_to_fit();
    }

    /// A quorum has answered something that was sent then.
    pub fn confirm(&mut self, sent: u64) {
        self.confirmed = self.confirmed.max(Some(sent));
    }

    /// Another peer was told to begin an election at once.
    pub fn end(&mut self) {
        self.void = true;
    }

    /// Whether it lasts now, if it lasts `span` from its beginning.
    pub fn holds(&self, now: u64, span: u64) -> bool {
        !self.void && self.confirmed.is_some_and(|since| now < since + span)
    }
}
