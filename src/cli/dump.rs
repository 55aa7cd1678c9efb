//! `coracle dump`: what is in a file, line by line, up to the first damage.
//!
//! As text or, with `--json`, as one object per line. Ends with 14 and the place where a file stops
//! making sense; everything before that place is printed.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use coracle_engine::record::Kind;
use coracle_engine::table::{Item as TableItem, TableWalk};
use coracle_wal::batch::{Found, META_RESET, META_TOMBSTONE};
use coracle_wal::dump::{Item, walk};
use coracle_wal::header::OPEN;
use serde_json::{Value, json};

use crate::cli::mapped::map;
use crate::cli::{Exit, Failure};

/// What kind of file.
#[derive(Subcommand)]
pub enum Dump {
    /// A segment of the log: its header, batches and records
    Wal(Source),
    /// A table of the state store: its footer, blocks and records
    Table(Source),
    /// The manifest of the state store: its states and edits
    Manifest(Source),
}

/// Which file, and how to print it.
#[derive(Args)]
pub struct Source {
    /// The file
    path: PathBuf,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
    /// Only headers, batches and blocks, not what they hold
    #[arg(long)]
    brief: bool,
}

/// Prints the file.
pub(super) fn run(dump: Dump) -> Result<(), Failure> {
    match dump {
        Dump::Wal(source) => print(&source, dump_wal),
        Dump::Table(source) => print(&source, dump_table),
        Dump::Manifest(source) => print(&source, dump_manifest),
    }
}

/// A line for a person and the same for a program.
type Line<'a> = dyn FnMut(&str, Value) + 'a;

