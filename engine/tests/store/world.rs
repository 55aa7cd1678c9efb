//! A world for one store: carries its effects to the simulated disk, in any order, and can be cut off
//! between any two of them.

use coracle_engine::effect::{Completion, Effect, Failure, TableNumber};
use coracle_engine::options::Options;
use coracle_engine::recover::{Identity, OpenError, Opening};
use coracle_engine::store::{Event, Store};
use coracle_engine::turn::Stepped;

use crate::disk::{Chance, Disk, DiskError, Durability, Fate, WriteId};

pub const IDENTITY: Identity = Identity(77);

/// The world ended in the middle of something; the disk has met its fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crashed;

struct Flying {
    effect: Effect,
    /// A write that has begun and not finished.
    begun: Option<WriteId>,
}

pub struct World {
    pub disk: Disk,
    pub store: Option<Store>,
    pub options: Options,
    pub chance: Chance,
    pub events: Vec<Event>,
    flying: Vec<Flying>,
    /// One carried effect in so many ends the world; 0: none does.
    pub crash_one_in: u64,
    /// The world ends after so many more carried effects.
    pub crash_after: Option<u64>,
    pub carried: u64,
    /// Syncs of tables take much longer than everything else.
    pub slow_syncs: bool,
    /// Mixed into what the disk loses.
    pub fates: u64,
}

pub fn table_name(table: TableNumber) -> String {
    format!("tables/{:08}", table.0)
}

fn failure(error: DiskError) -> Failure {
    match error {
        DiskError::NoSpace => Failure::NoSpace,
        DiskError::NotFound => Failure::Missing,
        DiskError::Exists | DiskError::Failed => Failure::Device { code: 5 },
    }
}

impl World {
    pub fn new(options: Options, seed: u64) -> World {
        World {
            disk: Disk::new(),
            store: None,
            options,
            chance: Chance::new(seed),
            events: Vec::new(),
            flying: Vec::new(),
            crash_one_in: 0,
            crash_after: None,
            carried: 0,
            slow_syncs: false,
            fates: 0,
        }
    }

    /// A world with a new store in it.
    pub fn created(options: Options, seed: u64) -> World {
        let mut world = World::new(options, seed);
        world.open().expect("no crash").expect("a new store");
        world.store().start(&[]);
        world
    }

    pub fn store(&mut self) -> &mut Store {
        self.store.as_mut().expect("an open store")
    }

    /// Opens what the disk holds, or creates a store where it holds none.
    pub fn open(&mut self) -> Result<Result<(), OpenError>, Crashed> {
        let mut opening = match self.recovering() {
            Ok(opening) => opening,
            Err(OpenError::NotCreated) => Opening::create(IDENTITY, self.options.clone()),
            Err(error) => return Ok(Err(error)),
        };
        while !opening.is_over() {
            let mut effects = Vec::new();
            opening.flush_effects(&mut effects);
            self.take_off(effects);
            if self.flying.is_empty() {
                continue;
            }
            let place = self.chance.below(self.flying.len() as u64) as usize;
            self.carry(place, &mut |completion| opening.complete(completion))?;
        }
        let opened = opening.finish();
        if opened.is_err() {
            self.flying.clear();
        }
        assert!(
            self.flying.is_empty(),
            "an open store has nothing in flight"
        );
        Ok(opened.map(|store| self.store = Some(store)))
    }

    fn recovering(&mut self) -> Result<Opening, OpenError> {
        let manifest = match self.disk.len("manifest") {
            None => Vec::new(),
            Some(length) => {
                let bytes = self.disk.read("manifest", 0, length as usize);
                bytes.expect("the file is there").to_vec()
            }
        };
        let mut files = Vec::new();
        for name in self.disk.names() {
            if let Some(number) = name.strip_prefix("tables/") {
                let number = TableNumber(number.parse().expect("a number"));
                files.push((number, self.disk.len(&name).expect("listed")));
            }
        }
        Opening::recover(IDENTITY, self.options.clone(), &manifest, &files)
    }

