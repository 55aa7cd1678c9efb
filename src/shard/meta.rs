//! What the log keeps of a peer beside its entries: the hard state and the meta.
//!
//! ```text
//! hard state   version u8 │ peer u64 │ term u64 │ vote u64 │ commit u64
//!
//! meta         version u8 │ state u8 │ peer u64 │ applied u64 │ clock u64 │ born u64 │
//!              region u64 │ version u64 │ conf_ver u64 │ start u16+… │ limit u16+… │
//!              peers u16 × (peer u64 │ store u64 │ role u8) │ tables u32 × u64
//! ```
//!
//! A meta is the whole replicated record as of its applied index. Truncated index and term stand
//! beside it, in the log's own record.

use bytes::Bytes;
use coracle_engine::record::KeyRange;
use raft::eraftpb::{ConfState, HardState};

use super::codec::{Malformed, Reader, put_short};
use super::ids::{Index, PeerId, RegionId, StoreId};
use super::region::{Epoch, PeerInfo, Region, Role};

const VERSION: u8 = 2;

/// Peers of one region, at the most.
pub const PEERS_MAX: usize = 64;

/// What a meta says of its peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It serves.
    Normal,
    /// These tables replace its content, as of the applied index.
    Applying {
        /// The received tables, by number.
        tables: Vec<u64>,
    },
    /// It is gone, and so is every peer with a smaller id.
    Tombstone,
}

/// The whole replicated record of a peer as of an applied index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The peer.
    pub peer: PeerId,
    /// As of this entry.
    pub applied: Index,
    /// The region's clock as of that entry, in Unix milliseconds.
    pub clock: u64,
    /// The clock with which the peer's log began: a replay from there starts with it.
    pub born: u64,
    /// The region.
    pub region: Region,
    /// How the peer stands.
    pub state: State,
}

impl Meta {
    /// The stored form.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(128);
        out.push(VERSION);
        out.push(match self.state {
            State::Normal => 0,
            State::Applying { .. } => 1,
            State::Tombstone => 2,
        });
        for number in [
            self.peer.0,
            self.applied.0,
            self.clock,
            self.born,
            self.region.id.0,
            self.region.epoch.version,
            self.region.epoch.conf_ver,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        put_short(&mut out, &self.region.range.start);
        put_short(&mut out, &self.region.range.limit);
        out.extend_from_slice(&(self.region.peers.len() as u16).to_le_bytes());
        for info in &self.region.peers {
            put_peer(&mut out, info);
        }
        let tables: &[u64] = match &self.state {
            State::Applying { tables } => tables,
            _ => &[],
        };
        out.extend_from_slice(&(tables.len() as u32).to_le_bytes());
        for table in tables {
            out.extend_from_slice(&table.to_le_bytes());
        }
        out.into()
    }

    /// Takes the stored form apart.
    pub fn decode(bytes: &[u8]) -> Result<Meta, Malformed> {
        let mut reader = Reader(bytes);
        if reader.u8()? != VERSION {
            return Err(Malformed("a meta of an unknown version"));
        }
        let state = reader.u8()?;
        let peer = PeerId(reader.u64()?);
        let applied = Index(reader.u64()?);
        let clock = reader.u64()?;
        let born = reader.u64()?;
        let id = RegionId(reader.u64()?);
        let epoch = Epoch {
            version: reader.u64()?,
            conf_ver: reader.u64()?,
        };
        let range = KeyRange::new(reader.short()?, reader.short()?);
        let count = usize::from(reader.u16()?);
        if count > PEERS_MAX {
            return Err(Malformed("a region of too many peers"));
        }
        let mut peers = Vec::with_capacity(count);
        for _ in 0..count {
            peers.push(take_peer(&mut reader)?);
        }
        let count = reader.u32()? as usize;
        let mut tables = Vec::new();
        for _ in 0..count {
            tables.push(reader.u64()?);
        }
        reader.end()?;
        let state = match (state, tables.is_empty()) {
            (0, true) => State::Normal,
            (1, _) => State::Applying { tables },
            (2, true) => State::Tombstone,
            _ => return Err(Malformed("a meta of an unknown state")),
        };
        Ok(Meta {
            peer,
            applied,
            clock,
            born,
            region: Region {
                id,
                epoch,
                range,
                peers,
            },
            state,
        })
    }
}

/// Appends a peer.
pub fn put_peer(out: &mut Vec<u8>, info: &PeerInfo) {
    out.extend_from_slice(&info.peer.0.to_le_bytes());
    out.extend_from_slice(&info.store.0.to_le_bytes());
    out.push(match info.role {
        Role::Voter => 0,
        Role::Learner => 1,
        Role::Incoming => 2,
        Role::Outgoing => 3,
        Role::Demoting => 4,
    });
}

/// Takes a peer off the front.
pub fn take_peer(reader: &mut Reader<'_>) -> Result<PeerInfo, Malformed> {
    Ok(PeerInfo {
        peer: PeerId(reader.u64()?),
        store: StoreId(reader.u64()?),
        role: match reader.u8()? {
            0 => Role::Voter,
            1 => Role::Learner,
            2 => Role::Incoming,
            3 => Role::Outgoing,
            4 => Role::Demoting,
            _ => return Err(Malformed("a peer of an unknown role")),
        },
    })
}

/// The configuration that raft knows, from the peers of a region.
pub fn conf_state(region: &Region) -> ConfState {
    let mut conf = ConfState::default();
    let joint = region.is_joint();
    for info in &region.peers {
        let id = info.peer.0;
        if info.role.votes_after() {
            conf.voters.push(id);
        }
        if joint && info.role.votes_before() {
            conf.voters_outgoing.push(id);
        }
        match info.role {
            Role::Learner => conf.learners.push(id),
            Role::Demoting => conf.learners_next.push(id),
            _ => {}
        }
    }
    conf
}

/// The stored form of a hard state.
pub fn encode_hard_state(peer: PeerId, hard: &HardState) -> Bytes {
    let mut out = [0; 33];
    out[0] = VERSION;
    for (place, number) in [peer.0, hard.term, hard.vote, hard.commit]
        .into_iter()
        .enumerate()
    {
        out[1 + place * 8..9 + place * 8].copy_from_slice(&number.to_le_bytes());
    }
    Bytes::copy_from_slice(&out)
}

/// Takes a stored hard state apart.
pub fn decode_hard_state(bytes: &[u8]) -> Result<(PeerId, HardState), Malformed> {
    let mut reader = Reader(bytes);
    if reader.u8()? != VERSION {
        return Err(Malformed("a hard state of an unknown version"));
    }
    let peer = PeerId(reader.u64()?);
    let hard = HardState {
        term: reader.u64()?,
        vote: reader.u64()?,
        commit: reader.u64()?,
        ..HardState::default()
    };
    reader.end()?;
    Ok((peer, hard))
}
