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
}
