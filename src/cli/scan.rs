//! `coracle scan`: keys and values in order, over as many regions as they lie in.

use std::ffi::OsString;

use clap::Args;
use serde_json::{Map, Value};

use crate::cli::Failure;
use crate::cli::number::whole;
use crate::cli::octets::{self, behind, plain, put, shown, stored, typed};
use crate::cli::target::{Target, failed, strange};
use crate::runtime::caller::Caller;
use crate::shard::request::{Answer, Body, Freshness};

/// Pairs that are asked for at once.
pub(super) const PAGE: usize = 1024;

/// Prints keys and values in order. What comes from one region at once is as of one
/// moment, not the whole.
#[derive(Args)]
#[command(after_help = octets::HELP, after_long_help = format!("Examples:\n  coracle scan\n  coracle scan a b --count 10\n  coracle scan --prefix user: --reverse\n  coracle scan --keys --json\n\n{}", octets::HELP))]
pub struct Scan {
    /// The first key
    #[arg(allow_negative_numbers = true)]
    start: Option<OsString>,
    /// The key behind the last one
    #[arg(allow_negative_numbers = true)]
    limit: Option<OsString>,
    /// At most so many
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u64, 1, { u64::MAX as i128 }>)]
    count: Option<u64>,
    /// From the end backwards
    #[arg(long)]
    reverse: bool,
    /// Only keys that begin like this
    #[arg(long, value_name = "PREFIX", allow_negative_numbers = true, conflicts_with_all = ["start", "limit"])]
    prefix: Option<OsString>,
    /// Print keys alone
    #[arg(long)]
    keys: bool,
    /// Take keys, and print keys and values, as they are: a tab between them, a line's end behind
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    #[command(flatten)]
    target: Target,
}

/// Reads page by page.
pub(super) fn run(scan: Scan) -> Result<(), Failure> {
    let (start, limit) = scan.range()?;
    let mut walk = Walk::new(scan.target.connect()?, start, limit, scan.reverse);
    let mut out = scan.target.output();
    let mut left = scan.count.unwrap_or(u64::MAX);
    while left > 0 && !out.is_over() {
        let Some(pairs) = walk.page(left.min(PAGE as u64) as usize)? else {
            break;
        };
        left -= pairs.len() as u64;
        for (key, value) in &pairs {
            let key = plain(key);
            if scan.raw {
                out.bytes(key);
                if !scan.keys {
                    out.bytes(b"\t");
                    out.bytes(value);
                }
                out.bytes(b"\n");
                continue;
            }
            let text = || match scan.keys {
                true => shown(key),
                false => format!("{}\t{}", shown(key), shown(value)),
            };
            out.line(text, || {
                let mut object = Map::new();
                put(&mut object, "key", key);
                if !scan.keys {
                    put(&mut object, "value", value);
                }
                Value::Object(object)
            });
        }
    }
    out.finish()
}

impl Scan {
    /// The stored keys to begin at and to end before.
    fn range(&self) -> Result<(Vec<u8>, Vec<u8>), Failure> {
        let key = |text: &Option<OsString>| match text {
            Some(text) => typed(text, self.raw).map(|key| Some(stored(&key))),
            None => Ok(None),
        };
        if let Some(prefix) = key(&self.prefix)? {
            let limit = behind(&prefix).unwrap_or_else(octets::end);
            return Ok((prefix, limit));
        }
        let start = key(&self.start)?.unwrap_or_else(|| stored(b""));
        let limit = key(&self.limit)?.unwrap_or_else(octets::end);
        Ok((start, limit))
    }
}

/// What is still to be read. The node that is asked looks into as many regions as that takes.
pub(super) struct Walk {
    caller: Caller,
    start: Vec<u8>,
    limit: Vec<u8>,
    reverse: bool,
    over: bool,
}

impl Walk {
    /// All of a range.
    pub fn new(caller: Caller, start: Vec<u8>, limit: Vec<u8>, reverse: bool) -> Walk {
        Walk {
            caller,
            start,
            limit,
            reverse,
            over: false,
        }
    }

    /// The next page; none: all is read.
    pub fn page(
        &mut self,
        count: usize,
    ) -> Result<Option<Vec<(bytes::Bytes, bytes::Bytes)>>, Failure> {
        if self.over || self.start >= self.limit {
            return Ok(None);
        }
        let body = Body::Scan {
            start: &self.start,
            limit: &self.limit,
            count,
            reverse: self.reverse,
            freshness: Freshness::Linearizable,
        };
        let answer = self.caller.ask(&body).map_err(failed)?;
        let Answer::Pairs { pairs, more } = answer else {
            return Err(strange(&answer));
        };
        match (pairs.last(), self.reverse) {
            (Some((last, _)), false) => self.start = [last, &b"\0"[..]].concat(),
            (Some((last, _)), true) => self.limit = last.to_vec(),
            (None, _) => {}
        }
        self.over = !more || pairs.is_empty();
        Ok(Some(pairs))
    }
}
