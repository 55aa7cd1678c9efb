//! What clients did and saw.

use std::fmt;

/// What a client wanted of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its value.
    Get,
    /// To set it.
    Put(Vec<u8>),
    /// To delete it.
    Delete,
    /// To set or delete it if it has an expected value.
    CompareAndPut {
        /// The expected value.
        expected: Option<Vec<u8>>,
        /// The new one.
        new: Option<Vec<u8>>,
    },
    /// To add to it.
    Add(i64),
}

/// What a client was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is done.
    Done,
    /// A value, or none.
    Value(Option<Vec<u8>>),
    /// A comparison's outcome.
    Compared {
        /// Whether it held.
        held: bool,
        /// What was there.
        previous: Option<Vec<u8>>,
    },
    /// A counter's new value.
    Counter(i64),
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Known {
        /// When, in virtual nanoseconds.
        returned: u64,
        /// With what.
        seen: Seen,
    },
    /// Whether it took effect, or will, is not known.
    Unknown,
    /// It never takes effect.
    NotApplied,
}

/// One operation of one client on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who.
    pub client: u64,
    /// Which key.
    pub key: Vec<u8>,
    /// What.
    pub kind: Kind,
    /// When it began, in virtual nanoseconds.
    pub invoked: u64,
    /// How it ended.
    pub outcome: Outcome,
}

impl Operation {
    /// When it had taken effect at the latest.
    pub fn end(&self) -> u64 {
        match self.outcome {
            Outcome::Known { returned, .. } => returned,
            _ => u64::MAX,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<Vec<u8>>| match value {
            None => "none".to_string(),
            Some(value) => value.escape_ascii().to_string(),
        };
        write!(out, "{:>12} ", self.invoked / 1000)?;
        match &self.outcome {
            Outcome::Known { returned, .. } => write!(out, "– {:>12} µs", returned / 1000)?,
            _ => write!(out, "–            ? µs")?,
        }
        write!(out, "  client {:>3}  ", self.client)?;
        match &self.kind {
            Kind::Get => write!(out, "get")?,
            Kind::Put(value) => write!(out, "put {}", value.escape_ascii())?,
            Kind::Delete => write!(out, "delete")?,
            Kind::CompareAndPut { expected, new } => {
                write!(out, "compare {} and put {}", text(expected), text(new))?;
            }
            Kind::Add(delta) => write!(out, "add {delta}")?,
        }
        match &self.outcome {
            Outcome::Known { seen, .. } => match seen {
                Seen::Done => write!(out, " → done"),
                Seen::Value(value) => write!(out, " → {}", text(value)),
                Seen::Compared { held, previous } => {
                    write!(out, " → {held}, was {}", text(previous))
                }
                Seen::Counter(sum) => write!(out, " → {sum}"),
            },
            Outcome::Unknown => write!(out, " → unknown"),
            Outcome::NotApplied => write!(out, " → not applied"),
        }
    }
}
