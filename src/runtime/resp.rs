//! A connection that speaks RESP: commands leave in the order in which they came, and so do answers.
//!
//! Commands that follow each other and are of one kind ([`Row`]) are under way together; a read behind a
//! write waits until that is answered, so a client sees what it wrote. A read with nothing under way before it
//! is answered at once, into what is to be sent, if the brain has the value at hand. An answer that only says that the
//! command went to the wrong place is not told: the command is sent on to where it belongs, or tried again
//! until its time is over. For that its bytes stay in the input until all of its row is answered. What comes
//! next of a command that was sent on follows it there; of one with several requests, only those that went
//! wrong are sent again.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use glommio::timer::Timer;

use super::behind::{Behind, Fate};
use super::connection::{Connection, Input};
use super::driver::{Driver, Owner};
use super::route::{Next, Wanted};
use super::serve::is_elsewhere;
use crate::shard::error::Error;
use crate::shard::ids::StoreId;
use crate::shard::request::{Answer, Body, Request, Response, Written};
use crate::shard::time::Time;
use crate::wire::resp::info::Info;
use crate::wire::resp::parse::{Parsed, Parser};
use crate::wire::resp::plain;
use crate::wire::resp::plan::{Plan, Row, Step};
use crate::wire::resp::session::{Facts, Session, Told};
use crate::wire::resp::write::{Version, Writer};

/// Commands of one connection that may be under way at once.
const FLIGHT_MAX: usize = 1024;

/// Commands that a new connection may have under way: more, as its replies turn out to be short.
const FLIGHT_FIRST: usize = 16;

/// Replies of the commands under way together are about so long at the most.
const FLIGHT_BYTES: usize = 8 << 20;

/// Commands under way together are about so long at the most, since their bytes stay until all of them are
/// answered.
const ROW_BYTES: usize = 2 << 20;

/// A reply that is longer makes fewer commands be under way.
const SHORT_BYTES: usize = FLIGHT_BYTES / FLIGHT_MAX;

/// So much is told at once; then it is sent before more is.
const AT_HAND_BYTES: usize = 1 << 20;

/// A request is told apart by its command's number, and its own in the lowest bits.
const GROUP_BITS: u32 = 16;

/// The last number of a command's own requests.
const GROUP_MAX: usize = (1 << GROUP_BITS) - 1;

/// A command that is tried again waits so long.
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// A command under way.
struct Slot {
    plan: Plan<'static>,
    version: Version,
    /// Where its bytes are in the input.
    from: usize,
    to: usize,
    since: u64,
    /// Requests that are not answered.
    open: u32,
    /// The places that each request asks for, where a command has several parts.
    groups: Vec<Vec<u32>>,
    /// Where a command's one request went; none: to this shard.
    store: Option<StoreId>,
    /// The same for each of several.
    stores: Vec<Option<StoreId>>,
    /// The requests that went wrong in a way that may be tried again, and what went wrong.
    failed: Vec<(usize, Error)>,
    /// Bytes of answers that it has taken.
    held: usize,
    /// Its reply, where it was written before those of earlier commands.
    written: Option<Vec<u8>>,
    /// Whether nothing more is to be done but to write its reply.
    is_over: bool,
}

impl Slot {
    /// Whether its plan has kept its bytes, and knows how far it is: it has several parts, or goes through a range.
    fn keeps(&self) -> bool {
        !self.plan.is_single() || self.plan.has_range()
    }

    /// Nothing is left of it, as if it had been done before what was written over it.
    fn count_as_done(&mut self) {
        self.plan.take(Ok(Answer::Written(Written::Done)));
        self.failed.clear();
        self.is_over = true;
    }

    /// Tells what went wrong, if something did and as much time has passed.
    fn give_up_after(&mut self, driver: &Driver, limit: u64, now: Time) {
        let is_late = now.mono.saturating_sub(self.since) >= limit;
        if self.open > 0 || !is_late || self.failed.is_empty() {
            return;
        }
        let (_, error) = self.failed.swap_remove(0);
        driver.figures.failed(&error);
        self.plan.fail(error);
        self.failed.clear();
        self.is_over = true;
    }

    /// Where the request went that asked for a place the last time.
    fn store_of(&self, place: Option<&u32>) -> Option<StoreId> {
        if self.groups.is_empty() {
            return self.store;
        }
        let mut groups = self.groups.iter().zip(&self.stores);
        let found = groups.find(|(group, _)| place.is_some_and(|place| group.contains(place)));
        found.and_then(|(_, store)| *store)
    }
}

