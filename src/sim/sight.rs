//! A look at everything, now and then and in the end.

use super::check::{Verdict, Violation, bounds, coverage, linearizability};
use super::history::Kind;
use super::plan::SECOND;
use super::start::{log_limits, store_options};
use super::world::{HEALING, World};
use crate::shard::ids::StoreId;
use crate::shard::observe::PeerStatus;

impl World {
    pub(super) fn statuses(&self) -> Vec<(StoreId, PeerStatus)> {
        let hosts = self
            .nodes
            .iter()
            .filter(|node| node.up)
            .flat_map(|node| &node.hosts);
        hosts
            .filter_map(|host| Some((host.store, host.shard.as_ref()?)))
            .flat_map(|(store, shard)| {
                shard
                    .statuses()
                    .into_iter()
                    .map(move |status| (store, status))
            })
            .collect()
    }

    /// What was seen is told at the next look.
    pub(super) fn note(&mut self, verdict: Verdict) {
        if let Err(violation) = verdict {
            self.broken.get_or_insert(violation);
        }
    }

    /// Looks at everything; whether all is over.
    pub(super) fn look(&mut self) -> Result<bool, Violation> {
        if self.figures.events.is_multiple_of(7) {
            self.tell_space();
        }
        if let Some(violation) = self.broken.take() {
            return Err(violation);
        }
        let statuses = self.statuses();
        self.look_at_bounds()?;
        let initialized = statuses.iter().filter(|(_, status)| status.initialized);
        let regions = initialized.map(|(_, status)| status.region.id);
        self.splits.regions.extend(regions);
        for (store, status) in &statuses {
            self.pointers.look(*store, status)?;
        }
        for (store, _) in &self.stores {
            let here: Vec<_> = statuses
                .iter()
                .filter(|(other, _)| other == store)
                .map(|(_, status)| status.clone())
                .collect();
            coverage::check_store(*store, &here)?;
        }
        self.callbacks.check(self.now.saturating_sub(30 * SECOND))?;
        self.look_at_growth()?;
        let Some(since) = self.healing_since else {
            return Ok(false);
        };
        if self.now < since + 6 * SECOND {
            return Ok(false);
        }
        let clients_done = self.clients.iter().all(|client| client.current.is_none());
        match self.is_well() {
            Ok(()) if clients_done => Ok(true),
            Err(why) if self.now > since + HEALING => Err(Violation::new(
                "liveness",
                format!(
                    "after {} s without faults: {why}{}",
                    HEALING / SECOND,
                    self.describe()
                ),
            )),
            _ if self.now > since + HEALING + 30 * SECOND => Err(Violation::new(
                "liveness",
                "clients are never answered".into(),
            )),
            _ => Ok(false),
        }
    }

    /// Whether every shard holds no more than it may.
    pub(super) fn look_at_bounds(&self) -> Verdict {
        let (limits, options) = (log_limits(&self.plan), store_options(&self.plan));
        for host in self.nodes.iter().flat_map(|node| &node.hosts) {
            if let Some(shard) = &host.shard {
                let held = shard.bounds(&limits, &options);
                bounds::check_shard(host.store, &held)?;
                // Until it is open, tables lie there that an earlier life had no disk to remove from.
                if !shard.is_open() {
                    continue;
                }
                bounds::check_disk(
                    host.store,
                    &host.files.disk,
                    &limits,
                    &options,
                    shard.store(),
                )?;
            }
        }
        Ok(())
    }

    pub(super) fn describe(&self) -> String {
        let hosts = self.nodes.iter().flat_map(|node| &node.hosts);
        let shards = hosts.filter_map(|host| host.shard.as_ref());
        shards
            .map(|shard| format!("\n  {}", shard.describe()))
            .collect()
    }

    /// Whether every region is led, and all its peers are there and equally far.
    pub(super) fn is_well(&self) -> Result<(), String> {
        let statuses = self.statuses();
        self.is_grown(&statuses)?;
        if self.plan.growth.is_some() {
            self.is_emptied(&statuses)?;
        }
        for region in self.known_regions() {
            let of: Vec<_> = statuses
                .iter()
                .filter(|(_, status)| status.region.id == region)
                .collect();
            let leader = of
                .iter()
                .filter(|(_, status)| status.leads)
                .max_by_key(|(_, status)| status.term);
            let Some((_, leader)) = leader else {
                return Err(format!("region {region} has no leader: {of:?}"));
            };
            if leader.region.is_joint() {
                return Err(format!("region {region} stays joint: {of:?}"));
            }
            for info in &leader.region.peers {
                let there = of
                    .iter()
                    .find(|(store, status)| *store == info.store && status.peer == info.peer);
                match there {
                    Some((_, status)) if status.applied == leader.last && status.initialized => {}
                    other => {
                        return Err(format!(
                            "region {region}: peer {info:?} of {leader:?} stands at {other:?}"
                        ));
                    }
                }
            }
            if let Some(extra) = of
                .iter()
                .find(|(_, status)| leader.region.peer(status.peer).is_none())
            {
                return Err(format!("region {region}: {extra:?} should be gone"));
            }
        }
        Ok(())
    }

    pub(super) fn last_checks(&mut self) -> Verdict {
        let statuses = self.statuses();
        coverage::check_cluster(statuses.iter().map(|(_, status)| status), &[2])?;
        if self.plan.clocks_sound || self.plan.limits.lease == 0 {
            linearizability::check(&self.history)?;
        } else {
            // A lease means nothing by such clocks. What a write saw never rests on one.
            let operations = self.history.iter();
            let writes: Vec<_> = operations
                .filter(|operation| operation.kind != Kind::Get)
                .cloned()
                .collect();
            linearizability::check(&writes)?;
        }
        Ok(())
    }
}
