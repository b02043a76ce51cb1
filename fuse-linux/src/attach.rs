//! mount(2), umount2(2) and fusermount3.
//!
//! Done here and not by fuser: 0.18.0 unmounts a path again that was unmounted from outside (and may hit
//! a foreign mount), gives no file system type of our own, and leaves a busy mount without an error.

use crate::error::MountError;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const DEVICE: &str = "/dev/fuse";
const HELPER: &str = "fusermount3";
/// The helper finds the number of its socket in this variable (libfuse, `fusermount.c`).
const HELPER_SOCKET: &str = "_FUSE_COMMFD";
/// Longest text taken from the helper's error output, in bytes.
const HELPER_TEXT: u64 = 4096;

/// How to mount.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Source in the mount table; checked by [`check_name`].
    pub(crate) source: String,
    /// What follows `fuse.` in the type.
    pub(crate) subtype: &'static str,
    pub(crate) allow_other: bool,
    pub(crate) read_only: bool,
}

/// Mount options are a list with commas, so a name with one would add options.
pub(crate) fn check_name(name: &str) -> Result<(), MountError> {
    let bad = |c: char| matches!(c, ',' | '\\') || c.is_control();
    if name.is_empty() || name.contains(bad) {
        return Err(MountError::Name(name.escape_debug().to_string()));
    }
    Ok(())
}

/// Mounts at `path` (absolute, without links) and returns the channel to the kernel.
pub(crate) fn attach(path: &Path, options: &Options) -> Result<OwnedFd, MountError> {
    let device = open_device()?;
    match mount_directly(&device, path, options) {
        Ok(()) => Ok(device.into()),
        Err(Errno::PERM) => mount_by_helper(path, options),
        Err(error) => Err(refused(path, io::Error::from(error).to_string())),
    }
}

fn open_device() -> Result<File, MountError> {
    OpenOptions::new().read(true).write(true).open(DEVICE).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => MountError::NoDevice,
        io::ErrorKind::PermissionDenied => MountError::DeviceDenied,
        _ if error.raw_os_error() == Some(libc::ENXIO) => MountError::NoDevice,
        _ => MountError::Device(error),
    })
}

fn mount_directly(device: &File, path: &Path, options: &Options) -> Result<(), Errno> {
    let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions",
        device.as_raw_fd(),
        user.as_raw(),
        group.as_raw()
    );
    if options.allow_other {
        data.push_str(",allow_other");
    }
    let mut flags = MountFlags::NODEV | MountFlags::NOSUID;
    flags.set(MountFlags::RDONLY, options.read_only);
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    let fs_type = format!("fuse.{}", options.subtype);
    mount(options.source.as_str(), path, fs_type.as_str(), flags, data.as_c_str())
}

/// fusermount3 mounts and sends the opened device back over a socket: its standard input here.
pub(crate) fn mount_by_helper(path: &Path, options: &Options) -> Result<OwnedFd, MountError> {
    let (ours, theirs) = UnixStream::pair().map_err(MountError::Device)?;
    let mut list = format!(
        "{},nodev,nosuid,default_permissions,fsname={},subtype={}",
        if options.read_only { "ro" } else { "rw" },
        options.source,
        options.subtype
    );
    if options.allow_other {
        list.push_str(",allow_other");
    }
    let mut command = Command::new(HELPER);
    command.arg("-o").arg(list).arg("--").arg(path);
    command.env(HELPER_SOCKET, "0").stdin(OwnedFd::from(theirs));
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(no_helper)?;
    // It holds the other end of the socket: without this no end of file would ever come.
    drop(command);
    let device = receive(&ours);
    drop(ours);
    let complaint = complaint(&mut child);
    let status = child.wait();
    match (device, status) {
        (Ok(Some(device)), Ok(status)) if status.success() => Ok(device),
        _ if complaint.contains("user_allow_other") => Err(MountError::AllowOther),
        (Err(error), _) | (_, Err(error)) => Err(refused(path, format!("{error} {complaint}"))),
        (Ok(_), Ok(status)) => Err(refused(path, format!("{complaint} ({HELPER}: {status})"))),
    }
}

fn no_helper(error: io::Error) -> MountError {
    match error.kind() {
        io::ErrorKind::NotFound => MountError::NoHelper,
        _ => MountError::Device(io::Error::other(format!("cannot run {HELPER}: {error}"))),
    }
}

/// The descriptor that the helper sends; `None` when it closes the socket without one.
fn receive(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0_u8];
    loop {
        let mut parts = [IoSliceMut::new(&mut byte)];
        match recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let found = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(found)
}

fn complaint(child: &mut Child) -> String {
    let mut text = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        // Only for people: a part of it is better than nothing.
        let _ = stderr.take(HELPER_TEXT).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// Takes the mount on top of `path` away. `lazy`: detaches it at once; it ends when its last user does.
pub(crate) fn detach(path: &Path, lazy: bool) -> Result<(), MountError> {
    let mut flags = UnmountFlags::NOFOLLOW;
    flags.set(UnmountFlags::DETACH, lazy);
    match unmount(path, flags) {
        Ok(()) => Ok(()),
        Err(Errno::BUSY) => Err(MountError::Busy(path.into())),
        Err(Errno::PERM) => detach_by_helper(path, lazy),
        Err(error) => Err(not_unmounted(path, io::Error::from(error).to_string())),
    }
}

fn detach_by_helper(path: &Path, lazy: bool) -> Result<(), MountError> {
    let options = if lazy { "-uz" } else { "-u" };
    let ran = Command::new(HELPER).arg(options).arg("--").arg(path).stdin(Stdio::null()).output();
    let Output { status, stderr, .. } = ran.map_err(no_helper)?;
    if status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&stderr).trim().to_owned();
    if text.to_lowercase().contains("busy") {
        return Err(MountError::Busy(path.into()));
    }
    Err(not_unmounted(path, format!("{text} ({HELPER}: {status})")))
}

fn refused(path: &Path, detail: impl Into<String>) -> MountError {
    MountError::Refused { path: path.into(), detail: detail.into() }
}

fn not_unmounted(path: &Path, detail: impl Into<String>) -> MountError {
    MountError::Unmount { path: path.into(), detail: detail.into() }
}
