//! Why a request was not done, and where it might be.

use rkyv::{Archive, Serialize};

use crate::shard::codec::Malformed;
use crate::shard::error::Error;
use crate::shard::ids::{RegionId, StoreId};
use crate::shard::region::{PeerInfo, Region};
use crate::wire::form::{Octets, PeerForm, RegionForm, Source, Text};

/// No text of a failure is longer.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// An error of the brain as a client has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which error, by [`Error::number`].
    pub number: u16,
    /// The error in words.
    pub text: String,
    /// What corrects the way of the next attempt.
    pub route: Route,
}

/// What corrects the way of the next attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Nothing.
    None,
    /// The region is led by this peer, as far as known.
    Leader {
        /// The region.
        region: RegionId,
        /// Its leader.
        leader: Option<PeerInfo>,
    },
    /// These are the regions now.
    Regions(Vec<Region>),
    /// The region is not here.
    NotHere(RegionId),
    /// The key is in another region.
    Outside {
        /// Not in this one.
        region: RegionId,
        /// The key.
        key: Vec<u8>,
    },
    /// This is the store that was reached.
    Store(StoreId),
    /// So much may be asked for.
    Limit {
        /// How much it was.
        bytes: u64,
        /// How much it may be.
        limit: u64,
    },
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Failure {
        Failure {
            number: error.number(),
            text: told(error),
            route: match error.kind() {
                Error::NotLeader { region, leader } => Route::Leader {
                    region: *region,
                    leader: *leader,
                },
                Error::EpochNotMatch { current } => Route::Regions(current.clone()),
                Error::RegionNotFound(region) | Error::RegionMoved(region) => {
                    Route::NotHere(*region)
                }
                Error::KeyNotInRegion { region, key } => Route::Outside {
                    region: *region,
                    key: key.clone(),
                },
                Error::StoreNotMatch { store } => Route::Store(*store),
                Error::TooLarge { bytes, limit, .. } => Route::Limit {
                    bytes: *bytes as u64,
                    limit: *limit as u64,
                },
                _ => Route::None,
            },
        }
    }
}

impl From<Failure> for Error {
    /// The error that a request met elsewhere, for whoever passed it on. Words that say more than its number and
    /// its route are carried over.
    fn from(failure: Failure) -> Error {
        let error = match (failure.number, failure.route) {
            (1, Route::Leader { region, leader }) => Error::NotLeader { region, leader },
            (2, Route::Regions(current)) => Error::EpochNotMatch { current },
            (3, Route::NotHere(region)) => Error::RegionNotFound(region),
            (4, Route::Outside { region, key }) => Error::KeyNotInRegion { region, key },
            (5, Route::NotHere(region)) => Error::RegionMoved(region),
            (6, Route::Store(store)) => Error::StoreNotMatch { store },
            (7, _) => Error::StaleCommand,
            (8, _) => Error::ServerIsBusy(""),
            (9, _) => Error::DiskFull,
            (10, Route::Limit { bytes, limit }) => Error::TooLarge {
                what: "",
                bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
                limit: usize::try_from(limit).unwrap_or(usize::MAX),
            },
            (12, _) => Error::SessionExpired,
            (13, _) => Error::Corrupt(String::new()),
            (14, _) => Error::BadRequest(""),
            // An error that is not known here says nothing about what was done.
            _ => Error::Undetermined,
        };
        match error {
            Error::ServerIsBusy(_)
            | Error::TooLarge { .. }
            | Error::Corrupt(_)
            | Error::BadRequest(_) => Error::Told {
                error: Box::new(error),
                text: failure.text,
            },
            error => error,
        }
    }
}

/// An error in words, as many as are sent.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// A failure as it is sent.
#[derive(Clone, Debug, Archive, Serialize)]
pub(crate) struct FailureForm<'a> {
    number: u16,
    text: Text<'a>,
    route: RouteForm<'a>,
}

/// A route as it is sent.
#[derive(Clone, Debug, Archive, Serialize)]
pub(crate) enum RouteForm<'a> {
    None,
    Leader {
        region: u64,
        leader: Option<PeerForm>,
    },
    Regions(Vec<RegionForm<'a>>),
    NotHere(u64),
    Outside {
        region: u64,
        key: Octets<'a>,
    },
    Store(u64),
    Limit {
        bytes: u64,
        limit: u64,
    },
}

impl<'a> From<&'a Failure> for FailureForm<'a> {
    fn from(failure: &'a Failure) -> FailureForm<'a> {
        FailureForm {
            number: failure.number,
            text: Text(&failure.text),
            route: match &failure.route {
                Route::None => RouteForm::None,
                Route::Leader { region, leader } => RouteForm::Leader {
                    region: region.0,
                    leader: leader.as_ref().map(PeerForm::from),
                },
                Route::Regions(regions) => {
                    RouteForm::Regions(regions.iter().map(RegionForm::from).collect())
                }
                Route::NotHere(region) => RouteForm::NotHere(region.0),
                Route::Outside { region, key } => RouteForm::Outside {
                    region: region.0,
                    key: Octets(key),
                },
                Route::Store(store) => RouteForm::Store(store.0),
                Route::Limit { bytes, limit } => RouteForm::Limit {
                    bytes: *bytes,
                    limit: *limit,
                },
            },
        }
    }
}

impl ArchivedFailureForm<'_> {
    /// The failure.
    pub fn get(&self, source: &Source<'_>) -> Result<Failure, Malformed> {
        use ArchivedRouteForm as Form;
        Ok(Failure {
            number: self.number.to_native(),
            text: self.text.get(TEXT_BYTES_MAX)?,
            route: match &self.route {
                Form::None => Route::None,
                Form::Leader { region, leader } => Route::Leader {
                    region: RegionId(region.to_native()),
                    leader: leader.as_ref().map(|leader| leader.get()).transpose()?,
                },
                Form::Regions(regions) => Route::Regions(
                    regions
                        .iter()
                        .map(|region| region.get(source))
                        .collect::<Result<_, _>>()?,
                ),
                Form::NotHere(region) => Route::NotHere(RegionId(region.to_native())),
                Form::Outside { region, key } => Route::Outside {
                    region: RegionId(region.to_native()),
                    key: source.slice(key)?.to_vec(),
                },
                Form::Store(store) => Route::Store(StoreId(store.to_native())),
                Form::Limit { bytes, limit } => Route::Limit {
                    bytes: bytes.to_native(),
                    limit: limit.to_native(),
                },
            },
        })
    }
}
