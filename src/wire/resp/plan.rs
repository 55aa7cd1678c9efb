//! What a command wants of the brain, and how its answers become a reply.
//!
//! ```text
//! let mut plan = …                              from Session::handle
//! loop {
//!     plan.ask(|body| shard.handle(…));         hands out borrowed bytes: nothing is copied
//!     let mut parked = plan.park();             what must be kept until the answer comes
//!     match parked.take(response) {
//!         Step::Done => break,
//!         Step::Again => plan = parked,
//!     }
//! }
//! plan.write(&mut cursors, &mut writer);
//! ```
//!
//! A command that names several keys has a part for each. Where they lie in several regions,
//! [`Plan::split`] says which go together; each group is asked by [`Plan::ask_some`] and answered by
//! [`Plan::take_some`], in any order; when all groups were answered, [`Plan::step`] says whether the plan
//! is to be split again.

use crate::shard::error::Error;
use crate::shard::request::{Answer, Body, Freshness, Response, Write};

use super::cursor::Cursors;
use super::part::{Op, Outcome, Part, Stage, UNFIT};
use super::wording::{self, Wording};
use super::write::Writer;

/// No request of the brain holds more parts.
const PARTS_ASKED_MAX: usize = 4096;

/// No request of the brain with several parts holds more bytes.
const BYTES_ASKED_MAX: usize = 3 << 20;

/// Keys that are counted by one request.
const COUNTED_AT_ONCE: usize = 1000;

/// The values that a plan gathers are together no longer.
const BYTES_HELD_MAX: usize = 64 << 20;

/// Regions that one command over a range asks at once.
const REGIONS_AT_ONCE: usize = 16;

/// Requests of one command with many keys that are under way at once.
const GROUPS_AT_ONCE: usize = 64;

/// Whether a plan is at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The reply can be written.
    Done,
    /// There is more to ask, or to wait for.
    Again,
}

/// Commands of one connection that may be under way together: whatever is done first, each sees those before
/// it and none behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// They change nothing.
    Reads,
    /// Each is one request that writes.
    Writes,
    /// Each reads a key and writes what follows, unless that key was changed meanwhile.
    Edits,
    /// It takes several steps: nothing else may come in between.
    Alone,
}

/// The parts of a plan; one needs no memory of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Parts<'a> {
    One(Part<'a>),
    Many(Vec<Part<'a>>),
}

/// What a command wants of the brain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan<'a> {
    parts: Parts<'a>,
    wording: Wording,
    freshness: Freshness,
    failed: Option<Error>,
}

impl<'a> Plan<'a> {
    /// A plan of one part.
    pub fn one(part: Part<'a>, wording: Wording, freshness: Freshness) -> Plan<'a> {
        Plan {
            parts: Parts::One(part),
            wording,
            freshness,
            failed: None,
        }
    }

    /// A plan of several.
    pub fn many(parts: Vec<Part<'a>>, wording: Wording, freshness: Freshness) -> Plan<'a> {
        Plan {
            parts: Parts::Many(parts),
            wording,
            freshness,
            failed: None,
        }
    }

    fn parts(&self) -> &[Part<'a>] {
        match &self.parts {
            Parts::One(part) => std::slice::from_ref(part),
            Parts::Many(parts) => parts,
        }
    }

    fn parts_mut(&mut self) -> &mut [Part<'a>] {
        match &mut self.parts {
            Parts::One(part) => std::slice::from_mut(part),
            Parts::Many(parts) => parts,
        }
    }

    /// A plan that asks for nothing.
    pub fn nothing() -> Plan<'static> {
        Plan::many(Vec::new(), Wording::Ok, Freshness::Local)
    }

    /// Whether it asks for a range, which must be bound first.
    pub fn has_range(&self) -> bool {
        self.parts().iter().any(|part| part.op.is_range())
    }

    /// Whether it has one part: then [`Plan::key`] decides where it goes.
    pub fn is_single(&self) -> bool {
        matches!(self.parts, Parts::One(_))
    }

    /// The stored key by which the request that comes next is routed.
    pub fn key(&self) -> &[u8] {
        let open = self.parts().iter().find(|part| !part.is_over());
        open.map_or(&[], |part| &part.key)
    }

    /// The stored key of every part, in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.parts().iter().map(|part| &part.key[..])
    }

