//! A log on the simulated disk beside a plain model of it.
//!
//! The world carries out the log's effects in a random order, one small step at a time, so that a run
//! can be cut at any of them. The model is a map of vectors; a copy of it is kept for every lsn. After
//! a crash the recovered log must equal the copy of the lsn that it accepted, and that lsn may not lie
//! before anything that was acknowledged.

#[path = "../../../src/sim/disk.rs"]
#[expect(dead_code, reason = "the disk serves other tests too")]
pub mod disk;

use std::collections::BTreeMap;

use bytes::Bytes;
use coracle_wal::effect::Write;
use coracle_wal::fetch::{Answer, Fetched};
use coracle_wal::{
    Corrupt, Effect, Entry, Limits, Log, LogId, Lsn, MetaRecord, Mutant, Recovery, Refused,
    RegionId, Slot, Verdict,
};
use disk::{Chance, Disk, DiskError, Durability, Fate, WriteId};

pub const ID: LogId = LogId(0x5EED);

/// What the model knows of a region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelRegion {
    pub truncated: (u64, u64),
    /// From `truncated + 1`… and below it, since a replay may start earlier.
    pub entries: BTreeMap<u64, (u64, Bytes)>,
    pub last: u64,
    pub hard_state: Option<Bytes>,
    pub meta: Option<Bytes>,
    pub tombstone: bool,
}

pub type Model = BTreeMap<RegionId, ModelRegion>;

/// Why a run stopped before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerWentOut;

pub struct World {
    pub disk: Disk,
    pub log: Log,
    pub limits: Limits,
    pub mutant: Mutant,
    pub model: Model,
    /// The model as it was when each batch was gathered.
    pub history: BTreeMap<Lsn, Model>,
    /// Indexes that the state store holds for good.
    pub checkpoints: BTreeMap<RegionId, u64>,
    /// The greatest lsn that was acknowledged.
    pub acknowledged: Lsn,
    effects: Vec<Effect>,
    flying: Vec<(Write, WriteId)>,
    pub chance: Chance,
    /// Steps until the power goes.
    pub steps_left: Option<u64>,
    pub steps: u64,
}

pub fn name(slot: Slot) -> String {
    format!("log/{:08}.segment", slot.0)
}

/// The slot of a file by its name.
pub fn slot_of(name: &str) -> Option<Slot> {
    name.strip_prefix("log/")?
        .strip_suffix(".segment")?
        .parse()
        .ok()
        .map(Slot)
}

impl World {
    pub fn new(seed: u64, limits: Limits, mutant: Mutant) -> World {
        let mut log = Log::create(ID, limits);
        log.set_mutant(mutant);
        World {
            disk: Disk::new(),
            log,
            limits,
            mutant,
            model: Model::new(),
            history: BTreeMap::from([(Lsn(0), Model::new()), (Lsn(1), Model::new())]),
            checkpoints: BTreeMap::new(),
            acknowledged: Lsn(0),
            effects: Vec::new(),
            flying: Vec::new(),
            chance: Chance::new(seed),
            steps_left: None,
            steps: 0,
        }
    }

    fn step(&mut self) -> Result<(), PowerWentOut> {
        self.steps += 1;
        if let Some(left) = &mut self.steps_left {
            if *left == 0 {
                return Err(PowerWentOut);
            }
            *left -= 1;
        }
        Ok(())
    }

    /// Remembers the model under the lsn that its newest record leaves with.
    fn remember(&mut self) {
        self.history.insert(self.log.last_lsn(), self.model.clone());
    }

    pub fn append(&mut self, region: RegionId, entry: Entry) -> Result<(), Refused> {
        self.log.append(region, std::slice::from_ref(&entry))?;
        self.began(region, entry);
        Ok(())
    }

    /// The log has taken an entry.
    pub fn began(&mut self, region: RegionId, entry: Entry) {
        let model = self.model.entry(region).or_default();
        model.entries.retain(|index, _| *index < entry.index);
        model.last = entry.index;
        model
            .entries
            .insert(entry.index, (entry.term, entry.payload));
        self.remember();
    }

    pub fn set_hard_state(&mut self, region: RegionId, payload: Bytes) -> Result<(), Refused> {
        self.log.set_hard_state(region, payload.clone())?;
        self.model.entry(region).or_default().hard_state = Some(payload);
        self.remember();
        Ok(())
    }

    pub fn set_meta(&mut self, region: RegionId, meta: MetaRecord) -> Result<(), Refused> {
        self.log.set_meta(region, meta.clone())?;
        let model = self.model.entry(region).or_default();
        if meta.reset || meta.tombstone || meta.truncated.0 > model.last {
            model.entries.clear();
            model.last = meta.truncated.0;
        }
        model.truncated = meta.truncated;
        model.meta = Some(meta.payload);
        model.tombstone = meta.tombstone;
        self.remember();
        Ok(())
    }

