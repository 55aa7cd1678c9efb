//! What is said of each setting in the file that `coracle config print` prints.

/// One line for each section and each setting.
const NOTES: &[(&str, &str, &str)] = &[
    ("node", "", "The process."),
    ("node", "data", "Where its data lies."),
    (
        "node",
        "listen",
        "Where it listens: all shards at this port, and each at one of its own from the next port on. Port 0 takes free ones.",
    ),
    (
        "node",
        "advertise",
        "Where others reach it, if that differs.",
    ),
    (
        "node",
        "shards",
        "How many shards; 0: one for each core. Fixed when the data directory is made.",
    ),
    (
        "node",
        "cores",
        "The cores that the shards are pinned to; none: the first ones that this process may use.",
    ),
    (
        "node",
        "share_cores",
        "Whether a core may be named for several shards: for trials on small machines.",
    ),
    (
        "node",
        "join",
        "Nodes of the cluster to join, as [\"10.0.0.7:7400\"]; none: a new directory begins a cluster.",
    ),
    (
        "node",
        "labels",
        "Where it stands, as [\"zone=a\", \"rack=1\"]: replicas are kept apart by that. May be changed with a restart.",
    ),
    (
        "node",
        "replicas",
        "Replicas that every region should have, where this node begins a cluster: 1 to 7.",
    ),
    (
        "node",
        "regions",
        "Regions that users' keys are cut into where this node begins a cluster, evenly by their first bytes: 1 to 16384.",
    ),
    (
        "node",
        "stop_seconds",
        "Seconds that stopping may take before what is not handed over is left.",
    ),
    ("io", "", "The executors, one for each shard."),
    (
        "io",
        "driver",
        "What carries sockets and log writes: ring, glommio, or auto: ring where the kernel has all that it needs.",
    ),
    (
        "io",
        "spin_us",
        "Microseconds that an idle executor spins before it sleeps: 0 on shared hosts, 50 to 100 for latency.",
    ),
    (
        "io",
        "worker_cores",
        "Cores for the kernel's threads that finish log writes; none: those without a shard.",
    ),
    (
        "io",
        "ring_depth",
        "Operations that each ring of an executor holds.",
    ),
    ("io", "memory_kib", "KiB of registered memory of each ring."),
    ("log", "", "The log of each shard."),
    (
        "log",
        "segment_mib",
        "MiB of a segment: 17 to 512. Fixed when the data directory is made.",
    ),
    (
        "log",
        "segments_max",
        "Segments at the most, which bounds the space of the log: 12 to 45.",
    ),
    ("log", "cache_mib", "MiB of recent entries kept in memory."),
    ("store", "", "The state store of each shard."),
    ("store", "memtable_mib", "MiB of a memtable: 1 to 1024."),
    (
        "store",
        "cache_mib",
        "MiB of unpacked blocks kept in memory.",
    ),
    (
        "store",
        "compress",
        "Whether blocks are compressed where that saves a page.",
    ),
    (
        "store",
        "reserve",
        "Whether space is held back for the way out of a full disk.",
    ),
    ("raft", "", "Replication."),
    ("raft", "tick_ms", "Milliseconds between two ticks."),
    ("raft", "heartbeat_ticks", "Ticks between two heartbeats."),
    (
        "raft",
        "election_ticks",
        "The shortest election timeout in ticks; the longest is twice that.",
    ),
    (
        "raft",
        "quiet_ms",
        "Milliseconds after which a region of which nobody wants anything is quiet, without ticks and heartbeats; 0: no region ever is.",
    ),
    (
        "raft",
        "lease_ms",
        "Milliseconds that a lease lasts; 0: every read asks a quorum. It ends before an election can, by clocks that drift.",
    ),
    (
        "raft",
        "drift_per_mille",
        "Clocks run faster or slower by no more than so many in a thousand.",
    ),
    (
        "raft",
        "down_ms",
        "Milliseconds without a sign of life after which a replica is replaced.",
    ),
    (
        "raft",
        "snapshot_mib_per_second",
        "MiB of snapshots that a shard sends to another in a second; 0: as many as go.",
    ),
    ("split", "", "When regions are split by themselves."),
    ("split", "automatic", "Whether they are at all."),
    (
        "split",
        "size_mib",
        "MiB above which a region is split into parts of about half of that; 0: never for its size.",
    ),
    (
        "split",
        "keys",
        "Keys above which it is; 0: never for its keys.",
    ),
    (
        "split",
        "load",
        "Reads and writes of keys in a second from which on it is split where the work is divided; 0: never for that.",
    ),
    ("split", "load_seconds", "Seconds that it must be so busy."),
    ("placement", "", "Where replicas and leaders are put."),
    (
        "placement",
        "balance",
        "Whether replicas and leaders move from shards that have more of them, or are asked for more, to those with less.",
    ),
    (
        "placement",
        "moves_max",
        "Regions that may be moved for that at once: 1 to 1024.",
    ),
    (
        "placement",
        "spread",
        "Labels by which replicas are kept apart, the widest place first: over as many zones as there are, then racks, then nodes.",
    ),
    (
        "placement",
        "copies",
        "Copies that may be under way to one shard, and from one, at once: 1 to 64.",
    ),
    ("client", "", "What clients may ask for."),
    (
        "client",
        "connections_max",
        "Connections to one shard at the most.",
    ),
    (
        "client",
        "idle_seconds",
        "Seconds without a byte after which a connection is closed; 0: never.",
    ),
    (
        "client",
        "stalled_seconds",
        "Seconds that a client may take before it reads on.",
    ),
    (
        "client",
        "output_mib",
        "MiB of answers that may wait for one client.",
    ),
    (
        "client",
        "timeout_ms",
        "Milliseconds for one command, with everything that is tried again.",
    ),
    (
        "client",
        "flush",
        "Whether FLUSHDB and FLUSHALL are allowed.",
    ),
    ("telling", "", "What is told on standard error."),
    (
        "telling",
        "level",
        "error, warn, info, debug, trace or off, or a filter by part, as in warn,coracle=debug.",
    ),
    ("telling", "json", "One JSON object per line."),
];

