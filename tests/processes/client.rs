//! One client, from its first deed to its last.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use coracle::sim::history::{Kind, Operation, Outcome, Seen};

use crate::crowd::Common;
use crate::deed::{Deed, Deeds, How};
use crate::native::Native;
use crate::resp::Resp;

/// Longer than any node takes to answer.
const PATIENCE: Duration = Duration::from_secs(12);

/// So long waits who has little time.
const SHORT: Duration = Duration::from_millis(300);

/// What a client was told.
pub enum Heard {
    /// It is done.
    Seen(Vec<Seen>),
    /// It was not done, and never will be.
    Refused,
    /// The node says that it does not know.
    Unsure,
    /// Nothing: the connection is of no use any more.
    Open,
    /// What must never be told.
    Wrong(String),
}

impl Heard {
    /// What it is, in a word.
    fn word(&self) -> &str {
        match self {
            Heard::Seen(_) => "done",
            Heard::Refused => "refused",
            Heard::Unsure => "unsure",
            Heard::Open => "no answer",
            Heard::Wrong(_) => "wrong",
        }
    }
}

/// The connection has ended.
pub fn gone() -> io::Error {
    io::Error::other("the connection has ended")
}

enum Line {
    Resp(Resp),
    Native(Native),
}

/// One client.
pub struct Client {
    number: usize,
    common: Arc<Common>,
    deeds: Deeds,
    line: Option<Line>,
    /// The node that it is connected to.
    node: usize,
}

impl Client {
    /// A client that is not connected yet.
    pub fn new(number: usize, seed: u64, common: Arc<Common>) -> Client {
        Client {
            number,
            deeds: Deeds::new(number as u64, seed),
            line: None,
            node: number % common.ports.len(),
            common,
        }
    }

    /// Until it is told to stop.
    pub fn run(mut self) {
        while !self.common.is_over.load(SeqCst) {
            let round = self.common.round.load(SeqCst);
            self.common.rounds[self.number].store(round, SeqCst);
            self.step(round);
        }
    }

    fn step(&mut self, round: u64) {
        let Some(mut line) = self.line.take().or_else(|| self.connect()) else {
            self.move_on();
            std::thread::sleep(Duration::from_millis(5));
            return;
        };
        let mut deed = self.deeds.draw(round);
        if let (Line::Resp(_), Kind::CompareAndPut { expected, .. }) =
            (&line, &mut deed.operations[0].kind)
        {
            *expected = None;
        }
        let patience = match self.deeds.chance().below(16) {
            0 => SHORT,
            _ => PATIENCE,
        };
        let invoked = self.common.now();
        let heard = match &mut line {
            Line::Resp(resp) => resp.act(&deed, patience),
            Line::Native(native) => native.act(&deed, patience),
        };
        let returned = self.common.now();
        if returned - invoked > 1_500_000_000 {
            self.tell_slow(&deed, &heard, invoked, returned);
        }
        let keeps = !matches!(heard, Heard::Open | Heard::Wrong(_));
        self.record(deed, heard, invoked, returned);
        if keeps && self.deeds.chance().below(100) > 0 {
            self.line = Some(line);
        } else {
            self.move_on();
        }
        let pause = self.deeds.chance().below(self.common.pause_micros);
        std::thread::sleep(Duration::from_micros(pause));
    }

    /// Says what took long; shown when the test fails.
    fn tell_slow(&self, deed: &Deed, heard: &Heard, invoked: u64, returned: u64) {
        println!(
            "{:>8.3} s client {} at node {}: {:?} of {} took {} ms: {}",
            returned as f64 / 1e9,
            self.number,
            self.node,
            deed.how,
            deed.operations[0],
            (returned - invoked) / 1_000_000,
            heard.word()
        );
    }

    fn connect(&mut self) -> Option<Line> {
        let port = self.common.ports[self.node];
        let shard = self.deeds.chance().below(u64::from(self.common.shards) + 1);
        match self.number % 2 {
            0 => Resp::connect(port).map(Line::Resp),
            _ => Native::connect(port + shard as u16).map(Line::Native),
        }
    }

    fn move_on(&mut self) {
        self.line = None;
        let nodes = self.common.ports.len() as u64;
        self.node = self.deeds.chance().below(nodes) as usize;
    }

    fn record(&mut self, deed: Deed, heard: Heard, invoked: u64, returned: u64) {
        let reads = deed.reads();
        let mut kept: Vec<Operation> = Vec::new();
        match heard {
            Heard::Seen(seen) => {
                if deed.how == How::Pair && reads && seen[0] != seen[1] {
                    let what = format!("two keys that are written together differ: {seen:?}");
                    self.common.complain(what);
                }
                self.common.answered(self.node, reads, invoked, returned);
                for (mut operation, seen) in deed.operations.into_iter().zip(seen) {
                    operation.invoked = invoked;
                    operation.outcome = Outcome::Known { returned, seen };
                    kept.push(operation);
                }
            }
            Heard::Unsure | Heard::Open => {
                self.common.lost(reads);
                for mut operation in deed.operations.into_iter().filter(|_| !reads) {
                    operation.invoked = invoked;
                    operation.outcome = Outcome::Unknown;
                    kept.push(operation);
                }
            }
            Heard::Refused => self.common.refused(),
            Heard::Wrong(what) => {
                let operations = deed.operations.iter().map(|one| format!("{one}"));
                let operations: Vec<String> = operations.collect();
                self.common
                    .complain(format!("{what}; to {}", operations.join(" and ")));
            }
        }
        self.common.keep(kept);
    }
}
