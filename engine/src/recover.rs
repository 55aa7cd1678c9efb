//! From files to a store: creation, and recovery as a stepper.
//!
//! ```text
//!   create:   the manifest file is made ───────────────────────────────▶ its first record ─▶ a store
//!   recover:  manifest read ─▶ the tail of every table read ─▶ all synced ─▶ a new record ─▶ a store
//! ```
//!
//! Recovery believes what the files hold whether or not it is durable: a process that was killed leaves
//! bytes in the device's cache. So before the first other effect leaves, every file from which bytes
//! were accepted is made durable. Nothing is filtered, compacted or removed until [`Store::start`]
//! says that the replay is over.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::fmt;

use crate::cache::BlockCache;
use crate::effect::{Completion, Effect, Failure, Share, TableNumber};
use crate::figures::Counted;
use crate::journal::Journal;
use crate::manifest;
use crate::memtable::Memtable;
use crate::moved::Moved;
use crate::opening::TableOpenings;
use crate::options::Options;
use crate::reads::{ReadError, Reads};
use crate::sink::Numbers;
use crate::sources::Memories;
use crate::space::Space;
use crate::store::{Lsn, Store};
use crate::table::{Corrupt, TableMeta};
use crate::tables::Tables;
use crate::view::{MemoryId, Views};

/// So many tails are read at once.
const OPENINGS_AT_ONCE: usize = 8;

/// Which store a manifest belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity(pub u64);

/// Why there is no store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The manifest holds no record: the store's creation was never completed.
    NotCreated,
    /// The manifest is damaged.
    Manifest(manifest::Corrupt),
    /// A table is damaged, or not there.
    Table(Corrupt),
    /// A file could not be read, written or synced.
    Failed(Failure),
}

impl fmt::Display for OpenError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::NotCreated => write!(out, "the manifest holds no store"),
            OpenError::Manifest(corrupt) => write!(out, "{corrupt}"),
            OpenError::Table(corrupt) => write!(out, "{corrupt}"),
            OpenError::Failed(failure) => write!(out, "a file failed: {failure:?}"),
        }
    }
}

impl core::error::Error for OpenError {}

#[derive(Debug)]
enum Stage {
    /// The manifest file is to be made, then its first record.
    Create {
        asked: bool,
    },
    First {
        asked: bool,
    },
    /// Tails are read.
    Tables {
        left: VecDeque<TableMeta>,
    },
    /// What was accepted is made durable.
    Sync {
        manifest: bool,
        tables: BTreeSet<TableNumber>,
        asked: bool,
    },
    Done,
}

/// A store on its way to being open.
#[derive(Debug)]
pub struct Opening {
    store: Store,
    stage: Stage,
    failed: Option<OpenError>,
}

impl Opening {
    /// A new, empty store.
    pub fn create(identity: Identity, options: Options) -> Opening {
        let journal = Journal::create(identity.0, options.manifest_bytes);
        Opening {
            store: new_store(options, journal, &[]),
            stage: Stage::Create { asked: false },
            failed: None,
        }
    }

    /// A store from its manifest's bytes; `files` names the table files that are there, with their
    /// lengths.
    pub fn recover(
        identity: Identity,
        options: Options,
        manifest: &[u8],
        files: &[(TableNumber, u64)],
    ) -> Result<Opening, OpenError> {
        check_file(manifest, options.manifest_bytes, files)?;
        let journal = Journal::recover(identity.0, manifest).map_err(OpenError::Manifest)?;
        let lengths: BTreeMap<TableNumber, u64> = files.iter().copied().collect();
        let mut left = VecDeque::new();
        for (number, table) in journal.version().tables() {
            let wrong = |why| Corrupt {
                table: number,
                offset: 0,
                why,
            };
            match lengths.get(&number) {
                None => return Err(OpenError::Table(wrong("the file is missing"))),
                Some(length) if *length != table.meta.file_bytes => {
                    return Err(OpenError::Table(wrong("the file has another length")));
                }
                Some(_) => left.push_back(table.meta.clone()),
            }
        }
        Ok(Opening {
            store: new_store(options, journal, files),
            stage: Stage::Tables { left },
            failed: None,
        })
    }

