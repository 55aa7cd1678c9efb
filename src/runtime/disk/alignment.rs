//! What direct I/O on a file must be aligned to.
//!
//! Kernels from 6.1 on answer by `statx`; file systems that do not say leave the field out, and then
//! the 4 KiB blocks that everything here consists of are tried as they are.
#![expect(
    unsafe_code,
    reason = "the standard library has no statx, and its answer is known in no other way"
)]

use crate::runtime::disk::{BLOCK_BYTES, DiskError, Failure};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What offsets and lengths must be multiples of, if the file system says so.
fn offset_alignment(path: &Path) -> Result<Option<u64>, DiskError> {
    let failed = |failure| DiskError::new("ask for the alignment of", path, failure);
    let name = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| failed(Failure::of_code(libc::EINVAL)))?;
    // SAFETY: all bit patterns of the structure are valid, zeros too.
    let mut answer: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the name is a C string and the answer a statx, both alive during the call.
    let result = unsafe {
        libc::statx(
            libc::AT_FDCWD,
            name.as_ptr(),
            0,
            libc::STATX_DIOALIGN,
            &mut answer,
        )
    };
    if result != 0 {
        return Err(failed(Failure::of_io(&std::io::Error::last_os_error())));
    }
    let said = answer.stx_mask & libc::STATX_DIOALIGN != 0;
    Ok(said.then_some(u64::from(answer.stx_dio_offset_align)))
}

/// Fails where a file cannot be read and written directly in blocks of 4 KiB.
pub fn check(path: &Path) -> Result<(), DiskError> {
    match offset_alignment(path)? {
        // Zero says that the file system has no direct I/O for this file.
        Some(0) => Err(DiskError::new(
            "use direct I/O on",
            path,
            Failure::of_code(libc::EOPNOTSUPP),
        )),
        Some(bytes) if !BLOCK_BYTES.is_multiple_of(bytes) => Err(DiskError::new(
            "write 4 KiB blocks to",
            path,
            Failure::of_code(libc::EINVAL),
        )),
        _ => Ok(()),
    }
}
