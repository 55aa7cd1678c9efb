//! What a connection is told without the brain: who it is, what it speaks, what it may do.

use std::fmt::Write as _;

use crate::shard::request::Freshness;

use super::command::{PATTERN_BYTES_MAX, Planner, Refusal};
use super::cursor::Cursors;
use super::parse::Args;
use super::plan::Plan;
use super::table::{Entry, Name, TABLE};
use super::write::{Version, Writer};
use super::{glob, number};

/// The version of Redis whose commands and words these are.
pub const REDIS_VERSION: &str = "7.2.0";

/// What is asked of the session itself takes no more words.
const WORDS_MAX: usize = 256;

/// What the node knows and a command may need.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'f> {
    /// Unix milliseconds.
    pub wall_ms: u64,
    /// Where scans go on.
    pub cursors: &'f Cursors,
    /// Whether everything may be deleted at once.
    pub may_flush: bool,
}

/// What becomes of a command.
#[derive(Debug)]
pub enum Told<'a> {
    /// The reply is written.
    Answered,
    /// The reply is written; the connection is to be closed behind it.
    Closing,
    /// The brain is to be asked.
    Plan(Plan<'a>),
    /// These sections are to be told by [`super::info::Info::write`]; none: those of every day.
    Info(Args<'a>),
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    id: u64,
    address: String,
    version: Version,
    freshness: Freshness,
    name: Vec<u8>,
    library: [Vec<u8>; 2],
    keys: Vec<u8>,
}

impl Session {
    /// A connection that was just made; its number is told to the client.
    pub fn new(id: u64, address: String) -> Session {
        Session {
            id,
            address,
            version: Version::V2,
            freshness: Freshness::Linearizable,
            name: Vec::new(),
            library: [Vec::new(), Vec::new()],
            keys: Vec::new(),
        }
    }

    /// What it speaks. A plan's reply is written in the version that was spoken when the command came.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Carries out a command, or says what is to be asked for it. What can be answered at once is appended
    /// to `out`.
    pub fn handle<'a>(
        &'a mut self,
        args: Args<'a>,
        facts: Facts<'_>,
        out: &mut Vec<u8>,
    ) -> Told<'a> {
        let Some(word) = args.get(0) else {
            return Told::Answered;
        };
        let version = self.version;
        let mut writer = Writer::new(out, version);
        let Some(entry) = Entry::find(word) else {
            writer.error(&unknown(args));
            return Told::Answered;
        };
        if !entry.takes(args.len()) {
            writer.error(&wrong_number(entry.text));
            return Told::Answered;
        }
        match entry.name {
            Name::Quit => {
                writer.simple("OK");
                return Told::Closing;
            }
            Name::Info => return Told::Info(args.from(1)),
            name => match self.own(name, args, facts, &mut writer) {
                Ok(true) => return Told::Answered,
                Ok(false) => {}
                Err(refusal) => {
                    writer.error(&refusal);
                    return Told::Answered;
                }
            },
        }
        let planner = Planner {
            freshness: self.freshness,
            keys: &mut self.keys,
            wall_ms: facts.wall_ms,
            cursors: facts.cursors,
            may_flush: facts.may_flush,
        };
        match planner.plan(entry.name, args) {
            Ok(Some(plan)) => return Told::Plan(plan),
            Ok(None) => writer.error(&unknown(args)),
            Err(refusal) => writer.error(&refusal),
        }
        Told::Answered
    }

    /// Whether it was a command that needs no store.
    fn own(
        &mut self,
        name: Name,
        args: Args<'_>,
        facts: Facts<'_>,
        writer: &mut Writer<'_>,
    ) -> Result<bool, Refusal> {
        match name {
            Name::Ping if args.len() > 2 => return Err(wrong_number("ping")),
            Name::Ping => match args.get(1) {
                Some(text) => writer.bulk(text),
                None => writer.simple("PONG"),
            },
            Name::Echo => writer.bulk(args.at(1)),
            Name::Hello => self.hello(args, writer)?,
            Name::Auth => {
                auth(args)?;
                writer.simple("OK");
            }
            Name::Select => match number::parse(args.at(1)) {
                Some(0) => writer.simple("OK"),
                Some(_) => return Err("ERR DB index is out of range".into()),
                None => return Err("ERR value is not an integer or out of range".into()),
            },
            Name::Reset => {
                self.version = Version::V2;
                self.freshness = Freshness::Linearizable;
                self.name.clear();
                writer.simple("RESET");
            }
            Name::ReadOnly | Name::ReadWrite => {
                self.freshness = match name {
                    Name::ReadOnly => Freshness::AnyReplica,
                    _ => Freshness::Linearizable,
                };
                writer.simple("OK");
            }
            Name::Client => self.client(args, writer)?,
            Name::Cluster => {
                return Err("ERR This instance has cluster support disabled".into());
            }
            Name::Command => command(args, writer)?,
            Name::Config => config(args, writer)?,
            Name::Time => {
                writer.array(2);
                writer.bulk((facts.wall_ms / 1000).to_string().as_bytes());
                writer.bulk((facts.wall_ms % 1000 * 1000).to_string().as_bytes());
            }
            Name::Role => {
                writer.array(3);
                writer.bulk(b"master");
                writer.integer(0);
                writer.array(0);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn hello(&mut self, args: Args<'_>, writer: &mut Writer<'_>) -> Result<(), Refusal> {
        let mut version = self.version;
        if let Some(text) = args.get(1) {
            version = match number::parse(text) {
                Some(2) => Version::V2,
                Some(3) => Version::V3,
                Some(_) => return Err("NOPROTO unsupported protocol version".into()),
                None => {
                    return Err("ERR Protocol version is not an integer or out of range".into());
                }
            };
        }
        let mut name = None;
        let mut place = 2;
        while let Some(word) = args.get(place) {
            if word.eq_ignore_ascii_case(b"auth") && args.len() > place + 2 {
                authenticate(args.at(place + 1))?;
                place += 3;
            } else if word.eq_ignore_ascii_case(b"setname") && args.len() > place + 1 {
                name = Some(checked_name(args.at(place + 1))?);
                place += 2;
            } else {
                let word = shown(word, 128);
                return Err(format!("ERR Syntax error in HELLO option '{word}'").into());
            }
        }
        self.version = version;
        self.name = name.unwrap_or_else(|| std::mem::take(&mut self.name));
        writer.set_version(version);
        writer.map(7);
        for (name, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
            writer.bulk(name.as_bytes());
            writer.bulk(value.as_bytes());
        }
        writer.bulk(b"proto");
        writer.integer(if version == Version::V3 { 3 } else { 2 });
        writer.bulk(b"id");
        writer.integer(self.id as i64);
        for (name, value) in [("mode", "standalone"), ("role", "master")] {
            writer.bulk(name.as_bytes());
            writer.bulk(value.as_bytes());
        }
        writer.bulk(b"modules");
        writer.array(0);
        Ok(())
    }

    fn client(&mut self, args: Args<'_>, writer: &mut Writer<'_>) -> Result<(), Refusal> {
        let word = args.at(1).to_ascii_lowercase();
        let arity = match &word[..] {
            b"id" | b"getname" | b"info" => 2..=2,
            b"list" => 2..=usize::MAX,
            b"setname" | b"no-evict" | b"no-touch" => 3..=3,
            b"setinfo" => 4..=4,
            _ => return Err(unknown_subcommand("CLIENT", args.at(1))),
        };
        if !arity.contains(&args.len()) {
            return Err(wrong_number(&format!("client|{}", shown(&word, 128))));
        }
        match &word[..] {
            b"id" => writer.integer(self.id as i64),
            b"getname" => match self.name.is_empty() {
                true => writer.null(),
                false => writer.bulk(&self.name),
            },
            b"info" | b"list" => writer.verbatim(self.told().as_bytes()),
            b"setname" => {
                self.name = checked_name(args.at(2))?;
                writer.simple("OK");
            }
            b"setinfo" => {
                let place = match args.at(2) {
                    word if word.eq_ignore_ascii_case(b"lib-name") => 0,
                    word if word.eq_ignore_ascii_case(b"lib-ver") => 1,
                    word => {
                        let word = shown(word, 128);
                        return Err(format!("ERR Unrecognized option '{word}'").into());
                    }
                };
                if !is_plain(args.at(3)) {
                    let name = ["lib-name", "lib-ver"][place];
                    return Err(format!(
                        "ERR {name} cannot contain spaces, newlines or special characters."
                    )
                    .into());
                }
                self.library[place] = args.at(3).to_vec();
                writer.simple("OK");
            }
            _ => match args.at(2) {
                word if word.eq_ignore_ascii_case(b"on") || word.eq_ignore_ascii_case(b"off") => {
                    writer.simple("OK");
                }
                _ => return Err("ERR syntax error".into()),
            },
        }
        Ok(())
    }

    /// This connection as `CLIENT LIST` tells it.
    fn told(&self) -> String {
        format!(
            "id={} addr={} name={} db=0 flags=N resp={} lib-name={} lib-ver={} user=default\n",
            self.id,
            self.address,
            shown(&self.name, usize::MAX),
            if self.version == Version::V3 { 3 } else { 2 },
            shown(&self.library[0], usize::MAX),
            shown(&self.library[1], usize::MAX),
        )
    }
}

/// Whether a text can stand in a list of clients.
fn is_plain(text: &[u8]) -> bool {
    text.len() <= 1024 && text.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

fn checked_name(name: &[u8]) -> Result<Vec<u8>, Refusal> {
    match is_plain(name) {
        true => Ok(name.to_vec()),
        false => {
            Err("ERR Client names cannot contain spaces, newlines or special characters.".into())
        }
    }
}

fn auth(args: Args<'_>) -> Result<(), Refusal> {
    match args.len() {
        2 => Err(
            "ERR AUTH <password> called without any password configured for the default user. \
             Are you sure your configuration is correct?"
                .into(),
        ),
        3 => authenticate(args.at(1)),
        _ => Err("ERR syntax error".into()),
    }
}

/// There is one user, and it has no password: any fits.
fn authenticate(user: &[u8]) -> Result<(), Refusal> {
    match user {
        b"default" => Ok(()),
        _ => Err("WRONGPASS invalid username-password pair or user is disabled.".into()),
    }
}

fn command(args: Args<'_>, writer: &mut Writer<'_>) -> Result<(), Refusal> {
    let Some(word) = args.get(1) else {
        writer.array(TABLE.len());
        TABLE.iter().for_each(|entry| describe(entry, writer));
        return Ok(());
    };
    match &word.to_ascii_lowercase()[..] {
        b"count" => writer.integer(TABLE.len() as i64),
        b"docs" => writer.map(0),
        b"info" if args.len() == 2 => {
            writer.array(TABLE.len());
            TABLE.iter().for_each(|entry| describe(entry, writer));
        }
        b"info" if args.len() > WORDS_MAX => return Err("ERR syntax error".into()),
        b"info" => {
            let names = args.from(2);
            writer.array(names.len());
            for name in names.iter() {
                match Entry::find(name) {
                    Some(entry) => describe(entry, writer),
                    None => writer.null(),
                }
            }
        }
        b"list" => {
            writer.array(TABLE.len());
            TABLE
                .iter()
                .for_each(|entry| writer.bulk(entry.text.as_bytes()));
        }
        _ => return Err(unknown_subcommand("COMMAND", word)),
    }
    Ok(())
}

/// A command's name and number of words; what Redis tells beyond that is left empty.
fn describe(entry: &Entry, writer: &mut Writer<'_>) {
    writer.array(6);
    writer.bulk(entry.text.as_bytes());
    writer.integer(i64::from(entry.arity));
    writer.array(0);
    for _ in 0..3 {
        writer.integer(0);
    }
}

/// Settings of Redis that clients ask for.
const CONFIG: &[(&str, &str)] = &[
    ("appendfsync", "always"),
    ("appendonly", "yes"),
    ("databases", "1"),
    ("maxmemory", "0"),
    ("maxmemory-policy", "noeviction"),
    ("proto-max-bulk-len", "1048576"),
    ("save", ""),
    ("timeout", "0"),
];

fn config(args: Args<'_>, writer: &mut Writer<'_>) -> Result<(), Refusal> {
    match &args.at(1).to_ascii_lowercase()[..] {
        b"get"
            if args.len() > WORDS_MAX || args.iter().any(|word| word.len() > PATTERN_BYTES_MAX) =>
        {
            return Err("ERR syntax error".into());
        }
        b"get" if args.len() > 2 => {
            let patterns: Vec<Vec<u8>> = args
                .from(2)
                .iter()
                .map(<[u8]>::to_ascii_lowercase)
                .collect();
            let fits = |setting: &&(&str, &str)| {
                let fits = |pattern: &Vec<u8>| glob::matches(pattern, setting.0.as_bytes());
                patterns.iter().any(fits)
            };
            writer.map(CONFIG.iter().filter(fits).count());
            for (name, value) in CONFIG.iter().filter(fits) {
                writer.bulk(name.as_bytes());
                writer.bulk(value.as_bytes());
            }
        }
        b"get" => return Err(wrong_number("config|get")),
        b"resetstat" => writer.simple("OK"),
        b"set" => return Err("ERR settings are not changed through this protocol".into()),
        _ => return Err(unknown_subcommand("CONFIG", args.at(1))),
    }
    Ok(())
}

fn wrong_number(name: &str) -> Refusal {
    format!("ERR wrong number of arguments for '{name}' command").into()
}

fn unknown_subcommand(command: &str, word: &[u8]) -> Refusal {
    let word = shown(word, 128);
    format!("ERR unknown subcommand '{word}'. Try {command} HELP.").into()
}

/// A command that is not there, with as much of it as Redis repeats.
fn unknown(args: Args<'_>) -> String {
    let mut told = String::new();
    for word in args.from(1).iter() {
        if told.len() >= 128 {
            break;
        }
        let _ = write!(told, "'{}' ", shown(word, 128 - told.len()));
    }
    let name = shown(args.get(0).unwrap_or_default(), 128);
    format!("ERR unknown command '{name}', with args beginning with: {told}")
}

/// The front of a text, where it is to stand in an error.
fn shown(text: &[u8], most: usize) -> String {
    String::from_utf8_lossy(&text[..text.len().min(most)]).into_owned()
}
