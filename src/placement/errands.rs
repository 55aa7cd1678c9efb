//! What placement has begun with regions: one errand each, from its cause to its end.
//!
//! ```text
//!                 ┌─ as told by the region itself ─▶ done
//! begun (cause) ──┼─ its time is over             ─▶ timed out
//!                 └─ something else has happened  ─▶ superseded
//! ```
//!
//! An errand takes several steps, each of which is thought out anew from the region as it is (`replica_checker.rs`).
//! It lives in memory alone: whoever leads next sees what regions lack, and a move by hand is asked for again.
//! What has ended is told for a while.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use super::balance::Shift;
use super::options::Options;
use crate::shard::ids::{PeerId, RegionId, StoreId};
use crate::shard::region::{Region, Role};
use crate::shard::time::MILLISECOND;

/// Ended errands that are told of.
const PAST_MAX: usize = 64;

/// Why something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// A replica is missing or lost.
    Replace,
    /// A node is to be emptied.
    Drain,
    /// Its replicas could be kept apart better.
    Spread,
    /// One store has more than another.
    Count,
    /// One store is asked for more than another.
    Load,
    /// Somebody has asked for it.
    Hand,
}

impl Cause {
    /// All of them, in the order in which they come first.
    pub const ALL: [Cause; 6] = [
        Cause::Replace,
        Cause::Drain,
        Cause::Spread,
        Cause::Count,
        Cause::Load,
        Cause::Hand,
    ];

    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Cause::Replace => "replace",
            Cause::Drain => "drain",
            Cause::Spread => "spread",
            Cause::Count => "count",
            Cause::Load => "load",
            Cause::Hand => "hand",
        }
    }
}

/// Something that was begun with a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errand {
    /// Why.
    pub cause: Cause,
    /// What.
    pub shift: Shift,
    /// The store that has less of the region afterwards, if there is one.
    pub from: Option<StoreId>,
    /// The store that has more.
    pub to: StoreId,
    /// Since when.
    pub since: u64,
    /// Whether the peer that comes was seen in the region.
    pub seen: bool,
}

impl fmt::Display for Errand {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.shift, self.from) {
            (Shift::Lead(peer), Some(from)) => {
                write!(
                    out,
                    "peer {peer} on store {} leads, not store {from}",
                    self.to
                )
            }
            (Shift::Lead(peer), None) => write!(out, "peer {peer} on store {} leads", self.to),
            (Shift::Leave(peer, to), Some(from)) => {
                write!(out, "peer {peer} leaves store {from} for store {to}")
            }
            (Shift::Leave(peer, to), None) => write!(out, "peer {peer} leaves for store {to}"),
            (Shift::Fill(peer, to), Some(from)) => {
                write!(
                    out,
                    "peer {peer} on store {to} takes the place of store {from}"
                )
            }
            (Shift::Fill(peer, to), None) => write!(out, "peer {peer} comes to store {to}"),
        }
    }
}

/// How an errand has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It took too long.
    TimedOut,
    /// Something else has happened.
    Superseded,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Outcome; 3] = [Outcome::Done, Outcome::TimedOut, Outcome::Superseded];

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::TimedOut => "timed out",
            Outcome::Superseded => "superseded",
        }
    }
}

/// An errand that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// With which region.
    pub region: RegionId,
    /// What it was.
    pub errand: Errand,
    /// How it ended.
    pub outcome: Outcome,
    /// When.
    pub at: u64,
}

/// All errands.
#[derive(Debug, Default)]
pub struct Errands {
    under_way: BTreeMap<RegionId, Errand>,
    past: VecDeque<Past>,
    /// Regions that are left where they are, and until when.
    rests: BTreeMap<RegionId, u64>,
}

impl Errands {
    /// What is under way with a region.
    pub fn get(&self, region: RegionId) -> Option<&Errand> {
        self.under_way.get(&region)
    }

    /// All that is under way.
    pub fn iter(&self) -> impl Iterator<Item = (&RegionId, &Errand)> {
        self.under_way.iter()
    }

    /// What has ended, the last one first.
    pub fn past(&self) -> impl Iterator<Item = &Past> {
        self.past.iter().rev()
    }

    /// Whether one more may be begun for this cause.
    pub fn have_room(&self, cause: Cause, options: &Options) -> bool {
        self.count(cause) < options.most(cause)
    }

