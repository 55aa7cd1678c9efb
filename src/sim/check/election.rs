//! Election safety: a region has at most one leader in a term, for ever.

use std::collections::BTreeMap;

use super::{Verdict, Violation};
use crate::shard::ids::{PeerId, RegionId, Term};

/// All leaders so far.
#[derive(Debug, Default)]
pub struct Election {
    leaders: BTreeMap<(RegionId, Term), PeerId>,
}

impl Election {
    /// A peer leads from now on.
    pub fn leads(&mut self, region: RegionId, term: Term, peer: PeerId) -> Verdict {
        match self.leaders.insert((region, term), peer) {
            Some(other) if other != peer => Err(Violation::new(
                "election safety",
                format!("peers {other} and {peer} both lead region {region} in term {term}"),
            )),
            _ => Ok(()),
        }
    }

    /// The only voter of a region is about to lead. If it led in later terms, it did so by its own vote alone, lost its
    /// power before they were durable, and nobody has heard of them: they never were.
    pub fn leads_alone(&mut self, region: RegionId, term: Term, peer: PeerId) {
        self.leaders
            .retain(|(of, led), leader| (*of, *leader) != (region, peer) || *led <= term);
    }

    /// Elections so far.
    pub fn count(&self) -> u64 {
        self.leaders.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leaders_of_one_term_are_seen() {
        let mut election = Election::default();
        let (region, term) = (RegionId(2), Term(7));
        assert_eq!(election.leads(region, term, PeerId(1)), Ok(()));
        assert_eq!(
            election.leads(region, term, PeerId(1)),
            Ok(()),
            "again after a restart"
        );
        assert_eq!(election.leads(region, Term(8), PeerId(2)), Ok(()));
        assert_eq!(election.leads(RegionId(3), term, PeerId(2)), Ok(()));
        assert!(election.leads(region, term, PeerId(2)).is_err());
    }

    #[test]
    fn a_term_that_only_its_leader_knew_of_and_lost_is_forgotten() {
        let mut election = Election::default();
        let region = RegionId(2);
        for (region, term) in [(2, 6), (2, 7), (3, 7)] {
            let led = election.leads(RegionId(region), Term(term), PeerId(1));
            assert_eq!(led, Ok(()));
        }
        election.leads_alone(region, Term(6), PeerId(1));
        assert_eq!(election.leads(region, Term(7), PeerId(9)), Ok(()));
        assert!(election.leads(region, Term(6), PeerId(9)).is_err());
        assert!(election.leads(RegionId(3), Term(7), PeerId(9)).is_err());
    }
}
