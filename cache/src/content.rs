//! The bytes: one sparse backing file per inode, at equal offsets, `content/<xx>/<ino>`.
//!
//! `xx` is the low byte of the inode number in hex, the name is the number in decimal: no name that
//! a user or the cloud chose ever becomes a path here.

use crate::{Error, locked, platform};
use bytes::Bytes;
use fs_core::{Ino, Measure, Range};
use lru::LruCache;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Backing files that are kept open.
const OPEN_MAX: NonZeroUsize = NonZeroUsize::new(512).expect("512 is not 0");
/// Directories that the backing files are spread over.
const SHARDS: usize = 256;
/// Bytes of zeros written at once where a file system cannot punch holes.
const ZEROS: usize = 64 << 10;
/// Unsynced files up to which closing syncs each; above, it syncs the whole file system.
const SYNC_EACH_MAX: usize = 256;

#[derive(Debug)]
pub(crate) struct Content {
    dir: PathBuf,
    open: Mutex<LruCache<u64, Arc<File>>>,
    files: Mutex<Files>,
    /// Per directory: whether it has entries that might not survive power loss.
    fresh: Vec<Mutex<bool>>,
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
    /// Written since it was last synced by this process.
    unsynced: bool,
}

impl Content {
    /// Takes stock of the backing files in `dir`. Returns also the paths that are none.
    pub(crate) fn survey(dir: PathBuf) -> Result<(Content, Vec<PathBuf>), Error> {
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
                    }
                    _ => strange.push(path),
                }
            }
        }
        let content = Content {
            dir,
            open: Mutex::new(LruCache::new(OPEN_MAX)),
            files: Mutex::new(files),
            fresh: (0..SHARDS).map(|_| Mutex::new(false)).collect(),
        };
        Ok((content, strange))
    }

    pub(crate) fn path(&self, ino: Ino) -> PathBuf {
        path_of(&self.dir, ino.0)
    }

    pub(crate) fn exists(&self, ino: Ino) -> bool {
        locked(&self.files).known.contains_key(&ino.0)
    }

    pub(crate) fn inos(&self) -> Vec<Ino> {
        let mut inos: Vec<Ino> = locked(&self.files).known.keys().map(|&ino| Ino(ino)).collect();
        inos.sort_unstable();
        inos
    }

    /// Bytes that the backing files occupy on the disk.
    pub(crate) fn used(&self) -> u64 {
        locked(&self.files).used
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
        if let Some(file) = self.open(ino, false)? {
            platform::append_at(&file, &mut buffer, range.start)
                .map_err(|error| Error::io(&self.path(ino), error))?;
        }
        // Beyond the end: zeros. Room beyond what was asked for may have been filled too.
        buffer.resize(len, 0);
        Ok(Bytes::from(buffer))
    }

    pub(crate) fn read_into(&self, ino: Ino, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let read = match self.open(ino, false)? {
            Some(file) => platform::read_at(&file, buffer, offset)
                .map_err(|error| Error::io(&self.path(ino), error))?,
            None => 0,
        };
        buffer[read..].fill(0);
        Ok(())
    }

    pub(crate) fn write(&self, ino: Ino, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.change(ino, true, |file| platform::write_at(file, data, offset))
    }

    pub(crate) fn truncate(&self, ino: Ino, size: u64) -> Result<(), Error> {
        self.change(ino, size > 0, |file| file.set_len(size))
    }

    pub(crate) fn zero(&self, ino: Ino, range: Range) -> Result<(), Error> {
        if range.is_empty() {
            return Ok(());
        }
        self.change(ino, false, |file| {
            let inside = range.clip(Range::new(0, file.metadata()?.len()));
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

    /// Looks at a backing file. What others wrote to it is counted from here on.
    pub(crate) fn measure(&self, ino: Ino, create: bool, writers: bool) -> Result<Measure, Error> {
        let failed = |error| Error::io(&self.path(ino), error);
        // Before its times are looked at: whoever could write and cannot any more has written by then.
        let writers = writers && self.has_writers(ino).map_err(failed)?;
        let Some(file) = self.open(ino, create)? else { return Ok(Measure::default()) };
        let metadata = file.metadata().map_err(failed)?;
        let mut files = locked(&self.files);
        files.set(ino.0, platform::allocated(&metadata));
        files.set_unsynced(ino.0, true);
        Ok(platform::measure(&metadata, writers))
    }

    /// Whether anybody but this store has the file open, or mapped, for writing. Its own descriptor is
    /// closed for that.
    fn has_writers(&self, ino: Ino) -> io::Result<bool> {
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
        match File::open(self.path(ino)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(&self.path(ino), error)),
        }
    }

    /// Makes the bytes of `ino` survive power loss; of a new file also its name.
    pub(crate) fn sync(&self, ino: Ino) -> Result<(), Error> {
        let Some(file) = self.open(ino, false)? else { return Ok(()) };
        // Before the sync: a write during it makes the file unsynced again.
        locked(&self.files).set_unsynced(ino.0, false);
        if let Err(error) = file.sync_data() {
            locked(&self.files).set_unsynced(ino.0, true);
            return Err(Error::io(&self.path(ino), error));
        }
        let shard = shard_of(ino.0);
        // Held while syncing: who finds nothing to do must not return before it is done.
        let mut fresh = locked(&self.fresh[shard]);
        if *fresh {
            for dir in [shard_dir(&self.dir, shard), self.dir.clone()] {
                platform::sync_dir(&dir).map_err(|error| Error::io(&dir, error))?;
            }
            *fresh = false;
        }
        Ok(())
    }

    /// Makes everything that was written survive power loss.
    pub(crate) fn sync_all(&self) -> Result<(), Error> {
        let unsynced: Vec<u64> = {
            let files = locked(&self.files);
            files.known.iter().filter(|(_, known)| known.unsynced).map(|(&ino, _)| ino).collect()
        };
        if unsynced.len() > SYNC_EACH_MAX {
            return platform::sync_all(&self.dir).map_err(|error| Error::io(&self.dir, error));
        }
        unsynced.into_iter().try_for_each(|ino| self.sync(Ino(ino)))
    }

    /// Moves a backing file away; the caller writes down where to.
    pub(crate) fn move_to(&self, ino: Ino, target: &Path) -> Result<(), Error> {
        let path = self.path(ino);
        let mut open = locked(&self.open);
        open.pop(&ino.0);
        fs::rename(&path, target).map_err(|error| Error::io(&path, error))?;
        locked(&self.files).forget(ino.0);
        Ok(())
    }

    /// Runs a change of the backing file and takes note of what it occupies now. Without `create`,
    /// a missing file stays missing.
    fn change(
        &self,
        ino: Ino,
        create: bool,
        change: impl FnOnce(&File) -> io::Result<()>,
    ) -> Result<(), Error> {
        let Some(file) = self.open(ino, create)? else { return Ok(()) };
        let result = change(&file);
        {
            // The size is read under the lock, so that the last one to write it down is the latest.
            let mut files = locked(&self.files);
            if let Ok(metadata) = file.metadata() {
                files.set(ino.0, platform::allocated(&metadata));
            }
            files.set_unsynced(ino.0, true);
        }
        result.map_err(|error| Error::io(&self.path(ino), error))
    }

    fn open(&self, ino: Ino, create: bool) -> Result<Option<Arc<File>>, Error> {
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
        if !create || self.exists(ino) {
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

    fn set_unsynced(&mut self, ino: u64, unsynced: bool) {
        if let Some(known) = self.known.get_mut(&ino) {
            known.unsynced = unsynced;
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
