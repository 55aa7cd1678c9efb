//! A request that may lie in several regions: cut where they end, asked side by side, put together in order.
//!
//! ```text
//! keys, or a range ──▶ pieces, one for each region that is known ──▶ so many at once ──▶ answers, in their places
//!                         ▲                                            │
//!                         └── what was not done, since a region has changed: cut anew
//! ```
//!
//! A piece names its region and the epoch that it was cut by, so it is done whole or not at all; what was done is
//! never asked for again. All of one region is one request, and as of one moment; the whole is not.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use glommio::timer::Timer;

use super::driver::{Driver, Owner, Reply};
use super::remote::nobody;
use super::route::{Next, Wanted, Way};
use super::serve::{RETRY_AFTER, is_elsewhere};
use crate::shard::error::Error;
use crate::shard::ids::StoreId;
use crate::shard::limits::KEY_BYTES_MAX;
use crate::shard::request::{Answer, Body, Freshness, Request, Response, Write, Written};
use crate::wire::native::ask::Asked;

/// Pieces of one request that are asked for at once.
const AT_ONCE: usize = 16;

/// Regions that a scan looks into at once, when those before had little to tell.
const SCANNED_AT_ONCE: usize = 8;

/// The first key, and the one behind the last.
type Span = (Vec<u8>, Vec<u8>);

/// What a request asks for, if it may lie in several regions.
pub enum Kind {
    /// Writes, or values of keys: so many.
    Parts(usize),
    /// A range.
    Range(Range),
}

/// A range that is to be scanned.
pub struct Range {
    start: Vec<u8>,
    /// Empty: behind all keys.
    limit: Vec<u8>,
    count: usize,
    reverse: bool,
    freshness: Freshness,
    /// Whom the last error named.
    to: Option<StoreId>,
    over: bool,
}

/// What a request asks for, if it may lie in several regions; none: it goes to one, whichever that is.
pub fn kind(request: &Request<'_>) -> Option<Kind> {
    if request.region.is_some() {
        return None;
    }
    match request.body {
        Body::Write([one]) if !matches!(one, Write::DeleteRange { .. }) => None,
        Body::Write(writes) if !writes.is_empty() => Some(Kind::Parts(writes.len())),
        Body::MultiGet { keys, .. } if !keys.is_empty() => Some(Kind::Parts(keys.len())),
        Body::Scan {
            start,
            limit,
            count,
            reverse,
            freshness,
        } => Some(Kind::Range(Range {
            start: start.to_vec(),
            limit: limit.to_vec(),
            count: count.max(1),
            reverse,
            freshness,
            to: None,
            over: false,
        })),
        _ => None,
    }
}

/// A write, or a key, that is not done.
#[derive(Clone, Debug)]
struct Part {
    /// Its place in the request.
    place: usize,
    /// What is left of a range that is deleted.
    range: Option<Span>,
    /// Whom the last error named.
    to: Option<StoreId>,
}

/// Parts of one region, and whom to ask.
struct Piece {
    way: Way,
    to: Option<StoreId>,
    /// A key of it.
    key: Vec<u8>,
    parts: Vec<Part>,
}

impl Piece {
    /// Where it goes after an error. Where regions are others now, it is cut anew, and their table knows.
    fn next(&self, driver: &Rc<Driver>, error: &Error) -> Next {
        let asked = self.to.unwrap_or(driver.station.store);
        let next = driver.next_place(error, Wanted::Key(&self.key), asked);
        match (error.kind(), next) {
            (Error::EpochNotMatch { .. }, Next::There(_)) => Next::Here,
            (_, next) => next,
        }
    }
}

