//! A split: one region becomes several. What it says, and how it comes to be proposed.
//!
//! ```text
//! asked ─▶ an entry has every replica rotate its memtable; placement is asked for ids ─▶ both are there
//!   ─▶ the split is proposed, and no write until it has taken effect ─▶ divide.rs
//! ```
//!
//! The left part keeps the region's id and its log; every part to the right begins with a log of its own,
//! with the same replicas on the same stores under new ids. The version of all of them grows by the number
//! of new regions. What was rotated early is on its way into tables already when the region has to wait for
//! just that: so the pause is short.
//!
//! ```text
//! parts u16 × (first key u16+… │ region u64 │ peers u16 × u64)      peers in the order of the region's
//! ```

use std::collections::BTreeSet;

use super::codec::{Malformed, Reader, put_short};
use super::core::Core;
use super::entry;
use super::error::Error;
use super::ids::{Index, PeerId, RegionId, RequestId};
use super::limits::KEY_BYTES_MAX;
use super::meta::PEERS_MAX;
use super::observe::Observation;
use super::peer::{Changing, Peer};
use super::region::{Epoch, PeerInfo, Region};
use crate::placement::Message;
use coracle_engine::progress::Rotation;
use coracle_engine::record::KeyRange;

/// New regions of one split, at the most.
pub const PARTS_MAX: usize = 16;

/// A region that a split makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it begins.
    pub start: Vec<u8>,
    /// Its name.
    pub region: RegionId,
    /// Its replicas, one for each of the region that is split and in the same order.
    pub peers: Vec<PeerId>,
}

/// The parts to the right of the one that keeps the name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split(pub Vec<Part>);

impl Split {
    /// A split of a region at these keys, with ids from `first` on.
    pub fn new(region: &Region, keys: &[Vec<u8>], first: u64) -> Split {
        let mut next = first;
        let mut take = || {
            next += 1;
            next - 1
        };
        let part = |key: &Vec<u8>| Part {
            start: key.clone(),
            region: RegionId(take()),
            peers: region.peers.iter().map(|_| PeerId(take())).collect(),
        };
        Split(keys.iter().map(part).collect())
    }

    /// How many ids a split of a region at so many keys takes.
    pub fn ids(region: &Region, keys: usize) -> u64 {
        (keys * (1 + region.peers.len())) as u64
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.0.len() as u16).to_le_bytes());
        for part in &self.0 {
            put_short(out, &part.start);
            out.extend_from_slice(&part.region.0.to_le_bytes());
            out.extend_from_slice(&(part.peers.len() as u16).to_le_bytes());
            for peer in &part.peers {
                out.extend_from_slice(&peer.0.to_le_bytes());
            }
        }
    }

    /// Takes it apart.
    pub fn decode(bytes: &[u8]) -> Result<Split, Malformed> {
        let mut reader = Reader(bytes);
        let count = usize::from(reader.u16()?);
        if count == 0 || count > PARTS_MAX {
            return Err(Malformed("a split into no or too many parts"));
        }
        let mut parts = Vec::with_capacity(count);
        for _ in 0..count {
            let start = reader.short()?.to_vec();
            let region = RegionId(reader.u64()?);
            let peers = usize::from(reader.u16()?);
            if peers > PEERS_MAX || start.len() > KEY_BYTES_MAX {
                return Err(Malformed("a part of too many peers, or with a long key"));
            }
            let peers = (0..peers).map(|_| reader.u64().map(PeerId));
            parts.push(Part {
                start,
                region,
                peers: peers.collect::<Result<_, _>>()?,
            });
        }
        reader.end()?;
        Ok(Split(parts))
    }

    /// What becomes of a region: its left part, and the new ones in order. The same on every replica,
    /// since it looks at nothing but the region; `epoch` is the one under which the split was proposed.
    pub fn apply(
        &self,
        epoch: Epoch,
        region: &Region,
    ) -> Result<(Region, Vec<Region>), &'static str> {
        if epoch != region.epoch || region.is_joint() {
            return Err("the region has changed since");
        }
        if region.id == RegionId::SYSTEM {
            return Err("the system keys stay in one region");
        }
        check_keys(&region.range, self.0.iter().map(|part| &part.start[..]))?;
        let ids: BTreeSet<RegionId> = self.0.iter().map(|part| part.region).collect();
        if ids.len() != self.0.len() || ids.contains(&region.id) || ids.contains(&RegionId(0)) {
            return Err("an id is given twice");
        }
        let mut epoch = region.epoch;
        epoch.version += self.0.len() as u64;
        let mut left = region.clone();
        left.epoch = epoch;
        left.range.limit = self.0[0].start.clone();
        let mut parts = Vec::with_capacity(self.0.len());
        for (place, part) in self.0.iter().enumerate() {
            let limit = self.0.get(place + 1).map(|next| &next.start[..]);
            let named: BTreeSet<PeerId> = part.peers.iter().copied().collect();
            if part.peers.len() != region.peers.len() || named.len() != part.peers.len() {
                return Err("a part has other peers than the region");
            }
            let peers = region.peers.iter().zip(&part.peers);
            let mut peers: Vec<PeerInfo> = peers
                .map(|(info, peer)| PeerInfo {
                    peer: *peer,
                    ..*info
                })
                .collect();
            peers.sort_by_key(|info| info.peer);
            parts.push(Region {
                id: part.region,
                epoch,
                range: KeyRange::new(&part.start, limit.unwrap_or(&region.range.limit)),
                peers,
            });
        }
        Ok((left, parts))
    }
}

