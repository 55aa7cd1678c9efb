//! `coracle incr`: counts.

use std::ffi::OsString;

use clap::Args;
use serde_json::json;

use crate::cli::number::whole;
use crate::cli::octets::{self, stored, typed};
use crate::cli::target::{Target, failed, strange};
use crate::cli::{Exit, Failure};
use crate::shard::request::{Answer, Body, Write, Written};

/// Adds to a counter, which is decimal text, and prints what it is then. An absent one is 0.
#[derive(Args)]
#[command(after_help = octets::HELP, after_long_help = format!("Examples:\n  coracle incr visits\n  coracle incr visits 10\n  coracle incr visits -3\n\n{}", octets::HELP))]
pub struct Incr {
    /// The key
    #[arg(allow_negative_numbers = true)]
    key: OsString,
    /// How much is added
    #[arg(default_value_t = 1, allow_negative_numbers = true, value_parser = whole::<i64, { i64::MIN as i128 }, { i64::MAX as i128 }>)]
    delta: i64,
    /// Take the key as it is
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    target: Target,
}

/// Adds.
pub(super) fn run(incr: Incr) -> Result<(), Failure> {
    let writes = [Write::Add {
        key: &stored(&typed(&incr.key, incr.raw)?),
        delta: incr.delta,
    }];
    let answer = incr
        .target
        .connect()?
        .ask(&Body::Write(&writes))
        .map_err(failed)?;
    let written = match &answer {
        Answer::Written(written) => Some(written),
        Answer::AllWritten(written) => written.first(),
        _ => None,
    };
    let sum = match written {
        Some(Written::Counter(sum)) => *sum,
        Some(Written::NotANumber) => {
            let why = "nothing is changed: the value is no whole number, or the sum would not fit 64 bits";
            return Err(Failure::new(Exit::Failed, why));
        }
        _ => return Err(strange(&answer)),
    };
    let mut out = incr.target.output();
    out.line(|| sum.to_string(), || json!({ "value": sum }));
    out.finish()
}