/// Does all parts of a request, wherever each is, until the time of a command is over.
pub async fn parts(driver: &Rc<Driver>, frame: &Bytes, count: usize, until: u64) -> Response {
    let mut left: VecDeque<Part> = (0..count)
        .map(|place| Part {
            place,
            range: None,
            to: None,
        })
        .collect();
    let mut gathered = Gathered::new(count);
    while !left.is_empty() {
        let pieces = cut(driver, frame, &mut left)?;
        if pieces.is_empty() {
            wait(driver, until, RETRY_AFTER, &nobody(), &gathered).await?;
            continue;
        }
        let mut asked = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let reply = Rc::new(Reply::default());
            send(driver, frame, &piece, &reply)?;
            asked.push((piece, reply));
        }
        let mut over = None;
        let (mut elsewhere, mut later) = (None, false);
        for (piece, reply) in asked {
            match reply.wait().await {
                Ok(answer) => gathered.take(&piece.parts, answer)?,
                Err(error) if is_elsewhere(&error) => {
                    let to = piece.next(driver, &error);
                    later |= to == Next::Later;
                    elsewhere = Some(error);
                    let to = to.store();
                    left.extend(piece.parts.into_iter().map(|part| Part { to, ..part }));
                }
                Err(error) => over = Some(error),
            }
        }
        if let Some(error) = over {
            return Err(gathered.with_what_is_done(error));
        }
        // Of one region, what came first is asked for first.
        left.make_contiguous().sort_by_key(|part| part.place);
        // Whoever is sent on and on has no more time than whoever waits.
        if let Some(error) = elsewhere {
            let pause = if later { RETRY_AFTER } else { Duration::ZERO };
            wait(driver, until, pause, &error, &gathered).await?;
        }
    }
    gathered.answer()
}

/// Waits a little for regions to be found, until the time is over.
async fn wait(
    driver: &Rc<Driver>,
    until: u64,
    pause: Duration,
    why: &Error,
    gathered: &Gathered,
) -> Result<(), Error> {
    if driver.clock.mono() >= until {
        return Err(gathered.with_what_is_done(why.clone()));
    }
    if !pause.is_zero() {
        Timer::new(pause).await;
    }
    Ok(())
}

/// Takes what lies in regions that are known, for as many of them as are asked at once; what is behind stays.
fn cut(driver: &Rc<Driver>, frame: &Bytes, left: &mut VecDeque<Part>) -> Result<Vec<Piece>, Error> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut kept = VecDeque::new();
    let cut = with(frame, |request| {
        while let Some(part) = left.pop_front() {
            let key = match (&part.range, &request.body) {
                (Some((start, _)), _) => start,
                (None, Body::Write(writes)) => writes[part.place].key(),
                (None, Body::MultiGet { keys, .. }) => keys[part.place],
                _ => &[],
            };
            let holds = |piece: &Piece| piece.way.region.range.contains(key);
            let piece = match pieces.iter().position(holds) {
                Some(open) => &mut pieces[open],
                None if pieces.len() >= AT_ONCE => {
                    kept.push_back(part);
                    continue;
                }
                None => match driver.way(key) {
                    Some(way) => {
                        pieces.push(Piece {
                            to: part.to.or(way.to),
                            way,
                            key: key.to_vec(),
                            parts: Vec::new(),
                        });
                        pieces.last_mut().expect("just pushed")
                    }
                    None => {
                        kept.push_back(part);
                        continue;
                    }
                },
            };
            let range = match (&part.range, &request.body) {
                (Some(range), _) => Some((&range.0[..], &range.1[..])),
                (None, Body::Write(writes)) => match writes[part.place] {
                    Write::DeleteRange { start, limit } => Some((start, limit)),
                    _ => None,
                },
                _ => None,
            };
            let own = range.map(|(start, limit)| {
                let end = &piece.way.region.range.limit;
                let (now, behind) = split(limit, end);
                if behind {
                    let rest = (end.clone(), limit.to_vec());
                    left.push_front(Part {
                        range: Some(rest),
                        to: None,
                        ..part
                    });
                }
                (start.to_vec(), now.to_vec())
            });
            piece.parts.push(Part { range: own, ..part });
        }
    });
    *left = kept;
    cut.map(|()| pieces)
}

