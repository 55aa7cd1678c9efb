//! What the log wants done: the whole border between it and the world, on one screen.
//!
//! A driver may carry effects out in any order and at any time; each is answered by one call. The one
//! rule it keeps: **the bytes of writes are taken by [`crate::Log::encode`] in the order of their
//! lsn**, since each batch names the checksum of the one before.
//!
//! ```text
//! effect    done when                                              answer
//! Create    the file is that long, all of it written zeros, and    created / create_failed
//!           file and name are durable (an older file of the
//!           name is emptied first)
//! Write     the bytes are durable                                  durable / write_failed (final)
//! Sync      all bytes of the file and its name are durable,        synced / write_failed (final)
//!           whoever wrote them
//! Read      the bytes were read                                    read_done / read_failed
//! ```

use crate::ids::{Lsn, ReadToken, Slot};

/// One durable write of whole blocks; its bytes come from [`crate::Log::encode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// The batch in it.
    pub lsn: Lsn,
    /// The file.
    pub slot: Slot,
    /// Where in the file, in whole blocks.
    pub offset: u32,
    /// How much, in whole blocks.
    pub len: u32,
}

/// Something the world should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make a file of zeros.
    Create {
        /// The file.
        slot: Slot,
        /// Its length, now and ever after.
        bytes: u32,
    },
    /// Write a batch.
    Write(Write),
    /// Make durable what was found in a file.
    Sync {
        /// The file.
        slot: Slot,
    },
    /// Read old entries.
    Read {
        /// Comes back with the answer.
        token: ReadToken,
        /// The file.
        slot: Slot,
        /// Where in the file, in whole blocks.
        offset: u32,
        /// How much, in whole blocks.
        len: u32,
    },
}
