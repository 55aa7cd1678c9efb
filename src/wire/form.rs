//! The forms in which the brain's nouns are sent: own types, archived by rkyv, little-endian, of any
//! alignment. What is made from bytes is checked for its shape: lengths, counts and kinds.

use std::cell::Cell;

use bytes::Bytes;
use coracle_engine::record::KeyRange;
use rkyv::api::low::{LowSerializer, LowValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{Failure, Fallible, Strategy};
use rkyv::ser::allocator::{Arena, ArenaHandle};
use rkyv::ser::{Positional, Serializer, Writer};
use rkyv::with::InlineAsBox;
use rkyv::{Archive, Place, Portable, Serialize};

use crate::shard::codec::Malformed;
use crate::shard::ids::{PeerId, RegionId, StoreId};
use crate::shard::limits::KEY_BYTES_MAX;
use crate::shard::meta::PEERS_MAX;
use crate::shard::region::{Epoch, PeerInfo, Region, Role};
use crate::shard::request::PeerChange;

/// Where a form is archived: at the end of some bytes, and places are counted from there.
pub(crate) struct Tail<'o> {
    out: &'o mut Vec<u8>,
    base: usize,
}

impl Positional for Tail<'_> {
    fn pos(&self) -> usize {
        self.out.len() - self.base
    }
}

impl<E> Writer<E> for Tail<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), E> {
        self.out.extend_from_slice(bytes);
        Ok(())
    }
}

/// What archives a form, with memory that is used again.
pub(crate) type Archiver<'o> = LowSerializer<Tail<'o>, ArenaHandle<'o>, Failure>;

/// What looks at an archived form before it is used.
pub(crate) type Checker<'b> = LowValidator<'b, Failure>;

/// Appends the archived form; its root is at the end.
pub(crate) fn archive<'o>(
    form: &impl Serialize<Archiver<'o>>,
    out: &'o mut Vec<u8>,
    arena: &'o mut Arena,
) -> Result<(), Malformed> {
    let base = out.len();
    let mut serializer = Serializer::new(Tail { out, base }, arena.acquire(), ());
    rkyv::api::serialize_using(form, Strategy::<_, Failure>::wrap(&mut serializer))
        .map(|_| ())
        .map_err(|_| Malformed("it cannot be archived"))
}

/// The form that is archived in these bytes, checked.
pub(crate) fn access<'b, T>(bytes: &'b [u8]) -> Result<&'b T, Malformed>
where
    T: Portable + for<'c> CheckBytes<Checker<'c>>,
{
    rkyv::api::low::access::<T, Failure>(bytes).map_err(|_| Malformed("no archive of this form"))
}

/// Bytes that are borrowed before they are archived. In the archive stands where they lie in it: rkyv
/// would look at every single one of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Octets<'a>(pub &'a [u8]);

/// Where bytes lie in an archive.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(crate) struct Span {
    start: u32,
    len: u32,
}

impl Archive for Octets<'_> {
    type Archived = ArchivedSpan;
    type Resolver = usize;

    fn resolve(&self, start: usize, out: Place<ArchivedSpan>) {
        let span = Span {
            start: start as u32,
            len: self.0.len() as u32,
        };
        span.resolve(SpanResolver { start: (), len: () }, out);
    }
}

impl<S: Fallible + Writer + ?Sized> Serialize<S> for Octets<'_> {
    fn serialize(&self, serializer: &mut S) -> Result<usize, S::Error> {
        let start = serializer.pos();
        serializer.write(self.0)?;
        Ok(start)
    }
}

/// The bytes of an archive, from which others are taken.
#[derive(Debug)]
pub(crate) struct Source<'b> {
    archive: &'b [u8],
    /// What the archive is a part of, if that can be shared.
    frame: Option<&'b Bytes>,
    /// How much more may be copied: no honest archive names its bytes twice.
    left: Cell<usize>,
}

/// Bytes that have less than this part of a frame do not hold on to it.
const SHARED_PART: usize = 4;

