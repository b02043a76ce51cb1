//! Small files: whoever opens some that are not here, one after the other, is about to open more. Their
//! siblings follow in batches, so that a walk costs a round trip a batch and not one a file. A walk
//! that has come from one folder to another is followed into the next ones.

use crate::drive::Drive;
use crate::faults::Wake;
use crate::hydration::base_of;
use crate::jobs::Work;
use crate::tree::Inode;
use crate::{Cloud, CloudError, ContentRef, Ino, Mono, Name, Pending, Range};
use alloc::{collections::BTreeMap, vec::Vec};
use bytes::Bytes;

/// Files up to this size are fetched many at a time.
pub(crate) const SMALL_BYTES: u64 = 128 << 10;
/// Files and bytes in one batch of small files.
pub(crate) const SMALL_BATCH: usize = 256;
pub(crate) const SMALL_BATCH_BYTES: u64 = 8 << 20;
/// Absent small files opened in one folder before its siblings are fetched, and the milliseconds of
/// quiet after which a walk is over.
const STREAK: u32 = 2;
const PAUSE_MS: u64 = 2_000;
/// Batches in flight for one walk: until it has come to the middle of one, and from then on.
const FLIGHTS_AT_FIRST: u32 = 1;
const FLIGHTS: u32 = 3;
/// Nodes looked at to find the files of a batch, and folders above a file that a walk may be in.
const LOOKS: usize = 4_096;
const HEIGHT: usize = 64;
/// Folders whose rows are loaded ahead of a walk at once.
const LOADS: usize = 8;
/// Walks that are remembered.
const WALKS: usize = 64;

/// A run of opens of small files: where it is, and what was asked for because of it.
#[derive(Debug, Default)]
struct Walk {
    number: u64,
    last: Mono,
    streak: u32,
    /// The name that was opened last.
    at: Option<Name>,
    /// Opening this file asks for the next batch.
    trigger: Option<Ino>,
    /// It goes on below this folder when its own is done.
    root: Option<Ino>,
    /// It has come as far as was guessed.
    proven: bool,
    /// The next batch waits for the rows of folders that are being loaded.
    loading: bool,
    flights: u32,
}

/// Walks by the folder that they are in.
#[derive(Debug, Default)]
pub(crate) struct Walks {
    by_folder: BTreeMap<Ino, Walk>,
    numbers: u64,
    /// The folder in which a small file was opened last.
    latest: Option<Ino>,
}

impl Walks {
    pub(crate) fn forget(&mut self, folder: Ino) {
        self.by_folder.remove(&folder);
    }

    fn landed(&mut self, number: u64) {
        if let Some(walk) = self.by_folder.values_mut().find(|walk| walk.number == number) {
            walk.flights = walk.flights.saturating_sub(1);
        }
    }

    fn begin(&mut self, folder: Ino, now: Mono) {
        if self.by_folder.len() >= WALKS {
            self.by_folder.retain(|_, walk| now.millis_since(walk.last) <= PAUSE_MS);
        }
        if self.by_folder.len() >= WALKS {
            self.by_folder.clear();
        }
        self.numbers += 1;
        let walk = Walk { number: self.numbers, ..Walk::default() };
        self.by_folder.insert(folder, walk);
    }
}

impl Drive {
    /// A small file was opened for reading.
    pub(crate) fn opened_small(&mut self, ino: Ino) {
        let Some(inode) = self.tree.get(ino) else { return };
        let (dir, name) = (inode.row.parent, inode.row.name.clone());
        let small = inode.row.size <= SMALL_BYTES && inode.row.content_rev.0 != 0;
        let absent = small && !inode.absent(Range::new(0, inode.row.size)).is_empty();
        let flying = self.is_coming(inode);
        if !self.inbox.online || !(absent || self.walks.by_folder.contains_key(&dir)) {
            return;
        }
        self.enter(dir);
        let now = self.now.mono;
        let Some(walk) = self.walks.by_folder.get_mut(&dir) else { return };
        walk.last = now;
        walk.streak += u32::from(absent);
        walk.at = Some(name.clone());
        let reached = walk.trigger == Some(ino);
        walk.proven |= reached;
        // Out of order, or the first: no batch had it, and the rest of them may be like that.
        let missed = absent && !flying;
        if walk.streak >= STREAK && (reached || missed || walk.loading) {
            self.fetch_siblings(dir, &name);
        }
    }

