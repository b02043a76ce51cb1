//! A disk that forgets, in memory: what was not synced is lost when its power goes, in whole or in parts.
//!
//! Of a file, each block that was not synced survives or not, whatever the others do, and so does a new
//! length. Of names, the beginning of what was done since the last sync of a directory survives: this is
//! what a journalling file system promises, and no more than `fsync(2)` does, since the sync of a file
//! alone makes no name durable here.

use meshdrive_tests::Random;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    time::SystemTime,
};

pub(crate) const ROOT: u64 = 1;
/// What survives or not as one piece, in bytes.
const BLOCK: usize = 4096;

type Names = BTreeMap<OsString, u64>;

#[derive(Debug)]
pub(crate) struct Inode {
    /// With the kind of file, as in `stat(2)`.
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) device: u32,
    pub(crate) mtime: SystemTime,
    pub(crate) links: u32,
    pub(crate) bytes: Vec<u8>,
    /// Of a directory.
    pub(crate) names: Names,
    /// What survives for certain, and the blocks in which `bytes` differs from it.
    sure: (Vec<u8>, SystemTime),
    unsure: BTreeSet<usize>,
}

/// A name of a directory, and what it stands for from then on.
type Named = (u64, OsString, Option<u64>);

#[derive(Debug)]
pub(crate) struct Disk {
    inodes: BTreeMap<u64, Inode>,
    last: u64,
    sure: BTreeMap<u64, Names>,
    /// Changes of names that are not synced; each is done as a whole or not at all.
    unsure: Vec<Vec<Named>>,
    /// Nothing is answered any more.
    pub(crate) is_off: bool,
}

impl Inode {
    fn new(mode: u32, owner: (u32, u32), device: u32) -> Inode {
        let now = SystemTime::now();
        Inode {
            mode,
            owner,
            device,
            mtime: now,
            links: 1,
            bytes: Vec::new(),
            names: Names::new(),
            sure: (Vec::new(), now),
            unsure: BTreeSet::new(),
        }
    }

    pub(crate) fn is_folder(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }

    pub(crate) fn write(&mut self, at: usize, data: &[u8]) {
        let end = at + data.len();
        self.resize(self.bytes.len().max(end));
        self.bytes[at..end].copy_from_slice(data);
        self.unsure.extend(at / BLOCK..end.div_ceil(BLOCK));
        self.mtime = SystemTime::now();
    }

    pub(crate) fn resize(&mut self, len: usize) {
        let before = self.bytes.len();
        if len != before {
            self.bytes.resize(len, 0);
            self.unsure.extend(len.min(before) / BLOCK..len.max(before).div_ceil(BLOCK));
        }
    }

    fn sync(&mut self) {
        self.sure.0.resize(self.bytes.len(), 0);
        for block in std::mem::take(&mut self.unsure) {
            take_over(&self.bytes, &mut self.sure.0, block);
        }
        self.sure.1 = self.mtime;
    }

    /// Loses what is not sure, as far as chance has it.
    fn lose(&mut self, random: &mut Random) {
        let all = match random.below(4) {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        };
        let mut survives = || all.unwrap_or_else(|| random.below(2) == 0);
        if survives() {
            self.sure.0.resize(self.bytes.len(), 0);
            self.sure.1 = self.mtime;
        }
        for block in std::mem::take(&mut self.unsure) {
            if survives() {
                take_over(&self.bytes, &mut self.sure.0, block);
            }
        }
        self.bytes.clone_from(&self.sure.0);
        self.mtime = self.sure.1;
    }
}

/// Copies the block as far as both have it.
fn take_over(from: &[u8], to: &mut [u8], block: usize) {
    let start = block * BLOCK;
    let end = (start + BLOCK).min(from.len()).min(to.len());
    if start < end {
        to[start..end].copy_from_slice(&from[start..end]);
    }
}

impl Disk {
    pub(crate) fn new() -> Disk {
        let root = Inode::new(libc::S_IFDIR | 0o755, (0, 0), 0);
        Disk {
            inodes: BTreeMap::from([(ROOT, root)]),
            last: ROOT,
            sure: BTreeMap::new(),
            unsure: Vec::new(),
            is_off: false,
        }
    }

