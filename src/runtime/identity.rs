//! Who a data directory belongs to: its lock, and the file `node`.
//!
//! ```text
//! DATA/LOCK    held while a process uses the directory; its number is inside, for a person
//! DATA/node    one line per fact, and at the end the checksum of all lines before it
//! ```
//!
//! The file is replaced as a whole: written beside, made durable, renamed, the name made durable. What a
//! power cut leaves is the old file or the new one.
#![expect(
    clippy::disallowed_methods,
    reason = "this is where the files of a node are opened"
)]

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Seek, Write as _};
use std::path::{Path, PathBuf};

use super::failure::{Exit, Failure};
use crate::shard::ids::{ClusterId, Edition, NodeId, StoreId};

/// The version of the file `node`.
const VERSION: u32 = 3;

/// What the file `node` may be long.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// How far a node has come to belong to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It begins a cluster; whether its first regions are durable is not known yet.
    Founding,
    /// It wants to join one, and has not been told its numbers.
    Joining,
    /// It was told its numbers; whether all its stores are made is not known yet.
    Entering,
    /// It belongs to its cluster.
    Member,
}

impl Stage {
    fn word(self) -> &'static str {
        match self {
            Stage::Founding => "founding",
            Stage::Joining => "joining",
            Stage::Entering => "entering",
            Stage::Member => "member",
        }
    }
}

/// What a data directory says of the node it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// How far it has come.
    pub stage: Stage,
    /// Drawn when the directory was made: who asks twice to join is the same node.
    pub nonce: u64,
    /// Its cluster; 0 while it is joining.
    pub cluster: ClusterId,
    /// Itself; 0 while it is joining.
    pub node: NodeId,
    /// Where it was reached when it ran last.
    pub address: String,
    /// Where it stood then, as in zone=a,rack=1.
    pub labels: String,
    /// Which edition of address and labels that is.
    pub edition: Edition,
    /// How many shards it has; this never changes.
    pub shards: u16,
    /// One store for each shard, in order; none while it is joining.
    pub stores: Vec<StoreId>,
}

impl Identity {
    fn encode(&self) -> String {
        let mut text = format!("coracle node {VERSION}\n");
        let stores: Vec<String> = self.stores.iter().map(StoreId::to_string).collect();
        let _ = write!(
            text,
            "stage {}\nnonce {:016x}\ncluster {:016x}\nnode {}\naddress {}\nlabels {}\nedition {}\nshards {}\nstores {}\n",
            self.stage.word(),
            self.nonce,
            self.cluster.0,
            self.node,
            self.address,
            self.labels,
            self.edition,
            self.shards,
            stores.join(",")
        );
        let sum = crc32fast::hash(text.as_bytes());
        let _ = writeln!(text, "sum {sum:08x}");
        text
    }

    /// From the text of the file; what is wrong with it otherwise.
    pub fn decode(text: &str) -> Result<Identity, String> {
        let (body, sum) = text.rsplit_once("sum ").ok_or("its last line is missing")?;
        let sum = u32::from_str_radix(sum.trim_end(), 16).map_err(|_| "its sum is not one")?;
        if sum != crc32fast::hash(body.as_bytes()) {
            return Err("its sum does not match".into());
        }
        let mut lines = body.lines();
        let mut next = |word: &'static str| {
            let line = lines.next().unwrap_or_default();
            let rest = line.strip_prefix(word).and_then(|r| r.strip_prefix(' '));
            rest.ok_or_else(|| format!("it lacks its line '{word}'"))
        };
        let version = next("coracle node")?;
        if version != VERSION.to_string() {
            return Err(format!("it is of version {version}, not {VERSION}"));
        }
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("'{text}'"));
        let hex = |text: &str| u64::from_str_radix(text, 16).map_err(|_| format!("'{text}'"));
        let stage = match next("stage")? {
            "founding" => Stage::Founding,
            "joining" => Stage::Joining,
            "entering" => Stage::Entering,
            "member" => Stage::Member,
            other => return Err(format!("'{other}' is no stage")),
        };
        let nonce = hex(next("nonce")?)?;
        let cluster = ClusterId(hex(next("cluster")?)?);
        let node = NodeId(number(next("node")?)?);
        let address = next("address")?.to_string();
        let labels = next("labels")?.to_string();
        let edition = Edition(number(next("edition")?)?);
        let shards = number(next("shards")?)?;
        let shards = u16::try_from(shards).map_err(|_| format!("{shards} shards"))?;
        let stores = next("stores")?.split(',').filter(|text| !text.is_empty());
        let stores: Result<Vec<_>, _> = stores.map(|text| number(text).map(StoreId)).collect();
        let stores = stores?;
        let expected = if stage == Stage::Joining { 0 } else { shards };
        if shards == 0 || stores.len() != usize::from(expected) {
            return Err(format!("{} stores for {shards} shards", stores.len()));
        }
        Ok(Identity {
            stage,
            nonce,
            cluster,
            node,
            address,
            labels,
            edition,
            shards,
            stores,
        })
    }
}

