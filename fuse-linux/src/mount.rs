//! A mounted drive, from before it is mounted until after it is gone.

use crate::attach::{self, Options};
use crate::backing::{Backings, Passthrough};
use crate::door::Door;
use crate::error::MountError;
use crate::filesystem::Translator;
use crate::mountinfo::{self, Entry};
use crate::notify::Kernel;
use crate::reattach::{self, Offer, Seen};
use engine::{Driver, Port};
use fuser::{Config, Notifier, Session, SessionACL};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The file system type in the mount table.
pub const FS_TYPE: &str = "fuse.meshdrive";
const SUBTYPE: &str = "meshdrive";
/// Session threads beyond this only cost wake-ups and 16 MiB of address space each.
const MOST_THREADS: usize = 8;
/// Kernel read-ahead in KiB: 128 by default, which makes a distant store slow. Only root may set it.
const READ_AHEAD_KIB: u32 = 4096;

/// Where and how to mount.
#[derive(Clone, Debug)]
pub struct MountConfig {
    pub mountpoint: PathBuf,
    /// Source in the mount table, usually `meshdrive`. No comma, backslash or control character.
    pub fs_name: String,
    /// Let other users in (permissions are still checked). Root always does.
    pub allow_other: bool,
    pub read_only: bool,
    /// Threads that read requests, 1 to 8; 0 means the default of 2.
    pub threads: usize,
    /// Let the kernel read and write whole local files by itself, where it can.
    pub passthrough: bool,
    /// A file in the drive's state folder for what a successor must know of that; without it there is
    /// no passthrough.
    pub passed: Option<PathBuf>,
    /// The program that hands files to the kernel for an ordinary user (see [`crate::registrar`]).
    pub helper: Option<PathBuf>,
}

impl MountConfig {
    #[must_use]
    pub fn new(mountpoint: impl Into<PathBuf>) -> MountConfig {
        MountConfig {
            mountpoint: mountpoint.into(),
            fs_name: SUBTYPE.into(),
            allow_other: false,
            read_only: false,
            threads: 2,
            passthrough: true,
            passed: None,
            helper: None,
        }
    }
}

/// A mounted drive. Dropping it unmounts lazily what is still mounted.
pub struct Mount {
    path: PathBuf,
    device: String,
    notifier: Notifier,
    session: Arc<Ended>,
    door: Door,
    channel: OwnedFd,
    offer: Offer,
    /// Set for a mount that an earlier daemon has served.
    again: Option<Port>,
    backings: Arc<Backings>,
    /// The mount stays when this goes.
    left: AtomicBool,
}

/// What is needed to go on serving a mount when the process that serves it has ended.
#[derive(Debug)]
pub struct Kept {
    /// The open channel to the kernel: while somebody has it, the mount lives.
    pub channel: OwnedFd,
    pub offer: Offer,
    /// The mount point, as [`Mount::path`].
    pub path: PathBuf,
    /// Device number in the mount table, `major:minor`.
    pub device: String,
}

/// How the session ended, once it has.
#[derive(Default)]
struct Ended {
    outcome: Mutex<Option<Result<(), String>>>,
    bell: Condvar,
}

impl Mount {
    /// Mounts the drive behind `port` and serves it from threads of its own. When this returns, the
    /// kernel sends requests: attach [`Mount::driver`] to the engine at once.
    ///
    /// # Errors
    /// Every cause has its own [`MountError`]; nothing stays mounted then.
    pub fn new(config: &MountConfig, port: Port) -> Result<Mount, MountError> {
        attach::check_name(&config.fs_name)?;
        let path = check_mountpoint(&config.mountpoint)?;
        let allow_other = config.allow_other || rustix::process::geteuid().is_root();
        let options = Options {
            source: config.fs_name.clone(),
            subtype: SUBTYPE,
            allow_other,
            read_only: config.read_only,
        };
        let channel = attach::attach(&path, &options)?;
        let guard = DetachOnDrop(Some(&path));
        let failed = |source| MountError::Handshake { path: path.clone(), source };
        let (acl, serving) = serving(config);
        let (door, seen) = (Door::new(port), Seen::default());
        let kept = channel.try_clone().map_err(failed)?;
        let backings = Backings::new(config, true);
        backings.set_channel(channel.try_clone().map_err(failed)?);
        let passing = (Arc::clone(&backings), config.passthrough);
        let translator = Translator::new(door.clone(), Arc::clone(&seen), passing);
        let session = Session::from_fd(translator, channel, acl, serving).map_err(failed)?;
        let notifier = session.notifier();
        let device = mountinfo::at(&path).map_err(failed)?.map(|entry| entry.device);
        let device = device.unwrap_or_default();
        let ended = serve(session, (path.clone(), device.clone())).map_err(failed)?;
        guard.keep();
        raise_read_ahead(&device);
        let offer = *seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (again, left) = (None, AtomicBool::new(false));
        Ok(Mount {
            path,
            device,
            notifier,
            session: ended,
            door,
            channel: kept,
            offer,
            again,
            backings,
            left,
        })
    }

