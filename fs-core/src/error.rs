//! What can go wrong in an operation: small, POSIX-shaped, free of any operating system.

use thiserror::Error;

/// The error of a request. Each driver maps it to its kernel's code in one exhaustive match.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Error)]
pub enum FsError {
    #[error("no such file or directory")]
    NotFound,
    #[error("already exists")]
    Exists,
    #[error("directory not empty")]
    NotEmpty,
    #[error("not a directory")]
    NotDirectory,
    #[error("is a directory")]
    IsDirectory,
    #[error("operation not permitted")]
    NotPermitted,
    #[error("permission denied")]
    Denied,
    #[error("read-only")]
    ReadOnly,
    #[error("no space left")]
    NoSpace,
    #[error("quota exceeded")]
    QuotaExceeded,
    #[error("name too long")]
    NameTooLong,
    #[error("file too large")]
    TooLarge,
    #[error("invalid argument")]
    Invalid,
    #[error("stale handle")]
    Stale,
    #[error("busy")]
    Busy,
    #[error("no such attribute")]
    NoAttribute,
    #[error("result does not fit")]
    Range,
    #[error("argument list too long")]
    TooBig,
    #[error("bad handle for this operation")]
    BadHandle,
    #[error("no more data or hole")]
    NoData,
    /// The bytes are not here and the store cannot be reached.
    #[error("not available offline")]
    Offline,
    /// The bytes are not here and did not arrive before the deadline.
    #[error("timed out")]
    TimedOut,
    /// Verification failed: bytes or a record are not what was stored.
    #[error("corrupt data")]
    Corrupt,
    #[error("input/output error")]
    Io,
    #[error("not supported")]
    Unsupported,
}
