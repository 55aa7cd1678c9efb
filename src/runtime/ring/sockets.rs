//! Connections on the ring: accepted, received and sent to by requests that the kernel keeps.

use std::cell::RefCell;
use std::os::fd::RawFd;
use std::rc::Rc;

use glommio::timer::Timer;

use super::queue::{Done, Ring, What};
use crate::runtime::client::{ACCEPT_PAUSE, ENDING};
use crate::runtime::connection::Connection;
use crate::runtime::driver::Driver;
use crate::runtime::figures::count;
use crate::runtime::socket;
use crate::shard::time::Time;

/// A connection and what the kernel still does for it.
struct Slot {
    connection: Rc<Connection>,
    fd: RawFd,
    receives: bool,
    /// Bytes that the kernel sends; they do not move until it is done.
    sending: Vec<u8>,
    /// How many of them it has sent.
    sent: usize,
    /// Since when the kernel has been sending; none: it is not.
    sends_since: Option<u64>,
    /// It is not received from until there is room.
    is_paused: bool,
}

/// All connections of the ring.
#[derive(Default)]
pub struct Sockets {
    slots: RefCell<Vec<Option<Slot>>>,
    listeners: RefCell<Vec<RawFd>>,
}

impl Sockets {
    /// Takes connections at a listening socket, which stays open.
    pub fn listen(&self, ring: &Ring, fd: RawFd) {
        let mut listeners = self.listeners.borrow_mut();
        ring.accept(fd, listeners.len() as u32);
        listeners.push(fd);
    }

    /// Goes on taking connections where the kernel has stopped doing so.
    pub fn accept_again(&self, ring: &Ring, place: u32) {
        let fd = self.listeners.borrow()[place as usize];
        ring.accept(fd, place);
    }

    /// Something has completed.
    pub fn complete(&self, driver: &Rc<Driver>, ring: &Ring, done: Done, now: Time) {
        match done.what {
            What::Accept => self.accepted(driver, ring, done),
            What::Receive => self.received(driver, ring, done, now),
            What::Send => self.sent(driver, ring, done, now.mono),
            _ => {}
        }
    }

    fn accepted(&self, driver: &Rc<Driver>, ring: &Ring, done: Done) {
        let fd = done.result;
        if fd < 0 {
            if fd != -libc::ECANCELED {
                let error = std::io::Error::from_raw_os_error(-fd);
                tracing::warn!(%error, "a connection could not be accepted");
            }
            if !done.more {
                let (driver, place) = (driver.clone(), done.place);
                glommio::spawn_local(async move {
                    Timer::new(ACCEPT_PAUSE).await;
                    if let Some(side) = &driver.ring {
                        side.accept_again(place);
                        driver.bell.ring();
                    }
                })
                .detach();
            }
            return;
        }
        if !done.more {
            self.accept_again(ring, done.place);
        }
        count(&driver.figures.accepted, 1);
        let open = driver.connections.borrow().len();
        if driver.draining.get() {
            let _ = socket::send(fd, ENDING);
            return socket::close(fd);
        }
        if open >= driver.config.client.connections_max {
            count(&driver.figures.cut_off, 1);
            let _ = socket::send(fd, b"-ERR max number of clients reached\r\n");
            return socket::close(fd);
        }
        let Ok(address) = socket::prepare(fd) else {
            return socket::close(fd);
        };
        let mut slots = self.slots.borrow_mut();
        let place = slots.iter().position(Option::is_none).unwrap_or_else(|| {
            slots.push(None);
            slots.len() - 1
        });
        let connection = Connection::new(driver, fd, address, Some(place as u32));
        let number = connection.number;
        driver
            .connections
            .borrow_mut()
            .insert(number, connection.clone());
        slots[place] = Some(Slot {
            connection,
            fd,
            receives: true,
            sending: Vec::new(),
            sent: 0,
            sends_since: None,
            is_paused: false,
        });
        ring.receive(fd, place as u32);
    }

