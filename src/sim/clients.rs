//! What clients ask for, and what they are told.

use bytes::Bytes;

use super::event::{At, Event};
use super::history::{Kind, Operation};
use super::plan::SECOND;
use super::workload::{Many, Next};
use super::world::{TURN, World};
use crate::shard::door::{Effect, Input};
use crate::shard::ids::{RequestId, StoreId};
use crate::shard::request::{Answer, Body, Freshness, Request, Response, Write};
use crate::shard::time::MILLISECOND;

/// Just behind the last key.
fn last_limit(keys: &[&[u8]]) -> Vec<u8> {
    let mut limit = keys[keys.len() - 1].to_vec();
    limit.push(0);
    limit
}

impl World {
    pub(super) fn client(&mut self, client: usize) {
        if self.clients[client].current.is_none() {
            if let Some(left) = self.plan.lull_left(self.now) {
                return self.after(left, Event::Client(client));
            }
            // They go on for a while after the faults, and then let the replicas catch up.
            if self
                .healing_since
                .is_some_and(|since| self.now > since + 5 * SECOND)
            {
                return;
            }
            let now = self.now;
            self.clients[client].begin(now);
        }
        let request = RequestId(self.next_request);
        self.next_request += 1;
        let believed = self.clients[client].believed[self.clients[client].region];
        let freshness = self.clients[client]
            .current
            .as_ref()
            .map(|current| current.freshness);
        // A read of any replica goes anywhere; now and then a client tries its luck, too.
        let store = match freshness == Some(Freshness::AnyReplica) || self.chance.below(6) == 0 {
            true => self.stores[self.chance.below(self.stores.len() as u64) as usize].0,
            false => believed,
        };
        if let Some(current) = &mut self.clients[client].current {
            current.request = Some(request);
        }
        let delay = 50_000 + self.chance.below(500_000);
        self.after(
            delay,
            Event::Arrives {
                request,
                client,
                store,
            },
        );
        let patience = self.clients[client].patience();
        self.after(patience, Event::GiveUp(client, request));
    }

    pub(super) fn arrives(&mut self, request: RequestId, client: usize, store: StoreId) {
        let Some(at) = self.at(store).filter(|at| self.is_now(*at)) else {
            // The connection is refused: it certainly was not done.
            return self.answer(
                request,
                client,
                Some(Err(crate::shard::error::Error::StaleCommand)),
            );
        };
        if self.postponed(
            at,
            Event::Arrives {
                request,
                client,
                store,
            },
        ) {
            return;
        }
        let Some(current) = self.clients[client].current.clone() else {
            return;
        };
        if current.request != Some(request) {
            return;
        }
        self.given(request, at);
        self.nodes[at.node].hosts[at.shard]
            .requests
            .insert(request, client);
        let mut current = current;
        if current.many != Many::One {
            // Whoever asks for several keys asks each region for its own.
            let shard = self.nodes[at.node].hosts[at.shard].shard.as_ref();
            let here = shard.and_then(|shard| shard.region_at(&current.operations[0].key));
            if let Some(here) = here {
                let inside = |operation: &Operation| here.range.contains(&operation.key);
                current.operations.retain(inside);
                self.clients[client].current = Some(current.clone());
            }
        }
        let freshness = current.freshness;
        let first = &current.operations[0];
        let key = &first.key[..];
        if self.plan.reads_at_hand
            && request.0.is_multiple_of(2)
            && freshness == Freshness::Linearizable
            && matches!((&first.kind, current.many), (Kind::Get, Many::One))
            && self.read_at_hand(at, store, request, key)
        {
            return;
        }
        let keys: Vec<&[u8]> = current
            .operations
            .iter()
            .map(|operation| &operation.key[..])
            .collect();
        let mut write = [Write::Delete { key }];
        let limit = last_limit(&keys);
        let body = match (&first.kind, current.many) {
            (_, Many::MultiGet) => Body::MultiGet {
                keys: &keys,
                freshness,
            },
            (_, Many::Scan(reverse)) => Body::Scan {
                start: keys[0],
                limit: &limit,
                count: 1000,
                reverse,
                freshness,
            },
            (Kind::Get, Many::One) => Body::Get { key, freshness },
            (Kind::Put(value), _) => {
                write[0] = Write::Put {
                    key,
                    value,
                    expiry_ms: None,
                };
                Body::Write(&write)
            }
            (Kind::Delete, _) => Body::Write(&write),
            (Kind::CompareAndPut { expected, new }, _) => {
                write[0] = Write::CompareAndPut {
                    key,
                    expected: expected.as_deref(),
                    value: new.as_deref(),
                };
                Body::Write(&write)
            }
            (Kind::Add(delta), _) => {
                write[0] = Write::Add { key, delta: *delta };
                Body::Write(&write)
            }
        };
        self.input(
            at,
            Input::Request {
                id: request,
                request: Request { region: None, body },
            },
        );
    }

    /// Answers a read while it is asked, if that can be.
    pub(super) fn read_at_hand(
        &mut self,
        at: At,
        store: StoreId,
        request: RequestId,
        key: &[u8],
    ) -> bool {
        let time = self.nodes[at.node].clock.read(self.now);
        let host = &mut self.nodes[at.node].hosts[at.shard];
        let Some(shard) = &mut host.shard else {
            return false;
        };
        let mut answer = None;
        let tell = |value: Option<&[u8]>| answer = Some(value.map(Bytes::copy_from_slice));
        shard.at_hand(time).get(key, tell);
        // Time has passed for the shard, and may have given it something to do.
        if shard.wants_turn() && !host.turn_due {
            host.turn_due = true;
            self.after(TURN, Event::Turn(at));
        }
        let Some(value) = answer else { return false };
        let response = Ok(Answer::Value(value));
        let to = request;
        if let Err(violation) = self.carry(at, store, Effect::Respond { to, response }) {
            self.broken.get_or_insert(violation);
        }
        self.figures.reads_at_hand += 1;
        true
    }

    pub(super) fn answer(&mut self, request: RequestId, client: usize, response: Option<Response>) {
        if client == usize::MAX {
            return;
        }
        let now = self.now;
        let waits = self.clients[client]
            .current
            .as_ref()
            .and_then(|current| current.request);
        if waits != Some(request) {
            return;
        }
        let next = self.clients[client].answered(now, response, &mut self.history);
        let delay = match next {
            Next::Another => self.clients[client].pause(),
            Next::Again(Some(_)) => 100_000,
            Next::Again(None) => {
                let region = self.clients[client].region;
                let store = self.stores[self.chance.below(self.stores.len() as u64) as usize].0;
                self.clients[client].believed[region] = store;
                5 * MILLISECOND + self.chance.below(40 * MILLISECOND)
            }
        };
        self.after(delay, Event::Client(client));
    }
}
