//! Requests: made by clients, understood by nodes.

use rkyv::ser::allocator::Arena;

use crate::shard::codec::{Malformed, Reader};
use crate::shard::ids::RegionId;
use crate::shard::region::Epoch;
use crate::shard::request::{Body, Request};
use crate::wire::form::{self, Source};

use super::body::{ArchivedBodyForm, BodyForm};
use super::frame::{ASK_BYTES, FRAME_BYTES_MAX, VERSION, close};

/// Whoever does not lead the region passes the request on.
const FORWARD: u8 = 1;

/// What a request says beside what it asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Comes back with the answer.
    pub id: u64,
    /// The client and its command; 0: not named.
    pub client: u64,
    /// Counts the commands of a client.
    pub sequence: u64,
    /// The region and its epoch as the client knows them; none: whichever holds the key.
    pub region: Option<(RegionId, Epoch)>,
    /// Whoever does not lead the region passes the request on, and does not answer with the leader.
    pub forward: bool,
}

/// Appends a request; nothing if it is longer than frames may be.
pub fn encode(
    ask: &Ask,
    body: &Body<'_>,
    arena: &mut Arena,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let start = out.len();
    let (region, epoch) = ask.region.unwrap_or_default();
    let flags = if ask.forward { FORWARD } else { 0 };
    out.extend_from_slice(&[0, 0, 0, 0, VERSION, flags, 0, 0]);
    for number in [
        ask.id,
        ask.client,
        ask.sequence,
        region.0,
        epoch.version,
        epoch.conf_ver,
    ] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    let archived = form::archive(&BodyForm::from(body), out, arena);
    if archived.is_err() || out.len() - start > FRAME_BYTES_MAX {
        out.truncate(start);
        return Err(Malformed("a request that is too long"));
    }
    close(out, start);
    Ok(())
}

/// A request as it came in.
#[derive(Debug)]
pub struct Asked<'b> {
    /// What it says beside what it asks for.
    pub ask: Ask,
    archive: &'b [u8],
}

impl<'b> Asked<'b> {
    /// Takes a whole frame apart, but not its body: a body that makes no sense can still be answered.
    pub fn decode(frame: &'b [u8]) -> Result<Asked<'b>, Malformed> {
        let archive = frame.get(ASK_BYTES..).ok_or(Malformed("cut short"))?;
        let mut reader = Reader(&frame[4..ASK_BYTES]);
        let (version, flags, _) = (reader.u8()?, reader.u8()?, reader.u16()?);
        if version != VERSION {
            return Err(Malformed("a request of an unknown version"));
        }
        let (id, client, sequence) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let region = RegionId(reader.u64()?);
        let epoch = Epoch {
            version: reader.u64()?,
            conf_ver: reader.u64()?,
        };
        let ask = Ask {
            id,
            client,
            sequence,
            region: (region.0 != 0).then_some((region, epoch)),
            forward: flags & FORWARD != 0,
        };
        Ok(Asked { ask, archive })
    }

    /// Hands out what it asks for, which borrows from the frame.
    pub fn request<R>(&self, take: impl FnOnce(Request<'_>) -> R) -> Result<R, Malformed> {
        let form = form::access::<ArchivedBodyForm<'_>>(self.archive)?;
        let region = self.ask.region;
        form.get(&Source::new(self.archive), |body| {
            take(Request { region, body })
        })
    }
}
