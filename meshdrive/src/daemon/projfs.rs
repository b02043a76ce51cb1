//! The drive as a folder that Windows projects, with a drive letter if it is mounted at one.

use super::{Plan, convert, keeper::Kept};
use crate::{
    dirs::{Dirs, Label},
    failure::{Attempt, Failure, Kind, Outcome},
    system::autostart,
};
use engine::{Driver, Port};
use fs_core::{FsError, Name};
use projfs_windows::{
    path::Place,
    windows::{self as projected, Api, Letter, Lettered, MountError as StartError, RenameError},
};
use protocol::control::{PathText, Refusal, RefusalCode};
use std::{
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How long an unmount waits until the core knows of all that was done.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);
/// Multipliers and start of FNV-1a for 64 bits, and another start for the second half of an id.
const FNV: u64 = 0x0100_0000_01b3;
const STARTS: [u64; 2] = [0xcbf2_9ce4_8422_2325, 0x6c62_272e_07bb_0142];

/// A projected drive. Dropping it stops it.
pub(crate) struct Mount {
    projected: projected::Mount,
    lettered: Mutex<Option<Lettered>>,
    at: PathBuf,
    root: PathBuf,
    /// The name of what mounts it at logon, if anything is to.
    at_logon: Option<String>,
    ended: AtomicBool,
}

/// Why a drive stays mounted.
#[derive(Debug)]
pub(crate) enum MountError {
    Busy(PathBuf),
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MountError::Busy(at) = self;
        write!(f, "{} is in use", at.display())
    }
}

impl Mount {
    pub(crate) fn path(&self) -> &Path {
        &self.at
    }

    pub(crate) fn driver(&self) -> Arc<dyn Driver> {
        self.projected.driver()
    }

    /// Stops to project. `lazy`: also when the core does not know everything yet; the next mount finds it.
    pub(crate) fn unmount(&self, lazy: bool) -> Result<(), MountError> {
        if !self.ended() && !lazy && !self.projected.settle(SETTLE_LIMIT) {
            return Err(MountError::Busy(self.at.clone()));
        }
        self.projected.stop();
        drop(self.lettered.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.ended.store(true, Ordering::Release);
        Ok(())
    }

    pub(crate) fn mounted(&self) -> bool {
        !self.ended()
    }

    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Nobody takes over.
    pub(crate) fn leave(&self, _limit: Duration) -> bool {
        self.unmount(true).is_ok()
    }
}

/// A crash leaves nothing that would be in the way.
pub(super) fn recover(_plan: &Plan) -> Outcome {
    Ok(())
}

/// A letter, or the folder from the root.
pub(super) fn shown(mountpoint: &Path) -> PathBuf {
    mountpoint.to_owned()
}

fn letter(mountpoint: &Path) -> Option<Letter> {
    mountpoint.to_str()?.parse().ok()
}

/// The folder that a drive is projected into: behind a letter it is one with the drive's state.
pub(crate) fn projected_root(dirs: &Dirs, label: &Label, mountpoint: &Path) -> PathBuf {
    match letter(mountpoint) {
        Some(_) => dirs.drive_state(label).join("root"),
        None => mountpoint.to_owned(),
    }
}

pub(super) fn mount(
    plan: &Plan,
    port: Port,
    disk: &cache::DiskStore,
    kept: Option<Kept>,
) -> Outcome<Mount> {
    if let Some(kept) = kept {
        match kept {}
    }
    let root = projected_root(&plan.dirs, &plan.label, &plan.mountpoint);
    let mut replica = [0; 16];
    let number = disk.replica().attempt(|| "cannot ask the local state for its number".into())?;
    replica[..8].copy_from_slice(&number.to_le_bytes());
    let options = projected::Options {
        root: root.clone(),
        ledger: plan.dirs.drive_state(&plan.label).join("projfs.sqlite"),
        replica,
        instance: instance_of(&root),
        read_only: plan.read_only,
    };
    let api = Api::load().map_err(|missing| start_failure(missing.into()))?;
    let projected = projected::Mount::start(api, port, &options).map_err(start_failure)?;
    let lettered = letter(&plan.mountpoint).map(|letter| lettered(letter, &root)).transpose()?;
    Ok(Mount {
        projected,
        lettered: Mutex::new(lettered),
        at: plan.mountpoint.clone(),
        root,
        at_logon: plan.detached.then(|| value_name(plan)).flatten(),
        ended: AtomicBool::new(false),
    })
}

fn lettered(letter: Letter, root: &Path) -> Outcome<Lettered> {
    Lettered::new(letter, root).map_err(|error| {
        let busy = error.kind() == std::io::ErrorKind::AlreadyExists;
        let kind = if busy { Kind::Busy } else { Kind::General };
        Failure::new(kind, format!("cannot mount at {letter}: {error}"))
            .hint("choose another letter, or a folder")
    })
}

/// The id of a root: the same for every mount of it, also when the local state was lost.
fn instance_of(root: &Path) -> [u8; 16] {
    let text = root.to_string_lossy().to_lowercase();
    let hash = |start| {
        text.bytes().fold(start, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV))
    };
    let mut id = [0; 16];
    for (half, start) in id.chunks_exact_mut(8).zip(STARTS) {
        half.copy_from_slice(&hash(start).to_le_bytes());
    }
    id
}

