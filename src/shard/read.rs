//! Reads: confirmed by the lease or by a quorum, answered when everything is applied that was committed
//! when they came.
//!
//! ```text
//! ask ──▶ lease? ──yes──────────────────────────────▶ confirmed (index) ──▶ applied? ──▶ answered
//!            └─no─▶ waiting ──▶ an attempt, fresh context ──▶ ┘                └──▶ blocks read
//! ```
//!
//! A context is used for one attempt and never again: raft 0.7 confirms a read by any answer that names
//! its context, however old. An attempt that raft drops, as it may, is made anew after a while.

use std::collections::VecDeque;

use bytes::Bytes;
use coracle_engine::lookup::{Lookup, MultiGet, PendingGet, Progressed, ReadFailed};
use coracle_engine::merge::Direction;
use coracle_engine::record::KeyRange;
use coracle_engine::scan::{Scan, ScanLimits};
use coracle_engine::value::StoredValue;

use super::core::Core;
use super::error::Error;
use super::ids::{Index, PeerId, RequestId, StoreId};
use super::message::PeerMessage;
use super::mutant::Mutant;
use super::peer::Peer;
use super::region::PeerInfo;
use super::request::{Answer, Body, Freshness};

/// Records that one step of a scan looks at.
const LOOKS_MAX: usize = 4096;

/// What a read wants to know.
#[derive(Clone, Debug)]
pub enum Question {
    /// The value of a key.
    Get(Vec<u8>),
    /// The values of keys.
    MultiGet(Vec<Vec<u8>>),
    /// Keys and values of a range.
    Scan {
        /// The range, within the region's.
        range: KeyRange,
        /// At most so many.
        count: usize,
        /// Backwards.
        reverse: bool,
    },
}

/// Who wants to know.
#[derive(Debug)]
pub enum Asker {
    /// A client.
    Client {
        /// Its request.
        request: RequestId,
        /// The region's version as of the request.
        version: u64,
        /// Whether a replica that does not lead may answer.
        any: bool,
        /// The question.
        question: Question,
    },
    /// Another peer, which answers by itself when it has applied as much.
    Peer {
        /// Its store.
        store: StoreId,
        /// The peer.
        peer: PeerId,
        /// Its attempt.
        attempt: u64,
    },
}

/// A read under way.
#[derive(Debug)]
pub struct Read {
    asker: Asker,
    deadline: u64,
}

impl Read {
    /// Whether only a leader may answer it.
    fn needs_leader(&self) -> bool {
        match self.asker {
            Asker::Client { any, .. } => !any,
            Asker::Peer { .. } => true,
        }
    }
}

/// Reads that wait for one confirmation.
#[derive(Debug)]
struct Attempt {
    number: u64,
    sent: u64,
    reads: Vec<Read>,
}

/// A read that waits for blocks.
#[derive(Debug)]
enum Running {
    Get(PendingGet),
    MultiGet(MultiGet, Vec<Option<Bytes>>),
    Scan(Scan, Vec<(Bytes, Bytes)>, usize, usize),
}

/// A read that runs, and what it takes to begin it again.
#[derive(Debug)]
struct Ran {
    request: RequestId,
    version: u64,
    any: bool,
    deadline: u64,
    /// What it asks, where a leader may have to move the clock for it.
    question: Option<Question>,
    running: Running,
}

/// Reads under way.
#[derive(Debug, Default)]
pub struct Reads {
    waiting: Vec<Read>,
    attempts: VecDeque<Attempt>,
    confirmed: VecDeque<(Index, Read)>,
    running: Vec<Ran>,
}

impl Reads {
    /// Gives back memory that was needed for more reads than there are.
    pub fn shed(&mut self) {
        self.waiting.shrink_to_fit();
        self.attempts.shrink_to_fit();
        self.confirmed.shrink_to_fit();
        self.running.shrink_to_fit();
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
            && self.attempts.is_empty()
            && self.confirmed.is_empty()
            && self.running.is_empty()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        let attempts = self.attempts.iter().map(|attempt| attempt.reads.len());
        self.waiting.len() + attempts.sum::<usize>() + self.confirmed.len() + self.running.len()
    }