impl<'b> Source<'b> {
    /// An archive by itself.
    pub fn new(archive: &'b [u8]) -> Source<'b> {
        Source {
            archive,
            frame: None,
            left: Cell::new(archive.len()),
        }
    }

    /// An archive in a frame.
    pub fn shared(archive: &'b [u8], frame: &'b Bytes) -> Source<'b> {
        Source {
            frame: Some(frame),
            ..Source::new(archive)
        }
    }

    /// The bytes where they lie.
    pub fn slice(&self, span: &ArchivedSpan) -> Result<&'b [u8], Malformed> {
        let start = span.start.to_native() as usize;
        let end = start + span.len.to_native() as usize;
        self.archive
            .get(start..end)
            .ok_or(Malformed("bytes outside the archive"))
    }

    /// Bytes to keep. They hold on to the frame where they are a good part of it, and else are copied: what
    /// is kept for long is never much more than what it holds.
    pub fn bytes(&self, span: &ArchivedSpan) -> Result<Bytes, Malformed> {
        let bytes = self.slice(span)?;
        match self.frame {
            Some(frame) if bytes.len() * SHARED_PART >= frame.len() => Ok(frame.slice_ref(bytes)),
            _ => {
                self.count(bytes)?;
                Ok(Bytes::copy_from_slice(bytes))
            }
        }
    }

    /// A key to keep.
    pub fn key(&self, span: &ArchivedSpan) -> Result<Vec<u8>, Malformed> {
        let bytes = self.slice(span)?;
        if bytes.len() > KEY_BYTES_MAX {
            return Err(Malformed("a key that is too long"));
        }
        self.count(bytes)?;
        Ok(bytes.to_vec())
    }

    fn count(&self, bytes: &[u8]) -> Result<(), Malformed> {
        let left = self.left.get().checked_sub(bytes.len());
        self.left
            .set(left.ok_or(Malformed("bytes that are named twice"))?);
        Ok(())
    }
}

/// Text that is borrowed before it is archived.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(crate) struct Text<'a>(#[rkyv(with = InlineAsBox)] pub &'a str);

impl ArchivedText<'_> {
    /// The text as one of its own, of at most so many bytes.
    pub fn get(&self, most: usize) -> Result<String, Malformed> {
        match self.0.len() > most {
            true => Err(Malformed("a text that is too long")),
            false => Ok(String::from(&*self.0)),
        }
    }
}

/// A replica.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(crate) struct PeerForm {
    peer: u64,
    store: u64,
    role: u8,
}

impl From<&PeerInfo> for PeerForm {
    fn from(info: &PeerInfo) -> PeerForm {
        PeerForm {
            peer: info.peer.0,
            store: info.store.0,
            role: match info.role {
                Role::Voter => 0,
                Role::Learner => 1,
                Role::Incoming => 2,
                Role::Outgoing => 3,
                Role::Demoting => 4,
            },
        }
    }
}

impl ArchivedPeerForm {
    /// The replica.
    pub fn get(&self) -> Result<PeerInfo, Malformed> {
        Ok(PeerInfo {
            peer: PeerId(self.peer.to_native()),
            store: StoreId(self.store.to_native()),
            role: match self.role {
                0 => Role::Voter,
                1 => Role::Learner,
                2 => Role::Incoming,
                3 => Role::Outgoing,
                4 => Role::Demoting,
                _ => return Err(Malformed("a peer of an unknown role")),
            },
        })
    }
}

/// A region's epoch.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(crate) struct EpochForm {
    version: u64,
    conf_ver: u64,
}

impl From<Epoch> for EpochForm {
    fn from(epoch: Epoch) -> EpochForm {
        EpochForm {
            version: epoch.version,
            conf_ver: epoch.conf_ver,
        }
    }
}

impl ArchivedEpochForm {
    /// The epoch.
    pub fn get(&self) -> Epoch {
        Epoch {
            version: self.version.to_native(),
            conf_ver: self.conf_ver.to_native(),
        }
    }
}

/// A range of keys.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(crate) struct RangeForm<'a> {
    start: Octets<'a>,
    limit: Octets<'a>,
}