    pub fn flush(&mut self) -> Result<(), PowerWentOut> {
        let mut effects = Vec::new();
        let before = self.log.last_lsn();
        self.log.flush(&mut effects);
        // Whatever was written anew, in however many batches, equals the model as it is.
        for lsn in before.0..=self.log.last_lsn().0 {
            self.history.insert(Lsn(lsn), self.model.clone());
        }
        for effect in effects {
            if let Effect::Write(write) = effect {
                let mut buffer = vec![0xEE; write.len as usize];
                self.log.encode(&write, &mut buffer);
                self.acknowledge();
                self.step()?;
                let started = self.disk.start_write(
                    &name(write.slot),
                    u64::from(write.offset),
                    &buffer,
                    Durability::Through,
                );
                match started {
                    Ok(id) => self.flying.push((write, id)),
                    Err(_) => self.log.write_failed(),
                }
            } else {
                self.effects.push(effect);
            }
        }
        Ok(())
    }

    fn acknowledge(&mut self) {
        if self.log.is_open() {
            self.acknowledged = self.acknowledged.max(self.log.durable_lsn());
        }
    }

    /// How much is under way.
    pub fn busy(&self) -> usize {
        self.effects.len() + self.flying.len()
    }

    /// One thing of those under way happens.
    pub fn happen(&mut self) -> Result<(), PowerWentOut> {
        if self.busy() == 0 {
            return Ok(());
        }
        self.step()?;
        let at = self.chance.below(self.busy() as u64) as usize;
        if at < self.flying.len() {
            let (write, id) = self.flying.remove(at);
            self.disk.finish_write(&name(write.slot), id);
            self.log.durable(write.lsn);
            self.acknowledge();
            return Ok(());
        }
        match self.effects.remove(at - self.flying.len()) {
            Effect::Create { slot, bytes } => {
                let name = name(slot);
                if self.disk.len(&name).is_some() {
                    self.disk.remove(&name).expect("it is there");
                }
                self.disk.create(&name).expect("it is not there");
                let zeros = vec![0; bytes as usize];
                match self.disk.write(&name, 0, &zeros, Durability::Cached) {
                    Ok(()) => {
                        self.step()?;
                        self.disk.sync(&name).expect("it is there");
                        self.disk.sync_names("log");
                        self.log.created(slot);
                    }
                    Err(DiskError::NoSpace) => {
                        self.disk.remove(&name).expect("it is there");
                        self.log.create_failed(slot);
                    }
                    Err(other) => panic!("creating: {other:?}"),
                }
            }
            Effect::Sync { slot } => {
                self.disk.sync(&name(slot)).expect("a file that was read");
                self.disk.sync_names("log");
                self.log.synced(slot);
            }
            Effect::Read {
                token,
                slot,
                offset,
                len,
            } => {
                let bytes = self.disk.read(&name(slot), u64::from(offset), len as usize);
                let bytes = bytes.expect("a live segment").to_vec();
                match self.log.read_done(token, &bytes) {
                    Answer::Entries(region, entries) => self.compare(region, &entries),
                    Answer::Stale(_) => {}
                    Answer::Damaged(region, damage) => panic!("region {region}: {damage}"),
                }
            }
            Effect::Write(_) => unreachable!("writes are started by flush"),
        }
        Ok(())
    }

    /// Everything under way happens, turn after turn.
    pub fn settle(&mut self) -> Result<(), PowerWentOut> {
        for _ in 0..10_000 {
            self.flush()?;
            if self.busy() == 0 {
                return Ok(());
            }
            self.happen()?;
        }
        panic!("the log never comes to rest");
    }

    fn compare(&self, region: RegionId, entries: &[Entry]) {
        let model = &self.model[&region];
        for entry in entries {
            let expected = model.entries.get(&entry.index);
            let found = Some((entry.term, entry.payload.clone()));
            assert_eq!(
                expected.cloned(),
                found,
                "region {region} index {}",
                entry.index
            );
        }
    }

    /// The power goes, or only the process.
    pub fn crash(&mut self, fate: Fate, process_only: bool) {
        let seed = self.chance.next_u64();
        if process_only {
            self.disk.kill(fate, seed);
        } else {
            self.disk.power_cut(fate, seed);
        }
        self.effects.clear();
        self.flying.clear();
    }

