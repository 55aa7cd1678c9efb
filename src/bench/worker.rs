//! One thread of the generator: its connections, and what it asks on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::lane::{Lane, Sent};
use super::material::{Chance, Keys, Values};
use super::os::{self, Poll};
use super::route::Routes;
use super::tally::Tally;
use super::words::{Outcome, Words};

/// How long answers are waited for at the end: longer than a node tries.
const DRAIN_NANOS: u64 = 12_000_000_000;

/// What was to leave before the end leaves so long after it at the most.
const OVERRUN_NANOS: u64 = 1_000_000_000;

/// Loading pauses so long after a write that failed.
const PAUSE_NANOS: u64 = 20_000_000;

/// Loading gives up after so long without a write that was done.
const STUCK_NANOS: u64 = 30_000_000_000;

/// What left so much later than it should have is late.
const LATE_NANOS: u64 = 1_000_000;

/// Keys that are tried to find one that is led behind a connection.
const DRAWS_MAX: usize = 256;

/// No wait is longer.
const WAIT_NANOS: u64 = 100_000_000;

/// What all threads have in common.
pub struct Work {
    /// How requests are worded.
    pub words: Words,
    /// Keys.
    pub keys: Keys,
    /// Values.
    pub values: Values,
    /// Where keys are led.
    pub routes: Routes,
    /// What is to be done.
    pub task: Task,
    /// When everything began.
    pub start: Instant,
    /// Keys that are loaded so far.
    pub loaded: AtomicU64,
}

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub enum Task {
    /// Every key is written once.
    Load,
    /// Keys are read and written by chance; nanoseconds are from the start.
    Measure {
        /// The part that reads.
        reads: f64,
        /// Nanoseconds from one request of a thread to the next; none: one follows the other.
        interval: Option<f64>,
        /// From here on it is measured.
        from: u64,
        /// Up to here.
        until: u64,
    },
}

/// One thread.
pub struct Worker {
    work: Arc<Work>,
    lanes: Vec<Lane>,
    poll: Poll,
    chance: Chance,
    tally: Tally,
    key: Vec<u8>,
    /// Keys that are to be loaded: the next one and the end.
    load: (u64, u64),
    again: Vec<u64>,
    hold_until: u64,
    last_done: u64,
    /// How many requests were to leave before now, where a rate is set.
    due: u64,
    next_lane: usize,
    /// Connections may have room that nobody has used.
    is_hungry: bool,
    cpu_from: Option<Duration>,
    cpu_until: Option<Duration>,
}

impl Worker {
    /// One of `count` threads.
    pub fn new(
        work: Arc<Work>,
        lanes: Vec<Lane>,
        number: u64,
        count: u64,
    ) -> std::io::Result<Worker> {
        let poll = Poll::new()?;
        for (place, lane) in lanes.iter().enumerate() {
            poll.add(lane.fd(), place)?;
        }
        let keys = work.keys.count;
        let seed = work.start.elapsed().as_nanos() as u64;
        Ok(Worker {
            key: vec![0; work.keys.size],
            load: (keys * number / count, keys * (number + 1) / count),
            chance: Chance::new(seed ^ (number << 32)),
            work,
            lanes,
            poll,
            tally: Tally::default(),
            again: Vec::new(),
            hold_until: 0,
            last_done: 0,
            due: 0,
            next_lane: 0,
            is_hungry: true,
            cpu_from: None,
            cpu_until: None,
        })
    }

    fn now(&self) -> u64 {
        self.work.start.elapsed().as_nanos() as u64
    }

    /// Until all is done.
    pub fn run(mut self) -> std::io::Result<Tally> {
        loop {
            let now = self.now();
            self.watch_cpu(now);
            if self.is_over(now) {
                break;
            }
            self.issue(now);
            let ready = self.poll.wait(Duration::from_nanos(self.patience()))?;
            for place in 0..ready {
                self.serve(self.poll.number(place));
            }
        }
        for place in 0..self.lanes.len() {
            self.lose(place, "Unanswered");
        }
        self.count_unsent();
        let now = os::thread_cpu();
        let until = self.cpu_until.unwrap_or(now);
        self.tally
            .cpu
            .push(until.saturating_sub(self.cpu_from.unwrap_or(until)));
        Ok(self.tally)
    }

