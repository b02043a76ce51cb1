//! What can be done to a tree, with all that it needs to be done again.

use std::fmt;

/// Who does it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Actor {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// One supplementary group.
    pub(crate) group: Option<u32>,
}

pub(crate) const ROOT: Actor = Actor { uid: 0, gid: 0, group: None };

/// A time to set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum When {
    Now,
    Omit,
    At(i64, i64),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Special {
    Fifo,
    Socket,
}

/// One entry of an access control list: tag, permissions, id.
pub(crate) type AclEntry = (u16, u16, u32);

/// A slot holds an open file.
pub(crate) type Slot = usize;

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Op {
    Open {
        slot: Slot,
        path: String,
        flags: u32,
        mode: u32,
    },
    Close {
        slot: Slot,
    },
    ReadAt {
        slot: Slot,
        offset: u64,
        len: usize,
    },
    WriteAt {
        slot: Slot,
        offset: u64,
        len: usize,
        seed: u64,
    },
    /// At the file's position, or at its end.
    Write {
        slot: Slot,
        len: usize,
        seed: u64,
    },
    MapRead {
        slot: Slot,
        offset: u64,
        len: usize,
    },
    MapWrite {
        slot: Slot,
        offset: u64,
        len: usize,
        seed: u64,
    },
    SetLen {
        slot: Slot,
        size: u64,
    },
    Sync {
        slot: Slot,
        data_only: bool,
    },
    StatOpen {
        slot: Slot,
    },
    ChmodOpen {
        slot: Slot,
        mode: u32,
    },
    Allocate {
        slot: Slot,
        mode: i32,
        offset: u64,
        len: u64,
    },
    Copy {
        from: Slot,
        to: Slot,
        source: u64,
        target: u64,
        len: usize,
    },
    Truncate {
        path: String,
        size: u64,
    },
    Stat {
        path: String,
        follow: bool,
    },
    Access {
        path: String,
        how: u32,
    },
    List {
        path: String,
    },
    Mkdir {
        path: String,
        mode: u32,
    },
    Rmdir {
        path: String,
    },
    Unlink {
        path: String,
    },
    Rename {
        from: String,
        to: String,
        flags: u32,
    },
    Symlink {
        target: String,
        path: String,
    },
    Readlink {
        path: String,
    },
    Link {
        from: String,
        to: String,
    },
    Node {
        path: String,
        kind: Special,
        mode: u32,
    },
    Chmod {
        path: String,
        mode: u32,
    },
    Chown {
        path: String,
        uid: Option<u32>,
        gid: Option<u32>,
    },
    Times {
        path: String,
        atime: When,
        mtime: When,
        follow: bool,
    },
    SetXattr {
        path: String,
        name: String,
        len: usize,
        seed: u64,
        flags: u32,
    },
    GetXattr {
        path: String,
        name: String,
        room: usize,
    },
    ListXattr {
        path: String,
    },
    RemoveXattr {
        path: String,
        name: String,
    },
    SetAcl {
        path: String,
        default: bool,
        entries: Vec<AclEntry>,
    },
    Umask {
        mask: u32,
    },
}

impl Op {
    /// The paths whose times may change, without their folders.
    pub(crate) fn paths(&self) -> Vec<&str> {
        use Op as O;
        match self {
            O::Open { path, .. }
            | O::Truncate { path, .. }
            | O::Stat { path, .. }
            | O::Access { path, .. }
            | O::List { path }
            | O::Mkdir { path, .. }
            | O::Rmdir { path }
            | O::Unlink { path }
            | O::Symlink { path, .. }
            | O::Readlink { path }
            | O::Node { path, .. }
            | O::Chmod { path, .. }
            | O::Chown { path, .. }
            | O::Times { path, .. }
            | O::SetXattr { path, .. }
            | O::GetXattr { path, .. }
            | O::ListXattr { path }
            | O::RemoveXattr { path, .. }
            | O::SetAcl { path, .. } => vec![path],
            O::Rename { from, to, .. } | O::Link { from, to } => vec![from, to],
            _ => Vec::new(),
        }
    }

    /// The open file that it is about.
    pub(crate) fn slot(&self) -> Option<Slot> {
        use Op as O;
        match self {
            O::ReadAt { slot, .. }
            | O::WriteAt { slot, .. }
            | O::Write { slot, .. }
            | O::MapRead { slot, .. }
            | O::MapWrite { slot, .. }
            | O::SetLen { slot, .. }
            | O::Sync { slot, .. }
            | O::StatOpen { slot }
            | O::ChmodOpen { slot, .. }
            | O::Allocate { slot, .. } => Some(*slot),
            O::Copy { to, .. } => Some(*to),
            _ => None,
        }
    }
}

