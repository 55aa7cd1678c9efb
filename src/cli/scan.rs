//! `coracle scan`: keys and values in order, over as many regions as they lie in.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Map, Value};

use crate::cli::number::whole;
use crate::cli::octets::{self, behind, plain, put, shown, stored, typed};
use crate::cli::target::{Target, failed, strange};
use crate::cli::{Exit, Failure};
use crate::placement::Message;
use crate::runtime::caller::{CallError, Caller};
use crate::shard::region::Region;
use crate::shard::request::{Answer, Body, Freshness};

/// Pairs that are asked for at once.
const PAGE: usize = 1024;

/// Regions that are asked for at once.
const REGIONS: u32 = 256;

/// The pause before a region that has changed is looked up again.
const PAUSE: Duration = Duration::from_millis(50);

/// Prints keys and values in order. Each page of a region is as of one moment, not the whole.
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
    let mut walk = Walk {
        caller: scan.target.connect()?,
        start,
        limit,
        reverse: scan.reverse,
        ahead: Vec::new(),
        patience: scan.target.patience(),
    };
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

/// What is still to be read, and from which regions.
struct Walk {
    caller: Caller,
    start: Vec<u8>,
    limit: Vec<u8>,
    reverse: bool,
    /// Regions ahead, the next one last.
    ahead: Vec<Region>,
    patience: Duration,
}

impl Walk {
    /// The next page of some region; none: all is read.
    fn page(&mut self, count: usize) -> Result<Option<Vec<(bytes::Bytes, bytes::Bytes)>>, Failure> {
        let begun = Instant::now();
        while self.start < self.limit {
            let region = match self.ahead.last() {
                Some(region) if self.is_next(region) => region.clone(),
                _ if begun.elapsed() >= self.patience => {
                    let why = format!("nobody tells where key '{}' is", shown(plain(&self.start)));
                    return Err(Failure::new(Exit::Failed, why));
                }
                stale => {
                    if stale.is_some() {
                        std::thread::sleep(PAUSE);
                    }
                    self.ahead.clear();
                    self.look_ahead()?;
                    continue;
                }
            };
            let start = self.start.clone().max(region.range.start.clone());
            let limit = match region.range.limit.is_empty() {
                true => self.limit.clone(),
                false => self.limit.clone().min(region.range.limit.clone()),
            };
            let body = Body::Scan {
                start: &start,
                limit: &limit,
                count,
                reverse: self.reverse,
                freshness: Freshness::Linearizable,
            };
            let named = Some((region.id, region.epoch));
            let (pairs, more) = match self.caller.ask_region(named, &body) {
                Ok(Answer::Pairs { pairs, more }) => (pairs, more),
                Ok(other) => return Err(strange(&other)),
                Err(CallError::Refused { error, .. })
                    if crate::runtime::serve::is_elsewhere(&error)
                        && begun.elapsed() < self.patience =>
                {
                    self.ahead.clear();
                    std::thread::sleep(PAUSE);
                    continue;
                }
                Err(error) => return Err(failed(error)),
            };
            let last = pairs.last().map(|(key, _)| key.to_vec());
            match (more, last, self.reverse) {
                (true, Some(last), false) => self.start = [&last[..], b"\0"].concat(),
                (true, Some(last), true) => self.limit = last,
                (_, _, false) => {
                    self.start = limit;
                    self.ahead.pop();
                }
                (_, _, true) => {
                    self.limit = start;
                    self.ahead.pop();
                }
            }
            return Ok(Some(pairs));
        }
        Ok(None)
    }

    /// Whether the region holds what is to be read next.
    fn is_next(&self, region: &Region) -> bool {
        let range = &region.range;
        match self.reverse {
            false => range.contains(&self.start),
            true => {
                range.start < self.limit && (range.limit.is_empty() || self.limit <= range.limit)
            }
        }
    }

    /// Finds the regions from where the scan stands: some of them forwards, all of them backwards.
    fn look_ahead(&mut self) -> Result<(), Failure> {
        let mut from = self.start.clone();
        loop {
            let question = Message::ListRegions {
                start: from.clone(),
                count: REGIONS,
            };
            let regions = match self.caller.ask_placement(&question).map_err(failed)? {
                Message::Regions(regions) => regions,
                other => return Err(strange(&other)),
            };
            let end = regions.last().map(|(region, _)| region.range.limit.clone());
            let wanted = regions.into_iter().map(|(region, _)| region);
            self.ahead
                .extend(wanted.filter(|region| region.range.start < self.limit));
            match end {
                Some(end) if self.reverse && !end.is_empty() && end < self.limit && end > from => {
                    from = end;
                }
                _ => break,
            }
        }
        if self.ahead.is_empty() {
            // Placement does not know all regions yet, as just after its start.
            std::thread::sleep(PAUSE);
        }
        if !self.reverse {
            self.ahead.reverse();
        }
        Ok(())
    }
}
