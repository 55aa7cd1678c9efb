//! The seat of placement: the shard that leads region 1 runs it, for as long as it leads.
//!
//! ```text
//! leads region 1, and has applied an entry of its own term
//!   ─▶ reads placement's records ─▶ serves: messages in, one batch of writes at a time as an entry of
//!      region 1, replies when the writes before them are applied
//! leads no more ─▶ everything is dropped; the next leader reads what is durable
//! ```
//!
//! Nothing here outlives the term: an answer to a write or a read of an earlier one finds nobody who
//! asked.

use std::collections::BTreeMap;

use super::brain::Shard;
use super::door::{Effect, Report};
use super::error::Error;
use super::ids::{RegionId, RequestId, StoreId, Term};
use super::message::PeerMessage;
use super::mutant::Mutant;
use super::request::{Answer, Body, Freshness, Response, Write};
use crate::placement::codec::PREFIX;
use crate::placement::{Message, Placement};

/// Records that are read at once.
const PAGE: usize = 1024;

/// What asks by a request is told from stores by this bit: no store has such an id.
const ASKER: u64 = 1 << 63;

/// A question that came as a request.
#[derive(Debug)]
struct Question {
    request: RequestId,
    deadline: u64,
}

/// The seat, taken or not.
#[derive(Debug, Default)]
pub struct Seat {
    /// Of which leadership; none: another shard's.
    term: Option<Term>,
    stage: Stage,
    /// The shard's own request that is under way.
    waits_for: Option<RequestId>,
    /// Nothing is tried before that moment.
    not_before: u64,
    /// Questions that came as requests, by the name that placement knows them by.
    questions: BTreeMap<StoreId, Question>,
    asked: u64,
}

#[derive(Debug, Default)]
enum Stage {
    /// Nobody sits here.
    #[default]
    Empty,
    /// The records are being read: these so far.
    Reading(Vec<(Vec<u8>, Vec<u8>)>),
    /// There are no records, or none that can be understood.
    Barren,
    /// Placement runs; a batch of its writes may be under way.
    Serving(Box<Placement>, Option<u64>),
}

impl Seat {
    /// Questions that wait for their answers.
    pub fn questions_waiting(&self) -> usize {
        self.questions.len()
    }

    /// Whether this is the name of a question, and no store.
    pub fn is_asker(store: StoreId) -> bool {
        store.0 & ASKER != 0
    }
}

impl Shard {
    /// A message for placement, from another store or from this one.
    pub(super) fn seat_message(&mut self, from: StoreId, message: Message) {
        let now = self.core.now;
        if let Stage::Serving(placement, _) = &mut self.seat.stage {
            return placement.handle(now, from, message);
        }
        // Whoever leads and is not ready yet says nothing: it is asked again.
        if self.seat.term.is_some() || from == self.core.me() {
            return;
        }
        let (version, nodes) = self.herald.nodes();
        if message == Message::ListNodes && *version > 0 {
            let nodes = Message::Nodes(*version, nodes.clone());
            return self.core.send(from, PeerMessage::Placement(nodes));
        }
        let system = self.peers.get(&RegionId::SYSTEM);
        let leader = system.and_then(|peer| peer.leader());
        let hint = leader.map(|info| info.store).or(self.herald.believed());
        let hint = hint.filter(|store| *store != self.core.me());
        self.core
            .send(from, PeerMessage::Placement(Message::NotPlacement { hint }));
    }

    /// A question to placement that came as a request.
    pub(super) fn seat_request(&mut self, id: RequestId, message: &Message) {
        match self.take_question(id, message) {
            Ok(()) => {}
            Err(error) => self.core.refuse(id, error),
        }
    }

