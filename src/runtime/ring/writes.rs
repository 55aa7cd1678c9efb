//! Log writes on the ring: what they need until they are done.
#![expect(
    clippy::disallowed_methods,
    reason = "how long a write takes is measured from here"
)]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use coracle_wal::Lsn;
use glommio::io::DmaBuffer;

use super::queue::{Done, Ring, What};
use crate::runtime::disk::{DirectFile, Failure};

/// A write under way.
struct Write {
    lsn: Lsn,
    began: Instant,
    buffer: DmaBuffer,
    /// Open as long as the kernel writes to it.
    file: Rc<DirectFile>,
    syncs: bool,
    /// How the write went, where a sync follows.
    written: Option<Result<(), Failure>>,
}

/// Log writes under way.
#[derive(Default)]
pub struct Writes {
    places: RefCell<Vec<Option<Write>>>,
    under_way: Cell<usize>,
}

/// A write that is over.
pub struct Written {
    /// The batch.
    pub lsn: Lsn,
    /// When it began.
    pub began: Instant,
    /// How many bytes it has.
    pub bytes: usize,
    /// Its file, for the failure's text.
    pub file: Rc<DirectFile>,
    /// Whether it is durable.
    pub outcome: Result<(), Failure>,
}

impl Writes {
    /// Begins a write.
    #[expect(unsafe_code, reason = "the buffer is handed to the kernel")]
    pub fn begin(
        &self,
        ring: &Ring,
        lsn: Lsn,
        file: Rc<DirectFile>,
        buffer: DmaBuffer,
        offset: u64,
        syncs: bool,
    ) {
        self.under_way.set(self.under_way.get() + 1);
        let mut places = self.places.borrow_mut();
        let free = places.iter().position(Option::is_none);
        let place = free.unwrap_or_else(|| {
            places.push(None);
            places.len() - 1
        });
        let fd = file.descriptor();
        let (bytes, length) = (buffer.as_bytes().as_ptr(), buffer.len() as u32);
        places[place] = Some(Write {
            lsn,
            began: Instant::now(),
            buffer,
            file,
            syncs,
            written: None,
        });
        // SAFETY: buffer and file stay in their place until the completion takes them out; the buffer's memory
        // does not move with it.
        unsafe { ring.write(fd, place as u32, bytes, length, offset, syncs) }
    }

    /// How many are under way.
    pub fn len(&self) -> usize {
        self.under_way.get()
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Something of a write has completed; the write, if it is over.
    pub fn complete(&self, done: Done) -> Option<Written> {
        let mut places = self.places.borrow_mut();
        let place = places.get_mut(done.place as usize)?;
        let write = place.as_mut()?;
        let length = write.buffer.len();
        let outcome = match done.what {
            What::Write => match done.result {
                code if code < 0 => Err(Failure::of_code(-code)),
                bytes if bytes as usize == length => Ok(()),
                // A write that ended short goes nowhere by itself: what is missing is not durable.
                _ => Err(Failure::of_code(libc::EIO)),
            },
            _ => match (done.result, write.written.take()) {
                (_, Some(Err(failure))) => Err(failure),
                (code, _) if code < 0 => Err(Failure::of_code(-code)),
                _ => Ok(()),
            },
        };
        if done.what == What::Write && write.syncs {
            write.written = Some(outcome);
            return None;
        }
        let write = place.take()?;
        self.under_way.set(self.under_way.get() - 1);
        Some(Written {
            lsn: write.lsn,
            began: write.began,
            bytes: length,
            file: write.file,
            outcome,
        })
    }
}