/// A connection that speaks RESP.
pub struct RespTalk {
    parser: Parser,
    session: Session,
    flight: VecDeque<Slot>,
    /// How many commands may be under way, by the length of the replies so far.
    flight_max: usize,
    /// Bytes of answers that those in flight have taken.
    kept: usize,
    /// Bytes that wait for the client, when last looked.
    owed: usize,
    /// The number of the first in flight.
    first: u64,
    /// Where in the input those under way begin.
    begin: usize,
    /// What those in flight are.
    row: Row,
    /// A command that was parsed, and waits for those in flight: its length.
    held: Option<usize>,
    /// A task waits to try again.
    is_retrying: bool,
    /// Some in flight have gone wrong and are to be tried again: what comes behind them waits.
    has_failed: bool,
    /// So much is to be sent that what came behind it waits until that has left.
    is_interrupted: bool,
    /// Stored keys are made here.
    key: Vec<u8>,
}

impl RespTalk {
    /// A connection that was just made.
    pub fn new(number: u64, address: String) -> RespTalk {
        RespTalk {
            parser: Parser::new(),
            session: Session::new(number, address),
            flight: VecDeque::new(),
            flight_max: FLIGHT_FIRST,
            kept: 0,
            owed: 0,
            first: 0,
            begin: 0,
            row: Row::Reads,
            held: None,
            is_retrying: false,
            has_failed: false,
            is_interrupted: false,
            key: Vec::new(),
        }
    }

    /// Whether it stopped before the end of what came in, and goes on when something was sent.
    pub fn is_interrupted(&self) -> bool {
        self.is_interrupted
    }

    /// So many bytes wait for the client.
    pub fn owe(&mut self, bytes: usize) {
        self.owed = bytes;
    }

    /// Whether an answer of so many bytes for the command at this place is more than is kept for the client. What
    /// others have taken does not count for the first one, which has to go on so that they do.
    fn is_too_much(&self, driver: &Driver, place: usize, bytes: usize) -> bool {
        let most = (driver.config.client.output_mib << 20) + FLIGHT_BYTES;
        let kept = if place == 0 { 0 } else { self.kept };
        bytes > SHORT_BYTES && kept + self.owed + bytes > most
    }

    /// Whether commands are under way.
    pub fn is_busy(&self) -> bool {
        !self.flight.is_empty()
    }

    /// Takes commands off the input, as far as they can be under way together. Whether the connection goes
    /// on.
    pub fn advance(
        &mut self,
        driver: &Rc<Driver>,
        connection: &Rc<Connection>,
        input: &mut Input,
        out: &mut Vec<u8>,
        now: Time,
    ) -> bool {
        self.is_interrupted = false;
        while self.flight.len() < self.flight_max && !self.has_failed {
            if self.is_busy() && input.done - self.begin >= ROW_BYTES {
                return true;
            }
            if self.flight.is_empty() {
                self.read_at_hand(driver, input, out, now);
                if out.len() >= AT_HAND_BYTES {
                    self.is_interrupted = !input.rest().is_empty();
                    return true;
                }
            }
            let consumed = match self.held {
                Some(_) if self.is_busy() => return true,
                Some(consumed) => consumed,
                None => match self.parser.parse(input.rest()) {
                    Ok(Parsed::Command { consumed }) => consumed,
                    Ok(Parsed::Partial { .. }) => return true,
                    Err(error) => {
                        let mut text = Vec::new();
                        let mut writer = Writer::new(&mut text, self.session.version());
                        writer.error(&format!("ERR {error}"));
                        self.say(text, out);
                        return false;
                    }
                },
            };
            self.held = None;
            match self.take(driver, connection, input, out, consumed, now) {
                Taken::Done => input.done += consumed,
                Taken::Held => {
                    self.held = Some(consumed);
                    return true;
                }
                Taken::Closing => {
                    input.done += consumed;
                    return false;
                }
            }
        }
        true
    }