    /// Hands out what the world should do.
    pub fn flush_effects(&mut self, effects: &mut Vec<Effect>) {
        if self.failed.is_some() {
            return;
        }
        self.go_on();
        let bytes = self.store.options.manifest_bytes;
        match &mut self.stage {
            Stage::Create {
                asked: asked @ false,
            } => {
                *asked = true;
                effects.push(Effect::CreateManifest { bytes });
            }
            Stage::First {
                asked: asked @ false,
            } => {
                *asked = true;
                self.store.journal.write(effects);
            }
            Stage::Sync {
                tables,
                asked: asked @ false,
                ..
            } => {
                *asked = true;
                effects.push(Effect::SyncManifest);
                for table in tables.iter() {
                    effects.push(Effect::SyncTable {
                        table: *table,
                        share: Share::Foreground,
                    });
                }
            }
            _ => {}
        }
        self.store.reads.flush_effects(effects);
    }

    /// The world has done, or failed to do, what an effect asked for.
    pub fn complete(&mut self, completion: Completion<'_>) {
        let outcome = match completion {
            Completion::ManifestCreated(outcome)
            | Completion::ManifestSynced(outcome)
            | Completion::ManifestWritten { outcome, .. }
            | Completion::TableSynced { outcome, .. } => outcome,
            Completion::TableRead { token, outcome } => {
                let store = &mut self.store;
                store.reads.on_read(token, outcome, &mut store.cache);
                return;
            }
            _ => panic!("an opening has asked for nothing of the kind"),
        };
        if let Err(failure) = outcome {
            self.failed.get_or_insert(OpenError::Failed(failure));
            return;
        }
        match (&mut self.stage, completion) {
            (stage @ Stage::Create { .. }, _) => *stage = Stage::First { asked: false },
            (stage @ Stage::First { .. }, Completion::ManifestWritten { write, .. }) => {
                let edit = self.store.journal.on_written(write);
                assert!(edit.is_none(), "a state, and no edit");
                assert!(self.store.journal.is_open(), "the first state is durable");
                *stage = Stage::Done;
            }
            (Stage::Sync { manifest, .. }, Completion::ManifestSynced(_)) => *manifest = true,
            (Stage::Sync { tables, .. }, Completion::TableSynced { table, .. }) => {
                tables.remove(&table);
            }
            _ => panic!("an opening has asked for nothing of the kind"),
        }
    }

    /// Whether [`Opening::finish`] has something to say.
    pub fn is_over(&mut self) -> bool {
        self.go_on();
        self.failed.is_some() || matches!(self.stage, Stage::Done)
    }

    /// The store, or why there is none; only when it is over.
    pub fn finish(mut self) -> Result<Store, OpenError> {
        assert!(self.is_over(), "the opening waits for the world");
        match self.failed {
            Some(error) => Err(error),
            None => Ok(self.store),
        }
    }

    /// Opens the tables whose tails have come, and asks for more.
    fn go_on(&mut self) {
        let store = &mut self.store;
        while store
            .openings
            .step(&mut store.tables, &mut store.cache, &mut store.reads)
        {}
        if let Some(error) = store.openings.failures().first() {
            let error = match error {
                ReadError::Corrupt(corrupt) => OpenError::Table(*corrupt),
                ReadError::Failed { failure, .. } => OpenError::Failed(*failure),
            };
            self.failed.get_or_insert(error);
            return;
        }
        if let Stage::Tables { left } = &mut self.stage {
            while store.openings.len() < OPENINGS_AT_ONCE
                && let Some(meta) = left.pop_front()
            {
                let place = (meta.file_bytes, Some(meta.tail_offset));
                store.openings.begin(
                    meta.number,
                    place,
                    meta.global_seq,
                    Share::Foreground,
                    &mut store.reads,
                );
            }
            if left.is_empty() && store.openings.len() == 0 {
                let tables = store.version.tables().into_keys().collect();
                self.stage = Stage::Sync {
                    manifest: false,
                    tables,
                    asked: false,
                };
            }
        }
        if let Stage::Sync {
            manifest: true,
            tables,
            ..
        } = &self.stage
            && tables.is_empty()
        {
            self.store.journal.synced();
            self.stage = Stage::First { asked: false };
        }
    }
}

