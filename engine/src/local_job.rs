//! Effects for the local store. Blocking: never on an async worker.

use crate::journal::Journal;
use cache::LocalStore;
use fs_core::{FsError, Local, Outcome, Seq};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Performs one effect and says how it ended. A panic of the store is an `Io` like any other: the
/// thread may be one that the kernel waits for.
pub(crate) fn perform(store: &dyn LocalStore, journal: &Journal, effect: &Local) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| attempt(store, journal, effect))).unwrap_or_else(|_| {
        tracing::error!(?effect, "the local store panicked");
        failure(effect, FsError::Io)
    })
}

fn attempt(store: &dyn LocalStore, journal: &Journal, effect: &Local) -> Outcome {
    // A crash in between must not leave a record that claims what the bytes no longer are.
    let first = |after: &Seq| journal.reach(store, *after);
    match effect {
        Local::LoadDir(ino) => Outcome::Rows(plain(store.load_dir(*ino))),
        Local::LoadNode(ino) => Outcome::Rows(plain(store.load_node(*ino))),
        Local::LoadIds(ids) => Outcome::Rows(plain(store.load_ids(ids))),
        Local::Read { ino, range } => Outcome::Bytes(plain(store.read(*ino, *range))),
        Local::Write { ino, offset, data, direct, after } => {
            Outcome::Local(first(after).and_then(|()| {
                plain(match direct {
                    true => store.write_through(*ino, *offset, data),
                    false => store.write(*ino, *offset, data),
                })
            }))
        }
        Local::Fill { ino, offset, data } => Outcome::Local(plain(store.fill(*ino, *offset, data))),
        Local::Truncate { ino, size, after } => {
            Outcome::Local(first(after).and_then(|()| plain(store.truncate(*ino, *size))))
        }
        Local::Copy { from, part, to, offset, after } => Outcome::Local(
            first(after).and_then(|()| plain(store.copy(*from, *part, *to, *offset))),
        ),
        Local::Zero { ino, range, after } => {
            Outcome::Local(first(after).and_then(|()| plain(store.zero(*ino, *range))))
        }
        Local::Sync { ino, upto } => Outcome::Local(plain(store.sync(*ino, *upto))),
        Local::Measure { ino, begin, writers, after } => {
            let seen = first(after).and_then(|()| plain(store.measure(*ino, *begin, *writers)));
            Outcome::Measured(seen)
        }
        Local::Evict { ino, after } => {
            Outcome::Local(first(after).and_then(|()| plain(store.evict(*ino))))
        }
    }
}

fn failure(effect: &Local, error: FsError) -> Outcome {
    match effect {
        Local::LoadDir(_) | Local::LoadNode(_) | Local::LoadIds(_) => Outcome::Rows(Err(error)),
        Local::Read { .. } => Outcome::Bytes(Err(error)),
        Local::Measure { .. } => Outcome::Measured(Err(error)),
        Local::Write { .. }
        | Local::Fill { .. }
        | Local::Truncate { .. }
        | Local::Copy { .. }
        | Local::Zero { .. }
        | Local::Sync { .. }
        | Local::Evict { .. } => Outcome::Local(Err(error)),
    }
}

/// Logs an error here, where it ends, and hands on what the core can act upon.
pub(crate) fn plain<T>(result: Result<T, cache::Error>) -> Result<T, FsError> {
    result.map_err(|error| {
        tracing::warn!(%error, "the local store failed");
        fs_error(&error)
    })
}

pub(crate) fn fs_error(error: &cache::Error) -> FsError {
    match error {
        cache::Error::Full(_) => FsError::NoSpace,
        cache::Error::Corrupt(_) => FsError::Corrupt,
        cache::Error::Io { source, .. } => match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => FsError::NoSpace,
            std::io::ErrorKind::FileTooLarge => FsError::TooLarge,
            _ => FsError::Io,
        },
    }
}