    /// Whether some wait for blocks.
    pub fn are_running(&self) -> bool {
        !self.running.is_empty()
    }
}

impl Peer {
    /// Takes a read of a client, or says why not.
    pub fn ask(
        &mut self,
        core: &mut Core,
        request: RequestId,
        epoch: Option<super::region::Epoch>,
        body: &Body<'_>,
    ) -> Result<(), Error> {
        match body.is_of_this_replica() {
            true => self.check(epoch)?,
            false => self.check_or_send_on(epoch)?,
        }
        let (question, freshness) = self.question(core, body)?;
        if core.reads_waiting >= core.limits().reads_waiting {
            return Err(Error::ServerIsBusy("too many reads wait"));
        }
        if freshness == Freshness::Linearizable {
            self.check_leads()?;
        }
        core.reads_waiting += 1;
        match &question {
            Question::Get(key) => self.watch.load.touch(key),
            Question::MultiGet(keys) => {
                let key = |place: usize| &keys[place][..];
                self.watch.load.touch_all(keys.len(), key);
            }
            // However long, for one.
            Question::Scan { range, .. } => self.watch.load.touch(&range.start),
        }
        let read = Read {
            asker: Asker::Client {
                request,
                version: self.region().epoch.version,
                any: freshness == Freshness::AnyReplica,
                question,
            },
            deadline: core.now.mono + core.limits().read_timeout,
        };
        match freshness {
            Freshness::Local => self.reads.confirmed.push_back((self.machine.applied, read)),
            Freshness::Linearizable | Freshness::AnyReplica => self.begin_read(core, read),
        }
        self.dirty = true;
        Ok(())
    }

    /// Another peer wants to know up to where it must have applied.
    pub fn ask_for_peer(&mut self, core: &mut Core, from: PeerInfo, attempt: u64) {
        let (store, peer) = (from.store, from.peer);
        // One that was removed, and has not heard of it, never applies what it would be told.
        let belongs = self.region().peer(peer).is_some();
        if !belongs {
            self.tell_gone(core, from);
        }
        if self.check(None).is_err() || !self.leads() || !belongs {
            let region = self.region_id();
            let message = PeerMessage::ReadIndexAnswer {
                region,
                to: peer,
                attempt,
                index: None,
            };
            core.send(store, message);
            return;
        }
        if core.reads_waiting >= core.limits().reads_waiting {
            return;
        }
        core.reads_waiting += 1;
        let read = Read {
            asker: Asker::Peer {
                store,
                peer,
                attempt,
            },
            deadline: core.now.mono + core.limits().read_timeout,
        };
        self.begin_read(core, read);
        self.dirty = true;
    }

    fn question(&self, core: &Core, body: &Body<'_>) -> Result<(Question, Freshness), Error> {
        Ok(match body {
            Body::Get { key, freshness } => {
                self.check_key(key)?;
                (Question::Get(key.to_vec()), *freshness)
            }
            Body::MultiGet { keys, freshness } => {
                if keys.len() > super::propose::WRITES_MAX {
                    return Err(Error::BadRequest("a request names at most 4096 keys"));
                }
                keys.iter().try_for_each(|key| self.check_key(key))?;
                let keys = keys.iter().map(|key| key.to_vec()).collect();
                (Question::MultiGet(keys), *freshness)
            }
            Body::Scan {
                start,
                limit,
                count,
                reverse,
                freshness,
            } => {
                // Whoever asks for more than the region holds would take what is missing for absent.
                self.check_key(start)?;
                let own = &self.region().range;
                let limit: &[u8] = if limit.is_empty() { &own.limit } else { limit };
                if !own.limit.is_empty() && limit > &own.limit[..] {
                    return Err(Error::KeyNotInRegion {
                        region: self.region_id(),
                        key: limit.to_vec(),
                    });
                }
                let range = KeyRange::new(start, limit);
                let question = Question::Scan {
                    range,
                    count: (*count).clamp(1, core.limits().answer_bytes),
                    reverse: *reverse,
                };
                (question, *freshness)
            }
            _ => return Err(Error::BadRequest("not a read")),
        })
    }

