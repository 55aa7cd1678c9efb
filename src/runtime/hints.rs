//! What would make this machine faster: read from the kernel, told once at start, done by nobody but whoever
//! runs it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// All that would help a node with its data there and its shards on these cores.
pub fn all(data: &Path, cores: &[usize]) -> Vec<String> {
    let mut hints = Vec::new();
    if let Some(disk) = disk_of(data) {
        let cache = read(&disk.join("queue/write_cache"));
        let fua = read(&disk.join("queue/fua"));
        hints.extend(cache_hint(&cache, &fua));
        hints.extend(scheduler_hint(&read(&disk.join("queue/scheduler"))));
        let name = interrupt_name(&disk);
        let interrupts = read(Path::new("/proc/interrupts"));
        for irq in interrupts_of(&interrupts, &name) {
            let at = read(Path::new(&format!(
                "/proc/irq/{irq}/effective_affinity_list"
            )));
            hints.extend(interrupt_hint(irq, &at, cores));
        }
    }
    for core in cores {
        let governor = format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
        hints.extend(governor_hint(*core, &read(Path::new(&governor))));
    }
    hints
}

fn read(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.trim().to_string()
}

/// The whole disk that a path lies on, as the kernel shows it.
fn disk_of(path: &Path) -> Option<PathBuf> {
    let device = std::fs::metadata(path).ok()?.dev();
    let (major, minor) = (libc::major(device), libc::minor(device));
    let shown = std::fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    match shown.join("queue").exists() {
        true => Some(shown),
        // A partition lies below its disk.
        false => shown.parent().map(Path::to_path_buf),
    }
}

/// What the disk's interrupts are named after: itself, or the device behind it.
fn interrupt_name(disk: &Path) -> String {
    let behind = std::fs::canonicalize(disk.join("device"));
    let name = behind.ok().and_then(|path| {
        let name = path.file_name()?.to_str()?;
        name.starts_with("virtio").then(|| format!("{name}-req"))
    });
    let own = || disk.file_name().and_then(|name| name.to_str());
    name.unwrap_or_else(|| own().unwrap_or_default().to_string())
}

fn cache_hint(cache: &str, fua: &str) -> Option<String> {
    (cache == "write back" && fua == "0").then(|| {
        "the disk has a cache that forgets, and no way around it: each durable write waits for a flush; a disk with \
         power-loss protection does without"
            .to_string()
    })
}

fn scheduler_hint(scheduler: &str) -> Option<String> {
    let chosen = scheduler.split(['[', ']']).nth(1)?;
    (chosen != "none").then(|| {
        format!(
            "the disk's scheduler is {chosen}; 'none' costs less for disks without moving parts"
        )
    })
}

/// The numbers of interrupts whose name begins like this.
fn interrupts_of(table: &str, name: &str) -> Vec<u32> {
    let number = |line: &str| {
        let (number, rest) = line.trim_start().split_once(':')?;
        let last = rest.split_whitespace().last()?;
        let is_its = !name.is_empty() && last.starts_with(name);
        is_its.then(|| number.parse().ok()).flatten()
    };
    table.lines().filter_map(number).collect()
}

fn interrupt_hint(irq: u32, at: &str, cores: &[usize]) -> Option<String> {
    let core: usize = at.split(['-', ',']).next()?.parse().ok()?;
    cores.contains(&core).then(|| {
        format!(
            "interrupt {irq} of the disk comes to core {core}, which a shard keeps busy; move it with \
             /proc/irq/{irq}/smp_affinity_list, or leave the core out with --cores"
        )
    })
}

fn governor_hint(core: usize, governor: &str) -> Option<String> {
    let slow = !governor.is_empty() && governor != "performance";
    slow.then(|| {
        format!("core {core} is governed by '{governor}'; 'performance' keeps its clock up")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_given_where_there_is_something_to_gain() {
        assert!(cache_hint("write back", "0").is_some());
        assert!(cache_hint("write back", "1").is_none());
        assert!(cache_hint("write through", "0").is_none());
        assert!(
            scheduler_hint("none [mq-deadline]").is_some_and(|hint| hint.contains("mq-deadline"))
        );
        assert!(scheduler_hint("[none] mq-deadline").is_none());
        assert!(scheduler_hint("").is_none());
        assert!(governor_hint(3, "powersave").is_some_and(|hint| hint.contains("core 3")));
        assert!(governor_hint(3, "").is_none());
        let table = "           CPU0\n 36:  0  34 PCI-MSIX-0 1-edge virtio1-req.0\n 38: 0 PCI virtio2-input.0\n";
        assert_eq!(interrupts_of(table, "virtio1-req"), [36]);
        assert_eq!(interrupts_of(table, ""), [0; 0]);
        assert!(interrupt_hint(36, "3", &[2, 3]).is_some_and(|hint| hint.contains("core 3")));
        assert!(interrupt_hint(36, "1", &[2, 3]).is_none());
        assert!(interrupt_hint(36, "", &[2, 3]).is_none());
    }
}
