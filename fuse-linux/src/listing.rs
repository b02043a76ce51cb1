//! Directory listings: how much fits into an answer, and what becomes of entries that do not.
//!
//! fuser does not say how large the kernel's buffer is, only whether an entry still fits. So the core
//! is asked for a guess; what did not fit is simply asked for again. Entries with attributes are counted
//! as lookups by the core: those that did not reach the kernel are given back with a forget.

use crate::answer::{Answer, GENERATION, TTL, forgotten, refuse};
use crate::convert::{bare_attr, file_attr, file_type};
use crate::door::Door;
use fs_core::{DirEntry, HandleId, Ino, Request, Response};
use fuser::{INodeNo, ReplyDirectory, ReplyDirectoryPlus};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of entries asked for at first: what the C library's `readdir` has room for.
pub(crate) const FIRST_ROOM: usize = 32 << 10;
/// The kernel's buffer is at least a page, and kernels before 6.16 never give more.
const PAGE: usize = 4096;
/// `struct fuse_dirent` without the name, in bytes (linux/fuse.h).
const DIRENT: usize = 24;
/// `struct fuse_entry_out`, in bytes (linux/fuse.h).
const ENTRY_OUT: usize = 128;

/// Bytes that an entry of a plain listing takes.
pub(crate) fn cost(name_len: usize) -> usize {
    (DIRENT + name_len).next_multiple_of(8)
}

/// Bytes that an entry with attributes takes.
pub(crate) fn cost_plus(name_len: usize) -> usize {
    (ENTRY_OUT + DIRENT + name_len).next_multiple_of(8)
}

/// The room of the kernel's buffer, as far as it is known from the last answers. Only a guess: a wrong
/// one costs time, never an entry.
pub(crate) struct Room(AtomicUsize);

impl Default for Room {
    fn default() -> Room {
        Room(AtomicUsize::new(FIRST_ROOM))
    }
}

impl Room {
    /// What to ask for at `cookie`; a new listing starts with the first guess.
    pub(crate) fn guess(&self, cookie: u64) -> usize {
        if cookie == 0 {
            self.0.store(FIRST_ROOM, Ordering::Relaxed);
        }
        self.0.load(Ordering::Relaxed)
    }

    /// `used` bytes fitted and the next entry did not.
    pub(crate) fn overflowed(&self, used: usize) {
        self.0.store(used.next_multiple_of(PAGE).max(PAGE), Ordering::Relaxed);
    }
}

pub(crate) fn request(ino: INodeNo, handle: HandleId, cookie: u64, room: usize) -> Request {
    Request::Readdir { ino: Ino(ino.0), handle, cookie, room, cost, plus: false }
}

pub(crate) fn request_plus(ino: INodeNo, handle: HandleId, cookie: u64, room: usize) -> Request {
    Request::Readdir { ino: Ino(ino.0), handle, cookie, room, cost: cost_plus, plus: true }
}

pub(crate) fn entries(mut reply: ReplyDirectory, room: Arc<Room>) -> impl FnOnce(Answer) + Send {
    move |answer| match answer {
        Ok(Response::Entries(entries)) => {
            let mut used = 0;
            for entry in &entries {
                let name = OsStr::from_bytes(&entry.name);
                let ino = INodeNo(entry.ino.0);
                if reply.add(ino, entry.cookie, file_type(entry.kind), name) {
                    room.overflowed(used);
                    break;
                }
                used += cost(entry.name.len());
            }
            reply.ok();
        }
        other => refuse(reply, other),
    }
}

pub(crate) fn entries_plus(
    mut reply: ReplyDirectoryPlus,
    room: Arc<Room>,
    port: Door,
) -> impl FnOnce(Answer) + Send {
    move |answer| match answer {
        Ok(Response::Entries(entries)) => {
            let mut used = 0;
            let mut fitting = 0;
            for entry in &entries {
                if add_plus(&mut reply, entry) {
                    room.overflowed(used);
                    break;
                }
                used += cost_plus(entry.name.len());
                fitting += 1;
            }
            reply.ok();
            give_back(&port, &entries[fitting..]);
        }
        other => refuse(reply, other),
    }
}

fn add_plus(reply: &mut ReplyDirectoryPlus, entry: &DirEntry) -> bool {
    let name = OsStr::from_bytes(&entry.name);
    let ino = INodeNo(entry.ino.0);
    let attr = match &entry.attr {
        Some(attr) => file_attr(attr),
        // `.` and `..`: the kernel looks at number and kind only.
        None => bare_attr(ino, file_type(entry.kind)),
    };
    reply.add(ino, entry.cookie, name, &TTL, &attr, GENERATION)
}

/// The kernel never saw these, so it will never forget them: this side does.
fn give_back(port: &Door, entries: &[DirEntry]) {
    for entry in entries.iter().filter(|entry| counted(entry)) {
        let ino = entry.ino;
        port.submit(Request::Forget { ino, count: 1 }, forgotten(ino));
    }
}

/// Whether the core counted a lookup for this entry.
pub(crate) fn counted(entry: &DirEntry) -> bool {
    entry.attr.is_some() && entry.name != b"." && entry.name != b".."
}
