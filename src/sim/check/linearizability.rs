//! Linearizability of single keys: there is an order of all operations, each somewhere between its
//! begin and its end, in which one copy of the key would have answered as the clients were answered.
//!
//! The search tries operations in the order of their begins (Wing and Gong's, with what was tried
//! remembered by Lowe): an operation may come next if none that is still open ended before it began. An
//! operation with an unknown outcome may take effect at any time after its begin, or never. A search
//! that takes too long is undecided, and undecided is not passed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Verdict, Violation};
use crate::sim::history::{Kind, Operation, Outcome, Seen};

/// States that a search may visit for one key.
const STATES_MAX: usize = 2_000_000;

/// A copy of one key.
type Value = Option<Vec<u8>>;

/// Whether one copy that holds `value` could have answered so; what it holds afterwards.
fn apply(value: &Value, kind: &Kind, seen: Option<&Seen>) -> Option<Value> {
    match (kind, seen) {
        (Kind::Get, Some(Seen::Value(found))) => (found == value).then(|| value.clone()),
        (Kind::Put(new), None | Some(Seen::Done)) => Some(Some(new.clone())),
        (Kind::Delete, None | Some(Seen::Done)) => Some(None),
        (Kind::CompareAndPut { expected, new }, seen) => {
            let held = expected == value;
            let agrees = match seen {
                Some(Seen::Compared {
                    held: told,
                    previous,
                }) => *told == held && previous == value,
                Some(_) => false,
                None => true,
            };
            let after = if held { new.clone() } else { value.clone() };
            agrees.then_some(after)
        }
        (Kind::Add(delta), seen) => {
            let before: i64 = match value {
                None => 0,
                Some(text) => std::str::from_utf8(text).ok()?.parse().ok()?,
            };
            let sum = before + delta;
            let agrees = match seen {
                Some(Seen::Counter(told)) => *told == sum,
                Some(_) => false,
                None => true,
            };
            agrees.then(|| Some(sum.to_string().into_bytes()))
        }
        _ => None,
    }
}

/// Checks every key's history.
pub fn check(history: &[Operation]) -> Verdict {
    let mut keys: BTreeMap<&[u8], Vec<&Operation>> = BTreeMap::new();
    for operation in history {
        keys.entry(&operation.key).or_default().push(operation);
    }
    for (key, operations) in keys {
        check_key(key, &operations)?;
    }
    Ok(())
}

/// What anybody saw of a key: an unknown write that nobody saw may as well not have been.
fn is_seen(operations: &[&Operation], wanted: &[u8]) -> bool {
    operations.iter().any(|operation| match &operation.outcome {
        Outcome::Known { seen, .. } => match seen {
            Seen::Value(Some(value)) => value == wanted,
            Seen::Compared { previous, .. } => previous.as_deref() == Some(wanted),
            _ => false,
        },
        _ => false,
    }) || operations.iter().any(|operation| match &operation.kind {
        Kind::CompareAndPut { expected, .. } => expected.as_deref() == Some(wanted),
        _ => false,
    })
}

/// Whether there is an order; none if that takes too long to say.
fn order(all: &[&Operation]) -> Option<bool> {
    let mut operations: Vec<&Operation> = all
        .iter()
        .filter(|operation| match (&operation.outcome, &operation.kind) {
            (Outcome::NotApplied, _) | (Outcome::Unknown, Kind::Get) => false,
            (Outcome::Unknown, Kind::Put(new)) => is_seen(all, new),
            _ => true,
        })
        .copied()
        .collect();
    operations.sort_by_key(|operation| operation.invoked);
    let ends: Vec<u64> = operations.iter().map(|operation| operation.end()).collect();
    let mut search = Search {
        operations: &operations,
        ends: &ends,
        tried: BTreeSet::new(),
    };
    search.run()
}

