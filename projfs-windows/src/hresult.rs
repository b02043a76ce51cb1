//! The core's errors as HRESULTs. The numbers are Win32 error codes ("System Error Codes",
//! Microsoft), packed by the rule of HRESULT_FROM_WIN32.

use fs_core::FsError;

/// S_OK
pub const OK: i32 = 0;
/// "More follows when the command is completed": ERROR_IO_PENDING
pub const PENDING: i32 = from_win32(997);
/// An enumeration buffer without room for one entry: ERROR_INSUFFICIENT_BUFFER
pub const BUFFER_TOO_SMALL: i32 = from_win32(122);

/// The drive stops: ERROR_OPERATION_ABORTED
pub const CANCELLED: i32 = from_win32(995);

/// HRESULT_FROM_WIN32 for an error code between 1 and 65,535.
const fn from_win32(code: u16) -> i32 {
    // Severity 1 (failure), facility 7 (Win32).
    0x8007_0000_u32.cast_signed() | code as i32
}

/// The code that Windows is answered with. Only `NotFound` says "not found": for anything that may
/// pass, Windows must not conclude that the file is gone.
#[must_use]
pub const fn hresult(error: FsError) -> i32 {
    from_win32(match error {
        FsError::NotFound => 2,                       // ERROR_FILE_NOT_FOUND
        FsError::Exists => 183,                       // ERROR_ALREADY_EXISTS
        FsError::NotEmpty => 145,                     // ERROR_DIR_NOT_EMPTY
        FsError::NotDirectory => 267,                 // ERROR_DIRECTORY
        FsError::IsDirectory => 336,                  // ERROR_DIRECTORY_NOT_SUPPORTED
        FsError::NotPermitted | FsError::Denied => 5, // ERROR_ACCESS_DENIED
        FsError::ReadOnly => 19,                      // ERROR_WRITE_PROTECT
        FsError::NoSpace => 112,                      // ERROR_DISK_FULL
        FsError::QuotaExceeded => 1295,               // ERROR_DISK_QUOTA_EXCEEDED
        FsError::NameTooLong => 206,                  // ERROR_FILENAME_EXCED_RANGE
        FsError::TooLarge => 223,                     // ERROR_FILE_TOO_LARGE
        FsError::Invalid => 87,                       // ERROR_INVALID_PARAMETER
        FsError::Stale | FsError::BadHandle => 6,     // ERROR_INVALID_HANDLE
        FsError::Busy => 170,                         // ERROR_BUSY
        FsError::NoAttribute => 1168,                 // ERROR_NOT_FOUND
        FsError::Range => 234,                        // ERROR_MORE_DATA
        FsError::TooBig => 24,                        // ERROR_BAD_LENGTH
        FsError::NoData => 38,                        // ERROR_HANDLE_EOF
        FsError::Offline => 1231,                     // ERROR_NETWORK_UNREACHABLE
        FsError::TimedOut => 1460,                    // ERROR_TIMEOUT
        FsError::Corrupt => 1392,                     // ERROR_FILE_CORRUPT
        FsError::Io => 1117,                          // ERROR_IO_DEVICE
        FsError::Unsupported => 50,                   // ERROR_NOT_SUPPORTED
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [FsError; 25] = [
        FsError::NotFound,
        FsError::Exists,
        FsError::NotEmpty,
        FsError::NotDirectory,
        FsError::IsDirectory,
        FsError::NotPermitted,
        FsError::Denied,
        FsError::ReadOnly,
        FsError::NoSpace,
        FsError::QuotaExceeded,
        FsError::NameTooLong,
        FsError::TooLarge,
        FsError::Invalid,
        FsError::Stale,
        FsError::Busy,
        FsError::NoAttribute,
        FsError::Range,
        FsError::TooBig,
        FsError::BadHandle,
        FsError::NoData,
        FsError::Offline,
        FsError::TimedOut,
        FsError::Corrupt,
        FsError::Io,
        FsError::Unsupported,
    ];

    #[test]
    fn the_packing_is_that_of_windows() {
        assert_eq!(hresult(FsError::Denied).cast_unsigned(), 0x8007_0005); // E_ACCESSDENIED
        assert_eq!(hresult(FsError::Invalid).cast_unsigned(), 0x8007_0057); // E_INVALIDARG
        assert_eq!(PENDING.cast_unsigned(), 0x8007_03e5);
    }

    #[test]
    fn no_error_looks_like_success_or_like_a_word_of_the_protocol() {
        for error in ALL {
            let code = hresult(error);
            assert!(code < 0, "{error:?}");
            assert!(![PENDING, BUFFER_TOO_SMALL].contains(&code), "{error:?}");
            let says_gone = code == hresult(FsError::NotFound);
            assert_eq!(says_gone, error == FsError::NotFound, "{error:?}");
        }
    }
}
