//! RocksDB, with all its background work on the one core that the caller has, too.

use std::path::{Path, PathBuf};

use coracle_bench_harness::Sample;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, FlushOptions, ReadOptions,
    WaitForCompactOptions, WriteBatch, WriteOptions,
};

use crate::{
    keys::Key,
    side::{Digest, Opened, Options, Side, Store, poll_once},
};

/// RocksDB as a side.
pub const SIDE: Side = Side {
    name: "rocksdb",
    open,
};

struct Rocks {
    db: DB,
    write: WriteOptions,
    cache: Cache,
    path: PathBuf,
}

fn open(path: &Path, options: &Options) -> Box<dyn Opened> {
    let cache = Cache::new_lru_cache(options.cache_bytes as usize);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_size(4096);
    blocks.set_bloom_filter(10.0, false);
    blocks.set_block_cache(&cache);
    let mut settings = rocksdb::Options::default();
    settings.create_if_missing(true);
    settings.set_block_based_table_factory(&blocks);
    settings.set_compression_type(match options.lz4 {
        true => DBCompressionType::Lz4,
        false => DBCompressionType::None,
    });
    settings.set_write_buffer_size(options.memtable_bytes as usize);
    settings.set_target_file_size_base(options.table_bytes);
    settings.set_max_bytes_for_level_base(options.table_bytes * 4);
    settings.set_disable_auto_compactions(!options.compaction);
    settings.set_use_direct_reads(true);
    settings.set_use_direct_io_for_flush_and_compaction(true);
    // One writer: the plain insert is cheaper than the concurrent one.
    settings.set_allow_concurrent_memtable_write(false);
    let db = DB::open(&settings, path).expect("RocksDB opens");
    let mut write = WriteOptions::default();
    write.disable_wal(true);
    Box::new(Rocks {
        db,
        write,
        cache,
        path: path.into(),
    })
}

impl Store for Rocks {
    fn block_on<T>(work: impl Future<Output = T>) -> T {
        poll_once(work)
    }

    async fn apply(&mut self, entry: &[(Key, &[u8])]) {
        let bytes = entry
            .iter()
            .map(|(key, value)| key.len() + value.len() + 8)
            .sum::<usize>()
            + 16;
        let mut batch = WriteBatch::with_capacity_bytes(bytes);
        for (key, value) in entry {
            batch.put(key, value);
        }
        self.db
            .write_opt(batch, &self.write)
            .expect("RocksDB writes");
    }

    async fn get(&mut self, key: &Key, digest: &mut Digest) {
        if let Some(value) = self.db.get_pinned(key).expect("RocksDB reads") {
            digest.add_value(&value);
        }
    }

    async fn scan(&mut self, start: &Key, limit: usize, digest: &mut Digest) {
        let mut iterator = self.db.raw_iterator_opt(ReadOptions::default());
        iterator.seek(start);
        for _ in 0..limit {
            let Some((key, value)) = iterator.item() else {
                break;
            };
            digest.add_pair(key, value);
            iterator.next();
        }
        iterator.status().expect("RocksDB scans");
    }

    async fn flush(&mut self) {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db.flush_opt(&options).expect("RocksDB flushes");
    }

    async fn settle(&mut self) {
        self.db
            .wait_for_compact(&WaitForCompactOptions::default())
            .expect("RocksDB compacts");
    }

    fn shape(&self) -> String {
        let levels = (0..7).filter_map(|level| {
            let name = format!("rocksdb.num-files-at-level{level}");
            let files = self.db.property_value(name.as_str()).ok()??;
            (files != "0").then(|| format!("L{level}: {files}"))
        });
        levels.collect::<Vec<_>>().join(" ")
    }

    fn figures(&mut self, sample: Sample) -> Sample {
        let cached = self.cache.get_usage() as f64 / 1e6;
        if cached < 1.0 {
            sample
        } else {
            sample.with_figure("cached MB", cached)
        }
    }
}

impl Drop for Rocks {
    fn drop(&mut self) {
        // Its threads end with it; the directory is the caller's to remove.
        self.db.cancel_all_background_work(true);
        debug_assert!(self.path.exists());
    }
}
