//! How an outcome is told to a client of Redis.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;

use crate::shard::error::Error;

use super::cursor::Cursors;
use super::part::Outcome;
use super::write::Writer;
use super::{glob, number};

/// How the outcomes of a command's parts are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wording {
    /// That it is done.
    Ok,
    /// That it is done, or nothing if it was not.
    OkIfHeld,
    /// One if it was done, or zero.
    OneIfHeld,
    /// The value that is there, or was there.
    Value,
    /// All values.
    Values,
    /// How many of the keys there are, or were.
    Count,
    /// How long the value is now.
    Length,
    /// A piece of the value; from the end where negative.
    Slice {
        /// From here.
        from: i64,
        /// Up to here, this byte as well.
        to: i64,
    },
    /// Of which type the value is.
    Type,
    /// The counter.
    Integer,
    /// All that was counted.
    Sum,
    /// The keys of a scan.
    Page {
        /// Those that fit this pattern.
        pattern: Option<Vec<u8>>,
        /// None at all: another type was asked for.
        is_other_type: bool,
    },
}

const NOT_A_NUMBER: &str = "ERR value is not an integer or out of range";

/// Nothing would mean that there was none.
const UNTOLD: &str = "TRYAGAIN nothing was written, and what is there is more than can be told now";

impl Wording {
    /// Tells the outcomes of all parts, in order.
    pub fn write<'o>(
        &self,
        mut outcomes: impl ExactSizeIterator<Item = &'o Outcome>,
        cursors: &mut Cursors,
        writer: &mut Writer<'_>,
    ) {
        match self {
            Wording::Values => {
                writer.array(outcomes.len());
                outcomes
                    .for_each(|outcome| writer.optional(value(outcome).map(|value| &value[..])));
                return;
            }
            Wording::Count => {
                let there = outcomes.filter(|outcome| value(outcome).is_some());
                return writer.integer(there.count() as i64);
            }
            Wording::Sum => {
                let counted = outcomes.map(|outcome| match outcome {
                    Outcome::Counter(counted) => *counted,
                    _ => 0,
                });
                return writer.integer(counted.sum());
            }
            // What was done for one key was done for all.
            _ => {}
        }
        let Some(outcome) = outcomes.next() else {
            return writer.simple("OK");
        };
        if *outcome == Outcome::NotANumber {
            return writer.error(NOT_A_NUMBER);
        }
        match self {
            Wording::OkIfHeld if !held(outcome) => writer.null(),
            Wording::Ok | Wording::OkIfHeld => writer.simple("OK"),
            Wording::OneIfHeld => writer.integer(i64::from(held(outcome))),
            Wording::Value if *outcome == Outcome::Untold => writer.error(UNTOLD),
            Wording::Value => writer.optional(value(outcome).map(|value| &value[..])),
            Wording::Length => writer.integer(length(outcome) as i64),
            Wording::Slice { from, to } => {
                let value = value(outcome).map_or(&[][..], |value| &value[..]);
                writer.bulk(slice(value, *from, *to));
            }
            Wording::Type => writer.simple(match value(outcome) {
                Some(_) => "string",
                None => "none",
            }),
            Wording::Integer => match outcome {
                Outcome::Counter(sum) => writer.integer(*sum),
                _ => writer.error(NOT_A_NUMBER),
            },
            Wording::Page {
                pattern,
                is_other_type,
            } => page(outcome, pattern.as_deref(), *is_other_type, cursors, writer),
            Wording::Values | Wording::Count | Wording::Sum => {}
        }
    }
}

fn value(outcome: &Outcome) -> Option<&Bytes> {
    match outcome {
        Outcome::Value(value) => value.as_ref(),
        Outcome::Swapped { previous, .. } => previous.as_ref(),
        _ => None,
    }
}

fn held(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Swapped { held, .. } => *held,
        Outcome::Untold => false,
        _ => true,
    }
}

fn length(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Value(value) => value.as_ref().map_or(0, Bytes::len),
        Outcome::Swapped { len, .. } => *len,
        _ => 0,
    }
}

