//! The manifest beside a list of the states it went through: random edits, power cuts at every write
//! with every fate, damage of every byte, mutated bytes.

use std::collections::BTreeMap;
use std::panic::catch_unwind;

use crate::disk::{Chance, Disk, Durability, Fate};
use coracle_engine::edit::{Compaction, Cut, Flush, Ingest, VersionEdit};
use coracle_engine::manifest::{EditNumber, Manifest, walk};
use coracle_engine::progress::{Applied, Clock, Index, PeerId, RegionId, Rotation};
use coracle_engine::record::{KeyRange, Seq};
use coracle_engine::state::State;
use coracle_engine::version::{SliceName, TableMeta};

const STORE: u64 = 0xB0A7;
const BYTES: usize = 160 << 10;
const FILE: &str = "manifest";

fn table(manifest: &mut Manifest, start: u8, limit: u8, seq: u64) -> TableMeta {
    TableMeta {
        number: manifest.allot_table(),
        file_bytes: 40_960,
        entries: 100,
        deletes: 3,
        range_tombstones: 0,
        range: KeyRange::new(&[start; 40], &[limit; 40]),
        min_seq: Seq(1),
        max_seq: Seq(seq),
        raw_bytes: 30_000,
        stored_bytes: 32_768,
        tail_offset: 32_768,
        global_seq: None,
    }
}

/// An edit that fits the state.
fn edit(manifest: &mut Manifest, chance: &mut Chance, seq: &mut u64) -> VersionEdit {
    *seq += 1 + chance.below(50);
    let start = chance.below(200) as u8;
    let limit = start + 1 + chance.below(50) as u8;
    let applied = Applied {
        region: RegionId(1 + chance.below(6)),
        peer: PeerId(7),
        index: Index(*seq),
        clock: Clock(*seq * 10),
    };
    match chance.below(10) {
        0..5 => VersionEdit::Flush(Flush {
            rotation: Rotation(manifest.state().ledger.rotation.0 + 1),
            last_seq: Seq(*seq),
            tables: if chance.below(5) == 0 {
                vec![]
            } else {
                vec![table(manifest, start, limit, *seq)]
            },
            applied: vec![applied],
        }),
        5..8 => {
            let version = manifest.state().version.clone();
            let inputs: Vec<SliceName> = version
                .slices()
                .map(|(level, slice)| SliceName {
                    level: level as u8,
                    table: slice.table.meta.number,
                    range: slice.range.clone(),
                })
                .collect();
            let tables = if inputs.is_empty() {
                vec![]
            } else {
                vec![table(manifest, 0, 255, *seq)]
            };
            VersionEdit::Compaction(Compaction {
                inputs,
                level: 6,
                tables,
            })
        }
        8 => VersionEdit::Ingest(Ingest {
            applied,
            range: KeyRange::new(&[start; 40], &[limit; 40]),
            seq: Seq(*seq),
            tables: vec![table(manifest, start, limit, *seq)],
        }),
        _ => VersionEdit::Cut(Cut {
            ranges: vec![KeyRange::new(&[start], &[limit])],
            seq: Seq(*seq),
            forget: vec![(applied.region, applied.peer)],
        }),
    }
}

/// All but the table limit, which runs ahead of the edits.
fn same(left: &State, right: &State) -> bool {
    left.version == right.version
        && left.ledger.progress == right.ledger.progress
        && left.ledger.rotation == right.ledger.rotation
}

