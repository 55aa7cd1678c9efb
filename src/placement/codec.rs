//! The bytes of placement's records, each in a system key of its own.
//!
//! ```text
//! \0p/cluster            version u8 │ cluster u64 │ crc u32
//! \0p/ids                version u8 │ first id that is not given out, for sure u64 │ crc u32
//! \0p/version            version u8 │ version of the list of nodes u64 │ crc u32
//! \0p/paused             version u8 │ whether nothing is begun u64 │ crc u32
//! \0p/node/<id be64>     version u8 │ node u64 │ nonce u64 │ edition u64 │ standing u8 │ address short
//!                        │ labels u16 × (short, short) │ stores u16 × u64 │ crc u32
//! \0p/region/<id be64>   version u8 │ region u64 │ version u64 │ conf_ver u64 │ start short │ limit short
//!                        │ peers u16 × (peer u64, store u64, role u8) │ crc u32
//! ```
//!
//! Little-endian; `short` is a length u16 and as many bytes; the crc is of everything before it.

use coracle_engine::record::KeyRange;

use super::message::NodeInfo;
use super::standing::Standing;
use crate::shard::codec::{Malformed, Reader, put_short};
use crate::shard::ids::{ClusterId, Edition, NodeId, RegionId, StoreId};
use crate::shard::meta::{PEERS_MAX, put_peer, take_peer};
use crate::shard::region::{Epoch, Region};

/// What every key of placement begins with.
pub const PREFIX: &[u8] = b"\x00p/";
const VERSION: u8 = 4;
/// The most stores of a node, and the most labels.
pub const NODE_PARTS_MAX: usize = 4096;

/// A process that belongs to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The process.
    pub node: NodeId,
    /// What it joined with.
    pub nonce: u64,
    /// Where it is reached.
    pub address: String,
    /// The edition of address and labels.
    pub edition: Edition,
    /// How it stands to the cluster.
    pub standing: Standing,
    /// Where it stands.
    pub labels: Vec<(String, String)>,
    /// Its stores, one per shard in order.
    pub stores: Vec<StoreId>,
}

impl Node {
    /// What everybody may know of it.
    pub fn info(&self) -> NodeInfo {
        NodeInfo {
            node: self.node,
            address: self.address.clone(),
            edition: self.edition,
            standing: self.standing,
            stores: self.stores.clone(),
            labels: self.labels.clone(),
        }
    }
}

/// One record of placement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The cluster's name.
    Cluster(ClusterId),
    /// No id from this one on has been given out.
    Ids(u64),
    /// Grows with every change of a process.
    Version(u64),
    /// Not 0: placement begins nothing.
    Paused(u64),
    /// A process.
    Node(Node),
    /// A region as last heard of.
    Region(Region),
}

/// The key of a node's record.
pub fn node_key(node: NodeId) -> Vec<u8> {
    [PREFIX, b"node/", &node.0.to_be_bytes()].concat()
}

/// The key of a region's record.
pub fn region_key(region: RegionId) -> Vec<u8> {
    [PREFIX, b"region/", &region.0.to_be_bytes()].concat()
}

impl Record {
    /// Where it lies.
    pub fn key(&self) -> Vec<u8> {
        match self {
            Record::Cluster(_) => [PREFIX, b"cluster"].concat(),
            Record::Ids(_) => [PREFIX, b"ids"].concat(),
            Record::Version(_) => [PREFIX, b"version"].concat(),
            Record::Paused(_) => [PREFIX, b"paused"].concat(),
            Record::Node(node) => node_key(node.node),
            Record::Region(region) => region_key(region.id),
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        match self {
            Record::Cluster(ClusterId(number))
            | Record::Ids(number)
            | Record::Version(number)
            | Record::Paused(number) => {
                put_u64(&mut out, *number);
            }
            Record::Node(node) => {
                put_u64(&mut out, node.node.0);
                put_u64(&mut out, node.nonce);
                put_u64(&mut out, node.edition.0);
                out.push(node.standing.number());
                put_short(&mut out, node.address.as_bytes());
                put_count(&mut out, node.labels.len());
                for (name, value) in &node.labels {
                    put_short(&mut out, name.as_bytes());
                    put_short(&mut out, value.as_bytes());
                }
                put_count(&mut out, node.stores.len());
                node.stores.iter().for_each(|id| put_u64(&mut out, id.0));
            }
            Record::Region(region) => {
                put_u64(&mut out, region.id.0);
                put_u64(&mut out, region.epoch.version);
                put_u64(&mut out, region.epoch.conf_ver);
                put_short(&mut out, &region.range.start);
                put_short(&mut out, &region.range.limit);
                put_count(&mut out, region.peers.len());
                region
                    .peers
                    .iter()
                    .for_each(|info| put_peer(&mut out, info));
            }
        }
        let sum = crc32fast::hash(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// Takes a record apart. A key that is none of placement's is malformed.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Record, Malformed> {
        let (body, sum) = value
            .split_last_chunk::<4>()
            .ok_or(Malformed("cut short"))?;
        if crc32fast::hash(body) != u32::from_le_bytes(*sum) {
            return Err(Malformed("the checksum differs"));
        }
        let mut reader = Reader(body);
        if reader.u8()? != VERSION {
            return Err(Malformed("an unknown version"));
        }
        let name = key
            .strip_prefix(PREFIX)
            .ok_or(Malformed("no key of placement"))?;
        let record = match name {
            b"cluster" => Record::Cluster(ClusterId(reader.u64()?)),
            b"ids" => Record::Ids(reader.u64()?),
            b"version" => Record::Version(reader.u64()?),
            b"paused" => Record::Paused(reader.u64()?),
            _ if name.starts_with(b"node/") => Record::Node(take_node(&mut reader)?),
            _ if name.starts_with(b"region/") => Record::Region(take_region(&mut reader)?),
            _ => return Err(Malformed("a key of an unknown kind")),
        };
        reader.end()?;
        match record.key() == key {
            true => Ok(record),
            false => Err(Malformed("the record of another key")),
        }
    }
}

fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u16::try_from(count).expect("counts are bounded where they come in");
    out.extend_from_slice(&count.to_le_bytes());
}

fn take_count(reader: &mut Reader<'_>, most: usize) -> Result<usize, Malformed> {
    match usize::from(reader.u16()?) {
        count if count <= most => Ok(count),
        _ => Err(Malformed("too many")),
    }
}

fn take_text(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    let bytes = reader.short()?;
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed("no text"))
}

