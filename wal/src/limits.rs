//! Every bound of the log, and how they relate.

/// The unit of every write: no block with durable content is ever written again.
pub const BLOCK_BYTES: usize = 4096;

/// The first block of a segment lists at most so many live segments.
pub const LIVE_SEGMENTS_MAX: usize = 90;

/// No lsn, opening or index comes near this: one that a disk names is damage or forged.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;

/// Segments are numbered in 32 bits where their entries' places are kept.
pub(crate) const SEQUENCE_MAX: u32 = u32::MAX - 1;

/// States leave so many free segments to what only a header needs: to open again, and to let others go.
/// So restarts on a full disk do not end in one that finds no segment to open with. Entries do not even go into
/// one that was begun of these: they would keep it, and so each restart one more.
pub const SEGMENTS_FOR_HEADERS: u32 = 2;

/// What a log is built with. Two openings may differ in everything but the segment size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The length of every segment file.
    pub segment_bytes: u32,
    /// No batch is longer; larger turns leave as several batches.
    pub batch_bytes_max: u32,
    /// With so many batches under way a short one waits until one of them is durable, and gathers meanwhile:
    /// what a write costs is shared by more.
    pub writes_under_way: u32,
    /// A batch of so many bytes does not wait.
    pub batch_bytes_worth: u32,
    /// No entry's payload is longer.
    pub entry_bytes_max: u32,
    /// No state's payload is longer.
    pub state_bytes_max: u32,
    /// So many segment files for entries at the most: the bound on log space.
    pub segments_max: u32,
    /// Of these, so many take only states, so that truncation works when entries are refused.
    pub segments_reserved: u32,
    /// So many free segment files are kept ready beside the reserved ones.
    pub segments_ready: u32,
    /// Entries kept in memory beyond those that must be there.
    pub cache_bytes: u64,
    /// One read of old entries is no longer than this, unless a single entry is.
    pub read_bytes_max: u32,
    /// States written anew in one turn to free the oldest segment, in bytes.
    pub rewrite_bytes_max: u32,
}

impl Limits {
    /// What a shard runs with.
    pub const DEFAULT: Limits = Limits {
        segment_bytes: 64 << 20,
        batch_bytes_max: 8 << 20,
        writes_under_way: 3,
        batch_bytes_worth: 32 << 10,
        entry_bytes_max: 4 << 20,
        state_bytes_max: 1 << 20,
        segments_max: 32,
        segments_reserved: 3,
        segments_ready: 2,
        cache_bytes: 64 << 20,
        read_bytes_max: 1 << 20,
        rewrite_bytes_max: 256 << 10,
    };

    /// Small segments, so that a test rotates often.
    pub const SMALL: Limits = Limits {
        segment_bytes: 28 << 10,
        batch_bytes_max: 12 << 10,
        writes_under_way: 2,
        batch_bytes_worth: 8 << 10,
        entry_bytes_max: 8 << 10,
        state_bytes_max: 4 << 10,
        segments_max: 10,
        segments_reserved: 3,
        segments_ready: 1,
        cache_bytes: 8 << 10,
        read_bytes_max: 8 << 10,
        rewrite_bytes_max: 4 << 10,
    };

    /// So many segment files with those that only states and openings begin, where all others are used.
    pub const fn segments_beyond(&self) -> u32 {
        let twice = 2 * self.segments_max;
        if twice < LIVE_SEGMENTS_MAX as u32 {
            twice
        } else {
            LIVE_SEGMENTS_MAX as u32
        }
    }

    /// Fails at compile time, or at the first opening, where the bounds do not fit each other.
    pub const fn check(&self) {
        let block = BLOCK_BYTES as u32;
        assert!(
            self.segment_bytes.is_multiple_of(block),
            "a segment is whole blocks"
        );
        assert!(
            self.batch_bytes_max.is_multiple_of(block),
            "a batch is whole blocks"
        );
        assert!(
            self.batch_bytes_max * 2 + block <= self.segment_bytes,
            "a segment is well used"
        );
        assert!(
            self.entry_bytes_max + block <= self.batch_bytes_max,
            "an entry fits a batch"
        );
        assert!(
            self.state_bytes_max + block <= self.batch_bytes_max,
            "a state fits a batch"
        );
        assert!(
            self.segments_reserved > SEGMENTS_FOR_HEADERS,
            "one to truncate in, one to open with, one to list less"
        );
        assert!(
            self.segments_max > self.segments_reserved + 1,
            "entries need a segment"
        );
        assert!(
            self.segments_max as usize <= LIVE_SEGMENTS_MAX,
            "a header lists all segments"
        );
        assert!(self.writes_under_way >= 1, "something is written");
        assert!(
            self.batch_bytes_worth <= self.batch_bytes_max,
            "a full batch does not wait"
        );
        assert!(self.segments_ready >= 1, "rotation finds a segment");
    }
}

const _: () = {
    Limits::DEFAULT.check();
    Limits::SMALL.check();
};