    fn take_question(&mut self, id: RequestId, message: &Message) -> Result<(), Error> {
        let asks = match message {
            Message::AllocateIds { count, .. } => Placement::may_allocate(*count),
            Message::Join { .. }
            | Message::ValidatePeer { .. }
            | Message::LocateRegion { .. }
            | Message::ListRegions { .. }
            | Message::ListNodes
            | Message::Stand { .. }
            | Message::MoveRegion { .. }
            | Message::LeadRegion { .. }
            | Message::Pause { .. }
            | Message::ShowPlacement => true,
            _ => false,
        };
        if !asks {
            return Err(Error::BadRequest("not a question to placement"));
        }
        let now = self.core.now;
        match &mut self.seat.stage {
            Stage::Serving(placement, _) => {
                if self.seat.questions.len() >= self.core.options.limits.questions_waiting {
                    return Err(Error::ServerIsBusy("too many questions wait"));
                }
                self.seat.asked += 1;
                let asker = StoreId(ASKER | self.seat.asked);
                let deadline = now.mono + self.core.options.limits.write_timeout;
                let question = Question {
                    request: id,
                    deadline,
                };
                self.seat.questions.insert(asker, question);
                placement.handle(now, asker, message.clone());
                Ok(())
            }
            Stage::Reading(_) => Err(Error::ServerIsBusy("placement is about to begin")),
            Stage::Barren => Err(Error::BadRequest("the cluster has no placement")),
            Stage::Empty => match (message, self.herald.nodes()) {
                // Whoever looks for placement may ask any shard whom to ask.
                (Message::ListNodes, (version, nodes)) if !nodes.is_empty() => {
                    let answer = Message::Nodes(*version, nodes.clone());
                    self.core.answer(id, Answer::Placement(answer));
                    Ok(())
                }
                _ => Err(self.not_seated()),
            },
        }
    }

    /// Why placement does not run here.
    fn not_seated(&self) -> Error {
        let region = RegionId::SYSTEM;
        match self.peers.get(&region) {
            None => Error::RegionNotFound(region),
            Some(peer) if peer.leads() => Error::ServerIsBusy("placement is about to begin"),
            Some(peer) => Error::NotLeader {
                region,
                leader: peer.leader(),
            },
        }
    }

    /// Takes the seat or leaves it, and lets placement go on: at the beginning of a turn.
    pub(super) fn seat_turn(&mut self) {
        let term = self.leads_system();
        if term != self.seat.term {
            self.vacate();
            self.seat.term = term;
            if term.is_some() {
                self.seat.stage = Stage::Reading(Vec::new());
            }
        }
        for (id, response) in std::mem::take(&mut self.core.own) {
            if self.seat.waits_for == Some(id) {
                self.seat.waits_for = None;
                self.seat_answered(response);
            }
        }
        if self.seat.waits_for.is_none() && self.seat.not_before <= self.core.now.mono {
            self.seat_read();
            self.seat_write();
        }
        self.seat_reply();
    }

    /// The term in which this shard leads region 1, once it has applied an entry of it.
    fn leads_system(&self) -> Option<Term> {
        if !self.core.is_placed() {
            return None;
        }
        let peer = self.peers.get(&RegionId::SYSTEM)?;
        if !peer.leads() {
            return None;
        }
        let term = peer.term();
        let applied = self.seat.term == Some(term) || peer.node.raft.apply_to_current_term();
        applied.then_some(term)
    }

    /// Leadership is gone, and all that rested on it.
    fn vacate(&mut self) {
        self.seat.stage = Stage::Empty;
        self.seat.waits_for = None;
        self.seat.not_before = 0;
        for (_, question) in std::mem::take(&mut self.seat.questions) {
            // A join that was written all the same is the same join when it is asked again.
            let error = self.not_seated();
            self.core.refuse(question.request, error);
        }
    }

    /// Asks for the next records, if they are being read.
    fn seat_read(&mut self) {
        let Stage::Reading(pairs) = &self.seat.stage else {
            return;
        };
        let mut start = PREFIX.to_vec();
        if let Some((last, _)) = pairs.last() {
            start = [&last[..], &[0]].concat();
        }
        let mut limit = PREFIX.to_vec();
        if let Some(end) = limit.last_mut() {
            *end += 1;
        }
        let body = Body::Scan {
            start: &start,
            limit: &limit,
            count: PAGE,
            reverse: false,
            freshness: Freshness::Linearizable,
        };
        let id = self.core.own_request();
        let asked = self.with(RegionId::SYSTEM, |peer, core| {
            peer.ask(core, id, None, &body)
        });
        self.seat_waits(id, asked.is_some_and(|asked| asked.is_ok()));
    }