    /// Goes on serving a mount that an earlier process has served; `config` is as it was then. Nothing
    /// that the kernel or a program may touch of the mount is touched before it is served.
    ///
    /// # Errors
    /// `Handshake`; the mount stays as it was.
    pub fn again(config: &MountConfig, port: Port, kept: Kept) -> Result<Mount, MountError> {
        let Kept { channel, offer, path, device } = kept;
        let failed = |source| MountError::Handshake { path: path.clone(), source };
        let (door, seen) = (Door::new(port.clone()), Seen::default());
        let backings = Backings::new(config, false);
        backings.set_channel(channel.try_clone().map_err(failed)?);
        let passing = (Arc::clone(&backings), config.passthrough);
        let translator = Translator::new(door.clone(), seen, passing);
        let session = reattach::session(translator, &channel, &offer, serving(config));
        let session = session.map_err(failed)?;
        if let Err(error) = reattach::doubt_names(&channel) {
            tracing::debug!(%error, "this kernel cannot be told to look up all names again");
        }
        match reattach::resend(&channel) {
            // Unmounted meanwhile: the session will notice.
            Err(error) if error.raw_os_error() != Some(libc::ENODEV) => return Err(failed(error)),
            _ => {}
        }
        let notifier = session.notifier();
        let ended = serve(session, (path.clone(), device.clone())).map_err(failed)?;
        let (again, left) = (Some(port), AtomicBool::new(false));
        Ok(Mount {
            path,
            device,
            notifier,
            session: ended,
            door,
            channel,
            offer,
            again,
            backings,
            left,
        })
    }

