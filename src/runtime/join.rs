//! How a process comes to belong to a cluster: it asks, with a number that it drew once, until it is told
//! its own numbers. Whoever asks twice is told the same.
#![expect(
    clippy::disallowed_methods,
    reason = "this is where a node waits for others before it has a shard"
)]

use std::time::{Duration, Instant};

use super::address::Address;
use super::caller::{CallError, Caller};
use super::config::Config;
use super::failure::{Exit, Failure};
use super::identity::{DataDirectory, Identity, Stage};
use super::label;
use crate::placement::{Message, NodeInfo};
use crate::shard::ids::ClusterId;

/// How long one node may take to answer.
const PATIENCE: Duration = Duration::from_secs(12);

/// How long a node may take to be connected to that is asked for its cluster alone.
const GLANCE: Duration = Duration::from_millis(500);

/// The pause after all nodes were asked in vain.
const PAUSE: Duration = Duration::from_millis(250);

/// How often it is told that nobody answers.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// After so long without an answer it is given up.
const GIVE_UP: Duration = Duration::from_secs(120);

/// Asks the nodes to join until one grants it; what was granted is durable, and so are the nodes.
pub fn join(
    config: &Config,
    data: &DataDirectory,
    identity: Identity,
) -> Result<(Identity, Vec<NodeInfo>), Failure> {
    if config.node.join.is_empty() {
        let why = format!(
            "{} has begun to join a cluster; start with --join until it belongs to it",
            data.path().display()
        );
        return Err(Failure::new(Exit::Usage, why));
    }
    let others = addresses(config)?;
    let begun = Instant::now();
    let mut told = begun;
    loop {
        let mut last = String::new();
        for other in &others {
            match ask(other, &identity) {
                Ok((granted, nodes)) => {
                    data.keep(&granted)?;
                    return Ok((granted, nodes));
                }
                Err(Asked::Refused(why)) => {
                    let why = format!("{other} refuses this node: {why}");
                    return Err(Failure::new(Exit::Failed, why));
                }
                Err(Asked::Later(why)) => last = why,
            }
        }
        if begun.elapsed() >= GIVE_UP {
            let why = format!(
                "no node of the cluster has answered for {} s: {last}",
                GIVE_UP.as_secs()
            );
            return Err(Failure::new(Exit::Failed, why));
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            tracing::warn!(why = last, "still trying to join");
        }
        std::thread::sleep(PAUSE);
    }
}

/// Fails where this very node answers at the address where it was last: another process has its data, or a copy of it,
/// and the cluster would take one for the other. The ports of this process are not bound yet.
pub fn check_only(identity: &Identity) -> Result<(), Failure> {
    let Ok(address) = Address::parse(&identity.address) else {
        return Ok(());
    };
    match Caller::connect(&address, GLANCE) {
        Ok(caller)
            if caller.cluster == identity.cluster && identity.stores.contains(&caller.store) =>
        {
            let why = format!(
                "node {} runs already: store {} of it answers at {}; this directory is a copy of its data, or is to be started \
                 when the other process has ended",
                identity.node, caller.store, identity.address
            );
            Err(Failure::new(Exit::InUse, why))
        }
        _ => Ok(()),
    }
}

/// Fails where somebody else answers at the address that others are to be told. The ports of this node are bound, and
/// nobody answers at them yet.
pub fn check_alone(config: &Config, address: &Address) -> Result<(), Failure> {
    if config.node.advertise.is_empty() {
        return Ok(());
    }
    match Caller::connect(address, GLANCE) {
        Ok(caller) => {
            let why = format!(
                "another node answers at --advertise {}: store {} of cluster {:016x}; others would take that one for this one",
                config.node.advertise, caller.store, caller.cluster.0
            );
            Err(Failure::new(Exit::Usage, why))
        }
        // Nobody answers there, or nobody yet, as far as can be seen from here.
        Err(_) => Ok(()),
    }
}

fn addresses(config: &Config) -> Result<Vec<Address>, Failure> {
    let parse = |text: &String| {
        Address::parse(text).map_err(|why| Failure::new(Exit::Usage, format!("--join: {why}")))
    };
    config.node.join.iter().map(parse).collect()
}

/// Why a node was asked in vain.
enum Asked {
    Refused(String),
    Later(String),
}

impl From<CallError> for Asked {
    fn from(error: CallError) -> Asked {
        Asked::Later(error.to_string())
    }
}

fn ask(other: &Address, identity: &Identity) -> Result<(Identity, Vec<NodeInfo>), Asked> {
    let mut caller = Caller::connect(other, PATIENCE)?;
    let question = Message::Join {
        nonce: identity.nonce,
        address: identity.address.clone(),
        edition: identity.edition,
        shards: identity.shards,
        labels: label::parse(&identity.labels),
    };
    let granted = match caller.ask_placement(&question)? {
        Message::Joined {
            cluster,
            node,
            stores,
            ..
        } => Identity {
            stage: Stage::Entering,
            cluster,
            node,
            stores,
            ..identity.clone()
        },
        Message::JoinRefused { why, .. } => return Err(Asked::Refused(why)),
        other => {
            return Err(Asked::Later(format!(
                "an answer to something else: {other:?}"
            )));
        }
    };
    match caller.ask_placement(&Message::ListNodes)? {
        Message::Nodes(_, nodes) => Ok((granted, nodes)),
        other => Err(Asked::Later(format!(
            "an answer to something else: {other:?}"
        ))),
    }
}

/// Fails where the nodes to join belong to another cluster than the data. Those that do not answer say
/// nothing about that.
pub fn check_cluster(config: &Config, cluster: ClusterId) -> Result<(), Failure> {
    for other in addresses(config)? {
        let Ok(caller) = Caller::connect(&other, GLANCE) else {
            continue;
        };
        if caller.cluster != cluster {
            let why = format!(
                "{} belongs to cluster {:016x}, and {other} to {:016x}; join with another --data, or leave --join out",
                config.node.data.display(),
                cluster.0,
                caller.cluster.0
            );
            return Err(Failure::new(Exit::ForeignCluster, why));
        }
    }
    Ok(())
}