/// Whether a range can be split at these keys.
fn check_keys<'a>(
    range: &KeyRange,
    keys: impl Iterator<Item = &'a [u8]>,
) -> Result<(), &'static str> {
    let mut before = &range.start[..];
    for key in keys {
        if key <= before {
            return Err("the keys of a split ascend, above the region's first key");
        }
        if !range.contains(key) {
            return Err("a region is split at keys of its own");
        }
        before = key;
    }
    Ok(())
}

/// Why a region is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Somebody asks for it.
    Asked,
    /// It holds too many bytes.
    Bytes,
    /// It holds too many keys.
    Keys,
    /// It is too busy.
    Load,
}

/// Where the rotation stands that a split waits for before it is proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Early {
    /// It is to be proposed.
    Wanted,
    /// It was proposed as this entry.
    Proposed(Index),
    /// The memtable is to be rotated.
    Due,
    /// It is on its way into tables.
    Rotated(Rotation),
}

/// A split that is not proposed yet.
#[derive(Debug)]
pub struct Asking {
    /// Comes back with the ids.
    pub nonce: u64,
    keys: Vec<Vec<u8>>,
    epoch: Epoch,
    request: Option<RequestId>,
    cause: Cause,
    deadline: u64,
    asked_at: Option<u64>,
    first: Option<u64>,
    early: Early,
}

impl Asking {
    /// Who waits.
    pub fn request(self) -> Option<RequestId> {
        self.request
    }
}

/// A split that was proposed: writes wait for it.
#[derive(Clone, Copy, Debug)]
pub struct Splitting {
    index: Index,
    since: u64,
    until: u64,
}

impl Peer {
    /// Begins to split the region at these keys, or, without any, in its middle. Ids from `first` on are
    /// the caller's to give; without them placement is asked.
    pub fn split(
        &mut self,
        core: &mut Core,
        request: Option<RequestId>,
        epoch: Option<Epoch>,
        keys: &[&[u8]],
        first: Option<u64>,
        cause: Cause,
    ) -> Result<(), Error> {
        self.check(epoch)?;
        self.check_leads()?;
        if self.region_id() == RegionId::SYSTEM {
            return Err(Error::BadRequest("the system keys stay in one region"));
        }
        if keys.len() > PARTS_MAX {
            return Err(Error::BadRequest("a region is split into at most 17"));
        }
        keys.iter().try_for_each(|key| self.check_key(key))?;
        let range = &self.region().range;
        check_keys(range, keys.iter().copied()).map_err(Error::BadRequest)?;
        if first.is_none() && !core.is_placed() {
            return Err(Error::BadRequest(
                "the cluster has no placement to give ids",
            ));
        }
        let busy = match () {
            () if self.asking.is_some() || self.is_splitting() => "another split is under way",
            () if self.node.raft.has_pending_conf()
                || self.changing.is_some()
                || self.region().is_joint() =>
            {
                "a change of the peers is under way"
            }
            () if self.node.raft.lead_transferee.is_some() || core.draining => {
                "leadership is moving"
            }
            () if !self.node.raft.apply_to_current_term() => "the leader has just been elected",
            () => "",
        };
        if !busy.is_empty() {
            return Err(Error::ServerIsBusy(busy));
        }
        let mut keys: Vec<Vec<u8>> = keys.iter().map(|key| key.to_vec()).collect();
        if keys.is_empty() {
            let middle = core.store.middle_key(range);
            keys.push(middle.ok_or(Error::BadRequest("the region holds too little to be split"))?);
        }
        core.questions += 1;
        self.asking = Some(Box::new(Asking {
            nonce: core.questions,
            keys,
            epoch: self.region().epoch,
            request,
            cause,
            deadline: core.now.mono + core.limits().write_timeout,
            asked_at: None,
            first,
            early: Early::Wanted,
        }));
        core.splits.begun[cause as usize] += 1;
        self.dirty = true;
        Ok(())
    }