fn check_key(key: &[u8], all: &[&Operation]) -> Verdict {
    let wrong = |what: String| Err(Violation::new("linearizability", what));
    match order(all) {
        Some(true) => Ok(()),
        Some(false) => wrong(format!(
            "key {} has no order; up to the answer that cannot be:{}",
            key.escape_ascii(),
            tell(all)
        )),
        None => wrong(format!(
            "key {} is undecided after {STATES_MAX} states, {} operations",
            key.escape_ascii(),
            all.len()
        )),
    }
}

/// The end of the shortest beginning of a history that has no order.
fn tell(all: &[&Operation]) -> String {
    let mut moments: Vec<u64> = all.iter().map(|operation| operation.end()).collect();
    moments.retain(|moment| *moment < u64::MAX);
    moments.sort_unstable();
    let until = |moment: u64| -> Vec<Operation> {
        let begun = all.iter().filter(|operation| operation.invoked <= moment);
        begun
            .map(|operation| {
                let mut operation = (*operation).clone();
                if operation.end() > moment && operation.outcome != Outcome::NotApplied {
                    operation.outcome = Outcome::Unknown;
                }
                operation
            })
            .collect()
    };
    let fails = |moment: u64| {
        let history = until(moment);
        let operations: Vec<&Operation> = history.iter().collect();
        order(&operations) == Some(false)
    };
    let place = moments.partition_point(|moment| !fails(*moment));
    let Some(moment) = moments.get(place) else {
        return String::new();
    };
    let history = until(*moment);
    let mut shown: Vec<&Operation> = history.iter().collect();
    shown.sort_by_key(|operation| operation.invoked);
    let from = shown.len().saturating_sub(24);
    let lines = shown[from..]
        .iter()
        .map(|operation| format!("\n  {operation}"));
    lines.collect()
}

struct Search<'a> {
    operations: &'a [&'a Operation],
    ends: &'a [u64],
    /// States that lead nowhere: the first open operation, those done behind it, the value.
    tried: BTreeSet<(usize, Vec<u32>, Value)>,
}

/// A place in the search: everything before `first` is done, and so are those in `done`.
#[derive(Clone)]
struct Place {
    first: usize,
    done: Vec<u32>,
    value: Value,
    /// What to try next.
    next: usize,
}

impl Search<'_> {
    fn run(&mut self) -> Option<bool> {
        let mut stack = vec![Place {
            first: 0,
            done: Vec::new(),
            value: None,
            next: 0,
        }];
        while let Some(place) = stack.last_mut() {
            if self.is_over(place) {
                return Some(true);
            }
            let Some(candidate) = self.candidate(place) else {
                stack.pop();
                continue;
            };
            place.next = candidate + 1;
            let operation = self.operations[candidate];
            let seen = match &operation.outcome {
                Outcome::Known { seen, .. } => Some(seen),
                _ => None,
            };
            let Some(value) = apply(&place.value, &operation.kind, seen) else {
                continue;
            };
            let mut after = place.clone();
            after.value = value;
            after.take(candidate);
            after.next = after.first;
            if self.tried.len() >= STATES_MAX {
                return None;
            }
            if self
                .tried
                .insert((after.first, after.done.clone(), after.value.clone()))
            {
                stack.push(after);
            }
        }
        Some(false)
    }

    /// Whether only operations are left that may never have taken effect.
    fn is_over(&self, place: &Place) -> bool {
        (place.first..self.operations.len())
            .all(|at| place.is_done(at) || self.ends[at] == u64::MAX)
    }

    /// The next open operation that may come first.
    fn candidate(&self, place: &Place) -> Option<usize> {
        let mut earliest_end = u64::MAX;
        for at in place.first..self.operations.len() {
            // Whoever begins after an open one has ended cannot come before it.
            if self.operations[at].invoked > earliest_end {
                return None;
            }
            if place.is_done(at) {
                continue;
            }
            if at >= place.next {
                return Some(at);
            }
            earliest_end = earliest_end.min(self.ends[at]);
        }
        None
    }
}

