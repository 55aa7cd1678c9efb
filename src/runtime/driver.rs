//! What carries one shard: its brain between the world's inputs and effects, on one thread.
//!
//! ```text
//!   sockets ──▶ handle ─┐                                   ┌─▶ files
//!   files   ──▶ handle ─┼─▶ Shard ──▶ flush, once a turn ──▶┼─▶ links to other shards
//!   time    ──▶ handle ─┘                                   └─▶ answers, one write per connection
//! ```
//!
//! Tasks of the executor call [`Driver::handle`] with what happened, and ring the bell. The turn loop
//! ([`super::turn`]) is the only one that flushes. No borrow of the shard lives across an `await`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::mpsc::Sender;
use std::task::{Poll, Waker};

use futures_lite::future::yield_now;

use super::bell::Bell;
use super::board::Board;
use super::clock::Clock;
use super::config::Config;
use super::connection::Connection;
use super::disk::{LogDisk, StoreDisk};
use super::failure::{Exit, Failure};
use super::figures::Figures;
use super::life::Event;
use super::links::Links;
use super::request_table::RequestTable;
use super::ring::Side;
use super::room::Room;
use super::route::Routes;
use crate::placement::NodeInfo;
use crate::shard::Shard;
use crate::shard::door::Input;
use crate::shard::error::Error;
use crate::shard::ids::{ClusterId, Edition, NodeId, RequestId, StoreId};
use crate::shard::request::{Request, Response};
use crate::shard::time::Time;
use crate::wire::resp::cursor::Cursors;
use crate::wire::resp::info::Info;

/// Who waits for the answer to a request.
pub enum Owner {
    /// A connection, which knows it by a number of its own.
    Connection {
        /// The connection.
        connection: Rc<Connection>,
        /// Its number for the request.
        tag: u64,
    },
    /// A task.
    Task(Rc<Reply>),
}

impl Owner {
    /// Gives it the answer.
    pub fn answer(self, driver: &Rc<Driver>, response: Response) {
        match self {
            Owner::Connection { connection, tag } => connection.answered(driver, tag, response),
            Owner::Task(reply) => reply.give(response),
        }
    }

    /// Gives it an answer that is there already while it still asks: it must be done with asking first.
    pub fn answer_later(self, driver: &Rc<Driver>, response: Response) {
        let driver = driver.clone();
        glommio::spawn_local(async move {
            // A task that is spawned runs at once, as far as it goes.
            yield_now().await;
            self.answer(&driver, response);
        })
        .detach();
    }
}

/// A place for one answer, and who waits there.
#[derive(Default)]
pub struct Reply {
    response: RefCell<Option<Response>>,
    waiting: RefCell<Option<Waker>>,
}

impl Reply {
    /// Here it is.
    pub fn give(&self, response: Response) {
        *self.response.borrow_mut() = Some(response);
        if let Some(waker) = self.waiting.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Waits for it.
    pub async fn wait(&self) -> Response {
        poll_fn(|context| match self.response.borrow_mut().take() {
            Some(response) => Poll::Ready(response),
            None => {
                *self.waiting.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            }
        })
        .await
    }
}

/// Who a driver's shard is.
#[derive(Clone, Copy, Debug)]
pub struct Station {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its process.
    pub node: NodeId,
    /// Itself.
    pub store: StoreId,
    /// Its number on this node.
    pub shard: u16,
}

/// What a shard knows of the process that it is a part of.
pub struct Process {
    /// Where it is reached.
    pub address: String,
    /// Which edition of the address that is.
    pub edition: Edition,
    /// Where all shards say how they are.
    pub board: Board,
    /// Whom a shard tells what concerns all of it.
    pub events: Sender<(u16, Event)>,
}

/// A request under way, and since when.
struct Waiting {
    owner: Owner,
    since: u64,
    writes: bool,
}

/// What carries one shard.
pub struct Driver {
    /// Who it is.
    pub station: Station,
    /// Where its node is reached.
    pub address: String,
    /// Which edition of the address that is.
    pub edition: Edition,
    /// The brain.
    pub shard: RefCell<Shard>,
    /// The files of its log.
    pub log: LogDisk,
    /// The files of its state store.
    pub store: StoreDisk,
    /// The ring that carries its sockets and its log, where there is one.
    pub ring: Option<Side>,
    /// Its clocks.
    pub clock: Clock,
    /// Rung when a turn is wanted.
    pub bell: Bell,
    /// What may be set.
    pub config: Config,
    /// Where all shards of the node say how they are.
    pub board: Board,
    /// What it counts.
    pub figures: Figures,
    /// The links to other shards.
    pub links: Links,
    /// Where regions are that this shard does not lead.
    pub routes: Routes,
    /// Where scans of clients go on.
    pub cursors: RefCell<Cursors>,
    /// Those who wait until less is under way.
    pub room: Room,
    requests: RefCell<RequestTable<Waiting>>,
    /// Connections with something to do at the end of the turn.
    touched: RefCell<Vec<Rc<Connection>>>,
    /// All connections, by number.
    pub connections: RefCell<BTreeMap<u64, Rc<Connection>>>,
    next_connection: Cell<u64>,
    /// Whether the process is about to end.
    pub draining: Cell<bool>,
    /// Why the shard stopped for good, if it did.
    pub stopped: RefCell<Option<String>>,
    /// Whom it tells what concerns the process.
    pub events: Sender<(u16, Event)>,
}

impl Driver {
    /// Around a shard that was opened.
    pub fn new(
        station: Station,
        process: Process,
        mut opened: super::open::Opened,
        ring: Option<Side>,
        clock: Clock,
        config: Config,
    ) -> Rc<Driver> {
        if let Some(side) = &ring {
            let (ring, writes) = side.log_writes();
            opened.log.write_through_ring(ring, writes);
        }
        Rc::new(Driver {
            station,
            address: process.address,
            edition: process.edition,
            ring,
            shard: RefCell::new(opened.shard),
            log: opened.log,
            store: opened.store,
            clock,
            bell: Bell::default(),
            links: Links::default(),
            routes: Routes::default(),
            cursors: RefCell::default(),
            config,
            board: process.board,
            figures: Figures::default(),
            room: Room::default(),
            requests: RefCell::default(),
            touched: RefCell::default(),
            connections: RefCell::default(),
            next_connection: Cell::new(1),
            draining: Cell::new(false),
            stopped: RefCell::new(None),
            events: process.events,
        })
    }

