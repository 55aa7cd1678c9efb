//! `coracle status`: how the cluster is.

use clap::Args;
use serde_json::{Value, json};

use crate::cli::Failure;
use crate::cli::cluster::{Cluster, Told, are_complete, gather, list};
use crate::cli::node;
use crate::cli::target::Target;

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
    let cluster = Cluster::open(&status.target)?;
    let told = cluster.look();
    let regions = gather(&told);
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
            "nodes": told.iter().map(node::in_json).collect::<Vec<Value>>(),
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
    let head = format!("cluster  {cluster:016x}\nregions  {seen}{unseen}{splits}\n\n");
    out.bytes(head.as_bytes());
    out.table(&node::HEAD, &told.iter().map(node::row).collect::<Vec<_>>());
    out.finish()
}
