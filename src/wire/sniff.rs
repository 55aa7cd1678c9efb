//! Which protocol a connection speaks, by its first bytes.

use super::{native, peer};

/// So many bytes must be enough to tell.
pub const UNDECIDED_BYTES_MAX: usize = 8 << 10;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RESP, to [`super::resp`].
    Resp,
    /// HTTP/1.x, to [`super::http`].
    Http,
    /// Our own clients, to [`super::native`].
    Native,
    /// Another shard, to [`super::peer`].
    Peer,
}

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniffed {
    /// This is spoken.
    Is(Protocol),
    /// More bytes must come; none that came are to be thrown away.
    Undecided,
    /// Nothing that is spoken here, and why.
    Refused(&'static str),
}

/// What the first bytes of a connection say.
pub fn sniff(bytes: &[u8]) -> Sniffed {
    match bytes.first() {
        None => Sniffed::Undecided,
        Some(b'*') => Sniffed::Is(Protocol::Resp),
        Some(0x16) => Sniffed::Refused("TLS is not spoken here"),
        Some(first) if *first == native::greet::MAGIC[0] => magic(bytes),
        Some(b'\t' | b'\r' | b'\n' | b' '..=b'~') => text(bytes),
        Some(_) => Sniffed::Refused("an unknown protocol"),
    }
}

fn magic(bytes: &[u8]) -> Sniffed {
    for (magic, protocol) in [
        (native::greet::MAGIC, Protocol::Native),
        (peer::greet::MAGIC, Protocol::Peer),
    ] {
        let shown = bytes.len().min(magic.len());
        if bytes[..shown] == magic[..shown] {
            return match shown == magic.len() {
                true => Sniffed::Is(protocol),
                false => Sniffed::Undecided,
            };
        }
    }
    Sniffed::Refused("an unknown protocol")
}

fn text(bytes: &[u8]) -> Sniffed {
    if bytes.starts_with(b"PRI ") {
        return Sniffed::Refused("HTTP/2 and gRPC are not spoken here");
    }
    let seen = &bytes[..bytes.len().min(UNDECIDED_BYTES_MAX)];
    let Some(end) = seen.iter().position(|byte| *byte == b'\n') else {
        return match seen.len() < UNDECIDED_BYTES_MAX {
            true => Sniffed::Undecided,
            false => Sniffed::Refused("no line ends within 8 KiB"),
        };
    };
    let line = &seen[..end];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_http = line
        .split_last()
        .is_some_and(|(minor, rest)| minor.is_ascii_digit() && rest.ends_with(b" HTTP/1."));
    Sniffed::Is(match is_http {
        true => Protocol::Http,
        false => Protocol::Resp,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell() {
        let (is, refused) = (Sniffed::Is, Sniffed::Refused);
        for (bytes, expected) in [
            (&b"*1\r\n"[..], is(Protocol::Resp)),
            (b"PING\r\n", is(Protocol::Resp)),
            (b"\r\n", is(Protocol::Resp)),
            (b"GET key\r\n", is(Protocol::Resp)),
            (b"GET /metrics HTTP/1.1\r\n", is(Protocol::Http)),
            (b"HEAD / HTTP/1.0\n", is(Protocol::Http)),
            (b"\xC0RACLE\0N", is(Protocol::Native)),
            (b"\xC0RACLE\0P and more", is(Protocol::Peer)),
            (b"\xC0RACLE\0X", refused("an unknown protocol")),
            (b"\x16\x03\x01", refused("TLS is not spoken here")),
            (
                b"PRI * HTTP/2.0\r\n",
                refused("HTTP/2 and gRPC are not spoken here"),
            ),
            (b"\0", refused("an unknown protocol")),
            (b"\xFF", refused("an unknown protocol")),
        ] {
            assert_eq!(sniff(bytes), expected, "{}", bytes.escape_ascii());
            // Fewer bytes tell the same, or nothing yet.
            for end in 0..bytes.len() {
                let sniffed = sniff(&bytes[..end]);
                assert!(sniffed == Sniffed::Undecided || sniffed == expected);
            }
        }
        let long = [b'x'; UNDECIDED_BYTES_MAX];
        assert_eq!(sniff(&long[1..]), Sniffed::Undecided);
        assert_eq!(sniff(&long), refused("no line ends within 8 KiB"));
    }
}
