//! Where regions should be, decided by the leader of region 1.

/// To, from and about placement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Whom to ask instead.
    NotPlacement {
        /// The store that leads region 1, as far as known.
        hint: Option<crate::shard::ids::StoreId>,
    },
}
