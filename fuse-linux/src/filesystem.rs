//! The verbs: each builds a request and hands it to the port together with its reply.

use crate::answer::{self, Opening, Refuse};
use crate::backing::Backings;
use crate::convert::{
    allocate_mode, made_kind, open_flags, owner, permissions, rename_flags, set_time,
};
use crate::door::Door;
use crate::listing::{self, Room};
use crate::reattach::{self, Seen};
use crate::resent;
use bytes::Bytes;
use fs_core::{CreateSpec, FsError, HandleId, Ino, Kind, Name, Request as Ask, SetAttrs};
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, INodeNo,
    InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr,
    Request, TimeOrNow, WriteFlags,
};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// The largest read or write in one request, in bytes: what kernels allow by default
/// (fs.fuse.max_pages_limit is 256 pages).
const LARGEST_TRANSFER: u32 = 1 << 20;
/// Requests that the kernel may have under way in the background (read-ahead and the like). fuser's
/// default of 16 starves a store that is far away.
const BACKGROUND: u16 = 128;

/// Asked for one by one: a kernel that lacks one keeps the others. The writeback cache is not among
/// them, and never will be: the kernel would own size and times then. Nor is `FUSE_ATOMIC_O_TRUNC`: the
/// kernel would let an open cut a program that runs, and only then answer `ETXTBSY`.
const WANTED: [InitFlags; 10] = [
    InitFlags::FUSE_ASYNC_READ,
    InitFlags::FUSE_BIG_WRITES,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_ASYNC_DIO,
    // Access control lists decide; the umask comes here, because a directory's default list is put in its
    // place.
    InitFlags::FUSE_POSIX_ACL,
    InitFlags::FUSE_DONT_MASK,
    // Without it the kernel asks for the `security.capability` of a file before every single write, also
    // before one that it makes by itself. With it set-id bits are taken away here.
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
];

pub(crate) struct Translator {
    port: Door,
    room: Arc<Room>,
    seen: Seen,
    /// And whether files may be handed to the kernel.
    backings: (Arc<Backings>, bool),
}

impl Translator {
    pub(crate) fn new(port: Door, seen: Seen, backings: (Arc<Backings>, bool)) -> Translator {
        Translator { port, room: Arc::default(), seen, backings }
    }

    fn opening(&self, node: INodeNo) -> Opening {
        let backings = Arc::clone(&self.backings.0);
        Opening { ino: ino(node), door: self.port.clone(), backings }
    }

    fn open_flags(&self, node: Option<INodeNo>, flags: i32) -> fs_core::OpenFlags {
        let inherited = node.is_some_and(|node| self.backings.0.is_inherited(ino(node)));
        fs_core::OpenFlags { passthrough: self.backings.0.is_on(), inherited, ..open_flags(flags) }
    }

    /// Hands over a request about `name`, or refuses a name that no entry can have.
    fn named<R: Refuse>(&self, name: &OsStr, reply: R, submit: impl FnOnce(&Door, Name, R)) {
        match Name::new(name.as_bytes()) {
            Ok(name) => submit(&self.port, name, reply),
            Err(error) => reply.error(error),
        }
    }

    fn make(
        &self,
        request: &Request,
        (parent, name): (INodeNo, &OsStr),
        spec: CreateSpec,
        reply: ReplyEntry,
    ) {
        self.named(name, reply, |port, name, reply| {
            resent::make(request, port, (ino(parent), name), spec, reply);
        });
    }
}

fn ino(number: INodeNo) -> Ino {
    Ino(number.0)
}

fn handle(number: FileHandle) -> HandleId {
    HandleId(number.0)
}

fn xattr_name(name: &OsStr) -> Vec<u8> {
    name.as_bytes().to_vec()
}

/// How it is said that a node lacks an attribute. `ls -l` asks every file for its label until it hears
/// that this file system has no such thing, which is true: what is stored under that name comes back,
/// and nobody acts upon it.
fn absence(name: &OsStr) -> FsError {
    if name == "security.selinux" { FsError::Unsupported } else { FsError::NoAttribute }
}

