//! Recent entries in memory, within a budget: which run of entries goes first.
//!
//! The payloads lie with their regions; here is only the order in which they came. Entries that were
//! not applied are never dropped, since raft asks for them synchronously; their bound is the
//! admission of proposals.

use alloc::collections::VecDeque;
use core::hint::black_box;

use crate::region::{Region, cached_bytes};

/// One append: everything of the region up to the index came no later than this.
#[derive(Clone, Copy, Debug)]
struct Run {
    region: u32,
    last: u64,
}

/// How many runs that may not go yet are passed over in one call.
const PASS_MAX: usize = 16;

/// So many runs are reached for together.
const REACH_MAX: usize = 64;

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

    /// Drops the oldest payloads that are applied until the budget holds.
    pub fn shrink(&mut self, budget: u64, regions: &mut [Region]) {
        let mut passed = 0;
        while self.bytes > budget && passed < PASS_MAX {
            for _ in 0..self.reach(self.bytes - budget, regions) {
                let over = self.bytes.saturating_sub(budget);
                if over == 0 {
                    return;
                }
                let Some(run) = self.order.pop_front() else {
                    return;
                };
                let region = &mut regions[run.region as usize];
                let freed = region.evict(run.last.min(region.applied), over);
                self.bytes -= freed;
                if region.cache_first() > run.last {
                    continue;
                }
                if freed >= over {
                    self.order.push_front(run);
                } else {
                    self.order.push_back(run);
                    passed += 1;
                }
            }
        }
    }

    /// How many of the oldest runs are worth a look to be rid of so many bytes. Their regions, payloads,
    /// and what the allocator keeps beside these, have left the processor's caches; reached for here one
    /// behind the other, before anything waits for them, they come together.
    fn reach(&self, bytes: u64, regions: &[Region]) -> usize {
        let (mut runs, mut found) = (0, 0);
        for run in self.order.iter().take(REACH_MAX) {
            let oldest = regions[run.region as usize].cache.front();
            runs += 1;
            black_box(oldest.and_then(|payload| payload.first().copied()));
            found += oldest.map_or(0, cached_bytes);
            if found >= bytes {
                break;
            }
        }
        runs
    }
}
