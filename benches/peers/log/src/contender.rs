//! A contender: one way to make batches durable, living on a thread of its own.
//!
//! Each keeps its files and its state for as long as a shape lasts and is asked for one stretch at a
//! time, so that rounds interleave and each contender stays warm while the others run. A thread that
//! is not asked waits in a channel and takes no CPU.

use crate::shape::Shape;
use coracle_bench_harness::{Meter, Recorder, Sample, pin_process};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// One stretch of load.
#[derive(Clone, Copy)]
pub struct Stint {
    /// What the batches are made of; the same for as long as the contender lives.
    pub shape: Shape,
    /// How many batches are under way at once.
    pub in_flight: usize,
    /// For how long.
    pub time: Duration,
}

/// The handle on a contender's thread.
pub struct Contender {
    /// What the tables call it.
    pub name: &'static str,
    stints: Option<Sender<Stint>>,
    samples: Receiver<Sample>,
    thread: Option<JoinHandle<()>>,
}

impl Contender {
    /// Starts the thread: `body` answers every stint with one sample.
    pub fn start(
        name: &'static str,
        cpu: Option<usize>,
        body: impl FnOnce(Receiver<Stint>, Sender<Sample>) + Send + 'static,
    ) -> Contender {
        let (stints, wanted) = channel();
        let (done, samples) = channel();
        let thread = std::thread::Builder::new()
            .name(name.to_string())
            .spawn(move || {
                if let Some(cpu) = cpu {
                    pin_process(cpu).expect("the CPU is there to be pinned to");
                }
                body(wanted, done)
            })
            .expect("a thread can be started");
        Contender {
            name,
            stints: Some(stints),
            samples,
            thread: Some(thread),
        }
    }

    /// Runs one stretch and waits for it.
    pub fn run(&self, stint: Stint) -> Sample {
        let stints = self.stints.as_ref().expect("open until dropped");
        stints.send(stint).expect("the contender lives");
        self.samples.recv().expect("the contender answers")
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        self.stints = None;
        let thread = self.thread.take().expect("dropped once");
        if thread.join().is_err() {
            eprintln!("{} failed", self.name);
            std::process::exit(1);
        }
    }
}

/// One stretch under way: when it ends, and how long its batches took.
pub struct Stretch {
    /// No batch is begun from here on.
    pub end: Instant,
    meter: Meter,
    recorder: Recorder,
    batches: u64,
    shape: Shape,
}

impl Stretch {
    /// Begins, on the thread that does the work.
    pub fn begin(stint: Stint) -> Stretch {
        let meter = Meter::start();
        Stretch {
            end: Instant::now() + stint.time,
            meter,
            recorder: Recorder::default(),
            batches: 0,
            shape: stint.shape,
        }
    }

    /// A batch is durable, so long after its building began.
    pub fn record(&mut self, latency: Duration) {
        self.recorder.record(latency);
        self.batches += 1;
    }

    /// Ends, on the same thread, when nothing is under way any more.
    pub fn finish(self) -> Sample {
        let entries = self.batches * self.shape.batch_entries as u64;
        let payload_bytes = entries * self.shape.entry_bytes as u64;
        let sample = self.meter.stop(self.batches, payload_bytes, &self.recorder);
        let seconds = sample.seconds;
        let thread_cpu = sample.thread_cpu_seconds * 1e6 / self.batches.max(1) as f64;
        sample
            .with_figure("entries/s", entries as f64 / seconds)
            .with_figure("thread CPU µs", thread_cpu)
    }
}
