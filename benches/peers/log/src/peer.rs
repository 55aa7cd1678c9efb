//! The peer: the `raft-engine` crate, every batch synced, in each of three configurations.
//!
//! It is given every advantage that its interface allows: entries are raw bytes (no protobuf is
//! encoded), truncation and purge happen between the stretches and are not timed, recycled files are
//! warm, and the best configuration of each shape is the one that counts.

use crate::contender::{Contender, Stint, Stretch};
use crate::settings::Settings;
use crate::shape::{Payload, Shape};
use coracle_bench_harness::Sample;
use protobuf::reflect::MessageDescriptor;
use protobuf::{
    Clear, CodedInputStream, CodedOutputStream, Message, ProtobufResult, UnknownFields,
};
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};
use std::any::Any;
use std::path::Path;
use std::time::Instant;

/// A way to configure the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// As it comes.
    Default,
    /// Batches are not compressed.
    Plain,
    /// Batches are not compressed, and files are written full before the first use.
    Prefilled,
}

/// The three that are tried.
pub const VARIANTS: [Variant; 3] = [Variant::Default, Variant::Plain, Variant::Prefilled];

impl Variant {
    /// What the tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Variant::Default => "raft-engine",
            Variant::Plain => "raft-engine, plain",
            Variant::Prefilled => "raft-engine, prefilled",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Variant::Default => "peer-default",
            Variant::Plain => "peer-plain",
            Variant::Prefilled => "peer-prefilled",
        }
    }

    /// The configuration in a directory. Only the purge threshold differs from what the name says:
    /// a run would otherwise never recycle a file, nor fit on the disk.
    pub fn config(self, directory: &Path) -> Config {
        let mut config = Config {
            dir: directory.display().to_string(),
            purge_threshold: ReadableSize::mb(512),
            ..Config::default()
        };
        if self != Variant::Default {
            config.batch_compression_threshold = ReadableSize(0);
        }
        if self == Variant::Prefilled {
            config.prefill_for_recycle = true;
        }
        config
    }
}

/// Starts the peer for a shape.
pub fn start(settings: &Settings, variant: Variant, shape: Shape) -> Contender {
    let settings = settings.clone();
    Contender::start(variant.name(), settings.peer_cpu, move |stints, samples| {
        let directory = settings.directory.join(variant.folder());
        let engine = Engine::open(variant.config(&directory)).expect("the peer opens");
        let mut writer = PeerWriter::new(engine, shape);
        for stint in stints {
            writer.make_room();
            if samples.send(writer.run(stint)).is_err() {
                break;
            }
        }
        drop(writer);
        std::fs::remove_dir_all(&directory).expect("the peer's files can be removed");
    })
}

/// Writes batches of one shape into the peer, on one thread, one at a time: its interface blocks.
pub struct PeerWriter {
    /// The peer.
    pub engine: Engine,
    shape: Shape,
    /// The next index of each region, counted from 1.
    next_index: Vec<u64>,
    next_region: usize,
    payload: Payload,
    batch: LogBatch,
    entries: Vec<RawEntry>,
}

impl PeerWriter {
    /// A writer into an empty engine.
    pub fn new(engine: Engine, shape: Shape) -> PeerWriter {
        PeerWriter {
            engine,
            shape,
            next_index: vec![1; shape.regions],
            next_region: 0,
            payload: Payload::new(),
            batch: LogBatch::default(),
            entries: Vec::new(),
        }
    }

    /// Writes one batch, and makes it durable if `sync` says so.
    pub fn write(&mut self, sync: bool) {
        let mut left = self.shape.batch_entries;
        while left > 0 {
            let region = self.next_region;
            self.next_region = (self.next_region + 1) % self.shape.regions;
            let count = if self.shape.regions == 1 { left } else { 1 };
            self.entries.clear();
            for _ in 0..count {
                self.entries.push(RawEntry {
                    index: self.next_index[region],
                    payload: self.payload.take(self.shape.entry_bytes),
                });
                self.next_index[region] += 1;
            }
            self.batch
                .add_entries::<RawEntry>(region as u64 + 1, &self.entries)
                .expect("the batch is far below the peer's limit");
            left -= count;
        }
        let written = self.engine.write(&mut self.batch, sync);
        written.expect("the peer writes");
    }

    fn run(&mut self, stint: Stint) -> Sample {
        let mut stretch = Stretch::begin(stint);
        loop {
            let begin = Instant::now();
            if begin >= stretch.end {
                return stretch.finish();
            }
            self.write(true);
            stretch.record(begin.elapsed());
        }
    }

    /// Lets the peer forget all but the last entry of each region, and purge its files.
    fn make_room(&mut self) {
        for (region, next) in self.next_index.iter().enumerate() {
            if *next > 2 {
                self.engine.compact_to(region as u64 + 1, next - 1);
            }
        }
        self.engine.purge_expired_files().expect("the peer purges");
    }
}

/// An entry whose bytes go into the log as they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawEntry {
    index: u64,
    payload: &'static [u8],
}

impl MessageExt for RawEntry {
    type Entry = RawEntry;

    fn index(entry: &RawEntry) -> u64 {
        entry.index
    }
}

impl Clear for RawEntry {
    fn clear(&mut self) {
        *self = RawEntry::default();
    }
}

/// Only `write_to_vec` is called by the peer's write path.
impl Message for RawEntry {
    fn descriptor(&self) -> &'static MessageDescriptor {
        unreachable!("raw entries have no descriptor")
    }

    fn is_initialized(&self) -> bool {
        true
    }

    fn merge_from(&mut self, _: &mut CodedInputStream) -> ProtobufResult<()> {
        unreachable!("raw entries are not read back")
    }

    fn write_to_with_cached_sizes(&self, stream: &mut CodedOutputStream) -> ProtobufResult<()> {
        stream.write_raw_bytes(self.payload)
    }

    fn compute_size(&self) -> u32 {
        self.payload.len() as u32
    }

    fn get_cached_size(&self) -> u32 {
        self.payload.len() as u32
    }

    fn write_to_vec(&self, bytes: &mut Vec<u8>) -> ProtobufResult<()> {
        bytes.extend_from_slice(self.payload);
        Ok(())
    }

    fn get_unknown_fields(&self) -> &UnknownFields {
        unreachable!("raw entries have no fields")
    }

    fn mut_unknown_fields(&mut self) -> &mut UnknownFields {
        unreachable!("raw entries have no fields")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn new() -> RawEntry {
        RawEntry::default()
    }

    fn default_instance() -> &'static RawEntry {
        static DEFAULT: RawEntry = RawEntry {
            index: 0,
            payload: &[],
        };
        &DEFAULT
    }
}
