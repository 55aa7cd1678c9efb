//! What whoever looks after a cluster asks of placement, under all other faults: replicas are moved by hand, nodes
//! emptied and taken out, placement is held for a while.
//!
//! ```text
//! member ─▶ draining ─▶ gone, and told so ─▶ its process ends, loses everything, and joins as another
//!    ◀──────────┘
//! ```

use std::collections::BTreeSet;

use super::disk::Chance;
use super::event::Event;
use super::plan::SECOND;
use super::world::World;
use crate::placement::{Message, Placement, Standing};
use crate::shard::Shard;
use crate::shard::ids::{NodeId, RegionId, StoreId};
use crate::shard::observe::PeerStatus;
use crate::shard::request::{Answer, Response};
use crate::shard::time::MILLISECOND;

/// Whoever asks for all this.
pub(super) const UPKEEP: usize = usize::MAX - 1;

/// What was asked.
#[derive(Debug)]
pub(super) struct Upkeep {
    chance: Chance,
    /// Nodes that were told that they are gone.
    pub(super) removed: BTreeSet<NodeId>,
    /// Nodes that were to be taken out.
    asked: BTreeSet<NodeId>,
}

impl Upkeep {
    pub(super) fn new(seed: u64) -> Upkeep {
        Upkeep {
            chance: Chance::new(seed ^ 0x5550_4B45_4550),
            removed: BTreeSet::new(),
            asked: BTreeSet::new(),
        }
    }

    /// Whether somebody wanted a node to be taken out.
    pub(super) fn may_be_gone(&self, node: NodeId) -> bool {
        self.asked.contains(&node)
    }
}

impl World {
    /// How often something is asked; 0: never.
    fn upkeep_every(&self) -> u64 {
        let growth = self.plan.growth.as_ref();
        growth.map_or(0, |growth| growth.upkeep)
    }

    /// The first time.
    pub(super) fn plan_upkeep(&mut self) {
        let every = self.upkeep_every();
        if every > 0 {
            let delay = every + self.upkeep.chance.below(every);
            self.after(delay, Event::Upkeep);
        }
    }

    /// Placement, where it runs.
    fn placement(&self) -> Option<&Placement> {
        let hosts = self.nodes.iter().flat_map(|node| &node.hosts);
        let mut shards = hosts.filter_map(|host| host.shard.as_ref());
        shards.find_map(Shard::placement)
    }

    /// Processes whose nodes are to be emptied.
    fn draining(&self, placement: &Placement) -> Vec<NodeId> {
        let nodes = &placement.state().nodes;
        let ids = self.nodes.iter().map(|node| node.membership.node);
        let drains = |id: &NodeId| nodes.get(id).is_some_and(|node| node.standing.is_emptied());
        ids.filter(drains).collect()
    }

    /// Something is asked of placement.
    pub(super) fn keep_up(&mut self) {
        let every = match self.healing_since {
            None => self.upkeep_every(),
            Some(_) => SECOND,
        };
        let delay = every / 4 + self.upkeep.chance.below(every * 3 / 2);
        self.after(delay, Event::Upkeep);
        let question = match self.healing_since {
            None => self.wish(),
            Some(_) => self.tidy(),
        };
        let statuses = self.statuses();
        let system = statuses
            .iter()
            .filter(|(_, status)| status.region.id == RegionId::SYSTEM && status.leads);
        let leader = system.max_by_key(|(_, status)| status.term);
        if let (Some(question), Some((store, _))) = (question, leader) {
            self.tell(|| format!("placement is asked: {question:?}"));
            if let Message::Stand {
                node,
                standing: Standing::Gone,
            } = question
            {
                self.upkeep.asked.insert(node);
            }
            self.send_question(0, (UPKEEP, 0), question, *store);
        }
    }

