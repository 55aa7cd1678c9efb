//! What regions cost of which nobody wants anything, and how long it takes until all of them are led again when a
//! store dies. `cargo bench --bench quiet`; figures and their command are in `benches/README.md`.
//!
//! ```text
//! idle       the turn loop of a node at rest: two turns a tick; time of the processor for each shard
//! elections  the store that leads everything is silent from one moment on; both others share one core, and their
//!            time goes on as they get along: a round of turns takes what the processor takes, five milliseconds at least
//! ```
//!
//! Disks are always done already, links carry everything in the same round; frames are made to be counted. Each row is
//! a process of its own. Time is that of the processor, so others on the machine do not count.

use std::process::Command;

use coracle::bench::os::thread_cpu;
use coracle::memory::Memory;
use coracle::shard::Shard;
use coracle::shard::door::{Effect, Input};
use coracle::shard::ids::{ClusterId, NodeId, PeerId, RegionId, StoreId};
use coracle::shard::limits::Limits;
use coracle::shard::message::PeerMessage;
use coracle::shard::mutant::Mutant;
use coracle::shard::options::ShardOptions;
use coracle::shard::region::{Epoch, PeerInfo, Region, Role};
use coracle::shard::time::{MILLISECOND, Time};
use coracle::wire::peer::frame::Encoder;
use coracle_engine::effect::{Completion, Effect as StoreEffect};
use coracle_engine::options::Options;
use coracle_engine::recover::{Identity, Opening};
use coracle_wal as wal;

#[global_allocator]
static MEMORY: Memory = Memory;

const SECOND: u64 = 1000 * MILLISECOND;

/// Time between two turns of a node at rest.
const REST: u64 = Limits::DEFAULT.tick / 2;

/// Virtual seconds over which idle regions are measured.
const MEASURED: u64 = 20;

struct Group {
    shards: Vec<Shard>,
    /// Whose process runs.
    lives: Vec<bool>,
    /// Nanoseconds of the processor, of each.
    spent: Vec<u64>,
    buffer: Vec<u8>,
    #[expect(
        clippy::vec_box,
        reason = "messages come boxed, and frames are made of what comes"
    )]
    post: Vec<Vec<Vec<Box<PeerMessage>>>>,
    encoder: Encoder,
    frame: Vec<u8>,
    frames: u64,
    sent_bytes: u64,
    now: u64,
    /// What time it is for each.
    clocks: Vec<u64>,
}

fn region(id: u64, count: u64, replicas: u64) -> Region {
    let bound = |place: u64| format!("\u{1}{place:08}").into_bytes();
    Region {
        id: RegionId(id + 2),
        epoch: Epoch {
            version: 1,
            conf_ver: 1,
        },
        range: coracle_engine::record::KeyRange {
            start: bound(id),
            limit: match id + 1 == count {
                true => vec![2],
                false => bound(id + 1),
            },
        },
        peers: (1..=replicas)
            .map(|store| PeerInfo {
                peer: PeerId(10 * (id + 1) + store),
                store: StoreId(store),
                role: Role::Voter,
            })
            .collect(),
    }
}

/// The answer of a disk that has always done it already.
fn done(effect: &StoreEffect) -> Completion<'static> {
    match effect {
        StoreEffect::CreateManifest { .. } => Completion::ManifestCreated(Ok(())),
        StoreEffect::SyncManifest => Completion::ManifestSynced(Ok(())),
        StoreEffect::WriteManifest { write, .. } => Completion::ManifestWritten {
            write: *write,
            outcome: Ok(()),
        },
        StoreEffect::SizeReserve { bytes } => Completion::ReserveSized {
            bytes: *bytes,
            outcome: Ok(()),
        },
        other => panic!("the memtable holds all of it: {other:?}"),
    }
}

fn shard(store: u64, regions: u64, replicas: u64, quiet: bool) -> Shard {
    let options = Options {
        memtable_bytes: 64 << 20,
        reserve: false,
        manifest_bytes: 64 << 20,
        ..Options::default()
    };
    let mut opening = Opening::create(Identity(store), options);
    while !opening.is_over() {
        let mut effects = Vec::new();
        opening.flush_effects(&mut effects);
        for effect in effects {
            opening.complete(done(&effect));
        }
    }
    let log = wal::Log::create(wal::LogId(store), wal::Limits::DEFAULT);
    let limits = Limits {
        // The first one leads at once, and nobody has promised anything.
        lease: 0,
        store_beat_ticks: 0,
        quiet_ticks: if quiet {
            Limits::DEFAULT.quiet_ticks
        } else {
            0
        },
        ..Limits::DEFAULT
    };
    let options = ShardOptions {
        cluster: ClusterId(1),
        node: NodeId(store),
        store: StoreId(store),
        boot: store,
        seed: store,
        limits,
        placement: coracle::placement::Options::default(),
        mutant: Mutant::None,
        observe: false,
    };
    let engine = opening.finish().expect("a new store");
    let mut shard = Shard::open(options, Time::default(), log, engine);
    let regions = (0..regions).map(|id| region(id, regions, replicas));
    shard.bootstrap(regions.collect());
    shard
}

