//! A snapshot on its way out.
//!
//! A snapshot is the tables as of a rotation, which holds the region as of one entry: that entry is its
//! index. It pins tables only, and its receiver pulls it piece by piece: a piece is kept until the next
//! one is asked for, so whatever is lost on the way is asked for again, and the receiver sets the pace.

use bytes::Bytes;
use coracle_engine::effect::TableNumber;
use coracle_engine::export::{Export, ExportStep};
use coracle_engine::lookup::ReadFailed;
use coracle_engine::progress::Rotation;
use coracle_engine::view::View;
use raft::SnapshotStatus;
use raft::eraftpb::Snapshot;

use super::core::Core;
use super::ids::{Incarnation, Index, RegionId, StoreId};
use super::message::{PeerMessage, RaftMessage, SnapshotContent, StreamId};
use super::meta::conf_state;
use super::peer::{Peer, Stage};
use super::region::Region;
use super::window::Prepared;

/// A snapshot that waits for its rotation.
#[derive(Debug)]
pub struct Plan {
    rotation: Rotation,
    region: Region,
    index: Index,
    term: u64,
    clock: u64,
}

/// A snapshot that can be sent.
#[derive(Debug)]
pub struct Exportable {
    region: Region,
    index: Index,
    clock: u64,
    view: View,
}

/// A snapshot that is being sent.
#[derive(Debug)]
pub struct Sending {
    /// The region.
    pub region: RegionId,
    incarnation: Incarnation,
    to: StoreId,
    offer: PeerMessage,
    message_to: u64,
    export: Export,
    given: usize,
    /// The piece that is kept until the next one is asked for.
    piece: Option<(u64, SnapshotContent)>,
    /// The piece that is asked for.
    wanted: Option<u64>,
    asked_at: u64,
    done: bool,
    /// What cannot be read.
    unreadable: Option<ReadFailed>,
}

impl Peer {
    /// The memtable is being rotated: whoever wants a snapshot gets it as of now.
    pub fn plan_snapshot(&mut self, rotation: Rotation) {
        let mut prepared = self.node.store().prepared.borrow_mut();
        if !matches!(*prepared, Prepared::Wanted)
            || !matches!(self.stage, Stage::Normal)
            || self.changing.is_some()
        {
            return;
        }
        let index = self.machine.applied;
        let Ok(term) = self.node.raft.raft_log.term(index.0) else {
            return;
        };
        *prepared = Prepared::Making;
        self.plan = Some(Box::new(Plan {
            rotation,
            region: self.machine.region.clone(),
            index,
            term,
            clock: self.machine.clock,
        }));
    }

    /// A rotation is in the tables: the snapshot that waited for it can be sent.
    pub fn prepare_snapshot(&mut self, core: &mut Core, rotation: Rotation) {
        let Some(plan) = self.plan.take_if(|plan| plan.rotation <= rotation) else {
            return;
        };
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = plan.index.0;
        metadata.term = plan.term;
        metadata.set_conf_state(conf_state(&plan.region));
        *self.node.store().prepared.borrow_mut() = Prepared::Ready(snapshot);
        self.exportable = Some(Box::new(Exportable {
            region: plan.region,
            index: plan.index,
            clock: plan.clock,
            view: core.store.view_of_tables(),
        }));
        self.dirty = true;
    }

    /// Forgets a snapshot that is or is being prepared; what is being sent goes on.
    pub fn forget_snapshot(&mut self) {
        self.plan = None;
        self.exportable = None;
        *self.node.store().prepared.borrow_mut() = Prepared::None;
    }

    /// A snapshot that the log has been cut off beyond is of no use to anybody.
    pub fn drop_old_snapshot(&mut self, core: &Core) {
        let truncated = self.truncated(core).0;
        if self
            .exportable
            .as_ref()
            .is_some_and(|ready| ready.index.0 < truncated)
        {
            self.forget_snapshot();
        }
    }

    /// Whether a peer that was sent a snapshot has taken it in, or has come as far without it.
    pub fn has_sent(&self, peer: u64, index: u64) -> bool {
        let progress = self.node.raft.prs().get(peer);
        progress.is_some_and(|there| there.matched >= index)
    }

