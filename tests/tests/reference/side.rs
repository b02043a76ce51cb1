//! One of the two trees, and what happens when something is done to it.

use crate::op::{AclEntry, Actor, Op, ROOT, Slot, Special, When};
use meshdrive_tests::content;
use rustix::{
    fs::{
        self, Access, AtFlags, CWD, Dir, FallocateFlags, FileType, Mode, OFlags, RenameFlags, Stat,
        Timespec, Timestamps, XattrFlags,
    },
    io::{self, Errno},
};
use std::{
    collections::BTreeMap,
    ffi::CString,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

/// Open files at a time.
pub(crate) const SLOTS: usize = 8;
/// The largest list of attribute names, in bytes.
const LIST_ROOM: usize = 65_536;
/// linux/posix_acl_xattr.h
const ACL_VERSION: [u8; 4] = [2, 0, 0, 0];
const ACL_ACCESS: &str = "system.posix_acl_access";
const ACL_DEFAULT: &str = "system.posix_acl_default";

/// A time: as it was set, or of this run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Time {
    Set(i64, i64),
    Recent,
}

/// A folder whose entries were not looked at since the drive was mounted says 1, which means unknown, as
/// on other file systems that do not count.
#[derive(Clone, Copy, Eq, Debug)]
pub(crate) enum Links {
    Unknown,
    Count(u64),
}

impl PartialEq for Links {
    fn eq(&self, other: &Links) -> bool {
        match (self, other) {
            (Links::Count(one), Links::Count(other)) => one == other,
            _ => true,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Attr {
    pub(crate) mode: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) nlink: Links,
    /// 0 for directories: each file system counts their bytes in its own way.
    pub(crate) size: i64,
    pub(crate) rdev: u64,
    pub(crate) mtime: Time,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Done,
    Count(usize),
    Bytes(Vec<u8>),
    Attr(Attr),
    /// With the access time that was just set.
    Times(Attr, Time),
    Names(BTreeMap<Vec<u8>, String>),
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Done => write!(f, "done"),
            Value::Count(count) => write!(f, "{count}"),
            Value::Bytes(bytes) => {
                let head = bytes[..bytes.len().min(16)].escape_ascii();
                let sum = bytes
                    .iter()
                    .fold(7u64, |sum, byte| sum.wrapping_mul(1_099_511_628_211) ^ u64::from(*byte));
                write!(f, "{} bytes, sum {sum:x}: {head}", bytes.len())
            }
            Value::Attr(attr) => write!(f, "{attr:?}"),
            Value::Times(attr, atime) => write!(f, "{attr:?} atime {atime:?}"),
            Value::Names(names) => {
                let names =
                    names.iter().map(|(name, kind)| format!("{}:{kind}", name.escape_ascii()));
                write!(f, "{}", names.collect::<Vec<_>>().join(" "))
            }
        }
    }
}

pub(crate) type Outcome = Result<Value, Errno>;

#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) root: PathBuf,
    slots: Vec<Option<OwnedFd>>,
    /// Seconds since 1970 at which the run began, a little less.
    began: i64,
}

impl Side {
    pub(crate) fn new(root: PathBuf) -> Side {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        std::fs::create_dir_all(&root).unwrap();
        let slots = (0..SLOTS).map(|_| None).collect();
        Side { root, slots, began: i64::try_from(now).unwrap() - 10 }
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }

    pub(crate) fn close_all(&mut self) {
        self.slots.iter_mut().for_each(|slot| *slot = None);
    }

    pub(crate) fn stat_of(&self, path: &str) -> Option<Stat> {
        fs::lstat(self.at(path)).ok()
    }

    pub(crate) fn stat_open(&self, slot: Slot) -> Option<Stat> {
        fs::fstat(self.slots[slot].as_ref()?).ok()
    }

    /// Does it as `actor`, and is root again afterwards.
    pub(crate) fn act(&mut self, actor: Actor, op: &Op) -> Outcome {
        become_one(actor);
        let outcome = self.perform(op);
        become_one(ROOT);
        outcome
    }