    /// Something to ask for, sensible or not.
    fn wish(&mut self) -> Option<Message> {
        let placement = self.placement()?;
        let (paused, draining) = (placement.state().paused, self.draining(placement));
        let known = &placement.state().regions;
        let regions: Vec<_> = known.behind(RegionId(0)).cloned().collect();
        let spare = self.nodes.len() > self.plan.replicas;
        if paused && self.upkeep.chance.toss() {
            return Some(Message::Pause { paused: false });
        }
        let stand = |node, standing| Some(Message::Stand { node, standing });
        match (self.upkeep.chance.below(20), draining.first()) {
            (0..12, _) => {
                let pick = self.upkeep.chance.below(regions.len().max(1) as u64) as usize;
                let region = regions.get(pick)?;
                let pick = self.upkeep.chance.below(region.peers.len().max(1) as u64) as usize;
                let peer = region.peers.get(pick)?.peer;
                let pick = self.upkeep.chance.below(self.stores.len() as u64) as usize;
                Some(Message::MoveRegion {
                    region: region.id,
                    peer,
                    to: self.stores[pick].0,
                })
            }
            (12..15, None) if spare => {
                let pick = self.upkeep.chance.below(self.nodes.len() as u64) as usize;
                stand(self.nodes[pick].membership.node, Standing::Draining)
            }
            // It is refused as long as anything is left.
            (12..18, Some(node)) => stand(*node, Standing::Gone),
            (18, Some(node)) => stand(*node, Standing::Member),
            (19, _) if !paused => Some(Message::Pause { paused: true }),
            _ => None,
        }
    }

    /// What must not stay if the cluster is to be well: that it is held, or that too few nodes are left.
    fn tidy(&mut self) -> Option<Message> {
        let placement = self.placement()?;
        if placement.state().paused {
            return Some(Message::Pause { paused: false });
        }
        let draining = self.draining(placement);
        let most = self.nodes.len().saturating_sub(self.plan.replicas);
        let node = *draining.get(most)?;
        Some(Message::Stand {
            node,
            standing: Standing::Member,
        })
    }

    /// What placement has answered.
    pub(super) fn upkeep_told(&mut self, asked: &Message, response: &Response) {
        match (asked, response) {
            (Message::MoveRegion { .. }, Ok(Answer::Placement(Message::Moving { .. }))) => {
                self.figures.moves_by_hand += 1;
            }
            (
                Message::Stand {
                    standing: Standing::Draining,
                    ..
                },
                Ok(Answer::Placement(Message::Nodes(..))),
            ) => self.figures.drains += 1,
            (Message::Pause { paused: true }, Ok(_)) => self.figures.holds += 1,
            _ => {}
        }
    }

    /// A process ends for its node is gone, and it holds nothing.
    pub(super) fn taken_out(&mut self, node: usize) {
        let id = self.nodes[node].membership.node;
        self.tell(|| format!("node {node} is told that it is gone"));
        if self.upkeep.removed.insert(id) {
            self.figures.removals += 1;
        }
        let rest = 100 * MILLISECOND;
        self.nodes[node].membership.lost_until = Some(self.now + rest);
        self.after(rest, Event::Start(node));
    }

    /// Whether what is to be emptied is empty.
    pub(super) fn is_emptied(&self, statuses: &[(StoreId, PeerStatus)]) -> Result<(), String> {
        let Some(placement) = self.placement() else {
            return Err("placement does not run".into());
        };
        if placement.state().paused {
            return Err("placement is paused".into());
        }
        let known = placement.state();
        for node in self.draining(placement) {
            for store in &known.nodes[&node].stores {
                let left = known.regions.load(*store).peers;
                let mut there = statuses.iter().filter(|(other, _)| other == store);
                if left > 0 {
                    return Err(format!(
                        "{left} replicas lie on store {store}, which drains"
                    ));
                }
                if let Some((_, status)) = there.next() {
                    return Err(format!("store {store} drains and still has {status:?}"));
                }
            }
        }
        Ok(())
    }
}