fn print(
    source: &Source,
    dump: impl Fn(&[u8], bool, &mut Line<'_>) -> Result<(), (u64, String)>,
) -> Result<(), Failure> {
    let bytes = map(&source.path)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut broken = None;
    let outcome = dump(&bytes, source.brief, &mut |text, value| {
        let line = if source.json {
            value.to_string()
        } else {
            text.to_string()
        };
        if let Err(error) = writeln!(out, "{line}") {
            broken.get_or_insert(error);
        }
    });
    let flushed = out.flush();
    if let Some(error) = broken.or(flushed.err()) {
        // A reader that has seen enough, such as `head`, is not a failure.
        return match error.kind() {
            io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(Failure::new(
                Exit::FailedWrite,
                format!("standard output: {error}"),
            )),
        };
    }
    outcome.map_err(|(offset, why)| damaged(&source.path, offset, &why))
}

fn damaged(path: &Path, offset: u64, why: &str) -> Failure {
    let path = path.display();
    Failure::new(
        Exit::Corruption,
        format!("{path}: damaged at offset {offset}: {why}"),
    )
}

fn dump_wal(bytes: &[u8], brief: bool, line: &mut Line<'_>) -> Result<(), (u64, String)> {
    if !bytes.is_empty() && bytes.iter().all(|byte| *byte == 0) {
        line(
            "a segment that was never written to",
            json!({ "kind": "unwritten" }),
        );
        return Ok(());
    }
    let walked = walk(bytes, |item| match item {
        Item::Header(header) => {
            line(
                &format!(
                    "segment {} of log {:016x}: opening {}, slot {}, first lsn {}, durable lsn {}, {} live",
                    header.sequence,
                    header.log.0,
                    header.opening,
                    header.slot,
                    header.first,
                    header.durable,
                    header.live.len()
                ),
                json!({
                    "kind": "header", "log": format!("{:016x}", header.log.0),
                    "segment": header.sequence.0, "opening": header.opening, "slot": header.slot.0,
                    "first_lsn": header.first.0, "durable_lsn": header.durable.0,
                    "segment_bytes": header.segment_bytes,
                }),
            );
            for live in &header.live {
                let last = if live.last == OPEN {
                    "open".to_string()
                } else {
                    live.last.to_string()
                };
                line(
                    &format!(
                        "  live segment {}: opening {}, slot {}, lsn {} to {last}",
                        live.sequence, live.opening, live.slot, live.first
                    ),
                    json!({
                        "kind": "live", "segment": live.sequence.0, "opening": live.opening,
                        "slot": live.slot.0, "first_lsn": live.first.0,
                        "last_lsn": (live.last != OPEN).then_some(live.last.0),
                    }),
                );
            }
        }
        Item::Batch(offset, batch) => {
            line(
                &format!(
                    "batch {} at {offset}: {} bytes, durable lsn {}, checksum {:08x}",
                    batch.position.lsn, batch.len, batch.position.durable, batch.checksum
                ),
                json!({
                    "kind": "batch", "lsn": batch.position.lsn.0, "offset": offset,
                    "bytes": batch.len, "durable_lsn": batch.position.durable.0,
                    "checksum": batch.checksum,
                }),
            );
            if !brief {
                batch.for_each(|found| record(found, line));
            }
        }
    });
    walked.map_err(|damage| (u64::from(damage.offset), damage.why.to_string()))
}

fn record(found: Found<'_>, line: &mut Line<'_>) {
    match found {
        Found::Entry {
            region,
            index,
            term,
            payload,
            ..
        } => line(
            &format!(
                "  region {region} entry {index} term {term}: {}",
                bytes_of(payload)
            ),
            json!({
                "kind": "entry", "region": region.0, "index": index, "term": term,
                "bytes": payload.len(),
            }),
        ),
        Found::HardState { region, payload } => line(
            &format!("  region {region} hard state: {}", bytes_of(payload)),
            json!({ "kind": "hard_state", "region": region.0, "bytes": payload.len() }),
        ),
        Found::Meta {
            region,
            flags,
            truncated,
            payload,
        } => {
            let (reset, tombstone) = (flags & META_RESET != 0, flags & META_TOMBSTONE != 0);
            line(
                &format!(
                    "  region {region} meta: truncated at {} term {}{}{}: {}",
                    truncated.0,
                    truncated.1,
                    if reset { ", reset" } else { "" },
                    if tombstone { ", tombstone" } else { "" },
                    bytes_of(payload)
                ),
                json!({
                    "kind": "meta", "region": region.0, "truncated_index": truncated.0,
                    "truncated_term": truncated.1, "reset": reset, "tombstone": tombstone,
                    "bytes": payload.len(),
                }),
            );
        }
    }
}

fn dump_table(bytes: &[u8], brief: bool, line: &mut Line<'_>) -> Result<(), (u64, String)> {
    let damage =
        |corrupt: coracle_engine::table::Corrupt| (corrupt.offset, corrupt.why.to_string());
    let mut walk = TableWalk::new(None, bytes).map_err(damage)?;
    while let Some(item) = walk.next() {
        match item.map_err(damage)? {
            TableItem::Footer(footer) => {
                let meta = footer.meta(coracle_engine::record::KeyRange::all(), None);
                line(
                    &format!(
                        "table {}: {} records, {} of them deletes, {} range tombstones, seq {} to {}",
                        meta.number.0,
                        meta.entries,
                        meta.deletes,
                        meta.range_tombstones,
                        meta.min_seq.0,
                        meta.max_seq.0
                    ),
                    json!({
                        "kind": "table", "number": meta.number.0, "records": meta.entries,
                        "deletes": meta.deletes, "range_tombstones": meta.range_tombstones,
                        "min_seq": meta.min_seq.0, "max_seq": meta.max_seq.0,
                        "raw_bytes": meta.raw_bytes, "stored_bytes": meta.stored_bytes,
                    }),
                );
            }
            TableItem::Tombstone(tombstone) => {
                let limit = match tombstone.limit {
                    [] => "the end".to_string(),
                    limit => escaped(limit),
                };
                line(
                    &format!(
                        "  deleted {} to {limit} at seq {}",
                        escaped(tombstone.start),
                        tombstone.seq.0
                    ),
                    json!({
                        "kind": "range_tombstone", "start": escaped(tombstone.start),
                        "limit": escaped(tombstone.limit), "seq": tombstone.seq.0,
                    }),
                );
            }
            TableItem::Block {
                place,
                compressed,
                records,
            } => line(
                &format!(
                    "block {} at {}: {} bytes, {records} records{}",
                    place.number,
                    place.offset,
                    place.length,
                    if compressed { ", compressed" } else { "" }
                ),
                json!({
                    "kind": "block", "block": place.number, "offset": place.offset,
                    "bytes": place.length, "records": records, "compressed": compressed,
                }),
            ),
            TableItem::Record(_) if brief => {}
            TableItem::Record(record) => {
                let put = record.kind == Kind::Put;
                line(
                    &format!(
                        "  {} seq {}: {}",
                        escaped(record.key),
                        record.seq.0,
                        if put {
                            bytes_of(record.value)
                        } else {
                            "deleted".to_string()
                        }
                    ),
                    json!({
                        "kind": if put { "put" } else { "delete" }, "key": escaped(record.key),
                        "seq": record.seq.0, "bytes": record.value.len(),
                    }),
                );
            }
        }
    }
    Ok(())
}

fn dump_manifest(bytes: &[u8], brief: bool, line: &mut Line<'_>) -> Result<(), (u64, String)> {
    let walked = coracle_engine::manifest::walk(bytes, |record| {
        let kind = if record.is_state { "state" } else { "edits" };
        line(
            &format!(
                "record {} at {}: {kind} of generation {}",
                record.number, record.offset, record.generation
            ),
            json!({
                "kind": kind, "number": record.number, "offset": record.offset,
                "generation": record.generation,
            }),
        );
        if !brief {
            for said in &record.lines {
                line(
                    &format!("  {said}"),
                    json!({ "kind": "line", "text": said }),
                );
            }
        }
    });
    walked.map_err(|corrupt| (corrupt.offset, corrupt.why.to_string()))
}

/// A few bytes as they are, many by their number.
fn bytes_of(payload: &[u8]) -> String {
    const SHOWN: usize = 24;
    let shown = escaped(&payload[..payload.len().min(SHOWN)]);
    let more = if payload.len() > SHOWN { "…" } else { "" };
    format!("{} bytes \"{shown}{more}\"", payload.len())
}

fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
