//! The consistency check: replicas hash what they hold as of one entry, and compare.
//!
//! The entry has every replica take a view and hash it in bounded steps; the leader's hash comes to all
//! of them in a second entry. What has expired by the clock of the first entry does not count, since
//! compaction drops it here sooner and there later. Who differs stops serving the region and says so.

use coracle_engine::lookup::Progressed;
use coracle_engine::merge::Direction;
use coracle_engine::scan::{Scan, ScanLimits};
use coracle_engine::value::StoredValue;

use super::core::Core;
use super::door::{Effect, Report};
use super::entry;
use super::ids::Index;
use super::peer::Peer;

/// Records and bytes that one step hashes.
const STEP: ScanLimits = ScanLimits {
    count: 512,
    bytes: 64 << 10,
    looks: 2048,
};

/// A hash in the making.
#[derive(Debug)]
pub struct Hashing {
    index: Index,
    clock: u64,
    scan: Scan,
    hasher: crc32fast::Hasher,
    pairs: u64,
}

/// Where the check stands.
#[derive(Debug, Default)]
pub struct Consistency {
    hashing: Option<Box<Hashing>>,
    /// The newest hash, and the entry as of which it is.
    hashed: Option<(Index, u64)>,
}

impl Consistency {
    /// Whether there is something to hash.
    pub fn is_hashing(&self) -> bool {
        self.hashing.is_some()
    }
}

impl Peer {
    /// A leader has its region's replicas compared.
    pub fn propose_hash(&mut self, core: &Core) {
        let epoch = self.region().epoch;
        self.append(core, entry::compute_hash(epoch, core.now.wall));
    }

    /// The content is to be hashed as of the entry that was just applied.
    pub fn begin_hash(&mut self, core: &mut Core) {
        let view = core.store.view();
        let range = self.region().range.clone();
        self.consistency.hashing = Some(Box::new(Hashing {
            index: self.machine.applied,
            clock: self.machine.clock,
            scan: core.store.scan(&view, range, Direction::Forward),
            hasher: crc32fast::Hasher::new(),
            pairs: 0,
        }));
    }

    /// A bounded step of hashing.
    pub fn go_on_hashing(&mut self, core: &mut Core) {
        let Some(hashing) = &mut self.consistency.hashing else {
            return;
        };
        let Hashing {
            clock,
            scan,
            hasher,
            pairs,
            ..
        } = &mut **hashing;
        let progressed = scan.step(&mut core.store, STEP, |key, stored| {
            if !StoredValue::decode(stored).is_ok_and(|value| value.expired(*clock)) {
                hasher.update(&(key.len() as u32).to_le_bytes());
                hasher.update(key);
                hasher.update(&(stored.len() as u32).to_le_bytes());
                hasher.update(stored);
                *pairs += 1;
            }
        });
        match progressed {
            Ok(Progressed::More) => self.dirty = true,
            Ok(Progressed::Need) => {}
            Ok(Progressed::Done) => {
                let hashing = self.consistency.hashing.take().expect("just seen");
                let hash = hashing.pairs << 32 | u64::from(hashing.hasher.finalize());
                self.consistency.hashed = Some((hashing.index, hash));
                if self.leads() {
                    let epoch = self.region().epoch;
                    let payload = entry::verify_hash(epoch, core.now.wall, hashing.index, hash);
                    self.append(core, payload);
                }
            }
            // The view took too long, or a block is gone: the next check tries again.
            Err(_) => self.consistency.hashing = None,
        }
    }

    /// The leader's hash as of an entry has come.
    pub fn verify_hash(&mut self, core: &mut Core, index: Index, hash: u64) {
        let Some((mine, computed)) = self.consistency.hashed else {
            return;
        };
        if mine != index || computed == hash {
            return;
        }
        let region = self.region_id();
        core.effects.push(Effect::Report(Report::Diverged {
            region,
            index: index.0,
        }));
        self.quarantine(
            core,
            format!("as of entry {index} it hashes to {computed:x}, its leader to {hash:x}"),
        );
    }
}
