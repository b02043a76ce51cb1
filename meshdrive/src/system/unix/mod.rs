//! Linux.

mod control;
mod network;
mod signals;

use crate::failure::{Attempt, Failure, Outcome};
pub(crate) use control::{Door, client, is_listening};
pub(crate) use network::Network;
use protocol::control::PathText;
pub(crate) use signals::Signals;
use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    process::Command,
};

/// Permission bits of what holds secrets or a control socket.
const PRIVATE_DIR: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;

/// Makes `dir` (and what is above it) with mode 0700 and checks that it is ours.
pub(crate) fn private_dir(dir: &Path) -> Outcome {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_DIR)
        .create(dir)
        .attempt(|| format!("cannot create the directory {}", dir.display()))?;
    let meta = fs::metadata(dir).attempt(|| format!("cannot read {}", dir.display()))?;
    let uid = rustix::process::geteuid().as_raw();
    if meta.uid() != uid {
        return Err(Failure::general(format!(
            "{} belongs to user {}, not to user {uid} who runs this",
            dir.display(),
            meta.uid()
        ))
        .hint("run as that user, or set MESHDRIVE_HOME to a directory of your own"));
    }
    if meta.mode() & 0o077 != 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(PRIVATE_DIR))
            .attempt(|| format!("cannot make {} private", dir.display()))?;
    }
    Ok(())
}

/// Options for a file that only its owner may read.
pub(crate) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(PRIVATE_FILE);
    options
}

/// What to do when others can read a file; `None` when they cannot.
pub(crate) fn open_to_others(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).map_or(0, |meta| meta.permissions().mode() & 0o077);
    (mode != 0).then(|| format!("chmod 600 {}", path.display()))
}

/// The bytes of a path, to be kept in a file.
pub(crate) fn path_bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

/// The inverse of [`path_bytes`].
pub(crate) fn path_of_bytes(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

/// A path below a mount, for the daemon.
pub(crate) fn below(path: &OsStr) -> PathText {
    PathText::from_bytes(path.as_bytes().to_vec())
}

/// Where what the daemon calls `path` is below a mount.
pub(crate) fn path_below(path: &PathText) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(path.as_bytes()))
}

pub(crate) fn host_name() -> Outcome<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname");
    let name = name.attempt(|| "cannot read the host's name".into())?;
    Ok(name.trim().to_string())
}

/// Who owns what somebody without a name makes.
pub(crate) fn owner() -> fs_core::Owner {
    fs_core::Owner {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        umask: 0,
    }
}

/// Prepares a command that outlives this program and its terminal.
pub(crate) fn outlive(_command: &mut Command) {}

/// Away from the terminal, so that closing it does not end the drive.
pub(crate) fn leave_terminal() -> Outcome {
    rustix::process::setsid().attempt(|| "cannot leave the terminal".into()).map(drop)
}

/// Lets go of stdout, which is a pipe that nobody reads any more.
pub(crate) fn let_go_of_stdout() -> Outcome {
    let null = File::options().write(true).open("/dev/null");
    let null = null.attempt(|| "cannot open /dev/null".into())?;
    rustix::stdio::dup2_stdout(&null).attempt(|| "cannot let go of stdout".into())
}

/// No folder of the caller's is kept in use.
pub(crate) fn leave_folder() -> Outcome {
    std::env::set_current_dir("/").attempt(|| "cannot change to the root directory".into())
}

/// Many open files are backed by a descriptor each; the usual soft limit is 1,024.
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays low");
    }
}

/// Free bytes of the disk under `path`.
pub(crate) fn disk_free(path: &Path) -> Outcome<u64> {
    let stat = rustix::fs::statvfs(path)
        .attempt(|| format!("cannot ask for the free space of {}", path.display()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
