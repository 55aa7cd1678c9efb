//! One segment alone, as a person looks at it: its header, its batches, and where the damage begins.

use crate::batch::Batch;
use crate::header::Header;
use crate::limits::BLOCK_BYTES;

/// What a walk meets, in order.
#[derive(Debug)]
pub enum Item<'a> {
    /// The first block.
    Header(Header),
    /// A batch that verifies and belongs to the segment, at its offset.
    Batch(u32, Batch<'a>),
}

/// Where a segment stops making sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where in the file.
    pub offset: u32,
    /// What does not hold.
    pub why: &'static str,
}

/// Walks a segment's bytes. The end of the batches is damage only where a batch of the same segment
/// follows behind it; one that begins there and does not verify is reported, since it may be either a
/// torn tail or damage, which one file alone cannot tell.
pub fn walk<'a>(bytes: &'a [u8], mut visit: impl FnMut(Item<'a>)) -> Result<(), Damage> {
    let header = Header::decode(bytes).map_err(|why| Damage { offset: 0, why })?;
    let (mut lsn, mut previous) = (header.first, header.previous);
    visit(Item::Header(header.clone()));
    let belongs = |batch: &Batch<'_>, at: usize| {
        let position = &batch.position;
        (position.log, position.sequence, position.opening)
            == (header.log, header.sequence, header.opening)
            && position.offset as usize == at
    };
    let mut at = BLOCK_BYTES;
    let why = loop {
        match Batch::decode(bytes.get(at..).unwrap_or_default()) {
            Ok(batch) if !belongs(&batch, at) => break "the batch here is of another segment",
            Ok(batch) if batch.position.lsn != lsn || batch.position.previous != previous => {
                return Err(Damage {
                    offset: at as u32,
                    why: "the batch here does not follow the one before",
                });
            }
            Ok(batch) => {
                (lsn.0, previous) = (lsn.0 + 1, batch.checksum);
                visit(Item::Batch(at as u32, batch));
                at += batch.len as usize;
            }
            Err(why) => break why,
        }
    };
    let mut step = at;
    while step + BLOCK_BYTES <= bytes.len() {
        let rest = &bytes[step..];
        if Batch::length_hint(rest).is_some() {
            let ours = Batch::decode(rest).is_ok_and(|batch| belongs(&batch, step));
            let torn = step == at && crate::header::u64_at(rest, 16) == header.sequence.0;
            if ours || torn {
                return Err(Damage {
                    offset: at as u32,
                    why,
                });
            }
        }
        step += BLOCK_BYTES;
    }
    Ok(())
}