    /// How many are under way for a cause.
    pub fn count(&self, cause: Cause) -> usize {
        let all = self.under_way.values();
        all.filter(|errand| errand.cause == cause).count()
    }

    /// Begins one; what was under way with the region is superseded.
    pub fn begin(&mut self, region: RegionId, errand: Errand) {
        self.end(region, Outcome::Superseded, errand.since);
        self.under_way.insert(region, errand);
    }

    /// Ends what is under way with a region.
    pub fn end(&mut self, region: RegionId, outcome: Outcome, at: u64) {
        let Some(errand) = self.under_way.remove(&region) else {
            return;
        };
        if self.past.len() == PAST_MAX {
            self.past.pop_front();
        }
        self.past.push_back(Past {
            region,
            errand,
            outcome,
            at,
        });
    }

    /// Ends all that is under way.
    pub fn end_all(&mut self, at: u64) {
        let regions: Vec<RegionId> = self.under_way.keys().copied().collect();
        for region in regions {
            self.end(region, Outcome::Superseded, at);
        }
    }

    /// A region is left where it is for so long, and nobody else is made to lead it for now.
    pub fn rest(&mut self, region: RegionId, now: u64, ms: u64) {
        if let Some(Shift::Lead(_)) = self.get(region).map(|errand| errand.shift) {
            self.end(region, Outcome::Superseded, now);
        }
        self.rests.insert(region, now + ms * MILLISECOND);
    }

    /// Whether a region is left where it is.
    pub fn rests(&self, region: RegionId, now: u64) -> bool {
        self.rests.get(&region).is_some_and(|until| now < *until)
    }

