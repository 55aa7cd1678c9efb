//! How long nobody is answered, as clients see it.

/// What writes saw of faults.
#[derive(Debug, Default)]
pub struct Outages {
    /// Milliseconds from a fault to the first answer to a write that was begun behind it.
    waits: Vec<u64>,
}

impl Outages {
    /// A fault at a moment, and when writes were begun and answered.
    pub fn learn(&mut self, at: u64, acks: &[(u64, u64)]) {
        let behind = acks.iter().filter(|(invoked, _)| *invoked >= at);
        if let Some(first) = behind.map(|(_, returned)| *returned).min() {
            self.waits.push((first - at) / 1_000_000);
        }
    }

    /// Half of them, all but one in a hundred, and all were over after so many milliseconds.
    pub fn summary(&mut self) -> String {
        self.waits.sort_unstable();
        let count = self.waits.len();
        let at = |percent: usize| {
            self.waits
                .get((count * percent / 100).min(count.max(1) - 1))
        };
        format!(
            "{count} times, p50 {} ms, p99 {} ms, max {} ms",
            at(50).unwrap_or(&0),
            at(99).unwrap_or(&0),
            at(100).unwrap_or(&0)
        )
    }
}
