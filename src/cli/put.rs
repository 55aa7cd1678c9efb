//! `coracle put`: sets a key.

use std::ffi::OsString;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::json;

use crate::cli::number::whole;
use crate::cli::octets::{self, stored, typed};
use crate::cli::target::{Target, failed, strange};
use crate::cli::{Exit, Failure};
use crate::shard::request::{Answer, Body, Write};

/// Sets a key. Durable when it returns.
#[derive(Args)]
#[command(after_help = octets::HELP, after_long_help = format!("Examples:\n  coracle put name Ada\n  coracle put session 17 --ttl 3600\n  coracle put temperature -5\n  coracle put 'a\\xff' -- --long\n\n{}", octets::HELP))]
pub struct Put {
    /// The key
    #[arg(allow_negative_numbers = true)]
    key: OsString,
    /// The value
    #[arg(allow_negative_numbers = true)]
    value: OsString,
    /// After so many seconds the key is gone
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = whole::<u64, 1, 10_000_000_000>)]
    ttl: Option<u64>,
    /// Take key and value as they are
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    target: Target,
}

/// Writes.
pub(super) fn run(put: Put) -> Result<(), Failure> {
    let key = stored(&typed(&put.key, put.raw)?);
    let value = typed(&put.value, put.raw)?;
    let expiry_ms = put.ttl.map(expiry).transpose()?;
    let writes = [Write::Put {
        key: &key,
        value: &value,
        expiry_ms,
    }];
    match put
        .target
        .connect()?
        .ask(&Body::Write(&writes))
        .map_err(failed)?
    {
        Answer::Written(_) | Answer::AllWritten(_) => {}
        other => return Err(strange(&other)),
    }
    let mut out = put.target.output();
    out.line(|| "ok".into(), || json!({ "ok": true }));
    out.finish()
}

/// So many seconds from now, by this machine's clock.
fn expiry(seconds: u64) -> Result<u64, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_err(|_| Failure::new(Exit::Failed, "this machine's clock is before 1970"))?;
    Ok(now.as_millis() as u64 + seconds * 1000)
}