    /// Proposes what placement wants written.
    fn seat_write(&mut self) {
        let Stage::Serving(placement, under_way) = &mut self.seat.stage else {
            return;
        };
        let Some(batch) = placement.take_writes() else {
            return;
        };
        *under_way = Some(batch.token);
        if self.core.breaks(Mutant::AnswerUnwritten) {
            placement.written(batch.token, true);
        }
        let puts = batch.puts.iter().map(|(key, value)| Write::Put {
            key,
            value,
            expiry_ms: None,
        });
        let deletes = batch.deletes.iter().map(|key| Write::Delete { key });
        let writes: Vec<Write<'_>> = puts.chain(deletes).collect();
        let id = self.core.own_request();
        let staged = self.with(RegionId::SYSTEM, |peer, core| {
            peer.stage(core, id, None, &writes)
        });
        let taken = staged.is_some_and(|staged| staged.is_ok());
        self.seat_waits(id, taken);
        if !taken {
            self.seat_wrote(false);
        }
    }

    /// A request of its own is under way, or is tried again a little later.
    fn seat_waits(&mut self, id: RequestId, taken: bool) {
        match taken {
            true => self.seat.waits_for = Some(id),
            false => self.seat.not_before = self.core.now.mono + self.core.limits().tick,
        }
    }

    /// The request that was under way is answered.
    fn seat_answered(&mut self, response: Response) {
        match &mut self.seat.stage {
            Stage::Serving(..) => {
                let ok = response.is_ok();
                if !ok {
                    self.seat.not_before = self.core.now.mono + self.core.limits().tick;
                }
                self.seat_wrote(ok);
            }
            Stage::Reading(pairs) => match response {
                Ok(Answer::Pairs {
                    pairs: more,
                    more: goes_on,
                }) => {
                    let taken = more
                        .iter()
                        .map(|(key, value)| (key.to_vec(), value.to_vec()));
                    pairs.extend(taken);
                    if !goes_on {
                        self.seat_begins();
                    }
                }
                _ => self.seat.not_before = self.core.now.mono + self.core.limits().tick,
            },
            Stage::Empty | Stage::Barren => {}
        }
    }

    fn seat_wrote(&mut self, ok: bool) {
        if let Stage::Serving(placement, under_way) = &mut self.seat.stage
            && let Some(token) = under_way.take()
        {
            placement.written(token, ok);
        }
    }

    /// All records are here.
    fn seat_begins(&mut self) {
        let Stage::Reading(pairs) = std::mem::take(&mut self.seat.stage) else {
            return;
        };
        self.seat.stage = Stage::Barren;
        if pairs.is_empty() {
            // A cluster that was founded without placement has none.
            return;
        }
        let options = self.core.options.placement.clone();
        match Placement::new(options, self.core.now, &pairs) {
            Ok(placement) => self.seat.stage = Stage::Serving(Box::new(placement), None),
            Err(why) => {
                let report = Report::PlacementUnreadable(why.to_string());
                self.core.effects.push(Effect::Report(report));
            }
        }
    }

    /// What placement has to say leaves.
    fn seat_reply(&mut self) {
        let me = self.core.me();
        // What this shard is told may be answered with another question.
        while let Stage::Serving(placement, _) = &mut self.seat.stage {
            let replies = placement.take_replies();
            if replies.is_empty() {
                return;
            }
            self.seat_send(me, replies);
        }
    }

    fn seat_send(&mut self, me: StoreId, replies: Vec<(StoreId, Message)>) {
        for (to, message) in replies {
            if let Some(question) = self.seat.questions.remove(&to) {
                self.core
                    .answer(question.request, Answer::Placement(message));
            } else if to == me {
                self.placement_message(me, message);
            } else if !Seat::is_asker(to) {
                self.core.send(to, PeerMessage::Placement(message));
            }
        }
    }

    /// One tick: what is over is forgotten.
    pub(super) fn seat_tick(&mut self) {
        let now = self.core.now;
        if let Stage::Serving(placement, _) = &mut self.seat.stage {
            placement.tick(now);
        }
        let over = |question: &Question| question.deadline <= now.mono;
        let late: Vec<_> = self
            .seat
            .questions
            .extract_if(.., |_, question| over(question))
            .collect();
        for (_, question) in late {
            self.core.refuse(question.request, Error::Undetermined);
        }
    }

    /// Placement, if it runs here, for whoever looks.
    pub fn placement(&self) -> Option<&Placement> {
        match &self.seat.stage {
            Stage::Serving(placement, _) => Some(placement),
            _ => None,
        }
    }
}
