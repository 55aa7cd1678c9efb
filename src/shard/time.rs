//! Time as the brain knows it: read by the driver after it has the inputs that it passes with it.

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Nanoseconds on a clock that never goes back; its zero means nothing.
    pub mono: u64,
    /// Unix milliseconds; may jump.
    pub wall: u64,
}

/// Nanoseconds in a millisecond.
pub const MILLISECOND: u64 = 1_000_000;
