//! What the disk sees: bytes that files occupy, and bytes that went to and from the device.

use std::{os::unix::fs::MetadataExt, path::Path};

/// How many bytes the files of a directory occupy, holes left out and preallocated blocks included.
pub fn disk_bytes(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(info) if info.is_dir() => disk_bytes(&entry.path()),
        Ok(info) => info.blocks() * 512,
        Err(_) => 0, // Removed meanwhile.
    });
    sizes.sum()
}

/// Asks the kernel to forget the cached pages of all files of a directory.
pub fn forget_pages(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            forget_pages(&path);
        } else if let Ok(file) = std::fs::File::open(&path) {
            // Pages that are not clean would stay.
            file.sync_all().expect("a file of ours can be synced");
            coracle_bench_harness::forget_pages(&file).expect("the kernel takes the advice");
        }
    }
}

/// Bytes that this process has caused to be read from and written to devices.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Read, past the page cache.
    pub read: u64,
    /// Written, or made dirty in the page cache.
    pub written: u64,
}

impl Traffic {
    /// Since the process began.
    pub fn so_far() -> Self {
        let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0)
        };
        Self {
            read: field("read_bytes:"),
            written: field("write_bytes:"),
        }
    }

    /// What came after an earlier look.
    pub fn since(&self, earlier: &Traffic) -> Traffic {
        Traffic {
            read: self.read - earlier.read,
            written: self.written - earlier.written,
        }
    }
}
