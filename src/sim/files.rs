//! The files of a shard: its effects carried to a simulated disk, each taking its time.

use coracle_engine as engine;
use coracle_engine::effect::{Completion, Failure, TableNumber};
use coracle_wal as wal;

use super::disk::{Chance, Disk, DiskError, Durability, WriteId};
use crate::shard::door::Input;

/// The file of a segment.
pub fn segment_name(slot: wal::Slot) -> String {
    format!("log/{:08}", slot.0)
}

/// The file of a table.
pub fn table_name(table: TableNumber) -> String {
    format!("tables/{:08}", table.0)
}

/// Something that the disk is doing.
#[derive(Debug)]
pub enum Work {
    /// A file of zeros.
    Create {
        /// The file.
        slot: wal::Slot,
        /// Its length.
        bytes: u32,
    },
    /// A batch of the log.
    Write {
        /// The batch.
        lsn: wal::Lsn,
        /// The file.
        slot: wal::Slot,
        /// The write, if the disk took it.
        id: Option<WriteId>,
    },
    /// A sync of what recovery read.
    Sync {
        /// The file.
        slot: wal::Slot,
    },
    /// A read of old entries.
    Read {
        /// Which one.
        token: wal::ReadToken,
        /// The file.
        slot: wal::Slot,
        /// Where.
        offset: u32,
        /// How much.
        len: u32,
    },
    /// An effect of the state store; a write of it may have begun.
    Store(engine::effect::Effect, Begun),
}

/// A write that has begun, or could not; none where the effect is no write.
pub type Begun = Option<Result<WriteId, DiskError>>;

fn failure(error: DiskError) -> Failure {
    match error {
        DiskError::NoSpace => Failure::NoSpace,
        DiskError::NotFound => Failure::Missing,
        DiskError::Exists | DiskError::Failed => Failure::Device { code: 5 },
    }
}

/// The disk of one shard.
#[derive(Debug)]
pub struct Files {
    /// What it holds.
    pub disk: Disk,
    durability: Durability,
    latency: (u64, u64),
    chance: Chance,
    /// Of a thousand reads so many fail.
    pub read_errors: u64,
    errors: Chance,
    /// Segments that were written to, the newest last.
    written: Vec<wal::Slot>,
}

impl Files {
    /// An empty disk.
    pub fn new(seed: u64, durability: Durability, latency: (u64, u64)) -> Files {
        Files {
            disk: Disk::new(),
            durability,
            latency,
            chance: Chance::new(seed),
            read_errors: 0,
            errors: Chance::new(seed ^ 0x4549_4F00),
            written: Vec::new(),
        }
    }

