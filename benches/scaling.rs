//! Shards side by side: one node in this process, load on the executor of each shard, no client and no socket.
//! `cargo bench --bench scaling`; figures and their command are in `benches/README.md`.
//!
//! ```text
//! shard 0   tasks ─▶ propose ─▶ log, durable ─▶ apply ─▶ tasks     one request each at a time,
//! shard 1   the same                                              for keys of regions that are led here
//! ```
//!
//! What a shard does for a request is the same however many there are, unless they are in each other's way: so both
//! requests in a second of a shard's CPU time and requests in all are put beside those of one shard.
#![expect(
    clippy::disallowed_methods,
    reason = "the benches are where the world enters, clocks and threads included"
)]

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use coracle::bench::material::Chance;
use coracle::bench::os;
use coracle::memory::Memory;
use coracle::runtime::borders::Borders;
use coracle::runtime::config::Config;
use coracle::runtime::driver::Driver;
use coracle::runtime::failure::Failure;
use coracle::runtime::node::Node;
use coracle::shard::ids::RegionId;
use coracle::shard::request::{Body, Freshness, Request, Write};
use glommio::timer::Timer;

#[global_allocator]
static MEMORY: Memory = Memory;

/// With fewer cores shards share them.
const CORES_MIN: usize = 4;

/// Bytes of a key, behind the byte that all stored keys of users begin with.
const KEY_BYTES: usize = 16;

/// Different keys of each shard.
const KEYS: usize = 20_000;

/// How often a task that waits looks.
const LOOK: Duration = Duration::from_millis(1);

/// Regions are spread over the shards within this.
const SPREAD_WITHIN: Duration = Duration::from_secs(120);

#[derive(Parser)]
#[command(about = "What one shard and several do on one machine")]
struct Options {
    /// Shards that are put beside one
    #[arg(long, default_value_t = 3)]
    shards: usize,
    /// Regions for each shard
    #[arg(long, default_value_t = 4)]
    regions: usize,
    /// Requests under way on each shard
    #[arg(long, default_value_t = 64)]
    tasks: usize,
    /// Bytes of a value
    #[arg(long, default_value_t = 256)]
    value_size: usize,
    /// The part of the requests that read
    #[arg(long, default_value_t = 0.0)]
    reads: f64,
    /// Seconds of a run
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Pairs of runs
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where directories for the nodes are made
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    /// Run on few cores as well, where shards share them: then the rates count for nothing
    #[arg(long)]
    any_machine: bool,
    /// Let each shard have this part of a core and no more, so that several fit on few (as root, by the first version
    /// of the kernel's control groups)
    #[arg(long, value_parser = share)]
    share: Option<f64>,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let part = text.parse().ok();
    part.filter(|part| (0.05..=1.0).contains(part))
        .ok_or_else(|| "a part of a core is from 0.05 to 1".into())
}

/// What is to be done.
const WAIT: u64 = 0;
const WORK: u64 = 1;
const END: u64 = 2;

/// One shard as it tells of itself, on lines of memory that no other shard writes to.
#[derive(Default)]
#[repr(align(128))]
struct Told {
    /// User regions that it leads.
    leads: AtomicU64,
    /// Requests that were answered, and those that were not done.
    done: AtomicU64,
    failed: AtomicU64,
    /// Nanoseconds of CPU of its thread.
    cpu: AtomicU64,
    is_over: AtomicU64,
}

/// What this thread and the shards share.
struct Common {
    phase: AtomicU64,
    shards: Vec<Told>,
    tasks: usize,
    value: Vec<u8>,
    reads: f64,
    share: Option<f64>,
}

