//! Words become plans: every command that needs the store.

use std::borrow::Cow;

use crate::shard::limits::VALUE_BYTES_MAX;
use crate::shard::request::Freshness;

use super::cursor::Cursors;
use super::edit::Edit;
use super::parse::Args;
use super::part::{Op, Part};
use super::plan::Plan;
use super::table::Name;
use super::wording::Wording;
use super::{glob, number};

/// What user keys begin with where they are stored.
pub const USER: u8 = 1;

/// The key behind all user keys.
const BEHIND_USERS: &[u8] = &[USER + 1];

/// A command names no more keys.
const KEYS_MAX: usize = 16_384;

/// A page of a scan holds no more keys.
const PAGE_KEYS_MAX: i64 = 10_000;

/// No pattern is longer: looking for one takes its length for every byte.
pub const PATTERN_BYTES_MAX: usize = 256;

/// A buffer for keys that is larger is not kept.
const KEY_BUFFER_KEPT: usize = 64 << 10;

/// Why a command is not carried out, as it is told.
pub type Refusal = Cow<'static, str>;

const SYNTAX: Refusal = Cow::Borrowed("ERR syntax error");
const NOT_AN_INTEGER: Refusal = Cow::Borrowed("ERR value is not an integer or out of range");
const INVALID_CURSOR: Refusal = Cow::Borrowed("ERR invalid cursor");
const TOO_LONG: Refusal =
    Cow::Borrowed("ERR string exceeds maximum allowed size (proto-max-bulk-len)");

/// What a command is planned with.
#[derive(Debug)]
pub struct Planner<'a, 'f> {
    /// Stored keys are made here, so that simple commands need no memory of their own.
    pub keys: &'a mut Vec<u8>,
    /// How fresh reads must be.
    pub freshness: Freshness,
    /// Unix milliseconds.
    pub wall_ms: u64,
    /// Where scans go on.
    pub cursors: &'f Cursors,
    /// Whether everything may be deleted at once.
    pub may_flush: bool,
}

