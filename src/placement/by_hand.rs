//! A replica is moved because somebody asks for it: what must be so for that, and why not otherwise.

use std::fmt;

use super::balance::Shift;
use super::errands::Cause;
use super::message::{Message, RegionStats};
use super::placement::Placement;
use super::spread::isolation;
use crate::shard::ids::{PeerId, RegionId, StoreId};
use crate::shard::region::{PeerInfo, Role};
use crate::shard::time::Time;

impl Placement {
    /// Lets a peer leave for a store, or says why not. The same twice is once.
    pub(super) fn move_by_hand(
        &mut self,
        now: Time,
        region: RegionId,
        peer: PeerId,
        to: StoreId,
    ) -> Message {
        match self.check_move(now, region, peer, to) {
            Ok(true) => Message::Moving { region, peer, to },
            Err(why) => Message::MoveRefused { region, why },
            Ok(false) => {
                self.begin(now, Cause::Hand, region, Shift::Leave(peer, to), peer);
                self.tell_leader(now, region);
                Message::Moving { region, peer, to }
            }
        }
    }

    /// Lets a peer lead that somebody else has lead, for a while.
    pub(super) fn lead_by_hand(&mut self, now: Time, region: RegionId, peer: PeerId) -> Message {
        match self.check_lead(region, peer) {
            Err(why) => Message::MoveRefused { region, why },
            Ok(to) => {
                self.errands
                    .rest(region, now.mono, self.options.hand_rest_ms);
                Message::Moving { region, peer, to }
            }
        }
    }

    /// The store of a peer that would be left to lead, or why not. Whether it votes its leader knows: it may have
    /// been a learner when placement was told last.
    fn check_lead(&self, id: RegionId, peer: PeerId) -> Result<StoreId, String> {
        let Some(region) = self.state.regions.get(id) else {
            return Err(format!("placement knows no region {id}"));
        };
        let Some(info) = region.peer(peer) else {
            return Err(format!("region {id} has no peer {peer}"));
        };
        if self.state.drains(info.store) {
            return Err(format!(
                "the node of store {} is to be emptied: whatever leads there hands over",
                info.store
            ));
        }
        Ok(info.store)
    }

    /// Has the leader of a region take the next step before it tells of it.
    fn tell_leader(&mut self, now: Time, region: RegionId) {
        let Some(known) = self.state.regions.get(region).cloned() else {
            return;
        };
        let Some(leader) = self.state.regions.leader(region) else {
            return;
        };
        let stats = RegionStats::of(known, leader);
        if let Some(operator) = self.region(now, leader.store, &stats) {
            self.answer(leader.store, operator);
        }
    }

