//! A disk that keeps only what it was told to keep.
//!
//! It models what a file system on a drive with a volatile write cache promises, and no more:
//!
//! * A write is **in flight** from [`Disk::start_write`] to [`Disk::finish_write`]. A finished write
//!   that asked for durability ([`Durability::Through`]) is durable; any other one is in the cache,
//!   seen by every read and lost by a power cut until [`Disk::sync`] of its file.
//! * A name appears, or goes, durably with [`Disk::sync_names`] of its directory. Until then a power
//!   cut may undo it, whatever was synced inside the file.
//! * A **power cut** decides for every sector (512 bytes) of everything not durable whether it landed
//!   ([`Fate`]); a write that did not finish is no different from one that finished in the cache.
//! * A **kill** of the process loses nothing that finished and decides for what was in flight; the
//!   cache survives, and is still volatile.
//!
//! Bytes are decided on the medium only at the cut, so the same history can be cut in many ways.
//! Files have no holes: a read beyond the end is short. All state is in ordered maps and all chance
//! comes from a seed, so a run repeats exactly.

use std::collections::BTreeMap;

/// The unit in which a drive keeps or loses a write.
pub const SECTOR_BYTES: usize = 512;

/// Whether a finished write is durable by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// In the cache until the file is synced.
    Cached,
    /// On the medium when it finishes.
    Through,
}

/// What becomes of everything that is not durable when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing of it landed.
    Lost,
    /// All of it landed.
    Kept,
    /// The oldest writes landed, then one is torn, the rest is lost.
    Torn,
    /// Each write landed or not, whatever its order.
    Reordered,
    /// Each sector of each write landed or not.
    Scattered,
}

impl Fate {
    /// Every fate, for explorations that try them all.
    pub const ALL: [Fate; 5] = [
        Fate::Lost,
        Fate::Kept,
        Fate::Torn,
        Fate::Reordered,
        Fate::Scattered,
    ];
}

/// Why the disk refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// No file of this name.
    NotFound,
    /// A file of this name is there already.
    Exists,
    /// The capacity is used up.
    NoSpace,
    /// The medium failed, by order of the test.
    Failed,
}

/// Names a write between its start and its finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WriteId(u64);

/// A write that is not durable yet.
#[derive(Clone, Debug)]
struct Pending {
    id: WriteId,
    offset: usize,
    bytes: Vec<u8>,
    durability: Durability,
    finished: bool,
}

impl Pending {
    /// Takes the bytes of a newer write where the two overlap.
    fn give_way(&mut self, newer: &Pending) {
        let from = self.offset.max(newer.offset);
        let to = (self.offset + self.bytes.len()).min(newer.offset + newer.bytes.len());
        if from < to {
            self.bytes[from - self.offset..to - self.offset]
                .copy_from_slice(&newer.bytes[from - newer.offset..to - newer.offset]);
        }
    }
}

#[derive(Clone, Debug, Default)]
struct File {
    /// What a power cut leaves, whatever happens.
    medium: Vec<u8>,
    /// Everything else, oldest first.
    pending: Vec<Pending>,
    /// What a reader sees: the medium with every started write over it.
    view: Vec<u8>,
}

impl File {
    fn settle(&mut self, keep: impl Fn(&Pending) -> bool) {
        let pending = std::mem::take(&mut self.pending);
        for write in pending {
            if keep(&write) {
                self.pending.push(write);
            } else {
                overlay(&mut self.medium, write.offset, &write.bytes);
            }
        }
    }
}

/// A directory of files on one drive; names may hold slashes, their first part is the directory.
#[derive(Clone, Debug)]
pub struct Disk {
    /// What a reader sees.
    files: BTreeMap<String, File>,
    /// The names as the medium has them; the file behind a removed name lives on until the removal
    /// is durable.
    names_durable: BTreeMap<String, File>,
    capacity_bytes: u64,
    next_write: u64,
    fail_writes_after: Option<u64>,
    writes_started: u64,
}

impl Default for Disk {
    fn default() -> Disk {
        Disk {
            files: BTreeMap::new(),
            names_durable: BTreeMap::new(),
            capacity_bytes: u64::MAX,
            next_write: 1,
            fail_writes_after: None,
            writes_started: 0,
        }
    }
}

impl Disk {
    /// An empty drive without a bound.
    pub fn new() -> Disk {
        Disk::default()
    }

    /// Bounds the sum of all file lengths.
    pub fn set_capacity(&mut self, bytes: u64) {
        self.capacity_bytes = bytes;
    }

