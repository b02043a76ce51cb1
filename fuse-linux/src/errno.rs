//! The one table from the core's errors to the kernel's.

use fs_core::FsError;
use fuser::Errno;

/// Every error has a code that applications know what to do with. `ENOSYS` is not among them: the
/// kernel takes it as "never ask again" for the life of the mount.
pub(crate) fn errno(error: FsError) -> Errno {
    match error {
        FsError::NotFound => Errno::ENOENT,
        FsError::Exists => Errno::EEXIST,
        FsError::NotEmpty => Errno::ENOTEMPTY,
        FsError::NotDirectory => Errno::ENOTDIR,
        FsError::IsDirectory => Errno::EISDIR,
        FsError::NotPermitted => Errno::EPERM,
        FsError::Denied => Errno::EACCES,
        FsError::ReadOnly => Errno::EROFS,
        FsError::NoSpace => Errno::ENOSPC,
        FsError::QuotaExceeded => Errno::EDQUOT,
        FsError::NameTooLong => Errno::ENAMETOOLONG,
        FsError::TooLarge => Errno::EFBIG,
        FsError::Invalid => Errno::EINVAL,
        FsError::Stale => Errno::ESTALE,
        FsError::Busy => Errno::EBUSY,
        FsError::NoAttribute => Errno::ENODATA,
        FsError::Range => Errno::ERANGE,
        FsError::TooBig => Errno::E2BIG,
        FsError::BadHandle => Errno::EBADF,
        FsError::NoData => Errno::ENXIO,
        FsError::Offline => Errno::EHOSTUNREACH,
        FsError::TimedOut => Errno::ETIMEDOUT,
        FsError::Corrupt | FsError::Io => Errno::EIO,
        FsError::Unsupported => Errno::EOPNOTSUPP,
    }
}