impl<'a> Planner<'a, '_> {
    /// The plan of a command, if it is one that needs the store. The number of words has been checked.
    pub fn plan(self, name: Name, args: Args<'a>) -> Result<Option<Plan<'a>>, Refusal> {
        let value = |place: usize| Cow::Borrowed(args.at(place));
        Ok(Some(match name {
            Name::Get => self.one(args, Op::Get, Wording::Value),
            Name::StrLen => self.one(args, Op::Get, Wording::Length),
            Name::Type => self.one(args, Op::Look, Wording::Type),
            Name::GetRange | Name::SubStr => {
                let (from, to) = (integer(args.at(2))?, integer(args.at(3))?);
                self.one(args, Op::Get, Wording::Slice { from, to })
            }
            Name::Set => return self.set(args).map(Some),
            Name::SetNx => {
                let op = Op::PutAbsent { value: value(2) };
                self.one(args, op, Wording::OneIfHeld)
            }
            Name::SetEx | Name::PSetEx => {
                let (scale, command) = match name {
                    Name::SetEx => (1000, "setex"),
                    _ => (1, "psetex"),
                };
                let expiry_ms = Some(self.expiry(args.at(2), scale, false, command)?);
                let value = value(3);
                self.one(args, Op::Put { value, expiry_ms }, Wording::Ok)
            }
            Name::GetSet => self.one(args, Op::Edit(Edit::Swap(value(2))), Wording::Value),
            Name::GetDel => self.one(args, Op::Edit(Edit::Remove), Wording::Value),
            Name::Append => self.one(args, Op::Edit(Edit::Append(value(2))), Wording::Length),
            Name::SetRange => {
                let bytes = value(3);
                let at = match usize::try_from(integer(args.at(2))?) {
                    Ok(at)
                        if bytes.is_empty()
                            || at.saturating_add(bytes.len()) <= VALUE_BYTES_MAX =>
                    {
                        at
                    }
                    Ok(_) => return Err(TOO_LONG),
                    Err(_) => return Err("ERR offset is out of range".into()),
                };
                self.one(args, Op::Edit(Edit::Overlay { at, bytes }), Wording::Length)
            }
            Name::Incr => self.one(args, Op::Add { delta: 1 }, Wording::Integer),
            Name::Decr => self.one(args, Op::Add { delta: -1 }, Wording::Integer),
            Name::IncrBy => {
                let delta = integer(args.at(2))?;
                self.one(args, Op::Add { delta }, Wording::Integer)
            }
            Name::DecrBy => {
                let delta = integer(args.at(2))?.checked_neg();
                let delta = delta.ok_or("ERR decrement would overflow")?;
                self.one(args, Op::Add { delta }, Wording::Integer)
            }
            Name::MGet => self.many(args, 1, |_| Op::Get, Wording::Values)?,
            Name::Exists | Name::Touch => self.many(args, 1, |_| Op::Look, Wording::Count)?,
            Name::Del | Name::Unlink => {
                self.many(args, 1, |_| Op::Edit(Edit::Drop), Wording::Count)?
            }
            Name::MSet if args.len().is_multiple_of(2) => {
                return Err("ERR wrong number of arguments for 'mset' command".into());
            }
            Name::MSet => {
                let put = |place: usize| Op::Put {
                    value: value(place + 1),
                    expiry_ms: None,
                };
                self.many(args, 2, put, Wording::Ok)?
            }
            Name::Scan => return self.scan(args).map(Some),
            Name::DbSize => {
                let op = Op::Count {
                    limit: BEHIND_USERS.to_vec(),
                    bound: None,
                    counted: 0,
                };
                let freshness = self.freshness;
                Plan::one(Part::new(self.key(b""), op), Wording::Sum, freshness)
            }
            Name::FlushDb | Name::FlushAll => return self.flush(args).map(Some),
            Name::Keys => return Err("ERR KEYS is disabled: it holds up a shard; use SCAN".into()),
            _ => return Ok(None),
        }))
    }

    /// A plan for the key that stands behind the command's name.
    fn one(self, args: Args<'a>, op: Op<'a>, wording: Wording) -> Plan<'a> {
        let freshness = self.freshness;
        Plan::one(Part::new(self.key(args.at(1)), op), wording, freshness)
    }

    fn key(self, user: &[u8]) -> &'a [u8] {
        let keys = self.keys;
        keys.clear();
        if keys.capacity() > KEY_BUFFER_KEPT {
            *keys = Vec::new();
        }
        keys.push(USER);
        keys.extend_from_slice(user);
        keys
    }

    /// A plan for every key behind the command's name, with so many words for each.
    fn many(
        self,
        args: Args<'a>,
        each: usize,
        op: impl Fn(usize) -> Op<'a>,
        wording: Wording,
    ) -> Result<Plan<'a>, Refusal> {
        if args.len() == 1 + each && wording != Wording::Values {
            return Ok(self.one(args, op(1), wording));
        }
        if args.len() > KEYS_MAX * each {
            return Err("ERR a command names at most 16384 keys".into());
        }
        let freshness = self.freshness;
        let keys = self.keys;
        keys.clear();
        if keys.capacity() > KEY_BUFFER_KEPT {
            *keys = Vec::new();
        }
        let places = || (1..args.len()).step_by(each);
        for place in places() {
            keys.push(USER);
            keys.extend_from_slice(args.at(place));
        }
        let mut rest = &keys[..];
        let parts = places().map(|place| {
            let (key, behind) = rest.split_at(1 + args.at(place).len());
            rest = behind;
            Part::new(key, op(place))
        });
        Ok(Plan::many(parts.collect(), wording, freshness))
    }

    /// When something is gone, in Unix milliseconds.
    fn expiry(
        &self,
        text: &[u8],
        scale: i64,
        is_absolute: bool,
        command: &str,
    ) -> Result<u64, Refusal> {
        let span = integer(text)?;
        let base = if is_absolute { 0 } else { self.wall_ms as i64 };
        match span.checked_mul(scale).and_then(|ms| ms.checked_add(base)) {
            Some(ms) if span > 0 => Ok(ms as u64),
            _ => Err(format!("ERR invalid expire time in '{command}' command").into()),
        }
    }

    fn set(self, args: Args<'a>) -> Result<Plan<'a>, Refusal> {
        let value = Cow::Borrowed(args.at(2));
        if args.len() == 3 {
            let expiry_ms = None;
            return Ok(self.one(args, Op::Put { value, expiry_ms }, Wording::Ok));
        }
        let (mut absent, mut present, mut get, mut keep) = (false, false, false, false);
        let mut expiry_ms = None;
        let mut words = args.from(3).iter();
        while let Some(word) = words.next() {
            let is = |text: &str| word.eq_ignore_ascii_case(text.as_bytes());
            if is("nx") && !present {
                absent = true;
            } else if is("xx") && !absent {
                present = true;
            } else if is("get") {
                get = true;
            } else if is("keepttl") && expiry_ms.is_none() {
                keep = true;
            } else if let Some((scale, is_absolute)) = expiry_option(word)
                && !keep
                && expiry_ms.is_none()
            {
                let text = words.next().ok_or(SYNTAX)?;
                expiry_ms = Some(self.expiry(text, scale, is_absolute, "set")?);
            } else {
                return Err(SYNTAX);
            }
        }
        if keep {
            return Err("ERR SET with KEEPTTL is not supported".into());
        }
        if expiry_ms.is_some() && (absent || present || get) {
            return Err("ERR SET with an expiry takes neither NX, XX nor GET yet".into());
        }
        let op = match (absent, present, get) {
            (true, ..) => Op::PutAbsent { value },
            (_, true, _) => Op::Edit(Edit::SwapPresent(value)),
            (_, _, true) => Op::Edit(Edit::Swap(value)),
            _ => Op::Put { value, expiry_ms },
        };
        let wording = match get {
            true => Wording::Value,
            false if absent || present => Wording::OkIfHeld,
            false => Wording::Ok,
        };
        Ok(self.one(args, op, wording))
    }

    fn scan(self, args: Args<'a>) -> Result<Plan<'a>, Refusal> {
        let cursor = integer(args.at(1))
            .ok()
            .and_then(|cursor| u64::try_from(cursor).ok());
        let cursor = cursor.ok_or(INVALID_CURSOR)?;
        let (mut pattern, mut count, mut is_other_type) = (None, 10, false);
        let mut words = args.from(2).iter();
        while let Some(word) = words.next() {
            let text = words.next().ok_or(SYNTAX)?;
            if word.eq_ignore_ascii_case(b"match") {
                if text.len() > PATTERN_BYTES_MAX {
                    return Err("ERR a pattern has at most 256 bytes".into());
                }
                pattern = (text != b"*").then(|| text.to_vec());
            } else if word.eq_ignore_ascii_case(b"count") {
                count = match integer(text)? {
                    count if count < 1 => return Err(SYNTAX),
                    count => count.min(PAGE_KEYS_MAX) as usize,
                };
            } else if word.eq_ignore_ascii_case(b"type") {
                is_other_type = !text.eq_ignore_ascii_case(b"string");
            } else {
                return Err(SYNTAX);
            }
        }
        // Keys that fit a pattern lie side by side as far as it is plain.
        let prefix = glob::prefix(pattern.as_deref().unwrap_or_default());
        let mut start = [&[USER], prefix].concat();
        let limit = behind(&start);
        if cursor != 0 {
            let place = self.cursors.get(cursor).ok_or(INVALID_CURSOR)?;
            start = start.max(place.to_vec());
        }
        let op = Op::Scan {
            limit,
            count,
            bound: None,
        };
        let freshness = self.freshness;
        let keys = self.keys;
        *keys = start;
        let wording = Wording::Page {
            pattern,
            is_other_type,
        };
        Ok(Plan::one(Part::new(keys, op), wording, freshness))
    }

    fn flush(self, args: Args<'a>) -> Result<Plan<'a>, Refusal> {
        match args.get(1) {
            _ if args.len() > 2 => return Err(SYNTAX),
            Some(word)
                if !word.eq_ignore_ascii_case(b"sync") && !word.eq_ignore_ascii_case(b"async") =>
            {
                return Err(SYNTAX);
            }
            _ if !self.may_flush => {
                return Err("ERR this node is not set up to delete everything at once".into());
            }
            _ => {}
        }
        let op = Op::DeleteRange {
            limit: BEHIND_USERS.to_vec(),
            bound: None,
        };
        let freshness = self.freshness;
        Ok(Plan::one(
            Part::new(self.key(b""), op),
            Wording::Ok,
            freshness,
        ))
    }
}

fn integer(text: &[u8]) -> Result<i64, Refusal> {
    number::parse(text).ok_or(NOT_AN_INTEGER)
}

/// How many milliseconds an option counts in, and whether since 1970.
fn expiry_option(word: &[u8]) -> Option<(i64, bool)> {
    let options = [
        ("ex", (1000, false)),
        ("px", (1, false)),
        ("exat", (1000, true)),
        ("pxat", (1, true)),
    ];
    let found = options
        .iter()
        .find(|(text, _)| word.eq_ignore_ascii_case(text.as_bytes()));
    found.map(|(_, option)| *option)
}

/// The first key behind all that begin with a prefix.
fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut limit = prefix.to_vec();
    while limit.last() == Some(&0xFF) {
        limit.pop();
    }
    // The first byte is that of user keys: one is left.
    if let Some(last) = limit.last_mut() {
        *last += 1;
    }
    limit
}