impl Place {
    fn is_done(&self, at: usize) -> bool {
        self.done.binary_search(&(at as u32)).is_ok()
    }

    fn take(&mut self, at: usize) {
        let place = self.done.partition_point(|other| *other < at as u32);
        self.done.insert(place, at as u32);
        let mut passed = 0;
        while self.done.get(passed) == Some(&(self.first as u32)) {
            self.first += 1;
            passed += 1;
        }
        self.done.drain(..passed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(kind: Kind, invoked: u64, returned: u64, seen: Seen) -> Operation {
        Operation {
            client: 0,
            key: b"k".to_vec(),
            kind,
            invoked,
            outcome: Outcome::Known { returned, seen },
        }
    }

    fn put(value: &str, invoked: u64, returned: u64) -> Operation {
        operation(Kind::Put(value.into()), invoked, returned, Seen::Done)
    }

    fn get(value: Option<&str>, invoked: u64, returned: u64) -> Operation {
        let seen = Seen::Value(value.map(|value| value.into()));
        operation(Kind::Get, invoked, returned, seen)
    }

    #[test]
    fn overlapping_operations_have_an_order() {
        let history = [
            put("a", 0, 10),
            get(None, 1, 5),
            get(Some("a"), 6, 12),
            put("b", 11, 20),
            get(Some("a"), 12, 15),
            get(Some("b"), 21, 22),
        ];
        assert_eq!(check(&history), Ok(()));
    }

    #[test]
    fn a_stale_read_is_seen() {
        let history = [put("a", 0, 10), put("b", 11, 20), get(Some("a"), 21, 30)];
        assert!(check(&history).is_err());
        let history = [put("a", 0, 10), get(Some("a"), 2, 3), get(None, 4, 5)];
        assert!(check(&history).is_err(), "a value that was seen stays");
    }

    #[test]
    fn an_unknown_write_may_or_may_not_be() {
        let mut unknown = put("b", 11, 0);
        unknown.outcome = Outcome::Unknown;
        let before = [put("a", 0, 10), unknown.clone(), get(Some("a"), 21, 30)];
        assert_eq!(check(&before), Ok(()));
        let after = [put("a", 0, 10), unknown.clone(), get(Some("b"), 40, 50)];
        assert_eq!(check(&after), Ok(()));
        let back = [
            put("a", 0, 10),
            unknown,
            get(Some("b"), 40, 50),
            get(Some("a"), 51, 52),
        ];
        assert!(check(&back).is_err());
    }

    #[test]
    fn counters_and_comparisons_are_checked() {
        let add = |delta, sum, at| operation(Kind::Add(delta), at, at + 1, Seen::Counter(sum));
        assert_eq!(check(&[add(2, 2, 0), add(3, 5, 10)]), Ok(()));
        assert!(
            check(&[add(2, 2, 0), add(3, 3, 10)]).is_err(),
            "an addition was lost"
        );
        let compare = |expected: Option<&str>, held, previous: Option<&str>, at| {
            let kind = Kind::CompareAndPut {
                expected: expected.map(|value| value.into()),
                new: Some(b"n".to_vec()),
            };
            let previous = previous.map(|value| value.as_bytes().to_vec());
            operation(kind, at, at + 1, Seen::Compared { held, previous })
        };
        assert_eq!(
            check(&[
                compare(None, true, None, 0),
                compare(None, false, Some("n"), 5)
            ]),
            Ok(())
        );
        assert!(check(&[compare(None, true, None, 0), compare(None, true, None, 5)]).is_err());
    }

    #[test]
    fn ten_thousand_operations_take_a_moment() {
        let mut history = Vec::new();
        for step in 0..1250u64 {
            for client in 0..8 {
                let at = step * 100 + client;
                history.push(put(&format!("{step}/{client}"), at, at + 50));
            }
            history.push(get(
                Some(&format!("{step}/3")),
                step * 100 + 60,
                step * 100 + 70,
            ));
        }
        assert_eq!(check(&history), Ok(()));
    }
}
