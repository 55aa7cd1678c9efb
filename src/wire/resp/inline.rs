//! Commands typed by hand: words parted by blanks, with quotes as Redis understands them.

use super::parse::Span;

/// The quotes of a line are not closed, or a closing quote is not followed by a blank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unbalanced;

/// Takes a line apart. The words lie one after another in `plain`, without their quotes.
pub fn split(line: &[u8], plain: &mut Vec<u8>, spans: &mut Vec<Span>) -> Result<(), Unbalanced> {
    let mut at = 0;
    loop {
        while line.get(at).is_some_and(|byte| is_blank(*byte)) {
            at += 1;
        }
        if at == line.len() {
            return Ok(());
        }
        let start = plain.len();
        at = word(line, at, plain)?;
        spans.push(Span::new(start, plain.len()));
    }
}

fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0B || byte == 0
}

/// Takes one word off, and says where it ends.
fn word(line: &[u8], mut at: usize, plain: &mut Vec<u8>) -> Result<usize, Unbalanced> {
    loop {
        match line.get(at) {
            None => return Ok(at),
            Some(b'"') => return quoted(line, at + 1, plain),
            Some(b'\'') => return raw(line, at + 1, plain),
            Some(byte) if is_blank(*byte) => return Ok(at),
            Some(byte) => plain.push(*byte),
        }
        at += 1;
    }
}

/// What must stand behind a closing quote.
fn closed(line: &[u8], at: usize) -> Result<usize, Unbalanced> {
    match line.get(at) {
        Some(byte) if !is_blank(*byte) => Err(Unbalanced),
        _ => Ok(at),
    }
}

/// Between double quotes: with escapes.
fn quoted(line: &[u8], mut at: usize, plain: &mut Vec<u8>) -> Result<usize, Unbalanced> {
    loop {
        match line.get(at).ok_or(Unbalanced)? {
            b'"' => return closed(line, at + 1),
            b'\\' => match line.get(at + 1) {
                Some(b'x') if hex(line, at + 2).is_some() => {
                    plain.extend(hex(line, at + 2));
                    at += 3;
                }
                Some(escaped) => {
                    plain.push(match escaped {
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'b' => 8,
                        b'a' => 7,
                        other => *other,
                    });
                    at += 1;
                }
                None => plain.push(b'\\'),
            },
            byte => plain.push(*byte),
        }
        at += 1;
    }
}

/// Between single quotes: only the quote itself can be escaped.
fn raw(line: &[u8], mut at: usize, plain: &mut Vec<u8>) -> Result<usize, Unbalanced> {
    loop {
        match line.get(at).ok_or(Unbalanced)? {
            b'\'' => return closed(line, at + 1),
            b'\\' if line.get(at + 1) == Some(&b'\'') => {
                plain.push(b'\'');
                at += 1;
            }
            byte => plain.push(*byte),
        }
        at += 1;
    }
}

fn hex(line: &[u8], at: usize) -> Option<u8> {
    let digit = |at: usize| char::from(*line.get(at)?).to_digit(16);
    Some((digit(at)? * 16 + digit(at + 1)?) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Vec<String>, Unbalanced> {
        let (mut plain, mut spans) = (Vec::new(), Vec::new());
        split(line.as_bytes(), &mut plain, &mut spans)?;
        let word = |span: &Span| plain[span.range()].escape_ascii().to_string();
        Ok(spans.iter().map(word).collect())
    }

    #[test]
    fn lines_are_split_as_redis_splits_them() {
        for (line, expected) in [
            ("", &[][..]),
            ("  ping \t", &["ping"]),
            ("set k \"a b\"", &["set", "k", "a b"]),
            (r#"x "\x41\x4g\n\q""#, &["x", r"Ax4g\nq"]),
            (r"x 'it\'s' ''", &["x", r"it\'s", ""]),
            (r#"pre"quoted""#, &["prequoted"]),
        ] {
            let expected: Vec<String> = expected.iter().map(|word| word.to_string()).collect();
            assert_eq!(words(line), Ok(expected), "{line}");
        }
        for line in ["\"", "'", "\"a\"b", "'a'b", "x \"a\\"] {
            assert_eq!(words(line), Err(Unbalanced), "{line}");
        }
    }
}
