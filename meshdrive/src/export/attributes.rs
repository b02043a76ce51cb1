//! Everything but contents: owner, mode, extended attributes, times (in this order: a change of owner
//! clears set-id bits, and everything changes times).

use rustix::fs::{AtFlags, CWD, Gid, Timespec, Timestamps, Uid, XattrFlags};
use std::{
    ffi::{CStr, CString},
    fs::{self, Metadata, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

/// Bytes of one file's attribute names, and of one value (Linux XATTR_LIST_MAX, XATTR_SIZE_MAX).
const XATTR_MAX: usize = 64 << 10;
/// Attributes that the drive makes up; they say nothing about a copy.
const OWN_XATTRS: &[u8] = b"user.meshdrive.";

/// Gives `target` the attributes of `source`. An owner that this user may not give away, and
/// attributes that the target's file system cannot hold, are left out: the contents count more.
pub(super) fn copy(source: &Path, target: &Path, meta: &Metadata) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(meta.uid()), Gid::from_raw(meta.gid()));
    match rustix::fs::chownat(CWD, target, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(()) | Err(rustix::io::Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    if !meta.is_symlink() {
        fs::set_permissions(target, Permissions::from_mode(meta.mode() & 0o7777))?;
    }
    xattrs(source, target)?;
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time(meta.atime(), meta.atime_nsec()),
        last_modification: time(meta.mtime(), meta.mtime_nsec()),
    };
    rustix::fs::utimensat(CWD, target, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

fn xattrs(source: &Path, target: &Path) -> io::Result<()> {
    let mut names = vec![0; XATTR_MAX];
    let length = match rustix::fs::llistxattr(source, &mut names[..]) {
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(()),
        other => other?,
    };
    let mut value = vec![0; XATTR_MAX];
    for name in names[..length].split_inclusive(|&byte| byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name).map(CString::from) else {
            continue;
        };
        if name.as_bytes().starts_with(OWN_XATTRS) {
            continue;
        }
        let size = match rustix::fs::lgetxattr(source, name.as_c_str(), &mut value[..]) {
            // It went away since it was listed.
            Err(rustix::io::Errno::NODATA) => continue,
            other => other?,
        };
        let set =
            rustix::fs::lsetxattr(target, name.as_c_str(), &value[..size], XattrFlags::empty());
        match set {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
