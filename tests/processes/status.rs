//! What a node says of itself.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// One peer of a region, as its own node tells of it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The region.
    pub region: u64,
    /// Its number.
    pub peer: u64,
    /// Its store.
    pub store: u64,
    /// The shard on its node.
    pub shard: u16,
    /// Whether it leads.
    pub leads: bool,
    /// The region's peers: number, store, role.
    pub peers: Vec<(u64, u64, String)>,
    /// How far it has applied.
    pub applied: u64,
}

/// What a node says of itself.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Its stores.
    pub stores: Vec<u64>,
    /// Peers on it.
    pub peers: Vec<Peer>,
}

/// Asks a node; none if it does not answer soon.
pub fn ask(port: u16) -> Option<Status> {
    let patience = Duration::from_millis(500);
    let mut stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    let question = b"GET /status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(question).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let told: Value = serde_json::from_str(body).ok()?;
    let mut status = Status::default();
    for shard in told["shards"].as_array()? {
        status.stores.push(shard["store"].as_u64()?);
        for region in shard["regions"].as_array()? {
            let peers = region["peers"].as_array()?.iter().map(|peer| {
                let role = peer["role"].as_str()?.to_string();
                Some((peer["peer"].as_u64()?, peer["store"].as_u64()?, role))
            });
            status.peers.push(Peer {
                region: region["region"].as_u64()?,
                peer: region["peer"].as_u64()?,
                store: shard["store"].as_u64()?,
                shard: shard["shard"].as_u64()? as u16,
                leads: region["leads"].as_bool()?,
                peers: peers.collect::<Option<_>>()?,
                applied: region["applied"].as_u64()?,
            });
        }
    }
    Some(status)
}
