//! Stories of regions that move from store to store.

use coracle::shard::ids::PeerId;
use coracle::shard::region::Role;
use coracle::shard::request::{Body, PeerChange};

use crate::theatre::{REGION, Theatre, peer};

/// A region moves to another store: its leader enters the joint configuration, and hands over to who has only just
/// become a voter, and has not applied that yet. It leads as soon as it has: nobody waits for an election's time.
#[test]
fn a_region_that_moves_is_led_all_the_time() {
    let mut theatre = Theatre::new(1);
    theatre.until("it leads", |theatre| theatre.leads(1));
    theatre.enter(2);
    // A store that has just begun may have promised something in an earlier life.
    theatre.pass(2000);
    for (from, to) in [(1, 2), (2, 1)] {
        let (old, new) = (PeerId(from), peer(from + 1, to, Role::Learner));
        theatre.write(b"\x01key", b"before");
        theatre.change(&[PeerChange::Put(new)]);
        theatre.until("the learner has everything", |theatre| {
            let there = theatre.status(to);
            there.is_some_and(|there| there.initialized && theatre.are_equal(&[from, to]))
        });
        let asked = theatre.time().mono;
        let voter = peer(from + 1, to, Role::Voter);
        let changes = [PeerChange::Put(voter), PeerChange::Remove(old)];
        let body = Body::ChangePeers {
            region: REGION,
            changes: &changes,
        };
        theatre.ask(from, body);
        theatre.until("the other leads", |theatre| theatre.leads(to));
        theatre.write(b"\x01key", b"after");
        let (took, limits) = (theatre.time().mono - asked, &theatre.plan.limits);
        let election = limits.election_ticks as u64 * limits.tick;
        assert!(took < election / 2, "{took} ns of {election} from {from}");
        theatre.until("the old one is gone", |theatre| {
            theatre.status(from).is_none()
        });
    }
}