    fn take_off(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let begun = None;
            self.flying.push(Flying { effect, begun });
        }
    }

    /// Takes the store's effects and carries out one of those in flight, unless the world is slow.
    /// Returns whether there was one.
    pub fn carry_one(&mut self) -> Result<bool, Crashed> {
        let mut effects = Vec::new();
        self.store().flush_effects(&mut effects);
        self.take_off(effects);
        if self.flying.is_empty() {
            return Ok(false);
        }
        if self.chance.below(3) == 0 {
            return Ok(true);
        }
        let place = self.chance.below(self.flying.len() as u64) as usize;
        let is_sync = matches!(self.flying[place].effect, Effect::SyncTable { .. });
        if is_sync && self.slow_syncs && self.chance.below(12) != 0 {
            return Ok(true);
        }
        let mut store = self.store.take().expect("an open store");
        let carried = self.carry(place, &mut |completion| store.complete(completion));
        if carried.is_ok() {
            self.events.extend(store.take_events());
            self.store = Some(store);
        }
        carried.map(|()| true)
    }

    /// Lets the store do all the work that it finds.
    pub fn work(&mut self) -> Result<(), Crashed> {
        loop {
            let stepped = self.store().step();
            let carried = self.carry_one()?;
            if stepped == Stepped::Idle && !carried {
                return Ok(());
            }
        }
    }

    /// Works until something holds; it must come to hold.
    pub fn work_until(&mut self, holds: impl Fn(&mut World) -> bool) -> Result<(), Crashed> {
        while !holds(self) {
            let stepped = self.store().step();
            let carried = self.carry_one()?;
            if stepped == Stepped::Idle && !carried {
                assert!(holds(self), "nothing is left to do and it does not hold");
            }
        }
        Ok(())
    }

    /// The power goes, with this fate for all that was not durable.
    pub fn lose_power(&mut self, fate: Fate) {
        let seed = self.chance.next_u64();
        self.disk.power_cut(fate, seed);
        self.flying.clear();
        self.events.clear();
        self.store = None;
    }

    /// The power goes, or only the process; the store is gone either way.
    pub fn crash(&mut self) -> Crashed {
        let mut chance = Chance::new(self.chance.next_u64() ^ self.fates);
        let fate = Fate::ALL[chance.below(5) as usize];
        let seed = chance.next_u64();
        match chance.below(4) {
            0 => self.disk.kill(fate, seed),
            _ => self.disk.power_cut(fate, seed),
        }
        self.flying.clear();
        self.events.clear();
        self.store = None;
        self.crash_after = None;
        Crashed
    }

    fn carry(
        &mut self,
        place: usize,
        complete: &mut dyn FnMut(Completion<'_>),
    ) -> Result<(), Crashed> {
        self.carried += 1;
        let due = self.crash_after.as_mut().is_some_and(|left| {
            *left = left.saturating_sub(1);
            *left == 0
        });
        if due || (self.crash_one_in > 0 && self.chance.below(self.crash_one_in) == 0) {
            return Err(self.crash());
        }
        if self.begin_write(place) {
            return Ok(());
        }
        let Flying { effect, begun } = self.flying.swap_remove(place);
        let disk = &mut self.disk;
        match effect {
            Effect::CreateManifest { bytes } => {
                let _ = disk.remove("manifest");
                disk.create("manifest").expect("removed before");
                let zeros = vec![0; bytes as usize];
                let outcome = disk.write("manifest", 0, &zeros, Durability::Cached);
                if outcome.is_ok() {
                    disk.sync("manifest").expect("there");
                    disk.sync_names("");
                }
                complete(Completion::ManifestCreated(outcome.map_err(failure)));
            }
            Effect::SyncManifest => {
                let outcome = disk.sync("manifest").map_err(failure);
                disk.sync_names("");
                complete(Completion::ManifestSynced(outcome));
            }
            Effect::WriteManifest {
                write,
                offset,
                bytes,
            } => {
                let outcome = match begun {
                    Some(id) => {
                        disk.finish_write("manifest", id);
                        Ok(())
                    }
                    None => disk.write("manifest", offset, &bytes, Durability::Through),
                };
                let outcome = outcome.map_err(failure);
                complete(Completion::ManifestWritten { write, outcome });
            }
            Effect::CreateTable { table } => {
                let _ = disk.remove(&table_name(table));
                let outcome = disk.create(&table_name(table)).map_err(failure);
                complete(Completion::TableCreated { table, outcome });
            }
            Effect::WriteTable {
                table,
                offset,
                bytes,
                ..
            } => {
                let name = table_name(table);
                let outcome = match begun {
                    Some(id) => {
                        disk.finish_write(&name, id);
                        Ok(())
                    }
                    None => disk.write(&name, offset, &bytes, Durability::Cached),
                };
                let outcome = outcome.map_err(failure);
                complete(Completion::TableWritten {
                    table,
                    offset,
                    outcome,
                });
            }
            Effect::SyncTable { table, .. } => {
                let outcome = disk.sync(&table_name(table)).map_err(failure);
                disk.sync_names("tables");
                complete(Completion::TableSynced { table, outcome });
            }
            Effect::RemoveTable { table } => {
                let _ = disk.remove(&table_name(table));
                let outcome = Ok(());
                complete(Completion::TableRemoved { table, outcome });
            }
            Effect::ReadTable {
                token,
                table,
                offset,
                length,
                ..
            } => {
                let read = disk.read(&table_name(table), offset, length as usize);
                let bytes = read.map(<[u8]>::to_vec).map_err(failure);
                let outcome = bytes.as_deref().map_err(|failure| *failure);
                complete(Completion::TableRead { token, outcome });
            }
            Effect::SizeReserve { bytes } => {
                let _ = disk.remove("reserve");
                disk.create("reserve").expect("removed before");
                let zeros = vec![0; bytes as usize];
                let outcome = disk.write("reserve", 0, &zeros, Durability::Cached);
                let outcome = outcome.map_err(failure);
                complete(Completion::ReserveSized { bytes, outcome });
            }
        }
        Ok(())
    }

    /// Half of all writes begin now and finish later. Returns whether this one has just begun.
    fn begin_write(&mut self, place: usize) -> bool {
        if self.flying[place].begun.is_some() || self.chance.toss() {
            return false;
        }
        let begun = match &self.flying[place].effect {
            Effect::WriteManifest { offset, bytes, .. } => {
                self.disk
                    .start_write("manifest", *offset, bytes, Durability::Through)
            }
            Effect::WriteTable {
                table,
                offset,
                bytes,
                ..
            } => self
                .disk
                .start_write(&table_name(*table), *offset, bytes, Durability::Cached),
            _ => return false,
        };
        match begun {
            Ok(id) => {
                self.flying[place].begun = Some(id);
                true
            }
            Err(_) => false,
        }
    }
}
