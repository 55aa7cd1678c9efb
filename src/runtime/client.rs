//! Connections that come in: accepted, read, sent to where the socket did not take all at once, closed.

use std::future::poll_fn;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};
use glommio::timer::{Timer, timeout};

use super::connection::Connection;
use super::driver::Driver;
use super::figures::count;
use super::socket;

/// How long nothing is accepted after an accept has failed, as where there are too many files.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a client is told that comes while the node stops.
pub const ENDING: &[u8] = b"-TRYAGAIN the node is about to end; others serve\r\n";

/// How long a connection may take to say what it speaks.
const UNDECIDED: Duration = Duration::from_secs(1);

/// Accepts connections until the shard stops; while it drains, they are told so.
pub async fn accept(driver: Rc<Driver>, listener: TcpListener) {
    while !driver.has_stopped() {
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                Timer::new(ACCEPT_PAUSE).await;
                continue;
            }
        };
        count(&driver.figures.accepted, 1);
        if driver.draining.get() {
            let _ = socket::send(stream.as_raw_fd(), ENDING);
            continue;
        }
        if driver.connections.borrow().len() >= driver.config.client.connections_max {
            count(&driver.figures.cut_off, 1);
            let _ = socket::send(
                stream.as_raw_fd(),
                b"-ERR max number of clients reached\r\n",
            );
            continue;
        }
        glommio::spawn_local(serve(driver.clone(), stream)).detach();
    }
}

/// One connection from its first byte to its last.
async fn serve(driver: Rc<Driver>, mut stream: TcpStream) {
    let address = match stream.peer_addr() {
        Ok(address) => address.to_string(),
        Err(_) => return,
    };
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let connection = Connection::new(&driver, stream.as_raw_fd(), address, None);
    let number = connection.number;
    driver
        .connections
        .borrow_mut()
        .insert(number, connection.clone());
    read(&driver, &connection, &mut stream).await;
    connection.finish();
    driver.touch(&connection);
    // What came in before the end is answered all the same, if it goes.
    let limit = Duration::from_secs(driver.config.client.stalled_seconds);
    let _ = timeout(limit, async {
        while !connection.is_idle() && !connection.is_closed() {
            connection.room.wait().await;
        }
        Ok(())
    })
    .await;
    connection.close();
    driver.connections.borrow_mut().remove(&number);
}

async fn read(driver: &Rc<Driver>, connection: &Rc<Connection>, stream: &mut TcpStream) {
    let mut is_decided = false;
    while !connection.is_closed() {
        let reading = poll_fn(|context| {
            connection.fill(
                |buffer| match Pin::new(&mut *stream).poll_read(context, buffer) {
                    Poll::Ready(Ok(bytes)) => (bytes, Poll::Ready(bytes)),
                    Poll::Ready(Err(_)) => (0, Poll::Ready(0)),
                    Poll::Pending => (0, Poll::Pending),
                },
            )
        });
        let bytes = match is_decided {
            true => reading.await,
            false => {
                let first = timeout(UNDECIDED, async { Ok(reading.await) }).await;
                first.unwrap_or(0)
            }
        };
        if bytes == 0 {
            return;
        }
        count(&driver.figures.bytes_in, bytes as u64);
        connection.advance(driver, driver.clock.now());
        is_decided = is_decided || connection.is_decided();
        while connection.is_full(driver) && !connection.is_closed() {
            if connection.is_finished() {
                return;
            }
            connection.room.wait().await;
        }
    }
}

/// Sends what the socket did not take at once.
pub async fn send_rest(driver: Rc<Driver>, connection: Rc<Connection>) {
    let Ok(copy) = socket::duplicate(connection.fd()) else {
        return connection.close();
    };
    let mut stream = socket::adopt(copy);
    let limit = Duration::from_secs(driver.config.client.stalled_seconds);
    while let Some(bytes) = connection.take_unsent() {
        let written = timeout(limit, async { Ok(stream.write_all(&bytes).await) }).await;
        if !matches!(written, Ok(Ok(()))) {
            count(&driver.figures.cut_off, 1);
            return connection.close();
        }
        count(&driver.figures.bytes_out, bytes.len() as u64);
    }
    // What had to wait for that may be dealt with now.
    driver.touch(&connection);
    connection.room.ring();
}

/// Closes those that have sent nothing for too long.
pub async fn close_idle(driver: Rc<Driver>) {
    let limit = driver.config.client.idle_seconds * 1_000_000_000;
    while limit > 0 && !driver.has_stopped() {
        Timer::new(Duration::from_secs(1)).await;
        let before = driver.clock.mono().saturating_sub(limit);
        let open: Vec<_> = driver.connections.borrow().values().cloned().collect();
        for connection in open {
            if connection.last_active.get() < before && connection.is_idle() {
                connection.close();
            }
        }
    }
}

/// Closes those on the ring that do not say what they speak, or do not read what they are answered, and
/// forgets those that are over.
pub async fn watch_ring(driver: Rc<Driver>) {
    let stalled = driver.config.client.stalled_seconds * 1_000_000_000;
    while !driver.has_stopped() {
        Timer::new(UNDECIDED / 2).await;
        let Some(side) = &driver.ring else { return };
        let now = driver.clock.mono();
        let open: Vec<_> = driver.connections.borrow().values().cloned().collect();
        for connection in open {
            let Some(place) = connection.place() else {
                continue;
            };
            let quiet = now.saturating_sub(connection.last_active.get());
            let is_undecided = !connection.is_decided() && quiet > UNDECIDED.as_nanos() as u64;
            let is_stalled = side
                .sends_since(place)
                .is_some_and(|since| now - since > stalled);
            if is_undecided || is_stalled {
                count(&driver.figures.cut_off, 1);
                connection.close();
            }
            side.bury(&driver, place);
        }
    }
}

/// Closes all of them.
pub fn close_all(driver: &Driver) {
    for connection in driver.connections.borrow().values() {
        connection.close();
    }
}
