//! What is asked, as it is sent.

use rkyv::{Archive, Serialize};

use crate::shard::codec::Malformed;
use crate::shard::ids::{PeerId, RegionId};
use crate::shard::request::{Body, Freshness, Write};
use crate::wire::form::{Octets, PeerChangeForm, Source, peer_changes};
use crate::wire::placement::PlacementForm;

/// What is asked.
// Forms are numbered by their order: new ones come behind all others.
#[derive(Clone, Debug, Archive, Serialize)]
pub(crate) enum BodyForm<'a> {
    Write(Vec<WriteForm<'a>>),
    Get {
        key: Octets<'a>,
        freshness: u8,
    },
    MultiGet {
        keys: Vec<Octets<'a>>,
        freshness: u8,
    },
    Scan {
        start: Octets<'a>,
        limit: Octets<'a>,
        count: u64,
        reverse: bool,
        freshness: u8,
    },
    TransferLeader {
        region: u64,
        to: u64,
    },
    ChangePeers {
        region: u64,
        changes: Vec<PeerChangeForm>,
    },
    Placement(PlacementForm<'a>),
    /// Ids are given by placement, and not by clients.
    Split {
        region: u64,
        keys: Vec<Octets<'a>>,
    },
}

/// One write.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(crate) enum WriteForm<'a> {
    Put {
        key: Octets<'a>,
        value: Octets<'a>,
        expiry_ms: Option<u64>,
    },
    Delete {
        key: Octets<'a>,
    },
    DeleteRange {
        start: Octets<'a>,
        limit: Octets<'a>,
    },
    CompareAndPut {
        key: Octets<'a>,
        expected: Option<Octets<'a>>,
        value: Option<Octets<'a>>,
    },
    Add {
        key: Octets<'a>,
        delta: i64,
    },
}

fn freshness_number(freshness: Freshness) -> u8 {
    match freshness {
        Freshness::Linearizable => 0,
        Freshness::AnyReplica => 1,
        Freshness::Local => 2,
    }
}

fn freshness_of(number: u8) -> Result<Freshness, Malformed> {
    match number {
        0 => Ok(Freshness::Linearizable),
        1 => Ok(Freshness::AnyReplica),
        2 => Ok(Freshness::Local),
        _ => Err(Malformed("an unknown freshness")),
    }
}

impl<'a> From<&Body<'a>> for BodyForm<'a> {
    fn from(body: &Body<'a>) -> BodyForm<'a> {
        match body {
            Body::Write(writes) => BodyForm::Write(writes.iter().map(WriteForm::from).collect()),
            Body::Get { key, freshness } => BodyForm::Get {
                key: Octets(key),
                freshness: freshness_number(*freshness),
            },
            Body::MultiGet { keys, freshness } => BodyForm::MultiGet {
                keys: keys.iter().map(|key| Octets(key)).collect(),
                freshness: freshness_number(*freshness),
            },
            Body::Scan {
                start,
                limit,
                count,
                reverse,
                freshness,
            } => BodyForm::Scan {
                start: Octets(start),
                limit: Octets(limit),
                count: *count as u64,
                reverse: *reverse,
                freshness: freshness_number(*freshness),
            },
            Body::TransferLeader { region, to } => BodyForm::TransferLeader {
                region: region.0,
                to: to.0,
            },
            Body::ChangePeers { region, changes } => BodyForm::ChangePeers {
                region: region.0,
                changes: changes.iter().map(PeerChangeForm::from).collect(),
            },
            Body::Placement(message) => BodyForm::Placement((*message).into()),
            Body::Split { region, keys, .. } => BodyForm::Split {
                region: region.0,
                keys: keys.iter().map(|key| Octets(key)).collect(),
            },
        }
    }
}

