//! A peer: a region's replica here, from its first message to its tombstone.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use coracle_engine::progress::Rotation;
use coracle_engine::record::KeyRange;
use coracle_engine::store::CutNumber;
use coracle_wal as wal;
use raft::eraftpb::HardState;
use raft::{Config, RawNode, StateRole};

use super::consistency::Consistency;
use super::core::Core;
use super::divide::Dividing;
use super::entry::Gathered;
use super::ids::{Incarnation, Index, PeerId, RegionId, RequestId, StoreId, Term};
use super::lease::Lease;
use super::leave::Farewell;
use super::machine::Machine;
use super::membership::Change;
use super::meta::{Meta, State, conf_state};
use super::observe::{Durable, PeerStatus};
use super::pulse::Pulse;
use super::quiet::Rest;
use super::read::Reads;
use super::region::{PeerInfo, Region, Role};
use super::restore::Restoring;
use super::snapshot::{Exportable, Plan};
use super::split::{Asking, Splitting};
use super::split_check::Watch;
use super::summons::Summons;
use super::window::Window;

/// So many reads in a row that the disk refuses are too many.
pub const READS_REFUSED_MAX: u32 = 3;

/// Addresses that a peer remembers from messages, at the most.
pub const CONTACTS_MAX: usize = 64;

/// Where a peer is in its life.
#[derive(Debug)]
pub enum Stage {
    /// It has no range yet: it waits for its first snapshot.
    Uninitialized,
    /// It serves.
    Normal,
    /// A snapshot is taking the place of its content.
    Restoring(Box<Restoring>),
    /// It has applied its own removal, and helps until the others know.
    Leaving,
    /// It is on its way out.
    Destroying(Destroying),
    /// It cannot go on, and neither applies nor serves.
    Quarantined,
}

/// The way out, step by step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destroying {
    /// The memtable is to be rotated.
    Asked,
    /// What it has applied so far is on its way into tables.
    Checkpoint(Rotation),
    /// The tombstone is on its way.
    Tombstone(wal::Lsn),
    /// Its content is to be cut.
    Cut,
    /// Its content is being cut.
    Cutting(CutNumber),
    /// Nothing is left of it but the tombstone.
    Over,
}

/// A change of the region that stops applying until it is durable.
#[derive(Debug)]
pub enum Changing {
    /// Of its peers.
    Peers(Box<Regrouping>),
    /// Of its range.
    Split(Box<Dividing>),
}

/// A change of the peers whose meta is on its way into the log.
#[derive(Debug)]
pub struct Regrouping {
    /// The batch that holds the meta.
    pub lsn: wal::Lsn,
    /// The change.
    pub change: Change,
    /// The region afterwards.
    pub after: Region,
}

/// Requests that gather for the next entry.
#[derive(Debug, Default)]
pub struct Staged {
    /// Their commands.
    pub commands: Gathered,
    /// Who waits.
    pub requests: Vec<RequestId>,
    /// Their bytes, as counted against the budgets.
    pub bytes: u64,
}

impl Staged {
    /// Gives back memory that was needed for more requests than there are.
    pub fn shed(&mut self) {
        self.commands.shed();
        self.requests.shrink_to_fit();
    }
}

/// An entry that was proposed here.
#[derive(Debug)]
pub struct Proposal {
    /// Where it should be.
    pub index: Index,
    /// In which term.
    pub term: Term,
    /// Its bytes, as counted against the budgets.
    pub bytes: u64,
    /// When it is given up.
    pub deadline: u64,
    /// Who waits, request by request.
    pub requests: Vec<RequestId>,
}

