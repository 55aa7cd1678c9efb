//! Placement's messages as they are sent.

use rkyv::tuple::ArchivedTuple2;
use rkyv::{Archive, Serialize};

use crate::placement::Standing;
use crate::placement::codec::NODE_PARTS_MAX;
use crate::placement::message::{
    Message, NodeInfo, Operator, RegionFigures, RegionInfo, RegionStats, Regions, Source,
    StoreStats, Verdict,
};
use crate::shard::codec::Malformed;
use crate::shard::ids::{ClusterId, Edition, Index, NodeId, PeerId, RegionId, StoreId, Term};
use crate::shard::meta::PEERS_MAX;
use crate::wire::form::{
    self, ArchivedText, EpochForm, Octets, PeerChangeForm, PeerForm, RegionForm, Text, peer_changes,
};
use crate::wire::overview::OverviewForm;

/// No name, address or reason is longer.
const TEXT_BYTES_MAX: usize = 1024;

/// Any of placement's messages.
#[derive(Clone, Debug, Archive, Serialize)]
pub(crate) enum PlacementForm<'a> {
    Join {
        nonce: u64,
        address: Text<'a>,
        edition: u64,
        shards: u16,
        labels: Vec<(Text<'a>, Text<'a>)>,
    },
    Joined {
        nonce: u64,
        cluster: u64,
        node: u64,
        stores: Vec<u64>,
    },
    JoinRefused {
        nonce: u64,
        why: Text<'a>,
    },
    StoreHeartbeat(StoreStatsForm),
    StoreHeard {
        nodes: u64,
    },
    ListNodes,
    Nodes(u64, Vec<NodeForm<'a>>),
    RegionHeartbeat(RegionStatsForm<'a>),
    Operator(OperatorForm),
    AllocateIds {
        count: u32,
        nonce: u64,
    },
    Allocated {
        nonce: u64,
        first: u64,
        count: u32,
    },
    ValidatePeer {
        region: u64,
        peer: PeerForm,
        epoch: EpochForm,
    },
    Verdict {
        peer: u64,
        region: u64,
        verdict: VerdictForm<'a>,
    },
    LocateRegion {
        key: Octets<'a>,
    },
    ListRegions {
        start: Octets<'a>,
        count: u32,
    },
    Regions(RegionsForm<'a>),
    NotPlacement {
        hint: Option<u64>,
    },
    Stand {
        node: u64,
        standing: u8,
    },
    StandingRefused {
        node: u64,
        why: Text<'a>,
    },
    Removed {
        node: u64,
    },
    MoveRegion {
        region: u64,
        peer: u64,
        to: u64,
    },
    Moving {
        region: u64,
        peer: u64,
        to: u64,
    },
    MoveRefused {
        region: u64,
        why: Text<'a>,
    },
    Pause {
        paused: bool,
    },
    Paused {
        paused: bool,
    },
    LeadRegion {
        region: u64,
        peer: u64,
    },
    ShowPlacement,
    Overview(Box<OverviewForm<'a>>),
    ListKnown {
        start: Octets<'a>,
        count: u32,
    },
}

/// Regions, and who tells of them: a store, and how long ago it had them all, or nobody but placement.
#[derive(Clone, Debug, Archive, Serialize)]
pub(crate) struct RegionsForm<'a> {
    told: Vec<RegionInfoForm<'a>>,
    table: Option<(u64, Option<u64>)>,
}

/// A region, and what is known of it.
#[derive(Clone, Debug, Archive, Serialize)]
pub(crate) struct RegionInfoForm<'a> {
    region: RegionForm<'a>,
    leader: Option<PeerForm>,
    figures: Option<FiguresForm>,
}

/// How a region was.
#[derive(Clone, Debug, Archive, Serialize)]
pub(crate) struct FiguresForm {
    ago_ms: u64,
    bytes: u64,
    keys: u64,
    requests: u64,
    silent: Vec<(u64, u64)>,
    behind: Vec<u64>,
}

impl From<&RegionFigures> for FiguresForm {
    fn from(figures: &RegionFigures) -> FiguresForm {
        let silent = figures.silent.iter();
        FiguresForm {
            ago_ms: figures.ago_ms,
            bytes: figures.bytes,
            keys: figures.keys,
            requests: figures.requests,
            silent: silent.map(|(peer, ms)| (peer.0, *ms)).collect(),
            behind: figures.behind.iter().map(|peer| peer.0).collect(),
        }
    }
}

impl ArchivedFiguresForm {
    fn get(&self) -> Result<RegionFigures, Malformed> {
        let silent = few(&self.silent, PEERS_MAX)?.iter();
        let behind = few(&self.behind, PEERS_MAX)?.iter();
        Ok(RegionFigures {
            ago_ms: self.ago_ms.to_native(),
            bytes: self.bytes.to_native(),
            keys: self.keys.to_native(),
            requests: self.requests.to_native(),
            silent: silent
                .map(|one| (PeerId(one.0.to_native()), one.1.to_native()))
                .collect(),
            behind: behind.map(|peer| PeerId(peer.to_native())).collect(),
        })
    }
}

/// A process, and where it is reached.
#[derive(Clone, Debug, Archive, Serialize)]
pub(crate) struct NodeForm<'a> {
    node: u64,
    address: Text<'a>,
    edition: u64,
    standing: u8,
    stores: Vec<u64>,
    labels: Vec<(Text<'a>, Text<'a>)>,
}

