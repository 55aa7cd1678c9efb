//! A connection that speaks our own protocol: many requests on their way, answered in any order.
//!
//! How many follows from how long answers are. It begins with few, each short answer makes it one more, and a long one
//! makes it so many as are together no longer than [`WINDOW_BYTES`]. Requests that were taken in before that was known
//! are answered all the same; but where more would wait for the client than it may leave unread and a window beside
//! that, what was read is not kept for it: it is told that it may ask again.

use std::rc::Rc;

use bytes::Bytes;
use futures_lite::future::yield_now;
use rkyv::ser::allocator::Arena;

use super::connection::{Connection, Input};
use super::driver::{Driver, Owner};
use super::figures::count;
use super::serve;
use crate::placement::Message;
use crate::shard::error::Error;
use crate::shard::request::{Answer, Body, Request, Response};
use crate::shard::time::Time;
use crate::wire::native::ask::Asked;
use crate::wire::native::greet::{HELLO_BYTES, Welcome};
use crate::wire::native::{answer, frame};

/// Requests of one connection that may be under way at once.
const UNDER_WAY_MAX: usize = 4096;

/// Those of a connection that has not been answered yet.
const UNDER_WAY_FIRST: usize = 64;

/// Answers to all requests that are under way are about so long at the most.
pub const WINDOW_BYTES: usize = 16 << 20;

/// A longer answer makes fewer requests be under way.
const SHORT_BYTES: usize = WINDOW_BYTES / UNDER_WAY_MAX;

/// A connection that speaks our own protocol.
pub struct NativeTalk {
    is_greeted: bool,
    under_way: usize,
    /// How many may be.
    window: usize,
    arena: Arena,
}

impl Default for NativeTalk {
    fn default() -> NativeTalk {
        NativeTalk {
            is_greeted: false,
            under_way: 0,
            window: UNDER_WAY_FIRST,
            arena: Arena::default(),
        }
    }
}

impl NativeTalk {
    /// Whether no more requests are taken for now.
    pub fn is_full(&self) -> bool {
        self.under_way >= self.window
    }

    /// Whether requests are under way.
    pub fn is_busy(&self) -> bool {
        self.under_way > 0
    }

    /// Takes in what has come. Whether the connection goes on.
    pub fn advance(
        &mut self,
        driver: &Rc<Driver>,
        connection: &Rc<Connection>,
        input: &mut Input,
        out: &mut Vec<u8>,
        now: Time,
    ) -> bool {
        if !self.is_greeted {
            let Some(hello) = input.rest().first_chunk::<HELLO_BYTES>() else {
                return true;
            };
            let station = driver.station;
            let Ok(welcome) = Welcome::new(hello, station.cluster, station.store) else {
                return cut_off(driver);
            };
            input.done += HELLO_BYTES;
            out.extend_from_slice(&welcome.encode());
            if !welcome.accepted {
                return cut_off(driver);
            }
            self.is_greeted = true;
        }
        while !self.is_full() {
            let length = match frame::length(input.rest()) {
                Ok(Some(length)) if input.rest().len() >= length => length,
                Ok(_) => return true,
                Err(error) => {
                    tracing::debug!(%error, "a client's frame");
                    return cut_off(driver);
                }
            };
            let frame = &input.rest()[..length];
            match Asked::decode(frame) {
                Ok(asked) if asked.ask.forward => {
                    self.under_way += 1;
                    let frame = Bytes::copy_from_slice(frame);
                    let (driver, connection) = (driver.clone(), connection.clone());
                    glommio::spawn_local(async move {
                        // It runs at once, and what makes no sense is answered at once: not before this
                        // connection is done with what came in.
                        yield_now().await;
                        let response = serve::anywhere(&driver, &frame).await;
                        if let Ok(asked) = Asked::decode(&frame) {
                            connection.answered(&driver, asked.ask.id, response);
                        }
                    })
                    .detach();
                }
                Ok(asked) => {
                    self.under_way += 1;
                    let owner = Owner::Connection {
                        connection: connection.clone(),
                        tag: asked.ask.id,
                    };
                    let mut owner = Some(owner);
                    let taken = asked.request(|request| match (request.body, owner.take()) {
                        (_, None) => {}
                        (Body::Placement(Message::ListKnown { start, count }), Some(owner)) => {
                            let known = Message::Regions(driver.table(start, *count));
                            owner.answer_later(driver, Ok(Answer::Placement(known)));
                        }
                        (body, Some(owner)) => {
                            driver.request_at(now, owner, Request { body, ..request });
                        }
                    });
                    if let Err(error) = taken {
                        self.under_way -= 1;
                        let refused = Err(Error::BadRequest(error.0));
                        answer::encode(asked.ask.id, &refused, &mut self.arena, out);
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "a client's frame");
                    return cut_off(driver);
                }
            }
            input.done += length;
        }
        true
    }