/// As unique as the control pipe's.
fn value_name(plan: &Plan) -> Option<String> {
    let pipe = plan.dirs.socket(&plan.label);
    Some(pipe.file_name()?.to_string_lossy().into_owned())
}

/// Lets Windows mount the drive again at the next logon, until it is unmounted.
pub(super) fn serving(plan: &Plan, mount: &Mount) {
    let Some(name) = &mount.at_logon else { return };
    let words: Vec<&OsStr> = plan.at_logon.iter().map(|word| word.as_os_str()).collect();
    if let Err(error) = autostart::set(name, &words) {
        tracing::warn!(%error, "it will not be mounted at the next logon");
    }
}

/// What answers once the drive is there.
pub(super) fn answers_at(mount: &Mount) -> &Path {
    &mount.root
}

fn start_failure(error: StartError) -> Failure {
    let kind = match &error {
        StartError::Missing(_) => Kind::Usage,
        _ => Kind::General,
    };
    Failure::new(kind, error)
}

/// Why the kernel does no work on its own.
pub(super) fn passthrough(_mount: &Mount) -> (bool, String) {
    (false, "Windows works on files by itself once they are here".into())
}

/// Places that the core does not know of yet, of which each may be a change.
pub(super) fn waiting(mount: &Mount) -> u64 {
    mount.projected.waiting().unwrap_or(1)
}

/// Waits until the core knows of all that was done; whether it does.
pub(super) fn settle(mount: &Mount) -> bool {
    mount.projected.settle(SETTLE_LIMIT)
}

/// Takes what is clean off the disk; gives the bytes that were freed.
pub(super) fn evict(mount: &Mount, path: &PathText) -> u64 {
    mount.projected.evict(&place(path))
}

/// It was unmounted by command: nothing mounts it at logon any more.
pub(super) fn forget(mount: &Mount) {
    if let Some(name) = &mount.at_logon
        && let Err(error) = autostart::clear(name)
    {
        tracing::warn!(%error, "it will be mounted again at the next logon");
    }
}

/// A path of a command line: names as Windows shows them, joined by `/`.
fn place(path: &PathText) -> Place {
    let text = String::from_utf8_lossy(path.as_bytes()).replace('/', "\\");
    Place::new(&text.encode_utf16().collect::<Vec<_>>())
}

/// The drive's own names for it.
pub(super) fn components(mount: &Mount, path: &PathText) -> Result<Vec<Name>, Refusal> {
    // The core may have to ask the store for a folder.
    tokio::task::block_in_place(|| mount.projected.tree().own_names(&place(path)))
        .map_err(|error| convert::refusal(path, error))
}

/// Renames a file or folder, also one that ProjFS itself does not rename.
pub(super) fn rename(mount: &Mount, from: &PathText, to: &PathText) -> Result<(), Refusal> {
    if !mount.projected.settle(SETTLE_LIMIT) {
        return Err(refusal(&RenameError::InUse(String::from_utf8_lossy(from.as_bytes()).into())));
    }
    mount.projected.rename(&place(from), &place(to)).map_err(|error| match error {
        RenameError::Core(error) => convert::refusal(to, error),
        error => refusal(&error),
    })
}

fn refusal(error: &RenameError) -> Refusal {
    let code = match error {
        RenameError::Missing(_) | RenameError::Core(FsError::NotFound) => RefusalCode::NotFound,
        RenameError::InUse(_) => RefusalCode::Busy,
        RenameError::Taken(_) | RenameError::Inside => RefusalCode::Invalid,
        RenameError::ReadOnly | RenameError::Core(_) => RefusalCode::Failed,
    };
    Refusal { code, message: error.to_string(), hint: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_keeps_its_id() {
        let id = |text| instance_of(Path::new(text));
        assert_eq!(id("C:\\Root"), id("c:\\root"));
        assert_ne!(id("C:\\root"), id("C:\\other"));
        assert_ne!(id("C:\\root")[..8], id("C:\\root")[8..]);
    }

    #[test]
    fn paths_of_commands_are_places() {
        let place = place(&PathText::Text("a/b c".into()));
        assert_eq!(place.to_string(), "a\\b c");
        assert!(super::place(&PathText::Text(String::new())).is_root());
    }
}