/// What a run came to.
struct Outcome {
    per_second: f64,
    per_cpu_second: f64,
    /// The busiest shard over the idlest, by requests.
    spread: f64,
    /// Cores that all shards used.
    cores: f64,
}

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let cores = os::cores();
    if cores.len() < CORES_MIN && !options.any_machine {
        println!(
            "skipped: {} cores; with fewer than {CORES_MIN} shards share them",
            cores.len()
        );
        return Ok(());
    }
    let counts = [1, options.shards];
    let mut outcomes: [Vec<Outcome>; 2] = [Vec::new(), Vec::new()];
    for round in 0..options.rounds {
        let mut order = [0, 1];
        order.rotate_left(round % 2);
        for side in order {
            outcomes[side].push(run(&options, &cores, counts[side])?);
        }
        eprintln!("round {} of {}", round + 1, options.rounds);
    }
    println!(
        "{} cores; {} requests under way on each shard, {} B, {} of them read; {} rounds of {} s",
        cores.len(),
        options.tasks,
        options.value_size,
        options.reads,
        options.rounds,
        options.seconds
    );
    println!();
    println!(
        "| shards | requests/s | of the ideal | requests/s of CPU | of one shard's | cores used | busiest over idlest |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (side, count) in counts.iter().enumerate() {
        let of = |figure: fn(&Outcome) -> f64| outcomes[side].iter().map(figure).collect();
        let ratio = |figure: fn(&Outcome) -> f64, ideal: usize| {
            let pairs = outcomes[side].iter().zip(&outcomes[0]);
            pairs
                .map(|(this, one)| figure(this) / figure(one) / ideal as f64)
                .collect()
        };
        println!(
            "| {count} | {} | {} | {} | {} | {} | {} |",
            spread(of(|outcome| outcome.per_second), 0),
            spread(ratio(|outcome| outcome.per_second, *count), 2),
            spread(of(|outcome| outcome.per_cpu_second), 0),
            spread(ratio(|outcome| outcome.per_cpu_second, 1), 2),
            spread(of(|outcome| outcome.cores), 2),
            spread(of(|outcome| outcome.spread), 2),
        );
    }
    Ok(())
}

/// Median, lowest and highest.
fn spread(mut values: Vec<f64>, digits: usize) -> String {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values[0], values[values.len() - 1]);
    let middle = values[values.len() / 2];
    format!("{middle:.digits$} ({low:.digits$}–{high:.digits$})")
}

/// One node, one run.
fn run(options: &Options, cores: &[usize], shards: usize) -> Result<Outcome, Failure> {
    let directory = tempfile::tempdir_in(&options.directory).map_err(|error| {
        Failure::new(coracle::runtime::failure::Exit::Failed, error.to_string())
    })?;
    let common = Arc::new(Common {
        phase: AtomicU64::new(WAIT),
        shards: (0..shards).map(|_| Told::default()).collect(),
        tasks: options.tasks,
        value: vec![b'v'; options.value_size],
        reads: options.reads,
        share: options.share,
    });
    let beside = {
        let common = common.clone();
        Arc::new(move |driver: &Rc<Driver>| {
            glommio::spawn_local(drive(driver.clone(), common.clone())).detach();
        })
    };
    let config = config(directory.path(), cores, shards);
    let borders = Borders::even(options.regions * shards);
    let node = Node::start_beside(config, borders, Some(beside))?;
    wait_for_spread(&common, options.regions as u64);
    common.phase.store(WORK, Ordering::Relaxed);
    let begun = Instant::now();
    std::thread::sleep(Duration::from_secs_f64(options.seconds));
    common.phase.store(END, Ordering::Relaxed);
    let seconds = begun.elapsed().as_secs_f64();
    let sum = |figure: fn(&Told) -> &AtomicU64| -> u64 {
        let all = common.shards.iter().map(figure);
        all.map(|figure| figure.load(Ordering::Relaxed)).sum()
    };
    while sum(|told| &told.is_over) < shards as u64 {
        std::thread::sleep(LOOK);
    }
    assert_eq!(sum(|told| &told.failed), 0, "requests failed");
    let each: Vec<u64> = common
        .shards
        .iter()
        .map(|told| told.done.load(Ordering::Relaxed))
        .collect();
    let (done, cpu) = (sum(|told| &told.done) as f64, sum(|told| &told.cpu) as f64);
    node.stop();
    node.wait()?;
    let most = each.iter().max().copied().unwrap_or_default() as f64;
    let least = each.iter().min().copied().unwrap_or_default() as f64;
    Ok(Outcome {
        per_second: done / seconds,
        per_cpu_second: done / (cpu / 1e9),
        spread: most / least.max(1.0),
        cores: cpu / 1e9 / seconds,
    })
}

fn config(data: &Path, cores: &[usize], shards: usize) -> Config {
    let mut config = Config::default();
    config.node.data = data.join("node");
    config.node.listen = "127.0.0.1:0".into();
    config.node.cores = (0..shards)
        .map(|place| cores[place % cores.len()])
        .collect();
    config.node.share_cores = shards > cores.len();
    config.split.automatic = false;
    config
}

/// Until every shard leads as many regions as any other, or nearly.
fn wait_for_spread(common: &Common, regions: u64) {
    let until = Instant::now() + SPREAD_WITHIN;
    let leads = || {
        common
            .shards
            .iter()
            .map(|told| told.leads.load(Ordering::Relaxed))
    };
    while !leads().all(|leads| leads.abs_diff(regions) <= 1) {
        let counts: Vec<u64> = leads().collect();
        assert!(
            Instant::now() < until,
            "regions stay where they are: {counts:?}"
        );
        std::thread::sleep(LOOK * 20);
    }
}

