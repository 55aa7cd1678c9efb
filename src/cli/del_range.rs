//! `coracle del-range`: deletes all keys of a range, over as many regions as they lie in.

use std::ffi::OsString;

use clap::Args;
use serde_json::json;

use crate::cli::octets::{self, behind, plain, shown, stored, typed};
use crate::cli::scan::{PAGE, Walk};
use crate::cli::target::{Target, failed, strange};
use crate::cli::{Exit, Failure};
use crate::shard::request::{Answer, Body, Write};

/// Keys that are counted before it is said that there are more.
const COUNTED_MAX: u64 = 100_000;

/// Deletes all keys of a range. Without --yes nothing is deleted: it says how many keys there are, and ends with 1.
///
/// Each region deletes its part at one moment, not the whole; what is written meanwhile may stay.
#[derive(Args)]
#[command(
    override_usage = "coracle del-range [OPTIONS] <START> <END>\n       coracle del-range [OPTIONS] --prefix <PREFIX>\n       coracle del-range [OPTIONS] --all"
)]
#[command(after_help = octets::HELP, after_long_help = format!("Examples:\n  coracle del-range a b\n  coracle del-range a b --yes\n  coracle del-range --prefix session: --yes\n  coracle del-range --all --yes\n\n{}", octets::HELP))]
#[command(group(clap::ArgGroup::new("range").required(true).args(["start", "prefix", "all"])))]
pub struct DelRange {
    /// The first key
    #[arg(requires = "end", allow_negative_numbers = true)]
    start: Option<OsString>,
    /// The key behind the last one
    #[arg(allow_negative_numbers = true, conflicts_with_all = ["prefix", "all"])]
    end: Option<OsString>,
    /// All keys that begin like this
    #[arg(long, value_name = "PREFIX", allow_negative_numbers = true)]
    prefix: Option<OsString>,
    /// All keys that there are
    #[arg(long)]
    all: bool,
    /// Delete them
    #[arg(long)]
    yes: bool,
    /// Take keys as they are
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    target: Target,
}

/// Counts, or deletes.
pub(super) fn run(del: DelRange) -> Result<(), Failure> {
    let (start, limit) = del.range()?;
    let mut caller = del.target.connect()?;
    let mut out = del.target.output();
    if del.yes {
        let writes = [Write::DeleteRange {
            start: &start,
            limit: &limit,
        }];
        match caller.ask(&Body::Write(&writes)).map_err(failed)? {
            Answer::Written(_) | Answer::AllWritten(_) => {}
            other => return Err(strange(&other)),
        }
        out.line(|| "ok".into(), || json!({ "ok": true, "deleted": true }));
        return out.finish();
    }
    let mut walk = Walk::new(caller, start, limit, false);
    let (mut keys, mut first, mut last) = (0, None, None);
    while keys < COUNTED_MAX
        && let Some(pairs) = walk.page(PAGE)?
    {
        keys += pairs.len() as u64;
        first = first.or(pairs.first().map(|(key, _)| shown(plain(key))));
        last = pairs.last().map(|(key, _)| shown(plain(key))).or(last);
    }
    let is_all = keys < COUNTED_MAX;
    let text = || match (&first, &last) {
        (Some(first), Some(last)) if first != last && is_all => {
            format!("{keys} keys, from '{first}' to '{last}'")
        }
        (Some(first), _) if is_all => format!("one key, '{first}'"),
        (Some(first), _) => format!("at least {COUNTED_MAX} keys, from '{first}' on"),
        (None, _) => "no keys".into(),
    };
    out.line(
        text,
        || json!({ "ok": false, "deleted": false, "keys": keys, "more": !is_all }),
    );
    out.finish()?;
    let why = "nothing is deleted; --yes deletes them";
    Err(Failure::new(Exit::Failed, why))
}

impl DelRange {
    /// The stored keys to begin at and to end before.
    fn range(&self) -> Result<(Vec<u8>, Vec<u8>), Failure> {
        let key = |text: &OsString| typed(text, self.raw).map(|key| stored(&key));
        let wrong = |why: &str| Err(Failure::new(Exit::Usage, why));
        match (&self.start, &self.end, &self.prefix) {
            (Some(start), Some(end), _) => {
                let (start, end) = (key(start)?, key(end)?);
                match start < end {
                    true => Ok((start, end)),
                    false => wrong("START must come before END in the order of keys"),
                }
            }
            (_, _, Some(prefix)) if prefix.is_empty() => {
                wrong("every key begins with an empty prefix; --all deletes all of them")
            }
            (_, _, Some(prefix)) => {
                let prefix = key(prefix)?;
                let limit = behind(&prefix).unwrap_or_else(octets::end);
                Ok((prefix, limit))
            }
            _ => Ok((stored(b""), octets::end())),
        }
    }
}
