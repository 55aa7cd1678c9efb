//! What the machine is asked at start: its kernel, its cores, its chance.
#![expect(
    clippy::disallowed_methods,
    reason = "this is where the kernel is asked for random numbers"
)]

use std::fs::File;
use std::io::Read;

use glommio::CpuSet;

use super::failure::{Exit, Failure};

/// The oldest kernel whose io_uring does all that is asked of it.
const KERNEL_MIN: (u32, u32) = (6, 1);

/// Whether a node can run here at all.
pub fn check() -> Result<(), Failure> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if kernel(&release).is_some_and(|version| version < KERNEL_MIN) {
        let why = format!(
            "Linux {} is too old; io_uring does all that is needed from {}.{} on",
            release.trim(),
            KERNEL_MIN.0,
            KERNEL_MIN.1
        );
        return Err(Failure::new(Exit::Usage, why));
    }
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    if disabled.is_ok_and(|text| text.trim() == "2") {
        let why = "io_uring is switched off on this machine; allow it with 'sysctl kernel.io_uring_disabled=0'";
        return Err(Failure::new(Exit::Usage, why));
    }
    Ok(())
}

fn kernel(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The cores for so many shards; 0: all that there are.
pub fn cores(named: &[usize], wanted: usize) -> Result<Vec<usize>, Failure> {
    let online = CpuSet::online().map_err(|error| {
        Failure::new(Exit::Failed, format!("the cores cannot be listed: {error}"))
    })?;
    let mut there: Vec<usize> = online.iter().map(|location| location.cpu).collect();
    there.sort_unstable();
    if let Some(missing) = named.iter().find(|core| !there.contains(core)) {
        let why = format!("core {missing} is not there; this machine has {there:?}");
        return Err(Failure::new(Exit::Usage, why));
    }
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    if wanted > there.len() {
        let why = format!(
            "{wanted} shards want as many cores, and there are {}; a shard that shares its core makes both wait",
            there.len()
        );
        return Err(Failure::new(Exit::Usage, why));
    }
    if wanted > 0 {
        there.truncate(wanted);
    }
    Ok(there)
}

/// The cores that are not among these.
pub fn others(taken: &[usize]) -> Result<Vec<usize>, Failure> {
    let mut there = cores(&[], 0)?;
    there.retain(|core| !taken.contains(core));
    Ok(there)
}

/// A number that nobody can guess.
pub fn draw() -> u64 {
    let mut bytes = [0; 8];
    let drawn = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    drawn.expect("the kernel has random numbers");
    u64::from_le_bytes(bytes).max(1)
}

/// Files that a process takes beside those of its shards, and a shard, with a few connections each.
const FILES: u64 = 32;

/// Fails where the process may not open as many files as it takes before anybody connects.
pub fn check_files(shards: u16) -> Result<(), Failure> {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let needed = FILES * (1 + u64::from(shards));
    match files_allowed(&limits) {
        Some(allowed) if allowed < needed => {
            let why = format!(
                "this process may open {allowed} files, and a node of {shards} shards takes {needed} and one for each \
                 connection; 'ulimit -n 65536' lets it have more"
            );
            Err(Failure::new(Exit::Usage, why))
        }
        _ => Ok(()),
    }
}

/// How many files may be open, as the kernel says of a process; none: any number, or it does not say.
fn files_allowed(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_told_apart() {
        assert_eq!(kernel("6.18.44-cloud"), Some((6, 18)));
        assert_eq!(kernel("5.10.0"), Some((5, 10)));
        assert_eq!(kernel("strange"), None);
    }

    #[test]
    fn shards_get_cores_that_are_there() {
        let all = cores(&[], 0).expect("some cores");
        assert_eq!(cores(&[], 1).expect("one core").len(), 1);
        let many = cores(&[], all.len() + 1).expect_err("not so many");
        assert_eq!(many.exit, Exit::Usage);
        assert!(cores(&[100_000], 0).is_err());
    }

    #[test]
    fn the_kernel_says_how_many_files_may_be_open() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            16                   512                  files\n";
        assert_eq!(files_allowed(limits), Some(16));
        assert_eq!(
            files_allowed("Max open files  unlimited  unlimited  files"),
            None
        );
        assert_eq!(files_allowed(""), None);
    }
}
