//! The samples of all sides of one cell, their medians and ratios.

use serde::Serialize;

use crate::Sample;

/// One cell of a bench: the same work, done by several sides, in several rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// What was done, with its parameters.
    pub name: String,
    /// Who did it.
    pub sides: Vec<Side>,
}

/// The runs of one side, in the order of rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// Who.
    pub name: String,
    /// One sample per round.
    pub samples: Vec<Sample>,
}

/// A median and how far the values lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// A quarter of the values is smaller.
    pub low: f64,
    /// A quarter of the values is larger.
    pub high: f64,
}

impl Spread {
    /// Of some values; of none, all is NaN.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values
            .into_iter()
            .filter(|value| value.is_finite())
            .collect();
        sorted.sort_by(f64::total_cmp);
        let at = |quantile: f64| {
            let place = quantile * sorted.len().saturating_sub(1) as f64;
            let (below, above) = (place.floor() as usize, place.ceil() as usize);
            match (sorted.get(below), sorted.get(above)) {
                (Some(low), Some(high)) => low + (high - low) * place.fract(),
                _ => f64::NAN,
            }
        };
        Self {
            median: at(0.5),
            low: at(0.25),
            high: at(0.75),
        }
    }
}

impl Side {
    /// The median of any figure of the samples.
    pub fn median(&self, figure: impl Fn(&Sample) -> f64) -> f64 {
        self.spread(figure).median
    }

    /// The median and quartiles of any figure of the samples.
    pub fn spread(&self, figure: impl Fn(&Sample) -> f64) -> Spread {
        Spread::of(self.samples.iter().map(figure))
    }
}

impl Cell {
    /// The side of that name.
    pub fn side(&self, name: &str) -> Option<&Side> {
        self.sides.iter().find(|side| side.name == name)
    }

    /// How much more of `figure` one side has than another: divided round by round, then the median.
    pub fn ratio(&self, side: &str, over: &str, figure: impl Fn(&Sample) -> f64) -> Option<Spread> {
        let (side, over) = (self.side(side)?, self.side(over)?);
        let pairs = side.samples.iter().zip(&over.samples);
        let ratio = Spread::of(pairs.map(|(side, over)| figure(side) / figure(over)));
        ratio.median.is_finite().then_some(ratio)
    }
}

/// How much of something is wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted {
    /// More is better.
    AtLeast(f64),
    /// Less is better.
    AtMost(f64),
}

/// What a cell should show: a ratio of at least so much (or at most, with `at_most`).
#[derive(Clone, Debug, Serialize)]
pub struct Goal {
    /// The name of the cell.
    pub cell: String,
    /// What is judged, in words: "operations per second over rocksdb".
    pub what: String,
    /// What was measured.
    pub measured: f64,
    /// What it should be.
    pub wanted: f64,
    /// Whether smaller is better.
    pub at_most: bool,
}

impl Goal {
    /// Whether it is met.
    pub fn met(&self) -> bool {
        if self.at_most {
            self.measured <= self.wanted
        } else {
            self.measured >= self.wanted
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(name: &str, rates: &[u64]) -> Side {
        let sample = |&operations: &u64| Sample {
            operations,
            seconds: 1.0,
            ..Sample::default()
        };
        Side {
            name: name.into(),
            samples: rates.iter().map(sample).collect(),
        }
    }

    #[test]
    fn a_slow_round_slows_both_and_leaves_the_ratio_alone() {
        let sides = vec![
            side("ours", &[200, 20, 220]),
            side("theirs", &[100, 10, 110]),
        ];
        let cell = Cell {
            name: "cell".into(),
            sides,
        };
        let ratio = cell
            .ratio("ours", "theirs", Sample::rate)
            .expect("both sides are there");
        assert_eq!((ratio.low, ratio.median, ratio.high), (2.0, 2.0, 2.0));
        assert!(cell.ratio("ours", "nobody", Sample::rate).is_none());
    }

    #[test]
    fn quartiles_lie_between_the_values() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0, f64::NAN]);
        assert_eq!((spread.low, spread.median, spread.high), (1.75, 2.5, 3.25));
        assert!(Spread::of([]).median.is_nan());
    }

    #[test]
    fn a_goal_is_judged_in_its_direction() {
        let goal = |at_most| Goal {
            cell: "c".into(),
            what: "w".into(),
            measured: 2.0,
            wanted: 3.0,
            at_most,
        };
        assert!(goal(true).met());
        assert!(!goal(false).met());
    }
}
