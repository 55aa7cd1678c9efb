//! What a command wants of one key, and how far that is.

use std::borrow::Cow;

use bytes::Bytes;

use crate::shard::error::Error;
use crate::shard::request::{Write, Written};

use super::edit::{Edit, Next};

/// So often a value may change between reading and writing before the command gives up.
const ATTEMPTS_MAX: u8 = 100;

/// A value that is read to be changed counts as so many bytes: not many are read at once, and they are
/// written before others are read.
const READ_BYTES_GUESSED: usize = 48 << 10;

/// What a command wants of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// Its value.
    Get,
    /// Whether it is there.
    Look,
    /// A value for it.
    Put {
        /// The value.
        value: Cow<'a, [u8]>,
        /// Unix milliseconds from which on it is gone.
        expiry_ms: Option<u64>,
    },
    /// A value for it, if it has none.
    PutAbsent {
        /// The value.
        value: Cow<'a, [u8]>,
    },
    /// More or less of a counter.
    Add {
        /// How much.
        delta: i64,
    },
    /// A value that follows from what is there.
    Edit(Edit<'a>),
    /// Keys from this one on.
    Scan {
        /// The key behind the range.
        limit: Vec<u8>,
        /// At most so many.
        count: usize,
        /// The end of the region, where it lies before the limit.
        bound: Option<Vec<u8>>,
    },
    /// How many keys there are from this one on.
    Count {
        /// The key behind the range.
        limit: Vec<u8>,
        /// The end of the region, where it lies before the limit.
        bound: Option<Vec<u8>>,
        /// How many lie before this one.
        counted: u64,
    },
    /// No keys from this one on.
    DeleteRange {
        /// The key behind the range.
        limit: Vec<u8>,
        /// The end of the region, where it lies before the limit.
        bound: Option<Vec<u8>>,
    },
    /// Its bytes were given away: it can only be answered.
    Asked,
}

impl Op<'_> {
    /// Whether it asks for a range.
    pub fn is_range(&self) -> bool {
        matches!(self, Op::Scan { .. }) || self.is_divisible()
    }

    /// Whether a range of it may be dealt with in pieces, in any order.
    pub fn is_divisible(&self) -> bool {
        matches!(self, Op::Count { .. } | Op::DeleteRange { .. })
    }
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is to be asked for.
    Open,
    /// What is there was read, and follows now.
    Seen {
        /// What is there.
        value: Option<Bytes>,
        /// How often it was another than expected.
        attempts: u8,
    },
    /// It is done.
    Over(Outcome),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// A value, or none.
    Value(Option<Bytes>),
    /// A value in the place of another.
    Swapped {
        /// Whether it was written.
        held: bool,
        /// What was there.
        previous: Option<Bytes>,
        /// How long the value is now.
        len: usize,
    },
    /// It is not written, since there was something, which was too much to be told.
    Untold,
    /// A counter.
    Counter(i64),
    /// The value is no number, or the sum no longer one.
    NotANumber,
    /// Keys, as users name them, and where the scan goes on.
    Page {
        /// The keys.
        keys: Vec<Bytes>,
        /// The stored key to go on with; none: it is at its end.
        next: Option<Vec<u8>>,
    },
}

/// What a command wants of one key, and how far that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// The stored key.
    pub key: Cow<'a, [u8]>,
    /// What is wanted.
    pub op: Op<'a>,
    /// How far it is.
    pub stage: Stage,
}

