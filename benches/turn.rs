//! The pure turn: commands from propose to apply and answer, with raft, the encoding of the log and the
//! memtable, and without any I/O. `cargo bench --bench turn`; figures and their command are in
//! `benches/README.md`.
//!
//! ```text
//! one replica      request ─▶ propose ─▶ encode ─▶ "durable" ─▶ commit ─▶ apply ─▶ answer
//! three replicas   the same for all three of a group, stepped in one thread, messages handed over
//! ```
#![expect(
    clippy::disallowed_methods,
    reason = "the benches are where the world enters, clocks included"
)]

use std::process::{Command, ExitCode};
use std::time::Instant;

use coracle::memory::Memory;
use coracle::shard::Shard;
use coracle::shard::door::{Effect, Input};
use coracle::shard::ids::{ClusterId, NodeId, PeerId, RegionId, RequestId, StoreId};
use coracle::shard::limits::Limits;
use coracle::shard::message::PeerMessage;
use coracle::shard::mutant::Mutant;
use coracle::shard::options::ShardOptions;
use coracle::shard::region::{Epoch, PeerInfo, Region, Role};
use coracle::shard::request::{Body, Request, Write};
use coracle::shard::time::Time;
use coracle_engine::effect::{Completion, Effect as StoreEffect};
use coracle_engine::options::Options;
use coracle_engine::recover::{Identity, Opening};
use coracle_wal as wal;

#[global_allocator]
static MEMORY: Memory = Memory;

const VALUE: [u8; 256] = [b'v'; 256];

/// With these, what one round gives back stays with the process, small pieces and large ones, and the next one finds
/// it there: memory that nobody has touched yet is slow, and a shard that has run for a while has none.
const KEEPS_MEMORY: [(&str, &str); 3] = [
    ("MIMALLOC_PURGE_DELAY", "-1"),
    ("MALLOC_MMAP_MAX_", "0"),
    ("MALLOC_TRIM_THRESHOLD_", "17179869184"),
];

/// The budgets of a shard take no more commands of this size in one turn.
const MOST_PER_TURN: u64 = 300_000;

struct Group {
    shards: Vec<Shard>,
    buffer: Vec<u8>,
    effects: Vec<Effect>,
    post: Vec<(usize, StoreId, Box<PeerMessage>)>,
    now: u64,
    answered: u64,
}