struct World {
    disk: Disk,
    manifest: Manifest,
    history: BTreeMap<u64, State>,
    /// Edits of earlier openings.
    base: u64,
    acknowledged: u64,
    chance: Chance,
    seq: u64,
    writes_left: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let mut disk = Disk::new();
        disk.create(FILE).expect("a name");
        disk.write(FILE, 0, &vec![0; BYTES], Durability::Cached)
            .expect("room");
        disk.sync(FILE).expect("a file");
        disk.sync_names("");
        World {
            disk,
            manifest: Manifest::create(STORE, BYTES as u64),
            history: BTreeMap::from([(0, State::default())]),
            base: 0,
            acknowledged: 0,
            chance: Chance::new(seed),
            seq: 0,
            writes_left: u64::MAX,
        }
    }

    /// Appends edits and writes them; false when the power goes within a write.
    fn live(&mut self, edits: u64) -> bool {
        for _ in 0..edits {
            for _ in 0..1 + self.chance.below(3) {
                let edit = edit(&mut self.manifest, &mut self.chance, &mut self.seq);
                if let Ok((EditNumber(number), _)) = self.manifest.append(&edit) {
                    self.history
                        .insert(self.base + number, self.manifest.state().clone());
                }
            }
            while let Some((write, offset, bytes)) = self.manifest.next_write() {
                if self.writes_left == 0 {
                    self.disk
                        .start_write(FILE, offset, &bytes, Durability::Through)
                        .expect("room");
                    return false;
                }
                self.writes_left -= 1;
                self.disk
                    .write(FILE, offset, &bytes, Durability::Through)
                    .expect("room");
                self.manifest.written(write);
                self.acknowledged = self.base + self.manifest.durable().0;
            }
        }
        true
    }

    fn recover(&mut self) -> Result<(), String> {
        let bytes = self.disk.read(FILE, 0, BYTES).expect("a file").to_vec();
        let manifest = Manifest::recover(STORE, &bytes)
            .map_err(|corrupt| format!("damage where there is none: {corrupt}"))?;
        let found = self
            .history
            .range(self.acknowledged..)
            .find(|(_, state)| same(state, manifest.state()));
        let Some((&number, state)) = found else {
            return Err(format!(
                "not a state at or after edit {}",
                self.acknowledged
            ));
        };
        if manifest.state().ledger.table_limit < state.ledger.table_limit {
            return Err("a table number would be given out twice".into());
        }
        self.history.retain(|other, _| *other <= number);
        (self.base, self.acknowledged) = (number, number);
        self.manifest = manifest;
        if self.manifest.wants_sync() {
            assert!(
                self.manifest.next_write().is_none(),
                "nothing leaves before the sync"
            );
            self.disk.sync(FILE).expect("a file");
            self.manifest.synced();
        }
        Ok(())
    }
}

#[test]
fn the_power_goes_at_every_write() {
    let mut cases = 0;
    for seed in 0..12 {
        for cut in 0..40 {
            for fate in Fate::ALL {
                cases += 1;
                let mut world = World::new(seed);
                world.writes_left = cut;
                for life in 0..3 {
                    let whole = world.live(25);
                    let kill = world.chance.below(4) == 0;
                    let again = world.chance.next_u64();
                    if kill {
                        world.disk.kill(fate, again);
                    } else {
                        world.disk.power_cut(fate, again);
                    }
                    world.recover().unwrap_or_else(|why| {
                        panic!("seed {seed} cut {cut} {fate:?} life {life}: {why}")
                    });
                    assert!(whole || life < 2 || world.writes_left == 0);
                    world.writes_left = world.chance.below(8);
                }
            }
        }
    }
    println!("{cases} crashes, no violation");
}

#[test]
fn every_byte_is_healed_or_named() {
    let (mut healed, mut named) = (0, 0);
    for seed in 0..4 {
        let mut world = World::new(seed);
        world.live(30);
        let original = world.disk.read(FILE, 0, BYTES).expect("a file").to_vec();
        let state = world.manifest.state().clone();
        for at in (seed as usize..BYTES).step_by(5) {
            for change in [original[at] ^ 1, 0] {
                if change == original[at] {
                    continue;
                }
                let mut bytes = original.clone();
                bytes[at] = change;
                match catch_unwind(|| Manifest::recover(STORE, &bytes)) {
                    Ok(Ok(manifest)) => {
                        assert!(
                            same(manifest.state(), &state),
                            "seed {seed}: wrong state, byte {at}"
                        );
                        healed += 1;
                    }
                    Ok(Err(_)) => named += 1,
                    Err(_) => panic!("seed {seed}: a panic, byte {at}"),
                }
            }
        }
        // Both copies of a record with records behind it: named, with its place.
        let mut records = Vec::new();
        walk(&original, |record| records.push(record)).expect("no damage");
        let newest = records
            .iter()
            .map(|record| record.generation)
            .max()
            .expect("records");
        let chain: Vec<_> = records
            .iter()
            .filter(|record| record.generation == newest)
            .collect();
        for pair in chain.windows(2) {
            let mut bytes = original.clone();
            for at in (pair[0].offset..pair[1].offset).step_by(4096) {
                bytes[at as usize + 20] ^= 0xFF;
            }
            let corrupt = Manifest::recover(STORE, &bytes).expect_err("damage of both copies");
            assert_eq!(corrupt.offset, pair[0].offset, "seed {seed}");
            named += 1;
        }
    }
    println!("{healed} damages healed or harmless, {named} named");
    assert!(healed > 10_000 && named > 20);
}

