//! All clients, and what they share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use coracle::sim::history::Operation;

use crate::client::Client;

/// How many clients there are.
const CLIENTS: usize = 12;

/// What clients and whoever watches them share.
pub struct Common {
    /// Where the nodes are.
    pub ports: Vec<u16>,
    /// Shards of each node.
    pub shards: u16,
    /// A client pauses for less than so long between two deeds.
    pub pause_micros: u64,
    /// Chooses the keys that are shared now.
    pub round: AtomicU64,
    /// Whether they are to stop.
    pub is_over: AtomicBool,
    /// The round of each client's deed.
    pub rounds: Vec<AtomicU64>,
    begun: Instant,
    history: Mutex<Vec<Operation>>,
    /// When writes were begun and answered.
    acks: Mutex<Vec<(u64, u64)>>,
    wrong: Mutex<Option<String>>,
    /// Deeds that were done, by the node that was asked.
    by_node: Vec<AtomicU64>,
    counts: [AtomicU64; 4],
}

/// How many deeds came to what.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Reads and writes that were done.
    pub done: u64,
    /// Writes of which nobody knows.
    pub unknown: u64,
    /// Reads without an answer.
    pub unread: u64,
    /// Those that were not done.
    pub refused: u64,
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Common {
    /// Nanoseconds since the clients began, and some.
    pub fn now(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64 + 1
    }

    /// A deed was done.
    pub fn answered(&self, node: usize, reads: bool, invoked: u64, returned: u64) {
        self.by_node[node].fetch_add(1, SeqCst);
        self.counts[0].fetch_add(1, SeqCst);
        if !reads {
            lock(&self.acks).push((invoked, returned));
        }
    }

    /// Nobody knows what came of a deed.
    pub fn lost(&self, reads: bool) {
        self.counts[if reads { 2 } else { 1 }].fetch_add(1, SeqCst);
    }

    /// A deed was not done.
    pub fn refused(&self) {
        self.counts[3].fetch_add(1, SeqCst);
    }

    /// What came of all deeds so far.
    pub fn counts(&self) -> Counts {
        let [done, unknown, unread, refused] = &self.counts;
        Counts {
            done: done.load(SeqCst),
            unknown: unknown.load(SeqCst),
            unread: unread.load(SeqCst),
            refused: refused.load(SeqCst),
        }
    }

    /// How many deeds each node has done.
    pub fn by_node(&self) -> Vec<u64> {
        self.by_node
            .iter()
            .map(|count| count.load(SeqCst))
            .collect()
    }

    /// Something was seen that cannot be.
    pub fn complain(&self, what: String) {
        lock(&self.wrong).get_or_insert(what);
    }

    /// What was seen that cannot be.
    pub fn wrong(&self) -> Option<String> {
        lock(&self.wrong).clone()
    }

    /// Keeps what happened.
    pub fn keep(&self, operations: Vec<Operation>) {
        lock(&self.history).extend(operations);
    }

    /// Takes what has happened to some of the keys.
    pub fn take(&self, is_wanted: impl Fn(&[u8]) -> bool) -> Vec<Operation> {
        let mut history = lock(&self.history);
        let all = std::mem::take(&mut *history);
        let (taken, left) = all
            .into_iter()
            .partition(|operation| is_wanted(&operation.key));
        *history = left;
        taken
    }

    /// Takes when writes were begun and answered.
    pub fn take_acks(&self) -> Vec<(u64, u64)> {
        std::mem::take(&mut *lock(&self.acks))
    }
}

/// All clients.
pub struct Crowd {
    /// What they share.
    pub common: Arc<Common>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// Lets clients begin.
    pub fn gather(seed: u64, ports: Vec<u16>, shards: u16, pause_micros: u64) -> Crowd {
        let zeros = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        let common = Arc::new(Common {
            by_node: zeros(ports.len()),
            rounds: zeros(CLIENTS),
            ports,
            shards,
            pause_micros,
            round: AtomicU64::new(1),
            is_over: AtomicBool::new(false),
            begun: Instant::now(),
            history: Mutex::default(),
            acks: Mutex::default(),
            wrong: Mutex::default(),
            counts: Default::default(),
        });
        let client = |number| {
            let client = Client::new(number, seed, common.clone());
            std::thread::spawn(move || client.run())
        };
        Crowd {
            threads: (0..CLIENTS).map(client).collect(),
            common,
        }
    }

    /// Clients take other keys from now on; whether all of them do.
    pub fn has_moved_on(&self, round: u64) -> bool {
        let mut rounds = self.common.rounds.iter();
        rounds.all(|of_client| of_client.load(SeqCst) >= round)
    }

    /// Lets them end.
    pub fn dismiss(&mut self) {
        self.common.is_over.store(true, SeqCst);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                self.common.complain("a client has panicked".into());
            }
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.dismiss();
    }
}
