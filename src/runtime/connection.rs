//! One connection of a client: bytes in, bytes out, whatever it speaks.
//!
//! It is a state machine that never waits. Who reads the socket hands it bytes ([`Connection::fill`],
//! [`Connection::advance`]), the turn loop hands it answers ([`Connection::answered`]) and tells it when
//! the turn is over ([`Connection::end_of_turn`]): then all that is to be sent leaves in one write.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::rc::Rc;

use super::bell::Bell;
use super::driver::Driver;
use super::figures::count;
use super::http;
use super::native::{NativeTalk, WINDOW_BYTES};
use super::peer_door::PeerTalk;
use super::resp::RespTalk;
use crate::shard::request::Response;
use crate::shard::time::Time;
use crate::wire::sniff::{self, Protocol, Sniffed};

/// What is read at once, and what the buffer of a quiet connection holds.
const READ_BYTES: usize = 16 << 10;

/// More than this is not kept between commands.
const KEPT_BYTES: usize = 256 << 10;

/// Bytes of requests that may wait on one connection: the longest frame of a peer, and some.
const INPUT_BYTES_MAX: usize = (16 << 20) + (64 << 10);

/// One connection.
pub struct Connection {
    /// Its number on this shard.
    pub number: u64,
    /// Whether it has something to do at the end of the turn.
    pub is_touched: Cell<bool>,
    /// Rung when it may read on, or is over.
    pub room: Bell,
    fd: RawFd,
    /// Its place on the ring, where that is what carries it.
    place: Option<u32>,
    state: RefCell<State>,
    is_closed: Cell<bool>,
    /// Since when it has had nothing under way, on the shard's clock.
    pub last_active: Cell<u64>,
}

/// What a connection holds.
pub struct State {
    /// Bytes that came in.
    pub input: Input,
    /// Bytes that are to go out.
    pub out: Vec<u8>,
    talk: Talk,
    address: String,
    /// No more is dealt with; it is closed when all is answered and sent.
    is_closing: bool,
    /// No more will come; what came is dealt with before it is closed.
    has_ended: bool,
    /// A task is sending what the socket did not take.
    is_sending: bool,
    /// How much of that it has taken.
    unsent: usize,
}

impl State {
    /// Bytes that wait for the client.
    fn owed(&self) -> usize {
        self.out.len() + self.unsent
    }

    /// Whether so much is to be sent that nothing more is done for this client until it reads.
    fn owes_much(&self, driver: &Driver) -> bool {
        self.owed() >= driver.config.client.output_mib << 20
    }

    /// Whether so much waits for it that answers to what was asked before that are not kept either.
    fn owes_all(&self, driver: &Driver) -> bool {
        self.owed() >= (driver.config.client.output_mib << 20) + WINDOW_BYTES
    }
}

/// Bytes that came in, and how many of them are dealt with.
#[derive(Default)]
pub struct Input {
    bytes: Vec<u8>,
    /// Up to here they are dealt with.
    pub done: usize,
    filled: usize,
}

impl Input {
    /// Those that are not dealt with.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.done..self.filled]
    }

    /// Bytes by their place, as long as nothing was moved.
    pub fn at(&self, from: usize, to: usize) -> &[u8] {
        &self.bytes[from..to]
    }

    /// Makes room behind what there is; only what is dealt with and not held may be dropped.
    fn make_room(&mut self, is_held: bool) {
        if self.done == self.filled && !is_held {
            (self.done, self.filled) = (0, 0);
            if self.bytes.len() > KEPT_BYTES {
                self.bytes = Vec::new();
            }
        }
        if self.bytes.len() - self.filled >= READ_BYTES / 2 {
            return;
        }
        if !is_held && self.done > 0 {
            self.bytes.copy_within(self.done..self.filled, 0);
            self.filled -= self.done;
            self.done = 0;
        }
        // It doubles up to what may wait, and grows by less where more comes before the kernel can be told to
        // stop: there is always room, or whoever has bytes to put here would be stuck with them.
        let wanted = match self.filled * 2 <= INPUT_BYTES_MAX {
            true => (self.filled + READ_BYTES).max(self.filled * 2),
            false => (self.filled + INPUT_BYTES_MAX / 8).max(INPUT_BYTES_MAX + READ_BYTES),
        };
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        }
    }
}