    /// Whether just this move is under way already, or why it cannot be.
    fn check_move(
        &self,
        now: Time,
        id: RegionId,
        peer: PeerId,
        to: StoreId,
    ) -> Result<bool, String> {
        let refuse = |why: fmt::Arguments<'_>| Err(why.to_string());
        if self.state.paused {
            let why =
                "placement is paused and moves nothing; 'coracle placement resume' lets it go on";
            return Err(why.into());
        }
        if id < RegionId::FIRST_USER {
            return refuse(format_args!(
                "region {id} is the system's, which placement puts where it is safe by itself"
            ));
        }
        let Some(region) = self.state.regions.get(id) else {
            return refuse(format_args!("placement knows no region {id}"));
        };
        let Some(node) = self.state.stores.get(&to).copied() else {
            return refuse(format_args!(
                "there is no store {to}; 'coracle node list' shows them"
            ));
        };
        if let Some(errand) = self.errands.get(id) {
            if (errand.cause, errand.shift) == (Cause::Hand, Shift::Leave(peer, to)) {
                return Ok(true);
            }
            if !matches!(errand.shift, Shift::Lead(_)) {
                return refuse(format_args!(
                    "something else is under way with region {id}: {errand}"
                ));
            }
        }
        let Some(leaves) = region.peer(peer) else {
            return refuse(format_args!("region {id} has no peer {peer}"));
        };
        let settled = |info: &PeerInfo| info.role == Role::Voter;
        if !region.peers.iter().all(settled) || self.moves.contains_key(&id) {
            return refuse(format_args!("the peers of region {id} are changing"));
        }
        if let Some(there) = region.on_store(to) {
            return refuse(format_args!(
                "store {to} holds a replica of region {id} already: peer {}",
                there.peer
            ));
        }
        let beside = |info: &&PeerInfo| {
            info.peer != leaves.peer && self.state.stores.get(&info.store) == Some(&node)
        };
        if let Some(other) = region.peers.iter().find(beside) {
            return refuse(format_args!(
                "store {to} is on node {node}, which has a replica of region {id} on store {}: two of them on one \
                 node would be lost together",
                other.store
            ));
        }
        let views = self.views(now);
        let on = |store: &PeerInfo| match store.peer == peer {
            true => to,
            false => store.store,
        };
        let before = isolation(&views, region.peers.iter().map(|info| info.store));
        if isolation(&views, region.peers.iter().map(on)) < before {
            return refuse(format_args!(
                "the replicas of region {id} would be spread over fewer {} than now",
                self.options.spread.join("s, ") + "s"
            ));
        }
        let emptied = |info: &&PeerInfo| self.state.drains(info.store);
        if let Some(info) = region.peers.iter().find(emptied) {
            return refuse(format_args!(
                "peer {} of region {id} leaves store {} anyway, since its node is to be emptied",
                info.peer, info.store
            ));
        }
        if self.state.drains(to) {
            return refuse(format_args!(
                "node {node} is to be emptied, and store {to} is given nothing"
            ));
        }
        if !self.is_heard(now, to) {
            return refuse(format_args!("store {to} on node {node} is silent"));
        }
        if self.heard.get(&to).is_some_and(|heard| !heard.takes_more) {
            return refuse(format_args!(
                "store {to} on node {node} takes nothing now: its disk is full, its reserve is still being written, or it is being stopped"
            ));
        }
        if !self.errands.have_room(Cause::Hand, &self.options) {
            return refuse(format_args!(
                "{} moves by hand are under way already",
                self.options.hands_max
            ));
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::codec::Node;
    use crate::placement::message::{Operator, StoreStats};
    use crate::placement::{NodeInfo, Options, Standing, bootstrap_pairs};
    use crate::shard::ids::{ClusterId, Edition, NodeId};
    use crate::shard::region::{Epoch, Region};
    use crate::shard::time::MILLISECOND;
    use coracle_engine::record::KeyRange;

    fn node(id: u64, standing: Standing) -> Node {
        Node {
            node: NodeId(id),
            nonce: id,
            address: format!("n{id}:1"),
            edition: Edition::FIRST,
            standing,
            labels: Vec::new(),
            stores: vec![StoreId(10 * id), StoreId(10 * id + 1)],
        }
    }

    /// Store s is on node s / 10. Peers as `1@10`; the first leads.
    fn region(id: u64, peers: &str) -> Region {
        let number = |text: &str| text.parse::<u64>().expect("a number");
        let infos = peers.split(' ').map(|text| {
            let (peer, store) = text.split_once('@').expect("peer@store");
            PeerInfo {
                peer: PeerId(number(peer)),
                store: StoreId(number(store)),
                role: Role::Voter,
            }
        });
        Region {
            id: RegionId(id),
            epoch: Epoch {
                version: 1,
                conf_ver: 1,
            },
            range: KeyRange::new(&[id as u8], &[id as u8 + 1]),
            peers: infos.collect(),
        }
    }

    fn settle(placement: &mut Placement) {
        while let Some(writes) = placement.take_writes() {
            placement.written(writes.token, true);
        }
    }

    /// Nodes 1 to 3; node 4 is to be emptied, node 5 silent; regions 2 (three voters) and 3 (one).
    fn cluster() -> Placement {
        let regions = [
            region(1, "11@10 12@20 13@30"),
            region(2, "21@10 22@20 23@30"),
            region(3, "31@10"),
        ];
        let pairs = bootstrap_pairs(ClusterId(5), node(1, Standing::Member), &regions);
        let options = Options {
            replicas: 1,
            ..Options::default()
        };
        let mut placement = Placement::new(options, Time::default(), &pairs).expect("sound");
        for id in [2, 3, 5] {
            placement.state.put_node(node(id, Standing::Member));
        }
        placement.state.put_node(node(4, Standing::Draining));
        for store in [10, 11, 20, 21, 30, 31, 40, 41].map(StoreId) {
            let stats = StoreStats {
                store,
                busy: store == StoreId(31),
                ..StoreStats::default()
            };
            placement.handle(Time::default(), store, Message::StoreHeartbeat(stats));
        }
        for region in &regions {
            placement
                .state
                .regions
                .set_leader(region.id, region.peers[0]);
        }
        settle(&mut placement);
        placement.take_replies();
        placement
    }

    fn ask(placement: &mut Placement, region: u64, peer: u64, to: u64) -> String {
        let (region, peer, to) = (RegionId(region), PeerId(peer), StoreId(to));
        match placement.move_by_hand(Time::default(), region, peer, to) {
            Message::Moving { .. } => "moving".into(),
            Message::MoveRefused { why, .. } => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn transcript() {
        let script = "
            2 21 11 | moving
            2 21 21 | store 21 is on node 2, which has a replica of region 2 on store 20: two of them on one node would be lost together
            2 22 21 | moving
            2 22 20 | store 20 holds a replica of region 2 already: peer 22
            2 29 21 | region 2 has no peer 29
            2 21 99 | there is no store 99; 'coracle node list' shows them
            2 21 40 | node 4 is to be emptied, and store 40 is given nothing
            2 21 50 | store 50 on node 5 is silent
            2 23 31 | store 31 on node 3 takes nothing now: its disk is full, its reserve is still being written, or it is being stopped
            1 11 11 | region 1 is the system's, which placement puts where it is safe by itself
            7 11 11 | placement knows no region 7
            3 31 20 | moving";
        for line in script.lines().filter(|line| !line.trim().is_empty()) {
            let (asked, answer) = line.split_once('|').expect("a line");
            let numbers: Vec<u64> = asked
                .split_whitespace()
                .map(|n| n.parse().expect("a number"))
                .collect();
            let mut placement = cluster();
            let [region, peer, to] = numbers[..] else {
                panic!("{line}");
            };
            assert_eq!(
                ask(&mut placement, region, peer, to),
                answer.trim(),
                "{line}"
            );
        }
    }

    #[test]
    fn a_move_begins_at_once_and_another_is_refused_while_it_goes_on() {
        let mut placement = cluster();
        assert_eq!(ask(&mut placement, 3, 31, 20), "moving");
        settle(&mut placement);
        let replies = placement.take_replies();
        let [(StoreId(10), Message::Operator(Operator::ChangePeers { region, .. }))] = &replies[..]
        else {
            panic!("{replies:?}");
        };
        assert_eq!(*region, RegionId(3));
        assert_eq!(ask(&mut placement, 3, 31, 20), "moving", "the same again");
        let refused = ask(&mut placement, 3, 31, 21);
        assert_eq!(
            refused,
            "something else is under way with region 3: peer 31 leaves store 10 for store 20"
        );
        let overview = placement.overview(Time::default());
        let going: Vec<_> = overview
            .under_way
            .iter()
            .map(|going| &going.what[..])
            .collect();
        assert_eq!(going, ["peer 31 leaves store 10 for store 20"]);
    }

    #[test]
    fn a_node_whose_stores_say_that_they_hold_something_is_not_taken_out() {
        let mut placement = cluster();
        let says = |placement: &mut Placement, regions: u32| {
            let stats = StoreStats {
                store: StoreId(40),
                regions,
                ..StoreStats::default()
            };
            let beat = Message::StoreHeartbeat(stats);
            placement.handle(Time::default(), StoreId(40), beat);
        };
        let holds = |placement: &mut Placement, ms: u64| {
            let now = Time {
                mono: ms * MILLISECOND,
                wall: 0,
            };
            let answer = placement.stand(now, NodeId(4), Standing::Gone);
            let why = "node 4 says that it still holds 2 replicas; drain it first";
            matches!(answer, Message::StandingRefused { why: told, .. } if told == why)
        };
        says(&mut placement, 2);
        assert!(holds(&mut placement, 0), "no leader has told of them");
        let silent = placement.options.fit_ms + 1;
        assert!(!holds(&mut placement, silent), "it may be gone for good");
        let mut placement = cluster();
        says(&mut placement, 2);
        says(&mut placement, 0);
        assert!(!holds(&mut placement, 0));
    }

    /// The same, where node 4 was just taken out.
    fn without_four() -> Placement {
        let mut placement = cluster();
        let mut rest = region(9, "91@10");
        rest.range = KeyRange::new(&[0], &[1]);
        placement.state.put_region(&rest);
        let told = placement.stand(Time::default(), NodeId(4), Standing::Gone);
        assert!(matches!(told, Message::Nodes(..)), "{told:?}");
        placement
    }

    /// What a store of node 4 is told when it says that it holds so many replicas.
    fn told(placement: &mut Placement, store: u64, regions: u32) -> &'static str {
        let stats = StoreStats {
            store: StoreId(store),
            regions,
            ..StoreStats::default()
        };
        let now = Time::default();
        placement.handle(now, StoreId(store), Message::StoreHeartbeat(stats));
        settle(placement);
        let replies = placement.take_replies();
        let answers = replies.iter().filter(|(to, _)| *to == StoreId(store));
        let kinds = answers.filter_map(|(_, answer)| match answer {
            Message::Removed { node } if *node == NodeId(4) => Some("removed"),
            Message::StoreHeard { .. } => Some("heard"),
            _ => None,
        });
        kinds.into_iter().next_back().expect("an answer")
    }

    #[test]
    fn a_node_that_turns_up_with_something_after_it_was_taken_out_is_emptied_first() {
        let mut placement = without_four();
        let standing = |placement: &Placement| placement.state.nodes[&NodeId(4)].standing;
        assert_eq!(standing(&placement), Standing::Gone);
        assert_eq!(told(&mut placement, 40, 0), "removed");
        // A move by hand was under way, of which nobody had told.
        assert_eq!(told(&mut placement, 41, 1), "heard");
        assert_eq!(standing(&placement), Standing::Leaving);
        assert!(placement.state.drains(StoreId(41)), "it is emptied");
        let Message::Nodes(_, nodes) = placement.state.list() else {
            panic!("no list");
        };
        let listed = |info: &NodeInfo| info.node == NodeId(4) && info.address == "n4:1";
        assert!(nodes.iter().any(listed), "others find it");
        // The process goes on with both its stores, until both say that nothing is left.
        assert_eq!(told(&mut placement, 40, 0), "heard");
        placement.tick(Time::default());
        assert_eq!(standing(&placement), Standing::Leaving);
        assert_eq!(told(&mut placement, 41, 0), "heard");
        placement.tick(Time::default());
        assert_eq!(standing(&placement), Standing::Gone);
        assert_eq!(told(&mut placement, 40, 0), "removed");
        assert_eq!(told(&mut placement, 41, 0), "removed");
    }

    #[test]
    fn a_node_that_turned_up_and_is_lost_then_is_gone_again() {
        let mut placement = without_four();
        // Perhaps it said so long ago, over a slow link.
        assert_eq!(told(&mut placement, 41, 1), "heard");
        let mut at = |ms: u64| {
            placement.tick(Time {
                mono: ms * MILLISECOND,
                wall: 0,
            });
            placement.state.nodes[&NodeId(4)].standing
        };
        assert_eq!(at(Options::default().down_ms), Standing::Leaving);
        assert_eq!(at(Options::default().down_ms + 1), Standing::Gone);
    }

    #[test]
    fn who_is_made_to_lead_by_hand_is_left_to_lead_for_a_while() {
        let mut placement = cluster();
        let mut lead = |region: u64, peer: u64| {
            let (region, peer) = (RegionId(region), PeerId(peer));
            match placement.lead_by_hand(Time::default(), region, peer) {
                Message::Moving { to, .. } => format!("leads on {to}"),
                Message::MoveRefused { why, .. } => why,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(lead(2, 22), "leads on 20");
        assert_eq!(lead(2, 29), "region 2 has no peer 29");
        assert_eq!(lead(7, 22), "placement knows no region 7");
        let rest = placement.options.hand_rest_ms * MILLISECOND;
        let rests = |at: u64| placement.errands.rests(RegionId(2), at);
        assert!(rests(0) && rests(rest - 1) && !rests(rest));
        assert!(!placement.errands.rests(RegionId(3), 0), "others do not");
    }

    #[test]
    fn nothing_is_moved_while_placement_is_paused_and_it_stays_so_wherever_it_runs() {
        let mut placement = cluster();
        assert_eq!(ask(&mut placement, 3, 31, 20), "moving");
        placement.handle(
            Time::default(),
            StoreId(10),
            Message::Pause { paused: true },
        );
        let mut kept = bootstrap_pairs(
            ClusterId(5),
            node(1, Standing::Member),
            &[region(3, "31@10")],
        );
        let writes = placement.take_writes().expect("it is kept");
        assert!(placement.take_replies().is_empty(), "nor told before");
        kept.extend(writes.puts);
        placement.written(writes.token, true);
        let told = placement.take_replies();
        assert!(
            told.contains(&(StoreId(10), Message::Paused { paused: true })),
            "{told:?}"
        );
        assert_eq!(placement.overview(Time::default()).under_way.len(), 0);
        let mut next = Placement::new(Options::default(), Time::default(), &kept).expect("sound");
        for placement in [&mut placement, &mut next] {
            assert_eq!(
                ask(placement, 3, 31, 20),
                "placement is paused and moves nothing; 'coracle placement resume' lets it go on"
            );
            let alone = region(3, "31@10");
            let stats = RegionStats::of(alone.clone(), alone.peers[0]);
            assert_eq!(placement.region(Time::default(), StoreId(10), &stats), None);
        }
        let mut joint = region(3, "32@10");
        joint.epoch.conf_ver = 4;
        joint.peers[0].role = Role::Incoming;
        let stats = RegionStats::of(joint.clone(), joint.peers[0]);
        let left = next.region(Time::default(), StoreId(10), &stats);
        assert!(
            matches!(left, Some(Message::Operator(_))),
            "a joint state is left"
        );
    }
}
