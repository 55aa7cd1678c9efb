//! The life of one shard on its executor: opened, founded, serving, drained.

use std::os::fd::IntoRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use glommio::timer::Timer;
use glommio::{Latency, Shares};

use super::aside;
use super::board::{self, Board};
use super::client;
use super::clock::Clock;
use super::config::{Config, Io};
use super::disk::{Failure as DiskFailure, ShardDirectory, StoreQueues};
use super::driver::{Driver, Process, Station};
use super::failure::{Exit, Failure};
use super::label;
use super::listen::Doors;
use super::open::open;
use super::{ring, route, socket, turn};
use crate::placement::{self, Message, NodeInfo};
use crate::shard::door::Input;
use crate::shard::ids::Edition;
use crate::shard::mutant::Mutant;
use crate::shard::options::ShardOptions;
use crate::shard::region::Region;
use crate::shard::request::Answer;

/// How often a stopping shard looks whether it is done.
const DRAIN_LOOK: Duration = Duration::from_millis(5);

/// An executor sleeps no longer than this.
const AWAKE: Duration = Duration::from_millis(20);

/// The pause before placement is told again where this node is.
const ANNOUNCE_PAUSE: Duration = Duration::from_millis(500);

/// The same where placement has refused it.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// How often free space is looked at.
const SPACE_LOOK: Duration = Duration::from_millis(500);

/// A log that was seen idle so often, and is not open, has no space.
const LOOKS_WITHOUT_LOG: u32 = 1000;

/// What a shard tells the process.
#[derive(Debug)]
pub enum Event {
    /// It serves.
    Open,
    /// It cannot start, or cannot go on.
    Failed(Failure),
    /// It has stopped as it was told to.
    Drained,
    /// Its node was removed from the cluster, and it holds nothing; or that does not hold any more.
    Removed(bool),
    /// The nodes of the cluster, as it knows them now.
    Nodes(Vec<NodeInfo>),
    /// The process was told to end.
    Signal,
}

/// What a cluster begins with.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its first node.
    pub node: placement::Node,
    /// Its first regions.
    pub regions: Vec<Region>,
}

/// What runs beside a shard, on its executor: begun when it serves.
pub type Beside = Arc<dyn Fn(&Rc<Driver>) + Send + Sync>;

/// What a shard begins with.
pub struct Start {
    /// Who it is.
    pub station: Station,
    /// What is set.
    pub config: Config,
    /// Its first peers, if the cluster begins here and it has none.
    pub founding: Option<Found>,
    /// Whether it must have been here before.
    pub is_member: bool,
    /// What its node joined with, or would have.
    pub nonce: u64,
    /// Where its node is reached.
    pub address: String,
    /// Which edition of the address that is.
    pub edition: Edition,
    /// Whether placement knows that.
    pub is_told: bool,
    /// Its sockets.
    pub doors: Doors,
    /// The nodes of the cluster, as known from before.
    pub nodes: Vec<NodeInfo>,
    /// Set when the process is about to end.
    pub stopping: Arc<AtomicBool>,
    /// Where all shards say how they are.
    pub board: Board,
    /// Whom it tells.
    pub events: Sender<(u16, Event)>,
    /// Drawn for this start.
    pub boot: u64,
    /// What runs beside it, if anything does.
    pub beside: Option<Beside>,
}

/// Everything, from the first file to the last.
pub async fn live(start: Start) {
    let shard = start.station.shard;
    let events = start.events.clone();
    let last = match serve(start).await {
        Ok(()) => Event::Drained,
        Err(failure) => Event::Failed(failure),
    };
    aside::finish().await;
    // Nobody listens only if the process ends anyway.
    let _ = events.send((shard, last));
}

