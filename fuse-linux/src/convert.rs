//! Attributes, times and flags, in both directions.

use fs_core::{Attr, Kind, OpenFlags, Owner, RenameFlags, SetTime, Timestamp};
use fuser::{FileAttr, FileType, INodeNo, Request, TimeOrNow};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The unit that `stat` recommends for I/O, in bytes (one page, as local file systems do).
const BLOCK_SIZE: u32 = 4096;
/// The permission, set-id and sticky bits of a mode.
const PERMISSIONS: u32 = 0o7777;

pub(crate) fn file_type(kind: Kind) -> FileType {
    match kind {
        // A link whose target is nowhere shows as an empty file.
        Kind::File | Kind::Link => FileType::RegularFile,
        Kind::Dir => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
        Kind::CharDevice => FileType::CharDevice,
        Kind::BlockDevice => FileType::BlockDevice,
    }
}

/// The kind that `mknod(2)` asks for by the type bits of `mode`; no bits mean a regular file.
/// `None` for what `mknod` cannot make.
pub(crate) fn made_kind(mode: u32) -> Option<Kind> {
    match mode & libc::S_IFMT {
        0 | libc::S_IFREG => Some(Kind::File),
        libc::S_IFIFO => Some(Kind::Fifo),
        libc::S_IFSOCK => Some(Kind::Socket),
        libc::S_IFCHR => Some(Kind::CharDevice),
        libc::S_IFBLK => Some(Kind::BlockDevice),
        _ => None,
    }
}

pub(crate) fn permissions(mode: u32) -> u32 {
    mode & PERMISSIONS
}

pub(crate) fn owner(request: &Request, umask: u32) -> Owner {
    Owner { uid: request.uid(), gid: request.gid(), umask }
}

pub(crate) fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino.0),
        size: attr.size,
        blocks: attr.blocks,
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        crtime: system_time(attr.btime),
        kind: file_type(attr.kind),
        // 12 bits: always fits.
        perm: (attr.mode & PERMISSIONS) as u16,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

/// Attributes of a node that nobody looks at: only its number and its kind count.
pub(crate) fn bare_attr(ino: INodeNo, kind: FileType) -> FileAttr {
    FileAttr {
        ino,
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: 0,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

pub(crate) fn system_time(time: Timestamp) -> SystemTime {
    let distance = Duration::from_nanos(time.0.unsigned_abs());
    if time.0 >= 0 { UNIX_EPOCH + distance } else { UNIX_EPOCH - distance }
}

/// A time of a setattr request; outside the years 1677 to 2262 it is the nearest one inside.
///
/// The kernel's (seconds, nanoseconds) count the nanoseconds forwards, also before 1970. fuser 0.18.0
/// (`time.rs`, `system_time_from_time`) counts them backwards there: it builds `epoch - (-seconds) -
/// nanoseconds`. Its distance from the epoch still holds both numbers, so it can be undone exactly.
pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    let nanos = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
        Err(before) => {
            let distance = before.duration();
            let whole = i128::from(distance.as_secs()) * 1_000_000_000;
            i128::from(distance.subsec_nanos()) - whole
        }
    };
    let inside = nanos.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    Timestamp(i64::try_from(inside).unwrap_or(i64::MAX))
}

pub(crate) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(time) => SetTime::At(timestamp(time)),
    }
}

/// `append` stays false: the kernel turns appends into offsets itself, under its lock of the inode, and
/// fills its pages there. And it writes mapped pages back through any handle of the file that can write:
/// with an appending one their offset must count as well.
pub(crate) fn open_flags(flags: i32) -> OpenFlags {
    let access = flags & libc::O_ACCMODE;
    OpenFlags {
        read: access != libc::O_WRONLY,
        write: access != libc::O_RDONLY,
        append: false,
        truncate: flags & libc::O_TRUNC != 0,
        exclusive: flags & libc::O_EXCL != 0,
        // Whether it can be done is known elsewhere.
        passthrough: false,
        inherited: false,
    }
}

/// `None` for combinations that are not supported (`RENAME_WHITEOUT`) or make no sense.
pub(crate) fn rename_flags(flags: fuser::RenameFlags) -> Option<RenameFlags> {
    let no_replace = flags.contains(fuser::RenameFlags::RENAME_NOREPLACE);
    let exchange = flags.contains(fuser::RenameFlags::RENAME_EXCHANGE);
    let known = fuser::RenameFlags::RENAME_NOREPLACE | fuser::RenameFlags::RENAME_EXCHANGE;
    let odd = !flags.difference(known).is_empty() || no_replace && exchange;
    (!odd).then_some(RenameFlags { no_replace, exchange })
}

/// What `fallocate(2)` is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AllocateMode {
    pub(crate) keep_size: bool,
    pub(crate) zero: bool,
}

/// `None` for modes that are not supported (collapse, insert, unshare).
pub(crate) fn allocate_mode(mode: i32) -> Option<AllocateMode> {
    let keep_size = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
    match mode & !libc::FALLOC_FL_KEEP_SIZE {
        0 => Some(AllocateMode { keep_size, zero: false }),
        libc::FALLOC_FL_ZERO_RANGE => Some(AllocateMode { keep_size, zero: true }),
        libc::FALLOC_FL_PUNCH_HOLE if keep_size => Some(AllocateMode { keep_size, zero: true }),
        _ => None,
    }
}