    fn watch_cpu(&mut self, now: u64) {
        if let Task::Measure { from, until, .. } = self.work.task {
            if now >= from && self.cpu_from.is_none() {
                self.cpu_from = Some(os::thread_cpu());
            }
            if now >= until && self.cpu_until.is_none() {
                self.cpu_until = Some(os::thread_cpu());
            }
        }
    }

    fn is_over(&self, now: u64) -> bool {
        let is_idle = self.lanes.iter().all(|lane| lane.under_way() == 0);
        let is_lost = self.lanes.iter().all(Lane::is_lost);
        match self.work.task {
            _ if is_lost => true,
            Task::Measure { until, .. } => {
                let is_done = is_idle && self.next_due().is_none();
                now >= until && (is_done || now >= until + DRAIN_NANOS)
            }
            Task::Load => {
                let is_stuck = now >= self.last_done + STUCK_NANOS;
                is_stuck || (is_idle && self.again.is_empty() && self.load.0 == self.load.1)
            }
        }
    }

    /// How long may be waited for an answer.
    fn patience(&self) -> u64 {
        let now = self.now();
        let next = match self.work.task {
            Task::Load if self.hold_until > now => self.hold_until,
            Task::Load => now + WAIT_NANOS,
            Task::Measure { from, until, .. } => {
                let border = [from, until, now + WAIT_NANOS];
                let border = border.into_iter().filter(|border| *border > now).min();
                border
                    .unwrap_or(now)
                    .min(self.next_due().unwrap_or(u64::MAX))
            }
        };
        next.saturating_sub(now)
    }

    /// When the next request is to leave, if a rate is set and there is room for it.
    fn next_due(&self) -> Option<u64> {
        let Task::Measure {
            interval: Some(interval),
            until,
            ..
        } = self.work.task
        else {
            return None;
        };
        let due = due_at(self.due, interval);
        let goes_on = due < until && self.now() < until + OVERRUN_NANOS;
        (goes_on && self.lanes.iter().any(Lane::has_room)).then_some(due)
    }

    /// Lets leave what is due.
    fn issue(&mut self, now: u64) {
        match self.work.task {
            Task::Measure {
                interval: Some(interval),
                until,
                ..
            } if now < until + OVERRUN_NANOS => self.issue_due(now.min(until), interval, now),
            _ if self.is_hungry => {
                self.is_hungry = false;
                for place in 0..self.lanes.len() {
                    self.feed(place, now);
                }
            }
            _ => {}
        }
    }

    /// Everything that was to leave up to now, on the connections in turn.
    fn issue_due(&mut self, limit: u64, interval: f64, now: u64) {
        let mut full = 0;
        while due_at(self.due, interval) < limit && full < self.lanes.len() {
            let place = self.next_lane;
            self.next_lane = (self.next_lane + 1) % self.lanes.len();
            if !self.lanes[place].has_room() {
                full += 1;
                continue;
            }
            full = 0;
            let begun = due_at(self.due, interval);
            self.due += 1;
            self.ask(place, begun, now);
        }
        for lane in &mut self.lanes {
            lane.flush();
        }
    }

    /// As many requests as a connection takes, one after the other.
    fn feed(&mut self, place: usize, now: u64) {
        while self.lanes[place].has_room() {
            match self.work.task {
                Task::Measure {
                    until,
                    interval: None,
                    ..
                } if now < until => {
                    self.ask(place, now, now);
                }
                Task::Load if now < self.hold_until => {
                    self.is_hungry = true;
                    break;
                }
                Task::Load => match self.next_load() {
                    Some(key) => self.send(place, key, true, now, now),
                    None => break,
                },
                Task::Measure { .. } => break,
            }
        }
        self.lanes[place].flush();
    }

    fn next_load(&mut self) -> Option<u64> {
        if let Some(key) = self.again.pop() {
            return Some(key);
        }
        let (next, end) = self.load;
        (next < end).then(|| {
            self.load.0 += 1;
            next
        })
    }

    /// A request by chance, for a key that is led behind this connection if one is found.
    fn ask(&mut self, place: usize, begun: u64, now: u64) {
        let Task::Measure { reads, .. } = self.work.task else {
            return;
        };
        let writes = !self.chance.happens(reads);
        let mut key = self.chance.below(self.work.keys.count);
        if !self.work.routes.is_anywhere() {
            for _ in 0..DRAWS_MAX {
                self.work.keys.write(key, &mut self.key);
                if self.work.routes.door(&self.key) == self.lanes[place].door {
                    break;
                }
                key = self.chance.below(self.work.keys.count);
            }
        }
        self.send(place, key, writes, begun, now);
    }