    /// Recovers and compares; the error says what is wrong.
    pub fn recover(&mut self) -> Result<Verdict, String> {
        let (log, verdict) = recover(&self.disk, self.limits, self.mutant)
            .map_err(|corrupt| format!("recovery finds damage where there is none: {corrupt}"))?;
        self.log = log;
        let accepted = verdict.accepted;
        if accepted < self.acknowledged {
            return Err(format!(
                "lsn {} was acknowledged, {accepted} is left",
                self.acknowledged
            ));
        }
        let Some(model) = self.history.get(&accepted).cloned() else {
            return Err(format!("lsn {accepted} was never gathered"));
        };
        self.history.retain(|lsn, _| *lsn <= accepted);
        self.history.insert(Lsn(accepted.0 + 1), model.clone());
        self.model = model;
        for (region, index) in &self.checkpoints {
            self.log.checkpointed(*region, *index);
        }
        self.check_states()?;
        Ok(verdict)
    }

    /// States, terms and bounds of every region against the model.
    pub fn check_states(&self) -> Result<(), String> {
        for (id, model) in &self.model {
            let found = ModelRegion {
                truncated: self.log.truncated(*id).unwrap_or_default(),
                entries: BTreeMap::new(),
                last: self.log.last_index(*id).unwrap_or_default(),
                hard_state: self.log.hard_state(*id).cloned(),
                meta: self.log.meta(*id).cloned(),
                tombstone: self.log.is_tombstone(*id),
            };
            let expected = ModelRegion {
                entries: BTreeMap::new(),
                ..model.clone()
            };
            if found != expected {
                return Err(format!("region {id}: {found:?}, expected {expected:?}"));
            }
            let kept = self.needed_from(*id);
            for (index, (term, _)) in model.entries.range(kept..) {
                if self.log.term(*id, *index) != Some(*term) {
                    return Err(format!(
                        "region {id}: term of {index} is {:?}, expected {term}",
                        self.log.term(*id, *index)
                    ));
                }
            }
        }
        for id in self.log.regions() {
            if !self.model.contains_key(&id) {
                return Err(format!("region {id} was never there"));
            }
        }
        Ok(())
    }

    /// The first index that must still be there.
    pub fn needed_from(&self, region: RegionId) -> u64 {
        let truncated = self.model[&region].truncated.0;
        let checkpoint = self.checkpoints.get(&region).copied().unwrap_or(0);
        truncated
            .min(checkpoint)
            .max(self.log.first_kept(region).unwrap_or(1) - 1)
            .min(truncated)
            + 1
    }

    /// Reads every entry that must be there, from memory and from disk.
    pub fn check_entries(&mut self) -> Result<(), String> {
        let regions: Vec<RegionId> = self.model.keys().copied().collect();
        for region in regions {
            let model = self.model[&region].clone();
            let checkpoint = self.checkpoints.get(&region).copied().unwrap_or(0);
            let mut low = model.truncated.0.min(checkpoint) + 1;
            let first = model
                .entries
                .first_key_value()
                .map_or(model.last + 1, |(first, _)| *first);
            low = low.max(first);
            while low <= model.last {
                let fetched = self.log.fetch(region, low, model.last + 1, 8 << 10);
                let entries = match fetched {
                    Ok(Fetched::Ready(entries)) => entries,
                    Ok(Fetched::Pending(token)) => {
                        let mut effects = Vec::new();
                        self.log.flush(&mut effects);
                        let read = effects.iter().position(|effect| {
                            matches!(effect, Effect::Read { token: of, .. } if *of == token)
                        });
                        let Some(read) = read else {
                            return Err("a fetch without its read".into());
                        };
                        let Effect::Read {
                            slot, offset, len, ..
                        } = effects.remove(read)
                        else {
                            unreachable!()
                        };
                        self.effects_from(effects);
                        let bytes = self
                            .disk
                            .read(&name(slot), u64::from(offset), len as usize)
                            .expect("a live segment")
                            .to_vec();
                        match self.log.read_done(token, &bytes) {
                            Answer::Entries(_, entries) => entries,
                            other => return Err(format!("region {region}: {other:?}")),
                        }
                    }
                    Err(why) => return Err(format!("region {region} index {low}: {why:?}")),
                };
                for entry in entries {
                    let found = Some((entry.term, entry.payload));
                    if model.entries.get(&low).cloned() != found || entry.index != low {
                        return Err(format!("region {region} index {low}: wrong entry"));
                    }
                    low += 1;
                }
            }
        }
        Ok(())
    }

    /// Takes effects that a check caused; writes are started as by a flush.
    fn effects_from(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if let Effect::Write(write) = effect {
                let mut buffer = vec![0; write.len as usize];
                self.log.encode(&write, &mut buffer);
                let id = self
                    .disk
                    .start_write(
                        &name(write.slot),
                        u64::from(write.offset),
                        &buffer,
                        Durability::Through,
                    )
                    .expect("the disk takes it");
                self.flying.push((write, id));
            } else {
                self.effects.push(effect);
            }
        }
        self.history.insert(self.log.last_lsn(), self.model.clone());
    }
}

