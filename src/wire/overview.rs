//! What placement tells of itself, as it is sent.

use rkyv::{Archive, Serialize};

use crate::placement::Options;
use crate::placement::errands::{Cause, Outcome};
use crate::placement::overview::{Ended, Going, Overview, StoreSight};
use crate::shard::codec::Malformed;
use crate::shard::ids::{NodeId, RegionId, StoreId};
use crate::wire::form::Text;

/// No word is longer.
const TEXT_BYTES_MAX: usize = 1024;

/// All of it.
#[derive(Clone, Debug, Archive, Serialize)]
pub(crate) struct OverviewForm<'a> {
    serves_ms: u64,
    paused: bool,
    options: OptionsForm<'a>,
    regions: u64,
    stores: Vec<StoreForm<'a>>,
    under_way: Vec<GoingForm<'a>>,
    ended: Vec<EndedForm<'a>>,
}

/// What it strives for.
#[derive(Clone, Debug, Archive, Serialize)]
pub(crate) struct OptionsForm<'a> {
    replicas: u64,
    down_ms: u64,
    fit_ms: u64,
    operator_ms: u64,
    learner_ms: u64,
    hand_rest_ms: u64,
    load_rest_ms: u64,
    load_floor: u64,
    spread: Vec<Text<'a>>,
    copies_in: u32,
    copies_out: u32,
    balances: bool,
    replaces_max: u64,
    drains_max: u64,
    spreads_max: u64,
    moves_max: u64,
    loads_max: u64,
    hands_max: u64,
}

/// A store.
#[derive(Clone, Debug, Archive, Serialize)]
pub(crate) struct StoreForm<'a> {
    store: u64,
    node: u64,
    state: Text<'a>,
    peers: u32,
    leaders: u32,
    requests: u64,
    copies_in: u32,
    copies_out: u32,
}

/// Something under way.
#[derive(Clone, Debug, Archive, Serialize)]
pub(crate) struct GoingForm<'a> {
    region: u64,
    cause: Option<u8>,
    what: Text<'a>,
    ms: u64,
}

/// Something that has ended.
#[derive(Clone, Debug, Archive, Serialize)]
pub(crate) struct EndedForm<'a> {
    went: GoingForm<'a>,
    outcome: u8,
    ago_ms: u64,
}

impl<'a> From<&'a Overview> for OverviewForm<'a> {
    fn from(overview: &'a Overview) -> OverviewForm<'a> {
        OverviewForm {
            serves_ms: overview.serves_ms,
            paused: overview.paused,
            options: (&overview.options).into(),
            regions: overview.regions,
            stores: overview.stores.iter().map(StoreForm::from).collect(),
            under_way: overview.under_way.iter().map(GoingForm::from).collect(),
            ended: overview.ended.iter().map(EndedForm::from).collect(),
        }
    }
}

impl ArchivedOverviewForm<'_> {
    /// All of it.
    pub fn get(&self) -> Result<Overview, Malformed> {
        Ok(Overview {
            serves_ms: self.serves_ms.to_native(),
            paused: self.paused,
            options: self.options.get()?,
            regions: self.regions.to_native(),
            stores: (self.stores.iter().map(ArchivedStoreForm::get)).collect::<Result<_, _>>()?,
            under_way: (self.under_way.iter().map(ArchivedGoingForm::get))
                .collect::<Result<_, _>>()?,
            ended: (self.ended.iter().map(ArchivedEndedForm::get)).collect::<Result<_, _>>()?,
        })
    }
}

impl<'a> From<&'a Options> for OptionsForm<'a> {
    fn from(options: &'a Options) -> OptionsForm<'a> {
        OptionsForm {
            replicas: options.replicas as u64,
            down_ms: options.down_ms,
            fit_ms: options.fit_ms,
            operator_ms: options.operator_ms,
            learner_ms: options.learner_ms,
            hand_rest_ms: options.hand_rest_ms,
            load_rest_ms: options.load_rest_ms,
            load_floor: options.load_floor,
            spread: options.spread.iter().map(|name| Text(name)).collect(),
            copies_in: options.copies_in,
            copies_out: options.copies_out,
            balances: options.balances,
            replaces_max: options.replaces_max as u64,
            drains_max: options.drains_max as u64,
            spreads_max: options.spreads_max as u64,
            moves_max: options.moves_max as u64,
            loads_max: options.loads_max as u64,
            hands_max: options.hands_max as u64,
        }
    }
}