impl Filesystem for Translator {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        reattach::note(&self.seen, config);
        for wanted in WANTED {
            if config.add_capabilities(wanted).is_err() {
                tracing::debug!(?wanted, "this kernel lacks a FUSE feature");
            }
        }
        // Pages go when we say so. Without that: when size or time differ, which is right but also
        // throws away what this device wrote itself.
        if config.add_capabilities(InitFlags::FUSE_EXPLICIT_INVAL_DATA).is_err() {
            let _ = config.add_capabilities(InitFlags::FUSE_AUTO_INVAL_DATA);
        }
        // Both setters only refuse zero and more than 16 MiB.
        let _ = config.set_max_write(LARGEST_TRANSFER);
        let _ = config.set_max_background(BACKGROUND);
        self.backings.0.negotiate(self.backings.1, config);
        Ok(())
    }

    // Names and attributes

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.named(name, reply, |port, name, reply| {
            port.submit(Ask::Lookup { parent: ino(parent), name }, answer::lookup(reply));
        });
    }

    // Batches come here one by one: fuser's default for `batch_forget`.
    fn forget(&self, _: &Request, node: INodeNo, count: u64) {
        let ino = ino(node);
        self.port.submit(Ask::Forget { ino, count }, answer::forgotten(ino));
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.port.submit(Ask::Getattr { ino: ino(node) }, answer::attr(reply));
    }

    fn setattr(
        &self,
        request: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        // The core sets ctime itself; the rest is for other systems.
        _ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let nothing = mode.is_none() && uid.is_none() && gid.is_none() && size.is_none();
        let untimed = atime.is_none() && mtime.is_none();
        // An owner that is set to what it is, and somebody without privileges who is about to change the
        // content of a file with set-id bits (`__remove_privs` of the kernel), come as a call that sets
        // nothing. FATTR_KILL_SUIDGID does not come through; who cuts a file and is not root lacks
        // CAP_FSETID, as a rule, and without the rule too much is taken away, not too little.
        let strip = nothing && untimed || size.is_some() && request.uid() != 0;
        let set = SetAttrs {
            strip,
            mode: mode.map(permissions),
            uid,
            gid,
            size,
            atime: atime.map(set_time),
            mtime: mtime.map(set_time),
        };
        let request = Ask::Setattr { ino: ino(node), set, handle: fh.map(handle) };
        self.port.submit(request, answer::attr(reply));
    }

    fn readlink(&self, _: &Request, node: INodeNo, reply: ReplyData) {
        self.port.submit(Ask::Readlink { ino: ino(node) }, answer::target(reply));
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        // The kernel checks permissions itself (`default_permissions`) and does not ask.
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        self.port.submit(Ask::Statfs, answer::statfs(reply));
    }

    // Making and removing

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let Some(kind) = made_kind(mode) else {
            return Refuse::error(reply, FsError::Invalid);
        };
        let (mode, owner) = (permissions(mode), owner(request, umask));
        let spec = CreateSpec { kind, mode, rdev, owner, target: Vec::new() };
        self.make(request, (parent, name), spec, reply);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let (mode, owner) = (permissions(mode), owner(request, umask));
        let spec = CreateSpec { kind: Kind::Dir, mode, rdev: 0, owner, target: Vec::new() };
        self.make(request, (parent, name), spec, reply);
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let target = target.as_os_str().as_bytes().to_vec();
        let (kind, owner) = (Kind::Symlink, owner(request, 0));
        let spec = CreateSpec { kind, mode: 0o777, rdev: 0, owner, target };
        self.make(request, (parent, name), spec, reply);
    }

    fn link(
        &self,
        request: &Request,
        node: INodeNo,
        parent: INodeNo,
        name: &OsStr,
        reply: ReplyEntry,
    ) {
        self.named(name, reply, |port, name, reply| {
            resent::link(request, port, ino(node), (ino(parent), name), reply);
        });
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.named(name, reply, |port, name, reply| {
            let answer = resent::done(request, FsError::NotFound, reply);
            port.submit(Ask::Unlink { parent: ino(parent), name }, answer);
        });
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.named(name, reply, |port, name, reply| {
            let answer = resent::done(request, FsError::NotFound, reply);
            port.submit(Ask::Rmdir { parent: ino(parent), name }, answer);
        });
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let Some(flags) = rename_flags(flags) else {
            return Refuse::error(reply, FsError::Invalid);
        };
        self.named(name, reply, |_, name, reply| {
            self.named(new_name, reply, |port, new_name, reply| {
                let (from, to) = ((ino(parent), name), (ino(new_parent), new_name));
                let answer = resent::renamed(request, port, to.clone(), reply);
                port.submit(Ask::Rename { from, to, flags }, answer);
            });
        });
    }

    // Open files

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (mode, owner) = (permissions(mode), owner(request, umask));
        self.named(name, reply, |port, name, reply| {
            let mut flags = self.open_flags(None, flags);
            // What came again may have made the file: then it is to be opened.
            flags.exclusive &= !reattach::is_resent(request);
            let request = Ask::Create { parent: ino(parent), name, mode, owner, flags };
            port.submit(request, answer::created(reply, self.opening(parent)));
        });
    }

    fn open(&self, _: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let flags = self.open_flags(Some(node), flags.0);
        let request = Ask::Open { ino: ino(node), flags };
        self.port.submit(request, answer::opened(reply, self.opening(node)));
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        fh: FileHandle,
        offset: u64,
        len: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let request = Ask::Read { ino: ino(node), handle: handle(fh), offset, len };
        self.port.submit(request, answer::data(reply));
    }

    fn write(
        &self,
        _: &Request,
        node: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        flags: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let data = Bytes::copy_from_slice(data);
        let strip = flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        let request = Ask::Write { ino: ino(node), handle: handle(fh), offset, data, strip };
        self.port.submit(request, answer::written(reply));
    }

    fn flush(&self, _: &Request, node: INodeNo, fh: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        let request = Ask::Flush { ino: ino(node), handle: handle(fh) };
        self.port.submit(request, answer::done(reply));
    }

    fn release(
        &self,
        _: &Request,
        node: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        // The kernel has left the mode before it says so.
        self.backings.0.release(handle(fh));
        let request = Ask::Release { ino: ino(node), handle: handle(fh) };
        self.port.submit(request, answer::done(reply));
    }

    fn fsync(&self, _: &Request, node: INodeNo, _: FileHandle, data_only: bool, reply: ReplyEmpty) {
        self.port.submit(Ask::Fsync { ino: ino(node), data_only }, answer::done(reply));
    }

    fn fallocate(
        &self,
        _: &Request,
        node: INodeNo,
        fh: FileHandle,
        offset: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let Some(mode) = allocate_mode(mode) else {
            return Refuse::error(reply, FsError::Unsupported);
        };
        let (keep_size, zero) = (mode.keep_size, mode.zero);
        let (ino, handle) = (ino(node), handle(fh));
        let request = Ask::Allocate { ino, handle, offset, len, keep_size, zero };
        self.port.submit(request, answer::done(reply));
    }

    fn lseek(
        &self,
        _: &Request,
        node: INodeNo,
        fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let hole = match whence {
            libc::SEEK_DATA => false,
            libc::SEEK_HOLE => true,
            // The kernel answers all others itself.
            _ => return Refuse::error(reply, FsError::Invalid),
        };
        let Ok(offset) = u64::try_from(offset) else {
            return Refuse::error(reply, FsError::NoData);
        };
        let request = Ask::Seek { ino: ino(node), handle: handle(fh), offset, hole };
        self.port.submit(request, answer::offset(reply));
    }

    fn copy_file_range(
        &self,
        _: &Request,
        node_in: INodeNo,
        fh_in: FileHandle,
        offset_in: u64,
        node_out: INodeNo,
        fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let from = (ino(node_in), handle(fh_in), offset_in);
        let to = (ino(node_out), handle(fh_out), offset_out);
        self.port.submit(Ask::Copy { from, to, len }, answer::written(reply));
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: PollNotifier,
        events: PollEvents,
        _: PollFlags,
        reply: ReplyPoll,
    ) {
        // Files are always ready.
        reply.poll(events);
    }

    // Directories

    fn opendir(&self, _: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.port.submit(Ask::Opendir { ino: ino(node) }, answer::opened_dir(reply));
    }

    fn readdir(
        &self,
        _: &Request,
        node: INodeNo,
        fh: FileHandle,
        cookie: u64,
        reply: ReplyDirectory,
    ) {
        let request = listing::request(node, handle(fh), cookie, self.room.guess(cookie));
        self.port.submit(request, listing::entries(reply, Arc::clone(&self.room)));
    }

    fn readdirplus(
        &self,
        _: &Request,
        node: INodeNo,
        fh: FileHandle,
        cookie: u64,
        reply: ReplyDirectoryPlus,
    ) {
        let request = listing::request_plus(node, handle(fh), cookie, self.room.guess(cookie));
        let answer = listing::entries_plus(reply, Arc::clone(&self.room), self.port.clone());
        self.port.submit(request, answer);
    }

    fn releasedir(
        &self,
        _: &Request,
        node: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        let request = Ask::Releasedir { ino: ino(node), handle: handle(fh) };
        self.port.submit(request, answer::done(reply));
    }

    fn fsyncdir(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        self.port.submit(Ask::Fsync { ino: ino(node), data_only }, answer::done(reply));
    }

    // Extended attributes

    fn setxattr(
        &self,
        request: &Request,
        node: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        let create = flags & libc::XATTR_CREATE != 0;
        let replace = flags & libc::XATTR_REPLACE != 0;
        let (ino, name, value) = (ino(node), xattr_name(name), value.to_vec());
        let attribute = (ino, name.clone(), value.clone());
        let answer = resent::attribute_set(request, &self.port, attribute, reply);
        let request = Ask::Setxattr { ino, name, value, create, replace };
        self.port.submit(request, answer);
    }

    fn getxattr(
        &self,
        request: &Request,
        node: INodeNo,
        name: &OsStr,
        room: u32,
        reply: ReplyXattr,
    ) {
        let (absent, answer) = (absence(name), answer::xattr(reply, room));
        let request = Ask::Getxattr { ino: ino(node), name: xattr_name(name), uid: request.uid() };
        self.port.submit(request, move |found| {
            answer(
                found.map_err(|error| if error == FsError::NoAttribute { absent } else { error }),
            );
        });
    }

    fn listxattr(&self, _: &Request, node: INodeNo, room: u32, reply: ReplyXattr) {
        self.port.submit(Ask::Listxattr { ino: ino(node) }, answer::xattr(reply, room));
    }

    fn removexattr(&self, request: &Request, node: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let answer = resent::done(request, FsError::NoAttribute, reply);
        self.port.submit(Ask::Removexattr { ino: ino(node), name: xattr_name(name) }, answer);
    }
}