    /// A request was answered; `is_full`: so much waits for the client already that no more is kept for it.
    pub fn answered(&mut self, id: u64, response: Response, is_full: bool, out: &mut Vec<u8>) {
        self.under_way = self.under_way.saturating_sub(1);
        let length = response.as_ref().map_or(0, Answer::bytes);
        self.window = match length > SHORT_BYTES {
            true => self.window.min(WINDOW_BYTES / length).max(1),
            false => (self.window + 1).min(UNDER_WAY_MAX),
        };
        let response = match response {
            Ok(answer) if is_full && length > SHORT_BYTES => match answer.without_previous() {
                Some(brief) => Ok(brief),
                None => Err(Error::ServerIsBusy("answers wait to be read")),
            },
            response => response,
        };
        answer::encode(id, &response, &mut self.arena, out);
    }
}

fn cut_off(driver: &Driver) -> bool {
    count(&driver.figures.cut_off, 1);
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::request::Written;
    use crate::wire::native::answer::Answered;

    fn told(talk: &mut NativeTalk, answer: Answer, is_full: bool) -> Result<Answer, Error> {
        let mut out = Vec::new();
        talk.answered(7, Ok(answer), is_full, &mut out);
        let answered = Answered::decode(&Bytes::from(out)).expect("a frame");
        answered.result.map_err(Error::from)
    }

    #[test]
    fn a_window_grows_by_short_answers_and_falls_at_a_long_one() {
        let mut talk = NativeTalk::default();
        let short = || Answer::Value(None);
        let long = || Answer::Value(Some(Bytes::from(vec![1; 1 << 20])));
        for _ in 0..10_000 {
            told(&mut talk, short(), true).expect("short ones are always told");
        }
        assert_eq!(talk.window, UNDER_WAY_MAX);
        assert_eq!(told(&mut talk, long(), false), Ok(long()));
        assert_eq!(talk.window, 16);
        told(&mut talk, short(), false).expect("an answer");
        assert_eq!(talk.window, 17);
        // What is not kept is told; what was written is told all the same.
        let busy = told(&mut talk, long(), true).expect_err("it is not kept");
        assert_eq!(busy.number(), Error::ServerIsBusy("").number());
        let previous = Some(Bytes::from(vec![1; 1 << 20]));
        let swapped = Answer::Written(Written::Compared {
            held: true,
            previous,
        });
        assert_eq!(
            told(&mut talk, swapped, true),
            Ok(Answer::Written(Written::Held(true)))
        );
    }

    #[test]
    fn what_was_written_is_told_also_where_no_frame_holds_what_was_there() {
        let previous = Some(Bytes::from(vec![1; 1 << 20]));
        let swapped = Written::Compared {
            held: true,
            previous,
        };
        let all = Answer::AllWritten(vec![swapped.clone(), Written::Done, swapped]);
        let brief = vec![Written::Held(true), Written::Done, Written::Held(true)];
        let mut talk = NativeTalk::default();
        assert_eq!(told(&mut talk, all, false), Ok(Answer::AllWritten(brief)));
    }
}
