//! A page that a node tells over HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::runtime::address::Address;

/// No page is longer.
const PAGE_BYTES_MAX: u64 = 64 << 20;

/// What `/status` of a node says, or why it is not to be had.
pub(super) fn status(address: &Address, patience: Duration) -> Result<Value, String> {
    let body = fetch(address, "/status", patience)?;
    serde_json::from_str(&body).map_err(|error| format!("its /status is not JSON: {error}"))
}

fn fetch(address: &Address, path: &str, patience: Duration) -> Result<String, String> {
    let at = address.resolve(address.port)?;
    let told = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&at, patience).map_err(told)?;
    stream.set_read_timeout(Some(patience)).map_err(told)?;
    stream.set_write_timeout(Some(patience)).map_err(told)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        address.host
    );
    stream.write_all(request.as_bytes()).map_err(told)?;
    let mut answer = String::new();
    let read = stream.take(PAGE_BYTES_MAX).read_to_string(&mut answer);
    read.map_err(told)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or("its answer is no HTTP")?;
    let first = head.lines().next().unwrap_or_default();
    match first.split(' ').nth(1) {
        Some("200") => Ok(body.to_string()),
        _ => Err(format!("it answers {first}")),
    }
}
