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
            let sum = before.checked_add(*delta)?;
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
    /// States that lead nowhere: what tells one place from another.
    tried: BTreeSet<Known>,
}

/// A place without what is to be tried there: `first`, `done`, `left`, `value`, `must_show`.
type Known = (usize, Vec<u32>, Vec<u32>, Value, bool);

/// A place in the search: everything before `first` is done but for those `left`, and so are those in
/// `done`. What has no end may be left for ever; were it to hold `first` back, every later operation
/// would be in every state.
#[derive(Clone)]
struct Place {
    /// The first open operation that has an end.
    first: usize,
    /// Operations behind it that are done.
    done: Vec<u32>,
    /// Operations before it that are not: they have no end.
    left: Vec<u32>,
    value: Value,
    /// The last operation had no answer: only one that looks at the value may follow.
    must_show: bool,
    /// What to try next.
    next: usize,
}

impl Search<'_> {
    fn run(&mut self) -> Option<bool> {
        let mut begin = Place {
            first: 0,
            done: Vec::new(),
            left: Vec::new(),
            value: None,
            must_show: false,
            next: 0,
        };
        begin.advance(self.ends);
        let mut stack = vec![begin];
        while let Some(place) = stack.last_mut() {
            // Only operations are left that may never have taken effect.
            if place.first == self.operations.len() {
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
            // What nobody was told of is in the shortest order only where it shows: it changes the
            // value, and what comes next looks at it.
            let is_open = seen.is_none();
            let is_blind = matches!(operation.kind, Kind::Put(_) | Kind::Delete);
            if (is_open && value == place.value) || (is_blind && place.must_show) {
                continue;
            }
            // Of those that would do the same, and may all come at any time, the first will do.
            let mut left = place.left.iter().map(|at| *at as usize);
            let is_twin = |at: usize| at < candidate && self.operations[at].kind == operation.kind;
            if is_open && left.any(is_twin) {
                continue;
            }
            let mut after = place.clone();
            after.value = value;
            after.must_show = is_open;
            after.take(candidate, self.ends);
            after.next = 0;
            if self.tried.len() >= STATES_MAX {
                return None;
            }
            let known = (
                after.first,
                after.done.clone(),
                after.left.clone(),
                after.value.clone(),
                after.must_show,
            );
            if self.tried.insert(known) {
                stack.push(after);
            }
        }
        Some(false)
    }

    /// The next open operation that may come first.
    fn candidate(&self, place: &Place) -> Option<usize> {
        let wanted = place
            .left
            .partition_point(|left| (*left as usize) < place.next);
        if let Some(at) = place.left.get(wanted) {
            return Some(*at as usize);
        }
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

    fn take(&mut self, at: usize, ends: &[u64]) {
        if at < self.first {
            self.left.retain(|left| *left != at as u32);
            return;
        }
        let place = self.done.partition_point(|other| *other < at as u32);
        self.done.insert(place, at as u32);
        self.advance(ends);
    }

    /// Passes what is done or has no end.
    fn advance(&mut self, ends: &[u64]) {
        let mut passed = 0;
        while self.first < ends.len() {
            if self.done.get(passed) == Some(&(self.first as u32)) {
                passed += 1;
            } else if ends[self.first] == u64::MAX {
                self.left.push(self.first as u32);
            } else {
                break;
            }
            self.first += 1;
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

    #[test]
    fn a_write_that_was_long_on_its_way_is_found() {
        let mut late = put("late", 0, 0);
        late.outcome = Outcome::Unknown;
        let mut history = vec![late];
        for step in 1..5000u64 {
            let value = format!("{step}");
            history.push(put(&value, step * 10, step * 10 + 1));
            history.push(get(Some(&value), step * 10 + 2, step * 10 + 3));
        }
        history.push(get(Some("late"), 60_000, 60_001));
        assert_eq!(check(&history), Ok(()));
        history.push(get(Some("4999"), 60_002, 60_003));
        assert!(check(&history).is_err(), "what it replaced is back");
    }

    #[test]
    fn a_sum_beyond_all_numbers_is_no_answer() {
        let add = |delta, sum, at| operation(Kind::Add(delta), at, at + 1, Seen::Counter(sum));
        assert!(check(&[add(i64::MAX, i64::MAX, 0), add(1, i64::MIN, 10)]).is_err());
    }

    /// What eight clients see of one true copy: each operation takes effect at some moment between its
    /// begin and its end, one in fifty without an answer, and half of those never.
    fn true_history(seed: u64, count: u64) -> Vec<Operation> {
        let mut state = seed;
        let mut draw = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut free = [0u64; 8];
        let mut planned = Vec::new();
        for number in 0..count {
            let client = (number % 8) as usize;
            let invoked = free[client] + 1 + draw(20);
            let moment = invoked + draw(40);
            let returned = moment + draw(40);
            free[client] = returned;
            planned.push((
                moment,
                number,
                invoked,
                returned,
                draw(10),
                draw(50),
                draw(2),
            ));
        }
        planned.sort_unstable();
        let mut copy: Value = None;
        let mut history = Vec::new();
        for (_, number, invoked, returned, what, luck, never) in planned {
            let kind = match what {
                0..5 => Kind::Get,
                5..8 => Kind::Put(number.to_string().into_bytes()),
                8 => Kind::Delete,
                _ => Kind::CompareAndPut {
                    expected: copy.clone(),
                    new: Some(number.to_string().into_bytes()),
                },
            };
            let seen = match &kind {
                Kind::Get => Seen::Value(copy.clone()),
                Kind::CompareAndPut { .. } => Seen::Compared {
                    held: true,
                    previous: copy.clone(),
                },
                _ => Seen::Done,
            };
            let mut one = operation(kind, invoked, returned, seen);
            one.client = number % 8;
            if luck == 0 {
                one.outcome = Outcome::Unknown;
            }
            if luck != 0 || never == 0 {
                copy = apply(&copy, &one.kind, None).unwrap_or(copy);
            }
            history.push(one);
        }
        history
    }

    #[test]
    fn what_a_true_copy_shows_has_an_order_and_one_old_value_has_none() {
        for seed in 1..=4 {
            let mut history = true_history(seed, 1000);
            assert_eq!(check(&history), Ok(()), "seed {seed}");
            let old = Outcome::Known {
                returned: u64::MAX - 1,
                seen: Seen::Value(Some(b"0 was never put".to_vec())),
            };
            let read = history
                .iter_mut()
                .rfind(|operation| {
                    operation.kind == Kind::Get && operation.outcome != Outcome::Unknown
                })
                .unwrap();
            read.outcome = old;
            let verdict = check(&history).unwrap_err();
            assert!(
                !verdict.what.contains("undecided"),
                "seed {seed}: {verdict}"
            );
        }
    }
}
