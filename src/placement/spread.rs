//! How well the replicas of a region are kept apart: over zones, then racks, then nodes.
//!
//! ```text
//! placement.spread = ["zone", "rack"]
//!
//!          zones  racks  nodes
//! a1 a2 b1   2      3      3     <  a1 b1 c1   3  3  3     whoever has more zones is better, whatever comes behind
//! ```
//!
//! A rack is one within its zone. All nodes that lack a label stand in one place together: a cluster without labels
//! is one zone.

use std::collections::BTreeMap;

use super::codec::Node;
use super::replica_checker::StoreView;
use crate::shard::ids::{NodeId, StoreId};

/// No more kinds of places are told apart.
pub const LEVELS_MAX: usize = 4;

/// Where a node stands: a number for each kind of place, the widest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub [u32; LEVELS_MAX]);

/// Over how many places voters are spread, the widest first, and over how many nodes. Greater is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Isolation([u8; LEVELS_MAX + 1]);

/// Where nodes stand, by their labels.
pub fn places(nodes: &BTreeMap<NodeId, Node>, levels: &[String]) -> BTreeMap<NodeId, Place> {
    let mut numbers: BTreeMap<Vec<&str>, u32> = BTreeMap::new();
    let mut places = BTreeMap::new();
    for node in nodes.values() {
        let (mut place, mut path) = (Place::default(), Vec::new());
        let mut named = false;
        for (level, name) in levels.iter().take(LEVELS_MAX).enumerate() {
            let label = node.labels.iter().find(|(known, _)| known == name);
            named |= label.is_some();
            path.push(label.map_or("", |(_, value)| &value[..]));
            if named {
                let next = numbers.len() as u32 + 1;
                place.0[level] = *numbers.entry(path.clone()).or_insert(next);
            }
        }
        places.insert(node.node, place);
    }
    places
}

/// How well voters on these stores are kept apart.
pub fn isolation(
    stores: &BTreeMap<StoreId, StoreView>,
    on: impl Iterator<Item = StoreId>,
) -> Isolation {
    let views: Vec<&StoreView> = on.filter_map(|store| stores.get(&store)).collect();
    let mut counts = [0; LEVELS_MAX + 1];
    for (place, view) in views.iter().enumerate() {
        let before = &views[..place];
        for (level, count) in counts.iter_mut().enumerate() {
            let same = |other: &&StoreView| match level {
                LEVELS_MAX => other.node == view.node,
                level => other.place.0[level] == view.place.0[level],
            };
            *count += u8::from(!before.iter().any(same));
        }
    }
    Isolation(counts)
}

/// Whether some store stands elsewhere than others, as far as labels say.
pub fn is_labelled(stores: &BTreeMap<StoreId, StoreView>) -> bool {
    let mut places = stores.values().map(|view| view.place);
    let first = places.next();
    places.any(|place| Some(place) != first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::Standing;
    use crate::shard::ids::Edition;

    fn node(id: u64, labels: &[(&str, &str)]) -> (NodeId, Node) {
        let labels = labels
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        let node = Node {
            node: NodeId(id),
            nonce: id,
            address: String::new(),
            edition: Edition::FIRST,
            standing: Standing::Member,
            labels: labels.collect(),
            stores: Vec::new(),
        };
        (NodeId(id), node)
    }

    #[test]
    fn a_rack_is_one_within_its_zone() {
        let nodes = [
            node(1, &[("zone", "a"), ("rack", "1")]),
            node(2, &[("rack", "1"), ("zone", "b")]),
            node(3, &[("zone", "b"), ("rack", "2"), ("disk", "fast")]),
            node(4, &[("zone", "b"), ("rack", "2")]),
            node(5, &[]),
            node(6, &[("rack", "2")]),
        ];
        let levels = ["zone".to_string(), "rack".to_string()];
        let places = places(&nodes.into(), &levels);
        let at = |id: u64| places[&NodeId(id)].0;
        assert_ne!(at(1)[0], at(2)[0], "other zones");
        assert_ne!(at(1)[1], at(2)[1], "so other racks");
        assert_eq!(at(2)[0], at(3)[0]);
        assert_ne!(at(2)[1], at(3)[1]);
        assert_eq!(at(3), at(4));
        assert_eq!(at(5), [0; LEVELS_MAX]);
        assert_eq!(
            at(6)[0],
            0,
            "a node without a zone stands with those that have none"
        );
    }

    #[test]
    fn the_widest_place_counts_first() {
        let view = |node: u64, zone: u32, rack: u32| StoreView {
            node: NodeId(node),
            place: Place([zone, rack, 0, 0]),
            ..StoreView::default()
        };
        // a1 a2 b1 c1, and a second node in a1.
        let stores = [
            (StoreId(1), view(1, 1, 11)),
            (StoreId(2), view(2, 1, 12)),
            (StoreId(3), view(3, 2, 21)),
            (StoreId(4), view(4, 3, 31)),
            (StoreId(5), view(5, 1, 11)),
        ];
        let stores = stores.into();
        let of = |on: &[u64]| isolation(&stores, on.iter().copied().map(StoreId));
        assert!(of(&[1, 2, 3]) < of(&[1, 3, 4]));
        assert!(of(&[1, 5, 3]) < of(&[1, 2, 3]), "then racks");
        assert!(of(&[1, 1]) < of(&[1, 5]), "then nodes");
        assert!(
            of(&[1, 2, 5]) < of(&[1, 3]),
            "two zones rather than three nodes"
        );
        assert_eq!(of(&[1, 3, 4]), of(&[2, 3, 4]));
        assert!(is_labelled(&stores));
    }
}