impl<'a> Part<'a> {
    /// Something that is to be asked for.
    pub fn new(key: &'a [u8], op: Op<'a>) -> Part<'a> {
        Part {
            key: Cow::Borrowed(key),
            op,
            stage: Stage::Open,
        }
    }

    /// Whether nothing more is to be done.
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over(_))
    }

    /// Whether it reads next, and does not write.
    pub fn reads(&self) -> bool {
        matches!(
            (&self.op, &self.stage),
            (
                Op::Get | Op::Look | Op::Scan { .. } | Op::Count { .. } | Op::Edit(_),
                Stage::Open
            )
        )
    }

    /// How many bytes of values it keeps for the reply.
    pub fn held(&self) -> usize {
        match &self.stage {
            Stage::Over(Outcome::Value(value)) => value.as_ref().map_or(0, Bytes::len),
            Stage::Over(Outcome::Swapped { previous, .. }) => {
                previous.as_ref().map_or(0, Bytes::len)
            }
            _ => 0,
        }
    }

    /// About how many bytes its next request has, or is to be reckoned with.
    pub fn weight(&self) -> usize {
        let value = match &self.op {
            Op::Put { value, .. } | Op::PutAbsent { value } => value.len(),
            Op::Edit(
                Edit::Swap(value)
                | Edit::SwapPresent(value)
                | Edit::Append(value)
                | Edit::Overlay { bytes: value, .. },
            ) => value.len(),
            _ => 0,
        };
        let seen = match (&self.op, &self.stage) {
            (Op::Edit(_), Stage::Open) => READ_BYTES_GUESSED,
            (
                _,
                Stage::Seen {
                    value: Some(value), ..
                },
            ) => value.len() * 2,
            _ => 0,
        };
        self.key.len() + value + seen + 32
    }

    /// The value that it writes next, where that is yet to be made.
    pub fn made(&self) -> Option<Cow<'_, [u8]>> {
        match (&self.op, &self.stage) {
            (Op::Edit(edit), Stage::Seen { value, .. }) => match edit.next(value.as_deref()) {
                Ok(Next::Set(value)) => value,
                _ => None,
            },
            _ => None,
        }
    }

    /// Its next write, with the value that was made for it.
    pub fn write<'s>(&'s self, made: Option<&'s [u8]>) -> Option<Write<'s>> {
        let key = &self.key[..];
        Some(match &self.op {
            Op::Put { value, expiry_ms } => Write::Put {
                key,
                value,
                expiry_ms: *expiry_ms,
            },
            Op::PutAbsent { value } => Write::CompareAndPut {
                key,
                expected: None,
                value: Some(value),
            },
            Op::Add { delta } => Write::Add { key, delta: *delta },
            Op::DeleteRange { limit, bound } => Write::DeleteRange {
                start: key,
                limit: bound.as_ref().unwrap_or(limit),
            },
            Op::Edit(_) => Write::CompareAndPut {
                key,
                expected: match &self.stage {
                    Stage::Seen { value, .. } => value.as_deref(),
                    _ => None,
                },
                value: made,
            },
            Op::Get | Op::Look | Op::Scan { .. } | Op::Count { .. } | Op::Asked => return None,
        })
    }

    /// Its value was read.
    pub fn read(&mut self, value: Option<Bytes>) -> Result<(), Error> {
        match self.op {
            Op::Edit(_) => return self.see(value, 0),
            // What is only counted is not kept.
            Op::Look => self.stage = Stage::Over(Outcome::Value(value.map(|_| Bytes::new()))),
            _ => self.stage = Stage::Over(Outcome::Value(value)),
        }
        Ok(())
    }

    /// What is there follows now, unless nothing follows from it.
    fn see(&mut self, value: Option<Bytes>, attempts: u8) -> Result<(), Error> {
        let Op::Edit(edit) = &self.op else {
            return Err(UNFIT);
        };
        if attempts > ATTEMPTS_MAX {
            return Err(Error::ServerIsBusy("others write this key all the time"));
        }
        self.stage = match edit.next(value.as_deref())? {
            Next::Keep => Stage::Over(edit.outcome(value)),
            Next::Set(_) => Stage::Seen { value, attempts },
        };
        Ok(())
    }

    /// Its write came to this.
    pub fn written(&mut self, written: Written) -> Result<(), Error> {
        let outcome = match (written, &self.op) {
            (Written::Compared { held, previous }, Op::Edit(edit)) => {
                if !held {
                    let attempts = match self.stage {
                        Stage::Seen { attempts, .. } => attempts + 1,
                        _ => 0,
                    };
                    return self.see(previous, attempts);
                }
                edit.outcome(previous)
            }
            (Written::Held(true), Op::Edit(edit)) => match &self.stage {
                // Then it was what was expected.
                Stage::Seen { value, .. } => edit.outcome(value.clone()),
                _ => return Err(UNFIT),
            },
            (Written::Held(false), Op::Edit(_)) => {
                // It is another one, which is to be read.
                self.stage = Stage::Open;
                return Ok(());
            }
            (Written::Held(false), _) => Outcome::Untold,
            (Written::Held(held), _) => Outcome::Swapped {
                held,
                previous: None,
                len: 0,
            },
            (Written::Compared { held, previous }, _) => Outcome::Swapped {
                held,
                previous,
                len: 0,
            },
            (
                Written::Done,
                Op::DeleteRange {
                    limit,
                    bound: Some(bound),
                },
            ) => {
                // The rest lies in the regions behind this one.
                self.key = Cow::Owned(bound.clone());
                self.op = Op::DeleteRange {
                    limit: limit.clone(),
                    bound: None,
                };
                return Ok(());
            }
            (Written::Done, _) => Outcome::Done,
            (Written::Counter(sum), _) => Outcome::Counter(sum),
            (Written::NotANumber, _) => Outcome::NotANumber,
        };
        self.stage = Stage::Over(outcome);
        Ok(())
    }

    /// Its range is asked for no further than here.
    pub fn bound(&mut self, region_limit: &[u8]) {
        if let Op::Scan { limit, bound, .. }
        | Op::Count { limit, bound, .. }
        | Op::DeleteRange { limit, bound } = &mut self.op
        {
            let cuts = !region_limit.is_empty() && (limit.is_empty() || region_limit < &limit[..]);
            *bound = cuts.then(|| region_limit.to_vec());
        }
    }

    /// What lies behind its bound, if that may be dealt with apart.
    pub fn rest(&self) -> Option<Part<'a>> {
        let (key, op) = match &self.op {
            Op::Count {
                limit,
                bound: Some(bound),
                ..
            } => {
                let op = Op::Count {
                    limit: limit.clone(),
                    bound: None,
                    counted: 0,
                };
                (bound, op)
            }
            Op::DeleteRange {
                limit,
                bound: Some(bound),
            } => {
                let op = Op::DeleteRange {
                    limit: limit.clone(),
                    bound: None,
                };
                (bound, op)
            }
            _ => return None,
        };
        Some(Part {
            key: Cow::Owned(key.clone()),
            op,
            stage: Stage::Open,
        })
    }

    /// What lies behind its bound is somebody else's.
    pub fn end_at_bound(&mut self) {
        if let Op::Count { limit, bound, .. } | Op::DeleteRange { limit, bound } = &mut self.op
            && let Some(bound) = bound.take()
        {
            *limit = bound;
        }
    }

    /// These are the stored keys that a scan has found; there may be more of them before its limit.
    pub fn page(&mut self, mut keys: Vec<Bytes>, more: bool) -> Result<(), Error> {
        if let Op::Count { bound, counted, .. } = &mut self.op {
            *counted += keys.len() as u64;
            let next = match (more, keys.last()) {
                (true, Some(last)) => [last, &b"\0"[..]].concat(),
                (true, None) => return Err(UNFIT),
                (false, _) => match bound.take() {
                    Some(behind) => behind,
                    None => {
                        self.stage = Stage::Over(Outcome::Counter(*counted as i64));
                        return Ok(());
                    }
                },
            };
            self.key = Cow::Owned(next);
            return Ok(());
        }
        let Op::Scan { bound, .. } = &self.op else {
            return Err(UNFIT);
        };
        let next = match (more, keys.last()) {
            (true, Some(last)) => Some([last, &b"\0"[..]].concat()),
            (true, None) => return Err(UNFIT),
            (false, _) => bound.clone(),
        };
        for key in &mut keys {
            // What tells user keys from system keys is not shown.
            *key = key.slice(1.min(key.len())..);
        }
        self.stage = Stage::Over(Outcome::Page { keys, next });
        Ok(())
    }

    /// What must be kept once it was asked for, until the answer comes.
    pub fn park(self) -> Part<'static> {
        match self.op {
            // What may be asked again keeps its bytes.
            Op::Edit(_) | Op::Scan { .. } | Op::Count { .. } | Op::DeleteRange { .. } => {
                self.into_owned()
            }
            _ => Part {
                key: Cow::Borrowed(&[]),
                op: Op::Asked,
                stage: self.stage,
            },
        }
    }

    /// The same, in bytes of its own.
    pub fn into_owned(self) -> Part<'static> {
        let own = |bytes: Cow<'_, [u8]>| Cow::Owned(bytes.into_owned());
        Part {
            key: own(self.key),
            op: match self.op {
                Op::Get => Op::Get,
                Op::Look => Op::Look,
                Op::Put { value, expiry_ms } => Op::Put {
                    value: own(value),
                    expiry_ms,
                },
                Op::PutAbsent { value } => Op::PutAbsent { value: own(value) },
                Op::Add { delta } => Op::Add { delta },
                Op::Edit(edit) => Op::Edit(edit.into_owned()),
                Op::Scan {
                    limit,
                    count,
                    bound,
                } => Op::Scan {
                    limit,
                    count,
                    bound,
                },
                Op::Count {
                    limit,
                    bound,
                    counted,
                } => Op::Count {
                    limit,
                    bound,
                    counted,
                },
                Op::DeleteRange { limit, bound } => Op::DeleteRange { limit, bound },
                Op::Asked => Op::Asked,
            },
            stage: self.stage,
        }
    }
}

/// An answer is none to what was asked.
pub const UNFIT: Error = Error::BadRequest("an answer to something else");
