//! The whole cluster, as its nodes tell of themselves: what commands for operators look at.

use std::time::Duration;

use coracle_engine::record::KeyRange;
use serde_json::Value;

use crate::cli::octets::{stored, unescape};
use crate::cli::page;
use crate::cli::target::{Target, failed, strange};
use crate::cli::{Exit, Failure};
use crate::placement::message::{RegionFigures, RegionInfo, Source};
use crate::placement::{Message, NodeInfo};
use crate::runtime::address::Address;
use crate::runtime::caller::Caller;
use crate::shard::ids::{PeerId, RegionId, StoreId};
use crate::shard::region::{Epoch, PeerInfo, Role};

/// How long one node may take to tell of itself.
const GLANCE: Duration = Duration::from_secs(2);

/// The nodes of a cluster, by way of one of them.
pub(super) struct Cluster {
    /// The way in.
    pub caller: Caller,
    /// The nodes that belong to it.
    pub nodes: Vec<NodeInfo>,
}

/// What one node tells of itself, or why it does not.
pub(super) struct Told {
    /// The node.
    pub node: NodeInfo,
    /// Its page.
    pub status: Result<Value, String>,
}

/// A region as its replicas tell of it at the moment.
#[derive(Clone, Debug)]
pub(super) struct RegionView {
    /// The region.
    pub id: RegionId,
    /// How often it has changed.
    pub epoch: Epoch,
    /// Its first stored key, escaped.
    pub start: String,
    /// The stored key behind it, escaped.
    pub limit: String,
    /// Its peers.
    pub peers: Vec<PeerInfo>,
    /// Who leads it, if anybody does.
    pub leader: Option<PeerInfo>,
    /// The term.
    pub term: u64,
    /// How far its leader has committed.
    pub committed: u64,
    /// How far each replica that answers has applied.
    pub applied: Vec<(PeerId, u64)>,
    /// How it was when its leader last told placement of it.
    pub figures: Option<RegionFigures>,
}

/// All regions, and who told of those that placement, or whoever answers for it, knows.
pub(super) struct Regions {
    /// In the order of their keys.
    pub views: Vec<RegionView>,
    /// Who told.
    pub by: Source,
}

impl RegionView {
    /// Whether it lies before all keys of users.
    pub fn is_of_system(&self) -> bool {
        let limit = unescape(self.limit.as_bytes()).unwrap_or_default();
        !limit.is_empty() && limit <= stored(b"")
    }

    /// The replica on this store.
    pub fn on_store(&self, store: StoreId) -> Option<PeerInfo> {
        self.peers.iter().find(|peer| peer.store == store).copied()
    }

    /// The replica on the store of this number or, if there is none, that has the number itself.
    pub fn named(&self, number: u64) -> Option<PeerInfo> {
        let of_number = |peer: &&PeerInfo| peer.peer == PeerId(number);
        self.on_store(StoreId(number))
            .or(self.peers.iter().find(of_number).copied())
    }

    /// How far a replica has applied, if it answers.
    pub fn applied_by(&self, peer: PeerId) -> Option<u64> {
        let found = self.applied.iter().find(|(id, _)| *id == peer);
        found.map(|(_, applied)| *applied)
    }

    /// Stores whose replicas are silent, and for how many milliseconds, or cannot follow. What has gone since is no
    /// trouble, and whoever comes follows when it has everything.
    pub fn ailing(&self) -> Vec<(StoreId, Option<u64>)> {
        let Some(figures) = &self.figures else {
            return Vec::new();
        };
        let voters = self.peers.iter().filter(|info| info.role == Role::Voter);
        let ailing = voters.filter_map(|info| {
            let silent = figures.silent.iter().find(|(peer, _)| *peer == info.peer);
            match silent {
                Some((_, ms)) => Some((info.store, Some(ms + figures.ago_ms))),
                None => figures
                    .behind
                    .contains(&info.peer)
                    .then_some((info.store, None)),
            }
        });
        ailing.collect()
    }

    /// What is not as it should be with it, in words.
    pub fn troubles(&self) -> Vec<String> {
        let nobody = self.leader.is_none().then(|| "led by nobody".to_string());
        let ailing = self
            .ailing()
            .into_iter()
            .map(|(store, silent)| match silent {
                Some(ms) => format!("store {store} silent for {} s", ms / 1000),
                None => format!("store {store} behind"),
            });
        nobody.into_iter().chain(ailing).collect()
    }

    /// Whether a replica comes or goes.
    pub fn is_moving(&self) -> bool {
        self.peers.iter().any(|peer| peer.role != Role::Voter)
    }

