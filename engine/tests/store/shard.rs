//! Regions with logs above one store: what a shard is to the engine, and what the store must hold.
//!
//! The log is a plain list whose tail is not durable; what is cut off it after a crash was never
//! acknowledged. A region replays from its checkpoint; an entry that was purged because a checkpoint
//! covered it must never be missed.

use std::collections::BTreeMap;

use coracle_engine::effect::TableNumber;
use coracle_engine::export::ExportStep;
use coracle_engine::ownership::{Owned, Ownership};
use coracle_engine::progress::{Applied, Clock, Index, PeerId, RegionId, Rotation};
use coracle_engine::record::KeyRange;
use coracle_engine::store::{Event, Lsn, Refusal};

use super::world::{Crashed, World};

pub type Content = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Debug)]
pub enum Op {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    DeleteRange(Vec<u8>, Vec<u8>),
}

#[derive(Clone, Debug)]
struct Entry {
    lsn: u64,
    index: u64,
    clock: u64,
    op: Op,
}

#[derive(Clone, Debug)]
pub struct Region {
    pub id: u64,
    pub peer: u64,
    /// The log begins behind this index; the content there is `base`.
    start: u64,
    start_clock: u64,
    base: Content,
    entries: Vec<Entry>,
    purged: u64,
    /// Received tables that are to replace everything, and what they hold.
    applying: Option<(u64, Vec<TableNumber>, Content)>,
}

impl Region {
    fn new(id: u64) -> Region {
        Region {
            id,
            peer: 1,
            start: 5,
            start_clock: 0,
            base: Content::new(),
            entries: Vec::new(),
            purged: 0,
            applying: None,
        }
    }

    pub fn range(&self) -> KeyRange {
        let (start, limit) = (format!("{}-", self.id), format!("{}.", self.id));
        KeyRange::new(start.as_bytes(), limit.as_bytes())
    }

    pub fn last(&self) -> (u64, u64) {
        let last = self.entries.last();
        last.map_or((self.start, self.start_clock), |entry| {
            (entry.index, entry.clock)
        })
    }

    /// What the region holds after its last entry.
    pub fn content(&self) -> Content {
        let mut content = self.base.clone();
        for entry in &self.entries {
            apply(&entry.op, &mut content);
        }
        content
    }
}

fn apply(op: &Op, content: &mut Content) {
    match op {
        Op::Put(key, value) => {
            content.insert(key.clone(), value.clone());
        }
        Op::Delete(key) => {
            content.remove(key);
        }
        Op::DeleteRange(start, limit) => {
            let range = KeyRange::new(start, limit);
            content.retain(|key, _| !range.contains(key));
        }
    }
}

pub struct Shard {
    pub world: World,
    pub regions: Vec<Region>,
    pub last_lsn: u64,
    pub durable_lsn: u64,
}

impl Shard {
    pub fn new(world: World) -> Shard {
        let mut shard = Shard {
            world,
            regions: (1..=3).map(Region::new).collect(),
            last_lsn: 0,
            durable_lsn: 0,
        };
        shard.own();
        shard
    }

    fn own(&mut self) {
        let owned = self.regions.iter().map(|region| Owned {
            range: region.range(),
            region: RegionId(region.id),
        });
        let ownership = Ownership::new(owned.collect());
        self.world.store().set_ownership(ownership);
    }

    /// What the store should hold.
    pub fn expected(&self) -> Content {
        self.regions.iter().flat_map(Region::content).collect()
    }

    /// An entry is appended and applied.
    pub fn write(&mut self, region: usize, op: Op) {
        self.last_lsn += 1;
        let region = &mut self.regions[region];
        let (index, clock) = region.last();
        let entry = Entry {
            lsn: self.last_lsn,
            index: index + 1,
            clock: clock + 3,
            op,
        };
        apply_to_store(&mut self.world, region, &entry);
        region.entries.push(entry);
    }

    pub fn random_op(&mut self, region: usize) -> Op {
        let id = self.regions[region].id;
        let chance = &mut self.world.chance;
        let key = |number: u64| format!("{id}-{number:04}").into_bytes();
        match chance.below(40) {
            0 => {
                let start = chance.below(300);
                let limit = start + 1 + chance.below(60);
                Op::DeleteRange(key(start), key(limit))
            }
            1..6 => Op::Delete(key(chance.below(300))),
            _ => {
                let length = match chance.below(60) {
                    0 => 5000 + chance.below(40_000),
                    _ => chance.below(300),
                };
                let mut value = vec![0u8];
                value.extend_from_slice(&self.last_lsn.to_be_bytes());
                value.resize(9 + length as usize, (self.last_lsn % 251) as u8);
                Op::Put(key(chance.below(300)), value)
            }
        }
    }

    /// The log is durable up to here.
    pub fn sync_log(&mut self, lsn: u64) {
        self.durable_lsn = self.durable_lsn.max(lsn);
        let durable = Lsn(self.durable_lsn);
        self.world.store().log_durable(durable);
    }

