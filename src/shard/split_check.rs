//! When a region is split without anybody asking for it, and where.
//!
//! ```text
//! every second, where the region is led
//!   written a sixteenth of what it may hold? ─▶ bytes, keys: too many ─▶ parts of about half of that, at once
//!   busier than it may be, for some seconds? ─▶ the keys kept meanwhile: does one divide the work? ─▶ there
//! ```
//!
//! Sizes come from indexes, so looking costs no read; where little was written nobody looks.
//!
//! **A key divides the work if it did so all the time.** Of keys that are written in ascending order those to
//! the right of any key were written after those to its left: a split would leave behind a region with nothing
//! to do, and the next one another. So the key must have work on both sides among the older of the kept
//! keys and among the newer ones. Where one key is the work there is no such key either.

use coracle_engine::size::{Even, Extent};

use super::brain::Shard;
use super::core::Core;
use super::ids::RegionId;
use super::limits::{Limits, SEGMENTS_FOR_PROPOSALS};
use super::load::{Load, SAMPLES};
use super::peer::{Peer, Stage};
use super::split::{Cause, PARTS_MAX};
use super::time::MILLISECOND;

/// Of what a region may hold, so much must have been written before anybody looks again: a part in so many.
const WRITTEN_PART: u64 = 16;

/// So many keys must have been kept to tell where the work is.
const SAMPLES_LEAST: usize = SAMPLES * 3 / 4;

/// What is known of a region that may be too large, or too busy.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// What it holds; none: hardly anything was written since that was too little.
    pub extent: Option<Extent>,
    /// Keys of accesses, the oldest first; none: it is not busy, or not for long.
    pub keys: Vec<Vec<u8>>,
}

/// What is to become of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays as it is.
    Whole,
    /// It is cut into so many parts that have this alike.
    Parts(usize, Even),
    /// It is cut at a key, since it is too busy.
    At(Vec<u8>),
}

/// What is to become of a region: looks at nothing but this.
pub fn judge(sight: &Sight, limits: &Limits) -> Verdict {
    let extent = sight.extent.unwrap_or_default();
    for (held, most, even) in [
        (extent.bytes, limits.split_bytes, Even::Bytes),
        (extent.keys, limits.split_keys, Even::Keys),
    ] {
        if most > 0 && held > most {
            // Each part is half full or more, and has room to grow.
            let parts = held / most.div_ceil(2);
            let parts = parts.clamp(2, PARTS_MAX as u64 + 1);
            return Verdict::Parts(parts as usize, even);
        }
    }
    match divides(&sight.keys) {
        Some(key) => Verdict::At(key.to_vec()),
        None => Verdict::Whole,
    }
}

/// The key that divides the work best, if any does: a quarter of it must lie on either side, and an eighth of the
/// older and of the newer half.
fn divides(keys: &[Vec<u8>]) -> Option<&[u8]> {
    if keys.len() < SAMPLES_LEAST {
        return None;
    }
    let mut sorted: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    sorted.sort_unstable();
    // Of the first keys of runs of equal ones, the one nearest to the middle.
    let firsts = (1..sorted.len()).filter(|place| sorted[place - 1] < sorted[*place]);
    let place = firsts.min_by_key(|place| (2 * place).abs_diff(sorted.len()))?;
    let key = sorted[place];
    let on_both = |keys: &[Vec<u8>], part: usize| {
        let left = keys.iter().filter(|other| &other[..] < key).count();
        left.min(keys.len() - left) * part >= keys.len()
    };
    let (older, newer) = keys.split_at(keys.len() / 2);
    (on_both(keys, 4) && on_both(older, 8) && on_both(newer, 8)).then_some(key)
}

/// What a leader keeps in mind of its region between two looks.
#[derive(Debug, Default)]
pub struct Watch {
    /// Accesses.
    pub load: Load,
    /// Accesses in a second, as of the last look.
    pub per_second: u64,
    /// Ticks until the next look.
    wait: u64,
    /// Accesses and the time as of the last look.
    seen: (u64, u64),
    /// Since when it is too busy.
    busy_since: Option<u64>,
    /// Bytes and keys written since its extent was looked up.
    written: (u64, u64),
    /// Whether it ever was, here.
    measured: bool,
    /// No attempt before then.
    rests_until: u64,
}