    /// Lets so many more writes start, then fails every one.
    pub fn fail_writes_after(&mut self, writes: Option<u64>) {
        self.fail_writes_after = writes.map(|more| self.writes_started + more);
    }

    /// The sum of all file lengths.
    pub fn used_bytes(&self) -> u64 {
        self.files.values().map(|file| file.view.len() as u64).sum()
    }

    /// What the capacity leaves.
    pub fn free_bytes(&self) -> u64 {
        self.capacity_bytes.saturating_sub(self.used_bytes())
    }

    /// Makes an empty file; its name is durable after [`Disk::sync_names`].
    pub fn create(&mut self, name: &str) -> Result<(), DiskError> {
        if self.files.contains_key(name) {
            return Err(DiskError::Exists);
        }
        self.files.insert(name.to_string(), File::default());
        Ok(())
    }

    /// Takes the name away; durably so after [`Disk::sync_names`].
    pub fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        let file = self.files.remove(name).ok_or(DiskError::NotFound)?;
        if let Some(durable) = self.names_durable.get_mut(name) {
            *durable = file;
        }
        Ok(())
    }

    /// Begins a write. Readers see it from now on.
    pub fn start_write(
        &mut self,
        name: &str,
        offset: u64,
        bytes: &[u8],
        durability: Durability,
    ) -> Result<WriteId, DiskError> {
        if self
            .fail_writes_after
            .is_some_and(|limit| self.writes_started >= limit)
        {
            return Err(DiskError::Failed);
        }
        let used = self.used_bytes();
        let file = self.files.get_mut(name).ok_or(DiskError::NotFound)?;
        let offset = usize::try_from(offset).expect("an offset fits the address space");
        let grown = (offset + bytes.len()).saturating_sub(file.view.len()) as u64;
        if used + grown > self.capacity_bytes {
            return Err(DiskError::NoSpace);
        }
        self.writes_started += 1;
        let id = WriteId(self.next_write);
        self.next_write += 1;
        overlay(&mut file.view, offset, bytes);
        file.pending.push(Pending {
            id,
            offset,
            bytes: bytes.to_vec(),
            durability,
            finished: false,
        });
        Ok(id)
    }

    /// Ends a write. A [`Durability::Through`] one is on the medium from now on.
    pub fn finish_write(&mut self, name: &str, id: WriteId) {
        let Some(file) = self.files.get_mut(name) else {
            return;
        };
        let Some(position) = file.pending.iter().position(|write| write.id == id) else {
            return;
        };
        file.pending[position].finished = true;
        if file.pending[position].durability == Durability::Through {
            // Whatever of an older write lands later, it cannot bring back what this one replaced.
            let (older, this) = file.pending.split_at_mut(position);
            older.iter_mut().for_each(|write| write.give_way(&this[0]));
        }
        file.settle(|write| write.id != id || write.durability == Durability::Cached);
    }

    /// Start and finish in one.
    pub fn write(
        &mut self,
        name: &str,
        offset: u64,
        bytes: &[u8],
        durability: Durability,
    ) -> Result<(), DiskError> {
        let id = self.start_write(name, offset, bytes, durability)?;
        self.finish_write(name, id);
        Ok(())
    }

    /// Makes every finished write of the file durable.
    pub fn sync(&mut self, name: &str) -> Result<(), DiskError> {
        let file = self.files.get_mut(name).ok_or(DiskError::NotFound)?;
        file.settle(|write| !write.finished);
        Ok(())
    }

    /// Makes the names of a directory durable: those that came and those that went. The directory is
    /// the part of a name before its last slash, empty where there is none.
    pub fn sync_names(&mut self, directory: &str) {
        let files = &self.files;
        self.names_durable
            .retain(|name, _| directory_of(name) != directory || files.contains_key(name));
        for name in self
            .files
            .keys()
            .filter(|name| directory_of(name) == directory)
        {
            self.names_durable.entry(name.clone()).or_default();
        }
    }

    /// Reads what a running process sees; short at the end of the file.
    pub fn read(&self, name: &str, offset: u64, len: usize) -> Result<&[u8], DiskError> {
        let file = self.files.get(name).ok_or(DiskError::NotFound)?;
        let from = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(file.view.len());
        let to = from.saturating_add(len).min(file.view.len());
        Ok(&file.view[from..to])
    }

    /// The length of a file, if there is one of this name.
    pub fn len(&self, name: &str) -> Option<u64> {
        self.files.get(name).map(|file| file.view.len() as u64)
    }

    /// Whether there is no file at all.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// All names that a running process sees, in order.
    pub fn names(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }

    /// The process dies, the machine lives: what finished stays in the cache, what was in flight
    /// meets its fate there.
    pub fn kill(&mut self, fate: Fate, seed: u64) {
        let mut chance = Chance::new(seed);
        for file in self.files.values_mut() {
            let pending = std::mem::take(&mut file.pending);
            let (finished, mut flying): (Vec<_>, Vec<_>) =
                pending.into_iter().partition(|write| write.finished);
            flying.sort_by_key(|write| write.id);
            let landed = decide(&flying, fate, &mut chance);
            file.pending = finished;
            for (write, mut pieces) in flying.iter().zip(landed) {
                for (from, to) in pieces.drain(..) {
                    file.pending.push(Pending {
                        id: write.id,
                        offset: write.offset + from,
                        bytes: write.bytes[from..to].to_vec(),
                        durability: Durability::Cached,
                        finished: true,
                    });
                }
            }
            file.pending.sort_by_key(|write| (write.id, write.offset));
            file.view.clone_from(&file.medium);
            for write in &file.pending {
                overlay(&mut file.view, write.offset, &write.bytes);
            }
        }
    }

    /// The power goes. Every sector that was not durable meets its fate; names that were not synced
    /// stay or go by the same fate.
    pub fn power_cut(&mut self, fate: Fate, seed: u64) {
        let mut chance = Chance::new(seed);
        let mut survivors = BTreeMap::new();
        let names: Vec<String> = self
            .files
            .keys()
            .chain(self.names_durable.keys())
            .cloned()
            .collect::<Vec<_>>();
        for name in names {
            if survivors.contains_key(&name) {
                continue;
            }
            let visible = self.files.get(&name);
            let durable = self.names_durable.contains_key(&name);
            let settled = visible.is_some() == durable;
            let stays = match fate {
                _ if settled => true,
                Fate::Lost => durable,
                Fate::Kept => visible.is_some(),
                _ => chance.toss(),
            };
            if stays {
                let file = visible.or_else(|| self.names_durable.get(&name));
                survivors.insert(name.clone(), file.cloned().unwrap_or_default());
            }
        }
        // Torn is told over the whole drive: one write of one file is the last that landed.
        let mut writes: Vec<(String, Pending)> = Vec::new();
        for (name, file) in &mut survivors {
            writes.extend(file.pending.drain(..).map(|write| (name.clone(), write)));
        }
        writes.sort_by_key(|(_, write)| (write.id, write.offset));
        let plain: Vec<Pending> = writes.iter().map(|(_, write)| write.clone()).collect();
        for ((name, write), pieces) in writes.iter().zip(decide(&plain, fate, &mut chance)) {
            let file = survivors.get_mut(name).expect("a survivor's write");
            for (from, to) in pieces {
                overlay(
                    &mut file.medium,
                    write.offset + from,
                    &write.bytes[from..to],
                );
            }
        }
        for file in survivors.values_mut() {
            file.view.clone_from(&file.medium);
        }
        self.names_durable = survivors
            .keys()
            .map(|name| (name.clone(), File::default()))
            .collect();
        self.files = survivors;
        self.fail_writes_after = None;
    }

    /// Damages durable bytes: `change` gets the byte at `offset` and returns the new one.
    pub fn damage(&mut self, name: &str, offset: u64, change: impl Fn(u8) -> u8) {
        let Some(file) = self.files.get_mut(name) else {
            return;
        };
        let offset = usize::try_from(offset).expect("an offset fits the address space");
        for bytes in [&mut file.medium, &mut file.view] {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte = change(*byte);
            }
        }
    }
}