impl ArchivedBodyForm<'_> {
    /// Hands out the body, which borrows from where it was archived.
    pub fn get<R>(
        &self,
        source: &Source<'_>,
        take: impl FnOnce(Body<'_>) -> R,
    ) -> Result<R, Malformed> {
        use ArchivedBodyForm as Form;
        Ok(match self {
            // Most writes come alone, and need no memory of their own.
            Form::Write(writes) if writes.len() == 1 => {
                take(Body::Write(&[writes[0].get(source)?]))
            }
            Form::Write(writes) => {
                let writes = writes.iter().map(|write| write.get(source));
                take(Body::Write(&writes.collect::<Result<Vec<_>, _>>()?))
            }
            Form::Get { key, freshness } => take(Body::Get {
                key: source.slice(key)?,
                freshness: freshness_of(*freshness)?,
            }),
            Form::MultiGet { keys, freshness } => {
                let keys = keys.iter().map(|key| source.slice(key));
                take(Body::MultiGet {
                    keys: &keys.collect::<Result<Vec<_>, _>>()?,
                    freshness: freshness_of(*freshness)?,
                })
            }
            Form::Scan {
                start,
                limit,
                count,
                reverse,
                freshness,
            } => take(Body::Scan {
                start: source.slice(start)?,
                limit: source.slice(limit)?,
                count: usize::try_from(count.to_native()).unwrap_or(usize::MAX),
                reverse: *reverse,
                freshness: freshness_of(*freshness)?,
            }),
            Form::TransferLeader { region, to } => take(Body::TransferLeader {
                region: RegionId(region.to_native()),
                to: PeerId(to.to_native()),
            }),
            Form::ChangePeers { region, changes } => take(Body::ChangePeers {
                region: RegionId(region.to_native()),
                changes: &peer_changes(changes)?,
            }),
            Form::Placement(message) => take(Body::Placement(&message.get(source)?)),
            Form::Split { region, keys } => {
                let keys = keys.iter().map(|key| source.slice(key));
                take(Body::Split {
                    region: RegionId(region.to_native()),
                    keys: &keys.collect::<Result<Vec<_>, _>>()?,
                    ids: None,
                })
            }
        })
    }
}

impl<'a> From<&Write<'a>> for WriteForm<'a> {
    fn from(write: &Write<'a>) -> WriteForm<'a> {
        match *write {
            Write::Put {
                key,
                value,
                expiry_ms,
            } => WriteForm::Put {
                key: Octets(key),
                value: Octets(value),
                expiry_ms,
            },
            Write::Delete { key } => WriteForm::Delete { key: Octets(key) },
            Write::DeleteRange { start, limit } => WriteForm::DeleteRange {
                start: Octets(start),
                limit: Octets(limit),
            },
            Write::CompareAndPut {
                key,
                expected,
                value,
            } => WriteForm::CompareAndPut {
                key: Octets(key),
                expected: expected.map(Octets),
                value: value.map(Octets),
            },
            Write::Add { key, delta } => WriteForm::Add {
                key: Octets(key),
                delta,
            },
        }
    }
}

impl ArchivedWriteForm<'_> {
    fn get<'b>(&self, source: &Source<'b>) -> Result<Write<'b>, Malformed> {
        use ArchivedWriteForm as Form;
        Ok(match self {
            Form::Put {
                key,
                value,
                expiry_ms,
            } => Write::Put {
                key: source.slice(key)?,
                value: source.slice(value)?,
                expiry_ms: expiry_ms.as_ref().map(|expiry_ms| expiry_ms.to_native()),
            },
            Form::Delete { key } => Write::Delete {
                key: source.slice(key)?,
            },
            Form::DeleteRange { start, limit } => Write::DeleteRange {
                start: source.slice(start)?,
                limit: source.slice(limit)?,
            },
            Form::CompareAndPut {
                key,
                expected,
                value,
            } => {
                let optional = |span: Option<_>| span.map(|span| source.slice(span)).transpose();
                Write::CompareAndPut {
                    key: source.slice(key)?,
                    expected: optional(expected.as_ref())?,
                    value: optional(value.as_ref())?,
                }
            }
            Form::Add { key, delta } => Write::Add {
                key: source.slice(key)?,
                delta: delta.to_native(),
            },
        })
    }
}