    /// Raft wants a snapshot to be sent.
    pub fn offer_snapshot(&mut self, core: &mut Core, message: RaftMessage) {
        let to = message.to.peer.0;
        let index = message.message.get_snapshot().get_metadata().index;
        let ready = self
            .exportable
            .as_ref()
            .filter(|ready| ready.index.0 == index);
        let usable = ready.filter(|ready| ready.view.check().is_ok());
        let (Some(ready), true) = (usable, core.sending.len() < core.limits().snapshots_sending)
        else {
            if ready.is_some_and(|ready| ready.view.check().is_err()) {
                self.forget_snapshot();
            }
            self.node.report_snapshot(to, SnapshotStatus::Failure);
            return;
        };
        core.streams += 1;
        let stream = StreamId {
            boot: core.options.boot,
            count: core.streams,
        };
        let range = ready.region.range.clone();
        let offer = PeerMessage::SnapshotOffer {
            stream,
            region: ready.region.clone(),
            clock: ready.clock,
            bytes: core.store.approximate_size(&range),
            message: message.clone(),
        };
        let table_bytes = core.limits().snapshot_table_bytes;
        let export = core
            .store
            .export(&ready.view, range, Vec::new(), table_bytes);
        core.send(message.to.store, offer.clone());
        let sending = Sending {
            region: self.region_id(),
            incarnation: self.incarnation,
            to: message.to.store,
            offer,
            message_to: to,
            export,
            given: 0,
            piece: None,
            wanted: None,
            asked_at: core.now.mono,
            done: false,
            unreadable: None,
        };
        core.sending.insert(stream, sending);
    }
}

/// What became of a snapshot that is being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It goes on.
    Going,
    /// It is over; raft is to be told.
    Over(SnapshotStatus),
}

impl Sending {
    /// Whose it is, and to whom it goes.
    pub fn names(&self) -> (RegionId, Incarnation, u64) {
        (self.region, self.incarnation, self.message_to)
    }

    /// The receiver asks for a piece.
    pub fn pull(&mut self, now: u64, piece: u64, numbers: &[u64]) {
        self.asked_at = now;
        for number in numbers.iter().skip(self.given) {
            self.export.add_number(TableNumber(*number));
        }
        self.given = self.given.max(numbers.len());
        self.wanted = Some(piece);
    }

    /// Makes and sends what was asked for, a bounded piece of it.
    pub fn step(&mut self, core: &mut Core, stream: StreamId) -> Sent {
        let limits = *core.limits();
        if core.now.mono > self.asked_at + limits.snapshot_timeout {
            return Sent::Over(match self.done {
                true => SnapshotStatus::Finish,
                false => SnapshotStatus::Failure,
            });
        }
        let Some(wanted) = self.wanted else {
            return Sent::Going;
        };
        if !core.pace.allows(&limits) {
            return Sent::Going;
        }
        let next = self.piece.as_ref().map_or(0, |(number, _)| number + 1);
        if wanted == next {
            let Some(content) = self.make(core) else {
                return Sent::Going;
            };
            self.done |= content == SnapshotContent::Done;
            self.piece = Some((wanted, content));
        }
        self.wanted = None;
        if let Some((piece, content)) = &self.piece
            && *piece == wanted
        {
            let (piece, content) = (*piece, content.clone());
            let failed = content == SnapshotContent::Failed;
            if let SnapshotContent::Chunk { bytes, .. } = &content {
                core.pace.spend(&limits, bytes.len());
            }
            core.send(
                self.to,
                PeerMessage::SnapshotPiece {
                    stream,
                    piece,
                    content,
                },
            );
            if failed {
                return Sent::Over(SnapshotStatus::Failure);
            }
        }
        Sent::Going
    }

    /// The next piece; none while it is being read.
    fn make(&mut self, core: &mut Core) -> Option<SnapshotContent> {
        // A step is bounded; a few of them make a piece.
        for _ in 0..16 {
            match self.export.step(&mut core.store) {
                Ok(ExportStep::More) => {}
                Ok(ExportStep::Need) => return None,
                Ok(ExportStep::NeedNumber) => return Some(SnapshotContent::NeedNumber),
                Ok(ExportStep::Done) => return Some(SnapshotContent::Done),
                Ok(ExportStep::Table(meta)) => {
                    return Some(SnapshotContent::TableEnd {
                        table: meta.number.0,
                    });
                }
                Ok(ExportStep::Chunk(table, chunk)) => {
                    return Some(SnapshotContent::Chunk {
                        table: table.0,
                        offset: chunk.offset,
                        bytes: Bytes::from(chunk.bytes),
                    });
                }
                Err(error) => {
                    self.unreadable = Some(error);
                    return Some(SnapshotContent::Failed);
                }
            }
        }
        None
    }

    /// Offers it again, where the receiver has not asked for anything yet.
    pub fn remind(&self, core: &mut Core) {
        if self.piece.is_none() && self.wanted.is_none() {
            core.send(self.to, self.offer.clone());
        }
    }

    /// As of which entry it is.
    pub fn index(&self) -> u64 {
        match &self.offer {
            PeerMessage::SnapshotOffer { message, .. } => {
                message.message.get_snapshot().get_metadata().index
            }
            _ => u64::MAX,
        }
    }

    /// What could not be read, and ended it.
    pub fn unreadable(&mut self) -> Option<ReadFailed> {
        self.unreadable.take()
    }

    /// Whether all of it was sent.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Whether something was asked for that is not made yet.
    pub fn is_asked(&self) -> bool {
        self.wanted.is_some()
    }
}