/// How a store is.
#[derive(Clone, Copy, Debug, Archive, Serialize)]
pub(crate) struct StoreStatsForm {
    store: u64,
    capacity_bytes: u64,
    used_bytes: u64,
    available_bytes: u64,
    regions: u32,
    leaders: u32,
    sending_snapshots: u32,
    receiving_snapshots: u32,
    applying_snapshots: u32,
    started_ms: u64,
    busy: bool,
    interval_ms: u64,
    written_bytes: u64,
    written_keys: u64,
    read_bytes: u64,
    read_keys: u64,
}

/// How a region is.
#[derive(Clone, Debug, Archive, Serialize)]
pub(crate) struct RegionStatsForm<'a> {
    region: RegionForm<'a>,
    leader: PeerForm,
    term: u64,
    down_peers: Vec<(u64, u64)>,
    pending_peers: Vec<u64>,
    written_bytes: u64,
    written_keys: u64,
    requests: u64,
    interval_ms: u64,
    approximate_bytes: u64,
    approximate_keys: u64,
    applied: u64,
}

/// What the leader of a region should do.
#[derive(Clone, Debug, Archive, Serialize)]
pub(crate) enum OperatorForm {
    ChangePeers {
        region: u64,
        epoch: EpochForm,
        changes: Vec<PeerChangeForm>,
    },
    TransferLeader {
        region: u64,
        epoch: EpochForm,
        to: u64,
    },
}

/// What placement knows of a peer.
#[derive(Clone, Debug, Archive, Serialize)]
pub(crate) enum VerdictForm<'a> {
    Gone { region: RegionForm<'a> },
    Valid,
    Unknown,
    Older,
}