impl Group {
    /// All regions, led by the first store, and quiet where they may be.
    fn at_rest(regions: u64, replicas: u64, quiet: bool) -> Group {
        let count = replicas as usize;
        let mut group = Group {
            shards: (1..=replicas)
                .map(|store| shard(store, regions, replicas, quiet))
                .collect(),
            lives: vec![true; count],
            spent: vec![0; count],
            buffer: Vec::new(),
            post: (0..count).map(|_| vec![Vec::new(); count]).collect(),
            encoder: Encoder::new(),
            frame: Vec::new(),
            frames: 0,
            sent_bytes: 0,
            now: 0,
            clocks: vec![0; count],
        };
        // For the others no time passes until the first one leads.
        while group.leaders(0) < regions {
            group.now += 10 * MILLISECOND;
            group.turn(1);
        }
        for _ in 0..15 * SECOND / REST {
            group.rest();
        }
        let quiets = group.quiets();
        assert_eq!(quiets, if quiet { regions * replicas } else { 0 });
        group
    }

    fn leaders(&self, place: usize) -> u64 {
        self.shards[place].count_peers().1 as u64
    }

    fn quiets(&self) -> u64 {
        let quiet = |shard: &Shard| shard.count_peers().2 as u64;
        self.shards.iter().map(quiet).sum()
    }

    fn time(&self, place: usize) -> Time {
        let mono = self.clocks[place];
        Time {
            mono,
            wall: 1_700_000_000_000 + mono / MILLISECOND,
        }
    }

    fn rest(&mut self) {
        self.now += REST;
        self.turn(self.shards.len());
    }

    /// Time has passed for the first so many, and everybody takes turns until nothing is left to do.
    fn turn(&mut self, ticking: usize) {
        for place in 0..ticking {
            if self.lives[place] {
                self.clocks[place] = self.now;
                let time = self.time(place);
                let begun = thread_cpu();
                self.shards[place].handle(time, Input::Clock);
                self.spent[place] += (thread_cpu() - begun).as_nanos() as u64;
            }
        }
        loop {
            let mut idle = true;
            for place in 0..self.shards.len() {
                while self.lives[place] && self.shards[place].wants_turn() {
                    idle = false;
                    let begun = thread_cpu();
                    self.flush(place);
                    self.spent[place] += (thread_cpu() - begun).as_nanos() as u64;
                }
            }
            idle &= self.carry();
            if idle {
                return;
            }
        }
    }

    /// What was said arrives. Whether nothing was.
    fn carry(&mut self) -> bool {
        let mut nothing = true;
        for from in 0..self.shards.len() {
            for to in 0..self.shards.len() {
                let messages = std::mem::take(&mut self.post[from][to]);
                if messages.is_empty() || !self.lives[to] {
                    continue;
                }
                nothing = false;
                let begun = thread_cpu();
                let mut taken = 0;
                while taken < messages.len() {
                    self.frame.clear();
                    taken += self.encoder.encode(&messages[taken..], &mut self.frame);
                    self.frames += 1;
                    self.sent_bytes += self.frame.len() as u64;
                }
                self.spent[from] += (thread_cpu() - begun).as_nanos() as u64;
                let time = self.time(to);
                let begun = thread_cpu();
                for message in messages {
                    let from = StoreId(from as u64 + 1);
                    self.shards[to].handle(time, Input::Peer { from, message });
                }
                self.spent[to] += (thread_cpu() - begun).as_nanos() as u64;
            }
        }
        nothing
    }