async fn serve(start: Start) -> Result<(), Failure> {
    // The first sleep of an executor takes long: it is slept before anybody waits.
    Timer::new(Duration::from_millis(1)).await;
    glommio::spawn_local(stay_awake(start.stopping.clone())).detach();
    let executor = glommio::executor();
    let background =
        executor.create_task_queue(Shares::Static(100), Latency::NotImportant, "background");
    let queues = StoreQueues {
        background,
        ..StoreQueues::current()
    };
    let clock = Clock::begin();
    let directory = ShardDirectory::of(&start.config.node.data, start.station.shard);
    let options = ShardOptions {
        cluster: start.station.cluster,
        node: start.station.node,
        store: start.station.store,
        boot: start.boot,
        seed: start.boot.rotate_left(17) ^ start.station.store.0,
        limits: start.config.limits(),
        mutant: Mutant::None,
        observe: false,
        placement: start.config.placement(),
    };
    let opened = open(
        directory.clone(),
        options,
        start.config.files(),
        queues,
        &clock,
    )
    .await?;
    if opened.is_new && start.is_member {
        let why = format!(
            "{} has no log, though its node belongs to a cluster: what was acknowledged is not there any more",
            directory.root().display()
        );
        return Err(Failure::new(Exit::Corruption, why));
    }
    let ring = ring(&start.config.io)?;
    let process = Process {
        address: start.address,
        edition: start.edition,
        board: start.board,
        events: start.events.clone(),
    };
    let driver = Driver::new(start.station, process, opened, ring, clock, start.config);
    let turns = glommio::spawn_local(turn::run(driver.clone()));
    glommio::spawn_local(ring::side::watch(driver.clone())).detach();
    glommio::spawn_local(client::watch_ring(driver.clone())).detach();
    glommio::spawn_local(pass_time(driver.clone())).detach();
    glommio::spawn_local(board::keep(driver.clone())).detach();
    glommio::spawn_local(client::close_idle(driver.clone())).detach();
    glommio::spawn_local(route::keep(driver.clone())).detach();
    glommio::spawn_local(watch_space(driver.clone(), directory)).detach();
    driver.learn_nodes(&start.nodes);
    driver.handle(Input::Nodes(start.nodes));
    become_open(&driver, start.founding).await?;
    board::write_now(&driver);
    let _ = start.events.send((start.station.shard, Event::Open));
    if let Some(beside) = &start.beside {
        beside(&driver);
    }
    if start.station.shard == 0 && !start.is_told {
        let shards = driver.config.node.shards;
        let announced = announce(driver.clone(), start.nonce, shards);
        glommio::spawn_local(announced).detach();
    }
    for listener in [start.doors.shared, start.doors.own] {
        if let Some(side) = &driver.ring {
            side.listen(listener.into_raw_fd());
            driver.bell.ring();
            continue;
        }
        glommio::spawn_local(client::accept(
            driver.clone(),
            socket::adopt_listener(listener),
        ))
        .detach();
    }
    while !start.stopping.load(Ordering::Relaxed) {
        driver.check()?;
        Timer::new(DRAIN_LOOK * 4).await;
    }
    drain(&driver).await?;
    drop(turns);
    Ok(())
}

/// The ring, where it is wanted and the kernel has all that it needs.
fn ring(io: &Io) -> Result<Option<ring::Side>, Failure> {
    let wanted = &io.driver[..];
    if wanted == "glommio" {
        return Ok(None);
    }
    match ring::Ring::new() {
        Ok(ring) => {
            if !io.worker_cores.is_empty()
                && let Err(error) = ring.place_workers(&io.worker_cores)
            {
                tracing::warn!(%error, "the kernel's threads stay on the core of the shard");
            }
            Ok(Some(ring::Side::new(ring)))
        }
        Err(error) if wanted == "ring" => {
            let why = format!(
                "a ring of its own cannot be had here: {error}; start with io.driver = \"auto\""
            );
            Err(Failure::new(Exit::Usage, why))
        }
        Err(error) => {
            tracing::info!(%error, "no ring of its own: sockets and log go through glommio");
            Ok(None)
        }
    }
}

/// Waits for the end of the replay; founds what is to be founded.
async fn become_open(driver: &Rc<Driver>, mut founding: Option<Found>) -> Result<(), Failure> {
    let mut without_log = 0;
    loop {
        driver.check()?;
        // Segments that cannot be made are tried again and again, which is no way to start.
        let is_without_log = !driver.shard.borrow().log().is_open() && driver.log.under_way() == 0;
        without_log += u32::from(is_without_log);
        if without_log > LOOKS_WITHOUT_LOG {
            let mib = driver.config.log.segment_mib;
            let error = driver.log.not_made();
            let said = error
                .as_ref()
                .map_or(String::new(), |error| format!(": {error}"));
            // A limit on the length of files is as good as a disk that is full.
            let is_space = error.is_none_or(|error| match error.failure {
                DiskFailure::NoSpace => true,
                DiskFailure::Device { code } => code == libc::EFBIG,
                DiskFailure::Missing => false,
            });
            let (exit, why) = match is_space {
                true => (Exit::NoSpace, "there is no space for a segment of the log"),
                false => (Exit::FailedWrite, "a segment of the log cannot be made"),
            };
            let why = format!("{why}, which takes {mib} MiB{said}");
            return Err(Failure::new(exit, why));
        }
        // While the space is written that is held back for a full disk, the disk counts as full.
        let is_settled = !driver.shard.borrow().store().is_reserving();
        {
            let mut shard = driver.shard.borrow_mut();
            if shard.is_open() && is_settled {
                match founding.take() {
                    // A start that was cut short may have founded before.
                    Some(founding) if shard.statuses().is_empty() => {
                        shard.bootstrap_cluster(founding.node, founding.regions)
                    }
                    _ => return Ok(()),
                }
            }
        }
        driver.bell.ring();
        Timer::new(Duration::from_millis(1)).await;
    }
}