impl<'a> From<&'a Message> for PlacementForm<'a> {
    fn from(message: &'a Message) -> PlacementForm<'a> {
        match message {
            Message::Join {
                nonce,
                address,
                edition,
                shards,
                labels,
            } => PlacementForm::Join {
                nonce: *nonce,
                address: Text(address),
                edition: edition.0,
                shards: *shards,
                labels: labels
                    .iter()
                    .map(|(name, value)| (Text(name), Text(value)))
                    .collect(),
            },
            Message::Joined {
                nonce,
                cluster,
                node,
                stores,
            } => PlacementForm::Joined {
                nonce: *nonce,
                cluster: cluster.0,
                node: node.0,
                stores: stores.iter().map(|store| store.0).collect(),
            },
            Message::JoinRefused { nonce, why } => PlacementForm::JoinRefused {
                nonce: *nonce,
                why: Text(why),
            },
            Message::StoreHeartbeat(stats) => PlacementForm::StoreHeartbeat(stats.into()),
            Message::StoreHeard { nodes } => PlacementForm::StoreHeard { nodes: *nodes },
            Message::ListNodes => PlacementForm::ListNodes,
            Message::Nodes(version, nodes) => {
                PlacementForm::Nodes(*version, nodes.iter().map(NodeForm::from).collect())
            }
            Message::RegionHeartbeat(stats) => {
                PlacementForm::RegionHeartbeat(RegionStatsForm::from(&**stats))
            }
            Message::Operator(operator) => PlacementForm::Operator(operator.into()),
            Message::AllocateIds { count, nonce } => PlacementForm::AllocateIds {
                count: *count,
                nonce: *nonce,
            },
            Message::Allocated {
                nonce,
                first,
                count,
            } => PlacementForm::Allocated {
                nonce: *nonce,
                first: *first,
                count: *count,
            },
            Message::ValidatePeer {
                region,
                peer,
                epoch,
            } => PlacementForm::ValidatePeer {
                region: region.0,
                peer: peer.into(),
                epoch: (*epoch).into(),
            },
            Message::Verdict {
                peer,
                region,
                verdict,
            } => PlacementForm::Verdict {
                peer: peer.0,
                region: region.0,
                verdict: match verdict {
                    Verdict::Gone { region } => VerdictForm::Gone {
                        region: region.into(),
                    },
                    Verdict::Valid => VerdictForm::Valid,
                    Verdict::Unknown => VerdictForm::Unknown,
                    Verdict::Older => VerdictForm::Older,
                },
            },
            Message::LocateRegion { key } => PlacementForm::LocateRegion { key: Octets(key) },
            Message::ListRegions { start, count } => PlacementForm::ListRegions {
                start: Octets(start),
                count: *count,
            },
            Message::ListKnown { start, count } => PlacementForm::ListKnown {
                start: Octets(start),
                count: *count,
            },
            Message::Regions(regions) => PlacementForm::Regions(regions.into()),
            Message::NotPlacement { hint } => PlacementForm::NotPlacement {
                hint: hint.map(|store| store.0),
            },
            Message::Stand { node, standing } => PlacementForm::Stand {
                node: node.0,
                standing: standing.number(),
            },
            Message::StandingRefused { node, why } => PlacementForm::StandingRefused {
                node: node.0,
                why: Text(why),
            },
            Message::Removed { node } => PlacementForm::Removed { node: node.0 },
            Message::MoveRegion { region, peer, to } => PlacementForm::MoveRegion {
                region: region.0,
                peer: peer.0,
                to: to.0,
            },
            Message::LeadRegion { region, peer } => PlacementForm::LeadRegion {
                region: region.0,
                peer: peer.0,
            },
            Message::Moving { region, peer, to } => PlacementForm::Moving {
                region: region.0,
                peer: peer.0,
                to: to.0,
            },
            Message::MoveRefused { region, why } => PlacementForm::MoveRefused {
                region: region.0,
                why: Text(why),
            },
            Message::Pause { paused } => PlacementForm::Pause { paused: *paused },
            Message::Paused { paused } => PlacementForm::Paused { paused: *paused },
            Message::ShowPlacement => PlacementForm::ShowPlacement,
            Message::Overview(overview) => {
                PlacementForm::Overview(Box::new(OverviewForm::from(&**overview)))
            }
        }
    }
}

