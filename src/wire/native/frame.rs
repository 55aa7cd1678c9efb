//! How long a frame is.

use crate::shard::codec::Malformed;

/// No frame is longer, with everything in it.
pub const FRAME_BYTES_MAX: usize = 2 << 20;

/// How bodies are archived.
pub(super) const VERSION: u8 = 4;

/// The bytes of a request before its body.
pub(super) const ASK_BYTES: usize = 56;

/// The bytes of an answer before its body.
pub(super) const ANSWER_BYTES: usize = 16;

/// How long the frame at the front is, with everything in it; none as long as that is not known.
pub fn length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some(length) = bytes.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*length) as usize;
    match (ANSWER_BYTES - 4..=FRAME_BYTES_MAX - 4).contains(&length) {
        true => Ok(Some(4 + length)),
        false => Err(Malformed("a frame of no possible length")),
    }
}

/// Writes the length of the frame that begins at `start` and ends here.
pub(super) fn close(out: &mut [u8], start: usize) {
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}
