//! Requests and completions of the ring.
#![expect(
    unsafe_code,
    reason = "the kernel is handed addresses, which must stay valid until it is done with them"
)]

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{Ordering, fence};

use io_uring::{IoUring, Probe, cqueue, opcode, squeue, types};

use super::buffers::{Buffers, GROUP};

/// Requests that the queue holds before they are handed over.
const DEPTH: u32 = 1024;

/// Completions that may wait to be looked at.
const COMPLETIONS: u32 = 8192;

/// What a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Connections at a listening socket.
    Accept,
    /// Bytes on a connection.
    Receive,
    /// Bytes to a connection.
    Send,
    /// A write to the log.
    Write,
    /// The sync behind a write to the log.
    Sync,
    /// The end of another request.
    Cancel,
}

impl What {
    const ALL: [What; 6] = [
        What::Accept,
        What::Receive,
        What::Send,
        What::Write,
        What::Sync,
        What::Cancel,
    ];

    fn tag(self, place: u32) -> u64 {
        (self as u64) << 32 | u64::from(place)
    }
}

/// Something that has completed.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// What was asked for.
    pub what: What,
    /// By whom.
    pub place: u32,
    /// How it went: a count, or an error below zero.
    pub result: i32,
    /// Whether the same request completes again.
    pub more: bool,
    /// The buffer that the bytes are in.
    pub buffer: Option<u16>,
}

/// The ring of one executor's thread.
pub struct Ring {
    // Dropped first: the kernel must be done with the pool before that goes.
    io: RefCell<IoUring>,
    buffers: RefCell<Buffers>,
    event: OwnedFd,
    /// Calls of the kernel so far.
    pub enters: Cell<u64>,
}

impl Ring {
    /// A ring, if this kernel has all that it needs; what it lacks otherwise.
    pub fn new() -> io::Result<Ring> {
        let mut io = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(COMPLETIONS)
            .build(DEPTH)?;
        let mut probe = Probe::new();
        io.submitter().register_probe(&mut probe)?;
        let needed = [
            opcode::AcceptMulti::CODE,
            opcode::RecvMulti::CODE,
            opcode::Send::CODE,
            opcode::Write::CODE,
            opcode::Fsync::CODE,
            opcode::AsyncCancel::CODE,
        ];
        if needed.iter().any(|code| !probe.is_supported(*code)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let buffers = Buffers::register(&io)?;
        // SAFETY: no memory is handed over.
        let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if event < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let event = unsafe { OwnedFd::from_raw_fd(event) };
        io.submitter().register_eventfd(event.as_raw_fd())?;
        io.completion().disable_eventfd();
        Ok(Ring {
            io: RefCell::new(io),
            buffers: RefCell::new(buffers),
            event,
            enters: Cell::new(0),
        })
    }

    /// The kernel's own threads that carry out what it cannot do at once run on these cores, and not on this
    /// executor's, where they would wait for it.
    pub fn place_workers(&self, cores: &[usize]) -> io::Result<()> {
        // SAFETY: all bit patterns of the set are valid, zeros too.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        for core in cores {
            // SAFETY: a core that the set has no room for is left out.
            unsafe { libc::CPU_SET(*core, &mut set) }
        }
        self.io.borrow().submitter().register_iowq_aff(&set)
    }

    /// What is written to when something completes.
    pub fn event(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    /// Connections at a listening socket, one after the other.
    pub fn accept(&self, fd: RawFd, place: u32) {
        let entry = opcode::AcceptMulti::new(types::Fd(fd))
            .flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)
            .build();
        self.push(entry.user_data(What::Accept.tag(place)));
    }

    /// Bytes on a connection, as they come.
    pub fn receive(&self, fd: RawFd, place: u32) {
        let entry = opcode::RecvMulti::new(types::Fd(fd), GROUP).build();
        self.push(entry.user_data(What::Receive.tag(place)));
    }

    /// No more bytes of a connection for now.
    pub fn stop_receiving(&self, place: u32) {
        let entry = opcode::AsyncCancel::new(What::Receive.tag(place)).build();
        self.push(entry.user_data(What::Cancel.tag(place)));
    }

    /// Bytes to a connection.
    ///
    /// # Safety
    /// They stay where they are, and as they are, until this completes.
    pub unsafe fn send(&self, fd: RawFd, place: u32, bytes: *const u8, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(types::Fd(fd), bytes, length)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build();
        self.push(entry.user_data(What::Send.tag(place)));
    }