    /// Makes sure that there is a walk in `dir`: one that came from elsewhere, or a new one.
    fn enter(&mut self, dir: Ino) {
        let now = self.now.mono;
        let quiet = |walk: &Walk| now.millis_since(walk.last) > PAUSE_MS;
        let came_from = self.walks.latest.replace(dir).filter(|latest| *latest != dir);
        if self.walks.by_folder.get(&dir).is_some_and(|walk| !quiet(walk)) {
            return;
        }
        let root = came_from.filter(|from| self.is_finished(*from)).and_then(|from| {
            let walk = self.walks.by_folder.get(&from).filter(|walk| !quiet(walk))?;
            (walk.streak >= STREAK).then(|| self.common_folder(from, dir)).flatten()
        });
        let moved = root.and_then(|_| self.walks.by_folder.remove(&came_from?));
        match moved {
            Some(walk) => {
                let walk = Walk { root, proven: true, ..walk };
                self.walks.by_folder.insert(dir, walk);
            }
            None => self.walks.begin(dir, now),
        }
    }

    /// Whether the walk in `dir` has opened the last file there.
    fn is_finished(&self, dir: Ino) -> bool {
        let walk = self.walks.by_folder.get(&dir);
        let (Some(at), Some(folder)) = (walk.and_then(|walk| walk.at.as_ref()), self.tree.get(dir))
        else {
            return false;
        };
        let mut later = folder.children.range(at.clone()..).skip(1).take(HEIGHT);
        !later.any(|(_, child)| self.tree.get(*child).is_some_and(Inode::is_file))
    }

    /// The nearest folder that both are in.
    fn common_folder(&self, one: Ino, other: Ino) -> Option<Ino> {
        let mut at = one;
        for _ in 0..HEIGHT {
            if self.tree.is_below(other, at) {
                return Some(at);
            }
            at = self.tree.get(at)?.row.parent;
        }
        None
    }

    fn fetch_siblings(&mut self, dir: Ino, from: &Name) {
        let Some(walk) = self.walks.by_folder.get(&dir) else { return };
        let (number, root) = (walk.number, walk.root);
        let most = if walk.proven { FLIGHTS } else { FLIGHTS_AT_FIRST };
        let mut room = most.saturating_sub(walk.flights);
        if room == 0 {
            return;
        }
        let mut looks = LOOKS;
        let mut files = self.files_of(dir, Some(from), &mut looks);
        let mut folder = dir;
        let (mut trigger, mut loading) = (None, false);
        while room > 0 {
            // More files, from the folders behind.
            while files.len() < SMALL_BATCH
                && looks > 0
                && let Some(next) = root.and_then(|root| self.folder_after(folder, root))
            {
                folder = next;
                looks -= 1;
                if !self.tree.get(next).is_some_and(|inode| inode.loaded) {
                    self.load_folders(next, root);
                    (looks, loading) = (0, true);
                    break;
                }
                files.extend(self.files_of(next, None, &mut looks));
            }
            let batch = self.take_batch(&mut files);
            if batch.is_empty() {
                break;
            }
            trigger = trigger.or(batch.get(batch.len() / 2).copied());
            self.fetch_small(batch, number);
            room -= 1;
        }
        let Some(walk) = self.walks.by_folder.get_mut(&dir) else { return };
        walk.loading = loading;
        if trigger.is_some() {
            walk.flights = most - room;
            walk.trigger = trigger;
        }
    }

    /// Loads the rows of `folder` and of some that a walk below `root` comes to after it.
    fn load_folders(&mut self, folder: Ino, root: Option<Ino>) {
        let mut next = Some(folder);
        for _ in 0..LOADS {
            let Some(folder) = next else { return };
            if !self.tree.get(folder).is_some_and(|inode| inode.loaded) {
                self.load_dir(folder);
            }
            next = root.and_then(|root| self.folder_after(folder, root));
        }
    }

    /// What makes one batch, off the front of `files`.
    fn take_batch(&self, files: &mut Vec<Ino>) -> Vec<Ino> {
        let (mut count, mut bytes) = (0, 0);
        for ino in files.iter().take(SMALL_BATCH) {
            bytes += self.tree.get(*ino).map_or(0, |inode| inode.row.size);
            if bytes > SMALL_BATCH_BYTES {
                break;
            }
            count += 1;
        }
        let rest = files.split_off(count);
        core::mem::replace(files, rest)
    }

