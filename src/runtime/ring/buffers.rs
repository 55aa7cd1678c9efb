//! What the kernel puts received bytes into: a pool that it takes from, and that is filled up again.
//!
//! ```text
//! entry   0           8         12      14       16
//!         address     length    number  of the first entry: tail
//! ```
#![expect(
    unsafe_code,
    reason = "the pool is shared with the kernel, which is told its address"
)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;

/// Buffers of the pool; a power of two.
const COUNT: u16 = 512;

/// What one of them holds.
const BYTES: usize = 16 << 10;

const ENTRY_BYTES: usize = 16;
const TAIL_AT: usize = 14;

/// The pool of a ring.
#[derive(Debug)]
pub struct Buffers {
    entries: NonNull<u8>,
    memory: Vec<u8>,
    tail: u16,
}

/// Their group, as requests name it.
pub const GROUP: u16 = 0;

fn layout() -> Layout {
    Layout::from_size_align(usize::from(COUNT) * ENTRY_BYTES, 4096).expect("a size that fits")
}

impl Buffers {
    /// A pool that the ring knows.
    pub fn register(ring: &IoUring) -> io::Result<Buffers> {
        // SAFETY: the layout has a size.
        let entries = NonNull::new(unsafe { alloc_zeroed(layout()) });
        let entries = entries.ok_or(io::ErrorKind::OutOfMemory)?;
        let mut buffers = Buffers {
            entries,
            memory: vec![0; usize::from(COUNT) * BYTES],
            tail: 0,
        };
        // SAFETY: the entries are as many as is said, aligned to a page, and live until the ring is gone: see
        // `Ring`, which drops its ring first.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                entries.as_ptr() as u64,
                COUNT,
                GROUP,
                0,
            )?;
        }
        for number in 0..COUNT {
            buffers.give_back(number);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// The bytes that the kernel has put into a buffer.
    pub fn bytes(&self, number: u16, length: usize) -> &[u8] {
        let start = usize::from(number) * BYTES;
        &self.memory[start..start + length.min(BYTES)]
    }

    /// The bytes of a buffer are dealt with; the kernel gets it with the next [`Buffers::publish`].
    pub fn give_back(&mut self, number: u16) {
        let place = usize::from(self.tail & (COUNT - 1)) * ENTRY_BYTES;
        let address = self.memory.as_ptr() as u64 + u64::from(number) * BYTES as u64;
        let mut entry = [0; TAIL_AT];
        entry[..8].copy_from_slice(&address.to_le_bytes());
        entry[8..12].copy_from_slice(&(BYTES as u32).to_le_bytes());
        entry[12..].copy_from_slice(&number.to_le_bytes());
        // SAFETY: the place is inside the entries; the kernel reads none behind the tail that it was told, and
        // the tail itself, which shares the first entry's memory, is not written here.
        unsafe {
            std::ptr::copy_nonoverlapping(
                entry.as_ptr(),
                self.entries.as_ptr().add(place),
                TAIL_AT,
            );
        }
        self.tail = self.tail.wrapping_add(1);
    }

    /// The kernel may take all that was given back.
    pub fn publish(&self) {
        // SAFETY: the tail is an aligned 16-bit number inside the first entry, written by this thread alone.
        let tail = unsafe { AtomicU16::from_ptr(self.entries.as_ptr().add(TAIL_AT).cast()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and the ring that knew it is gone.
        unsafe { dealloc(self.entries.as_ptr(), layout()) }
    }
}
