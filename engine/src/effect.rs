//! What the store wants done, and what has been done: the whole border between the engine and the
//! world, on one screen.
//!
//! The engine never opens a file. It emits [`Effect`]s and is told [`Completion`]s. **A driver may
//! carry out effects in any order and at any time**: whatever must come after something else is
//! withheld by the store until the completion of that something has come in. Each effect is answered
//! by exactly one completion, failed or not.
//!
//! ```text
//! effect            done when                                            failure
//! CreateManifest    the file holds that many written zero bytes and      final
//!                   its name is durable (an older file is replaced)
//! SyncManifest      all bytes of the file and its name are durable       final
//! WriteManifest     the bytes are durable (written and synced, or        final
//!                   written through)
//! CreateTable       an empty file of that name exists (an older one      deletes the table, retried
//!                   is emptied)
//! WriteTable        the bytes are in the file, durable or not            deletes the table, retried
//! SyncTable         all bytes of the file and its name are durable       deletes the table, retried
//! RemoveTable       the name is gone, durably or not (none is fine)      reported, tried again at start
//! ReadTable         the bytes were read (fewer only at the file's end)   an error of the reading operation
//! SizeReserve       the reserve file occupies so many bytes of disk      the disk counts as full
//! ```
//!
//! Offsets and lengths are whole 4 KiB blocks, so that a direct-I/O file can take them as they are.

use alloc::vec::Vec;

/// The number of a table file; a number is used once in the life of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableNumber(pub u64);

/// Names one write of the manifest, counted from 1 since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ManifestWrite(pub u64);

/// Names one read; a token is used once between two openings of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadToken(pub u64);

/// Which share of the disk a piece of work deserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Somebody waits for it: a read, or a flush for which a region has stopped applying.
    Foreground,
    /// Nobody waits for it: compaction, ordinary flushes, exports.
    Background,
}

/// Something the world should do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write a manifest file full of zeros and make it durable with its name.
    CreateManifest {
        /// How long the file is, now and ever after.
        bytes: u64,
    },
    /// Make durable what the manifest holds, written by whomever.
    SyncManifest,
    /// Write part of the manifest durably.
    WriteManifest {
        /// Comes back with the completion.
        write: ManifestWrite,
        /// Where in the file.
        offset: u64,
        /// Whole blocks.
        bytes: Vec<u8>,
    },
    /// Create the file of a table.
    CreateTable {
        /// Its number, which is its name.
        table: TableNumber,
    },
    /// Write part of a table.
    WriteTable {
        /// Which one.
        table: TableNumber,
        /// Where in the file.
        offset: u64,
        /// Whole blocks.
        bytes: Vec<u8>,
        /// Whether somebody waits for it.
        share: Share,
    },
    /// Make a table's bytes and its directory entry durable.
    SyncTable {
        /// Which one.
        table: TableNumber,
        /// Whether somebody waits for it.
        share: Share,
    },
    /// Remove the file of a table; no read of it is outstanding.
    RemoveTable {
        /// Which one.
        table: TableNumber,
    },
    /// Read part of a table.
    ReadTable {
        /// Comes back with the completion.
        token: ReadToken,
        /// Which one.
        table: TableNumber,
        /// Where in the file.
        offset: u64,
        /// How much, in bytes; whole blocks.
        length: u32,
        /// Whether somebody waits for it.
        share: Share,
    },
    /// Make the reserve file occupy so many bytes: written when it grows, cut off when it shrinks.
    SizeReserve {
        /// The size it should have.
        bytes: u64,
    },
}

/// Why the world did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The disk is full.
    NoSpace,
    /// The file does not exist.
    Missing,
    /// Any other error of the device or file system; `code` is the errno, for the report.
    Device {
        /// The errno.
        code: i32,
    },
}

/// Something the world has done, or failed to do: the answer to one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion<'bytes> {
    /// Answers [`Effect::CreateManifest`].
    ManifestCreated(Result<(), Failure>),
    /// Answers [`Effect::SyncManifest`].
    ManifestSynced(Result<(), Failure>),
    /// Answers [`Effect::WriteManifest`].
    ManifestWritten {
        /// Which write.
        write: ManifestWrite,
        /// How it went.
        outcome: Result<(), Failure>,
    },
    /// Answers [`Effect::CreateTable`].
    TableCreated {
        /// Which table.
        table: TableNumber,
        /// How it went.
        outcome: Result<(), Failure>,
    },
    /// Answers [`Effect::WriteTable`].
    TableWritten {
        /// Which table.
        table: TableNumber,
        /// The effect's offset.
        offset: u64,
        /// How it went; part of the bytes written counts as failed.
        outcome: Result<(), Failure>,
    },
    /// Answers [`Effect::SyncTable`].
    TableSynced {
        /// Which table.
        table: TableNumber,
        /// How it went.
        outcome: Result<(), Failure>,
    },
    /// Answers [`Effect::RemoveTable`].
    TableRemoved {
        /// Which table.
        table: TableNumber,
        /// How it went; a missing file counts as removed.
        outcome: Result<(), Failure>,
    },
    /// Answers [`Effect::ReadTable`].
    TableRead {
        /// Which read.
        token: ReadToken,
        /// The bytes, fewer than asked only where the file ends.
        outcome: Result<&'bytes [u8], Failure>,
    },
    /// Answers [`Effect::SizeReserve`].
    ReserveSized {
        /// The effect's size.
        bytes: u64,
        /// How it went.
        outcome: Result<(), Failure>,
    },
}