    /// Answers the reads that come next, as far as they can be answered at once. Nothing is under way, so they
    /// see every write that came before them.
    fn read_at_hand(&mut self, driver: &Driver, input: &mut Input, out: &mut Vec<u8>, now: Time) {
        if self.held.is_some() || !self.parser.is_between() || plain::get(input.rest()).is_none() {
            return;
        }
        let mut shard = driver.shard.borrow_mut();
        let mut at_hand = shard.at_hand(now);
        let mut writer = Writer::new(out, self.session.version());
        let mut reads = 0;
        while let Some((user, consumed)) = plain::get(input.rest()) {
            let key = plain::stored(user, &mut self.key);
            if !at_hand.get(key, |value| writer.optional(value)) {
                break;
            }
            input.done += consumed;
            reads += 1;
            if writer.len() >= AT_HAND_BYTES {
                break;
            }
        }
        if reads > 0 {
            let nanos = driver.clock.mono() - now.mono;
            driver.figures.read_at_hand(reads, nanos);
        }
    }

    /// One command.
    fn take(
        &mut self,
        driver: &Rc<Driver>,
        connection: &Rc<Connection>,
        input: &Input,
        out: &mut Vec<u8>,
        consumed: usize,
        now: Time,
    ) -> Taken {
        let args = self.parser.args(input.rest());
        if args.is_empty() {
            return Taken::Done;
        }
        let version = self.session.version();
        let cursors = driver.cursors.borrow();
        let facts = Facts {
            wall_ms: now.wall,
            cursors: &cursors,
            may_flush: driver.config.client.flush,
        };
        // Behind commands that are under way, what can be said at once waits for its turn.
        let mut aside = Vec::new();
        let straight = self.flight.is_empty();
        let said = if straight { &mut *out } else { &mut aside };
        let taken = match self.session.handle(args, facts, said) {
            Told::Answered => Taken::Done,
            Told::Closing => Taken::Closing,
            Told::Info(wanted) => {
                let mut info = Info::new();
                driver.inform(&mut info);
                info.write(wanted, &mut Writer::new(said, version));
                Taken::Done
            }
            Told::Plan(mut plan) => {
                drop(cursors);
                let row = plan.row();
                if !straight && (row != self.row || row == Row::Alone) {
                    return Taken::Held;
                }
                if straight
                    && let Some(key) = plan.value_of()
                    && read_one(driver, key, now, &mut Writer::new(out, version))
                {
                    return Taken::Done;
                }
                self.row = row;
                let from = input.done;
                if straight {
                    self.begin = from;
                }
                let number = self.first + self.flight.len() as u64;
                let mut slot = Slot {
                    version,
                    from,
                    to: from + consumed,
                    since: now.mono,
                    open: 0,
                    groups: Vec::new(),
                    store: None,
                    stores: Vec::new(),
                    failed: Vec::new(),
                    held: 0,
                    written: None,
                    is_over: false,
                    plan: Plan::nothing(),
                };
                slot.groups = groups(driver, &mut plan);
                slot.stores = vec![None; slot.groups.len()];
                ask(driver, connection, &mut plan, &mut slot, number, now);
                slot.plan = plan.park();
                self.flight.push_back(slot);
                return Taken::Done;
            }
        };
        if !aside.is_empty() {
            self.say(aside, out);
        }
        taken
    }

    /// A reply that is there already takes its place behind those under way.
    fn say(&mut self, text: Vec<u8>, out: &mut Vec<u8>) {
        if self.flight.is_empty() {
            return out.extend_from_slice(&text);
        }
        self.flight.push_back(Slot {
            plan: Plan::nothing(),
            version: self.session.version(),
            from: 0,
            to: 0,
            since: 0,
            open: 0,
            groups: Vec::new(),
            store: None,
            stores: Vec::new(),
            failed: Vec::new(),
            held: 0,
            written: Some(text),
            is_over: true,
        });
    }