    /// The stored key of a plan that asks for one value, which as it is becomes the reply.
    pub fn value_of(&self) -> Option<&[u8]> {
        match &self.parts {
            Parts::One(part) if self.wording == Wording::Value => {
                let asks = matches!((&part.op, &part.stage), (Op::Get, Stage::Open));
                asks.then_some(&part.key)
            }
            _ => None,
        }
    }

    /// What it may be under way together with, on one connection. Asked before anything was asked for.
    pub fn row(&self) -> Row {
        let parts = self.parts();
        let Some(first) = parts.first() else {
            return Row::Reads;
        };
        match first.op {
            Op::Get | Op::Look | Op::Scan { .. } => Row::Reads,
            Op::Edit(_) if self.is_single() => Row::Edits,
            Op::Put { .. } | Op::PutAbsent { .. } | Op::Add { .. }
                if parts.len() <= PARTS_ASKED_MAX =>
            {
                Row::Writes
            }
            _ => Row::Alone,
        }
    }

    /// The parts that are to be asked for, those of one region together. The caller says which region
    /// holds a key, by any number that tells them apart. Where there are very many groups, some of them wait for the
    /// next time.
    pub fn split(&self, mut region_of: impl FnMut(&[u8]) -> u64) -> Vec<Vec<u32>> {
        let mut groups: Vec<(u64, bool, Vec<u32>)> = Vec::new();
        let open = (0..).zip(self.parts()).filter(|(_, part)| !part.is_over());
        for (place, part) in open {
            let (region, reads) = (region_of(&part.key), part.reads());
            let same = |group: &(u64, bool, Vec<u32>)| (group.0, group.1) == (region, reads);
            match groups
                .iter()
                .rposition(same)
                .filter(|_| !part.op.is_range())
            {
                Some(group) => groups[group].2.push(place),
                None if groups.len() >= GROUPS_AT_ONCE => {}
                None => groups.push((region, reads, vec![place])),
            }
        }
        groups.into_iter().map(|group| group.2).collect()
    }

    /// Those of these places that the request that was handed out for them reads; none if it wrote.
    pub fn reading(&self, group: &[u32]) -> Vec<u32> {
        let places = self.chosen(Some(group)).into_iter();
        places
            .filter(|place| self.parts()[*place].reads())
            .map(|place| place as u32)
            .collect()
    }

    /// A range, as scans and the deletion of everything have, is asked for no further than the end of the
    /// region that holds its first key; an empty limit means that there is no further region. What counts or
    /// deletes becomes several parts, one for each of the next regions, which are asked side by side.
    pub fn bound(&mut self, mut limit_of: impl FnMut(&[u8]) -> Vec<u8>) {
        let open = |part: &&mut Part<'a>| !part.is_over();
        let parts = self.parts_mut().iter_mut().filter(open);
        parts.for_each(|part| part.bound(&limit_of(&part.key)));
        let is_range = |part: &Part<'a>| !part.is_over() && part.op.is_divisible();
        let mut asked = self.parts().iter().filter(|part| is_range(part)).count();
        let mut place = 0;
        while asked < REGIONS_AT_ONCE
            && let Some(part) = self.parts().get(place)
        {
            match part.rest().filter(|_| is_range(part)) {
                Some(mut rest) => {
                    rest.bound(&limit_of(&rest.key));
                    self.parts_mut()[place].end_at_bound();
                    self.push(rest);
                    asked += 1;
                }
                None => place += 1,
            }
        }
    }

    fn push(&mut self, part: Part<'a>) {
        match &mut self.parts {
            Parts::Many(parts) => parts.push(part),
            Parts::One(_) => {
                let one = std::mem::replace(&mut self.parts, Parts::Many(Vec::new()));
                if let (Parts::One(one), Parts::Many(parts)) = (one, &mut self.parts) {
                    parts.extend([one, part]);
                }
            }
        }
    }

