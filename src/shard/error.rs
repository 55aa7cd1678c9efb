//! Why a request was not done. The numbers are part of the wire and never change.

use std::fmt;

use super::ids::{RegionId, StoreId};
use super::region::{PeerInfo, Region};

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Another peer leads the region, as far as known.
    NotLeader {
        /// The region.
        region: RegionId,
        /// The leader, where one is known.
        leader: Option<PeerInfo>,
    },
    /// The region has changed since the request was made; these are the regions here now.
    EpochNotMatch {
        /// The region as it is now, and its neighbour from a split.
        current: Vec<Region>,
    },
    /// The region has no peer here.
    RegionNotFound(RegionId),
    /// The key lies outside the region's range.
    KeyNotInRegion {
        /// The region.
        region: RegionId,
        /// The key.
        key: Vec<u8>,
    },
    /// The region's peer here is gone or going.
    RegionMoved(RegionId),
    /// The request names another store.
    StoreNotMatch {
        /// This store.
        store: StoreId,
    },
    /// The command was not applied, and never will be.
    StaleCommand,
    /// A queue is full: try again later.
    ServerIsBusy(&'static str),
    /// The disk is full: nothing that grows is taken.
    DiskFull,
    /// A key, value or request is longer than its limit.
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        limit: usize,
    },
    /// Whether the command was applied, or will be, is not known.
    Undetermined,
    /// The record of this client's earlier commands is gone.
    SessionExpired,
    /// Stored data cannot be read back.
    Corrupt(String),
    /// The request makes no sense.
    BadRequest(&'static str),
    /// Another store has said so, in words of its own.
    Told {
        /// Which error it is; words that it would have of its own say nothing.
        error: Box<Error>,
        /// The words.
        text: String,
    },
}

impl Error {
    /// Its number on the wire.
    pub fn number(&self) -> u16 {
        match self {
            Error::NotLeader { .. } => 1,
            Error::EpochNotMatch { .. } => 2,
            Error::RegionNotFound(_) => 3,
            Error::KeyNotInRegion { .. } => 4,
            Error::RegionMoved(_) => 5,
            Error::StoreNotMatch { .. } => 6,
            Error::StaleCommand => 7,
            Error::ServerIsBusy(_) => 8,
            Error::DiskFull => 9,
            Error::TooLarge { .. } => 10,
            Error::Undetermined => 11,
            Error::SessionExpired => 12,
            Error::Corrupt(_) => 13,
            Error::BadRequest(_) => 14,
            Error::Told { error, .. } => error.number(),
        }
    }

    /// Which error it is, whoever has said so.
    pub fn kind(&self) -> &Error {
        match self {
            Error::Told { error, .. } => error.kind(),
            error => error,
        }
    }

    /// Whether the command may have been applied, or may yet be, all the same.
    pub fn leaves_open(&self) -> bool {
        matches!(self.kind(), Error::Undetermined)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotLeader {
                region,
                leader: Some(leader),
            } => write!(
                out,
                "region {region} is led by peer {} on store {}",
                leader.peer, leader.store
            ),
            Error::NotLeader {
                region,
                leader: None,
            } => {
                write!(out, "region {region} has no known leader at the moment")
            }
            Error::EpochNotMatch { current } => {
                write!(out, "the region has changed; now there are")?;
                current
                    .iter()
                    .try_for_each(|region| write!(out, " {region}"))
            }
            Error::RegionNotFound(region) => write!(out, "region {region} is not on this store"),
            Error::KeyNotInRegion { region, key } => {
                write!(out, "key {} is not in region {region}", key.escape_ascii())
            }
            Error::RegionMoved(region) => write!(out, "region {region} is leaving this store"),
            Error::StoreNotMatch { store } => write!(out, "this is store {store}"),
            Error::StaleCommand => write!(out, "the command was not applied; leadership changed"),
            Error::ServerIsBusy(what) => write!(out, "busy: {what}; try again later"),
            Error::DiskFull => write!(out, "the disk is full"),
            Error::TooLarge { what, bytes, limit } => {
                write!(out, "{what} of {bytes} bytes is over the limit of {limit}")
            }
            Error::Undetermined => write!(out, "whether the command is applied is not known"),
            Error::SessionExpired => write!(out, "the session has expired"),
            Error::Corrupt(what) => write!(out, "stored data cannot be read back: {what}"),
            Error::BadRequest(why) => write!(out, "bad request: {why}"),
            Error::Told { text, .. } => out.write_str(text),
        }
    }
}

impl std::error::Error for Error {}
