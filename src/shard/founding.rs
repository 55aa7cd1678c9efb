//! How a cluster begins: its first regions, and placement's first records in them.
//!
//! **A node founds a cluster** when it is told to, and only on a fresh directory. Whoever drives its shards
//!
//! 1. chooses cluster, node and store ids and a nonce, and makes them durable in the node's own file,
//!    marked as founding;
//! 2. opens every shard, and calls [`Shard::bootstrap_cluster`] on each whose log knows no region, with
//!    the same node and regions every time: a shard founds those that have their peer on its store;
//! 3. when all shards are open ([`Shard::is_open`]), marks the node's file as a member's. From then on
//!    an empty log is never founded again.
//!
//! Metas, hard states and placement's first records join one batch of the log, which is durable whole or
//! not at all: after a crash before it the log knows no region, and step 2 does the same again.
//!
//! **A node joins a cluster** by a nonce that it draws once and makes durable before it asks anybody. It
//! sends [`Message::Join`](crate::placement::Message::Join) by
//! [`Body::Placement`](super::request::Body::Placement) to shards of the cluster until it is told
//! `Joined`: by `NotLeader` it is told whom to ask; by `ListNodes`, which every shard answers as far as it
//! knows, where that is. The same nonce is told the same ids, so it may crash at any point and ask again.
//! It makes the ids durable, creates its stores under them, opens shards without founding anything, and
//! gives each the list of nodes by [`Input::Nodes`](super::door::Input::Nodes). A node that starts again
//! at another address sends its `Join` again, with its old nonce, until it is told `Joined`.
//!
//! **A link says where the process is reached that opened it**, and whoever accepts it answers that node's
//! stores there, until the list of nodes says otherwise. Or a node that came back at another address could
//! be answered by nobody: without it two voters of region 1 may never find each other, and then there is no
//! placement that could say where they are.

use coracle_wal::RECORD_BYTES_MAX as RECORD_BYTES;
use raft::eraftpb::HardState;

use super::brain::Shard;
use super::core::Core;
use super::entry::Gathered;
use super::ids::{ClusterId, Index, PeerId, RegionId};
use super::limits::ENTRY_BYTES_MAX;
use super::machine::Machine;
use super::meta::{Meta, State, encode_hard_state};
use super::peer::Peer;
use super::recover::{INITIAL_INDEX, INITIAL_TERM};
use super::region::{PeerInfo, Region};
use super::request::Write;
use crate::placement::{Node, bootstrap_pairs};

/// Bytes of a batch that its directory and the ends of its blocks may take.
const SPARE_BYTES: usize = 64 << 10;

/// Whether a cluster may begin with these regions, in words if not: all that is written of them joins one batch, and
/// what placement begins with is one entry of it.
pub fn fits(cluster: ClusterId, node: &Node, regions: &[Region]) -> Result<(), String> {
    let first = first_entry(cluster, node.clone(), regions).len();
    let all = founded_bytes(regions) + first + RECORD_BYTES * (2 * regions.len() + 1);
    let most = coracle_wal::Limits::DEFAULT.batch_bytes_max as usize - SPARE_BYTES;
    if first > ENTRY_BYTES_MAX || all > most {
        return Err(format!(
            "{} regions with such keys take {} KiB to write down, and {} KiB as placement keeps them; the most is {} KiB and \
             {} KiB: begin with fewer, and split later",
            regions.len(),
            all >> 10,
            first >> 10,
            most >> 10,
            ENTRY_BYTES_MAX >> 10
        ));
    }
    Ok(())
}

/// Bytes of the records that all these regions begin with.
fn founded_bytes(regions: &[Region]) -> usize {
    let one = |region: &Region| {
        let hard = encode_hard_state(PeerId(0), &HardState::default());
        first_meta(region.clone(), PeerId(0)).encode().len() + hard.len()
    };
    regions.iter().map(one).sum()
}

/// The first entry of region 1, with placement's records: the same bytes whenever it is made again.
fn first_entry(cluster: ClusterId, node: Node, regions: &[Region]) -> Vec<u8> {
    let pairs = bootstrap_pairs(cluster, node, regions);
    let system = regions.iter().find(|region| region.id == RegionId::SYSTEM);
    let epoch = system.map(|region| region.epoch).unwrap_or_default();
    let writes: Vec<Write<'_>> = pairs
        .iter()
        .map(|(key, value)| Write::Put {
            key,
            value,
            expiry_ms: None,
        })
        .collect();
    let mut gathered = Gathered::default();
    gathered.push(0, 0, &writes);
    gathered.take(epoch, 0)
}

