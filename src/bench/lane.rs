//! One connection of the generator: requests under way, bytes out, bytes in.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use super::plan::Protocol;
use super::words::{Found, Outcome, Words};
use crate::wire::native::greet::{WELCOME_BYTES, Welcome, hello};

/// What is read at once.
const READ_BYTES: usize = 64 << 10;

/// How long a connection may take to come about.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// When it was to leave, in nanoseconds from the start.
    pub begun: u64,
    /// When it left.
    pub left: u64,
    /// The number of its key.
    pub key: u64,
    /// Whether it writes.
    pub writes: bool,
    /// Whether it was passed on after it was refused.
    pub passed_on: bool,
}

/// One connection.
pub struct Lane {
    stream: TcpStream,
    protocol: Protocol,
    /// Which of the doors this is.
    pub door: usize,
    /// Whether everything is to be passed on to where it belongs.
    pub passes_on: bool,
    /// Requests that are to leave.
    pub out: Vec<u8>,
    gone: usize,
    input: Vec<u8>,
    done: usize,
    filled: usize,
    slots: Vec<Option<Sent>>,
    free: Vec<u32>,
    /// Where answers come in order: whose is next.
    order: VecDeque<u32>,
    is_lost: bool,
    is_abandoned: bool,
}

impl Lane {
    /// Connects and greets.
    pub fn connect(
        at: SocketAddr,
        door: usize,
        protocol: Protocol,
        pipeline: usize,
    ) -> Result<Lane, String> {
        let broken = |error: std::io::Error| format!("{at}: {error}");
        let mut stream = TcpStream::connect_timeout(&at, PATIENCE).map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        if protocol == Protocol::Native {
            stream.set_read_timeout(Some(PATIENCE)).map_err(broken)?;
            stream.write_all(&hello()).map_err(broken)?;
            let mut welcome = [0; WELCOME_BYTES];
            stream.read_exact(&mut welcome).map_err(broken)?;
            let welcome =
                Welcome::decode(&welcome).map_err(|error| format!("{at}: {}", error.0))?;
            if !welcome.accepted {
                return Err(format!("{at} speaks another version of the protocol"));
            }
        }
        stream.set_nonblocking(true).map_err(broken)?;
        Ok(Lane {
            stream,
            protocol,
            door,
            passes_on: false,
            out: Vec::new(),
            gone: 0,
            input: vec![0; READ_BYTES],
            done: 0,
            filled: 0,
            slots: vec![None; pipeline],
            free: (0..pipeline as u32).rev().collect(),
            order: VecDeque::with_capacity(pipeline),
            is_lost: false,
            is_abandoned: false,
        })
    }

    /// Its socket.
    pub fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// Whether one more request may leave.
    pub fn has_room(&self) -> bool {
        !self.is_lost && !self.free.is_empty()
    }

    /// Whether the connection has ended.
    pub fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Requests under way.
    pub fn under_way(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Takes a request in; its number. There must be room.
    pub fn begin(&mut self, sent: Sent) -> u64 {
        let slot = self.free.pop().expect("there is room");
        self.slots[slot as usize] = Some(sent);
        if self.protocol == Protocol::Resp {
            self.order.push_back(slot);
        }
        slot.into()
    }

    /// Sends as much as the socket takes; the rest leaves when it tells that it has room.
    pub fn flush(&mut self) {
        while self.gone < self.out.len() && !self.is_lost {
            match self.stream.write(&self.out[self.gone..]) {
                Ok(sent) => self.gone += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.is_lost = true,
            }
        }
        self.out.clear();
        self.gone = 0;
    }

    /// Reads what is there. Whether more may be.
    pub fn fill(&mut self) -> bool {
        if self.done == self.filled {
            (self.done, self.filled) = (0, 0);
        } else if self.input.len() - self.filled < READ_BYTES / 2 {
            self.input.copy_within(self.done..self.filled, 0);
            self.filled -= self.done;
            self.done = 0;
            if self.input.len() - self.filled < READ_BYTES / 2 {
                self.input.resize(self.input.len() * 2, 0);
            }
        }
        let room = &mut self.input[self.filled..];
        let wanted = room.len();
        match self.stream.read(room) {
            Ok(0) => self.is_lost = true,
            Ok(read) => {
                self.filled += read;
                return read == wanted;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => return true,
            Err(_) => self.is_lost = true,
        }
        false
    }

    /// The next answer and its request, if one is complete. Nonsense is told in words, and ends the connection.
    pub fn next(&mut self, words: &Words) -> Result<Option<(Sent, Outcome)>, String> {
        let slots = &self.slots;
        let writes = |id: u64| {
            let sent = slots.get(id as usize).copied().flatten();
            sent.is_some_and(|sent| sent.writes)
        };
        let found = words.answer(&self.input[self.done..self.filled], writes);
        let Found {
            length,
            id,
            outcome,
        } = match found {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(why) => return Err(self.give_up(why)),
        };
        self.done += length;
        let slot = match id {
            Some(id) => u32::try_from(id).ok(),
            None => self.order.pop_front(),
        };
        let sent = slot.and_then(|slot| Some((slot, self.slots.get_mut(slot as usize)?.take()?)));
        let Some((slot, sent)) = sent else {
            return Err(self.give_up("an answer to nothing".into()));
        };
        self.free.push(slot);
        Ok(Some((sent, outcome)))
    }

    fn give_up(&mut self, why: String) -> String {
        self.is_lost = true;
        why
    }

    /// Nothing more comes: forgets what is under way. How many requests that were, the first time.
    pub fn abandon(&mut self) -> Option<usize> {
        if self.is_abandoned {
            return None;
        }
        let lost = self.under_way();
        (self.is_lost, self.is_abandoned) = (true, true);
        self.order.clear();
        self.slots.fill(None);
        self.free = (0..self.slots.len() as u32).rev().collect();
        Some(lost)
    }
}
