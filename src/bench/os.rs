//! What is asked of the kernel: readiness of many sockets, cores, CPU time.
#![expect(
    unsafe_code,
    reason = "the calls of the kernel that std has no words for"
)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// Sockets that are told of at once.
const EVENTS_MAX: usize = 512;

/// Tells which sockets have changed since they were last told of.
pub struct Poll {
    poll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Poll {
    /// Of no sockets yet.
    pub fn new() -> io::Result<Poll> {
        // SAFETY: no memory is handed over; the descriptor is new, and nobody else has it.
        let poll = unsafe {
            let poll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            if poll < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(poll)
        };
        let events = vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX];
        Ok(Poll { poll, events })
    }

    /// From now on tells of a socket, by a number.
    pub fn add(&self, socket: RawFd, number: usize) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32,
            u64: number as u64,
        };
        let fd = self.poll.as_raw_fd();
        // SAFETY: the event outlives the call, which copies it.
        match unsafe { libc::epoll_ctl(fd, libc::EPOLL_CTL_ADD, socket, &mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Waits until a socket has changed or the time is over; how many have.
    pub fn wait(&mut self, patience: Duration) -> io::Result<usize> {
        let time = libc::timespec {
            tv_sec: patience.as_secs() as libc::time_t,
            tv_nsec: patience.subsec_nanos().into(),
        };
        // SAFETY: the events and the time outlive the call, and it is told how many events there are;
        // no signals are masked.
        let ready = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.poll.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.len() as libc::c_int,
                &raw const time,
                std::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        match usize::try_from(ready) {
            Ok(ready) => Ok(ready),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                error => Err(error),
            },
        }
    }

    /// The number of a socket that has changed.
    pub fn number(&self, place: usize) -> usize {
        self.events[place].u64 as usize
    }
}

/// Timers of this thread end when they should, and not up to 50 µs later.
pub fn exact_timers() {
    // SAFETY: no memory is handed over.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0);
    }
}

/// The cores that this process may use.
pub fn cores() -> Vec<usize> {
    // SAFETY: a zeroed set is an empty one; the call fills it, and is told how large it is; the index is
    // below what the set holds.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) != 0 {
            return Vec::new();
        }
        (0..libc::CPU_SETSIZE as usize)
            .filter(|core| libc::CPU_ISSET(*core, &set))
            .collect()
    }
}

/// Confines the calling thread to some cores.
pub fn pin(cores: &[usize]) -> io::Result<()> {
    // SAFETY: as above; the call reads the set only.
    let outcome = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for core in cores
            .iter()
            .filter(|core| **core < libc::CPU_SETSIZE as usize)
        {
            libc::CPU_SET(*core, &mut set);
        }
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    match outcome {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The CPU time of the calling thread so far.
pub fn thread_cpu() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// The CPU time of this process so far.
pub fn process_cpu() -> Duration {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock(id: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the call fills a timespec that outlives it.
    match unsafe { libc::clock_gettime(id, &mut time) } {
        0 => Duration::new(time.tv_sec as u64, time.tv_nsec as u32),
        _ => Duration::ZERO,
    }
}

/// Allows this process so many open files, if it may.
pub fn allow_files(wanted: u64) -> bool {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limit outlives both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return false;
        }
        if limit.rlim_cur >= wanted {
            return true;
        }
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max >= wanted
    }
}

/// What is started goes with the thread that starts it, however that ends.
pub fn end_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec only this one call is made, which is safe after a fork and touches
    // no memory.
    unsafe {
        command.pre_exec(
            || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            },
        );
    }
}
