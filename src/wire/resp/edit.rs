//! A new value from what is there: commands that read, think and write only if nothing has changed.

use std::borrow::Cow;

use bytes::Bytes;

use crate::shard::error::Error;
use crate::shard::limits::VALUE_BYTES_MAX;

use super::part::Outcome;

/// What is to become of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit<'a> {
    /// This takes its place, whether there was one or not.
    Swap(Cow<'a, [u8]>),
    /// This takes its place if there was one.
    SwapPresent(Cow<'a, [u8]>),
    /// It goes, and is told.
    Remove,
    /// It goes, and all that is told is that it was there.
    Drop,
    /// This comes behind it.
    Append(Cow<'a, [u8]>),
    /// This lies over it from a place on.
    Overlay {
        /// The place.
        at: usize,
        /// What lies over it.
        bytes: Cow<'a, [u8]>,
    },
}

/// What follows from what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<'e> {
    /// Nothing is to be written.
    Keep,
    /// This is to be written; none: the key is to go.
    Set(Option<Cow<'e, [u8]>>),
}

impl Edit<'_> {
    /// What follows from what is there.
    pub fn next(&self, seen: Option<&[u8]>) -> Result<Next<'_>, Error> {
        let next = match (self, seen) {
            (Edit::Swap(value), _) | (Edit::SwapPresent(value), Some(_)) => {
                Next::Set(Some(Cow::Borrowed(value)))
            }
            (Edit::Remove | Edit::Drop, Some(_)) => Next::Set(None),
            (Edit::SwapPresent(_) | Edit::Remove | Edit::Drop, None) => Next::Keep,
            (Edit::Append(more), None) => Next::Set(Some(Cow::Borrowed(more))),
            (Edit::Append(more), Some(seen)) => {
                check(seen.len() + more.len())?;
                Next::Set(Some([seen, more].concat().into()))
            }
            (Edit::Overlay { bytes, .. }, _) if bytes.is_empty() => Next::Keep,
            (Edit::Overlay { at, bytes }, seen) => {
                let end = at.saturating_add(bytes.len());
                check(end)?;
                let mut value = seen.unwrap_or_default().to_vec();
                value.resize(end.max(value.len()), 0);
                value[*at..end].copy_from_slice(bytes);
                Next::Set(Some(value.into()))
            }
        };
        Ok(next)
    }

    /// What came of it, if this was there and `next` followed.
    pub fn outcome(&self, previous: Option<Bytes>) -> Outcome {
        let next = self.next(previous.as_deref());
        let (held, len) = match &next {
            Ok(Next::Set(value)) => (true, value.as_ref().map_or(0, |value| value.len())),
            _ => (false, previous.as_ref().map_or(0, Bytes::len)),
        };
        let previous = match self {
            Edit::Drop => previous.map(|_| Bytes::new()),
            _ => previous,
        };
        Outcome::Swapped {
            held,
            previous,
            len,
        }
    }

    /// The same, in bytes of its own.
    pub fn into_owned(self) -> Edit<'static> {
        let own = |bytes: Cow<'_, [u8]>| Cow::Owned(bytes.into_owned());
        match self {
            Edit::Swap(value) => Edit::Swap(own(value)),
            Edit::SwapPresent(value) => Edit::SwapPresent(own(value)),
            Edit::Remove => Edit::Remove,
            Edit::Drop => Edit::Drop,
            Edit::Append(more) => Edit::Append(own(more)),
            Edit::Overlay { at, bytes } => Edit::Overlay {
                at,
                bytes: own(bytes),
            },
        }
    }
}

fn check(bytes: usize) -> Result<(), Error> {
    match bytes > VALUE_BYTES_MAX {
        true => Err(Error::TooLarge {
            what: "a value",
            bytes,
            limit: VALUE_BYTES_MAX,
        }),
        false => Ok(()),
    }
}
