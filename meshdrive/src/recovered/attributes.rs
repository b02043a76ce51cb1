//! Everything of a node but its content, as far as the disk and the user allow it.

use super::notes;
use fs_core::{Attrs, Timestamp};
use rustix::fs::{AtFlags, CWD, Gid, Timespec, Timestamps, Uid, XattrFlags};
use std::{
    ffi::CString,
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
};

/// Attributes that the drive makes for itself.
const OWN_XATTRS: &[u8] = b"user.meshdrive.";
/// What the owner may do whatever the drive said, so that what was taken out can be read and removed.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;
/// What nobody gets without asking: the right to run as somebody else.
const SET_ID: u32 = 0o6000;

/// Sets owner, mode, extended attributes and times. Gives the attributes that could not be set, in words.
pub(super) fn set(path: &Path, attrs: &Attrs, is_dir: bool) -> io::Result<Vec<String>> {
    let (uid, gid) = (Uid::from_raw(attrs.uid), Gid::from_raw(attrs.gid));
    match rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(()) | Err(rustix::io::Errno::PERM | rustix::io::Errno::INVAL) => {}
        Err(error) => return Err(error.into()),
    }
    if !fs::symlink_metadata(path)?.is_symlink() {
        let own = if is_dir { DIR_MODE } else { FILE_MODE };
        fs::set_permissions(path, Permissions::from_mode(attrs.mode & 0o1777 | own))?;
    }
    let mut unset = Vec::new();
    if attrs.mode & SET_ID != 0 {
        unset.push(format!("mode {:o}", attrs.mode));
    }
    for (name, value) in &attrs.xattrs {
        if name.starts_with(OWN_XATTRS) {
            continue;
        }
        let Ok(key) = CString::new(name.clone()) else { continue };
        if rustix::fs::lsetxattr(path, key.as_c_str(), value, XattrFlags::empty()).is_err() {
            unset.push(notes::xattr(name, value));
        }
    }
    let time = |time: Timestamp| Timespec {
        tv_sec: time.0.div_euclid(1_000_000_000),
        tv_nsec: time.0.rem_euclid(1_000_000_000),
    };
    let times = Timestamps { last_access: time(attrs.atime), last_modification: time(attrs.mtime) };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(unset)
}