    /// Whether a split was proposed and may yet take effect.
    pub fn is_splitting(&self) -> bool {
        self.splitting.is_some() || matches!(self.changing, Some(Changing::Split(_)))
    }

    /// Placement has given ids.
    pub fn given_ids(&mut self, nonce: u64, first: u64, count: u32) {
        let region = &self.machine.region;
        if let Some(asking) = &mut self.asking
            && asking.nonce == nonce
            && u64::from(count) == Split::ids(region, asking.keys.len())
        {
            asking.first.get_or_insert(first);
            self.dirty = true;
        }
    }

    /// The entry that has replicas rotate is applied.
    pub fn rotate_early(&mut self, core: &mut Core, index: Index) {
        core.rotation_wanted = true;
        if let Some(asking) = &mut self.asking
            && asking.early == Early::Proposed(index)
        {
            asking.early = Early::Due;
        }
    }

    /// The memtable was rotated.
    pub fn rotated_early(&mut self, rotation: Rotation) {
        if let Some(asking) = &mut self.asking
            && asking.early == Early::Due
        {
            asking.early = Early::Rotated(rotation);
        }
    }

    /// Goes on with a split that is not proposed yet.
    pub fn go_on_asking(&mut self, core: &mut Core) {
        let Some(mut asking) = self.asking.take() else {
            return;
        };
        match self.step_asking(core, &mut asking) {
            Ok(true) => {}
            Ok(false) => self.asking = Some(asking),
            Err(error) => {
                core.splits.failed += 1;
                self.watch.rest(core.limits(), core.now.mono);
                if let Some(request) = asking.request {
                    core.refuse(request, error);
                }
            }
        }
    }

    /// Whether the split was proposed; an error ends it, and nothing was done.
    fn step_asking(&mut self, core: &mut Core, asking: &mut Asking) -> Result<bool, Error> {
        self.check(None)?;
        self.check_leads()?;
        if self.region().epoch != asking.epoch {
            return Err(self.epoch_error());
        }
        let now = core.now.mono;
        if asking.early == Early::Wanted
            && let Some(index) = self.append(core, entry::rotate(asking.epoch, core.now.wall))
        {
            asking.early = Early::Proposed(index);
        }
        let retry = core.limits().read_retry;
        if asking.first.is_none() && asking.asked_at.is_none_or(|at| at + retry <= now) {
            asking.asked_at = Some(now);
            core.to_placement.push(Message::AllocateIds {
                count: Split::ids(self.region(), asking.keys.len()) as u32,
                nonce: asking.nonce,
            });
        }
        let late = now >= asking.deadline;
        let Some(first) = asking.first else {
            return match late {
                true => Err(Error::ServerIsBusy("placement gives no ids")),
                false => Ok(false),
            };
        };
        let rotated = match asking.early {
            Early::Rotated(rotation) => core.store.is_durable(rotation),
            _ => false,
        };
        if !rotated && !late {
            return Ok(false);
        }
        if self.node.raft.has_pending_conf() || self.changing.is_some() {
            return Err(Error::ServerIsBusy("a change of the peers is under way"));
        }
        let split = Split::new(self.region(), &asking.keys, first);
        let payload = entry::split(asking.epoch, core.now.wall, &split);
        let Some(index) = self.append(core, payload) else {
            return Err(Error::ServerIsBusy("raft does not take the split"));
        };
        let until = now + core.limits().write_timeout;
        self.splitting = Some(Splitting {
            index,
            since: now,
            until,
        });
        if asking.cause != Cause::Asked {
            let (region, version) = (self.region_id(), asking.epoch.version);
            let version = version + asking.keys.len() as u64;
            core.observe(|| Observation::SplitsItself { region, version });
        }
        self.expect_alone(core, index, asking.request);
        Ok(true)
    }