/// A piece of a text as Redis cuts it.
fn slice(text: &[u8], from: i64, to: i64) -> &[u8] {
    let len = text.len() as i64;
    if from < 0 && to < 0 && from > to {
        return &[];
    }
    let place = |place: i64| {
        if place < 0 {
            (len.saturating_add(place)).max(0)
        } else {
            place
        }
    };
    let (from, to) = (place(from), place(to).min(len - 1));
    match from <= to {
        true => &text[from as usize..=to as usize],
        false => &[],
    }
}

fn page(
    outcome: &Outcome,
    pattern: Option<&[u8]>,
    is_other_type: bool,
    cursors: &mut Cursors,
    writer: &mut Writer<'_>,
) {
    let Outcome::Page { keys, next } = outcome else {
        return writer.array(0);
    };
    let fits =
        |key: &&Bytes| !is_other_type && pattern.is_none_or(|pattern| glob::matches(pattern, key));
    let cursor = next.as_ref().map_or(0, |next| cursors.give(next.clone()));
    let mut text = Vec::with_capacity(20);
    number::put(&mut text, cursor as i64);
    writer.array(2);
    writer.bulk(&text);
    writer.array(keys.iter().filter(fits).count());
    keys.iter().filter(fits).for_each(|key| writer.bulk(key));
}

/// How an error is told: the first word is what clients look at.
pub fn error(error: &Error) -> Cow<'static, str> {
    let kind = match error.kind() {
        Error::NotLeader { .. }
        | Error::EpochNotMatch { .. }
        | Error::RegionNotFound(_)
        | Error::KeyNotInRegion { .. }
        | Error::RegionMoved(_)
        | Error::StoreNotMatch { .. }
        | Error::StaleCommand
        | Error::ServerIsBusy(_) => "TRYAGAIN",
        Error::DiskFull => return "OOM command not allowed when the disk is full".into(),
        Error::Undetermined => "UNKNOWN",
        Error::TooLarge { .. }
        | Error::SessionExpired
        | Error::Corrupt(_)
        | Error::BadRequest(_)
        | Error::Told { .. } => "ERR",
    };
    let mut text = String::from(kind);
    let _ = write!(text, " {error}");
    text.into()
}

#[cfg(test)]
mod tests {
    use super::super::part::{Op, Part, Stage};
    use super::super::write::Version;
    use super::*;
    use crate::shard::request::Written;

    /// `SET … NX` and `SET … NX GET` where a value was there that the store that was asked could not send.
    #[test]
    fn what_was_there_and_cannot_be_told_is_not_told_as_nothing() {
        let value = || std::borrow::Cow::Borrowed(&b"mine"[..]);
        for (wording, told) in [
            (Wording::OkIfHeld, "$-1\r\n".into()),
            (Wording::OneIfHeld, ":0\r\n".into()),
            (Wording::Value, format!("-{UNTOLD}\r\n")),
        ] {
            let mut part = Part::new(b"\x01key", Op::PutAbsent { value: value() });
            part.written(Written::Held(false)).expect("an outcome");
            let Stage::Over(outcome) = &part.stage else {
                panic!("{:?}", part.stage);
            };
            let mut text = Vec::new();
            let mut writer = Writer::new(&mut text, Version::V2);
            wording.write(
                std::iter::once(outcome),
                &mut Cursors::default(),
                &mut writer,
            );
            assert_eq!(String::from_utf8(text).expect("a reply"), told);
        }
    }

    #[test]
    fn pieces_are_cut_as_redis_cuts_them() {
        for (from, to, expected) in [
            (0, 3, "This"),
            (-3, -1, "ing"),
            (0, -1, "This is a string"),
            (10, 100, "string"),
            (5, 3, ""),
            (-1, -5, ""),
            (-100, 1, "Th"),
            (100, 200, ""),
            (i64::MIN, i64::MIN, "T"),
            (i64::MAX, i64::MAX, ""),
        ] {
            let piece = slice(b"This is a string", from, to);
            assert_eq!(piece, expected.as_bytes(), "{from} {to}");
        }
        assert_eq!(slice(b"", 0, -1), b"");
    }
}