    /// Whether it may answer reads by itself now.
    pub(super) fn lease_holds(&self, core: &Core) -> bool {
        let span = match core.breaks(Mutant::LeaseWithoutMargin) {
            true => 6 * core.limits().election_ticks as u64 * core.limits().tick,
            false => core.limits().lease_span(),
        };
        self.leads()
            && self.node.raft.commit_to_current_term()
            && self.lease.holds(core.now.mono, span)
    }

    fn begin_read(&mut self, core: &mut Core, read: Read) {
        match self.lease_holds(core) {
            true => {
                let committed = Index(self.node.raft.raft_log.committed);
                self.confirm(core, committed, read);
            }
            false => self.reads.waiting.push(read),
        }
    }

    fn confirm(&mut self, core: &mut Core, index: Index, read: Read) {
        match read.asker {
            Asker::Client { .. } => self.reads.confirmed.push_back((index, read)),
            Asker::Peer {
                store,
                peer,
                attempt,
            } => {
                core.reads_waiting -= 1;
                let message = PeerMessage::ReadIndexAnswer {
                    region: self.region_id(),
                    to: peer,
                    attempt,
                    index: Some(index),
                };
                core.send(store, message);
            }
        }
    }

    /// Begins an attempt for everything that waits for one.
    pub fn attempt_reads(&mut self, core: &mut Core) {
        if self.reads.waiting.is_empty() {
            return;
        }
        let number = match core.breaks(Mutant::ReadContextReused) {
            true => 1,
            false => core.attempts + 1,
        };
        if self.leads() {
            if !self.node.raft.commit_to_current_term() {
                return;
            }
            let mut context = Vec::with_capacity(16);
            context.extend_from_slice(&core.options.boot.to_le_bytes());
            context.extend_from_slice(&number.to_le_bytes());
            self.node.read_index(context);
        } else {
            let Some(leader) = self.leader() else { return };
            let message = PeerMessage::ReadIndex {
                region: self.region_id(),
                from: self.info(core),
                to: leader.peer,
                attempt: number,
            };
            core.send(leader.store, message);
        }
        core.attempts += 1;
        let reads = std::mem::take(&mut self.reads.waiting);
        self.reads.attempts.push_back(Attempt {
            number,
            sent: core.now.mono,
            reads,
        });
    }

    /// Raft has confirmed a context.
    pub fn read_confirmed(&mut self, core: &mut Core, context: &[u8], index: Index) {
        let Some((boot, number)) = context.split_first_chunk::<8>() else {
            return;
        };
        let Ok(number) = <[u8; 8]>::try_from(number).map(u64::from_le_bytes) else {
            return;
        };
        if u64::from_le_bytes(*boot) == core.options.boot {
            self.attempt_confirmed(core, number, index);
        }
    }

    /// An attempt has succeeded: up to `index` everything must be applied.
    pub fn attempt_confirmed(&mut self, core: &mut Core, number: u64, index: Index) {
        let place = self
            .reads
            .attempts
            .iter()
            .position(|attempt| attempt.number == number);
        let Some(attempt) = place.and_then(|place| self.reads.attempts.remove(place)) else {
            return;
        };
        if self.leads() {
            self.lease.confirm(attempt.sent);
        }
        for read in attempt.reads {
            self.confirm(core, index, read);
        }
        self.dirty = true;
    }

    /// An attempt was refused: its reads are tried again.
    pub fn attempt_refused(&mut self, number: u64) {
        let place = self
            .reads
            .attempts
            .iter()
            .position(|attempt| attempt.number == number);
        if let Some(attempt) = place.and_then(|place| self.reads.attempts.remove(place)) {
            self.reads.waiting.extend(attempt.reads);
        }
    }

