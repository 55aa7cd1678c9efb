//! Clients: a few hot keys, one operation at a time each.

use bytes::Bytes;

use super::disk::Chance;
use super::history::{Kind, Operation, Outcome, Seen};
use super::plan::{Plan, SECOND};
use crate::shard::error::Error;
use crate::shard::ids::{RequestId, StoreId};
use crate::shard::request::{Answer, Freshness, Response, Written};

/// A client that has heard nothing for so long gives up.
pub const PATIENCE: u64 = 12 * SECOND;

/// One operation under way.
#[derive(Clone, Debug)]
pub struct Current {
    /// What it is; several keys at once where it reads many.
    pub operations: Vec<Operation>,
    /// Whether it reads many keys at once, and how.
    pub many: Many,
    /// From a replica that does not lead.
    pub freshness: Freshness,
    /// The request that it has out.
    pub request: Option<RequestId>,
    /// Until when it hopes.
    pub deadline: u64,
}

/// How an operation reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Many {
    /// One key.
    One,
    /// All keys of the region by name.
    MultiGet,
    /// All keys of the region by a scan, backwards or not.
    Scan(bool),
}

/// A client.
#[derive(Debug)]
pub struct Client {
    /// Its number; another one after every operation whose outcome is unknown.
    pub number: u64,
    /// What it does.
    pub current: Option<Current>,
    /// Whom it believes to lead, region by region.
    pub believed: Vec<StoreId>,
    /// The region of the current operation.
    pub region: usize,
    chance: Chance,
    keys: usize,
    regions: usize,
    counted: u64,
}

/// What a client does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The operation is over: another one after a while.
    Another,
    /// The same again, after a while; with this store, if it is known to lead.
    Again(Option<StoreId>),
}

impl Client {
    /// A client of a plan.
    pub fn new(plan: &Plan, number: u64, first: StoreId) -> Client {
        Client {
            number,
            current: None,
            believed: vec![first; plan.regions],
            region: 0,
            chance: Chance::new(plan.seed ^ (number << 17) ^ 0x434C_4945),
            keys: plan.keys,
            regions: plan.regions,
            counted: 0,
        }
    }

    /// How long it waits for an answer: a reader soon looks elsewhere, a writer wants to know.
    pub fn patience(&mut self) -> u64 {
        let reads = self.current.as_ref().is_some_and(|current| {
            current
                .operations
                .iter()
                .all(|operation| operation.kind == Kind::Get)
        });
        match reads && self.chance.toss() {
            true => SECOND / 2,
            false => PATIENCE,
        }
    }

    /// How long it waits before the next operation.
    pub fn pause(&mut self) -> u64 {
        100_000 + self.chance.below(SECOND / 30)
    }

    /// The stored form of a key: registers and counters apart.
    pub fn key(region: usize, place: usize, counter: bool) -> Vec<u8> {
        let kind = if counter { 'c' } else { 'r' };
        format!("\u{1}{region}{kind}{place:02}").into_bytes()
    }

    /// Begins another operation.
    pub fn begin(&mut self, now: u64) {
        self.region = self.chance.below(self.regions as u64) as usize;
        let place = self.chance.below(self.keys as u64) as usize;
        self.counted += 1;
        let value = |client: &Client| {
            let mut text = format!("{}/{}", client.number, client.counted).into_bytes();
            // Some are long, so that tables and snapshots have more than one block.
            if client.counted.is_multiple_of(5) {
                text.resize(300 + (client.counted % 7) as usize * 200, b'.');
            }
            text
        };
        let operation = |client: &Client, place, counter, kind| Operation {
            client: client.number,
            key: Client::key(client.region, place, counter),
            kind,
            invoked: now,
            outcome: Outcome::NotApplied,
        };
        let mut many = Many::One;
        let operations = match self.chance.below(20) {
            0..6 => vec![operation(self, place, false, Kind::Put(value(self)))],
            6..10 => vec![operation(self, place, false, Kind::Get)],
            10 => vec![operation(self, place, false, Kind::Delete)],
            11..14 => {
                let expected = match self.chance.below(3) {
                    0 => None,
                    _ => Some(
                        format!("{}/{}", self.number, self.counted.saturating_sub(2)).into_bytes(),
                    ),
                };
                let new = (self.chance.below(8) != 0).then(|| value(self));
                vec![operation(
                    self,
                    place,
                    false,
                    Kind::CompareAndPut { expected, new },
                )]
            }
            14..17 => {
                let delta = self.chance.below(9) as i64 - 2;
                vec![operation(self, place, true, Kind::Add(delta))]
            }
            17 => vec![operation(self, place, true, Kind::Get)],
            kind => {
                many = match kind {
                    18 => Many::MultiGet,
                    _ => Many::Scan(self.chance.toss()),
                };
                (0..self.keys)
                    .map(|place| operation(self, place, false, Kind::Get))
                    .collect()
            }
        };
        let reads = operations
            .iter()
            .all(|operation| operation.kind == Kind::Get);
        let any = reads && (self.chance.below(4) == 0);
        self.current = Some(Current {
            operations,
            many,
            freshness: match any {
                true => Freshness::AnyReplica,
                false => Freshness::Linearizable,
            },
            request: None,
            deadline: now + PATIENCE,
        });
    }

