//! The seam between the engine and the local store.

use bytes::Bytes;
use fs_core::{Change, Ino, Loaded, Measure, NodeId, Range, Recovered, Seq};
use rusqlite::ErrorCode;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

/// What the caller must do about it decides the variant.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk (or its quota) is full; nothing was done.
    #[error("{0}: no space left on the cache's disk; free some space or move the state directory")]
    Full(String),
    /// A file or row is not what was written. Says which, and what was done about it.
    #[error("{0}")]
    Corrupt(String),
    #[error("{path}: {source}")]
    Io { path: String, source: std::io::Error },
}

/// Durable rows and bytes of one drive on this device. Blocking; every method may be called from any
/// thread. The order of batches is the order of their `Seq`.
pub trait LocalStore: Send + Sync + 'static {
    /// Everything the core needs to start (see `Recovered`). Called once, before anything else.
    fn recover(&self) -> Result<Recovered, Error>;

    /// Rows of `dir` and of all its children that are in the replica. Sees every queued batch.
    fn load_dir(&self, dir: Ino) -> Result<Vec<Loaded>, Error>;
    /// The row of `ino` with all its ancestors; empty when there is none.
    fn load_node(&self, ino: Ino) -> Result<Vec<Loaded>, Error>;
    /// The rows of those ids that are known, with all their ancestors.
    fn load_ids(&self, ids: &[NodeId]) -> Result<Vec<Loaded>, Error>;

    /// Queues a batch. Called under the engine's lock, in order of `seq`, so it must neither block
    /// nor touch a disk.
    fn queue(&self, seq: Seq, batch: Vec<Change>);
    /// Returns when every batch up to `seq` survives `kill -9` (it is in the journal file).
    fn journal(&self, seq: Seq) -> Result<(), Error>;
    /// Returns when the bytes of `ino` (if given) and then every batch up to `upto` survive power loss.
    fn sync(&self, ino: Option<Ino>, upto: Seq) -> Result<(), Error>;

    /// Reads up to `range.len()` bytes; what lies beyond the end of the backing file reads as zeros.
    fn read(&self, ino: Ino, range: Range) -> Result<Bytes, Error>;
    /// Like `read`, into a buffer.
    fn read_into(&self, ino: Ino, offset: u64, buffer: &mut [u8]) -> Result<(), Error>;
    fn write(&self, ino: Ino, offset: u64, data: &[u8]) -> Result<(), Error>;
    /// Like `write`, and the bytes are in the backing file when this returns.
    fn write_through(&self, ino: Ino, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.write(ino, offset, data)
    }
    /// Like `write`, for bytes that come from the cloud: they can be fetched again, and whoever reads
    /// them now has them from elsewhere.
    fn fill(&self, ino: Ino, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.write(ino, offset, data)
    }
    fn truncate(&self, ino: Ino, size: u64) -> Result<(), Error>;
    /// Copies `part` of `from` to `offset` of `to`, without the bytes passing through this process
    /// where the file system can do that. The two must not overlap in one file.
    fn copy(&self, from: Ino, part: Range, to: Ino, offset: u64) -> Result<(), Error>;
    /// Makes `range` read as zeros; a file that ends inside becomes longer.
    fn zero(&self, ino: Ino, range: Range) -> Result<(), Error>;
    /// Looks at the backing file of `ino`; one that is missing counts as empty. With `begin` it is made,
    /// and before the look its time of modification becomes [`Measure::UNWRITTEN`]. `writers`: says truly whether anybody has it open, or mapped, for writing; without
    /// that nobody does.
    fn measure(&self, ino: Ino, begin: bool, writers: bool) -> Result<Measure, Error>;
    /// The backing file of `ino`, opened for reading only, to be handed to the kernel. `None` if there
    /// is none.
    fn backing(&self, ino: Ino) -> Result<Option<File>, Error>;
    /// Puts everything that was written into the backing file, for a file that the kernel has been handed
    /// before and reads again.
    fn hand_out(&self, _: Ino) -> Result<(), Error> {
        Ok(())
    }
    /// Drops the backing file of `ino`; it is no error if there is none.
    fn evict(&self, ino: Ino) -> Result<(), Error>;

    /// Free bytes of the disk under the store.
    fn disk_free(&self) -> Result<u64, Error>;
    /// Bytes that the backing files occupy on the disk.
    fn disk_used(&self) -> Result<u64, Error>;
    /// Writes everything queued into the index and closes cleanly. The store stays readable.
    fn shutdown(&self) -> Result<(), Error>;
}

impl Error {
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Error::Full(_))
    }

    /// The same error for one more caller.
    pub(crate) fn again(&self) -> Error {
        match self {
            Error::Full(text) => Error::Full(text.clone()),
            Error::Corrupt(text) => Error::Corrupt(text.clone()),
            Error::Io { path, source } => Error::Io {
                path: path.clone(),
                source: io::Error::new(source.kind(), source.to_string()),
            },
        }
    }

    /// Sorts an error of the operating system on `path` by what the caller must do.
    pub(crate) fn io(path: &Path, source: io::Error) -> Error {
        let path = path.display().to_string();
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::Full(path),
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
                let text = format!("{source}; the state directory must be writable for this user");
                Error::Io { path, source: io::Error::new(source.kind(), text) }
            }
            _ => Error::Io { path, source },
        }
    }

    /// The same for an error of SQLite.
    pub(crate) fn sql(path: &Path, source: &rusqlite::Error) -> Error {
        let place = path.display().to_string();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Error::Full(place),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Corrupt(format!(
                "{place}: the index is damaged ({source}); restart the drive to rebuild it"
            )),
            None if matches!(source, rusqlite::Error::FromSqlConversionFailure(..)) => {
                Error::Corrupt(format!("{place}: a row of the index is damaged: {source}"))
            }
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                let text = format!("{source}; the state directory must be writable for this user");
                Error::Io { path: place, source: io::Error::other(text) }
            }
            _ => Error::Io { path: place, source: io::Error::other(source.to_string()) },
        }
    }
}