    /// Whether its configuration is joint.
    pub fn is_joint(&self) -> bool {
        self.peers.iter().any(|peer| peer.role.is_joint())
    }

    /// What is said of a replica in one word.
    pub fn part(&self, peer: &PeerInfo) -> &'static str {
        match peer.role {
            Role::Voter if self.leader.map(|leader| leader.peer) == Some(peer.peer) => "leader",
            Role::Voter => "voter",
            Role::Learner => "learner",
            Role::Incoming => "incoming",
            Role::Outgoing => "outgoing",
            Role::Demoting => "demoting",
        }
    }
}

impl Cluster {
    /// By way of the target.
    pub fn open(target: &Target) -> Result<Cluster, Failure> {
        let mut caller = target.connect()?;
        let nodes = match caller.ask_placement(&Message::ListNodes).map_err(failed)? {
            Message::Nodes(_, nodes) => nodes,
            other => return Err(strange(&other)),
        };
        Ok(Cluster { caller, nodes })
    }

    /// The node that a store is on, and its shard's number there.
    pub fn place(&self, store: StoreId) -> Option<(&NodeInfo, u16)> {
        self.nodes.iter().find_map(|node| {
            let shard = node.stores.iter().position(|other| *other == store)?;
            Some((node, shard as u16))
        })
    }

    /// The same, or that there is no such store.
    pub fn place_or_fail(&self, store: StoreId) -> Result<(&NodeInfo, u16), Failure> {
        self.place(store).ok_or_else(|| {
            let stores: Vec<String> = self
                .nodes
                .iter()
                .flat_map(|node| &node.stores)
                .map(StoreId::to_string)
                .collect();
            let why = format!(
                "there is no store {store}; the stores are {}",
                stores.join(", ")
            );
            Failure::new(Exit::Failed, why)
        })
    }

    /// What all nodes tell of themselves, asked at once.
    pub fn look(&self) -> Vec<Told> {
        std::thread::scope(|scope| {
            let asked: Vec<_> = self
                .nodes
                .iter()
                .map(|node| {
                    scope.spawn(|| {
                        let address = Address::parse(&node.address);
                        let status = address.and_then(|address| page::status(&address, GLANCE));
                        let status = status.and_then(|status| of_node(node, status));
                        let node = node.clone();
                        Told { node, status }
                    })
                })
                .collect();
            let told = asked.into_iter().filter_map(|thread| thread.join().ok());
            told.collect()
        })
    }

    /// All regions, as told by whoever knows most of each.
    pub fn regions(&self) -> Vec<RegionView> {
        gather(&self.look())
    }

    /// All regions, with what placement knows of them beside what nodes tell.
    pub fn all_regions(&mut self, told: &[Told]) -> Result<Regions, Failure> {
        let mut views = gather(told);
        let (mut start, mut by) = (Vec::new(), Source::Placement);
        loop {
            let count = 256;
            let question = Message::ListRegions { start, count };
            let some = match self.caller.ask_placement(&question).map_err(failed)? {
                Message::Regions(regions) => regions,
                other => return Err(strange(&other)),
            };
            if by == Source::Placement {
                by = some.by;
            }
            let last = some.told.last().map(|told| told.region.range.limit.clone());
            for told in some.told {
                join(&mut views, told);
            }
            match last {
                Some(limit) if !limit.is_empty() => start = limit,
                _ => break,
            }
        }
        sort(&mut views);
        Ok(Regions { views, by })
    }

    /// One region.
    pub fn region(&self, id: RegionId) -> Result<RegionView, Failure> {
        let found = self.regions().into_iter().find(|region| region.id == id);
        found.ok_or_else(|| Failure::new(Exit::Failed, format!("no node tells of a region {id}")))
    }

    /// Connects to the shard that is a store.
    pub fn connect(&self, store: StoreId, patience: Duration) -> Result<Caller, Failure> {
        let (node, shard) = self.place_or_fail(store)?;
        let failed = |why: String| Failure::new(Exit::Failed, format!("node {}: {why}", node.node));
        let mut address = Address::parse(&node.address).map_err(failed)?;
        let port = address.shard_port(shard);
        address.port =
            port.ok_or_else(|| failed(format!("{} has no shard {shard}", node.address)))?;
        Caller::connect(&address, patience).map_err(|error| failed(error.to_string()))
    }
}

