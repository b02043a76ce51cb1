//! Kinds and attributes of nodes.

use crate::{Ino, Timestamp};
use alloc::{collections::BTreeMap, vec::Vec};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    File,
    Dir,
    Symlink,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
    /// A further name of another node, which `Attrs::target` names by its identity (16 bytes).
    Link,
}

/// Extended attributes by full name (`user.comment`).
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// What the drive keeps of a node beside its place and its content. Sealed when it travels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attrs {
    /// Permission bits, set-id bits and sticky: `0o7777`, without the file type.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Device number of a device node, else 0.
    pub rdev: u32,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    pub btime: Timestamp,
    /// Target of a symlink, at most 4,095 bytes (Linux PATH_MAX less its NUL); of a hard link, the
    /// identity of the node it names. Else empty.
    pub target: Vec<u8>,
    pub xattrs: Xattrs,
}

impl Attrs {
    /// Whether it has a POSIX access control list, its own or one to hand down.
    pub fn has_acl(&self) -> bool {
        [ACL_ACCESS, ACL_DEFAULT].iter().any(|name| self.xattrs.contains_key(*name))
    }
}

/// The attribute with the list of a node, and the one with what a directory hands down (acl(5)).
pub(crate) const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
pub(crate) const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";

/// The attributes of a node as a driver shows them (stat).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attr {
    pub ino: Ino,
    pub kind: Kind,
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u32,
    /// Length in bytes.
    pub size: u64,
    /// Number of 512-byte blocks.
    pub blocks: u64,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    pub btime: Timestamp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetTime {
    Now,
    At(Timestamp),
}

/// The fields that a setattr changes; `None` leaves a field as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetAttrs {
    /// Set-id bits go, unless `mode` says which stay: an owner or content changes, and who does it may not
    /// keep them.
    pub strip: bool,
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<SetTime>,
    pub mtime: Option<SetTime>,
}
