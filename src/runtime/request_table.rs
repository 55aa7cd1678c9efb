//! Who waits for the answer to which request.

use crate::shard::ids::RequestId;

/// Requests under way, by the number that the shard gives back with the answer. A number names its place,
/// and how often that place was used: no hash, and no answer meets a later request.
#[derive(Debug)]
pub struct RequestTable<Owner> {
    places: Vec<Place<Owner>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place<Owner> {
    used: u32,
    owner: Option<Owner>,
}

impl<Owner> Default for RequestTable<Owner> {
    fn default() -> RequestTable<Owner> {
        RequestTable {
            places: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<Owner> RequestTable<Owner> {
    /// A number for a request of this owner.
    pub fn insert(&mut self, owner: Owner) -> RequestId {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place {
                used: 0,
                owner: None,
            });
            (self.places.len() - 1) as u32
        });
        let kept = &mut self.places[place as usize];
        kept.used = kept.used.wrapping_add(1);
        kept.owner = Some(owner);
        RequestId(u64::from(kept.used) << 32 | u64::from(place))
    }

    /// The owner of a request that was answered; none if it was before.
    pub fn remove(&mut self, id: RequestId) -> Option<Owner> {
        let place = id.0 as u32;
        let kept = self.places.get_mut(place as usize)?;
        if kept.used != (id.0 >> 32) as u32 {
            return None;
        }
        let owner = kept.owner.take()?;
        self.free.push(place);
        Some(owner)
    }

    /// How many are under way.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All owners.
    pub fn iter(&self) -> impl Iterator<Item = &Owner> {
        self.places.iter().filter_map(|place| place.owner.as_ref())
    }

    /// Owners that are chosen; they are not under way any more.
    pub fn take_if(&mut self, mut is_chosen: impl FnMut(&Owner) -> bool) -> Vec<Owner> {
        let mut chosen = Vec::new();
        for (place, kept) in self.places.iter_mut().enumerate() {
            if kept.owner.as_ref().is_some_and(&mut is_chosen) {
                chosen.extend(kept.owner.take());
                self.free.push(place as u32);
            }
        }
        chosen
    }

    /// All owners; nothing is under way afterwards.
    pub fn drain(&mut self) -> Vec<Owner> {
        self.take_if(|_| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_meets_its_own_request_and_no_later_one() {
        let mut table = RequestTable::default();
        let first = table.insert("a");
        let second = table.insert("b");
        assert_eq!(table.remove(first), Some("a"));
        assert_eq!(table.remove(first), None);
        let third = table.insert("c");
        assert_ne!(third, first, "the place is the same, the number is not");
        assert_eq!(table.remove(first), None);
        assert_eq!((table.remove(third), table.len()), (Some("c"), 1));
        assert_eq!(table.drain(), ["b"]);
        assert_eq!(table.remove(second), None);
        assert!(table.is_empty());
        assert_eq!(table.remove(RequestId(u64::MAX)), None);
    }
}
