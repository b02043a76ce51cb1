//! The bytes: one sparse backing file per inode, at equal offsets, `content/<xx>/<ino>`.
//!
//! `xx` is the low byte of the inode number in hex, the name is the number in decimal: no name that
//! a user or the cloud chose ever becomes a path here. Small writes come here later (`small.rs`).

use crate::journal::Journal;
use crate::small::{Leaving, Part};
use crate::{Error, locked, platform};
use bytes::Bytes;
use fs_core::{Ino, Measure, Range};
use lru::LruCache;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

/// Backing files that are kept open.
const OPEN_MAX: NonZeroUsize = NonZeroUsize::new(512).expect("512 is not 0");
/// Directories that the backing files are spread over.
const SHARDS: usize = 256;
/// Bytes of zeros written at once where a file system cannot punch holes.
const ZEROS: usize = 64 << 10;
/// Unsynced files up to which closing syncs each; above, it syncs the whole file system.
const SYNC_EACH_MAX: usize = 256;
/// The same for small writes that were synced in the journal and go to their files together.
const SYNC_MOVED_MAX: usize = 8;

#[derive(Debug)]
pub(crate) struct Content {
    dir: PathBuf,
    open: Mutex<LruCache<u64, Arc<File>>>,
    files: Mutex<Files>,
    /// Per directory: whether it has entries that might not survive power loss.
    fresh: Vec<Mutex<bool>>,
    /// Where small writes are until they come here; not there during recovery.
    journal: OnceLock<Arc<Journal>>,
}

/// Every backing file there is.
#[derive(Debug, Default)]
struct Files {
    known: HashMap<u64, Known>,
    /// The sum of `Known::bytes`.
    used: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Bytes on the disk.
    bytes: u64,
    /// Counts changes, modulo 2^32, and how far that count was when the last sync began.
    changes: u32,
    synced: u32,
}

impl Content {
    /// Takes stock of the backing files in `dir`, `synced` or perhaps not. Returns also the paths that
    /// are none.
    pub(crate) fn survey(dir: PathBuf, synced: bool) -> Result<(Content, Vec<PathBuf>), Error> {
        let mut files = Files::default();
        let mut strange = Vec::new();
        for shard in list(&dir)? {
            if !shard.is_dir() {
                strange.push(shard);
                continue;
            }
            for path in list(&shard)? {
                let metadata = fs::symlink_metadata(&path).map_err(|e| Error::io(&path, e))?;
                match ino_of(&dir, &path) {
                    Some(ino) if metadata.is_file() => {
                        files.set(ino, platform::allocated(&metadata));
                        if !synced {
                            files.changed(ino);
                        }
                    }
                    _ => strange.push(path),
                }
            }
        }
        let content = Content {
            dir,
            open: Mutex::new(LruCache::new(OPEN_MAX)),
            files: Mutex::new(files),
            fresh: (0..SHARDS).map(|_| Mutex::new(!synced)).collect(),
            journal: OnceLock::new(),
        };
        Ok((content, strange))
    }

    /// From now on small writes may wait in `journal`.
    pub(crate) fn attach(&self, journal: &Arc<Journal>) {
        // Only ever done once.
        let _ = self.journal.set(Arc::clone(journal));
    }

    pub(crate) fn path(&self, ino: Ino) -> PathBuf {
        path_of(&self.dir, ino.0)
    }

    /// Whether there are bytes of `ino`, in a backing file or on their way to it.
    pub(crate) fn exists(&self, ino: Ino) -> bool {
        self.has_file(ino) || self.journal.get().is_some_and(|journal| journal.small.holds(ino.0))
    }

    /// Drops small writes of a dropped node, unless somebody has synced them. Returns whether anything
    /// is left, which has to stay until the drop survives power loss.
    pub(crate) fn drop_unsynced(&self, ino: Ino) -> bool {
        if let Some(journal) = self.journal.get()
            && !journal.small.is_promised(ino.0)
        {
            journal.small.discard(ino.0);
        }
        self.exists(ino)
    }

    fn has_file(&self, ino: Ino) -> bool {
        locked(&self.files).known.contains_key(&ino.0)
    }

