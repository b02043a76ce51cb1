//! `lost+found/`: what recovery could not place, and a text file that says what it is.

use crate::{Error, content::Content, platform};
use fs_core::Ino;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Tries to find a free name.
const NAMES_MAX: u32 = 1_000_000;

pub(crate) struct LostFound {
    dir: PathBuf,
    /// The index of this start is not the one of the last run.
    new_index: bool,
}

impl LostFound {
    pub(crate) fn new(dir: PathBuf) -> LostFound {
        LostFound { dir, new_index: false }
    }

    pub(crate) fn has_index(&self) -> bool {
        self.new_index
    }

    pub(crate) fn set_has_index(&mut self) {
        self.new_index = true;
    }

    /// Moves a file here, under its own name or one like it.
    pub(crate) fn keep(&self, path: &Path, why: &str) -> Result<PathBuf, Error> {
        let target = self.free_name(path)?;
        fs::rename(path, &target).map_err(|error| Error::io(path, error))?;
        self.note(&target, why)?;
        Ok(target)
    }

    /// Copies a file here.
    pub(crate) fn copy(&self, path: &Path, why: &str) -> Result<PathBuf, Error> {
        let target = self.free_name(path)?;
        fs::copy(path, &target).map_err(|error| Error::io(&target, error))?;
        self.note(&target, why)?;
        Ok(target)
    }

    /// Moves the backing file of `ino` here.
    pub(crate) fn keep_content(&self, content: &Content, ino: Ino, why: &str) -> Result<(), Error> {
        let target = self.free_name(&content.path(ino))?;
        content.move_to(ino, &target)?;
        self.note(&target, why)
    }

    /// Moves an index with its log here; returns where the index is now.
    pub(crate) fn keep_index(&mut self, path: &Path) -> Result<PathBuf, Error> {
        let target = self.free_name(path)?;
        // The log first: an index without its log may look sound, a log alone is only a stray.
        for ending in ["-wal", "-shm", ""] {
            let (from, to) = (with_ending(path, ending), with_ending(&target, ending));
            match fs::rename(&from, &to) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Error::io(&from, error));
                }
                _ => {}
            }
        }
        self.note(&target, "an index that was damaged")?;
        self.new_index = true;
        Ok(target)
    }

    fn free_name(&self, path: &Path) -> Result<PathBuf, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name_of = |number: u32| match number {
            0 => self.dir.join(&name),
            number => self.dir.join(format!("{name}.{number}")),
        };
        let free = (0..NAMES_MAX).map(name_of).find(|target| fs::symlink_metadata(target).is_err());
        free.ok_or_else(|| {
            let text = "no free name left; look through lost+found and empty it";
            Error::io(&self.dir, std::io::Error::new(ErrorKind::AlreadyExists, text))
        })
    }

    /// Says in `INDEX.txt` what a file is.
    fn note(&self, target: &Path, why: &str) -> Result<(), Error> {
        let path = self.dir.join("INDEX.txt");
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let line = format!("{name}: {}\n", why.escape_debug());
        let append = || {
            let mut file = platform::private_file().append(true).create(true).open(&path)?;
            file.write_all(line.as_bytes())
        };
        append().map_err(|error| Error::io(&path, error))
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
