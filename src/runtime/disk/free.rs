//! How much room is left on a disk.
#![expect(
    unsafe_code,
    reason = "the standard library does not ask file systems for their free space"
)]

use crate::runtime::disk::DiskError;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// How many bytes are free for this process on the file system of a path. Blocks.
pub fn free_bytes(path: &Path) -> Result<u64, DiskError> {
    let failed = || DiskError::io("ask for the free space of", path);
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|error| failed()(error.into()))?;
    // SAFETY: all bit patterns of the structure are valid, zeros too.
    let mut answer: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the name is a C string and the answer a statvfs, both alive during the call.
    let result = unsafe { libc::statvfs(name.as_ptr(), &mut answer) };
    match result {
        0 => Ok(answer.f_bavail.saturating_mul(answer.f_frsize)),
        _ => Err(failed()(std::io::Error::last_os_error())),
    }
}