    /// Whether the shard goes on; why not, otherwise.
    pub fn check(&self) -> Result<(), Failure> {
        match &*self.stopped.borrow() {
            None => Ok(()),
            Some(why) => {
                let why = match self.log.failure() {
                    Some(error) => format!("{why}: {error}"),
                    None => why.clone(),
                };
                let why = format!("store {}: {why}", self.station.store);
                Err(Failure::new(Exit::FailedWrite, why))
            }
        }
    }

    /// Whether it leads a region that somebody else could lead.
    pub fn leads_for_others(&self) -> bool {
        let shard = self.shard.borrow();
        let statuses = shard.statuses();
        statuses
            .iter()
            .any(|status| status.leads && status.region.peers.len() > 1)
    }

    /// Nodes, and where they are reached.
    pub fn learn_nodes(&self, nodes: &[NodeInfo]) {
        self.links.learn(nodes);
    }

    /// Both clocks, read now.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// Something has happened.
    pub fn handle(&self, input: Input<'_>) {
        let now = self.clock.now();
        self.shard.borrow_mut().handle(now, input);
        self.bell.ring();
    }

    /// A request to this shard; its owner gets the answer, later.
    pub fn request(&self, owner: Owner, request: Request<'_>) {
        self.request_at(self.clock.now(), owner, request);
    }

    /// The same, with clocks that were read when its bytes had come.
    pub fn request_at(&self, now: Time, owner: Owner, request: Request<'_>) {
        let writes = request.body.writes();
        let waiting = Waiting {
            owner,
            since: now.mono,
            writes,
        };
        let id = self.requests.borrow_mut().insert(waiting);
        let input = Input::Request { id, request };
        self.shard.borrow_mut().handle(now, input);
        self.bell.ring();
    }

    /// Asks this shard, and waits for its answer.
    pub async fn ask(&self, request: Request<'_>) -> Response {
        let reply = Rc::new(Reply::default());
        self.request(Owner::Task(reply.clone()), request);
        reply.wait().await
    }

    /// The shard has answered a request.
    pub fn respond(self: &Rc<Driver>, to: RequestId, response: Response, now: u64) {
        let waiting = self.requests.borrow_mut().remove(to);
        if let Some(Waiting {
            owner,
            since,
            writes,
        }) = waiting
        {
            self.figures.answered(writes, now - since, &response);
            if writes && response.is_ok() {
                self.room.freed();
            }
            owner.answer(self, response);
        }
    }

    /// No answers will come any more.
    pub fn abandon_requests(self: &Rc<Driver>) {
        let waiting = self.requests.borrow_mut().drain();
        for Waiting { owner, writes, .. } in waiting {
            let error = match writes {
                true => Error::Undetermined,
                false => Error::ServerIsBusy("the shard has stopped"),
            };
            owner.answer(self, Err(error));
        }
    }

    /// How many requests are under way.
    pub fn requests_under_way(&self) -> usize {
        self.requests.borrow().len()
    }

    /// Sends a request on to another shard; its owner gets the answer from there.
    pub fn forward(self: &Rc<Driver>, to: StoreId, owner: Owner, request: &Request<'_>) {
        self.links.forward(self, to, owner, request);
    }

    /// What a client that asks for INFO is told beside what is always told.
    pub fn inform(&self, info: &mut Info) {
        let (shard, figures) = (self.shard.borrow(), &self.figures);
        let stored = shard.store().figures();
        let commands = figures.reads.borrow().len() + figures.writes.borrow().len();
        info.section("Server")
            .field("address", self.address.as_str())
            .field("node", self.station.node)
            .field("store", self.station.store)
            .field("uptime_in_seconds", self.clock.mono() / 1_000_000_000);
        info.section("Clients")
            .field("connected_clients", self.connections.borrow().len())
            .field("maxclients", self.config.client.connections_max);
        info.section("Memory").field(
            "used_memory",
            shard.held_bytes() + stored.memtable_bytes + stored.index_bytes,
        );
        info.section("Stats")
            .field("total_connections_received", figures.accepted.get())
            .field("total_commands_processed", commands)
            .field("total_net_input_bytes", figures.bytes_in.get())
            .field("total_net_output_bytes", figures.bytes_out.get());
    }

    /// The connection has something to do at the end of the turn.
    pub fn touch(&self, connection: &Rc<Connection>) {
        if !connection.is_touched.replace(true) {
            self.touched.borrow_mut().push(connection.clone());
            self.bell.ring();
        }
    }

    /// Connections that were touched, in order.
    pub fn take_touched(&self, into: &mut Vec<Rc<Connection>>) {
        std::mem::swap(&mut *self.touched.borrow_mut(), into);
    }

    /// A number for a new connection.
    pub fn number_connection(&self) -> u64 {
        let number = self.next_connection.get();
        self.next_connection.set(number + 1);
        number
    }

    /// Whether the shard does not serve any more.
    pub fn has_stopped(&self) -> bool {
        self.stopped.borrow().is_some()
    }
}
