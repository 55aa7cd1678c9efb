//! The ways in which the log says no: damage, with its place, and refusals, with their reason.

use core::fmt;

use crate::ids::{Lsn, Sequence, Slot};

/// Bytes that were acknowledged and are not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt {
    /// The file.
    pub slot: Slot,
    /// The segment in it, as far as it is known.
    pub segment: Sequence,
    /// Where in the file the damage begins.
    pub offset: u32,
    /// The first batch that is missing.
    pub lsn: Lsn,
    /// What does not hold.
    pub why: &'static str,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "segment {} (slot {}) is damaged at offset {}, lsn {}: {}",
            self.segment, self.slot, self.offset, self.lsn, self.why
        )
    }
}

impl core::error::Error for Corrupt {}

/// Why the log does not take a record. Nothing of it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The log has used its space; truncate and checkpoint what [`crate::Log::oldest_holders`] names.
    Full,
    /// The record is longer than its limit.
    TooLarge {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// A write failed: the log is final and only its memory is left.
    Failed,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Full => write!(formatter, "the log has used its space"),
            Refused::TooLarge { bytes, limit } => {
                write!(
                    formatter,
                    "a record of {bytes} bytes is over the limit of {limit}"
                )
            }
            Refused::Failed => write!(formatter, "an earlier write of the log failed"),
        }
    }
}

impl core::error::Error for Refused {}
