//! Answers: made by nodes, understood by clients.

use bytes::Bytes;
use rkyv::ser::allocator::Arena;
use rkyv::{Archive, Serialize};

use crate::shard::codec::{Malformed, Reader};
use crate::shard::error::Error;
use crate::shard::request::{Answer, Response, Written};
use crate::wire::form::{self, Octets, Source};

use crate::wire::placement::PlacementForm;

use super::failure::{ArchivedFailureForm, Failure, FailureForm};
use super::frame::{ANSWER_BYTES, FRAME_BYTES_MAX, VERSION, close};

/// The answer is a failure.
const FAILED: u8 = 1;

/// An answer as it is sent.
#[derive(Clone, Debug, Archive, Serialize)]
pub(crate) enum AnswerForm<'a> {
    Written(WrittenForm<'a>),
    AllWritten(Vec<WrittenForm<'a>>),
    Value(Option<Octets<'a>>),
    Values(Vec<Option<Octets<'a>>>),
    Pairs {
        pairs: Vec<(Octets<'a>, Octets<'a>)>,
        more: bool,
    },
    Done,
    Placement(PlacementForm<'a>),
}

/// What became of one write, as it is sent.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(crate) enum WrittenForm<'a> {
    Done,
    Compared {
        held: bool,
        previous: Option<Octets<'a>>,
    },
    Counter(i64),
    NotANumber,
    Held(bool),
}

impl<'a> From<&'a Written> for WrittenForm<'a> {
    fn from(written: &'a Written) -> WrittenForm<'a> {
        match written {
            Written::Done => WrittenForm::Done,
            Written::Compared { held, previous } => WrittenForm::Compared {
                held: *held,
                previous: previous.as_ref().map(|previous| Octets(previous)),
            },
            Written::Held(held) => WrittenForm::Held(*held),
            Written::Counter(sum) => WrittenForm::Counter(*sum),
            Written::NotANumber => WrittenForm::NotANumber,
        }
    }
}

impl<'a> From<&'a Answer> for AnswerForm<'a> {
    fn from(answer: &'a Answer) -> AnswerForm<'a> {
        match answer {
            Answer::Written(written) => AnswerForm::Written(written.into()),
            Answer::AllWritten(written) => {
                AnswerForm::AllWritten(written.iter().map(WrittenForm::from).collect())
            }
            Answer::Value(value) => AnswerForm::Value(value.as_ref().map(|value| Octets(value))),
            Answer::Values(values) => AnswerForm::Values(
                values
                    .iter()
                    .map(|value| value.as_ref().map(|value| Octets(value)))
                    .collect(),
            ),
            Answer::Pairs { pairs, more } => AnswerForm::Pairs {
                pairs: pairs
                    .iter()
                    .map(|(key, value)| (Octets(key), Octets(value)))
                    .collect(),
                more: *more,
            },
            Answer::Done => AnswerForm::Done,
            Answer::Placement(message) => AnswerForm::Placement(message.into()),
        }
    }
}

impl ArchivedWrittenForm<'_> {
    fn get(&self, source: &Source<'_>) -> Result<Written, Malformed> {
        Ok(match self {
            ArchivedWrittenForm::Done => Written::Done,
            ArchivedWrittenForm::Compared { held, previous } => Written::Compared {
                held: *held,
                previous: previous
                    .as_ref()
                    .map(|span| source.bytes(span))
                    .transpose()?,
            },
            ArchivedWrittenForm::Counter(sum) => Written::Counter(sum.to_native()),
            ArchivedWrittenForm::NotANumber => Written::NotANumber,
            ArchivedWrittenForm::Held(held) => Written::Held(*held),
        })
    }
}

impl ArchivedAnswerForm<'_> {
    fn get(&self, source: &Source<'_>) -> Result<Answer, Malformed> {
        use ArchivedAnswerForm as Form;
        Ok(match self {
            Form::Written(written) => Answer::Written(written.get(source)?),
            Form::AllWritten(written) => Answer::AllWritten(
                written
                    .iter()
                    .map(|written| written.get(source))
                    .collect::<Result<_, _>>()?,
            ),
            Form::Value(value) => {
                Answer::Value(value.as_ref().map(|span| source.bytes(span)).transpose()?)
            }
            Form::Values(values) => Answer::Values(
                values
                    .iter()
                    .map(|value| value.as_ref().map(|span| source.bytes(span)).transpose())
                    .collect::<Result<_, _>>()?,
            ),
            Form::Pairs { pairs, more } => Answer::Pairs {
                pairs: pairs
                    .iter()
                    .map(|pair| Ok((source.bytes(&pair.0)?, source.bytes(&pair.1)?)))
                    .collect::<Result<_, Malformed>>()?,
                more: *more,
            },
            Form::Done => Answer::Done,
            Form::Placement(message) => Answer::Placement(message.get(source)?),
        })
    }
}

/// About how many bytes an answer has; no fewer than it really has.
fn weight(answer: &Answer) -> usize {
    let written = |written: &Written| {
        64 + match written {
            Written::Compared {
                previous: Some(previous),
                ..
            } => previous.len(),
            _ => 0,
        }
    };
    let value = |value: &Option<Bytes>| 16 + value.as_ref().map_or(0, Bytes::len);
    64 + match answer {
        Answer::Written(outcome) => written(outcome),
        Answer::AllWritten(outcomes) => outcomes.iter().map(written).sum(),
        Answer::Value(found) => value(found),
        Answer::Values(values) => values.iter().map(value).sum(),
        Answer::Pairs { pairs, .. } => {
            let pairs = pairs
                .iter()
                .map(|(key, value)| 32 + key.len() + value.len());
            pairs.sum()
        }
        // Bounded by how many nodes and regions one of them lists, and found too long afterwards if not.
        Answer::Done | Answer::Placement(_) => 0,
    }
}

/// Appends the answer to a request. What was written is told without what was there before, where no frame holds
/// that; what was read becomes a failure that says so.
pub fn encode(id: u64, response: &Response, arena: &mut Arena, out: &mut Vec<u8>) {
    let start = out.len();
    let head = |failed: u8, out: &mut Vec<u8>| {
        out.truncate(start);
        out.extend_from_slice(&[0, 0, 0, 0, VERSION, failed, 0, 0]);
        out.extend_from_slice(&id.to_le_bytes());
    };
    let error = match response {
        Ok(answer) => {
            let bytes = ANSWER_BYTES + weight(answer);
            if bytes <= FRAME_BYTES_MAX {
                head(0, out);
                let archived = form::archive(&AnswerForm::from(answer), out, arena);
                if archived.is_ok() && out.len() - start <= FRAME_BYTES_MAX {
                    return close(out, start);
                }
            }
            if let Some(brief) = answer.without_previous() {
                out.truncate(start);
                return encode(id, &Ok(brief), arena, out);
            }
            &Error::TooLarge {
                what: "an answer",
                bytes,
                limit: FRAME_BYTES_MAX,
            }
        }
        Err(error) => error,
    };
    head(FAILED, out);
    let failure = Failure::from(error);
    // A failure is short; one that could not be told at all is still one.
    let _ = form::archive(&FailureForm::from(&failure), out, arena);
    close(out, start);
}

/// An answer as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The request that it answers.
    pub id: u64,
    /// The answer.
    pub result: Result<Answer, Failure>,
}

impl Answered {
    /// Takes a whole frame apart. Long values are not copied: they share the frame.
    pub fn decode(frame: &Bytes) -> Result<Answered, Malformed> {
        let archive = frame.get(ANSWER_BYTES..).ok_or(Malformed("cut short"))?;
        let mut reader = Reader(&frame[4..ANSWER_BYTES]);
        let (version, flags, _, id) = (reader.u8()?, reader.u8()?, reader.u16()?, reader.u64()?);
        if version != VERSION {
            return Err(Malformed("an answer of an unknown version"));
        }
        let source = Source::shared(archive, frame);
        let result = match flags & FAILED {
            0 => Ok(form::access::<ArchivedAnswerForm<'_>>(archive)?.get(&source)?),
            _ => Err(form::access::<ArchivedFailureForm<'_>>(archive)?.get(&source)?),
        };
        Ok(Answered { id, result })
    }
}
