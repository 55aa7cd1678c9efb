//! `coracle node`: which nodes belong to the cluster.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::Failure;
use crate::cli::cluster::{Cluster, Told, list};
use crate::cli::target::Target;

/// What is done with nodes.
#[derive(Subcommand)]
pub enum NodeCommand {
    /// List the nodes of the cluster, where they are reached and what they hold
    List(List),
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
    let NodeCommand::List(list) = command;
    let told = Cluster::open(&list.target)?.look();
    let mut out = list.target.output();
    if list.target.is_json() {
        let nodes: Vec<Value> = told.iter().map(in_json).collect();
        out.line(String::new, || json!({ "nodes": nodes }));
        return out.finish();
    }
    out.table(&HEAD, &told.iter().map(row).collect::<Vec<_>>());
    out.finish()
}

/// The columns of nodes for a person.
pub(super) const HEAD: [&str; 6] = ["NODE", "ADDRESS", "STATE", "STORES", "REGIONS", "LEADS"];

/// A node for a person.
pub(super) fn row(told: &Told) -> Vec<String> {
    let stores: Vec<String> = told
        .node
        .stores
        .iter()
        .map(|store| store.to_string())
        .collect();
    let count = |name: &str| match &told.status {
        Ok(status) => {
            let counts = list(&status["shards"]).map(|shard| match &shard[name] {
                Value::Array(list) => list.len() as u64,
                other => other.as_u64().unwrap_or_default(),
            });
            counts.sum::<u64>().to_string()
        }
        Err(_) => "?".into(),
    };
    vec![
        told.node.node.to_string(),
        told.node.address.clone(),
        state(told),
        stores.join(", "),
        count("regions"),
        count("leaders"),
    ]
}

/// A node for a program.
pub(super) fn in_json(told: &Told) -> Value {
    json!({
        "node": told.node.node.0,
        "address": told.node.address,
        "stores": told.node.stores.iter().map(|store| store.0).collect::<Vec<_>>(),
        "state": state(told),
        "status": told.status.as_ref().ok(),
    })
}

/// How a node is, in a word or, if it does not answer, in more.
fn state(told: &Told) -> String {
    match &told.status {
        Err(why) => format!("silent: {why}"),
        Ok(status) if status["stopping"] == true => "stopping".into(),
        Ok(status) if list(&status["shards"]).any(|shard| shard["disk_full"] == true) => {
            "full".into()
        }
        Ok(status) if list(&status["shards"]).all(|shard| shard["serves"] == true) => "up".into(),
        Ok(_) => "starting".into(),
    }
}
