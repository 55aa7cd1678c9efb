//! Who is there, and who is wanted: what a link begins with.
//!
//! ```text
//! the caller    magic 8 │ version u16 │ cluster u64 │ from store u64 │ to store u64 │ shard u16
//!               │ edition u64 │ address u16+… │ crc u32
//! the called    magic 8 │ version u16 │ verdict u8 │ cluster u64 │ store u64 │ reason u16+… │ crc u32
//! ```
//!
//! Little-endian; the crc is of everything before it. A zero stands for what is not known: a process that
//! is yet to join has no cluster and no store, and calls whoever is at an address.

use crate::shard::codec::{Malformed, Reader, put_short};
use crate::shard::ids::{ClusterId, Edition, StoreId};

/// What a link between shards begins with.
pub const MAGIC: [u8; 8] = *b"\xC0RACLE\0P";

/// What is spoken behind the greeting.
pub const VERSION: u16 = 2;

/// A caller's greeting without its address.
const HELLO_BYTES: usize = 8 + 2 + 8 + 8 + 8 + 2 + 8 + 2 + 4;

/// Where its address begins.
const ADDRESS_AT: usize = HELLO_BYTES - 4;

/// No address is longer.
const ADDRESS_BYTES_MAX: usize = 1024;

/// No reason is longer.
const REASON_BYTES_MAX: usize = 512;

/// The bytes of an answer without its reason.
const ANSWER_BYTES: usize = 8 + 2 + 1 + 8 + 8 + 2 + 4;

/// No answer is longer.
pub const ANSWER_BYTES_MAX: usize = ANSWER_BYTES + REASON_BYTES_MAX;

/// Who calls, and whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What the caller speaks.
    pub version: u16,
    /// The caller's cluster; 0: none yet.
    pub cluster: ClusterId,
    /// The caller's store; 0: none yet.
    pub from: StoreId,
    /// The store that is wanted; 0: whichever is there.
    pub to: StoreId,
    /// Which shard of its node the caller is.
    pub shard: u16,
    /// The edition of the address: a greeting of an earlier life may be read after one of a later.
    pub edition: Edition,
    /// Where its node is reached; empty: it does not say.
    pub address: String,
}

/// What is said to a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Frames may follow.
    Accepted,
    /// It speaks something else.
    OtherVersion,
    /// It belongs to another cluster.
    OtherCluster,
    /// It wants another store.
    OtherStore,
    /// Not now.
    Busy,
}

/// What a caller is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether frames may follow.
    pub verdict: Verdict,
    /// What the called speaks.
    pub version: u16,
    /// The cluster of the called.
    pub cluster: ClusterId,
    /// Its store.
    pub store: StoreId,
    /// Why not, in words; empty where accepted.
    pub reason: String,
}

impl Hello {
    /// A greeting in what is spoken here.
    pub fn new(cluster: ClusterId, from: StoreId, to: StoreId) -> Hello {
        Hello {
            version: VERSION,
            cluster,
            from,
            to,
            shard: 0,
            edition: Edition(0),
            address: String::new(),
        }
    }

    /// The same from a shard of a node that is reached there.
    pub fn at(self, shard: u16, address: &str, edition: Edition) -> Hello {
        let address = address.to_string();
        Hello {
            shard,
            edition,
            address,
            ..self
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HELLO_BYTES + self.address.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.version.to_le_bytes());
        for number in [self.cluster.0, self.from.0, self.to.0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.shard.to_le_bytes());
        out.extend_from_slice(&self.edition.0.to_le_bytes());
        put_short(&mut out, cut(&self.address, ADDRESS_BYTES_MAX).as_bytes());
        seal(&mut out);
        out
    }

    /// Takes a greeting off the front, and says how long it was; none if there is not yet all of it.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Hello, usize)>, Malformed> {
        let shown = bytes.len().min(MAGIC.len());
        if bytes[..shown] != MAGIC[..shown] {
            return Err(Malformed("no peer calls here"));
        }
        let Some(&[low, high]) = bytes.get(ADDRESS_AT - 2..ADDRESS_AT) else {
            return Ok(None);
        };
        let length = usize::from(u16::from_le_bytes([low, high]));
        if length > ADDRESS_BYTES_MAX {
            return Err(Malformed("an address that is too long"));
        }
        let Some(bytes) = bytes.get(..HELLO_BYTES + length) else {
            return Ok(None);
        };
        let mut reader = unseal(bytes)?;
        let hello = Hello {
            version: reader.u16()?,
            cluster: ClusterId(reader.u64()?),
            from: StoreId(reader.u64()?),
            to: StoreId(reader.u64()?),
            shard: reader.u16()?,
            edition: Edition(reader.u64()?),
            address: String::from_utf8_lossy(reader.short()?).into_owned(),
        };
        reader.end()?;
        Ok(Some((hello, bytes.len())))
    }

    /// What this caller is answered by a store, which may itself be yet to join.
    pub fn judge(&self, cluster: ClusterId, store: StoreId) -> Answer {
        let differs = |theirs: u64, ours: u64| theirs != 0 && ours != 0 && theirs != ours;
        let (verdict, reason) = if self.version != VERSION {
            let reason = format!("this is version {VERSION}, not {}", self.version);
            (Verdict::OtherVersion, reason)
        } else if differs(self.cluster.0, cluster.0) {
            let reason = format!("this is cluster {cluster}, not {}", self.cluster);
            (Verdict::OtherCluster, reason)
        } else if differs(self.to.0, store.0) {
            let reason = format!("this is store {store}, not {}", self.to);
            (Verdict::OtherStore, reason)
        } else {
            (Verdict::Accepted, String::new())
        };
        Answer {
            verdict,
            version: VERSION,
            cluster,
            store,
            reason,
        }
    }
}

