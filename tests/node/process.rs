//! A node as a process of its own.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::client::Client;

/// How long a node may take to serve, and to end.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Small files, so that many nodes fit on one machine.
const SMALL: [(&str, &str); 5] = [
    ("CORACLE_LOG__SEGMENT_MIB", "20"),
    ("CORACLE_LOG__SEGMENTS_MAX", "12"),
    ("CORACLE_LOG__CACHE_MIB", "8"),
    ("CORACLE_STORE__MEMTABLE_MIB", "8"),
    ("CORACLE_STORE__CACHE_MIB", "16"),
];

/// The core of the next node, so that not all of them run on the first.
static NEXT_CORE: AtomicUsize = AtomicUsize::new(0);

/// The program with these arguments, and no settings from outside.
pub fn coracle(arguments: &[&str]) -> Command {
    program(Command::new(env!("CARGO_BIN_EXE_coracle")), arguments)
}

/// The program where it may open so many files at the most, and no settings from outside.
pub fn coracle_with_files(files: u32) -> Command {
    let limited = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
    let mut shell = Command::new("sh");
    shell.args(["-c", &limited, env!("CARGO_BIN_EXE_coracle")]);
    program(shell, &[])
}

fn program(mut command: Command, arguments: &[&str]) -> Command {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CORACLE_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs it to its end, which comes in time: its exit code, what it printed, what it told.
pub fn run(command: &mut Command) -> (i32, String, String) {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let (mut out, mut err) = (
        child.stdout.take().expect("a pipe"),
        child.stderr.take().expect("a pipe"),
    );
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        out.read_to_end(&mut text).map(|_| text)
    });
    let teller = std::thread::spawn(move || {
        let mut text = Vec::new();
        err.read_to_end(&mut text).map(|_| text)
    });
    let code = end(&mut child);
    let text = |thread: std::thread::JoinHandle<std::io::Result<Vec<u8>>>| {
        let bytes = thread.join().expect("no panic").expect("it reads");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    (code, text(reader), text(teller))
}

/// Waits for the end; a process that does not end is killed, and the test fails.
fn end(child: &mut Child) -> i32 {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status.code().unwrap_or(-1);
        }
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            panic!("it has not ended after {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Starts a node that is to fail; its exit code and what it says.
pub fn refused(arguments: &[&str]) -> (i32, String) {
    let (code, _, told) = run(coracle(&[&["start"], arguments].concat()).envs(SMALL));
    (code, told)
}

/// A node that serves.
pub struct Node {
    child: Child,
    /// Where its data lies.
    pub data: PathBuf,
    /// The line that says that it serves.
    pub ready: String,
}

impl Node {
    /// One shard, on ports that are free.
    pub fn start(data: &Path, more: &[&str]) -> Node {
        Node::start_with(data, more, &[])
    }

    /// The same, with settings in its environment.
    pub fn start_with(data: &Path, more: &[&str], settings: &[(&str, &str)]) -> Node {
        Node::start_by(coracle(&[]), data, more, settings)
    }

    /// The same, by a command of one's own.
    pub fn start_by(
        mut command: Command,
        data: &Path,
        more: &[&str],
        settings: &[(&str, &str)],
    ) -> Node {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let core = (NEXT_CORE.fetch_add(1, Ordering::Relaxed) % cores).to_string();
        let told = data.with_extension("told");
        command.args(["start", "--data", data.to_str().expect("a path")]);
        if !more.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        if !more.contains(&"--shards") {
            command.args(["--cores", &core]);
        }
        let file = File::options().create(true).append(true).open(&told);
        let child = command
            .args(more)
            .envs(SMALL)
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(file.expect("a file"))
            .spawn()
            .expect("it starts");
        let mut node = Node {
            child,
            data: data.to_path_buf(),
            ready: String::new(),
        };
        let out = node.child.stdout.take().expect("a pipe");
        let (send, receive) = channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(out).read_line(&mut line);
            let _ = send.send(line);
        });
        node.ready = receive.recv_timeout(PATIENCE).unwrap_or_default();
        assert!(
            node.ready.starts_with("ready node="),
            "not ready: '{}'\n{}",
            node.ready,
            node.told()
        );
        node
    }

    /// What it has told on standard error, in all its lives.
    pub fn told(&self) -> String {
        std::fs::read_to_string(self.data.with_extension("told")).unwrap_or_default()
    }

    /// A word of the ready line.
    pub fn word(&self, name: &str) -> String {
        let mut words = self.ready.split_whitespace();
        let found = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        found.expect("a word of the ready line").to_string()
    }

    /// Where it is reached.
    pub fn address(&self) -> String {
        self.word("listen")
    }

    /// A client.
    pub fn client(&self) -> Client {
        Client::connect(&self.address())
    }

    /// A command that asks it.
    pub fn command(&self, arguments: &[&str]) -> (i32, String, String) {
        run(coracle(arguments).env("CORACLE_TARGET", self.address()))
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Bytes of memory that it holds.
    pub fn memory(&self) -> u64 {
        let path = format!("/proc/{}/statm", self.pid());
        let text = std::fs::read_to_string(path).expect("it runs");
        let pages: u64 = text
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .expect("a number");
        pages * 4096
    }

    /// Tells it to end, and waits for that; its exit code.
    pub fn stop(mut self) -> i32 {
        self.terminate();
        end(&mut self.child)
    }

    /// Waits until it ends by itself; its exit code.
    pub fn end(mut self) -> i32 {
        end(&mut self.child)
    }

    /// Tells it to end.
    pub fn terminate(&self) {
        let told = Command::new("kill")
            .args(["-TERM", &self.pid().to_string()])
            .status();
        assert!(told.expect("kill runs").success());
    }

    /// Ends it without a word.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it has run");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{} told:\n{}", self.data.display(), self.told());
        }
    }
}

/// Waits until something holds.
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether a tool of the machine did what it was asked.
pub fn tool(name: &str, arguments: &[&str]) -> bool {
    let output: std::io::Result<Output> = Command::new(name).args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}
