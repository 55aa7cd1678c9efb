//! Waits for conditions.

use std::time::{Duration, Instant};

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(10);

/// How long anything may take that must happen.
pub const LONG: Duration = Duration::from_secs(60);

/// Looks until there is something; what was waited for in vain otherwise.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T, String> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if begun.elapsed() > LONG {
            return Err(format!("waited {} s in vain: {what}", LONG.as_secs()));
        }
        std::thread::sleep(LOOK);
    }
}

/// Lets time pass: how long a node is down or stands still is part of what is done to it.
pub fn pass(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}
