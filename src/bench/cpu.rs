//! Who used the cores.
//!
//! What others used is read from `/proc/stat`: all time of all cores that was neither idle nor waiting for
//! a disk, less what the bench and its nodes used. Workers of the kernel count as others, also where they
//! work for us. It comes in ticks of 10 ms.

use std::time::{Duration, Instant};

use super::os;

/// Ticks in a second, fixed by the kernel's interface.
const TICKS: f64 = 100.0;

/// A moment, and what had been used by then.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    at: Instant,
    own: Duration,
    nodes: f64,
    machine: f64,
}

/// Cores in use between two moments.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// By this process.
    pub own: f64,
    /// By the nodes that it has started.
    pub nodes: f64,
    /// By everyone else.
    pub foreign: f64,
}

impl Moment {
    /// Now, with these processes as nodes.
    pub fn now(nodes: &[u32]) -> Moment {
        Moment {
            machine: machine_seconds(),
            nodes: nodes.iter().map(|pid| process_seconds(*pid)).sum(),
            own: os::process_cpu(),
            at: Instant::now(),
        }
    }

    /// What was used from here to there.
    pub fn until(&self, later: &Moment) -> Used {
        let seconds = (later.at - self.at).as_secs_f64().max(1e-6);
        let own = later.own.saturating_sub(self.own).as_secs_f64();
        let nodes = (later.nodes - self.nodes).max(0.0);
        let foreign = (later.machine - self.machine - own - nodes).max(0.0);
        Used {
            own: own / seconds,
            nodes: nodes / seconds,
            foreign: foreign / seconds,
        }
    }
}

/// Busy time of all cores since the machine was started.
fn machine_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .flat_map(str::parse)
        .collect();
    // user nice system idle iowait irq softirq steal
    let busy = [0, 1, 2, 5, 6, 7]
        .iter()
        .filter_map(|field| ticks.get(*field));
    busy.sum::<u64>() as f64 / TICKS
}

/// CPU time of a process with all its threads.
fn process_seconds(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is a name in brackets, which may hold anything.
    let Some((_, fields)) = text.rsplit_once(')') else {
        return 0.0;
    };
    let times = fields.split_whitespace().skip(11).take(2);
    times.flat_map(str::parse::<u64>).sum::<u64>() as f64 / TICKS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_work_is_not_foreign() {
        let begin = Moment::now(&[]);
        while begin.at.elapsed() < Duration::from_millis(100) {
            std::hint::black_box(os::thread_cpu());
        }
        let used = begin.until(&Moment::now(&[]));
        assert!(used.own > 0.1, "{used:?}");
        assert!(process_seconds(std::process::id()) > 0.0);
        assert!(machine_seconds() > 0.0);
    }
}
