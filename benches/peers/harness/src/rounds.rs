//! The order of runs: one after the other, round by round, beginning with another side each time.

use crate::{Cell, Sample, Side};

/// A side of a cell that can be run: its name and what a run does.
pub type Runner<'a> = (&'a str, Box<dyn FnMut(usize) -> Sample + 'a>);

/// Runs every side once per round, `rounds` times. The first side of round `n` is side `n` modulo their
/// number, so that none always follows the same other. A runner is given the number of the round.
pub fn interleave(name: &str, rounds: usize, runners: &mut [Runner<'_>]) -> Cell {
    let mut sides: Vec<Side> = runners
        .iter()
        .map(|(side, _)| Side {
            name: (*side).into(),
            samples: Vec::new(),
        })
        .collect();
    for round in 0..rounds {
        for step in 0..runners.len() {
            let which = (round + step) % runners.len();
            let sample = (runners[which].1)(round);
            sides[which].samples.push(sample);
        }
    }
    Cell {
        name: name.into(),
        sides,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn every_side_begins_in_turn_and_runs_once_a_round() {
        let order = RefCell::new(String::new());
        let runner = |side: &'static str| -> Runner<'_> {
            let order = &order;
            let run = move |round: usize| {
                order.borrow_mut().push_str(side);
                Sample {
                    operations: round as u64,
                    ..Sample::default()
                }
            };
            (side, Box::new(run))
        };
        let cell = interleave("cell", 4, &mut [runner("a"), runner("b"), runner("c")]);
        assert_eq!(order.borrow().as_str(), "abcbcacababc");
        for side in &cell.sides {
            let rounds: Vec<u64> = side
                .samples
                .iter()
                .map(|sample| sample.operations)
                .collect();
            assert_eq!(rounds, [0, 1, 2, 3]);
        }
    }
}
