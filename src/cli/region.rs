//! `coracle region`: what regions there are, and where their replicas are.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::amount;
use crate::cli::cluster::{Cluster, RegionView};
use crate::cli::octets::{plain, shown, stored, typed, unescape};
use crate::cli::region_move;
use crate::cli::target::Target;
use crate::cli::{Exit, Failure};
use crate::placement::Message;
use crate::placement::message::{RegionFigures, Source};
use crate::runtime::caller::CallError;
use crate::runtime::machine;
use crate::shard::error::Error;
use crate::shard::ids::{PeerId, RegionId, StoreId};
use crate::shard::region::{Epoch, PeerInfo, Role};
use crate::shard::request::{Body, PeerChange};

/// The pause between two looks at a region that is to change.
const PAUSE: Duration = Duration::from_millis(300);

/// So much of a key is shown where all regions are listed.
const KEY_SHOWN: usize = 20;

/// What is shown for the borders of a region that holds no keys of users.
const SYSTEM: &str = "(system)";

/// What the help says about placement.
const PLACEMENT: &str = "Placement keeps every region at the cluster's number of replicas, each on a node of its own, and goes on \
     doing so: it takes away a replica that is one too many, and makes up for one that is missing. What is changed \
     here stays only if placement would have it so.";

/// What is done with regions.
#[derive(Subcommand)]
pub enum RegionCommand {
    /// List all regions
    List(List),
    /// Show one region and its replicas
    Show(Show),
    /// Add a replica on a store: as a learner that is promoted once it has caught up
    #[command(name = "add-peer", after_help = format!("Examples:\n  coracle region add-peer 2 5\n  coracle region add-peer 2 5 --learner\n\n{PLACEMENT}"))]
    AddPeer(AddPeer),
    /// Remove a replica
    #[command(name = "remove-peer", after_help = format!("Examples:\n  coracle region remove-peer 2 5\n\n{PLACEMENT}"))]
    RemovePeer(RemovePeer),
    /// Let the replica on another store lead
    #[command(
        name = "transfer-leader",
        after_help = "Placement leaves it there for ten minutes, whatever else would be more even.\n\nExamples:\n  coracle region transfer-leader 2 5"
    )]
    TransferLeader(TransferLeader),
    /// Move a replica to another store, and tell how far it is
    #[command(after_help = region_move::HELP)]
    Move(region_move::Move),
    /// Split a region into several, without a pause for what does not lie in it
    #[command(
        after_help = "Examples:\n  coracle region split 2\n  coracle region split 2 --at user5 --at user7"
    )]
    Split(Split),
}

/// Lists all regions.
#[derive(Args)]
#[command(
    after_help = "Keys are shown as they are typed; - is no border. A region of the system lies before all keys of users. In JSON keys are\nas they are stored: those of users begin with \\x01. Sizes, keys and requests are as leaders told placement\nwithin the last minute.\n\nExamples:\n  coracle region list\n  coracle region list --json"
)]
pub struct List {
    #[command(flatten)]
    target: Target,
}

/// Shows one region.
#[derive(Args)]
#[command(
    after_help = "Ends with 1 if there is no such region.\n\nExamples:\n  coracle region show 2"
)]
pub struct Show {
    /// The region
    region: u64,
    #[command(flatten)]
    target: Target,
}

/// Adds a replica.
#[derive(Args)]
pub struct AddPeer {
    /// The region
    region: u64,
    /// The store that is to hold the replica; 'coracle node list' shows them
    store: u64,
    /// Leave it a learner, which receives everything and does not vote
    #[arg(long)]
    learner: bool,
    #[command(flatten)]
    target: Target,
}

/// Removes a replica.
#[derive(Args)]
pub struct RemovePeer {
    /// The region
    region: u64,
    /// The store that holds the replica, or the replica
    #[arg(value_name = "STORE|PEER")]
    peer: u64,
    #[command(flatten)]
    target: Target,
}

/// Moves leadership.
#[derive(Args)]
pub struct TransferLeader {
    /// The region
    region: u64,
    /// The store whose replica should lead, or the replica
    #[arg(value_name = "STORE|PEER")]
    peer: u64,
    #[command(flatten)]
    target: Target,
}