impl ArchivedPlacementForm<'_> {
    /// The message.
    pub fn get(&self, source: &form::Source<'_>) -> Result<Message, Malformed> {
        use ArchivedPlacementForm as Form;
        Ok(match self {
            Form::Join {
                nonce,
                address,
                edition,
                shards,
                labels,
            } => Message::Join {
                nonce: nonce.to_native(),
                address: address.get(TEXT_BYTES_MAX)?,
                edition: Edition(edition.to_native()),
                shards: shards.to_native(),
                labels: named(labels)?,
            },
            Form::Joined {
                nonce,
                cluster,
                node,
                stores,
            } => Message::Joined {
                nonce: nonce.to_native(),
                cluster: ClusterId(cluster.to_native()),
                node: NodeId(node.to_native()),
                stores: few(stores, NODE_PARTS_MAX)?
                    .iter()
                    .map(|store| StoreId(store.to_native()))
                    .collect(),
            },
            Form::JoinRefused { nonce, why } => Message::JoinRefused {
                nonce: nonce.to_native(),
                why: why.get(TEXT_BYTES_MAX)?,
            },
            Form::StoreHeartbeat(stats) => Message::StoreHeartbeat(stats.get()),
            Form::StoreHeard { nodes } => Message::StoreHeard {
                nodes: nodes.to_native(),
            },
            Form::ListNodes => Message::ListNodes,
            Form::Nodes(version, nodes) => Message::Nodes(
                version.to_native(),
                nodes
                    .iter()
                    .map(ArchivedNodeForm::get)
                    .collect::<Result<_, Malformed>>()?,
            ),
            Form::RegionHeartbeat(stats) => Message::RegionHeartbeat(Box::new(stats.get(source)?)),
            Form::Operator(operator) => Message::Operator(operator.get()?),
            Form::AllocateIds { count, nonce } => Message::AllocateIds {
                count: count.to_native(),
                nonce: nonce.to_native(),
            },
            Form::Allocated {
                nonce,
                first,
                count,
            } => Message::Allocated {
                nonce: nonce.to_native(),
                first: first.to_native(),
                count: count.to_native(),
            },
            Form::ValidatePeer {
                region,
                peer,
                epoch,
            } => Message::ValidatePeer {
                region: RegionId(region.to_native()),
                peer: peer.get()?,
                epoch: epoch.get(),
            },
            Form::Verdict {
                peer,
                region,
                verdict,
            } => Message::Verdict {
                peer: PeerId(peer.to_native()),
                region: RegionId(region.to_native()),
                verdict: match verdict {
                    ArchivedVerdictForm::Gone { region } => Verdict::Gone {
                        region: region.get(source)?,
                    },
                    ArchivedVerdictForm::Valid => Verdict::Valid,
                    ArchivedVerdictForm::Unknown => Verdict::Unknown,
                    ArchivedVerdictForm::Older => Verdict::Older,
                },
            },
            Form::LocateRegion { key } => Message::LocateRegion {
                key: source.key(key)?,
            },
            Form::ListRegions { start, count } => Message::ListRegions {
                start: source.key(start)?,
                count: count.to_native(),
            },
            Form::ListKnown { start, count } => Message::ListKnown {
                start: source.key(start)?,
                count: count.to_native(),
            },
            Form::Regions(regions) => Message::Regions(regions.get(source)?),
            Form::NotPlacement { hint } => Message::NotPlacement {
                hint: hint.as_ref().map(|store| StoreId(store.to_native())),
            },
            Form::Stand { node, standing: to } => Message::Stand {
                node: NodeId(node.to_native()),
                standing: standing(*to)?,
            },
            Form::StandingRefused { node, why } => Message::StandingRefused {
                node: NodeId(node.to_native()),
                why: why.get(TEXT_BYTES_MAX)?,
            },
            Form::Removed { node } => Message::Removed {
                node: NodeId(node.to_native()),
            },
            Form::MoveRegion { region, peer, to } => Message::MoveRegion {
                region: RegionId(region.to_native()),
                peer: PeerId(peer.to_native()),
                to: StoreId(to.to_native()),
            },
            Form::LeadRegion { region, peer } => Message::LeadRegion {
                region: RegionId(region.to_native()),
                peer: PeerId(peer.to_native()),
            },
            Form::Moving { region, peer, to } => Message::Moving {
                region: RegionId(region.to_native()),
                peer: PeerId(peer.to_native()),
                to: StoreId(to.to_native()),
            },
            Form::MoveRefused { region, why } => Message::MoveRefused {
                region: RegionId(region.to_native()),
                why: why.get(TEXT_BYTES_MAX)?,
            },
            Form::Pause { paused } => Message::Pause { paused: *paused },
            Form::Paused { paused } => Message::Paused { paused: *paused },
            Form::ShowPlacement => Message::ShowPlacement,
            Form::Overview(overview) => Message::Overview(Box::new((**overview).get()?)),
        })
    }
}

impl<'a> From<&'a Regions> for RegionsForm<'a> {
    fn from(regions: &'a Regions) -> RegionsForm<'a> {
        let told = regions.told.iter();
        RegionsForm {
            told: told
                .map(|told| RegionInfoForm {
                    region: (&told.region).into(),
                    leader: told.leader.as_ref().map(PeerForm::from),
                    figures: told.figures.as_ref().map(FiguresForm::from),
                })
                .collect(),
            table: match regions.by {
                Source::Placement => None,
                Source::Table { store, age_ms } => Some((store.0, age_ms)),
            },
        }
    }
}

