//! The simulator: the second driver of the brain, in one thread and virtual time.
//!
//! Its disk stands alone (`std` only) so that the crash tests of `wal` and `engine` include the same
//! file, and all of them believe in one and the same hardware.

pub mod disk;
