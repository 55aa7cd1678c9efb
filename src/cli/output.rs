//! What a command prints: for a person, or for a program.

use std::io::{self, BufWriter, StdoutLock, Write};

use serde_json::Value;

use crate::cli::{Exit, Failure};

/// Standard output. A reader that has seen enough, such as `head`, is not a failure.
pub(super) struct Output {
    out: BufWriter<StdoutLock<'static>>,
    is_json: bool,
    broken: Option<io::Error>,
}

impl Output {
    /// For a program, or for a person.
    pub fn new(is_json: bool) -> Output {
        Output {
            out: BufWriter::new(io::stdout().lock()),
            is_json,
            broken: None,
        }
    }

    /// One line.
    pub fn line(&mut self, text: impl FnOnce() -> String, json: impl FnOnce() -> Value) {
        let line = match self.is_json {
            true => json().to_string(),
            false => text(),
        };
        self.bytes(line.as_bytes());
        self.bytes(b"\n");
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        if let Err(error) = self.out.write_all(bytes) {
            self.broken.get_or_insert(error);
        }
    }

    /// A table for a person: columns as wide as need be, those of numbers to the right.
    pub fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([head[column].len()]).max().unwrap_or_default()
        };
        let is_number = |column: usize| {
            let mut cells = rows.iter().map(|row| &row[column]);
            cells.all(|cell| cell.chars().all(|c| c.is_ascii_digit() || c == '-'))
        };
        let heads: Vec<String> = head.iter().map(|cell| cell.to_string()).collect();
        for row in std::iter::once(&heads).chain(rows) {
            let cells = row
                .iter()
                .enumerate()
                .map(|(column, cell)| match is_number(column) {
                    true => format!("{cell:>0$}", width(column)),
                    false => format!("{cell:<0$}", width(column)),
                });
            let line = cells.collect::<Vec<_>>().join("  ");
            self.bytes(line.trim_end().as_bytes());
            self.bytes(b"\n");
        }
    }

    /// Sends what there is, so that whoever waits sees how far it is.
    pub fn flush(&mut self) {
        if let Err(error) = self.out.flush() {
            self.broken.get_or_insert(error);
        }
    }

    /// Whether nobody reads any more.
    pub fn is_over(&self) -> bool {
        self.broken.is_some()
    }

    /// Sends what is left.
    pub fn finish(mut self) -> Result<(), Failure> {
        let flushed = self.out.flush();
        match self.broken.or(flushed.err()) {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                let why = format!("standard output: {error}");
                Err(Failure::new(Exit::FailedWrite, why))
            }
            _ => Ok(()),
        }
    }
}
