//! Neighbours: the other shards on whose life quiet peers here rely.
//!
//! A quiet peer neither ticks nor says anything. What it would learn by that, that those it relies on are still
//! there, two shards tell each other once for all regions that they have in common:
//!
//! ```text
//! a quiet follower relies on the store of its leader, a quiet leader on those of all others
//!
//! every heartbeat's time   Beats { boot } to everyone whom a quiet peer here relies on
//! not heard for longer than an election takes to begin, or heard in another life:
//!                          whoever relies on it wakes, and goes on as if it had ticked all the time
//! ```

use std::collections::BTreeMap;

use super::ids::StoreId;

/// Another shard that has said something short.
#[derive(Clone, Copy, Debug)]
struct Neighbour {
    /// How many quiet peers here rely on it.
    relying: u32,
    /// The life in which it was last heard.
    boot: u64,
    /// The tick in which it was last heard.
    heard: u64,
    /// When that was.
    heard_at: u64,
}

/// The other shards on whose life quiet peers here rely.
#[derive(Debug, Default)]
pub struct Neighbours {
    known: BTreeMap<StoreId, Neighbour>,
}

impl Neighbours {
    /// Whether somebody here relies on a life that is over.
    pub fn is_another_life(&self, store: StoreId, boot: u64) -> bool {
        let known = self.known.get(&store);
        known.is_some_and(|known| known.relying > 0 && known.boot != boot)
    }

    /// A store was heard.
    pub fn heard(&mut self, store: StoreId, boot: u64, tick: u64, now: u64) {
        let relying = self.known.get(&store).map_or(0, |known| known.relying);
        let neighbour = Neighbour {
            relying,
            boot,
            heard: tick,
            heard_at: now,
        };
        self.known.insert(store, neighbour);
    }

    /// The tick in which a store was last heard, and the moment.
    pub fn last_heard(&self, store: StoreId) -> Option<(u64, u64)> {
        let known = self.known.get(&store)?;
        Some((known.heard, known.heard_at))
    }

    /// A quiet peer relies on a store that was heard before.
    pub fn rely(&mut self, store: StoreId) {
        if let Some(known) = self.known.get_mut(&store) {
            known.relying += 1;
        }
    }

    /// It does so no more.
    pub fn release(&mut self, store: StoreId) {
        if let Some(known) = self.known.get_mut(&store) {
            known.relying -= 1;
        }
    }

    /// Whom quiet peers rely on.
    pub fn relied_on(&self) -> Vec<StoreId> {
        let relied = self.known.iter().filter(|(_, known)| known.relying > 0);
        relied.map(|(store, _)| *store).collect()
    }

    /// Whom quiet peers rely on and who was not heard for so many ticks. Who is not relied on is forgotten then.
    pub fn silent(&mut self, tick: u64, patience: u64) -> Vec<StoreId> {
        let is_late = |known: &Neighbour| tick > known.heard + patience;
        self.known
            .retain(|_, known| known.relying > 0 || !is_late(known));
        let late = self.known.iter().filter(|(_, known)| is_late(known));
        late.map(|(store, _)| *store).collect()
    }

    /// How often somebody relies on somebody.
    pub fn relying(&self) -> u64 {
        self.known
            .values()
            .map(|known| u64::from(known.relying))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: StoreId = StoreId(7);

    #[test]
    fn whoever_is_relied_on_is_missed_and_nobody_else() {
        let mut neighbours = Neighbours::default();
        neighbours.heard(OTHER, 1, 10, 100);
        neighbours.heard(StoreId(8), 1, 10, 100);
        neighbours.rely(OTHER);
        assert_eq!(neighbours.silent(15, 5), []);
        assert_eq!(neighbours.silent(16, 5), [OTHER]);
        assert_eq!(neighbours.last_heard(StoreId(8)), None, "it is forgotten");
        neighbours.release(OTHER);
        assert_eq!(neighbours.silent(16, 5), []);
    }

    #[test]
    fn another_life_concerns_those_who_rely_on_the_one_before() {
        let mut neighbours = Neighbours::default();
        neighbours.heard(OTHER, 1, 10, 100);
        assert!(!neighbours.is_another_life(OTHER, 2));
        neighbours.rely(OTHER);
        assert!(!neighbours.is_another_life(OTHER, 1));
        assert!(neighbours.is_another_life(OTHER, 2));
        neighbours.heard(OTHER, 2, 11, 110);
        assert!(!neighbours.is_another_life(OTHER, 2));
        assert_eq!(neighbours.relying(), 1);
    }
}
