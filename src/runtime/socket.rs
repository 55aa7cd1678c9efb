//! What a socket is asked without waiting.
#![expect(
    unsafe_code,
    reason = "the calls of the kernel that glommio has no words for"
)]

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use glommio::net::{TcpListener, TcpStream};
use socket2::SockRef;

/// Sends what the socket takes at once; 0 if that is nothing.
pub fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the bytes outlive the call; a descriptor that is not open is an error, and nothing else.
    let sent = unsafe {
        libc::send(
            fd,
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    if sent >= 0 {
        return Ok(sent as usize);
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
        _ => Err(error),
    }
}

/// Ends both directions, so that whoever waits for the socket is woken.
pub fn shut_down(fd: RawFd) {
    // SAFETY: no memory is handed over.
    unsafe {
        libc::shutdown(fd, libc::SHUT_RDWR);
    }
}

/// Makes a new connection ready: no waiting for more to send. Where it comes from.
pub fn prepare(fd: RawFd) -> io::Result<String> {
    // SAFETY: the descriptor is open, and stays its owner's: only what it says is asked for.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    let socket = SockRef::from(&socket);
    socket.set_tcp_nodelay(true)?;
    let address = socket.peer_addr()?.as_socket();
    Ok(address.map_or_else(String::new, |address| address.to_string()))
}

/// Gives a descriptor up.
pub fn close(fd: RawFd) {
    // SAFETY: the caller owns it, and uses it no more.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
}

/// A descriptor that nobody else has, as a socket of this executor.
pub fn adopt(fd: RawFd) -> TcpStream {
    // SAFETY: the caller gives it away, and it is open.
    unsafe { TcpStream::from_raw_fd(fd) }
}

/// The same for one that listens.
pub fn adopt_listener(listener: std::net::TcpListener) -> TcpListener {
    // SAFETY: the descriptor is open, and given away.
    unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) }
}

/// A second descriptor of the same socket.
pub fn duplicate(fd: RawFd) -> io::Result<RawFd> {
    // SAFETY: no memory is handed over.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
    match copy {
        -1 => Err(io::Error::last_os_error()),
        copy => Ok(copy),
    }
}