    pub(crate) fn inos(&self) -> Vec<Ino> {
        let mut inos: Vec<Ino> = locked(&self.files).known.keys().map(|&ino| Ino(ino)).collect();
        inos.sort_unstable();
        inos
    }

    /// Bytes that the backing files occupy on the disk, or will when all have arrived there.
    pub(crate) fn used(&self) -> u64 {
        let coming = self.journal.get().map_or(0, |journal| journal.small.used());
        locked(&self.files).used + coming
    }

    /// Length of the backing file, `None` if there is none.
    pub(crate) fn len(&self, ino: Ino) -> Result<Option<u64>, Error> {
        match fs::metadata(self.path(ino)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(&self.path(ino), error)),
        }
    }

    pub(crate) fn read(&self, ino: Ino, range: Range) -> Result<Bytes, Error> {
        let len = usize::try_from(range.len()).unwrap_or(usize::MAX);
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(len).map_err(|_| {
            Error::io(&self.path(ino), io::Error::new(ErrorKind::OutOfMemory, "read too large"))
        })?;
        // First what is on its way: if it arrives meanwhile, it is only the same bytes twice.
        let parts = self.parts(ino);
        if let Some(file) = self.open_as_it_is(ino, false)? {
            platform::append_at(&file, &mut buffer, range.start)
                .map_err(|error| Error::io(&self.path(ino), error))?;
        }
        // Beyond the end: zeros. Room beyond what was asked for may have been filled too.
        buffer.resize(len, 0);
        lay_over(&parts, range.start, &mut buffer);
        Ok(Bytes::from(buffer))
    }

    pub(crate) fn read_into(&self, ino: Ino, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let parts = self.parts(ino);
        let read = match self.open_as_it_is(ino, false)? {
            Some(file) => platform::read_at(&file, buffer, offset)
                .map_err(|error| Error::io(&self.path(ino), error))?,
            None => 0,
        };
        buffer[read..].fill(0);
        lay_over(&parts, offset, buffer);
        Ok(())
    }

    fn parts(&self, ino: Ino) -> Vec<Part> {
        self.journal.get().map(|journal| journal.small.parts(ino.0)).unwrap_or_default()
    }

    /// Writes `data`; with `small`, it may wait in the journal if it is a small write into a file that
    /// is new or synced.
    pub(crate) fn write(
        &self,
        ino: Ino,
        offset: u64,
        data: &[u8],
        small: bool,
    ) -> Result<(), Error> {
        if small
            && let Some(journal) = self.journal.get()
            && journal.small.take(ino.0, offset, data, || self.is_synced(ino))
        {
            return Ok(());
        }
        self.change(ino, true, |file| platform::write_at(file, data, offset))
    }

    /// Copies a part of one backing file to another. What lies beyond the end of the source is zeros.
    pub(crate) fn copy(&self, from: Ino, part: Range, to: Ino, offset: u64) -> Result<(), Error> {
        let source = self.open(from, false)?;
        self.change(to, true, |target| {
            let copied = match &source {
                Some(source) => platform::copy_range(source, part, target, offset)?,
                None => 0,
            };
            let rest = Range::at(offset + copied, part.len() - copied);
            if rest.is_empty() {
                return Ok(());
            }
            write_zeros(target, rest)
        })
    }

    pub(crate) fn truncate(&self, ino: Ino, size: u64) -> Result<(), Error> {
        self.change(ino, size > 0, |file| file.set_len(size))
    }

    /// A range that ends beyond the end of the backing file makes it longer: whoever reads it without
    /// asking must see that.
    pub(crate) fn zero(&self, ino: Ino, range: Range) -> Result<(), Error> {
        if range.is_empty() {
            return Ok(());
        }
        self.change(ino, false, |file| {
            let len = file.metadata()?.len();
            let inside = range.clip(Range::new(0, len));
            if range.end > len && i64::try_from(range.end).is_ok() {
                file.set_len(range.end)?;
            }
            if inside.is_empty() {
                return Ok(());
            }
            match platform::punch_hole(file, inside.start, inside.len()) {
                Err(error) if error.kind() == ErrorKind::Unsupported => write_zeros(file, inside),
                result => result,
            }
        })
    }

    pub(crate) fn evict(&self, ino: Ino) -> Result<(), Error> {
        let path = self.path(ino);
        if let Some(journal) = self.journal.get() {
            journal.small.discard(ino.0);
        }
        // Under the lock of open files: nobody may open the file that is being removed.
        let mut open = locked(&self.open);
        open.pop(&ino.0);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(&path, error)),
            _ => {
                locked(&self.files).forget(ino.0);
                Ok(())
            }
        }
    }

    /// Looks at a backing file. What others wrote to it is counted from here on. With `begin` it is made
    /// if it is missing, and handed out for unseen writes next.
    pub(crate) fn measure(&self, ino: Ino, begin: bool, writers: bool) -> Result<Measure, Error> {
        let failed = |error| Error::io(&self.path(ino), error);
        // Before its times are looked at: whoever could write and cannot any more has written by then.
        let writers = writers && self.has_writers(ino).map_err(failed)?;
        let Some(file) = self.open(ino, begin)? else { return Ok(Measure::default()) };
        self.note(ino, &file, || if begin { platform::unwritten(&file) } else { Ok(()) })?;
        let metadata = file.metadata().map_err(failed)?;
        Ok(platform::measure(&metadata, writers))
    }

    /// Whether anybody but this store has the file open, or mapped, for writing. Its own descriptor is
    /// closed for that.
    fn has_writers(&self, ino: Ino) -> io::Result<bool> {
        // Under the lock of open files: this store does not open it meanwhile.
        let mut open = locked(&self.open);
        open.pop(&ino.0);
        match File::open(self.path(ino)) {
            Ok(file) => platform::has_writers(&file),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The backing file for reading, as a descriptor of its own.
    pub(crate) fn backing(&self, ino: Ino) -> Result<Option<File>, Error> {
        self.hand_out(ino)?;
        match File::open(self.path(ino)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(&self.path(ino), error)),
        }
    }

    /// Puts what waits in the journal into the backing file. What is written from here on goes straight
    /// to it, for as long as the kernel has it.
    pub(crate) fn hand_out(&self, ino: Ino) -> Result<(), Error> {
        match self.journal.get() {
            Some(journal) => self.move_one(journal, ino.0),
            None => Ok(()),
        }
    }

    /// Makes the bytes of `ino` in its backing file survive power loss; of a new file also its name.
    /// Those that wait in the journal survive it when the journal has been synced.
    pub(crate) fn sync(&self, ino: Ino) -> Result<(), Error> {
        if let Some(journal) = self.journal.get() {
            journal.small.promise(ino.0);
        }
        self.sync_file(ino)
    }

    fn sync_file(&self, ino: Ino) -> Result<(), Error> {
        // What others write to a file that was handed out is counted by the look that is taken before.
        if self.is_synced(ino) {
            return Ok(());
        }
        let Some(file) = self.open_as_it_is(ino, false)? else { return Ok(()) };
        // Before the sync: a write during it makes the file unsynced again.
        let changes = locked(&self.files).known.get(&ino.0).map(|known| known.changes);
        file.sync_data().map_err(|error| Error::io(&self.path(ino), error))?;
        let shard = shard_of(ino.0);
        // Held while syncing: who finds nothing to do must not return before it is done.
        let mut fresh = locked(&self.fresh[shard]);
        if *fresh {
            for dir in [shard_dir(&self.dir, shard), self.dir.clone()] {
                platform::sync_dir(&dir).map_err(|error| Error::io(&dir, error))?;
            }
            *fresh = false;
        }
        if let Some(known) = locked(&self.files).known.get_mut(&ino.0) {
            known.synced = changes.unwrap_or(known.synced);
        }
        Ok(())
    }

    /// Whether there is nothing in the backing file that power loss could take.
    pub(crate) fn is_synced(&self, ino: Ino) -> bool {
        let files = locked(&self.files);
        files.known.get(&ino.0).is_none_or(|known| known.changes == known.synced)
    }

    /// Makes everything that was written survive power loss.
    pub(crate) fn sync_all(&self) -> Result<(), Error> {
        self.move_all()?;
        let unsynced: Vec<u64> = {
            let files = locked(&self.files);
            let unsynced = files.known.iter().filter(|(_, known)| known.changes != known.synced);
            unsynced.map(|(&ino, _)| ino).collect()
        };
        if unsynced.len() > SYNC_EACH_MAX {
            return platform::sync_all(&self.dir).map_err(|error| Error::io(&self.dir, error));
        }
        unsynced.into_iter().try_for_each(|ino| self.sync_file(Ino(ino)))
    }

    /// Moves small writes into their backing files: some that have waited for long, or because there
    /// are too many. Returns whether there were any.
    pub(crate) fn move_some(&self) -> Result<bool, Error> {
        let Some(journal) = self.journal.get() else { return Ok(false) };
        let leaving = journal.small.begin_some();
        self.move_out(journal, &leaving).map(|()| !leaving.is_empty())
    }

    /// Moves every small write of before this call into its backing file.
    pub(crate) fn move_all(&self) -> Result<(), Error> {
        let Some(journal) = self.journal.get() else { return Ok(()) };
        for ino in journal.small.inos() {
            self.move_one(journal, ino)?;
        }
        Ok(())
    }

    fn move_one(&self, journal: &Journal, ino: u64) -> Result<(), Error> {
        match journal.small.begin(ino) {
            Some(leaving) => self.move_out(journal, &[leaving]),
            None => Ok(()),
        }
    }

    fn move_out(&self, journal: &Journal, leaving: &[Leaving]) -> Result<(), Error> {
        if leaving.is_empty() {
            return Ok(());
        }
        let moved = self.write_out(leaving).and_then(|()| {
            // From here on a replay passes over them: what comes next may go straight to the file.
            let marks: Vec<_> = leaving.iter().map(|left| (left.ino, left.upto())).collect();
            journal.mark(&marks)
        });
        journal.small.end(leaving, moved.is_ok());
        moved
    }

    fn write_out(&self, leaving: &[Leaving]) -> Result<(), Error> {
        for left in leaving {
            let Some(file) = self.open_as_it_is(Ino(left.ino), true)? else { continue };
            self.note(Ino(left.ino), &file, || {
                let mut parts = left.parts.iter();
                parts.try_for_each(|part| platform::write_at(&file, &part.data, part.offset))?;
                // They were written long ago.
                platform::unwritten(&file)
            })?;
        }
        // What was promised goes from one safe place to another.
        let promised: Vec<_> = leaving.iter().filter(|left| left.promised).collect();
        if promised.len() > SYNC_MOVED_MAX {
            return platform::sync_all(&self.dir).map_err(|error| Error::io(&self.dir, error));
        }
        promised.into_iter().try_for_each(|left| self.sync_file(Ino(left.ino)))
    }

    /// Writes what a replay of the journal has found.
    pub(crate) fn restore(&self, part: &Part) -> Result<(), Error> {
        self.change(Ino(part.ino), true, |file| {
            platform::write_at(file, &part.data, part.offset)?;
            platform::unwritten(file)
        })
    }

    /// Moves a backing file away; the caller writes down where to.
    pub(crate) fn move_to(&self, ino: Ino, target: &Path) -> Result<(), Error> {
        let path = self.path(ino);
        self.open(ino, false)?;
        let mut open = locked(&self.open);
        open.pop(&ino.0);
        fs::rename(&path, target).map_err(|error| Error::io(&path, error))?;
        locked(&self.files).forget(ino.0);
        Ok(())
    }

    /// Runs a change of the backing file. Without `create`, a missing file stays missing.
    fn change(
        &self,
        ino: Ino,
        create: bool,
        change: impl FnOnce(&File) -> io::Result<()>,
    ) -> Result<(), Error> {
        let Some(file) = self.open(ino, create)? else { return Ok(()) };
        self.note(ino, &file, || change(&file))
    }

    /// Runs a change and takes note of what the file occupies now.
    fn note(
        &self,
        ino: Ino,
        file: &File,
        change: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), Error> {
        let result = change();
        {
            // The size is read under the lock, so that the last one to write it down is the latest.
            let mut files = locked(&self.files);
            if let Ok(metadata) = file.metadata() {
                files.set(ino.0, platform::allocated(&metadata));
            }
            files.changed(ino.0);
        }
        result.map_err(|error| Error::io(&self.path(ino), error))
    }

    /// Opens the backing file with everything that was written before.
    fn open(&self, ino: Ino, create: bool) -> Result<Option<Arc<File>>, Error> {
        if let Some(journal) = self.journal.get() {
            self.move_one(journal, ino.0)?;
        }
        self.open_as_it_is(ino, create)
    }

    /// Opens the backing file, whatever may still be on its way to it.
    fn open_as_it_is(&self, ino: Ino, create: bool) -> Result<Option<Arc<File>>, Error> {
        if !create && !self.has_file(ino) {
            return Ok(None);
        }
        let mut open = locked(&self.open);
        if let Some(file) = open.get(&ino.0) {
            return Ok(Some(Arc::clone(file)));
        }
        let file = match self.open_file(ino, create) {
            Err(error) if platform::is_out_of_files(&error) => {
                // Others in this process need descriptors more than this cache of them.
                open.clear();
                self.open_file(ino, create)
            }
            result => result,
        };
        match file.map_err(|error| Error::io(&self.path(ino), error))? {
            Some(file) => {
                let file = Arc::new(file);
                open.put(ino.0, Arc::clone(&file));
                Ok(Some(file))
            }
            None => Ok(None),
        }
    }

    fn open_file(&self, ino: Ino, create: bool) -> io::Result<Option<File>> {
        let path = self.path(ino);
        // A new file is made at once: every small file that is saved comes by here.
        if !create || self.has_file(ino) {
            match platform::private_file().open(&path) {
                Ok(file) => return Ok(Some(file)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if !create {
            return Ok(None);
        }
        let shard = shard_of(ino.0);
        let create = || platform::private_file().create(true).truncate(false).open(&path);
        let file = match create() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                platform::private_dir(&shard_dir(&self.dir, shard))?;
                create()?
            }
            result => result?,
        };
        platform::allow_holes(&file)?;
        *locked(&self.fresh[shard]) = true;
        locked(&self.files).set(ino.0, 0);
        Ok(Some(file))
    }
}

impl Files {
    fn set(&mut self, ino: u64, bytes: u64) {
        let known = self.known.entry(ino).or_default();
        self.used = self.used.saturating_sub(known.bytes).saturating_add(bytes);
        known.bytes = bytes;
    }

    fn changed(&mut self, ino: u64) {
        if let Some(known) = self.known.get_mut(&ino) {
            known.changes = known.changes.wrapping_add(1);
        }
    }

    fn forget(&mut self, ino: u64) {
        if let Some(known) = self.known.remove(&ino) {
            self.used = self.used.saturating_sub(known.bytes);
        }
    }
}

fn shard_of(ino: u64) -> usize {
    usize::from(ino.to_le_bytes()[0])
}

fn shard_dir(dir: &Path, shard: usize) -> PathBuf {
    dir.join(format!("{shard:02x}"))
}

fn path_of(dir: &Path, ino: u64) -> PathBuf {
    shard_dir(dir, shard_of(ino)).join(ino.to_string())
}

/// The inode number that a path belongs to, if it is exactly the path of that number.
fn ino_of(dir: &Path, path: &Path) -> Option<u64> {
    let ino = path.file_name()?.to_str()?.parse().ok()?;
    (ino != 0 && path_of(dir, ino) == path).then_some(ino)
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(dir).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()
    });
    entries.map_err(|error| Error::io(dir, error))
}

/// Puts small writes into what was read of their file from `start` on.
fn lay_over(parts: &[Part], start: u64, buffer: &mut [u8]) {
    let read = Range::at(start, buffer.len() as u64);
    for part in parts {
        let range = Range::at(part.offset, part.data.len() as u64).clip(read);
        if !range.is_empty() {
            let (to, from) = ((range.start - start) as usize, (range.start - part.offset) as usize);
            let len = range.len() as usize;
            buffer[to..to + len].copy_from_slice(&part.data[from..from + len]);
        }
    }
}

fn write_zeros(file: &File, range: Range) -> io::Result<()> {
    let zeros = vec![0; ZEROS];
    let mut offset = range.start;
    while offset < range.end {
        let len = (range.end - offset).min(ZEROS as u64);
        platform::write_at(file, &zeros[..len as usize], offset)?;
        offset += len;
    }
    Ok(())
}