    fn send(&mut self, place: usize, key: u64, writes: bool, begun: u64, now: u64) {
        self.work.keys.write(key, &mut self.key);
        let lane = &mut self.lanes[place];
        let is_elsewhere =
            !self.work.routes.is_anywhere() && self.work.routes.door(&self.key) != lane.door;
        let sent = Sent {
            begun,
            left: now,
            key,
            writes,
            passed_on: lane.passes_on || is_elsewhere,
        };
        if let Task::Measure { from, until, .. } = self.work.task
            && (from..until).contains(&begun)
        {
            self.tally.begun += 1;
            self.tally.late += u64::from(now > begun + LATE_NANOS);
        }
        self.word(place, sent);
    }

    fn word(&mut self, place: usize, sent: Sent) {
        let lane = &mut self.lanes[place];
        let id = lane.begin(sent);
        let words = &self.work.words;
        match sent.writes {
            true => {
                let value = self.work.values.draw(&mut self.chance);
                words.put(&mut lane.out, id, sent.passed_on, &self.key, value);
            }
            false => words.get(&mut lane.out, id, sent.passed_on, &self.key),
        }
    }

    /// A connection is over, and with it what is under way.
    fn lose(&mut self, place: usize, name: &str) {
        if let Some(lost) = self.lanes[place].abandon() {
            self.tally.fail(name, lost as u64);
        }
    }

    /// Requests that were to leave in the time that is measured, and never did, have failed.
    fn count_unsent(&mut self) {
        if let Task::Measure {
            interval: Some(interval),
            from,
            until,
            ..
        } = self.work.task
        {
            let due_before = |nanos: u64| (nanos as f64 / interval).ceil() as u64;
            let first = self.due.max(due_before(from));
            let unsent = due_before(until).saturating_sub(first);
            // Of the last one it is not said that it is not due behind the end.
            self.tally.fail("Unsent", unsent.saturating_sub(1));
        }
    }

    /// Takes what a connection has brought.
    fn serve(&mut self, place: usize) {
        loop {
            let more = self.lanes[place].fill();
            let now = self.now();
            loop {
                match self.lanes[place].next(&self.work.words) {
                    Ok(Some((sent, outcome))) => self.settle(place, sent, outcome, now),
                    Ok(None) => break,
                    Err(why) => {
                        self.tally.fail(&format!("Nonsense: {why}"), 1);
                        break;
                    }
                }
            }
            self.feed(place, now);
            if !more || self.lanes[place].is_lost() {
                break;
            }
        }
        if self.lanes[place].is_lost() {
            self.lose(place, "ConnectionLost");
        }
    }

    /// What became of a request.
    fn settle(&mut self, place: usize, sent: Sent, outcome: Outcome, now: u64) {
        let name = match outcome {
            Outcome::Done => None,
            Outcome::Absent => Some("Absent".to_string()),
            Outcome::Elsewhere(_) if !sent.passed_on => {
                // Whoever leads it now is known to the node.
                self.lanes[place].passes_on = true;
                self.tally.passed_on += 1;
                self.work.keys.write(sent.key, &mut self.key);
                let sent = Sent {
                    passed_on: true,
                    ..sent
                };
                return self.word(place, sent);
            }
            Outcome::Elsewhere(name) | Outcome::Failed(name) => Some(name),
        };
        match self.work.task {
            Task::Load => match name {
                None => {
                    self.last_done = now;
                    self.work.loaded.fetch_add(1, Ordering::Relaxed);
                }
                Some(name) => {
                    self.tally.fail(&name, 1);
                    self.again.push(sent.key);
                    (self.hold_until, self.is_hungry) = (now + PAUSE_NANOS, true);
                }
            },
            Task::Measure { from, until, .. } => {
                let is_counted = (from..until).contains(&sent.begun);
                if let Some(name) = name {
                    if is_counted {
                        self.tally.fail(&name, 1);
                    }
                    return;
                }
                let kind = match sent.writes {
                    true => &mut self.tally.writes,
                    false => &mut self.tally.reads,
                };
                if is_counted {
                    kind.latency.saturating_record((now - sent.begun).max(1));
                    kind.service.saturating_record((now - sent.left).max(1));
                }
                kind.answered += u64::from((from..until).contains(&now));
            }
        }
    }
}

/// When a request is to leave, by its number.
fn due_at(number: u64, interval: f64) -> u64 {
    (number as f64 * interval) as u64
}
