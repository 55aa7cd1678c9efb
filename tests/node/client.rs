//! The least client that speaks RESP, so that nothing lies between a test and the bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A line, as in OK.
    Line(String),
    /// An error.
    Error(String),
    /// A number.
    Number(i64),
    /// Bytes, or none.
    Bytes(Option<Vec<u8>>),
    /// Several of them.
    List(Vec<Reply>),
}

/// A connection.
pub struct Client {
    /// The socket.
    pub stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects.
    pub fn connect(address: &str) -> Client {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Client {
            stream: BufReader::new(stream),
        }
    }

    /// A command as it is sent.
    pub fn encode(words: &[&[u8]]) -> Vec<u8> {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// The next reply.
    pub fn read(&mut self) -> std::io::Result<Reply> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let (kind, rest) = line.trim_end().split_at(1);
        let number = || rest.parse::<i64>().expect("a number");
        Ok(match kind {
            "+" => Reply::Line(rest.into()),
            "-" => Reply::Error(rest.into()),
            ":" => Reply::Number(number()),
            "$" if number() < 0 => Reply::Bytes(None),
            "$" => {
                let mut bytes = vec![0; number() as usize + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Reply::Bytes(Some(bytes))
            }
            "*" => Reply::List(
                (0..number())
                    .map(|_| self.read())
                    .collect::<Result<_, _>>()?,
            ),
            other => panic!("a reply that begins with '{other}'"),
        })
    }

    /// Sends a command, and waits for its reply.
    pub fn try_ask(&mut self, words: &[&[u8]]) -> std::io::Result<Reply> {
        self.send(&Client::encode(words))?;
        self.read()
    }

    /// The same with text, where an answer comes.
    pub fn ask(&mut self, words: &[&str]) -> Reply {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.try_ask(&words).expect("an answer")
    }

    /// Sets a key; whether that was acknowledged.
    pub fn set(&mut self, key: &str, value: &[u8]) -> bool {
        let reply = self.try_ask(&[b"SET", key.as_bytes(), value]);
        reply.is_ok_and(|reply| reply == Reply::Line("OK".into()))
    }

    /// The value of a key.
    pub fn get(&mut self, key: &str) -> Option<Vec<u8>> {
        match self.ask(&["GET", key]) {
            Reply::Bytes(value) => value,
            other => panic!("GET {key}: {other:?}"),
        }
    }
}
