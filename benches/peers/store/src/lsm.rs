//! The `lsm-tree` crate: a tree without a journal. It starts no threads, so flushes and compactions run
//! between two entries, on the caller's thread. Its files go through the page cache; there is no other way.

use std::{path::Path, sync::Arc};

use lsm_tree::{
    AbstractTree, AnyTree, Cache, Config, Guard, SequenceNumberCounter,
    compaction::Leveled,
    config::{BlockSizePolicy, PartitioningPolicy, PinningPolicy},
};

use crate::{
    keys::Key,
    side::{Digest, Opened, Options, Side, Store, poll_once},
};

/// `lsm-tree` as a side.
pub const SIDE: Side = Side {
    name: "lsm-tree",
    open,
};

struct Tree {
    tree: AnyTree,
    sequence: SequenceNumberCounter,
    visible: SequenceNumberCounter,
    options: Options,
    strategy: Arc<Leveled>,
    entries_until_look: u32,
}

fn open(path: &Path, options: &Options) -> Box<dyn Opened> {
    let (sequence, visible) = (
        SequenceNumberCounter::default(),
        SequenceNumberCounter::default(),
    );
    let tree = Config::new(path, sequence.clone(), visible.clone())
        .use_cache(Arc::new(Cache::with_capacity_bytes(options.cache_bytes)))
        .data_block_size_policy(BlockSizePolicy::all(4096))
        // As with the other sides, index and filters stay in memory.
        .index_block_pinning_policy(PinningPolicy::all(true))
        .filter_block_pinning_policy(PinningPolicy::all(true))
        .index_block_partitioning_policy(PartitioningPolicy::all(false))
        .filter_block_partitioning_policy(PartitioningPolicy::all(false))
        .open()
        .expect("lsm-tree opens");
    let strategy = Leveled::default().with_table_target_size(options.table_bytes);
    Box::new(Tree {
        tree,
        sequence,
        visible,
        options: *options,
        strategy: Arc::new(strategy),
        entries_until_look: 0,
    })
}

impl Tree {
    fn flush_all(&self) {
        let lock = self.tree.get_flush_lock();
        self.tree.rotate_memtable();
        self.tree
            .flush(&lock, self.sequence.get())
            .expect("lsm-tree flushes");
    }

    /// What changes when a compaction has been done.
    fn layout(&self) -> (Vec<Option<usize>>, u64) {
        let levels = (0..7)
            .map(|level| self.tree.level_table_count(level))
            .collect();
        (levels, self.tree.next_table_id())
    }

    fn compact_all(&self) {
        loop {
            let before = self.layout();
            let strategy = self.strategy.clone();
            self.tree
                .compact(strategy, self.sequence.get())
                .expect("lsm-tree compacts");
            if self.layout() == before {
                return;
            }
        }
    }
}

impl Store for Tree {
    fn block_on<T>(work: impl Future<Output = T>) -> T {
        poll_once(work)
    }

    async fn apply(&mut self, entry: &[(Key, &[u8])]) {
        let sequence = self.sequence.next();
        for (key, value) in entry {
            self.tree.insert(key.as_slice(), *value, sequence);
        }
        self.visible.fetch_max(sequence + 1);
        if self.entries_until_look > 0 {
            self.entries_until_look -= 1;
            return;
        }
        self.entries_until_look = 64;
        if self.tree.active_memtable().size() >= self.options.memtable_bytes {
            self.flush_all();
            if self.options.compaction {
                self.compact_all();
            }
        }
    }

    async fn get(&mut self, key: &Key, digest: &mut Digest) {
        if let Some(value) = self
            .tree
            .get(key, self.visible.get())
            .expect("lsm-tree reads")
        {
            digest.add_value(&value);
        }
    }

    async fn scan(&mut self, start: &Key, limit: usize, digest: &mut Digest) {
        for item in self
            .tree
            .range(start.as_slice().., self.visible.get(), None)
            .take(limit)
        {
            let (key, value) = item.into_inner().expect("lsm-tree scans");
            digest.add_pair(&key, &value);
        }
    }

    async fn flush(&mut self) {
        self.flush_all();
    }

    async fn settle(&mut self) {
        self.compact_all();
    }

    fn shape(&self) -> String {
        let levels = (0..7).filter_map(|level| {
            let tables = self
                .tree
                .level_table_count(level)
                .filter(|&tables| tables > 0)?;
            Some(format!("L{level}: {tables}"))
        });
        levels.collect::<Vec<_>>().join(" ")
    }
}
