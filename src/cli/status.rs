//! `coracle status`: how the cluster is.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::Failure;
use crate::cli::amount;
use crate::cli::cluster::{Cluster, RegionView, Told, are_complete, list};
use crate::cli::node;
use crate::cli::region::{by, told_by};
use crate::cli::target::Target;
use crate::shard::ids::StoreId;

/// Shows how the cluster is: its nodes, and whether all regions are led.
#[derive(Args)]
#[command(
    after_help = "Ends with 0 if a node has answered, however the others are, and with 1 if none has.\n\nExamples:\n  coracle status\n  coracle status --target 10.0.0.7:7400 --json"
)]
pub struct Status {
    #[command(flatten)]
    target: Target,
}

/// What splits came to on all shards since they started; nothing, where there were none.
fn splits(told: &[Told]) -> String {
    let nodes = told.iter().filter_map(|told| told.status.as_ref().ok());
    let shards = nodes.flat_map(|status| list(&status["shards"]));
    let splits: Vec<&Value> = shards.map(|shard| &shard["splits"]).collect();
    let sum = |name: &str| {
        let counts = splits.iter().filter_map(|splits| splits[name].as_u64());
        counts.sum::<u64>()
    };
    let times = splits
        .iter()
        .filter_map(|splits| splits["held_max_us"].as_f64());
    let longest = times.fold(0.0, f64::max) / 1e3;
    let failed = match sum("failed") {
        0 => String::new(),
        failed => format!(", {failed} given up"),
    };
    match sum("done") {
        0 if failed.is_empty() => String::new(),
        done => format!(
            "\nsplits   {done} since the nodes started{failed}; writes waited {longest:.1} ms for one at the most"
        ),
    }
}

/// Asks one node for all others, and all of them how they are.
pub(super) fn run(status: Status) -> Result<(), Failure> {
    let mut cluster = Cluster::open(&status.target)?;
    let told = cluster.look();
    let all = cluster.all_regions(&told)?;
    let regions = all.views;
    let asked = node::asked(&regions);
    let figures = || regions.iter().filter_map(|region| region.figures.as_ref());
    let (bytes, keys): (u64, u64) = (
        figures().map(|figures| figures.bytes).sum(),
        figures().map(|figures| figures.keys).sum(),
    );
    let requests: u64 = asked.values().sum();
    let moving = regions.iter().filter(|region| region.is_moving()).count();
    let mut ailing: BTreeMap<StoreId, (usize, usize)> = BTreeMap::new();
    for (store, silent) in regions.iter().flat_map(RegionView::ailing) {
        let (quiet, behind) = ailing.entry(store).or_default();
        *if silent.is_some() { quiet } else { behind } += 1;
    }
    let replicas = |voters: usize| {
        let some = regions.iter().filter(|region| region.peers.len() == voters);
        (voters, some.count())
    };
    let most = regions
        .iter()
        .map(|region| region.peers.len())
        .max()
        .unwrap_or_default();
    let replicas: Vec<(usize, usize)> = (1..=most)
        .map(replicas)
        .filter(|(_, some)| *some > 0)
        .collect();
    let led = regions
        .iter()
        .filter(|region| region.leader.is_some())
        .count();
    let mut out = status.target.output();
    if status.target.is_json() {
        let object = json!({
            "cluster": format!("{:016x}", cluster.caller.cluster.0),
            "nodes": told.iter().map(|told| node::in_json(told, &asked)).collect::<Vec<Value>>(),
            "bytes": bytes,
            "keys": keys,
            "requests_per_second": requests,
            "moving": moving,
            "ailing": ailing.iter().map(in_json).collect::<Vec<Value>>(),
            "told_by": by(&all.by),
            "regions": regions.len(),
            "led": led,
            "complete": are_complete(&regions),
        });
        out.line(String::new, || object);
        return out.finish();
    }
    let spread = replicas.iter().map(|(voters, some)| match *voters {
        1 => format!("{some} with one replica"),
        voters => format!("{some} with {voters} replicas"),
    });
    let led = match regions.len() - led {
        0 => "all of them led".to_string(),
        silent => format!("{silent} of them led by nobody"),
    };
    let spread = spread.collect::<Vec<_>>().join(", ");
    let seen = match regions.len() {
        0 => "none seen on any node".to_string(),
        seen => format!("{seen}, {led}; {spread}"),
    };
    let unseen = match are_complete(&regions) {
        true => "",
        false => "\nmissing  some keys are in no region that a node tells of",
    };
    let cluster = cluster.caller.cluster.0;
    let splits = splits(&told);
    let data = format!(
        "{} in {} keys; {} are asked for in a second",
        amount::bytes(bytes),
        amount::count(keys),
        amount::count(requests)
    );
    let mut head =
        format!("cluster  {cluster:016x}\nregions  {seen}{unseen}{splits}\ndata     {data}\n");
    if let Some(why) = told_by(&all.by) {
        head.push_str(&format!("trouble  {why}\n"));
    }
    if moving > 0 {
        head.push_str(&format!(
            "moving   replicas of {moving} regions come or go\n"
        ));
    }
    for (store, (silent, behind)) in &ailing {
        let what = [(*silent, "silent"), (*behind, "behind")];
        let what = what.iter().filter(|(regions, _)| *regions > 0);
        let what = what.map(|(regions, how)| format!("{how} in {regions}"));
        let what = what.collect::<Vec<_>>().join(", ");
        head.push_str(&format!("trouble  store {store}: {what} of its regions\n"));
    }
    out.bytes(format!("{head}\n").as_bytes());
    let rows: Vec<Vec<String>> = told.iter().map(|told| node::row(told, &asked)).collect();
    out.table(&node::HEAD, &rows);
    out.finish()
}

/// A store whose replicas are silent or behind, and in how many regions.
fn in_json((store, (silent, behind)): (&StoreId, &(usize, usize))) -> Value {
    json!({ "store": store.0, "silent": silent, "behind": behind })
}
