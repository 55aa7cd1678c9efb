//! Where the first regions of a cluster begin: at keys that somebody names, or at even distances.
//!
//! ```text
//! DATA/borders    one line per key, as hexadecimal digits, and at the end the checksum of all lines before it
//! ```
//!
//! A node that begins a cluster is told once. Until its first regions are durable on all its shards it keeps what
//! it was told: a start that was cut short is repeated with the same regions, whatever the next one is told. Or two
//! shards could hold the same keys.
#![expect(
    clippy::disallowed_methods,
    reason = "this is where a file of a node is opened"
)]

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Error, ErrorKind, Read as _, Write as _};
use std::path::Path;

use coracle_engine::record::KeyRange;

use super::failure::{Exit, Failure};
use crate::shard::ids::{PeerId, RegionId, StoreId};
use crate::shard::limits::KEY_BYTES_MAX;
use crate::shard::region::{Epoch, PeerInfo, Region, Role};

/// The first byte of every user key.
const USER: u8 = 1;

/// First regions of users' keys, at the most.
pub const REGIONS_MAX: usize = 16_384;

/// What the file may be long.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The first line of the file.
const HEAD: &str = "coracle borders 1\n";

/// Stored keys at which regions begin, ascending; before the first of them lies one more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Borders(Vec<Vec<u8>>);

impl Borders {
    /// So many regions of the same width, by the first bytes of their keys.
    pub fn even(regions: usize) -> Borders {
        let width = if regions <= 256 { 2 } else { 4 };
        let all = 1u64 << (8 * width);
        let border = |number: usize| {
            let at = (all * number as u64 / regions as u64) as u32;
            let bytes = at.to_be_bytes();
            [&[USER], &bytes[4 - width..]].concat()
        };
        Borders((1..regions).map(border).collect())
    }

    /// At these keys of users, in any order.
    pub fn at(keys: impl IntoIterator<Item = Vec<u8>>) -> Result<Borders, String> {
        let mut borders = Vec::new();
        for key in keys {
            if key.is_empty() {
                return Err(
                    "a region cannot begin at the empty key: another one would be empty".into(),
                );
            }
            if key.len() >= KEY_BYTES_MAX {
                return Err(format!(
                    "a key of {} bytes; the longest has {}",
                    key.len(),
                    KEY_BYTES_MAX - 1
                ));
            }
            borders.push([&[USER], &key[..]].concat());
        }
        borders.sort();
        if let Some(twice) = borders.windows(2).find(|two| two[0] == two[1]) {
            let key = twice[0][1..].escape_ascii();
            return Err(format!("the key '{key}' is there twice"));
        }
        match borders.len() {
            REGIONS_MAX.. => Err(format!(
                "{} keys make {} regions; a cluster begins with at most {REGIONS_MAX}",
                borders.len(),
                borders.len() + 1
            )),
            _ => Ok(Borders(borders)),
        }
    }

    /// How many regions that makes.
    pub fn regions(&self) -> usize {
        self.0.len() + 1
    }

    /// The regions that a cluster begins with: the system keys on the first store, those of users on all stores
    /// in turn, from the last one on. Every id is larger than `most`.
    pub fn found(&self, stores: &[StoreId], most: u64) -> Vec<Region> {
        let most = most.max(RegionId::FIRST_USER.0 + self.0.len() as u64);
        let mut next = most;
        let mut region = |id: RegionId, store: StoreId, start: &[u8], limit: &[u8]| {
            next += 1;
            Region {
                id,
                epoch: Epoch {
                    version: 1,
                    conf_ver: 1,
                },
                range: KeyRange::new(start, limit),
                peers: vec![PeerInfo {
                    peer: PeerId(next),
                    store,
                    role: Role::Voter,
                }],
            }
        };
        let mut regions = vec![region(RegionId::SYSTEM, stores[0], &[], &[USER])];
        for place in 0..self.regions() {
            let first: &[u8] = &[USER];
            let start = place.checked_sub(1).map_or(first, |place| &self.0[place]);
            let limit = self.0.get(place).map_or(&[][..], |limit| limit);
            let store = stores[stores.len() - 1 - place % stores.len()];
            let id = RegionId(RegionId::FIRST_USER.0 + place as u64);
            regions.push(region(id, store, start, limit));
        }
        regions
    }

