//! One daemon a drive: a lock that dies with its process.

use crate::failure::{Attempt, Failure, Kind, Outcome};
use crate::system;
use std::{
    fs::{File, TryLockError},
    io::ErrorKind,
    path::Path,
};

/// Held as long as it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// # Errors
    /// `Busy` when another process has it.
    pub(crate) fn take(path: &Path) -> Outcome<Lock> {
        let file = system::private_file()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .attempt(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => {
                Err(Failure::new(Kind::Busy, format!("{} is locked", path.display())))
            }
            Err(TryLockError::Error(error)) => {
                Err(error).attempt(|| format!("cannot lock {}", path.display()))
            }
        }
    }
}

/// Whether a daemon has the lock.
pub(crate) fn is_held(path: &Path) -> Outcome<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        other => other.attempt(|| format!("cannot open {}", path.display()))?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => {
            Err(error).attempt(|| format!("cannot look at the lock {}", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_has_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("lock");
        assert!(!is_held(&path).unwrap());
        let lock = Lock::take(&path).unwrap();
        assert!(is_held(&path).unwrap());
        assert_eq!(Lock::take(&path).unwrap_err().kind, Kind::Busy);
        drop(lock);
        assert!(!is_held(&path).unwrap());
        Lock::take(&path).unwrap();
    }
}
