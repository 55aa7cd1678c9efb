//! `coracle cas`: sets or deletes a key if it is as expected.

use std::ffi::OsString;

use clap::Args;
use serde_json::{Map, Value};

use crate::cli::octets::{self, put, shown, stored, typed};
use crate::cli::target::{Target, failed, strange};
use crate::cli::{Exit, Failure};
use crate::shard::request::{Answer, Body, Write, Written};

/// Sets or deletes a key if it is as expected; ends with 1 if it is not.
#[derive(Args)]
#[command(
    override_usage = "coracle cas [OPTIONS] <KEY> <--expect <VALUE>|--absent> <VALUE|--delete>"
)]
#[command(after_help = octets::HELP, after_long_help = format!("Examples:\n  coracle cas lock --absent mine\n  coracle cas lock --expect mine yours\n  coracle cas lock --expect yours --delete\n\n{}", octets::HELP))]
#[command(group(clap::ArgGroup::new("before").required(true)))]
#[command(group(clap::ArgGroup::new("after").required(true)))]
pub struct Cas {
    /// The key
    #[arg(allow_negative_numbers = true)]
    key: OsString,
    /// The new value
    #[arg(group = "after", allow_negative_numbers = true)]
    value: Option<OsString>,
    /// The value that is expected to be there
    #[arg(
        long,
        value_name = "VALUE",
        group = "before",
        allow_negative_numbers = true
    )]
    expect: Option<OsString>,
    /// The key is expected to be absent
    #[arg(long, group = "before", conflicts_with = "delete")]
    absent: bool,
    /// Delete the key
    #[arg(long, group = "after")]
    delete: bool,
    /// Take key and values as they are
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    target: Target,
}

/// Compares and writes.
pub(super) fn run(cas: Cas) -> Result<(), Failure> {
    let bytes = |text: &OsString| typed(text, cas.raw);
    let key = typed(&cas.key, cas.raw)?;
    let value = cas.value.as_ref().map(bytes).transpose()?;
    let expected = cas.expect.as_ref().map(bytes).transpose()?;
    let writes = [Write::CompareAndPut {
        key: &stored(&key),
        expected: expected.as_deref(),
        value: value.as_deref(),
    }];
    let answer = cas
        .target
        .connect()?
        .ask(&Body::Write(&writes))
        .map_err(failed)?;
    let written = match &answer {
        Answer::Written(written) => Some(written),
        Answer::AllWritten(written) => written.first(),
        _ => None,
    };
    let (held, previous) = match written {
        Some(Written::Compared { held, previous }) => (held, previous),
        Some(Written::Held(held)) => (held, &None),
        _ => return Err(strange(&answer)),
    };
    let mut out = cas.target.output();
    if *held || cas.target.is_json() {
        out.line(
            || "ok".into(),
            || {
                let mut object = Map::new();
                object.insert("ok".into(), (*held).into());
                if let Some(previous) = previous {
                    put(&mut object, "previous", previous);
                }
                Value::Object(object)
            },
        );
    }
    out.finish()?;
    if *held {
        return Ok(());
    }
    let why = match previous {
        Some(previous) => format!("nothing is changed: the value is '{}'", shown(previous)),
        None => format!("nothing is changed: there is no key '{}'", shown(&key)),
    };
    Err(Failure::new(Exit::Failed, why))
}
