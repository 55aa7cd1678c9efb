//! Where figures come from: machine, kernel, file system, commit.

use std::{ffi::CString, os::unix::ffi::OsStrExt, path::Path, process::Command};

use serde::Serialize;

/// The machine, as far as it explains the figures.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many cores this process could use when it started.
    pub cores: usize,
    /// The memory, in MiB.
    pub memory_mebibytes: u64,
    /// The kernel's release and build.
    pub kernel: String,
    /// The file system, its device and options that hold the measured files.
    pub file_system: String,
    /// The block device's cache mode and scheduler, if it could be found out.
    pub device: String,
    /// The commit that was measured, with `+` if the tree has changes.
    pub commit: String,
    /// The command line.
    pub command: String,
}

impl Machine {
    /// Looks around; `directory` is where the measured files will be, `source` is anywhere in the
    /// repository. Call it before the process is confined to a core.
    pub fn probe(directory: &Path, source: &Path) -> Self {
        let mount = mount_of(directory);
        Self {
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".into()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mebibytes: field("/proc/meminfo", "MemTotal")
                .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
                .map_or(0, |kibibytes| kibibytes >> 10),
            kernel: kernel(),
            device: mount
                .as_ref()
                .map(|mount| device(&mount.source))
                .unwrap_or_default(),
            file_system: mount.map_or_else(
                || "unknown".into(),
                |mount| format!("{} on {} ({})", mount.kind, mount.source, mount.options),
            ),
            commit: commit(source),
            command: std::env::args().collect::<Vec<_>>().join(" "),
        }
    }

    /// The lines that stand above every table.
    pub fn lines(&self) -> String {
        format!(
            "machine: {}, {} cores, {} MiB; kernel {}\nfiles: {}; {}\ncommit: {}; command: {}\n",
            self.processor,
            self.cores,
            self.memory_mebibytes,
            self.kernel,
            self.file_system,
            self.device,
            self.commit,
            self.command
        )
    }
}

/// The first `name : value` line of a file under /proc.
fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().into())
}

fn kernel() -> String {
    let read = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
        text.trim().to_owned()
    };
    format!("{} {}", read("osrelease"), read("version"))
}

struct Mount {
    source: String,
    kind: String,
    options: String,
}

/// The mount that a directory lies in: the entry of /proc/self/mountinfo with the longest fitting path.
fn mount_of(directory: &Path) -> Option<Mount> {
    let directory = directory.canonicalize().ok()?;
    let text = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let fitting = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let dash = fields.iter().position(|&field| field == "-")?;
        let point = Path::new(fields.get(4)?);
        let mount = Mount {
            kind: (*fields.get(dash + 1)?).into(),
            source: (*fields.get(dash + 2)?).into(),
            options: (*fields.get(dash + 3)?).into(),
        };
        directory
            .starts_with(point)
            .then_some((point.as_os_str().len(), mount))
    });
    fitting
        .max_by_key(|(length, _)| *length)
        .map(|(_, mount)| mount)
}

fn device(source: &str) -> String {
    let Some(name) = source.strip_prefix("/dev/") else {
        return "no block device".into();
    };
    let queue = |file: &str| {
        let path = format!("/sys/class/block/{name}/queue/{file}");
        std::fs::read_to_string(path).map_or_else(|_| "?".into(), |text| text.trim().to_owned())
    };
    format!(
        "write cache {}, fua {}, scheduler {}",
        queue("write_cache"),
        queue("fua"),
        queue("scheduler")
    )
}

fn commit(source: &Path) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(source)
            .args(arguments)
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(hash) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".into();
    };
    let changed = git(&["status", "--porcelain"]).is_none_or(|text| !text.is_empty());
    if changed { hash + "+" } else { hash }
}

/// Free bytes in the file system of a directory, for those who write a lot.
pub fn free_bytes(directory: &Path) -> Option<u64> {
    let path = CString::new(directory.as_os_str().as_bytes()).ok()?;
    // SAFETY: a zeroed statvfs is valid, the path is a C string, the call fills the structure.
    unsafe {
        let mut info: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &mut info) == 0).then(|| info.f_bavail * info.f_frsize)
    }
}