/// Splits a region.
#[derive(Args)]
pub struct Split {
    /// The region; it keeps its number, and ends where the next one begins
    region: u64,
    /// A key at which a new region begins; several times for several regions. Without it: in the middle
    #[arg(long, value_name = "KEY")]
    at: Vec<OsString>,
    /// Take keys as they are
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs one of them.
pub(super) fn run(command: RegionCommand) -> Result<(), Failure> {
    match command {
        RegionCommand::List(list) => self::list(&list),
        RegionCommand::Show(show) => self::show(&show),
        RegionCommand::AddPeer(add) => self::add_peer(&add),
        RegionCommand::RemovePeer(remove) => self::remove_peer(&remove),
        RegionCommand::TransferLeader(transfer) => self::transfer_leader(&transfer),
        RegionCommand::Move(wish) => region_move::run(&wish),
        RegionCommand::Split(split) => self::split(&split),
    }
}

fn in_json(region: &RegionView) -> Value {
    let peers = region.peers.iter().map(|peer| {
        json!({
            "peer": peer.peer.0, "store": peer.store.0, "part": region.part(peer),
            "applied": region.applied_by(peer.peer),
        })
    });
    let figures = region.figures.as_ref();
    let silent = figures.map(|figures| {
        let silent = figures.silent.iter();
        let silent = silent.map(|(peer, ms)| json!({ "peer": peer.0, "ms": ms }));
        silent.collect::<Vec<_>>()
    });
    let behind =
        figures.map(|figures| figures.behind.iter().map(|peer| peer.0).collect::<Vec<_>>());
    json!({
        "bytes": figures.map(|figures| figures.bytes), "keys": figures.map(|figures| figures.keys),
        "requests_per_second": figures.map(|figures| figures.requests),
        "told_ms_ago": figures.map(|figures| figures.ago_ms), "silent": silent, "behind": behind,
        "region": region.id.0, "version": region.epoch.version, "conf_ver": region.epoch.conf_ver,
        "start": region.start, "limit": region.limit, "is_system": region.is_of_system(), "term": region.term,
        "leader": region.leader.map(|leader| leader.peer.0), "committed": region.committed,
        "peers": peers.collect::<Vec<_>>(),
    })
}

/// A border between regions as a user would type it; there may be none.
fn border(key: &str) -> String {
    let stored = unescape(key.as_bytes()).unwrap_or_default();
    match plain(&stored) {
        b"" => "-".into(),
        key => shown(key),
    }
}

/// Where a region begins and ends, for people.
fn borders(region: &RegionView) -> [String; 2] {
    match region.is_of_system() {
        true => [SYSTEM.into(), SYSTEM.into()],
        false => [border(&region.start), border(&region.limit)],
    }
}

fn epoch(region: &RegionView) -> String {
    format!("{}.{}", region.epoch.version, region.epoch.conf_ver)
}

/// Who has told, where that was not placement.
pub(super) fn told_by(by: &Source) -> Option<String> {
    match by {
        Source::Placement => None,
        Source::Table { store, age_ms } => {
            let since = match age_ms {
                Some(ms) => format!("heard from it {} s ago", ms / 1000),
                None => "has not heard from it since it started".into(),
            };
            Some(format!(
                "placement does not answer; store {store} tells what it knows, and {since}"
            ))
        }
    }
}

/// The same for a program.
pub(super) fn by(by: &Source) -> Value {
    match by {
        Source::Placement => json!("placement"),
        Source::Table { store, age_ms } => json!({ "store": store.0, "age_ms": age_ms }),
    }
}

/// A border in a table, no longer than fits beside the rest.
fn brief(border: String) -> String {
    match border.char_indices().nth(KEY_SHOWN) {
        Some((end, _)) => format!("{}…", &border[..end]),
        None => border,
    }
}

fn list(list: &List) -> Result<(), Failure> {
    let mut cluster = Cluster::open(&list.target)?;
    let told = cluster.look();
    let regions = cluster.all_regions(&told)?;
    let mut out = list.target.output();
    if list.target.is_json() {
        let all: Vec<Value> = regions.views.iter().map(in_json).collect();
        let told_by = by(&regions.by);
        out.line(
            String::new,
            || json!({ "regions": all, "told_by": told_by }),
        );
        return out.finish();
    }
    let row = |region: &RegionView| {
        let peers = region.peers.iter().map(|peer| match region.part(peer) {
            "leader" | "voter" => peer.store.to_string(),
            part => format!("{} ({part})", peer.store),
        });
        let leader = region.leader;
        let [start, limit] = borders(region);
        let figure =
            |take: fn(&RegionFigures) -> String| region.figures.as_ref().map_or("?".into(), take);
        vec![
            region.id.to_string(),
            brief(start),
            brief(limit),
            figure(|figures| amount::bytes(figures.bytes)),
            figure(|figures| amount::count(figures.keys)),
            figure(|figures| amount::count(figures.requests)),
            leader.map_or("none".into(), |leader| leader.store.to_string()),
            peers.collect::<Vec<_>>().join(", "),
            region.troubles().join(", "),
        ]
    };
    let rows: Vec<Vec<String>> = regions.views.iter().map(row).collect();
    let head = [
        "REGION", "START", "LIMIT", "SIZE", "KEYS", "REQ/S", "LED BY", "STORES", "TROUBLE",
    ];
    let in_trouble = rows.iter().any(|row| !row[8].is_empty());
    let columns = if in_trouble { 9 } else { 8 };
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|row| row[..columns].to_vec())
        .collect();
    out.table(&head[..columns], &rows);
    out.finish()?;
    if let Some(why) = told_by(&regions.by) {
        eprintln!("{why}");
    }
    Ok(())
}

