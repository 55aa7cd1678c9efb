//! The manifest as a person looks at it: every record of both halves, up to the first damage.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::manifest::record::{self, BLOCK_BYTES, Kind};
use crate::manifest::{Corrupt, Manifest, decode_edits, decode_state};

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkedRecord {
    /// Where in the file.
    pub offset: u64,
    /// Of which generation.
    pub generation: u64,
    /// Which record.
    pub number: u64,
    /// Whether it is a whole state, or edits.
    pub is_state: bool,
    /// What it says, a line each.
    pub lines: Vec<String>,
}

/// Visits the records of both halves, then judges the file as an opening would.
pub fn walk(file: &[u8], mut visit: impl FnMut(WalkedRecord)) -> Result<(), Corrupt> {
    let half_bytes = file.len() / 2 / BLOCK_BYTES * BLOCK_BYTES;
    let mut store = None;
    for half in 0..2 {
        let bytes = &file[half * half_bytes..(half + 1) * half_bytes];
        let mut at = 0;
        let mut generation = None;
        while let Ok(record) = record::read_pair(bytes, at, |position| {
            generation.is_none_or(|generation| position.generation == generation)
        }) {
            let offset = (half * half_bytes + at) as u64;
            let corrupt = |why| Corrupt { offset, why };
            let lines = match record.kind {
                Kind::State => {
                    let state = decode_state(record.body).map_err(corrupt)?;
                    let tables = state.version.tables();
                    let mut lines = Vec::new();
                    lines.push(alloc::format!(
                        "state: {} tables, {} regions, rotation {}, next seq {}, table limit {}",
                        tables.len(),
                        state.ledger.progress.len(),
                        state.ledger.rotation.0,
                        state.ledger.next_seq.0,
                        state.ledger.table_limit.0
                    ));
                    for (level, slice) in state.version.slices() {
                        let keys = crate::edit::Keys(&slice.range).to_string();
                        lines.push(alloc::format!(
                            "L{level}: {}{keys}",
                            slice.table.meta.number.0
                        ));
                    }
                    for (region, at) in state.ledger.progress.iter() {
                        lines.push(alloc::format!(
                            "region {} peer {}: index {}, clock {}",
                            region.0,
                            at.peer.0,
                            at.index.0,
                            at.clock.0
                        ));
                    }
                    lines
                }
                Kind::Edits => {
                    let (_, edits) = decode_edits(record.body).map_err(corrupt)?;
                    edits.iter().map(|edit| edit.to_string()).collect()
                }
            };
            generation = Some(record.position.generation);
            store = Some(record.position.store);
            visit(WalkedRecord {
                offset,
                generation: record.position.generation,
                number: record.position.number,
                is_state: record.kind == Kind::State,
                lines,
            });
            at += 2 * record.copy_bytes;
        }
    }
    match store {
        Some(store) => Manifest::recover(store, file).map(drop),
        None if file.iter().all(|byte| *byte == 0) && !file.is_empty() => Ok(()),
        None => Err(Corrupt {
            offset: 0,
            why: "no record of a manifest verifies",
        }),
    }
}