/// A region's replica here. The fields lie in this order: what every request and every turn looks at is close
/// together, and what is rarely there is a pointer, so that a visit has few lines of memory to wait for.
#[repr(C, align(64))]
pub struct Peer {
    /// Where it is in its life.
    pub stage: Stage,
    /// Whether a turn has something to do here.
    pub dirty: bool,
    /// Whether it stands in line for one.
    pub queued: bool,
    /// An empty entry is wanted, to move the clock.
    pub clock_wanted: bool,
    /// Whether it was told that the region's clock is too far ahead.
    pub clock_told: bool,
    /// Reads of its data that the disk has refused, one after another.
    pub refused_reads: u32,
    /// Itself.
    pub id: PeerId,
    /// A change that stops applying until it is durable.
    pub changing: Option<Changing>,
    /// A split that is not proposed yet.
    pub asking: Option<Box<Asking>>,
    /// Bytes that gather, and bytes proposed and not answered.
    pub proposed_bytes: u64,
    /// What it applies.
    pub machine: Machine,
    /// Requests that gather for the next entry.
    pub staged: Staged,
    /// A split that was proposed here, and that writes wait for.
    pub splitting: Option<Splitting>,
    /// Entries proposed and not answered.
    pub proposals: VecDeque<Proposal>,
    /// The newest batch with something of this peer.
    pub last_lsn: wal::Lsn,
    /// The newest batch with its term and vote.
    pub vote_lsn: wal::Lsn,
    /// The term and vote that were last written down.
    pub promised: (u64, u64),
    /// The commit index that was last written down.
    pub written_commit: u64,
    /// What was last written down, and in which batch.
    pub written: (wal::Lsn, Durable),
    /// What is durable.
    pub durable: Durable,
    /// Term and role for which the election timeout was drawn.
    pub drawn: (u64, StateRole),
    /// What its leader, which hands over, has told it.
    pub summons: Option<Box<Summons>>,
    /// The region's clock when this leader applied an entry of its own last, and when that was.
    pub clock_seen: Option<(u64, u64)>,
    /// Reads under way.
    pub reads: Reads,
    /// Whether replicas hold the same.
    pub consistency: Consistency,
    /// How far it is on its way to be quiet.
    pub rest: Rest,
    /// Its right to answer reads by itself.
    pub lease: Lease,
    /// Whether the region is too large or too busy.
    pub watch: Watch,
    /// When placement is told of the region next.
    pub pulse: Pulse,
    /// The turn in which a write was turned away last because the region had too much under way.
    pub shut_in: u64,
    /// Raft.
    pub node: RawNode<Window>,
    /// Until then it neither votes nor campaigns.
    pub quiet_until: u64,
    /// Ticks since it last heard from a leader.
    pub leaderless: u64,
    /// Its life; completions of another one are dropped.
    pub incarnation: Incarnation,
    /// Stores of peers that it has heard from.
    pub contacts: BTreeMap<PeerId, StoreId>,
    /// Who has said that it is no longer in the region.
    pub farewell: Farewell,
    /// The other parts of the last split, as of then: they correct whoever still takes them for this region.
    pub siblings: Vec<Region>,
    /// Ticks until the next look at what may be cut off.
    pub truncate_in: u64,
    /// Ticks until replicas are compared.
    pub compare_in: u64,
    /// A snapshot that waits for its rotation.
    pub plan: Option<Box<Plan>>,
    /// A snapshot that can be sent.
    pub exportable: Option<Box<Exportable>>,
}

impl fmt::Debug for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "peer {} of region {} in {:?}, term {}",
            self.id,
            self.machine.region,
            self.stage,
            self.term()
        )
    }
}

