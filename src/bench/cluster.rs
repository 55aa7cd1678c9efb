//! Nodes that are started for a bench: processes of this same program, gone when it ends.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempDir;

use super::{os, route};
use crate::runtime::address::Address;
use crate::runtime::disk::{Durability, ShardDirectory};
use crate::runtime::failure::{Exit, Failure};

/// How long a node may take to serve.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// What a process ends with that was interrupted.
const INTERRUPTED: i32 = 130;

/// Nodes of our own.
pub struct Cluster {
    addresses: Vec<Address>,
    running: Running,
    _directory: TempDir,
    data: Vec<PathBuf>,
    /// The cores of all nodes, in order.
    pub cores: Vec<usize>,
}

/// The processes, for whoever ends them.
#[derive(Clone, Default)]
struct Running {
    children: Arc<Mutex<Vec<Child>>>,
    is_interrupted: Arc<AtomicBool>,
}

impl Running {
    fn with<T>(&self, use_it: impl FnOnce(&mut Vec<Child>) -> T) -> T {
        use_it(&mut self.children.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Nothing that they hold is needed any more.
    fn end(&self) {
        self.with(|children| {
            for child in children.iter_mut() {
                // Either fails only if it has ended already.
                let _ = child.kill();
                let _ = child.wait();
            }
            children.clear();
        });
    }
}

impl Cluster {
    /// Starts so many nodes with so many shards each, one core after the other, and waits until every region
    /// has a replica on each of them. New regions begin at these keys.
    pub fn start(
        nodes: usize,
        shards: usize,
        spin: u64,
        parent: &Path,
        cores: &[usize],
        borders: &[Vec<u8>],
    ) -> Result<Cluster, Failure> {
        let directory = tempfile::Builder::new()
            .prefix("coracle-bench-")
            .tempdir_in(parent)
            .map_err(|error| {
                let why = format!("a directory in {}: {error}", parent.display());
                Failure::new(Exit::FailedWrite, why)
            })?;
        let running = Running::default();
        end_on_signals(&running, directory.path())?;
        let mut cluster = Cluster {
            addresses: Vec::new(),
            running,
            data: Vec::new(),
            _directory: directory,
            cores: Vec::new(),
        };
        if !borders.is_empty() {
            cluster.write_borders(borders)?;
        }
        for node in 0..nodes {
            let of_node = |shard: usize| cores[(node * shards + shard) % cores.len()];
            let of_node: Vec<usize> = (0..shards).map(of_node).collect();
            cluster.start_node(node, &of_node, spin)?;
            cluster.cores.extend(of_node);
        }
        route::wait_for_replicas(&cluster.addresses, nodes)?;
        Ok(cluster)
    }

    /// Where regions begin, for the first node.
    fn write_borders(&self, borders: &[Vec<u8>]) -> Result<(), Failure> {
        let mut text = Vec::new();
        for border in borders {
            text.extend_from_slice(border);
            text.push(b'\n');
        }
        std::fs::write(self.borders(), text).map_err(|error| {
            let why = format!("{}: {error}", self.borders().display());
            Failure::new(Exit::FailedWrite, why)
        })
    }

    fn borders(&self) -> PathBuf {
        self._directory.path().join("borders")
    }

    fn start_node(&mut self, node: usize, cores: &[usize], spin: u64) -> Result<(), Failure> {
        let failed = |why: String| Failure::new(Exit::Failed, why);
        let program = std::env::current_exe()
            .map_err(|error| failed(format!("where this program lies: {error}")))?;
        let data = self._directory.path().join(format!("node-{}", node + 1));
        let list = |cores: &[usize]| {
            let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
            cores.join(",")
        };
        let mut command = Command::new(program);
        command
            .args(["start", "--listen", "127.0.0.1:0", "--level", "error"])
            .args(["--cores", &list(cores), "--spin", &spin.to_string()])
            .arg("--data")
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        match self.addresses.first() {
            Some(first) => command.args(["--join", &first.to_string()]),
            None if self.borders().exists() => command.arg("--regions-file").arg(self.borders()),
            None => &mut command,
        };
        // What the environment says of nodes is not about these.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CORACLE_NODE__")) {
            command.env_remove(name);
        }
        // On small machines nodes of several shards are tried all the same.
        command.env("CORACLE_NODE__SHARE_CORES", "true");
        // A region that becomes two in the middle of a run is measured by nobody.
        command.env("CORACLE_SPLIT__AUTOMATIC", "false");
        os::end_with_parent(&mut command);
        let mut child = command
            .spawn()
            .map_err(|error| failed(format!("a node: {error}")))?;
        let out = child.stdout.take();
        self.running.with(|children| children.push(child));
        let line = match out {
            Some(out) => first_line(out).recv_timeout(READY_WITHIN),
            None => return Err(failed("a node has no standard output".into())),
        };
        let line = line.unwrap_or_default();
        let address = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("listen="))
            .ok_or_else(|| failed(format!("node {} has not started", node + 1)))?;
        self.addresses
            .push(Address::parse(address).map_err(failed)?);
        self.data.push(data);
        Ok(())
    }

    /// Where the nodes are.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The processes.
    pub fn processes(&self) -> Vec<u32> {
        self.running
            .with(|children| children.iter().map(Child::id).collect())
    }

    /// How a write becomes durable on these nodes, in words.
    pub fn durability(&self) -> &'static str {
        let first = self.data.first().map(|data| ShardDirectory::of(data, 0));
        match first.map(|shard| shard.durability()) {
            Some(Ok(Some(Durability::WriteThrough))) => "written through",
            Some(Ok(Some(Durability::WriteThenSync))) => "written and synced",
            _ => "durable",
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        while self.running.is_interrupted.load(Ordering::Relaxed) {
            // Whoever was told to end the process does, and nothing of what fails meanwhile is told.
            std::thread::park();
        }
        self.running.end();
    }
}

/// The first line of an output, in another thread, which holds on to the rest.
fn first_line(out: std::process::ChildStdout) -> Receiver<String> {
    let (teller, told) = channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(out).lines();
        while let Some(Ok(line)) = lines.next() {
            // Only the first one is waited for.
            let _ = teller.send(line);
        }
    });
    told
}

/// Whoever interrupts the bench ends the nodes, too, and finds nothing left behind.
fn end_on_signals(running: &Running, directory: &Path) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|error| Failure::new(Exit::Failed, format!("signals: {error}")))?;
    let (running, directory) = (running.clone(), directory.to_path_buf());
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            running.is_interrupted.store(true, Ordering::Relaxed);
            running.end();
            let _ = std::fs::remove_dir_all(&directory);
            std::process::exit(INTERRUPTED);
        }
    });
    Ok(())
}
