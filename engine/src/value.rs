//! What a stored value says of itself: flags, and when it expires.
//!
//! The store moves values as opaque bytes. Only compaction looks inside, to drop what is expired by
//! the region's checkpointed clock, and only into this header:
//!
//! ```text
//! 0        1                 9
//! flags    expiry (u64, ms)  bytes …     when EXPIRES is set
//! flags    bytes …                       when it is not
//! ```
//!
//! A value of no bytes at all, or with a flag that this version does not know, has no expiry that
//! could be judged: it is kept, and its reader reports it.

use alloc::vec::Vec;

/// The value has an expiry.
pub const EXPIRES: u8 = 1;

/// The most that the header adds to a value.
pub const VALUE_HEADER_BYTES_MAX: usize = 9;

/// A value taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredValue<'a> {
    /// Unix milliseconds from which on the value is gone, if it ever is.
    pub expiry_ms: Option<u64>,
    /// What the user stored.
    pub bytes: &'a [u8],
}

/// The bytes are not a value of this format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedValue;

impl<'a> StoredValue<'a> {
    /// Appends the stored form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self.expiry_ms {
            None => out.push(0),
            Some(expiry_ms) => {
                out.push(EXPIRES);
                out.extend_from_slice(&expiry_ms.to_le_bytes());
            }
        }
        out.extend_from_slice(self.bytes);
    }

    /// Takes the stored form apart.
    pub fn decode(stored: &'a [u8]) -> Result<StoredValue<'a>, MalformedValue> {
        match stored.split_first() {
            Some((0, bytes)) => Ok(StoredValue {
                expiry_ms: None,
                bytes,
            }),
            Some((&EXPIRES, rest)) => {
                let (expiry, bytes) = rest.split_first_chunk::<8>().ok_or(MalformedValue)?;
                Ok(StoredValue {
                    expiry_ms: Some(u64::from_le_bytes(*expiry)),
                    bytes,
                })
            }
            _ => Err(MalformedValue),
        }
    }

    /// Whether a region whose clock reads `clock_ms` no longer sees the value.
    pub fn expired(&self, clock_ms: u64) -> bool {
        self.expiry_ms.is_some_and(|expiry| expiry <= clock_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded() {
        for expiry_ms in [None, Some(0), Some(77), Some(u64::MAX)] {
            for bytes in [&b""[..], b"x", &[1; 300]] {
                let value = StoredValue { expiry_ms, bytes };
                let mut stored = Vec::new();
                value.encode(&mut stored);
                assert!(stored.len() <= bytes.len() + VALUE_HEADER_BYTES_MAX);
                assert_eq!(StoredValue::decode(&stored), Ok(value));
            }
        }
    }

    #[test]
    fn a_value_expires_at_its_expiry_and_not_before() {
        let value = StoredValue {
            expiry_ms: Some(10),
            bytes: b"",
        };
        assert!(!value.expired(9));
        assert!(value.expired(10));
        let lasting = StoredValue {
            expiry_ms: None,
            bytes: b"",
        };
        assert!(!lasting.expired(u64::MAX));
    }

    #[test]
    fn cut_and_unknown_headers_are_malformed() {
        for stored in [&b""[..], &[1], &[1, 0, 0, 0, 0, 0, 0, 0], &[2], &[255, 1]] {
            assert_eq!(StoredValue::decode(stored), Err(MalformedValue));
        }
    }
}