/// A data directory that no other process uses.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

impl DataDirectory {
    /// Makes it, if need be, and takes it for this process.
    pub fn take(path: &Path) -> Result<DataDirectory, Failure> {
        let unusable = |error: std::io::Error| {
            let exit = match error.kind() {
                std::io::ErrorKind::StorageFull => Exit::NoSpace,
                _ => Exit::Usage,
            };
            Failure::new(exit, format!("data directory {}: {error}", path.display()))
        };
        if path.exists() && !path.is_dir() {
            let why = format!("data directory {}: it is not a directory", path.display());
            return Err(Failure::new(Exit::Usage, why));
        }
        std::fs::create_dir_all(path).map_err(unusable)?;
        let lock = path.join("LOCK");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock)
            .map_err(unusable)?;
        if file.try_lock().is_err() {
            let mut holder = String::new();
            let _ = Read::by_ref(&mut file).take(32).read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another process".to_string(),
                pid => format!("process {pid}"),
            };
            let why = format!(
                "data directory {} is in use by {holder}; stop it, or start with another --data",
                path.display()
            );
            return Err(Failure::new(Exit::InUse, why));
        }
        // Who holds it, for the next who tries; nothing depends on it.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(DataDirectory {
            path: path.to_path_buf(),
            _lock: file,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of its node; none if it is new.
    pub fn identity(&self) -> Result<Option<Identity>, Failure> {
        let path = self.path.join("node");
        let corrupt = |why: String| {
            let why = format!("{}: {why}", path.display());
            Failure::new(Exit::Corruption, why)
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return self.refuse_remains().map(|()| None);
            }
            Err(error) => return Err(corrupt(error.to_string())),
        };
        let mut text = String::new();
        let read = file.take(FILE_BYTES_MAX).read_to_string(&mut text);
        read.map_err(|error| corrupt(error.to_string()))?;
        Identity::decode(&text).map(Some).map_err(corrupt)
    }

    /// A directory with shards and without the file that names them is not a new one.
    fn refuse_remains(&self) -> Result<(), Failure> {
        if self.path.join("shard-000").exists() {
            let why = format!(
                "{} holds shards but no file 'node', which says whose they are; restore it, or start with an \
                 empty directory",
                self.path.display()
            );
            return Err(Failure::new(Exit::Corruption, why));
        }
        Ok(())
    }

    /// Replaces the file; durable when this returns.
    pub fn keep(&self, identity: &Identity) -> Result<(), Failure> {
        let (new, path) = (self.path.join("node.new"), self.path.join("node"));
        let written = (|| {
            let mut file = File::create(&new)?;
            file.write_all(identity.encode().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            File::open(&self.path)?.sync_all()
        })();
        written.map_err(|error: std::io::Error| {
            let exit = match error.kind() {
                std::io::ErrorKind::StorageFull => Exit::NoSpace,
                _ => Exit::FailedWrite,
            };
            Failure::new(exit, format!("{}: {error}", path.display()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            stage: Stage::Member,
            nonce: 0xfeed,
            cluster: ClusterId(77),
            node: NodeId(4),
            address: "127.0.0.1:7400/7401,7402".into(),
            labels: "zone=a,rack=1".into(),
            edition: Edition(3),
            shards: 2,
            stores: vec![StoreId(5), StoreId(6)],
        }
    }

    #[test]
    fn an_identity_outlives_the_process_and_says_what_is_wrong_with_it() {
        let data = tempfile::tempdir().expect("a directory");
        let taken = DataDirectory::take(data.path()).expect("nobody has it");
        assert_eq!(taken.identity().expect("it is new"), None);
        taken.keep(&identity()).expect("it can be written");
        assert_eq!(taken.identity().expect("it reads"), Some(identity()));
        let text = identity().encode();
        for cut in 0..text.len() - 1 {
            assert!(Identity::decode(&text[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..text.len() - 1 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(text) = String::from_utf8(bytes) {
                assert!(Identity::decode(&text).is_err(), "a flipped bit at {at}");
            }
        }
    }

    #[test]
    fn a_directory_has_one_process_at_a_time() {
        let data = tempfile::tempdir().expect("a directory");
        let first = DataDirectory::take(data.path()).expect("nobody has it");
        let second = DataDirectory::take(data.path()).expect_err("it is taken");
        assert_eq!(second.exit, Exit::InUse);
        assert!(second.message.contains(&std::process::id().to_string()));
        drop(first);
        DataDirectory::take(data.path()).expect("it is free again");
    }

    #[test]
    fn shards_without_a_name_are_not_taken_for_nothing() {
        let data = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(data.path().join("shard-000")).expect("a directory");
        let taken = DataDirectory::take(data.path()).expect("nobody has it");
        let refused = taken.identity().expect_err("whose shards are they?");
        assert_eq!(refused.exit, Exit::Corruption);
    }
}