fn take_node(reader: &mut Reader<'_>) -> Result<Node, Malformed> {
    let (node, nonce) = (NodeId(reader.u64()?), reader.u64()?);
    let edition = Edition(reader.u64()?);
    let standing = Standing::of(reader.u8()?).ok_or(Malformed("an unknown standing"))?;
    let address = take_text(reader)?;
    let labels = (0..take_count(reader, NODE_PARTS_MAX)?)
        .map(|_| Ok((take_text(reader)?, take_text(reader)?)))
        .collect::<Result<_, Malformed>>()?;
    let stores = (0..take_count(reader, NODE_PARTS_MAX)?)
        .map(|_| reader.u64().map(StoreId))
        .collect::<Result<_, Malformed>>()?;
    Ok(Node {
        node,
        nonce,
        address,
        edition,
        standing,
        labels,
        stores,
    })
}

fn take_region(reader: &mut Reader<'_>) -> Result<Region, Malformed> {
    let id = RegionId(reader.u64()?);
    let epoch = Epoch {
        version: reader.u64()?,
        conf_ver: reader.u64()?,
    };
    let range = KeyRange::new(reader.short()?, reader.short()?);
    let peers = (0..take_count(reader, PEERS_MAX)?)
        .map(|_| take_peer(reader))
        .collect::<Result<_, Malformed>>()?;
    Ok(Region {
        id,
        epoch,
        range,
        peers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::chance::Chance;
    use crate::shard::ids::PeerId;
    use crate::shard::region::{PeerInfo, Role};

    fn samples() -> Vec<Record> {
        vec![
            Record::Cluster(ClusterId(7)),
            Record::Ids(1000),
            Record::Version(17),
            Record::Paused(1),
            Record::Node(Node {
                node: NodeId(3),
                nonce: 99,
                address: "a.example:7400".into(),
                edition: Edition(3),
                standing: Standing::Draining,
                labels: vec![("zone".into(), "b".into())],
                stores: vec![StoreId(4), StoreId(5)],
            }),
            Record::Region(Region {
                id: RegionId(2),
                epoch: Epoch {
                    version: 1,
                    conf_ver: 2,
                },
                range: KeyRange::new(b"\x01", b"\x02"),
                peers: vec![PeerInfo {
                    peer: PeerId(8),
                    store: StoreId(4),
                    role: Role::Voter,
                }],
            }),
        ]
    }

    #[test]
    fn records_come_back_and_only_under_their_own_key() {
        for record in samples() {
            let (key, value) = (record.key(), record.encode());
            assert_eq!(Record::decode(&key, &value), Ok(record.clone()));
            for other in samples().iter().filter(|other| other.key() != key) {
                // The plain numbers differ by their key alone.
                if value.len() != 13 || other.encode().len() != 13 {
                    assert!(Record::decode(&other.key(), &value).is_err());
                }
            }
        }
    }

    #[test]
    fn damage_is_refused() {
        let mut chance = Chance::new(0x00C0_DEC0);
        for round in 0..20_000 {
            for record in samples() {
                let mut value = record.encode();
                let place = chance.between(0, value.len() as u64) as usize;
                match chance.between(0, 3) {
                    0 => value[place] ^= 1 << chance.between(0, 8),
                    1 => value.truncate(place),
                    _ => value.insert(place, !value[place]),
                }
                let decoded = Record::decode(&record.key(), &value);
                assert!(decoded.is_err(), "round {round}: {record:?} as {value:x?}");
                // With a sum that fits, what is decoded is at least no panic and encodes again.
                if value.len() > 4 {
                    value.truncate(value.len() - 4);
                    let sum = crc32fast::hash(&value);
                    value.extend_from_slice(&sum.to_le_bytes());
                    if let Ok(other) = Record::decode(&record.key(), &value) {
                        assert_eq!(other.encode(), value, "round {round}");
                    }
                }
            }
        }
    }
}
