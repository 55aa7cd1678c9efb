//! How much CPU this thread, this process and everyone else took.
//!
//! What others took is read from `/proc/stat`: all time of all cores that was neither idle nor waiting
//! for a disk, less what this process used. It includes the kernel's own workers (those of the block
//! layer work for us, too) and the time that the host took away (`steal`). It comes in ticks of 10 ms,
//! so it means little for runs shorter than some 100 ms.

use std::time::{Duration, Instant};

fn clock(id: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live timespec that the call fills in.
    let outcome = unsafe { libc::clock_gettime(id, &mut time) };
    assert_eq!(outcome, 0, "the CPU clocks exist on every Linux");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The CPU time of the calling thread so far.
pub fn thread_cpu() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// The CPU time of all threads of this process so far, also of those that have ended.
pub fn process_cpu() -> Duration {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Confines the calling thread, and every thread that it starts from now on, to one core.
///
/// Call it first in `main`: background threads of libraries inherit it.
pub fn pin_process(core: usize) -> std::io::Result<()> {
    // SAFETY: a zeroed cpu_set_t is an empty set; CPU_SET checks the index against the set's size;
    // the call reads the set only.
    let outcome = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if outcome == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

/// Asks the kernel to drop the cached pages of a file (those that are clean).
pub fn forget_pages(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open for as long as the borrow lasts; the call touches no memory.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        code => Err(std::io::Error::from_raw_os_error(code)),
    }
}

/// Busy time of the whole machine since it was started, in seconds.
fn machine_busy_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let Some(line) = text.lines().next() else {
        return 0.0;
    };
    let ticks: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .flat_map(str::parse)
        .collect();
    // user nice system idle iowait irq softirq steal (guest time is part of user time).
    let busy: u64 = [0, 1, 2, 5, 6, 7]
        .iter()
        .map(|&field| ticks.get(field).copied().unwrap_or(0))
        .sum();
    busy as f64 / 100.0 // USER_HZ, fixed by the kernel's interface.
}

/// Measures own and foreign CPU from its creation on.
pub struct CpuMeter {
    start: Instant,
    thread: Duration,
    process: Duration,
    machine_seconds: f64,
}

impl CpuMeter {
    /// Begins to measure.
    pub fn start() -> Self {
        Self {
            machine_seconds: machine_busy_seconds(),
            thread: thread_cpu(),
            process: process_cpu(),
            start: Instant::now(),
        }
    }

    /// CPU of the calling thread (the one that called [`CpuMeter::start`]) since then.
    pub fn thread(&self) -> Duration {
        thread_cpu() - self.thread
    }

    /// CPU of this process since the start.
    pub fn process(&self) -> Duration {
        process_cpu() - self.process
    }

    /// CPU that others used since the start, in cores.
    pub fn foreign_cores(&self) -> f64 {
        let elapsed = self.start.elapsed().as_secs_f64();
        let foreign = machine_busy_seconds() - self.machine_seconds - self.process().as_secs_f64();
        if elapsed > 0.0 {
            (foreign / elapsed).max(0.0)
        } else {
            0.0
        }
    }
}

/// CPU that others use at present, in cores, watched over `window`.
pub fn foreign_cpu_cores_now(window: Duration) -> f64 {
    let meter = CpuMeter::start();
    std::thread::sleep(window);
    meter.foreign_cores()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_this_thread_is_its_own() {
        let meter = CpuMeter::start();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(50) {
            std::hint::black_box(thread_cpu());
        }
        assert!(meter.thread() > Duration::ZERO);
        assert!(meter.thread() <= begin.elapsed());
        assert!(meter.process() >= meter.thread() - Duration::from_micros(100));
    }
}
