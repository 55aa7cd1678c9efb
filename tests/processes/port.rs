//! Ports that nobody uses.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below those that the kernel gives to whoever connects, so that a restart finds its own free.
const FIRST: u16 = 12_000;
const COUNT: u16 = 16_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// The first of so many ports in a row that are free.
pub fn free_row(length: u16) -> u16 {
    let start = (std::process::id() % u32::from(COUNT / 16)) as u16 * 16;
    loop {
        let step = NEXT.fetch_add(length, Ordering::Relaxed);
        let first = FIRST + (start + step) % COUNT;
        let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (first..first + length).all(is_free) {
            return first;
        }
    }
}
