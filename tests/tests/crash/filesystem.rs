//! Shows the disk that forgets as a file system, for the state folder of a drive.

use crate::disk::{Disk, Inode};
use fuser::{
    AccessFlags, BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType,
    Filesystem, FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags,
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use std::{
    ffi::OsStr,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

/// The kernel may believe what it was told: nobody else changes the disk.
const TTL: Duration = Duration::from_secs(60);

pub(crate) struct Shown(pub(crate) Arc<Mutex<Disk>>);

/// Shows the disk at `root` until the session is dropped.
pub(crate) fn show(disk: &Arc<Mutex<Disk>>, root: &Path) -> io::Result<BackgroundSession> {
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("forgets".into())];
    fuser::spawn_mount(Shown(Arc::clone(disk)), root, &config)
}

impl Shown {
    /// The disk, if it has power.
    fn disk(&self) -> Result<MutexGuard<'_, Disk>, Errno> {
        let disk = self.0.lock().unwrap();
        if disk.is_off { Err(Errno::EIO) } else { Ok(disk) }
    }

    /// Does something with one inode.
    fn with<T>(&self, ino: INodeNo, with: impl FnOnce(&mut Inode) -> T) -> Result<T, Errno> {
        self.disk()?.get(ino.0).map(with).ok_or(Errno::ENOENT)
    }

    fn attr(&self, ino: INodeNo) -> Result<FileAttr, Errno> {
        self.with(ino, |inode| attr(ino.0, inode))
    }

    fn make(
        &self,
        request: &Request,
        place: (INodeNo, &OsStr),
        (mode, device): (u32, u32),
    ) -> Result<FileAttr, Errno> {
        let mut disk = self.disk()?;
        let place = (place.0.0, place.1);
        if disk.find(place.0, place.1).is_some() {
            return Err(Errno::EEXIST);
        }
        let ino = disk.make(place, (mode, (request.uid(), request.gid()), device));
        drop(disk);
        self.attr(INodeNo(ino))
    }

    fn remove(&self, folder: INodeNo, name: &OsStr) -> Result<(), Errno> {
        let mut disk = self.disk()?;
        let ino = disk.find(folder.0, name).ok_or(Errno::ENOENT)?;
        if disk.get(ino).is_some_and(|inode| !inode.names.is_empty()) {
            return Err(Errno::ENOTEMPTY);
        }
        if disk.remove(folder.0, name) { Ok(()) } else { Err(Errno::ENOENT) }
    }
}

fn attr(ino: u64, inode: &Inode) -> FileAttr {
    let size = inode.bytes.len() as u64;
    FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: size.div_ceil(512),
        atime: inode.mtime,
        mtime: inode.mtime,
        ctime: inode.mtime,
        crtime: inode.mtime,
        kind: kind(inode),
        perm: (inode.mode & 0o7777) as u16,
        nlink: inode.links,
        uid: inode.owner.0,
        gid: inode.owner.1,
        rdev: inode.device,
        blksize: 4096,
        flags: 0,
    }
}

fn kind(inode: &Inode) -> FileType {
    match inode.mode & libc::S_IFMT {
        libc::S_IFDIR => FileType::Directory,
        libc::S_IFLNK => FileType::Symlink,
        libc::S_IFSOCK => FileType::Socket,
        libc::S_IFIFO => FileType::NamedPipe,
        _ => FileType::RegularFile,
    }
}

fn entry(found: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match found {
        Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn done(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn time(given: TimeOrNow) -> SystemTime {
    match given {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    }
}

impl Filesystem for Shown {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.disk().and_then(|disk| disk.find(parent.0, name).ok_or(Errno::ENOENT));
        entry(found.and_then(|ino| self.attr(INodeNo(ino))), reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attr(ino) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = self.with(ino, |inode| {
            if let Some(mode) = mode {
                inode.mode = inode.mode & libc::S_IFMT | mode & 0o7777;
            }
            inode.owner = (uid.unwrap_or(inode.owner.0), gid.unwrap_or(inode.owner.1));
            if let Some(size) = size {
                inode.resize(size as usize);
                inode.mtime = SystemTime::now();
            }
            if let Some(mtime) = mtime {
                inode.mtime = time(mtime);
            }
            attr(ino.0, inode)
        });
        match set {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.with(ino, |inode| inode.bytes.clone()) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(error),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        device: u32,
        reply: ReplyEntry,
    ) {
        entry(self.make(request, (parent, name), (mode & !umask, device)), reply);
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
        entry(self.make(request, (parent, name), (libc::S_IFDIR | mode & !umask, 0)), reply);
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let made =
            self.make(request, (parent, name), (libc::S_IFLNK | 0o777, 0)).and_then(|made| {
                self.with(made.ino, |inode| {
                    inode.write(0, target.as_os_str().as_encoded_bytes());
                    attr(made.ino.0, inode)
                })
            });
        entry(made, reply);
    }

    fn link(&self, _: &Request, ino: INodeNo, folder: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let linked = self.disk().map(|mut disk| disk.link(ino.0, folder.0, name));
        entry(linked.and_then(|()| self.attr(ino)), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.remove(parent, name), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.remove(parent, name), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let renamed = self.disk().and_then(|mut disk| {
            let (from, to) = ((parent.0, name), (new_parent.0, new_name));
            if flags.contains(RenameFlags::RENAME_NOREPLACE) && disk.find(to.0, to.1).is_some() {
                return Err(Errno::EEXIST);
            }
            let exchange = flags.contains(RenameFlags::RENAME_EXCHANGE);
            if disk.rename(from, to, exchange) { Ok(()) } else { Err(Errno::ENOENT) }
        });
        done(renamed, reply);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        match self.make(request, (parent, name), (libc::S_IFREG | mode & !umask & 0o7777, 0)) {
            Ok(attr) => {
                reply.created(&TTL, &attr, Generation(0), FileHandle(0), FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.disk() {
            Ok(_) => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let bytes = self.with(ino, |inode| {
            let start = (offset as usize).min(inode.bytes.len());
            let end = (start + size as usize).min(inode.bytes.len());
            inode.bytes[start..end].to_vec()
        });
        match bytes {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.with(ino, |inode| inode.write(offset as usize, data)) {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let end = (offset + length) as usize;
        let allocated = self.with(ino, |inode| {
            if mode & libc::FALLOC_FL_PUNCH_HOLE != 0 {
                let end = end.min(inode.bytes.len());
                let start = (offset as usize).min(end);
                inode.write(start, &vec![0; end - start]);
            } else if mode & libc::FALLOC_FL_KEEP_SIZE == 0 && end > inode.bytes.len() {
                inode.resize(end);
            }
        });
        done(allocated, reply);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.disk().map(|mut disk| disk.sync(ino.0)), reply);
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.disk().map(|mut disk| disk.sync_names()), reply);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let names = self.with(ino, |inode| inode.names.clone());
        let names = match names {
            Ok(names) => names,
            Err(error) => return reply.error(error),
        };
        // The position after an entry is its inode number: entries may come and go.
        let mut entries: Vec<_> = names.into_iter().map(|(name, ino)| (ino, name)).collect();
        entries.sort();
        for (ino, name) in entries.into_iter().filter(|(ino, _)| *ino > offset) {
            let kind = self.with(INodeNo(ino), |inode| kind(inode));
            if kind.is_ok_and(|kind| reply.add(INodeNo(ino), ino, kind, &name)) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        const BLOCKS: u64 = 16 << 20;
        reply.statfs(BLOCKS, BLOCKS, BLOCKS, BLOCKS, BLOCKS, 4096, 255, 4096);
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.ok();
    }
}
