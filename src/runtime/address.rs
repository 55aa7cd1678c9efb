//! Where a node is reached, as text that others keep.
//!
//! ```text
//! 10.0.0.7:7400                 shard i listens at port 7401 + i
//! 127.0.0.1:40001/40002,40003   shard i listens at the i-th port behind the slash
//! ```

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

/// Where a node is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The host, as it was given.
    pub host: String,
    /// The port that all shards share.
    pub port: u16,
    /// The port of each shard, where they do not follow from that one.
    pub shards: Vec<u16>,
}

impl Address {
    /// From text; what is wrong with it otherwise.
    pub fn parse(text: &str) -> Result<Address, String> {
        let (plain, shards) = text.split_once('/').unwrap_or((text, ""));
        let wrong = || format!("'{text}' is not HOST:PORT, as in 127.0.0.1:7400");
        let (host, port) = plain.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let is_odd = |c: char| c.is_control() || c.is_whitespace();
        if host.contains(is_odd) {
            return Err(wrong());
        }
        if host.is_empty() || (host.contains(':') && !host.starts_with('[')) {
            return Err(wrong());
        }
        let shards = shards.split(',').filter(|port| !port.is_empty());
        let shards: Result<Vec<u16>, _> = shards.map(str::parse).collect();
        Ok(Address {
            host: host.into(),
            port,
            shards: shards.map_err(|_| wrong())?,
        })
    }

    /// The port of a shard; none if there is none.
    pub fn shard_port(&self, shard: u16) -> Option<u16> {
        match self.shards.is_empty() {
            true => self.port.checked_add(1)?.checked_add(shard),
            false => self.shards.get(usize::from(shard)).copied(),
        }
    }

    /// Where a port of it is, by a look at names if need be.
    pub fn resolve(&self, port: u16) -> Result<SocketAddr, String> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let found = (host, port).to_socket_addrs();
        let mut found = found.map_err(|error| format!("{}: {error}", self.host))?;
        found
            .next()
            .ok_or_else(|| format!("{} has no address", self.host))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.host, self.port)?;
        for (place, port) in self.shards.iter().enumerate() {
            write!(out, "{}{port}", if place == 0 { '/' } else { ',' })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        for (text, port, third) in [
            ("127.0.0.1:7400", 7400, Some(7403)),
            ("[::1]:9000", 9000, Some(9003)),
            ("node-7:65533", 65533, None),
            ("a:1/5,6,7", 1, Some(7)),
            ("a:1/5", 1, None),
        ] {
            let address = Address::parse(text).expect(text);
            assert_eq!(address.to_string(), text);
            assert_eq!((address.port, address.shard_port(2)), (port, third));
        }
        for wrong in ["", "7400", "a:", ":7400", "a:70000", "::1:7400", "a:1/x"] {
            let why = Address::parse(wrong).expect_err(wrong);
            assert!(why.contains("HOST:PORT"), "{why}");
        }
    }
}