    /// Whether writes wait, since a split that was proposed would refuse them.
    pub fn holds_writes(&mut self, core: &mut Core) -> bool {
        let (leads, now) = (self.leads(), core.now.mono);
        self.release_writes(core, |splitting| splitting.until <= now || !leads);
        self.splitting.is_some()
    }

    /// Everything up to an entry is applied.
    pub fn split_passed(&mut self, core: &mut Core, index: Index) {
        self.release_writes(core, |splitting| splitting.index <= index);
    }

    fn release_writes(&mut self, core: &mut Core, is_over: impl Fn(&Splitting) -> bool) {
        if let Some(splitting) = self.splitting.take_if(|splitting| is_over(splitting)) {
            core.splits.held.add(core.now.mono - splitting.since);
        }
    }

    /// The region has changed since a request was made.
    pub fn epoch_error(&self) -> Error {
        let mut current = vec![self.region().clone()];
        current.extend(self.siblings.iter().cloned());
        Error::EpochNotMatch { current }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::ids::StoreId;
    use crate::shard::region::Role;

    fn region() -> Region {
        let peer = |peer, store, role| PeerInfo {
            peer: PeerId(peer),
            store: StoreId(store),
            role,
        };
        Region {
            id: RegionId(2),
            epoch: Epoch {
                version: 3,
                conf_ver: 4,
            },
            range: KeyRange::new(b"\x01b", b"\x02"),
            peers: vec![peer(5, 1, Role::Voter), peer(7, 3, Role::Learner)],
        }
    }

    fn split(keys: &[&str]) -> Split {
        let keys: Vec<_> = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
        Split::new(&region(), &keys, 100)
    }

    #[test]
    fn a_region_is_divided_without_gaps_and_the_left_part_keeps_its_name() {
        let before = region();
        let two = split(&["\u{1}f", "\u{1}m"]);
        let (left, parts) = two.apply(before.epoch, &before).expect("it applies");
        let told: Vec<_> = [&left]
            .into_iter()
            .chain(&parts)
            .map(Region::to_string)
            .collect();
        assert_eq!(
            told,
            [
                r"2@5.4 [\x01b, \x01f)",
                r"100@5.4 [\x01f, \x01m)",
                r"103@5.4 [\x01m, \x02)"
            ]
        );
        assert_eq!(left.peers, before.peers);
        assert_eq!(parts[1].peers[1].peer, PeerId(105));
        assert_eq!(parts[1].peers[1].role, Role::Learner);
        assert_eq!(Split::ids(&before, 2), 6);
        let mut bytes = Vec::new();
        two.encode(&mut bytes);
        assert_eq!(Split::decode(&bytes), Ok(two));
    }

    #[test]
    fn what_does_not_fit_the_region_is_refused() {
        let before = region();
        for keys in [
            &["\u{1}b"][..],
            &["\u{1}a"],
            &["\u{2}"],
            &["\u{1}m", "\u{1}f"],
            &["\u{1}m", "\u{1}m"],
        ] {
            assert!(
                split(keys).apply(before.epoch, &before).is_err(),
                "{keys:?}"
            );
        }
        let good = split(&["\u{1}m"]);
        let mut other = before.clone();
        other.epoch.conf_ver += 1;
        assert!(good.apply(before.epoch, &other).is_err(), "other peers");
        other = before.clone();
        other.peers[0].role = Role::Outgoing;
        assert!(good.apply(before.epoch, &other).is_err(), "a joint one");
        let mut bad = good.clone();
        bad.0[0].peers.pop();
        assert!(bad.apply(before.epoch, &before).is_err(), "too few peers");
        bad = good.clone();
        bad.0[0].peers[1] = bad.0[0].peers[0];
        assert!(bad.apply(before.epoch, &before).is_err(), "one peer twice");
        bad = good.clone();
        bad.0[0].region = before.id;
        assert!(bad.apply(before.epoch, &before).is_err(), "its own name");
        let mut system = before.clone();
        system.id = RegionId::SYSTEM;
        assert!(good.apply(before.epoch, &system).is_err());
    }
}