    /// Attempts that took too long are made anew; reads that took too long are given up.
    pub fn check_reads(&mut self, core: &mut Core) {
        if self.reads.is_empty() {
            return;
        }
        let (now, retry) = (core.now.mono, core.limits().read_retry);
        while self
            .reads
            .attempts
            .front()
            .is_some_and(|attempt| attempt.sent + retry <= now)
        {
            let attempt = self.reads.attempts.pop_front().expect("just seen");
            self.reads.waiting.extend(attempt.reads);
        }
        let over = |read: &Read| read.deadline <= now;
        let mut late: Vec<Read> = self
            .reads
            .waiting
            .extract_if(.., |read| over(read))
            .collect();
        let confirmed = std::mem::take(&mut self.reads.confirmed);
        for (index, read) in confirmed {
            match over(&read) {
                true => late.push(read),
                false => self.reads.confirmed.push_back((index, read)),
            }
        }
        for read in late {
            let error = match self.check_leads() {
                Err(error) if read.needs_leader() => error,
                _ => Error::ServerIsBusy("the read could not be confirmed in time"),
            };
            core.end_read(read, error);
        }
        self.dirty |= !self.reads.waiting.is_empty();
    }

    /// Leadership is gone: reads that need it are answered so.
    pub fn reads_lost(&mut self, core: &mut Core) {
        let Err(error) = self.check_leads() else {
            return;
        };
        let attempts = std::mem::take(&mut self.reads.attempts);
        let waiting = std::mem::take(&mut self.reads.waiting);
        let lost = attempts
            .into_iter()
            .flat_map(|attempt| attempt.reads)
            .chain(waiting);
        for read in lost {
            match read.needs_leader() {
                true => core.end_read(read, error.clone()),
                false => self.reads.waiting.push(read),
            }
        }
    }

    /// The peer goes: every read is answered so.
    pub fn reads_over(&mut self, core: &mut Core, error: &Error) {
        let reads = std::mem::take(&mut self.reads);
        let waiting = reads.attempts.into_iter().flat_map(|attempt| attempt.reads);
        let confirmed = reads.confirmed.into_iter().map(|(_, read)| read);
        for read in waiting.chain(reads.waiting).chain(confirmed) {
            core.end_read(read, error.clone());
        }
        for ran in reads.running {
            core.reads_waiting -= 1;
            core.refuse(ran.request, error.clone());
        }
    }

    /// Answers what can be answered now.
    pub fn answer_reads(&mut self, core: &mut Core) {
        if self.is_frozen() {
            return;
        }
        let leads = self.leads();
        let mut later = VecDeque::new();
        let mut told = 0;
        while let Some((index, read)) = self.reads.confirmed.pop_front() {
            if told > 0 && core.has_told_much() {
                later.push_back((index, read));
                later.extend(std::mem::take(&mut self.reads.confirmed));
                self.dirty = true;
                break;
            }
            if index > self.machine.applied {
                later.push_back((index, read));
                continue;
            }
            let Asker::Client {
                request,
                version,
                any,
                question,
            } = read.asker
            else {
                unreachable!("peers are answered when confirmed");
            };
            if version != self.region().epoch.version {
                core.reads_waiting -= 1;
                core.refuse(request, self.epoch_error());
                continue;
            }
            let deadline = read.deadline;
            let mut asked = match (&question, leads) {
                // Most are answered at once, without a copy of the key.
                (Question::Get(_), _) | (_, false) => None,
                (question, true) => Some(question.clone()),
            };
            let running = match question {
                Question::Get(key) => match core.store.get(&key) {
                    Lookup::Need(pending) => {
                        asked = leads.then_some(Question::Get(key));
                        Running::Get(pending)
                    }
                    Lookup::Found(value)
                        if leads && is_due(&value, self.machine.clock, core.now.wall) =>
                    {
                        drop(value);
                        let asker = Asker::Client {
                            request,
                            version,
                            any,
                            question: Question::Get(key),
                        };
                        later.push_back(self.after_clock(Read { asker, deadline }));
                        continue;
                    }
                    looked => {
                        let outcome = visible(looked, self.machine.clock);
                        told += 1;
                        core.finish_read(request, outcome.map(Answer::Value));
                        continue;
                    }
                },
                Question::MultiGet(keys) => {
                    let view = core.store.view();
                    let values = vec![None; keys.len()];
                    Running::MultiGet(core.store.multi_get(&view, keys), values)
                }
                Question::Scan {
                    range,
                    count,
                    reverse,
                } => {
                    let view = core.store.view();
                    let direction = match reverse {
                        true => Direction::Reverse,
                        false => Direction::Forward,
                    };
                    Running::Scan(
                        core.store.scan(&view, range, direction),
                        Vec::new(),
                        count,
                        0,
                    )
                }
            };
            self.reads.running.push(Ran {
                request,
                version,
                any,
                deadline,
                question: asked,
                running,
            });
        }
        self.reads.confirmed = later;
        self.run_reads(core);
    }

