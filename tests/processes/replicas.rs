//! What each replica holds, compared.

use std::time::Duration;

use coracle::shard::request::{Answer, Body, Freshness};
use coracle_engine::record::KeyRange;

use crate::cluster::Cluster;
use crate::native::Native;
use crate::wait;

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Regions by their numbers, and their ranges.
const REGIONS: [(u64, &[u8], &[u8]); 2] = [(1, &[], &[1]), (2, &[1], &[])];

/// Waits until nothing is written any more, and compares what replicas hold. How many keys there are.
pub fn compare(cluster: &Cluster) -> Result<usize, String> {
    let mut keys = 0;
    for (region, start, limit) in REGIONS {
        let range = KeyRange::new(start, limit);
        let mut last = String::new();
        let held = wait::until(&format!("region {region} is at rest everywhere"), || {
            let before = applied(cluster, region)?;
            let scans = before.iter().map(|(port, _)| scan(*port, &range));
            match scans.collect::<Result<Vec<_>, _>>() {
                Err(why) => {
                    last = why;
                    None
                }
                Ok(held) => {
                    let compared = same(region, &held);
                    // A difference counts if nothing was applied while it was looked for. What is applied
                    // without clients, such as that old entries may go, changes nothing that is compared.
                    wait::pass(600);
                    let is_certain = compared.is_ok() || applied(cluster, region)? == before;
                    last = format!("{compared:?}, and more was applied");
                    is_certain.then_some(compared)
                }
            }
        });
        keys += held.map_err(|why| format!("{why}; {last}"))??;
    }
    Ok(keys)
}

/// The port of every replica's shard, and how far it has applied: all equally far, or none.
fn applied(cluster: &Cluster, region: u64) -> Option<Vec<(u16, u64)>> {
    let peers = cluster.peers()?;
    let of_region = peers.iter().filter(|(_, peer)| peer.region == region);
    let found: Vec<(u16, u64)> = of_region
        .map(|(node, peer)| (cluster.nodes[*node].port + 1 + peer.shard, peer.applied))
        .collect();
    let is_equal = found.iter().all(|(_, applied)| *applied == found[0].1);
    (found.len() == cluster.nodes.len() && is_equal).then_some(found)
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// What one replica holds.
fn scan(port: u16, range: &KeyRange) -> Result<Pairs, String> {
    let mut native = Native::connect(port).ok_or(format!("nobody at port {port}"))?;
    let mut start = range.start.clone();
    let mut held = Pairs::new();
    loop {
        let body = Body::Scan {
            start: &start,
            limit: &range.limit,
            count: 1000,
            reverse: false,
            freshness: Freshness::Local,
        };
        let (pairs, more) = match native.ask(&body, false, PATIENCE) {
            Some(Ok(Answer::Pairs { pairs, more })) => (pairs, more),
            other => {
                let start = start.escape_ascii();
                return Err(format!("port {port} answers {other:?} from {start} on"));
            }
        };
        held.extend(
            pairs
                .into_iter()
                .map(|(key, value)| (key.to_vec(), value.to_vec())),
        );
        match held.last() {
            Some((last, _)) if more => start = [last, &b"\0"[..]].concat(),
            _ => return Ok(held),
        }
    }
}

fn same(region: u64, held: &[Pairs]) -> Result<usize, String> {
    for (place, other) in held.iter().enumerate().skip(1) {
        if *other == held[0] {
            continue;
        }
        let differs = held[0].iter().find(|pair| !other.contains(pair));
        let differs = differs.or_else(|| other.iter().find(|pair| !held[0].contains(pair)));
        let key = differs.map(|(key, _)| key.escape_ascii().to_string());
        return Err(format!(
            "region {region} differs on replicas 0 and {place}: {} and {} keys, {}",
            held[0].len(),
            other.len(),
            key.unwrap_or_default()
        ));
    }
    Ok(held.first().map_or(0, Vec::len))
}

/// Waits until no replica is far behind another.
pub fn wait_level(cluster: &Cluster) -> Result<(), String> {
    wait::until("all replicas are about equally far", || {
        let peers = cluster.peers()?;
        let far = peers.iter().all(|(_, peer)| {
            let mut others = peers
                .iter()
                .filter(|(_, other)| other.region == peer.region);
            others.all(|(_, other)| other.applied.abs_diff(peer.applied) < 20_000)
        });
        far.then_some(())
    })
}
