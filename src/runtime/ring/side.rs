//! The ring as a driver has it: its connections, its log writes, and one look at all of them a turn.

use std::cell::RefCell;
use std::os::fd::RawFd;
use std::rc::Rc;

use glommio::io::BufferedFile;
use std::os::fd::FromRawFd;

use super::queue::{Done, Ring, What};
use super::sockets::Sockets;
use super::writes::Writes;
use crate::runtime::driver::Driver;
use crate::runtime::socket;
use crate::shard::time::Time;

/// The ring as a driver has it.
pub struct Side {
    ring: Rc<Ring>,
    sockets: Sockets,
    writes: Rc<Writes>,
    done: RefCell<Vec<Done>>,
}

impl Side {
    /// Around a ring.
    pub fn new(ring: Ring) -> Side {
        Side {
            ring: Rc::new(ring),
            sockets: Sockets::default(),
            writes: Rc::default(),
            done: RefCell::default(),
        }
    }

    /// For the log, which writes through it.
    pub fn log_writes(&self) -> (Rc<Ring>, Rc<Writes>) {
        (self.ring.clone(), self.writes.clone())
    }

    /// Takes connections at a listening socket, which stays open.
    pub fn listen(&self, fd: RawFd) {
        self.sockets.listen(&self.ring, fd);
    }

    /// Goes on taking connections at a listening socket, by its number.
    pub fn accept_again(&self, place: u32) {
        self.sockets.accept_again(&self.ring, place);
    }

    /// Hands over what the turn asked for, and deals with what has completed. Whether anything has.
    pub fn look(&self, driver: &Rc<Driver>) -> bool {
        let mut done = self.done.take();
        self.ring.enter(&mut done);
        let any = !done.is_empty();
        // All that is in these has come before.
        let now = if any {
            driver.clock.now()
        } else {
            Time::default()
        };
        for one in done.drain(..) {
            match one.what {
                What::Write | What::Sync => {
                    if let Some(written) = self.writes.complete(one) {
                        driver.log.written(written);
                    }
                }
                _ => self.sockets.complete(driver, &self.ring, one, now),
            }
        }
        if any {
            self.ring.publish();
        }
        self.done.replace(done);
        any
    }

    /// Whether what completes is told to the executor: while it looks by itself that is wasted.
    pub fn calls(&self, calls: bool) {
        self.ring.calls(calls);
    }

    /// Whether something has completed; asks memory alone.
    pub fn has_something(&self) -> bool {
        self.ring.has_something()
    }

    /// What a connection has to say leaves.
    pub fn send(&self, driver: &Rc<Driver>, place: u32, now: u64) {
        self.sockets.send(driver, &self.ring, place, now);
    }

    /// Whether the kernel sends for a connection.
    pub fn is_sending(&self, place: u32) -> bool {
        self.sends_since(place).is_some()
    }

    /// Since when the kernel has been sending for a connection.
    pub fn sends_since(&self, place: u32) -> Option<u64> {
        self.sockets.sends_since(place)
    }

    /// Forgets a connection of which nothing is left.
    pub fn bury(&self, driver: &Rc<Driver>, place: u32) {
        self.sockets.bury(driver, place);
    }

    /// Calls of the kernel so far.
    pub fn enters(&self) -> u64 {
        self.ring.enters.get()
    }
}

/// Rings the bell when something completes while nobody looks.
pub async fn watch(driver: Rc<Driver>) {
    let Some(side) = &driver.ring else { return };
    let Ok(copy) = socket::duplicate(side.ring.event()) else {
        return;
    };
    // SAFETY: the descriptor is a copy that nobody else has.
    #[expect(unsafe_code, reason = "glommio takes files by their descriptor alone")]
    let event = unsafe { BufferedFile::from_raw_fd(copy) };
    while !driver.has_stopped() {
        if event.read_at(0, 8).await.is_err() {
            return;
        }
        driver.bell.ring();
    }
}
