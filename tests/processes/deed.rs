//! What a client does next.

use coracle::sim::disk::Chance;
use coracle::sim::history::{Kind, Operation, Outcome};

/// Registers of one round.
const REGISTERS: u64 = 8;

/// Counters of one round.
const COUNTERS: u64 = 3;

/// Keys that one client alone writes, so that there is something to move.
const OWN: u64 = 150;

/// How a deed is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// One key.
    One,
    /// One key, read from a replica that need not lead.
    Replica,
    /// Several keys at once.
    Many,
    /// All of a range.
    Scan,
    /// Two keys that are only written together, and must be the same.
    Pair,
}

/// What a client does next.
#[derive(Clone, Debug)]
pub struct Deed {
    /// One operation for each key.
    pub operations: Vec<Operation>,
    /// How it is asked for.
    pub how: How,
}

impl Deed {
    /// Whether it reads, and nothing else.
    pub fn reads(&self) -> bool {
        let mut kinds = self.operations.iter().map(|operation| &operation.kind);
        kinds.all(|kind| *kind == Kind::Get)
    }
}

/// A register as it is stored.
pub fn register(round: u64, place: u64) -> Vec<u8> {
    format!("\u{1}r{round:05}/{place}").into_bytes()
}

fn counter(round: u64, place: u64) -> Vec<u8> {
    format!("\u{1}c{round:05}/{place}").into_bytes()
}

fn pair(round: u64) -> Vec<Vec<u8>> {
    let of = |half| format!("\u{1}p{round:05}/{half}").into_bytes();
    vec![of("a"), of("b")]
}

/// All keys that clients share in a round.
pub fn shared(round: u64) -> Vec<Vec<u8>> {
    let registers = (0..REGISTERS).map(|place| register(round, place));
    let counters = (0..COUNTERS).map(|place| counter(round, place));
    registers.chain(counters).chain(pair(round)).collect()
}

/// Draws deeds of one client.
pub struct Deeds {
    client: u64,
    counted: u64,
    chance: Chance,
}

impl Deeds {
    /// Those of a client.
    pub fn new(client: u64, seed: u64) -> Deeds {
        Deeds {
            client,
            counted: 0,
            chance: Chance::new(seed ^ (client << 32)),
        }
    }

    fn text(&self) -> Vec<u8> {
        format!("{}/{}", self.client, self.counted).into_bytes()
    }

    fn of(&self, how: How, keys: Vec<Vec<u8>>, kind: Kind) -> Deed {
        let operation = |key| Operation {
            client: self.client,
            key,
            kind: kind.clone(),
            invoked: 0,
            outcome: Outcome::NotApplied,
        };
        Deed {
            operations: keys.into_iter().map(operation).collect(),
            how,
        }
    }

    /// The next one.
    pub fn draw(&mut self, round: u64) -> Deed {
        self.counted += 1;
        let register = register(round, self.chance.below(REGISTERS));
        let counter = counter(round, self.chance.below(COUNTERS));
        let own = self.chance.below(OWN);
        let own = format!("\u{1}b{:03}/{own:04}", self.client).into_bytes();
        let all = || (0..REGISTERS).map(|place| self::register(round, place));
        match self.chance.below(40) {
            0..8 => self.of(How::One, vec![register], Kind::Put(self.text())),
            8..14 => self.of(How::One, vec![register], Kind::Get),
            14..17 => self.of(How::Replica, vec![register], Kind::Get),
            17 => self.of(How::One, vec![register], Kind::Delete),
            18..21 => {
                let guess = self.counted.saturating_sub(1 + self.chance.below(4));
                let guess = format!("{}/{guess}", self.client).into_bytes();
                let expected = self.chance.toss().then_some(guess);
                let new = Some(self.text());
                self.of(
                    How::One,
                    vec![register],
                    Kind::CompareAndPut { expected, new },
                )
            }
            21..26 => {
                let delta = self.chance.below(9) as i64 - 2;
                self.of(How::One, vec![counter], Kind::Add(delta))
            }
            26 => self.of(How::One, vec![counter], Kind::Get),
            27..29 => self.of(How::Many, all().collect(), Kind::Get),
            29 => self.of(How::Scan, all().collect(), Kind::Get),
            30 => {
                let first = self.chance.below(REGISTERS - 2);
                let keys = (first..first + 3).map(|place| self::register(round, place));
                self.of(How::Many, keys.collect(), Kind::Put(self.text()))
            }
            31..33 => self.of(How::Pair, pair(round), Kind::Put(self.text())),
            33 => self.of(How::Pair, pair(round), Kind::Get),
            34 => self.of(How::One, vec![own], Kind::Get),
            _ => self.of(How::One, vec![own], Kind::Put(self.text())),
        }
    }

    /// Chance for whatever else the client decides.
    pub fn chance(&mut self) -> &mut Chance {
        &mut self.chance
    }
}