    /// Hands out the request that comes next: all open parts of one kind, as far as one request holds them.
    pub fn ask<R>(&self, send: impl FnOnce(Body<'_>) -> R) -> Option<R> {
        self.ask_chosen(None, send)
    }

    /// The same for some of the parts, by their places.
    pub fn ask_some<R>(&self, group: &[u32], send: impl FnOnce(Body<'_>) -> R) -> Option<R> {
        self.ask_chosen(Some(group), send)
    }

    /// The answer to what [`Plan::ask`] handed out last.
    pub fn take(&mut self, response: Response) -> Step {
        self.take_chosen(None, response)
    }

    /// The answer to what [`Plan::ask_some`] handed out last for the same parts.
    pub fn take_some(&mut self, group: &[u32], response: Response) -> Step {
        self.take_chosen(Some(group), response)
    }

    /// Whether it puts one value whatever is there before, and tells nothing of that.
    pub fn is_put(&self) -> bool {
        let puts = |part: &Part<'_>| matches!(part.op, Op::Put { .. });
        self.wording == Wording::Ok && self.is_single() && self.parts().iter().all(puts)
    }

    /// Whether it was given up.
    pub fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Gives up.
    pub fn fail(&mut self, error: Error) {
        self.failed.get_or_insert(error);
    }

    /// Whether it is at its end.
    pub fn step(&self) -> Step {
        match self.failed.is_some() || self.parts().iter().all(Part::is_over) {
            true => Step::Done,
            false => Step::Again,
        }
    }

    /// Writes the reply.
    pub fn write(&self, cursors: &mut Cursors, writer: &mut Writer<'_>) {
        if let Some(error) = &self.failed {
            return writer.error(&wording::error(error));
        }
        let outcomes = self.parts().iter().map(|part| match &part.stage {
            Stage::Over(outcome) => outcome,
            _ => &Outcome::Value(None),
        });
        self.wording.write(outcomes, cursors, writer);
    }

    /// What must be kept once it was asked for, until the answer comes: of simple commands no bytes, so
    /// that they cannot be asked again.
    pub fn park(self) -> Plan<'static> {
        match self.is_single() {
            true => self.map(Part::park),
            false => self.into_owned(),
        }
    }

    /// The same plan in bytes of its own: it outlives the buffer that it came in.
    pub fn into_owned(self) -> Plan<'static> {
        self.map(Part::into_owned)
    }

    fn map(self, mut change: impl FnMut(Part<'a>) -> Part<'static>) -> Plan<'static> {
        Plan {
            parts: match self.parts {
                Parts::One(part) => Parts::One(change(part)),
                Parts::Many(parts) => Parts::Many(parts.into_iter().map(change).collect()),
            },
            wording: self.wording,
            freshness: self.freshness,
            failed: self.failed,
        }
    }

    /// The places of those parts that one request asks for. Without the answer in between, it is the same
    /// at every call.
    fn chosen(&self, group: Option<&[u32]>) -> Vec<usize> {
        let parts = self.parts();
        let places: &mut dyn Iterator<Item = usize> = match group {
            None => &mut (0..parts.len()),
            Some(group) => &mut group.iter().map(|place| *place as usize),
        };
        let (mut chosen, mut bytes, mut reads) = (Vec::new(), 0, None);
        for place in places {
            let Some(part) = parts.get(place).filter(|part| !part.is_over()) else {
                continue;
            };
            if *reads.get_or_insert(part.reads()) != part.reads() {
                continue;
            }
            // A range is a request of its own.
            if part.op.is_range() {
                if chosen.is_empty() {
                    chosen.push(place);
                }
                break;
            }
            bytes += part.weight();
            let full = chosen.len() >= PARTS_ASKED_MAX || bytes > BYTES_ASKED_MAX;
            if full && !chosen.is_empty() {
                break;
            }
            chosen.push(place);
        }
        chosen
    }

