//! Attributes of the past as they are shown.

use fs_core::{Attr, Attrs, Ino, Kind, Timestamp, Xattrs};

/// Of folders that are none of the drive: everybody may look.
pub(super) fn of_folder(made: Timestamp) -> Attrs {
    Attrs {
        mode: 0o555,
        uid: 0,
        gid: 0,
        rdev: 0,
        atime: made,
        mtime: made,
        ctime: made,
        btime: made,
        target: Vec::new(),
        xattrs: Xattrs::new(),
    }
}

pub(super) fn shown(ino: Ino, kind: Kind, size: u64, attrs: &Attrs) -> Attr {
    Attr {
        ino,
        kind,
        mode: attrs.mode,
        nlink: if kind == Kind::Dir { 2 } else { 1 },
        uid: attrs.uid,
        gid: attrs.gid,
        rdev: attrs.rdev,
        size,
        blocks: size.div_ceil(512),
        atime: attrs.atime,
        mtime: attrs.mtime,
        ctime: attrs.ctime,
        btime: attrs.btime,
    }
}