    /// Rotates as soon as the queue has room.
    pub fn rotate(&mut self) -> Result<Rotation, Crashed> {
        loop {
            let barrier = Lsn(self.last_lsn);
            match self.world.store().rotate(barrier) {
                Ok(rotation) => return Ok(rotation),
                Err(Refusal::Busy) => {
                    // A rotation may wait for the log.
                    self.sync_log(self.last_lsn);
                    self.world.store().step();
                    self.world.carry_one()?;
                }
                Err(refusal) => {
                    let stopped = self.world.store().stopped();
                    panic!("a rotation was refused: {refusal:?}, {stopped:?}");
                }
            }
        }
    }

    /// Everything applied so far becomes durable in tables.
    pub fn checkpoint(&mut self) -> Result<(), Crashed> {
        let rotation = self.rotate()?;
        self.sync_log(self.last_lsn);
        self.world.store().hurry(rotation);
        self.world
            .work_until(|world| world.store().is_durable(rotation))
    }

    /// Forgets entries that a checkpoint covers.
    pub fn purge(&mut self) {
        for region in &mut self.regions {
            let (id, peer) = (RegionId(region.id), PeerId(region.peer));
            if let Some(checkpoint) = self.world.store().checkpoint(id, peer) {
                assert!(
                    checkpoint.index.0 >= region.purged,
                    "a checkpoint went back"
                );
                region.purged = region.purged.max(checkpoint.index.0);
            }
        }
    }

    /// What the model holds is what the store shows.
    pub fn check(&mut self) -> Result<(), Crashed> {
        let view = self.world.store().view();
        let expected = self.expected();
        self.world.check_view(&view, &expected)
    }

    /// Receives a snapshot of a region as of an index far ahead, built by an export of another store.
    pub fn ingest(&mut self, region: usize) -> Result<(), Crashed> {
        self.checkpoint()?;
        let (index, clock) = self.regions[region].last();
        let (index, clock) = (index + 10, clock + 100);
        let (content, files) = self.snapshot(region);
        let mut tables = Vec::new();
        for (number, bytes) in &files {
            self.receive(*number, bytes)?;
            tables.push(*number);
        }
        // The log says so, durably, with everything before it; its entries are gone.
        self.sync_log(self.last_lsn);
        let region = &mut self.regions[region];
        region.applying = Some((index, tables, content));
        region.entries.clear();
        region.start = index;
        region.start_clock = clock;
        self.finish_ingests()
    }

    /// Brings every region that is applying a snapshot back to normal.
    pub fn finish_ingests(&mut self) -> Result<(), Crashed> {
        for place in 0..self.regions.len() {
            let region = &self.regions[place];
            let Some((index, tables, _)) = region.applying.clone() else {
                continue;
            };
            let applied = Applied {
                region: RegionId(region.id),
                peer: PeerId(region.peer),
                index: Index(index),
                clock: Clock(region.start_clock),
            };
            let range = region.range();
            let mut done = true;
            if !self
                .world
                .store()
                .is_ingested(applied.region, applied.peer, applied.index)
            {
                self.world.events.clear();
                let offered = self.world.store().ingest(applied, range, &tables);
                offered.expect("nothing of the range is in memory");
                self.world.work_until(|world| {
                    let mut events = world.events.iter();
                    events.any(|event| {
                        matches!(event, Event::Ingested { .. } | Event::IngestFailed { .. })
                    })
                })?;
                let mut events = self.world.events.iter();
                done = events.any(|event| matches!(event, Event::Ingested { .. }));
            }
            assert!(
                done,
                "a complete snapshot is ingested: {:?}",
                self.world.events
            );
            let (_, _, content) = self.regions[place].applying.take().expect("still");
            self.regions[place].base = content;
            self.regions[place].purged = self.regions[place].purged.max(index);
        }
        Ok(())
    }

    fn receive(&mut self, table: TableNumber, bytes: &[u8]) -> Result<(), Crashed> {
        self.world.events.clear();
        for (place, chunk) in bytes.chunks(8192).enumerate() {
            let offset = place as u64 * 8192;
            while self
                .world
                .store()
                .receive(table, offset, chunk.to_vec())
                .is_err()
            {
                self.world.carry_one()?;
            }
        }
        self.world.store().receive_end(table);
        self.world
            .work_until(|world| world.events.contains(&Event::TableReceived(table)))
    }

