//! The sockets that clients and peers knock at.
//!
//! A shard's own port is bound first and for one process alone, so that a second one is noticed; the port
//! that all shards share is bound by each of them, and the kernel spreads connections over them.
//!
//! Ports of a process that was killed are free only when the kernel has ended its rings, a moment after the
//! process: whoever restarts it at once finds them in use. So that is an error only if it lasts.
#![expect(
    clippy::disallowed_methods,
    reason = "this is where a node waits for its ports"
)]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::address::Address;
use super::failure::{Exit, Failure};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// For so long a port may be in use by a process that has ended.
const GRACE: Duration = Duration::from_secs(3);

/// The pause before ports are tried again.
const PAUSE: Duration = Duration::from_millis(10);

/// The sockets of one shard.
pub struct Doors {
    /// Its share of the port of all.
    pub shared: TcpListener,
    /// Its own port.
    pub own: TcpListener,
}

/// The sockets of a node, one pair for each shard.
pub struct Listening {
    /// One pair for each shard.
    pub doors: Vec<Doors>,
    /// Where that is.
    pub address: Address,
}

/// Binds all ports of a node with so many shards.
pub fn bind(listen: &Address, shards: u16) -> Result<Listening, Failure> {
    let begun = Instant::now();
    loop {
        match bind_all(listen, shards) {
            Err(failure) if failure.exit == Exit::PortInUse && begun.elapsed() < GRACE => {
                std::thread::sleep(PAUSE);
            }
            other => return other,
        }
    }
}

fn bind_all(listen: &Address, shards: u16) -> Result<Listening, Failure> {
    let usage = |why: String| Failure::new(Exit::Usage, why);
    let at = listen.resolve(listen.port).map_err(usage)?;
    if listen.port != 0 && listen.shard_port(shards - 1).is_none() {
        let why = format!(
            "port {} leaves too little room above it for the ports of the shards, {shards} of them; choose a lower one",
            listen.port
        );
        return Err(usage(why));
    }
    // The kernel shares the port of all between processes: whether another has it is asked first, and alone.
    if listen.port != 0 {
        drop(bind_one(SocketAddr::new(at.ip(), listen.port), false)?);
    }
    let mut own = Vec::new();
    for shard in 0..shards {
        let port = match listen.port {
            0 => 0,
            _ => listen.shard_port(shard).unwrap_or_default(),
        };
        own.push(bind_one(SocketAddr::new(at.ip(), port), false)?);
    }
    let mut shared: Vec<TcpListener> = Vec::new();
    let mut port = listen.port;
    for _ in 0..shards {
        let listener = bind_one(SocketAddr::new(at.ip(), port), true)?;
        port = port_of(&listener)?;
        shared.push(listener);
    }
    let mut ports = Vec::new();
    for listener in &own {
        ports.push(port_of(listener)?);
    }
    let doors = shared.into_iter().zip(own);
    let address = Address {
        host: listen.host.clone(),
        port,
        shards: if listen.port == 0 { ports } else { Vec::new() },
    };
    Ok(Listening {
        doors: doors.map(|(shared, own)| Doors { shared, own }).collect(),
        address,
    })
}

fn port_of(listener: &TcpListener) -> Result<u16, Failure> {
    let address = listener.local_addr();
    let address = address.map_err(|error| Failure::new(Exit::Failed, error))?;
    Ok(address.port())
}

fn bind_one(at: SocketAddr, shared: bool) -> Result<TcpListener, Failure> {
    let bound = (|| {
        let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
        // A restart must not wait for connections of the process before to time out.
        socket.set_reuse_address(true)?;
        if shared {
            socket.set_reuse_port(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&at.into())?;
        socket.listen(BACKLOG)?;
        Ok(TcpListener::from(socket))
    })();
    bound.map_err(|error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            let why = format!(
                "{at} is in use by another process; stop it, or choose another with --listen"
            );
            Failure::new(Exit::PortInUse, why)
        }
        std::io::ErrorKind::AddrNotAvailable => {
            let why = format!(
                "{} is no address of this machine; choose one with --listen",
                at.ip()
            );
            Failure::new(Exit::Usage, why)
        }
        _ => Failure::new(Exit::Usage, format!("cannot listen at {at}: {error}")),
    })
}

/// Where others cannot reach it from elsewhere.
pub fn is_everywhere(host: &str) -> bool {
    host == Ipv4Addr::UNSPECIFIED.to_string() || host == "[::]"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_becomes_free_in_time_is_taken() {
        // Below the ports that the system hands out by itself, or somebody gets it while it is free.
        let chosen = |more| 20_000 + (std::process::id() + more) % 5_000 * 2;
        let mut ports = (0..).map(chosen);
        let first = ports
            .find_map(|port| {
                let address = Address::parse(&format!("127.0.0.1:{port}")).expect("an address");
                bind(&address, 1).ok()
            })
            .expect("there is always another port");
        let port = first.address.port;
        let again = Address::parse(&format!("127.0.0.1:{port}")).expect("an address");
        let waiting = std::thread::spawn(move || bind(&again, 1).map(|bound| bound.address));
        std::thread::sleep(PAUSE * 5);
        assert!(!waiting.is_finished(), "the port is in use");
        drop(first);
        let bound = waiting.join().expect("it does not panic");
        let bound = bound.expect("the port is free again");
        assert_eq!(bound.port, port);
    }

    #[test]
    fn shards_share_a_port_and_have_one_each_that_no_other_process_gets() {
        let free = Address::parse("127.0.0.1:0").expect("an address");
        let first = bind(&free, 2).expect("ports are free");
        assert_eq!(first.doors.len(), 2);
        assert_eq!(first.address.shards.len(), 2);
        let taken = first.address.shards[1] - 1;
        let below = Address::parse(&format!("127.0.0.1:{taken}")).expect("an address");
        let refused = bind(&below, 1).err().expect("its shard's port is taken");
        assert_eq!(refused.exit, Exit::PortInUse);
        let high = Address::parse("127.0.0.1:65535").expect("an address");
        let refused = bind(&high, 1).err().expect("no port above");
        assert_eq!(refused.exit, Exit::Usage);
    }
}