    fn perform(&mut self, op: &Op) -> Outcome {
        use Op as O;
        match op {
            O::Open { slot, path, flags, mode } => {
                self.slots[*slot] = None;
                let flags = OFlags::from_bits_retain(*flags) | OFlags::CLOEXEC;
                let file = fs::open(self.at(path), flags, Mode::from_raw_mode(*mode))?;
                // FUSE is not told that a fifo is open, so the drive cannot keep one without a name.
                if FileType::from_raw_mode(fs::fstat(&file)?.st_mode) != FileType::Fifo {
                    self.slots[*slot] = Some(file);
                }
                done()
            }
            O::Close { slot } => {
                self.slots[*slot] = None;
                done()
            }
            O::Truncate { path, size } => {
                let path = CString::new(self.at(path).as_os_str().as_bytes()).unwrap();
                let size = i64::try_from(*size).unwrap();
                // SAFETY: a path that ends with a NUL.
                check(unsafe { libc::truncate(path.as_ptr(), size) })
            }
            O::Umask { mask } => {
                rustix::process::umask(Mode::from_raw_mode(*mask));
                done()
            }
            _ if op.slot().is_some() => self.with_file(op),
            _ => self.with_path(op),
        }
    }

    fn with_file(&mut self, op: &Op) -> Outcome {
        use Op as O;
        let open = |slot: &Slot| self.slots[*slot].as_ref().ok_or(Errno::BADF);
        match op {
            O::ReadAt { slot, offset, len } => {
                let mut bytes = vec![0; *len];
                let count = io::pread(open(slot)?, &mut bytes, *offset)?;
                bytes.truncate(count);
                Ok(Value::Bytes(bytes))
            }
            O::WriteAt { slot, offset, len, seed } => {
                Ok(Value::Count(io::pwrite(open(slot)?, &content(*seed, *len), *offset)?))
            }
            O::Write { slot, len, seed } => {
                Ok(Value::Count(io::write(open(slot)?, &content(*seed, *len))?))
            }
            O::MapRead { slot, offset, len } => {
                let mut bytes = Vec::new();
                mapped(open(slot)?, *offset, *len, false, |map| bytes = map.to_vec())?;
                Ok(Value::Bytes(bytes))
            }
            O::MapWrite { slot, offset, len, seed } => {
                mapped(open(slot)?, *offset, *len, true, |map| {
                    map.copy_from_slice(&content(*seed, map.len()));
                })?;
                done()
            }
            O::SetLen { slot, size } => unit(fs::ftruncate(open(slot)?, *size)),
            O::Sync { slot, data_only: true } => unit(fs::fdatasync(open(slot)?)),
            O::Sync { slot, data_only: false } => unit(fs::fsync(open(slot)?)),
            O::StatOpen { slot } => self.attr(fs::fstat(open(slot)?)?),
            O::ChmodOpen { slot, mode } => {
                unit(fs::fchmod(open(slot)?, Mode::from_raw_mode(*mode)))
            }
            O::Allocate { slot, mode, offset, len } => {
                let mode = FallocateFlags::from_bits_retain(mode.cast_unsigned());
                unit(fs::fallocate(open(slot)?, mode, *offset, *len))
            }
            O::Copy { from, to, source, target, len } => {
                let (mut source, mut target) = (*source, *target);
                let (from, to) = (open(from)?, open(to)?);
                let count =
                    fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), *len)?;
                Ok(Value::Count(count))
            }
            _ => unreachable!("{op:?} has no slot"),
        }
    }

    fn with_path(&mut self, op: &Op) -> Outcome {
        use Op as O;
        match op {
            O::Stat { path, follow: true } => self.attr(fs::stat(self.at(path))?),
            O::Stat { path, follow: false } => self.attr(fs::lstat(self.at(path))?),
            O::Access { path, how } => {
                let how = Access::from_bits_retain(*how);
                unit(fs::accessat(CWD, self.at(path), how, AtFlags::EACCESS))
            }
            O::List { path } => list(&self.at(path)),
            O::Mkdir { path, mode } => unit(fs::mkdir(self.at(path), Mode::from_raw_mode(*mode))),
            O::Rmdir { path } => unit(fs::rmdir(self.at(path))),
            O::Unlink { path } => unit(fs::unlink(self.at(path))),
            O::Rename { from, to, flags } => {
                let flags = RenameFlags::from_bits_retain(*flags);
                unit(fs::renameat_with(CWD, self.at(from), CWD, self.at(to), flags))
            }
            O::Symlink { target, path } => unit(fs::symlink(target.as_str(), self.at(path))),
            O::Readlink { path } => {
                Ok(Value::Bytes(fs::readlink(self.at(path), Vec::new())?.into_bytes()))
            }
            O::Link { from, to } => unit(fs::link(self.at(from), self.at(to))),
            O::Node { path, kind, mode } => {
                let kind = match kind {
                    Special::Fifo => FileType::Fifo,
                    Special::Socket => FileType::Socket,
                };
                unit(fs::mknodat(CWD, self.at(path), kind, Mode::from_raw_mode(*mode), 0))
            }
            O::Chmod { path, mode } => unit(fs::chmod(self.at(path), Mode::from_raw_mode(*mode))),
            O::Chown { path, uid, gid } => {
                let uid = uid.map(rustix::fs::Uid::from_raw);
                let gid = gid.map(rustix::fs::Gid::from_raw);
                unit(fs::chownat(CWD, self.at(path), uid, gid, AtFlags::SYMLINK_NOFOLLOW))
            }
            O::Times { path, atime, mtime, follow } => {
                self.set_times(path, (*atime, *mtime), *follow)
            }
            _ => self.with_xattr(op),
        }
    }

    fn set_times(&self, path: &str, (atime, mtime): (When, When), follow: bool) -> Outcome {
        let times = Timestamps { last_access: spec(atime), last_modification: spec(mtime) };
        let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        fs::utimensat(CWD, self.at(path), &times, flags)?;
        let stat = fs::statat(CWD, self.at(path), flags)?;
        // A link may be on the way to itself, and going through it is an access.
        let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        let accessed = match atime {
            When::Omit => Time::Recent,
            _ if is_link => Time::Recent,
            _ => self.time(stat.st_atime, stat.st_atime_nsec),
        };
        match self.attr(stat)? {
            Value::Attr(attr) => Ok(Value::Times(attr, accessed)),
            other => Ok(other),
        }
    }

    fn with_xattr(&self, op: &Op) -> Outcome {
        use Op as O;
        match op {
            O::SetXattr { path, name, len, seed, flags } => {
                let flags = XattrFlags::from_bits_retain(*flags);
                let value = content(*seed, *len);
                unit(fs::lsetxattr(self.at(path), name.as_str(), &value, flags))
            }
            O::GetXattr { path, name, room } => self.xattr(path, name, *room),
            O::ListXattr { path } => {
                let names = xattr_names(&self.at(path))?;
                Ok(Value::Names(names.into_iter().map(|name| (name, String::new())).collect()))
            }
            O::RemoveXattr { path, name } => unit(fs::lremovexattr(self.at(path), name.as_str())),
            O::SetAcl { path, default, entries } => {
                let name = if *default { ACL_DEFAULT } else { ACL_ACCESS };
                let value = acl(entries);
                unit(fs::lsetxattr(self.at(path), name, &value, XattrFlags::empty()))
            }
            _ => unreachable!("{op:?} is not done"),
        }
    }

    pub(crate) fn xattr(&self, path: &str, name: &str, room: usize) -> Outcome {
        let mut value = vec![0; room];
        let len = fs::lgetxattr(self.at(path), name, value.as_mut_slice())?;
        if room == 0 {
            return Ok(Value::Count(len));
        }
        value.truncate(len);
        Ok(Value::Bytes(value))
    }

    #[allow(clippy::unnecessary_wraps)]
    pub(crate) fn attr(&self, stat: Stat) -> Outcome {
        let kind = FileType::from_raw_mode(stat.st_mode);
        // Of files without the group's x, FUSE takes set-group-id away less often than a local disk does.
        let is_file = kind == FileType::RegularFile;
        let mode = if is_file { stat.st_mode & !0o2000 } else { stat.st_mode };
        Ok(Value::Attr(Attr {
            mode: format!("{mode:o}"),
            uid: stat.st_uid,
            gid: stat.st_gid,
            nlink: match stat.st_nlink {
                1 if kind == FileType::Directory => Links::Unknown,
                count => Links::Count(count),
            },
            size: if kind == FileType::Directory { 0 } else { stat.st_size },
            rdev: stat.st_rdev,
            mtime: match kind {
                // Moves with what goes through it, which is not the file system's business.
                FileType::Fifo => Time::Recent,
                _ => self.time(stat.st_mtime, stat.st_mtime_nsec),
            },
        }))
    }

    fn time(&self, seconds: i64, nanos: u64) -> Time {
        const AN_HOUR: i64 = 3600;
        if (self.began..self.began + AN_HOUR).contains(&seconds) {
            Time::Recent
        } else {
            Time::Set(seconds, i64::try_from(nanos).unwrap())
        }
    }
}