impl Answer {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ANSWER_BYTES + self.reason.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.version.to_le_bytes());
        out.push(match self.verdict {
            Verdict::Accepted => 0,
            Verdict::OtherVersion => 1,
            Verdict::OtherCluster => 2,
            Verdict::OtherStore => 3,
            Verdict::Busy => 4,
        });
        out.extend_from_slice(&self.cluster.0.to_le_bytes());
        out.extend_from_slice(&self.store.0.to_le_bytes());
        put_short(&mut out, cut(&self.reason, REASON_BYTES_MAX).as_bytes());
        seal(&mut out);
        out
    }

    /// Takes an answer off the front, and says how long it was; none if there is not yet all of it.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Answer, usize)>, Malformed> {
        let shown = bytes.len().min(MAGIC.len());
        if bytes[..shown] != MAGIC[..shown] {
            return Err(Malformed("no peer answers here"));
        }
        let Some(&[low, high]) = bytes.get(27..29) else {
            return Ok(None);
        };
        let length = usize::from(u16::from_le_bytes([low, high]));
        if length > REASON_BYTES_MAX {
            return Err(Malformed("a reason that is too long"));
        }
        let Some(bytes) = bytes.get(..ANSWER_BYTES + length) else {
            return Ok(None);
        };
        let mut reader = unseal(bytes)?;
        let answer = Answer {
            version: reader.u16()?,
            verdict: match reader.u8()? {
                0 => Verdict::Accepted,
                1 => Verdict::OtherVersion,
                2 => Verdict::OtherCluster,
                3 => Verdict::OtherStore,
                4 => Verdict::Busy,
                _ => return Err(Malformed("an unknown verdict")),
            },
            cluster: ClusterId(reader.u64()?),
            store: StoreId(reader.u64()?),
            reason: String::from_utf8_lossy(reader.short()?).into_owned(),
        };
        reader.end()?;
        Ok(Some((answer, bytes.len())))
    }
}

/// As much of a text as is sent.
fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn seal(out: &mut Vec<u8>) {
    let crc = crc32fast::hash(out);
    out.extend_from_slice(&crc.to_le_bytes());
}

/// What lies between magic and sum.
fn unseal(bytes: &[u8]) -> Result<Reader<'_>, Malformed> {
    let (body, crc) = bytes
        .split_last_chunk::<4>()
        .ok_or(Malformed("cut short"))?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return Err(Malformed("a greeting whose sum differs"));
    }
    let body = body
        .strip_prefix(&MAGIC)
        .ok_or(Malformed("no peer calls here"))?;
    Ok(Reader(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_come_back() {
        for address in ["", "127.0.0.1:7400/1,2"] {
            let hello = Hello::new(ClusterId(7), StoreId(3), StoreId(4)).at(2, address, Edition(5));
            let bytes = hello.encode();
            for end in 0..bytes.len() {
                assert_eq!(Hello::decode(&bytes[..end]), Ok(None));
            }
            assert_eq!(Hello::decode(&bytes), Ok(Some((hello, bytes.len()))));
        }
        for reason in ["", "why not", &"ü".repeat(300)] {
            let answer = Answer {
                verdict: Verdict::Busy,
                version: 1,
                cluster: ClusterId(7),
                store: StoreId(4),
                reason: reason.to_string(),
            };
            let bytes = answer.encode();
            for end in 0..bytes.len() {
                assert_eq!(Answer::decode(&bytes[..end]), Ok(None));
            }
            let (told, length) = Answer::decode(&bytes).unwrap().unwrap();
            assert_eq!(length, bytes.len());
            assert!(answer.reason.starts_with(&told.reason));
            assert!(length <= ANSWER_BYTES_MAX);
        }
    }

    #[test]
    fn callers_are_judged() {
        let own = (ClusterId(7), StoreId(4));
        let judge = |cluster, from, to| {
            let hello = Hello::new(ClusterId(cluster), StoreId(from), StoreId(to));
            hello.judge(own.0, own.1).verdict
        };
        assert_eq!(judge(7, 3, 4), Verdict::Accepted);
        assert_eq!(judge(0, 0, 0), Verdict::Accepted);
        assert_eq!(judge(8, 3, 4), Verdict::OtherCluster);
        assert_eq!(judge(7, 3, 5), Verdict::OtherStore);
        let mut hello = Hello::new(own.0, StoreId(3), own.1);
        hello.version = 9;
        assert_eq!(hello.judge(own.0, own.1).verdict, Verdict::OtherVersion);
    }
}
