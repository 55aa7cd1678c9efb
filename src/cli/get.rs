//! `coracle get`: the value of a key.

use std::ffi::OsString;

use clap::Args;
use serde_json::{Map, Value};

use crate::cli::octets::{self, put, shown, stored, typed};
use crate::cli::target::{Target, failed, strange};
use crate::cli::{Exit, Failure};
use crate::shard::request::{Answer, Body, Freshness};

/// Prints the value of a key; ends with 1 if there is none.
#[derive(Args)]
#[command(after_help = octets::HELP, after_long_help = format!("Examples:\n  coracle get name\n  coracle get --raw picture > picture.png\n  coracle get 'a\\xff' --json\n\n{}", octets::HELP))]
pub struct Get {
    /// The key
    #[arg(allow_negative_numbers = true)]
    key: OsString,
    /// Take the key and print the value as they are, without a line's end
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    #[command(flatten)]
    target: Target,
}

/// Reads, linearizably.
pub(super) fn run(get: Get) -> Result<(), Failure> {
    let key = typed(&get.key, get.raw)?;
    let body = Body::Get {
        key: &stored(&key),
        freshness: Freshness::Linearizable,
    };
    let value = match get.target.connect()?.ask(&body).map_err(failed)? {
        Answer::Value(value) => value,
        other => return Err(strange(&other)),
    };
    let mut out = get.target.output();
    let found = value.is_some();
    if get.raw {
        out.bytes(value.as_deref().unwrap_or_default());
    } else if found || get.target.is_json() {
        let text = || shown(value.as_deref().unwrap_or_default());
        out.line(text, || {
            let mut object = Map::new();
            put(&mut object, "key", &key);
            object.insert("found".into(), found.into());
            if let Some(value) = &value {
                put(&mut object, "value", value);
            }
            Value::Object(object)
        });
    }
    out.finish()?;
    match found {
        true => Ok(()),
        false => Err(Failure::new(
            Exit::Failed,
            format!("no key '{}'", shown(&key)),
        )),
    }
}