impl ArchivedRegionsForm<'_> {
    fn get(&self, source: &form::Source<'_>) -> Result<Regions, Malformed> {
        let told = self.told.iter().map(|told| {
            let leader = told.leader.as_ref();
            Ok(RegionInfo {
                region: told.region.get(source)?,
                leader: leader.map(|leader| leader.get()).transpose()?,
                figures: told.figures.as_ref().map(|f| f.get()).transpose()?,
            })
        });
        Ok(Regions {
            told: told.collect::<Result<_, Malformed>>()?,
            by: match self.table.as_ref() {
                None => Source::Placement,
                Some(table) => Source::Table {
                    store: StoreId(table.0.to_native()),
                    age_ms: table.1.as_ref().map(|age| age.to_native()),
                },
            },
        })
    }
}

impl<'a> From<&'a NodeInfo> for NodeForm<'a> {
    fn from(node: &'a NodeInfo) -> NodeForm<'a> {
        let labels = node.labels.iter();
        NodeForm {
            node: node.node.0,
            address: Text(&node.address),
            edition: node.edition.0,
            standing: node.standing.number(),
            stores: node.stores.iter().map(|store| store.0).collect(),
            labels: labels
                .map(|(name, value)| (Text(name), Text(value)))
                .collect(),
        }
    }
}

impl ArchivedNodeForm<'_> {
    fn get(&self) -> Result<NodeInfo, Malformed> {
        let stores = few(&self.stores, NODE_PARTS_MAX)?.iter();
        Ok(NodeInfo {
            node: NodeId(self.node.to_native()),
            address: self.address.get(TEXT_BYTES_MAX)?,
            edition: Edition(self.edition.to_native()),
            standing: standing(self.standing)?,
            stores: stores.map(|store| StoreId(store.to_native())).collect(),
            labels: named(&self.labels)?,
        })
    }
}

fn standing(number: u8) -> Result<Standing, Malformed> {
    Standing::of(number).ok_or(Malformed("an unknown standing"))
}

/// Names and values.
fn named(
    labels: &[ArchivedTuple2<ArchivedText<'_>, ArchivedText<'_>>],
) -> Result<Vec<(String, String)>, Malformed> {
    few(labels, NODE_PARTS_MAX)?
        .iter()
        .map(|label| Ok((label.0.get(TEXT_BYTES_MAX)?, label.1.get(TEXT_BYTES_MAX)?)))
        .collect()
}

/// A list of at most so many.
fn few<T>(list: &[T], most: usize) -> Result<&[T], Malformed> {
    match list.len() > most {
        true => Err(Malformed("too many")),
        false => Ok(list),
    }
}

impl From<&StoreStats> for StoreStatsForm {
    fn from(stats: &StoreStats) -> StoreStatsForm {
        StoreStatsForm {
            store: stats.store.0,
            capacity_bytes: stats.capacity_bytes,
            used_bytes: stats.used_bytes,
            available_bytes: stats.available_bytes,
            regions: stats.regions,
            leaders: stats.leaders,
            sending_snapshots: stats.sending_snapshots,
            receiving_snapshots: stats.receiving_snapshots,
            applying_snapshots: stats.applying_snapshots,
            started_ms: stats.started_ms,
            busy: stats.busy,
            interval_ms: stats.interval_ms,
            written_bytes: stats.written_bytes,
            written_keys: stats.written_keys,
            read_bytes: stats.read_bytes,
            read_keys: stats.read_keys,
        }
    }
}

impl ArchivedStoreStatsForm {
    fn get(&self) -> StoreStats {
        StoreStats {
            store: StoreId(self.store.to_native()),
            capacity_bytes: self.capacity_bytes.to_native(),
            used_bytes: self.used_bytes.to_native(),
            available_bytes: self.available_bytes.to_native(),
            regions: self.regions.to_native(),
            leaders: self.leaders.to_native(),
            sending_snapshots: self.sending_snapshots.to_native(),
            receiving_snapshots: self.receiving_snapshots.to_native(),
            applying_snapshots: self.applying_snapshots.to_native(),
            started_ms: self.started_ms.to_native(),
            busy: self.busy,
            interval_ms: self.interval_ms.to_native(),
            written_bytes: self.written_bytes.to_native(),
            written_keys: self.written_keys.to_native(),
            read_bytes: self.read_bytes.to_native(),
            read_keys: self.read_keys.to_native(),
        }
    }
}

