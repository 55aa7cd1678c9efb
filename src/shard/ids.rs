//! The numbers of the brain. Each has a type of its own, since all of them are small integers that
//! mean different things.

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

number!(
    /// A cluster; two clusters never talk to each other.
    ClusterId(u64)
);
number!(
    /// A process, which is a failure domain.
    NodeId(u64)
);
number!(
    /// A shard of some node: what raft's literature calls a store. Given once, never again.
    StoreId(u64)
);
number!(
    /// A range of keys with its own raft group.
    RegionId(u64)
);
number!(
    /// A region's replica on one store; a later one has a greater id. Raft knows a peer by it.
    PeerId(u64)
);
number!(
    /// The place of an entry in a region's log.
    Index(u64)
);
number!(
    /// The term of a leader.
    Term(u64)
);
number!(
    /// Names a request; chosen by the driver, used once between two starts.
    RequestId(u64)
);
number!(
    /// Which edition of what a process says of itself: of two the higher one holds, in whatever order they come.
    Edition(u64)
);
number!(
    /// One life of a peer's memory. What comes back for an earlier one is dropped.
    Incarnation(u64)
);

impl RequestId {
    /// From here on they are the shard's own: no driver uses one.
    pub const FIRST_OWN: RequestId = RequestId(1 << 63);
}

impl RegionId {
    /// The region that holds the system keys, and with them the placement state.
    pub const SYSTEM: RegionId = RegionId(1);
    /// The first region of user keys.
    pub const FIRST_USER: RegionId = RegionId(2);

    /// As the log names it.
    pub fn in_log(self) -> coracle_wal::RegionId {
        coracle_wal::RegionId(self.0)
    }

    /// As the state store names it.
    pub fn in_store(self) -> coracle_engine::progress::RegionId {
        coracle_engine::progress::RegionId(self.0)
    }
}

impl Edition {
    /// What a process says of itself when it asks to join.
    pub const FIRST: Edition = Edition(1);

    /// The one that goes over this one.
    pub fn next(self) -> Edition {
        Edition(self.0 + 1)
    }
}

impl PeerId {
    /// As the state store names it.
    pub fn in_store(self) -> coracle_engine::progress::PeerId {
        coracle_engine::progress::PeerId(self.0)
    }
}

impl Index {
    /// The next place.
    pub fn next(self) -> Index {
        Index(self.0 + 1)
    }

    /// As the state store names it.
    pub fn in_store(self) -> coracle_engine::progress::Index {
        coracle_engine::progress::Index(self.0)
    }
}
