//! Requests that another shard is to do: a connection to it as its own clients have one.
//!
//! What was not sent when the connection ends was not done, and may go elsewhere. Of a write that was
//! sent nobody knows. A store that stands still neither answers nor ends the connection: when others have
//! taken over what it led, nobody waits for it any longer.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::TcpStream;
use glommio::timer::{Timer, timeout};
use rkyv::ser::allocator::Arena;

use super::aside;
use super::bell::Bell;
use super::driver::{Driver, Owner};
use super::request_table::RequestTable;
use super::socket;
use crate::shard::error::Error;
use crate::shard::ids::{PeerId, RegionId, RequestId, StoreId};
use crate::shard::region::Region;
use crate::shard::request::{Request, Response};
use crate::wire::native::answer::Answered;
use crate::wire::native::ask::{self, Ask};
use crate::wire::native::frame;
use crate::wire::native::greet::{WELCOME_BYTES, Welcome, hello};

/// How long a connection may take to be made and greeted.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// The pause after a connection that did not come about.
const PAUSE: Duration = Duration::from_millis(50);

/// How often it is looked whose time is over.
const SWEEP: Duration = Duration::from_millis(200);

/// Bytes of requests that may wait for the socket.
const WAITING_BYTES_MAX: usize = 32 << 20;

/// What is read at once.
const READ_BYTES: usize = 64 << 10;

/// A request that waits for its answer.
struct Sent {
    owner: Owner,
    writes: bool,
    /// The region that it is for, if that is known here.
    region: Option<RegionId>,
    since: u64,
    /// Whether any of it may have left.
    left: Cell<bool>,
}

/// The way to one other shard.
pub struct Remote {
    to: StoreId,
    out: RefCell<Vec<u8>>,
    waiting: RefCell<RequestTable<Sent>>,
    arena: RefCell<Arena>,
    socket: Cell<Option<RawFd>>,
    is_sending: Cell<bool>,
    is_touched: Cell<bool>,
    is_closed: Cell<bool>,
    wanted: Bell,
}

impl Remote {
    /// A way; it connects when it is given something.
    pub fn open(driver: &Rc<Driver>, to: StoreId) -> Rc<Remote> {
        let remote = Rc::new(Remote {
            to,
            out: RefCell::default(),
            waiting: RefCell::default(),
            arena: RefCell::default(),
            socket: Cell::new(None),
            is_sending: Cell::new(false),
            is_touched: Cell::new(false),
            is_closed: Cell::new(false),
            wanted: Bell::default(),
        });
        glommio::spawn_local(live(driver.clone(), remote.clone())).detach();
        glommio::spawn_local(sweep(driver.clone(), remote.clone())).detach();
        remote
    }

    /// Takes a request. Whether this is the first of the turn.
    pub fn push(&self, driver: &Rc<Driver>, owner: Owner, request: &Request<'_>) -> bool {
        let writes = request.body.writes();
        let mut out = self.out.borrow_mut();
        if self.is_closed.get() || out.len() >= WAITING_BYTES_MAX {
            owner.answer_later(driver, Err(nobody()));
            return false;
        }
        let shard = driver.shard.borrow();
        let region = shard.region_at(request.body.key()).map(|region| region.id);
        drop(shard);
        let sent = Sent {
            owner,
            writes,
            region,
            since: driver.clock.mono(),
            left: Cell::new(false),
        };
        let id = self.waiting.borrow_mut().insert(sent);
        let ask = Ask {
            id: id.0,
            region: request.region,
            ..Ask::default()
        };
        if ask::encode(&ask, &request.body, &mut self.arena.borrow_mut(), &mut out).is_err() {
            let error = Error::BadRequest("the request is too long to be handed on");
            if let Some(sent) = self.waiting.borrow_mut().remove(id) {
                sent.owner.answer_later(driver, Err(error));
            }
            return false;
        }
        !self.is_touched.replace(true)
    }