impl Watch {
    /// A client has written so many bytes and keys.
    #[inline]
    pub fn wrote(&mut self, bytes: u64, keys: u64) {
        self.written.0 += bytes;
        self.written.1 += keys;
    }

    /// Whether the region may have become too large since its extent was looked up.
    fn may_have_grown(&self, limits: &Limits) -> bool {
        let (bytes, keys) = self.written;
        let bounds = [(bytes, limits.split_bytes), (keys, limits.split_keys)];
        let mut bounds = bounds.into_iter().filter(|(_, most)| *most > 0);
        bounds.any(|(written, most)| !self.measured || written >= most.div_ceil(WRITTEN_PART))
    }

    /// Whether nothing has to be looked at again.
    pub fn is_settled(&self, limits: &Limits) -> bool {
        !self.may_have_grown(limits) && self.busy_since.is_none()
    }

    /// The peer begins to lead, or its range has changed: nothing is known of it. Not all regions look at the
    /// same moment.
    pub fn restart(&mut self, region: RegionId, limits: &Limits, now: u64) {
        self.load.stop_sampling();
        *self = Watch {
            wait: 1 + region.0 % limits.split_ticks.max(1),
            seen: (self.load.count(), now),
            load: std::mem::take(&mut self.load),
            ..Watch::default()
        };
    }

    /// An attempt begins, or has failed: the next one comes later.
    pub fn rest(&mut self, limits: &Limits, now: u64) {
        self.rests_until = now + limits.split_rest_ticks * limits.tick;
        self.busy_since = None;
        self.load.stop_sampling();
    }

    /// How busy the region is since the last look. The keys that were kept, if it was for long enough.
    fn look_at_load(&mut self, region: RegionId, limits: &Limits, now: u64) -> Vec<Vec<u8>> {
        let count = self.load.count();
        let (before, since) = self.seen;
        let passed = (now - since) / MILLISECOND;
        // Ticks that are caught up with tell of no time of their own.
        if passed * MILLISECOND < limits.split_ticks * limits.tick / 2 {
            return Vec::new();
        }
        self.seen = (count, now);
        self.per_second = (count - before) * 1000 / passed.max(1);
        let is_busy = limits.split_load > 0 && self.per_second >= limits.split_load;
        let spell = limits.split_load_ticks * limits.tick;
        match self.busy_since {
            None if is_busy => {
                // So much apart that those that are kept stand for the whole spell.
                let expected = self.per_second * (spell / MILLISECOND) / 1000;
                self.busy_since = Some(now);
                self.load.sample(expected / SAMPLES as u64, region.0 ^ now);
            }
            Some(_) if !is_busy => {
                self.busy_since = None;
                self.load.stop_sampling();
            }
            Some(since) if now >= since + spell => {
                // Whatever comes of it, what is kept is about the spell to come.
                self.busy_since = None;
                return self.load.sampled();
            }
            _ => {}
        }
        Vec::new()
    }
}

impl Peer {
    /// One tick of a peer that perhaps leads: now and then it looks at its region.
    pub fn watch_over(&mut self, core: &mut Core) {
        let limits = *core.limits();
        if limits.split_ticks == 0 || !self.leads() || !core.is_placed() {
            return;
        }
        self.watch.wait = self.watch.wait.saturating_sub(1);
        if self.watch.wait > 0 {
            return;
        }
        self.watch.wait = limits.split_ticks;
        let (region, now) = (self.region_id(), core.now.mono);
        let keys = self.watch.look_at_load(region, &limits, now);
        if region == RegionId::SYSTEM
            || now < self.watch.rests_until
            || !matches!(self.stage, Stage::Normal)
            || self.asking.is_some()
            || self.is_splitting()
        {
            return;
        }
        let extent = match self.watch.may_have_grown(&limits) {
            true => Some(core.store.extent(&self.machine.region.range)),
            false => None,
        };
        let verdict = judge(&Sight { extent, keys }, &limits);
        match verdict {
            // As long as it is too large, it is measured again.
            Verdict::Whole => {
                if extent.is_some() {
                    (self.watch.measured, self.watch.written) = (true, (0, 0));
                }
            }
            _ => core.splits_wanted.push((region, verdict)),
        }
    }

