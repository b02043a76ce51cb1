//! From the core's answer to the kernel's reply. Each function takes a reply object and gives the
//! callback that consumes it.

use crate::backing::Backings;
use crate::convert::{bare_attr, file_attr};
use crate::door::Door;
use crate::errno::errno;
use fs_core::{FsError, HandleId, Ino, NAME_MAX, Request, Response, StatFs, Via};
use fuser::{
    BackingId, Errno, FileHandle, FileType, FopenFlags, Generation, INodeNo, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek,
    ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr,
};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How long the kernel may trust attributes, entries and misses without asking. Long, because every
/// change that does not come through the mount is pushed to it.
pub(crate) const TTL: Duration = Duration::from_secs(24 * 3600);
/// Inode numbers are never used twice, so one generation is enough.
pub(crate) const GENERATION: Generation = Generation(0);
/// Unit of the numbers of statfs, in bytes.
const STATFS_UNIT: u32 = 4096;
/// Free inodes as statfs shows them: there is no limit, and programs look for "more than enough".
const FREE_FILES: u64 = 1 << 32;

pub(crate) type Answer = Result<Response, FsError>;

/// A reply that can carry an error.
pub(crate) trait Refuse: Sized {
    fn errno(self, code: Errno);

    fn error(self, error: FsError) {
        self.errno(errno(error));
    }
}

macro_rules! refuse {
    ($($reply:ty),*) => {
        $(impl Refuse for $reply {
            fn errno(self, code: Errno) {
                <$reply>::error(self, code);
            }
        })*
    };
}
refuse!(
    ReplyAttr,
    ReplyCreate,
    ReplyData,
    ReplyDirectory,
    ReplyDirectoryPlus,
    ReplyEmpty,
    ReplyEntry,
    ReplyLseek,
    ReplyOpen,
    ReplyStatfs,
    ReplyWrite,
    ReplyXattr
);

/// Answers with the error; an answer of another kind is a bug and becomes `EIO`.
pub(crate) fn refuse(reply: impl Refuse, answer: Answer) {
    match answer {
        Err(error) => Refuse::error(reply, error),
        Ok(unexpected) => {
            tracing::error!(?unexpected, "the core answered with something else than was asked");
            reply.errno(Errno::EIO);
        }
    }
}

/// A miss is an entry without a node: only so does the kernel remember it.
pub(crate) fn lookup(reply: ReplyEntry) -> impl FnOnce(Answer) + Send {
    move |answer| match answer {
        Err(FsError::NotFound) => {
            reply.entry(&TTL, &bare_attr(INodeNo(0), FileType::RegularFile), GENERATION);
        }
        other => entry(reply)(other),
    }
}

pub(crate) fn entry(reply: ReplyEntry) -> impl FnOnce(Answer) + Send {
    move |answer| match answer {
        Ok(Response::Entry(attr)) => reply.entry(&TTL, &file_attr(&attr), GENERATION),
        other => refuse(reply, other),
    }
}

pub(crate) fn attr(reply: ReplyAttr) -> impl FnOnce(Answer) + Send {
    move |answer| match answer {
        Ok(Response::Attr(attr)) => reply.attr(&TTL, &file_attr(&attr)),
        other => refuse(reply, other),
    }
}

pub(crate) fn done(reply: ReplyEmpty) -> impl FnOnce(Answer) + Send {
    move |answer| match answer {
        Ok(Response::Done) => reply.ok(),
        other => refuse(reply, other),
    }
}

pub(crate) fn target(reply: ReplyData) -> impl FnOnce(Answer) + Send {
    move |answer| match answer {
        Ok(Response::Target(target)) => reply.data(&target),
        other => refuse(reply, other),
    }
}

pub(crate) fn data(reply: ReplyData) -> impl FnOnce(Answer) + Send {
    move |answer| match answer {
        Ok(Response::Data(bytes)) => reply.data(&bytes),
        other => refuse(reply, other),
    }
}

pub(crate) fn written(reply: ReplyWrite) -> impl FnOnce(Answer) + Send {
    move |answer| match answer {
        Ok(Response::Written(count)) => reply.written(count),
        other => refuse(reply, other),
    }
}

/// What a handle needs that may go past the core: where backing files come from.
pub(crate) struct Opening {
    pub(crate) ino: Ino,
    pub(crate) door: Door,
    pub(crate) backings: Arc<Backings>,
}

impl Opening {
    /// The kernel's number for the file, or a handle that goes through requests after all; then `cached`
    /// is called when the core knows.
    fn pass<R: Passes>(
        self,
        ino: Ino,
        handle: HandleId,
        file: (u64, Option<u64>),
        reply: R,
        passed: impl FnOnce(R, &BackingId),
        cached: impl FnOnce(R) + Send + 'static,
    ) {
        let register = |file: &File| reply.register(file);
        match self.backings.take((ino, handle), file, self.door.port(), register) {
            Ok(id) => {
                // SAFETY: the number is open: handles use it, this one now too. It is given back by its
                // number, never by this value.
                let id = unsafe { reply.wrap(id) };
                passed(reply, &id);
                let _ = id.into_raw();
            }
            Err(_) => self.door.submit(Request::Unpass { ino, handle }, move |_| cached(reply)),
        }
    }
}

/// A reply that can name a backing file.
trait Passes: Send + 'static {
    fn register(&self, file: &File) -> io::Result<u32>;

    /// # Safety
    /// The number must be one of this mount and stay open until the value is gone.
    unsafe fn wrap(&self, id: u32) -> BackingId;
}

