//! Replies become bytes, as RESP2 or as RESP3.

use super::number;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// What every client understands.
    #[default]
    V2,
    /// What a client asks for with `HELLO 3`.
    V3,
}

/// Appends replies.
#[derive(Debug)]
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
    version: Version,
}

impl<'o> Writer<'o> {
    /// A writer that appends to `out`.
    pub fn new(out: &'o mut Vec<u8>, version: Version) -> Writer<'o> {
        Writer { out, version }
    }

    /// What it writes.
    pub fn version(&self) -> Version {
        self.version
    }

    /// How many bytes there are to send.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Writes another version from now on.
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// A short text without a line's end.
    pub fn simple(&mut self, text: &str) {
        self.out.push(b'+');
        self.line(text.as_bytes());
    }

    /// An error: its first word says of which kind.
    pub fn error(&mut self, text: &str) {
        self.out.push(b'-');
        self.line(text.as_bytes());
    }

    /// A text, whatever is in it.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.head(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A text that is to be shown as it is.
    pub fn verbatim(&mut self, text: &[u8]) {
        match self.version {
            Version::V2 => self.bulk(text),
            Version::V3 => {
                self.head(b'=', text.len() + 4);
                self.out.extend_from_slice(b"txt:");
                self.out.extend_from_slice(text);
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// A text, or that there is none.
    pub fn optional(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// That there is nothing.
    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.version {
            Version::V2 => b"$-1\r\n".as_slice(),
            Version::V3 => b"_\r\n",
        });
    }

    /// A number.
    pub fn integer(&mut self, number: i64) {
        self.out.push(b':');
        number::put(self.out, number);
        self.out.extend_from_slice(b"\r\n");
    }

    /// So many replies follow, which belong together.
    pub fn array(&mut self, len: usize) {
        self.head(b'*', len);
    }

    /// So many pairs of replies follow, names and values.
    pub fn map(&mut self, len: usize) {
        match self.version {
            Version::V2 => self.head(b'*', len * 2),
            Version::V3 => self.head(b'%', len),
        }
    }

    fn head(&mut self, kind: u8, len: usize) {
        self.out.push(kind);
        number::put(self.out, len as i64);
        self.out.extend_from_slice(b"\r\n");
    }

    /// What ends at the end of the line must not hold one.
    fn line(&mut self, text: &[u8]) {
        let at = self.out.len();
        self.out.extend_from_slice(text);
        for byte in &mut self.out[at..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        self.out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_differ_by_version_where_they_must() {
        for (version, expected) in [
            (
                Version::V2,
                "+OK\r\n-ERR a b\r\n$1\r\nx\r\n$1\r\ny\r\n$-1\r\n:-7\r\n*2\r\n*4\r\n",
            ),
            (
                Version::V3,
                "+OK\r\n-ERR a b\r\n$1\r\nx\r\n=5\r\ntxt:y\r\n_\r\n:-7\r\n*2\r\n%2\r\n",
            ),
        ] {
            let mut out = Vec::new();
            let mut writer = Writer::new(&mut out, version);
            writer.simple("OK");
            writer.error("ERR a\nb");
            writer.bulk(b"x");
            writer.verbatim(b"y");
            writer.optional(None);
            writer.integer(-7);
            writer.array(2);
            writer.map(2);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