    /// Reads what is there, unless the disk cannot just now; short at the end of the file.
    pub fn read(&mut self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>, DiskError> {
        if self.read_errors > 0 && self.errors.below(1000) < self.read_errors {
            return Err(DiskError::Failed);
        }
        self.disk.read(name, offset, len).map(<[u8]>::to_vec)
    }

    /// Files whose content rests: tables, and segments that the log has left behind. In the newest two
    /// there may be what nothing that was written later vouches for: damage there looks like a torn tail.
    pub fn cold_files(&self) -> Vec<String> {
        let hot = self.written.iter().rev().take(2);
        let hot: Vec<_> = hot.map(|slot| segment_name(*slot)).collect();
        let written: Vec<_> = self
            .written
            .iter()
            .map(|slot| segment_name(*slot))
            .collect();
        let mut names = self.disk.names();
        names.retain(|name| {
            name.starts_with("tables/") || written.contains(name) && !hot.contains(name)
        });
        names
    }

    fn delay(&mut self) -> u64 {
        let (low, high) = self.latency;
        low + self.chance.below(high - low)
    }

    /// Begins what a shard asks of the log's files; `bytes` are those of a write. Says how long it takes.
    pub fn begin_log(&mut self, effect: wal::Effect, bytes: Vec<u8>) -> (u64, Work) {
        let delay = self.delay();
        let work = match effect {
            wal::Effect::Create { slot, bytes } => Work::Create { slot, bytes },
            wal::Effect::Write(write) => {
                let name = segment_name(write.slot);
                if self.written.last() != Some(&write.slot) {
                    self.written.retain(|slot| *slot != write.slot);
                    self.written.push(write.slot);
                }
                let begun =
                    self.disk
                        .start_write(&name, u64::from(write.offset), &bytes, self.durability);
                Work::Write {
                    lsn: write.lsn,
                    slot: write.slot,
                    id: begun.ok(),
                }
            }
            wal::Effect::Sync { slot } => Work::Sync { slot },
            wal::Effect::Read {
                token,
                slot,
                offset,
                len,
            } => Work::Read {
                token,
                slot,
                offset,
                len,
            },
        };
        (delay, work)
    }

    /// Begins what a shard asks of the state store's files.
    pub fn begin_store(&mut self, effect: engine::effect::Effect) -> (u64, Work) {
        use engine::effect::Effect;
        let begun = match &effect {
            Effect::WriteManifest { offset, bytes, .. } => {
                Some(
                    self.disk
                        .start_write("manifest", *offset, bytes, Durability::Through),
                )
            }
            Effect::WriteTable {
                table,
                offset,
                bytes,
                ..
            } => {
                Some(
                    self.disk
                        .start_write(&table_name(*table), *offset, bytes, Durability::Cached),
                )
            }
            _ => None,
        };
        (self.delay(), Work::Store(effect, begun))
    }

    /// Ends some work, and tells what became of it.
    pub fn end(&mut self, work: Work, tell: &mut dyn FnMut(Input<'_>)) {
        let disk = &mut self.disk;
        match work {
            Work::Create { slot, bytes } => {
                let name = segment_name(slot);
                let _ = disk.remove(&name);
                let made = disk
                    .create(&name)
                    .and_then(|()| {
                        disk.write(&name, 0, &vec![0; bytes as usize], Durability::Cached)
                    })
                    .and_then(|()| disk.sync(&name));
                match made {
                    Ok(()) => {
                        disk.sync_names("log");
                        tell(Input::LogCreated(slot));
                    }
                    Err(_) => {
                        let _ = disk.remove(&name);
                        tell(Input::LogCreateFailed(slot));
                    }
                }
            }
            Work::Write { lsn, slot, id } => {
                let name = segment_name(slot);
                let Some(id) = id else {
                    return tell(Input::LogFailed);
                };
                disk.finish_write(&name, id);
                if self.durability == Durability::Cached && disk.sync(&name).is_err() {
                    return tell(Input::LogFailed);
                }
                tell(Input::LogDurable(lsn));
            }
            Work::Sync { slot } => {
                let synced = disk.sync(&segment_name(slot));
                disk.sync_names("log");
                match synced {
                    Ok(()) => tell(Input::LogSynced(slot)),
                    Err(_) => tell(Input::LogFailed),
                }
            }
            Work::Read {
                token,
                slot,
                offset,
                len,
            } => {
                let bytes = self.read(&segment_name(slot), u64::from(offset), len as usize);
                let bytes = bytes.ok();
                tell(Input::LogRead {
                    token,
                    bytes: bytes.as_deref(),
                });
            }
            Work::Store(effect, begun) => self.end_store(effect, begun, &mut |completion| {
                tell(Input::Store(completion));
            }),
        }
    }

    /// Carries out an effect of the state store, at once.
    pub fn end_store(
        &mut self,
        effect: engine::effect::Effect,
        begun: Begun,
        tell: &mut dyn FnMut(Completion<'_>),
    ) {
        use engine::effect::Effect;
        let disk = &mut self.disk;
        let written = |disk: &mut Disk, name: &str| match begun {
            Some(Ok(id)) => {
                disk.finish_write(name, id);
                Ok(())
            }
            Some(Err(error)) => Err(failure(error)),
            None => unreachable!("a write was begun, or refused"),
        };
        match effect {
            Effect::CreateManifest { bytes } => {
                let _ = disk.remove("manifest");
                let made = disk
                    .create("manifest")
                    .and_then(|()| {
                        disk.write("manifest", 0, &vec![0; bytes as usize], Durability::Cached)
                    })
                    .and_then(|()| disk.sync("manifest"));
                disk.sync_names("");
                tell(Completion::ManifestCreated(made.map_err(failure)));
            }
            Effect::SyncManifest => {
                let outcome = disk.sync("manifest").map_err(failure);
                disk.sync_names("");
                tell(Completion::ManifestSynced(outcome));
            }
            Effect::WriteManifest { write, .. } => {
                let outcome = written(disk, "manifest");
                tell(Completion::ManifestWritten { write, outcome });
            }
            Effect::CreateTable { table } => {
                let _ = disk.remove(&table_name(table));
                let outcome = disk.create(&table_name(table)).map_err(failure);
                tell(Completion::TableCreated { table, outcome });
            }
            Effect::WriteTable { table, offset, .. } => {
                let outcome = written(disk, &table_name(table));
                tell(Completion::TableWritten {
                    table,
                    offset,
                    outcome,
                });
            }
            Effect::SyncTable { table, .. } => {
                let outcome = disk.sync(&table_name(table)).map_err(failure);
                disk.sync_names("tables");
                tell(Completion::TableSynced { table, outcome });
            }
            Effect::RemoveTable { table } => {
                let _ = disk.remove(&table_name(table));
                tell(Completion::TableRemoved {
                    table,
                    outcome: Ok(()),
                });
            }
            Effect::ReadTable {
                token,
                table,
                offset,
                length,
                ..
            } => {
                let bytes = self.read(&table_name(table), offset, length as usize);
                let bytes = bytes.map_err(failure);
                let outcome = bytes.as_deref().map_err(|failure| *failure);
                tell(Completion::TableRead { token, outcome });
            }
            Effect::SizeReserve { bytes } => {
                let _ = disk.remove("reserve");
                let made = disk.create("reserve").and_then(|()| {
                    disk.write("reserve", 0, &vec![0; bytes as usize], Durability::Cached)
                });
                tell(Completion::ReserveSized {
                    bytes,
                    outcome: made.map_err(failure),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::Fate;
    use super::*;

    const SLOT: wal::Slot = wal::Slot(3);

    /// A disk with one segment of zeros.
    fn files(durability: Durability) -> Files {
        let mut files = Files::new(7, durability, (10, 20));
        let create = wal::Effect::Create {
            slot: SLOT,
            bytes: 4096,
        };
        let (delay, work) = files.begin_log(create, Vec::new());
        assert!((10..20).contains(&delay));
        assert_eq!(outcome(&mut files, work), "created");
        files
    }

    /// Ends some work of the log, and names what the shard is told.
    fn outcome(files: &mut Files, work: Work) -> &'static str {
        let mut told = Vec::new();
        files.end(work, &mut |input| {
            told.push(match input {
                Input::LogCreated(_) => "created",
                Input::LogCreateFailed(_) => "not created",
                Input::LogSynced(_) => "synced",
                Input::LogFailed => "failed",
                Input::LogRead { bytes: None, .. } => "unreadable",
                Input::LogRead { .. } => "read",
                _ => "something else",
            });
        });
        assert_eq!(told.len(), 1, "each effect is told of once: {told:?}");
        told[0]
    }

    #[test]
    fn a_created_segment_outlives_a_power_cut() {
        for fate in Fate::ALL {
            let mut files = files(Durability::Cached);
            files.disk.power_cut(fate, 1);
            let length = files.disk.len(&segment_name(SLOT));
            assert_eq!(length, Some(4096), "{fate:?}");
        }
    }

    #[test]
    fn a_full_disk_refuses_a_segment_and_keeps_nothing_of_it() {
        let mut files = files(Durability::Through);
        files.disk.set_capacity(files.disk.used_bytes());
        let slot = wal::Slot(4);
        let (_, work) = files.begin_log(wal::Effect::Create { slot, bytes: 4096 }, Vec::new());
        assert_eq!(outcome(&mut files, work), "not created");
        assert_eq!(files.disk.len(&segment_name(slot)), None);
        files.disk.set_capacity(u64::MAX);
        let (_, work) = files.begin_log(wal::Effect::Create { slot, bytes: 4096 }, Vec::new());
        assert_eq!(outcome(&mut files, work), "created");
    }

    #[test]
    fn a_write_that_the_disk_refuses_is_told_as_failed() {
        let mut files = files(Durability::Through);
        let work = Work::Write {
            lsn: wal::Lsn(1),
            slot: SLOT,
            id: None,
        };
        assert_eq!(outcome(&mut files, work), "failed");
        let (_, work) = files.begin_log(wal::Effect::Sync { slot: wal::Slot(9) }, Vec::new());
        assert_eq!(outcome(&mut files, work), "failed", "there is no such file");
        let (_, work) = files.begin_log(wal::Effect::Sync { slot: SLOT }, Vec::new());
        assert_eq!(outcome(&mut files, work), "synced");
    }
}