    /// Nobody has told the region yet how late it is: an entry does, and then what is due is gone for
    /// everyone. The read waits for it.
    fn after_clock(&mut self, read: Read) -> (Index, Read) {
        self.clock_wanted = true;
        self.dirty = true;
        (Index(self.node.raft.raft_log.last_index() + 1), read)
    }

    fn run_reads(&mut self, core: &mut Core) {
        let clock = self.machine.clock;
        let version = self.region().epoch.version;
        let leads = self.leads();
        let mut told = 0;
        for ran in std::mem::take(&mut self.reads.running) {
            // One at least, so that no region waits for ever.
            if told > 0 && core.has_told_much() {
                self.dirty = true;
                self.reads.running.push(ran);
                continue;
            }
            let request = ran.request;
            if ran.version != version {
                core.finish_read(request, Err(self.epoch_error()));
                continue;
            }
            let wall = (leads && ran.question.is_some()).then_some(core.now.wall);
            match step(core, clock, wall, ran.running) {
                Ok(Step::Answered(answer)) => {
                    told += 1;
                    core.finish_read(request, Ok(answer));
                }
                Ok(Step::Due) => {
                    let asker = Asker::Client {
                        request,
                        version,
                        any: ran.any,
                        question: ran.question.expect("what is due is asked for again"),
                    };
                    let deadline = ran.deadline;
                    let waits = self.after_clock(Read { asker, deadline });
                    self.reads.confirmed.push_back(waits);
                }
                Ok(Step::Waits(running)) => self.reads.running.push(Ran { running, ..ran }),
                Ok(Step::More(running)) => {
                    self.dirty = true;
                    self.reads.running.push(Ran { running, ..ran });
                }
                Err(error) => core.finish_read(request, Err(error)),
            }
        }
    }
}

enum Step {
    Answered(Answer),
    Waits(Running),
    More(Running),
    /// A key is due by the leader's own time, and not by the region's clock.
    Due,
}

