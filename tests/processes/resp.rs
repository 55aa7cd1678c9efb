//! A client of Redis that knows what a deed needs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use coracle::sim::history::{Kind, Seen};

use crate::client::{Heard, gone};
use crate::deed::Deed;
use crate::value;

/// A reply.
pub enum Reply {
    /// A short text.
    Simple(String),
    /// An error.
    Error(String),
    /// A number.
    Integer(i64),
    /// A text, or none.
    Bulk(Option<Vec<u8>>),
    /// Several.
    Array(Vec<Reply>),
}

/// A connection.
pub struct Resp {
    stream: BufReader<TcpStream>,
}

impl Resp {
    /// Connects.
    pub fn connect(port: u16) -> Option<Resp> {
        let patience = Duration::from_millis(500);
        let stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), patience).ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Resp {
            stream: BufReader::new(stream),
        })
    }

    /// Does a deed.
    pub fn act(&mut self, deed: &Deed, patience: Duration) -> Heard {
        let stream = self.stream.get_mut();
        if stream.set_read_timeout(Some(patience)).is_err() {
            return Heard::Refused;
        }
        if stream.write_all(&encode(&words(deed))).is_err() {
            return Heard::Open;
        }
        let Ok(reply) = self.reply() else {
            return Heard::Open;
        };
        match reply {
            Reply::Error(text) if text.starts_with("UNKNOWN") => Heard::Unsure,
            Reply::Error(text) if text.starts_with("TRYAGAIN") => Heard::Refused,
            Reply::Error(text) => Heard::Wrong(format!("an error: {text}")),
            reply => seen(deed, reply),
        }
    }

    /// Asks, and waits for the reply.
    pub fn ask(&mut self, words: &[Vec<u8>]) -> std::io::Result<Reply> {
        let stream = self.stream.get_mut();
        stream.set_read_timeout(Some(Duration::from_secs(12)))?;
        stream.write_all(&encode(words))?;
        self.reply()
    }

    fn reply(&mut self) -> std::io::Result<Reply> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 || !line.ends_with("\r\n") {
            return Err(gone());
        }
        let (kind, rest) = line.trim_end().split_at(1);
        let number = || rest.parse::<i64>().map_err(std::io::Error::other);
        Ok(match kind {
            "+" => Reply::Simple(rest.into()),
            "-" => Reply::Error(rest.into()),
            ":" => Reply::Integer(number()?),
            "$" => match usize::try_from(number()?) {
                Err(_) => Reply::Bulk(None),
                Ok(length) => {
                    let mut bytes = vec![0; length + 2];
                    self.stream.read_exact(&mut bytes)?;
                    bytes.truncate(length);
                    Reply::Bulk(Some(bytes))
                }
            },
            "*" => {
                let replies = (0..number()?).map(|_| self.reply());
                Reply::Array(replies.collect::<Result<_, _>>()?)
            }
            other => return Err(std::io::Error::other(format!("a reply of kind {other}"))),
        })
    }
}

fn words(deed: &Deed) -> Vec<Vec<u8>> {
    let word = |text: &str| text.as_bytes().to_vec();
    let keys = || {
        deed.operations
            .iter()
            .map(|operation| operation.key[1..].to_vec())
    };
    let first = &deed.operations[0];
    let key = first.key[1..].to_vec();
    match (&first.kind, deed.operations.len()) {
        (Kind::Get, 1) => vec![word("GET"), key],
        (Kind::Get, _) => [word("MGET")].into_iter().chain(keys()).collect(),
        (Kind::Put(text), 1) => vec![word("SET"), key, value::expand(text)],
        (Kind::Put(text), _) => {
            let pairs = keys().flat_map(|key| [key, value::expand(text)]);
            [word("MSET")].into_iter().chain(pairs).collect()
        }
        (Kind::Delete, _) => vec![word("DEL"), key],
        (Kind::CompareAndPut { new, .. }, _) => {
            let new = value::expand(new.as_deref().unwrap_or_default());
            vec![word("SET"), key, new, word("NX"), word("GET")]
        }
        (Kind::Add(delta), _) => vec![word("INCRBY"), key, word(&delta.to_string())],
    }
}

fn encode(words: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn seen(deed: &Deed, reply: Reply) -> Heard {
    let count = deed.operations.len();
    let found = |bulk: Option<Vec<u8>>| bulk.map(|bytes| value::shrink(&bytes)).transpose();
    let seen = match (&deed.operations[0].kind, reply) {
        (Kind::Get, Reply::Bulk(bulk)) => found(bulk).map(|value| vec![Seen::Value(value)]),
        (Kind::Get, Reply::Array(replies)) if replies.len() == count => replies
            .into_iter()
            .map(|reply| match reply {
                Reply::Bulk(bulk) => found(bulk).map(Seen::Value),
                _ => Err("a value that is none".into()),
            })
            .collect(),
        (Kind::Put(_), Reply::Simple(text)) if text == "OK" => Ok(vec![Seen::Done; count]),
        (Kind::Delete, Reply::Integer(_)) => Ok(vec![Seen::Done]),
        (Kind::CompareAndPut { .. }, Reply::Bulk(bulk)) => found(bulk).map(|previous| {
            let held = previous.is_none();
            vec![Seen::Compared { held, previous }]
        }),
        (Kind::Add(_), Reply::Integer(sum)) => Ok(vec![Seen::Counter(sum)]),
        _ => Err("an answer to something else".into()),
    };
    seen.map_or_else(Heard::Wrong, Heard::Seen)
}