impl<'a> From<&'a RegionStats> for RegionStatsForm<'a> {
    fn from(stats: &'a RegionStats) -> RegionStatsForm<'a> {
        RegionStatsForm {
            region: (&stats.region).into(),
            leader: (&stats.leader).into(),
            term: stats.term.0,
            down_peers: stats
                .down_peers
                .iter()
                .map(|(peer, ms)| (peer.0, *ms))
                .collect(),
            pending_peers: stats.pending_peers.iter().map(|peer| peer.0).collect(),
            written_bytes: stats.written_bytes,
            written_keys: stats.written_keys,
            requests: stats.requests,
            interval_ms: stats.interval_ms,
            approximate_bytes: stats.approximate_bytes,
            approximate_keys: stats.approximate_keys,
            applied: stats.applied.0,
        }
    }
}

impl ArchivedRegionStatsForm<'_> {
    fn get(&self, source: &form::Source<'_>) -> Result<RegionStats, Malformed> {
        Ok(RegionStats {
            region: self.region.get(source)?,
            leader: self.leader.get()?,
            term: Term(self.term.to_native()),
            down_peers: self
                .down_peers
                .iter()
                .map(|down| (PeerId(down.0.to_native()), down.1.to_native()))
                .collect(),
            pending_peers: self
                .pending_peers
                .iter()
                .map(|peer| PeerId(peer.to_native()))
                .collect(),
            written_bytes: self.written_bytes.to_native(),
            written_keys: self.written_keys.to_native(),
            requests: self.requests.to_native(),
            interval_ms: self.interval_ms.to_native(),
            approximate_bytes: self.approximate_bytes.to_native(),
            approximate_keys: self.approximate_keys.to_native(),
            applied: Index(self.applied.to_native()),
        })
    }
}

impl From<&Operator> for OperatorForm {
    fn from(operator: &Operator) -> OperatorForm {
        match operator {
            Operator::ChangePeers {
                region,
                epoch,
                changes,
            } => OperatorForm::ChangePeers {
                region: region.0,
                epoch: (*epoch).into(),
                changes: changes.iter().map(PeerChangeForm::from).collect(),
            },
            Operator::TransferLeader { region, epoch, to } => OperatorForm::TransferLeader {
                region: region.0,
                epoch: (*epoch).into(),
                to: to.0,
            },
        }
    }
}

impl ArchivedOperatorForm {
    fn get(&self) -> Result<Operator, Malformed> {
        Ok(match self {
            ArchivedOperatorForm::ChangePeers {
                region,
                epoch,
                changes,
            } => Operator::ChangePeers {
                region: RegionId(region.to_native()),
                epoch: epoch.get(),
                changes: peer_changes(changes)?,
            },
            ArchivedOperatorForm::TransferLeader { region, epoch, to } => {
                Operator::TransferLeader {
                    region: RegionId(region.to_native()),
                    epoch: epoch.get(),
                    to: PeerId(to.to_native()),
                }
            }
        })
    }
}

/// About how many bytes a message has where it is archived; no fewer than it really has.
pub fn weight(message: &Message) -> usize {
    let region = |region: &crate::shard::region::Region| {
        128 + region.range.start.len() + region.range.limit.len() + region.peers.len() * 24
    };
    512 + match message {
        Message::Join {
            address, labels, ..
        } => {
            let labels = labels
                .iter()
                .map(|(name, value)| name.len() + value.len() + 32);
            address.len() + labels.sum::<usize>()
        }
        Message::Joined { stores, .. } => stores.len() * 8,
        Message::JoinRefused { why, .. }
        | Message::StandingRefused { why, .. }
        | Message::MoveRefused { why, .. } => why.len(),
        Message::Overview(overview) => super::overview::weight(overview),
        Message::RegionHeartbeat(stats) => {
            region(&stats.region) + stats.down_peers.len() * 16 + stats.pending_peers.len() * 8
        }
        Message::Operator(Operator::ChangePeers { changes, .. }) => changes.len() * 32,
        Message::Verdict {
            verdict: Verdict::Gone { region: gone },
            ..
        } => region(gone),
        Message::LocateRegion { key }
        | Message::ListRegions { start: key, .. }
        | Message::ListKnown { start: key, .. } => key.len(),
        Message::Regions(regions) => {
            let told = regions.told.iter();
            let figures = |told: &RegionInfo| {
                let figures = told.figures.as_ref();
                figures.map_or(0, |f| f.silent.len() * 16 + f.behind.len() * 8 + 64)
            };
            told.map(|told| region(&told.region) + figures(told) + 64)
                .sum()
        }
        _ => 0,
    }
}