fn show(show: &Show) -> Result<(), Failure> {
    let cluster = Cluster::open(&show.target)?;
    let region = cluster.region(RegionId(show.region))?;
    let mut out = show.target.output();
    if show.target.is_json() {
        out.line(String::new, || in_json(&region));
        return out.finish();
    }
    let [start, limit] = borders(&region);
    let facts = format!(
        "region     {}\nepoch      {}\nstart      {}\nlimit      {}\nterm       {}\ncommitted  {}\n\n",
        region.id,
        epoch(&region),
        start,
        limit,
        region.term,
        region.committed
    );
    out.bytes(facts.as_bytes());
    let rows: Vec<Vec<String>> = region
        .peers
        .iter()
        .map(|peer| {
            let place = cluster.place(peer.store);
            let applied = region.applied_by(peer.peer);
            vec![
                peer.peer.to_string(),
                peer.store.to_string(),
                place.map_or("?".into(), |(node, _)| node.node.to_string()),
                region.part(peer).into(),
                applied.map_or("?".into(), |applied| applied.to_string()),
            ]
        })
        .collect();
    out.table(&["PEER", "STORE", "NODE", "PART", "APPLIED"], &rows);
    out.finish()
}

/// A change of a region that is under way: looked at, pushed on, told of.
struct Change<'a> {
    cluster: Cluster,
    id: RegionId,
    target: &'a Target,
    begun: Instant,
    last: String,
    told: String,
}

impl Change<'_> {
    fn begin(region: u64, target: &Target) -> Result<Change<'_>, Failure> {
        Ok(Change {
            cluster: Cluster::open(target)?,
            id: RegionId(region),
            target,
            begun: Instant::now(),
            last: "nobody leads the region".into(),
            told: String::new(),
        })
    }

    /// The region as it is now.
    fn look(&self) -> Result<RegionView, Failure> {
        self.cluster.region(self.id)
    }

    /// Tells a person how far it is; once.
    fn tell(&mut self, what: String) {
        if !self.target.is_json() && self.told != what {
            eprintln!("{what}");
            self.told = what;
        }
    }

    /// Asks whoever leads the region. Whether it was done: what may go better later is not an error.
    fn ask(&mut self, view: &RegionView, body: &Body<'_>) -> Result<bool, Failure> {
        let Some(leader) = view.leader else {
            return Ok(false);
        };
        let asked = self.cluster.connect(leader.store, self.target.patience());
        let named = Some((view.id, view.epoch));
        match asked.map(|mut caller| caller.ask_region(named, body)) {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(CallError::Refused { error, text }))
                if matches!(
                    error.kind(),
                    Error::BadRequest(_) | Error::KeyNotInRegion { .. }
                ) && matches!(body, Body::ChangePeers { .. } | Body::Split { .. }) =>
            {
                Err(Failure::new(Exit::Failed, text))
            }
            Ok(Err(error)) => {
                self.last = error.to_string();
                Ok(false)
            }
            Err(failure) => {
                self.last = failure.message;
                Ok(false)
            }
        }
    }

    /// Waits for the next look; fails when it has taken too long.
    fn wait(&self) -> Result<(), Failure> {
        if self.begun.elapsed() >= self.target.patience() {
            let why = format!(
                "not done after {} s: {}; it may go on all the same, see 'coracle region show {}'",
                self.target.patience().as_secs(),
                self.last,
                self.id
            );
            return Err(Failure::new(Exit::Failed, why));
        }
        std::thread::sleep(PAUSE);
        Ok(())
    }

    /// Prints how it has ended.
    fn end(&self, said: &str, peer: &PeerInfo, part: &str) -> Result<(), Failure> {
        let mut out = self.target.output();
        let text = || {
            format!(
                "peer {} of region {} on store {} {said}",
                peer.peer, self.id, peer.store
            )
        };
        out.line(text, || {
            json!({ "region": self.id.0, "peer": peer.peer.0, "store": peer.store.0, "part": part })
        });
        out.finish()
    }
}