fn first_meta(region: Region, peer: PeerId) -> Meta {
    Meta {
        peer,
        applied: Index(INITIAL_INDEX),
        clock: 0,
        born: 0,
        region,
        state: State::Normal,
    }
}

/// What begins here, until the log takes it.
#[derive(Debug, Default)]
pub struct Founding {
    regions: Vec<Region>,
    /// The first entry of region 1, with placement's records.
    first: Vec<u8>,
    /// The batch with all of it.
    lsn: coracle_wal::Lsn,
}

impl Founding {
    /// Whether nothing is left to be founded, and what was founded is durable.
    pub fn is_over(&self, durable: coracle_wal::Lsn) -> bool {
        self.regions.is_empty() && self.lsn <= durable
    }
}

impl Shard {
    /// The first peers of regions, each the only one of its region. For a shard whose log is empty; all
    /// of them become durable together, as soon as the log takes them. There is no placement.
    pub fn bootstrap(&mut self, regions: Vec<Region>) {
        self.founding = Founding {
            regions,
            ..Founding::default()
        };
    }

    /// The same for a cluster that begins with this node and these regions: those that are on this store
    /// begin here, and region 1 begins with placement's records.
    pub fn bootstrap_cluster(&mut self, node: Node, mut regions: Vec<Region>) {
        self.herald.remember(vec![node.info()]);
        let is_here = |region: &Region| region.on_store(self.core.me()).is_some();
        let is_led_here = |region: &Region| region.id == RegionId::SYSTEM && is_here(region);
        let first = match regions.iter().any(is_led_here) {
            true => first_entry(self.core.options.cluster, node, &regions),
            false => Vec::new(),
        };
        regions.retain(is_here);
        self.founding = Founding {
            regions,
            first,
            ..Founding::default()
        };
    }

    /// Founds what begins here, once the log takes it.
    pub(super) fn found(&mut self) {
        let Founding { regions, first, .. } = &self.founding;
        if regions.is_empty() {
            return;
        }
        let (bytes, records) = (founded_bytes(regions) + first.len(), 2 * regions.len() + 1);
        let is_one = self.core.log.borrow().takes_together(bytes, records);
        if !is_one || first.len() > ENTRY_BYTES_MAX {
            return self.core.stop("too many regions to begin with".into());
        }
        if !self.core.log.borrow().has_room(bytes as u64, records) {
            return;
        }
        self.core.log.borrow_mut().keep_together(bytes, records);
        let Founding { regions, first, .. } = std::mem::take(&mut self.founding);
        for region in regions {
            let info = *region.on_store(self.core.me()).expect("a peer here");
            let entry = match region.id {
                RegionId::SYSTEM => &first[..],
                _ => &[],
            };
            match found(&mut self.core, region, info, entry) {
                Ok(mut peer) => {
                    // Nobody else can lead: no need to wait for anybody.
                    let _ = peer.node.campaign();
                    self.enter(Box::new(peer));
                }
                Err(refused) => {
                    let why = format!("the first records were refused: {refused}");
                    return self.core.stop(why);
                }
            }
        }
        self.founding.lsn = self.core.log.borrow().last_lsn();
        self.core.ownership_changed = true;
    }
}

/// The first peer of a region; its log holds one entry, which is committed, if there is one to begin with.
fn found(
    core: &mut Core,
    region: Region,
    info: PeerInfo,
    entry: &[u8],
) -> Result<Peer, coracle_wal::Refused> {
    let mut hard = HardState {
        term: INITIAL_TERM,
        commit: INITIAL_INDEX,
        ..HardState::default()
    };
    let meta = first_meta(region.clone(), info.peer);
    core.write_meta(&meta, (INITIAL_INDEX, INITIAL_TERM), true);
    let id = region.id.in_log();
    let mut log = core.log.borrow_mut();
    if !entry.is_empty() {
        hard.commit += 1;
        let entry = coracle_wal::Entry {
            index: hard.commit,
            term: INITIAL_TERM,
            payload: entry.to_vec().into(),
        };
        log.append(id, &[entry])?;
    }
    log.set_hard_state(id, encode_hard_state(info.peer, &hard))?;
    log.applied(id, INITIAL_INDEX);
    log.checkpointed(id, INITIAL_INDEX);
    let lsn = log.last_lsn();
    drop(log);
    let machine = Machine::new(region, info.peer, Index(INITIAL_INDEX), 0);
    let mut peer = Peer::new(core, machine, hard, true);
    peer.last_lsn = lsn;
    peer.vote_lsn = lsn;
    Ok(peer)
}
