//! Bytes become words. Words stay where they are: what comes out is their places.
//!
//! The parser remembers how far it has come, so a command that arrives in many pieces is looked at once.

use std::fmt;
use std::ops::Range;

use super::{inline, number};

/// No command is longer, with everything around its words.
pub const COMMAND_BYTES_MAX: usize = 2 << 20;

/// No command has more words.
pub const WORDS_MAX: i64 = 1 << 20;

/// No line is longer: one typed by hand, or one that holds a length.
pub const LINE_BYTES_MAX: usize = 64 << 10;

/// More places than these are not kept for the next command.
const SPANS_KEPT: usize = 1024;

/// Where a word lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// From `start` up to `end`, both within a command.
    pub fn new(start: usize, end: usize) -> Span {
        Span {
            start: start as u32,
            end: end as u32,
        }
    }

    /// As an index.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// The words of one command.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// How many there are; an empty line has none.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// A word. The caller knows that it is there.
    pub fn at(&self, place: usize) -> &'a [u8] {
        &self.bytes[self.spans[place].range()]
    }

    /// A word, if it is there.
    pub fn get(&self, place: usize) -> Option<&'a [u8]> {
        self.spans.get(place).map(|span| &self.bytes[span.range()])
    }

    /// The words from a place on.
    pub fn from(&self, place: usize) -> Args<'a> {
        Args {
            bytes: self.bytes,
            spans: self.spans.get(place..).unwrap_or_default(),
        }
    }

    /// All words in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &'a [u8]> + ExactSizeIterator + use<'a> {
        let bytes = self.bytes;
        self.spans.iter().map(move |span| &bytes[span.range()])
    }
}

/// How far the parser came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A command is complete.
    Command {
        /// How many bytes it takes up.
        consumed: usize,
    },
    /// More bytes must come.
    Partial {
        /// With fewer bytes than these in all, the command is certainly not complete.
        wanted: usize,
    },
}

/// The bytes are no RESP; nothing behind them can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// A line with a count of words is too long.
    BigCount,
    /// The count of words is no number, or too great.
    Count,
    /// A line with a word's length is too long.
    BigLength,
    /// A word's length was to follow, and something else did.
    ExpectedDollar(u8),
    /// A word's length is no number, or too great.
    Length,
    /// The words together are too long.
    BigCommand,
    /// A line typed by hand is too long.
    BigInline,
    /// The quotes of such a line are not closed.
    Unbalanced,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Protocol error: ")?;
        match self {
            ProtocolError::BigCount => out.write_str("too big mbulk count string"),
            ProtocolError::Count => out.write_str("invalid multibulk length"),
            ProtocolError::BigLength => out.write_str("too big bulk count string"),
            ProtocolError::ExpectedDollar(byte) => {
                write!(out, "expected '$', got '{}'", char::from(*byte))
            }
            ProtocolError::Length => out.write_str("invalid bulk length"),
            ProtocolError::BigCommand => out.write_str("too big mbulk request"),
            ProtocolError::BigInline => out.write_str("too big inline request"),
            ProtocolError::Unbalanced => out.write_str("unbalanced quotes in request"),
        }
    }
}

impl std::error::Error for ProtocolError {}

/// Takes commands off the front of a connection's bytes.
#[derive(Debug, Default)]
pub struct Parser {
    /// What has been understood so far.
    at: usize,
    /// No line ends before here.
    searched: usize,
    /// Words that are still to come.
    left: u32,
    /// The length of the word that is coming.
    length: Option<usize>,
    /// Where the words lie.
    spans: Vec<Span>,
    /// The words of a line typed by hand, without their quotes.
    plain: Vec<u8>,
    is_inline: bool,
    is_complete: bool,
}

impl Parser {
    /// A parser at the beginning of a command.
    pub fn new() -> Parser {
        Parser::default()
    }

    /// Whether it stands between two commands.
    pub fn is_between(&self) -> bool {
        self.is_complete || (self.at == 0 && self.searched == 0)
    }

