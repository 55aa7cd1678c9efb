//! Disk space: the reserve, and what happens when it is all that is left.
//!
//! A store that must write a table to free space cannot begin to do so on a full disk. So it holds a
//! reserve file, large enough for the flush of every memtable and one step of compaction:
//!
//! ```text
//!           a table write: no space             enough is free again
//!   Held ───────────────────────────▶ Lent ──────────────────────────▶ Held
//!                                      │ ▲
//!          even so a write fails       ▼ │  something was removed, or the driver reports space
//!                                     Starved
//! ```
//!
//! Unless the reserve is held, the disk counts as full: whoever admits writes refuses those that
//! grow. Deletes, flushes, compaction and checkpoints go on, on the lent reserve.

use alloc::vec::Vec;

use crate::effect::{Effect, Failure};

/// The reserve of one store.
#[derive(Clone, Debug)]
pub struct Space {
    /// What the reserve should hold; 0 when none is wanted.
    target: u64,
    /// What it holds for sure.
    held: u64,
    /// What it was asked to hold, while that is in flight.
    asked: Option<u64>,
    /// What it should be asked to hold next.
    wish: Option<u64>,
    /// A table write failed and nothing has changed since.
    starved: bool,
}

impl Space {
    /// Begins by asking for the reserve.
    pub fn new(target: u64) -> Space {
        Space {
            target,
            held: 0,
            asked: None,
            wish: (target > 0).then_some(target),
            starved: false,
        }
    }

    /// Whether the disk counts as full.
    pub fn is_full(&self) -> bool {
        self.starved || self.held < self.target
    }

    /// Whether the reserve is being written, or about to be: what it will say is not known yet.
    pub fn is_reserving(&self) -> bool {
        self.wish
            .or(self.asked)
            .is_some_and(|bytes| bytes > self.held)
    }

    /// Whether table writes may be tried.
    pub fn may_write(&self) -> bool {
        !self.starved && self.asked.is_none() && self.wish.is_none()
    }

    /// A table could not be written.
    pub fn on_no_space(&mut self) {
        self.starved = true;
        if self.held > 0 || self.asked.is_some_and(|bytes| bytes > 0) {
            self.wish = Some(0);
        }
    }

    /// A file of the store was removed: what was starved may try again.
    pub fn on_removed(&mut self) {
        self.starved = false;
    }

    /// The driver reports so many free bytes. `needed` says how much the work at hand may still take.
    pub fn on_free(&mut self, free: u64, needed: u64) {
        if free > 0 {
            self.starved = false;
        }
        let wanted = (self.target - self.held).saturating_add(needed);
        if self.held < self.target && self.asked.is_none() && free >= wanted {
            self.wish = Some(self.target);
        }
    }

    /// Emits what may be done now.
    pub fn flush_effects(&mut self, effects: &mut Vec<Effect>) {
        if self.asked.is_none()
            && let Some(bytes) = self.wish.take()
        {
            self.asked = Some(bytes);
            effects.push(Effect::SizeReserve { bytes });
        }
    }

    /// Answers [`Effect::SizeReserve`]. A reserve that could not be made is given back whole, so that
    /// its half does not take the space that work needs.
    pub fn on_sized(&mut self, bytes: u64, outcome: Result<(), Failure>) {
        assert_eq!(self.asked.take(), Some(bytes));
        match outcome {
            Ok(()) => {
                if bytes < self.held {
                    self.starved = false;
                }
                self.held = bytes;
            }
            Err(_) => {
                self.held = 0;
                if bytes > 0 {
                    self.wish.get_or_insert(0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn emitted(space: &mut Space) -> Vec<Effect> {
        let mut effects = Vec::new();
        space.flush_effects(&mut effects);
        effects
    }

    fn held(target: u64) -> Space {
        let mut space = Space::new(target);
        assert_eq!(
            emitted(&mut space),
            vec![Effect::SizeReserve { bytes: target }]
        );
        space.on_sized(target, Ok(()));
        assert!(!space.is_full());
        assert!(space.may_write());
        space
    }

    #[test]
    fn the_reserve_is_lent_when_a_write_fails_and_taken_back_when_space_returns() {
        let mut space = held(100);
        space.on_no_space();
        assert!(space.is_full());
        assert!(!space.may_write());
        assert_eq!(emitted(&mut space), vec![Effect::SizeReserve { bytes: 0 }]);
        assert!(!space.may_write(), "it is not lent yet");
        space.on_sized(0, Ok(()));
        assert!(space.may_write());
        assert!(space.is_full());
        space.on_free(120, 30);
        assert_eq!(emitted(&mut space), vec![], "too little for both");
        space.on_free(130, 30);
        assert_eq!(
            emitted(&mut space),
            vec![Effect::SizeReserve { bytes: 100 }]
        );
        space.on_sized(100, Ok(()));
        assert!(!space.is_full());
    }

    #[test]
    fn without_a_reserve_work_waits_for_space() {
        let mut space = Space::new(0);
        assert!(!space.is_full());
        space.on_no_space();
        assert!(space.is_full());
        assert!(!space.may_write());
        assert_eq!(emitted(&mut space), vec![]);
        space.on_free(0, 0);
        assert!(!space.may_write());
        space.on_removed();
        assert!(space.may_write());
        assert!(!space.is_full());
    }

    #[test]
    fn a_reserve_that_does_not_fit_is_given_back() {
        let mut space = Space::new(100);
        emitted(&mut space);
        space.on_sized(100, Err(Failure::NoSpace));
        assert_eq!(emitted(&mut space), vec![Effect::SizeReserve { bytes: 0 }]);
        space.on_sized(0, Ok(()));
        assert!(space.may_write());
        assert!(space.is_full());
    }
}