fn add_peer(add: &AddPeer) -> Result<(), Failure> {
    let mut change = Change::begin(add.region, &add.target)?;
    let store = StoreId(add.store);
    change.cluster.place_or_fail(store)?;
    // Pages of nodes are a little late: only what a later epoch lacks is gone.
    let mut added: Option<Epoch> = None;
    loop {
        let view = change.look()?;
        match view.on_store(store) {
            Some(peer) if peer.role == Role::Voter => {
                return change.end("votes", &peer, "voter");
            }
            Some(peer) if peer.role == Role::Learner => {
                added.get_or_insert(view.epoch);
                if add.learner {
                    return change.end("is a learner", &peer, "learner");
                }
                let applied = view.applied_by(peer.peer).unwrap_or_default();
                change.tell(format!(
                    "peer {} on store {store} is a learner; it has applied {applied} of {} entries",
                    peer.peer, view.committed
                ));
                change.last = "the learner has not caught up".into();
                if applied > 0 && applied + 1000 >= view.committed {
                    let promoted = PeerChange::Put(PeerInfo {
                        role: Role::Voter,
                        ..peer
                    });
                    let body = Body::ChangePeers {
                        region: view.id,
                        changes: &[promoted],
                    };
                    change.ask(&view, &body)?;
                }
            }
            Some(_) => {}
            None if added.is_some_and(|added| added.is_staler_than(view.epoch)) => {
                let why = format!(
                    "the peer on store {store} was there, and is gone again: placement does not want it there"
                );
                return Err(Failure::new(Exit::Failed, why));
            }
            None if added.is_none() && !view.is_joint() => {
                // A new one for each attempt: what became of the last one may not be known.
                let peer = allocate(&mut change)?;
                change.tell(format!("a learner is to be added on store {store}"));
                let learner = PeerInfo {
                    peer,
                    store,
                    role: Role::Learner,
                };
                let changes = [PeerChange::Put(learner)];
                let body = Body::ChangePeers {
                    region: view.id,
                    changes: &changes,
                };
                if change.ask(&view, &body)? {
                    if add.learner {
                        return change.end("is a learner", &learner, "learner");
                    }
                    added = Some(view.epoch);
                }
            }
            None => {}
        }
        change.wait()?;
    }
}

/// An id that no peer has had.
fn allocate(change: &mut Change<'_>) -> Result<PeerId, Failure> {
    let question = Message::AllocateIds {
        count: 1,
        nonce: machine::draw(),
    };
    loop {
        match change.cluster.caller.ask_placement(&question) {
            Ok(Message::Allocated { first, .. }) => return Ok(PeerId(first)),
            Ok(other) => return Err(crate::cli::target::strange(&other)),
            Err(error) => change.last = error.to_string(),
        }
        change.wait()?;
    }
}

