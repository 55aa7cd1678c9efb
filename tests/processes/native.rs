//! Our own client, as far as a deed needs it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use coracle::shard::error::Error;
use coracle::shard::request::{Answer, Body, Freshness, Response, Write as Change, Written};
use coracle::sim::history::{Kind, Seen};
use coracle::wire::native::answer::Answered;
use coracle::wire::native::ask::{self, Ask};
use coracle::wire::native::greet::{WELCOME_BYTES, hello};
use coracle::wire::native::{Arena, frame};

use crate::client::Heard;
use crate::deed::{Deed, How};
use crate::value;

/// A connection.
pub struct Native {
    stream: TcpStream,
    arena: Arena,
    next: u64,
}

impl Native {
    /// Connects and greets.
    pub fn connect(port: u16) -> Option<Native> {
        let patience = Duration::from_millis(500);
        let mut stream =
            TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), patience).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(patience)).ok()?;
        stream.write_all(&hello()).ok()?;
        stream.read_exact(&mut [0; WELCOME_BYTES]).ok()?;
        Some(Native {
            stream,
            arena: Arena::default(),
            next: 1,
        })
    }

    /// Asks, and waits for the answer; none if there is none.
    pub fn ask(&mut self, body: &Body<'_>, forward: bool, patience: Duration) -> Option<Response> {
        let ask = Ask {
            id: self.next,
            forward,
            ..Ask::default()
        };
        self.next += 1;
        self.stream.set_read_timeout(Some(patience)).ok()?;
        let mut out = Vec::new();
        ask::encode(&ask, body, &mut self.arena, &mut out).ok()?;
        self.stream.write_all(&out).ok()?;
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).ok()?;
        let mut answer = vec![0; frame::length(&head).ok()??];
        answer[..4].copy_from_slice(&head);
        self.stream.read_exact(&mut answer[4..]).ok()?;
        let answered = Answered::decode(&Bytes::from(answer)).ok()?;
        (answered.id == ask.id).then(|| answered.result.map_err(Error::from))
    }

    /// Sends a request that makes no sense; whether it was refused.
    pub fn ask_nonsense(&mut self) -> bool {
        let mut out = Vec::new();
        let ask = Ask {
            id: self.next,
            forward: true,
            ..Ask::default()
        };
        let body = Body::Write(&[]);
        let encoded = ask::encode(&ask, &body, &mut self.arena, &mut out);
        // The archive of the body is behind a head that stays as it is.
        out[56..].fill(0xff);
        let patience = Duration::from_secs(5);
        let sent = encoded.is_ok() && self.stream.write_all(&out).is_ok();
        sent && self.stream.set_read_timeout(Some(patience)).is_ok()
            && self.stream.read_exact(&mut [0; 16]).is_ok()
    }

    /// Does a deed.
    pub fn act(&mut self, deed: &Deed, patience: Duration) -> Heard {
        let operations = &deed.operations;
        let keys: Vec<&[u8]> = operations.iter().map(|one| &one.key[..]).collect();
        let mut ask = |body: Body<'_>| self.ask(&body, deed.how != How::Replica, patience);
        let freshness = match deed.how {
            How::Replica => Freshness::AnyReplica,
            _ => Freshness::Linearizable,
        };
        let response = match (deed.how, deed.reads()) {
            (How::One | How::Replica, true) => ask(Body::Get {
                key: keys[0],
                freshness,
            }),
            (How::Scan, _) => ask(Body::Scan {
                start: keys[0],
                limit: &[keys[keys.len() - 1], b"\0"].concat(),
                count: 100,
                reverse: false,
                freshness,
            }),
            (_, true) => ask(Body::MultiGet {
                keys: &keys,
                freshness,
            }),
            (_, false) => {
                let values: Vec<_> = operations.iter().map(|one| values(&one.kind)).collect();
                let changes: Vec<_> = operations
                    .iter()
                    .zip(&values)
                    .map(|(one, (expected, new))| match &one.kind {
                        Kind::Put(_) | Kind::Get => Change::Put {
                            key: &one.key,
                            value: new.as_deref().unwrap_or_default(),
                            expiry_ms: None,
                        },
                        Kind::Delete => Change::Delete { key: &one.key },
                        Kind::CompareAndPut { .. } => Change::CompareAndPut {
                            key: &one.key,
                            expected: expected.as_deref(),
                            value: new.as_deref(),
                        },
                        Kind::Add(delta) => Change::Add {
                            key: &one.key,
                            delta: *delta,
                        },
                    })
                    .collect();
                ask(Body::Write(&changes))
            }
        };
        match response {
            None => Heard::Open,
            Some(Ok(answer)) => seen(deed, answer).map_or_else(Heard::Wrong, Heard::Seen),
            Some(Err(error)) if error.leaves_open() => Heard::Unsure,
            Some(Err(error))
                if matches!(
                    error.kind(),
                    Error::Corrupt(_) | Error::BadRequest(_) | Error::TooLarge { .. }
                ) =>
            {
                Heard::Wrong(format!("an error: {error}"))
            }
            Some(Err(_)) => Heard::Refused,
        }
    }
}

/// The value that is expected, and the new one.
fn values(kind: &Kind) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    match kind {
        Kind::Put(text) => (None, Some(value::expand(text))),
        Kind::CompareAndPut { expected, new } => (
            expected.as_deref().map(value::expand),
            new.as_deref().map(value::expand),
        ),
        _ => (None, None),
    }
}

fn seen(deed: &Deed, answer: Answer) -> Result<Vec<Seen>, String> {
    let found = |value: Option<Bytes>| value.map(|value| value::shrink(&value)).transpose();
    let written = |written| {
        Ok(match written {
            Written::Done => Seen::Done,
            Written::Compared { held, previous } => Seen::Compared {
                held,
                previous: found(previous)?,
            },
            Written::Counter(sum) => Seen::Counter(sum),
            Written::NotANumber => return Err("a counter is no number".to_string()),
            Written::Held(_) => return Err("a short value was not told".to_string()),
        })
    };
    let count = deed.operations.len();
    match answer {
        Answer::Written(one) if count == 1 => Ok(vec![written(one)?]),
        Answer::AllWritten(all) if all.len() == count => all.into_iter().map(written).collect(),
        Answer::Value(value) if count == 1 => Ok(vec![Seen::Value(found(value)?)]),
        Answer::Values(values) if values.len() == count => values
            .into_iter()
            .map(|value| found(value).map(Seen::Value))
            .collect(),
        Answer::Pairs { pairs, more: false } => deed
            .operations
            .iter()
            .map(|operation| {
                let pair = pairs.iter().find(|(key, _)| key[..] == operation.key[..]);
                found(pair.map(|(_, value)| value.clone())).map(Seen::Value)
            })
            .collect(),
        other => Err(format!("an answer to something else: {other:?}")),
    }
}
