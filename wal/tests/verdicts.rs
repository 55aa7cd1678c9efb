//! Recovery verdicts and purging as text: what is written, what is lost or damaged, what is said of it.
//!
//! ```text
//! append R N      N entries for region R           vote R          a hard state
//! truncate R I    a meta that truncates, and the checkpoint that allows it
//! durable         everything under way finishes    start           it is begun and left under way
//! cut FATE        the power goes                   kill            the process goes, the cache stays
//! flip LSN        one bit of that batch            cover           the idle batch
//! zero-header     the newest segment's first block
//! reopen          recovery, and what it says
//! ```
//!
//! `UPDATE=1` rewrites the expectations; the difference is for reading.
#![expect(clippy::disallowed_methods, reason = "a transcript is a file")]

use crate::world::World;
use crate::world::disk::Fate;
use bytes::Bytes;
use coracle_wal::dump::{Item, walk};
use coracle_wal::{Entry, Limits, MetaRecord, Mutant, RegionId};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/verdicts.txt");

struct Teller {
    world: World,
    said: Vec<String>,
}

impl Teller {
    fn tell(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |position: usize| words[position].parse::<u64>().expect("a number");
        match words[0] {
            "append" => {
                let region = RegionId(number(1));
                for _ in 0..number(2) {
                    let last = self.world.model.get(&region).map_or(0, |model| model.last);
                    let payload = Bytes::from(vec![last as u8; 3_000]);
                    let entry = Entry {
                        index: last + 1,
                        term: 1,
                        payload,
                    };
                    match self.world.append(region, entry) {
                        Ok(()) => {}
                        Err(why) => return self.said.push(format!("refused: {why}")),
                    }
                }
            }
            "vote" => {
                let vote = Bytes::from_static(b"term 2, vote 1");
                self.world
                    .set_hard_state(RegionId(number(1)), vote)
                    .expect("room");
            }
            "truncate" => {
                let (region, index) = (RegionId(number(1)), number(2));
                self.world.checkpoints.insert(region, index);
                self.world.log.checkpointed(region, index);
                let payload = Bytes::from_static(b"meta");
                let truncated = (index, 1);
                let meta = MetaRecord {
                    truncated,
                    reset: false,
                    tombstone: false,
                    payload,
                };
                self.world.set_meta(region, meta).expect("room");
            }
            "durable" => self.world.settle().expect("no cut"),
            "start" => self.world.flush().expect("no cut"),
            "cover" => {
                assert!(self.world.log.cover_due(), "no cover is due");
                self.world.log.cover();
                self.world.settle().expect("no cut");
            }
            "cut" => {
                let fate = Fate::ALL
                    .into_iter()
                    .find(|fate| format!("{fate:?}") == words[1]);
                self.world.crash(fate.expect("a fate"), false);
            }
            "kill" => self.world.crash(Fate::Kept, true),
            "flip" => self.flip(number(1)),
            "zero-header" => {
                let newest = self.segments().into_iter().max().expect("a segment").1;
                for at in 0..4096 {
                    self.world.disk.damage(&newest, at, |_| 0);
                }
            }
            "reopen" => self.reopen(),
            other => panic!("no such word: {other}"),
        }
    }

    /// Sequence and file of every segment.
    fn segments(&self) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        for name in self.world.disk.names() {
            let len = self.world.disk.len(&name).expect("it is listed");
            let bytes = self
                .world
                .disk
                .read(&name, 0, len as usize)
                .expect("it is there");
            walk(bytes, |item| {
                if let Item::Header(header) = item {
                    found.push((header.sequence.0, name.clone()));
                }
            })
            .ok();
        }
        found
    }

    fn flip(&mut self, lsn: u64) {
        for (_, name) in self.segments() {
            let len = self.world.disk.len(&name).expect("it is listed");
            let bytes = self
                .world
                .disk
                .read(&name, 0, len as usize)
                .expect("it is there")
                .to_vec();
            let mut place = None;
            walk(&bytes, |item| {
                if let Item::Batch(offset, batch) = item
                    && batch.position.lsn.0 == lsn
                {
                    place = Some(offset);
                }
            })
            .ok();
            if let Some(offset) = place {
                return self
                    .world
                    .disk
                    .damage(&name, u64::from(offset) + 100, |byte| byte ^ 1);
            }
        }
        panic!("no batch {lsn}");
    }

    fn reopen(&mut self) {
        match crate::world::recover(&self.world.disk, self.world.limits, Mutant::None) {
            Err(corrupt) => self.said.push(format!("corrupt: {corrupt}")),
            Ok((log, verdict)) => {
                let tail = match verdict.torn_at {
                    Some((_, offset)) => format!("torn at {offset}"),
                    None => "clean".into(),
                };
                let mut line = format!(
                    "accepted {} ({tail}, {} void)",
                    verdict.accepted, verdict.discarded
                );
                for id in log.regions() {
                    let last = log.last_index(id).unwrap_or_default();
                    let vote = if log.hard_state(id).is_some() {
                        " vote"
                    } else {
                        ""
                    };
                    let truncated = log.truncated(id).unwrap_or_default().0;
                    line += &format!(", r{id} {truncated}<{last}{vote}");
                }
                line += &format!(", {} live", log.live_segments());
                self.said.push(line);
                // What lies beyond the limit of detection is told here, not judged.
                self.world.acknowledged = self.world.acknowledged.min(verdict.accepted);
                self.world.recover().expect("what was just recovered");
                self.world.settle().expect("no cut");
            }
        }
    }
}

#[test]
fn transcripts() {
    let text = std::fs::read_to_string(DATA).expect("the transcript");
    let (mut written, mut different) = (String::new(), Vec::new());
    for case in text.split("\n\n") {
        let Some((story, expected)) = case.split_once("----") else {
            written += &format!("{}\n\n", case.trim_end());
            continue;
        };
        let world = World::new(10, Limits::SMALL, Mutant::None);
        let mut teller = Teller {
            world,
            said: Vec::new(),
        };
        teller.tell("durable");
        story
            .lines()
            .skip(1)
            .filter(|line| !line.is_empty())
            .for_each(|line| teller.tell(line));
        let said = teller.said.join("\n");
        if said != expected.trim() {
            different.push(format!(
                "{story}----\n{said}\ninstead of\n{}",
                expected.trim()
            ));
        }
        written += &format!("{}\n----\n{said}\n\n", story.trim());
    }
    if std::env::var("UPDATE").is_ok() {
        std::fs::write(DATA, format!("{}\n", written.trim_end())).expect("written");
    } else {
        assert!(different.is_empty(), "{}", different.join("\n\n"));
    }
}
