//! The name of a directory entry: bytes, checked once, cheap to clone.

use crate::FsError;
use alloc::sync::Arc;
use core::fmt;

/// The longest name in bytes (Linux NAME_MAX).
pub const NAME_MAX: usize = 255;

/// A checked entry name: 1 to 255 bytes, no `/`, no NUL, not `.` or `..`. Any other byte is legal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<[u8]>);

impl Name {
    /// Checks `bytes` and takes a copy.
    ///
    /// # Errors
    /// `NameTooLong` above [`NAME_MAX`], `Invalid` for every other illegal name.
    pub fn new(bytes: &[u8]) -> Result<Name, FsError> {
        if bytes.len() > NAME_MAX {
            return Err(FsError::NameTooLong);
        }
        let illegal = bytes.is_empty() || bytes == b"." || bytes == b"..";
        if illegal || bytes.iter().any(|&byte| byte == b'/' || byte == 0) {
            return Err(FsError::Invalid);
        }
        Ok(Name(bytes.into()))
    }

    /// The name of the root directory and of nodes that have no place: empty.
    #[must_use]
    pub fn none() -> Name {
        Name(Arc::from(&b""[..]))
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}
