//! `coracle node`: which nodes belong to the cluster, and how one leaves it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::amount;
use crate::cli::cluster::{Cluster, RegionView, Told, list};
use crate::cli::target::{Target, failed, strange};
use crate::cli::{Exit, Failure};
use crate::placement::{Message, Standing};
use crate::shard::ids::{NodeId, StoreId};

/// The pause between two looks at a node that is emptied.
const PAUSE: Duration = Duration::from_millis(500);

/// What is done with nodes.
#[derive(Subcommand)]
pub enum NodeCommand {
    /// List the nodes of the cluster, where they are reached and what they hold
    List(List),
    /// Empty a node: what lies on it moves to others, and it is given nothing more
    #[command(
        after_help = "Ends with 0 once the node holds nothing; with 1 if that takes longer than --wait, and it goes on.\n\nExamples:\n  coracle node drain 4\n  coracle node drain 4 --wait 0\n  coracle node drain 4 --undo"
    )]
    Drain(Drain),
    /// Take an emptied node out of the cluster, for good
    #[command(
        after_help = "It is refused while it holds anything. Then it is given nothing more and not listed. Its process, if it runs, is told\nso and ends with 17; remove its directory: with an empty one it can join as another node. If it turns up with something\nall the same, as one does that was taken for dead, it is listed as leaving, what it holds moves away first, and then it ends.\n\nExamples:\n  coracle node remove 4"
    )]
    Remove(Remove),
}

/// Empties a node.
#[derive(Args)]
pub struct Drain {
    /// The node; 'coracle node list' shows them
    node: u64,
    /// Let it hold replicas again
    #[arg(long)]
    undo: bool,
    /// Seconds to wait until it is empty
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    wait: u64,
    #[command(flatten)]
    target: Target,
}

/// Takes a node out.
#[derive(Args)]
pub struct Remove {
    /// The node
    node: u64,
    #[command(flatten)]
    target: Target,
}

/// Lists the nodes.
#[derive(Args)]
#[command(
    after_help = "Ends with 0 also if some of them do not answer.\n\nExamples:\n  coracle node list\n  coracle node list --json"
)]
pub struct List {
    #[command(flatten)]
    target: Target,
}

/// Runs one of them.
pub(super) fn run(command: NodeCommand) -> Result<(), Failure> {
    match command {
        NodeCommand::List(list) => show(&list),
        NodeCommand::Drain(drain) => empty(&drain),
        NodeCommand::Remove(remove) => take_out(&remove),
    }
}

fn show(list: &List) -> Result<(), Failure> {
    let mut cluster = Cluster::open(&list.target)?;
    let told = cluster.look();
    let asked = asked(&cluster.all_regions(&told)?.views);
    let mut out = list.target.output();
    if list.target.is_json() {
        let nodes: Vec<Value> = told.iter().map(|told| in_json(told, &asked)).collect();
        out.line(String::new, || json!({ "nodes": nodes }));
        return out.finish();
    }
    let rows: Vec<Vec<String>> = told.iter().map(|told| row(told, &asked)).collect();
    out.table(&HEAD, &rows);
    out.finish()
}

/// What is asked of each store in a second, by the regions that it leads.
pub(super) fn asked(regions: &[RegionView]) -> BTreeMap<StoreId, u64> {
    let mut asked = BTreeMap::new();
    for region in regions {
        if let (Some(leader), Some(figures)) = (region.leader, &region.figures) {
            *asked.entry(leader.store).or_default() += figures.requests;
        }
    }
    asked
}

/// Has a node stand otherwise to the cluster.
fn stand(cluster: &mut Cluster, node: u64, standing: Standing) -> Result<(), Failure> {
    let question = Message::Stand {
        node: NodeId(node),
        standing,
    };
    match cluster.caller.ask_placement(&question).map_err(failed)? {
        Message::Nodes(_, nodes) => cluster.nodes = nodes,
        Message::StandingRefused { why, .. } => return Err(Failure::new(Exit::Failed, why)),
        other => return Err(strange(&other)),
    }
    Ok(())
}

/// Replicas on a node, as all nodes tell of their regions; where they tell of none, as placement knows, which hears of
/// it a little later, and takes no node out before.
fn held(cluster: &mut Cluster, node: u64) -> Option<usize> {
    let nodes = cluster.nodes.iter();
    let stores: Vec<_> = nodes
        .filter(|info| info.node.0 == node)
        .flat_map(|info| info.stores.clone())
        .collect();
    let regions = cluster.regions();
    let peers = regions.iter().flat_map(|region| &region.peers);
    let told = peers.filter(|peer| stores.contains(&peer.store)).count();
    if told > 0 {
        return Some(told);
    }
    match cluster.caller.ask_placement(&Message::ShowPlacement) {
        Ok(Message::Overview(overview)) => {
            let sights = overview.stores.iter();
            let sights = sights.filter(|sight| stores.contains(&sight.store));
            Some(sights.map(|sight| sight.peers as usize).sum())
        }
        Ok(_) | Err(_) => None,
    }
}

/// Why something stays on a node that is emptied, if too few others may hold replicas.
fn what_stays(cluster: &mut Cluster) -> Option<String> {
    let Ok(Message::Overview(overview)) = cluster.caller.ask_placement(&Message::ShowPlacement)
    else {
        return None;
    };
    let able = overview.stores.iter();
    let able = able.filter(|sight| !["draining", "leaving", "lost"].contains(&&sight.state[..]));
    let nodes: BTreeSet<NodeId> = able.map(|sight| sight.node).collect();
    let wanted = overview.options.replicas;
    (nodes.len() < wanted).then(|| {
        format!(
            "regions have {wanted} replicas, each on a node of its own, and {} other nodes may hold some: what has {wanted} now stays until another node joins",
            nodes.len()
        )
    })
}

