//! What placement strives for, how patiently, and how much of it at once.

use super::errands::Cause;

/// What placement strives for, how patiently, and how much of it at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Voters that every region should have.
    pub replicas: usize,
    /// A peer silent for so many milliseconds is replaced.
    pub down_ms: u64,
    /// A store heard of within so many milliseconds may be given more.
    pub fit_ms: u64,
    /// An instruction whose region has not changed after so many milliseconds is thought over.
    pub operator_ms: u64,
    /// A learner that has not caught up after so many milliseconds goes, and whatever it was for is given up.
    pub learner_ms: u64,
    /// What was moved by hand is left where it is for so many milliseconds.
    pub hand_rest_ms: u64,
    /// What was moved to even out loads is left where it is for so many milliseconds.
    pub load_rest_ms: u64,
    /// Requests per second that a store has to be asked for before it matters that others are asked for less.
    pub load_floor: u64,
    /// Kinds of places by which replicas are kept apart, the widest first.
    pub spread: Vec<String>,
    /// Copies that may be under way to one store.
    pub copies_in: u32,
    /// Copies that may be under way from one store.
    pub copies_out: u32,
    /// Whether regions are moved from stores that have more to stores that have less.
    pub balances: bool,
    /// Lost or missing replicas that may be made up for at once.
    pub replaces_max: usize,
    /// Replicas that may leave nodes which are emptied, at once.
    pub drains_max: usize,
    /// Regions that may be moved at once so that stores have as many.
    pub moves_max: usize,
    /// Regions whose replicas may be spread over more places at once.
    pub spreads_max: usize,
    /// Regions that may be moved at once so that stores are asked for as much.
    pub loads_max: usize,
    /// Regions that may be moved by hand at once.
    pub hands_max: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            replicas: 3,
            down_ms: 30 * 60 * 1000,
            fit_ms: 30 * 1000,
            operator_ms: 60 * 1000,
            learner_ms: 60 * 60 * 1000,
            hand_rest_ms: 10 * 60 * 1000,
            load_rest_ms: 30 * 1000,
            load_floor: 200,
            spread: vec!["zone".into(), "rack".into()],
            copies_in: 4,
            copies_out: 4,
            balances: true,
            replaces_max: 64,
            drains_max: 32,
            moves_max: 16,
            spreads_max: 16,
            loads_max: 8,
            hands_max: 16,
        }
    }
}

impl Options {
    /// Requests per second below which it does not matter where a region is.
    pub fn light(&self) -> u64 {
        self.load_floor / 20
    }

    /// How much may be under way at once for a cause.
    pub fn most(&self, cause: Cause) -> usize {
        match cause {
            Cause::Replace => self.replaces_max,
            Cause::Drain => self.drains_max,
            Cause::Spread => self.spreads_max,
            Cause::Load => self.loads_max,
            Cause::Count => self.moves_max,
            Cause::Hand => self.hands_max,
        }
    }
}
