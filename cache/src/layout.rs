//! The files of a state directory, and the right to use them.

use crate::{Error, platform};
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where everything lies below the state directory.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) dir: PathBuf,
}

impl Layout {
    /// Makes the directories that are missing; only this user may enter them.
    pub(crate) fn create(dir: &Path) -> Result<Layout, Error> {
        let layout = Layout { dir: dir.to_owned() };
        for dir in [layout.dir.clone(), layout.journal(), layout.content(), layout.lost()] {
            platform::private_dir(&dir).map_err(|error| Error::io(&dir, error))?;
        }
        platform::spread_entries(&layout.content());
        Ok(layout)
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.dir.join("index.sqlite")
    }
    pub(crate) fn journal(&self) -> PathBuf {
        self.dir.join("journal")
    }
    pub(crate) fn content(&self) -> PathBuf {
        self.dir.join("content")
    }
    pub(crate) fn lost(&self) -> PathBuf {
        self.dir.join("lost+found")
    }
    pub(crate) fn reserve(&self) -> PathBuf {
        self.dir.join("reserve")
    }
    /// There when the index shall be made anew at the next start; its text says why. A user may
    /// make it too.
    pub(crate) fn rebuild(&self) -> PathBuf {
        self.dir.join("rebuild-index")
    }
    /// There while the store is open: whoever finds it follows an unclean stop.
    pub(crate) fn running(&self) -> PathBuf {
        self.dir.join("running")
    }
}

/// How long a lock is waited for. A process that is just ending, or a child that was forked and has
/// not yet become another program, holds it a moment longer.
const PATIENCE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(10);

/// The exclusive right to a state directory, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    pub(crate) fn take(dir: &Path) -> Result<Lock, Error> {
        let path = dir.join("lock");
        let opened = platform::private_file().create(true).truncate(false).open(&path);
        let mut file = opened.map_err(|error| Error::io(&path, error))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(POLL);
                }
                Err(TryLockError::WouldBlock) => return Err(in_use(&path, &mut file)),
                Err(TryLockError::Error(error)) => return Err(Error::io(&path, error)),
            }
        }
        // For people only: the lock is the lock, whatever the file says.
        let pid = std::process::id().to_string();
        let named = file.set_len(0).and_then(|()| file.write_all(pid.as_bytes()));
        if let Err(error) = named {
            tracing::debug!(path = %path.display(), %error, "could not write the owner's pid");
        }
        Ok(Lock { _file: file })
    }
}

/// The longest text read from the lock file, in bytes: a process id.
const PID_MAX: u64 = 20;

fn in_use(path: &Path, file: &mut File) -> Error {
    let mut pid = String::new();
    let read = file.rewind().and_then(|()| file.take(PID_MAX).read_to_string(&mut pid));
    let who = if read.is_ok() && !pid.is_empty() { format!(" (pid {pid})") } else { String::new() };
    let text = format!(
        "another process{who} is using this state directory; stop it, or choose another directory"
    );
    let source = io::Error::new(ErrorKind::ResourceBusy, text);
    Error::Io { path: path.display().to_string(), source }
}

/// How the last run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LastStop {
    /// It said goodbye, or there was none.
    Clean,
    /// The process died; what it wrote is in the operating system's cache or on the disk.
    Killed,
    /// The system stopped: what was never synced may be missing or garbage.
    PowerLoss,
}

/// The longest boot id, in bytes.
const BOOT_ID_MAX: u64 = 256;

pub(crate) fn last_stop(layout: &Layout, boot: Option<&str>) -> Result<LastStop, Error> {
    let path = layout.running();
    let mut before = String::new();
    match File::open(&path) {
        Ok(file) => {
            let read = file.take(BOOT_ID_MAX).read_to_string(&mut before);
            read.map_err(|error| Error::io(&path, error))?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(LastStop::Clean),
        Err(error) => return Err(Error::io(&path, error)),
    }
    let same = boot.is_some_and(|boot| boot == before.trim());
    Ok(if same { LastStop::Killed } else { LastStop::PowerLoss })
}

/// Says durably that the store is open in this boot. The old mark is replaced as a whole.
pub(crate) fn mark_running(layout: &Layout, boot: Option<&str>) -> Result<(), Error> {
    let (path, draft) = (layout.running(), layout.dir.join("running.new"));
    let write = || {
        let mut file = platform::private_file().create(true).truncate(true).open(&draft)?;
        file.write_all(boot.unwrap_or("unknown").as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&draft, &path)?;
        platform::sync_dir(&layout.dir)
    };
    write().map_err(|error| Error::io(&path, error))
}

/// Says durably that the store was closed and everything in it is on the disk.
pub(crate) fn mark_clean(layout: &Layout) -> Result<(), Error> {
    remove(layout, &layout.running())
}

/// The index was made anew, or there was no need.
pub(crate) fn forget_rebuild(layout: &Layout) -> Result<(), Error> {
    remove(layout, &layout.rebuild())
}

fn remove(layout: &Layout, path: &Path) -> Result<(), Error> {
    let removed = std::fs::remove_file(path).and_then(|()| platform::sync_dir(&layout.dir));
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path, error)),
        _ => Ok(()),
    }
}

/// Notes that the index is damaged where no check at the next start would find it.
pub(crate) fn ask_for_rebuild(layout: &Layout, why: &str) {
    let path = layout.rebuild();
    let opened = platform::private_file().create(true).truncate(true).open(&path);
    if let Err(error) = opened.and_then(|mut file| file.write_all(why.as_bytes())) {
        tracing::error!(path = %path.display(), %error, "cannot note that the index is damaged");
    }
}