    /// Goes on with the command at the front of `input`. As long as it is partial, the next call must be
    /// given the same bytes and more behind them.
    pub fn parse(&mut self, input: &[u8]) -> Result<Parsed, ProtocolError> {
        if self.is_complete {
            self.clear();
        }
        if self.left == 0 {
            match input.get(self.at) {
                None => return Ok(self.partial(input, 1)),
                Some(b'*') => {
                    let Some(count) = self.count(input)? else {
                        return Ok(self.partial(input, 1));
                    };
                    if count == 0 {
                        return Ok(self.complete());
                    }
                    self.left = count;
                }
                Some(_) => return self.inline(input),
            }
        }
        while self.left > 0 {
            let length = match self.length {
                Some(length) => length,
                None => match self.length(input)? {
                    Some(length) => *self.length.insert(length),
                    None => return Ok(self.partial(input, 1)),
                },
            };
            let end = self.at + length;
            if input.len() < end + 2 {
                return Ok(self.partial(input, length + 2));
            }
            self.spans.push(Span::new(self.at, end));
            self.at = end + 2;
            self.left -= 1;
            self.length = None;
        }
        Ok(self.complete())
    }

    /// The words of the command that was just completed; `input` is what it was parsed from.
    pub fn args<'a>(&'a self, input: &'a [u8]) -> Args<'a> {
        Args {
            bytes: if self.is_inline { &self.plain } else { input },
            spans: if self.is_complete { &self.spans } else { &[] },
        }
    }

    fn complete(&mut self) -> Parsed {
        self.is_complete = true;
        Parsed::Command { consumed: self.at }
    }

    fn partial(&self, input: &[u8], more: usize) -> Parsed {
        Parsed::Partial {
            wanted: (self.at + more).max(input.len() + 1),
        }
    }

    fn clear(&mut self) {
        self.spans.clear();
        self.plain.clear();
        if self.spans.capacity() > SPANS_KEPT {
            self.spans = Vec::new();
        }
        if self.plain.capacity() > SPANS_KEPT {
            self.plain = Vec::new();
        }
        (self.at, self.searched, self.left) = (0, 0, 0);
        (self.length, self.is_inline, self.is_complete) = (None, false, false);
    }