    /// A write to a file, and a sync behind it if that is wanted.
    ///
    /// # Safety
    /// The bytes stay where they are, and as they are, and the file open, until this completes.
    pub unsafe fn write(
        &self,
        fd: RawFd,
        place: u32,
        bytes: *const u8,
        length: u32,
        offset: u64,
        sync: bool,
    ) {
        let entry = opcode::Write::new(types::Fd(fd), bytes, length)
            .offset(offset)
            .build()
            .user_data(What::Write.tag(place));
        if !sync {
            return self.push(entry);
        }
        let sync = opcode::Fsync::new(types::Fd(fd))
            .flags(types::FsyncFlags::DATASYNC)
            .build()
            .user_data(What::Sync.tag(place));
        self.push_linked(entry.flags(squeue::Flags::IO_LINK), sync);
    }

    fn push(&self, entry: squeue::Entry) {
        let mut io = self.io.borrow_mut();
        // SAFETY: what the entry points at outlives it: callers promise that.
        while unsafe { io.submission().push(&entry) }.is_err() {
            self.hand_over(&io);
        }
    }

    /// Two entries that belong together are handed over together.
    fn push_linked(&self, first: squeue::Entry, second: squeue::Entry) {
        let mut io = self.io.borrow_mut();
        // SAFETY: what the entries point at outlives them: callers promise that.
        while unsafe {
            io.submission()
                .push_multiple(&[first.clone(), second.clone()])
        }
        .is_err()
        {
            self.hand_over(&io);
        }
    }

    fn hand_over(&self, io: &IoUring) {
        self.enters.set(self.enters.get() + 1);
        // What the kernel does not take now it takes at the next try: an interrupted call loses nothing.
        let _ = io.submit();
    }

    /// Hands over what was asked for, and takes what has completed. One call of the kernel, or none where
    /// there is neither.
    pub fn enter(&self, done: &mut Vec<Done>) {
        let mut io = self.io.borrow_mut();
        let (waiting, has_work) = {
            let queue = io.submission();
            (queue.len(), queue.taskrun() || queue.cq_overflow())
        };
        if waiting > 0 || has_work {
            self.enters.set(self.enters.get() + 1);
            const GET_EVENTS: u32 = 1;
            // SAFETY: the queue holds entries whose memory lives on; no mask of signals is given.
            let entered = unsafe {
                io.submitter()
                    .enter::<libc::sigset_t>(waiting as u32, 0, GET_EVENTS, None)
            };
            // Interrupted or busy: the entries stay in the queue for the next time.
            drop(entered);
        }
        done.extend(io.completion().filter_map(|entry| taken(&entry)));
    }

    /// Whether the event is written to when something completes. What completed before is found by
    /// [`Ring::has_something`].
    pub fn calls(&self, calls: bool) {
        let mut io = self.io.borrow_mut();
        let completions = io.completion();
        match calls {
            true => completions.enable_eventfd(),
            false => completions.disable_eventfd(),
        }
        drop(completions);
        // The kernel notes that there is something and then looks whether to tell; this is the other way round,
        // so one of both sees the other.
        fence(Ordering::SeqCst);
    }

    /// Whether something has completed, or will when the kernel is called; asks memory alone.
    pub fn has_something(&self) -> bool {
        let mut io = self.io.borrow_mut();
        io.submission().taskrun() || !io.completion().is_empty()
    }

    /// The bytes that came.
    pub fn with_bytes<T>(&self, buffer: u16, length: usize, take: impl FnOnce(&[u8]) -> T) -> T {
        take(self.buffers.borrow().bytes(buffer, length))
    }

    /// Bytes are dealt with.
    pub fn give_back(&self, buffer: u16) {
        self.buffers.borrow_mut().give_back(buffer);
    }

    /// The kernel may use what was given back.
    pub fn publish(&self) {
        self.buffers.borrow().publish();
    }
}

fn taken(entry: &cqueue::Entry) -> Option<Done> {
    let tag = entry.user_data();
    let what = *What::ALL.get((tag >> 32) as usize)?;
    Some(Done {
        what,
        place: tag as u32,
        result: entry.result(),
        more: cqueue::more(entry.flags()),
        buffer: cqueue::buffer_select(entry.flags()),
    })
}