    /// One of its requests was answered.
    pub fn answered(
        &mut self,
        driver: &Rc<Driver>,
        connection: &Rc<Connection>,
        tag: u64,
        response: Response,
        input: &Input,
        out: &mut Vec<u8>,
    ) {
        let (number, group) = (tag >> GROUP_BITS, tag as usize & GROUP_MAX);
        let Some(place) = number.checked_sub(self.first) else {
            return;
        };
        let place = place as usize;
        let bytes = response.as_ref().map_or(0, Answer::bytes);
        if bytes > SHORT_BYTES {
            self.flight_max = self.flight_max.min(FLIGHT_BYTES / bytes).max(1);
        }
        let is_too_much = self.is_too_much(driver, place, bytes);
        let Some(slot) = self.flight.get_mut(place) else {
            return;
        };
        slot.open -= 1;
        match response {
            Ok(answer) if is_too_much && answer.is_read() => {
                // It is read again when there is room, and the time that passes until then is the client's.
                slot.since = driver.clock.mono();
                slot.failed
                    .push((group, Error::ServerIsBusy("answers wait to be read")));
                self.has_failed = true;
            }
            Err(error) if is_elsewhere(&error) => {
                slot.failed.push((group, error));
                self.has_failed = true;
            }
            Err(error)
                if matches!(error.kind(), Error::TooLarge { .. })
                    && halve(driver, connection, slot, number, group) => {}
            response => {
                slot.held += bytes;
                self.kept += bytes;
                match slot.groups.get(group) {
                    Some(places) => slot.plan.take_some(places, response),
                    None => slot.plan.take(response),
                };
            }
        }
        if slot.open == 0 && slot.failed.is_empty() {
            match slot.plan.step() {
                Step::Done => slot.is_over = true,
                Step::Again => {
                    // What comes next goes to where the answer came from.
                    let mut plan = std::mem::replace(&mut slot.plan, Plan::nothing());
                    let groups = groups(driver, &mut plan);
                    let before = groups.iter().map(|group| slot.store_of(group.first()));
                    slot.stores = before.collect();
                    slot.groups = groups;
                    ask(
                        driver,
                        connection,
                        &mut plan,
                        slot,
                        number,
                        driver.clock.now(),
                    );
                    slot.plan = plan.park();
                }
            }
        }
        self.write(driver, out);
        let waits = self
            .flight
            .iter()
            .all(|slot| slot.is_over || (slot.open == 0 && !slot.failed.is_empty()));
        if !self.flight.is_empty() && waits {
            self.retry(driver, connection, input, out, false);
        }
    }

    /// Writes the replies of the first ones, as far as they are there.
    fn write(&mut self, driver: &Driver, out: &mut Vec<u8>) {
        while let Some(slot) = self.flight.front()
            && slot.is_over
        {
            let before = out.len();
            match &slot.written {
                Some(text) => out.extend_from_slice(text),
                None => slot.plan.write(
                    &mut driver.cursors.borrow_mut(),
                    &mut Writer::new(out, slot.version),
                ),
            }
            self.kept -= slot.held;
            self.flight.pop_front();
            self.first += 1;
            let length = out.len() - before;
            if length > SHORT_BYTES {
                self.flight_max = self.flight_max.min(FLIGHT_BYTES / length).max(1);
            } else if self.flight.is_empty() {
                self.flight_max = (self.flight_max * 2).min(FLIGHT_MAX);
            }
        }
    }

    /// Nothing is under way but what went wrong: it is tried again, in order.
    pub fn retry(
        &mut self,
        driver: &Rc<Driver>,
        connection: &Rc<Connection>,
        input: &Input,
        out: &mut Vec<u8>,
        has_waited: bool,
    ) {
        if has_waited {
            self.is_retrying = false;
        } else if self.is_retrying {
            return;
        }
        let now = driver.clock.now();
        if self.owed >= driver.config.client.output_mib << 20 {
            // Whoever does not read is not read for.
            for slot in self
                .flight
                .iter_mut()
                .filter(|slot| !slot.failed.is_empty())
            {
                slot.since = now.mono;
            }
            return self.retry_later(driver, connection, None);
        }
        let limit = driver.config.client.timeout_ms * 1_000_000;
        let mut parser = Parser::new();
        // A write that came later and is done must not be followed by one that was to be before it.
        let (writes, mut behind) = (self.row == Row::Writes, Behind::default());
        let first = self
            .flight
            .iter()
            .position(|slot| !slot.failed.is_empty())
            .unwrap_or(self.flight.len());
        for slot in self.flight.range_mut(first..).rev() {
            let is_done_in_part = slot.failed.len() < slot.groups.len().max(1);
            let mut patience = limit;
            if writes && slot.written.is_none() && (is_done_in_part || !behind.is_empty()) {
                let bytes = input.at(slot.from, slot.to);
                let asked =
                    (!slot.keeps()).then(|| again(&mut self.session, driver, &mut parser, bytes));
                let plan = asked.as_ref().unwrap_or(&slot.plan);
                let fate = match slot.failed.is_empty() {
                    true => Fate::Open,
                    false => behind.fate_of(plan),
                };
                if is_done_in_part {
                    behind.add(plan, slot.is_over && !slot.plan.has_failed());
                }
                match fate {
                    Fate::Open => {}
                    Fate::Overwritten => slot.count_as_done(),
                    Fate::Overtaken => patience = 0,
                }
            }
            slot.give_up_after(driver, patience, now);
        }
        self.write(driver, out);
        let mut later = None;
        for place in 0..self.flight.len().min(self.flight_max) {
            let number = self.first + place as u64;
            let slot = &mut self.flight[place];
            if slot.failed.is_empty() || slot.open > 0 {
                continue;
            }
            let keeps = slot.keeps();
            let mut plan = match keeps {
                false => {
                    let bytes = input.at(slot.from, slot.to);
                    again(&mut self.session, driver, &mut parser, bytes)
                }
                true => std::mem::replace(&mut slot.plan, Plan::nothing()),
            };
            let Some(places) = next_places(driver, &plan, slot, has_waited) else {
                if keeps {
                    slot.plan = plan.park();
                }
                let is_busy =
                    |(_, error): &(usize, Error)| matches!(error.kind(), Error::ServerIsBusy(_));
                later = Some(slot.failed.iter().all(is_busy).then_some(slot.since));
                // Those behind it must not overtake it.
                break;
            };
            let groups = groups(driver, &mut plan);
            let to = |place: Option<&u32>| match places.of(place) {
                Some(next) => next,
                None => slot.store_of(place),
            };
            let store = to(None);
            let stores = groups.iter().map(|group| to(group.first())).collect();
            slot.failed.clear();
            (slot.groups, slot.store, slot.stores) = (groups, store, stores);
            ask(driver, connection, &mut plan, slot, number, now);
            slot.plan = plan.park();
        }
        self.has_failed = self.flight.iter().any(|slot| !slot.failed.is_empty());
        if let Some(since) = later {
            self.retry_later(driver, connection, since);
        }
    }

