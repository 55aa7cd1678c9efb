//! Tables from outside: what a builder is given, a reader gives back, whatever the order of asking,
//! the size of the cache, and what happened to the bytes in between.

mod support; // random records, files in memory, what a table should answer
mod model; // builder → reader against a BTreeMap
mod cursors; // both directions, cut ranges, caches too small
mod damage; // every byte that matters, and hostile ones
mod caching; // budget, pinning, tables that go
mod timing; // how long things take, when asked
