//! Bytes that are stored or come from a socket: what was encoded is decoded, and mutated bytes are refused or read as
//! something, never a panic, a hang or a large allocation.

mod membership; // changes of peers
mod messages; // what shards send each other
mod records; // what lies in the log
mod requests; // our own protocol
mod samples; // one of every message
mod text; // RESP, HTTP
mod timing; // how long it takes

use coracle::shard::ids::{PeerId, RegionId, StoreId};
use coracle::shard::region::{Epoch, PeerInfo, Region, Role};
use coracle::sim::disk::Chance;
use coracle_engine::record::KeyRange;

const ROUNDS: u64 = 200_000;

/// Changes, cuts or lengthens bytes.
fn mutate(bytes: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=chance.below(3) {
        let place = chance.below(bytes.len().max(1) as u64) as usize;
        match chance.below(5) {
            0 => bytes.truncate(place),
            1 => bytes.extend_from_slice(&chance.next_u64().to_le_bytes()),
            2 if place + 4 <= bytes.len() => bytes[place..place + 4].fill(0xFF),
            _ if place < bytes.len() => bytes[place] ^= 1 << chance.below(8),
            _ => {}
        }
    }
    bytes
}

fn region() -> Region {
    let roles = [
        Role::Voter,
        Role::Learner,
        Role::Incoming,
        Role::Outgoing,
        Role::Demoting,
    ];
    Region {
        id: RegionId(7),
        epoch: Epoch {
            version: 3,
            conf_ver: 9,
        },
        range: KeyRange::new(b"\x01abc", b"\x01xyz"),
        peers: (1..)
            .zip(roles)
            .map(|(peer, role)| PeerInfo {
                peer: PeerId(peer),
                store: StoreId(10 + peer),
                role,
            })
            .collect(),
    }
}