/// Puts above each line of a printed configuration what it means.
pub fn annotate(printed: &str) -> String {
    let mut text = String::with_capacity(printed.len() * 4);
    let mut section = "";
    for line in printed.lines() {
        let key = match line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            Some(name) => {
                section = name;
                ""
            }
            None => line.split(" = ").next().unwrap_or_default(),
        };
        if !line.is_empty()
            && let Some(note) = note(section, key)
        {
            text += &format!("# {note}\n");
        }
        text += &format!("{line}\n");
    }
    text
}

fn note(section: &str, key: &str) -> Option<&'static str> {
    let found = NOTES.iter().find(|note| (note.0, note.1) == (section, key));
    found.map(|note| note.2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::config::Config;

    #[test]
    fn every_setting_has_a_note_and_every_note_a_setting() {
        let known = toml::Table::try_from(Config::default()).expect("a table");
        let mut count = 0;
        for (section, keys) in &known {
            let keys = keys.as_table().expect("a section");
            for key in keys.keys().map(String::as_str).chain([""]) {
                assert!(note(section, key).is_some(), "{section}.{key} has no note");
                count += 1;
            }
        }
        assert_eq!(NOTES.len(), count, "a note is of no setting");
    }

    #[test]
    fn a_note_stands_above_its_line() {
        let text = annotate("[node]\nshards = 2\n\n[io]\ncores = 1\n");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[1]), ("# The process.", "[node]"));
        assert!(lines[2].starts_with("# How many shards") && lines[3] == "shards = 2");
        assert_eq!(
            lines[4..],
            [
                "",
                "# The executors, one for each shard.",
                "[io]",
                "cores = 1"
            ]
        );
    }
}
