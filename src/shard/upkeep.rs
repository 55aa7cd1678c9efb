//! What the log and the state store say of what they have done, and what both need of peers: checkpoints, and room.

use coracle_engine as engine;
use coracle_engine::ownership::{Owned, Ownership};
use coracle_engine::store::Event;
use coracle_wal as wal;
use coracle_wal::purge::Holder;

use super::brain::Shard;
use super::core::Core;
use super::door::{Effect, Report};
use super::ids::RegionId;
use super::meta::{Meta, State};
use super::peer::{Destroying, Peer, Stage};
use super::restore::RestoreStep;

/// Regions that are looked at when the log runs short.
const HOLDERS: usize = 16;

impl Shard {
    pub(super) fn log_read(&mut self, token: wal::ReadToken, bytes: Option<&[u8]>) {
        let answer = {
            let mut log = self.core.log.borrow_mut();
            match bytes {
                Some(bytes) => log.read_done(token, bytes),
                None => log.read_failed(token),
            }
        };
        if let Some(replay) = &mut self.replay {
            return replay.on_read(token, answer, bytes.is_none());
        }
        let (region, entries) = match answer {
            wal::fetch::Answer::Entries(region, entries) => (region, entries),
            wal::fetch::Answer::Stale(region) => (region, Vec::new()),
            wal::fetch::Answer::Damaged(region, corrupt) => {
                let refused = bytes.is_none();
                self.with(RegionId(region.0), |peer, core| {
                    if !peer.reads_again(refused) {
                        peer.quarantine(core, format!("its log: {corrupt}"));
                    }
                });
                (region, Vec::new())
            }
        };
        self.with(RegionId(region.0), |peer, _| {
            if matches!(peer.stage, Stage::Quarantined) {
                return;
            }
            if !entries.is_empty() {
                peer.refused_reads = 0;
            }
            for caller in peer.node.store().came(token, entries) {
                peer.node.on_entries_fetched(caller);
            }
            peer.node.store().done();
            peer.dirty = true;
        });
    }

    /// The log may be durable further than before.
    pub(super) fn log_moved(&mut self) {
        let durable = self.core.durable();
        self.core.store.log_durable(engine::store::Lsn(durable.0));
        self.store_events();
        // What waits for it is released in the turn.
        self.worked = true;
    }

    pub(super) fn store_events(&mut self) {
        for event in self.core.store.take_events() {
            match event {
                Event::ReadDone(_) => {
                    for region in std::mem::take(&mut self.blocked) {
                        self.line.push(region);
                    }
                }
                Event::RotationDurable(rotation) => {
                    for region in self.regions() {
                        self.with(region, |peer, core| {
                            let id = (peer.region_id().in_store(), peer.id.in_store());
                            if let Some(checkpoint) = core.store.checkpoint(id.0, id.1)
                                && !matches!(peer.stage, Stage::Restoring(_))
                            {
                                let mut log = core.log.borrow_mut();
                                log.checkpointed(peer.region_id().in_log(), checkpoint.index.0);
                            }
                            peer.prepare_snapshot(core, rotation);
                            peer.dirty |= peer.is_frozen() || peer.asking.is_some();
                        });
                    }
                }
                Event::TableReceived(table) => {
                    for receiving in self.core.receiving.values_mut() {
                        receiving.durable(table.0);
                    }
                    self.check_received();
                }
                Event::TableLost(table, _) => {
                    let lost: Vec<_> = self
                        .core
                        .receiving
                        .extract_if(.., |_, receiving| receiving.has(table.0))
                        .collect();
                    for (_, receiving) in lost {
                        receiving.abandon(&mut self.core);
                    }
                }
                Event::Ingested { region, .. } => {
                    self.with(RegionId(region.0), |peer, core| peer.ingested(core));
                }
                Event::IngestFailed { region, why, .. } => {
                    let why = format!("a snapshot could not be brought in: {why:?}");
                    self.with(RegionId(region.0), |peer, core| peer.quarantine(core, why));
                }
                Event::Destroyed { cut } => {
                    for region in self.regions() {
                        self.with(region, |peer, core| {
                            if matches!(peer.stage, Stage::Destroying(Destroying::Cutting(other)) if other == cut)
                            {
                                peer.stage = Stage::Destroying(Destroying::Over);
                                peer.dirty = true;
                                core.burials = true;
                            }
                        });
                    }
                }
                Event::Unreadable(error) => {
                    self.core.effects.push(Effect::Report(Report::Quarantined {
                        region: RegionId(0),
                        why: format!("compaction rests: {error:?}"),
                    }));
                }
                Event::Stopped(why) => self.core.stop(format!("the state store stopped: {why:?}")),
            }
        }
    }