    /// Random content for a region, and tables that hold it, from a store somewhere else.
    fn snapshot(&mut self, region: usize) -> (Content, Vec<(TableNumber, Vec<u8>)>) {
        let mut content = Content::new();
        let count = self.world.chance.below(120);
        for _ in 0..count {
            self.last_lsn += 1;
            self.durable_lsn += 1;
            let op = self.random_op(region);
            apply(&op, &mut content);
        }
        self.durable_lsn = self.last_lsn;
        let seed = self.world.chance.next_u64();
        let mut other = World::created(super::small(), seed);
        for (key, value) in &content {
            other.store().put(key, value);
        }
        let view = other.store().view();
        let range = self.regions[region].range();
        let mut files: BTreeMap<TableNumber, Vec<u8>> = BTreeMap::new();
        let mut export = other.store().export(&view, range, Vec::new(), 20 << 10);
        loop {
            let store = other.store.as_mut().expect("open");
            match export.step(store).expect("a view that lasts") {
                ExportStep::Chunk(number, chunk) => {
                    let file = files.entry(number).or_default();
                    assert_eq!(file.len() as u64, chunk.offset, "chunks come in order");
                    file.extend_from_slice(&chunk.bytes);
                }
                ExportStep::Table(meta) => {
                    assert_eq!(files[&meta.number].len() as u64, meta.file_bytes);
                }
                ExportStep::NeedNumber => {
                    let numbers = self.world.store().take_numbers(1);
                    export.add_number(numbers[0]);
                }
                ExportStep::Need => assert!(other.carry_one().expect("no crash")),
                ExportStep::More => {}
                ExportStep::Done => break,
            }
        }
        (content, files.into_iter().collect())
    }

    /// The region is destroyed here and comes back, empty, as another peer.
    pub fn destroy(&mut self, place: usize) -> Result<(), Crashed> {
        self.checkpoint()?;
        // The tombstone is durable first, and with it the meta of the peer that comes after.
        self.sync_log(self.last_lsn);
        let region = &mut self.regions[place];
        let (id, peer, range) = (RegionId(region.id), PeerId(region.peer), region.range());
        let (last, clock) = region.last();
        region.peer += 1;
        region.start = last;
        region.start_clock = clock;
        region.entries.clear();
        region.base.clear();
        region.purged = 0;
        self.cut(id, peer, range)
    }

    fn cut(&mut self, id: RegionId, peer: PeerId, range: KeyRange) -> Result<(), Crashed> {
        self.world.events.clear();
        let cut = self.world.store().destroy(vec![range], vec![(id, peer)]);
        let cut = cut.expect("nothing of the range is in memory");
        self.world
            .work_until(|world| world.events.contains(&Event::Destroyed { cut }))
    }

    /// After a crash: what was not durable is gone, the store is opened and every region replays.
    pub fn recover(&mut self) -> Result<(), Crashed> {
        let durable = self.durable_lsn;
        for region in &mut self.regions {
            region.entries.retain(|entry| entry.lsn <= durable);
        }
        self.last_lsn = durable;
        self.world.open()?.expect("the store opens again");
        self.sync_log(durable);
        self.own();
        // Peers that are gone by the log, but not by the manifest.
        for place in 0..self.regions.len() {
            let region = &self.regions[place];
            let (id, range) = (RegionId(region.id), region.range());
            let known: Vec<_> = self.world.store().checkpoints().collect();
            let stale = known
                .iter()
                .find(|(known, checkpoint)| *known == id && checkpoint.peer.0 < region.peer);
            if let Some((_, checkpoint)) = stale {
                let peer = checkpoint.peer;
                self.cut(id, peer, range)?;
            }
        }
        self.finish_ingests()?;
        for place in 0..self.regions.len() {
            self.replay(place)?;
        }
        let spared = Vec::new();
        self.world.store().start(&spared);
        Ok(())
    }

    fn replay(&mut self, place: usize) -> Result<(), Crashed> {
        let region = self.regions[place].clone();
        let (id, peer) = (RegionId(region.id), PeerId(region.peer));
        let checkpoint = self.world.store().checkpoint(id, peer);
        let from = match checkpoint {
            None => region.start,
            Some(checkpoint) => {
                let (last, _) = region.last();
                assert!(
                    checkpoint.index.0 <= last,
                    "the tables contain entry {} of region {}, the log ends at {last}",
                    checkpoint.index.0,
                    region.id
                );
                let entry = region
                    .entries
                    .iter()
                    .find(|entry| entry.index == checkpoint.index.0);
                let clock = entry.map_or(region.start_clock, |entry| entry.clock);
                assert_eq!(
                    checkpoint.clock.0, clock,
                    "the clock of entry {}",
                    checkpoint.index.0
                );
                checkpoint.index.0
            }
        };
        assert!(
            from >= region.purged,
            "the checkpoint went back behind what was purged"
        );
        for entry in region.entries.iter().filter(|entry| entry.index > from) {
            apply_to_store(&mut self.world, &region, entry);
            if self.world.store().wants_rotation() {
                self.rotate()?;
            }
        }
        Ok(())
    }
}

fn apply_to_store(world: &mut World, region: &Region, entry: &Entry) {
    let store = world.store();
    match &entry.op {
        Op::Put(key, value) => store.put(key, value),
        Op::Delete(key) => store.delete(key),
        Op::DeleteRange(start, limit) => store.delete_range(start, limit),
    }
    let (id, peer) = (RegionId(region.id), PeerId(region.peer));
    store.advance(id, peer, Index(entry.index), Clock(entry.clock));
}