/// For each write, the pieces of it that landed.
fn decide(writes: &[Pending], fate: Fate, chance: &mut Chance) -> Vec<Vec<(usize, usize)>> {
    let torn_at = chance.below(writes.len() as u64 + 1) as usize;
    let mut landed = Vec::with_capacity(writes.len());
    for (position, write) in writes.iter().enumerate() {
        let len = write.bytes.len();
        let whole = vec![(0, len)];
        landed.push(match fate {
            Fate::Lost => Vec::new(),
            Fate::Kept => whole,
            Fate::Reordered if chance.toss() => whole,
            Fate::Reordered => Vec::new(),
            Fate::Torn if position < torn_at => whole,
            Fate::Torn if position > torn_at => Vec::new(),
            Fate::Torn => {
                let sectors = len.div_ceil(SECTOR_BYTES) as u64;
                vec![(
                    0,
                    (chance.below(sectors + 1) as usize * SECTOR_BYTES).min(len),
                )]
            }
            Fate::Scattered => sectors(write.offset, len)
                .filter(|_| chance.toss())
                .collect(),
        });
    }
    landed
}

/// The pieces of a write that lie in one sector each.
fn sectors(offset: usize, len: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        if from >= len {
            return None;
        }
        let to = (((offset + from) / SECTOR_BYTES + 1) * SECTOR_BYTES - offset).min(len);
        let piece = (from, to);
        from = to;
        Some(piece)
    })
}

