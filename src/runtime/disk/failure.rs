//! What went wrong, and where.

use glommio::GlommioError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why the disk did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The disk, or the quota on it, is full.
    NoSpace,
    /// The file does not exist.
    Missing,
    /// Any other error of the device or file system.
    Device {
        /// The errno.
        code: i32,
    },
}

impl Failure {
    /// By the errno.
    pub fn of_code(code: i32) -> Failure {
        match code {
            libc::ENOSPC | libc::EDQUOT => Failure::NoSpace,
            libc::ENOENT => Failure::Missing,
            code => Failure::Device { code },
        }
    }

    /// By an error of the standard library; one without an errno counts as an I/O error.
    pub fn of_io(error: &io::Error) -> Failure {
        Failure::of_code(error.raw_os_error().unwrap_or(libc::EIO))
    }

    /// By an error of the runtime.
    pub fn of_runtime<T>(error: &GlommioError<T>) -> Failure {
        Failure::of_code(error.raw_os_error().unwrap_or(libc::EIO))
    }

    /// What a report calls it.
    fn text(self) -> String {
        match self {
            Failure::NoSpace => "no space left".into(),
            Failure::Missing => "no such file".into(),
            Failure::Device { code } => io::Error::from_raw_os_error(code).to_string(),
        }
    }
}

impl From<Failure> for coracle_engine::effect::Failure {
    fn from(failure: Failure) -> coracle_engine::effect::Failure {
        match failure {
            Failure::NoSpace => coracle_engine::effect::Failure::NoSpace,
            Failure::Missing => coracle_engine::effect::Failure::Missing,
            Failure::Device { code } => coracle_engine::effect::Failure::Device { code },
        }
    }
}

/// A failure with its place, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskError {
    /// What was tried, as in "cannot open".
    pub tried: &'static str,
    /// On which file or directory.
    pub path: PathBuf,
    /// Why it failed.
    pub failure: Failure,
}

impl DiskError {
    /// Puts a failure into its place.
    pub fn new(tried: &'static str, path: &Path, failure: Failure) -> DiskError {
        DiskError {
            tried,
            path: path.to_path_buf(),
            failure,
        }
    }

    /// For use with `map_err` on results of the standard library.
    pub fn io(tried: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
        move |error| DiskError::new(tried, path, Failure::of_io(&error))
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "cannot {} {}: {}",
            self.tried,
            self.path.display(),
            self.failure.text()
        )
    }
}

impl std::error::Error for DiskError {}
