//! What callbacks, threads and the mount share.

use super::{api::Api, context::Context, disk::DiskView};
use crate::{
    commands::{Commands, Token},
    crew::Crew,
    decide::{Known, Shown},
    hresult::hresult,
    ledger::{Hint, Ledger},
    listing::Entry,
    placing::Placing,
    session::Sessions,
    times::to_ticks,
    tree::Tree,
    version::{Content, ID_BYTES, PlaceholderKind, content_id},
};
use fs_core::{FsError, Kind, Timestamp};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use windows::{
    Win32::Storage::{
        FileSystem::{FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_NORMAL, FILE_ATTRIBUTE_READONLY},
        ProjectedFileSystem::{PRJ_FILE_BASIC_INFO, PRJ_PLACEHOLDER_INFO},
    },
    core::{GUID, HRESULT},
};

/// Any permission to write (POSIX).
const WRITABLE: u32 = 0o222;

#[derive(Debug)]
pub(crate) struct Provider {
    pub(crate) api: Arc<Api>,
    pub(crate) context: Context,
    pub(crate) commands: Commands,
    pub(crate) sessions: Sessions,
    pub(crate) tree: Tree,
    pub(crate) ledger: Ledger,
    pub(crate) disk: DiskView,
    pub(crate) placing: Placing,
    pub(crate) provider_id: [u8; ID_BYTES],
    /// Of the root; one for its whole life.
    pub(crate) instance: GUID,
    pub(crate) read_only: bool,
    /// Lookups and listings: not behind files that are being fetched.
    pub(crate) names: Crew,
    pub(crate) data: Crew,
    pub(crate) bell: Bell,
}

/// Wakes the thread that looks at places.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    pub(crate) state: Mutex<Rung>,
    pub(crate) rung: Condvar,
}

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Rung {
    pub(crate) work: bool,
    pub(crate) stop: bool,
    /// The queue could not take something: look at everything.
    pub(crate) scan: bool,
    /// Everything is being looked at.
    pub(crate) scanning: bool,
}

impl Bell {
    pub(crate) fn ring(&self, change: impl FnOnce(&mut Rung)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.rung.notify_all();
    }
}

impl Provider {
    /// Puts a place into the queue. What cannot be put there is found by a look at everything.
    pub(crate) fn look_at(&self, hint: &Hint) {
        let pushed = self.ledger.push(hint);
        if let Err(error) = &pushed {
            tracing::error!(%error, "a change could not be queued; the whole disk is looked at instead");
        }
        self.bell.ring(|rung| {
            rung.work = true;
            rung.scan |= pushed.is_err();
        });
    }

    /// Completes a command, if nobody else has.
    pub(crate) fn complete(&self, id: i32, token: &Token, result: HRESULT) {
        // In this order: without the right to call, the stop has completed it.
        let Some(call) = self.context.call() else { return };
        if !self.commands.finish(id, token) {
            return;
        }
        // SAFETY: the context is open while `call` lives; no extended parameters are needed for any
        // command that is completed here.
        let completed = unsafe { (self.api.complete)(call.raw, id, result, std::ptr::null()) };
        if completed.is_err() {
            tracing::debug!(id, code = completed.0, "a command was not there any more");
        }
    }

    pub(crate) fn placeholder_info(&self, entry: &Entry) -> PRJ_PLACEHOLDER_INFO {
        let mut info =
            PRJ_PLACEHOLDER_INFO { FileBasicInfo: basic_info(entry), ..Default::default() };
        info.VersionInfo.ProviderID = self.provider_id;
        info.VersionInfo.ContentID = content_id(&content(entry));
        info
    }
}

/// The size that ProjFS wants to be told (344 on x64, with the first byte of what may follow).
pub(crate) const INFO_BYTES: u32 = size_of::<PRJ_PLACEHOLDER_INFO>() as u32;

/// Whether it is shown on Windows at all: symlinks and special files are not.
pub(crate) fn is_shown(entry: &Entry) -> bool {
    matches!(entry.node.attr.kind, Kind::File | Kind::Dir)
}

pub(crate) fn content(entry: &Entry) -> Content {
    if entry.node.attr.kind == Kind::Dir {
        // Folders have no versions.
        let shown = Shown { ino: entry.node.attr.ino, size: 0, mtime: Timestamp(0) };
        return Content { kind: PlaceholderKind::Dir, shown };
    }
    Content { kind: PlaceholderKind::File, shown: crate::bytes::shown(&entry.node.attr) }
}

pub(crate) fn known(entry: &Entry) -> Known {
    let Content { kind, shown } = content(entry);
    Known { shown, is_dir: kind == PlaceholderKind::Dir, print: None }
}

pub(crate) fn basic_info(entry: &Entry) -> PRJ_FILE_BASIC_INFO {
    let attr = &entry.node.attr;
    let is_dir = attr.kind == Kind::Dir;
    let attributes = match (is_dir, attr.mode & WRITABLE == 0) {
        (true, _) => FILE_ATTRIBUTE_DIRECTORY,
        (false, true) => FILE_ATTRIBUTE_READONLY,
        (false, false) => FILE_ATTRIBUTE_NORMAL,
    };
    PRJ_FILE_BASIC_INFO {
        IsDirectory: is_dir,
        FileSize: if is_dir { 0 } else { i64::try_from(attr.size).unwrap_or(i64::MAX) },
        CreationTime: to_ticks(attr.btime),
        LastAccessTime: to_ticks(attr.atime),
        LastWriteTime: to_ticks(attr.mtime),
        ChangeTime: to_ticks(attr.ctime),
        FileAttributes: attributes.0,
    }
}

pub(crate) fn code(error: FsError) -> HRESULT {
    HRESULT(hresult(error))
}
