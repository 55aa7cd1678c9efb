//! Changes of a region's peers: what a change makes of the region, and how it is said to raft.
//!
//! One peer added, promoted or removed is a simple change. Several at once go through a joint
//! configuration, which is left by an entry of its own: explicitly, by a leader that stays.
//!
//! ```text
//! context of the entry    version u64 │ conf_ver u64 │ changes u16 × (0 u8 │ peer id u64
//!                                                                    1 u8 │ peer u64 │ store u64 │ role u8)
//! ```
//!
//! The context says what the change means for the region; raft's own data in the entry says the same
//! in raft's words, and is checked against it.

use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, Entry};

use super::codec::{Malformed, Reader};
use super::ids::PeerId;
use super::meta::{PEERS_MAX, put_peer, take_peer};
use super::region::{Epoch, PeerInfo, Region, Role};
use super::request::PeerChange;

/// A change of a region's peers, as an entry holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The epoch under which it was proposed.
    pub epoch: Epoch,
    /// What changes; nothing: the joint configuration is left.
    pub changes: Vec<PeerChange>,
}

impl Change {
    /// The context of the entry.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(&self.epoch.version.to_le_bytes());
        out.extend_from_slice(&self.epoch.conf_ver.to_le_bytes());
        out.extend_from_slice(&(self.changes.len() as u16).to_le_bytes());
        for change in &self.changes {
            match change {
                PeerChange::Remove(peer) => {
                    out.push(0);
                    out.extend_from_slice(&peer.0.to_le_bytes());
                }
                PeerChange::Put(info) => {
                    out.push(1);
                    put_peer(&mut out, info);
                }
            }
        }
        out
    }

    /// Takes a context apart.
    pub fn decode(context: &[u8]) -> Result<Change, Malformed> {
        let mut reader = Reader(context);
        let epoch = Epoch {
            version: reader.u64()?,
            conf_ver: reader.u64()?,
        };
        let count = usize::from(reader.u16()?);
        if count > PEERS_MAX {
            return Err(Malformed("too many changes"));
        }
        let mut changes = Vec::with_capacity(count);
        for _ in 0..count {
            changes.push(match reader.u8()? {
                0 => PeerChange::Remove(PeerId(reader.u64()?)),
                1 => PeerChange::Put(take_peer(&mut reader)?),
                _ => return Err(Malformed("a change of an unknown kind")),
            });
        }
        reader.end()?;
        Ok(Change { epoch, changes })
    }

    /// The same in raft's words.
    pub fn in_raft(&self) -> ConfChangeV2 {
        let mut out = ConfChangeV2::default();
        if self.changes.len() > 1 {
            out.set_transition(ConfChangeTransition::Explicit);
        }
        let changes = self.changes.iter().map(|change| {
            let mut single = ConfChangeSingle {
                node_id: change.peer().0,
                ..ConfChangeSingle::default()
            };
            single.set_change_type(match change {
                PeerChange::Remove(_) => ConfChangeType::RemoveNode,
                PeerChange::Put(info) if info.role == Role::Learner => {
                    ConfChangeType::AddLearnerNode
                }
                PeerChange::Put(_) => ConfChangeType::AddNode,
            });
            single
        });
        out.set_changes(changes.collect::<Vec<_>>().into());
        out
    }

    /// What it makes of a region, or why it cannot be.
    pub fn apply(&self, region: &Region) -> Result<Region, &'static str> {
        let mut after = region.clone();
        after.epoch.conf_ver += 1;
        if self.changes.is_empty() {
            if !region.is_joint() {
                return Err("the configuration is not joint");
            }
            after.peers.retain(|info| info.role != Role::Outgoing);
            for info in &mut after.peers {
                info.role = match info.role {
                    Role::Incoming => Role::Voter,
                    Role::Demoting => Role::Learner,
                    role => role,
                };
            }
            return Ok(after);
        }
        if region.is_joint() {
            return Err("the configuration is joint: it must be left first");
        }
        let joint = self.changes.len() > 1;
        for change in &self.changes {
            match change {
                PeerChange::Remove(peer) => remove(&mut after, *peer, joint)?,
                PeerChange::Put(info) => put(&mut after, *info, joint)?,
            }
        }
        after.peers.sort_by_key(|info| info.peer);
        if after.peers.len() > PEERS_MAX {
            return Err("too many peers");
        }
        if !after.peers.iter().any(|info| info.role.votes_after()) {
            return Err("no voter would be left");
        }
        Ok(after)
    }
}

fn remove(region: &mut Region, peer: PeerId, joint: bool) -> Result<(), &'static str> {
    let place = region.peers.iter().position(|info| info.peer == peer);
    let place = place.ok_or("a peer to be removed is not there")?;
    match region.peers[place].role {
        Role::Voter if joint => region.peers[place].role = Role::Outgoing,
        Role::Voter | Role::Learner => {
            region.peers.remove(place);
        }
        _ => return Err("a peer is changed twice"),
    }
    Ok(())
}

fn put(region: &mut Region, info: PeerInfo, joint: bool) -> Result<(), &'static str> {
    let learner = match info.role {
        Role::Voter => false,
        Role::Learner => true,
        _ => return Err("a peer is put as voter or learner"),
    };
    let entering = match (learner, joint) {
        (true, _) => Role::Learner,
        (false, true) => Role::Incoming,
        (false, false) => Role::Voter,
    };
    match region
        .peers
        .iter_mut()
        .find(|known| known.peer == info.peer)
    {
        None => {
            let elsewhere =
                |known: &PeerInfo| known.store != info.store || known.role == Role::Outgoing;
            if !region.peers.iter().all(elsewhere) {
                return Err("the store has a peer of the region already");
            }
            region.peers.push(PeerInfo {
                role: entering,
                ..info
            });
        }
        Some(known) if known.store != info.store => return Err("the peer is on another store"),
        Some(known) => {
            known.role = match (known.role, learner) {
                (Role::Learner, false) => entering,
                (Role::Voter, true) if joint => Role::Demoting,
                (Role::Voter, true) => Role::Learner,
                (Role::Learner, true) | (Role::Voter, false) => return Err("nothing changes"),
                _ => return Err("a peer is changed twice"),
            };
        }
    }
    Ok(())
}

/// Whether an entry with a change has a form that can be applied: its two halves say the same.
pub fn is_sound(entry: &Entry) -> bool {
    let Ok(change) = Change::decode(&entry.context) else {
        return false;
    };
    let said = protobuf::Message::write_to_bytes(&change.in_raft());
    said.is_ok_and(|bytes| bytes[..] == entry.data[..])
}