    /// A while later, or, where the shard has too much to do, as soon as those have asked who wait for longer.
    fn retry_later(
        &mut self,
        driver: &Rc<Driver>,
        connection: &Rc<Connection>,
        waits_for_room: Option<u64>,
    ) {
        if self.is_retrying {
            return;
        }
        self.is_retrying = true;
        if let Some(since) = waits_for_room {
            return driver.wait_for_room(since, connection);
        }
        let (driver, connection) = (driver.clone(), connection.clone());
        glommio::spawn_local(async move {
            Timer::new(RETRY_AFTER).await;
            connection.retry(&driver);
        })
        .detach();
    }
}

/// No frame holds all values that a request asked for: it becomes two requests for half of them each, to the same
/// store, until they ask for one each. Whether it did.
fn halve(
    driver: &Rc<Driver>,
    connection: &Rc<Connection>,
    slot: &mut Slot,
    number: u64,
    group: usize,
) -> bool {
    let Some(store) = slot.stores.get(group).copied().flatten() else {
        return false;
    };
    let mut first = slot.plan.reading(&slot.groups[group]);
    let behind = slot.groups.len();
    if first.len() < 2 || behind > GROUP_MAX {
        return false;
    }
    let second = first.split_off(first.len() / 2);
    slot.groups[group] = first;
    slot.groups.push(second);
    slot.stores.push(Some(store));
    for half in [group, behind] {
        let asked = slot.plan.ask_some(&slot.groups[half], |body| {
            let owner = Owner::Connection {
                connection: connection.clone(),
                tag: number << GROUP_BITS | half as u64,
            };
            let request = Request { region: None, body };
            driver.forward(store, owner, &request);
        });
        slot.open += u32::from(asked.is_some());
    }
    true
}

/// Answers a read at once, if it can be.
fn read_one(driver: &Driver, key: &[u8], now: Time, writer: &mut Writer<'_>) -> bool {
    let mut shard = driver.shard.borrow_mut();
    let is_told = shard.at_hand(now).get(key, |value| writer.optional(value));
    if is_told {
        driver
            .figures
            .read_at_hand(1, driver.clock.mono() - now.mono);
    }
    is_told
}

/// What became of a command.
enum Taken {
    Done,
    Held,
    Closing,
}

