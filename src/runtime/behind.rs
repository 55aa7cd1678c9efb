//! What became of writes that came later on a connection than one that was turned away: done after them, it would
//! undo them.
//!
//! ```text
//! turned away   done behind it        it
//! SET a 1       SET b 2               is tried again
//! SET a 1       SET a 2               is done: it was there until the later one came, and nobody looked
//! INCR a        SET a 2               was not done, and cannot be any more: that is told
//! SET a 1       INCR a                the same: what was told of the later one says that it was not there
//! ```

use std::collections::BTreeMap;

use crate::wire::resp::plan::Plan;

/// What may become of a write that was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is tried again.
    Open,
    /// A later one has written over all that it would have written, without a look at it.
    Overwritten,
    /// A later one was done without it.
    Overtaken,
}

/// The keys of writes that are done.
#[derive(Debug, Default)]
pub struct Behind {
    /// By key, whether the first one behind puts a value there whatever was there before.
    keys: BTreeMap<Vec<u8>, bool>,
    /// One of them wrote a range: it may have been any key.
    any: bool,
}

impl Behind {
    /// A write before all that were added is done, or a part of it.
    pub fn add(&mut self, plan: &Plan<'_>, is_done: bool) {
        self.any |= plan.has_range();
        let puts = is_done && plan.is_put();
        self.keys
            .extend(plan.keys().map(|key| (key.to_vec(), puts)));
    }

    /// What may become of one before all that were added.
    pub fn fate_of(&self, plan: &Plan<'_>) -> Fate {
        if self.is_empty() {
            return Fate::Open;
        }
        if self.any || plan.has_range() {
            return Fate::Overtaken;
        }
        let mut known = plan.keys().filter_map(|key| self.keys.get(key)).peekable();
        match known.peek() {
            None => Fate::Open,
            Some(true) if plan.is_put() => Fate::Overwritten,
            Some(_) => Fate::Overtaken,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && !self.any
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::shard::request::Freshness;
    use crate::wire::resp::part::{Op, Part};
    use crate::wire::resp::wording::Wording;

    fn put(key: &[u8]) -> Plan<'_> {
        let op = Op::Put {
            value: Cow::Borrowed(b"value"),
            expiry_ms: None,
        };
        Plan::one(Part::new(key, op), Wording::Ok, Freshness::Local)
    }

    fn add(key: &[u8]) -> Plan<'_> {
        let part = Part::new(key, Op::Add { delta: 1 });
        Plan::one(part, Wording::Ok, Freshness::Local)
    }

    fn several<'k>(keys: &[&'k [u8]]) -> Plan<'k> {
        let part = |key: &&'k [u8]| Part::new(key, Op::Add { delta: 1 });
        Plan::many(
            keys.iter().map(part).collect(),
            Wording::Ok,
            Freshness::Local,
        )
    }

    #[test]
    fn only_a_key_that_was_written_later_decides() {
        let mut behind = Behind::default();
        assert_eq!(behind.fate_of(&put(b"a")), Fate::Open);
        behind.add(&several(&[b"a", b"c"]), true);
        assert_eq!(behind.fate_of(&put(b"b")), Fate::Open);
        assert_eq!(behind.fate_of(&put(b"c")), Fate::Overtaken);
        assert_eq!(behind.fate_of(&several(&[b"b", b"c"])), Fate::Overtaken);
    }

    #[test]
    fn a_put_is_done_where_the_next_one_puts_as_well() {
        let mut behind = Behind::default();
        behind.add(&put(b"a"), true);
        behind.add(&put(b"b"), false);
        assert_eq!(behind.fate_of(&put(b"a")), Fate::Overwritten);
        assert_eq!(behind.fate_of(&add(b"a")), Fate::Overtaken);
        assert_eq!(behind.fate_of(&put(b"b")), Fate::Overtaken);
        // The next one behind it now counts what was there.
        behind.add(&add(b"a"), true);
        assert_eq!(behind.fate_of(&put(b"a")), Fate::Overtaken);
    }
}