/// Beside one shard: finds out what it leads, and then asks it as long as it should.
async fn drive(driver: Rc<Driver>, common: Arc<Common>) {
    let told = &common.shards[usize::from(driver.station.shard)];
    let mut keys = Vec::new();
    while common.phase.load(Ordering::Relaxed) == WAIT {
        keys = led_keys(&driver, told);
        Timer::new(LOOK * 20).await;
    }
    let keys = Rc::new(keys);
    let _share = common
        .share
        .map(|part| Share::of(driver.station.shard, part));
    let (cpu, done) = (os::thread_cpu(), told.done.load(Ordering::Relaxed));
    let tasks = (0..common.tasks as u64).map(|number| {
        let (driver, common, keys) = (driver.clone(), common.clone(), keys.clone());
        glommio::spawn_local(ask(driver, common, keys, number))
    });
    let tasks: Vec<_> = tasks.collect();
    while common.phase.load(Ordering::Relaxed) == WORK {
        Timer::new(LOOK).await;
    }
    let took = os::thread_cpu() - cpu;
    let gained = told.done.load(Ordering::Relaxed) - done;
    for task in tasks {
        task.await;
    }
    told.done.store(gained, Ordering::Relaxed);
    told.cpu.store(took.as_nanos() as u64, Ordering::Relaxed);
    told.is_over.store(1, Ordering::Relaxed);
}

/// Keys of all user regions that are led here.
fn led_keys(driver: &Driver, told: &Told) -> Vec<Vec<u8>> {
    let statuses = driver.shard.borrow().statuses();
    let led: Vec<_> = statuses
        .iter()
        .filter(|status| status.leads && status.region.id >= RegionId::FIRST_USER)
        .map(|status| &status.region.range)
        .collect();
    told.leads.store(led.len() as u64, Ordering::Relaxed);
    let mut chance = Chance::new(u64::from(driver.station.shard));
    let mut keys = Vec::new();
    while keys.len() < KEYS && !led.is_empty() {
        let range = led[keys.len() % led.len()];
        let mut key = range.start.clone();
        while key.len() < 1 + KEY_BYTES {
            key.push(chance.draw() as u8);
        }
        if range.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

/// One request after the other.
async fn ask(driver: Rc<Driver>, common: Arc<Common>, keys: Rc<Vec<Vec<u8>>>, number: u64) {
    let told = &common.shards[usize::from(driver.station.shard)];
    let mut chance = Chance::new(number << 8 | u64::from(driver.station.shard));
    while common.phase.load(Ordering::Relaxed) == WORK {
        let key = &keys[chance.below(keys.len() as u64) as usize][..];
        let answer = match chance.happens(common.reads) {
            true => {
                let freshness = Freshness::Linearizable;
                let body = Body::Get { key, freshness };
                driver.ask(Request { region: None, body }).await
            }
            false => {
                let writes = [Write::Put {
                    key,
                    value: &common.value,
                    expiry_ms: None,
                }];
                let body = Body::Write(&writes);
                driver.ask(Request { region: None, body }).await
            }
        };
        let count = match answer {
            Ok(_) => &told.done,
            Err(_) => &told.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// A control group that lets one thread have a part of a core, as long as it lives.
struct Share {
    directory: PathBuf,
}

impl Share {
    const ROOT: &str = "/sys/fs/cgroup/cpu";

    /// What it may use within one of these is counted anew with each, microseconds.
    const PERIOD: u64 = 20_000;

    /// For this thread, whose shard's number tells it from others.
    fn of(shard: u16, part: f64) -> Share {
        let name = format!("coracle-scaling-{}-{shard}", std::process::id());
        let directory = Path::new(Share::ROOT).join(name);
        let set = |file: &str, value: u64| {
            let path = directory.join(file);
            std::fs::write(&path, value.to_string())
                .unwrap_or_else(|error| panic!("{} takes {value}: {error}", path.display()));
        };
        std::fs::create_dir(&directory)
            .unwrap_or_else(|error| panic!("{} is made: {error}", directory.display()));
        set("cpu.cfs_period_us", Share::PERIOD);
        set("cpu.cfs_quota_us", (part * Share::PERIOD as f64) as u64);
        // Whoever writes a zero is the one that is added.
        set("tasks", 0);
        Share { directory }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let back = std::fs::write(Path::new(Share::ROOT).join("tasks"), "0");
        let gone = back.and_then(|()| std::fs::remove_dir(&self.directory));
        gone.unwrap_or_else(|error| eprintln!("{} stays: {error}", self.directory.display()));
    }
}
