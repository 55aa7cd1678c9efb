//! RESP2 and RESP3: what redis-cli, redis-benchmark and stock Redis clients speak.
//!
//! ```text
//! bytes ─▶ Parser ─▶ Args ─▶ Session ─▶ answered at once
//!                               └─────▶ Plan ─ask─▶ the brain ─take─▶ Writer ─▶ bytes
//! ```

pub mod number; // decimal text, as strictly as Redis reads it
pub mod inline; // commands typed by hand
pub mod parse; // bytes become words
pub mod write; // replies become bytes
pub mod glob; // patterns of SCAN and CONFIG GET
pub mod table; // every command, and how many words it takes
pub mod part; // what a command wants of one key
pub mod edit; // a new value from what is there
pub mod cursor; // where scans go on
pub mod wording; // how an outcome is told
pub mod plan; // what a command wants of the brain
pub mod command; // words become plans
pub mod plain; // the command that most commands are
pub mod session; // what a connection is told without the brain
pub mod info; // what INFO tells

#[cfg(test)]
mod transcript; // whole conversations, against a store of a few lines
