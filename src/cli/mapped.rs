//! A whole file as bytes, for the tools that look inside.
#![expect(
    unsafe_code,
    reason = "a mapping is the one way to look at a file without reading it all"
)]

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use crate::cli::{Exit, Failure};

/// Maps a file for reading.
pub(super) fn map(path: &Path) -> Result<Mmap, Failure> {
    let unreadable = |error| Failure::new(Exit::Usage, format!("{}: {error}", path.display()));
    let file = File::open(path).map_err(unreadable)?;
    let regular = file.metadata().map_err(unreadable)?.is_file();
    if !regular {
        return Err(Failure::new(
            Exit::Usage,
            format!("{}: not a regular file", path.display()),
        ));
    }
    // SAFETY: the bytes are only read, by decoders that take any bytes. A running node may write the
    // file meanwhile; then the dump shows some of each, as reading it would. Files of the store are
    // never cut short while they hold anything.
    unsafe { Mmap::map(&file) }.map_err(unreadable)
}
