//! A file that recovery reads from its start, piece by piece, and how far it has come in it.

use alloc::vec::Vec;

use crate::header::Live;
use crate::ids::Slot;
use crate::limits::BLOCK_BYTES;
use crate::recover::Need;

/// A file being read from its start.
#[derive(Debug)]
pub(crate) struct Scan {
    pub slot: Slot,
    /// What the newest header says of it; none for a file that is only searched.
    pub live: Option<Live>,
    /// What was fed and is not dealt with yet, a little more at most.
    pub buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    base: usize,
    pub issued: u32,
    pub fed: u32,
    /// Everything before is accepted, or searched.
    pub at: usize,
    pub done: bool,
    /// Why a listed segment is not there.
    pub bad: Option<&'static str>,
}

impl Scan {
    /// What was fed behind the place that was reached.
    pub fn rest(&self) -> &[u8] {
        self.buffer.get(self.at - self.base..).unwrap_or_default()
    }

    /// Drops what lies before that place, once it is worth moving the rest.
    fn forget_consumed(&mut self) {
        let consumed = (self.at - self.base).min(self.buffer.len());
        if consumed >= self.buffer.len() / 2 {
            self.buffer.drain(..consumed);
            self.base += consumed;
        }
    }

    pub fn new(slot: Slot, live: Option<Live>) -> Scan {
        Scan {
            slot,
            live,
            buffer: Vec::new(),
            base: 0,
            issued: 0,
            fed: 0,
            at: 0,
            done: false,
            bad: None,
        }
    }

    /// Takes the next piece of the file; it ends where fewer bytes come than were asked for.
    pub fn feed(&mut self, need: Need, bytes: &[u8], segment_bytes: u32) {
        debug_assert_eq!(self.fed, need.offset);
        self.forget_consumed();
        let bytes = &bytes[..bytes.len().min(need.len as usize)];
        self.buffer.extend_from_slice(bytes);
        self.fed = need.offset + need.len;
        if bytes.len() < need.len as usize {
            // The file ends here: nothing more can come of it.
            let whole = self.buffer.len() / BLOCK_BYTES * BLOCK_BYTES;
            self.buffer.truncate(whole);
            self.end(segment_bytes);
        }
    }

    /// Nothing more is to be read.
    pub fn end(&mut self, segment_bytes: u32) {
        self.issued = segment_bytes;
        self.fed = segment_bytes;
    }
}