impl<'a> From<&'a KeyRange> for RangeForm<'a> {
    fn from(range: &'a KeyRange) -> RangeForm<'a> {
        RangeForm {
            start: Octets(&range.start),
            limit: Octets(&range.limit),
        }
    }
}

impl ArchivedRangeForm<'_> {
    /// The range.
    pub fn get(&self, source: &Source<'_>) -> Result<KeyRange, Malformed> {
        Ok(KeyRange {
            start: source.key(&self.start)?,
            limit: source.key(&self.limit)?,
        })
    }
}

/// A region.
#[derive(Clone, Debug, Archive, Serialize)]
pub(crate) struct RegionForm<'a> {
    id: u64,
    epoch: EpochForm,
    range: RangeForm<'a>,
    peers: Vec<PeerForm>,
}

impl<'a> From<&'a Region> for RegionForm<'a> {
    fn from(region: &'a Region) -> RegionForm<'a> {
        RegionForm {
            id: region.id.0,
            epoch: region.epoch.into(),
            range: (&region.range).into(),
            peers: region.peers.iter().map(PeerForm::from).collect(),
        }
    }
}

impl ArchivedRegionForm<'_> {
    /// The region.
    pub fn get(&self, source: &Source<'_>) -> Result<Region, Malformed> {
        if self.peers.len() > PEERS_MAX {
            return Err(Malformed("a region of too many peers"));
        }
        Ok(Region {
            id: RegionId(self.id.to_native()),
            epoch: self.epoch.get(),
            range: self.range.get(source)?,
            peers: self
                .peers
                .iter()
                .map(ArchivedPeerForm::get)
                .collect::<Result<_, _>>()?,
        })
    }
}

/// A change of a region's peers.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(crate) enum PeerChangeForm {
    Put(PeerForm),
    Remove(u64),
}

impl From<&PeerChange> for PeerChangeForm {
    fn from(change: &PeerChange) -> PeerChangeForm {
        match change {
            PeerChange::Put(info) => PeerChangeForm::Put(info.into()),
            PeerChange::Remove(peer) => PeerChangeForm::Remove(peer.0),
        }
    }
}

impl ArchivedPeerChangeForm {
    /// The change.
    pub fn get(&self) -> Result<PeerChange, Malformed> {
        Ok(match self {
            ArchivedPeerChangeForm::Put(info) => PeerChange::Put(info.get()?),
            ArchivedPeerChangeForm::Remove(peer) => PeerChange::Remove(PeerId(peer.to_native())),
        })
    }
}

/// Changes, as many as there may be at once.
pub(crate) fn peer_changes(
    changes: &[ArchivedPeerChangeForm],
) -> Result<Vec<PeerChange>, Malformed> {
    match changes.len() > 2 * PEERS_MAX {
        true => Err(Malformed("too many changes")),
        false => changes.iter().map(ArchivedPeerChangeForm::get).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_named_twice_are_not_copied_twice() {
        let bytes = [7; 1000];
        let mut out = Vec::new();
        let forms: Vec<Octets<'_>> = (0..100).map(|_| Octets(&bytes)).collect();
        archive(&forms, &mut out, &mut Arena::new()).unwrap();
        let copied = |archived: &[u8]| {
            let spans = access::<rkyv::vec::ArchivedVec<ArchivedSpan>>(archived).unwrap();
            let source = Source::new(archived);
            spans
                .iter()
                .map(|span| source.bytes(span))
                .collect::<Result<Vec<_>, _>>()
        };
        let honest = copied(&out).unwrap();
        assert!(honest.iter().all(|copy| copy[..] == bytes));
        // The spans lie behind the bytes: now each names almost everything.
        let spans = out.len() - 8 - 100 * 8;
        for span in out[spans..spans + 800].chunks_mut(8) {
            span[..4].fill(0);
            span[4..].copy_from_slice(&90_000u32.to_le_bytes());
        }
        assert_eq!(copied(&out), Err(Malformed("bytes that are named twice")));
        for span in out[spans..spans + 800].chunks_mut(8) {
            span.fill(0xFF);
        }
        assert_eq!(copied(&out), Err(Malformed("bytes outside the archive")));
    }
}
