use crate::errno::errno;
use fs_core::FsError;

/// What applications get to see. A new error must be added here: the match in `errno` will not compile
/// without it, and this table says what was promised.
const TABLE: [(FsError, i32); 25] = [
    (FsError::NotFound, libc::ENOENT),
    (FsError::Exists, libc::EEXIST),
    (FsError::NotEmpty, libc::ENOTEMPTY),
    (FsError::NotDirectory, libc::ENOTDIR),
    (FsError::IsDirectory, libc::EISDIR),
    (FsError::NotPermitted, libc::EPERM),
    (FsError::Denied, libc::EACCES),
    (FsError::ReadOnly, libc::EROFS),
    (FsError::NoSpace, libc::ENOSPC),
    (FsError::QuotaExceeded, libc::EDQUOT),
    (FsError::NameTooLong, libc::ENAMETOOLONG),
    (FsError::TooLarge, libc::EFBIG),
    (FsError::Invalid, libc::EINVAL),
    (FsError::Stale, libc::ESTALE),
    (FsError::Busy, libc::EBUSY),
    (FsError::NoAttribute, libc::ENODATA),
    (FsError::Range, libc::ERANGE),
    (FsError::TooBig, libc::E2BIG),
    (FsError::BadHandle, libc::EBADF),
    (FsError::NoData, libc::ENXIO),
    (FsError::Offline, libc::EHOSTUNREACH),
    (FsError::TimedOut, libc::ETIMEDOUT),
    (FsError::Corrupt, libc::EIO),
    (FsError::Io, libc::EIO),
    (FsError::Unsupported, libc::EOPNOTSUPP),
];

#[test]
fn every_error_has_its_code_and_none_is_enosys() {
    for (error, code) in TABLE {
        assert_eq!(errno(error).code(), code, "{error:?}");
        assert_ne!(errno(error).code(), libc::ENOSYS, "{error:?}");
    }
}
