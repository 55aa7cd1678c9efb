//! Where memory comes from: small pieces, which come and go for every request on one thread, from mimalloc, and
//! the rest from the system, which gives the same large pieces out again and again
//! (`docs/decisions/0008-small-memory-from-mimalloc.md`).

use std::alloc::{GlobalAlloc, Layout, System};

use mimalloc::MiMalloc;

/// No small piece is longer.
const SMALL: usize = 1 << 10;

/// The memory of our programs.
#[derive(Debug)]
pub struct Memory;

fn is_small(bytes: usize) -> bool {
    bytes <= SMALL
}

// SAFETY: whoever gives a piece back says how long it is, so it goes to where it came from. Everything else is
// passed on unchanged.
#[expect(unsafe_code, reason = "an allocator cannot be written without")]
unsafe impl GlobalAlloc for Memory {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match is_small(layout.size()) {
            // SAFETY: as promised to this function.
            true => unsafe { MiMalloc.alloc(layout) },
            // SAFETY: the same.
            false => unsafe { System.alloc(layout) },
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match is_small(layout.size()) {
            // SAFETY: as promised to this function.
            true => unsafe { MiMalloc.alloc_zeroed(layout) },
            // SAFETY: the same.
            false => unsafe { System.alloc_zeroed(layout) },
        }
    }

    #[inline]
    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        match is_small(layout.size()) {
            // SAFETY: a piece of this length came from there.
            true => unsafe { MiMalloc.dealloc(piece, layout) },
            // SAFETY: the same.
            false => unsafe { System.dealloc(piece, layout) },
        }
    }

    #[inline]
    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        match (is_small(layout.size()), is_small(bytes)) {
            // SAFETY: a piece of this length came from there, and stays there.
            (true, true) => unsafe { MiMalloc.realloc(piece, layout, bytes) },
            // SAFETY: the same.
            (false, false) => unsafe { System.realloc(piece, layout, bytes) },
            // SAFETY: the caller promises that the new length is not zero and fits the alignment. The new piece does
            // not overlap the old one, and both are at least as long as what is copied.
            _ => unsafe {
                let moved = self.alloc(Layout::from_size_align_unchecked(bytes, layout.align()));
                if !moved.is_null() {
                    piece.copy_to_nonoverlapping(moved, layout.size().min(bytes));
                    self.dealloc(piece, layout);
                }
                moved
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "pieces are asked for by hand")]
    fn a_piece_keeps_what_it_holds_as_it_grows_and_shrinks() {
        let layout = |bytes| Layout::from_size_align(bytes, 8).expect("a layout");
        // SAFETY: each piece is written before it is read, within its length, and given back with that length.
        unsafe {
            let mut bytes = 16;
            let mut piece = Memory.alloc_zeroed(layout(bytes));
            for (step, next) in [SMALL, SMALL + 1, 1 << 20, SMALL + 1, SMALL, 16]
                .into_iter()
                .enumerate()
            {
                piece.add(step).write(step as u8 + 1);
                piece = Memory.realloc(piece, layout(bytes), next);
                bytes = next;
                let held: Vec<u8> = (0..=step).map(|place| piece.add(place).read()).collect();
                assert_eq!(held, (1..=step as u8 + 1).collect::<Vec<_>>());
            }
            Memory.dealloc(piece, layout(bytes));
        }
    }
}
