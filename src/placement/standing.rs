//! How a node stands to the cluster: it belongs, is to be emptied, or is gone.
//!
//! ```text
//! member ⇄ draining ─▶ gone ⇄ leaving
//! ```
//!
//! A node that drains is given nothing, and what lies on it leaves as what is lost would. A node that is gone
//! keeps its record: whoever started with it is told so, and no id of it is ever another's.
//!
//! One is let go by what is known, and somebody may have put a replica there meanwhile of which nobody has told,
//! or it was taken for lost and comes back with what it had. If it turns up and says that it holds something, it
//! is leaving: listed again, emptied as if it drained, and gone once it says that it holds nothing.

use super::codec::Node;
use super::message::Message;
use super::state::State;
use crate::shard::ids::NodeId;

/// How a node stands to the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It holds what it is given.
    #[default]
    Member,
    /// It is to hold nothing any more.
    Draining,
    /// It does not belong to the cluster any more.
    Gone,
    /// It was taken out, and has turned up with something that must leave first.
    Leaving,
}

impl Standing {
    /// As a number, in records and messages.
    pub fn number(self) -> u8 {
        match self {
            Standing::Member => 0,
            Standing::Draining => 1,
            Standing::Gone => 2,
            Standing::Leaving => 3,
        }
    }

    /// From a number.
    pub fn of(number: u8) -> Option<Standing> {
        let all = [
            Standing::Member,
            Standing::Draining,
            Standing::Gone,
            Standing::Leaving,
        ];
        (all.into_iter()).find(|standing| standing.number() == number)
    }

    /// Whether what lies there is to lie elsewhere.
    pub fn is_emptied(self) -> bool {
        matches!(self, Standing::Draining | Standing::Leaving)
    }
}

/// Lets a node stand otherwise, or says why not. The same twice is once.
pub fn stand(state: &mut State, id: NodeId, standing: Standing) -> Message {
    let refuse = |why: String| Message::StandingRefused { node: id, why };
    let Some(node) = state.nodes.get(&id).cloned() else {
        return refuse(format!("there is no node {id}"));
    };
    match (node.standing, standing) {
        (before, after) if before == after => return state.list(),
        (Standing::Gone, _) => return refuse(format!("node {id} is gone; it can only join anew")),
        (_, Standing::Gone) => {
            let left = node.stores.iter().map(|store| state.regions.load(*store));
            match left.map(|load| load.peers).sum::<u32>() {
                0 => {
                    // One that a split has just made may be there, and have its quorum from there.
                    if let Some(key) = state.regions.gap() {
                        let key = key.escape_ascii();
                        return refuse(format!(
                            "nobody has told yet who holds the keys from \"{key}\" on; ask again later"
                        ));
                    }
                }
                left => {
                    let why = format!("node {id} still holds {left} replicas; drain it first");
                    return refuse(why);
                }
            }
        }
        (_, Standing::Draining) => {
            let takes = |other: &Node| other.node != id && other.standing == Standing::Member;
            if !state.nodes.values().any(takes) {
                return refuse(format!(
                    "node {id} is the only one that holds replicas: what lies on it has nowhere to go; let another join first"
                ));
            }
        }
        (_, Standing::Member | Standing::Leaving) => {}
    }
    state.put_node(Node { standing, ..node });
    state.list()
}

/// A node that was taken out turns up with something.
pub fn turn_up(state: &mut State, id: NodeId) {
    if let Some(node) = state.nodes.get(&id).cloned() {
        state.put_node(Node {
            standing: Standing::Leaving,
            ..node
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::bootstrap_pairs;
    use crate::shard::ids::{ClusterId, Edition, StoreId};

    fn node(id: u64) -> Node {
        Node {
            node: NodeId(id),
            nonce: id,
            address: format!("n{id}:1"),
            edition: Edition::FIRST,
            standing: Standing::Member,
            labels: Vec::new(),
            stores: vec![StoreId(10 * id)],
        }
    }

    #[test]
    fn the_last_one_that_holds_replicas_is_not_emptied() {
        let pairs = bootstrap_pairs(ClusterId(5), node(1), &[]);
        let mut state = State::load(&pairs).expect("sound");
        let told = |state: &mut State, id| match stand(state, NodeId(id), Standing::Draining) {
            Message::StandingRefused { why, .. } => why,
            _ => "done".into(),
        };
        let refused = told(&mut state, 1);
        assert!(refused.contains("let another join first"), "{refused}");
        state.put_node(node(2));
        assert_eq!(told(&mut state, 1), "done");
        assert_eq!(told(&mut state, 1), "done", "the same twice is once");
        let refused = told(&mut state, 2);
        assert!(refused.contains("nowhere to go"), "{refused}");
    }
}