    /// A region is told of as it is, led by that peer.
    pub fn told(&mut self, now: u64, options: &Options, region: &Region, leader: PeerId) {
        let Some(errand) = self.under_way.get_mut(&region.id) else {
            return;
        };
        let votes = |store: StoreId| {
            let there = region.on_store(store);
            there.is_some_and(|info| info.role == Role::Voter)
        };
        let outcome = match errand.shift {
            Shift::Lead(to) if leader == to => Outcome::Done,
            Shift::Lead(to) if region.peer(to).is_some() => return,
            Shift::Leave(peer, _) if region.peer(peer).is_some() => return,
            Shift::Leave(_, to) if votes(to) => Outcome::Done,
            Shift::Fill(peer, _) => match region.peer(peer) {
                Some(info) if info.role == Role::Voter => Outcome::Done,
                Some(_) => return errand.seen = true,
                None if !errand.seen => return,
                None => Outcome::Superseded,
            },
            Shift::Lead(_) | Shift::Leave(..) => Outcome::Superseded,
        };
        let rest = match (errand.cause, outcome) {
            (Cause::Hand, Outcome::Done) => options.hand_rest_ms,
            (Cause::Load, _) => options.load_rest_ms,
            _ => 0,
        };
        if rest > 0 {
            self.rests.insert(region.id, now + rest * MILLISECOND);
        }
        self.end(region.id, outcome, now);
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: u64, options: &Options, is_known: impl Fn(RegionId) -> bool) {
        let over = |errand: &Errand| {
            let ms = match errand.shift {
                Shift::Lead(_) => options.operator_ms,
                Shift::Fill(..) if !errand.seen => options.operator_ms,
                Shift::Leave(..) | Shift::Fill(..) => options.learner_ms,
            };
            now > errand.since + ms * MILLISECOND
        };
        let ended = self.under_way.iter().filter_map(|(region, errand)| {
            let outcome = match is_known(*region) {
                true if !over(errand) => return None,
                true => Outcome::TimedOut,
                false => Outcome::Superseded,
            };
            Some((*region, outcome))
        });
        let ended: Vec<_> = ended.collect();
        for (region, outcome) in ended {
            self.end(region, outcome, now);
        }
        self.rests.retain(|_, until| now < *until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::region::{Epoch, PeerInfo};
    use coracle_engine::record::KeyRange;

    /// Peers as `v1@10`, roles as in `replica_checker.rs`; the first leads.
    fn region(peers: &str) -> Region {
        let infos = peers.split(' ').map(|text| {
            let (id, store) = text[1..].split_once('@').expect("peer@store");
            PeerInfo {
                peer: PeerId(id.parse().expect("a number")),
                store: StoreId(store.parse().expect("a number")),
                role: match &text[..1] {
                    "v" => Role::Voter,
                    "l" => Role::Learner,
                    "i" => Role::Incoming,
                    _ => Role::Outgoing,
                },
            }
        });
        Region {
            id: RegionId(5),
            epoch: Epoch::default(),
            range: KeyRange::all(),
            peers: infos.collect(),
        }
    }

    fn begun(shift: Shift, to: u64) -> Errands {
        let mut errands = Errands::default();
        let errand = Errand {
            cause: Cause::Hand,
            shift,
            from: Some(StoreId(10)),
            to: StoreId(to),
            since: 0,
            seen: false,
        };
        errands.begin(RegionId(5), errand);
        errands
    }

    fn told(errands: &mut Errands, peers: &str) -> String {
        let region = region(peers);
        errands.told(7, &Options::default(), &region, region.peers[0].peer);
        match (errands.get(RegionId(5)), errands.past().next()) {
            (Some(errand), None) => errand.to_string(),
            (None, Some(past)) => past.outcome.words().into(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_move_ends_when_the_peer_is_gone_and_another_votes_in_its_place() {
        let mut errands = begun(Shift::Leave(PeerId(1), StoreId(40)), 40);
        let going = "peer 1 leaves store 10 for store 40";
        assert_eq!(told(&mut errands, "v1@10 v2@20"), going);
        assert_eq!(told(&mut errands, "v1@10 v2@20 l4@40"), going);
        assert_eq!(told(&mut errands, "v2@20 i4@40 o1@10"), going);
        assert_eq!(told(&mut errands, "v2@20 v4@40"), "done");
        assert!(errands.rests(RegionId(5), 8), "nobody undoes it at once");
        let mut errands = begun(Shift::Leave(PeerId(1), StoreId(40)), 40);
        assert_eq!(told(&mut errands, "v2@20 v5@50"), "superseded");
        assert!(!errands.rests(RegionId(5), 8));
    }

    #[test]
    fn another_leads_or_has_gone() {
        let mut errands = begun(Shift::Lead(PeerId(2)), 20);
        let going = "peer 2 on store 20 leads, not store 10";
        assert_eq!(told(&mut errands, "v1@10 v2@20"), going);
        assert_eq!(told(&mut errands, "v2@20 v1@10"), "done");
        let mut errands = begun(Shift::Lead(PeerId(2)), 20);
        assert_eq!(told(&mut errands, "v1@10 v3@30"), "superseded");
    }

    #[test]
    fn a_peer_that_comes_is_waited_for_until_it_votes_or_goes_again() {
        let mut errands = begun(Shift::Fill(PeerId(4), StoreId(40)), 40);
        let going = "peer 4 on store 40 takes the place of store 10";
        assert_eq!(told(&mut errands, "v1@10 v2@20"), going);
        assert_eq!(told(&mut errands, "v1@10 v2@20 l4@40"), going);
        assert_eq!(told(&mut errands, "v1@10 v2@20 v4@40"), "done");
        let mut errands = begun(Shift::Fill(PeerId(4), StoreId(40)), 40);
        assert_eq!(told(&mut errands, "v1@10 v2@20 l4@40"), going);
        assert_eq!(told(&mut errands, "v1@10 v2@20"), "superseded");
    }

    #[test]
    fn what_takes_too_long_is_given_up_and_told_for_a_while() {
        let options = Options::default();
        let mut errands = begun(Shift::Leave(PeerId(1), StoreId(40)), 40);
        let end = options.learner_ms * MILLISECOND;
        errands.tick(end, &options, |_| true);
        assert!(errands.get(RegionId(5)).is_some());
        errands.tick(end + 1, &options, |_| true);
        let past: Vec<_> = errands.past().map(|past| past.outcome).collect();
        assert_eq!(past, [Outcome::TimedOut]);
        for region in 0..200 {
            let mut other = *errands.past().next().expect("one has ended");
            other.errand.since = end;
            errands.begin(RegionId(region), other.errand);
            errands.tick(end, &options, |_| false);
        }
        assert_eq!(errands.past().count(), PAST_MAX);
    }
}
