//! `coracle region move`: a replica leaves for another store.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use crate::cli::cluster::Cluster;
use crate::cli::region::nobody;
use crate::cli::target::{Target, strange};
use crate::cli::{Exit, Failure};
use crate::placement::errands::{Cause, Outcome};
use crate::placement::{Message, Overview};
use crate::shard::ids::{RegionId, StoreId};
use crate::shard::region::{PeerInfo, Role};

/// The pause between two looks at a region that moves.
const PAUSE: Duration = Duration::from_millis(500);

/// What the help says about placement.
pub(super) const HELP: &str = "Placement does it: a learner on the new store, its copy, then both change places in one step; a leader hands over \
     first. The store may be on another node, or on another core of the same one. It is refused where two replicas \
     would come to lie on one node. For ten minutes nothing moves the region again to even out loads or numbers.\n\n\
     Ends with 0 once it is done; with 1 if it is refused, given up, or takes longer than --wait, and then it goes on.\n\n\
     Examples:\n  coracle region move 2 5 7\n  coracle region move 2 5 7 --wait 0";

/// Moves a replica.
#[derive(Args)]
pub struct Move {
    /// The region
    region: u64,
    /// The store that holds the replica, or the replica
    #[arg(value_name = "STORE|PEER")]
    peer: u64,
    /// The store that is to hold it; 'coracle node list' shows them
    #[arg(value_name = "STORE")]
    to: u64,
    /// Seconds to wait until it is done
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    wait: u64,
    #[command(flatten)]
    target: Target,
}

/// A move that was asked for.
struct Asked<'a> {
    cluster: Cluster,
    wish: &'a Move,
    leaves: PeerInfo,
    last: String,
    told: String,
}

/// How far placement says that it is.
enum Progress {
    /// It knows of no such move.
    Unknown,
    /// It goes on.
    Going(String),
    /// It has ended, as it says.
    Ended(Outcome),
}

/// Moves a replica.
pub(super) fn run(wish: &Move) -> Result<(), Failure> {
    let cluster = Cluster::open(&wish.target)?;
    let view = cluster.region(RegionId(wish.region))?;
    let leaves = view
        .named(wish.peer)
        .ok_or_else(|| nobody(&view, wish.peer))?;
    let asked = Asked {
        cluster,
        wish,
        leaves,
        last: "placement does not answer".into(),
        told: String::new(),
    };
    asked.run()
}

impl Asked<'_> {
    fn run(mut self) -> Result<(), Failure> {
        let end = Instant::now() + Duration::from_secs(self.wish.wait);
        let mut is_taken = false;
        loop {
            let progress = match is_taken {
                true => self.progress(),
                false => Progress::Unknown,
            };
            match progress {
                Progress::Unknown => is_taken = self.ask()?,
                Progress::Going(what) => self.tell(what),
                Progress::Ended(Outcome::Done) => return self.end("has left", "moved"),
                Progress::Ended(outcome) => {
                    let why = format!(
                        "the move of region {} is {}; 'coracle placement show' tells more",
                        self.wish.region,
                        outcome.words()
                    );
                    return Err(Failure::new(Exit::Failed, why));
                }
            }
            if is_taken && self.wish.wait == 0 {
                return self.end("is to leave", "moving");
            }
            if Instant::now() >= end {
                let why = format!(
                    "not done after {} s: {}; see 'coracle placement show'",
                    self.wish.wait, self.last
                );
                return Err(Failure::new(Exit::Failed, why));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Asks placement; whether it takes the move. It may be about to begin, or be elsewhere now.
    fn ask(&mut self) -> Result<bool, Failure> {
        let question = Message::MoveRegion {
            region: RegionId(self.wish.region),
            peer: self.leaves.peer,
            to: StoreId(self.wish.to),
        };
        match self.cluster.caller.ask_placement(&question) {
            Ok(Message::Moving { .. }) => Ok(true),
            Ok(Message::MoveRefused { why, .. }) => Err(Failure::new(Exit::Failed, why)),
            Ok(other) => Err(strange(&other)),
            Err(error) => {
                self.last = error.to_string();
                Ok(false)
            }
        }
    }

    fn progress(&mut self) -> Progress {
        match self.cluster.caller.ask_placement(&Message::ShowPlacement) {
            Ok(Message::Overview(overview)) => self.find(&overview),
            Ok(_) => Progress::Going("placement answers something else".into()),
            Err(error) => Progress::Going(error.to_string()),
        }
    }

    /// The move, in what placement says of itself and in what the region's replicas do.
    fn find(&self, overview: &Overview) -> Progress {
        let region = RegionId(self.wish.region);
        let mut going = overview.under_way.iter();
        let by_hand = (region, Some(Cause::Hand));
        if let Some(going) = going.find(|going| (going.region, going.cause) == by_hand) {
            return Progress::Going(format!("{}{}", going.what, self.copied(region)));
        }
        let mut ended = overview.ended.iter();
        match ended.find(|ended| (ended.went.region, ended.went.cause) == by_hand) {
            Some(ended) => Progress::Ended(ended.outcome),
            None => Progress::Unknown,
        }
    }

    /// How far the copy is.
    fn copied(&self, region: RegionId) -> String {
        let Ok(view) = self.cluster.region(region) else {
            return String::new();
        };
        match view.on_store(StoreId(self.wish.to)) {
            Some(peer) if peer.role == Role::Learner => {
                let applied = view.applied_by(peer.peer).unwrap_or_default();
                format!(": the copy has {applied} of {} entries", view.committed)
            }
            Some(_) => ": the copy votes".into(),
            None => ": the copy is to begin".into(),
        }
    }

    /// Tells a person how far it is; once.
    fn tell(&mut self, what: String) {
        if !self.wish.target.is_json() && self.told != what {
            eprintln!("{what}");
        }
        self.last.clone_from(&what);
        self.told = what;
    }

    fn end(&self, said: &str, state: &str) -> Result<(), Failure> {
        let mut out = self.wish.target.output();
        let (wish, peer) = (self.wish, self.leaves);
        let text = || {
            format!(
                "peer {} of region {} {said} store {} for store {}",
                peer.peer, wish.region, peer.store, wish.to
            )
        };
        out.line(text, || {
            json!({
                "region": wish.region, "peer": peer.peer.0, "from": peer.store.0, "to": wish.to, "state": state,
            })
        });
        out.finish()
    }
}