    /// Where the log runs short, whoever holds its oldest segment lets go of it.
    pub(super) fn relieve_log(&mut self) {
        let low = self.core.limits().segments_low;
        if self.core.log.borrow().segments_left() > low {
            return;
        }
        let holders = self.core.log.borrow().oldest_to_ask(HOLDERS);
        for holder in holders {
            self.with(RegionId(holder.region.0), |peer, core| {
                peer.relieve(core, holder);
            });
        }
    }

    /// Rotates the memtable where it is full or somebody needs it.
    pub(super) fn rotate(&mut self) {
        let full = self.core.store.wants_rotation();
        if self.replay.is_some() && !full {
            return;
        }
        if !full && !self.core.rotation_wanted {
            return;
        }
        if self.core.ownership_changed && self.replay.is_none() {
            self.core.ownership_changed = false;
            let owned = self.peers.values().filter_map(|peer| {
                Some(Owned {
                    range: peer.owned()?.clone(),
                    region: peer.region_id().in_store(),
                })
            });
            self.core
                .store
                .set_ownership(Ownership::new(owned.collect()));
        }
        let barrier = engine::store::Lsn(self.core.log.borrow().last_lsn().0);
        let Ok(rotation) = self.core.store.rotate(barrier) else {
            return;
        };
        self.worked = true;
        if std::mem::take(&mut self.core.rotation_wanted) {
            self.core.store.hurry(rotation);
        }
        for region in self.regions() {
            self.with(region, |peer, _| {
                match &mut peer.stage {
                    Stage::Restoring(restoring) if restoring.step == RestoreStep::Freeze => {
                        restoring.step = RestoreStep::Checkpoint(rotation);
                    }
                    Stage::Destroying(step @ Destroying::Asked) => {
                        *step = Destroying::Checkpoint(rotation);
                    }
                    _ => {}
                }
                peer.rotated_for_split(rotation);
                peer.rotated_early(rotation);
                peer.plan_snapshot(rotation);
            });
        }
    }
}

impl Peer {
    /// Lets go of the log's oldest segment, as far as it can: what it has not applied it keeps, and the log
    /// writes that anew.
    fn relieve(&mut self, core: &mut Core, holder: Holder) {
        let id = (self.region_id().in_store(), self.id.in_store());
        let checkpoint = core.store.checkpoint(id.0, id.1);
        let behind = checkpoint.is_none_or(|known| known.index.0 < self.machine.applied.0);
        core.rotation_wanted |= holder.needs_checkpoint && behind;
        if holder.needs_truncation {
            self.truncate_here(core);
        }
    }

    /// Whether the log says of the region what this peer knows. One that was given up in the middle of a
    /// change, or of a replay, may know less, and must not say so.
    fn knows_its_meta(&self, core: &Core) -> bool {
        let log = core.log.borrow();
        let meta = log.meta(self.region_id().in_log());
        meta.and_then(|meta| Meta::decode(meta).ok())
            .is_some_and(|meta| {
                meta.state == State::Normal
                    && meta.region == *self.region()
                    && meta.applied <= self.machine.applied
            })
    }

    /// Cuts the log off here, as far as the tables hold it: when space is short.
    fn truncate_here(&mut self, core: &mut Core) {
        // A peer that leaves may have to wait for long until it may go, and one that was given up until it is
        // replaced.
        let can = match self.stage {
            Stage::Normal | Stage::Leaving => true,
            Stage::Quarantined => self.knows_its_meta(core),
            _ => false,
        };
        if !can || self.changing.is_some() || !core.has_room_to_let_go() {
            return;
        }
        let id = (self.region_id().in_store(), self.id.in_store());
        let Some(checkpoint) = core.store.checkpoint(id.0, id.1) else {
            return;
        };
        let index = checkpoint.index.0.min(self.machine.applied.0);
        let before = self.truncated(core);
        let term = core.log.borrow().term(self.region_id().in_log(), index);
        if let Some(term) = term.filter(|_| index > before.0) {
            self.last_lsn = core.write_meta(&self.meta(State::Normal), (index, term), false);
        }
    }
}
