//! Whoever was refused because too much is under way waits here until there is room: the oldest first.
//!
//! ```text
//! refused ─▶ in line, by the time of the request ─▶ some writes are done ─▶ the oldest few ask again
//!                    ▲                           └─ nothing for a while ─┘             │
//!                    └────────────────────── refused again: the same place ────────────┘
//! ```
//!
//! They ask before connections whose writes were just answered do. So under more load than the shard takes,
//! everybody waits about as long as everybody else, and nobody until luck has it. How many ask depends on how
//! the last ones fared: what waits for something else than room costs one attempt a turn.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use glommio::timer::Timer;

use super::connection::Connection;
use super::driver::Driver;

/// So many ask again in one turn, at the most: they are to fill what has become free, and the turn is to stay short.
const CALLED_MAX: usize = 64;

/// Where nothing is done here, or what is full is another shard, all of them ask after this time.
const CALLED_AFTER: Duration = Duration::from_millis(10);

/// Since when a request waits for its answer, and a number that tells equal ones apart.
type Place = (u64, u64);

/// One that waits.
enum Waiting {
    Connection(Rc<Connection>),
    Task(Option<Waker>),
}

/// Those who wait for room.
#[derive(Default)]
pub struct Room {
    line: RefCell<BTreeMap<Place, Waiting>>,
    numbers: Cell<u64>,
    /// Writes were done since the last call.
    is_there: Cell<bool>,
    /// So many were called last, of whom the youngest waits since then.
    called: Cell<(usize, u64)>,
    /// One of them was refused again.
    was_refused: Cell<bool>,
    /// A task calls when nothing else does.
    is_watched: Cell<bool>,
}

impl Room {
    /// A write was done.
    pub fn freed(&self) {
        self.is_there.set(true);
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.line.borrow().len()
    }

    fn enter(&self, since: u64, waiting: Waiting) -> Place {
        let place = (since, self.numbers.get());
        self.numbers.set(place.1 + 1);
        if since <= self.called.get().1 {
            self.was_refused.set(true);
        }
        self.line.borrow_mut().insert(place, waiting);
        place
    }

    /// The oldest ones leave the line, if writes were done; all of them, if they are to ask anyway.
    fn next_ones(&self, anyway: bool) -> Vec<Waiting> {
        let mut line = self.line.borrow_mut();
        if line.is_empty() || !self.is_there.take() && !anyway {
            return Vec::new();
        }
        let (before, _) = self.called.get();
        let count = match (anyway, self.was_refused.take()) {
            (true, _) => line.len(),
            (false, true) => before / 2,
            (false, false) => before * 2,
        };
        let count = count.clamp(1, if anyway { line.len() } else { CALLED_MAX });
        let rest = line.keys().nth(count).copied();
        let rest = rest.map(|place| line.split_off(&place));
        let next = std::mem::replace(&mut *line, rest.unwrap_or_default());
        let youngest = next.keys().next_back().map_or(0, |place| place.0);
        self.called.set((count.min(CALLED_MAX), youngest));
        next.into_values().collect()
    }
}

impl Driver {
    /// A connection asks again when there is room; its oldest request waits since then.
    pub fn wait_for_room(self: &Rc<Driver>, since: u64, connection: &Rc<Connection>) {
        self.room
            .enter(since, Waiting::Connection(connection.clone()));
        self.watch_room();
    }

    /// The same for a task.
    pub async fn room(self: &Rc<Driver>, since: u64) {
        let place = self.room.enter(since, Waiting::Task(None));
        self.watch_room();
        let _left = Left {
            driver: self,
            place,
        };
        poll_fn(|context| {
            let mut line = self.room.line.borrow_mut();
            match line.get_mut(&place) {
                None => Poll::Ready(()),
                Some(waiting) => {
                    *waiting = Waiting::Task(Some(context.waker().clone()));
                    Poll::Pending
                }
            }
        })
        .await;
    }

    /// Those who wait longest ask again, if there may be room.
    pub fn call_waiting(self: &Rc<Driver>, anyway: bool) {
        for waiting in self.room.next_ones(anyway) {
            match waiting {
                Waiting::Connection(connection) => connection.retry(self),
                Waiting::Task(waker) => waker.into_iter().for_each(Waker::wake),
            }
        }
    }

    fn watch_room(self: &Rc<Driver>) {
        if self.room.is_watched.replace(true) {
            return;
        }
        let driver = self.clone();
        glommio::spawn_local(async move {
            while driver.room.waiting() > 0 {
                Timer::new(CALLED_AFTER).await;
                driver.call_waiting(true);
            }
            driver.room.is_watched.set(false);
        })
        .detach();
    }
}

/// A task that is given up leaves the line.
struct Left<'d> {
    driver: &'d Driver,
    place: Place,
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.driver.room.line.borrow_mut().remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since(room: &Room) -> Vec<u64> {
        room.line.borrow().keys().map(|place| place.0).collect()
    }

    #[test]
    fn the_oldest_are_called_first_once_something_is_done() {
        let room = Room::default();
        for time in (0..100).rev() {
            room.enter(time, Waiting::Task(None));
        }
        assert!(room.next_ones(false).is_empty(), "nothing was done");
        let mut called = 0;
        for more in [1, 2, 4, 8] {
            room.freed();
            assert_eq!(room.next_ones(false).len(), more, "none was refused");
            called += more as u64;
            assert_eq!(since(&room)[0], called, "the younger wait on");
            assert!(room.next_ones(false).is_empty(), "nothing more was done");
        }
        assert_eq!(room.next_ones(true).len(), 85);
    }

    #[test]
    fn who_waits_for_something_else_costs_little() {
        let room = Room::default();
        for time in 1..=64 {
            room.enter(time, Waiting::Task(None));
        }
        let mut asked = 0;
        for _ in 0..100 {
            room.freed();
            let called = since(&room);
            let count = room.next_ones(false).len();
            for time in &called[..count] {
                room.enter(*time, Waiting::Task(None));
            }
            asked += count;
        }
        assert_eq!((asked, room.waiting()), (100, 64));
    }

    #[test]
    fn who_is_refused_again_keeps_its_place() {
        let room = Room::default();
        room.enter(7, Waiting::Task(None));
        room.enter(5, Waiting::Task(None));
        assert_eq!(room.next_ones(true).len(), 2);
        room.enter(9, Waiting::Task(None));
        room.enter(5, Waiting::Task(None));
        room.enter(5, Waiting::Task(None));
        assert_eq!(since(&room), [5, 5, 9]);
    }
}