    pub(crate) fn off() -> Disk {
        Disk { is_off: true, ..Disk::new() }
    }

    pub(crate) fn get(&mut self, ino: u64) -> Option<&mut Inode> {
        self.inodes.get_mut(&ino)
    }

    pub(crate) fn find(&self, folder: u64, name: &OsStr) -> Option<u64> {
        self.inodes.get(&folder)?.names.get(name).copied()
    }

    pub(crate) fn make(
        &mut self,
        (folder, name): (u64, &OsStr),
        (mode, owner, device): (u32, (u32, u32), u32),
    ) -> u64 {
        self.last += 1;
        self.inodes.insert(self.last, Inode::new(mode, owner, device));
        self.name(vec![(folder, name.into(), Some(self.last))]);
        self.last
    }

    pub(crate) fn link(&mut self, ino: u64, folder: u64, name: &OsStr) {
        self.name(vec![(folder, name.into(), Some(ino))]);
        self.count_links(ino, 1);
    }

    /// Whether there was such a name.
    pub(crate) fn remove(&mut self, folder: u64, name: &OsStr) -> bool {
        let Some(ino) = self.find(folder, name) else { return false };
        self.name(vec![(folder, name.into(), None)]);
        self.count_links(ino, -1);
        true
    }

    /// Whether there was such a name. What has the new name already is replaced, or takes the old name.
    pub(crate) fn rename(
        &mut self,
        from: (u64, &OsStr),
        to: (u64, &OsStr),
        exchange: bool,
    ) -> bool {
        let Some(ino) = self.find(from.0, from.1) else { return false };
        let replaced = self.find(to.0, to.1);
        let left = replaced.filter(|_| exchange);
        self.name(vec![(from.0, from.1.into(), left), (to.0, to.1.into(), Some(ino))]);
        if let (Some(replaced), false) = (replaced, exchange) {
            self.count_links(replaced, -1);
        }
        true
    }

    fn count_links(&mut self, ino: u64, by: i32) {
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.links = inode.links.saturating_add_signed(by);
        }
    }

    fn name(&mut self, change: Vec<Named>) {
        for (folder, name, ino) in &change {
            if let Some(folder) = self.inodes.get_mut(folder) {
                put(&mut folder.names, name, *ino);
            }
        }
        self.unsure.push(change);
    }

    pub(crate) fn sync(&mut self, ino: u64) {
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.sync();
        }
    }

    /// All that was done to names before.
    pub(crate) fn sync_names(&mut self) {
        for (folder, name, ino) in self.unsure.drain(..).flatten() {
            put(self.sure.entry(folder).or_default(), &name, ino);
        }
    }

    /// The power goes and comes back.
    pub(crate) fn lose_power(&mut self, random: &mut Random) {
        let survives = random.below(self.unsure.len() as u64 + 1) as usize;
        self.unsure.truncate(survives);
        self.sync_names();
        for (ino, inode) in &mut self.inodes {
            inode.names = self.sure.get(ino).cloned().unwrap_or_default();
            inode.lose(random);
        }
        self.drop_nameless();
        self.is_off = false;
    }

    fn drop_nameless(&mut self) {
        let mut links = BTreeMap::from([(ROOT, 1)]);
        let mut folders = vec![ROOT];
        while let Some(folder) = folders.pop() {
            for ino in self.inodes[&folder].names.values() {
                *links.entry(*ino).or_insert(0) += 1;
                if self.inodes[ino].is_folder() {
                    folders.push(*ino);
                }
            }
        }
        self.inodes.retain(|ino, _| links.contains_key(ino));
        self.sure.retain(|ino, _| links.contains_key(ino));
        for (ino, inode) in &mut self.inodes {
            inode.links = links[ino];
        }
    }
}

fn put(names: &mut Names, name: &OsStr, ino: Option<u64>) {
    match ino {
        Some(ino) => names.insert(name.into(), ino),
        None => names.remove(name),
    };
}
