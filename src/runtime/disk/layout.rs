//! The names of files, both ways.
//!
//! ```text
//! DATA/shard-000/log/0000000000.segment          slot 0 of the log
//! DATA/shard-000/tables/00000000000000000001.table
//! DATA/shard-000/manifest                        and `manifest.new` while it is being made
//! DATA/shard-000/durability                      how writes become durable here, one word
//! DATA/shard-000/reserve                         space kept for the store's way out of a full disk
//! DATA/shard-000/**/probe                        a file with content, see `probe`
//! ```
//!
//! Numbers are padded so that a listing is in order. A name counts only if it is exactly what the
//! number would be written as; everything else in these directories is left alone.

use crate::runtime::disk::{DiskError, Durability};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The directory of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardDirectory {
    root: PathBuf,
}

impl ShardDirectory {
    /// Where a shard of a data directory lives.
    pub fn of(data: &Path, shard: u16) -> ShardDirectory {
        ShardDirectory {
            root: data.join(format!("shard-{shard:03}")),
        }
    }

    /// Creates what is missing, and makes every name that it may have created durable.
    pub fn create(&self) -> Result<(), DiskError> {
        for directory in [&self.root, &self.log(), &self.tables()] {
            std::fs::create_dir_all(directory).map_err(DiskError::io("create", directory))?;
        }
        sync_names(&self.root)?;
        // The data directory holds the shard's name, its own parents may be new as well.
        let absolute = std::fs::canonicalize(&self.root);
        let absolute = absolute.map_err(DiskError::io("find", &self.root))?;
        for parent in absolute.ancestors().skip(1).take(2) {
            sync_names(parent)?;
        }
        Ok(())
    }

    /// The shard's own directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of segment files.
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// The directory of table files.
    pub fn tables(&self) -> PathBuf {
        self.root.join("tables")
    }

    /// The manifest.
    pub fn manifest(&self) -> PathBuf {
        self.root.join("manifest")
    }

    /// The manifest while it is being made.
    pub fn manifest_new(&self) -> PathBuf {
        self.root.join("manifest.new")
    }

    /// The file that only occupies space.
    pub fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    /// The file of a slot of the log.
    pub fn segment(&self, slot: u32) -> PathBuf {
        self.log().join(segment_name(slot))
    }

    /// The file of a table.
    pub fn table(&self, table: u64) -> PathBuf {
        self.tables().join(table_name(table))
    }

    /// How log and manifest are written here, as kept; none if it was never measured.
    pub fn durability(&self) -> Result<Option<Durability>, DiskError> {
        let path = self.root.join("durability");
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(match text.trim() {
                "write-through" => Some(Durability::WriteThrough),
                "write-then-sync" => Some(Durability::WriteThenSync),
                // Cut off before it was durable: it is measured again.
                _ => None,
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(DiskError::io("read", &path)(error)),
        }
    }

    /// Keeps how log and manifest are written here.
    pub fn keep_durability(&self, durability: Durability) -> Result<(), DiskError> {
        let path = self.root.join("durability");
        let word = match durability {
            Durability::WriteThrough => "write-through",
            Durability::WriteThenSync => "write-then-sync",
        };
        std::fs::write(&path, format!("{word}\n")).map_err(DiskError::io("write", &path))?;
        let file = File::open(&path).map_err(DiskError::io("open", &path))?;
        file.sync_all().map_err(DiskError::io("sync", &path))?;
        sync_names(&self.root)
    }

    /// All segment files with their lengths, in the order of slots.
    pub fn list_segments(&self) -> Result<Vec<(u32, u64)>, DiskError> {
        list(&self.log(), |name| {
            let slot = name.strip_suffix(".segment")?.parse().ok()?;
            (segment_name(slot) == name).then_some(slot)
        })
    }

    /// All table files with their lengths, in the order of numbers.
    pub fn list_tables(&self) -> Result<Vec<(u64, u64)>, DiskError> {
        list(&self.tables(), |name| {
            let table = name.strip_suffix(".table")?.parse().ok()?;
            (table_name(table) == name).then_some(table)
        })
    }
}

fn segment_name(slot: u32) -> String {
    format!("{slot:010}.segment")
}

fn table_name(table: u64) -> String {
    format!("{table:020}.table")
}

fn list<Number: Ord>(
    directory: &Path,
    parse: impl Fn(&str) -> Option<Number>,
) -> Result<Vec<(Number, u64)>, DiskError> {
    let failed = || DiskError::io("list", directory);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let Some(number) = entry.file_name().to_str().and_then(&parse) else {
            continue;
        };
        let metadata = entry.metadata().map_err(failed())?;
        if metadata.is_file() {
            found.push((number, metadata.len()));
        }
    }
    found.sort();
    Ok(found)
}

/// Makes the names in a directory durable. Blocks: at start, or on a thread for such things.
pub fn sync_names(directory: &Path) -> Result<(), DiskError> {
    let opened = File::open(directory).map_err(DiskError::io("open", directory))?;
    opened.sync_all().map_err(DiskError::io("sync", directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again_and_others_are_left_alone() {
        let data = tempfile::tempdir().expect("a directory");
        let shard = ShardDirectory::of(data.path(), 7);
        shard.create().expect("it can be created");
        shard.create().expect("and created again");
        assert!(shard.root().ends_with("shard-007"));
        let files = [
            shard.segment(3),
            shard.segment(u32::MAX),
            shard.table(12),
            shard.table(u64::MAX),
            shard.log().join("3.segment"),
            shard.log().join("0000000004.segment.bak"),
            shard.log().join("99999999999.segment"),
            shard.tables().join("-0000000000000000001.table"),
            shard.tables().join("+0000000000000000001.table"),
            shard.tables().join("probe"),
        ];
        for file in files {
            std::fs::write(file, b"12345").expect("it can be written");
        }
        std::fs::create_dir(shard.segment(5)).expect("a directory of that name");
        let segments = shard.list_segments().expect("it lists");
        assert_eq!(segments, [(3, 5), (u32::MAX, 5)]);
        let tables = shard.list_tables().expect("it lists");
        assert_eq!(tables, [(12, 5), (u64::MAX, 5)]);
    }

    #[test]
    fn a_missing_directory_is_an_error_with_its_place() {
        let data = tempfile::tempdir().expect("a directory");
        let shard = ShardDirectory::of(data.path(), 0);
        let error = shard.list_tables().expect_err("nothing is there");
        assert_eq!(error.path, shard.tables());
        assert_eq!(error.failure, crate::runtime::disk::Failure::Missing);
    }
}
