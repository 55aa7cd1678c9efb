//! Raft's window onto the log of the shard.
//!
//! Terms are in memory, and so is every entry that is not applied: raft reads both without waiting.
//! Older entries, which a lagging follower needs, come by one read that never blocks a turn: raft is
//! told that they are unavailable for the moment, and called back.

use std::cell::RefCell;
use std::rc::Rc;

use coracle_wal as wal;
use coracle_wal::fetch::{Fetched, Unfetched};
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Result, Storage, StorageError};

use super::entry;
use super::ids::RegionId;

/// So many callers may wait for one read of old entries.
const CALLERS_MAX: usize = 8;

/// Old entries on their way.
#[derive(Debug)]
struct Coming {
    token: wal::ReadToken,
    low: u64,
    callers: Vec<GetEntriesContext>,
}

/// Where the next snapshot stands.
#[derive(Debug, Default)]
pub enum Prepared {
    /// Nobody wants one.
    #[default]
    None,
    /// A peer wants one.
    Wanted,
    /// It is being prepared.
    Making,
    /// It can be sent.
    Ready(Snapshot),
}

/// Raft's window onto the log of the shard.
#[derive(Debug)]
pub struct Window {
    log: Rc<RefCell<wal::Log>>,
    region: wal::RegionId,
    initial: RefCell<Option<RaftState>>,
    coming: RefCell<Vec<Coming>>,
    /// Old entries that have come, while raft is being called back.
    here: RefCell<Vec<Entry>>,
    /// The snapshot that raft asks for.
    pub prepared: RefCell<Prepared>,
}

impl Window {
    /// The window of a region; raft begins with these states.
    pub fn new(
        log: &Rc<RefCell<wal::Log>>,
        region: RegionId,
        hard_state: HardState,
        conf_state: ConfState,
    ) -> Window {
        Window {
            log: log.clone(),
            region: region.in_log(),
            initial: RefCell::new(Some(RaftState {
                hard_state,
                conf_state,
            })),
            coming: RefCell::default(),
            here: RefCell::default(),
            prepared: RefCell::default(),
        }
    }

    /// Old entries have come, or cannot be had: whoever waits for them is to be called back with
    /// `RawNode::on_entries_fetched`, and then [`Window::done`] is called.
    pub fn came(&self, token: wal::ReadToken, entries: Vec<wal::Entry>) -> Vec<GetEntriesContext> {
        let mut coming = self.coming.borrow_mut();
        let Some(place) = coming.iter().position(|coming| coming.token == token) else {
            return Vec::new();
        };
        *self.here.borrow_mut() = entries.into_iter().map(entry::to_raft).collect();
        coming.swap_remove(place).callers
    }

    /// Raft has been called back.
    pub fn done(&self) {
        self.here.borrow_mut().clear();
    }

    fn look_here(&self, low: u64, high: u64, bytes_max: u64) -> Option<Vec<Entry>> {
        let here = self.here.borrow();
        let first = here.first()?.index;
        let from = usize::try_from(low.checked_sub(first)?).ok()?;
        let found = here.get(from..)?;
        let count = found.len().min((high - low) as usize);
        let mut entries = found[..count].to_vec();
        raft::util::limit_size(&mut entries, Some(bytes_max));
        (!entries.is_empty()).then_some(entries)
    }
}

impl Storage for Window {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(self.initial.borrow_mut().take().unwrap_or_default())
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        if context.can_async() {
            if let Some(entries) = self.look_here(low, high, bytes_max) {
                return Ok(entries);
            }
            let mut coming = self.coming.borrow_mut();
            if let Some(known) = coming.iter_mut().find(|coming| coming.low == low) {
                if known.callers.len() < CALLERS_MAX {
                    known.callers.push(context);
                }
                return Err(Error::Store(StorageError::LogTemporarilyUnavailable));
            }
        }
        let mut log = self.log.borrow_mut();
        let mut entries = Vec::new();
        let push = |entry| entries.push(entry::to_raft(entry));
        if log.visit_cached(self.region, (low, high), bytes_max, push) {
            return Ok(entries);
        }
        let fetched = log.fetch(self.region, low, high, bytes_max);
        match fetched {
            Ok(Fetched::Ready(entries)) => Ok(entries.into_iter().map(entry::to_raft).collect()),
            Ok(Fetched::Pending(token)) => {
                assert!(
                    context.can_async(),
                    "an entry that is not applied has left memory: {low}"
                );
                self.coming.borrow_mut().push(Coming {
                    token,
                    low,
                    callers: vec![context],
                });
                Err(Error::Store(StorageError::LogTemporarilyUnavailable))
            }
            Err(Unfetched::Compacted) => Err(Error::Store(StorageError::Compacted)),
            Err(Unfetched::Unavailable) => Err(Error::Store(StorageError::Unavailable)),
            Err(Unfetched::Busy) => Err(Error::Store(StorageError::LogTemporarilyUnavailable)),
        }
    }

    fn term(&self, index: u64) -> Result<u64> {
        let log = self.log.borrow();
        let truncated = log.truncated(self.region).unwrap_or_default();
        if index == truncated.0 {
            return Ok(truncated.1);
        }
        if index < truncated.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        log.term(self.region, index)
            .ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> Result<u64> {
        let log = self.log.borrow();
        Ok(log.truncated(self.region).unwrap_or_default().0 + 1)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.log.borrow().last_index(self.region).unwrap_or(0))
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> Result<Snapshot> {
        let mut prepared = self.prepared.borrow_mut();
        match &*prepared {
            Prepared::Ready(snapshot) if snapshot.get_metadata().index >= request_index => {
                Ok(snapshot.clone())
            }
            Prepared::Making => Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable)),
            _ => {
                *prepared = Prepared::Wanted;
                Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
            }
        }
    }
}