fn empty(drain: &Drain) -> Result<(), Failure> {
    let mut cluster = Cluster::open(&drain.target)?;
    let mut out = drain.target.output();
    let node = drain.node;
    if drain.undo {
        stand(&mut cluster, node, Standing::Member)?;
        let text = || format!("node {node} may hold replicas again");
        out.line(text, || json!({ "node": node, "state": "member" }));
        return out.finish();
    }
    stand(&mut cluster, node, Standing::Draining)?;
    if let Some(why) = what_stays(&mut cluster) {
        eprintln!("{why}");
    }
    let end = Instant::now() + Duration::from_secs(drain.wait);
    let mut told = None;
    loop {
        let known = held(&mut cluster, node);
        if let Some(left) = known.filter(|left| told != Some(*left)) {
            let text = || format!("node {node} holds {left} replicas");
            out.line(
                text,
                || json!({ "node": node, "state": "draining", "replicas": left }),
            );
            out.flush();
            told = Some(left);
        }
        if known == Some(0) || drain.wait == 0 {
            return out.finish();
        }
        if Instant::now() >= end {
            out.finish()?;
            let left = match known {
                Some(left) => format!("node {node} still holds {left} replicas"),
                None => "placement does not answer".into(),
            };
            let why = format!(
                "{left} after {} s, and goes on; there may be no other node that may take them, see 'coracle node list'",
                drain.wait
            );
            return Err(Failure::new(Exit::Failed, why));
        }
        std::thread::sleep(PAUSE);
    }
}

fn take_out(remove: &Remove) -> Result<(), Failure> {
    let mut cluster = Cluster::open(&remove.target)?;
    stand(&mut cluster, remove.node, Standing::Gone)?;
    let mut out = remove.target.output();
    let text = || {
        format!(
            "node {} does not belong to the cluster any more",
            remove.node
        )
    };
    out.line(text, || json!({ "node": remove.node, "state": "gone" }));
    out.finish()
}

/// The columns of nodes for a person.
pub(super) const HEAD: [&str; 9] = [
    "NODE", "ADDRESS", "STATE", "STORES", "REGIONS", "LEADS", "SIZE", "REQ/S", "LABELS",
];

/// A node for a person: numbers of several stores one after the other.
pub(super) fn row(told: &Told, asked: &BTreeMap<StoreId, u64>) -> Vec<String> {
    let stores = || told.node.stores.iter();
    let each = |number: &dyn Fn(&Value) -> u64, shown: fn(u64) -> String| match &told.status {
        Ok(status) => {
            let shards = list(&status["shards"]);
            let numbers: Vec<String> = shards.map(|shard| shown(number(shard))).collect();
            numbers.join(" ")
        }
        Err(_) => "?".into(),
    };
    let some = |name: &'static str| {
        move |shard: &Value| match &shard[name] {
            Value::Array(list) => list.len() as u64,
            other => other.as_u64().unwrap_or_default(),
        }
    };
    let size = |shard: &Value| some("table_bytes")(shard) + some("memtable_bytes")(shard);
    let labels = told.node.labels.iter();
    let labels = labels.map(|(name, value)| format!("{name}={value}"));
    let rates = stores().map(|store| asked.get(store).copied().unwrap_or_default());
    vec![
        told.node.node.to_string(),
        told.node.address.clone(),
        state(told),
        stores()
            .map(StoreId::to_string)
            .collect::<Vec<_>>()
            .join(" "),
        each(&some("regions"), |number| number.to_string()),
        each(&some("leaders"), |number| number.to_string()),
        match &told.status {
            Ok(status) => amount::bytes(list(&status["shards"]).map(size).sum()),
            Err(_) => "?".into(),
        },
        rates.map(amount::count).collect::<Vec<_>>().join(" "),
        labels.collect::<Vec<_>>().join(", "),
    ]
}

/// A node for a program.
pub(super) fn in_json(told: &Told, asked: &BTreeMap<StoreId, u64>) -> Value {
    let rates = told
        .node
        .stores
        .iter()
        .map(|store| asked.get(store).copied());
    json!({
        "node": told.node.node.0,
        "address": told.node.address,
        "stores": told.node.stores.iter().map(|store| store.0).collect::<Vec<_>>(),
        "requests_per_second": rates.map(Option::unwrap_or_default).collect::<Vec<_>>(),
        "state": state(told),
        "labels": told.node.labels.iter().cloned().collect::<BTreeMap<_, _>>(),
        "status": told.status.as_ref().ok(),
    })
}

/// How a node is, in a word or, if it does not answer, in more.
fn state(told: &Told) -> String {
    match &told.status {
        Err(why) => format!("silent: {why}"),
        Ok(status) if status["stopping"] == true => "stopping".into(),
        Ok(_) if told.node.standing == Standing::Draining => "draining".into(),
        Ok(_) if told.node.standing == Standing::Leaving => "leaving".into(),
        Ok(status) if list(&status["shards"]).any(|shard| shard["disk_full"] == true) => {
            "full".into()
        }
        Ok(status) if list(&status["shards"]).all(|shard| shard["serves"] == true) => "up".into(),
        Ok(_) => "starting".into(),
    }
}
