//! Reads that wait for the world to bring their blocks.

use std::collections::BTreeMap;

use coracle_engine::lookup::{Lookup, Progressed, ReadFailed};
use coracle_engine::merge::Direction;
use coracle_engine::record::KeyRange;
use coracle_engine::scan::ScanLimits;
use coracle_engine::view::View;

use super::world::{Crashed, World};

type Read<T> = Result<Result<T, ReadFailed>, Crashed>;

/// What one look came to, without what it borrows.
enum Look {
    Value(Option<Vec<u8>>),
    Need(coracle_engine::lookup::PendingGet),
    Failed(ReadFailed),
}

fn own(lookup: Lookup<'_>) -> Look {
    match lookup {
        Lookup::Found(value) => Look::Value(Some(value.to_vec())),
        Lookup::Absent => Look::Value(None),
        Lookup::Need(pending) => Look::Need(pending),
        Lookup::Failed(failed) => Look::Failed(failed),
    }
}

impl World {
    pub fn get(&mut self, view: Option<&View>, key: &[u8]) -> Read<Option<Vec<u8>>> {
        let mut look = own(match view {
            Some(view) => self.store().get_at(view, key),
            None => self.store().get(key),
        });
        loop {
            match look {
                Look::Value(value) => return Ok(Ok(value)),
                Look::Failed(failed) => return Ok(Err(failed)),
                Look::Need(pending) => {
                    while !pending.is_ready() {
                        assert!(self.carry_one()?, "a read waits for nothing");
                    }
                    look = own(self.store().resume(pending));
                }
            }
        }
    }

    pub fn multi_get(&mut self, view: &View, keys: Vec<Vec<u8>>) -> Read<Vec<Option<Vec<u8>>>> {
        let mut values = vec![None; keys.len()];
        let mut answered = vec![0; keys.len()];
        let mut reading = self.store().multi_get(view, keys);
        loop {
            let store = self.store.as_mut().expect("open");
            let progressed = reading.step(store, |place, value| {
                values[place] = value.map(<[u8]>::to_vec);
                answered[place] += 1;
            });
            match progressed {
                Err(failed) => return Ok(Err(failed)),
                Ok(Progressed::Done) => break,
                Ok(_) => assert!(self.carry_one()?, "a read waits for nothing"),
            }
        }
        assert!(
            answered.iter().all(|count| *count == 1),
            "each key is answered once"
        );
        Ok(Ok(values))
    }

    /// All that a scan visits, in pieces of a random size.
    pub fn scan(
        &mut self,
        view: &View,
        range: &KeyRange,
        direction: Direction,
    ) -> Read<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut visited = Vec::new();
        let mut scan = self.store().scan(view, range.clone(), direction);
        loop {
            let limits = ScanLimits::count(1 + self.chance.below(40) as usize);
            let store = self.store.as_mut().expect("open");
            let mut count = 0;
            let progressed = scan.step(store, limits, |key, value| {
                visited.push((key.to_vec(), value.to_vec()));
                count += 1;
            });
            assert!(count <= limits.count, "a step keeps to its limit");
            match progressed {
                Err(failed) => return Ok(Err(failed)),
                Ok(Progressed::Done) => return Ok(Ok(visited)),
                Ok(Progressed::More) => {
                    // The store goes on under the scan.
                    if self.chance.below(4) == 0 {
                        self.store().step();
                        self.carry_one()?;
                    }
                }
                Ok(Progressed::Need) => {
                    assert!(self.carry_one()?, "a scan waits for nothing");
                }
            }
        }
    }

    /// Compares a view with what it should show, by every kind of read.
    pub fn check_view(
        &mut self,
        view: &View,
        expected: &BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<(), Crashed> {
        let all: Vec<_> = expected.clone().into_iter().collect();
        let forward = self.scan(view, &KeyRange::all(), Direction::Forward)?;
        same(&forward.expect("a scan"), &all);
        let mut reverse = self
            .scan(view, &KeyRange::all(), Direction::Reverse)?
            .expect("a scan");
        reverse.reverse();
        same(&reverse, &all);
        for _ in 0..4 {
            let (a, b) = (self.random_key(), self.random_key());
            let range = KeyRange::new(a.as_slice().min(&b), a.as_slice().max(&b));
            let part: Vec<_> = all
                .iter()
                .filter(|(key, _)| range.contains(key))
                .cloned()
                .collect();
            let direction = match self.chance.toss() {
                true => Direction::Forward,
                false => Direction::Reverse,
            };
            let mut found = self.scan(view, &range, direction)?.expect("a scan");
            if direction == Direction::Reverse {
                found.reverse();
            }
            same(&found, &part);
        }
        let mut keys = Vec::new();
        for _ in 0..10 {
            keys.push(self.random_key());
        }
        let found = self.multi_get(view, keys.clone())?.expect("a read");
        for (key, found) in keys.iter().zip(found) {
            assert_eq!(
                found.as_ref(),
                expected.get(key),
                "multi-get of {}",
                key.escape_ascii()
            );
            let found = self.get(Some(view), key)?.expect("a read");
            assert_eq!(
                found.as_ref(),
                expected.get(key),
                "get of {}",
                key.escape_ascii()
            );
        }
        Ok(())
    }

    /// Some key of the small key space that all tests use: a region and a number.
    pub fn random_key(&mut self) -> Vec<u8> {
        let (region, number) = (1 + self.chance.below(3), self.chance.below(300));
        format!("{region}-{number:04}").into_bytes()
    }
}

fn same(found: &[(Vec<u8>, Vec<u8>)], expected: &[(Vec<u8>, Vec<u8>)]) {
    let differs = (0..found.len().max(expected.len()))
        .find(|place| found.get(*place) != expected.get(*place));
    if let Some(place) = differs {
        let show = |entry: Option<&(Vec<u8>, Vec<u8>)>| match entry {
            None => "nothing".to_string(),
            Some((key, value)) => format!(
                "{} = {}…({})",
                key.escape_ascii(),
                value[..value.len().min(12)].escape_ascii(),
                value.len()
            ),
        };
        panic!(
            "at {place} of {}: found {}, expected {}",
            expected.len(),
            show(found.get(place)),
            show(expected.get(place))
        );
    }
}
