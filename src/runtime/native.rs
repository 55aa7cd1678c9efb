//! A connection that speaks our own protocol: any number of requests on their way, answered in any order.

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

/// A connection that speaks our own protocol.
#[derive(Default)]
pub struct NativeTalk {
    is_greeted: bool,
    under_way: usize,
    arena: Arena,
}

impl NativeTalk {
    /// Whether no more requests are taken for now.
    pub fn is_full(&self) -> bool {
        self.under_way >= UNDER_WAY_MAX
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

    /// A request was answered.
    pub fn answered(&mut self, id: u64, response: &Response, out: &mut Vec<u8>) {
        self.under_way = self.under_way.saturating_sub(1);
        answer::encode(id, response, &mut self.arena, out);
    }
}

fn cut_off(driver: &Driver) -> bool {
    count(&driver.figures.cut_off, 1);
    false
}