    /// Splits the region, since it is too large or too busy.
    fn split_by_itself(&mut self, core: &mut Core, verdict: Verdict) {
        let (limits, now) = (*core.limits(), core.now.mono);
        self.watch.rest(&limits, now);
        let range = &self.machine.region.range;
        let (keys, cause) = match verdict {
            Verdict::Whole => return,
            Verdict::Parts(parts, even) => {
                let cause = match even {
                    Even::Bytes => Cause::Bytes,
                    Even::Keys => Cause::Keys,
                };
                (core.store.cuts(range, parts, even), cause)
            }
            Verdict::At(key) => (vec![key], Cause::Load),
        };
        // All of it may lie in one block.
        if keys.is_empty() {
            return;
        }
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        if self.split(core, None, None, &keys, None, cause).is_err() {
            core.splits.failed += 1;
        }
    }
}

impl Shard {
    /// Regions that are too large or too busy are split, not too many at once: the others ask again.
    pub(super) fn begin_splits(&mut self) {
        let wanted = std::mem::take(&mut self.core.splits_wanted);
        // There is better use for what is left.
        let left = self.core.log.borrow().segments_left();
        let is_short = self.core.store.is_full() || left <= SEGMENTS_FOR_PROPOSALS;
        if wanted.is_empty() || is_short {
            return;
        }
        let is_under_way = |peer: &&Peer| peer.asking.is_some() || peer.is_splitting();
        let under_way = self.peers.values().filter(is_under_way).count();
        let room = self.core.limits().splits_max.saturating_sub(under_way);
        // Where one store bears everything, it bears no less for it in two parts.
        let helps = |verdict: &Verdict| match verdict {
            Verdict::At(_) => self.herald.knows_others(),
            Verdict::Whole | Verdict::Parts(..) => true,
        };
        let wanted = wanted.into_iter().filter(|(_, verdict)| helps(verdict));
        let wanted: Vec<_> = wanted.take(room).collect();
        for (region, verdict) in wanted {
            self.with(region, |peer, core| peer.split_by_itself(core, verdict));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        split_bytes: 256 << 20,
        split_keys: 1_000_000,
        ..Limits::DEFAULT
    };

    fn told(sight: Sight) -> String {
        match judge(&sight, &LIMITS) {
            Verdict::Whole => "whole".into(),
            Verdict::Parts(parts, even) => format!("{parts} parts by {even:?}").to_lowercase(),
            Verdict::At(key) => format!("at {}", key.escape_ascii()),
        }
    }

    /// MiB and thousands of keys, and what comes of them.
    #[test]
    fn what_is_too_large_is_cut_into_parts_with_room_to_grow() {
        let mut transcript = String::new();
        for (mib, thousands) in [
            (0, 0),
            (256, 1000),
            (257, 10),
            (383, 10),
            (384, 10),
            (1000, 10),
            (2047, 10),
            (9000, 10),
            (100, 1001),
            (100, 3000),
            (300, 3000),
        ] {
            let extent = Some(Extent {
                bytes: mib << 20,
                keys: thousands * 1000,
            });
            let sight = Sight {
                extent,
                keys: Vec::new(),
            };
            let told = told(sight);
            transcript.push_str(&format!("{mib} MiB {thousands} k: {told}\n"));
        }
        assert_eq!(
            transcript,
            "0 MiB 0 k: whole\n\
             256 MiB 1000 k: whole\n\
             257 MiB 10 k: 2 parts by bytes\n\
             383 MiB 10 k: 2 parts by bytes\n\
             384 MiB 10 k: 3 parts by bytes\n\
             1000 MiB 10 k: 7 parts by bytes\n\
             2047 MiB 10 k: 15 parts by bytes\n\
             9000 MiB 10 k: 17 parts by bytes\n\
             100 MiB 1001 k: 2 parts by keys\n\
             100 MiB 3000 k: 6 parts by keys\n\
             300 MiB 3000 k: 2 parts by bytes\n"
        );
        let unlimited = Limits {
            split_bytes: 0,
            split_keys: 0,
            ..LIMITS
        };
        let extent = Some(Extent {
            bytes: u64::MAX,
            keys: u64::MAX,
        });
        let sight = Sight {
            extent,
            keys: Vec::new(),
        };
        assert_eq!(judge(&sight, &unlimited), Verdict::Whole);
    }

    /// What clients do, and where that is divided.
    #[test]
    fn what_is_too_busy_is_cut_where_the_work_is_divided_all_the_time() {
        let mut chance = super::super::chance::Chance::new(7);
        let mut transcript = String::new();
        let mut tell = |what: &str, key: &mut dyn FnMut(u64) -> u64| {
            let keys = (0..SAMPLES as u64).map(|at| format!("k{:04}", key(at)).into_bytes());
            let sight = Sight {
                extent: None,
                keys: keys.collect(),
            };
            transcript.push_str(&format!("{what}: {}\n", told(sight)));
        };
        tell("one key", &mut |_| 5);
        tell("two keys in turn", &mut |at| at % 2);
        tell("eight keys in turn", &mut |at| at % 8);
        tell("one key, and now and then another", &mut |at| {
            u64::from(at % 9 == 0)
        });
        tell(
            "one key of three in four, in the middle",
            &mut |at| match at % 8 {
                0 => 1,
                1 => 9,
                _ => 5,
            },
        );
        tell(
            "one key of a third, in the middle",
            &mut |at| match at % 3 {
                0 => 5,
                1 => at % 5,
                _ => 6 + at % 7,
            },
        );
        tell("ascending", &mut |at| at);
        tell("descending", &mut |at| 900 - at);
        tell("ascending, four times side by side", &mut |at| {
            at % 4 * 1000 + at
        });
        tell("the first half, then the second", &mut |at| {
            at / 32 * 1000 + at % 16
        });
        tell(
            "ascending, and as many reads of all that",
            &mut |at| match at % 2 {
                0 => 500 + at,
                _ => at * 37 % 500,
            },
        );
        tell("anything", &mut |_| chance.between(0, 1000));
        assert_eq!(
            transcript,
            "one key: whole\n\
             two keys in turn: at k0001\n\
             eight keys in turn: at k0004\n\
             one key, and now and then another: whole\n\
             one key of three in four, in the middle: whole\n\
             one key of a third, in the middle: at k0005\n\
             ascending: whole\n\
             descending: whole\n\
             ascending, four times side by side: at k2002\n\
             the first half, then the second: whole\n\
             ascending, and as many reads of all that: at k0500\n\
             anything: at k0516\n"
        );
    }

    #[test]
    fn too_few_keys_tell_nothing() {
        let keys = (0..SAMPLES_LEAST as u8 - 1)
            .map(|at| vec![at % 2])
            .collect();
        let sight = Sight { extent: None, keys };
        assert_eq!(judge(&sight, &LIMITS), Verdict::Whole);
    }

    #[test]
    fn a_region_must_be_busy_for_a_while() {
        let mut watch = Watch::default();
        let limits = Limits {
            split_load: 1000,
            ..LIMITS
        };
        let region = RegionId(2);
        let second = 1000 * MILLISECOND;
        let mut now = 0;
        let mut pass = |watch: &mut Watch, accesses: u64| {
            for at in 0..accesses {
                watch.load.touch(&[(at % 7) as u8]);
            }
            now += second;
            watch.look_at_load(region, &limits, now).len()
        };
        let told: Vec<usize> = [900, 1000, 2000, 100, 1500]
            .map(|n| pass(&mut watch, n))
            .into();
        assert_eq!(told, [0; 5], "not for long, and not all the time");
        let told: Vec<usize> = (0..10).map(|_| pass(&mut watch, 1500)).collect();
        assert_eq!(told[..9], [0; 9]);
        assert!(told[9] >= SAMPLES_LEAST, "{told:?}");
        assert_eq!(watch.per_second, 1500);
        assert_eq!(pass(&mut watch, 1500), 0, "it begins anew");
    }
}
