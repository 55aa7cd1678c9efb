//! What can be chosen on the command line.

use std::path::PathBuf;

use clap::Parser;

/// The state store beside its peers.
#[derive(Clone, Debug, Parser)]
pub struct Settings {
    /// Only cells whose name contains one of these (comma-separated); "list" prints all names.
    #[arg(long, value_delimiter = ',')]
    pub cells: Vec<String>,
    /// Only these sides (comma-separated).
    #[arg(long, value_delimiter = ',')]
    pub sides: Vec<String>,
    /// Bytes of a value.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1024])]
    pub values: Vec<usize>,
    /// Interleaved rounds of each cell.
    #[arg(long, default_value_t = 9)]
    pub rounds: usize,
    /// A fifth of the data and two rounds: to see whether it works, not how fast.
    #[arg(long)]
    pub quick: bool,
    /// Compress blocks with LZ4 (RocksDB and ours; values are then half zeros).
    #[arg(long)]
    pub lz4: bool,
    /// The memtable of the cell with sustained overwrites; tables, levels and data grow with it.
    #[arg(long, default_value_t = 16)]
    pub overwrite_memtable_mebibytes: u64,
    /// How often that cell overwrites every key, on average.
    #[arg(long, default_value_t = 4)]
    pub overwrite_times: u64,
    /// The core on which everything runs, background threads of the peers included.
    #[arg(long, default_value_t = 2)]
    pub core: usize,
    /// Where the measured files go: a directory on a real disk. Whatever is made in it is removed again.
    #[arg(long, default_value = "/tmp")]
    pub directory: PathBuf,
    /// Write all samples to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

impl Settings {
    /// How many rounds.
    pub fn rounds(&self) -> usize {
        if self.quick {
            self.rounds.min(2)
        } else {
            self.rounds
        }
    }

    /// A count of keys or operations, smaller when in a hurry.
    pub fn scaled(&self, count: u64) -> u64 {
        if self.quick {
            (count / 5).max(1)
        } else {
            count
        }
    }

    /// Whether a cell is wanted.
    pub fn wants(&self, cell: &str) -> bool {
        self.cells.is_empty() || self.cells.iter().any(|part| cell.contains(part.as_str()))
    }

    /// Whether a side is wanted.
    pub fn wants_side(&self, side: &str) -> bool {
        self.sides.is_empty() || self.sides.iter().any(|name| name == side)
    }
}
