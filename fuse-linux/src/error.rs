//! What can go wrong with a mount: what, where, and what to do next.

use std::io;
use std::path::PathBuf;

/// Why a drive could not be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    #[error(
        "{}: there is no such folder; create it first (mkdir -p {})",
        .0.display(),
        .0.display()
    )]
    Missing(PathBuf),
    #[error("{}: is not a folder; choose a folder to mount at", .0.display())]
    NotDirectory(PathBuf),
    #[error(
        "{}: is not empty; mounting would hide what is in it, so choose an empty folder",
        .0.display()
    )]
    NotEmpty(PathBuf),
    #[error("{}: {fs_type} is mounted here already; unmount it or choose another folder", .path.display())]
    AlreadyMounted { path: PathBuf, fs_type: String },
    #[error(
        "{}: a mount whose program has died is in the way; remove it with `fusermount3 -uz {}`",
        .0.display(),
        .0.display()
    )]
    Dead(PathBuf),
    #[error("{}: {source}", .path.display())]
    Path { path: PathBuf, source: io::Error },
    #[error(
        "/dev/fuse: there is no such device; load the kernel module (modprobe fuse), or give the \
         container access to it (--device /dev/fuse)"
    )]
    NoDevice,
    #[error(
        "/dev/fuse: permission denied; ask the administrator for access (usually mode 0666), or run \
         as root"
    )]
    DeviceDenied,
    #[error("/dev/fuse: {0}")]
    Device(io::Error),
    #[error(
        "fusermount3: not found; an ordinary user needs it to mount (install the package fuse3), or \
         run as root"
    )]
    NoHelper,
    #[error(
        "access for other users is not allowed here: add the line `user_allow_other` to /etc/fuse.conf, \
         or mount without it"
    )]
    AllowOther,
    #[error("{}: cannot mount: {detail}", .path.display())]
    Refused { path: PathBuf, detail: String },
    #[error(
        "\"{0}\": a drive name for the mount table has no comma, backslash or control character"
    )]
    Name(String),
    #[error(
        "{}: is in use; close the programs that use it (see `fuser -vm {}`), or unmount lazily",
        .0.display(),
        .0.display()
    )]
    Busy(PathBuf),
    #[error("{}: cannot unmount: {detail}", .path.display())]
    Unmount { path: PathBuf, detail: String },
    #[error("{}: the kernel and the drive did not agree on a protocol: {source}", .path.display())]
    Handshake { path: PathBuf, source: io::Error },
}