/// A bounded step of a read; `wall` is the time of a leader that moves the clock for what is due.
fn step(core: &mut Core, clock: u64, wall: Option<u64>, running: Running) -> Result<Step, Error> {
    let mut due = false;
    let is_due = |stored: &[u8]| wall.is_some_and(|wall| is_due(stored, clock, wall));
    match running {
        Running::Get(pending) if !pending.is_ready() => Ok(Step::Waits(Running::Get(pending))),
        Running::Get(pending) => match core.store.resume(pending) {
            Lookup::Need(pending) => Ok(Step::Waits(Running::Get(pending))),
            Lookup::Found(value) if is_due(&value) => Ok(Step::Due),
            looked => Ok(Step::Answered(Answer::Value(visible(looked, clock)?))),
        },
        Running::MultiGet(mut multi, mut values) => {
            let mut malformed = None;
            let progressed = multi
                .step(&mut core.store, |place, value| {
                    due |= value.is_some_and(is_due);
                    match value.map(|stored| unwrap(stored, clock)).transpose() {
                        Ok(value) => values[place] = value.flatten(),
                        Err(error) => malformed = Some(error),
                    }
                })
                .map_err(failed)?;
            if let Some(error) = malformed {
                return Err(error);
            }
            if due {
                return Ok(Step::Due);
            }
            Ok(match progressed {
                Progressed::Done => Step::Answered(Answer::Values(values)),
                Progressed::Need => Step::Waits(Running::MultiGet(multi, values)),
                Progressed::More => Step::More(Running::MultiGet(multi, values)),
            })
        }
        Running::Scan(mut scan, mut pairs, count, mut bytes) => {
            let budget = core.limits().answer_bytes;
            let limits = ScanLimits {
                count: count - pairs.len(),
                bytes: budget.saturating_sub(bytes).max(1),
                looks: LOOKS_MAX,
            };
            let mut malformed = None;
            let progressed = scan
                .step(&mut core.store, limits, |key, stored| {
                    due |= is_due(stored);
                    match unwrap(stored, clock) {
                        Ok(Some(value)) => {
                            bytes += key.len() + value.len();
                            pairs.push((Bytes::copy_from_slice(key), value));
                        }
                        Ok(None) => {}
                        Err(error) => malformed = Some(error),
                    }
                })
                .map_err(failed)?;
            if let Some(error) = malformed {
                return Err(error);
            }
            if due {
                return Ok(Step::Due);
            }
            let full = pairs.len() >= count || bytes >= budget;
            Ok(match progressed {
                Progressed::Done => Step::Answered(Answer::Pairs { pairs, more: false }),
                _ if full => Step::Answered(Answer::Pairs { pairs, more: true }),
                Progressed::Need => Step::Waits(Running::Scan(scan, pairs, count, bytes)),
                Progressed::More => Step::More(Running::Scan(scan, pairs, count, bytes)),
            })
        }
    }
}

/// Whether a value has expired by the leader's own time, and not yet by the region's clock.
fn is_due(stored: &[u8], clock: u64, wall: u64) -> bool {
    StoredValue::decode(stored).is_ok_and(|value| value.expired(wall) && !value.expired(clock))
}

/// A stored value as a reader sees it; none if it has expired.
fn unwrap(stored: &[u8], clock: u64) -> Result<Option<Bytes>, Error> {
    match StoredValue::decode(stored) {
        Ok(value) if value.expired(clock) => Ok(None),
        Ok(value) => Ok(Some(Bytes::copy_from_slice(value.bytes))),
        Err(_) => Err(Error::Corrupt("a value of an unknown form".into())),
    }
}

fn visible(looked: Lookup<'_>, clock: u64) -> Result<Option<Bytes>, Error> {
    match looked {
        Lookup::Found(value) => unwrap(&value, clock),
        Lookup::Absent => Ok(None),
        Lookup::Failed(error) => Err(failed(error)),
        Lookup::Need(_) => unreachable!("the caller waits for blocks"),
    }
}

fn failed(error: ReadFailed) -> Error {
    match error {
        ReadFailed::Ended(_) => Error::ServerIsBusy("the read took too long"),
        ReadFailed::Block(error) => Error::Corrupt(format!("{error:?}")),
    }
}

impl Core {
    /// Whether so much was told in this turn that the rest waits for the next: whoever asked has to keep it all until
    /// it is sent.
    fn has_told_much(&self) -> bool {
        self.told_bytes >= self.limits().turn_bytes
    }

    fn finish_read(&mut self, request: RequestId, response: Result<Answer, Error>) {
        self.reads_waiting -= 1;
        self.told_bytes += response.as_ref().map_or(0, Answer::bytes);
        self.respond(request, response);
    }

    fn end_read(&mut self, read: Read, error: Error) {
        match read.asker {
            Asker::Client { request, .. } => self.finish_read(request, Err(error)),
            Asker::Peer { .. } => self.reads_waiting -= 1,
        }
    }
}
