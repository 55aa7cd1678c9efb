//! The peers of a shard, by the region that each belongs to.
//!
//! Every input asks for a peer, and with ten thousand regions a walk down a tree costs more than what
//! is done there. So the ids lie sorted in one piece, and whoever asks for the region of last time, or
//! for the one behind it, as requests and turns mostly do, has it without a search. Coming and going is
//! rare, and may cost a move of all ids.

use std::cell::Cell;
use std::ops::Index;

use super::ids::RegionId;
use super::peer::Peer;

/// The peers of a shard.
#[derive(Debug, Default)]
pub struct Peers {
    ids: Vec<RegionId>,
    /// In the order of the ids.
    #[expect(
        clippy::vec_box,
        reason = "a peer is large, and would move when another one comes"
    )]
    peers: Vec<Box<Peer>>,
    /// Where the last one was found.
    last: Cell<usize>,
}

impl Peers {
    #[inline]
    fn place(&self, region: RegionId) -> Option<usize> {
        let last = self.last.get();
        if self.ids.get(last) == Some(&region) {
            return Some(last);
        }
        let place = match self.ids.get(last + 1) == Some(&region) {
            true => last + 1,
            false => self.ids.binary_search(&region).ok()?,
        };
        self.last.set(place);
        Some(place)
    }

    /// The peer of a region.
    #[inline]
    pub fn get(&self, region: &RegionId) -> Option<&Peer> {
        self.place(*region).map(|place| &*self.peers[place])
    }

    /// The peer of a region.
    #[inline]
    pub fn get_mut(&mut self, region: &RegionId) -> Option<&mut Peer> {
        self.place(*region).map(|place| &mut *self.peers[place])
    }

    /// The peer that was asked for last, if it is still there.
    #[inline]
    pub fn last(&self) -> Option<&Peer> {
        self.peers.get(self.last.get()).map(|peer| &**peer)
    }

    /// Adds a peer; returns the one that was there.
    pub fn insert(&mut self, region: RegionId, peer: Box<Peer>) -> Option<Box<Peer>> {
        match self.ids.binary_search(&region) {
            Ok(place) => Some(std::mem::replace(&mut self.peers[place], peer)),
            Err(place) => {
                self.ids.insert(place, region);
                self.peers.insert(place, peer);
                None
            }
        }
    }

    /// Takes a peer out.
    pub fn remove(&mut self, region: &RegionId) -> Option<Box<Peer>> {
        let place = self.ids.binary_search(region).ok()?;
        self.ids.remove(place);
        Some(self.peers.remove(place))
    }

    /// The peer at a place, in the order of the regions.
    pub fn at(&self, place: usize) -> &Peer {
        &self.peers[place]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The regions, in order.
    pub fn keys(&self) -> impl Iterator<Item = &RegionId> {
        self.ids.iter()
    }

    /// The peers, in the order of their regions.
    pub fn values(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().map(|peer| &**peer)
    }

    /// The peers, in the order of their regions.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.peers.iter_mut().map(|peer| &mut **peer)
    }
}

impl Index<&RegionId> for Peers {
    type Output = Peer;

    fn index(&self, region: &RegionId) -> &Peer {
        self.get(region).expect("a region that is here")
    }
}
