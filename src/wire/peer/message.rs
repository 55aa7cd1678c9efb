//! Every message between shards as it is sent.

use rkyv::{Archive, Serialize};

use crate::shard::codec::Malformed;
use crate::shard::ids::{Index, PeerId, RegionId, Term};
use crate::shard::message::{Beat, BeatKind, Beats, PeerMessage, SnapshotContent, StreamId};
use crate::wire::form::{EpochForm, Octets, PeerForm, RegionForm, Source};
use crate::wire::placement::{self, PlacementForm};

use super::raft::{self, RaftForm};

/// A snapshot's name.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(crate) struct StreamForm {
    boot: u64,
    count: u64,
}

/// Any message.
#[derive(Clone, Debug, Archive, Serialize)]
pub(crate) enum MessageForm<'a> {
    Raft(RaftForm<'a>),
    Gone {
        region: RegionForm<'a>,
        from: PeerForm,
        to: u64,
    },
    AmIGone {
        region: u64,
        from: PeerForm,
        epoch: EpochForm,
    },
    ReadIndex {
        region: u64,
        from: PeerForm,
        to: u64,
        attempt: u64,
    },
    ReadIndexAnswer {
        region: u64,
        to: u64,
        attempt: u64,
        index: Option<u64>,
    },
    SnapshotOffer {
        stream: StreamForm,
        region: RegionForm<'a>,
        clock: u64,
        bytes: u64,
        message: RaftForm<'a>,
    },
    SnapshotPull {
        stream: StreamForm,
        piece: u64,
        numbers: Vec<u64>,
    },
    SnapshotPiece {
        stream: StreamForm,
        piece: u64,
        content: ContentForm<'a>,
    },
    Placement(PlacementForm<'a>),
    Beats {
        boot: u64,
        beats: Vec<BeatForm<'a>>,
    },
}

/// What one peer says in a few numbers.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(crate) struct BeatForm<'a> {
    region: u64,
    from: u64,
    to: u64,
    epoch: EpochForm,
    term: u64,
    index: u64,
    context: Octets<'a>,
    kind: u8,
}

/// All kinds of beats; their places are their numbers.
const KINDS: [BeatKind; 5] = [
    BeatKind::Heartbeat,
    BeatKind::HeartbeatAnswer,
    BeatKind::MayRest,
    BeatKind::Rests,
    BeatKind::Wake,
];

impl<'a> From<&'a Beat> for BeatForm<'a> {
    fn from(beat: &'a Beat) -> BeatForm<'a> {
        BeatForm {
            region: beat.region.0,
            from: beat.from.0,
            to: beat.to.0,
            epoch: beat.epoch.into(),
            term: beat.term.0,
            index: beat.index.0,
            context: Octets(&beat.context),
            kind: beat.kind as u8,
        }
    }
}

impl ArchivedBeatForm<'_> {
    fn get(&self, source: &Source<'_>) -> Result<Beat, Malformed> {
        let kind = KINDS.get(usize::from(self.kind));
        Ok(Beat {
            region: RegionId(self.region.to_native()),
            from: PeerId(self.from.to_native()),
            to: PeerId(self.to.to_native()),
            epoch: self.epoch.get(),
            term: Term(self.term.to_native()),
            kind: *kind.ok_or(Malformed("a beat of an unknown kind"))?,
            index: Index(self.index.to_native()),
            context: source.bytes(&self.context)?,
        })
    }
}

/// A piece of a snapshot.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(crate) enum ContentForm<'a> {
    Chunk {
        table: u64,
        offset: u64,
        bytes: Octets<'a>,
    },
    TableEnd {
        table: u64,
    },
    NeedNumber,
    Done,
    Failed,
}

impl From<&StreamId> for StreamForm {
    fn from(stream: &StreamId) -> StreamForm {
        StreamForm {
            boot: stream.boot,
            count: stream.count,
        }
    }
}

impl ArchivedStreamForm {
    fn get(&self) -> StreamId {
        StreamId {
            boot: self.boot.to_native(),
            count: self.count.to_native(),
        }
    }
}

impl<'a> From<&'a PeerMessage> for MessageForm<'a> {
    fn from(message: &'a PeerMessage) -> MessageForm<'a> {
        match message {
            PeerMessage::Raft(message) => MessageForm::Raft(message.into()),
            PeerMessage::Gone { region, from, to } => MessageForm::Gone {
                region: region.into(),
                from: from.into(),
                to: to.0,
            },
            PeerMessage::AmIGone {
                region,
                from,
                epoch,
            } => MessageForm::AmIGone {
                region: region.0,
                from: from.into(),
                epoch: (*epoch).into(),
            },
            PeerMessage::ReadIndex {
                region,
                from,
                to,
                attempt,
            } => MessageForm::ReadIndex {
                region: region.0,
                from: from.into(),
                to: to.0,
                attempt: *attempt,
            },
            PeerMessage::ReadIndexAnswer {
                region,
                to,
                attempt,
                index,
            } => MessageForm::ReadIndexAnswer {
                region: region.0,
                to: to.0,
                attempt: *attempt,
                index: index.map(|index| index.0),
            },
            PeerMessage::SnapshotOffer {
                stream,
                region,
                clock,
                bytes,
                message,
            } => MessageForm::SnapshotOffer {
                stream: stream.into(),
                region: region.into(),
                clock: *clock,
                bytes: *bytes,
                message: message.into(),
            },
            PeerMessage::SnapshotPull {
                stream,
                piece,
                numbers,
            } => MessageForm::SnapshotPull {
                stream: stream.into(),
                piece: *piece,
                numbers: numbers.clone(),
            },
            PeerMessage::SnapshotPiece {
                stream,
                piece,
                content,
            } => MessageForm::SnapshotPiece {
                stream: stream.into(),
                piece: *piece,
                content: match content {
                    SnapshotContent::Chunk {
                        table,
                        offset,
                        bytes,
                    } => ContentForm::Chunk {
                        table: *table,
                        offset: *offset,
                        bytes: Octets(bytes),
                    },
                    SnapshotContent::TableEnd { table } => ContentForm::TableEnd { table: *table },
                    SnapshotContent::NeedNumber => ContentForm::NeedNumber,
                    SnapshotContent::Done => ContentForm::Done,
                    SnapshotContent::Failed => ContentForm::Failed,
                },
            },
            PeerMessage::Placement(message) => MessageForm::Placement(message.into()),
            PeerMessage::Beats(Beats { boot, beats }) => MessageForm::Beats {
                boot: *boot,
                beats: beats.iter().map(BeatForm::from).collect(),
            },
        }
    }
}

