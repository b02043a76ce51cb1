//! What is on the disk below the root, beside what is projected.

use super::api::Api;
use crate::{
    decide::{Disk, Print},
    path::{Place, SEPARATOR},
};
use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io,
    os::windows::{
        ffi::{OsStrExt, OsStringExt},
        fs::MetadataExt,
    },
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use windows::{
    Win32::{
        Foundation::{ERROR_FILE_NOT_FOUND, ERROR_NO_MORE_FILES, ERROR_PATH_NOT_FOUND, HANDLE},
        Storage::{
            FileSystem::{
                FIND_FIRST_EX_LARGE_FETCH, FIND_FIRST_EX_ON_DISK_ENTRIES_ONLY, FindClose,
                FindExInfoBasic, FindExSearchNameMatch, FindFirstFileExW, FindNextFileW,
                WIN32_FIND_DATAW,
            },
            ProjectedFileSystem::{
                PRJ_FILE_STATE, PRJ_FILE_STATE_DIRTY_PLACEHOLDER, PRJ_FILE_STATE_FULL,
                PRJ_FILE_STATE_TOMBSTONE,
            },
        },
    },
    core::{HRESULT, PCWSTR},
};

#[derive(Debug)]
pub(crate) struct DiskView {
    pub(crate) api: Arc<Api>,
    pub(crate) root: PathBuf,
    /// By key, what is open for reading, and what was until a moment ago: since when it is closed.
    opened: Mutex<HashMap<Vec<u16>, Option<Instant>>>,
}

/// How long after the driver has closed a file it may be told of what has waited for that.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// A file that is open for reading, and is known to be.
pub(crate) struct Opened<'a> {
    pub(crate) file: File,
    _noted: Noted<'a>,
}

struct Noted<'a>(&'a DiskView, Vec<u16>);

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        let mut opened = self.0.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.insert(std::mem::take(&mut self.1), Some(Instant::now()));
    }
}

impl DiskView {
    pub(crate) fn new(api: Arc<Api>, root: PathBuf) -> DiskView {
        DiskView { api, root, opened: Mutex::default() }
    }

    /// The path that other programs use, with a NUL at the end.
    pub(crate) fn wide(&self, place: &Place) -> Vec<u16> {
        let mut path: Vec<u16> = self.root.as_os_str().encode_wide().collect();
        if !place.is_root() {
            path.push(SEPARATOR);
            path.extend_from_slice(place.units());
        }
        path.push(0);
        path
    }

    pub(crate) fn path(&self, place: &Place) -> PathBuf {
        if place.is_root() {
            return self.root.clone();
        }
        self.root.join(std::ffi::OsString::from_wide(place.units()))
    }

    /// # Errors
    /// When Windows does not say what is there.
    pub(crate) fn look(&self, place: &Place) -> io::Result<Disk> {
        let mut state = PRJ_FILE_STATE::default();
        let path = self.wide(place);
        // SAFETY: the path ends with a NUL; path and state live across the call.
        let asked = unsafe { (self.api.state)(PCWSTR(path.as_ptr()), &raw mut state) };
        if is_nothing(asked) {
            return Ok(Disk::Virtual);
        }
        asked.ok()?;
        if state.contains(PRJ_FILE_STATE_TOMBSTONE) {
            return Ok(Disk::Tombstone);
        }
        let metadata = match std::fs::symlink_metadata(self.path(place)) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Disk::Virtual),
            Err(error) => return Err(error),
        };
        let print = print_of(&metadata);
        Ok(if state.contains(PRJ_FILE_STATE_FULL) {
            if metadata.is_dir() { Disk::Dir } else { Disk::File(print) }
        } else if state.contains(PRJ_FILE_STATE_DIRTY_PLACEHOLDER) && !metadata.is_dir() {
            Disk::Touched(print)
        } else {
            Disk::Placeholder { dir: metadata.is_dir() }
        })
    }

    /// Opens a file without keeping anybody from anything.
    pub(crate) fn open(&self, place: &Place) -> io::Result<Opened<'_>> {
        let key = place.key();
        {
            let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
            opened.retain(|_, closed| is_recent(*closed));
            opened.insert(key.clone(), None);
        }
        let noted = Noted(self, key);
        let file = OpenOptions::new().read(true).open(self.path(place))?;
        Ok(Opened { file, _noted: noted })
    }

    /// Whether a file is open by [`DiskView::open`], or was until a moment ago.
    pub(crate) fn was_open(&self, place: &Place) -> bool {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.get(&place.key()).is_some_and(|closed| is_recent(*closed))
    }

    /// Names in a folder that have something on the disk; tombstones too, what is only projected not.
    pub(crate) fn children(&self, place: &Place) -> io::Result<Vec<Vec<u16>>> {
        let pattern = self.wide(&place.join(&[u16::from(b'*')]));
        let mut found = WIN32_FIND_DATAW::default();
        let flags = FIND_FIRST_EX_ON_DISK_ENTRIES_ONLY | FIND_FIRST_EX_LARGE_FETCH;
        // SAFETY: the pattern ends with a NUL; it and `found` live across the call; `found` is of the
        // type that the level asks for.
        let first = unsafe {
            FindFirstFileExW(
                PCWSTR(pattern.as_ptr()),
                FindExInfoBasic,
                (&raw mut found).cast(),
                FindExSearchNameMatch,
                None,
                flags,
            )
        };
        let search = match first {
            Ok(handle) => Search(handle),
            Err(error) if is_nothing(error.code()) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut names = Vec::new();
        loop {
            let len = found.cFileName.iter().position(|&unit| unit == 0);
            let name = &found.cFileName[..len.unwrap_or(found.cFileName.len())];
            if !name.iter().all(|&unit| unit == u16::from(b'.')) {
                names.push(name.to_vec());
            }
            // SAFETY: the search is open, and `found` lives across the call.
            match unsafe { FindNextFileW(search.0, &raw mut found) } {
                Ok(()) => {}
                Err(error) if error.code() == ERROR_NO_MORE_FILES.to_hresult() => return Ok(names),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn is_recent(closed: Option<Instant>) -> bool {
    closed.is_none_or(|at| at.elapsed() < TOLD_WITHIN)
}

struct Search(HANDLE);

impl Drop for Search {
    fn drop(&mut self) {
        // SAFETY: the handle came from a search that was opened, and is closed once.
        let _ = unsafe { FindClose(self.0) };
    }
}

pub(crate) fn print_of(metadata: &std::fs::Metadata) -> Print {
    Print { size: metadata.len(), written: metadata.last_write_time().cast_signed() }
}

/// Whether it says that there is nothing at a path.
pub(crate) fn is_nothing(result: HRESULT) -> bool {
    result == ERROR_FILE_NOT_FOUND.to_hresult() || result == ERROR_PATH_NOT_FOUND.to_hresult()
}
