//! For the record: the same writes through an io_uring without glommio around it.

use crate::bare::write_zeros;
use crate::contender::{Contender, Stint, Stretch};
use crate::settings::Settings;
use crate::shape::{DEPTHS, Payload};
use coracle::runtime::disk::Durability;
use coracle_bench_harness::Sample;
use io_uring::{IoUring, opcode, squeue, types};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Instant;

/// Starts the loop for batches of so many bytes.
pub fn start(settings: &Settings, batch_bytes: usize, file_bytes: u64) -> Contender {
    let settings = settings.clone();
    Contender::start("io_uring", settings.cpu, move |stints, samples| {
        let mut ring = Ring::new(&settings, batch_bytes, file_bytes);
        for stint in stints {
            if samples.send(ring.run(stint)).is_err() {
                break;
            }
        }
    })
}

struct Ring {
    ring: IoUring,
    file: File,
    sync: bool,
    batch_bytes: usize,
    file_bytes: u64,
    buffers: Vec<Buffer>,
    offset: u64,
    payload: Payload,
}

impl Ring {
    fn new(settings: &Settings, batch_bytes: usize, file_bytes: u64) -> Ring {
        let depth = DEPTHS[DEPTHS.len() - 1];
        let path = settings.directory.join("ring");
        write_zeros(&path, file_bytes);
        let through = match settings.durability {
            Durability::WriteThrough => libc::O_DSYNC,
            Durability::WriteThenSync => 0,
        };
        let file = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_DIRECT | through)
            .open(&path)
            .expect("the file opens");
        // Completions are taken when the thread enters the ring, not by interrupting it.
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(64)
            .expect("the kernel has io_uring");
        Ring {
            ring,
            file,
            sync: settings.durability == Durability::WriteThenSync,
            batch_bytes,
            file_bytes,
            buffers: (0..depth).map(|_| Buffer::new(batch_bytes)).collect(),
            offset: 0,
            payload: Payload::new(),
        }
    }

    fn run(&mut self, stint: Stint) -> Sample {
        let mut stretch = Stretch::begin(stint);
        let mut begun = vec![Instant::now(); stint.in_flight];
        let mut under_way = 0;
        for (slot, begin) in begun.iter_mut().enumerate() {
            *begin = Instant::now();
            self.push(slot);
            under_way += 1;
        }
        while under_way > 0 {
            self.ring.submit_and_wait(1).expect("the ring works");
            let done: Vec<_> = self.ring.completion().collect();
            for completion in done {
                let slot = (completion.user_data() & 0xffff_ffff) as usize;
                let is_write = completion.user_data() >> 32 == 0;
                if is_write {
                    assert_eq!(
                        completion.result(),
                        self.batch_bytes as i32,
                        "a short write"
                    );
                    if self.sync {
                        continue;
                    }
                } else {
                    assert_eq!(completion.result(), 0, "the sync fails");
                }
                let now = Instant::now();
                stretch.record(now - begun[slot]);
                if now < stretch.end {
                    begun[slot] = now;
                    self.push(slot);
                } else {
                    under_way -= 1;
                }
            }
        }
        stretch.finish()
    }

    fn push(&mut self, slot: usize) {
        if self.offset + self.batch_bytes as u64 > self.file_bytes {
            self.offset = 0;
        }
        let offset = self.offset;
        self.offset += self.batch_bytes as u64;
        let buffer = self.buffers[slot].bytes_mut();
        buffer.copy_from_slice(self.payload.take(self.batch_bytes));
        let file = types::Fd(self.file.as_raw_fd());
        let write = opcode::Write::new(file, buffer.as_ptr(), self.batch_bytes as u32)
            .offset(offset)
            .build()
            .user_data(slot as u64);
        let sync = opcode::Fsync::new(file)
            .flags(types::FsyncFlags::DATASYNC)
            .build()
            .user_data(slot as u64 | 1 << 32);
        let write = if self.sync {
            write.flags(squeue::Flags::IO_LINK)
        } else {
            write
        };
        // SAFETY: the buffer and the file outlive the ring's use of them: a slot is filled again
        // only after its completion, and a stretch waits for all of them.
        unsafe {
            let mut queue = self.ring.submission();
            queue.push(&write).expect("the ring is deep enough");
            if self.sync {
                queue.push(&sync).expect("the ring is deep enough");
            }
        }
    }
}

/// A block-aligned buffer for direct writes.
struct Buffer {
    bytes: *mut u8,
    layout: Layout,
}

impl Buffer {
    fn new(bytes: usize) -> Buffer {
        let layout = Layout::from_size_align(bytes, 4096).expect("whole blocks");
        // SAFETY: the layout is not empty.
        let bytes = unsafe { alloc_zeroed(layout) };
        assert!(!bytes.is_null(), "out of memory");
        Buffer { bytes, layout }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: allocated with this size and initialized.
        unsafe { std::slice::from_raw_parts_mut(self.bytes, self.layout.size()) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.bytes, self.layout) };
    }
}