/// Puts together what replicas say of their regions: the leader's word counts, or the latest.
pub(super) fn gather(told: &[Told]) -> Vec<RegionView> {
    let mut regions: Vec<RegionView> = Vec::new();
    let mut words: Vec<Replica> = told
        .iter()
        .filter_map(|told| told.status.as_ref().ok())
        .flat_map(|status| list(&status["shards"]))
        .flat_map(|shard| list(&shard["regions"]))
        .filter_map(Replica::read)
        .collect();
    // The best word of each region comes first.
    words.sort_by_key(|word| {
        let (view, rank) = (
            &word.view,
            (word.view.epoch.version, word.view.epoch.conf_ver),
        );
        (view.id, std::cmp::Reverse((rank, view.term, word.leads)))
    });
    for word in words {
        let applied = (word.peer, word.applied);
        match regions.last_mut().filter(|last| last.id == word.view.id) {
            Some(last) => {
                last.applied.push(applied);
                // A leader that has not come to the latest epoch is one all the same, in the latest term.
                if word.view.term >= last.term && last.leader.is_none() {
                    last.leader = word.view.leader;
                }
            }
            None => regions.push(RegionView {
                applied: vec![applied],
                ..word.view
            }),
        }
    }
    sort(&mut regions);
    regions
}

fn sort(regions: &mut [RegionView]) {
    regions.sort_by_cached_key(|region| unescape(region.start.as_bytes()));
}

/// Adds what placement tells of a region to what nodes have told. One that no node tells of is there all the same,
/// unless they know something newer of its keys.
fn join(views: &mut Vec<RegionView>, told: RegionInfo) {
    let RegionInfo {
        region,
        leader,
        figures,
    } = told;
    if let Some(view) = views.iter_mut().find(|view| view.id == region.id) {
        view.figures = figures;
        return;
    }
    let shown = |key: &[u8]| key.escape_ascii().to_string();
    let (start, limit) = (shown(&region.range.start), shown(&region.range.limit));
    let key = |shown: &str| unescape(shown.as_bytes()).unwrap_or_default();
    let overlaps = |view: &RegionView| {
        KeyRange::new(&key(&view.start), &key(&view.limit)).overlaps(&region.range)
    };
    if views.iter().any(overlaps) {
        return;
    }
    views.push(RegionView {
        id: region.id,
        epoch: region.epoch,
        start,
        limit,
        peers: region.peers,
        leader,
        term: 0,
        committed: 0,
        applied: Vec::new(),
        figures,
    });
}

/// The page of a node, if it is that node which answers: a node that was set up anew at the same address is another.
fn of_node(node: &NodeInfo, status: Value) -> Result<Value, String> {
    match status["node"].as_u64() {
        Some(other) if other != node.node.0 => Err(format!("node {other} answers there")),
        _ => Ok(status),
    }
}

/// Whether every key belongs to one of these regions, which are in order.
pub(super) fn are_complete(regions: &[RegionView]) -> bool {
    let begins = regions.first().is_some_and(|first| first.start.is_empty());
    let ends = regions.last().is_some_and(|last| last.limit.is_empty());
    begins && ends && regions.windows(2).all(|two| two[0].limit == two[1].start)
}

/// What one replica says of its region.
struct Replica {
    view: RegionView,
    peer: PeerId,
    leads: bool,
    applied: u64,
}

impl Replica {
    fn read(value: &Value) -> Option<Replica> {
        let number = |name: &str| value[name].as_u64();
        let peers = list(&value["peers"]).map(|peer| {
            Some(PeerInfo {
                peer: PeerId(peer["peer"].as_u64()?),
                store: StoreId(peer["store"].as_u64()?),
                role: role(peer["role"].as_str()?)?,
            })
        });
        let peers: Vec<PeerInfo> = peers.collect::<Option<_>>()?;
        let leads = value["leads"].as_bool()?;
        let leader = value["leader"].as_u64().map(PeerId);
        Some(Replica {
            peer: PeerId(number("peer")?),
            leads,
            applied: number("applied")?,
            view: RegionView {
                id: RegionId(number("region")?),
                epoch: Epoch {
                    version: number("version")?,
                    conf_ver: number("conf_ver")?,
                },
                start: value["start"].as_str()?.into(),
                limit: value["limit"].as_str()?.into(),
                leader: peers.iter().find(|peer| Some(peer.peer) == leader).copied(),
                peers,
                term: number("term")?,
                committed: number("committed")?,
                applied: Vec::new(),
                figures: None,
            },
        })
    }
}

