//! A shard takes its turn: its effects become events, and what it shows is checked.

use super::check::{Verdict, Violation, completeness};
use super::event::{At, Event};
use super::world::{TURN, World};
use crate::shard::Shard;
use crate::shard::door::{Effect, Report};
use crate::shard::ids::StoreId;
use crate::shard::message::PeerMessage;
use crate::shard::observe::Observation;
use crate::shard::region::Role;

impl World {
    pub(super) fn turn(&mut self, at: At) -> Verdict {
        let host = &mut self.nodes[at.node].hosts[at.shard];
        host.turn_due = false;
        let Some(shard) = &mut host.shard else {
            return Ok(());
        };
        let mut effects = std::mem::take(&mut self.effects);
        shard.flush(&mut effects);
        let observations = shard.take_observations();
        let store = host.store;
        self.observe(at, store, observations)?;
        let mut stopped = None;
        for effect in effects.drain(..) {
            if let Some(why) = self.carry(at, store, effect)? {
                stopped = Some(why);
            }
        }
        self.effects = effects;
        if let Some(why) = stopped {
            self.tell(|| format!("store {store} stops: {why}"));
            self.end_process(at.node, true);
            return Ok(());
        }
        let host = &mut self.nodes[at.node].hosts[at.shard];
        if host.shard.as_ref().is_some_and(Shard::wants_turn) && !host.turn_due {
            host.turn_due = true;
            self.after(TURN, Event::Turn(at));
        }
        Ok(())
    }

    /// A node that has just promised something is where a crash hurts most.
    pub(super) fn crash_soon(&mut self, at: At) {
        if self.plan.crash_after_vote > 0 && self.chance.below(100) < self.plan.crash_after_vote {
            let delay = self.chance.below(3 * self.plan.disk_latency.1);
            self.after(delay, Event::CrashSoon(at));
        }
    }

    /// Carries out an effect; why the shard has stopped, if it has.
    pub(super) fn carry(
        &mut self,
        at: At,
        store: StoreId,
        effect: Effect,
    ) -> Result<Option<String>, Violation> {
        match effect {
            Effect::Log(effect) => {
                self.tell(|| format!("store {store} log: {effect:?}"));
                let host = &mut self.nodes[at.node].hosts[at.shard];
                let shard = host.shard.as_mut().expect("a running shard");
                let mut bytes = Vec::new();
                if let coracle_wal::Effect::Write(write) = &effect {
                    bytes.resize(write.len as usize, 0);
                    shard.encode(write, &mut bytes);
                    let lsn = write.lsn.0;
                    self.mix(lsn << 8 | 1);
                }
                let host = &mut self.nodes[at.node].hosts[at.shard];
                let (delay, work) = host.files.begin_log(effect, bytes);
                self.after(delay, Event::Done(at, work));
            }
            Effect::Store(effect) => {
                let host = &mut self.nodes[at.node].hosts[at.shard];
                let (delay, work) = host.files.begin_store(effect);
                self.mix(delay << 8 | 2);
                self.after(delay, Event::Done(at, work));
            }
            Effect::Send { to, message } => {
                self.mix(to.0 << 8 | 3);
                let there = match self.at(to) {
                    Some(there) if self.knows_address(at.node, to) => there.node,
                    _ => return Ok(None),
                };
                if let PeerMessage::Raft(raft) = &*message {
                    if raft.message.get_msg_type()
                        == raft::eraftpb::MessageType::MsgRequestVoteResponse
                    {
                        self.crash_soon(at);
                    }
                    self.mix(
                        raft.message.index << 16
                            ^ raft.message.term << 8
                            ^ raft.message.msg_type as u64,
                    );
                    self.tell(|| {
                        let raft = &raft.message;
                        format!(
                            "store {store} → {to}: {:?} term {} index {} commit {} entries {} reject {}",
                            raft.msg_type, raft.term, raft.index, raft.commit, raft.entries.len(), raft.reject
                        )
                    });
                } else {
                    self.tell(|| {
                        format!("store {store} → {to}: {message:?}")
                            .chars()
                            .take(300)
                            .collect()
                    });
                }
                let edition = self.nodes[at.node].membership.edition();
                for delay in self.net.carry(at.node, there) {
                    self.after(
                        delay,
                        Event::Peer {
                            from: store,
                            to,
                            edition,
                            message: message.clone(),
                        },
                    );
                }
            }
            Effect::Respond { to, response } => {
                self.callbacks.answered(to)?;
                self.check_response(at, &response)?;
                self.mix(to.0 << 8 | 4 | u64::from(response.is_ok()) << 7);
                self.answered_outside(at.node, to, &response);
                self.tell(|| {
                    format!("store {store} answers {to}: {response:?}")
                        .chars()
                        .take(300)
                        .collect()
                });
                let host = &mut self.nodes[at.node].hosts[at.shard];
                if let Some(client) = host.requests.remove(&to) {
                    let delay = 50_000 + self.chance.below(500_000);
                    self.after(
                        delay,
                        Event::Answer {
                            request: to,
                            client,
                            response: Box::new(response),
                        },
                    );
                }
            }
            Effect::Nodes(nodes) => self.told_nodes(at.node, nodes)?,
            Effect::Report(Report::Stopped(why)) => {
                let failing = self.plan.failing_disks > 0
                    || self.plan.full_disks > 0
                    || self.may_complain(at.node);
                if !failing {
                    return Err(Violation::new(
                        "reports",
                        format!("store {store} stopped: {why}"),
                    ));
                }
                return Ok(Some(why));
            }
            Effect::Report(Report::Removed(id)) if self.upkeep.may_be_gone(id) => {
                self.nodes[at.node].hosts[at.shard].is_over = true;
                let mut hosts = self.nodes[at.node].hosts.iter();
                if hosts.all(|host| host.is_over) {
                    self.taken_out(at.node);
                    return Ok(Some("its node is gone".into()));
                }
            }
            Effect::Report(Report::Kept(id)) if self.upkeep.may_be_gone(id) => {
                self.nodes[at.node].hosts[at.shard].is_over = false;
            }
            Effect::Report(report) => self.complains(at, store, report)?,
        }
        Ok(None)
    }

