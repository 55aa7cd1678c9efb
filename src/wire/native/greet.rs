//! What a connection begins with.
//!
//! ```text
//! the client   magic 8 │ version u16 │ 0 u16
//! the node     magic 8 │ version u16 │ verdict u8 │ 0 u8 │ cluster u64 │ store u64
//! ```
//!
//! The client may send frames at once; they are answered if the greeting was accepted.

use crate::shard::codec::{Malformed, Reader};
use crate::shard::ids::{ClusterId, StoreId};

/// What a connection of our own clients begins with.
pub const MAGIC: [u8; 8] = *b"\xC0RACLE\0N";

/// What is spoken behind the greeting.
pub const VERSION: u16 = 2;

/// How long a client's greeting is.
pub const HELLO_BYTES: usize = 12;

/// How long the answer to it is.
pub const WELCOME_BYTES: usize = 28;

/// A client's greeting in what is spoken here.
pub fn hello() -> [u8; HELLO_BYTES] {
    let mut bytes = [0; HELLO_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

/// What a client is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Whether frames are understood.
    pub accepted: bool,
    /// What is spoken here.
    pub version: u16,
    /// The cluster.
    pub cluster: ClusterId,
    /// The store.
    pub store: StoreId,
}

impl Welcome {
    /// What a client is answered that greets like this.
    pub fn new(
        hello: &[u8; HELLO_BYTES],
        cluster: ClusterId,
        store: StoreId,
    ) -> Result<Welcome, Malformed> {
        let greeting = hello.strip_prefix(&MAGIC);
        let mut reader = Reader(greeting.ok_or(Malformed("no client calls here"))?);
        Ok(Welcome {
            accepted: reader.u16()? == VERSION,
            version: VERSION,
            cluster,
            store,
        })
    }

    /// Its bytes.
    pub fn encode(&self) -> [u8; WELCOME_BYTES] {
        let mut bytes = [0; WELCOME_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.version.to_le_bytes());
        bytes[10] = u8::from(!self.accepted);
        bytes[12..20].copy_from_slice(&self.cluster.0.to_le_bytes());
        bytes[20..].copy_from_slice(&self.store.0.to_le_bytes());
        bytes
    }

    /// Takes an answer apart.
    pub fn decode(bytes: &[u8; WELCOME_BYTES]) -> Result<Welcome, Malformed> {
        let told = bytes.strip_prefix(&MAGIC);
        let mut reader = Reader(told.ok_or(Malformed("what answers there is no node"))?);
        let (version, verdict) = (reader.u16()?, reader.u16()? & 0xFF);
        Ok(Welcome {
            accepted: verdict == 0,
            version,
            cluster: ClusterId(reader.u64()?),
            store: StoreId(reader.u64()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_come_back() {
        let (cluster, store) = (ClusterId(7), StoreId(4));
        let mut greeting = hello();
        let welcome = Welcome::new(&greeting, cluster, store).unwrap();
        assert!(welcome.accepted);
        assert_eq!(Welcome::decode(&welcome.encode()), Ok(welcome));
        greeting[8] = 9;
        let welcome = Welcome::new(&greeting, cluster, store).unwrap();
        assert!(!welcome.accepted);
        assert_eq!(Welcome::decode(&welcome.encode()), Ok(welcome));
        greeting[0] = 9;
        assert!(Welcome::new(&greeting, cluster, store).is_err());
    }
}
