//! The helper's side. It may be asked by anybody, so it does no more than its caller could do if the
//! kernel let everybody: the channel must be an open FUSE device, and a backing file a regular file
//! that the caller owns and has open. It keeps CAP_SYS_ADMIN alone and the caller's identity, under which
//! the kernel then reads and writes the files: quotas and reserved room count for the caller.

use super::talk::{Ask, Question, answer, hear};
use rustix::fs::{FileType, fstat, major, minor};
use rustix::process::{getgid, getuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, set_capabilities, set_keep_capabilities, set_thread_res_gid,
    set_thread_res_uid,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// `/dev/fuse` (Documentation/admin-guide/devices.txt).
const FUSE_DEVICE: (u32, u32) = (10, 229);
/// `FUSE_DEV_IOC_BACKING_OPEN`: `_IOW(229, 1, struct fuse_backing_map)` (linux/fuse.h).
const BACKING_OPEN: libc::Ioctl = 0x4010_e501;
/// `FUSE_DEV_IOC_BACKING_CLOSE`: `_IOW(229, 2, uint32_t)`.
const BACKING_CLOSE: libc::Ioctl = 0x4004_e502;

/// `struct fuse_backing_map`.
#[repr(C)]
struct BackingMap {
    fd: i32,
    flags: u32,
    padding: u64,
}

/// Serves the daemon at the other end of `socket` until it is gone. Gives up what it does not need of
/// the rights it was started with, for good.
///
/// # Errors
/// The socket is none, or the rights cannot be changed.
pub fn serve(socket: impl AsFd) -> io::Result<()> {
    let permitted = keep_one_right();
    let mut channel = None;
    while let Some(question) = hear(&socket)? {
        let result = match permitted {
            Ok(()) => perform(&mut channel, question),
            Err(_) => Err(io::ErrorKind::PermissionDenied.into()),
        };
        let denied = |error: io::Error| match error.kind() {
            io::ErrorKind::PermissionDenied => io::Error::from_raw_os_error(libc::EPERM),
            _ => error,
        };
        answer(&socket, result.map_err(denied))?;
    }
    Ok(())
}

/// Goes on as the caller, with CAP_SYS_ADMIN.
fn keep_one_right() -> io::Result<()> {
    let (user, group) = (getuid(), getgid());
    set_keep_capabilities(true)?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    let one = CapabilitySet::SYS_ADMIN;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: one, permitted: one, inheritable: none })?;
    Ok(())
}

fn perform(channel: &mut Option<OwnedFd>, question: Question) -> io::Result<u32> {
    let Question { ask, id, descriptor } = question;
    let absent = || io::Error::from_raw_os_error(libc::EBADF);
    match ask {
        Ask::Channel => {
            let descriptor = descriptor.ok_or_else(absent)?;
            let stat = fstat(&descriptor)?;
            let device = (major(stat.st_rdev), minor(stat.st_rdev));
            if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice
                || device != FUSE_DEVICE
            {
                return Err(io::Error::from_raw_os_error(libc::ENODEV));
            }
            *channel = Some(descriptor);
            Ok(0)
        }
        Ask::Register => {
            let (channel, file) = (channel.as_ref().ok_or_else(absent)?, descriptor);
            register(channel, &file.ok_or_else(absent)?)
        }
        Ask::GiveBack => give_back(channel.as_ref().ok_or_else(absent)?, id).map(|()| 0),
    }
}

fn register(channel: &OwnedFd, file: &OwnedFd) -> io::Result<u32> {
    let stat = fstat(file)?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !regular || stat.st_uid != getuid().as_raw() {
        return Err(io::Error::from_raw_os_error(libc::EACCES));
    }
    let map = BackingMap { fd: file.as_raw_fd(), flags: 0, padding: 0 };
    // SAFETY: the call reads one `fuse_backing_map`; both descriptors are open for as long.
    let id = unsafe { libc::ioctl(channel.as_raw_fd(), BACKING_OPEN, &raw const map) };
    u32::try_from(id).map_err(|_| io::Error::last_os_error())
}

/// Ends the kernel's use of a number.
pub(crate) fn give_back(channel: &OwnedFd, id: u32) -> io::Result<()> {
    // SAFETY: the call reads one number; the channel is open for as long as it is borrowed.
    let done = unsafe { libc::ioctl(channel.as_raw_fd(), BACKING_CLOSE, &raw const id) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
