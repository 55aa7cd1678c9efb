//! One way to another shard: connected when there is something to say, greeted, written to once a turn.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::TcpStream;
use glommio::timer::{Timer, timeout};

use super::aside;
use super::bell::Bell;
use super::driver::Driver;
use super::figures::count;
use super::socket;
use crate::shard::door::Input;
use crate::shard::ids::StoreId;
use crate::shard::message::PeerMessage;
use crate::wire::peer::frame::Encoder;
use crate::wire::peer::greet::{ANSWER_BYTES_MAX, Answer, Hello, Verdict};

/// How long a connection may take to be made and greeted.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// The pause after a connection that did not come about grows from this …
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// … to this.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Bytes that may wait for the socket; beyond them messages are dropped.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// Messages that may wait for a connection.
const WAITING_MAX: usize = 4096;

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Everything that somebody waits for.
    Swift,
    /// The pieces of snapshots.
    Bulk,
}

/// One way to another shard.
#[expect(
    clippy::vec_box,
    reason = "messages come boxed, and frames are made of what comes"
)]
pub struct Link {
    to: StoreId,
    kind: Kind,
    waiting: RefCell<Vec<Box<PeerMessage>>>,
    out: RefCell<Vec<u8>>,
    encoder: RefCell<Encoder>,
    /// The socket, while it is connected and greeted.
    socket: Cell<Option<RawFd>>,
    /// Rung when the task has something to do: to connect, or to send what the socket did not take.
    wanted: Bell,
    is_touched: Cell<bool>,
    /// The task is sending what the socket did not take at once: until then nobody else sends.
    is_sending: Cell<bool>,
    is_closed: Cell<bool>,
}

impl Link {
    /// A link; it connects when it is given something.
    pub fn open(driver: &Rc<Driver>, to: StoreId, kind: Kind) -> Rc<Link> {
        let link = Rc::new(Link {
            to,
            kind,
            waiting: RefCell::default(),
            out: RefCell::default(),
            encoder: RefCell::new(Encoder::new()),
            socket: Cell::new(None),
            wanted: Bell::default(),
            is_touched: Cell::new(false),
            is_sending: Cell::new(false),
            is_closed: Cell::new(false),
        });
        glommio::spawn_local(live(driver.clone(), link.clone())).detach();
        link
    }

    /// Takes a message. Whether this is the first of the turn.
    pub fn push(&self, driver: &Driver, message: Box<PeerMessage>) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let limit = match self.socket.get() {
            // Who comes back after a while wants to know how things are, not how they were.
            None => WAITING_MAX / 16,
            Some(_) => WAITING_MAX,
        };
        if waiting.len() >= limit || self.out.borrow().len() >= WAITING_BYTES_MAX {
            count(&driver.figures.dropped, 1);
            return false;
        }
        waiting.push(message);
        !self.is_touched.replace(true)
    }

    /// The turn is over: what was given becomes a frame, and the frame leaves.
    pub fn flush(&self) {
        self.is_touched.set(false);
        let Some(fd) = self.socket.get() else {
            return self.wanted.ring();
        };
        if self.kind == Kind::Bulk {
            return self.wanted.ring();
        }
        let mut out = self.out.borrow_mut();
        self.encode(&mut out);
        if self.is_sending.get() {
            return;
        }
        match socket::send(fd, &out) {
            Ok(sent) if sent == out.len() => out.clear(),
            Ok(sent) => {
                out.drain(..sent);
                self.is_sending.set(true);
                self.wanted.ring();
            }
            Err(_) => socket::shut_down(fd),
        }
    }

    /// All that waits becomes frames behind what is there.
    fn encode(&self, out: &mut Vec<u8>) {
        let mut waiting = self.waiting.borrow_mut();
        let mut taken = 0;
        while taken < waiting.len() {
            taken += self.encoder.borrow_mut().encode(&waiting[taken..], out);
        }
        waiting.clear();
    }

    /// It is over.
    pub fn close(&self) {
        self.is_closed.set(true);
        if let Some(fd) = self.socket.take() {
            socket::shut_down(fd);
        }
        self.wanted.ring();
    }
}