    /// The small files in `dir` that are still to be fetched: from `from` on, then those before it.
    fn files_of(&self, dir: Ino, from: Option<&Name>, looks: &mut usize) -> Vec<Ino> {
        let Some(folder) = self.tree.get(dir) else { return Vec::new() };
        let from = from.cloned().unwrap_or_else(Name::none);
        let mut files = Vec::new();
        let around = folder.children.range(from.clone()..).chain(folder.children.range(..from));
        for (_, child) in around.take(*looks) {
            *looks -= 1;
            let wanted = |inode: &&Inode| {
                inode.is_file() && inode.row.size <= SMALL_BYTES && self.is_fetchable(inode)
            };
            if self.tree.get(*child).filter(wanted).is_some() {
                files.push(*child);
            }
            if files.len() >= SMALL_BATCH * FLIGHTS as usize {
                break;
            }
        }
        files
    }

    /// The folder that a walk below `root` comes to after `dir`: folders in a folder before those
    /// beside it, by name.
    fn folder_after(&self, dir: Ino, root: Ino) -> Option<Ino> {
        let is_dir = |ino: &Ino| self.tree.get(*ino).is_some_and(Inode::is_dir);
        let first = |at: &Inode| at.children.values().take(LOOKS).copied().find(is_dir);
        let mut at = self.tree.get(dir)?;
        if let Some(child) = first(at) {
            return Some(child);
        }
        for _ in 0..HEIGHT {
            if at.row.ino == root {
                return None;
            }
            let parent = self.tree.get(at.row.parent)?;
            let mut later = parent.children.range(at.row.name.clone()..).skip(1).take(LOOKS);
            if let Some((_, next)) = later.find(|(_, child)| is_dir(child)) {
                return Some(*next);
            }
            at = parent;
        }
        None
    }

    /// Whether bytes of the file are on their way here, or into its backing file.
    fn is_coming(&self, inode: &Inode) -> bool {
        self.hydration.is_inflight(inode.row.ino) || !inode.busy.is_empty()
    }

    /// Whether the whole file is still to be fetched and nothing is on its way.
    pub(crate) fn is_fetchable(&self, inode: &Inode) -> bool {
        let whole = Range::new(0, inode.row.size);
        inode.row.content_rev.0 != 0
            && !inode.row.pending.has(Pending::CONTENT)
            && !self.is_coming(inode)
            && !inode.absent(whole).is_empty()
    }

    /// Fetches whole small files in one round trip; for the walk of that number, if it is not 0.
    pub(crate) fn fetch_small(&mut self, files: Vec<Ino>, walk: u64) {
        let mut wanted = Vec::new();
        for ino in files {
            let Some(inode) = self.tree.get(ino) else { continue };
            let whole = Range::new(0, inode.row.size);
            wanted.push((ino, base_of(inode)));
            self.hydration.mark(ino, whole);
        }
        let contents = wanted.iter().map(|(_, content)| *content).collect();
        self.hydration.begin();
        self.cloud(Work::FetchSmall { files: wanted, walk }, Cloud::FetchSmall { contents });
    }

    pub(crate) fn small_arrived(
        &mut self,
        files: &[(Ino, ContentRef)],
        walk: u64,
        result: Result<Vec<Result<Bytes, CloudError>>, CloudError>,
    ) {
        self.hydration.end();
        self.walks.landed(walk);
        let mut results = result.map(Vec::into_iter);
        for (ino, content) in files {
            self.hydration.unmark(*ino, Range::new(0, u64::MAX));
            match results.as_mut().map(Iterator::next) {
                Ok(Some(Ok(bytes))) => {
                    self.fill(*ino, *content, 0, &bytes);
                    if self.tree.get(*ino).is_some_and(|inode| inode.busy.is_empty()) {
                        self.wake(Wake::Bytes(*ino));
                    }
                }
                Ok(Some(Err(error))) => self.fetch_failed(*ino, *content, &error),
                // The batch failed as a whole: those who wait ask for their own file.
                Ok(None) | Err(_) => self.wake(Wake::Bytes(*ino)),
            }
        }
    }
}
