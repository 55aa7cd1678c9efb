//! How a process comes to belong to the cluster: once per nonce, however often it asks and wherever
//! process or placement stop in between. Nonce, node and stores are one record, so there is no half of it.
//!
//! A member that has moved says so by the same message, in a later edition. What it said in an earlier one may
//! still be under way then, over a slow link: it is answered, and changes nothing.

use super::codec::{NODE_PARTS_MAX, Node};
use super::message::Message;
use super::standing::Standing;
use super::state::State;
use crate::shard::ids::{Edition, NodeId, StoreId};

const TEXT_BYTES_MAX: usize = 1024;
const LABELS_MAX: usize = 64;

/// Grants a join, or says what was granted before.
pub fn join(
    state: &mut State,
    nonce: u64,
    address: String,
    edition: Edition,
    shards: u16,
    labels: Vec<(String, String)>,
) -> Message {
    let refuse = |why: &str| Message::JoinRefused {
        nonce,
        why: why.into(),
    };
    let long = |text: &String| text.len() > TEXT_BYTES_MAX;
    if address.is_empty() || long(&address) || labels.iter().any(|(n, v)| long(n) || long(v)) {
        return refuse("an address or label is empty or too long");
    }
    if shards == 0 || usize::from(shards) > NODE_PARTS_MAX || labels.len() > LABELS_MAX {
        return refuse("no shards, or too many shards or labels");
    }
    let known = state
        .nodes
        .values()
        .find(|node| node.nonce == nonce)
        .cloned();
    let node = match known {
        Some(known) if known.standing == Standing::Gone => {
            let why = "the node was removed from the cluster; with an empty directory it can join as another one";
            return refuse(why);
        }
        Some(known) if known.stores.len() != usize::from(shards) => {
            return refuse("the node has joined with another number of shards");
        }
        Some(known) => {
            if known.edition < edition {
                state.put_node(Node {
                    address,
                    edition,
                    labels,
                    ..known.clone()
                });
            }
            known
        }
        None => {
            let first = state.allocate(1 + u64::from(shards));
            let node = Node {
                node: NodeId(first),
                nonce,
                address,
                edition,
                standing: Standing::Member,
                labels,
                stores: (1..=u64::from(shards))
                    .map(|n| StoreId(first + n))
                    .collect(),
            };
            state.put_node(node.clone());
            node
        }
    };
    Message::Joined {
        nonce,
        cluster: state.cluster,
        node: node.node,
        stores: node.stores,
    }
}