    /// Keeps them until the cluster has begun; durable when this returns.
    pub fn keep(&self, data: &Path) -> Result<(), Failure> {
        if self.0.is_empty() {
            return Borders::forget(data);
        }
        let mut text = String::from(HEAD);
        for border in &self.0 {
            border.iter().for_each(|byte| {
                let _ = write!(text, "{byte:02x}");
            });
            text.push('\n');
        }
        let sum = crc32fast::hash(text.as_bytes());
        let _ = writeln!(text, "sum {sum:08x}");
        let (new, path) = (data.join("borders.new"), data.join("borders"));
        let written = (|| {
            let mut file = File::create(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            File::open(data)?.sync_all()
        })();
        written.map_err(|error| failed(data, &error))
    }

    /// As they were kept.
    pub fn kept(data: &Path) -> Result<Borders, Failure> {
        let path = data.join("borders");
        let corrupt =
            |why: &str| Failure::new(Exit::Corruption, format!("{}: {why}", path.display()));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Borders::default()),
            Err(error) => return Err(corrupt(&error.to_string())),
        };
        let mut text = String::new();
        let read = file.take(FILE_BYTES_MAX).read_to_string(&mut text);
        read.map_err(|error| corrupt(&error.to_string()))?;
        Borders::decode(&text).map_err(corrupt)
    }

    fn decode(text: &str) -> Result<Borders, &'static str> {
        let (body, sum) = text.rsplit_once("sum ").ok_or("its last line is missing")?;
        if sum != format!("{:08x}\n", crc32fast::hash(body.as_bytes())) {
            return Err("its sum does not match");
        }
        let lines = body.strip_prefix(HEAD).ok_or("it is of another version")?;
        let key = |line: &str| {
            let digits = line.as_bytes().chunks(2);
            let byte = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok();
            digits.map(byte).collect::<Option<Vec<u8>>>()
        };
        let keys = lines.lines().map(key).collect::<Option<Vec<_>>>();
        let keys = keys.filter(|keys| keys.is_sorted() && keys.len() < REGIONS_MAX);
        Ok(Borders(keys.ok_or("a line is no key in its place")?))
    }

    /// They are not needed any more.
    pub fn forget(data: &Path) -> Result<(), Failure> {
        match std::fs::remove_file(data.join("borders")) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(data, &error)),
            _ => Ok(()),
        }
    }
}

fn failed(data: &Path, error: &Error) -> Failure {
    let exit = match error.kind() {
        ErrorKind::StorageFull => Exit::NoSpace,
        _ => Exit::FailedWrite,
    };
    let path = data.join("borders");
    Failure::new(exit, format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_regions_leave_no_gap_and_lie_on_all_stores_in_turn() {
        let stores = [StoreId(1), StoreId(2), StoreId(3)];
        for count in [1, 2, 3, 10, 256, 257, 10_000] {
            let regions = Borders::even(count).found(&stores, 3);
            assert_eq!(regions.len(), count + 1);
            assert!(regions[0].range.start.is_empty() && regions[count].range.limit.is_empty());
            for two in regions.windows(2) {
                assert_eq!(two[0].range.limit, two[1].range.start);
                assert!(two[0].range.start < two[1].range.start);
                assert!(two[0].id < two[1].id && two[0].peers[0].peer < two[1].peers[0].peer);
            }
            let peer = regions[0].peers[0].peer.0;
            assert!(
                peer > regions[count].id.0,
                "no id is one of another kind as well"
            );
            for store in stores {
                let here = regions[1..]
                    .iter()
                    .filter(|region| region.on_store(store).is_some());
                let here = here.count();
                assert!(
                    (count / 3..=count.div_ceil(3)).contains(&here),
                    "{count}: {here}"
                );
            }
        }
        let three = Borders::even(3);
        assert_eq!(
            three.0,
            [b"\x01\x55\x55".to_vec(), b"\x01\xaa\xaa".to_vec()]
        );
    }

    #[test]
    fn keys_that_cannot_be_borders_are_named() {
        let at = |keys: &[&[u8]]| Borders::at(keys.iter().map(|key| key.to_vec()));
        assert_eq!(at(&[b"t", b"m"]), at(&[b"m", b"t"]));
        assert_eq!(at(&[]), Ok(Borders::default()));
        for (keys, why) in [
            (&[&b""[..]][..], "the empty key"),
            (&[b"m", b"k\xff", b"m"], "the key 'm' is there twice"),
            (
                &[&[b'k'; 4096]],
                "a key of 4096 bytes; the longest has 4095",
            ),
        ] {
            let refused = at(keys).expect_err(why);
            assert!(refused.contains(why), "{refused}");
        }
        let many = (0..REGIONS_MAX as u32).map(|number| number.to_be_bytes().to_vec());
        assert!(Borders::at(many).is_err());
    }

    #[test]
    fn borders_are_kept_until_they_are_forgotten_and_damage_is_seen() {
        let data = tempfile::tempdir().expect("a directory");
        let kept = || Borders::kept(data.path());
        assert_eq!(kept().expect("none"), Borders::default());
        let borders = Borders::even(300);
        borders.keep(data.path()).expect("it is written");
        assert_eq!(kept().expect("it is there"), borders);
        let path = data.path().join("borders");
        let text = std::fs::read_to_string(&path).expect("a file");
        for at in (0..text.len()).step_by(7) {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).expect("a file");
            assert_eq!(kept().expect_err("damage").exit, Exit::Corruption);
        }
        Borders::default().keep(data.path()).expect("it is removed");
        assert_eq!(kept().expect("none"), Borders::default());
    }
}
