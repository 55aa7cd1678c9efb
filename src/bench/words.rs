//! Requests to bytes, and bytes to outcomes, with nothing allocated for either.
//!
//! All requests of a kind have the same length, so each is a copy of a template in which the key, the value
//! and the number are written over.

use bytes::Bytes;
use rkyv::ser::allocator::Arena;

use super::plan::Protocol;
use crate::runtime::serve::is_elsewhere;
use crate::shard::error::Error;
use crate::shard::request::{Answer, Body, Freshness, Write};
use crate::wire::native::answer::{self, Answered};
use crate::wire::native::ask::{self, Ask};
use crate::wire::native::frame;

/// The first byte of every stored key of a user.
pub const USER: u8 = 1;

/// Where a native frame says its flags, and its number.
const FLAGS_AT: usize = 5;
const ID_AT: usize = 8;

/// The flag of a request that is to be passed on, and of an answer that is a failure.
const FORWARD: u8 = 1;
const FAILED: u8 = 1;

/// Bytes that stand for a key and a value in a template.
const KEY_MARK: u8 = 0xA7;
const VALUE_MARK: u8 = 0xD5;

/// No reply of one line is longer.
const LINE_BYTES_MAX: usize = 64 << 10;

/// A request of one kind.
#[derive(Debug)]
struct Template {
    bytes: Vec<u8>,
    key_at: usize,
    /// The end, if there is no value.
    value_at: usize,
    value_size: usize,
}

impl Template {
    /// From bytes in which the key and the value are marked.
    fn new(bytes: Vec<u8>, key_size: usize, value_size: usize) -> Template {
        let find = |mark: u8, from: usize| bytes[from..].iter().position(|byte| *byte == mark);
        // The head of a native request has a length, which may look like a mark; RESP has digits only.
        let from = match bytes.first() {
            Some(b'*') => 0,
            _ => ASK_BYTES,
        };
        let key_at = from + find(KEY_MARK, from).expect("the key is in it");
        let behind = key_at + key_size;
        let value_at = match value_size {
            0 => bytes.len(),
            _ => behind + find(VALUE_MARK, behind).expect("the value is in it"),
        };
        Template {
            bytes,
            key_at,
            value_at,
            value_size,
        }
    }

    fn write(&self, out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
        out.extend_from_slice(&self.bytes[..self.key_at]);
        out.extend_from_slice(key);
        out.extend_from_slice(&self.bytes[self.key_at + key.len()..self.value_at]);
        if self.value_size > 0 {
            out.extend_from_slice(value);
            out.extend_from_slice(&self.bytes[self.value_at + self.value_size..]);
        }
    }
}

/// The bytes of a native request before its body.
const ASK_BYTES: usize = 56;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// There is no such key.
    Absent,
    /// It was not done, and may be elsewhere.
    Elsewhere(String),
    /// It was not done, or nobody knows; the name of the error.
    Failed(String),
}

/// An answer at the front of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// How many bytes it takes up.
    pub length: usize,
    /// The number of its request; none: it answers the first one.
    pub id: Option<u64>,
    /// What it says.
    pub outcome: Outcome,
}

/// How requests are worded.
#[derive(Debug)]
pub struct Words {
    protocol: Protocol,
    put: Template,
    get: Template,
    /// The length of an answer that says that there is no such key.
    absent_length: usize,
}

impl Words {
    /// For keys and values of one size each.
    pub fn new(protocol: Protocol, key_size: usize, value_size: usize) -> Words {
        let (key, value) = (vec![KEY_MARK; key_size], vec![VALUE_MARK; value_size]);
        let (put, get) = match protocol {
            Protocol::Native => (native_put(&key, &value), native_get(&key)),
            Protocol::Resp => (
                resp(&[b"SET", key.as_slice(), value.as_slice()]),
                resp(&[b"GET", key.as_slice()]),
            ),
        };
        let mut absent = Vec::new();
        answer::encode(0, &Ok(Answer::Value(None)), &mut Arena::new(), &mut absent);
        Words {
            protocol,
            put: Template::new(put, key_size, value_size),
            get: Template::new(get, key_size, 0),
            absent_length: absent.len(),
        }
    }