/// The end of a range within a region that ends here, and whether some of it lies behind that.
fn split<'k>(limit: &'k [u8], end: &'k [u8]) -> (&'k [u8], bool) {
    match !end.is_empty() && (limit.is_empty() || end < limit) {
        true => (end, true),
        false => (limit, false),
    }
}

fn with<R>(frame: &Bytes, take: impl FnOnce(Request<'_>) -> R) -> Result<R, Error> {
    let asked = Asked::decode(frame).map_err(|error| Error::BadRequest(error.0))?;
    let taken = asked.request(take);
    taken.map_err(|error| Error::BadRequest(error.0))
}

/// Asks for a piece.
fn send(driver: &Rc<Driver>, frame: &Bytes, piece: &Piece, reply: &Rc<Reply>) -> Result<(), Error> {
    with(frame, |request| match request.body {
        Body::Write(all) => {
            let writes: Vec<Write<'_>> = piece
                .parts
                .iter()
                .map(|part| match &part.range {
                    Some((start, limit)) => Write::DeleteRange { start, limit },
                    None => all[part.place],
                })
                .collect();
            ask(driver, piece, reply, Body::Write(&writes));
        }
        Body::MultiGet { keys, freshness } => {
            let places = piece.parts.iter().map(|part| part.place);
            let keys: Vec<&[u8]> = places.map(|place| keys[place]).collect();
            let body = Body::MultiGet {
                keys: &keys,
                freshness,
            };
            ask(driver, piece, reply, body);
        }
        _ => {}
    })
}

fn ask(driver: &Rc<Driver>, piece: &Piece, reply: &Rc<Reply>, body: Body<'_>) {
    let region = &piece.way.region;
    let request = Request {
        region: Some((region.id, region.epoch)),
        body,
    };
    let owner = Owner::Task(reply.clone());
    match piece.to.filter(|to| *to != driver.station.store) {
        None => driver.request(owner, request),
        Some(store) => driver.forward(store, owner, &request),
    }
}

/// Answers to parts, in their places.
struct Gathered {
    written: Vec<Option<Written>>,
    values: Vec<Option<Bytes>>,
    are_values: bool,
}

const UNFIT: Error = Error::BadRequest("an answer to something else");

impl Gathered {
    fn new(count: usize) -> Gathered {
        Gathered {
            written: vec![None; count],
            values: Vec::new(),
            are_values: false,
        }
    }

    fn take(&mut self, parts: &[Part], answer: Answer) -> Result<(), Error> {
        match answer {
            Answer::Written(written) if parts.len() == 1 => self.wrote(&parts[0], written),
            Answer::AllWritten(written) if written.len() == parts.len() => {
                for (part, written) in parts.iter().zip(written) {
                    self.wrote(part, written);
                }
            }
            Answer::Values(values) if values.len() == parts.len() => {
                self.are_values = true;
                self.values.resize(self.written.len(), None);
                for (part, value) in parts.iter().zip(values) {
                    self.values[part.place] = value;
                }
            }
            _ => return Err(UNFIT),
        }
        Ok(())
    }

    fn wrote(&mut self, part: &Part, written: Written) {
        self.written[part.place] = Some(written);
    }

    /// An error, and what was done all the same.
    fn with_what_is_done(&self, error: Error) -> Error {
        if self.written.iter().all(Option::is_none) {
            return error;
        }
        Error::Told {
            error: Box::new(error.kind().clone()),
            text: format!("{error}; some of it is done, in other regions"),
        }
    }

    fn answer(self) -> Response {
        if self.are_values {
            return Ok(Answer::Values(self.values));
        }
        let written: Option<Vec<Written>> = self.written.into_iter().collect();
        match written {
            Some(mut one) if one.len() == 1 => Ok(Answer::Written(one.remove(0))),
            Some(written) => Ok(Answer::AllWritten(written)),
            None => Err(UNFIT),
        }
    }
}

/// Scans a range over as many regions as it lies in, until as much is found as one answer holds.
pub async fn scan(driver: &Rc<Driver>, mut range: Range, until: u64) -> Response {
    let budget = driver.config.limits().answer_bytes;
    let mut found = Found::default();
    let mut width = 1;
    loop {
        let pieces = range.cut(driver, width);
        if pieces.is_empty() {
            if range.is_over() {
                return Ok(found.answer(false));
            }
            if driver.clock.mono() >= until {
                return Err(nobody());
            }
            Timer::new(RETRY_AFTER).await;
            continue;
        }
        let mut asked = Vec::with_capacity(pieces.len());
        for (piece, (start, limit)) in pieces {
            let body = Body::Scan {
                start: &start,
                limit: &limit,
                count: range.count - found.pairs.len(),
                reverse: range.reverse,
                freshness: range.freshness,
            };
            let reply = Rc::new(Reply::default());
            ask(driver, &piece, &reply, body);
            asked.push((piece, (start, limit), reply));
        }
        width = (width * 2).min(SCANNED_AT_ONCE);
        // What comes behind one that failed is asked for again: it would not be in order.
        let mut failed = None;
        for (piece, (start, limit), reply) in asked {
            let response = reply.wait().await;
            if failed.is_some() {
                continue;
            }
            match response {
                Ok(Answer::Pairs { pairs, more }) => {
                    if !found.take(pairs, range.count, budget) || more {
                        return Ok(found.answer(true));
                    }
                    range.pass(start, limit);
                    range.to = None;
                    if found.pairs.len() >= range.count {
                        return Ok(found.answer(!range.is_over()));
                    }
                }
                Ok(_) => return Err(UNFIT),
                Err(error) => failed = Some((piece, error)),
            }
        }
        let Some((piece, error)) = failed else {
            continue;
        };
        if !is_elsewhere(&error) || driver.clock.mono() >= until {
            return Err(error);
        }
        width = 1;
        let next = piece.next(driver, &error);
        range.to = next.store();
        if next == Next::Later {
            Timer::new(RETRY_AFTER).await;
        }
    }
}

impl Range {
    fn is_over(&self) -> bool {
        self.over || (!self.limit.is_empty() && self.start >= self.limit)
    }

    /// The next pieces in the order of the scan, each with its range, as far as regions are known.
    fn cut(&self, driver: &Rc<Driver>, most: usize) -> Vec<(Piece, Span)> {
        let mut pieces = Vec::new();
        let mut rest = Range {
            start: self.start.clone(),
            limit: self.limit.clone(),
            ..*self
        };
        while pieces.len() < most && !rest.is_over() {
            let key = match rest.reverse {
                false => rest.start.clone(),
                true => predecessor(&rest.limit),
            };
            let Some(way) = driver.way(&key) else {
                break;
            };
            let range = &way.region.range;
            let (limit, _) = split(&rest.limit, &range.limit);
            let own = match rest.reverse {
                false => (rest.start.clone(), limit.to_vec()),
                true => (
                    rest.start.clone().max(range.start.clone()),
                    rest.limit.clone(),
                ),
            };
            rest.pass(own.0.clone(), own.1.clone());
            let to = self.to.filter(|_| pieces.is_empty()).or(way.to);
            let parts = Vec::new();
            pieces.push((
                Piece {
                    way,
                    to,
                    key,
                    parts,
                },
                own,
            ));
        }
        pieces
    }

    /// This much is done.
    fn pass(&mut self, start: Vec<u8>, limit: Vec<u8>) {
        match self.reverse {
            false => {
                self.over = limit.is_empty();
                self.start = limit;
            }
            true => {
                self.over = start <= self.start;
                self.limit = start;
            }
        }
    }
}

/// The last key before one, of all that are no longer than keys may be; before none: the last of all.
fn predecessor(key: &[u8]) -> Vec<u8> {
    let mut before = key.to_vec();
    match before.last_mut() {
        Some(0) => {
            before.pop();
            return before;
        }
        Some(last) => *last -= 1,
        None => {}
    }
    before.resize(KEY_BYTES_MAX.max(key.len()), 0xFF);
    before
}

/// What a scan has found.
#[derive(Default)]
struct Found {
    pairs: Vec<(Bytes, Bytes)>,
    bytes: usize,
}

impl Found {
    /// Takes pairs in, as many as are wanted and one answer holds. Whether that was all of them.
    fn take(&mut self, pairs: Vec<(Bytes, Bytes)>, count: usize, budget: usize) -> bool {
        for (key, value) in pairs {
            let bytes = key.len() + value.len();
            let is_full = self.bytes + bytes > budget && !self.pairs.is_empty();
            if is_full || self.pairs.len() >= count {
                return false;
            }
            self.bytes += bytes;
            self.pairs.push((key, value));
        }
        true
    }

    fn answer(self, more: bool) -> Answer {
        Answer::Pairs {
            pairs: self.pairs,
            more,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_lies_between_a_key_and_its_predecessor() {
        assert_eq!(predecessor(b"a\0"), b"a");
        assert_eq!(predecessor(b"\0"), b"");
        for (key, begins) in [
            (&b"b"[..], &b"a\xFF"[..]),
            (b"b\x01", b"b\0\xFF"),
            (b"", b"\xFF\xFF"),
        ] {
            let before = predecessor(key);
            assert!(before.starts_with(begins) && before.len() == KEY_BYTES_MAX);
            assert!(key.is_empty() || &before[..] < key);
        }
    }

    #[test]
    fn an_answer_to_a_scan_ends_where_no_more_fits() {
        let pair = |length: usize| (Bytes::from_static(b"k"), Bytes::from(vec![0; length]));
        let mut found = Found::default();
        assert!(found.take(vec![pair(99), pair(9)], 10, 200));
        // What fits is taken, and what comes behind it is not.
        assert!(!found.take(vec![pair(9), pair(99), pair(1)], 10, 200));
        assert_eq!((found.pairs.len(), found.bytes), (3, 120));
        assert!(!found.take(vec![pair(1), pair(1)], 4, 200));
        assert_eq!(found.pairs.len(), 4);
        assert!(
            Found::default().take(vec![pair(1000)], 1, 200),
            "one always fits"
        );
    }

    #[test]
    fn a_range_ends_at_both_ends_of_all_keys() {
        let range = |start: &[u8], limit: &[u8], reverse| Range {
            start: start.to_vec(),
            limit: limit.to_vec(),
            count: 1,
            reverse,
            freshness: Freshness::default(),
            to: None,
            over: false,
        };
        let mut all = range(b"", b"", false);
        all.pass(b"".to_vec(), b"m".to_vec());
        assert!(!all.is_over());
        all.pass(b"m".to_vec(), b"".to_vec());
        assert!(all.is_over());
        let mut back = range(b"", b"", true);
        back.pass(b"m".to_vec(), b"".to_vec());
        assert!(!back.is_over());
        back.pass(b"".to_vec(), b"m".to_vec());
        assert!(back.is_over());
        assert!(range(b"b", b"b", false).is_over());
        assert!(!range(b"b", b"", true).is_over());
    }

    #[test]
    fn what_was_done_is_said_with_what_went_wrong() {
        let part = |place| Part {
            place,
            range: None,
            to: None,
        };
        let mut gathered = Gathered::new(3);
        let parts = [part(2), part(0)];
        let written = vec![Written::Counter(2), Written::Counter(0)];
        gathered
            .take(&parts, Answer::AllWritten(written))
            .expect("two of three");
        let error = gathered.with_what_is_done(Error::DiskFull);
        assert_eq!(error.number(), Error::DiskFull.number());
        assert!(error.to_string().contains("some of it is done"), "{error}");
        let last = Answer::Written(Written::Counter(1));
        gathered.take(&[part(1)], last).expect("the last");
        let all = (0..3).map(Written::Counter).collect();
        assert_eq!(gathered.answer(), Ok(Answer::AllWritten(all)));
    }
}
