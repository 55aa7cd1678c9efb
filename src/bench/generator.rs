//! The load generator: threads with connections, for one stretch of work.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::cpu::{Moment, Used};
use super::lane::Lane;
use super::material::{Keys, Values};
use super::os;
use super::plan::{Protocol, Shape, Workload};
use super::route::Routes;
use super::tally::Tally;
use super::words::Words;
use super::worker::{Task, Work, Worker};
use crate::runtime::failure::{Exit, Failure};

/// How often it is told how far loading is.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// Connections and requests under way on each, while keys are loaded.
const LOAD_CONNECTIONS: usize = 16;
const LOAD_PIPELINE: usize = 64;

/// Bytes of values under way while keys are loaded.
const LOAD_BYTES: usize = 8 << 20;

/// What a thread comes to, each.
type Threads = Vec<JoinHandle<std::io::Result<Tally>>>;

/// Threads with connections.
pub struct Generator {
    /// Where keys are led.
    pub routes: Routes,
    /// What is spoken.
    pub protocol: Protocol,
    /// Keys.
    pub keys: Keys,
    /// Bytes of a value.
    pub value_size: usize,
    /// How many threads.
    pub threads: usize,
    /// Their cores.
    pub cores: Vec<usize>,
    /// Processes of the nodes, if they are ours.
    pub nodes: Vec<u32>,
}

/// What a stretch came to.
#[derive(Clone, Debug)]
pub struct Stretch {
    /// What was counted.
    pub tally: Tally,
    /// Who used the cores meanwhile.
    pub used: Used,
    /// How long that was.
    pub seconds: f64,
    /// Whether the generator had no more to give.
    pub is_client_bound: bool,
}

impl Generator {
    /// Writes every key once; tells now and then how many are written.
    pub fn load(&self, mut tell: impl FnMut(u64)) -> Result<(), Failure> {
        let fitting = LOAD_BYTES / LOAD_CONNECTIONS / self.value_size;
        let shape = Shape {
            connections: LOAD_CONNECTIONS,
            pipeline: fitting.clamp(1, LOAD_PIPELINE),
            rate: None,
        };
        let (work, threads) = self.spawn(shape, |_| Task::Load)?;
        let mut told = Instant::now();
        while threads.iter().any(|thread| !thread.is_finished()) {
            std::thread::sleep(Duration::from_millis(5));
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                tell(work.loaded.load(Ordering::Relaxed));
            }
        }
        let tally = join(threads)?;
        let loaded = work.loaded.load(Ordering::Relaxed);
        tell(loaded);
        match loaded == self.keys.count {
            true => Ok(()),
            false => {
                let why = format!(
                    "{loaded} of {} keys could be written; errors: {:?}",
                    self.keys.count, tally.errors
                );
                Err(Failure::new(Exit::Failed, why))
            }
        }
    }

    /// Asks and measures.
    pub fn measure(
        &self,
        workload: Workload,
        shape: Shape,
        warmup: Duration,
        duration: Duration,
    ) -> Result<Stretch, Failure> {
        let threads = self.threads.min(shape.connections) as f64;
        let (work, threads) = self.spawn(shape, |ready| {
            let from = (ready + warmup).as_nanos() as u64;
            Task::Measure {
                reads: workload.reads(),
                interval: shape.rate.map(|rate| threads * 1e9 / rate),
                from,
                until: from + duration.as_nanos() as u64,
            }
        })?;
        let Task::Measure { from, until, .. } = work.task else {
            unreachable!("it was just made");
        };
        let sleep_until = |nanos: u64| {
            let left = Duration::from_nanos(nanos).saturating_sub(work.start.elapsed());
            std::thread::sleep(left);
        };
        sleep_until(from);
        let begin = Moment::now(&self.nodes);
        sleep_until(until);
        let used = begin.until(&Moment::now(&self.nodes));
        let tally = join(threads)?;
        let seconds = duration.as_secs_f64();
        let busy: f64 = tally.cpu.iter().map(Duration::as_secs_f64).sum();
        let busiest = tally.cpu.iter().max().copied().unwrap_or_default();
        let cores = tally.cpu.len().min(self.cores.len()) as f64;
        Ok(Stretch {
            is_client_bound: busy > 0.9 * cores * seconds || busiest.as_secs_f64() > 0.9 * seconds,
            tally,
            used,
            seconds,
        })
    }

    /// Connects, and starts the threads; the task is made when all connections are there.
    fn spawn(
        &self,
        shape: Shape,
        task: impl FnOnce(Duration) -> Task,
    ) -> Result<(Arc<Work>, Threads), Failure> {
        let failed = |why: String| Failure::new(Exit::Failed, why);
        if !os::allow_files(shape.connections as u64 + 64) {
            let why = format!(
                "{} connections are more files than this process may open; raise it with 'ulimit -n'",
                shape.connections
            );
            return Err(Failure::new(Exit::Usage, why));
        }
        let count = self.threads.min(shape.connections);
        let mut lanes: Vec<Vec<Lane>> = (0..count).map(|_| Vec::new()).collect();
        for number in 0..shape.connections {
            // By thread and then by door, so that each thread has all doors if there are enough.
            let door = (number / count) % self.routes.doors.len();
            let at: SocketAddr = self.routes.doors[door];
            let lane = Lane::connect(at, door, self.protocol, shape.pipeline).map_err(failed)?;
            lanes[number % count].push(lane);
        }
        let work = Arc::new(Work {
            words: Words::new(self.protocol, self.keys.size, self.value_size),
            keys: self.keys,
            values: Values::new(self.value_size),
            routes: self.routes.clone(),
            // Threads need a moment to start.
            task: task(Duration::from_millis(5)),
            start: Instant::now(),
            loaded: AtomicU64::new(0),
        });
        let mut threads = Vec::new();
        for (number, lanes) in lanes.into_iter().enumerate() {
            let worker = Worker::new(work.clone(), lanes, number as u64, count as u64)
                .map_err(|error| failed(format!("a thread of the generator: {error}")))?;
            let cores = self.cores.clone();
            threads.push(std::thread::spawn(move || {
                os::pin(&cores)?;
                os::exact_timers();
                worker.run()
            }));
        }
        Ok((work, threads))
    }
}

fn join(threads: Threads) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    for thread in threads {
        match thread.join() {
            Ok(Ok(counted)) => tally.add(&counted),
            Ok(Err(error)) => {
                let why = format!("a thread of the generator: {error}");
                return Err(Failure::new(Exit::Failed, why));
            }
            Err(_) => {
                let why = "a thread of the generator has panicked";
                return Err(Failure::new(Exit::Failed, why));
            }
        }
    }
    Ok(tally)
}