    /// Appends a write.
    pub fn put(&self, out: &mut Vec<u8>, id: u64, passed_on: bool, key: &[u8], value: &[u8]) {
        let start = out.len();
        self.put.write(out, key, value);
        self.number(&mut out[start..], id, passed_on);
    }

    /// Appends a read.
    pub fn get(&self, out: &mut Vec<u8>, id: u64, passed_on: bool, key: &[u8]) {
        let start = out.len();
        self.get.write(out, key, &[]);
        self.number(&mut out[start..], id, passed_on);
    }

    fn number(&self, request: &mut [u8], id: u64, passed_on: bool) {
        if self.protocol == Protocol::Native {
            request[ID_AT..ID_AT + 8].copy_from_slice(&id.to_le_bytes());
            request[FLAGS_AT] = if passed_on { FORWARD } else { 0 };
        }
    }

    /// The answer at the front; none if it is not complete. What makes no sense is told in words.
    pub fn answer(
        &self,
        bytes: &[u8],
        writes: impl Fn(u64) -> bool,
    ) -> Result<Option<Found>, String> {
        match self.protocol {
            Protocol::Native => self.native_answer(bytes, writes),
            Protocol::Resp => resp_answer(bytes),
        }
    }

    fn native_answer(
        &self,
        bytes: &[u8],
        writes: impl Fn(u64) -> bool,
    ) -> Result<Option<Found>, String> {
        let length = match frame::length(bytes).map_err(|error| error.0)? {
            Some(length) if bytes.len() >= length => length,
            _ => return Ok(None),
        };
        let id = bytes[ID_AT..].first_chunk::<8>();
        let id = u64::from_le_bytes(*id.ok_or("an answer without a number")?);
        let outcome = match bytes[FLAGS_AT] & FAILED {
            0 if length == self.absent_length && !writes(id) => Outcome::Absent,
            0 => Outcome::Done,
            _ => failed(&bytes[..length])?,
        };
        Ok(Some(Found {
            length,
            id: Some(id),
            outcome,
        }))
    }
}

fn native_put(key: &[u8], value: &[u8]) -> Vec<u8> {
    let key = [&[USER], key].concat();
    let write = Write::Put {
        key: &key,
        value,
        expiry_ms: None,
    };
    native(&Body::Write(&[write]))
}

fn native_get(key: &[u8]) -> Vec<u8> {
    native(&Body::Get {
        key: &[&[USER], key].concat(),
        freshness: Freshness::Linearizable,
    })
}

fn native(body: &Body<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    ask::encode(&Ask::default(), body, &mut Arena::new(), &mut out)
        .expect("keys and values are within the limits");
    out
}

