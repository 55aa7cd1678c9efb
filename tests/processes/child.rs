//! One node as a process of its own.
#![expect(unsafe_code, reason = "signals are sent by a call of the kernel")]

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::wait;

/// What nodes are set to, unless the environment says otherwise: small files, short ticks.
const SETTINGS: [(&str, &str); 12] = [
    ("CORACLE_LOG__SEGMENT_MIB", "17"),
    ("CORACLE_LOG__SEGMENTS_MAX", "12"),
    ("CORACLE_LOG__CACHE_MIB", "4"),
    ("CORACLE_STORE__MEMTABLE_MIB", "1"),
    ("CORACLE_STORE__CACHE_MIB", "4"),
    ("CORACLE_STORE__RESERVE", "false"),
    ("CORACLE_IO__MEMORY_KIB", "512"),
    ("CORACLE_NODE__SHARE_CORES", "true"),
    ("CORACLE_RAFT__TICK_MS", "20"),
    ("CORACLE_RAFT__LEASE_MS", "300"),
    ("CORACLE_RAFT__DOWN_MS", "4000"),
    ("CORACLE_CLIENT__TIMEOUT_MS", "5000"),
];

/// What is run: another build, if the environment names one.
fn binary() -> OsString {
    let named = std::env::var_os("CORACLE_TEST_BINARY");
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_coracle").into())
}

/// One node.
pub struct Node {
    /// Its place among the nodes.
    pub number: usize,
    /// The port of all its shards; shard i has the port behind it plus i.
    pub port: u16,
    /// How many shards it has.
    pub shards: u16,
    join: Option<u16>,
    home: PathBuf,
    lives: u32,
    wipes: u32,
    child: Option<Child>,
    /// Whether it stands still.
    is_stopped: bool,
}

impl Node {
    /// A node that does not run yet.
    pub fn new(home: &Path, number: usize, port: u16, shards: u16, join: Option<u16>) -> Node {
        Node {
            number,
            port,
            shards,
            join,
            home: home.to_path_buf(),
            lives: 0,
            wipes: 0,
            child: None,
            is_stopped: false,
        }
    }

    fn data(&self) -> PathBuf {
        self.home
            .join(format!("node-{}.{}", self.number, self.wipes))
    }

    fn told(&self, what: &str) -> PathBuf {
        self.home.join(format!("node-{}.{what}", self.number))
    }

    /// Starts it; whether it serves is another question.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "node {} runs", self.number);
        self.lives += 1;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let cores = (0..usize::from(self.shards))
            .map(|shard| (self.number * usize::from(self.shards) + shard) % cores);
        let cores: Vec<String> = cores.map(|core| core.to_string()).collect();
        let mut command = Command::new(binary());
        command.arg("start").arg("--data").arg(self.data());
        command.args(["--listen", &format!("127.0.0.1:{}", self.port)]);
        command.args(["--cores", &cores.join(",")]);
        if let Some(join) = self.join {
            command.args(["--join", &format!("127.0.0.1:{join}")]);
        }
        for (name, value) in SETTINGS {
            if std::env::var_os(name).is_none() {
                command.env(name, value);
            }
        }
        let errors = File::options()
            .create(true)
            .append(true)
            .open(self.told("err"));
        command.stderr(errors.expect("its log can be written"));
        command.stdout(File::create(self.told("out")).expect("its output can be written"));
        command.stdin(Stdio::null());
        // SAFETY: between fork and exec there is one call that allocates nothing.
        unsafe {
            command.pre_exec(|| {
                // Whoever ends the test ends its nodes.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        self.child = Some(command.spawn().expect("a process can be started"));
    }

    /// Whether it has said that it serves.
    pub fn is_ready(&self) -> bool {
        let said = fs::read_to_string(self.told("out")).unwrap_or_default();
        self.is_running() && said.contains("ready node=")
    }

    /// Waits until it serves.
    pub fn wait_ready(&mut self) -> Result<(), String> {
        wait::until(&format!("node {} serves", self.number), || {
            (self.is_ready() || self.has_ended() || !self.complaints().is_empty()).then_some(())
        })?;
        match self.is_ready() && !self.has_ended() {
            true => Ok(()),
            false => Err(format!("node {} does not serve", self.number)),
        }
    }

    /// Whether it was started, and not killed since.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Whether it runs and does not stand still.
    pub fn is_awake(&self) -> bool {
        self.is_running() && !self.is_stopped
    }

    /// Whether it has ended though nobody told it to.
    pub fn has_ended(&mut self) -> bool {
        let child = self.child.as_mut();
        child.is_some_and(|child| !matches!(child.try_wait(), Ok(None)))
    }

    fn signal(&self, signal: libc::c_int) {
        if let Some(child) = &self.child {
            // SAFETY: no memory is handed over, and the process was not waited for yet.
            unsafe { libc::kill(child.id() as libc::pid_t, signal) };
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.is_stopped = false;
    }

    /// SIGSTOP.
    pub fn stop(&mut self) {
        self.signal(libc::SIGSTOP);
        self.is_stopped = true;
    }

    /// SIGCONT.
    pub fn go_on(&mut self) {
        self.signal(libc::SIGCONT);
        self.is_stopped = false;
    }

    /// SIGTERM, and waits for the end, which must be a good one.
    pub fn end(&mut self) -> Result<(), String> {
        self.signal(libc::SIGTERM);
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let number = self.number;
        let status = wait::until(&format!("node {number} ends"), || {
            child.try_wait().ok().flatten()
        });
        if status.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let status = status?;
        match status.success() {
            true => Ok(()),
            false => Err(format!(
                "node {number} was told to end, and ended with {status}"
            )),
        }
    }

    /// All that it had is gone; it comes back as somebody else.
    pub fn wipe(&mut self, join: u16) {
        assert!(!self.is_running(), "node {} runs", self.number);
        let _ = fs::remove_dir_all(self.data());
        self.wipes += 1;
        self.join = Some(join);
    }

    /// Lines of its log that should not be there.
    pub fn complaints(&self) -> Vec<String> {
        let told = fs::read(self.told("err")).unwrap_or_default();
        let told = String::from_utf8_lossy(&told).into_owned();
        let is_bad = |line: &&str| {
            ["ERROR", "panicked", "quarantined", "differs", "diverged"]
                .iter()
                .any(|word| line.contains(word))
        };
        let lines = told.lines().filter(is_bad);
        lines
            .map(|line| format!("node {}: {line}", self.number))
            .collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