    fn received(&self, driver: &Rc<Driver>, ring: &Ring, done: Done, now: Time) {
        let connection = {
            let mut slots = self.slots.borrow_mut();
            let Some(Some(slot)) = slots.get_mut(done.place as usize) else {
                // Nobody is there any more; the buffer goes back all the same.
                if let Some(buffer) = done.buffer {
                    ring.give_back(buffer);
                }
                return;
            };
            slot.receives = done.more;
            slot.connection.clone()
        };
        if let Some(buffer) = done.buffer {
            let length = done.result.max(0) as usize;
            count(&driver.figures.bytes_in, length as u64);
            ring.with_bytes(buffer, length, |bytes| connection.take_in(bytes));
            ring.give_back(buffer);
            connection.advance(driver, now);
        }
        let is_over = match done.result {
            0 => true,
            code if code < 0 => !matches!(-code, libc::ENOBUFS | libc::ECANCELED | libc::EINTR),
            _ => false,
        };
        if is_over {
            connection.finish();
            driver.touch(&connection);
        }
        self.arm(driver, ring, done.place);
        self.bury(driver, done.place);
    }

    /// Receives again, or stops for now, as there is room.
    fn arm(&self, driver: &Rc<Driver>, ring: &Ring, place: u32) {
        let mut slots = self.slots.borrow_mut();
        let Some(Some(slot)) = slots.get_mut(place as usize) else {
            return;
        };
        let is_full = slot.connection.is_full(driver);
        if slot.receives && is_full && !slot.is_paused {
            slot.is_paused = true;
            ring.stop_receiving(place);
        }
        if !slot.receives && !is_full && !slot.connection.is_closed() {
            slot.is_paused = false;
            slot.receives = true;
            ring.receive(slot.fd, place);
        }
    }

    /// Sends what a connection has to say, if the kernel is done with what it said before.
    pub fn send(&self, driver: &Rc<Driver>, ring: &Ring, place: u32, now: u64) {
        {
            let mut slots = self.slots.borrow_mut();
            let Some(Some(slot)) = slots.get_mut(place as usize) else {
                return;
            };
            if slot.sends_since.is_none() {
                slot.sending.clear();
                slot.sent = 0;
                slot.connection.swap_out(&mut slot.sending);
                self.push(ring, slot, place, now);
            }
        }
        self.arm(driver, ring, place);
        self.bury(driver, place);
    }

    #[expect(unsafe_code, reason = "the bytes are handed to the kernel")]
    fn push(&self, ring: &Ring, slot: &mut Slot, place: u32, now: u64) {
        let rest = &slot.sending[slot.sent..];
        slot.connection.set_unsent(rest.len());
        if rest.is_empty() || slot.connection.is_closed() {
            return;
        }
        slot.sends_since = Some(now);
        // SAFETY: the bytes are neither moved nor changed as long as `sends_since` says so, and the slot stays
        // until then.
        unsafe { ring.send(slot.fd, place, rest.as_ptr(), rest.len()) }
    }

    fn sent(&self, driver: &Rc<Driver>, ring: &Ring, done: Done, now: u64) {
        let connection = {
            let mut slots = self.slots.borrow_mut();
            let Some(Some(slot)) = slots.get_mut(done.place as usize) else {
                return;
            };
            slot.sends_since = None;
            if done.result < 0 {
                slot.connection.close();
            } else {
                let bytes = done.result as usize;
                count(&driver.figures.bytes_out, bytes as u64);
                slot.sent += bytes;
                self.push(ring, slot, done.place, now);
            }
            slot.connection.clone()
        };
        let goes_on = connection.has_out() || connection.may_go_on(driver);
        if goes_on || connection.is_finished() {
            driver.touch(&connection);
        }
        self.bury(driver, done.place);
    }

    /// Since when the kernel has been sending for a connection; none: it is not.
    pub fn sends_since(&self, place: u32) -> Option<u64> {
        let slots = self.slots.borrow();
        slots.get(place as usize)?.as_ref()?.sends_since
    }

    /// A connection of which nothing is left.
    pub fn bury(&self, driver: &Rc<Driver>, place: u32) {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = slots.get_mut(place as usize) else {
            return;
        };
        let is_over = slot.as_ref().is_some_and(|slot| {
            slot.connection.is_closed() && !slot.receives && slot.sends_since.is_none()
        });
        if is_over && let Some(slot) = slot.take() {
            socket::close(slot.fd);
            driver
                .connections
                .borrow_mut()
                .remove(&slot.connection.number);
        }
    }
}
