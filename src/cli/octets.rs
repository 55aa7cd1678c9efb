//! Keys and values between the command line and the store: bytes, typed and shown as text.
//!
//! ```text
//! \xNN   one byte, by its two hexadecimal digits
//! \\ \n \r \t \0   a backslash, and the usual ones; \' and \" are taken as well
//! ```
//!
//! Everything else stands for itself. What is shown can be typed again. With `--raw` nothing is escaped, in
//! either direction.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use serde_json::{Map, Value};

use crate::cli::{Exit, Failure};

/// The first byte of every key of a user; system keys have another.
const USER: u8 = 1;

/// What the help of a command says about keys and values.
pub(super) const HELP: &str = "Keys and values are bytes. \\xNN is the byte of that hexadecimal number; \\\\, \\n, \\r, \\t and \\0 \
     are what they usually are. What is printed is escaped in the same way, so that it can be typed again. --raw \
     takes and prints bytes as they are. In JSON a key that is not UTF-8 is called key_hex, and a value \
     value_hex.\n\nWhat begins with a hyphen and is no number follows after --.";

/// What was typed, as bytes.
pub(super) fn typed(text: &OsStr, raw: bool) -> Result<Vec<u8>, Failure> {
    let bytes = text.as_bytes();
    if raw {
        return Ok(bytes.to_vec());
    }
    unescape(bytes).ok_or_else(|| {
        let why = format!(
            "'{}' has a backslash that begins no escape; type \\\\ for a backslash, \\xNN for a byte, or use --raw",
            text.to_string_lossy()
        );
        Failure::new(Exit::Usage, why)
    })
}

/// Bytes from text with escapes; nothing, where a backslash begins none.
pub(super) fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next()? {
            b'\\' => b'\\',
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'0' => 0,
            quote @ (b'\'' | b'"') => quote,
            b'x' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            _ => return None,
        });
    }
    Some(bytes)
}

/// Bytes as text that can be typed again.
pub(super) fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\0' => text.push_str("\\0"),
                other if other.is_control() => {
                    let mut bytes = [0; 4];
                    escape(other.encode_utf8(&mut bytes).as_bytes(), &mut text);
                }
                other => text.push(other),
            }
        }
        escape(chunk.invalid(), &mut text);
    }
    text
}

fn escape(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        text.push_str(&format!("\\x{byte:02x}"));
    }
}

/// Puts bytes into an object: as text under their name or, where they are none, in hexadecimal.
pub(super) fn put(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.into(), text.into()),
        Err(_) => {
            let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
            object.insert(format!("{name}_hex"), digits.collect::<String>().into())
        }
    };
}

/// A user's key as it is stored.
pub(super) fn stored(key: &[u8]) -> Vec<u8> {
    [&[USER], key].concat()
}

/// A stored key as the user named it.
pub(super) fn plain(stored: &[u8]) -> &[u8] {
    stored.strip_prefix(&[USER]).unwrap_or(stored)
}

/// The stored key behind all keys of users.
pub(super) fn end() -> Vec<u8> {
    vec![USER + 1]
}

/// The first key behind all that begin like this; none: there is none behind.
pub(super) fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut behind = prefix[..=last].to_vec();
    behind[last] += 1;
    Some(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_typed_again() {
        let every: Vec<u8> = (0..=255).collect();
        for bytes in [
            &b""[..],
            b"plain",
            b"C:\\new",
            "Größe\u{85}".as_bytes(),
            b"\xff\xc3",
            &every,
        ] {
            let text = shown(bytes);
            assert_eq!(
                typed(OsStr::new(&text), false).ok().as_deref(),
                Some(bytes),
                "{text}"
            );
        }
        assert_eq!(shown("Größe".as_bytes()), "Größe");
        assert_eq!(shown(b"a\xffb"), "a\\xffb");
        // A node's page escapes quotes as well.
        assert_eq!(
            unescape(br#"it\'s \"so\""#).as_deref(),
            Some(&br#"it's "so""#[..])
        );
    }

    #[test]
    fn what_escapes_nothing_is_refused() {
        for wrong in ["\\", "a\\q", "\\x", "\\x1", "\\xg0"] {
            let failure = typed(OsStr::new(wrong), false).expect_err(wrong);
            assert_eq!(failure.exit, Exit::Usage);
            assert_eq!(
                typed(OsStr::new(wrong), true).ok().as_deref(),
                Some(wrong.as_bytes())
            );
        }
    }

    #[test]
    fn a_prefix_ends_where_nothing_begins_like_it() {
        assert_eq!(behind(b"ab").as_deref(), Some(&b"ac"[..]));
        assert_eq!(behind(b"a\xff\xff").as_deref(), Some(&b"b"[..]));
        assert_eq!(behind(b"\xff"), None);
        assert_eq!(behind(b""), None);
    }
}