fn overlay(target: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if target.len() < offset + bytes.len() {
        target.resize(offset + bytes.len(), 0);
    }
    target[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn directory_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// Seeded chance: the same seed, the same run.
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// Every seed gives a run of its own, zero included.
    pub fn new(seed: u64) -> Chance {
        Chance { state: seed }
    }

    /// The next 64 bits (splitmix64).
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below the limit; zero where the limit is zero.
    pub fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 {
            0
        } else {
            self.next_u64() % limit
        }
    }

    /// Heads or tails.
    pub fn toss(&mut self) -> bool {
        self.next_u64() & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(byte: u8) -> Vec<u8> {
        vec![byte; 4096]
    }

    fn disk_with_file() -> Disk {
        let mut disk = Disk::new();
        disk.create("log/1").unwrap();
        disk.write("log/1", 0, &page(1), Durability::Cached)
            .unwrap();
        disk.sync("log/1").unwrap();
        disk.sync_names("log");
        disk
    }

    #[test]
    fn a_synced_write_survives_and_a_cached_one_does_not() {
        let mut disk = disk_with_file();
        disk.write("log/1", 4096, &page(2), Durability::Cached)
            .unwrap();
        disk.power_cut(Fate::Lost, 7);
        assert_eq!(disk.read("log/1", 0, 8192).unwrap(), page(1));
    }

    #[test]
    fn a_write_through_is_durable_only_once_it_finished() {
        let mut disk = disk_with_file();
        let flying = disk
            .start_write("log/1", 0, &page(3), Durability::Through)
            .unwrap();
        let mut early = disk.clone();
        early.power_cut(Fate::Lost, 7);
        assert_eq!(early.read("log/1", 0, 4096).unwrap(), page(1));
        disk.finish_write("log/1", flying);
        disk.power_cut(Fate::Lost, 7);
        assert_eq!(disk.read("log/1", 0, 4096).unwrap(), page(3));
    }

    #[test]
    fn a_torn_write_keeps_a_prefix_of_whole_sectors() {
        let mut partial = 0;
        for seed in 0..64 {
            let mut disk = disk_with_file();
            disk.write("log/1", 0, &page(4), Durability::Cached)
                .unwrap();
            disk.power_cut(Fate::Torn, seed);
            let bytes = disk.read("log/1", 0, 4096).unwrap();
            let kept = bytes.iter().take_while(|&&byte| byte == 4).count();
            assert!(bytes[kept..].iter().all(|&byte| byte == 1));
            assert_eq!(kept % SECTOR_BYTES, 0);
            partial += usize::from(kept > 0 && kept < 4096);
        }
        assert!(partial > 8, "only {partial} of 64 cuts tore the write");
    }

    #[test]
    fn a_name_that_was_not_synced_goes_and_a_removed_one_returns() {
        let mut disk = disk_with_file();
        disk.create("log/2").unwrap();
        disk.write("log/2", 0, &page(5), Durability::Through)
            .unwrap();
        disk.remove("log/1").unwrap();
        disk.power_cut(Fate::Lost, 7);
        assert_eq!(disk.names(), ["log/1"]);
        assert_eq!(disk.read("log/1", 0, 4096).unwrap(), page(1));
    }

    #[test]
    fn a_kill_keeps_the_cache_and_the_cache_stays_volatile() {
        let mut disk = disk_with_file();
        disk.write("log/1", 0, &page(6), Durability::Cached)
            .unwrap();
        disk.start_write("log/1", 4096, &page(7), Durability::Through)
            .unwrap();
        disk.kill(Fate::Kept, 7);
        assert_eq!(
            disk.read("log/1", 0, 8192).unwrap(),
            [page(6), page(7)].concat()
        );
        disk.power_cut(Fate::Lost, 7);
        assert_eq!(disk.read("log/1", 0, 8192).unwrap(), page(1));
    }

    #[test]
    fn a_full_disk_refuses_growth_and_allows_overwrites() {
        let mut disk = disk_with_file();
        disk.set_capacity(4096);
        assert_eq!(
            disk.write("log/1", 4096, &page(2), Durability::Cached),
            Err(DiskError::NoSpace)
        );
        disk.write("log/1", 0, &page(2), Durability::Cached)
            .unwrap();
    }
}