/// The plan of a command that was one before.
fn again<'i>(
    session: &'i mut Session,
    driver: &Driver,
    parser: &'i mut Parser,
    bytes: &'i [u8],
) -> Plan<'i> {
    let parsed = parser.parse(bytes);
    debug_assert!(matches!(parsed, Ok(Parsed::Command { .. })));
    let cursors = driver.cursors.borrow();
    let facts = Facts {
        wall_ms: driver.clock.now().wall,
        cursors: &cursors,
        may_flush: driver.config.client.flush,
    };
    match session.handle(parser.args(bytes), facts, &mut Vec::new()) {
        Told::Plan(plan) => plan,
        _ => unreachable!("it was a plan before"),
    }
}

/// The places that go together into one request; none where there is one part.
fn groups(driver: &Driver, plan: &mut Plan<'_>) -> Vec<Vec<u32>> {
    if plan.has_range() {
        plan.bound(|key| driver.region_limit(key));
    }
    match plan.is_single() {
        true => Vec::new(),
        false => plan.split(|key| driver.region_number(key)),
    }
}

/// Where each request goes that went wrong; none if nobody knows yet.
fn next_places(
    driver: &Rc<Driver>,
    plan: &Plan<'_>,
    slot: &Slot,
    has_waited: bool,
) -> Option<NextPlaces> {
    let me = driver.station.store;
    let mut nexts = Vec::with_capacity(slot.failed.len());
    for (group, error) in &slot.failed {
        let group = slot.groups.get(*group).cloned().unwrap_or_default();
        let key = group
            .first()
            .and_then(|place| plan.keys().nth(*place as usize));
        let key = key.unwrap_or_else(|| plan.key());
        let asked = slot.store_of(group.first()).unwrap_or(me);
        let next = match driver.next_place(error, Wanted::Key(key), asked) {
            Next::Here => None,
            // Where regions have changed, keys may lie in several, whose ways were just learned.
            Next::There(_) if matches!(error, Error::EpochNotMatch { .. }) => None,
            Next::There(store) => Some(store),
            Next::Later if has_waited => None,
            Next::Later => return None,
        };
        nexts.push((group, next));
    }
    Some(NextPlaces(nexts))
}

/// Where parts go that are asked for again, by their places; all of them, where there are no places.
struct NextPlaces(Vec<(Vec<u32>, Option<StoreId>)>);

impl NextPlaces {
    fn of(&self, place: Option<&u32>) -> Option<Option<StoreId>> {
        let mut nexts = self.0.iter();
        let found = nexts.find(|(group, _)| match place {
            Some(place) => group.is_empty() || group.contains(place),
            None => group.is_empty(),
        });
        found.map(|(_, next)| *next)
    }
}

/// Requests of which nobody has said where to go take the way that is known: this shard's own peer may be behind
/// the region that they are cut for.
fn find_ways(driver: &Rc<Driver>, plan: &Plan<'_>, slot: &mut Slot) {
    let way = |key: &[u8]| driver.way(key)?.to;
    if slot.groups.is_empty() {
        slot.store = slot.store.or_else(|| way(plan.key()));
    }
    for (group, store) in slot.groups.iter().zip(&mut slot.stores) {
        let key = |place: &u32| plan.keys().nth(*place as usize);
        *store = store.or_else(|| way(group.first().and_then(key)?));
    }
}

/// Asks for what comes next, where the slot says.
fn ask(
    driver: &Rc<Driver>,
    connection: &Rc<Connection>,
    plan: &mut Plan<'_>,
    slot: &mut Slot,
    number: u64,
    now: Time,
) {
    // What may lie in several regions names the one that it was cut for: whoever knows better says so.
    let is_cut = plan.has_range() || slot.groups.len() > 1;
    if is_cut {
        find_ways(driver, plan, slot);
    }
    let send = |group: usize, store: Option<StoreId>, body: Body<'_>| {
        let owner = Owner::Connection {
            connection: connection.clone(),
            tag: number << GROUP_BITS | group as u64,
        };
        let region = match is_cut {
            true => driver.region_named(body.key()),
            false => None,
        };
        let request = Request { region, body };
        match store {
            None => driver.request_at(now, owner, request),
            Some(store) => driver.forward(store, owner, &request),
        }
    };
    let asked = match slot.groups.len() {
        0 => usize::from(plan.ask(|body| send(0, slot.store, body)).is_some()),
        several => (0..several)
            .filter(|group| {
                let store = slot.stores.get(*group).copied().flatten();
                let parts = &slot.groups[*group];
                plan.ask_some(parts, |body| send(*group, store, body))
                    .is_some()
            })
            .count(),
    };
    slot.open = asked as u32;
    slot.is_over = asked == 0;
}
