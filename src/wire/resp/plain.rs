//! The command that most commands are, as clients send it: found by its look, without any words taken apart.
//!
//! ```text
//! *2\r\n$3\r\nGET\r\n$length\r\nkey\r\n
//! ```
//!
//! Whatever looks different goes the way of all commands ([`super::parse`]), and means the same there.

use super::command::USER;

const HEADS: [&[u8]; 2] = [b"*2\r\n$3\r\nGET\r\n$", b"*2\r\n$3\r\nget\r\n$"];

/// A length has no more digits.
const DIGITS_MAX: usize = 4;

/// The key of a `GET` at the front of `input`, and how many bytes the command takes up; none if it is another
/// command, is written in another way, or is not all there.
#[inline]
pub fn get(input: &[u8]) -> Option<(&[u8], usize)> {
    let head = HEADS[0].len();
    let start = input.get(..head)?;
    if start != HEADS[0] && start != HEADS[1] {
        return None;
    }
    let mut length = 0;
    for (place, byte) in input[head..].iter().take(DIGITS_MAX + 1).enumerate() {
        match byte {
            b'0' if length == 0 => return None,
            b'0'..=b'9' if place < DIGITS_MAX => length = length * 10 + usize::from(byte - b'0'),
            b'\r' if place > 0 => {
                let from = head + place + 2;
                let framed = input.get(from - 1..from + length + 2)?;
                let (feed, rest) = framed.split_first()?;
                let (key, _) = rest.split_at(length);
                // What stands behind a word is not looked at, as in `parse`.
                return (*feed == b'\n').then_some((key, from + length + 2));
            }
            _ => return None,
        }
    }
    None
}

/// The stored key of what a user calls so, in a buffer that is used again.
pub fn stored<'k>(user: &[u8], buffer: &'k mut Vec<u8>) -> &'k [u8] {
    buffer.clear();
    buffer.push(USER);
    buffer.extend_from_slice(user);
    buffer
}

#[cfg(test)]
mod tests {
    use super::super::parse::{Parsed, Parser};
    use super::*;
    use crate::shard::chance::Chance;

    /// What is found is what the parser finds, or nothing is.
    fn check(input: &[u8]) -> bool {
        let Some((key, consumed)) = get(input) else {
            return false;
        };
        let mut parser = Parser::new();
        assert_eq!(
            parser.parse(input),
            Ok(Parsed::Command { consumed }),
            "{}",
            input.escape_ascii()
        );
        let words: Vec<_> = parser.args(input).iter().collect();
        assert_eq!(words.len(), 2, "{}", input.escape_ascii());
        assert!(words[0].eq_ignore_ascii_case(b"get"));
        assert_eq!(words[1], key);
        true
    }

    #[test]
    fn what_is_found_is_what_the_parser_finds() {
        let seed = 0x6E7;
        let mut chance = Chance::new(seed);
        let mut found = 0;
        for round in 0..20_000 {
            let length = chance.between(0, 1100) as usize;
            let mut input = format!("*2\r\n$3\r\nGET\r\n${length}\r\n").into_bytes();
            input.extend((0..length).map(|_| chance.between(0, 255) as u8));
            input.extend_from_slice(b"\r\n*2\r\n");
            if round % 2 == 0 {
                let place = chance.between(0, 24.min(input.len() as u64 - 1)) as usize;
                input[place] = chance.between(0, 255) as u8;
            }
            if round % 3 == 0 {
                input.truncate(chance.between(0, input.len() as u64) as usize);
            }
            found += usize::from(check(&input));
        }
        assert!(found > 5_000, "seed {seed}: {found} were found");
        assert!(check(b"*2\r\n$3\r\nget\r\n$1\r\nk\r\n"));
        for other in [
            &b"*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n"[..],
            b"*3\r\n$3\r\nGET\r\n$1\r\nk\r\n",
            b"*2\r\n$3\r\nGET\r\n$01\r\nk\r\n",
            b"*2\r\n$3\r\nGET\r\n$99999\r\nk\r\n",
            b"*2\r\n$3\r\nGET\r\n$\r\n",
            b"*2\r\n$3\r\nGET\r\n$1\r\nk\r",
            b"",
        ] {
            assert!(!check(other), "{}", other.escape_ascii());
        }
    }
}