impl ArchivedOptionsForm<'_> {
    fn get(&self) -> Result<Options, Malformed> {
        let spread = self.spread.iter().map(|name| name.get(TEXT_BYTES_MAX));
        Ok(Options {
            replicas: self.replicas.to_native() as usize,
            down_ms: self.down_ms.to_native(),
            fit_ms: self.fit_ms.to_native(),
            operator_ms: self.operator_ms.to_native(),
            learner_ms: self.learner_ms.to_native(),
            hand_rest_ms: self.hand_rest_ms.to_native(),
            load_rest_ms: self.load_rest_ms.to_native(),
            load_floor: self.load_floor.to_native(),
            spread: spread.collect::<Result<_, Malformed>>()?,
            copies_in: self.copies_in.to_native(),
            copies_out: self.copies_out.to_native(),
            balances: self.balances,
            replaces_max: self.replaces_max.to_native() as usize,
            drains_max: self.drains_max.to_native() as usize,
            spreads_max: self.spreads_max.to_native() as usize,
            moves_max: self.moves_max.to_native() as usize,
            loads_max: self.loads_max.to_native() as usize,
            hands_max: self.hands_max.to_native() as usize,
        })
    }
}

impl<'a> From<&'a StoreSight> for StoreForm<'a> {
    fn from(sight: &'a StoreSight) -> StoreForm<'a> {
        StoreForm {
            store: sight.store.0,
            node: sight.node.0,
            state: Text(&sight.state),
            peers: sight.peers,
            leaders: sight.leaders,
            requests: sight.requests,
            copies_in: sight.copies_in,
            copies_out: sight.copies_out,
        }
    }
}

impl ArchivedStoreForm<'_> {
    fn get(&self) -> Result<StoreSight, Malformed> {
        Ok(StoreSight {
            store: StoreId(self.store.to_native()),
            node: NodeId(self.node.to_native()),
            state: self.state.get(TEXT_BYTES_MAX)?,
            peers: self.peers.to_native(),
            leaders: self.leaders.to_native(),
            requests: self.requests.to_native(),
            copies_in: self.copies_in.to_native(),
            copies_out: self.copies_out.to_native(),
        })
    }
}

impl<'a> From<&'a Going> for GoingForm<'a> {
    fn from(going: &'a Going) -> GoingForm<'a> {
        let place = |cause: Cause| Cause::ALL.iter().position(|other| *other == cause);
        GoingForm {
            region: going.region.0,
            cause: going.cause.and_then(place).map(|place| place as u8),
            what: Text(&going.what),
            ms: going.ms,
        }
    }
}

impl ArchivedGoingForm<'_> {
    fn get(&self) -> Result<Going, Malformed> {
        let cause = self.cause.as_ref().map(|place| {
            let cause = Cause::ALL.get(usize::from(*place)).copied();
            cause.ok_or(Malformed("an unknown cause"))
        });
        Ok(Going {
            region: RegionId(self.region.to_native()),
            cause: cause.transpose()?,
            what: self.what.get(TEXT_BYTES_MAX)?,
            ms: self.ms.to_native(),
        })
    }
}

impl<'a> From<&'a Ended> for EndedForm<'a> {
    fn from(ended: &'a Ended) -> EndedForm<'a> {
        let place = Outcome::ALL
            .iter()
            .position(|other| *other == ended.outcome);
        EndedForm {
            went: (&ended.went).into(),
            outcome: place.unwrap_or_default() as u8,
            ago_ms: ended.ago_ms,
        }
    }
}

impl ArchivedEndedForm<'_> {
    fn get(&self) -> Result<Ended, Malformed> {
        let outcome = Outcome::ALL.get(usize::from(self.outcome)).copied();
        Ok(Ended {
            went: self.went.get()?,
            outcome: outcome.ok_or(Malformed("an unknown outcome"))?,
            ago_ms: self.ago_ms.to_native(),
        })
    }
}

/// About how many bytes it has; no fewer than it really has.
pub fn weight(overview: &Overview) -> usize {
    let going = |going: &Going| going.what.len() + 48;
    let under_way = overview.under_way.iter().map(going);
    let ended = overview.ended.iter().map(|ended| going(&ended.went) + 24);
    let stores = overview.stores.iter().map(|store| store.state.len() + 64);
    let spread = overview.options.spread.iter().map(|name| name.len() + 16);
    512 + spread.sum::<usize>()
        + under_way.sum::<usize>()
        + ended.sum::<usize>()
        + stores.sum::<usize>()
}