    /// The turn is over: what was given leaves.
    pub fn flush(&self) {
        self.is_touched.set(false);
        let Some(fd) = self.socket.get() else {
            return self.wanted.ring();
        };
        if self.is_sending.get() {
            return;
        }
        self.mark_left();
        let mut out = self.out.borrow_mut();
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

    fn mark_left(&self) {
        for sent in self.waiting.borrow().iter() {
            sent.left.set(true);
        }
    }

    fn give(&self, driver: &Rc<Driver>, id: RequestId, response: Response) {
        let sent = self.waiting.borrow_mut().remove(id);
        if let Some(sent) = sent {
            sent.owner.answer(driver, response);
        }
    }

    /// The connection is gone.
    fn lose(&self, driver: &Rc<Driver>) {
        self.socket.set(None);
        self.is_sending.set(false);
        self.out.borrow_mut().clear();
        let lost = self.waiting.borrow_mut().drain();
        for sent in lost {
            let error = match sent.writes && sent.left.get() {
                true => Error::Undetermined,
                false => nobody(),
            };
            sent.owner.answer(driver, Err(error));
        }
    }

    /// It is over.
    pub fn close(&self, driver: &Rc<Driver>) {
        self.is_closed.set(true);
        if let Some(fd) = self.socket.get() {
            socket::shut_down(fd);
        }
        self.lose(driver);
        self.wanted.ring();
    }
}

/// Nobody could be asked: whoever asked may try elsewhere, or later.
pub fn nobody() -> Error {
    Error::NotLeader {
        region: RegionId(0),
        leader: None,
    }
}

async fn live(driver: Rc<Driver>, remote: Rc<Remote>) {
    while !remote.is_closed.get() && !driver.has_stopped() {
        if remote.out.borrow().is_empty() {
            remote.wanted.wait().await;
            continue;
        }
        match connect(&driver, &remote).await {
            Ok(stream) => talk(&driver, &remote, stream).await,
            Err(why) => tracing::debug!(to = remote.to.0, why, "a store cannot be asked"),
        }
        remote.lose(&driver);
        Timer::new(PAUSE).await;
    }
}

async fn connect(driver: &Driver, remote: &Remote) -> Result<TcpStream, String> {
    let berth = driver.links.berth(remote.to);
    let berth = berth.ok_or("where it is is not known")?;
    let port = berth.address.shard_port(berth.shard);
    let port = port.ok_or("it has no such shard")?;
    let address = berth.address.clone();
    let at = aside::run(move || address.resolve(port)).await?;
    let greeted = timeout(CONNECT_MAX, async move {
        let mut stream = TcpStream::connect(at).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&hello()).await?;
        let mut welcome = [0; WELCOME_BYTES];
        stream.read_exact(&mut welcome).await?;
        Ok((stream, welcome))
    });
    let (stream, welcome) = greeted.await.map_err(|error| format!("{at}: {error}"))?;
    let welcome = Welcome::decode(&welcome).map_err(|error| format!("{at}: {error}"))?;
    let is_it =
        welcome.accepted && welcome.cluster == driver.station.cluster && welcome.store == remote.to;
    match is_it {
        true => Ok(stream),
        false => Err(format!("{at} is another store: {welcome:?}")),
    }
}

async fn talk(driver: &Rc<Driver>, remote: &Rc<Remote>, mut stream: TcpStream) {
    let fd = stream.as_raw_fd();
    let Ok(copy) = socket::duplicate(fd) else {
        return;
    };
    remote.socket.set(Some(fd));
    let reading =
        glommio::spawn_local(read(driver.clone(), remote.clone(), socket::adopt(copy))).detach();
    remote.flush();
    while remote.socket.get().is_some() && !remote.is_closed.get() {
        let out = std::mem::take(&mut *remote.out.borrow_mut());
        if out.is_empty() {
            remote.is_sending.set(false);
            remote.wanted.wait().await;
            continue;
        }
        remote.is_sending.set(true);
        remote.mark_left();
        if stream.write_all(&out).await.is_err() {
            break;
        }
    }
    socket::shut_down(fd);
    reading.await;
}

/// Answers, until the connection ends.
async fn read(driver: Rc<Driver>, remote: Rc<Remote>, mut stream: TcpStream) {
    let mut kept = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    'reading: while let Ok(bytes @ 1..) = stream.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..bytes]);
        let mut done = 0;
        loop {
            let length = match frame::length(&kept[done..]) {
                Ok(Some(length)) if kept.len() - done >= length => length,
                Ok(_) => break,
                Err(_) => break 'reading,
            };
            let answered = Bytes::copy_from_slice(&kept[done..done + length]);
            done += length;
            let Ok(answered) = Answered::decode(&answered) else {
                break 'reading;
            };
            let response = answered.result.map_err(Error::from);
            remote.give(&driver, RequestId(answered.id), response);
        }
        kept.drain(..done);
        driver.bell.ring();
    }
    remote.socket.set(None);
    remote.wanted.ring();
}

/// Gives up what has waited for too long.
async fn sweep(driver: Rc<Driver>, remote: Rc<Remote>) {
    let limits = driver.config.limits();
    let limit = driver.config.client.timeout_ms * 1_000_000;
    // Until then a store that is not heard of is given the time of an election.
    let patience = (limits.tick * limits.election_ticks as u64 * 2).min(limit);
    while !remote.is_closed.get() && !driver.has_stopped() {
        Timer::new(SWEEP).await;
        let now = driver.clock.mono();
        let before = now.saturating_sub(patience);
        if !remote
            .waiting
            .borrow()
            .iter()
            .any(|sent| sent.since < before)
        {
            continue;
        }
        let moved = led_elsewhere(&driver, remote.to);
        let late = remote.waiting.borrow_mut().take_if(|sent| {
            let has_moved = sent.region.is_some_and(|region| moved.contains(&region));
            sent.since < now.saturating_sub(limit) || (sent.since < before && has_moved)
        });
        for sent in late {
            // Even what has not left yet may do so.
            let error = match sent.writes {
                true => Error::Undetermined,
                false => nobody(),
            };
            sent.owner.answer(&driver, Err(error));
        }
    }
}

/// Regions that another store leads than this one.
fn led_elsewhere(driver: &Driver, store: StoreId) -> BTreeSet<RegionId> {
    let shard = driver.shard.borrow();
    let statuses = shard.statuses();
    let is_elsewhere = |leader: PeerId, region: &Region| {
        let leader = region.peer(leader);
        leader.is_some_and(|leader| leader.store != store)
    };
    let moved = statuses.iter().filter(|status| {
        let leader = status.leader;
        leader.is_some_and(|leader| is_elsewhere(leader, &status.region))
    });
    moved.map(|status| status.region.id).collect()
}