impl Passes for ReplyOpen {
    fn register(&self, file: &File) -> io::Result<u32> {
        self.open_backing(file).map(BackingId::into_raw)
    }

    unsafe fn wrap(&self, id: u32) -> BackingId {
        // SAFETY: as the caller promises.
        unsafe { self.wrap_backing(id) }
    }
}

impl Passes for ReplyCreate {
    fn register(&self, file: &File) -> io::Result<u32> {
        self.open_backing(file).map(BackingId::into_raw)
    }

    unsafe fn wrap(&self, id: u32) -> BackingId {
        // SAFETY: as the caller promises.
        unsafe { self.wrap_backing(id) }
    }
}

/// Every write was answered when it was made, so a close has nothing to report and the kernel need
/// not ask: one round trip less a close. What was written past us is found out by a look.
pub(crate) fn opened(reply: ReplyOpen, opening: Opening) -> impl FnOnce(Answer) + Send {
    move |answer| match answer {
        Ok(Response::Opened { handle, keep_cache, via }) => {
            let number = FileHandle(handle.0);
            let cached = move |reply: ReplyOpen, keep_cache| {
                let mut flags = FopenFlags::FOPEN_NOFLUSH;
                flags.set(FopenFlags::FOPEN_KEEP_CACHE, keep_cache);
                reply.opened(number, flags);
            };
            let Via::Backing { file, len } = via else { return cached(reply, keep_cache) };
            let passed = |reply: ReplyOpen, id: &BackingId| {
                reply.opened_passthrough(number, FopenFlags::FOPEN_NOFLUSH, id);
            };
            let (ino, cached) = (opening.ino, move |reply| cached(reply, false));
            opening.pass(ino, handle, (file, len), reply, passed, cached);
        }
        other => refuse(reply, other),
    }
}

/// The kernel keeps listings (all versions since 5.x have had FOPEN_CACHE_DIR): it drops one when a
/// change comes through the mount, and when we say so.
pub(crate) fn opened_dir(reply: ReplyOpen) -> impl FnOnce(Answer) + Send {
    move |answer| match answer {
        Ok(Response::Opened { handle, keep_cache, .. }) => {
            let mut flags = FopenFlags::FOPEN_CACHE_DIR;
            flags.set(FopenFlags::FOPEN_KEEP_CACHE, keep_cache);
            reply.opened(FileHandle(handle.0), flags);
        }
        other => refuse(reply, other),
    }
}

pub(crate) fn created(reply: ReplyCreate, opening: Opening) -> impl FnOnce(Answer) + Send {
    move |answer| match answer {
        Ok(Response::Created { attr, handle, via }) => {
            let (number, file_attr) = (FileHandle(handle.0), file_attr(&attr));
            let cached = move |reply: ReplyCreate| {
                let flags = FopenFlags::FOPEN_NOFLUSH | FopenFlags::FOPEN_KEEP_CACHE;
                reply.created(&TTL, &file_attr, GENERATION, number, flags);
            };
            let Via::Backing { file, len } = via else { return cached(reply) };
            let passed = |reply: ReplyCreate, id: &BackingId| {
                let flags = FopenFlags::FOPEN_NOFLUSH;
                reply.created_passthrough(&TTL, &file_attr, GENERATION, number, flags, id);
            };
            opening.pass(attr.ino, handle, (file, len), reply, passed, cached);
        }
        other => refuse(reply, other),
    }
}

pub(crate) fn statfs(reply: ReplyStatfs) -> impl FnOnce(Answer) + Send {
    move |answer| match answer {
        Ok(Response::StatFs(StatFs { total, free, files })) => {
            let unit = u64::from(STATFS_UNIT);
            let (blocks, free) = (total / unit, free / unit);
            let all = files.saturating_add(FREE_FILES);
            // NAME_MAX is 255.
            let longest = NAME_MAX as u32;
            reply.statfs(blocks, free, free, all, FREE_FILES, STATFS_UNIT, longest, STATFS_UNIT);
        }
        other => refuse(reply, other),
    }
}

/// What to send for a value (or a list of names) when the caller has `room` bytes for it.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Fit {
    /// The caller asks for the length.
    Length(u32),
    Whole,
    TooSmall,
}

pub(crate) fn fit(len: usize, room: u32) -> Fit {
    match u32::try_from(len) {
        Ok(len) if room == 0 => Fit::Length(len),
        Ok(len) if len <= room => Fit::Whole,
        _ => Fit::TooSmall,
    }
}

pub(crate) fn xattr(reply: ReplyXattr, room: u32) -> impl FnOnce(Answer) + Send {
    move |answer| match answer {
        Ok(Response::Xattr(value) | Response::XattrNames(value)) => match fit(value.len(), room) {
            Fit::Length(len) => reply.size(len),
            Fit::Whole => reply.data(&value),
            Fit::TooSmall => Refuse::error(reply, FsError::Range),
        },
        other => refuse(reply, other),
    }
}

pub(crate) fn offset(reply: ReplyLseek) -> impl FnOnce(Answer) + Send {
    move |answer| match answer {
        Ok(Response::Offset(offset)) => match i64::try_from(offset) {
            Ok(offset) => reply.offset(offset),
            Err(_) => Refuse::error(reply, FsError::TooLarge),
        },
        other => refuse(reply, other),
    }
}

/// A forget cannot be answered; one that fails means that the drive is going down.
pub(crate) fn forgotten(ino: Ino) -> impl FnOnce(Answer) + Send {
    move |answer| {
        if let Err(error) = answer {
            tracing::debug!(ino = ino.0, %error, "a forget was not taken");
        }
    }
}