/// Twice a start did not go on while files were opened and the executor had no timer; where it has one, that
/// was not seen. Why is not traced.
async fn stay_awake(stopping: Arc<AtomicBool>) {
    while !stopping.load(Ordering::Relaxed) {
        Timer::new(AWAKE).await;
    }
}

/// Time passes for the shard, whatever else happens.
async fn pass_time(driver: Rc<Driver>) {
    let tick = Duration::from_nanos(driver.config.limits().tick);
    while !driver.has_stopped() {
        Timer::new(tick / 2).await;
        driver.handle(Input::Clock);
    }
}

/// Tells placement where this node is.
async fn announce(driver: Rc<Driver>, nonce: u64, shards: u16) {
    let mut is_refused = false;
    while !driver.has_stopped() && !driver.draining.get() {
        let question = Message::Join {
            nonce,
            address: driver.address.clone(),
            edition: driver.edition,
            shards,
            labels: label::pairs(&driver.config.node.labels),
        };
        match driver.ask_placement(&question).await {
            Ok(Answer::Placement(Message::Joined { .. })) => return,
            // One that was removed and holds something is heard of by that, and taken then.
            Ok(Answer::Placement(Message::JoinRefused { why, .. })) => {
                if !std::mem::replace(&mut is_refused, true) {
                    tracing::error!(why, "placement does not take this node's address");
                }
                Timer::new(REFUSED_PAUSE).await
            }
            _ => Timer::new(ANNOUNCE_PAUSE).await,
        };
    }
}

/// Free space on the disk, looked up off the executor's thread. Of a disk that counts as full it is told at the
/// second look in a row, and not while the reserve is being written, which on a slow disk takes longer.
async fn watch_space(driver: Rc<Driver>, directory: ShardDirectory) {
    let mut looks_full = 0_u32;
    while !driver.has_stopped() {
        let path = directory.root().to_path_buf();
        let free = aside::run(move || super::disk::free_bytes(&path)).await;
        match free {
            Ok(bytes_free) => {
                driver.handle(Input::Space { bytes_free });
                let is_full = {
                    let shard = driver.shard.borrow();
                    shard.store().is_full() && !shard.store().is_reserving()
                };
                let mib_free = bytes_free >> 20;
                match (is_full, looks_full) {
                    (true, 1) => tracing::warn!(
                        mib_free,
                        "the disk counts as full: no writes until there is more space"
                    ),
                    (false, 2..) => tracing::info!(mib_free, "the disk has space again"),
                    _ => {}
                }
                looks_full = if is_full {
                    looks_full.saturating_add(1)
                } else {
                    0
                };
            }
            Err(error) => tracing::warn!(%error, "free space cannot be looked up"),
        }
        Timer::new(SPACE_LOOK).await;
    }
}

/// Hands leaderships over, answers what is under way, waits for what is being written.
async fn drain(driver: &Rc<Driver>) -> Result<(), Failure> {
    let limit = driver.config.node.stop_seconds * 1_000_000_000;
    let until = driver.clock.mono() + limit;
    driver.draining.set(true);
    driver.handle(Input::Drain);
    let late = || driver.clock.mono() >= until;
    while !late() && (driver.leads_for_others() || driver.requests_under_way() > 0) {
        driver.check()?;
        Timer::new(DRAIN_LOOK).await;
    }
    driver.links.close(driver);
    client::close_all(driver);
    while !late() && (driver.log.under_way() > 0 || driver.store.under_way() > 0) {
        driver.check()?;
        Timer::new(DRAIN_LOOK).await;
    }
    Ok(())
}