fn region(id: u64, count: u64, replicas: u64) -> Region {
    let bound = |place: u64| format!("\u{1}{place:08}").into_bytes();
    let limit = if id + 1 == count {
        vec![2]
    } else {
        bound(id + 1)
    };
    Region {
        id: RegionId(id + 2),
        epoch: Epoch {
            version: 1,
            conf_ver: 1,
        },
        range: coracle_engine::record::KeyRange {
            start: bound(id),
            limit,
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

impl Group {
    fn new(regions: u64, replicas: u64) -> Group {
        let shards = (1..=replicas)
            .map(|store| shard(store, regions, replicas))
            .collect();
        let mut group = Group {
            shards,
            buffer: Vec::new(),
            effects: Vec::new(),
            post: Vec::new(),
            now: 0,
            answered: 0,
        };
        while !group.is_led(regions) {
            group.now += 10_000_000;
            group.turn();
        }
        group
    }

    /// Whether the first shard leads every region; the others stand back.
    fn is_led(&self, regions: u64) -> bool {
        let led = self.shards[0]
            .statuses()
            .iter()
            .filter(|status| status.leads && status.applied.0 > 5)
            .count();
        led as u64 == regions
    }

    fn time(&self) -> Time {
        Time {
            mono: self.now,
            wall: 1_700_000_000_000 + self.now / 1_000_000,
        }
    }

    /// Every shard takes turns until nothing is left to do.
    fn turn(&mut self) {
        let time = self.time();
        for place in 0..self.shards.len() {
            self.shards[place].handle(time, Input::Clock);
        }
        loop {
            let mut idle = true;
            for place in 0..self.shards.len() {
                while self.shards[place].wants_turn() {
                    idle = false;
                    self.flush(place, time);
                }
            }
            for (from, to, message) in std::mem::take(&mut self.post) {
                idle = false;
                let from = StoreId(from as u64 + 1);
                self.shards[to.0 as usize - 1].handle(time, Input::Peer { from, message });
            }
            if idle {
                return;
            }
        }
    }

    fn flush(&mut self, place: usize, time: Time) {
        let shard = &mut self.shards[place];
        shard.flush(&mut self.effects);
        for effect in self.effects.drain(..) {
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
                Effect::Log(_) => unreachable!("nothing is synced or read"),
                Effect::Store(effect) => {
                    if let Some(completion) = done(&effect) {
                        shard.handle(time, Input::Store(completion));
                    }
                }
                Effect::Send { to, message } => self.post.push((place, to, message)),
                Effect::Respond { response, .. } => {
                    response.expect("nothing is refused");
                    self.answered += 1;
                }
                Effect::Nodes(_) => {}
                Effect::Report(report) => panic!("{report:?}"),
            }
        }
    }
}

/// The answer of a disk that has always done it already.
fn done(effect: &StoreEffect) -> Option<Completion<'static>> {
    Some(match effect {
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
    })
}

fn shard(store: u64, regions: u64, replicas: u64) -> Shard {
    let options = Options {
        memtable_bytes: 1 << 30,
        reserve: false,
        manifest_bytes: 64 << 20,
        ..Options::default()
    };
    let mut opening = Opening::create(Identity(store), options);
    while !opening.is_over() {
        let mut effects = Vec::new();
        opening.flush_effects(&mut effects);
        for effect in effects {
            opening.complete(done(&effect).expect("nothing else is asked"));
        }
    }
    let log = wal::Log::create(wal::LogId(store), wal::Limits::DEFAULT);
    let mut limits = Limits::DEFAULT;
    // The first shard is to lead, and nothing is to be cut off or compared meanwhile.
    limits.election_ticks = if store == 1 { 20 } else { 2000 };
    limits.truncate_entries_forced = u64::MAX;
    limits.truncate_entries = u64::MAX / 2;
    limits.compare_ticks = 0;
    limits.segments_low = 0;
    limits.store_beat_ticks = 0;
    limits.lease = 0;
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
    shard.bootstrap(
        (0..regions)
            .map(|id| region(id, regions, replicas))
            .collect(),
    );
    shard
}

/// Commands per second, with so many per region and turn.
fn measure(regions: u64, batch: u64, replicas: u64, commands: u64) -> f64 {
    let mut group = Group::new(regions, replicas);
    let turns = (commands / (regions * batch)).max(3);
    // Keys are written over and over, as by a benchmark: a million of them at the most.
    let keys = (1_000_000 / regions).clamp(1, 100_000);
    let mut key = *b"\x0100000000/000000";
    let (mut request, mut counter) = (0, 0u64);
    let write_number = |out: &mut [u8], mut number: u64| {
        for digit in out.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    };
    // Memory that nobody has touched yet is slow; a shard that has run for a while has none.
    let warm = turns.min(300_000 / (regions * batch) + 1);
    let mut began = Instant::now();
    let mut before = 0;
    for turn in 0..warm + turns {
        if turn == warm {
            before = request;
            began = Instant::now();
        }
        group.now += 100_000;
        let time = group.time();
        for region in 0..regions {
            write_number(&mut key[1..9], region);
            for _ in 0..batch {
                counter = counter
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                write_number(&mut key[10..16], (counter >> 33) % keys);
                request += 1;
                let write = [Write::Put {
                    key: &key,
                    value: &VALUE,
                    expiry_ms: None,
                }];
                let body = Body::Write(&write);
                let id = RequestId(request);
                let request = Request { region: None, body };
                group.shards[0].handle(time, Input::Request { id, request });
            }
        }
        group.turn();
    }
    let took = began.elapsed().as_secs_f64();
    assert_eq!(group.answered, request, "every command is answered");
    (request - before) as f64 / took
}

fn main() -> ExitCode {
    let is_set = |(name, _): &(&str, &str)| std::env::var_os(name).is_some();
    if !KEEPS_MEMORY.iter().all(is_set) {
        let mut again = Command::new(std::env::current_exe().expect("its own name"));
        let again = again.args(std::env::args().skip(1)).envs(KEEPS_MEMORY);
        return match again.status().expect("itself once more").success() {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        };
    }
    let quick = std::env::args().any(|argument| argument == "--quick");
    let alone = std::env::args().any(|argument| argument == "--alone");
    let only =
        std::env::args().find_map(|argument| argument.strip_prefix("--only=").map(String::from));
    let rounds = if quick { 1 } else { 9 };
    println!(
        "keys of 16 B, values of 256 B; medians of {rounds} rounds, three at the most with 10 000 regions (lowest to highest), commands per second of one core\n"
    );
    println!("| regions | per region and turn | one replica | all three replicas |");
    println!("|---|---|---|---|");
    for regions in [1u64, 100, 10_000] {
        for batch in [1u64, 16, 64] {
            let name = format!("{regions}x{batch}");
            if only.as_ref().is_some_and(|only| *only != name) {
                continue;
            }
            if regions * batch > MOST_PER_TURN {
                println!("| {regions} | {batch} | more than one turn takes | |");
                continue;
            }
            let mut cells = Vec::new();
            for replicas in [1, 3] {
                if alone && replicas > 1 {
                    cells.push("–".into());
                    continue;
                }
                let commands = match (batch, regions) {
                    (1, 1) => 100_000,
                    (1, _) => 200_000,
                    _ => 1_000_000,
                } / if quick { 4 } else { 1 };
                // Ten thousand regions take their time.
                let rounds = if regions == 10_000 {
                    rounds.min(3)
                } else {
                    rounds
                };
                // The first round is the one that touches memory.
                let mut figures: Vec<f64> = (0..=rounds)
                    .map(|_| measure(regions, batch, replicas, commands))
                    .skip(1)
                    .collect();
                figures.sort_by(f64::total_cmp);
                cells.push(format!(
                    "{:.0} k ({:.0}–{:.0})",
                    figures[figures.len() / 2] / 1e3,
                    figures[0] / 1e3,
                    figures[figures.len() - 1] / 1e3
                ));
            }
            println!("| {regions} | {batch} | {} | {} |", cells[0], cells[1]);
        }
    }
    ExitCode::SUCCESS
}