    fn flush(&mut self, place: usize) {
        let time = self.time(place);
        let shard = &mut self.shards[place];
        let mut effects = Vec::new();
        shard.flush(&mut effects);
        for effect in effects {
            match effect {
                Effect::Log(wal::Effect::Create { slot, .. }) => {
                    shard.handle(time, Input::LogCreated(slot));
                }
                Effect::Log(wal::Effect::Write(write)) => {
                    self.buffer
                        .resize(self.buffer.len().max(write.len as usize), 0);
                    shard.encode(&write, &mut self.buffer[..write.len as usize]);
                    shard.handle(time, Input::LogDurable(write.lsn));
                }
                Effect::Log(other) => panic!("nothing is synced or read: {other:?}"),
                Effect::Store(effect) => shard.handle(time, Input::Store(done(&effect))),
                Effect::Send { to, message } => {
                    self.post[place][to.0 as usize - 1].push(message);
                }
                Effect::Report(report) => panic!("{report:?}"),
                Effect::Respond { .. } | Effect::Nodes(_) => {}
            }
        }
    }
}

/// Bytes of memory that the process has.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let resident = pages.split(' ').nth(1).expect("a second field");
    resident.parse::<u64>().expect("a number") * 4096
}

/// What a second at rest costs.
fn idle(regions: u64, replicas: u64, quiet: bool) {
    let before = resident();
    let mut group = Group::at_rest(regions, replicas, quiet);
    let memory = resident().saturating_sub(before);
    group.spent.fill(0);
    (group.frames, group.sent_bytes) = (0, 0);
    for _ in 0..MEASURED * SECOND / REST {
        group.rest();
    }
    let spent: Vec<String> = group
        .spent
        .iter()
        .map(|nanos| format!("{:.2}", *nanos as f64 / MEASURED as f64 / 1e6))
        .collect();
    println!(
        "| {regions} | {replicas} | {} | {} | {:.0} | {:.1} | {:.1} |",
        if quiet { "yes" } else { "no" },
        spent.join(" / "),
        memory as f64 / (regions * replicas) as f64,
        group.frames as f64 / MEASURED as f64,
        group.sent_bytes as f64 / MEASURED as f64 / 1e3,
    );
}

/// Seconds until a part of the regions, half and all of them, are led again when the store that leads them is gone.
fn elections(regions: u64, quiet: bool) {
    let mut group = Group::at_rest(regions, 3, quiet);
    group.lives[0] = false;
    group.spent.fill(0);
    let died = group.now;
    let mut half = 0;
    let mut longest = 0;
    loop {
        let begun = thread_cpu();
        group.turn(3);
        let took = (thread_cpu() - begun).as_nanos() as u64;
        longest = longest.max(took);
        let led = group.leaders(1) + group.leaders(2);
        let since = group.now + took - died;
        if led * 2 >= regions && half == 0 {
            half = since;
        }
        if led == regions {
            let seconds = |nanos: u64| nanos as f64 / SECOND as f64;
            println!(
                "| {regions} | {} | {:.2} s | {:.2} s | {:.2} / {:.2} s | {:.0} ms |",
                if quiet { "yes" } else { "no" },
                seconds(half),
                seconds(since),
                seconds(group.spent[1]),
                seconds(group.spent[2]),
                longest as f64 / 1e6,
            );
            return;
        }
        assert!(since < 120 * SECOND, "{led} of {regions} are led");
        group.now += took.max(5 * MILLISECOND);
    }
}

/// One row, in a process of its own: what memory it takes is its own then, too.
fn row(case: &[&str]) {
    let program = std::env::current_exe().expect("this program");
    let ended = Command::new(program).arg("row").args(case).status();
    assert!(ended.expect("it starts").success(), "{case:?}");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["row", part, regions, replicas, quiet] = words[..] {
        let number = |text: &str| text.parse().expect("a number");
        return match part {
            "idle" => idle(number(regions), number(replicas), quiet == "yes"),
            _ => elections(number(regions), quiet == "yes"),
        };
    }
    let wanted = |name: &str| {
        let mut named = words.iter().filter(|word| !word.starts_with("--"));
        named.clone().next().is_none() || named.any(|word| *word == name)
    };
    if wanted("idle") {
        println!(
            "| regions | replicas | quiet | ms of each core per second | bytes of memory a peer | frames/s | kB/s sent |"
        );
        println!("|---|---|---|---|---|---|---|");
        for replicas in ["1", "3"] {
            for regions in ["1", "10000"] {
                row(&["idle", regions, replicas, "no"]);
                row(&["idle", regions, replicas, "yes"]);
            }
        }
    }
    if wanted("elections") {
        println!(
            "\n| regions | quiet | half led again | all led again | of the processor, each | longest round |"
        );
        println!("|---|---|---|---|---|---|");
        for regions in ["100", "10000"] {
            row(&["elections", regions, "3", "no"]);
            row(&["elections", regions, "3", "yes"]);
        }
    }
}
