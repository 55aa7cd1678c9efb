//! A blocking caller of our own protocol: for commands, and for a node before it has a shard.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use rkyv::ser::allocator::Arena;

use super::address::Address;
use crate::placement::Message;
use crate::shard::error::Error;
use crate::shard::ids::{ClusterId, RegionId, StoreId};
use crate::shard::region::Epoch;
use crate::shard::request::{Answer, Body};
use crate::wire::native::answer::Answered;
use crate::wire::native::ask::{self, Ask};
use crate::wire::native::frame;
use crate::wire::native::greet::{WELCOME_BYTES, Welcome, hello};

/// Why a call came to nothing.
#[derive(Clone, Debug)]
pub enum CallError {
    /// Nobody could be reached, or the connection broke; in words.
    Link(String),
    /// The node has refused, and says why.
    Refused {
        /// The error, as far as it is known here.
        error: Error,
        /// The node's own words.
        text: String,
    },
}

impl std::fmt::Display for CallError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CallError::Link(why) => out.write_str(why),
            CallError::Refused { text, .. } => out.write_str(text),
        }
    }
}

/// Why a connection is of no use any more. A socket that has waited as long as it may says that it would block.
fn broken(at: SocketAddr, patience: Duration, error: &std::io::Error) -> CallError {
    CallError::Link(match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("{at}: no answer within {} s", patience.as_secs_f64())
        }
        ErrorKind::UnexpectedEof => format!("{at}: it has closed the connection"),
        _ => format!("{at}: {error}"),
    })
}

/// A connection to a node.
pub struct Caller {
    stream: TcpStream,
    at: SocketAddr,
    patience: Duration,
    arena: Arena,
    next: u64,
    /// The cluster that answers there.
    pub cluster: ClusterId,
    /// The store that answers there.
    pub store: StoreId,
}

impl Caller {
    /// Connects and greets.
    pub fn connect(address: &Address, patience: Duration) -> Result<Caller, CallError> {
        let at = address.resolve(address.port).map_err(CallError::Link)?;
        let broken = |error| broken(at, patience, &error);
        let mut stream = TcpStream::connect_timeout(&at, patience).map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        stream.set_read_timeout(Some(patience)).map_err(broken)?;
        stream.set_write_timeout(Some(patience)).map_err(broken)?;
        stream.write_all(&hello()).map_err(broken)?;
        let mut welcome = [0; WELCOME_BYTES];
        stream.read_exact(&mut welcome).map_err(broken)?;
        let welcome = Welcome::decode(&welcome)
            .map_err(|error| CallError::Link(format!("{at}: {}", error.0)))?;
        if !welcome.accepted {
            let why = format!("{at} speaks version {} of the protocol", welcome.version);
            return Err(CallError::Link(why));
        }
        Ok(Caller {
            stream,
            at,
            patience,
            arena: Arena::default(),
            next: 1,
            cluster: welcome.cluster,
            store: welcome.store,
        })
    }

    /// Asks, and waits for the answer; the node passes the request on to where it belongs.
    pub fn ask(&mut self, body: &Body<'_>) -> Result<Answer, CallError> {
        self.ask_region(None, body)
    }

    /// The same, of a region as it is known here: if it has changed, the answer says so.
    pub fn ask_region(
        &mut self,
        region: Option<(RegionId, Epoch)>,
        body: &Body<'_>,
    ) -> Result<Answer, CallError> {
        let ask = Ask {
            id: self.next,
            forward: true,
            region,
            ..Ask::default()
        };
        self.next += 1;
        let mut out = Vec::new();
        ask::encode(&ask, body, &mut self.arena, &mut out)
            .map_err(|error| CallError::Link(error.0.into()))?;
        let answered = self.exchange(&out)?;
        answered.result.map_err(|failure| CallError::Refused {
            text: failure.text.clone(),
            error: failure.into(),
        })
    }

    fn exchange(&mut self, out: &[u8]) -> Result<Answered, CallError> {
        let at = self.at;
        let patience = self.patience;
        let broken = |error| broken(at, patience, &error);
        let strange = |why: &str| CallError::Link(format!("{at}: {why}"));
        self.stream.write_all(out).map_err(broken)?;
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).map_err(broken)?;
        let length = frame::length(&head).map_err(|error| strange(error.0))?;
        let length = length.ok_or_else(|| strange("half a length"))?;
        let mut answer = vec![0; length];
        answer[..4].copy_from_slice(&head);
        self.stream.read_exact(&mut answer[4..]).map_err(broken)?;
        Answered::decode(&Bytes::from(answer)).map_err(|error| strange(error.0))
    }

    /// Asks placement, wherever it is.
    pub fn ask_placement(&mut self, question: &Message) -> Result<Message, CallError> {
        match self.ask(&Body::Placement(question))? {
            Answer::Placement(message) => Ok(message),
            other => Err(CallError::Link(format!(
                "{}: an answer to something else: {other:?}",
                self.at
            ))),
        }
    }
}