    fn ask_chosen<R>(&self, group: Option<&[u32]>, send: impl FnOnce(Body<'_>) -> R) -> Option<R> {
        if self.failed.is_some() {
            return None;
        }
        if let Parts::One(part) = &self.parts {
            return ask_one(part, self.freshness, send);
        }
        let chosen = self.chosen(group);
        let parts = self.parts();
        match chosen[..] {
            [] => None,
            [place] => ask_one(&parts[place], self.freshness, send),
            [first, ..] if parts[first].reads() => {
                let keys: Vec<&[u8]> = chosen.iter().map(|place| &parts[*place].key[..]).collect();
                Some(send(Body::MultiGet {
                    keys: &keys,
                    freshness: self.freshness,
                }))
            }
            _ => {
                let made: Vec<_> = chosen.iter().map(|place| parts[*place].made()).collect();
                let writes: Option<Vec<Write<'_>>> = chosen
                    .iter()
                    .zip(&made)
                    .map(|(place, made)| parts[*place].write(made.as_deref()))
                    .collect();
                writes.map(|writes| send(Body::Write(&writes)))
            }
        }
    }

    fn take_chosen(&mut self, group: Option<&[u32]>, response: Response) -> Step {
        if let Err(error) = self.accept(group, response) {
            self.fail(error);
        }
        self.step()
    }

    fn accept(&mut self, group: Option<&[u32]>, response: Response) -> Result<(), Error> {
        let answer = response?;
        if let Parts::One(part) = &mut self.parts {
            return accept_one(part, answer);
        }
        let chosen = self.chosen(group);
        let parts = self.parts_mut();
        let result = match answer {
            Answer::AllWritten(written) if written.len() == chosen.len() => chosen
                .iter()
                .zip(written)
                .try_for_each(|(place, written)| parts[*place].written(written)),
            Answer::Values(values) if values.len() == chosen.len() => chosen
                .iter()
                .zip(values)
                .try_for_each(|(place, value)| parts[*place].read(value)),
            answer => match chosen[..] {
                [place] => accept_one(&mut parts[place], answer),
                _ => Err(UNFIT),
            },
        };
        let bytes = parts.iter().map(Part::held).sum();
        match bytes > BYTES_HELD_MAX {
            true => Err(Error::TooLarge {
                what: "a reply",
                bytes,
                limit: BYTES_HELD_MAX,
            }),
            false => result,
        }
    }
}

fn ask_one<R>(
    part: &Part<'_>,
    freshness: Freshness,
    send: impl FnOnce(Body<'_>) -> R,
) -> Option<R> {
    if part.is_over() {
        return None;
    }
    match &part.op {
        Op::Scan {
            limit,
            count,
            bound,
        } => Some(send(Body::Scan {
            start: &part.key,
            limit: bound.as_ref().unwrap_or(limit),
            count: *count,
            reverse: false,
            freshness,
        })),
        Op::Count { limit, bound, .. } => Some(send(Body::Scan {
            start: &part.key,
            limit: bound.as_ref().unwrap_or(limit),
            count: COUNTED_AT_ONCE,
            reverse: false,
            freshness,
        })),
        _ if part.reads() => Some(send(Body::Get {
            key: &part.key,
            freshness,
        })),
        _ => {
            let made = part.made();
            let write = part.write(made.as_deref())?;
            Some(send(Body::Write(&[write])))
        }
    }
}

fn accept_one(part: &mut Part<'_>, answer: Answer) -> Result<(), Error> {
    match answer {
        Answer::Value(value) => part.read(value),
        Answer::Written(written) => part.written(written),
        Answer::AllWritten(mut written) if written.len() == 1 => match written.pop() {
            Some(written) => part.written(written),
            None => Err(UNFIT),
        },
        Answer::Values(mut values) if values.len() == 1 => part.read(values.pop().flatten()),
        Answer::Pairs { pairs, more } => {
            let keys = pairs.into_iter().map(|(key, _)| key).collect();
            part.page(keys, more)
        }
        _ => Err(UNFIT),
    }
}
