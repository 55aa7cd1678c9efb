//! The first blocks of all files: which header counts, and what the others say of what it lists.

use alloc::vec::Vec;

use crate::error::Corrupt;
use crate::header::{Header, Live};
use crate::ids::{LogId, Slot};
use crate::limits::Limits;

/// What the first block of one file says.
#[derive(Debug)]
struct Head {
    slot: Slot,
    header: Result<Header, &'static str>,
    /// Nothing but zeros.
    blank: bool,
}

/// What the first blocks of all files say.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    known: Vec<Head>,
}

impl Heads {
    /// How many were read.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Takes what a file begins with.
    pub fn add(&mut self, slot: Slot, bytes: &[u8]) {
        let header = Header::decode(bytes).and_then(|header| match header.slot == slot {
            true => Ok(header),
            false => Err("the header is of another file"),
        });
        let blank = bytes.iter().all(|byte| *byte == 0);
        self.known.push(Head {
            slot,
            header,
            blank,
        });
    }

    /// The newest header, if any verifies; none may be of another log.
    pub fn newest(&self, log: LogId, limits: &Limits) -> Result<Option<Header>, Corrupt> {
        let mut newest: Option<&Header> = None;
        for head in &self.known {
            let Ok(header) = &head.header else { continue };
            let why = if header.log != log {
                "the file belongs to another log"
            } else if header.segment_bytes != limits.segment_bytes {
                "the log has segments of another size"
            } else {
                let newer = |other: &Header| {
                    (header.opening, header.sequence) > (other.opening, other.sequence)
                };
                if newest.is_none_or(newer) {
                    newest = Some(header);
                }
                continue;
            };
            let (segment, lsn) = (header.sequence, header.first);
            return Err(Corrupt {
                slot: head.slot,
                segment,
                offset: 0,
                lsn,
                why,
            });
        }
        Ok(newest.cloned())
    }

    /// Files that begin with something that is no header.
    pub fn damaged(&self) -> impl Iterator<Item = Slot> + '_ {
        let damaged = self
            .known
            .iter()
            .filter(|head| head.header.is_err() && !head.blank);
        damaged.map(|head| head.slot)
    }

    /// What the file in a slot says of itself; none where there is no such file.
    pub fn of(&self, slot: Slot) -> Option<&Result<Header, &'static str>> {
        let head = self.known.iter().find(|head| head.slot == slot)?;
        Some(&head.header)
    }

    /// A file is as long as a segment before its first header is written: one that is shorter was cut
    /// off, and what it held may have left no other trace. `slots` are the files and their lengths.
    pub fn check_lengths(
        &self,
        newest: &Header,
        slots: &[(Slot, u64)],
        limits: &Limits,
    ) -> Result<(), Corrupt> {
        for live in &newest.live {
            let own = self.of(live.slot).and_then(|header| header.as_ref().ok());
            if own.is_none_or(|own| own.first != live.first) {
                continue;
            }
            let length = slots.iter().find(|(slot, _)| *slot == live.slot);
            let length = length.map_or(0, |(_, length)| *length);
            if length < u64::from(limits.segment_bytes) {
                return Err(Corrupt {
                    slot: live.slot,
                    segment: live.sequence,
                    offset: length as u32,
                    lsn: live.first,
                    why: "the file is shorter than a segment",
                });
            }
        }
        Ok(())
    }

    /// Whether a listed segment is there and says of itself what the list says. If not, its header may
    /// have been in flight together with the one that lists it; the evidence decides.
    pub fn check_listed(&self, live: &Live) -> Result<(), &'static str> {
        let header = self.of(live.slot);
        let header = header.ok_or("the file of a live segment is missing")?;
        let header = header.as_ref().map_err(|why| *why)?;
        let same = (header.sequence, header.opening, header.first)
            == (live.sequence, live.opening, live.first);
        match same {
            true => Ok(()),
            false => Err("the file of a live segment holds another one"),
        }
    }
}
