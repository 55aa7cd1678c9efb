//! Which region holds a key.
//!
//! The first keys of all ranges, sorted; their beginnings lie in one piece as numbers, so a search
//! compares a few numbers and, where two ranges begin alike, the keys themselves.

use super::ids::RegionId;

/// The beginning of a key, as a number that orders as keys do.
type Prefix = u128;

fn prefix_of(key: &[u8]) -> Prefix {
    let mut bytes = [0; 16];
    let len = key.len().min(16);
    bytes[..len].copy_from_slice(&key[..len]);
    Prefix::from_be_bytes(bytes)
}

/// Regions by the first key of their range.
#[derive(Debug, Default)]
pub struct Routes {
    prefixes: Vec<Prefix>,
    /// In the same order.
    routes: Vec<(Vec<u8>, RegionId)>,
}

impl Routes {
    /// How many ranges begin at or before a key.
    fn upto(&self, key: &[u8]) -> usize {
        let prefix = prefix_of(key);
        let upto = self.prefixes.partition_point(|other| *other <= prefix);
        if upto == 0 || self.prefixes[upto - 1] != prefix {
            return upto;
        }
        let from = self.prefixes.partition_point(|other| *other < prefix);
        from + self.routes[from..upto].partition_point(|(start, _)| &start[..] <= key)
    }

    /// The region whose range begins last at or before a key.
    pub fn at(&self, key: &[u8]) -> Option<RegionId> {
        let place = self.upto(key).checked_sub(1)?;
        Some(self.routes[place].1)
    }

    /// A range that begins here belongs to this region.
    pub fn insert(&mut self, start: Vec<u8>, region: RegionId) {
        let place = self.upto(&start);
        if let Some(before) = place.checked_sub(1)
            && self.routes[before].0 == start
        {
            self.routes[before].1 = region;
            return;
        }
        self.prefixes.insert(place, prefix_of(&start));
        self.routes.insert(place, (start, region));
    }

    /// Forgets a region.
    pub fn remove(&mut self, region: RegionId) {
        self.routes.retain(|(_, other)| *other != region);
        let starts = self.routes.iter().map(|(start, _)| prefix_of(start));
        self.prefixes = starts.collect();
    }

    /// The regions, in the order of their keys.
    pub fn regions(&self) -> impl Iterator<Item = RegionId> {
        self.routes.iter().map(|(_, region)| *region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_begin_alike_are_told_apart() {
        let mut routes = Routes::default();
        let long = [b'k'; 40];
        // Equal in all that the numbers hold, and one that a zero byte tells from its beginning alone.
        let starts: [&[u8]; 6] = [b"", b"k", b"k\0", &long[..16], &long[..17], &long];
        for (number, start) in starts.iter().enumerate().rev() {
            routes.insert(start.to_vec(), RegionId(number as u64));
        }
        let region = |key: &[u8]| routes.at(key).map(|region| region.0);
        for (number, start) in starts.iter().enumerate() {
            assert_eq!(region(start), Some(number as u64), "{start:?}");
            let behind = [start, &b"\0"[..]].concat();
            let last = starts.iter().filter(|other| **other <= &behind[..]).count() - 1;
            assert_eq!(region(&behind), Some(last as u64), "{behind:?}");
        }
        assert_eq!(region(b"a"), Some(0));
        assert_eq!(region(b"z"), Some(5));
        routes.remove(RegionId(5));
        assert_eq!(routes.at(b"z"), Some(RegionId(4)));
        routes.remove(RegionId(0));
        assert_eq!(routes.at(b"a"), None);
    }
}