    pub(super) fn observe(
        &mut self,
        at: At,
        store: StoreId,
        observations: Vec<Observation>,
    ) -> Verdict {
        for observation in observations {
            match observation {
                Observation::Leads { region, peer, term } => {
                    self.tell(|| {
                        format!("store {store}: peer {peer} leads region {region} in term {term}")
                    });
                    self.mix(term.0 << 8 | 5);
                    self.crash_soon(at);
                    let shard = self.nodes[at.node].hosts[at.shard].shard.as_ref();
                    let status = shard.map(Shard::statuses).unwrap_or_default();
                    let of_region = status.iter().find(|status| status.region.id == region);
                    let mut peers = of_region.iter().flat_map(|status| &status.region.peers);
                    if peers.all(|info| info.peer == peer || info.role == Role::Learner) {
                        self.election.leads_alone(region, term, peer);
                    }
                    self.election.leads(region, term, peer)?;
                    if let Some(leader) = status
                        .iter()
                        .find(|status| status.region.id == region && status.term == term)
                    {
                        completeness::check(leader, self.matching.newest_before(region, term))?;
                    }
                }
                Observation::Applied {
                    region,
                    peer,
                    index,
                    term,
                    checksum,
                } => {
                    self.mix(index.0 << 32 | u64::from(checksum));
                    self.matching
                        .applied((region, peer), index, term, checksum)?;
                }
                Observation::Restored {
                    region,
                    peer,
                    index,
                    term,
                } => {
                    self.figures.snapshots += 1;
                    self.tell(|| {
                        format!("store {store}: peer {peer} of region {region} restored at {index}")
                    });
                    self.matching.restored((region, peer), index, term)?;
                }
                Observation::Replays {
                    region,
                    peer,
                    index,
                } => {
                    self.mix(index.0 << 8 | 6);
                    self.matching.replays(region, peer, index);
                }
                Observation::Split { region, version } => {
                    self.has_split(region, version);
                    self.tell(|| {
                        format!("store {store}: region {region} is split, version {version}")
                    });
                }
                Observation::SplitsItself { region, version } => {
                    self.splits_itself(region, version);
                    self.tell(|| {
                        format!("store {store}: region {region} splits itself, version {version}")
                    });
                }
                Observation::Quiet { region, peer } => {
                    self.figures.quiets += 1;
                    self.mix(peer.0 << 8 | 7);
                    self.tell(|| format!("store {store}: peer {peer} of region {region} is quiet"));
                }
                Observation::Woken { region, peer } => {
                    self.figures.wakes += 1;
                    self.mix(peer.0 << 8 | 8);
                    self.tell(|| format!("store {store}: peer {peer} of region {region} wakes"));
                }
                Observation::Destroyed { region, peer } => {
                    self.figures.destroyed += 1;
                    self.pointers.gone(store, region, peer);
                    self.tell(|| format!("store {store}: peer {peer} of region {region} is gone"));
                }
            }
        }
        Ok(())
    }
}