#[test]
fn mutated_bytes_never_panic() {
    let mut world = World::new(99);
    world.live(30);
    let original = world.disk.read(FILE, 0, BYTES).expect("a file").to_vec();
    let mut chance = Chance::new(3);
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut bytes = original.clone();
        let base = chance.below(BYTES as u64 / 4096) as usize * 4096;
        for _ in 0..1 + chance.below(4) {
            let at = base + chance.below(600) as usize;
            if at < BYTES {
                bytes[at] = chance.next_u64() as u8;
            }
        }
        // Under a right checksum too, as a bug would write it.
        let len = u32::from_le_bytes(bytes[base + 36..base + 40].try_into().expect("four"));
        if let Some(body) = bytes.get(base + 8..base + 48 + len as usize) {
            let checksum = crc32fast::hash(body);
            bytes[base + 4..base + 8].copy_from_slice(&checksum.to_le_bytes());
        }
        accepted += usize::from(Manifest::recover(STORE, &bytes).is_ok());
        walk(&bytes, |_| {}).ok();
    }
    assert!(accepted > 100, "{accepted} accepted");
}

#[test]
fn a_foreign_manifest_is_refused() {
    let mut world = World::new(1);
    world.live(3);
    let bytes = world.disk.read(FILE, 0, BYTES).expect("a file").to_vec();
    let corrupt = Manifest::recover(STORE + 1, &bytes).expect_err("another store's");
    assert_eq!(corrupt.why, "the manifest belongs to another store");
    assert!(
        Manifest::recover(STORE, &vec![0; BYTES]).is_ok(),
        "a new file is an empty store"
    );
}

/// The fastest of some flushes of one table and one region, over a state of so many regions.
#[expect(
    clippy::disallowed_methods,
    reason = "how long an edit takes is what is asked"
)]
fn edit_time(regions: u64) -> std::time::Duration {
    let mut manifest = Manifest::create(STORE, 16 << 20);
    let applied = |region: u64, index: u64| Applied {
        region: RegionId(region),
        peer: PeerId(region),
        index: Index(index),
        clock: Clock(index),
    };
    let mut fastest = std::time::Duration::MAX;
    for number in 1..=100 {
        let tables = vec![table(&mut manifest, 0, 255, number)];
        let of_all = 1..=if number == 1 { regions } else { 1 };
        let edit = VersionEdit::Flush(Flush {
            rotation: Rotation(number),
            last_seq: Seq(number),
            tables,
            applied: of_all.map(|region| applied(region, number)).collect(),
        });
        let begin = std::time::Instant::now();
        manifest.append(&edit).expect("it fits");
        fastest = fastest.min(begin.elapsed());
        let (write, _, _) = manifest.next_write().expect("a write is due");
        manifest.written(write);
    }
    assert_eq!(manifest.state().ledger.progress.len() as u64, regions);
    fastest
}

#[test]
fn an_edit_takes_no_longer_where_there_are_many_regions() {
    let (few, many) = (edit_time(10), edit_time(10_000));
    println!("an edit takes {few:?} with 10 regions, {many:?} with 10 000");
    assert!(
        many < few * 20,
        "{few:?} with 10 regions, {many:?} with 10 000"
    );
}