impl Store {
    /// The replay is over: files that no edit names are removed, but those that are spared, and
    /// compaction begins.
    pub fn start(&mut self, spared: &[TableNumber]) {
        self.compacting = true;
        let is_needless = |number: &TableNumber, _: &mut u64| !spared.contains(number);
        for (number, bytes) in self.orphans.extract_if(.., is_needless).collect::<Vec<_>>() {
            self.remove_file(number, bytes);
        }
    }
}

/// Tells a store that was never created from one whose manifest is gone.
fn check_file(
    manifest: &[u8],
    manifest_bytes: u64,
    files: &[(TableNumber, u64)],
) -> Result<(), OpenError> {
    let blank = manifest.iter().all(|byte| *byte == 0);
    let whole = manifest.len() as u64 == manifest_bytes;
    let why = match (blank, whole) {
        // Tables are written after the first record of the manifest is durable.
        (true, _) if !files.is_empty() => "it holds nothing, yet there are tables",
        (true, _) => return Err(OpenError::NotCreated),
        (false, false) => "the file has another length",
        (false, true) => return Ok(()),
    };
    let offset = manifest.len() as u64;
    Err(OpenError::Manifest(manifest::Corrupt { offset, why }))
}

fn new_store(options: Options, journal: Journal, files: &[(TableNumber, u64)]) -> Store {
    let ledger = journal.ledger().clone();
    let version = journal.version().clone();
    let named = version.tables();
    let orphans: BTreeMap<TableNumber, u64> = files
        .iter()
        .copied()
        .filter(|(number, _)| !named.contains_key(number))
        .collect();
    // A number is used once: above all that were given out, and all that were found.
    let found = files
        .iter()
        .map(|(number, _)| TableNumber(number.0 + 1))
        .max();
    let next = ledger.table_limit.max(found.unwrap_or_default());
    let active = Memtable::new(options.hash_seed, options.memtable_bytes);
    let reserve = match options.reserve {
        true => options.reserve_bytes(),
        false => 0,
    };
    Store {
        memories: Memories {
            list: VecDeque::from([active]),
            base: MemoryId(0),
        },
        first_unflushed: MemoryId(0),
        spare: Vec::new(),
        sealed: VecDeque::new(),
        rotation: ledger.rotation,
        moved: Moved::default(),
        ownership: None,
        judged: None,
        next_seq: ledger.next_seq,
        log_durable: Lsn(0),
        version,
        installed: 0,
        journal,
        numbers: Numbers { next },
        tables: Tables::default(),
        cache: BlockCache::new(options.cache_bytes),
        reads: Reads::default(),
        views: Views::default(),
        files: BTreeMap::new(),
        openings: TableOpenings::default(),
        flush: None,
        compaction: None,
        ingests: Vec::new(),
        cuts: 0,
        dying: Vec::new(),
        removing: BTreeMap::new(),
        orphans,
        received_lengths: BTreeMap::new(),
        received: BTreeMap::new(),
        hidden: Vec::new(),
        unreadable: false,
        space: Space::new(reserve),
        events: Vec::new(),
        figures: Counted::default(),
        now: 0,
        compacting: false,
        stopped: None,
        effects: Vec::new(),
        options,
    }
}
