//! A connection that another shard has made: a greeting, then frames of messages.

use std::rc::Rc;

use bytes::Bytes;

use super::connection::Input;
use super::driver::Driver;
use super::figures::count;
use crate::shard::door;
use crate::shard::ids::StoreId;
use crate::wire::peer::frame::{HEAD_BYTES, Head};
use crate::wire::peer::greet::{Hello, Verdict};

/// A connection that another shard has made.
#[derive(Default)]
pub struct PeerTalk {
    /// Who it is, once it has said so.
    from: Option<StoreId>,
}

impl PeerTalk {
    /// Takes in what has come. Whether the connection goes on.
    pub fn advance(&mut self, driver: &Rc<Driver>, input: &mut Input, out: &mut Vec<u8>) -> bool {
        let from = match self.from {
            Some(from) => from,
            None => {
                let (hello, length) = match Hello::decode(input.rest()) {
                    Ok(Some(hello)) => hello,
                    Ok(None) => return true,
                    Err(error) => {
                        tracing::warn!(%error, "a peer's greeting");
                        return cut_off(driver);
                    }
                };
                input.done += length;
                let answer = hello.judge(driver.station.cluster, driver.station.store);
                out.extend_from_slice(&answer.encode());
                if answer.verdict != Verdict::Accepted {
                    tracing::warn!(
                        from = hello.from.0,
                        why = answer.reason,
                        "a peer is refused"
                    );
                    return false;
                }
                // It may have come back elsewhere: who answers it must know where.
                driver.links.met(&hello);
                *self.from.insert(hello.from)
            }
        };
        while let Some(head) = input.rest().first_chunk::<HEAD_BYTES>() {
            let head = match Head::decode(head) {
                Ok(head) => head,
                Err(error) => {
                    tracing::warn!(from = from.0, %error, "a peer's frame");
                    return cut_off(driver);
                }
            };
            let Some(body) = input.rest().get(HEAD_BYTES..HEAD_BYTES + head.length) else {
                break;
            };
            match head.messages(Bytes::copy_from_slice(body)) {
                Ok(messages) => {
                    for message in messages {
                        let message = Box::new(message);
                        driver.handle(door::Input::Peer { from, message });
                    }
                }
                Err(error) => {
                    tracing::warn!(from = from.0, %error, "a peer's frame");
                    return cut_off(driver);
                }
            }
            input.done += HEAD_BYTES + head.length;
        }
        true
    }
}

fn cut_off(driver: &Driver) -> bool {
    count(&driver.figures.cut_off, 1);
    false
}