    /// What another process needs to go on with this mount; `None` on a kernel that could not send
    /// requests again that were in flight.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn keep(&self) -> io::Result<Option<Kept>> {
        if !self.offer.can_resend() {
            return Ok(None);
        }
        let channel = self.channel.try_clone()?;
        let (path, device) = (self.path.clone(), self.device.clone());
        Ok(Some(Kept { channel, offer: self.offer, path, device }))
    }

    /// Stops serving without unmounting, for a successor: requests that came in are answered, at most
    /// for `limit`, all others wait for it. Says whether none of those that came in is left.
    pub fn leave(&self, limit: Duration) -> bool {
        self.left.store(true, Ordering::Release);
        self.door.shut(limit)
    }

    /// What the engine tells invalidations to.
    #[must_use]
    pub fn driver(&self) -> Arc<dyn Driver> {
        let (notifier, again) = (self.notifier.clone(), self.again.clone());
        Arc::new(Kernel::new(notifier, again, Arc::clone(&self.backings)))
    }

    /// Whether files are handed to the kernel; it may turn out only at the first open that they cannot be.
    #[must_use]
    pub fn passthrough(&self) -> Passthrough {
        self.backings.report()
    }

    /// The mount point, absolute and without links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Unmounts; no error if that has been done already. `lazy`: takes it out of the tree at once, while
    /// programs that have files open can go on until they close them.
    ///
    /// # Errors
    /// `Busy` when a program uses it (never with `lazy`); `Unmount` with what the system says.
    pub fn unmount(&self, lazy: bool) -> Result<(), MountError> {
        if self.mounted() { attach::detach(&self.path, lazy) } else { Ok(()) }
    }

    /// Whether the drive is in the tree, at its place. False as soon as it was unmounted, by whomever.
    #[must_use]
    pub fn mounted(&self) -> bool {
        // Another mount may lie there by now: it is not ours to touch. Its device number is another one,
        // as long as ours is in use, which ends with the session.
        !self.ended() && is_mounted(&self.path, &self.device)
    }

    /// Whether the session is over: unmounted (by whomever), with no user left.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.session.lock().is_some()
    }

    /// Blocks until the session is over: unmounted by `unmount` or from outside, and no longer used.
    ///
    /// # Errors
    /// What ended it, if it was not an unmount.
    pub fn wait(&self) -> Result<(), MountError> {
        let mut outcome = self.session.lock();
        loop {
            if let Some(outcome) = outcome.as_ref() {
                return self.outcome(outcome);
            }
            outcome = self.session.bell.wait(outcome).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Like [`Mount::wait`], at most for `limit`; false when the session still runs then.
    ///
    /// # Errors
    /// As for [`Mount::wait`].
    pub fn wait_for(&self, limit: Duration) -> Result<bool, MountError> {
        let end = Instant::now() + limit;
        let mut outcome = self.session.lock();
        loop {
            if let Some(outcome) = outcome.as_ref() {
                return self.outcome(outcome).map(|()| true);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let woken = self.session.bell.wait_timeout(outcome, left);
            outcome = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn outcome(&self, outcome: &Result<(), String>) -> Result<(), MountError> {
        outcome.clone().map_err(|detail| MountError::Refused { path: self.path.clone(), detail })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.left.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = self.unmount(true) {
            tracing::warn!(%error, "the mount is left behind");
        }
    }
}

/// Takes away the mount of `device` at `path`, if it is the one on top there: at once, while programs
/// that use it get errors when its channel is closed. Never waits for a daemon.
///
/// # Errors
/// `Unmount` with what the system says.
pub fn detach(path: &Path, device: &str) -> Result<(), MountError> {
    match mountinfo::at(path) {
        Ok(Some(entry)) if entry.device == device && entry.fs_type == FS_TYPE => {
            attach::detach(path, true)
        }
        _ => Ok(()),
    }
}

impl Ended {
    fn lock(&self) -> MutexGuard<'_, Option<Result<(), String>>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a fresh mount away again unless all went well.
struct DetachOnDrop<'a>(Option<&'a Path>);

impl DetachOnDrop<'_> {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for DetachOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.0
            && let Err(error) = attach::detach(path, true)
        {
            tracing::warn!(%error, "a mount that failed is left behind");
        }
    }
}

fn serving(config: &MountConfig) -> (SessionACL, Config) {
    let allow_other = config.allow_other || rustix::process::geteuid().is_root();
    let acl = if allow_other { SessionACL::All } else { SessionACL::Owner };
    let mut serving = Config::default();
    serving.acl = acl;
    serving.n_threads = Some(threads(config.threads));
    (acl, serving)
}

fn threads(wanted: usize) -> usize {
    if wanted == 0 { 2 } else { wanted.min(MOST_THREADS) }
}

fn is_mounted(path: &Path, device: &str) -> bool {
    matches!(mountinfo::at(path), Ok(Some(entry)) if entry.device == device)
}

fn is_abort(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ECONNABORTED)
}

fn serve(
    session: Session<Translator>,
    (path, device): (PathBuf, String),
) -> io::Result<Arc<Ended>> {
    let ended = Arc::new(Ended::default());
    let report = Arc::clone(&ended);
    thread::Builder::new().name("fuse-session".into()).spawn(move || {
        let outcome = match session.run() {
            // Who just takes a request when the last user leaves is told so, as if of an abort.
            Err(error) if is_abort(&error) && !is_mounted(&path, &device) => Ok(()),
            outcome => outcome.map_err(|error| error.to_string()),
        };
        if let Err(error) = &outcome {
            tracing::error!(%error, "the FUSE session ended with an error");
        }
        *report.lock() = Some(outcome);
        report.bell.notify_all();
    })?;
    Ok(ended)
}

/// The mount point as an absolute path without links, if it can be used.
pub(crate) fn check_mountpoint(path: &Path) -> Result<PathBuf, MountError> {
    let meta = fs::metadata(path).map_err(|source| match source.raw_os_error() {
        Some(libc::ENOENT) => MountError::Missing(path.into()),
        Some(libc::ENOTDIR) => MountError::NotDirectory(path.into()),
        Some(libc::ENOTCONN) => MountError::Dead(path.into()),
        _ => MountError::Path { path: path.into(), source },
    })?;
    if !meta.is_dir() {
        return Err(MountError::NotDirectory(path.into()));
    }
    let failed = |source| MountError::Path { path: path.into(), source };
    let path = fs::canonicalize(path).map_err(failed)?;
    // On a volume of another kind a drive may be mounted; on a drive only by mistake.
    if let Some(Entry { fs_type, .. }) = mountinfo::at(&path).map_err(failed)?
        && fs_type == FS_TYPE
    {
        return Err(match rustix::fs::statvfs(&path) {
            // What `metadata` said came from the kernel's cache.
            Err(rustix::io::Errno::NOTCONN) => MountError::Dead(path),
            _ => MountError::AlreadyMounted { path, fs_type },
        });
    }
    if fs::read_dir(&path).map_err(failed)?.next().is_some() {
        return Err(MountError::NotEmpty(path));
    }
    Ok(path)
}

/// Takes away a mount of ours at `path` whose program has died; says whether there was one. Mounts of
/// others, and mounts that are served, are left alone.
///
/// # Errors
/// `Dead` when what is dead there is not ours; otherwise why it could not be taken away.
pub fn recover_dead_mount(path: &Path) -> Result<bool, MountError> {
    // Not `stat`: the kernel answers that from its cache, as if the program were alive.
    match rustix::fs::statvfs(path) {
        Err(rustix::io::Errno::NOTCONN) => {}
        _ => return Ok(false),
    }
    let failed = |source| MountError::Path { path: path.into(), source };
    // The path itself cannot be resolved, its folder can.
    let absolute = std::path::absolute(path).map_err(failed)?;
    let place = match (absolute.parent(), absolute.file_name()) {
        (Some(folder), Some(name)) => fs::canonicalize(folder).map_err(failed)?.join(name),
        _ => absolute,
    };
    match mountinfo::at(&place).map_err(failed)? {
        Some(entry) if entry.fs_type == FS_TYPE => {
            attach::detach(&place, true)?;
            tracing::warn!(path = %place.display(), "removed the mount that a crash left behind");
            Ok(true)
        }
        _ => Err(MountError::Dead(place)),
    }
}

/// Best effort: only root may, and without it the engine's own read-ahead does the work.
fn raise_read_ahead(device: &str) {
    let file = format!("/sys/class/bdi/{device}/read_ahead_kb");
    if let Err(error) = fs::write(&file, READ_AHEAD_KIB.to_string()) {
        tracing::debug!(%file, %error, "the kernel's read-ahead stays at its default");
    }
}
