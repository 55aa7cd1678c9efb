//! The numbers of the log. Each has a type of its own, since all of them are small integers that mean
//! different things.

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl core::fmt::Display for $name {
            fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.0.fmt(formatter)
            }
        }
    };
}

number!(
    /// Drawn at random when a log is created; no block of one log verifies in another.
    LogId(u64)
);
number!(
    /// A region, as the caller numbers them.
    RegionId(u64)
);
number!(
    /// Counts batches from 1 over the whole life of the log; void ones leave no gap.
    Lsn(u64)
);
number!(
    /// Counts segments over the whole life of the log; a slot's file holds one after another.
    Sequence(u64)
);
number!(
    /// A file of the log, recycled from segment to segment.
    Slot(u32)
);
number!(
    /// Names one read of old entries.
    ReadToken(u64)
);