#[allow(clippy::unnecessary_wraps)]
fn done() -> Outcome {
    Ok(Value::Done)
}

fn unit(result: io::Result<()>) -> Outcome {
    result.map(|()| Value::Done)
}

fn check(result: i32) -> Outcome {
    if result == 0 {
        return done();
    }
    let error = std::io::Error::last_os_error();
    Err(Errno::from_raw_os_error(error.raw_os_error().unwrap()))
}

fn spec(when: When) -> Timespec {
    let (seconds, nanos) = match when {
        When::Now => (0, fs::UTIME_NOW),
        When::Omit => (0, fs::UTIME_OMIT),
        When::At(seconds, nanos) => (seconds, nanos),
    };
    Timespec { tv_sec: seconds, tv_nsec: nanos }
}

pub(crate) fn acl(entries: &[AclEntry]) -> Vec<u8> {
    let mut value = ACL_VERSION.to_vec();
    for (tag, permissions, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

/// Names and kinds; a name that comes twice has the kind `twice`.
pub(crate) fn list(path: &Path) -> Outcome {
    let file = fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    let mut names = BTreeMap::new();
    for entry in Dir::read_from(file)? {
        let entry = entry?;
        let kind = format!("{:?}", entry.file_type());
        if names.insert(entry.file_name().to_bytes().to_vec(), kind).is_some() {
            names.insert(entry.file_name().to_bytes().to_vec(), "twice".into());
        }
    }
    Ok(Value::Names(names))
}

pub(crate) fn xattr_names(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut names = vec![0; LIST_ROOM];
    let len = fs::llistxattr(path, names.as_mut_slice())?;
    let mut names: Vec<Vec<u8>> = names[..len]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(Vec::from)
        .collect();
    names.sort();
    Ok(names)
}

/// Maps what lies inside the file and of `len` bytes from `offset`, and gives it to `work`.
fn mapped(
    file: &OwnedFd,
    offset: u64,
    len: usize,
    write: bool,
    work: impl FnOnce(&mut [u8]),
) -> io::Result<()> {
    const PAGE: u64 = 4096;
    let stat = fs::fstat(file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::NXIO); // each file system gives folders a size of its own
    }
    let size = u64::try_from(stat.st_size).unwrap();
    let start = offset / PAGE * PAGE;
    let end = size.min(offset + len as u64);
    if end <= start {
        return Err(Errno::NXIO); // nothing to map; the same on both sides
    }
    let length = usize::try_from(end - start).unwrap();
    let protection = if write { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
    let position = i64::try_from(start).unwrap();
    let (none, shared) = (std::ptr::null_mut(), libc::MAP_SHARED);
    // SAFETY: a new mapping, taken down below; the file is not shortened meanwhile: one thread works.
    let map =
        unsafe { libc::mmap(none, length, protection, shared, file.as_fd().as_raw_fd(), position) };
    if map == libc::MAP_FAILED {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_raw_os_error(error.raw_os_error().unwrap()));
    }
    if write {
        // SAFETY: `length` bytes are mapped, may be written, and all lie inside the file.
        work(unsafe { std::slice::from_raw_parts_mut(map.cast::<u8>(), length) });
    } else {
        // SAFETY: `length` bytes are mapped, and all lie inside the file.
        let mut copy = unsafe { std::slice::from_raw_parts(map.cast::<u8>(), length) }.to_vec();
        work(&mut copy);
    }
    // SAFETY: mapped above, and no longer used.
    unsafe { libc::munmap(map, length) };
    Ok(())
}

/// This thread's identity for files only; root may take it on and off again.
fn become_one(actor: Actor) {
    let groups: Vec<u32> = actor.group.into_iter().collect();
    // SAFETY: calls without memory but the list, which is there. The bare calls change this thread only.
    unsafe {
        libc::setfsuid(0);
        libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr());
        libc::setfsgid(actor.gid);
        libc::setfsuid(actor.uid);
    }
}