/// A list in JSON; nothing, if it is none.
pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn role(word: &str) -> Option<Role> {
    Some(match word {
        "voter" => Role::Voter,
        "learner" => Role::Learner,
        "incoming" => Role::Incoming,
        "outgoing" => Role::Outgoing,
        "demoting" => Role::Demoting,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::shard::ids::Edition;

    fn replica(peer: u64, conf_ver: u64, term: u64, leads: bool) -> Value {
        json!({
            "region": 2, "version": 1, "conf_ver": conf_ver, "start": "\\x01", "limit": "", "peer": peer,
            "peers": [{ "peer": 5, "store": 1, "role": "voter" }, { "peer": 6, "store": 3, "role": "learner" }],
            "leads": leads, "leader": 5, "term": term, "applied": peer * 10, "committed": 50,
        })
    }

    fn told(replicas: &[Value]) -> Told {
        Told {
            node: NodeInfo {
                node: Default::default(),
                address: "127.0.0.1:7400".into(),
                edition: Edition::FIRST,
                standing: crate::placement::Standing::Member,
                stores: vec![StoreId(1)],
                labels: Vec::new(),
            },
            status: Ok(json!({ "shards": [{ "regions": replicas }] })),
        }
    }

    #[test]
    fn a_node_that_has_taken_the_address_of_another_does_not_speak_for_it() {
        let node = told(&[]).node;
        let of = |number: u64| of_node(&node, json!({ "node": number }));
        assert!(of(node.node.0).is_ok());
        assert_eq!(of(1009), Err("node 1009 answers there".into()));
    }

    #[test]
    fn regions_are_in_the_order_of_their_keys_and_gaps_are_seen() {
        let region = |id: u64, start: &str, limit: &str| {
            let mut word = replica(5, 1, 1, true);
            word["region"] = id.into();
            word["start"] = start.into();
            word["limit"] = limit.into();
            word
        };
        let words = [
            region(2, "\\xff", ""),
            region(3, "", "a"),
            region(4, "a", "\\xff"),
        ];
        let regions = gather(&[told(&words)]);
        let ids: Vec<u64> = regions.iter().map(|region| region.id.0).collect();
        assert_eq!(ids, [3, 4, 2]);
        assert!(are_complete(&regions));
        assert!(!are_complete(&gather(&[told(&words[..2])])));
        assert!(!are_complete(&gather(&[told(&words[1..])])));
        assert!(!are_complete(&[]));
    }

    #[test]
    fn who_is_silent_or_behind_is_told_as_far_as_it_is_still_there_and_votes() {
        let mut view = gather(&[told(&[replica(5, 1, 4, true)])]).remove(0);
        assert_eq!(view.troubles(), [""; 0]);
        view.figures = Some(RegionFigures {
            ago_ms: 500,
            silent: vec![(PeerId(5), 2700), (PeerId(9), 9)],
            behind: vec![PeerId(5), PeerId(6)],
            ..RegionFigures::default()
        });
        // Peer 6 is a learner, and 9 is gone.
        assert_eq!(view.troubles(), ["store 1 silent for 3 s"]);
        view.leader = None;
        view.figures = Some(RegionFigures {
            behind: vec![PeerId(5)],
            ..RegionFigures::default()
        });
        assert_eq!(view.troubles(), ["led by nobody", "store 1 behind"]);
    }

    #[test]
    fn what_no_node_tells_of_is_told_by_placement() {
        let region = |id: u64, start: &[u8], limit: &[u8]| {
            let region = crate::shard::region::Region {
                id: RegionId(id),
                epoch: Epoch::default(),
                range: KeyRange::new(start, limit),
                peers: Vec::new(),
            };
            RegionInfo {
                figures: Some(RegionFigures {
                    bytes: id,
                    ..RegionFigures::default()
                }),
                ..RegionInfo::of(region, None)
            }
        };
        let mut views = gather(&[told(&[replica(5, 1, 4, true)])]);
        join(&mut views, region(2, b"\x01", b""));
        join(&mut views, region(1, b"", b"\x01"));
        // Of these keys nodes know another region.
        join(&mut views, region(7, b"\x01a", b"\x01b"));
        sort(&mut views);
        let known = views.iter().map(|view| {
            let figures = view.figures.as_ref();
            (view.id.0, figures.map_or(0, |figures| figures.bytes))
        });
        assert_eq!(known.collect::<Vec<_>>(), [(1, 1), (2, 2)]);
    }

    #[test]
    fn the_latest_word_of_a_region_counts() {
        let silent = Told {
            status: Err("refused".into()),
            ..told(&[])
        };
        let stale = told(&[replica(6, 1, 3, false)]);
        let regions = gather(&[stale, silent, told(&[replica(5, 2, 4, true)])]);
        let [region] = &regions[..] else {
            panic!("{regions:?}");
        };
        assert_eq!(region.epoch.conf_ver, 2);
        assert_eq!(region.term, 4);
        assert_eq!(region.applied_by(PeerId(6)), Some(60));
        let parts: Vec<_> = region.peers.iter().map(|peer| region.part(peer)).collect();
        assert_eq!(parts, ["leader", "learner"]);
        assert_eq!(region.named(3), region.named(6));
    }
}