    /// The line that holds a number, without what it begins and ends with.
    fn header<'b>(
        &mut self,
        input: &'b [u8],
        too_long: ProtocolError,
    ) -> Result<Option<&'b [u8]>, ProtocolError> {
        let from = self.searched.max(self.at);
        match input[from..].iter().position(|byte| *byte == b'\r') {
            Some(place) if from + place - self.at > LINE_BYTES_MAX => Err(too_long),
            Some(place) if from + place + 1 < input.len() => {
                let line = &input[self.at + 1..from + place];
                self.at = from + place + 2;
                Ok(Some(line))
            }
            Some(place) => {
                self.searched = from + place;
                Ok(None)
            }
            None if input.len() - self.at > LINE_BYTES_MAX => Err(too_long),
            None => {
                self.searched = input.len();
                Ok(None)
            }
        }
    }

    /// The number of a header that is short and all there, as almost every one is.
    fn short(&mut self, input: &[u8]) -> Option<usize> {
        let line = input.get(self.at + 1..)?;
        let mut number = 0;
        for (place, byte) in line.iter().take(8).enumerate() {
            match byte {
                b'0'..=b'9' => number = number * 10 + usize::from(byte - b'0'),
                b'\r' if place > 0 && place + 1 < line.len() => {
                    if place > 1 && line[0] == b'0' {
                        return None;
                    }
                    self.at += place + 3;
                    return Some(number);
                }
                _ => return None,
            }
        }
        None
    }

    fn count(&mut self, input: &[u8]) -> Result<Option<u32>, ProtocolError> {
        if self.searched <= self.at
            && let Some(count) = self.short(input)
        {
            return match count as i64 <= WORDS_MAX {
                true => Ok(Some(count as u32)),
                false => Err(ProtocolError::Count),
            };
        }
        let Some(line) = self.header(input, ProtocolError::BigCount)? else {
            return Ok(None);
        };
        match number::parse(line) {
            Some(count) if count <= WORDS_MAX => Ok(Some(count.max(0) as u32)),
            _ => Err(ProtocolError::Count),
        }
    }

    fn length(&mut self, input: &[u8]) -> Result<Option<usize>, ProtocolError> {
        match input.get(self.at) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(byte) => return Err(ProtocolError::ExpectedDollar(*byte)),
        }
        let short = match self.searched <= self.at {
            true => self.short(input),
            false => None,
        };
        let length = match short {
            Some(length) => Some(length),
            None => {
                let Some(line) = self.header(input, ProtocolError::BigLength)? else {
                    return Ok(None);
                };
                number::parse(line).and_then(|length| usize::try_from(length).ok())
            }
        };
        match length {
            Some(length) if length > COMMAND_BYTES_MAX => Err(ProtocolError::Length),
            Some(length) if self.at + length + 2 > COMMAND_BYTES_MAX => {
                Err(ProtocolError::BigCommand)
            }
            Some(length) => Ok(Some(length)),
            None => Err(ProtocolError::Length),
        }
    }

    fn inline(&mut self, input: &[u8]) -> Result<Parsed, ProtocolError> {
        let from = self.searched.max(self.at);
        let Some(place) = input[from..].iter().position(|byte| *byte == b'\n') else {
            self.searched = input.len();
            return match input.len() > LINE_BYTES_MAX {
                true => Err(ProtocolError::BigInline),
                false => Ok(self.partial(input, 1)),
            };
        };
        let end = from + place;
        if end > LINE_BYTES_MAX {
            return Err(ProtocolError::BigInline);
        }
        let line = &input[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        inline::split(line, &mut self.plain, &mut self.spans)
            .map_err(|_| ProtocolError::Unbalanced)?;
        self.is_inline = true;
        self.at = end + 1;
        Ok(self.complete())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::chance::Chance;

    /// What commands a stream of bytes holds, when it comes in pieces that end at these places.
    fn commands(bytes: &[u8], ends: impl IntoIterator<Item = usize>) -> Vec<String> {
        let (mut parser, mut begin, mut told) = (Parser::new(), 0, Vec::new());
        for end in ends.into_iter().chain([bytes.len()]) {
            loop {
                let input = &bytes[begin..end];
                match parser.parse(input) {
                    Ok(Parsed::Command { consumed }) => {
                        let words = parser.args(input);
                        let words = words.iter().map(|word| word.escape_ascii().to_string());
                        told.push(words.collect::<Vec<_>>().join("|"));
                        begin += consumed;
                    }
                    Ok(Parsed::Partial { wanted }) => {
                        assert!(wanted > input.len(), "more is wanted than is there");
                        break;
                    }
                    Err(error) => {
                        told.push(error.to_string());
                        return told;
                    }
                }
            }
        }
        told
    }

    const STREAM: &[u8] =
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$12\r\n\r\n$5\r\n*2\r\n\0v\r\nPING \"a b\"\r\n\r\n\
        *0\r\n*-1\r\nget 'k'\n*2\r\n$4\r\nECHO\r\n$0\r\n\r\n*1\r\n$4\r\nQUIT\r\n*2\r\nfoo";

    #[test]
    fn pieces_make_no_difference() {
        let whole = commands(STREAM, []);
        assert_eq!(
            whole,
            [
                r"SET|k|\r\n$5\r\n*2\r\n\x00v",
                "PING|a b",
                "",
                "",
                "",
                "get|k",
                "ECHO|",
                "QUIT",
                "Protocol error: expected '$', got 'f'"
            ]
        );
        assert_eq!(commands(STREAM, 0..STREAM.len()), whole);
        let mut chance = Chance::new(0x5EED);
        for round in 0..2_000 {
            let mut ends: Vec<usize> = (0..chance.between(0, 12))
                .map(|_| chance.between(0, STREAM.len() as u64) as usize)
                .collect();
            ends.sort_unstable();
            assert_eq!(commands(STREAM, ends), whole, "round {round}");
        }
    }

    #[test]
    fn what_is_no_resp_is_told_as_redis_tells_it() {
        let long = |first: &str| [first.as_bytes(), &[b'1'; LINE_BYTES_MAX + 1]].concat();
        for (bytes, expected) in [
            (b"*x\r\n".to_vec(), "invalid multibulk length"),
            (b"*1048577\r\n".to_vec(), "invalid multibulk length"),
            (b"*1\r\n:1\r\n".to_vec(), "expected '$', got ':'"),
            (b"*1\r\n$-1\r\n".to_vec(), "invalid bulk length"),
            (b"*1\r\n$9999999\r\n".to_vec(), "invalid bulk length"),
            (b"*1\r\n$01\r\n".to_vec(), "invalid bulk length"),
            (b"*2\r\n$2097152\r\n".to_vec(), "too big mbulk request"),
            (b"set \"k\r\n".to_vec(), "unbalanced quotes in request"),
            (long("*"), "too big mbulk count string"),
            (long("*1\r\n$"), "too big bulk count string"),
            (long("a"), "too big inline request"),
        ] {
            assert_eq!(
                commands(&bytes, []),
                [format!("Protocol error: {expected}")]
            );
        }
    }

    #[test]
    fn a_word_that_is_coming_says_how_many_bytes_it_wants() {
        let mut parser = Parser::new();
        let head = b"*1\r\n$1000\r\n";
        let wanted = head.len() + 1002;
        assert_eq!(parser.parse(head), Ok(Parsed::Partial { wanted }));
        assert!(parser.args(head).is_empty());
    }
}