fn resp(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// A failure is rare, and is taken apart as any client would.
fn failed(frame: &[u8]) -> Result<Outcome, String> {
    let answered = Answered::decode(&Bytes::copy_from_slice(frame)).map_err(|error| error.0)?;
    let Err(failure) = answered.result else {
        return Ok(Outcome::Done);
    };
    let text = failure.text.clone();
    let error = Error::from(failure);
    let name = match error.kind() {
        // Its words say what is busy.
        Error::ServerIsBusy(_) => text,
        kind => {
            let name = format!("{kind:?}");
            let end = name.find(|letter: char| !letter.is_alphanumeric());
            name[..end.unwrap_or(name.len())].to_string()
        }
    };
    Ok(match is_elsewhere(&error) {
        true => Outcome::Elsewhere(name),
        false => Outcome::Failed(name),
    })
}

fn resp_answer(bytes: &[u8]) -> Result<Option<Found>, String> {
    let Some(end) = bytes
        .iter()
        .take(LINE_BYTES_MAX)
        .position(|byte| *byte == b'\n')
    else {
        return match bytes.len() < LINE_BYTES_MAX {
            true => Ok(None),
            false => Err("a reply without an end".into()),
        };
    };
    let line = bytes[1..end].strip_suffix(b"\r").unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let (length, outcome) = match bytes[0] {
        b'+' | b':' => (end + 1, Outcome::Done),
        b'-' => {
            let name = line.split_whitespace().next().unwrap_or("ERR");
            (end + 1, Outcome::Failed(name.into()))
        }
        b'$' if line == "-1" => (end + 1, Outcome::Absent),
        b'$' => {
            let size: usize = line
                .parse()
                .map_err(|_| format!("a reply of length {line}"))?;
            (end + 1 + size.saturating_add(2), Outcome::Done)
        }
        other => return Err(format!("a reply that begins with byte {other}")),
    };
    Ok((bytes.len() >= length).then_some(Found {
        length,
        id: None,
        outcome,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::request::Written;
    use crate::wire::native::ask::Asked;

    #[test]
    fn native_requests_are_those_that_a_node_understands() {
        for value_size in [1, 7, 213, 256, 70_000] {
            for key_size in [4, 16, 213] {
                let words = Words::new(Protocol::Native, key_size, value_size);
                let (key, value) = (vec![b'k'; key_size], vec![b'v'; value_size]);
                let stored = [&[USER], key.as_slice()].concat();
                let mut out = Vec::new();
                words.put(&mut out, 77, false, &key, &value);
                let asked = Asked::decode(&out).expect("a frame");
                assert_eq!((asked.ask.id, asked.ask.forward), (77, false));
                asked
                    .request(|request| match request.body {
                        Body::Write(
                            &[
                                Write::Put {
                                    key: written,
                                    value: with,
                                    expiry_ms: None,
                                },
                            ],
                        ) => assert!(written == stored && with == value),
                        other => panic!("{other:?}"),
                    })
                    .expect("a body");
                out.clear();
                words.get(&mut out, 78, true, &key);
                let asked = Asked::decode(&out).expect("a frame");
                assert_eq!((asked.ask.id, asked.ask.forward), (78, true));
                asked
                    .request(|request| assert_eq!(request.body.key(), stored))
                    .expect("a body");
            }
        }
    }

    #[test]
    fn native_answers_are_told_apart() {
        let words = Words::new(Protocol::Native, 16, 1);
        let mut bytes = Vec::new();
        let arena = &mut Arena::new();
        let value = Bytes::from_static(b"v");
        answer::encode(1, &Ok(Answer::Value(Some(value))), arena, &mut bytes);
        answer::encode(2, &Ok(Answer::Value(None)), arena, &mut bytes);
        answer::encode(3, &Ok(Answer::Written(Written::Done)), arena, &mut bytes);
        answer::encode(4, &Err(Error::StaleCommand), arena, &mut bytes);
        answer::encode(5, &Err(Error::Undetermined), arena, &mut bytes);
        let mut found = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some(next) = words.answer(rest, |id| id == 3).expect("frames") {
            assert_eq!(words.answer(&rest[..next.length - 1], |_| false), Ok(None));
            rest = &rest[next.length..];
            found.push((next.id.expect("a number"), next.outcome));
        }
        let expected = [
            (1, Outcome::Done),
            (2, Outcome::Absent),
            (3, Outcome::Done),
            (4, Outcome::Elsewhere("StaleCommand".into())),
            (5, Outcome::Failed("Undetermined".into())),
        ];
        assert_eq!(found, expected);
        assert!(words.answer(&[0xFF; 16], |_| false).is_err());
    }

    #[test]
    fn replies_of_redis_are_told_apart() {
        let words = Words::new(Protocol::Resp, 4, 3);
        let mut out = Vec::new();
        words.put(&mut out, 0, false, b"k001", b"abc");
        words.get(&mut out, 0, false, b"k001");
        let expected =
            "*3\r\n$3\r\nSET\r\n$4\r\nk001\r\n$3\r\nabc\r\n*2\r\n$3\r\nGET\r\n$4\r\nk001\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
        for (bytes, outcome) in [
            ("+OK\r\n", Outcome::Done),
            ("$3\r\nabc\r\n", Outcome::Done),
            ("$-1\r\n", Outcome::Absent),
            ("-UNKNOWN who knows\r\n", Outcome::Failed("UNKNOWN".into())),
        ] {
            let found = words.answer(bytes.as_bytes(), |_| false).expect(bytes);
            let found = found.expect("it is complete");
            assert_eq!((found.length, found.outcome), (bytes.len(), outcome));
            for cut in 0..bytes.len() {
                let cut = &bytes.as_bytes()[..cut];
                assert_eq!(words.answer(cut, |_| false), Ok(None));
            }
        }
        assert!(words.answer(b"?\r\n", |_| false).is_err());
    }
}