async fn live(driver: Rc<Driver>, link: Rc<Link>) {
    let mut pause = PAUSE_MIN;
    while !link.is_closed.get() && !driver.has_stopped() {
        if link.waiting.borrow().is_empty() {
            link.wanted.wait().await;
            continue;
        }
        match connect(&driver, &link).await {
            Ok(stream) => {
                pause = PAUSE_MIN;
                talk(&link, stream).await;
            }
            Err(why) => tracing::debug!(to = link.to.0, why, "no link to a store"),
        }
        link.socket.set(None);
        link.is_sending.set(false);
        link.waiting.borrow_mut().clear();
        link.out.borrow_mut().clear();
        driver.handle(Input::Unreachable(link.to));
        Timer::new(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn connect(driver: &Driver, link: &Link) -> Result<TcpStream, String> {
    let berth = driver
        .links
        .berth(link.to)
        .ok_or("where it is is not known")?;
    let port = berth
        .address
        .shard_port(berth.shard)
        .ok_or("it has no such shard")?;
    let address = berth.address.clone();
    let at = aside::run(move || address.resolve(port)).await?;
    let (station, to) = (driver.station, link.to);
    let (own, edition) = (driver.address.clone(), driver.edition);
    let greeted = timeout(CONNECT_MAX, async move {
        let mut stream = TcpStream::connect(at).await?;
        stream.set_nodelay(true)?;
        let hello = Hello::new(station.cluster, station.store, to);
        let hello = hello.at(station.shard, &own, edition);
        stream.write_all(&hello.encode()).await?;
        let mut answer = Vec::new();
        let mut byte = [0; 1];
        while answer.len() < ANSWER_BYTES_MAX {
            stream.read_exact(&mut byte).await?;
            answer.push(byte[0]);
            match Answer::decode(&answer) {
                Ok(None) => {}
                Ok(Some((answer, _))) => return Ok((stream, answer)),
                Err(error) => {
                    let error = std::io::Error::other(error.to_string());
                    return Err(error.into());
                }
            }
        }
        Err(std::io::Error::other("its greeting has no end").into())
    });
    let (stream, answer) = greeted.await.map_err(|error| format!("{at}: {error}"))?;
    match answer.verdict {
        Verdict::Accepted => Ok(stream),
        _ => {
            tracing::warn!(to = link.to.0, %at, why = answer.reason, "a store refuses this one");
            Err(answer.reason)
        }
    }
}

/// Until the connection ends.
async fn talk(link: &Rc<Link>, mut stream: TcpStream) {
    let fd = stream.as_raw_fd();
    link.socket.set(Some(fd));
    let Ok(copy) = socket::duplicate(fd) else {
        return;
    };
    let watched = socket::adopt(copy);
    let watcher = glommio::spawn_local(watch(link.clone(), watched)).detach();
    link.flush();
    while link.socket.get().is_some() && !link.is_closed.get() {
        let mut out = std::mem::take(&mut *link.out.borrow_mut());
        if link.kind == Kind::Bulk {
            link.encode(&mut out);
        }
        if out.is_empty() {
            link.is_sending.set(false);
            link.wanted.wait().await;
            continue;
        }
        link.is_sending.set(true);
        if stream.write_all(&out).await.is_err() {
            break;
        }
    }
    socket::shut_down(fd);
    watcher.await;
}

/// Notices the end of a connection on which nothing comes back.
async fn watch(link: Rc<Link>, mut stream: TcpStream) {
    let mut byte = [0; 64];
    while matches!(stream.read(&mut byte).await, Ok(1..)) {}
    link.socket.set(None);
    link.wanted.ring();
}
