//! What is written: short texts that are unique, with a tail that follows from them.

/// The longest tail.
const TAIL_MAX: u64 = 6000;

fn tail(text: &[u8]) -> usize {
    let mixed = text.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    match mixed >> 60 {
        0..12 => 0,
        _ => (mixed >> 20) as usize % TAIL_MAX as usize,
    }
}

/// The value that stands for a text; a number stands for itself.
pub fn expand(text: &[u8]) -> Vec<u8> {
    let mut value = text.to_vec();
    if text.contains(&b'/') {
        value.resize(text.len() + tail(text), b'.');
    }
    value
}

/// The text that a value stands for; what is wrong with it otherwise.
pub fn shrink(value: &[u8]) -> Result<Vec<u8>, String> {
    let end = value.iter().rposition(|byte| *byte != b'.');
    let text = &value[..end.map_or(0, |end| end + 1)];
    match expand(text) == value {
        true => Ok(text.to_vec()),
        false => Err(format!(
            "a value of {} bytes that nobody wrote: {}",
            value.len(),
            text.escape_ascii()
        )),
    }
}