/// Recovery of whatever the disk holds.
pub fn recover(disk: &Disk, limits: Limits, mutant: Mutant) -> Result<(Log, Verdict), Corrupt> {
    let slots = disk
        .names()
        .iter()
        .filter_map(|name| Some((slot_of(name)?, disk.len(name)?)))
        .collect();
    recover_with(disk, limits, mutant, slots)
}

/// The same, told of files with these lengths.
pub fn recover_with(
    disk: &Disk,
    limits: Limits,
    mutant: Mutant,
    slots: Vec<(Slot, u64)>,
) -> Result<(Log, Verdict), Corrupt> {
    let mut recovery = Recovery::new(ID, limits, slots);
    recovery.set_mutant(mutant);
    while !recovery.is_finished() {
        let need = recovery
            .wants()
            .expect("an unfinished recovery wants something");
        let bytes = disk.read(&name(need.slot), u64::from(need.offset), need.len as usize);
        recovery.feed(need, bytes.expect("a file that was listed"))?;
    }
    let (mut log, verdict) = recovery.finish();
    log.set_mutant(mutant);
    Ok((log, verdict))
}

/// How many times more cases to try than by default.
pub fn scale() -> u64 {
    std::env::var("CORACLE_TEST_SCALE")
        .ok()
        .and_then(|scale| scale.parse().ok())
        .unwrap_or(1)
}

/// One random operation of a caller that keeps raft's rules.
pub fn operate(world: &mut World, regions: u64) {
    let region = RegionId(1 + world.chance.below(regions));
    let durable = world.log.durable_lsn();
    let model = world.model.get(&region).cloned().unwrap_or_default();
    let settled = world
        .history
        .get(&durable)
        .and_then(|model| model.get(&region))
        .cloned();
    let term = model
        .entries
        .last_key_value()
        .map_or(model.truncated.1, |(_, (term, _))| *term)
        .max(1);
    let checkpoint = world.checkpoints.get(&region).copied().unwrap_or(0);
    let payload = |world: &mut World, most: u64| {
        let len = world.chance.below(most) as usize;
        let fill = world.chance.next_u64();
        let bytes: Vec<u8> = (0..len)
            .map(|at| (fill >> (at % 8 * 8)) as u8 ^ at as u8)
            .collect();
        Bytes::from(bytes)
    };
    // A refusal changes nothing; the run goes on.
    let _ = match world.chance.below(100) {
        0..60 if !model.tombstone => {
            let most = if world.chance.below(20) == 0 {
                7 << 10
            } else {
                400
            };
            let entry = Entry {
                index: model.last + 1,
                term,
                payload: payload(world, most),
            };
            world.append(region, entry)
        }
        60..68 if !model.tombstone && model.last > model.truncated.0.max(checkpoint) => {
            let free = model.last - model.truncated.0.max(checkpoint);
            let index = model.last - world.chance.below(free.min(4));
            let entry = Entry {
                index,
                term: term + 1,
                payload: payload(world, 300),
            };
            world.append(region, entry)
        }
        68..78 => {
            let payload = payload(world, 60);
            world.set_hard_state(region, payload)
        }
        78..84 => {
            // Truncate up to what is checkpointed.
            let index = checkpoint.min(model.last).max(model.truncated.0);
            let at = world.log.term(region, index).unwrap_or(model.truncated.1);
            let payload = payload(world, 200);
            let meta = MetaRecord {
                truncated: (index, at),
                reset: false,
                tombstone: model.tombstone,
                payload,
            };
            world.set_meta(region, meta)
        }
        84..94 => {
            // The state store checkpoints something that is durable here.
            if let Some(settled) = settled.filter(|settled| !settled.tombstone && !model.tombstone)
            {
                let upto = settled.last.min(model.last);
                let agreed = settled.entries.get(&upto) == model.entries.get(&upto);
                if upto > checkpoint && agreed {
                    world.log.applied(region, upto);
                    world.checkpoints.insert(region, upto);
                    world.log.checkpointed(region, upto);
                }
            }
            Ok(())
        }
        94..96 => {
            // A snapshot: the log is empty at both ends, far ahead.
            let index = model.last.max(checkpoint) + 1 + world.chance.below(5);
            let payload = payload(world, 200);
            let meta = MetaRecord {
                truncated: (index, term + 1),
                reset: true,
                tombstone: false,
                payload,
            };
            world.set_meta(region, meta)
        }
        96 if regions > 2 => {
            let payload = payload(world, 50);
            let meta = MetaRecord {
                truncated: (model.last.max(checkpoint), term),
                reset: false,
                tombstone: true,
                payload,
            };
            world.set_meta(region, meta)
        }
        _ => Ok(()),
    };
}