impl Peer {
    /// A peer that has applied up to where `machine` has; `hard` is what it has promised.
    pub fn new(core: &mut Core, mut machine: Machine, hard: HardState, initialized: bool) -> Peer {
        machine.mutant = core.options.mutant;
        let region = &machine.region;
        let conf = match initialized {
            true => conf_state(region),
            false => Default::default(),
        };
        let limits = *core.limits();
        // Where a replay could not go on, the log may begin behind what was applied.
        let begins = core.log.borrow().truncated(region.id.in_log());
        let begins = begins.map_or(0, |(index, _)| index);
        let config = Config {
            id: machine.peer.0,
            election_tick: limits.election_ticks,
            heartbeat_tick: limits.heartbeat_ticks,
            applied: machine.applied.0.max(begins),
            max_size_per_msg: limits.append_bytes,
            max_inflight_msgs: limits.append_inflight,
            check_quorum: true,
            pre_vote: true,
            batch_append: true,
            skip_bcast_commit: false,
            max_uncommitted_size: limits.proposed_bytes * 4,
            max_committed_size_per_ready: limits.unapplied_bytes,
            ..Config::default()
        };
        let window = Window::new(&core.log, region.id, hard, conf);
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&config, window, &logger).expect("the configuration is sound");
        let (vote_lsn, incarnation) = (core.durable(), core.incarnate());
        let mut peer = Peer {
            id: machine.peer,
            incarnation,
            stage: match initialized {
                true => Stage::Normal,
                false => Stage::Uninitialized,
            },
            changing: None,
            asking: None,
            splitting: None,
            siblings: Vec::new(),
            staged: Staged::default(),
            proposals: VecDeque::new(),
            proposed_bytes: 0,
            last_lsn: vote_lsn,
            vote_lsn,
            promised: (node.raft.term, node.raft.vote),
            written_commit: node.raft.raft_log.committed,
            written: (vote_lsn, Durable::default()),
            durable: Durable::default(),
            drawn: (0, StateRole::PreCandidate),
            // Whatever an earlier life of this shard promised, it did before this one began.
            quiet_until: core.begun + core.promise(),
            summons: None,
            lease: Lease::default(),
            reads: Reads::default(),
            contacts: BTreeMap::new(),
            farewell: Farewell::default(),
            leaderless: 0,
            dirty: true,
            queued: false,
            truncate_in: limits.truncate_ticks,
            plan: None,
            exportable: None,
            consistency: Consistency::default(),
            compare_in: limits.compare_ticks,
            clock_wanted: false,
            pulse: Pulse::default(),
            watch: Watch::default(),
            clock_seen: None,
            clock_told: false,
            shut_in: 0,
            refused_reads: 0,
            rest: Rest::default(),
            node,
            machine,
        };
        peer.draw(core);
        peer
    }

    /// The region, as of the applied entry.
    pub fn region(&self) -> &Region {
        &self.machine.region
    }

    /// The region's name.
    pub fn region_id(&self) -> RegionId {
        self.machine.region.id
    }

    /// Itself, as the region knows it.
    pub fn info(&self, core: &Core) -> PeerInfo {
        let known = self.region().peer(self.id).copied();
        known.unwrap_or(PeerInfo {
            peer: self.id,
            store: core.me(),
            role: Role::Learner,
        })
    }

    /// Whether it has a range.
    pub fn is_initialized(&self) -> bool {
        !self.machine.region.peers.is_empty()
    }

    /// Whether it leads.
    pub fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// Its term.
    pub fn term(&self) -> Term {
        Term(self.node.raft.term)
    }

    /// Whom it follows, with the store.
    pub fn leader(&self) -> Option<PeerInfo> {
        let leader = PeerId(self.node.raft.leader_id);
        if leader.0 == 0 {
            return None;
        }
        self.region().peer(leader).copied()
    }

    /// Remembers where a peer is.
    pub fn meet(&mut self, info: PeerInfo) {
        if self.contacts.len() < CONTACTS_MAX || self.contacts.contains_key(&info.peer) {
            self.contacts.insert(info.peer, info.store);
        }
    }

    /// Whether it is the only voter.
    pub fn is_sole_voter(&self) -> bool {
        let voters = self.node.raft.prs().conf().voters();
        voters.is_singleton() && voters.contains(self.id.0)
    }

    /// Draws a new election timeout where term or role have changed.
    pub fn draw(&mut self, core: &mut Core) {
        let now = (self.node.raft.term, self.node.raft.state);
        if self.drawn != now {
            self.drawn = now;
            let ticks = core.limits().election_ticks as u64;
            let drawn = core.chance.between(ticks, 2 * ticks);
            self.node
                .raft
                .set_randomized_election_timeout(drawn as usize);
        }
    }

    /// The range that compaction must leave alone here: its own, or the one that a snapshot brings.
    pub fn owned(&self) -> Option<&KeyRange> {
        match &self.stage {
            Stage::Restoring(restoring) => Some(restoring.range()),
            _ => self.is_initialized().then_some(&self.machine.region.range),
        }
    }

    /// The replicated record as of the applied entry.
    pub fn meta(&self, state: State) -> Meta {
        Meta {
            peer: self.id,
            applied: self.machine.applied,
            clock: self.machine.clock,
            born: self.machine.born,
            region: self.machine.region.clone(),
            state,
        }
    }

    /// Index and term behind which its log begins.
    pub fn truncated(&self, core: &Core) -> (u64, u64) {
        let log = core.log.borrow();
        log.truncated(self.region_id().in_log()).unwrap_or_default()
    }

    /// Whether it neither applies nor reads at the moment.
    pub fn is_frozen(&self) -> bool {
        !matches!(self.stage, Stage::Normal | Stage::Leaving)
    }

    /// Whether a snapshot is taking the place of its content.
    pub fn is_restoring(&self) -> bool {
        matches!(self.stage, Stage::Restoring(_))
    }

    /// Whether it reads again what could not be read: a disk may refuse now what it gives later, but not
    /// for ever, and damage stays.
    pub fn reads_again(&mut self, refused: bool) -> bool {
        self.refused_reads += 1;
        refused && self.refused_reads < READS_REFUSED_MAX
    }

    /// What waits here, for whoever looks for a fault.
    pub fn waiting(&self) -> String {
        format!(
            "{:?}, ready {}, unstable {}, queue {}, changing {}, proposals {}, snapshot {:?}, silent for {} ticks, {:?}",
            self.node.raft.state,
            self.node.has_ready(),
            self.node.raft.raft_log.unstable_entries().len(),
            self.machine.queue.len(),
            self.changing.is_some(),
            self.proposals.len(),
            self.node.store().prepared.borrow(),
            self.leaderless,
            self.rest
        )
    }

    /// How it stands, for operators and checkers.
    pub fn status(&self, core: &Core) -> PeerStatus {
        let raft = &self.node.raft;
        let checkpoint = core
            .store
            .checkpoint(self.region_id().in_store(), self.id.in_store());
        let between = matches!(
            self.stage,
            Stage::Restoring(_) | Stage::Destroying(_) | Stage::Quarantined
        );
        let applied = self.machine.applied;
        PeerStatus {
            region: self.region().clone(),
            peer: self.id,
            initialized: self.is_initialized() && !between,
            term: self.term(),
            leads: self.leads(),
            leader: self.leader().map(|info| info.peer),
            clock: self.machine.clock,
            truncated: Index(self.truncated(core).0),
            checkpointed: Index(checkpoint.map_or(0, |checkpoint| checkpoint.index.0)).min(applied),
            applied,
            committed: Index(raft.raft_log.committed),
            persisted: Index(raft.raft_log.persisted),
            last: Index(raft.raft_log.last_index()),
            durable: self.durable,
        }
    }
}