fn remove_peer(remove: &RemovePeer) -> Result<(), Failure> {
    let mut change = Change::begin(remove.region, &remove.target)?;
    let mut goes: Option<PeerInfo> = None;
    loop {
        let view = change.look()?;
        let Some(peer) = (match goes {
            Some(goes) => view
                .peers
                .iter()
                .find(|peer| peer.peer == goes.peer)
                .copied(),
            None => view.named(remove.peer),
        }) else {
            return match goes {
                Some(gone) => change.end("is removed", &gone, "removed"),
                None => Err(nobody(&view, remove.peer)),
            };
        };
        goes = Some(peer);
        if !view.is_joint() {
            let voters = view.peers.iter().filter(|peer| peer.role == Role::Voter);
            if peer.role == Role::Voter && voters.count() == 1 {
                let why = format!(
                    "peer {} on store {} is the last one of region {} that votes; add another with 'coracle region add-peer' first",
                    peer.peer, peer.store, view.id
                );
                return Err(Failure::new(Exit::Failed, why));
            }
            let part = view.part(&peer);
            change.tell(format!(
                "peer {} on store {} is to be removed; it is a {part}",
                peer.peer, peer.store
            ));
            let changes = [PeerChange::Remove(peer.peer)];
            let body = Body::ChangePeers {
                region: view.id,
                changes: &changes,
            };
            if change.ask(&view, &body)? {
                return change.end("is removed", &peer, "removed");
            }
        }
        change.wait()?;
    }
}

fn transfer_leader(transfer: &TransferLeader) -> Result<(), Failure> {
    let mut change = Change::begin(transfer.region, &transfer.target)?;
    let mut is_told = false;
    loop {
        let view = change.look()?;
        let Some(peer) = view.named(transfer.peer) else {
            return Err(nobody(&view, transfer.peer));
        };
        if !is_told {
            leave_to(&mut change, &peer)?;
            is_told = true;
        }
        if view.leader == Some(peer) {
            return change.end("leads", &peer, "leader");
        }
        if let Some(leader) = view.leader {
            change.tell(format!(
                "peer {} on store {} is asked to hand over",
                leader.peer, leader.store
            ));
            let body = Body::TransferLeader {
                region: view.id,
                to: peer.peer,
            };
            change.last = "the peer has not caught up, or is not heard of".into();
            change.ask(&view, &body)?;
        }
        change.wait()?;
    }
}

/// Has placement leave the region to the peer that is to lead it. It works without placement, too, which may take it
/// back later.
fn leave_to(change: &mut Change<'_>, peer: &PeerInfo) -> Result<(), Failure> {
    let question = Message::LeadRegion {
        region: change.id,
        peer: peer.peer,
    };
    match change.cluster.caller.ask_placement(&question) {
        Ok(Message::Moving { .. }) => {}
        Ok(Message::MoveRefused { why, .. }) => return Err(Failure::new(Exit::Failed, why)),
        Ok(other) => return Err(crate::cli::target::strange(&other)),
        Err(error) => change.tell(format!(
            "placement does not answer ({error}), and may have another lead later"
        )),
    }
    Ok(())
}

fn split(split: &Split) -> Result<(), Failure> {
    let keys = split
        .at
        .iter()
        .map(|key| Ok(stored(&typed(key, split.raw)?)));
    let mut keys = keys.collect::<Result<Vec<Vec<u8>>, Failure>>()?;
    keys.sort();
    keys.dedup();
    let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    let mut change = Change::begin(split.region, &split.target)?;
    let (mut before, mut is_done) = (None, false);
    loop {
        let view = change.look()?;
        let before = *before.get_or_insert(view.epoch.version);
        if view.epoch.version > before {
            let mut out = split.target.output();
            let text = || {
                format!(
                    "region {} is split, and ends at {}",
                    view.id,
                    border(&view.limit)
                )
            };
            out.line(text, || {
                json!({ "region": view.id.0, "version": view.epoch.version, "limit": view.limit })
            });
            return out.finish();
        }
        if !is_done {
            let body = Body::Split {
                region: view.id,
                keys: &keys,
                ids: None,
            };
            is_done = change.ask(&view, &body)?;
            // Pages of nodes are a little late.
            change.last = match is_done {
                true => "its nodes have not told of it yet".into(),
                false => change.last,
            };
        }
        change.wait()?;
    }
}

pub(super) fn nobody(view: &RegionView, number: u64) -> Failure {
    let peers = view
        .peers
        .iter()
        .map(|peer| format!("peer {} on store {}", peer.peer, peer.store));
    let why = format!(
        "region {} has no peer {number}, and none on a store {number}; it has {}",
        view.id,
        peers.collect::<Vec<_>>().join(", ")
    );
    Failure::new(Exit::Failed, why)
}
