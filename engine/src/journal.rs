//! The manifest as the store uses it: one edit at a time, and what is durable of it.
//!
//! The manifest itself counts an edit as soon as it is appended. The store shows it, and rests anything
//! on it, only when it is durable; so what is durable stands here beside it.

use alloc::rc::Rc;
use alloc::vec::Vec;

use crate::edit::VersionEdit;
use crate::effect::{Effect, ManifestWrite, TableNumber};
use crate::manifest::{Corrupt, Manifest};
use crate::state::{Ledger, Refused};
use crate::version::{TableRef, Version};

/// The manifest, and the edit that is in flight.
#[derive(Debug)]
pub(crate) struct Journal {
    manifest: Manifest,
    version: Rc<Version>,
    ledger: Ledger,
    flying: Option<(VersionEdit, Vec<Rc<TableRef>>)>,
}

impl Journal {
    /// Of a new store, in a file of zeros.
    pub fn create(store: u64, bytes: u64) -> Journal {
        Journal::over(Manifest::create(store, bytes))
    }

    /// From the bytes of the file.
    pub fn recover(store: u64, file: &[u8]) -> Result<Journal, Corrupt> {
        Ok(Journal::over(Manifest::recover(store, file)?))
    }

    fn over(manifest: Manifest) -> Journal {
        let state = manifest.state().clone();
        Journal {
            manifest,
            version: state.version,
            ledger: state.ledger,
            flying: None,
        }
    }

    /// The tables, as the last durable edit left them.
    pub fn version(&self) -> &Rc<Version> {
        &self.version
    }

    /// Everything else, as the last durable edit left it.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Whether an edit is in flight.
    pub fn is_flying(&self) -> bool {
        self.flying.is_some()
    }

    /// Whether this opening's first record is durable.
    pub fn is_open(&self) -> bool {
        self.manifest.is_open()
    }

    /// The file is durable as it was read.
    pub fn synced(&mut self) {
        self.manifest.synced();
    }

    /// Submits an edit; none is in flight. `numbers` is above every number that was given out.
    pub fn submit(
        &mut self,
        edit: VersionEdit,
        numbers: TableNumber,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        assert!(self.flying.is_none(), "one edit is in flight at a time");
        self.manifest.skip_tables(numbers);
        let (_, dropped) = self.manifest.append(&edit)?;
        self.flying = Some((edit, dropped));
        self.write(effects);
        Ok(())
    }

    /// Emits the write that is due, if one is.
    pub fn write(&mut self, effects: &mut Vec<Effect>) {
        if let Some((write, offset, bytes)) = self.manifest.next_write() {
            effects.push(Effect::WriteManifest {
                write,
                offset,
                bytes,
            });
        }
    }

    /// A write is durable. Returns the edit that was in it and the tables that it has dropped.
    pub fn on_written(&mut self, write: ManifestWrite) -> Option<(VersionEdit, Vec<Rc<TableRef>>)> {
        self.manifest.written(write);
        assert_eq!(self.manifest.durable(), self.manifest.appended());
        let flying = self.flying.take()?;
        let state = self.manifest.state();
        self.version = state.version.clone();
        // The same step that the manifest made, and not a copy of what it says of every region.
        self.ledger.follow(&flying.0);
        self.ledger.table_limit = state.ledger.table_limit;
        Some(flying)
    }

    /// A write failed: nothing is written any more.
    pub fn on_failed(&mut self) {
        self.manifest.write_failed();
    }
}