enum Talk {
    Undecided,
    Resp(Box<RespTalk>),
    Http,
    Native(Box<NativeTalk>),
    Peer(Box<PeerTalk>),
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(driver: &Driver, fd: RawFd, address: String, place: Option<u32>) -> Rc<Connection> {
        Rc::new(Connection {
            number: driver.number_connection(),
            is_touched: Cell::new(false),
            room: Bell::default(),
            fd,
            place,
            state: RefCell::new(State {
                input: Input::default(),
                out: Vec::new(),
                talk: Talk::Undecided,
                address,
                is_closing: false,
                has_ended: false,
                is_sending: false,
                unsent: 0,
            }),
            is_closed: Cell::new(false),
            last_active: Cell::new(driver.clock.mono()),
        })
    }

    /// Bytes have come.
    pub fn take_in(&self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = self.fill(|space| {
                let (now, later) = rest.split_at(rest.len().min(space.len()));
                space[..now.len()].copy_from_slice(now);
                (now.len(), later)
            });
        }
    }

    /// Whether something is to be sent.
    pub fn has_out(&self) -> bool {
        !self.state.borrow().out.is_empty()
    }

    /// Gives away what is to be sent, for memory that may be filled again.
    pub fn swap_out(&self, with: &mut Vec<u8>) {
        let mut state = self.state.borrow_mut();
        std::mem::swap(&mut state.out, with);
        if state.out.capacity() > KEPT_BYTES {
            state.out = Vec::new();
        }
    }

    /// Its place on the ring.
    pub fn place(&self) -> Option<u32> {
        self.place
    }

    /// Gives the reader a place for bytes; how many it put there comes back.
    pub fn fill<T>(&self, read: impl FnOnce(&mut [u8]) -> (usize, T)) -> T {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let is_held = match &state.talk {
            Talk::Resp(talk) => talk.is_busy(),
            _ => false,
        };
        state.input.make_room(is_held);
        let filled = state.input.filled;
        let (bytes, result) = read(&mut state.input.bytes[filled..]);
        state.input.filled += bytes;
        result
    }

    /// Whether nothing more is to be read for now.
    pub fn is_full(&self, driver: &Driver) -> bool {
        let state = self.state.borrow();
        let busy = match &state.talk {
            Talk::Resp(talk) => {
                (talk.is_busy() || talk.is_interrupted()) && state.input.rest().len() >= READ_BYTES
            }
            Talk::Native(talk) => talk.is_full(),
            _ => false,
        };
        busy || state.is_closing
            || state.has_ended
            || state.input.rest().len() >= INPUT_BYTES_MAX
            || state.owes_much(driver)
    }

    /// Whether it is over.
    pub fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// Whether everything that came in was answered and sent.
    pub fn is_idle(&self) -> bool {
        let state = self.state.borrow();
        let busy = match &state.talk {
            Talk::Resp(talk) => talk.is_busy() || talk.is_interrupted(),
            Talk::Native(talk) => talk.is_busy(),
            _ => false,
        };
        !busy && state.out.is_empty() && state.unsent == 0
    }

    /// Whether it is known what it speaks.
    pub fn is_decided(&self) -> bool {
        !matches!(self.state.borrow().talk, Talk::Undecided)
    }

    /// Whether no more is to be read from it, ever.
    pub fn is_finished(&self) -> bool {
        let state = self.state.borrow();
        state.is_closing || state.has_ended
    }

    /// No more will come: it is closed when all that came is dealt with, answered and sent.
    pub fn finish(&self) {
        self.state.borrow_mut().has_ended = true;
    }

    /// Deals with what came in, as far as it goes. The clocks were read after it had come: by them the shard
    /// judges whether it may answer by itself.
    pub fn advance(self: &Rc<Self>, driver: &Rc<Driver>, now: Time) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if self.is_closed.get() {
            return;
        }
        if matches!(state.talk, Talk::Undecided) {
            match sniff::sniff(state.input.rest()) {
                Sniffed::Undecided => return,
                Sniffed::Refused(why) => {
                    count(&driver.figures.cut_off, 1);
                    state
                        .out
                        .extend_from_slice(format!("-ERR {why}\r\n").as_bytes());
                    state.is_closing = true;
                    return driver.touch(self);
                }
                Sniffed::Is(protocol) => {
                    state.talk = match protocol {
                        Protocol::Resp => {
                            Talk::Resp(Box::new(RespTalk::new(self.number, state.address.clone())))
                        }
                        Protocol::Http => Talk::Http,
                        Protocol::Native => Talk::Native(Box::default()),
                        Protocol::Peer => Talk::Peer(Box::default()),
                    };
                }
            }
        }
        if state.is_closing || state.owes_much(driver) {
            return;
        }
        let (input, out) = (&mut state.input, &mut state.out);
        let goes_on = match &mut state.talk {
            Talk::Undecided => true,
            Talk::Resp(talk) => talk.advance(driver, self, input, out, now),
            Talk::Http => http::advance(driver, input, out),
            Talk::Native(talk) => talk.advance(driver, self, input, out, now),
            Talk::Peer(talk) => talk.advance(driver, input, out),
        };
        state.is_closing |= !goes_on;
        if !state.out.is_empty() || state.is_closing {
            driver.touch(self);
        }
    }

    /// A request of this connection was answered.
    pub fn answered(self: &Rc<Self>, driver: &Rc<Driver>, tag: u64, response: Response) {
        if self.is_closed.get() {
            return;
        }
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let (owed, is_full) = (state.owed(), state.owes_all(driver));
        match &mut state.talk {
            Talk::Resp(talk) => {
                talk.owe(owed);
                talk.answered(driver, self, tag, response, &state.input, &mut state.out);
            }
            Talk::Native(talk) => talk.answered(tag, response, is_full, &mut state.out),
            _ => {}
        }
        driver.touch(self);
    }

    /// Something that had to wait may be tried again.
    pub fn retry(self: &Rc<Self>, driver: &Rc<Driver>) {
        if self.is_closed.get() {
            return;
        }
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let owed = state.owed();
        if let Talk::Resp(talk) = &mut state.talk {
            talk.owe(owed);
            talk.retry(driver, self, &state.input, &mut state.out, true);
        }
        driver.touch(self);
    }

    /// The turn is over: what answers set free is asked for, and what is to be sent leaves.
    pub fn end_of_turn(self: &Rc<Self>, driver: &Rc<Driver>, now: Time) {
        if !self.is_closed.get() {
            self.last_active.set(now.mono);
            if self.may_go_on(driver) {
                self.advance(driver, now);
            }
        }
        match (&driver.ring, self.place) {
            (Some(side), Some(place)) => {
                side.send(driver, place, now.mono);
                if self.is_finished() && self.is_idle() && !side.is_sending(place) {
                    self.close();
                    side.bury(driver, place);
                }
            }
            _ => {
                let waits = self.waits_for_room(driver);
                self.send(driver);
                if waits && self.may_go_on(driver) {
                    driver.touch(self);
                }
            }
        }
        self.room.ring();
    }

    /// Whether something has come in that may be dealt with now.
    pub fn may_go_on(&self, driver: &Driver) -> bool {
        let state = self.state.borrow();
        let is_free = match &state.talk {
            Talk::Resp(talk) => !talk.is_busy(),
            Talk::Native(talk) => !talk.is_full(),
            Talk::Http => true,
            _ => false,
        };
        is_free && !state.input.rest().is_empty() && !state.owes_much(driver)
    }

    /// Whether what has come in waits until something was sent.
    fn waits_for_room(&self, driver: &Driver) -> bool {
        let state = self.state.borrow();
        let is_interrupted = match &state.talk {
            Talk::Resp(talk) => talk.is_interrupted(),
            _ => false,
        };
        is_interrupted || state.owes_much(driver)
    }

    /// So much of what was given away is not sent yet.
    pub fn set_unsent(&self, bytes: usize) {
        self.state.borrow_mut().unsent = bytes;
    }

    fn send(self: &Rc<Self>, driver: &Rc<Driver>) {
        let mut state = self.state.borrow_mut();
        if state.is_sending || state.out.is_empty() || self.is_closed.get() {
            return;
        }
        match super::socket::send(self.fd, &state.out) {
            Ok(sent) => {
                count(&driver.figures.bytes_out, sent as u64);
                if sent == state.out.len() {
                    state.out.clear();
                    if state.out.capacity() > KEPT_BYTES {
                        state.out = Vec::new();
                    }
                    return;
                }
                state.out.drain(..sent);
                state.is_sending = true;
                drop(state);
                glommio::spawn_local(super::client::send_rest(driver.clone(), self.clone()))
                    .detach();
            }
            Err(_) => {
                drop(state);
                self.close();
            }
        }
    }

    /// What is to be sent, for whoever waits until the socket takes it; none: it is all sent.
    pub fn take_unsent(&self) -> Option<Vec<u8>> {
        let mut state = self.state.borrow_mut();
        if state.out.is_empty() || self.is_closed.get() {
            state.is_sending = false;
            state.unsent = 0;
            return None;
        }
        state.unsent = state.out.len();
        Some(std::mem::take(&mut state.out))
    }

    /// The socket.
    pub fn fd(&self) -> RawFd {
        self.fd
    }

    /// It is over; whoever waits for it is told.
    pub fn close(&self) {
        if !self.is_closed.replace(true) {
            super::socket::shut_down(self.fd);
            self.room.ring();
        }
    }
}
