//! Who a shard is, and what may be chosen about it.

use super::ids::{ClusterId, NodeId, StoreId};
use super::limits::Limits;
use super::mutant::Mutant;
use crate::placement;

/// Who a shard is, and what may be chosen about it.
#[derive(Clone, Debug)]
pub struct ShardOptions {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its process.
    pub node: NodeId,
    /// Itself.
    pub store: StoreId,
    /// Drawn anew for every start: what names something across starts begins with it.
    pub boot: u64,
    /// Seeds election timeouts.
    pub seed: u64,
    /// The bounds.
    pub limits: Limits,
    /// What placement strives for, where this shard runs it.
    pub placement: placement::Options,
    /// A rule that is broken on purpose.
    pub mutant: Mutant,
    /// Whether observations are kept for a checker.
    pub observe: bool,
}