    /// An answer has come, or none will; what is known of the operation now is put into `history`.
    pub fn answered(
        &mut self,
        now: u64,
        response: Option<Response>,
        history: &mut Vec<Operation>,
    ) -> Next {
        let Some(mut current) = self.current.take() else {
            return Next::Another;
        };
        current.request = None;
        let unknown = match &response {
            None => true,
            Some(Err(error)) => error.leaves_open(),
            Some(Ok(_)) => false,
        };
        if unknown
            && current
                .operations
                .iter()
                .all(|operation| operation.kind == Kind::Get)
        {
            return Next::Another;
        }
        if unknown {
            for mut operation in current.operations {
                operation.outcome = Outcome::Unknown;
                history.push(operation);
            }
            self.number += 1000;
            return Next::Another;
        }
        match response.expect("an answer") {
            Ok(answer) => {
                record(now, current, answer, history);
                Next::Another
            }
            Err(error) => {
                if now >= current.deadline {
                    return Next::Another;
                }
                let leader = match &error {
                    Error::NotLeader { leader, .. } => leader.map(|leader| leader.store),
                    _ => None,
                };
                if let Some(leader) = leader {
                    self.believed[self.region] = leader;
                }
                self.current = Some(current);
                Next::Again(leader)
            }
        }
    }
}

fn record(now: u64, current: Current, answer: Answer, history: &mut Vec<Operation>) {
    let owned = |value: Option<Bytes>| value.map(|value| value.to_vec());
    let mut seen: Vec<Seen> = match answer {
        Answer::Written(written) => vec![match written {
            Written::Done => Seen::Done,
            Written::Compared { held, previous } => Seen::Compared {
                held,
                previous: owned(previous),
            },
            // Only where answers are sent over a wire: there is none here.
            Written::Held(held) => Seen::Compared {
                held,
                previous: None,
            },
            Written::Counter(sum) => Seen::Counter(sum),
            Written::NotANumber => Seen::Done,
        }],
        Answer::Value(value) => vec![Seen::Value(owned(value))],
        Answer::Values(values) => values
            .into_iter()
            .map(|value| Seen::Value(owned(value)))
            .collect(),
        Answer::Pairs { pairs, more } => {
            let mut found = Vec::new();
            for operation in &current.operations {
                let pair = pairs.iter().find(|(key, _)| key[..] == operation.key[..]);
                match pair {
                    Some((_, value)) => found.push(Some(Seen::Value(Some(value.to_vec())))),
                    // Behind the end of an answer that was cut short nothing is known.
                    None if more => found.push(None),
                    None => found.push(Some(Seen::Value(None))),
                }
            }
            for (mut operation, seen) in current.operations.into_iter().zip(found) {
                if let Some(seen) = seen {
                    operation.outcome = Outcome::Known {
                        returned: now,
                        seen,
                    };
                    history.push(operation);
                }
            }
            return;
        }
        Answer::AllWritten(_) | Answer::Done | Answer::Placement(_) => vec![Seen::Done],
    };
    for (place, mut operation) in current.operations.into_iter().enumerate() {
        let seen = std::mem::replace(&mut seen[place], Seen::Done);
        operation.outcome = Outcome::Known {
            returned: now,
            seen,
        };
        history.push(operation);
    }
}