/// Long names shortened, modes in octal: what a person wants to read.
impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Op as O;
        let octal = |mode: &u32| format!("{mode:#o}");
        match self {
            O::Open { slot, path, flags, mode } => {
                write!(f, "open {slot} = {} flags {flags:#o} mode {}", short(path), octal(mode))
            }
            O::Close { slot } => write!(f, "close {slot}"),
            O::ReadAt { slot, offset, len } => write!(f, "read {slot} at {offset} +{len}"),
            O::WriteAt { slot, offset, len, seed } => {
                write!(f, "write {slot} at {offset} +{len} of {seed:x}")
            }
            O::Write { slot, len, seed } => write!(f, "write {slot} +{len} of {seed:x}"),
            O::MapRead { slot, offset, len } => write!(f, "read map {slot} at {offset} +{len}"),
            O::MapWrite { slot, offset, len, seed } => {
                write!(f, "write map {slot} at {offset} +{len} of {seed:x}")
            }
            O::SetLen { slot, size } => write!(f, "ftruncate {slot} {size}"),
            O::Sync { slot, data_only } => write!(f, "fsync {slot} data only {data_only}"),
            O::StatOpen { slot } => write!(f, "fstat {slot}"),
            O::ChmodOpen { slot, mode } => write!(f, "fchmod {slot} {}", octal(mode)),
            O::Allocate { slot, mode, offset, len } => {
                write!(f, "fallocate {slot} mode {mode:#x} at {offset} +{len}")
            }
            O::Copy { from, to, source, target, len } => {
                write!(f, "copy range {from} at {source} to {to} at {target} +{len}")
            }
            O::Truncate { path, size } => write!(f, "truncate {} {size}", short(path)),
            O::Stat { path, follow } => write!(f, "stat {} follow {follow}", short(path)),
            O::Access { path, how } => write!(f, "access {} {how}", short(path)),
            O::List { path } => write!(f, "list {}", short(path)),
            O::Mkdir { path, mode } => write!(f, "mkdir {} {}", short(path), octal(mode)),
            O::Rmdir { path } => write!(f, "rmdir {}", short(path)),
            O::Unlink { path } => write!(f, "unlink {}", short(path)),
            O::Rename { from, to, flags } => {
                write!(f, "rename {} to {} flags {flags}", short(from), short(to))
            }
            O::Symlink { target, path } => {
                write!(f, "symlink {} at {}", short(target), short(path))
            }
            O::Readlink { path } => write!(f, "readlink {}", short(path)),
            O::Link { from, to } => write!(f, "link {} at {}", short(from), short(to)),
            O::Node { path, kind, mode } => {
                write!(f, "mknod {} {kind:?} {}", short(path), octal(mode))
            }
            O::Chmod { path, mode } => write!(f, "chmod {} {}", short(path), octal(mode)),
            O::Chown { path, uid, gid } => write!(f, "chown {} {uid:?} {gid:?}", short(path)),
            O::Times { path, atime, mtime, follow } => {
                write!(f, "utimens {} {atime:?} {mtime:?} follow {follow}", short(path))
            }
            O::SetXattr { path, name, len, seed, flags } => {
                write!(
                    f,
                    "setxattr {} {} +{len} of {seed:x} flags {flags}",
                    short(path),
                    short(name)
                )
            }
            O::GetXattr { path, name, room } => {
                write!(f, "getxattr {} {} room {room}", short(path), short(name))
            }
            O::ListXattr { path } => write!(f, "listxattr {}", short(path)),
            O::RemoveXattr { path, name } => {
                write!(f, "removexattr {} {}", short(path), short(name))
            }
            O::SetAcl { path, default, entries } => {
                write!(f, "setfacl {} default {default} {entries:x?}", short(path))
            }
            O::Umask { mask } => write!(f, "umask {}", octal(mask)),
        }
    }
}

fn short(path: &str) -> String {
    const LONG: usize = 24;
    let part = |part: &str| match part.chars().count() {
        0..=LONG => part.to_string(),
        count => format!("{}..({count} characters)", part.chars().take(4).collect::<String>()),
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}
