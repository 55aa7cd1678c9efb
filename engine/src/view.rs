//! A consistent view: everything as of one sequence, for as long as somebody holds it.
//!
//! A view is the sequence, the version of the tables and which memtables were not in it yet. Taking
//! one costs an allocation. What it sees outlives flushes and compactions: memtables and tables that
//! the store has no more use for stay until no view needs them. That is memory and disk, so a view
//! has a budget of bytes that are kept for it and of age; beyond either it ends, and reads in it
//! answer with [`ViewEnded`].

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use crate::record::Seq;
use crate::version::Version;

/// Counts memtables over the life of an opened store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MemoryId(pub u64);

/// Why a view can no longer be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewEnded {
    /// It became too old.
    Age,
    /// Too many bytes were kept for it alone.
    Bytes,
}

/// What a view reads.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Nothing later than this.
    pub seq: Seq,
    /// Memtables from `first` up to, not including, `limit`.
    pub first: MemoryId,
    pub limit: MemoryId,
    /// The tables.
    pub version: Rc<Version>,
}

#[derive(Debug)]
struct Inner {
    seq: Seq,
    /// None once the view has ended.
    seen: RefCell<Option<Seen>>,
    ended: Cell<ViewEnded>,
    born: u64,
    /// How many versions had been installed when it was taken.
    installed: u64,
}

/// A view; clones are the same view.
#[derive(Clone, Debug)]
pub struct View(Rc<Inner>);

impl View {
    /// Nothing later than this is seen.
    pub fn seq(&self) -> Seq {
        self.0.seq
    }

    /// Whether reads in it still answer.
    pub fn check(&self) -> Result<(), ViewEnded> {
        match &*self.0.seen.borrow() {
            Some(_) => Ok(()),
            None => Err(self.0.ended.get()),
        }
    }

    pub(crate) fn seen(&self) -> Result<Seen, ViewEnded> {
        let seen = self.0.seen.borrow();
        seen.clone().ok_or(self.0.ended.get())
    }

    fn reads_memory(&self) -> bool {
        let seen = self.0.seen.borrow();
        seen.as_ref().is_some_and(|seen| seen.first < seen.limit)
    }

    fn end(&self, why: ViewEnded) {
        self.0.ended.set(why);
        *self.0.seen.borrow_mut() = None;
    }
}

/// All views that may still be read.
#[derive(Debug, Default)]
pub(crate) struct Views {
    live: Vec<View>,
    /// The greatest sequence that a live view sees, as far as known.
    keep: Seq,
}

impl Views {
    pub fn take(&mut self, seen: Seen, born: u64, installed: u64) -> View {
        if self.live.len() >= 16 {
            self.sweep();
        }
        self.keep = self.keep.max(seen.seq);
        let view = View(Rc::new(Inner {
            seq: seen.seq,
            seen: RefCell::new(Some(seen)),
            ended: Cell::new(ViewEnded::Age),
            born,
            installed,
        }));
        self.live.push(view.clone());
        view
    }

    /// Whether views have gone since the last sweep, as far as a glance shows: short reads take and drop
    /// a view each, so it is the last one that goes.
    #[inline]
    pub fn are_stale(&self) -> bool {
        let last = self.live.last();
        last.is_some_and(|last| Rc::strong_count(&last.0) == 1)
    }

    /// Versions of records up to this sequence may be needed by a view.
    #[inline]
    pub fn keep(&self) -> Seq {
        self.keep
    }

    /// The sequence of the oldest live view.
    pub fn oldest(&self) -> Option<Seq> {
        let readers = self.live.iter().filter(|view| view.reads_memory());
        readers.map(View::seq).min()
    }

    /// Forgets views that nobody holds.
    pub fn sweep(&mut self) {
        self.live.retain(|view| Rc::strong_count(&view.0) > 1);
        self.keep = self.live.iter().map(View::seq).max().unwrap_or_default();
    }

    /// Ends views that are too old or keep too much. `kept` says how many bytes were let go of by the
    /// store since it had installed so many versions.
    pub fn enforce(&mut self, now: u64, age_max: u64, bytes_max: u64, kept: impl Fn(u64) -> u64) {
        self.sweep();
        for view in &self.live {
            if now.saturating_sub(view.0.born) > age_max {
                view.end(ViewEnded::Age);
            } else if kept(view.0.installed) > bytes_max {
                view.end(ViewEnded::Bytes);
            }
        }
        self.live.retain(|view| view.check().is_ok());
        self.sweep();
    }

    /// Whether a live view reads a memtable.
    pub fn need_memory(&self, id: MemoryId) -> bool {
        self.live.iter().any(|view| {
            let seen = view.0.seen.borrow();
            seen.as_ref()
                .is_some_and(|seen| seen.first <= id && id < seen.limit)
        })
    }
}