impl ArchivedMessageForm<'_> {
    /// The message.
    pub fn get(&self, source: &Source<'_>) -> Result<PeerMessage, Malformed> {
        use ArchivedMessageForm as Form;
        Ok(match self {
            Form::Raft(message) => PeerMessage::Raft(message.get(source)?),
            Form::Gone { region, from, to } => PeerMessage::Gone {
                region: region.get(source)?,
                from: from.get()?,
                to: PeerId(to.to_native()),
            },
            Form::AmIGone {
                region,
                from,
                epoch,
            } => PeerMessage::AmIGone {
                region: RegionId(region.to_native()),
                from: from.get()?,
                epoch: epoch.get(),
            },
            Form::ReadIndex {
                region,
                from,
                to,
                attempt,
            } => PeerMessage::ReadIndex {
                region: RegionId(region.to_native()),
                from: from.get()?,
                to: PeerId(to.to_native()),
                attempt: attempt.to_native(),
            },
            Form::ReadIndexAnswer {
                region,
                to,
                attempt,
                index,
            } => PeerMessage::ReadIndexAnswer {
                region: RegionId(region.to_native()),
                to: PeerId(to.to_native()),
                attempt: attempt.to_native(),
                index: index.as_ref().map(|index| Index(index.to_native())),
            },
            Form::SnapshotOffer {
                stream,
                region,
                clock,
                bytes,
                message,
            } => PeerMessage::SnapshotOffer {
                stream: stream.get(),
                region: region.get(source)?,
                clock: clock.to_native(),
                bytes: bytes.to_native(),
                message: message.get(source)?,
            },
            Form::SnapshotPull {
                stream,
                piece,
                numbers,
            } => PeerMessage::SnapshotPull {
                stream: stream.get(),
                piece: piece.to_native(),
                numbers: numbers.iter().map(|number| number.to_native()).collect(),
            },
            Form::SnapshotPiece {
                stream,
                piece,
                content,
            } => PeerMessage::SnapshotPiece {
                stream: stream.get(),
                piece: piece.to_native(),
                content: match content {
                    ArchivedContentForm::Chunk {
                        table,
                        offset,
                        bytes,
                    } => SnapshotContent::Chunk {
                        table: table.to_native(),
                        offset: offset.to_native(),
                        bytes: source.bytes(bytes)?,
                    },
                    ArchivedContentForm::TableEnd { table } => SnapshotContent::TableEnd {
                        table: table.to_native(),
                    },
                    ArchivedContentForm::NeedNumber => SnapshotContent::NeedNumber,
                    ArchivedContentForm::Done => SnapshotContent::Done,
                    ArchivedContentForm::Failed => SnapshotContent::Failed,
                },
            },
            Form::Placement(message) => PeerMessage::Placement(message.get(source)?),
            Form::Beats { boot, beats } => {
                let beats = beats.iter().map(|beat| beat.get(source));
                PeerMessage::Beats(Beats {
                    boot: boot.to_native(),
                    beats: beats.collect::<Result<_, _>>()?,
                })
            }
        })
    }
}

/// About how many bytes a message has where it is archived; no fewer than it really has.
pub fn weight(message: &PeerMessage) -> usize {
    match message {
        PeerMessage::Raft(message) => 256 + raft::weight(message),
        PeerMessage::Gone { region, .. } => {
            1024 + 2 * region.range.start.len() + region.range.limit.len() + region.peers.len() * 24
        }
        PeerMessage::SnapshotOffer {
            region, message, ..
        } => {
            let region =
                region.range.start.len() + region.range.limit.len() + region.peers.len() * 24;
            1024 + region + raft::weight(message)
        }
        PeerMessage::SnapshotPull { numbers, .. } => 512 + numbers.len() * 8,
        PeerMessage::SnapshotPiece {
            content: SnapshotContent::Chunk { bytes, .. },
            ..
        } => 512 + bytes.len(),
        PeerMessage::Placement(message) => 256 + placement::weight(message),
        PeerMessage::Beats(Beats { beats, .. }) => {
            let contexts = beats.iter().map(|beat| beat.context.len()).sum::<usize>();
            512 + beats.len() * 80 + contexts
        }
        _ => 512,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_beats_are_numbered_by_their_places() {
        for (place, kind) in KINDS.iter().enumerate() {
            assert_eq!(*kind as usize, place);
        }
    }
}
