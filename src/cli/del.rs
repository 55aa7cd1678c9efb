//! `coracle del`: deletes keys.

use std::ffi::OsString;

use clap::Args;
use serde_json::json;

use crate::cli::Failure;
use crate::cli::octets::{self, stored, typed};
use crate::cli::target::{Target, failed, strange};
use crate::shard::request::{Answer, Body, Write};

/// Deletes keys, one after another. A key that is not there is deleted already.
#[derive(Args)]
#[command(after_help = octets::HELP, after_long_help = format!("Examples:\n  coracle del name\n  coracle del a b 'c\\xff'\n\n{}", octets::HELP))]
pub struct Del {
    /// The keys
    #[arg(required = true, allow_negative_numbers = true)]
    keys: Vec<OsString>,
    /// Take keys as they are
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    target: Target,
}

/// Deletes.
pub(super) fn run(del: Del) -> Result<(), Failure> {
    let keys = del.keys.iter().map(|key| typed(key, del.raw));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let mut caller = del.target.connect()?;
    for key in &keys {
        let writes = [Write::Delete { key: &stored(key) }];
        match caller.ask(&Body::Write(&writes)).map_err(failed)? {
            Answer::Written(_) | Answer::AllWritten(_) => {}
            other => return Err(strange(&other)),
        }
    }
    let mut out = del.target.output();
    out.line(|| "ok".into(), || json!({ "ok": true, "keys": keys.len() }));
    out.finish()
}
