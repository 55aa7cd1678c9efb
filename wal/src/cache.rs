//! Recent entries in memory, within a budget: which run of entries goes first.
//!
//! The payloads lie with their regions; here is only the order in which they came. Entries that were
//! not applied are never dropped, since raft asks for them synchronously; their bound is the
//! admission of proposals.

use alloc::collections::VecDeque;

/// One append: everything of the region up to the index came no later than this.
#[derive(Clone, Copy, Debug)]
struct Run {
    region: u32,
    last: u64,
}

/// How many runs that may not go yet are passed over in one call.
const PASS_MAX: usize = 16;

/// With fewer runs than this, a run that is still cached may stand in front of stale ones.
const SWEEP_FROM: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct Cache {
    order: VecDeque<Run>,
    pub bytes: u64,
}

impl Cache {
    pub fn came(&mut self, region: u32, last: u64, bytes: u64) {
        self.bytes += bytes;
        match self.order.back_mut() {
            Some(run) if run.region == region && run.last < last => run.last = last,
            _ => self.order.push_back(Run { region, last }),
        }
    }

    pub fn left(&mut self, bytes: u64) {
        self.bytes -= bytes;
    }

    /// Forgets runs whose entries have gone another way. Each append adds at most one run and looks at
    /// two, so the order stays within a small multiple of what is cached.
    pub fn sweep(&mut self, stale: impl Fn(u32, u64) -> bool) {
        for _ in 0..2 {
            let Some(run) = self.order.front().copied() else {
                return;
            };
            let stale = stale(run.region, run.last);
            if !stale && self.order.len() <= SWEEP_FROM {
                return;
            }
            self.order.pop_front();
            if !stale {
                self.order.push_back(run);
            }
        }
    }

    /// Drops the oldest runs until the budget holds; `evict` drops what may go of a region up to an
    /// index and returns the bytes, and whether the run is done with.
    pub fn shrink(&mut self, budget: u64, mut evict: impl FnMut(u32, u64) -> (u64, bool)) {
        let mut passed = 0;
        while self.bytes > budget && passed < PASS_MAX {
            let Some(run) = self.order.pop_front() else {
                return;
            };
            let (freed, done) = evict(run.region, run.last);
            self.bytes -= freed;
            if !done {
                self.order.push_back(run);
                passed += 1;
            }
        }
    }
}
