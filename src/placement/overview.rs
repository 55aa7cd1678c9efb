//! What placement is about, for whoever asks: `coracle placement show`.

use super::errands::{Cause, Outcome};
use super::options::Options;
use super::placement::Placement;
use super::standing::Standing;
use crate::shard::ids::{NodeId, RegionId, StoreId};
use crate::shard::time::{MILLISECOND, Time};

/// Regions with something under way that are told of at once.
const REGIONS_MAX: usize = 1024;

/// What placement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overview {
    /// Milliseconds since its leader has read its records: it has forgotten what was under way before.
    pub serves_ms: u64,
    /// Whether nothing is begun.
    pub paused: bool,
    /// What it strives for, and its bounds.
    pub options: Options,
    /// All regions that are known.
    pub regions: u64,
    /// All stores.
    pub stores: Vec<StoreSight>,
    /// What is under way.
    pub under_way: Vec<Going>,
    /// What has ended, the last one first.
    pub ended: Vec<Ended>,
}

/// A store as placement sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSight {
    /// The store.
    pub store: StoreId,
    /// Its node.
    pub node: NodeId,
    /// Whether it may be given more, in a word: fit, full, silent, awaited, draining, leaving or lost.
    pub state: String,
    /// Replicas on it.
    pub peers: u32,
    /// Regions of users that are led there.
    pub leaders: u32,
    /// What those are asked for in a second.
    pub requests: u64,
    /// Copies on their way to it.
    pub copies_in: u32,
    /// Copies on their way from it.
    pub copies_out: u32,
}

/// Something that is under way with a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Going {
    /// The region.
    pub region: RegionId,
    /// Why; none: what its peers are asks for it.
    pub cause: Option<Cause>,
    /// What, in words.
    pub what: String,
    /// For how many milliseconds.
    pub ms: u64,
}

/// Something that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What it was, and how long it took.
    pub went: Going,
    /// How it ended.
    pub outcome: Outcome,
    /// How many milliseconds ago.
    pub ago_ms: u64,
}

impl Placement {
    /// All of it, as of now.
    pub(super) fn overview(&self, now: Time) -> Overview {
        let ms = |since: u64, until: u64| until.saturating_sub(since) / MILLISECOND;
        let views = self.views(now);
        let stores = views.iter().map(|(store, view)| {
            let load = self.state.regions.load(*store);
            let copies = self.copies.on(*store);
            let state = match () {
                () if self.state.nodes[&view.node].standing == Standing::Leaving => "leaving",
                () if view.drains => "draining",
                () if view.fit => "fit",
                () if view.lost => "lost",
                () if self.is_heard(now, *store) => "full",
                // Whoever has just begun to run placement has heard of nobody.
                () if !self.heard.contains_key(store) => "awaited",
                () => "silent",
            };
            StoreSight {
                store: *store,
                node: view.node,
                state: state.into(),
                // Leaders may not have told yet of what lies there; a store that is heard of has.
                peers: match self.heard.get(store) {
                    Some(heard) if self.is_heard(now, *store) => load.peers.max(heard.holds),
                    _ => load.peers,
                },
                leaders: load.leaders,
                requests: load.requests / 1000,
                copies_in: copies.to,
                copies_out: copies.from,
            }
        });
        let errands = self.errands.iter().map(|(region, errand)| Going {
            region: *region,
            cause: Some(errand.cause),
            what: errand.to_string(),
            ms: ms(errand.since, now.mono),
        });
        let steps = self.moves.iter();
        let steps = steps.filter(|(region, _)| self.errands.get(**region).is_none());
        let steps = steps.map(|(region, step)| Going {
            region: *region,
            cause: None,
            what: step.to_string(),
            ms: ms(step.since, now.mono),
        });
        let ended = self.errands.past().map(|past| Ended {
            went: Going {
                region: past.region,
                cause: Some(past.errand.cause),
                what: past.errand.to_string(),
                ms: ms(past.errand.since, past.at),
            },
            outcome: past.outcome,
            ago_ms: ms(past.at, now.mono),
        });
        Overview {
            serves_ms: ms(self.begun, now.mono),
            paused: self.state.paused,
            options: self.options.clone(),
            regions: self.state.regions.total() as u64,
            stores: stores.collect(),
            under_way: errands.chain(steps).take(REGIONS_MAX).collect(),
            ended: ended.collect(),
        }
    }
}
