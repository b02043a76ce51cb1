//! What drivers ask, inode-addressed, and what they are answered.

use crate::{Answer, Attr, Command, HandleId, Ino, Kind, Name, SetAttrs};
use alloc::vec::Vec;
use bytes::Bytes;

/// Who asks, for ownership and permissions of what is created.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
    /// Permissions that a new node does not get, unless its directory says what it gets.
    pub umask: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OpenFlags {
    pub read: bool,
    pub write: bool,
    pub append: bool,
    pub truncate: bool,
    /// Fail if it exists (with create).
    pub exclusive: bool,
    /// The driver can hand the backing file to the kernel ([`Via::Backing`]).
    pub passthrough: bool,
    /// The kernel has it open by passthrough for an earlier daemon: no other way is left.
    pub inherited: bool,
}

/// How the bytes of an open file travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Via {
    /// As requests.
    #[default]
    Core,
    /// The kernel reads and writes the backing file by itself (passthrough). `file` numbers backing
    /// files: a new number is a new file. `len`: for an open that only reads, the length in bytes that
    /// the backing file must have. A driver that cannot do it says so with [`Request::Unpass`].
    Backing { file: u64, len: Option<u64> },
}

/// `rename2` flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RenameFlags {
    pub no_replace: bool,
    pub exchange: bool,
}

/// Everything that is created without being opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateSpec {
    pub kind: Kind,
    /// Permission bits as asked for, before the umask.
    pub mode: u32,
    pub rdev: u32,
    pub owner: Owner,
    /// Target of a symlink.
    pub target: Vec<u8>,
}

#[derive(Clone, Debug)]
pub enum Request {
    Lookup {
        parent: Ino,
        name: Name,
    },
    /// The kernel drops `count` references. Answered with `Done`.
    Forget {
        ino: Ino,
        count: u64,
    },
    Getattr {
        ino: Ino,
    },
    Setattr {
        ino: Ino,
        set: SetAttrs,
        handle: Option<HandleId>,
    },
    Readlink {
        ino: Ino,
    },
    Make {
        parent: Ino,
        name: Name,
        spec: CreateSpec,
    },
    Create {
        parent: Ino,
        name: Name,
        mode: u32,
        owner: Owner,
        flags: OpenFlags,
    },
    /// A further name for `ino`.
    Link {
        ino: Ino,
        parent: Ino,
        name: Name,
    },
    Unlink {
        parent: Ino,
        name: Name,
    },
    Rmdir {
        parent: Ino,
        name: Name,
    },
    Rename {
        from: (Ino, Name),
        to: (Ino, Name),
        flags: RenameFlags,
    },
    Open {
        ino: Ino,
        flags: OpenFlags,
    },
    Read {
        ino: Ino,
        handle: HandleId,
        offset: u64,
        len: u32,
    },
    /// With an append handle the offset is ignored: bytes go to the end.
    Write {
        ino: Ino,
        handle: HandleId,
        offset: u64,
        data: Bytes,
        /// By somebody who may not keep a file's set-id bits.
        strip: bool,
    },
    /// Each close(2) of a descriptor.
    Flush {
        ino: Ino,
        handle: HandleId,
    },
    /// A handle that was answered with [`Via::Backing`] goes through requests after all: the driver
    /// could not hand the file over. Before the kernel hears of the handle.
    Unpass {
        ino: Ino,
        handle: HandleId,
    },
    /// The last close of a handle.
    Release {
        ino: Ino,
        handle: HandleId,
    },
    Fsync {
        ino: Ino,
        data_only: bool,
    },
    Opendir {
        ino: Ino,
    },
    /// Entries after `cookie` (0 = from the start, which takes a fresh snapshot of the listing)
    /// while the sum of `cost(name length)` stays within `room`. With `plus`, each entry carries
    /// its attributes and counts as one lookup (except `.` and `..`).
    Readdir {
        ino: Ino,
        handle: HandleId,
        cookie: u64,
        room: usize,
        cost: fn(usize) -> usize,
        plus: bool,
    },
    Releasedir {
        ino: Ino,
        handle: HandleId,
    },
    Setxattr {
        ino: Ino,
        name: Vec<u8>,
        value: Vec<u8>,
        create: bool,
        replace: bool,
    },
    /// `uid`: who asks.
    Getxattr {
        ino: Ino,
        name: Vec<u8>,
        uid: u32,
    },
    Listxattr {
        ino: Ino,
    },
    Removexattr {
        ino: Ino,
        name: Vec<u8>,
    },
    Statfs,
    /// Next data (`hole` false) or hole (`hole` true) at or after `offset`.
    Seek {
        ino: Ino,
        handle: HandleId,
        offset: u64,
        hole: bool,
    },
    /// Reserve or extend; `keep_size` leaves the length. `zero` writes zeros over the range
    /// (punch hole and zero range).
    Allocate {
        ino: Ino,
        handle: HandleId,
        offset: u64,
        len: u64,
        keep_size: bool,
        zero: bool,
    },
    /// Copies bytes from one file to another, or within one; may copy fewer than `len`.
    Copy {
        from: (Ino, HandleId, u64),
        to: (Ino, HandleId, u64),
        len: u64,
    },
    /// From the control socket.
    Control(Command),
}

impl Request {
    /// The open file or directory that it works through.
    pub(crate) fn handle(&self) -> Option<(Ino, HandleId)> {
        match self {
            Request::Setattr { ino, handle: Some(handle), .. }
            | Request::Read { ino, handle, .. }
            | Request::Write { ino, handle, .. }
            | Request::Readdir { ino, handle, .. }
            | Request::Seek { ino, handle, .. }
            | Request::Allocate { ino, handle, .. } => Some((*ino, *handle)),
            _ => None,
        }
    }
}

/// One entry of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    pub ino: Ino,
    pub kind: Kind,
    pub name: Vec<u8>,
    /// Where to continue after this entry; never 0.
    pub cookie: u64,
    /// With `plus`.
    pub attr: Option<Attr>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StatFs {
    /// Bytes in all.
    pub total: u64,
    pub free: u64,
    pub files: u64,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Response {
    Done,
    /// Lookup, Make, Link: a node with its attributes; counts as one kernel reference.
    Entry(Attr),
    Attr(Attr),
    /// Create: one kernel reference and an open handle.
    Created {
        attr: Attr,
        handle: HandleId,
        via: Via,
    },
    /// `keep_cache`: pages that the kernel has of this inode, or its listing, are still right.
    Opened {
        handle: HandleId,
        keep_cache: bool,
        via: Via,
    },
    Data(Bytes),
    Target(Vec<u8>),
    Written(u32),
    Entries(Vec<DirEntry>),
    Xattr(Vec<u8>),
    /// Names, each followed by a NUL.
    XattrNames(Vec<u8>),
    StatFs(StatFs),
    Offset(u64),
    Answer(Answer),
}
